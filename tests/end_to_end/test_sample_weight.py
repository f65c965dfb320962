"""sample_weight through the wire: a column of the query that says how much its row counts."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

from tests.conftest import Endpoint, is_direct

pytestmark = pytest.mark.skipif(is_direct(), reason="PostgreSQL itself has no models")

# With weight 1 the first half says 1, with weight 0 the second half would say 5.
NOISY = """
CREATE TABLE noisy AS
SELECT i AS id, i % 10 AS x, CASE WHEN i <= 500 THEN 1.0 ELSE 5.0 END AS y,
       CASE WHEN i <= 500 THEN 3 ELSE 1 END AS weight, 'text' AS words, now() AS at
FROM generate_series(1, 1000) AS i
"""
TRAINING = "AS SELECT x, weight, y AS target FROM noisy"


@pytest.fixture(scope="module")
def client(endpoint: Endpoint) -> Iterator[psycopg.Connection]:
    """A connection with the table `noisy`."""
    with psycopg.connect(endpoint.dsn, autocommit=True) as connection:
        connection.execute(NOISY)
        yield connection


def predicted(client: psycopg.Connection, name: str) -> float:
    row = client.execute(f"SELECT PREDICT({name}, 5)").fetchone()
    assert row is not None
    return float(row[0])


@pytest.mark.parametrize("spelled", ["weight", "Weight", "'weight'", '"weight"'])
def test_rows_count_by_their_weight(client: psycopg.Connection, spelled: str) -> None:
    """(3 * 1 + 1 * 5) / 4 = 2 is the weighted mean, where 3 is the plain one."""
    client.execute(f"CREATE MODEL w USING linear_regression(sample_weight: {spelled}) {TRAINING}")
    assert predicted(client, "w") == pytest.approx(2.0)
    features = client.execute("DESCRIBE MODEL w").fetchall()
    assert [row[1] for row in features if row[0] == "feature"] == ["x"]
    unweighted = TRAINING.replace("weight, ", "")
    client.execute(f"CREATE MODEL plain USING linear_regression {unweighted}")
    assert predicted(client, "plain") == pytest.approx(3.0)


@pytest.mark.parametrize(
    ("value", "column", "sqlstate"),
    [
        ("wieght", "weight", "42703"),
        ("words", "words", "42804"),
        ("at", "at", "42804"),
        ("target", "weight", "22023"),
        ("5", "weight", "22023"),
    ],
)
def test_a_weight_that_is_none(
    client: psycopg.Connection, value: str, column: str, sqlstate: str
) -> None:
    """It is an error that points at the parameter."""
    statement = (
        f"CREATE MODEL bad USING linear_regression(l2: 0, sample_weight: {value})"
        f" AS SELECT x, {column}, y AS target FROM noisy"
    )
    with pytest.raises(psycopg.Error) as caught:
        client.execute(statement)
    diag = caught.value.diag
    assert diag.sqlstate == sqlstate, diag.message_primary
    place = statement.index("sample_weight")
    place += len("sample_weight: ") if value != "5" else 0
    assert diag.statement_position == str(place + 1)
    if value == "wieght":
        assert diag.message_hint == "Perhaps you meant weight."


@pytest.mark.parametrize("weight", ["-weight", "NULL::int", "'Infinity'::float8"])
def test_a_row_with_a_wrong_weight(client: psycopg.Connection, weight: str) -> None:
    """A weight below 0, infinite or unknown is an error, and no model is made."""
    with pytest.raises(psycopg.DataError):
        client.execute(
            "CREATE MODEL bad USING linear_regression(sample_weight: w) AS"
            f" SELECT x, {weight} AS w, y AS target FROM noisy"
        )
    sql = "SELECT count(*) FROM ml_models WHERE model_name = 'bad'"
    assert client.execute(sql).fetchone() == (0,)
