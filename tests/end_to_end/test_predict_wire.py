"""PREDICT at the level of messages: what Describe says, how rows stream, how pipelines go on."""

from __future__ import annotations

import struct
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.conftest import Endpoint, is_direct
from tests.support.datasets import home_price
from tests.support.wire import (
    Frontend,
    Message,
    bind,
    close_statement,
    codes,
    describe_portal,
    describe_statement,
    errors,
    execute,
    extended,
    flush,
    parse,
    query,
    rows,
    sync,
)

pytestmark = pytest.mark.skipif(is_direct(), reason="PostgreSQL itself has no models")

INT4, FLOAT8 = 23, 701
SCORED = "SELECT id, PREDICT(price, a, b) AS p FROM homes ORDER BY id"
# No ORDER BY: a sort would divide before the first row.
DIVIDED = "SELECT id, PREDICT(price, a, b) AS p, 1 / (5000 - id) FROM homes"


@pytest_asyncio.fixture
async def frontend(endpoint: Endpoint, price: str) -> AsyncIterator[Frontend]:
    async with await Frontend.login(endpoint.address, **endpoint.login) as opened:
        yield opened


async def run(frontend: Frontend, *messages: bytes) -> list[Message]:
    """Send one pipeline that ends in Sync; return the whole reply."""
    await frontend.send(*messages, sync())
    return await frontend.until("Z")


def scores(messages: list[Message]) -> list[tuple[int, float]]:
    """Return (id, score) of the DataRows, in text format."""
    return [(int(str(row[0])), float(str(row[1]))) for row in rows(messages)]


def expected(first: int, last: int) -> list[tuple[int, object]]:
    return [(i, pytest.approx(home_price(i), rel=1e-9)) for i in range(first, last + 1)]


# --- Describe -------------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_describe_statement(frontend: Frontend) -> None:
    """Describe of a statement gives the client's parameters and a float8, before any Bind."""
    sql = "SELECT id, PREDICT(price, a, b) AS p FROM homes WHERE id = $1"
    reply = await run(frontend, parse(sql, "s"), describe_statement("s"))
    assert codes(reply) == "1tTZ"
    assert reply[1].parameter_types == [INT4]
    assert [(c.name, c.type_oid, c.type_size) for c in reply[2].columns] == [
        ("id", INT4, 4),
        ("p", FLOAT8, 8),
    ]
    assert [column.format_code for column in reply[2].columns] == [0, 0]


@pytest.mark.asyncio
async def test_describe_parameters_of_features(frontend: Frontend) -> None:
    """A parameter that is a feature has a type before Bind, and can be bound in text."""
    sql = "SELECT PREDICT(price, $1, $2)"
    reply = await run(frontend, parse(sql), describe_statement(), bind(["2", "4"]), execute())
    assert codes(reply) == "1tT2DCZ"
    assert len(reply[1].parameter_types) == 2
    assert float(str(rows(reply)[0][0])) == pytest.approx(5.0)


@pytest.mark.asyncio
async def test_describe_portal(frontend: Frontend) -> None:
    """Describe of a portal gives the formats that Bind asked for."""
    for formats, wanted in (([], [0, 0]), ([1], [1, 1]), ([0, 1], [0, 1]), ([1, 0], [1, 0])):
        reply = await run(frontend, parse(SCORED), bind(results=formats), describe_portal())
        assert codes(reply) == "12TZ"
        assert [column.format_code for column in reply[2].columns] == wanted


@pytest.mark.asyncio
async def test_too_many_formats(frontend: Frontend) -> None:
    """A wrong number of format codes is counted against the columns that the client sees."""
    reply = await run(frontend, parse(SCORED), bind(results=[0, 1, 1]), execute())
    assert codes(reply) == "1EZ"
    assert errors(reply)[0]["C"] == "08P01"
    assert (await frontend.value("SELECT 1")) == "1"


# --- formats --------------------------------------------------------------------------------------


@pytest.mark.asyncio
@pytest.mark.parametrize("formats", [[], [0], [1], [0, 1], [1, 0]], ids=str)
async def test_formats(frontend: Frontend, formats: list[int]) -> None:
    """Each column comes in its own format."""
    reply = await run(frontend, parse(SCORED), bind(results=formats), execute("", 100))
    each = formats * 2 if len(formats) == 1 else formats or [0, 0]
    for number, message in enumerate([m for m in reply if m.code == "D"], 1):
        identity, score = message.values
        assert identity is not None
        assert score is not None
        assert (int.from_bytes(identity) if each[0] else int(identity)) == number
        value = struct.unpack("!d", score)[0] if each[1] else float(score)
        assert value == pytest.approx(home_price(number), rel=1e-9)


@pytest.mark.asyncio
async def test_text_is_postgresql_s(frontend: Frontend) -> None:
    """A score's text is what PostgreSQL writes for the same float8, tiny and huge ones included."""
    for scale in ("1", "1e-9", "1e9", "1e15", "1e16", "1e300", "1e-300", "0", "1/3.0::float8"):
        sql = f"SELECT PREDICT(price, ({scale}) * id, 0) FROM homes ORDER BY id LIMIT 200"
        text = await run(frontend, parse(sql), bind(), execute())
        binary = await run(frontend, parse(sql), bind(results=[1]), execute())
        values = [m.values[0] for m in binary if m.code == "D"]
        await frontend.send(
            parse("SELECT $1::float8", "show", [FLOAT8]),
            *[bind([v], statement="show", formats=[1]) + execute() for v in values],
            close_statement("show"),
            sync(),
        )
        shown = await frontend.until("Z")
        assert rows(text) == rows(shown), scale


# --- portals --------------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_row_limits(frontend: Frontend) -> None:
    """Portions end in PortalSuspended; together they are the whole, and the end is the server's."""
    limits = (1, 7, 500, 4000)
    reply = await run(
        frontend, parse(SCORED), bind(), *[execute("", limit) for limit in limits], execute()
    )
    parts = codes(reply).removeprefix("12").split("s")
    assert [len(part) for part in parts[:-1]] == list(limits)
    assert scores(reply) == expected(1, 10_000)
    assert reply[-2].tag == f"SELECT {10_000 - sum(limits)}"


@pytest.mark.asyncio
async def test_portal_across_syncs(frontend: Frontend) -> None:
    """Within a transaction a portal goes on after Sync, with other statements between."""
    await frontend.query("BEGIN")
    first = await run(
        frontend, parse(SCORED, "s"), bind(statement="s", portal="p"), execute("p", 3)
    )
    assert codes(first) == "12DDDsZ"
    assert await frontend.value("SELECT 'between'") == "between"
    other = await run(frontend, parse(SCORED), bind(), execute("", 1))
    assert scores(other) == expected(1, 1)
    second = await run(frontend, execute("p", 2), execute("p", 1))
    assert codes(second) == "DDsDsZ"
    assert scores(first + second) == expected(1, 6)
    await frontend.query("COMMIT")
    gone = await run(frontend, execute("p", 1))
    assert errors(gone)[0]["C"] == "34000"


@pytest.mark.asyncio
async def test_named_statement(frontend: Frontend) -> None:
    """A named statement is bound many times, and closed like any other."""
    sql = "SELECT id, PREDICT(price, a, b) FROM homes WHERE id = $1"
    assert codes(await run(frontend, parse(sql, "s"))) == "1Z"
    for number in (1, 77, 9999):
        reply = await run(frontend, bind([str(number)], statement="s"), execute())
        assert codes(reply) == "2DCZ"
        assert scores(reply) == expected(number, number)
    again = await run(frontend, parse(sql, "s"))
    assert errors(again)[0]["C"] == "42P05"
    assert codes(await run(frontend, close_statement("s"))) == "3Z"
    gone = await run(frontend, bind(["1"], statement="s"))
    assert errors(gone)[0]["C"] == "26000"


@pytest.mark.asyncio
async def test_prepared_uses_the_new_default(frontend: Frontend) -> None:
    """A prepared PREDICT scores by the version that is the default when it is bound."""
    create = "CREATE MODEL moving USING linear_regression AS SELECT a, b, {} AS target FROM homes"
    assert not errors(await frontend.query(create.format("price")))
    await run(frontend, parse("SELECT PREDICT(moving, 1.0, 2) AS p", "s"), describe_statement("s"))
    reply = await run(frontend, bind(statement="s"), execute())
    assert float(str(rows(reply)[0][0])) == pytest.approx(4.0)
    assert not errors(await frontend.query(create.format("price + 10")))
    reply = await run(frontend, bind(statement="s"), execute())
    assert float(str(rows(reply)[0][0])) == pytest.approx(14.0)
    assert not errors(await frontend.query("DROP MODEL moving"))
    reply = await run(frontend, bind(statement="s"), execute())
    assert [error["C"] for error in errors(reply)] == ["42704"]


# --- pipelines ------------------------------------------------------------------------------------

CREATE = "CREATE MODEL piped USING linear_regression AS SELECT a, price AS target FROM homes"


@pytest.mark.asyncio
async def test_pipeline(frontend: Frontend) -> None:
    """PREDICT, ML statements and ordinary SQL in one write are answered in their order."""
    sql = "SELECT PREDICT(price, 2.0, 4) AS p"
    await frontend.send(
        extended("SELECT 1"),
        extended(sql),
        extended("SELECT 2"),
        extended(CREATE),
        extended("SELECT PREDICT(piped, 1.0) AS p"),
        extended("SHOW MODELS"),
        extended("DROP MODEL piped"),
        query(sql),
        extended("SELECT 3"),
    )
    replies = [await frontend.until("Z") for _ in range(9)]
    assert [errors(reply) for reply in replies] == [[]] * 9
    shown = [codes(reply) for reply in replies]
    assert shown[0] == shown[2] == shown[8] == "12TDCZ"
    assert shown[1] == shown[4] == "12TDCZ"
    assert shown[3].replace("N", "") == shown[6].replace("N", "") == "12nCZ"
    assert shown[5].startswith("12TD")
    assert shown[7] == "TDCZ"
    assert replies[3][-2].tag == "CREATE MODEL"


@pytest.mark.asyncio
async def test_pipeline_with_one_sync(frontend: Frontend) -> None:
    """The same under one Sync is one transaction: a later error takes the model back."""
    good = [parse("SELECT PREDICT(price, 2.0, 4)"), bind(), execute()]
    create = [parse(CREATE), bind(), execute()]
    bad = [parse("SELECT 1/0"), bind(), execute()]
    reply = await run(frontend, *good, *create, *good, *bad, *good)
    assert codes(reply).replace("N", "") == "12DC12C12DC1EZ"
    assert reply[-1].status == "I"
    assert await frontend.value("SELECT count(*) FROM ml_models WHERE model_name = 'piped'") == "0"


@pytest.mark.asyncio
async def test_our_error_skips_to_sync(frontend: Frontend) -> None:
    """After an error of ours, as after the server's, all is skipped up to the Sync."""
    bad = [
        parse("SELECT PREDICT(unheard_of, a) FROM homes"),
        describe_statement(),
        bind(),
        execute(),
    ]
    good = [parse("SELECT 1"), bind(), execute()]
    await frontend.send(*good, *bad, *good, query("SELECT 'skipped'"), flush(), sync())
    await frontend.send(*good, sync(), query("SELECT 2"))
    first = await frontend.until("Z")
    assert codes(first) == "12DCEZ"
    assert errors(first)[0]["C"] == "42704"
    assert codes(await frontend.until("Z")) == "12DCZ"
    assert codes(await frontend.until("Z")) == "TDCZ"


@pytest.mark.asyncio
async def test_our_error_is_not_held_back(frontend: Frontend) -> None:
    """An error of ours is sent at once, not at the Sync; and it rolls the pipeline back."""
    await frontend.query("CREATE TEMP TABLE t (a int)")
    await frontend.send(parse("INSERT INTO t VALUES (1)"), bind(), execute())
    await frontend.send(parse("SELECT PREDICT(unheard_of, a) FROM homes"))
    assert codes(await frontend.until("E")) == "12CE"
    assert codes(await run(frontend)) == "Z"
    assert await frontend.value("SELECT count(*) FROM t") == "0"


@pytest.mark.asyncio
async def test_our_error_in_a_transaction(frontend: Frontend) -> None:
    """In a transaction block an error of ours makes ReadyForQuery say E until ROLLBACK."""
    await frontend.query("BEGIN")
    reply = await run(frontend, parse("SELECT PREDICT(unheard_of, 1)"), bind(), execute())
    assert codes(reply) == "EZ"
    assert reply[-1].status == "E"
    assert errors(await frontend.query("SELECT 1"))[0]["C"] == "25P02"
    reply = await frontend.query("ROLLBACK")
    assert reply[-1].status == "I"


@pytest.mark.asyncio
async def test_flush(frontend: Frontend) -> None:
    """Flush brings each reply out before the Sync."""
    await frontend.send(parse("SELECT PREDICT(price, 2.0, 4)"), flush())
    assert codes(await frontend.until("1")) == "1"
    await frontend.send(describe_statement(), flush())
    assert codes(await frontend.until("T")) == "tT"
    await frontend.send(bind(), execute(), flush())
    assert codes(await frontend.until("C")) == "2DC"
    assert await frontend.is_silent()
    assert codes(await run(frontend)) == "Z"


# --- simple queries -------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_several_statements(frontend: Frontend) -> None:
    """Several statements in a simple query are answered one by one, with one ReadyForQuery."""
    reply = await frontend.query(
        f"SELECT 1; SELECT PREDICT(price, 2.0, 4) AS p; {CREATE}; SELECT PREDICT(piped, 1.0);"
        " SELECT 'PREDICT(x)'; DROP MODEL piped; SELECT 2"
    )
    assert codes(reply).replace("N", "") == "TDCTDCCTDCTDCCTDCZ"
    tags = [message.tag for message in reply if message.code == "C"]
    assert tags[2] == "CREATE MODEL"
    assert tags[5] == "DROP MODEL"


@pytest.mark.asyncio
async def test_several_statements_are_one_transaction(frontend: Frontend) -> None:
    """They are one implicit transaction: an error takes back the model and the rows before it."""
    await frontend.query("CREATE TEMP TABLE t (a int)")
    for bad in ("SELECT 1/0", "SELECT PREDICT(unheard_of, 1)"):
        reply = await frontend.query(f"INSERT INTO t VALUES (1); {CREATE}; {bad}; SELECT 2")
        assert codes(reply).replace("N", "") == "CCEZ"
        assert await frontend.value("SELECT count(*) FROM t") == "0"
        sql = "SELECT count(*) FROM ml_models WHERE model_name = 'piped'"
        assert await frontend.value(sql) == "0"


@pytest.mark.asyncio
async def test_transaction_within_a_simple_query(frontend: Frontend) -> None:
    """BEGIN and COMMIT among the statements mean what they mean to PostgreSQL."""
    reply = await frontend.query(f"BEGIN; {CREATE}; ROLLBACK; SELECT 1")
    assert codes(reply).replace("N", "") == "CCCTDCZ"
    sql = "SELECT count(*) FROM ml_models WHERE model_name = 'piped'"
    assert await frontend.value(sql) == "0"
    reply = await frontend.query("BEGIN; SELECT PREDICT(price, 2.0, 4)")
    assert reply[-1].status == "T"
    assert (await frontend.query("COMMIT"))[-1].status == "I"


# --- errors half-way ------------------------------------------------------------------------------


@pytest.mark.asyncio
@pytest.mark.parametrize("way", ["simple", "extended", "portions"])
async def test_error_half_way(frontend: Frontend, way: str) -> None:
    """Division by zero at row 5000: the rows before it arrive, scored, and then the error."""
    if way == "simple":
        reply = await frontend.query(DIVIDED)
    elif way == "extended":
        reply = await run(frontend, parse(DIVIDED), bind(), execute())
    else:
        portions = [execute("", 600)] * 20
        reply = await run(frontend, parse(DIVIDED), bind(), *portions)
    assert scores(reply) == expected(1, 4999)
    assert [error["C"] for error in errors(reply)] == ["22012"]
    assert codes(reply)[-2:] == "EZ"
    assert await frontend.value("SELECT 1") == "1"


@pytest.mark.asyncio
async def test_messages_between_rows(frontend: Frontend) -> None:
    """Notices and changed settings between rows stay between the same rows."""
    await frontend.query(
        "CREATE FUNCTION pg_temp.shout(i int) RETURNS int LANGUAGE plpgsql AS"
        " $$ BEGIN IF i % 100 = 0 THEN RAISE NOTICE 'row %', i; END IF; RETURN i; END $$"
    )
    sql = "SELECT {}, pg_temp.shout(id) FROM homes ORDER BY id LIMIT 1000"
    plain = await frontend.query(sql.format("a"))
    scored = await frontend.query(sql.format("PREDICT(price, a, b)"))
    assert codes(scored) == codes(plain)


@pytest.mark.asyncio
async def test_large_rows(frontend: Frontend) -> None:
    """Rows of megabytes are scored, one after the other."""
    reply = await frontend.query(
        "SELECT id, PREDICT(price, a, b), repeat('x', 3000000)"
        " FROM (SELECT * FROM homes ORDER BY id LIMIT 5) AS few"
    )
    assert scores(reply) == expected(1, 5)
    assert all(len(row[2] or "") == 3_000_000 for row in rows(reply))
