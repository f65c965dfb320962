"""EVALUATE MODEL through the wire: its numbers, its answer's form, what can go wrong with it."""

from __future__ import annotations

import json
from collections.abc import Sequence

import asyncpg
import numpy as np
import psycopg
import pytest
from sklearn import metrics as sklearn_metrics

from tests.conftest import Endpoint, is_direct
from tests.support.datasets import home_price
from tests.support.postgres import TRUST_USER, Cluster
from tests.support.proxy import running_proxy
from tests.support.waiting import until_true
from tests.support.wire import (
    Frontend,
    bind,
    codes,
    describe_portal,
    describe_statement,
    errors,
    execute,
    parse,
    query,
    rows,
    send_cancel,
    sync,
)

pytestmark = pytest.mark.skipif(is_direct(), reason="PostgreSQL itself has no models")

HOMES = "EVALUATE MODEL price AS SELECT a, b, price AS target FROM homes"
FEATURES = "tenure, charges, usage, contract, is_senior, signals"
LEFT = "customer_id >= 300"


@pytest.fixture(scope="module")
def churn(endpoint: Endpoint, customers: list[tuple[object, ...]]) -> str:
    """A classifier of the first half of `customers`."""
    return trained(endpoint, "churn", "churned")


@pytest.fixture(scope="module")
def segment(endpoint: Endpoint, customers: list[tuple[object, ...]]) -> str:
    """One of three classes."""
    return trained(endpoint, "segment", "segment")


def trained(endpoint: Endpoint, name: str, target: str) -> str:
    with psycopg.connect(endpoint.dsn, autocommit=True) as connection:
        connection.execute(
            f"CREATE MODEL {name} USING logistic_regression AS"
            f" SELECT {FEATURES}, {target} AS target FROM customers WHERE customer_id < 300"
        )
    return name


def evaluated(
    client: psycopg.Connection, statement: str
) -> dict[str, tuple[float | None, str | None]]:
    found = client.execute(statement).fetchall()
    return {metric: (value, detail) for metric, value, detail in found}


def heard(client: psycopg.Connection) -> list[str]:
    notices: list[str] = []
    client.add_notice_handler(lambda diag: notices.append(diag.message_primary or ""))
    return notices


# --- the numbers ----------------------------------------------------------------------------------


def test_a_classifier(client: psycopg.Connection, churn: str) -> None:
    """The measures are those of scikit-learn for what PREDICT says of the same rows."""
    found = evaluated(
        client,
        f"EVALUATE MODEL churn AS SELECT *, churned AS target FROM customers WHERE {LEFT}",
    )
    scored = client.execute(
        f"SELECT churned, PREDICT(churn, *), PREDICT_CLASS(churn, *) FROM customers WHERE {LEFT}"
    ).fetchall()
    truth, scores, labels = (np.array(column) for column in zip(*scored, strict=True))
    wanted = {
        "rows": 300,
        "accuracy": sklearn_metrics.accuracy_score(truth, labels),
        "precision": sklearn_metrics.precision_score(truth, labels),
        "recall": sklearn_metrics.recall_score(truth, labels),
        "f1": sklearn_metrics.f1_score(truth, labels),
        "log_loss": sklearn_metrics.log_loss(truth, scores),
        "auc": sklearn_metrics.roc_auc_score(truth, scores),
    }
    assert list(found) == [*wanted, "confusion_matrix"]
    for name, value in wanted.items():
        assert found[name] == (pytest.approx(value, rel=1e-9), None)
    value, detail = found["confusion_matrix"]
    assert value is None
    assert json.loads(str(detail)) == sklearn_metrics.confusion_matrix(truth, labels).tolist()


def test_a_regression(client: psycopg.Connection, price: str) -> None:
    """A model that is right has no error; one of the target's mean has an r2 of 0."""
    found = evaluated(client, HOMES)
    assert list(found) == ["rows", "r2", "rmse", "mae"]
    assert found["rows"] == (10_000, None)
    assert found["r2"][0] == pytest.approx(1.0)
    assert found["rmse"][0] == pytest.approx(0.0, abs=1e-6)
    off = evaluated(client, "EVALUATE MODEL price AS SELECT a, b, price + 2 AS target FROM homes")
    assert off["rmse"][0] == off["mae"][0] == pytest.approx(2.0)


def test_what_is_not_defined_is_null(client: psycopg.Connection, price: str, churn: str) -> None:
    """One row has no variance, one class no ROC curve: NULL, not an error."""
    one = evaluated(client, f"{HOMES} WHERE id = 1")
    assert one["r2"] == (None, None)
    assert one["rows"] == (1.0, None)
    same = evaluated(
        client, "EVALUATE MODEL churn AS SELECT *, 1 AS target FROM customers WHERE churned = 1"
    )
    assert same["auc"] == (None, None)


def test_versions_are_told_apart(client: psycopg.Connection, homes: None) -> None:
    """name:version is that version, name the default one."""
    for slope in (1, 2):
        client.execute(
            f"CREATE MODEL versioned USING linear_regression AS SELECT a, {slope} * a AS target"
            " FROM homes WHERE id <= 100"
        )
    text = "AS SELECT a, 2 * a AS target FROM homes"
    assert evaluated(client, f"EVALUATE MODEL versioned {text}")["r2"][0] == pytest.approx(1.0)
    first = evaluated(client, f"EVALUATE MODEL versioned:1.0 {text}")
    assert first == evaluated(client, f"EVALUATE MODEL 'versioned:1' {text}")
    assert (first["r2"][0] or 1.0) < 0.9


def test_columns_bind_by_name(client: psycopg.Connection, price: str) -> None:
    """Their order does not matter, others are ignored, missing ones are told of once."""
    notices = heard(client)
    mixed = "EVALUATE MODEL price AS SELECT label, price AS target, b, a, id FROM homes"
    assert evaluated(client, mixed) == evaluated(client, HOMES)
    assert notices == []
    missing = evaluated(client, "EVALUATE MODEL price AS SELECT a, price AS target FROM homes")
    assert notices == ['not given and imputed as in training: b of model "price"']
    imputed = client.execute("SELECT price, PREDICT(price, a => a) FROM homes").fetchall()
    truth, scores = (np.array(column) for column in zip(*imputed, strict=True))
    assert missing["r2"][0] == pytest.approx(sklearn_metrics.r2_score(truth, scores))


def test_values_are_cast_as_predict_casts_them(client: psycopg.Connection, price: str) -> None:
    """A feature that comes as text is the number that it says."""
    as_text = "EVALUATE MODEL price AS SELECT a::text, b::numeric, price AS target FROM homes"
    assert evaluated(client, as_text) == evaluated(client, HOMES)


def test_rows_without_a_target(client: psycopg.Connection, price: str) -> None:
    """They are left out, and told of."""
    notices = heard(client)
    statement = "EVALUATE MODEL price AS SELECT a, nullif(b, 0) AS b, {} AS target FROM homes"
    found = evaluated(client, statement.format("CASE WHEN id > 10 THEN price END"))
    assert found["rows"] == (9990.0, None)
    assert notices == ["10 rows have no target and are left out"]


def test_a_label_never_seen(client: psycopg.Connection, segment: str) -> None:
    """It counts as wrong, and the notice names it."""
    notices = heard(client)
    source = f"FROM customers WHERE {LEFT}"
    known = evaluated(client, f"EVALUATE MODEL segment AS SELECT *, segment AS target {source}")
    changed = "CASE segment WHEN 'gold' THEN 'platinum' ELSE segment END"
    found = evaluated(client, f"EVALUATE MODEL segment AS SELECT *, {changed} AS target {source}")
    counted = client.execute(f"SELECT count(*) {source} AND segment = 'gold'").fetchone()
    assert counted is not None
    (notice,) = notices
    assert notice.startswith(f"{counted[0]} rows have labels that the model has never seen")
    assert notice.endswith('count as wrong: "platinum"')
    scored = client.execute(f"SELECT {changed}, PREDICT(segment, *) {source}").fetchall()
    right = [label == predicted for label, predicted in scored]
    assert found["accuracy"][0] == pytest.approx(sum(right) / len(right))
    assert found["rows"] == known["rows"] == (300.0, None)
    matrix = json.loads(str(found["confusion_matrix"][1]))
    assert matrix[1] == [0, 0, 0]  # gold: bronze, gold, silver


def test_other_types_of_the_target(client: psycopg.Connection, churn: str) -> None:
    """0 and 1, false and true, '0' and '1' are the same labels."""
    source = f"FROM customers WHERE {LEFT}"
    spellings = ("churned", "churned::bool", "churned::text", "churned::numeric", "churned::float4")
    found = [
        evaluated(client, f"EVALUATE MODEL churn AS SELECT *, {one} AS target {source}")
        for one in spellings
    ]
    assert found == [found[0]] * len(spellings)


# --- the form of the answer -----------------------------------------------------------------------


@pytest.mark.parametrize("binary", [False, True], ids=["text", "binary"])
@pytest.mark.parametrize("prepare", [False, True], ids=["once", "prepared"])
def test_formats(client: psycopg.Connection, price: str, binary: bool, prepare: bool) -> None:
    """The rows come in the format that is asked for, by both protocols, as often as asked."""
    for _ in range(2):
        cursor = client.execute(HOMES, binary=binary, prepare=prepare)
        described = [(column.name, column.type_code) for column in cursor.description or ()]
        assert described == [("metric", 25), ("value", 701), ("detail", 25)]
        assert cursor.statusmessage == "SELECT 4"
        assert cursor.fetchone() == ("rows", 10_000.0, None)


@pytest.mark.asyncio
async def test_asyncpg(endpoint: Endpoint, price: str) -> None:
    """asyncpg prepares it, sees its columns, runs it, and steps through it with a cursor."""
    connection = await asyncpg.connect(endpoint.url)
    try:
        statement = await connection.prepare(HOMES)
        names = [attribute.name for attribute in statement.get_attributes()]
        assert names == ["metric", "value", "detail"]
        assert (await statement.fetch())[0]["metric"] == "rows"
        async with connection.transaction():
            cursor = connection.cursor(HOMES, prefetch=1)
            stepped = [record["metric"] async for record in cursor]
        assert stepped == ["rows", "r2", "rmse", "mae"]
    finally:
        await connection.close()


@pytest.mark.asyncio
async def test_portals(endpoint: Endpoint, price: str) -> None:
    """Described before it runs, in portions, and not evaluated again for the second."""
    async with await Frontend.login(endpoint.address, **endpoint.login) as client:
        await client.send(
            parse(HOMES, "s"),
            describe_statement("s"),
            bind(portal="p", statement="s"),
            describe_portal("p"),
            execute("p", 1),
            execute("p", 2),
            execute("p"),
            sync(),
        )
        reply = await client.until("Z")
        assert codes(reply) == "1tT2TDsDDsDCZ"
        names = [row[0] for row in rows(reply)]
        assert names == ["rows", "r2", "rmse", "mae"]


@pytest.mark.asyncio
async def test_in_a_query_string(endpoint: Endpoint, price: str) -> None:
    """Between other statements of one simple query it has its rows and tag, and no more."""
    async with await Frontend.login(endpoint.address, **endpoint.login) as client:
        reply = await client.query(f"SELECT 1; {HOMES}; SELECT 2")
        assert codes(reply) == "TDCTDDDDCTDCZ"
        assert [message.tag for message in reply if message.code == "C"] == [
            "SELECT 1",
            "SELECT 4",
            "SELECT 1",
        ]


@pytest.mark.asyncio
async def test_only_the_protocol_runs_what_it_prepared(endpoint: Endpoint, price: str) -> None:
    """EXECUTE in SQL of such a statement is refused: nobody would evaluate anything for it."""
    async with await Frontend.login(endpoint.address, **endpoint.login) as client:
        await client.send(parse(HOMES, "s"), sync())
        assert not errors(await client.until("Z"))
        (error,) = errors(await client.query("EXECUTE s"))
        assert error["C"] == "0A000"
        await client.send(bind(statement="s"), execute(), sync())
        assert codes(await client.until("Z")) == "2DDDDCZ"


# --- the session ----------------------------------------------------------------------------------


def test_within_a_transaction(endpoint: Endpoint, homes: None) -> None:
    """It sees the transaction's own rows and models, also where nothing may be written."""
    with psycopg.connect(endpoint.dsn) as connection:
        connection.execute("CREATE TEMP TABLE mine AS SELECT * FROM homes WHERE id <= 50")
        connection.execute(
            "CREATE MODEL own USING linear_regression AS SELECT a, b, price AS target FROM homes"
        )
        statement = "EVALUATE MODEL own AS SELECT a, b, price AS target FROM mine"
        assert evaluated(connection, statement)["rows"] == (50.0, None)
        assert evaluated(connection, statement)["r2"][0] == pytest.approx(1.0)
        connection.rollback()
        with pytest.raises(psycopg.errors.UndefinedObject):
            connection.execute(statement)


def test_read_only(endpoint: Endpoint, price: str) -> None:
    """Nothing is written: a read-only transaction is enough."""
    with psycopg.connect(endpoint.dsn) as connection:
        connection.read_only = True
        assert evaluated(connection, HOMES)["rows"] == (10_000.0, None)


def test_row_level_security(cluster: Cluster, endpoint: Endpoint, price: str) -> None:
    """The rows are those that the client's role may see."""
    database = endpoint.database
    cluster.execute("CREATE ROLE evaluating LOGIN", database)
    cluster.execute(
        "CREATE TABLE guarded AS SELECT a, b, price, id % 2 = 0 AS is_open FROM homes;"
        "ALTER TABLE guarded ENABLE ROW LEVEL SECURITY;"
        "CREATE POLICY only_open ON guarded USING (is_open);"
        f"GRANT SELECT ON guarded TO evaluating; GRANT evaluating TO {TRUST_USER}",
        database,
    )
    try:
        with psycopg.connect(endpoint.dsn, autocommit=True) as connection:
            connection.execute("SET ROLE evaluating")
            statement = "EVALUATE MODEL price AS SELECT a, b, price AS target FROM {}"
            assert evaluated(connection, statement.format("guarded"))["rows"] == (5000.0, None)
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(statement.format("homes"))
    finally:
        cluster.execute("DROP TABLE guarded; DROP ROLE evaluating", database)


@pytest.mark.asyncio
async def test_cancel(endpoint: Endpoint, direct: Endpoint, price: str) -> None:
    """A CancelRequest ends it by 57014, and the session goes on."""
    rows_sql = "SELECT i AS a, i AS b, i AS target FROM generate_series(1, 30000000) i"
    async with (
        await Frontend.login(endpoint.address, **endpoint.login) as client,
        await Frontend.login(direct.address, **direct.login) as other,
    ):
        await client.send(query(f"EVALUATE MODEL price AS {rows_sql}"))
        reading = f"SELECT count(*) FROM pg_stat_activity WHERE pid = {client.pid}"
        reading += " AND state = 'active' AND query ILIKE '%COPY%'"

        async def is_reading() -> bool:
            return await other.value(reading) == "1"

        await until_true(is_reading)
        await send_cancel(endpoint.address, client.pid, client.secret)
        reply = await client.until("Z")
        assert [error["C"] for error in errors(reply)] == ["57014"]
        assert await client.value("SELECT 1") == "1"


# It never converges, for the classes are drawn by lot and tol is 0.
ENDLESS = (
    "CREATE MODEL endless USING logistic_regression(max_iterations: 100000, tol: 0) AS"
    " SELECT random() AS a, random() AS b, (random() < 0.5) AS target"
    " FROM generate_series(1, 50000)"
)


@pytest.mark.asyncio
@pytest.mark.parametrize("how", ["cancel", "statement_timeout", "pg_cancel_backend"])
async def test_stopped_while_it_waits_for_a_process(
    cluster: Cluster, direct: Endpoint, price: str, how: str
) -> None:
    """With every training process busy it waits, and whatever stops a statement stops it."""
    with running_proxy(cluster.dsn(), {"ml.training_workers": 1}) as proxy:
        async with (
            await Frontend.login(proxy.address, **direct.login) as trainer,
            await Frontend.login(proxy.address, **direct.login) as client,
            await Frontend.login(direct.address, **direct.login) as other,
        ):

            async def waits(pid: int) -> bool:
                waiting = f"SELECT count(*) FROM pg_stat_activity WHERE pid = {pid}"
                return await other.value(f"{waiting} AND wait_event = 'advisory'") == "1"

            await trainer.send(query(ENDLESS))
            await until_true(lambda: waits(trainer.pid))
            if how == "statement_timeout":
                await client.query("SET statement_timeout = '500ms'")
            await client.send(query(HOMES))
            if how != "statement_timeout":
                await until_true(lambda: waits(client.pid))
            if how == "cancel":
                await send_cancel(proxy.address, client.pid, client.secret)
            elif how == "pg_cancel_backend":
                await other.query(f"SELECT pg_cancel_backend({client.pid})")
            reply = await client.until("Z")
            assert [error["C"] for error in errors(reply)] == ["57014"]
            await send_cancel(proxy.address, trainer.pid, trainer.secret)
            await trainer.until("Z")
            assert await client.value("SELECT 1") == "1"


MISTAKES: Sequence[tuple[str, str, str | None]] = [
    ("EVALUATE MODEL unheard_of AS SELECT 1 AS target", "42704", "unheard_of"),
    ("EVALUATE MODEL price:9.0 AS SELECT 1 AS target", "42704", "price"),
    ("EVALUATE MODEL price AS SELECT a, b FROM homes", "42703", "SELECT"),
    ("EVALUATE MODEL price AS SELECT label, price AS target FROM homes", "42703", "SELECT"),
    ("EVALUATE MODEL price AS SELECT a, label AS target FROM homes", "42804", None),
    ("EVALUATE MODEL price AS SELECT a, price AS target FROM homes WHERE false", "ML001", None),
    ("EVALUATE MODEL price AS SELECT a, nothing AS target FROM homes", "42703", "nothing"),
    ("EVALUATE MODEL price AS SELECT label AS a, b, price AS target FROM homes", "22P02", None),
    ("EVALUATE MODEL price AS SELECT a, 1/0 AS target FROM homes", "22012", None),
    ("EVALUATE MODEL price AS SELECT 1 AS a, 'Infinity'::float8 AS target", "22003", None),
    ("EVALUATE MODEL price AS DELETE FROM homes", "42601", "DELETE"),
    ("EVALUATE MODEL price", "42601", None),
]


@pytest.mark.parametrize(("statement", "sqlstate", "place"), MISTAKES)
@pytest.mark.parametrize("prepare", [False, True], ids=["simple", "prepared"])
def test_mistakes(
    client: psycopg.Connection,
    price: str,
    statement: str,
    sqlstate: str,
    place: str | None,
    prepare: bool,
) -> None:
    """A mistake is an error with its SQLSTATE and place, and the session goes on."""
    with pytest.raises(psycopg.Error) as caught:
        client.execute(statement, prepare=prepare)
    diag = caught.value.diag
    assert diag.sqlstate == sqlstate, diag.message_primary
    if place is not None:
        assert diag.statement_position == str(statement.index(place) + 1)
    assert client.execute("SELECT 1").fetchone() == (1,)


def test_a_failed_transaction(endpoint: Endpoint, price: str) -> None:
    """In a failed transaction it is refused as everything else is."""
    with psycopg.connect(endpoint.dsn) as connection:
        with pytest.raises(psycopg.errors.DivisionByZero):
            connection.execute("SELECT 1/0")
        with pytest.raises(psycopg.errors.InFailedSqlTransaction):
            connection.execute(HOMES)


def test_the_homes_are_what_the_oracle_says(client: psycopg.Connection, price: str) -> None:
    """The table that the numbers above rest on has the prices of its rule."""
    row = client.execute("SELECT price FROM homes WHERE id = 77").fetchone()
    assert row == (home_price(77),)
