"""Training can be stopped, and stops with its client."""

from __future__ import annotations

import pytest

from tests.conftest import Endpoint, is_direct
from tests.support.waiting import until_true
from tests.support.wire import Frontend, errors, query, send_cancel

pytestmark = pytest.mark.skipif(is_direct(), reason="PostgreSQL itself has no models")

# Reading it takes seconds; it never converges, for the classes are drawn by lot and tol is 0.
LONG = (
    "CREATE MODEL {name} USING logistic_regression(max_iterations: 100000, tol: 0) AS"
    " SELECT random() AS a, random() AS b, random() AS c, (random() < 0.5) AS target"
    " FROM generate_series(1, {rows})"
)


async def holds(other: Frontend, pid: int, condition: str = "true") -> bool:
    """Say whether a backend is there and a condition holds of it."""
    sql = f"SELECT count(*) FROM pg_stat_activity WHERE pid = {pid} AND {condition}"
    return await other.value(sql) == "1"


async def until_reading(other: Frontend, pid: int) -> None:
    """Wait until the session's backend sends the training rows."""
    condition = "state = 'active' AND query ILIKE '%COPY%'"
    await until_true(lambda: holds(other, pid, condition))


async def until_fitting(other: Frontend, pid: int) -> None:
    """Wait until the backend has sent them all, and waits (for a lock) for the end of the fit."""
    await until_true(lambda: holds(other, pid, "wait_event = 'advisory'"))


async def is_gone(other: Frontend, pid: int) -> bool:
    return not await holds(other, pid)


@pytest.mark.asyncio
@pytest.mark.parametrize("phase", ["reading", "fitting"])
@pytest.mark.parametrize("block", [False, True], ids=["alone", "in a transaction"])
async def test_cancel(endpoint: Endpoint, direct: Endpoint, phase: str, block: bool) -> None:
    """A CancelRequest ends training by 57014, leaves no model, and the session is usable."""
    size, wait = (3_000_000, until_reading) if phase == "reading" else (50_000, until_fitting)
    async with (
        await Frontend.login(endpoint.address, **endpoint.login) as client,
        await Frontend.login(direct.address, **direct.login) as other,
    ):
        if block:
            await client.query("BEGIN")
        await client.send(query(LONG.format(name="cancelled", rows=size)))
        await wait(other, client.pid)
        assert await send_cancel(endpoint.address, client.pid, client.secret) == b""
        reply = await client.until("Z")
        assert [error["C"] for error in errors(reply)] == ["57014"]
        assert reply[-1].status == ("E" if block else "I")
        if block:
            await client.query("ROLLBACK")
        assert await client.value("SELECT 1") == "1"
        sql = "SELECT count(*) FROM ml_models WHERE model_name = 'cancelled'"
        assert await client.value(sql) == "0"


@pytest.mark.asyncio
@pytest.mark.parametrize("phase", ["reading", "fitting"])
async def test_client_goes(endpoint: Endpoint, direct: Endpoint, phase: str) -> None:
    """When the client is lost during training its backend goes, and no model is made."""
    size, wait = (3_000_000, until_reading) if phase == "reading" else (50_000, until_fitting)
    async with await Frontend.login(direct.address, **direct.login) as other:
        async with await Frontend.login(endpoint.address, **endpoint.login) as client:
            await client.send(query(LONG.format(name="orphan", rows=size)))
            await wait(other, client.pid)
        await until_true(lambda: is_gone(other, client.pid))
    async with await Frontend.login(endpoint.address, **endpoint.login) as after:
        sql = "SELECT count(*) FROM ml_models WHERE model_name = 'orphan'"
        assert await after.value(sql) == "0"


@pytest.mark.asyncio
async def test_backend_terminated(endpoint: Endpoint, direct: Endpoint) -> None:
    """When the backend is terminated while the model is fitted the client is told, once."""
    async with (
        await Frontend.login(endpoint.address, **endpoint.login) as client,
        await Frontend.login(direct.address, **direct.login) as other,
    ):
        await client.send(query(LONG.format(name="unlucky", rows=50_000)))
        await until_fitting(other, client.pid)
        await other.query(f"SELECT pg_terminate_backend({client.pid})")
        rest = await client.until_end()
        assert [error["C"] for error in errors(rest)] == ["57P01"]


@pytest.mark.asyncio
async def test_others_go_on(endpoint: Endpoint, direct: Endpoint) -> None:
    """While one session trains, others query, and PREDICT, as ever."""
    async with (
        await Frontend.login(endpoint.address, **endpoint.login) as trainer,
        await Frontend.login(endpoint.address, **endpoint.login) as client,
        await Frontend.login(direct.address, **direct.login) as other,
    ):
        create = "CREATE MODEL small USING linear_regression AS"
        create += " SELECT i AS x, 2 * i AS target FROM generate_series(1, 100) i"
        assert not errors(await client.query(create))
        await trainer.send(query(LONG.format(name="slow", rows=50_000)))
        await until_fitting(other, trainer.pid)
        for _ in range(20):
            value = await client.value("SELECT PREDICT(small, 21)")
            assert float(str(value)) == pytest.approx(42.0)
        await send_cancel(endpoint.address, trainer.pid, trainer.secret)
        reply = await trainer.until("Z")
        assert [error["C"] for error in errors(reply)] == ["57014"]
