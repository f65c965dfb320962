"""asyncpg: prepared statements, cursors, introspection, COPY, on queries with PREDICT."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator, Iterable
from typing import Any

import asyncpg
import pytest
import pytest_asyncio

from tests.clients.answers import Answers, close
from tests.clients.conftest import Login

FIRST = (
    "SELECT customer_id, PREDICT(churn, *) AS risk FROM customers"
    " WHERE customer_id <= $1 ORDER BY 1"
)
GUESS = "SELECT PREDICT(churn, $1, $2, $3)"

pytestmark = pytest.mark.asyncio


@pytest_asyncio.fixture
async def connection(login: Login) -> AsyncIterator[asyncpg.Connection]:
    opened = await asyncpg.connect(**login.arguments)
    yield opened
    await opened.close()


def plain(records: Iterable[asyncpg.Record]) -> list[tuple[Any, ...]]:
    return [tuple(record) for record in records]


async def test_fetch(connection: asyncpg.Connection, answers: Answers) -> None:
    """fetch, fetchrow, fetchval and fetchmany."""
    assert plain(await connection.fetch(FIRST, 5)) == answers.first(5)
    assert (await connection.fetchrow(FIRST, 1))["risk"] == close(answers.risk(1))
    arguments = [(months, 50.0, "One year") for months in range(5)]
    for each in arguments:
        assert await connection.fetchval(GUESS, *each) == close(answers.score(*each))
    got = await connection.fetchmany(GUESS, arguments)
    assert plain(got) == [(close(answers.score(*each)),) for each in arguments]
    await connection.executemany(GUESS, arguments)


async def test_all_rows(connection: asyncpg.Connection, answers: Answers) -> None:
    """Every customer has the score of his features."""
    everyone = len(answers.customers)
    assert plain(await connection.fetch(FIRST, everyone)) == answers.first(everyone)


async def test_prepared(connection: asyncpg.Connection, answers: Answers) -> None:
    """A prepared statement knows the types of parameters and columns, and runs many times."""
    statement = await connection.prepare(FIRST)
    assert [each.name for each in statement.get_parameters()] == ["int4"]
    assert [(each.name, each.type.name) for each in statement.get_attributes()] == [
        ("customer_id", "int4"),
        ("risk", "float8"),
    ]
    for last in range(10):
        assert plain(await statement.fetch(last)) == answers.first(last)
    guess = await connection.prepare(GUESS)
    assert [each.name for each in guess.get_parameters()] == ["float8", "float8", "text"]
    for months in range(10):
        expected = close(answers.score(months, 50, "Two year"))
        assert await guess.fetchval(months, 50, "Two year") == expected


async def test_a_newer_version_counts_at_once(
    connection: asyncpg.Connection, answers: Answers
) -> None:
    """A prepared statement looks its model up when it is bound."""
    training = "AS SELECT tenure_months, churned AS target FROM customers"
    await connection.execute(f"CREATE MODEL renewed USING logistic_regression {training}")
    statement = await connection.prepare("SELECT PREDICT(renewed, $1)")
    before = await statement.fetchval(6)
    assert await statement.fetchval(6) == before
    strict = "logistic_regression(l2: 1000)"
    await connection.execute(f"CREATE MODEL renewed USING {strict} {training}")
    after = await statement.fetchval(6)
    assert after != close(before)
    assert after == await connection.fetchval("SELECT PREDICT('renewed:2.0', 6)")
    await connection.execute("DROP MODEL renewed")


async def test_cursors(connection: asyncpg.Connection, answers: Answers) -> None:
    """A cursor is a portal with a limit of rows."""
    everyone = len(answers.customers)
    async with connection.transaction():
        cursor = await connection.cursor(FIRST, everyone)
        assert plain(await cursor.fetch(3)) == answers.first(3)
        assert await cursor.forward(10) == 10
        assert tuple(await cursor.fetchrow()) == (14, close(answers.risk(14)))
        rows = [row async for row in connection.cursor(FIRST, everyone, prefetch=500)]
        assert plain(rows) == answers.first(everyone)
        statement = await connection.prepare(FIRST)
        rows = [row async for row in statement.cursor(20, prefetch=7)]
        assert plain(rows) == answers.first(20)


async def test_introspection(connection: asyncpg.Connection, answers: Answers) -> None:
    """Types of one's own beside a score are looked up and read."""
    await connection.execute("CREATE TYPE mood AS ENUM ('sad', 'ok')")
    await connection.execute("CREATE TYPE pair AS (number int, mood mood)")
    await connection.execute("CREATE DOMAIN positive AS int CHECK (value > 0)")
    row = await connection.fetchrow(
        "SELECT ARRAY['sad'::mood, 'ok'] AS moods, PREDICT(churn, c.*) AS risk,"
        " ROW(1, 'ok')::pair AS pair, ARRAY[ROW(2, 'sad')::pair, NULL] AS pairs,"
        " 5::positive AS five,"
        " int4range(1, 3) AS range, c AS whole FROM customers AS c WHERE customer_id = $1",
        1,
    )
    assert row["moods"] == ["sad", "ok"]
    assert row["risk"] == close(answers.risk(1))
    assert tuple(row["pair"]) == (1, "ok")
    assert [each and tuple(each) for each in row["pairs"]] == [(2, "sad"), None]
    assert row["five"] == 5
    assert row["range"] == asyncpg.Range(1, 3)
    assert row["whole"]["tenure_months"] == answers.customers[1][0]
    await connection.execute("DROP TYPE mood CASCADE; DROP TYPE pair; DROP DOMAIN positive")


async def test_codec(connection: asyncpg.Connection, answers: Answers) -> None:
    """A codec of the client's own reads a score in text."""
    await connection.set_type_codec(
        "float8",
        schema="pg_catalog",
        encoder=str,
        decoder=lambda text: ("text", float(text)),
        format="text",
    )
    rows = await connection.fetch(FIRST, 2)
    assert [row["risk"] for row in rows] == [("text", risk) for _, risk in answers.first(2)]


async def test_copy(connection: asyncpg.Connection, answers: Answers) -> None:
    """copy_from_query, with its arguments, and copy_records_to_table, with scores between."""
    out = io.BytesIO()
    query = "SELECT customer_id, tenure_months FROM customers WHERE customer_id <= $1 ORDER BY 1"
    assert await connection.copy_from_query(query, 3, output=out, format="csv") == "COPY 3"
    expected = [f"{i},{answers.customers[i][0]}" for i in (1, 2, 3)]
    assert out.getvalue().decode().splitlines() == expected
    await connection.execute("CREATE TEMP TABLE asked (LIKE customers)")
    rows = await connection.fetch("SELECT * FROM customers WHERE customer_id <= 100")
    tag = await connection.copy_records_to_table("asked", records=plain(rows))
    assert tag == "COPY 100"
    scored = await connection.fetch(FIRST.replace("customers", "asked"), 100)
    assert plain(scored) == answers.first(100)


async def test_pool(login: Login, answers: Answers) -> None:
    """A pool's connections serve one after the other."""
    async with asyncpg.create_pool(**login.arguments, min_size=2, max_size=4) as pool:
        got = await asyncio.gather(*(pool.fetch(FIRST, last) for last in range(40)))
    assert [plain(each) for each in got] == [answers.first(last) for last in range(40)]


async def test_notices(connection: asyncpg.Connection) -> None:
    """What PREDICT imputes and CREATE MODEL measures is heard by a listener."""
    heard: list[str] = []
    connection.add_log_listener(lambda _, message: heard.append(message.message))
    await connection.fetch("SELECT PREDICT(churn, tenure_months => $1)", 6)
    training = "SELECT tenure_months, churned AS target FROM customers"
    tag = await connection.execute(f"CREATE MODEL heard USING logistic_regression AS {training}")
    await connection.execute("DROP MODEL heard")
    await asyncio.sleep(0)
    assert tag == "CREATE MODEL"
    assert heard[0].startswith("not given and imputed as in training: monthly_charges")
    assert heard[1].startswith('model "heard" version 1.0: 7043 rows')


@pytest.mark.parametrize("way", ["fetch", "execute", "prepare"])
async def test_error(connection: asyncpg.Connection, answers: Answers, way: str) -> None:
    """A model that is not there is an UndefinedObjectError, with its hint; a savepoint holds."""
    async with connection.transaction():
        with pytest.raises(asyncpg.UndefinedObjectError) as caught:
            async with connection.transaction():
                await getattr(connection, way)("SELECT PREDICT(chrun, *) FROM customers")
        assert caught.value.sqlstate == "42704"
        assert caught.value.hint == 'Perhaps you mean "churn".'
        assert plain(await connection.fetch(FIRST, 1)) == answers.first(1)


async def test_copy_of_scores(connection: asyncpg.Connection, answers: Answers) -> None:
    """copy_from_query writes scores to a file, with arguments and without."""
    for query, arguments in ((FIRST, [100]), (FIRST.replace("$1", "100"), [])):
        out = io.BytesIO()
        tag = await connection.copy_from_query(query, *arguments, output=out, format="csv")
        assert tag == "COPY 100"
        pairs = (line.split(",") for line in out.getvalue().decode().splitlines())
        assert [(int(key), float(value)) for key, value in pairs] == answers.first(100)


async def test_where(connection: asyncpg.Connection, answers: Answers) -> None:
    """A prepared statement may choose rows by their score, and knows the parameter's type."""
    statement = await connection.prepare(
        "SELECT count(*) FROM customers"
        " WHERE PREDICT(churn, tenure_months, monthly_charges, contract_type) > $1"
    )
    assert [each.name for each in statement.get_parameters()] == ["float8"]
    for limit in (0.25, 0.5, 0.75):
        expected = sum(answers.risk(i) > limit for i in answers.customers)
        assert await statement.fetchval(limit) == expected
