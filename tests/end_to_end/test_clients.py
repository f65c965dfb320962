"""The clients that people use, unchanged, with ordinary SQL."""

from __future__ import annotations

import asyncio
import datetime as dt
import os
import shutil
import subprocess
from collections.abc import AsyncIterator, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import asyncpg
import psycopg
import pytest
import pytest_asyncio
import sqlalchemy
import sqlalchemy.orm

from tests.conftest import Endpoint
from tests.support import postgres

samples: list[tuple[str, Any]] = [
    ("int4", -5),
    ("int8", 2**60),
    ("float8", 0.1),
    ("numeric", Decimal("12.340")),
    ("text", "grüße, 世界 'quoted' \\ "),
    ("bytea", b"\x00\xff"),
    ("bool", True),
    ("date", dt.date(2024, 2, 29)),
    ("timestamp", dt.datetime(2024, 2, 29, 12, 34, 56, 789000)),  # noqa: DTZ001
    ("interval", dt.timedelta(days=1, hours=2)),
    ("int4[]", [1, 2, None]),
    ("text[]", ["a b", '"', None]),
]


# --- psql -----------------------------------------------------------------------------------------


def psql(endpoint: Endpoint, *arguments: str, script: str = "") -> subprocess.CompletedProcess[str]:
    """Run psql, of the server's own version, on a script."""
    own = postgres.binaries() / "psql"
    program = str(own) if own.exists() else shutil.which("psql")
    assert program is not None
    return subprocess.run(
        [program, "-X", "-At", "-v", "ON_ERROR_STOP=1", endpoint.dsn, *arguments],
        input=script,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, "PGCLIENTENCODING": "UTF8"},
    )


def test_psql_script(endpoint: Endpoint) -> None:
    """A script for psql runs, with COPY, transactions and variables."""
    done = psql(
        endpoint,
        script="""
            CREATE TEMP TABLE t (a int, b text);
            COPY t FROM STDIN;
1\tone
2\ttwo
\\.
            SELECT * FROM t ORDER BY a \\gset last_
            BEGIN;
            DELETE FROM t;
            ROLLBACK;
            COPY t TO STDOUT (FORMAT csv);
            SELECT :'last_b';
            \\echo :SERVER_VERSION_NUM
        """.replace("\\gset last_", "LIMIT 1 \\gset last_"),
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[:7] == [
        "CREATE TABLE",
        "COPY 2",
        "BEGIN",
        "DELETE 2",
        "ROLLBACK",
        "1,one",
        "2,two",
    ]
    assert lines[7] == "one"
    assert int(lines[8]) >= 150000


def test_psql_error_position(endpoint: Endpoint) -> None:
    """The server's error is shown by psql with the line and a caret."""
    done = psql(endpoint, "-c", "SELECT 1,\n nothing")
    assert done.returncode == 1
    assert 'ERROR:  column "nothing" does not exist\nLINE 2:  nothing\n' in done.stderr
    assert "         ^" in done.stderr


@pytest.mark.parametrize("command", ["\\d", "\\d books", "\\df", "\\du", "\\l", "\\dn", "\\dx"])
def test_psql_catalogue(endpoint: Endpoint, direct: Endpoint, books: None, command: str) -> None:
    """The catalogue queries of psql show the same through the proxy."""
    through, straight = psql(endpoint, "-c", command), psql(direct, "-c", command)
    assert through.returncode == 0, through.stderr
    # The proxy's own schema is not on the search_path, so even \\d shows no difference.
    if command != "\\dn":
        assert through.stdout == straight.stdout


def test_psql_copy_file(endpoint: Endpoint, tmp_path: Path) -> None:
    r"""\copy writes and reads a file of some megabytes."""
    file = tmp_path / "rows.csv"
    script = f"""
        CREATE TEMP TABLE t AS
            SELECT i, repeat('x', 100) AS filler FROM generate_series(1, 50000) AS i;
        \\copy t TO '{file}' WITH (FORMAT csv)
        CREATE TEMP TABLE u (LIKE t);
        \\copy u FROM '{file}' WITH (FORMAT csv)
        SELECT count(*), sum(i) FROM u;
    """
    done = psql(endpoint, script=script)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "50000|1250025000"


@pytest.fixture(scope="module")
def books(direct: Endpoint) -> None:
    """A table to look at."""
    with psycopg.connect(direct.dsn, autocommit=True) as connection:
        connection.execute("CREATE TABLE books (id int PRIMARY KEY, title text NOT NULL)")
        connection.execute(
            "INSERT INTO books SELECT i, 'Book ' || i FROM generate_series(1, 500) i"
        )


# --- psycopg --------------------------------------------------------------------------------------


@pytest.fixture
def connection(endpoint: Endpoint) -> Iterator[psycopg.Connection]:
    with psycopg.connect(endpoint.dsn, autocommit=True) as opened:
        yield opened


@pytest.mark.parametrize("binary", [False, True], ids=["text", "binary"])
@pytest.mark.parametrize(("type_name", "value"), samples, ids=[name for name, _ in samples])
def test_psycopg_values(
    connection: psycopg.Connection, type_name: str, value: object, binary: bool
) -> None:
    """Values of the usual types go there and back, in text and in binary format."""
    got = connection.execute(f"SELECT %s::{type_name}", [value], binary=binary).fetchone()
    assert got == (value,)


def test_psycopg_pipeline(connection: psycopg.Connection, books: None) -> None:
    """Pipeline mode: many statements in flight, an error skips to the next Sync only."""
    with connection.pipeline() as pipeline:
        cursors = [connection.execute("SELECT %s::int * 2", [i]) for i in range(100)]
        pipeline.sync()
        failing = connection.cursor()
        failing.execute("SELECT 1/0")
        with pytest.raises(psycopg.errors.DivisionByZero):
            pipeline.sync()
        after = connection.execute("SELECT 'after'")
        pipeline.sync()
        assert [cursor.fetchone() for cursor in cursors] == [(i * 2,) for i in range(100)]
        assert after.fetchone() == ("after",)


def test_psycopg_prepared(connection: psycopg.Connection) -> None:
    """Prepared statements are prepared once and used again."""
    for i in range(10):
        row = connection.execute("SELECT %s::int + 1", [i], prepare=True).fetchone()
        assert row == (i + 1,)
    prepared = connection.execute("SELECT count(*) FROM pg_prepared_statements").fetchone()
    assert prepared == (1,)


def test_psycopg_server_side_cursor(connection: psycopg.Connection, books: None) -> None:
    """A named cursor fetches in portions."""
    with (
        connection.transaction(),
        connection.cursor("portions", scrollable=True) as cursor,
    ):
        cursor.itersize = 7
        cursor.execute("SELECT id FROM books ORDER BY id")
        assert [row[0] for row in cursor] == list(range(1, 501))
        cursor.scroll(0, mode="absolute")
        assert cursor.fetchmany(2) == [(1,), (2,)]


def test_psycopg_stream(connection: psycopg.Connection, books: None) -> None:
    """Single-row mode streams."""
    rows = connection.cursor().stream("SELECT id FROM books ORDER BY id")
    assert [row[0] for row in rows] == list(range(1, 501))


@pytest.mark.parametrize("way", ["FORMAT text", "FORMAT binary"])
def test_psycopg_copy(connection: psycopg.Connection, way: str) -> None:
    """COPY goes both ways."""
    connection.execute("CREATE TEMP TABLE t (a int, b text)")
    with connection.cursor().copy(f"COPY t FROM STDIN ({way})") as copy:
        copy.set_types(["int4", "text"])
        for i in range(1000):
            copy.write_row((i, f"row {i}"))
    with connection.cursor().copy(f"COPY t TO STDOUT ({way})") as copy:
        copy.set_types(["int4", "text"])
        assert list(copy.rows()) == [(i, f"row {i}") for i in range(1000)]


def test_psycopg_notify(connection: psycopg.Connection, endpoint: Endpoint) -> None:
    """Notifications arrive while the client waits."""
    connection.execute("LISTEN news")
    with psycopg.connect(endpoint.dsn, autocommit=True) as other:
        other.execute("NOTIFY news, 'hello'")
        sender = other.info.backend_pid
    (notification,) = list(connection.notifies(timeout=10, stop_after=1))
    assert (notification.channel, notification.payload) == ("news", "hello")
    assert notification.pid == sender


def test_psycopg_cancel(connection: psycopg.Connection, endpoint: Endpoint) -> None:
    """cancel_safe() cancels the running query, and the session goes on."""

    async def main() -> None:
        async with await psycopg.AsyncConnection.connect(endpoint.dsn, autocommit=True) as own:
            running = asyncio.create_task(own.execute("SELECT pg_sleep(60)"))
            await asyncio.sleep(0.2)
            await own.cancel_safe()
            with pytest.raises(psycopg.errors.QueryCanceled):
                await running
            assert await (await own.execute("SELECT 1")).fetchone() == (1,)

    asyncio.run(main())


def test_psycopg_info(connection: psycopg.Connection, endpoint: Endpoint) -> None:
    """What libpq knows of the server is the server's own."""
    info = connection.info
    assert info.backend_pid == connection.execute("SELECT pg_backend_pid()").fetchone()[0]
    assert info.parameter_status("server_encoding") == "UTF8"
    assert info.parameter_status("is_superuser") == "off"
    assert info.dbname == endpoint.database
    assert info.server_version >= 150000


def test_psycopg_error_fields(connection: psycopg.Connection) -> None:
    """An error keeps all its fields on the way to the client."""
    with pytest.raises(psycopg.errors.UndefinedTable) as caught:
        connection.execute("SELECT * FROM nowhere")
    assert caught.value.diag.statement_position == "15"
    assert caught.value.diag.source_function == "parserOpenTable"
    assert caught.value.diag.severity_nonlocalized == "ERROR"


# --- asyncpg --------------------------------------------------------------------------------------


@pytest_asyncio.fixture
async def asyncpg_connection(endpoint: Endpoint) -> AsyncIterator[asyncpg.Connection]:
    opened = await asyncpg.connect(endpoint.url)
    yield opened
    await opened.close()


@pytest.mark.asyncio
@pytest.mark.parametrize(("type_name", "value"), samples, ids=[name for name, _ in samples])
async def test_asyncpg_values(
    asyncpg_connection: asyncpg.Connection, type_name: str, value: object
) -> None:
    """Values of the usual types go there and back."""
    assert await asyncpg_connection.fetchval(f"SELECT $1::{type_name}", value) == value


@pytest.mark.asyncio
async def test_asyncpg_prepared(asyncpg_connection: asyncpg.Connection, books: None) -> None:
    """A prepared statement knows its types and runs many times."""
    statement = await asyncpg_connection.prepare("SELECT title FROM books WHERE id = $1")
    assert [p.name for p in statement.get_parameters()] == ["int4"]
    assert [a.type.name for a in statement.get_attributes()] == ["text"]
    assert [await statement.fetchval(i) for i in (1, 2, 3)] == ["Book 1", "Book 2", "Book 3"]
    await asyncpg_connection.executemany("SELECT $1::int", [(i,) for i in range(1000)])


@pytest.mark.asyncio
async def test_asyncpg_cursor(asyncpg_connection: asyncpg.Connection, books: None) -> None:
    """A cursor is a portal with row limits."""
    async with asyncpg_connection.transaction():
        cursor = await asyncpg_connection.cursor("SELECT id FROM books ORDER BY id")
        assert [row["id"] for row in await cursor.fetch(3)] == [1, 2, 3]
        assert await cursor.forward(10) == 10
        assert (await cursor.fetchrow())["id"] == 14
        rest = [
            r["id"] async for r in asyncpg_connection.cursor("SELECT id FROM books", prefetch=9)
        ]
        assert len(rest) == 500


@pytest.mark.asyncio
async def test_asyncpg_copy(asyncpg_connection: asyncpg.Connection, tmp_path: Path) -> None:
    """Binary COPY of records, and COPY of a query to a file."""
    await asyncpg_connection.execute("CREATE TEMP TABLE t (a int, b text)")
    records = [(i, f"row {i}") for i in range(5000)]
    tag = await asyncpg_connection.copy_records_to_table("t", records=records)
    assert tag == "COPY 5000"
    file = tmp_path / "out.csv"
    tag = await asyncpg_connection.copy_from_query("SELECT * FROM t", output=file, format="csv")
    assert tag == "COPY 5000"
    assert len(file.read_text().splitlines()) == 5000


@pytest.mark.asyncio
async def test_asyncpg_timeout(asyncpg_connection: asyncpg.Connection) -> None:
    """A timeout cancels the query by a CancelRequest; the connection is usable at once."""
    for _ in range(3):
        with pytest.raises(TimeoutError):
            await asyncpg_connection.fetchval("SELECT pg_sleep(60)", timeout=0.1)
        assert await asyncpg_connection.fetchval("SELECT 1") == 1


@pytest.mark.asyncio
async def test_asyncpg_pool(endpoint: Endpoint) -> None:
    """A pool's reset between its users works."""
    async with asyncpg.create_pool(endpoint.url, min_size=2, max_size=5) as pool:
        values = await asyncio.gather(*(pool.fetchval("SELECT $1::int", i) for i in range(50)))
        assert values == list(range(50))


@pytest.mark.asyncio
async def test_asyncpg_notices(asyncpg_connection: asyncpg.Connection) -> None:
    """Notices reach the client's listener."""
    heard: list[str] = []
    asyncpg_connection.add_log_listener(lambda _, message: heard.append(message.message))
    await asyncpg_connection.execute("DO $$ BEGIN RAISE NOTICE 'heard'; END $$")
    await asyncio.sleep(0)
    assert heard == ["heard"]


# --- SQLAlchemy -----------------------------------------------------------------------------------


class Base(sqlalchemy.orm.DeclarativeBase):
    """The tests' own tables."""


class Author(Base):
    """A row of `authors`."""

    __tablename__ = "authors"
    id: sqlalchemy.orm.Mapped[int] = sqlalchemy.orm.mapped_column(primary_key=True)
    name: sqlalchemy.orm.Mapped[str]


def test_sqlalchemy(endpoint: Endpoint) -> None:
    """The ORM creates, inserts, reads, reflects and rolls back."""
    url = endpoint.url.replace("postgresql://", "postgresql+psycopg://")
    engine = sqlalchemy.create_engine(url)
    try:
        Base.metadata.create_all(engine)
        with sqlalchemy.orm.Session(engine) as session:
            session.add_all([Author(name=f"Author {i}") for i in range(20)])
            session.commit()
            query = sqlalchemy.select(Author.name).where(Author.id <= 2).order_by(Author.id)
            assert session.scalars(query).all() == ["Author 0", "Author 1"]
            session.execute(sqlalchemy.delete(Author))
            session.rollback()
            count = sqlalchemy.select(sqlalchemy.func.count()).select_from(Author)
            assert session.scalar(count) == 20
        columns = sqlalchemy.inspect(engine).get_columns("authors")
        assert [column["name"] for column in columns] == ["id", "name"]
    finally:
        Base.metadata.drop_all(engine)
        engine.dispose()
