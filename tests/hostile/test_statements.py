"""Statements made to hurt: too deep, well hidden, or in a treacherous schema (S12, S14, S19)."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import psycopg
import pytest

from tests.conftest import Endpoint, is_direct
from tests.support import datasets
from tests.support.postgres import Cluster
from tests.support.proxy import ProxyProcess, proxy_process
from tests.support.wire import Frontend, bind, codes, errors, execute, parse, query, rows, sync

pytestmark = pytest.mark.skipif(is_direct(), reason="is about the proxy itself")


@pytest.fixture(scope="module")
def one_proxy(
    cluster: Cluster, direct: Endpoint, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ProxyProcess]:
    """A proxy process of the module's own, and a model `price` in its database."""
    with proxy_process(cluster.dsn(), tmp_path_factory.mktemp("hostile")) as running:
        endpoint = Endpoint(running.address, direct.database)
        with psycopg.connect(endpoint.dsn, autocommit=True) as connection:
            connection.execute(datasets.homes)
            connection.execute(
                "CREATE MODEL price USING linear_regression AS"
                " SELECT a, b, price AS target FROM homes"
            )
        yield running


SIZE = 30_000
deep = {
    "a sum": "1" + "+1" * SIZE,
    "parentheses": "(" * SIZE + "1" + ")" * SIZE,
    "NOT": "NOT " * SIZE + "true",
    "minus": "- " * SIZE + "1",
    "casts": "1" + "::int" * SIZE,
    "ARRAY": "ARRAY[" * SIZE + "1" + "]" * SIZE,
    "CASE": "CASE WHEN true THEN " * SIZE + "1" + " END" * SIZE,
    "function calls": "abs(" * SIZE + "1" + ")" * SIZE,
    "subqueries": "(SELECT " * SIZE + "1" + ")" * SIZE,
    "subscripts": "a" + "[1]" * SIZE,
    "AND": "true" + " AND true" * SIZE,
    "comments": "/*" * SIZE + "*/" * SIZE + " 1",
    "PREDICT": "PREDICT(price, " * 2000 + "1" + ", 1)" * 2000,
    "dollar quotes": "$a$" * (SIZE | 1),
    "a literal": "'" + "PREDICT(" * 500_000 + "'",
    "an identifier": '"' + "PREDICT(" * 100_000 + '"',
    "unions": "1 " + "UNION ALL SELECT 1 " * SIZE,
    "a list": ", ".join(["1"] * SIZE),
    "operators": "1 " + "@" * SIZE + " 1",
}


@pytest.mark.asyncio
@pytest.mark.parametrize("way", ["simple", "extended"])
@pytest.mark.parametrize("name", deep)
async def test_deep_statements(
    one_proxy: ProxyProcess, direct: Endpoint, name: str, way: str
) -> None:
    """A statement of any depth brings a reply; others are served meanwhile; the proxy lives."""
    sql = f"SELECT PREDICT(price, 1, 2), {deep[name]}"
    async with (
        await Frontend.login(one_proxy.address, **direct.login) as client,
        await Frontend.login(one_proxy.address, **direct.login) as other,
    ):
        if way == "simple":
            await client.send(query(sql))
        else:
            await client.send(parse(sql), bind(), execute(), sync())
        for _ in range(5):
            assert await other.value("SELECT 1") == "1"
        async with asyncio.timeout(30):
            reply = await client.until("Z")
        assert codes(reply)[-2:] in ("CZ", "EZ")
        assert all(error["C"][:2] != "XX" for error in errors(reply)), errors(reply)
        assert await client.value("SELECT 1") == "1"
    assert one_proxy.process.poll() is None


before = [
    "SELECT 1",
    "SELECT ';'",
    "SELECT $$;$$",
    "SELECT $a$ ; $$ ; $a$",
    "SELECT E'\\';'",
    "SELECT 1 /* ; /* ; */ ; */",
    "SELECT 1 -- ;\n",
    'SELECT 1 AS ";"',
    "SELECT U&'\\003b;' ",
    "SELECT B'1', X'F', N';'",
    "SELECT 'a'\n';'",
    "CREATE FUNCTION pg_temp.f() RETURNS int LANGUAGE sql BEGIN ATOMIC SELECT 1; SELECT 2; END",
    "CREATE RULE r AS ON INSERT TO homes DO ALSO (SELECT 1; SELECT 2); DROP RULE r ON homes",
    "; ;; SELECT 1;",
]


@pytest.mark.asyncio
@pytest.mark.parametrize("first", before)
async def test_splits(one_proxy: ProxyProcess, direct: Endpoint, first: str) -> None:
    """Statements end where PostgreSQL says: the replies are those to the query without models."""
    sql = f"{first}; SELECT PREDICT(price, 1, 2), ';' AS predict"
    plain = f"{first}; SELECT 4::float8 AS predict, ';' AS predict"
    async with (
        await Frontend.login(one_proxy.address, **direct.login) as client,
        await Frontend.login(direct.address, **direct.login) as server,
    ):
        reply, wanted = await client.query(sql), await server.query(plain)
        assert codes(reply) == codes(wanted), errors(reply)
        assert rows(reply)[:-1] == rows(wanted)[:-1]
        score, text = rows(reply)[-1]
        assert float(str(score)) == pytest.approx(4.0)
        assert text == ";"


broken = [
    "SELECT PREDICT(price, 1, 2), 'unterminated",
    "SELECT PREDICT(price, 1, 2) /* unterminated",
    'SELECT PREDICT(price, 1, 2), "unterminated',
    "SELECT PREDICT(price, 1, 2), $a$ unterminated $b$",
    "SELECT PREDICT(price, 1, 2), E'\\",
    "SELECT PREDICT(price, 1, 2",
    "SELECT PREDICT(price, 1, 2))",
    "PREDICT(price, 1, 2)",
    "CREATE MODEL",
    "CREATE MODEL x USING",
    "CREATE MODEL x USING linear_regression(((",
]


@pytest.mark.asyncio
@pytest.mark.parametrize("sql", broken)
async def test_broken_statements(one_proxy: ProxyProcess, direct: Endpoint, sql: str) -> None:
    """Broken text is a syntax error, and nothing of it runs."""
    async with await Frontend.login(one_proxy.address, **direct.login) as client:
        reply = await client.query(sql)
        assert codes(reply) == "EZ"
        assert errors(reply)[0]["C"] == "42601"
        assert await client.value("SELECT count(*) FROM ml_models WHERE model_name = 'x'") == "0"


@pytest.mark.asyncio
@pytest.mark.parametrize("later", ["SELECT 'unterminated", "SELEC 1", "CREATE MODEL y USING"])
async def test_broken_later_statement(
    one_proxy: ProxyProcess, direct: Endpoint, later: str
) -> None:
    """A model that is created before a broken statement of the same query does not stay."""
    create = "CREATE MODEL x USING linear_regression AS SELECT a, price AS target FROM homes"
    async with await Frontend.login(one_proxy.address, **direct.login) as client:
        reply = await client.query(f"{create}; {later}")
        assert [error["C"] for error in errors(reply)] == ["42601"]
        assert await client.value("SELECT count(*) FROM ml_models WHERE model_name = 'x'") == "0"


@pytest.mark.asyncio
async def test_backslashes(one_proxy: ProxyProcess, direct: Endpoint) -> None:
    """With standard_conforming_strings off a backslash hides a quote from us as from the server."""
    async with await Frontend.login(one_proxy.address, **direct.login) as client:
        await client.query("SET standard_conforming_strings = off; SET escape_string_warning = off")
        reply = await client.query("SELECT 'a\\', PREDICT(price, 1, 2) --'")
        assert rows(reply) == [("a', PREDICT(price, 1, 2) --",)]
        reply = await client.query("SELECT 'a\\\\', PREDICT(price, 1, 2) AS p")
        assert codes(reply) == "TDCZ"
        assert rows(reply)[0][0] == "a\\"
        await client.query("RESET standard_conforming_strings")
        reply = await client.query("SELECT 'a\\', PREDICT(price, 1, 2) AS p")
        assert rows(reply)[0][0] == "a\\"


@pytest.mark.asyncio
async def test_nul_within_a_statement(one_proxy: ProxyProcess, direct: Endpoint) -> None:
    """Text behind a NUL never runs."""
    async with await Frontend.login(one_proxy.address, **direct.login) as client:
        text = b"SELECT PREDICT(price, 1, 2)\0; DROP TABLE homes\0"
        await client.send(b"Q" + (len(text) + 4).to_bytes(4) + text)
        reply = await client.until("Z")
        assert [error["C"] for error in errors(reply)] == ["08P01"]
        assert await client.value("SELECT count(*) FROM homes") == "10000"


TREACHERY = """
CREATE SCHEMA evil;
CREATE TABLE evil.reached (who text);
GRANT ALL ON SCHEMA evil TO PUBLIC;
GRANT ALL ON evil.reached TO PUBLIC;
CREATE FUNCTION evil.touch(who text) RETURNS boolean LANGUAGE sql VOLATILE AS
  'INSERT INTO evil.reached VALUES (who || '' by '' || current_user); SELECT true';
CREATE FUNCTION evil.equal(text, text) RETURNS boolean LANGUAGE sql VOLATILE AS
  'SELECT evil.touch(''='')';
CREATE OPERATOR evil.= (LEFTARG = text, RIGHTARG = text, FUNCTION = evil.equal);
CREATE FUNCTION evil.now() RETURNS timestamptz LANGUAGE sql VOLATILE AS
  'SELECT CASE WHEN evil.touch(''now'') THEN ''epoch''::timestamptz END';
CREATE FUNCTION evil.set_config(text, text, boolean) RETURNS text LANGUAGE sql VOLATILE AS
  'SELECT CASE WHEN evil.touch(''set_config'') THEN ''x'' END';
CREATE FUNCTION evil.store_model(jsonb, boolean, boolean, bytea) RETURNS numeric LANGUAGE sql AS
  'SELECT CASE WHEN evil.touch(''store_model'') THEN 1.0 END';
CREATE FUNCTION evil.float8(int) RETURNS float8 LANGUAGE sql VOLATILE AS
  'SELECT CASE WHEN evil.touch(''float8'') THEN 0::float8 END';
CREATE DOMAIN evil.text AS pg_catalog.text;
CREATE TABLE evil.ml_models AS SELECT 'evil'::pg_catalog.text AS model_name;
CREATE TABLE evil.model_versions AS SELECT 'evil'::pg_catalog.text AS model_name;
GRANT ALL ON ALL TABLES IN SCHEMA evil TO PUBLIC;
"""


@pytest.mark.asyncio
async def test_treacherous_search_path(
    one_proxy: ProxyProcess, direct: Endpoint, cluster: Cluster
) -> None:
    """Operators and functions before pg_catalog on the search_path are never run by us."""
    cluster.execute(TREACHERY, direct.database)
    login = {**direct.login, "search_path": "evil, pg_catalog, public"}
    async with await Frontend.login(one_proxy.address, **login) as client:
        columns = "a, b, label, price AS target"
        for sql in (
            f"CREATE MODEL trained USING linear_regression AS SELECT {columns} FROM public.homes",
            "SELECT PREDICT(trained, a, b, label) FROM public.homes LIMIT 3",
            "SHOW MODELS",
            "DESCRIBE MODEL trained",
            "DROP MODEL trained",
        ):
            reply = await client.query(sql)
            assert not errors(reply), (sql, errors(reply))
        # Unqualified, the name reaches the user's own table.
        assert rows(await client.query("SELECT model_name FROM ml_models")) == [("evil",)]
    assert cluster.rows("SELECT DISTINCT who FROM evil.reached", direct.database) == []
