"""psycopg 3: each kind of cursor and connection, on queries with PREDICT."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import psycopg
import psycopg.rows
import psycopg.types.composite
import psycopg.types.enum
import pytest
from psycopg import sql

from tests.clients.answers import Answers, close
from tests.clients.conftest import Login

FIRST = (
    "SELECT customer_id, PREDICT(churn, *) AS risk FROM customers"
    " WHERE customer_id <= %s ORDER BY 1"
)
GUESS = "SELECT PREDICT(churn, %s, %s, %s)"
FLOAT8 = 701

binary_or_not = pytest.mark.parametrize("binary", [False, True], ids=["text", "binary"])


@pytest.fixture
def connection(login: Login) -> Iterator[psycopg.Connection]:
    with psycopg.connect(login.dsn, autocommit=True) as opened:
        yield opened


# --- cursors --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "binary"),
    [(psycopg.Cursor, False), (psycopg.Cursor, True), (psycopg.ClientCursor, False)],
    ids=["text", "binary", "parameters written in"],
)
def test_cursors(
    connection: psycopg.Connection, answers: Answers, kind: type[psycopg.Cursor], binary: bool
) -> None:
    """Parameters sent, or written in by the client, give the same, in both formats."""
    cursor = kind(connection)
    assert cursor.execute(FIRST, [5], binary=binary).fetchall() == answers.first(5)
    assert cursor.description is not None
    assert [(column.name, column.type_code) for column in cursor.description][1] == ("risk", FLOAT8)
    cursor.execute(GUESS, [6, 79.99, "One year"], binary=binary)
    assert cursor.fetchone() == (close(answers.score(6, 79.99, "One year")),)


def test_raw_cursor(connection: psycopg.Connection, answers: Answers) -> None:
    """PostgreSQL's own $1 may be written."""
    cursor = psycopg.RawCursor(connection)
    cursor.execute(FIRST.replace("%s", "$1"), [2])
    assert cursor.fetchall() == answers.first(2)
    assert cursor.execute(
        "SELECT PREDICT(churn, $2, $3, $1), $2 + 1", ["One year", 6, 79.99]
    ).fetchone() == (close(answers.score(6, 79.99, "One year")), 7)


def test_row_factories(connection: psycopg.Connection, answers: Answers) -> None:
    """A score is an entry of a dict, an attribute, a scalar."""
    cursor: psycopg.Cursor[Any] = connection.cursor(row_factory=psycopg.rows.dict_row)
    assert cursor.execute(FIRST, [1]).fetchall() == [
        {"customer_id": 1, "risk": close(answers.risk(1))}
    ]
    named = connection.cursor(row_factory=psycopg.rows.namedtuple_row).execute(FIRST, [1])
    assert named.fetchone().risk == close(answers.risk(1))
    scalar = connection.cursor(row_factory=psycopg.rows.scalar_row)
    assert scalar.execute("SELECT PREDICT(churn, *) FROM customers LIMIT 1").fetchone() is not None


@pytest.mark.parametrize("size", [1, 3])
def test_stream(connection: psycopg.Connection, answers: Answers, size: int) -> None:
    """Rows are handed over one by one, or in portions."""
    rows = connection.cursor().stream(FIRST, [7], size=size)
    assert list(rows) == answers.first(7)


def test_all_rows(connection: psycopg.Connection, answers: Answers) -> None:
    """Every customer has the score of his features."""
    everyone = len(answers.customers)
    got = connection.execute(FIRST, [everyone], binary=True).fetchall()
    assert got == answers.first(everyone)


def test_prepared(connection: psycopg.Connection, answers: Answers) -> None:
    """A statement that psycopg has prepared goes on as before."""
    for _ in range(10):
        assert connection.execute(FIRST, [2]).fetchall() == answers.first(2)
    for months in range(10):
        row = connection.execute(GUESS, [months, 50.0, "Two year"], prepare=True).fetchone()
        assert row == (close(answers.score(months, 50, "Two year")),)
    count = connection.execute("SELECT count(*) FROM pg_prepared_statements").fetchone()
    assert count == (2,)


def test_executemany(connection: psycopg.Connection, answers: Answers) -> None:
    """executemany returns the results of all."""
    arguments = [(months, 50.0, "One year") for months in range(20)]
    with connection.cursor() as cursor:
        cursor.executemany(GUESS, arguments, returning=True)
        got = [each.fetchone() for each in cursor.results()]
    assert got == [(close(answers.score(*each)),) for each in arguments]


# --- arguments ------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [psycopg.Cursor, psycopg.ClientCursor])
def test_names(
    connection: psycopg.Connection, answers: Answers, kind: type[psycopg.Cursor]
) -> None:
    """The model's name is composed into the text; so are versions and named arguments."""
    expected = (close(answers.score(6, 79.99, "One year")),)
    for statement in (
        sql.SQL("SELECT PREDICT({}, %s, %s, %s)").format(sql.Identifier("churn")),
        sql.SQL("SELECT PREDICT({}, %s, %s, %s)").format(sql.Literal("churn:1.0")),
        sql.SQL(
            "SELECT PREDICT(churn, {} => %s, monthly_charges => %s, contract_type => %s)"
        ).format(sql.Identifier("tenure_months")),
    ):
        row = kind(connection).execute(statement, [6, 79.99, "One year"]).fetchone()
        assert row == expected


def test_the_model_is_no_parameter(connection: psycopg.Connection, answers: Answers) -> None:
    """A bound name calls a function of the user's, which is not there; a written one is a name."""
    statement, arguments = "SELECT PREDICT(%s, 6, 79.99, 'One year')", ["churn"]
    with pytest.raises(psycopg.errors.UndefinedFunction):
        connection.execute(statement, arguments)
    row = psycopg.ClientCursor(connection).execute(statement, arguments).fetchone()
    assert row == (close(answers.score(6, 79.99, "One year")),)


# --- pipelines ------------------------------------------------------------------------------------


def test_pipeline(connection: psycopg.Connection, answers: Answers) -> None:
    """Many statements in flight, plain ones between; an error skips to the next Sync only."""
    with connection.pipeline() as pipeline:
        guesses = [connection.execute(GUESS, [i, 50.0, "One year"]) for i in range(50)]
        plain = [connection.execute("SELECT %s::int", [i]) for i in range(50)]
        pipeline.sync()
        connection.execute("SELECT PREDICT(chrun, *) FROM customers")
        with pytest.raises(psycopg.errors.UndefinedObject):
            pipeline.sync()
        after = connection.execute(FIRST, [3], binary=True)
        pipeline.sync()
        assert [cursor.fetchone() for cursor in guesses] == [
            (close(answers.score(i, 50, "One year")),) for i in range(50)
        ]
        assert [cursor.fetchone() for cursor in plain] == [(i,) for i in range(50)]
        assert after.fetchall() == answers.first(3)


# --- asynchronous ---------------------------------------------------------------------------------


def test_async(login: Login, answers: Answers) -> None:
    """AsyncConnection: execute, stream, executemany, pipeline."""

    async def main() -> None:
        async with await psycopg.AsyncConnection.connect(login.dsn, autocommit=True) as own:
            assert await (await own.execute(FIRST, [3])).fetchall() == answers.first(3)
            streamed = [row async for row in own.cursor(binary=True).stream(FIRST, [3])]
            assert streamed == answers.first(3)
        async with await psycopg.AsyncConnection.connect(login.dsn, autocommit=True) as own:
            cursor = own.cursor()
            await cursor.executemany(GUESS, [(i, 50.0, "One year") for i in (1, 2)], returning=True)
            assert await cursor.fetchone() == (close(answers.score(1, 50, "One year")),)
            async with own.pipeline():
                cursors = [await own.execute(FIRST, [i]) for i in range(5)]
                assert [await each.fetchall() for each in cursors] == [
                    answers.first(i) for i in range(5)
                ]

    asyncio.run(main())


def test_many_sessions(login: Login, answers: Answers) -> None:
    """Sessions do not meet."""

    async def one(last: int) -> list[Any]:
        async with await psycopg.AsyncConnection.connect(login.dsn) as own:
            return await (await own.execute(FIRST, [last])).fetchall()

    async def main() -> list[list[Any]]:
        return await asyncio.gather(*(one(last) for last in range(20)))

    assert asyncio.run(main()) == [answers.first(last) for last in range(20)]


# --- COPY, cursors and types without PREDICT ------------------------------------------------------


@binary_or_not
def test_copy(connection: psycopg.Connection, binary: bool) -> None:
    """COPY of a query and of a table go both ways."""
    form = "(FORMAT binary)" if binary else ""
    connection.execute("CREATE TEMP TABLE copied (customer_id int, contract_type text)")
    query = "SELECT customer_id, contract_type FROM customers ORDER BY customer_id"
    with connection.cursor().copy(f"COPY ({query}) TO STDOUT {form}") as out:
        data = b"".join(out)
    with connection.cursor().copy(f"COPY copied FROM STDIN {form}") as back:
        back.write(data)
    copied = connection.execute("TABLE copied ORDER BY customer_id").fetchall()
    assert copied == connection.execute(query).fetchall()


def test_server_side_cursor(connection: psycopg.Connection, answers: Answers) -> None:
    """A named cursor of a query without PREDICT fetches in portions, scores beside it."""
    with connection.transaction(), connection.cursor("portions") as cursor:
        cursor.itersize = 1000
        cursor.execute("SELECT customer_id FROM customers ORDER BY 1")
        assert connection.execute(FIRST, [2]).fetchall() == answers.first(2)
        assert [row[0] for row in cursor] == sorted(answers.customers)


@binary_or_not
def test_types_of_ones_own(connection: psycopg.Connection, answers: Answers, binary: bool) -> None:
    """Enums, composites and arrays of them stand beside a score as they are."""
    connection.execute("CREATE TYPE pg_temp.mood AS ENUM ('sad', 'ok')")
    connection.execute("CREATE TYPE pg_temp.pair AS (number int, mood pg_temp.mood)")
    mood = psycopg.types.enum.EnumInfo.fetch(connection, "pg_temp.mood")
    pair = psycopg.types.composite.CompositeInfo.fetch(connection, "pg_temp.pair")
    assert mood is not None
    assert pair is not None
    psycopg.types.enum.register_enum(mood, connection)
    psycopg.types.composite.register_composite(pair, connection)
    row = connection.execute(
        "SELECT 'ok'::pg_temp.mood, PREDICT(churn, *), ROW(1, 'sad')::pg_temp.pair,"
        " ARRAY[ROW(2, 'ok')::pg_temp.pair] FROM customers WHERE customer_id = %s",
        [1],
        binary=binary,
    ).fetchone()
    assert row == (
        mood.enum.ok,
        close(answers.risk(1)),
        pair.python_type(1, mood.enum.sad),
        [pair.python_type(2, mood.enum.ok)],
    )


# --- errors ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("arguments", [None, [1]], ids=["plain", "parameters"])
def test_error(
    connection: psycopg.Connection, answers: Answers, arguments: list[int] | None
) -> None:
    """A model that is not there is an UndefinedObject, with its fields; a savepoint holds."""
    statement = "SELECT PREDICT(chrun, *) FROM customers"
    if arguments:
        statement += " WHERE customer_id = %s"
    with connection.transaction():
        with pytest.raises(psycopg.errors.UndefinedObject) as caught, connection.transaction():
            connection.execute(statement, arguments)
        assert caught.value.sqlstate == "42704"
        assert caught.value.diag.statement_position == "16"
        assert caught.value.diag.message_hint == 'Perhaps you mean "churn".'
        assert connection.execute(FIRST, [1]).fetchall() == answers.first(1)


@binary_or_not
def test_copy_of_scores(connection: psycopg.Connection, answers: Answers, binary: bool) -> None:
    """COPY of a query with PREDICT, in both formats, and again as the rows of a table."""
    form = "(FORMAT binary)" if binary else ""
    query = FIRST % len(answers.customers)
    with connection.cursor().copy(f"COPY ({query}) TO STDOUT {form}") as copy:
        copy.set_types(["int4", "float8"])
        assert list(copy.rows()) == answers.first(len(answers.customers))
    with connection.cursor().copy(f"COPY ({query}) TO STDOUT {form}") as copy:
        data = b"".join(copy)
    connection.execute("CREATE TEMP TABLE scores (customer_id int, risk float8)")
    with connection.cursor().copy(f"COPY scores FROM STDIN {form}") as copy:
        copy.write(data)
    assert connection.execute("TABLE scores ORDER BY 1").fetchall() == (
        answers.first(len(answers.customers))
    )


@binary_or_not
def test_named_cursor(connection: psycopg.Connection, answers: Answers, binary: bool) -> None:
    """A named cursor of scores fetches in portions, and scrolls."""
    everyone = len(answers.customers)
    with (
        connection.transaction(),
        connection.cursor("scores", binary=binary, scrollable=True) as cursor,
    ):
        cursor.itersize = 1000
        cursor.execute(FIRST, [everyone])
        assert list(cursor) == answers.first(everyone)
        cursor.scroll(2, mode="absolute")
        assert cursor.fetchmany(2) == answers.first(4)[2:]
        assert cursor.description is not None
        assert cursor.description[1].type_code == FLOAT8


def test_named_cursor_with_hold(connection: psycopg.Connection, answers: Answers) -> None:
    """A cursor WITH HOLD outlives its transaction."""
    cursor = connection.cursor("held", withhold=True)
    with connection.transaction():
        cursor.execute(FIRST, [10])
    assert cursor.fetchall() == answers.first(10)
    cursor.close()


@binary_or_not
@pytest.mark.parametrize("kind", [psycopg.Cursor, psycopg.RawCursor])
def test_where_and_order(
    connection: psycopg.Connection, answers: Answers, kind: type[psycopg.Cursor], binary: bool
) -> None:
    """A score may choose and order the rows, against a parameter."""
    everyone = answers.first(len(answers.customers))
    score = "PREDICT(churn, tenure_months, monthly_charges, contract_type)"
    limit = "%s" if kind is psycopg.Cursor else "$1"
    query = (
        f"SELECT customer_id FROM customers WHERE {score} > {limit}"
        f" ORDER BY {score} DESC, customer_id"
    )
    got = kind(connection).execute(query, [0.7], binary=binary).fetchall()
    risky = [i for i, _ in everyone if answers.risk(i) > 0.7]
    assert {i for (i,) in got} == set(risky)
    risks = [answers.risk(i) for (i,) in got]
    assert risks == pytest.approx(sorted(risks, reverse=True), rel=1e-9)


def test_scores_into_a_table(connection: psycopg.Connection, answers: Answers) -> None:
    """Scores are kept by CREATE TABLE AS and by INSERT."""
    everyone = len(answers.customers)
    query = FIRST % everyone
    connection.execute(f"CREATE TEMP TABLE made AS {query}")
    assert connection.execute("TABLE made ORDER BY 1").fetchall() == answers.first(everyone)
    cursor = connection.execute(f"INSERT INTO made {FIRST}", [5])
    assert cursor.rowcount == 5
    assert connection.execute("SELECT count(*) FROM made").fetchone() == (everyone + 5,)
