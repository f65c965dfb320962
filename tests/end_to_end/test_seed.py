"""The seed document: every SQL statement in it runs as written, in order, or is refused as listed.

`seed.sql` beside this file is the project's copy of the document's SQL; it is compared with the
document where there is one. What a SELECT answers is compared with the stored artefact, scored by
the engine on rows read directly (`tests.support.seed_scores`), and with scikit-learn.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.conftest import Endpoint, is_direct
from tests.support import oracle, postgres, seed_tables
from tests.support.postgres import Cluster
from tests.support.proxy import ThreadedProxy
from tests.support.seed_document import (
    COPY,
    DOCUMENT,
    ROOT,
    SeedStatement,
    one_script,
    split,
    sql_blocks,
)
from tests.support.seed_scores import rows_of, scores, stored_models

Rows = list[tuple[Any, ...]]

STATEMENTS = split(COPY.read_text())
BY_NUMBER = {statement.number: statement for statement in STATEMENTS}

# The statements whose answers have tests of their own.
SCORING, BATCH, VERSIONS, RISKS, FRAUDS, FORECAST = 9, 10, 14, 24, 26, 28
LTV_MODEL = 13

FLOAT8, TEXT = 701, 25


@dataclass(frozen=True, slots=True)
class Refusal:
    """A statement that is not served yet: a later part of the project makes it run."""

    number: int
    title: str
    sqlstate: str
    reason: str


# Whoever makes one of them run takes it out of here and says below what it answers.
REFUSED = (
    Refusal(11, "CREATE MODEL advanced_churn", "42704", "there is no algorithm automl yet"),
    Refusal(
        12,
        "CREATE FUNCTION customer_lifetime_value",
        "42P13",
        "a function without LANGUAGE is PostgreSQL's to refuse until ours are served",
    ),
    Refusal(
        13, "CREATE MODEL ltv_prediction", "42883", "it calls the function refused just before"
    ),
    Refusal(15, "CREATE MODEL_DEPLOYMENT churn_ab_test", "0A000", "there are no deployments yet"),
    Refusal(16, "SELECT FROM prediction_log", "42P01", "predictions are not logged yet"),
    Refusal(17, "SELECT FROM prediction_log", "42P01", "predictions are not logged yet"),
    Refusal(18, "CREATE MODEL best_churn_model", "42704", "there is no algorithm automl yet"),
    Refusal(
        19,
        "CREATE FUNCTION custom_ml_model",
        "42704",
        "PostgreSQL has no language python, and ours is not served yet",
    ),
    Refusal(20, "SELECT FROM customers", "42883", "it calls the function refused just before"),
    Refusal(
        21,
        "CREATE FUNCTION r_linear_model",
        "42704",
        "PostgreSQL has no language r, and ours is not served yet",
    ),
)
SQLSTATES = {refusal.number: refusal.sqlstate for refusal in REFUSED}


# --- the text -------------------------------------------------------------------------------------


def test_the_copy_is_the_documents() -> None:
    """`seed.sql` holds the document's SQL blocks, verbatim, in order."""
    if not DOCUMENT.exists():
        pytest.skip(f"there is no seed document in {DOCUMENT.parent} to compare the copy with")
    blocks = sql_blocks(DOCUMENT.read_text())
    assert COPY.read_text() == one_script(blocks)
    assert [len(split(block)) for block in blocks].count(0) == 0
    assert sum(len(split(block)) for block in blocks) == len(STATEMENTS) == 28


def test_the_parsers_fixture_is_the_copys() -> None:
    """The parser's tests read the very CREATE MODEL statements of the copy."""
    fixture = ROOT / "tests" / "rewrite" / "fixtures" / "seed.sql"
    models = [s.text for s in STATEMENTS if s.title.startswith("CREATE MODEL ")]
    assert fixture.read_text() == one_script(models)


def test_blocks() -> None:
    """Only fences that say sql count; what stands between them is kept as it is."""
    markdown = (
        "```rust\n```x\n```\n```sql\n-- a\n\n  SELECT 1;\n```\ntext\n```\nSELECT 2;\n```\n"
        "~~~~ sql title\nSELECT '```';\n```\n~~~~~\n```sqlite\nSELECT 4;\n```\n"
    )
    assert sql_blocks(markdown) == ["-- a\n\n  SELECT 1;", "SELECT '```';\n```"]
    with pytest.raises(ValueError, match="does not end"):
        sql_blocks("```sql\nSELECT 1;\n")


def test_the_refused_are_those_meant() -> None:
    """The list above names statements of the document by number and by title."""
    assert [(r.number, r.title) for r in REFUSED] == [
        (r.number, BY_NUMBER[r.number].title) for r in REFUSED
    ]


# --- the run --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one statement answered."""

    sqlstate: str | None
    tag: str | None
    columns: list[tuple[str, int]]
    rows: Rows
    notices: list[str]


def execute(
    client: psycopg.Connection, text: str, *, prepare: bool = False, binary: bool = False
) -> Outcome:
    """Run one statement; without `prepare` and `binary` it goes in the simple protocol."""
    notices: list[str] = []

    def hear(notice: psycopg.errors.Diagnostic) -> None:
        notices.append(f"{notice.message_primary}")

    client.add_notice_handler(hear)
    try:
        cursor = client.execute(text.encode(), prepare=prepare, binary=binary)
    except psycopg.Error as error:
        return Outcome(error.sqlstate, None, [], [], notices)
    finally:
        client.remove_notice_handler(hear)
    described = cursor.description or []
    columns = [(column.name, column.type_code) for column in described]
    rows = cursor.fetchall() if described else []
    return Outcome(None, cursor.statusmessage, columns, rows, notices)


Run = dict[int, Outcome]


@pytest.fixture(scope="module")
def run(endpoint: Endpoint, direct: Endpoint) -> Run:
    """Every statement's outcome: the whole document, in order, each one as written."""
    if is_direct():
        pytest.skip("PostgreSQL itself has no models")
    with psycopg.connect(direct.dsn, autocommit=True) as connection:
        seed_tables.fill(connection)
    with psycopg.connect(endpoint.dsn, autocommit=True) as client:
        return {s.number: execute(client, s.text) for s in STATEMENTS}


@pytest.fixture(scope="module")
def admin(cluster: Cluster, direct: Endpoint, run: Run) -> Iterator[psycopg.Connection]:
    """A superuser's direct connection, after the run."""
    with psycopg.connect(cluster.dsn(direct.database), autocommit=True) as connection:
        yield connection


def title(statement: SeedStatement) -> str:
    return f"{statement.number:02} {statement.title}"


@pytest.mark.parametrize("statement", STATEMENTS, ids=title)
def test_every_statement(run: Run, statement: SeedStatement) -> None:
    """Each statement of the document runs as written, but for those that are listed."""
    outcome = run[statement.number]
    assert outcome.sqlstate == SQLSTATES.get(statement.number), (
        "what is refused is no longer what REFUSED says"
    )
    if outcome.sqlstate is None:
        first, second = statement.title.split()[:2]
        expected = {"CREATE": "CREATE MODEL", "INSERT": "INSERT 0 500"}
        assert outcome.tag == expected.get(first, f"SELECT {len(outcome.rows)}"), second


SELECTS = [s for s in STATEMENTS if s.title.startswith("SELECT") and s.number not in SQLSTATES]


@pytest.mark.parametrize("binary", [False, True], ids=["text", "binary"])
@pytest.mark.parametrize("statement", SELECTS, ids=title)
def test_every_select_in_the_extended_protocol(
    client: psycopg.Connection, run: Run, statement: SeedStatement, binary: bool
) -> None:
    """A prepared SELECT answers what the simple one does, each time that it is executed."""
    simple = run[statement.number]
    assert simple.rows
    for notices in (simple.notices, []):  # one for the statement, not for each execution
        extended = execute(client, statement.text, prepare=True, binary=binary)
        assert extended.sqlstate is None
        assert extended.columns == simple.columns
        assert sorted(extended.rows) == sorted(simple.rows)
        assert extended.notices == notices


@pytest.mark.parametrize("statement", [BY_NUMBER[refusal.number] for refusal in REFUSED], ids=title)
def test_every_refusal_in_the_extended_protocol(
    client: psycopg.Connection, run: Run, statement: SeedStatement
) -> None:
    """What is refused is refused alike when it is prepared."""
    outcome = execute(client, statement.text, prepare=True)
    assert outcome.sqlstate == SQLSTATES[statement.number]


# --- the models -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Trained:
    """A version that the document trains.

    Attributes
    ----------
    rows : the query of its training rows
    metric, least : how good it must be on held-out rows (a clustering on its rows)
    """

    number: int
    reference: str
    algorithm: str
    parameters: dict[str, object]
    features: list[str]
    rows: str
    metric: str
    least: float


TRAINED = (
    Trained(
        1,
        "housing_price_model:1.0",
        "linear_regression",
        {},
        ["bedrooms", "bathrooms", "sqft"],
        "SELECT *, price AS target FROM housing_data WHERE city = 'San Francisco'",
        "r2",
        0.95,
    ),
    Trained(
        2,
        "sales_forecast:1.0",
        "polynomial_regression",
        {"degree": 2},
        ["month", "marketing_spend"],
        "SELECT *, revenue AS target FROM sales_history",
        "r2",
        0.95,
    ),
    Trained(
        3,
        "churn_prediction:1.0",
        "logistic_regression",
        {},
        ["tenure_months", "monthly_charges", "total_charges", "num_tech_tickets"],
        "SELECT *, churned AS target FROM customers",
        "auc",
        0.8,
    ),
    Trained(
        4,
        "credit_risk:1.0",
        "decision_tree",
        {"max_depth": 10, "min_samples_split": 20},
        ["credit_score", "income", "debt_ratio"],
        'SELECT *, "default" AS target FROM loan_applications',
        "auc",
        0.8,
    ),
    Trained(
        5,
        "fraud_detector:1.0",
        "random_forest",
        {"n_trees": 100, "max_depth": 15},
        ["transaction_amount", "merchant_category", "time_of_day", "distance_from_home"],
        "SELECT *, is_fraud AS target FROM transactions",
        "auc",
        0.85,
    ),
    Trained(
        6,
        "customer_segments:1.0",
        "kmeans",
        {"k": 5, "max_iterations": 100},
        ["annual_income", "spending_score", "age"],
        "SELECT * FROM customers",
        "silhouette",
        0.7,
    ),
    Trained(
        7,
        "anomaly_clusters:1.0",
        "dbscan",
        {"eps": 0.5, "min_samples": 5},
        ["cpu_usage", "memory_usage", "network_traffic"],
        "SELECT * FROM system_metrics",
        "silhouette",
        0.7,
    ),
    Trained(
        8,
        "image_classifier:1.0",
        "neural_network",
        {
            "layers": [784, 128, 64, 10],
            "activation": "relu",
            "optimizer": "adam",
            "learning_rate": 0.001,
            "epochs": 50,
            "batch_size": 32,
        },
        ["pixel_values"],
        "SELECT *, digit_label AS target FROM mnist_digits",
        "accuracy",
        0.9,
    ),
    Trained(
        22,
        "large_scale_model:1.0",
        "neural_network",
        {"layers": [1000, 500, 250, 10], "parallel_workers": 16, "batch_size": 1024},
        [f"x{place}" for place in range(seed_tables.BIG_FEATURES)],
        "SELECT * FROM big_dataset",
        "accuracy",
        0.9,
    ),
    Trained(
        23,
        "churn_model:1.0",
        "random_forest",
        {},
        ["tenure_months", "monthly_charges", "contract_type", "payment_method"],
        "SELECT *, churned AS target FROM customers",
        "auc",
        0.8,
    ),
    Trained(
        25,
        "fraud_detector:2.0",
        "neural_network",
        {},
        ["transaction_amount", "merchant_category", "time_of_day", "location_distance"],
        "SELECT *, is_fraud AS target FROM transactions",
        "auc",
        0.85,
    ),
    Trained(
        27,
        "demand_forecast:1.0",
        "polynomial_regression",
        {"degree": 3},
        ["month", "seasonality_factor", "marketing_spend"],
        "SELECT *, units_sold AS target FROM sales_history",
        "r2",
        0.9,
    ),
)


def reference(trained: Trained) -> str:
    return trained.reference


def test_the_models_are_those_of_the_document(client: psycopg.Connection, run: Run) -> None:
    """Each CREATE MODEL that runs made one version: of fraud_detector there are two."""
    served = [
        s.number
        for s in STATEMENTS
        if s.title.startswith("CREATE MODEL ") and s.number not in SQLSTATES
    ]
    assert [trained.number for trained in TRAINED] == served
    stored = client.execute(
        "SELECT model_name || ':' || version, is_default FROM ml_models ORDER BY created_at"
    ).fetchall()
    assert stored == [(t.reference, t.reference != "fraud_detector:1.0") for t in TRAINED]


@pytest.mark.parametrize("trained", TRAINED, ids=reference)
def test_models(client: psycopg.Connection, run: Run, trained: Trained) -> None:
    """A model is what its statement says, of the columns that it names, and it has learned."""
    (stored,) = rows_of(
        client,
        "SELECT algorithm, parameters, features, metrics, training_rows FROM ml_models"
        f" WHERE model_name || ':' || version = '{trained.reference}'",
    )
    assert stored["algorithm"] == trained.algorithm
    assert {**stored["parameters"], **trained.parameters} == stored["parameters"]
    assert [feature["name"] for feature in stored["features"]] == trained.features
    assert stored["metrics"][trained.metric] >= trained.least
    assert stored["training_rows"] == len(rows_of(client, trained.rows))


@pytest.mark.parametrize("trained", TRAINED, ids=reference)
def test_scores_of_the_training_rows(
    client: psycopg.Connection, admin: psycopg.Connection, trained: Trained
) -> None:
    """In the plain outermost list the model scores its own rows as its artefact does.

    The star has columns beside the features, and the target.
    """
    rows = rows_of(admin, trained.rows)
    query = f"SELECT PREDICT('{trained.reference}', *) FROM ({trained.rows}) AS rows"
    got = [row[0] for row in client.execute(query.encode()).fetchall()]
    assert got == near(scores(stored_models(admin)[trained.reference], rows))


def near(values: list[float | int]) -> object:
    """Say that scores are equal but for the rounding of another order of additions."""
    return pytest.approx(values, rel=1e-9, abs=1e-12)


def test_what_was_learned(client: psycopg.Connection, admin: psycopg.Connection) -> None:
    """The clusters are those the rows were made of, and each digit is told."""
    segments = client.execute(
        "SELECT customer_id % 5, PREDICT(customer_segments, *) FROM customers"
    )
    assert len(set(segments.fetchall())) == 5
    odd = client.execute("SELECT reading, PREDICT(anomaly_clusters, *) FROM system_metrics")
    assert all((label == -1) == (reading % 20 == 0) for reading, label in odd.fetchall())
    digits = client.execute("SELECT digit_label, PREDICT(image_classifier, *) FROM mnist_digits")
    assert all(digit == label for digit, label in digits.fetchall())


def test_the_expensive_city(client: psycopg.Connection, admin: psycopg.Connection) -> None:
    """The WHERE of a training query counts: scores are those of least squares on its rows."""
    rows = rows_of(admin, TRAINED[0].rows)
    features = [[row[name] for name in TRAINED[0].features] for row in rows]
    wanted = oracle.linear(features, [float(str(row["price"])) for row in rows])
    got = client.execute("SELECT PREDICT(housing_price_model, *) FROM housing_data").fetchall()
    everywhere = rows_of(admin, "SELECT * FROM housing_data")
    values = wanted.values([[row[name] for name in TRAINED[0].features] for row in everywhere])
    assert [row[0] for row in got] == pytest.approx(values.tolist(), rel=1e-9)


# --- what the SELECTs answer ----------------------------------------------------------------------

CUSTOMERS = "SELECT * FROM customers ORDER BY customer_id"
STORED = "SELECT customer_id, prediction FROM predictions ORDER BY customer_id, prediction"


def test_scoring_with_fewer_arguments(run: Run, admin: psycopg.Connection) -> None:
    """Two of four features given: the others are imputed by their means, with one notice."""
    outcome = run[SCORING]
    assert outcome.columns == [("customer_id", 23), ("churn_probability", FLOAT8)]
    customers = rows_of(admin, CUSTOMERS)
    new = [row for row in customers if row["tenure_months"] < 12]
    given = [{name: row[name] for name in ("tenure_months", "monthly_charges")} for row in new]
    assert 20 < len(new) < len(customers)
    wanted = scores(stored_models(admin)["churn_prediction:1.0"], given)
    rows = sorted(outcome.rows)
    assert [row[0] for row in rows] == [row["customer_id"] for row in new]
    assert [row[1] for row in rows] == near(wanted)
    (notice,) = outcome.notices
    assert notice == (
        "not given and imputed as in training:"
        ' total_charges, num_tech_tickets of model "churn_prediction"'
    )

    # By a third road: scikit-learn's, which imputes the means of the training rows.
    fitted = oracle.logistic(
        [[row[name] for name in TRAINED[2].features] for row in customers],
        [row["churned"] for row in customers],
    )
    imputed = [[row["tenure_months"], row["monthly_charges"], None, None] for row in new]
    assert wanted == pytest.approx(fitted.probabilities(imputed).tolist(), abs=1e-6)


def test_batch_scoring(client: psycopg.Connection, run: Run, admin: psycopg.Connection) -> None:
    """INSERT stores a score for each customer: those of the star in a plain list."""
    assert run[BATCH].tag == f"INSERT 0 {seed_tables.CUSTOMERS}"
    assert run[BATCH].notices == []
    stored = admin.execute(STORED).fetchall()
    customers = rows_of(admin, CUSTOMERS)
    wanted = scores(stored_models(admin)["churn_prediction:1.0"], customers)
    assert [row[0] for row in stored] == [row["customer_id"] for row in customers]
    assert [row[1] for row in stored] == near(wanted)
    plain = client.execute(
        "SELECT PREDICT(churn_prediction, *) FROM customers ORDER BY customer_id"
    ).fetchall()
    assert [row[1] for row in stored] == near([row[0] for row in plain])
    (moment,) = admin.execute("SELECT DISTINCT scored_at FROM predictions").fetchall()
    (created,) = admin.execute(
        "SELECT created_at FROM ml.ml_models WHERE model_name = 'churn_prediction'"
    ).fetchall()
    assert moment > created


def test_batch_scoring_in_the_extended_protocol(
    client: psycopg.Connection, run: Run, admin: psycopg.Connection
) -> None:
    """A prepared INSERT stores the same rows again."""
    before = admin.execute(STORED).fetchall()
    with client.transaction(force_rollback=True):
        client.execute("DELETE FROM predictions")
        for count in (1, 2):
            outcome = execute(client, BY_NUMBER[BATCH].text, prepare=True)
            assert outcome == run[BATCH]
            assert client.execute(STORED).fetchall() == sorted(before * count)


def test_versions(run: Run, admin: psycopg.Connection) -> None:
    """The registry's query gives the one version that the run has made."""
    (row,) = run[VERSIONS].rows
    names = [name for name, _ in run[VERSIONS].columns]
    assert names == ["model_name", "version", "created_at", "accuracy"]
    stored = admin.execute(
        "SELECT model_name, version, created_at, (metrics ->> 'accuracy')::float8"
        " FROM ml.model_versions WHERE model_name = 'churn_prediction'"
    ).fetchall()
    assert stored == [row]


def test_high_risk_customers(run: Run, admin: psycopg.Connection) -> None:
    """The subquery without an alias runs on every PostgreSQL, filters, and sorts by the score.

    Its star has columns that the model does not know, in another order, and no target.
    """
    outcome = run[RISKS]
    assert outcome.columns == [("customer_id", 23), ("churn_probability", FLOAT8)]
    active = rows_of(admin, "SELECT * FROM active_customers")
    every = scores(stored_models(admin)["churn_model:1.0"], active)
    wanted = {
        row["customer_id"]: score for row, score in zip(active, every, strict=True) if score > 0.7
    }
    assert 20 < len(wanted) < len(active)
    got: dict[object, float] = dict(outcome.rows)
    assert got.keys() == wanted.keys()
    assert [got[key] for key in wanted] == near(list(wanted.values()))
    in_order = [row[1] for row in outcome.rows]
    assert in_order == sorted(in_order, reverse=True)
    assert outcome.notices == []


def test_fraud_scores_and_actions(run: Run, admin: psycopg.Connection) -> None:
    """An alias of PREDICT used beside it: actions agree with the scores of the second version."""
    outcome = run[FRAUDS]
    names = [("transaction_id", 23), ("fraud_score", FLOAT8), ("action", TEXT)]
    assert outcome.columns == names
    incoming = rows_of(admin, "SELECT * FROM incoming_transactions ORDER BY transaction_id")
    wanted = scores(stored_models(admin)["fraud_detector:2.0"], incoming)
    rows = sorted(outcome.rows)
    assert [row[0] for row in rows] == [row["transaction_id"] for row in incoming]
    assert [row[1] for row in rows] == near(wanted)
    assert [row[2] for row in rows] == [action(score) for score in wanted]
    assert {row[2] for row in rows} == {"BLOCK", "REVIEW", "APPROVE"}


def action(score: float) -> str:
    """Return what the document's CASE says of a score."""
    return "BLOCK" if score > 0.9 else "REVIEW" if score > 0.5 else "APPROVE"


def test_forecast(run: Run, admin: psycopg.Connection) -> None:
    """Columns of other names bind by position; a month's text is a time."""
    outcome = run[FORECAST]
    assert outcome.columns == [("future_month", TEXT), ("forecasted_demand", FLOAT8)]
    assert outcome.notices == []
    assert sorted(str(row[0]) for row in outcome.rows) == [
        f"2025-{month:02}" for month in range(1, 7)
    ]
    periods = rows_of(
        admin,
        "SELECT future_month AS month, seasonality AS seasonality_factor,"
        " planned_marketing AS marketing_spend FROM future_periods",
    )
    every = scores(stored_models(admin)["demand_forecast:1.0"], periods)
    by_month = dict(zip([row["month"] for row in periods], every, strict=True))
    got: dict[object, float] = dict(outcome.rows)
    assert [got[month] for month in got] == near([by_month[month] for month in got])


# --- by other roads -------------------------------------------------------------------------------


def test_a_model_of_a_function(client: psycopg.Connection, run: Run) -> None:
    """`ltv_prediction` waits for its function only: with one of PostgreSQL's it runs as written."""
    with client.transaction(force_rollback=True):
        client.execute(
            "CREATE FUNCTION customer_lifetime_value(monthly_charges numeric,"
            " tenure_months integer) RETURNS numeric LANGUAGE sql"
            " AS 'SELECT monthly_charges * tenure_months * 0.9'"
        )
        outcome = execute(client, BY_NUMBER[LTV_MODEL].text)
        assert (outcome.sqlstate, outcome.tag) == (None, "CREATE MODEL")
        got = client.execute(
            "SELECT revenue::float8, PREDICT(ltv_prediction, monthly_charges * tenure_months * 0.9,"
            " churn_risk) FROM customers"
        ).fetchall()
    assert max(abs(revenue - score) for revenue, score in got) < 1000


def test_whole_blocks(client: psycopg.Connection, run: Run) -> None:
    """A block of several statements may be sent as one query string."""
    for model, query in ((23, RISKS), (25, FRAUDS), (27, FORECAST)):
        block = f"{BY_NUMBER[model].text}\n\n{BY_NUMBER[query].text}"
        with client.transaction(force_rollback=True):
            cursor = client.execute(block.encode())
            assert cursor.statusmessage == "CREATE MODEL"
            assert cursor.nextset()
            assert sorted(cursor.fetchall()) == sorted(run[query].rows)
            assert not cursor.nextset()


def test_psql(run: Run, cluster: Cluster, proxy: ThreadedProxy, tmp_path: Path) -> None:
    """The copy as a script for psql: its own lexer splits it, and the answers are the same."""
    with postgres.temporary_database(cluster, "seed_by_psql") as database:
        direct, through = Endpoint(cluster.address, database), Endpoint(proxy.address, database)
        with psycopg.connect(direct.dsn, autocommit=True) as connection:
            seed_tables.fill(connection)
        done = subprocess.run(
            [
                *(str(postgres.binaries() / "psql"), "-X", "-At", "-v", "VERBOSITY=sqlstate"),
                *("-f", str(COPY), through.dsn),
            ],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
            cwd=tmp_path,
        )
    refused = [line.split()[-1] for line in done.stderr.splitlines() if " ERROR: " in line]
    assert refused == [refusal.sqlstate for refusal in REFUSED], done.stderr
    lines = done.stdout.splitlines()
    tags = [outcome.tag for outcome in run.values() if outcome.tag and not outcome.columns]
    assert [line for line in lines if "|" not in line] == tags
    answered = [tuple(line.split("|")) for line in lines if "|" in line]
    expected = [row for s in SELECTS for row in run[s.number].rows]
    assert len(answered) == len(expected)
    for statement in SELECTS:
        rows = run[statement.number].rows
        got, answered = answered[: len(rows)], answered[len(rows) :]
        if statement.number != VERSIONS:  # which says when its own model was trained
            assert sorted(map(as_python, got)) == sorted(map(as_python, rows))


def as_python(row: Sequence[object]) -> tuple[object, ...]:
    """Return a row with the score, its second column, as a number: psql writes 1.0 as 1."""
    return str(row[0]), float(str(row[1])), *row[2:]
