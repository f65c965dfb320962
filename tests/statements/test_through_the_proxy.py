"""What only a real server can show of the statements room: types, encodings, mixed strings."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest
from psycopg import sql

from tests.conftest import Endpoint, is_direct
from tests.support.postgres import Cluster, temporary_database
from tests.support.wire import (
    Frontend,
    codes,
    copy_data,
    copy_done,
    errors,
    parse,
    query,
    rows,
    sync,
)

pytestmark = pytest.mark.skipif(is_direct(), reason="PostgreSQL itself has no models")

POINTS = (
    "CREATE TABLE points AS SELECT i AS id, i::float8 AS x, 2.0 * i AS y"
    " FROM generate_series(1, 60) AS i"
)


@pytest.fixture(scope="module")
def client(endpoint: Endpoint) -> Iterator[psycopg.Connection]:
    """A connection through the proxy, with the table `points` and the model `twice`."""
    with psycopg.connect(endpoint.dsn, autocommit=True) as connection:
        connection.execute(POINTS)
        connection.execute(
            "CREATE MODEL twice USING linear_regression AS SELECT x, y AS target FROM points"
        )
        yield connection


async def logged_in(endpoint: Endpoint, client_encoding: str = "UTF8") -> Frontend:
    return await Frontend.login(
        endpoint.address,
        user=endpoint.user,
        database=endpoint.database,
        client_encoding=client_encoding,
    )


# --- types ----------------------------------------------------------------------------------------

# Three classes each, so that PREDICT gives the label itself.
TARGETS = {
    "smallint": "(id % 3)::smallint",
    "bigint": "(id % 3)::bigint * -4000000000",
    "real": "((id % 3) / 10.0)::real",
    "double precision": "(id % 3) * 1e20::float8",
    "numeric": "(1 + id % 3)::numeric * -12345.678",
    "money": "(id % 3)::numeric::money",
    "text": "'class ' || id % 3",
    "character varying": "('class ' || id % 3)::varchar(20)",
    "character": "('c' || id % 3)::char(5)",
    "name": "('class ' || id % 3)::name",
    '"char"': "(ARRAY['a','b','c'])[1 + id % 3]::\"char\"",
    "uuid": "('a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a1' || id % 3)::uuid",
    "mood": "(enum_range(NULL::mood))[1 + id % 3]",
    "inet": "('10.0.0.' || id % 3)::inet",
    "jsonb": "to_jsonb(id % 3)",
}
# Types whose labels come as another: numbers without a currency, text for what has no other form.
TOLD_AS = {"money": "numeric", "inet": "text", "jsonb": "text", "character": "bpchar"}
# As the server spells the label itself.
SPELLED = {"money": "(id % 3)::numeric", "inet": "(('10.0.0.' || id % 3)::inet)::text"}


@pytest.fixture(scope="module")
def mood(client: psycopg.Connection) -> None:
    client.execute("CREATE TYPE mood AS ENUM ('happy', 'sad', 'très triste')")


@pytest.mark.parametrize("target", TARGETS)
def test_labels(client: psycopg.Connection, mood: None, target: str) -> None:
    """A label is, in both formats, byte for byte what the server sends for that value."""
    name = sql.Identifier(f"of {target}")
    expression = sql.SQL(TARGETS[target])
    # id % 3 as features of their own: the classes are learned without an error
    features = sql.SQL("(id % 3 = 0) AS a, (id % 3 = 1) AS b, (id % 3 = 2) AS c")
    client.execute(
        sql.SQL(
            "CREATE MODEL {} USING logistic_regression AS SELECT {}, {} AS target FROM points"
        ).format(name, features, expression)
    )
    by_us = sql.SQL(
        "SELECT PREDICT({}, id % 3 = 0, id % 3 = 1, id % 3 = 2) FROM points ORDER BY id LIMIT 6"
    ).format(name)
    by_them = sql.SQL("SELECT ({})::{} FROM points ORDER BY id LIMIT 6").format(
        sql.SQL(SPELLED.get(target, TARGETS[target])), sql.SQL(TOLD_AS.get(target, target))
    )
    for binary in (False, True):
        seen = []
        for statement in (by_us, by_them):
            cursor = client.cursor(binary=binary)
            cursor.execute(statement)
            result = cursor.pgresult
            assert result is not None
            # a char(5) is padded; a label has no such length
            values = [(result.get_value(row, 0) or b"").rstrip(b" ") for row in range(6)]
            seen.append((result.ftype(0), values))
        assert seen[0] == seen[1]


FEATURES = {
    "oid": "id::oid",
    "money": "id::numeric::money",
    "boolean[]": "ARRAY[id % 2 = 0, id % 3 = 0]",
    "smallint[]": "ARRAY[id, 1]::smallint[]",
    "numeric[]": "ARRAY[id / 7.0, 1]",
    "interval": "id * interval '1 hour'",
    "time with time zone": "make_time(id % 24, 0, 0) AT TIME ZONE '+02'",
    "mood": "(enum_range(NULL::mood))[1 + id % 3]",
    "jsonb": "to_jsonb(id % 3)",
    '"char"': "(ARRAY['a','b','c'])[1 + id % 3]::\"char\"",
}


@pytest.mark.parametrize("feature", FEATURES)
def test_features(client: psycopg.Connection, mood: None, feature: str) -> None:
    """A model of a column of any type scores that column, in the query and from its table."""
    name = sql.Identifier(f"from {feature}")
    expression = sql.SQL(FEATURES[feature])
    client.execute(
        sql.SQL(
            "CREATE MODEL {} USING linear_regression AS SELECT {} AS v, id AS target FROM points"
        ).format(name, expression)
    )
    direct = client.execute(
        sql.SQL("SELECT PREDICT({}, {}) FROM points ORDER BY id").format(name, expression)
    ).fetchall()
    starred = client.execute(
        sql.SQL(
            "SELECT PREDICT({}, *) FROM (SELECT {} AS v, id FROM points) AS p ORDER BY id"
        ).format(name, expression)
    ).fetchall()
    assert direct == starred
    assert len(direct) == 60
    # least squares with an intercept: the mean of what was learned is met
    assert sum(score for (score,) in direct) == pytest.approx(sum(range(1, 61)), rel=1e-6)


def test_arrays_of_two_lengths(client: psycopg.Connection) -> None:
    """An array of another length is an error of the statement; the session goes on."""
    client.execute(
        "CREATE MODEL wide USING linear_regression AS"
        " SELECT ARRAY[x, x * x] AS v, y AS target FROM points"
    )
    with pytest.raises(psycopg.errors.ArraySubscriptError):
        client.execute("SELECT id, PREDICT(wide, ARRAY[x]) FROM points").fetchall()
    assert client.execute("SELECT 1").fetchone() == (1,)


def test_the_reason_why_reading_was_stopped(client: psycopg.Connection) -> None:
    """A training query that is stopped for its rows tells the reason, not that it was cancelled."""
    with pytest.raises(psycopg.errors.ArraySubscriptError, match="1 elements instead of 2"):
        client.execute(
            "CREATE MODEL ragged USING linear_regression AS"
            " SELECT array_fill(1.0, ARRAY[CASE WHEN i = 9 THEN 1 ELSE 2 END]) AS v, i AS target"
            " FROM generate_series(1, 1000000) AS i"
        )
    assert client.execute("SELECT 1").fetchone() == (1,)


# --- one plan for many sessions -------------------------------------------------------------------


def test_the_same_model_in_two_databases(
    client: psycopg.Connection, endpoint: Endpoint, cluster: Cluster
) -> None:
    """A label has the type of its own database's column, though the artefacts are the same."""
    train = (
        "CREATE MODEL shared USING logistic_regression AS"
        " SELECT (i % 3 = 0) AS a, (i % 3 = 1) AS b, (ARRAY['x','y','z'])[1 + i % 3]::{} AS target"
        " FROM generate_series(1, 60) i"
    )
    score = "SELECT PREDICT(shared, true, false) AS p"
    client.execute(train.format("text"))
    assert client.execute(score).fetchone() == ("x",)
    with temporary_database(cluster, "another") as name:
        other = psycopg.connect(Endpoint(endpoint.address, name).dsn, autocommit=True)
        with other:
            other.execute("CREATE TYPE label AS ENUM ('z', 'y', 'x')")
            other.execute(train.format("label"))
            told = other.execute(score)
            assert told.fetchone() == ("x",)
            assert told.description is not None
            oid = other.execute("SELECT 'label'::regtype::oid::int8").fetchone()
            assert (told.description[0].type_code,) == oid
    again = client.execute(score)
    assert again.description is not None
    assert again.description[0].type_code == 25


def test_one_text_under_two_settings(endpoint: Endpoint, client: psycopg.Connection) -> None:
    r"""A text that ends its string elsewhere under the other setting is another statement."""
    text = r"SELECT '\', PREDICT(twice, 1), '--', 7 --'"
    with psycopg.connect(endpoint.dsn, autocommit=True) as standard:
        row = standard.execute(text).fetchone()
        assert row is not None
        assert (row[0], row[2:]) == ("\\", ("--", 7))
        assert row[1] == pytest.approx(2.0)
    with psycopg.connect(endpoint.dsn, autocommit=True) as older:
        older.execute("SET standard_conforming_strings = off; SET escape_string_warning = off")
        assert older.execute(text).fetchone() == ("', PREDICT(twice, 1), ",)


# --- mixed strings --------------------------------------------------------------------------------


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "text",
    [
        "SELECT PREDICT(twice, 1); COPY points FROM STDIN",
        "COPY points FROM STDIN; SELECT PREDICT(twice, 1)",
        "SHOW MODELS; copy points (x) from stdin with (format csv); SELECT 1",
    ],
)
async def test_copy_beside_a_statement_of_ours(
    client: psycopg.Connection, endpoint: Endpoint, text: str
) -> None:
    """COPY FROM STDIN beside a statement of ours is an error at its place; the session goes on."""
    async with await logged_in(endpoint) as frontend:
        await frontend.send(query(text))
        answer = await frontend.until("Z")
        (error,) = errors(answer)
        assert error["C"] == "0A000"
        assert text[int(error["P"]) - 1 :].upper().startswith("COPY")
        await frontend.send(query("SELECT PREDICT(twice, 4)"))
        assert float(str(rows(await frontend.until("Z"))[0][0])) == pytest.approx(8.0)


@pytest.mark.asyncio
async def test_copy_out_beside_a_statement_of_ours(
    client: psycopg.Connection, endpoint: Endpoint
) -> None:
    """COPY TO STDOUT goes through in its place."""
    async with await logged_in(endpoint) as frontend:
        await frontend.send(
            query("SELECT 1; COPY (SELECT 2) TO STDOUT; SELECT PREDICT(twice, 3); SELECT 4")
        )
        assert codes(await frontend.until("Z")) == "TDCHdcCTDCTDCZ"


@pytest.mark.asyncio
async def test_a_copy_that_fails_before_a_statement_of_ours(
    client: psycopg.Connection, endpoint: Endpoint
) -> None:
    """Data sent ahead for a COPY that fails at once do not disturb what follows."""
    async with await logged_in(endpoint) as frontend:
        await frontend.send(
            query("COPY missing FROM STDIN"),
            copy_data("1\n"),
            copy_done(),
            query("SELECT id, PREDICT(twice, x) FROM points ORDER BY id LIMIT 2"),
        )
        assert codes(await frontend.until("Z")) == "EZ"
        answer = await frontend.until("Z")
        assert codes(answer) == "TDDCZ"
        assert [row[0] for row in rows(answer)] == ["1", "2"]


# --- names and encodings --------------------------------------------------------------------------


def test_dropping_models_of_any_name(client: psycopg.Connection) -> None:
    """A prepared DROP MODEL of several models takes names that look like the end of our quotes."""
    names = ["a$pgseer$", "$pgseer$; SELECT 1; --", "b$pgseer_$'"]
    for name in names:
        client.execute(
            sql.SQL(
                "CREATE MODEL {} USING linear_regression AS SELECT x, y AS target FROM points"
            ).format(sql.Identifier(name))
        )
    dropped = sql.SQL("DROP MODEL {}").format(sql.SQL(", ").join(map(sql.Identifier, names)))
    cursor = client.execute(dropped, prepare=True)
    assert cursor.statusmessage == "DROP MODEL"
    known = {row[0] for row in client.execute("SHOW MODELS")}
    assert known.isdisjoint(names)


@pytest.mark.asyncio
async def test_text_that_cannot_be_written_again(
    client: psycopg.Connection, endpoint: Endpoint
) -> None:
    """Such a statement passes as it is if it is ordinary, and is 0A000 if it is ours."""
    twin = b"\x87\x90"  # the other code of a character that Python writes as 0x81E0
    async with await logged_in(endpoint, client_encoding="SJIS") as frontend:
        for ordinary in (query, parse):
            await frontend.send(ordinary(b"SELECT 'model " + twin + b"'"), sync())
            answer = await frontend.until("Z", 2 if ordinary is query else 1)
            assert errors(answer) == []
        for ours in (query, parse):
            await frontend.send(ours(b"SELECT PREDICT(twice, 1), '" + twin + b"'"), sync())
            answer = await frontend.until("Z", 2 if ours is query else 1)
            assert [error["C"] for error in errors(answer)] == ["0A000"]


def test_a_star_in_another_encoding(client: psycopg.Connection, endpoint: Endpoint) -> None:
    """Columns behind a star are found by their names in the client's encoding too."""
    client.execute("CREATE TABLE homes AS SELECT x AS 面積, y AS 価格 FROM points")
    client.execute(
        "CREATE MODEL price USING linear_regression AS SELECT 面積, 価格 AS target FROM homes"
    )
    with psycopg.connect(endpoint.dsn, autocommit=True, client_encoding="SJIS") as narrow:
        row = narrow.execute("SELECT PREDICT(price, *) FROM homes ORDER BY 面積 LIMIT 1").fetchone()
        assert row == (pytest.approx(2.0),)
