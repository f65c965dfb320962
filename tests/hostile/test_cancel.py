"""CancelRequests: only the key's owner is stopped, and only while it runs (S16)."""

from __future__ import annotations

import asyncio
import random

import pytest

from tests.conftest import Endpoint
from tests.support.waiting import until_true
from tests.support.wire import PROTOCOL_3_2, Frontend, errors, query, rows, send_cancel


async def is_sleeping(other: Frontend, pid: int) -> bool:
    sql = f"SELECT count(*) FROM pg_stat_activity WHERE pid = {pid} AND wait_event = 'PgSleep'"
    return await other.value(sql) == "1"


@pytest.mark.asyncio
@pytest.mark.parametrize("protocol", [0x30000, PROTOCOL_3_2])
async def test_guessed_keys(endpoint: Endpoint, protocol: int) -> None:
    """Five hundred guesses, all but one bit right among them, cancel nothing."""
    chooser = random.Random(3)
    login = endpoint.login
    async with (
        await Frontend.login(endpoint.address, protocol=protocol, **login) as client,
        await Frontend.login(endpoint.address, **login) as other,
    ):
        await client.send(query("SELECT pg_sleep(2), 'untouched'"))
        await until_true(lambda: is_sleeping(other, client.pid))
        size = len(client.secret)
        guesses = [chooser.randbytes(size) for _ in range(470)]
        for bit in range(28):
            wrong = bytearray(client.secret)
            wrong[bit % size] ^= 1 << (bit % 8)
            guesses.append(bytes(wrong))
        guesses += [client.secret[:-1], client.secret + b"\0"]
        for start in range(0, len(guesses), 50):
            part = guesses[start : start + 50]
            answers = await asyncio.gather(
                *(send_cancel(endpoint.address, client.pid, guess) for guess in part)
            )
            assert set(answers) == {b""}
        reply = await client.until("Z")
        assert errors(reply) == []
        assert rows(reply)[0][1] == "untouched"


@pytest.mark.asyncio
async def test_keys_differ(endpoint: Endpoint) -> None:
    """No two sessions have the same secret, and the old protocol's has four bytes."""
    secrets = set()
    for _ in range(20):
        async with await Frontend.login(endpoint.address, **endpoint.login) as client:
            assert len(client.secret) == 4
            secrets.add(client.secret)
    assert len(secrets) == 20


@pytest.mark.asyncio
async def test_late_cancel(endpoint: Endpoint) -> None:
    """A cancel that comes after its session has gone hits nobody who came since."""
    old = await Frontend.login(endpoint.address, **endpoint.login)
    await old.close()
    async with await Frontend.login(endpoint.address, **endpoint.login) as client:
        await client.send(query("SELECT pg_sleep(0.5), 'untouched'"))
        for _ in range(20):
            await send_cancel(endpoint.address, old.pid, old.secret)
        assert errors(await client.until("Z")) == []


@pytest.mark.asyncio
async def test_cancel_of_an_idle_session(endpoint: Endpoint) -> None:
    """A cancel that comes while the session is idle does not hit the next statement."""
    async with await Frontend.login(endpoint.address, **endpoint.login) as client:
        for _ in range(10):
            assert await client.value("SELECT 1") == "1"
            await send_cancel(endpoint.address, client.pid, client.secret)
            # The signal is the server's affair; when it was sent the connection was closed.
            assert errors(await client.query("SELECT pg_sleep(0.01)")) == []


@pytest.mark.asyncio
async def test_cancel_hits_the_owner(endpoint: Endpoint) -> None:
    """Of twenty sessions that sleep only the one whose key was sent is cancelled."""
    login = endpoint.login
    clients = [await Frontend.login(endpoint.address, **login) for _ in range(20)]
    other = await Frontend.login(endpoint.address, **login)
    try:
        for client in clients:
            await client.send(query("SELECT pg_sleep(3)"))
        for client in clients:
            await until_true(lambda pid=client.pid: is_sleeping(other, pid))
        victim = clients[7]
        await send_cancel(endpoint.address, victim.pid, victim.secret)
        assert [error["C"] for error in errors(await victim.until("Z"))] == ["57014"]
        replies = await asyncio.gather(*(c.until("Z") for c in clients if c is not victim))
        assert [errors(reply) for reply in replies] == [[]] * 19
    finally:
        for client in [*clients, other]:
            await client.close()
