"""What a session must not leave behind: an open transaction, a connection to its database."""

from __future__ import annotations

import psycopg
import pytest
from psycopg.pq import TransactionStatus

from tests.conftest import Endpoint, is_direct
from tests.support.postgres import Cluster

pytestmark = pytest.mark.skipif(is_direct(), reason="is about the proxy itself")

STATEMENTS = (
    "SELECT count(*) FROM ml_models",
    "SHOW MODELS",
    "SELECT PREDICT(price, a, b) FROM homes LIMIT 1",
    "SELECT PREDICT(price, *) FROM homes LIMIT 1",
    "SELECT PREDICT(price, a) FROM homes LIMIT 1",  # has a notice to tell
    "DROP MODEL IF EXISTS nothing_of_the_kind",
)


@pytest.mark.parametrize("statement", STATEMENTS)
@pytest.mark.parametrize("parameters", [None, ()], ids=["simple", "extended"])
def test_no_statement_of_ours_leaves_a_transaction_open(
    client: psycopg.Connection,
    endpoint: Endpoint,
    price: str,
    statement: str,
    parameters: tuple[()] | None,
) -> None:
    """After any statement the session is idle, and what it writes next is there for others."""
    client.execute("DROP TABLE IF EXISTS proof; CREATE TABLE proof (a int)")
    client.execute(statement, parameters)
    assert client.info.transaction_status == TransactionStatus.IDLE
    client.execute("INSERT INTO proof VALUES (1)")
    with psycopg.connect(endpoint.dsn, autocommit=True) as other:
        assert other.execute("SELECT a FROM proof").fetchall() == [(1,)]


def test_a_database_with_models_can_be_dropped(endpoint: Endpoint, cluster: Cluster) -> None:
    """When its last session has gone, nothing of the proxy's stands in the way of DROP DATABASE."""
    with psycopg.connect(cluster.dsn(), autocommit=True) as owner:
        owner.execute("DROP DATABASE IF EXISTS short_lived")
        owner.execute("CREATE DATABASE short_lived")
        dsn = psycopg.conninfo.make_conninfo(endpoint.dsn, dbname="short_lived")
        with psycopg.connect(dsn, autocommit=True) as session:
            session.execute(
                "CREATE MODEL line USING linear_regression AS"
                " SELECT x, 2 * x + 1 AS target FROM generate_series(1, 50) AS t (x)"
            )
            [(score,)] = session.execute("SELECT PREDICT(line, 10)").fetchall()
            assert score == pytest.approx(21)
        owner.execute("DROP DATABASE short_lived")
