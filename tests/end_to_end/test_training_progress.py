"""ml_training_progress through the wire: a training is seen from elsewhere, and leaves nothing."""

from __future__ import annotations

import pytest

from tests.conftest import Endpoint, is_direct
from tests.support.waiting import until_true
from tests.support.wire import Frontend, errors, query, rows, send_cancel

pytestmark = pytest.mark.skipif(is_direct(), reason="PostgreSQL itself has no models")

# It never converges, for the classes are drawn by lot and tol is 0.
LONG = (
    "CREATE MODEL slow USING logistic_regression(max_iterations: 100000, tol: 0) AS"
    " SELECT random() AS a, random() AS b, random() AS c, (random() < 0.5) AS target"
    " FROM generate_series(1, {rows})"
)
COLUMNS = "pid, model, phase, rows_read, rows_total, iterations_done, iterations_total, loss"


async def progress(client: Frontend) -> list[tuple[str | None, ...]]:
    """Return the trainings that a client sees by the view's short name."""
    return rows(await client.query(f"SELECT {COLUMNS} FROM ml_training_progress"))


@pytest.mark.asyncio
async def test_a_training_is_seen_while_it_runs(endpoint: Endpoint) -> None:
    """Reading first, then the engine's iterations; after the end nothing is left."""
    async with (
        await Frontend.login(endpoint.address, **endpoint.login) as client,
        await Frontend.login(endpoint.address, **endpoint.login) as other,
    ):
        await other.query("SHOW MODELS")  # schema ml is there
        assert await progress(other) == []
        await client.send(query(LONG.format(rows=2_000_000)))

        async def is_reading() -> bool:
            return any(row[2] == "reading" for row in await progress(other))

        await until_true(is_reading)

        async def is_fitting() -> bool:
            return any(row[2] == "holdout fit" for row in await progress(other))

        await until_true(is_fitting)
        ((pid, model, _, n_read, total, done, most, loss),) = await progress(other)
        assert (pid, model) == (str(client.pid), "slow")
        assert n_read == total == "2000000"
        assert most == "100000"
        assert 0 < int(str(done)) < 100_000
        assert 0 < float(str(loss)) < 1
        await send_cancel(endpoint.address, client.pid, client.secret)
        assert errors(await client.until("Z"))[0]["C"] == "57014"
        assert await progress(other) == []
        # The table itself is nobody's to read.
        assert errors(await other.query("TABLE ml.training_progress"))[0]["C"] == "42501"


@pytest.mark.asyncio
async def test_a_client_that_goes_leaves_nothing(endpoint: Endpoint, direct: Endpoint) -> None:
    """The row of a training whose client is lost goes, in the table too."""
    async with await Frontend.login(direct.address, **direct.login) as other:
        async with await Frontend.login(endpoint.address, **endpoint.login) as client:
            await client.send(query(LONG.format(rows=50_000)))

            async def is_seen() -> bool:
                found = await other.query("SELECT pid FROM ml.ml_training_progress")
                return rows(found) == [(str(client.pid),)]

            await until_true(is_seen)

        async def is_gone() -> bool:
            return rows(await other.query("SELECT pid FROM ml.ml_training_progress")) == []

        await until_true(is_gone)


@pytest.mark.asyncio
async def test_a_table_of_the_user_s_own_comes_first(endpoint: Endpoint) -> None:
    """The short name means the user's table where there is one."""
    async with await Frontend.login(endpoint.address, **endpoint.login) as client:
        await client.query("CREATE TEMP TABLE ml_training_progress AS SELECT 'mine' AS whose")
        assert await client.value("SELECT whose FROM ml_training_progress") == "mine"
