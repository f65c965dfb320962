"""Scores are scikit-learn's, which sees the same rows by another road."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import psycopg
import pytest
from sklearn import datasets as sklearn_datasets

from tests.conftest import Endpoint, is_direct
from tests.support import oracle
from tests.support.datasets import customer_columns, load

pytestmark = pytest.mark.skipif(is_direct(), reason="PostgreSQL itself has no models")

Rows = list[tuple[object, ...]]
names = list(customer_columns)
TIMELESS = ["tenure", "charges", "usage", "contract", "city", "is_senior", "signals"]
ALL = [*TIMELESS, "joined", "last_seen"]


def pick(rows: Rows, wanted: Sequence[str]) -> list[list[object]]:
    """Return some columns of the customers."""
    places = [names.index(name) for name in wanted]
    return [[row[place] for place in places] for row in rows]


def column(rows: Rows, name: str) -> list[object]:
    return [row[names.index(name)] for row in rows]


def predicted(
    client: psycopg.Connection, model: str, table: str = "customers", *, binary: bool = False
) -> list[object]:
    """Return the scores of a table, in the order of its key."""
    sql = f"SELECT PREDICT({model}, *) AS p FROM {table} ORDER BY customer_id"
    return [row[0] for row in client.execute(sql, binary=binary)]


def agree(got: Sequence[object], wanted: Sequence[float] | oracle.Matrix) -> None:
    """Require equality to 1e-6, relative to the spread of what is wanted."""
    values = np.array([float(str(value)) for value in got])
    expected = np.asarray(wanted, dtype=np.float64)
    scale = max(1.0, float(np.abs(expected).max()))
    assert float(np.abs(values - expected).max()) <= 1e-6 * scale


# --- awkward columns ------------------------------------------------------------------------------


@pytest.mark.parametrize("binary", [False, True], ids=["text", "binary"])
def test_linear(client: psycopg.Connection, customers: Rows, binary: bool) -> None:
    """Least squares on numbers, texts, booleans, dates, timestamps, arrays and NULLs."""
    name = f"linear_{int(binary)}"
    client.execute(
        f"CREATE MODEL {name} USING linear_regression AS"
        f" SELECT {', '.join(ALL)}, spend AS target FROM customers ORDER BY customer_id"
    )
    rows = pick(customers, ALL)
    wanted = oracle.linear(rows, [float(str(v)) for v in column(customers, "spend")])
    agree(predicted(client, name, binary=binary), wanted.values(rows))


@pytest.mark.parametrize("l2", [0.5, 30.0])
def test_ridge(client: psycopg.Connection, customers: Rows, l2: float) -> None:
    """The penalty is that of Ridge's alpha, on the raw columns."""
    client.execute(
        f"CREATE OR REPLACE MODEL ridge USING linear_regression(l2: {l2}) AS"
        f" SELECT {', '.join(TIMELESS)}, spend AS target FROM customers"
    )
    rows = pick(customers, TIMELESS)
    wanted = oracle.linear(rows, [float(str(v)) for v in column(customers, "spend")], l2)
    agree(predicted(client, "ridge"), wanted.values(rows))


@pytest.mark.parametrize("l2", [None, 0.05, 5.0])
def test_logistic(client: psycopg.Connection, customers: Rows, l2: float | None) -> None:
    """The probability of the positive class is that of LogisticRegression with C = 1/l2."""
    options = "" if l2 is None else f"(l2: {l2})"
    client.execute(
        f"CREATE OR REPLACE MODEL churn USING logistic_regression{options} AS"
        f" SELECT {', '.join(TIMELESS)}, churned AS target FROM customers"
    )
    rows = pick(customers, TIMELESS)
    wanted = oracle.logistic(rows, column(customers, "churned"), 1.0 if l2 is None else l2)
    agree(predicted(client, "churn"), wanted.probabilities(rows))


@pytest.mark.parametrize(
    "target", ["churned = 1", "churned::float8", "churned::numeric", "5 + churned"]
)
def test_two_valued_targets(client: psycopg.Connection, customers: Rows, target: str) -> None:
    """Boolean and two-valued numeric targets give the probability of the greater one."""
    client.execute(
        "CREATE OR REPLACE MODEL two_valued USING logistic_regression AS"
        f" SELECT tenure, charges, {target} AS target FROM customers"
    )
    rows = pick(customers, ["tenure", "charges"])
    wanted = oracle.logistic(rows, column(customers, "churned"))
    agree(predicted(client, "two_valued"), wanted.probabilities(rows))


@pytest.mark.parametrize("binary", [False, True], ids=["text", "binary"])
def test_labels(client: psycopg.Connection, customers: Rows, binary: bool) -> None:
    """With a text target PREDICT gives the label itself, as text."""
    client.execute(
        "CREATE OR REPLACE MODEL segments USING logistic_regression AS"
        f" SELECT {', '.join(TIMELESS)}, segment AS target FROM customers"
    )
    rows = pick(customers, TIMELESS)
    wanted = oracle.logistic(rows, column(customers, "segment"))
    assert predicted(client, "segments", binary=binary) == wanted.values(rows).tolist()
    cursor = client.execute("SELECT PREDICT(segments, *) AS p FROM customers", binary=binary)
    assert cursor.description is not None
    assert cursor.description[0].type_code == 25


@pytest.mark.parametrize(
    ("type_name", "expression"),
    [
        ("int4", "array_position(ARRAY['gold', 'silver', 'bronze'], segment)"),
        ("int8", "array_position(ARRAY['gold', 'silver', 'bronze'], segment)::int8"),
        ("segment_type", "segment::segment_type"),
        ("varchar", "segment::varchar"),
        ("numeric", "array_position(ARRAY['gold', 'silver', 'bronze'], segment) / 2.0"),
    ],
)
@pytest.mark.parametrize("binary", [False, True], ids=["text", "binary"])
def test_label_types(
    client: psycopg.Connection,
    direct: Endpoint,
    customers: Rows,
    type_name: str,
    expression: str,
    binary: bool,
) -> None:
    """The label comes in the target's own type."""
    with psycopg.connect(direct.dsn, autocommit=True) as connection:
        connection.execute(
            "DO $$ BEGIN CREATE TYPE segment_type AS ENUM ('bronze', 'silver', 'gold');"
            " EXCEPTION WHEN duplicate_object THEN NULL; END $$"
        )
    client.execute(
        "CREATE OR REPLACE MODEL typed USING logistic_regression AS"
        f" SELECT tenure, charges, signals, {expression} AS target FROM customers"
    )
    got = predicted(client, "typed", binary=binary)
    cursor = client.execute(f"SELECT DISTINCT {expression} FROM customers", binary=binary)
    assert cursor.description is not None
    type_oid = cursor.description[0].type_code
    assert set(got) <= {row[0] for row in cursor}
    assert len(set(got)) > 1
    cursor = client.execute("SELECT PREDICT(typed, *) AS p FROM customers", binary=binary)
    assert cursor.description is not None
    assert cursor.description[0].type_code == type_oid


# --- awkward rows ---------------------------------------------------------------------------------

odd = {
    "nothing": {},
    "NaN": {"usage": math.nan},
    "numeric NaN": {"charges": "NaN"},
    "infinity": {"usage": math.inf},
    "minus infinity": {"usage": -math.inf},
    "an unseen category": {"contract": "forever"},
    "an empty text": {"contract": "", "city": ""},
    "NULL where training had none": {"city": None},
    "NULL elements": {"signals": [None, 0.5, math.nan]},
    "a long past": {"tenure": -(2**31), "joined": "4713-01-01 BC"},
    "infinite dates": {"joined": "infinity", "last_seen": "-infinity"},
}


@pytest.fixture(scope="module")
def odd_rows(direct: Endpoint, customers: Rows) -> list[list[object]]:
    """The table `odd`: the first customer, changed in one way each; returns the rows."""
    rows = []
    for number, changes in enumerate(odd.values()):
        row = dict(zip(names, customers[0], strict=True)) | changes
        row["customer_id"] = number
        rows.append([row[name] for name in names])
    columns = customer_columns | {"charges": "numeric"}
    with psycopg.connect(direct.dsn, autocommit=True) as connection:
        load(connection, "odd", columns, rows)
    return rows


def test_odd_rows(
    client: psycopg.Connection, customers: Rows, odd_rows: list[list[object]]
) -> None:
    """NULL, NaN, infinities and unseen categories have defined scores, by the contract's rules."""
    client.execute(
        "CREATE MODEL odd_churn USING logistic_regression AS"
        f" SELECT {', '.join(TIMELESS)}, churned AS target FROM customers"
    )
    fitted = oracle.logistic(pick(customers, TIMELESS), column(customers, "churned"))
    cleaned = [[_number_if_nan(value) for value in row] for row in odd_rows]
    wanted = fitted.probabilities(pick([tuple(row) for row in cleaned], TIMELESS))
    agree(predicted(client, "odd_churn", "odd"), wanted)


def _number_if_nan(value: object) -> object:
    return math.nan if value == "NaN" else value


def test_odd_rows_of_time(client: psycopg.Connection, odd_rows: list[list[object]]) -> None:
    """Infinite and ancient dates have a finite score."""
    client.execute(
        "CREATE MODEL odd_spend USING linear_regression AS"
        f" SELECT {', '.join(ALL)}, spend AS target FROM customers"
    )
    assert all(math.isfinite(float(str(p))) for p in predicted(client, "odd_spend", "odd"))


@pytest.mark.parametrize("size", ["1e308", "-1e308", "1e-308", "1.7976931348623157e308"])
def test_huge_numbers(client: psycopg.Connection, customers: Rows, size: str) -> None:
    """The largest numbers give no NaN, and a probability stays one."""
    client.execute(
        "CREATE MODEL IF NOT EXISTS huge_churn USING logistic_regression AS"
        " SELECT usage, tenure, churned AS target FROM customers"
    )
    client.execute(
        "CREATE MODEL IF NOT EXISTS huge_spend USING linear_regression AS"
        " SELECT usage, tenure, spend AS target FROM customers"
    )
    (row,) = client.execute(
        f"SELECT PREDICT(huge_churn, ({size})::float8, -({size})::float8),"
        f" PREDICT(huge_spend, ({size})::float8, -({size})::float8)"
    )
    assert 0 <= row[0] <= 1
    assert not math.isnan(row[1])


def test_array_of_another_length(client: psycopg.Connection, customers: Rows) -> None:
    """An array that is too short or too long has a score or a clear error; the session goes on."""
    client.execute(
        "CREATE MODEL arrays USING linear_regression AS"
        " SELECT signals, spend AS target FROM customers"
    )
    for array in ("'{1}'", "'{1,2,3,4}'", "'{}'", "NULL", "'{{1,2,3}}'"):
        sql = f"SELECT PREDICT(arrays, {array}::float8[])"
        try:
            (row,) = client.execute(sql).fetchall()
        except psycopg.DataError as refusal:
            print(array, refusal)
        else:
            assert math.isfinite(row[0]), array
        assert client.execute("SELECT 1").fetchone() == (1,)


def test_training_with_nothing_known(client: psycopg.Connection, customers: Rows) -> None:
    """A column that is always NULL, or constant, does no harm."""
    client.execute(
        "CREATE MODEL idle USING linear_regression AS SELECT tenure, NULL::float8 AS unknown,"
        " 7 AS same, 'x'::text AS word, spend AS target FROM customers"
    )
    rows = pick(customers, ["tenure"])
    wanted = oracle.linear(rows, [float(str(v)) for v in column(customers, "spend")])
    call = "PREDICT(idle, tenure, NULL::float8, 7, 'x'::text)"
    sql = f"SELECT {call} FROM customers ORDER BY customer_id"
    agree([row[0] for row in client.execute(sql)], wanted.values(rows))


# --- the classic four -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["diabetes", "breast_cancer", "iris", "wine"])
def test_classic_data(client: psycopg.Connection, direct: Endpoint, name: str) -> None:
    """On the data that everybody knows the scores are scikit-learn's."""
    bunch = getattr(sklearn_datasets, f"load_{name}")()
    data, target = bunch.data, bunch.target
    # Columns of one size: an unpenalised scale would hide nothing, but cost scikit-learn digits.
    data = np.round((data - data.mean(axis=0)) / data.std(axis=0), 6)
    features = [f"x{i}" for i in range(data.shape[1])]
    columns = {"customer_id": "int"} | dict.fromkeys(features, "float8") | {"y": "float8"}
    rows = [
        (i, *map(float, x), float(y)) for i, (x, y) in enumerate(zip(data, target, strict=True))
    ]
    with psycopg.connect(direct.dsn, autocommit=True) as connection:
        load(connection, name, columns, rows)
    algorithm = "linear_regression" if name == "diabetes" else "logistic_regression"
    client.execute(
        f"CREATE MODEL {name} USING {algorithm} AS"
        f" SELECT {', '.join(features)}, y AS target FROM {name}"
    )
    got = predicted(client, name, name)
    inputs = [list(row[1:-1]) for row in rows]
    if name == "diabetes":
        agree(got, oracle.linear(inputs, list(target)).values(inputs))
    elif name == "breast_cancer":
        agree(got, oracle.logistic(inputs, list(target)).probabilities(inputs))
    else:
        assert got == oracle.logistic(inputs, list(target)).values(inputs).tolist()
