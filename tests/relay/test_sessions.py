"""A session on the express lane is the session that PostgreSQL has, and gets off in time.

Each test makes sure that its session rides when it matters; the answers must not show it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager

import pytest
import uvloop

from proxy.session.session import Session
from tests.conftest import Endpoint
from tests.relay.depot import LOOPS, NEEDS_LANE, Depot, only_value, train
from tests.support import wire
from tests.support.postgres import Cluster
from tests.support.proxy import LoopFactory, running_proxy
from tests.support.waiting import until_true
from tests.support.wire import (
    Frontend,
    Message,
    bind,
    codes,
    errors,
    execute,
    normalise,
    parse,
    query,
    rows,
    send_cancel,
    sync,
)

pytestmark = NEEDS_LANE


@pytest.fixture(scope="module", params=LOOPS, ids=["asyncio", "uvloop"])
def depot(request: pytest.FixtureRequest, cluster: Cluster, direct: Endpoint) -> Iterator[Depot]:
    """A proxy on either event loop, with the model `twice`."""
    with running_proxy(cluster.dsn(), loop_factory=request.param) as running:
        yield Depot(running, direct)


async def backend_is(other: Frontend, pid: int, condition: str) -> bool:
    """Say whether a backend is there and a condition holds of it."""
    sql = f"SELECT count(*) FROM pg_stat_activity WHERE pid = {pid} AND {condition}"
    return await other.value(sql) == "1"


async def is_gone(other: Frontend, pid: int) -> bool:
    return not await backend_is(other, pid, "true")


async def until_sleeping(other: Frontend, pid: int) -> None:
    await until_true(lambda: backend_is(other, pid, "wait_event = 'PgSleep'"))


# --- on and off ----------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_statements_of_ours(depot: Depot) -> None:
    """A session gets on in calm water; a statement of ours takes it off and is answered right."""
    async with depot.rider() as client:
        await train(client, "twice", 2)
        await depot.get_on(client)
        assert only_value(await client.query("SELECT PREDICT(twice, 21)")) == pytest.approx(42)
        await depot.get_on(client)
        await client.send(wire.extended("SELECT predict(twice, $1::int)", ["4"]))
        assert only_value(await client.until("Z")) == pytest.approx(8)
        await client.send(wire.extended("SELECT 'no statement of ours is prepared any more'"))
        await client.until("Z")
        await depot.get_on(client)
        names = [row[0] for row in rows(await client.query("SELECT model_name FROM ml_models"))]
        assert "twice" in names
        await depot.get_on(client)
        assert await client.value("SELECT 'neither predict nor a model'") is not None
        await depot.get_on(client)


@pytest.mark.asyncio
async def test_ours_among_others(depot: Depot) -> None:
    """Statements of ours in one write with everyday ones are answered in order."""
    async with depot.rider() as client:
        await train(client, "thrice", 3)
        await depot.get_on(client)
        await client.send(
            query("SELECT 1"),
            wire.extended("SELECT 2"),
            query("SELECT PREDICT(thrice, 1)"),
            query("SELECT 4"),
            wire.extended("SELECT PREDICT(thrice, 2)"),
            wire.extended("SELECT 7"),
        )
        values = [float(str(row[0])) for row in rows(await client.until("Z", 6))]
        assert values == pytest.approx([1, 2, 3, 4, 6, 7])


@pytest.mark.asyncio
async def test_cut_anywhere(depot: Depot) -> None:
    """A client whose bytes come one by one is answered the same."""
    async with depot.rider() as client:
        client.cutter = wire.byte_cuts
        for number in range(3):
            assert await client.value(f"SELECT {number}") == str(number)
            await depot.get_on(client)
            await client.send(wire.extended("SELECT $1::text", [str(number)]))
            reply = await client.until("Z")
            assert (codes(reply), rows(reply)) == ("12TDCZ", [(str(number),)])


@pytest.mark.asyncio
async def test_prepared_before_and_after(depot: Depot) -> None:
    """What is prepared off the lane can be used on it, and the other way round."""
    async with await depot.login() as client:
        await client.send(parse("SELECT 'off' || $1::text", "made_off"), sync())
        assert codes(await client.until("Z")) == "1Z"
        await depot.get_on(client)
        await client.send(parse("SELECT 'on' || $1::text", "made_on"), sync())
        assert codes(await client.until("Z")) == "1Z"
        await client.send(bind(["ly"], statement="made_off"), execute(), sync())
        assert rows(await client.until("Z")) == [("offly",)]
        assert depot.rides(client)
        await train(client, "later", 5)
        assert not depot.rides(client)
        for name, expected in (("made_on", "on!"), ("made_off", "off!")):
            await client.send(bind(["!"], statement=name), execute(), sync())
            assert rows(await client.until("Z")) == [(expected,)]
        # A statement of ours, prepared, is answered right, wherever that is done.
        await client.send(parse("SELECT PREDICT(later, $1::int)", "scored"), sync())
        await client.until("Z")
        for number in range(5):
            await client.send(bind([str(number)], statement="scored"), execute(), sync())
            assert only_value(await client.until("Z")) == pytest.approx(5 * number)
        await client.send(wire.close_statement("scored"), sync())
        await client.until("Z")
        await depot.get_on(client)


@pytest.mark.asyncio
async def test_an_open_batch_and_ours(depot: Depot) -> None:
    """A batch that began on the lane and fails makes the backend, and us, skip up to its Sync."""
    async with depot.rider() as client:
        await train(client, "skipped", 2)
        await depot.get_on(client)
        sql = "SELECT 1 / i FROM generate_series(0, 0) AS i"
        await client.send(parse(sql), bind(), wire.flush())
        assert codes(await client.until("2")) == "12"
        assert depot.rides(client)
        await client.send(execute(), parse("SELECT PREDICT(skipped, 1)"), bind(), execute(), sync())
        reply = await client.until("Z")
        assert codes(reply) == "EZ"
        assert errors(reply)[0]["C"] == "22012"
        assert only_value(await client.query("SELECT PREDICT(skipped, 1)")) == pytest.approx(2)


@pytest.mark.asyncio
async def test_transactions(depot: Depot) -> None:
    """A transaction that begins, or fails, while riding is known to statements of ours."""
    async with depot.rider() as client:
        assert (await client.query("BEGIN"))[-1].status == "T"
        assert depot.rides(client)
        reply = await client.query("SELECT PREDICT(missing_one, 1)")
        assert (errors(reply)[0]["C"], reply[-1].status) == ("42704", "E")
        assert (await client.query("ROLLBACK"))[-1].status == "I"
        await depot.get_on(client)
        await client.query("BEGIN")
        assert (await client.query("SELECT 1/0"))[-1].status == "E"
        reply = await client.query("SELECT PREDICT(missing_one, 1)")
        assert (errors(reply)[0]["C"], reply[-1].status) == ("25P02", "E")
        await client.query("ROLLBACK")
        # A model that is rolled back is not there, one that is committed is.
        for end, name in (("ROLLBACK", "undone"), ("COMMIT", "done")):
            await depot.get_on(client)
            await client.query("BEGIN")
            await train(client, name, 7)
            await client.query("SELECT 1")
            await client.query("SELECT 1")
            await client.query(end)
            await depot.get_on(client)
            reply = await client.query(f"SELECT PREDICT({name}, 1)")
            if name == "undone":
                assert errors(reply)[0]["C"] == "42704"
            else:
                assert only_value(reply) == pytest.approx(7)


@pytest.mark.asyncio
async def test_client_encoding(depot: Depot) -> None:
    """An encoding that is set while riding is the one in which statements of ours are read."""
    async with depot.rider() as client:
        await client.query("CREATE TABLE IF NOT EXISTS words (word text, y int)")
        await client.query("INSERT INTO words VALUES ('été', 10), ('ß', 20), ('plain', 30)")
        create = (
            'CREATE OR REPLACE MODEL "modèle" USING linear_regression(test_size: 0) AS'
            " SELECT word, y AS target FROM words"
        )
        assert not errors(await client.query(create))
        for encoding, codec in (("LATIN1", "latin-1"), ("UTF8", "utf-8")):
            await depot.get_on(client)
            reply = await client.query(f"SET client_encoding = {encoding}")
            assert codes(reply) == "CSZ"
            await depot.get_on(client)
            sql = "SELECT PREDICT(\"modèle\", 'été')".encode(codec)
            assert only_value(await client.query(sql)) == pytest.approx(10)
            reply = await client.query('SELECT PREDICT("naïve", 1)'.encode(codec))
            (message,) = (message for message in reply if message.code == "E")
            assert "naïve".encode(codec) in message.body


# --- what comes by itself, what is large ---------------------------------------------------------


@pytest.mark.asyncio
async def test_notifications(depot: Depot) -> None:
    """A notification reaches an idle rider at once, and one that is queried in between."""
    async with (
        depot.rider() as client,
        await depot.login_directly() as sender,
    ):
        await client.query("LISTEN news")
        for number in range(3):
            await depot.get_on(client)
            await sender.query(f"NOTIFY news, '{number}'")
            (message,) = await client.until("A")
            assert int.from_bytes(message.body[:4]) == sender.pid
            assert message.body[4:] == b"news\0" + str(number).encode() + b"\0"
        await depot.get_on(client)
        reply = await client.query("NOTIFY news, 'own'")
        assert sorted(codes(reply)) == ["A", "C", "Z"]


@pytest.mark.asyncio
async def test_a_large_result(depot: Depot) -> None:
    """Fifty megabytes reach a rider that takes its time, each row right."""
    async with depot.rider() as client:
        await client.send(
            query("SELECT i, repeat(chr(97 + i % 26), 10000) FROM generate_series(0, 4999) AS i")
        )
        await asyncio.sleep(0.3)  # the proxy must stop, and keep little
        for number in range(5000):
            message = await client.receive()
            while message is not None and message.code == "T":
                message = await client.receive()
            assert message is not None
            expected = chr(97 + number % 26).encode() * 10000
            assert message.values == [str(number).encode(), expected]
        assert codes(await client.until("Z")) == "CZ"
        await depot.get_on(client)
        assert await client.value("SELECT 'still there'") == "still there"


@pytest.mark.asyncio
async def test_a_large_statement(depot: Depot) -> None:
    """A statement of five megabytes arrives whole."""
    async with depot.rider() as client:
        text = "x" * 5_000_000
        assert await client.value(f"SELECT md5('{text}') = md5(repeat('x', 5000000))") == "t"
        await depot.get_on(client)


@pytest.mark.asyncio
async def test_a_server_that_does_not_read(depot: Depot) -> None:
    """Statements sent while the backend sleeps, more than the sockets hold, all get answered."""
    async with (
        depot.rider() as client,
        await depot.login_directly() as other,
    ):
        await client.send(query("SELECT pg_sleep(1)"))
        await until_sleeping(other, client.pid)
        assert depot.rides(client)
        long = "y" * 20_000
        statements = [query(f"SELECT length('{long}') + {number}") for number in range(800)]
        sending = asyncio.create_task(client.send(*statements))
        reply = await client.until("Z", 801)
        await sending
        assert [row[0] for row in rows(reply)[1:]] == [str(20_000 + n) for n in range(800)]


@pytest.mark.asyncio
@pytest.mark.parametrize("is_extended", [False, True])
async def test_copies(depot: Depot, is_extended: bool) -> None:
    """COPY in both directions, straight from the lane."""

    def statement(sql: str) -> bytes:
        return parse(sql) + bind() + execute() + sync() if is_extended else query(sql)

    before = "12" if is_extended else ""
    async with depot.rider() as client:
        await client.query("CREATE TEMP TABLE copied (i int)")
        await depot.get_on(client)
        await client.send(statement("COPY copied FROM STDIN"))
        assert codes(await client.until("G")) == before + "G"
        lines = [wire.copy_data(f"{number}\n") for number in range(20_000)]
        # In COPY the backend ignores the Sync that came with the batch, so one more ends it.
        end = sync() if is_extended else b""
        await client.send(*lines, wire.copy_done(), end)
        reply = await client.until("Z")
        assert (codes(reply), reply[0].tag) == ("CZ", "COPY 20000")
        await depot.get_on(client)
        await client.send(statement("COPY copied TO STDOUT"))
        reply = await client.until("Z")
        assert codes(reply) == before + "H" + "d" * 20_000 + "cCZ"
        data = b"".join(message.body for message in reply if message.code == "d")
        assert data == b"".join(b"%d\n" % number for number in range(20_000))
        await depot.get_on(client)
        # All of it in one write, before the backend has asked for data.
        await client.send(query("COPY copied FROM STDIN"), wire.copy_data("7\n"), wire.copy_done())
        assert codes(await client.until("Z")) == "GCZ"
        await depot.get_on(client)
        await client.send(query("COPY copied FROM STDIN"))
        await client.until("G")
        await client.send(wire.copy_fail("enough"))
        assert [error["C"] for error in errors(await client.until("Z"))] == ["57014"]
        assert await client.value("SELECT count(*) FROM copied") == "20001"


# --- the end -------------------------------------------------------------------------------------


@pytest.mark.asyncio
@pytest.mark.parametrize("is_asleep", [False, True])
async def test_terminated_backend(depot: Depot, is_asleep: bool) -> None:
    """pg_terminate_backend gives a rider one 57P01 and the end."""
    async with (
        depot.rider() as client,
        await depot.login_directly() as other,
    ):
        if is_asleep:
            await client.send(query("SELECT pg_sleep(60)"))
            await until_sleeping(other, client.pid)
        assert depot.rides(client)
        await other.query(f"SELECT pg_terminate_backend({client.pid})")
        rest = await client.until_end()
        assert codes(rest) == ("TE" if is_asleep else "E")
        assert rest[-1].sqlstate == "57P01"


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("way", "is_asleep"),
    [
        *(
            (way, is_asleep)
            for way in ("reset", "close", "half close")
            for is_asleep in (True, False)
        ),
        ("terminate", False),  # a busy backend does not read it
    ],
)
async def test_lost_client(depot: Depot, way: str, is_asleep: bool) -> None:
    """However the client of a rider goes, its backend and its session go too."""
    async with (
        depot.rider() as client,
        await depot.login_directly() as other,
    ):
        session = depot.find(client)
        if is_asleep:
            # One that looks at its client now and then, as a server can be told to.
            await client.query("SET client_connection_check_interval = '100ms'")
            await depot.get_on(client)
            await client.send(query("SELECT pg_sleep(60)"))
            await until_sleeping(other, client.pid)
        assert depot.rides(client)
        if way == "reset":
            client.reset()
        elif way == "terminate":
            await client.send(wire.terminate())
        elif way == "half close":
            client.writer.write_eof()
        else:
            await client.close()
        await until_true(lambda: is_gone(other, client.pid))
        await until_true(lambda: has_left(depot, session))


async def has_left(depot: Depot, session: Session | None) -> bool:
    return session not in depot.proxy.application._sessions


@pytest.mark.asyncio
async def test_cancel(depot: Depot) -> None:
    """A CancelRequest stops what a rider runs, and the session goes on and rides again."""
    async with (
        depot.rider() as client,
        await depot.login_directly() as other,
    ):
        for _ in range(2):
            await client.send(query("SELECT pg_sleep(60)"))
            await until_sleeping(other, client.pid)
            assert depot.rides(client)
            assert await send_cancel(depot.proxy.address, client.pid, client.secret) == b""
            reply = await client.until("Z")
            assert [error["C"] for error in errors(reply)] == ["57014"]
            await depot.get_on(client)


# --- the proxy stops -----------------------------------------------------------------------------


@pytest.mark.asyncio
@pytest.mark.parametrize("new_loop", LOOPS, ids=["asyncio", "uvloop"])
@pytest.mark.parametrize("patience_s", [30, 0])
async def test_stop_of_idle_riders(
    cluster: Cluster, direct: Endpoint, new_loop: LoopFactory, patience_s: int
) -> None:
    """When the proxy stops each idle rider gets 57P01 once, however little time it gives them."""
    changes = {"pgseer.shutdown_timeout": patience_s}
    async with (
        own_depot(cluster, direct, new_loop, changes) as (depot, stop),
        AsyncExitStack() as s,
    ):
        clients = [await s.enter_async_context(depot.rider()) for _ in range(20)]
        for client in clients[:5]:
            await client.query("BEGIN")
        assert all(depot.rides(client) for client in clients)
        stopping = asyncio.create_task(asyncio.to_thread(stop.close))
        for client in clients:
            rest = await client.until_end()
            assert codes(rest) == "E"
            assert rest[0].sqlstate == "57P01"
        await stopping


@pytest.mark.asyncio
@pytest.mark.parametrize("new_loop", LOOPS, ids=["asyncio", "uvloop"])
async def test_stop_of_a_busy_rider(
    cluster: Cluster, direct: Endpoint, new_loop: LoopFactory
) -> None:
    """A statement that runs on the lane when the proxy stops is finished first."""
    async with (
        own_depot(cluster, direct, new_loop, {}) as (depot, stop),
        depot.rider() as busy,
        depot.rider() as idle,
        await depot.login_directly() as other,
    ):
        await busy.send(query("SELECT pg_sleep(1), 'finished'"))
        await until_sleeping(other, busy.pid)
        assert depot.rides(busy)
        stopping = asyncio.create_task(asyncio.to_thread(stop.close))
        assert [error["C"] for error in errors(await idle.until_end())] == ["57P01"]
        reply = await busy.until_end()
        assert codes(reply) == "TDCZE"
        assert rows(reply)[0][1] == "finished"
        assert reply[-1].sqlstate == "57P01"
        await stopping


@pytest.mark.asyncio
@pytest.mark.parametrize("new_loop", LOOPS, ids=["asyncio", "uvloop"])
async def test_stop_without_patience(
    cluster: Cluster, direct: Endpoint, new_loop: LoopFactory
) -> None:
    """A statement that runs too long on the lane ends with 57P01, and so does its backend."""
    changes = {"pgseer.shutdown_timeout": 0}
    async with (
        own_depot(cluster, direct, new_loop, changes) as (depot, stop),
        depot.rider() as busy,
        await depot.login_directly() as other,
    ):
        await busy.query("SET client_connection_check_interval = '100ms'")
        await depot.get_on(busy)
        await busy.send(query("SELECT pg_sleep(60)"))
        await until_sleeping(other, busy.pid)
        assert depot.rides(busy)
        stopping = asyncio.create_task(asyncio.to_thread(stop.close))
        assert [error["C"] for error in errors(await busy.until_end())] == ["57P01"]
        await stopping
        await until_true(lambda: is_gone(other, busy.pid))


@asynccontextmanager
async def own_depot(
    cluster: Cluster, direct: Endpoint, new_loop: LoopFactory, changes: Mapping[str, object]
) -> AsyncIterator[tuple[Depot, ExitStack]]:
    """Run a proxy of the test's own; closing the stack, in another thread, stops it."""
    with ExitStack() as stop:
        running = await asyncio.to_thread(
            stop.enter_context, running_proxy(cluster.dsn(), changes, new_loop)
        )
        try:
            yield Depot(running, direct), stop
        finally:
            await asyncio.to_thread(stop.close)


# --- without it ----------------------------------------------------------------------------------

CHAT = [
    query("CREATE TEMP TABLE t (a int, b text); INSERT INTO t VALUES (1, 'x'), (2, NULL)"),
    *[query("SELECT * FROM t ORDER BY a")] * 4,
    wire.extended("SELECT a + $1::int FROM t", ["5"]),
    query("SELECT 1; SELECT 2; SELECT nothing"),
    *[query("")] * 3,
    query("DO $$ BEGIN RAISE NOTICE 'hello'; END $$"),
    *[query("SELECT 'calm'")] * 3,
    parse("SELECT * FROM t", "named") + bind(statement="named") + execute(limit=1) + sync(),
    query("SELECT PREDICT(even, 3)"),
    *[wire.extended("SELECT 'calm'")] * 3,
    query("BEGIN"),
    query("SELECT PREDICT(nothing, 3)"),
    query("ROLLBACK"),
    *[bind(statement="named") + execute() + wire.close_statement("named") + sync()] * 2,
    query("SET client_encoding = LATIN1"),
    *[query(b"SELECT '\xe9t\xe9'")] * 3,
    query("SELECT repeat('x', 300000)"),
    query("COPY t TO STDOUT"),
    query("SHOW client_encoding"),
]


@pytest.mark.asyncio
async def test_without_the_lane(depot: Depot, cluster: Cluster) -> None:
    """With express_lane = false nobody rides, and every answer is the same."""
    changes = {"pgseer.express_lane": False}
    async with own_depot(cluster, depot.direct, uvloop.new_event_loop, changes) as (plain, _):
        async with await plain.login() as client:
            await train(client, "even", 2)
            assert plain.proxy.application._lane is None
        with_lane, without = await converse(depot), await converse(plain)
    assert with_lane[0]
    assert not without[0]
    assert with_lane[1] == without[1]


async def converse(depot: Depot) -> tuple[bool, list[Message]]:
    """Return whether the session of a long talk ever rode, and all that it was told."""
    rode, told = False, list[Message]()
    async with await depot.login() as client:
        for message in CHAT:
            await client.send(message)
            told += await client.until("Z")
            await asyncio.sleep(0.01)
            rode = rode or depot.rides(client)
    return rode, normalise(told, {})
