"""What PREDICT leaves alone in its session: settings, transactions, parameters, the client's time.

The forest is too large for an SQL expression, so its scores are known before a statement runs; that
of a linear model the statement computes.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import asyncpg
import psycopg
import pytest

from tests.conftest import Endpoint, is_direct
from tests.support.datasets import home_price
from tests.support.waiting import PAUSE_S, WAIT_LIMIT_S

pytestmark = pytest.mark.skipif(is_direct(), reason="PostgreSQL itself has no models")

STAGED = "SELECT count(*) FROM homes WHERE PREDICT(forest, a, b) > 5.03"
PUSHED = "SELECT count(*) FROM homes WHERE PREDICT(price, a, b) > 5.03"


@pytest.fixture(scope="module")
def forest(endpoint: Endpoint, homes: None) -> str:
    with psycopg.connect(endpoint.dsn, autocommit=True) as connection:
        connection.execute(
            "CREATE MODEL forest USING random_forest(n_trees: 30, max_depth: 8) AS"
            " SELECT a, b, price AS target FROM homes WHERE id <= 2000"
        )
    return "forest"


@pytest.fixture(scope="module")
def known(endpoint: Endpoint, price: str, forest: str) -> dict[int, float]:
    """The forest's score of every home, from a plain select list."""
    with psycopg.connect(endpoint.dsn, autocommit=True) as connection:
        return dict(connection.execute("SELECT id, PREDICT(forest, a, b) FROM homes").fetchall())


@pytest.fixture
def other(direct: Endpoint) -> Iterator[psycopg.Connection]:
    """Another session, without the proxy."""
    with psycopg.connect(direct.dsn, autocommit=True) as connection:
        yield connection


def value(client: psycopg.Connection, statement: str, **options: bool) -> object:
    row = client.execute(statement.encode(), **options).fetchone()
    assert row is not None
    return row[0]


# --- settings -------------------------------------------------------------------------------------


@pytest.mark.parametrize("prepare", [False, True], ids=["simple", "prepared"])
@pytest.mark.parametrize("setting", ["on", "off"])
@pytest.mark.parametrize("statement", [PUSHED, STAGED, f"EXPLAIN {PUSHED}"])
def test_jit_is_as_it_was(
    client: psycopg.Connection, known: dict[int, float], statement: str, setting: str, prepare: bool
) -> None:
    """A session's jit is what it was, outside a transaction, within one and after one."""
    client.execute(f"SET jit = {setting}".encode())
    client.execute(statement.encode(), prepare=prepare)
    assert value(client, "SHOW jit") == setting
    opposite = {"on": "off", "off": "on"}[setting]
    with client.transaction():
        client.execute(statement.encode(), prepare=prepare)
        assert value(client, "SHOW jit") == setting
        client.execute(f"SET LOCAL jit = {opposite}".encode())
        client.execute(statement.encode(), prepare=prepare)
        assert value(client, "SHOW jit") == opposite
    assert value(client, "SHOW jit") == setting


@pytest.mark.parametrize("prepare", [False, True], ids=["simple", "prepared"])
def test_jit_is_as_it_was_after_an_error(
    client: psycopg.Connection, price: str, prepare: bool
) -> None:
    """A statement that fails leaves the setting to the rollback, of a savepoint, too."""
    client.execute("SET jit = on")
    fails = "SELECT 1 / (id - 5) FROM homes WHERE PREDICT(price, a, b) > -100"
    with pytest.raises(psycopg.errors.DivisionByZero):
        client.execute(fails, prepare=prepare)
    assert value(client, "SHOW jit") == "on"
    with client.transaction():
        with pytest.raises(psycopg.errors.DivisionByZero), client.transaction():
            client.execute(fails, prepare=prepare)
        assert value(client, "SHOW jit") == "on"
    assert value(client, "SHOW jit") == "on"


def test_jit_is_as_it_was_after_a_pipeline(client: psycopg.Connection, price: str) -> None:
    """In a pipeline, too, only the statements with a score run without JIT."""
    client.execute("SET jit = on")
    with client.pipeline():
        settings = [
            client.execute(statement.encode())
            for statement in ("SHOW jit", PUSHED, "SHOW jit", PUSHED, "SHOW jit")
        ]
    assert [cursor.fetchone() for cursor in settings[::2]] == [("on",)] * 3
    assert value(client, "SHOW jit") == "on"


@pytest.mark.parametrize("prepare", [False, True], ids=["simple", "prepared"])
def test_isolation_is_as_it_was(
    client: psycopg.Connection, known: dict[int, float], prepare: bool
) -> None:
    """The one snapshot of a staged query is no setting of its session."""
    client.execute(STAGED.encode(), prepare=prepare)
    for setting in ("transaction_isolation", "default_transaction_isolation"):
        assert value(client, f"SHOW {setting}") == "read committed"
    with client.transaction():
        client.execute(STAGED.encode(), prepare=prepare)
        assert value(client, "SHOW transaction_isolation") == "read committed"


# --- transactions ---------------------------------------------------------------------------------


@pytest.mark.parametrize("prepare", [False, True], ids=["simple", "prepared"])
@pytest.mark.parametrize(
    "characteristics",
    ["READ ONLY", "ISOLATION LEVEL REPEATABLE READ", "ISOLATION LEVEL SERIALIZABLE, READ ONLY"],
)
def test_transactions(
    client: psycopg.Connection, known: dict[int, float], characteristics: str, prepare: bool
) -> None:
    """Nothing is written for a staged statement, so it runs where nothing can be."""
    expected = sum(score > 5.03 for score in known.values())
    client.execute(f"BEGIN {characteristics}".encode())
    assert value(client, STAGED, prepare=prepare) == expected
    assert value(client, PUSHED, prepare=prepare) == sum(
        home_price(i) > 5.03 for i in range(1, 10_001)
    )
    client.execute("COMMIT")


def test_a_failed_transaction(client: psycopg.Connection, known: dict[int, float]) -> None:
    """In a failed transaction a staged statement fails as any other."""
    client.execute("BEGIN")
    with pytest.raises(psycopg.errors.UndefinedTable):
        client.execute("SELECT FROM nothing_of_that_name")
    with pytest.raises(psycopg.errors.InFailedSqlTransaction):
        client.execute(STAGED)
    client.execute("ROLLBACK")
    assert value(client, STAGED) == sum(score > 5.03 for score in known.values())


def test_what_the_transaction_has_written_is_scored(
    client: psycopg.Connection, known: dict[int, float]
) -> None:
    """Rows that only the session itself can see are read beforehand, too."""
    with client.transaction(force_rollback=True):
        client.execute("CREATE TEMP TABLE mine AS SELECT a, b FROM homes WHERE id <= 50")
        got = value(client, "SELECT sum(PREDICT(forest, a, b)) FROM mine")
    assert got == pytest.approx(sum(known[i] for i in range(1, 51)))


# --- parameters -----------------------------------------------------------------------------------


@pytest.mark.parametrize("binary", [False, True], ids=["text", "binary"])
@pytest.mark.parametrize("model", ["price", "forest"])
def test_parameters(
    client: psycopg.Connection, known: dict[int, float], model: str, binary: bool
) -> None:
    """A parameter may be an argument, a bound, a part of the rest, or name the row."""
    of = known if model == "forest" else {i: home_price(i) for i in known}
    argument = "%b" if binary else "%t"
    statement = (
        f"SELECT id, PREDICT({model}, a + {argument}, b, key => {argument}) * 2 FROM homes"
        f" WHERE PREDICT({model}, a, b) > {argument} AND id < {argument} ORDER BY id"
    )
    expected = [(i, pytest.approx(2 * of[i])) for i in range(1, 80) if of[i] > 5.03]
    for _ in range(2):
        cursor = client.execute(
            statement.encode(), [0.0, "this", 5.03, 80], prepare=True, binary=binary
        )
        assert cursor.fetchall() == expected
    cursor = client.execute(statement.encode(), [0.0, None, 99.0, 80], prepare=True)
    assert cursor.fetchall() == []


@pytest.mark.asyncio
async def test_describe_tells_of_the_clients_parameters_only(
    endpoint: Endpoint, known: dict[int, float]
) -> None:
    """A client that asks for the types of a staged statement's parameters sees its own."""
    connection = await asyncpg.connect(endpoint.url)
    try:
        for model in ("price", "forest"):
            statement = await connection.prepare(
                f"SELECT id FROM homes WHERE PREDICT({model}, a, b) > $1"
                f" AND PREDICT({model}, $2, b) > 0 AND label <> $3"
            )
            types = [parameter.name for parameter in statement.get_parameters()]
            assert types == ["float8", "float8", "text"]
            assert [column.name for column in statement.get_attributes()] == ["id"]
            plain = f"SELECT count(*) FROM (SELECT PREDICT({model}, $1::float8, b) AS p FROM homes"
            positive = await connection.fetchval(f"{plain} OFFSET 0) AS q WHERE p > 0", 1.0)
            assert 0 < positive < len(known)
            assert len(await statement.fetch(-1000.0, 1.0, "")) == positive
            assert await statement.fetch(1000.0, 1.0, "") == []
            assert len(await statement.fetch(-1000.0, None, "")) == 10_000
    finally:
        await connection.close()


# --- time -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("prepare", [False, True], ids=["simple", "prepared"])
def test_cancel_while_its_rows_are_read(
    client: psycopg.Connection, known: dict[int, float], prepare: bool
) -> None:
    """A cancel during the reading beforehand ends the statement, and the session goes on."""
    slow = f"{STAGED} AND id = 1 AND pg_sleep(30) IS NOT NULL"
    timer = threading.Timer(0.5, client.cancel_safe)
    timer.start()
    begun = time.monotonic()
    with pytest.raises(psycopg.errors.QueryCanceled):
        client.execute(slow.encode(), prepare=prepare)
    assert time.monotonic() - begun < 10
    timer.join()
    assert value(client, STAGED) == sum(score > 5.03 for score in known.values())


def test_a_timeout_of_the_session_holds(
    client: psycopg.Connection, known: dict[int, float]
) -> None:
    """The reading beforehand is a statement, and no longer than one may be."""
    client.execute("SET statement_timeout = '200ms'")
    with pytest.raises(psycopg.errors.QueryCanceled) as caught:
        client.execute(f"{STAGED} AND id = 1 AND pg_sleep(30) IS NOT NULL".encode())
    assert "timeout" in str(caught.value.diag.message_primary)
    client.execute("RESET statement_timeout")
    assert value(client, STAGED) == sum(score > 5.03 for score in known.values())


def test_an_error_while_its_rows_are_read_has_its_place(
    client: psycopg.Connection, known: dict[int, float]
) -> None:
    """An error of the reading beforehand is the statement's, at its place in the client's text."""
    statement = f"{STAGED} AND nothing = 1"
    with pytest.raises(psycopg.errors.UndefinedColumn) as caught:
        client.execute(statement.encode())
    assert caught.value.diag.statement_position == str(statement.index("nothing") + 1)
    with pytest.raises(psycopg.errors.DivisionByZero):
        client.execute("SELECT PREDICT(forest, a / (b - 3), b) + 1 FROM homes")
    assert value(client, STAGED) == sum(score > 5.03 for score in known.values())


COPIED = "INSERT INTO copies SELECT id, PREDICT(forest, a, b) FROM sources"


def grow_between_the_reads(client: psycopg.Connection, other: psycopg.Connection) -> None:
    """Run COPIED; before it gets the lock on `copies`, another session adds a row to `sources`.

    The rows are read before the statement itself is parsed, which waits for the lock.
    """
    other.execute("BEGIN")
    other.execute("LOCK TABLE copies")

    def grow() -> None:
        waiting = (
            "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'copies'::regclass"
        )
        limit = time.monotonic() + WAIT_LIMIT_S
        while value(other, waiting) != 1 and time.monotonic() < limit:
            time.sleep(PAUSE_S)
        other.execute("INSERT INTO sources VALUES (4, 77.5, 7)")
        other.execute("COMMIT")

    thread = threading.Thread(target=grow)
    thread.start()
    try:
        client.execute(COPIED)
    finally:
        thread.join()


@pytest.fixture
def sources(other: psycopg.Connection, known: dict[int, float]) -> Iterator[None]:
    other.execute("CREATE TABLE sources AS SELECT id, a, b FROM homes WHERE id <= 3")
    other.execute("CREATE TABLE copies (id int, p float8)")
    yield
    other.execute("DROP TABLE sources, copies")


@pytest.mark.usefixtures("sources")
def test_a_row_that_comes_between_the_reads(
    client: psycopg.Connection, other: psycopg.Connection, known: dict[int, float]
) -> None:
    """A statement that meets a row that was not scored is 40001, and can be run again."""
    with pytest.raises(psycopg.errors.SerializationFailure) as caught:
        grow_between_the_reads(client, other)
    assert caught.value.diag.message_hint is not None
    assert value(client, "SELECT count(*) FROM copies") == 0
    client.execute(COPIED)
    got = client.execute("SELECT id, p FROM copies ORDER BY id").fetchall()
    assert got[:3] == [(i, pytest.approx(known[i])) for i in (1, 2, 3)]
    assert got[3] == (4, pytest.approx(value(client, "SELECT PREDICT(forest, 77.5, 7)")))


@pytest.mark.usefixtures("sources")
def test_a_snapshot_has_no_row_between_the_reads(
    client: psycopg.Connection, other: psycopg.Connection, known: dict[int, float]
) -> None:
    """In a transaction of REPEATABLE READ both reads see the same rows."""
    client.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
    grow_between_the_reads(client, other)
    client.execute("COMMIT")
    got = client.execute("SELECT id, p FROM copies ORDER BY id").fetchall()
    assert got == [(i, pytest.approx(known[i])) for i in (1, 2, 3)]
