"""Clusterings through the wire: trained without a target, PREDICT tells an int4."""

from __future__ import annotations

import json
from collections.abc import Iterator

import psycopg
import pytest

from tests.conftest import Endpoint, is_direct
from tests.support.wire import Frontend, bind, describe_statement, errors, execute, parse, sync

pytestmark = pytest.mark.skipif(is_direct(), reason="PostgreSQL itself has no models")

# Three heaps far from one another, and (for dbscan) a lonely point.
POINTS = """
CREATE TABLE points AS
SELECT i AS id, i % 3 AS heap, 100.0 * (i % 3) + (i % 7) / 7.0 AS x, (i % 5) / 5.0 AS y
FROM generate_series(1, 300) AS i
"""


@pytest.fixture(scope="module")
def client(endpoint: Endpoint) -> Iterator[psycopg.Connection]:
    """A connection with the table `points` and the models `heaps` and `dense`."""
    with psycopg.connect(endpoint.dsn, autocommit=True) as connection:
        connection.execute(POINTS)
        connection.execute("CREATE MODEL heaps USING kmeans(k: 3) AS SELECT x, y FROM points")
        connection.execute(
            "CREATE MODEL dense USING dbscan(eps: 5, min_samples: 3) AS"
            " SELECT x, y FROM points UNION ALL SELECT 5000, 5000"
        )
        yield connection


@pytest.mark.parametrize("binary", [False, True], ids=["text", "binary"])
@pytest.mark.parametrize("model", ["heaps", "dense"])
def test_predict(client: psycopg.Connection, model: str, binary: bool) -> None:
    """Each heap is one cluster, told as an integer in both formats."""
    cursor = client.execute(
        f"SELECT heap, PREDICT({model}, *) AS c, PREDICT_CLASS({model}, x, y) FROM points",
        binary=binary,
    )
    assert [column.type_code for column in cursor.description or ()][1:] == [23, 23]
    found = cursor.fetchall()
    assert {type(cluster) for _, cluster, _ in found} == {int}
    assert all(cluster == again for _, cluster, again in found)
    pairs = {(heap, cluster) for heap, cluster, _ in found}
    assert len(pairs) == len({cluster for _, cluster in pairs}) == 3
    assert {cluster for _, cluster in pairs} == {0, 1, 2}


@pytest.mark.parametrize("binary", [False, True], ids=["text", "binary"])
def test_noise(client: psycopg.Connection, binary: bool) -> None:
    """What is near no cluster is -1."""
    cursor = client.execute("SELECT PREDICT(dense, -900, -900)", binary=binary)
    assert cursor.fetchone() == (-1,)


@pytest.mark.asyncio
async def test_described_before_it_runs(client: psycopg.Connection, endpoint: Endpoint) -> None:
    """Describe of a prepared statement says int4; its binary row has four bytes."""
    async with await Frontend.login(endpoint.address, **endpoint.login) as own:
        sql = "SELECT PREDICT(heaps, *) FROM points WHERE id = 1"
        await own.send(
            parse(sql, "s"),
            describe_statement("s"),
            bind(statement="s", results=[1]),
            execute(),
            sync(),
        )
        reply = await own.until("Z")
        (described,) = [message for message in reply if message.code == "T"]
        assert [column.type_oid for column in described.columns] == [23]
        (row,) = [message for message in reply if message.code == "D"]
        assert [len(value or b"") for value in row.values] == [4]


@pytest.mark.asyncio
async def test_there_is_no_probability(client: psycopg.Connection, endpoint: Endpoint) -> None:
    """PREDICT_PROBA is refused at its place."""
    async with await Frontend.login(endpoint.address, **endpoint.login) as own:
        (error,) = errors(await own.query("SELECT 'é', PREDICT_PROBA(heaps, x, y) FROM points"))
        assert (error["C"], error["P"]) == ("42804", "13")


def test_what_is_known(client: psycopg.Connection) -> None:
    """The registry has it as a clustering without a target, with measures of its own."""
    row = client.execute(
        "SELECT task, target, accuracy, inertia > 0, silhouette BETWEEN 0.9 AND 1 FROM ml_models"
        " WHERE model_name = 'heaps'"
    ).fetchone()
    assert row == ("clustering", None, None, True, True)
    described = client.execute("DESCRIBE MODEL heaps").fetchall()
    assert ("model", "clusters", "0, 1, 2", None) in described
    assert [line[1] for line in described if line[0] == "feature"] == ["x", "y"]
    assert client.execute("SHOW MODEL heaps").fetchall() != []


def test_evaluate(client: psycopg.Connection) -> None:
    """New rows are counted by cluster; a target is not needed, and ignored."""
    for target in ("", ", heap AS target"):
        statement = f"EVALUATE MODEL dense AS SELECT x, y{target} FROM points WHERE heap < 2"
        found = {row[0]: row[1:] for row in client.execute(statement).fetchall()}
        assert found["rows"] == (200.0, None)
        assert found["clusters"] == (2.0, None)
        assert 0.9 < found["silhouette"][0] < 1
        value, detail = found["cluster_sizes"]
        assert value is None
        assert sorted(json.loads(detail).values()) == [0, 0, 100, 100]


def test_a_target_is_refused(client: psycopg.Connection) -> None:
    """The error says that there is none, and what to do."""
    statement = "CREATE MODEL wrong USING kmeans(k: 3) AS SELECT x, y, heap AS target FROM points"
    with pytest.raises(psycopg.errors.SyntaxError, match='"wrong" is a clustering') as caught:
        client.execute(statement)
    diag = caught.value.diag
    assert diag.statement_position == str(statement.index("SELECT") + 1)
    assert "Leave the column target out" in str(diag.message_hint)
