"""A session through the proxy is the session that PostgreSQL has: nothing added, nothing kept."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import Endpoint, is_direct
from tests.support import postgres
from tests.support.postgres import Cluster
from tests.support.proxy import ProxyProcess, proxy_process
from tests.support.waiting import WAIT_LIMIT_S, until_true
from tests.support.wire import (
    Address,
    Frontend,
    LoginError,
    bind,
    codes,
    errors,
    execute,
    parse,
    query,
    rows,
    sync,
)

MEBIBYTE = 1 << 20

through_the_proxy = pytest.mark.skipif(is_direct(), reason="is about the proxy itself")


@pytest.fixture
def one_proxy(cluster: Cluster, tmp_path: Path) -> Iterator[ProxyProcess]:
    """A proxy process of the test's own."""
    with proxy_process(cluster.dsn(), tmp_path) as running:
        yield running


# --- who is there ---------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_key_data_names_the_backend(endpoint: Endpoint) -> None:
    """The pid in BackendKeyData is the pid of the backend that runs the queries."""
    async with await Frontend.login(endpoint.address, **endpoint.login) as client:
        assert await client.value("SELECT pg_backend_pid()") == str(client.pid)


@pytest.mark.asyncio
async def test_notification_names_the_sender(endpoint: Endpoint, direct: Endpoint) -> None:
    """A NotificationResponse carries the real pid of the session that sent it."""
    async with (
        await Frontend.login(endpoint.address, **endpoint.login) as client,
        await Frontend.login(direct.address, **direct.login) as sender,
    ):
        await client.query("LISTEN pids")
        await sender.query("NOTIFY pids, 'hello'")
        notification = (await client.until("A"))[-1]
        assert int.from_bytes(notification.body[:4]) == sender.pid


@pytest.mark.asyncio
async def test_terminated_backend(endpoint: Endpoint, direct: Endpoint) -> None:
    """pg_terminate_backend ends the client with one FATAL 57P01 and the end of the stream."""
    async with (
        await Frontend.login(endpoint.address, **endpoint.login) as client,
        await Frontend.login(direct.address, **direct.login) as other,
    ):
        await other.query(f"SELECT pg_terminate_backend({client.pid})")
        rest = await client.until_end()
        assert codes(rest) == "E"
        assert rest[0].sqlstate == "57P01"


@pytest.mark.asyncio
async def test_terminated_within_a_query(endpoint: Endpoint, direct: Endpoint) -> None:
    """Terminated in the middle of a statement, the client gets the server's error, once."""
    async with (
        await Frontend.login(endpoint.address, **endpoint.login) as client,
        await Frontend.login(direct.address, **direct.login) as other,
    ):
        await client.send(query("SELECT pg_sleep(60)"))
        await until_true(lambda: waits(other, client.pid, "PgSleep"))
        await other.query(f"SELECT pg_terminate_backend({client.pid})")
        rest = await client.until_end()
        assert [error["C"] for error in errors(rest)] == ["57P01"]
        assert "Z" not in codes(rest)


@pytest.mark.asyncio
async def test_killed_backend(endpoint: Endpoint, tmp_path: Path) -> None:
    """After kill -9 of its backend the client sees the end, by one error at most."""
    # A cluster of its own: PostgreSQL restarts all backends when one is killed.
    with (
        postgres.running_cluster() as own,
        proxy_process(own.dsn(), tmp_path) as running,
    ):
        address = own.address if is_direct() else running.address
        login = {"user": postgres.TRUST_USER, "database": "postgres"}
        async with await Frontend.login(address, **login) as client:
            await client.send(query("SELECT generate_series(1, 3), pg_sleep(20)"))
            await asyncio.sleep(0.2)
            os.kill(client.pid, signal.SIGKILL)
            rest = await client.until_end()
            assert "C" not in codes(rest)
            assert "Z" not in codes(rest)
            assert len(errors(rest)) <= 1
            assert all(error["C"] in {"08006", "57P02"} for error in errors(rest))


async def waits(other: Frontend, pid: int, event: str) -> bool:
    """Say whether a backend waits for an event."""
    sql = f"SELECT count(*) FROM pg_stat_activity WHERE pid = {pid} AND wait_event = '{event}'"
    return await other.value(sql) == "1"


async def exists(other: Frontend, pid: int) -> bool:
    """Say whether a backend is there."""
    return await other.value(f"SELECT count(*) FROM pg_stat_activity WHERE pid = {pid}") == "1"


# --- leaving --------------------------------------------------------------------------------------


@pytest.mark.asyncio
@pytest.mark.parametrize("way", ["terminate", "close", "reset"])
@pytest.mark.parametrize("state", ["idle", "in transaction", "reading rows", "in a pipeline"])
async def test_lost_client(endpoint: Endpoint, direct: Endpoint, way: str, state: str) -> None:
    """However a client goes, its backend goes too."""
    async with await Frontend.login(direct.address, **direct.login) as other:
        client = await Frontend.login(endpoint.address, **endpoint.login)
        if state == "in transaction":
            await client.query("BEGIN; SELECT 1")
        elif state == "reading rows":
            await client.send(query("SELECT repeat('x', 1000) FROM generate_series(1, 100000)"))
            await client.until("T")
        elif state == "in a pipeline":
            await client.send(parse("SELECT 1"), bind(), execute())
        if way == "terminate":
            await client.send(b"X\0\0\0\4")
        if way == "reset":
            client.reset()
        await client.close()
        await until_true(lambda: absent(other, client.pid))


async def absent(other: Frontend, pid: int) -> bool:
    return not await exists(other, pid)


@pytest.mark.asyncio
async def test_database_can_be_dropped(endpoint: Endpoint, cluster: Cluster) -> None:
    """DROP DATABASE works right after the last client left: no connection is kept."""
    with postgres.temporary_database(cluster, "short_lived"):
        login = {"user": endpoint.user, "database": "short_lived"}
        async with (
            await Frontend.login(endpoint.address, **login) as client,
            await Frontend.login(cluster.address, **endpoint.login) as other,
        ):
            assert await client.value("SELECT 1") == "1"
            pid = client.pid
            await client.send(b"X\0\0\0\4")
            assert await client.until_end() == []
            await until_true(lambda: absent(other, pid))
        cluster.execute("DROP DATABASE short_lived")
        cluster.execute("CREATE DATABASE short_lived")


# --- isolation ------------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_sessions_share_nothing(endpoint: Endpoint) -> None:
    """Settings, roles, temporary tables, statements, locks and listening are one client's own."""
    login = endpoint.login
    async with await Frontend.login(endpoint.address, **login) as first:
        for statement in (
            "SET search_path = pg_catalog",
            "SET work_mem = '1234kB'",
            "CREATE TEMP TABLE mine (a int)",
            "PREPARE mine AS SELECT 1",
            "LISTEN mine",
            "SELECT pg_advisory_lock(7)",
        ):
            assert not errors(await first.query(statement)), statement
        await first.send(parse("SELECT 1", "mine at the protocol"), sync())
        await first.until("Z")
        async with await Frontend.login(endpoint.address, **login) as second:
            assert await second.value("SHOW search_path") == '"$user", public'
            assert await second.value("SHOW work_mem") == "4MB"
            assert await second.value("SELECT to_regclass('mine')") is None
            assert await second.value("SELECT count(*) FROM pg_prepared_statements") == "0"
            assert rows(await second.query("SELECT pg_listening_channels()")) == []
            assert await second.value("SELECT pg_try_advisory_lock(7)") == "f"
            await second.query("NOTIFY mine")
            assert codes(await second.query("SELECT 1")) == "TDCZ"
        # All of it goes with the session.
        pid = first.pid
        await first.send(b"X\0\0\0\4")
        assert codes(await first.until_end()) == "A"
    async with await Frontend.login(endpoint.address, **login) as third:
        await until_true(lambda: absent(third, pid))
        assert await third.value("SELECT pg_try_advisory_lock(7)") == "t"
        assert await third.value("SELECT count(*) FROM pg_prepared_statements") == "0"
        assert await third.value("SHOW work_mem") == "4MB"


@pytest.mark.asyncio
async def test_two_hundred_idle_clients(endpoint: Endpoint) -> None:
    """Two hundred clients stay connected, each with its own backend, and all still answer."""
    clients: list[Frontend] = []
    try:
        for _ in range(20):
            clients += await asyncio.gather(
                *(Frontend.login(endpoint.address, **endpoint.login) for _ in range(10))
            )
        assert len({client.pid for client in clients}) == 200
        values = await asyncio.gather(*(c.value("SELECT pg_backend_pid()") for c in clients))
        assert values == [str(client.pid) for client in clients]
    finally:
        await asyncio.gather(*(client.close() for client in clients))


# --- back pressure --------------------------------------------------------------------------------


@pytest.mark.asyncio
@through_the_proxy
@pytest.mark.parametrize("statement", ["SELECT", "COPY", "PREDICT"])
async def test_reader_that_stops(one_proxy: ProxyProcess, direct: Endpoint, statement: str) -> None:
    """A client that stops reading 300 MB costs the proxy no memory, and gets all of it later."""
    sql = "SELECT repeat('x', 10000) FROM generate_series(1, 30000)"
    if statement == "COPY":
        sql = f"COPY ({sql}) TO STDOUT"
    async with await Frontend.login(one_proxy.address, **direct.login) as client:
        if statement == "PREDICT":
            await client.query(
                "CREATE OR REPLACE MODEL twofold USING linear_regression AS"
                " SELECT i, 2 * i AS target FROM generate_series(1, 100) AS i"
            )
            sql = sql.replace("SELECT", "SELECT PREDICT(twofold, i),") + " AS i"
        # Whatever is made once and kept is made before the measurement.
        await client.query(sql.replace("30000", "300"))
        before = one_proxy.memory_bytes()
        await client.send(query(sql))
        peak = before
        for _ in range(15):
            await asyncio.sleep(0.1)
            peak = max(peak, one_proxy.memory_bytes())
        assert peak - before < 30 * MEBIBYTE
        received = 0
        while (message := await client.receive()) is not None and message.code != "Z":
            received += len(message.body) if message.code in "Dd" else 0
            assert message.code != "E", message
        assert received > 300_000_000
        assert one_proxy.memory_bytes() - before < 30 * MEBIBYTE


@pytest.mark.asyncio
@through_the_proxy
async def test_server_that_stops_reading(one_proxy: ProxyProcess, direct: Endpoint) -> None:
    """A client that copies 200 MB into a server that waits for a lock costs no memory."""
    async with (
        await Frontend.login(direct.address, **direct.login) as holder,
        await Frontend.login(one_proxy.address, **direct.login) as client,
    ):
        await holder.query("CREATE TABLE IF NOT EXISTS slow_target (a text)")
        await holder.query("BEGIN; LOCK TABLE slow_target")
        before = one_proxy.memory_bytes()
        await client.send(query("COPY slow_target FROM STDIN"))
        line = b"d" + (1_000_004).to_bytes(4) + b"z" * 999_999 + b"\n"
        sending = asyncio.create_task(client.send(*[line] * 200))
        await asyncio.sleep(1.0)
        assert not sending.done()
        assert one_proxy.memory_bytes() - before < 30 * MEBIBYTE
        await holder.query("COMMIT")
        await sending
        await client.send(b"c\0\0\0\4")
        assert (await client.until("C"))[-1].tag == "COPY 200"
        await client.until("Z")
        await holder.query("DROP TABLE slow_target")


# --- signals --------------------------------------------------------------------------------------


async def ended(process: ProxyProcess) -> int:
    """Wait for the process and return its exit status."""
    limit = time.monotonic() + WAIT_LIMIT_S
    while process.process.poll() is None:
        assert time.monotonic() < limit, "the proxy does not end"
        await asyncio.sleep(0.02)
    return process.process.returncode


@pytest.mark.asyncio
@through_the_proxy
async def test_sigterm(one_proxy: ProxyProcess, direct: Endpoint) -> None:
    """SIGTERM: idle sessions end at once by 57P01, a running statement is finished first."""
    login = direct.login
    async with (
        await Frontend.login(one_proxy.address, **login) as idle,
        await Frontend.login(one_proxy.address, **login) as busy,
        await Frontend.login(direct.address, **login) as other,
    ):
        await busy.send(query("SELECT pg_sleep(1.5), 'finished'"))
        await until_true(lambda: waits(other, busy.pid, "PgSleep"))
        one_proxy.signal(signal.SIGTERM)
        rest = await idle.until_end()
        assert [error["C"] for error in errors(rest)] == ["57P01"]
        assert await waits(other, busy.pid, "PgSleep")
        with pytest.raises((OSError, LoginError, AssertionError)):
            await Frontend.login(one_proxy.address, **login)
        reply = await busy.until_end()
        assert codes(reply).startswith("TDC")
        assert rows(reply)[0][1] == "finished"
        assert [error["C"] for error in errors(reply)] == ["57P01"]
        assert await ended(one_proxy) == 0
        await until_true(lambda: absent(other, busy.pid))


@pytest.mark.asyncio
@through_the_proxy
async def test_sigterm_in_a_transaction(one_proxy: ProxyProcess, direct: Endpoint) -> None:
    """SIGTERM ends a session that is idle within a transaction; the work is rolled back."""
    login = direct.login
    async with await Frontend.login(one_proxy.address, **login) as client:
        await client.query("BEGIN; CREATE TABLE half_done (a int)")
        one_proxy.signal(signal.SIGTERM)
        assert [error["C"] for error in errors(await client.until_end())] == ["57P01"]
        assert await ended(one_proxy) == 0
    async with await Frontend.login(direct.address, **login) as other:
        await until_true(lambda: absent(other, client.pid))
        assert await other.value("SELECT to_regclass('half_done')") is None


@pytest.mark.asyncio
@through_the_proxy
async def test_sighup(one_proxy: ProxyProcess, direct: Endpoint) -> None:
    """SIGHUP disturbs nobody: sessions go on, and new ones come."""
    async with await Frontend.login(one_proxy.address, **direct.login) as client:
        await client.query("BEGIN")
        one_proxy.signal(signal.SIGHUP)
        for _ in range(5):
            assert await client.value("SELECT 1") == "1"
            async with await Frontend.login(one_proxy.address, **direct.login) as another:
                assert await another.value("SELECT 2") == "2"
        assert (await client.query("COMMIT"))[-1].status == "I"
    assert one_proxy.process.poll() is None


@pytest.mark.asyncio
@through_the_proxy
async def test_upstream_is_away(tmp_path: Path) -> None:
    """Where nothing listens upstream a login gets FATAL 08001, and the proxy lives on."""
    dsn = f"host=127.0.0.1 port={postgres.free_port()} dbname=x user=x"
    with proxy_process(dsn, tmp_path) as running:
        for _ in range(2):
            assert await refusal(running.address) == "08001"


async def refusal(address: Address) -> str:
    """Return the SQLSTATE by which a login is refused."""
    with pytest.raises(LoginError) as caught:
        await Frontend.login(address, user="x", database="x")
    return caught.value.sqlstate
