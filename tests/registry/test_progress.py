"""Progress of trainings: seen while they run, by whom it may be, gone afterwards."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import asyncpg
import psycopg
import pytest

from proxy.registry import progress as module
from proxy.registry.postgres_store import Registry
from proxy.registry.progress import ProgressBoard, TrainingProgress
from tests.registry.conftest import ROLES, Connect
from tests.support import postgres
from tests.support.postgres import Cluster

pytestmark = pytest.mark.asyncio

ALICE, BOB = ROLES
VIEW = "SELECT pid, model, phase, rows_read, rows_total, iterations_done, iterations_total, loss"
VIEW += " FROM ml.ml_training_progress"


@pytest.fixture(autouse=True)
def in_a_hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FIRST_AFTER_S", 0.01)
    monkeypatch.setattr(module, "INTERVAL_S", 0.05)
    monkeypatch.setattr(module, "PATIENCE_S", 20.0)


def shown(connection: psycopg.Connection) -> list[tuple[object, ...]]:
    return connection.execute(VIEW).fetchall()


async def until(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not is_so():  # noqa: ASYNC110  # the board's own task makes it so
            await asyncio.sleep(0.01)


async def test_a_training_is_shown_while_it_runs(registry: Registry, connect: Connect) -> None:
    """The row follows what is set on the value, and goes before the block is left."""
    alice, superuser = connect(ALICE), connect()
    training = TrainingProgress(alice.info.backend_pid, "churn")
    async with registry.progress.shown(training):
        training.rows_read = 7
        await until(lambda: shown(superuser) != [])
        pid = alice.info.backend_pid
        assert shown(superuser) == [(pid, "churn", "reading", 7, None, 0, 0, None)]
        training.all_read(9)
        training.advance("fit", 3, 100, 0.25)
        await until(lambda: shown(superuser)[0][2] == "fit")
        assert shown(superuser) == [(pid, "churn", "fit", 9, 9, 3, 100, 0.25)]
        started = superuser.execute("SELECT now() - started_at FROM ml.ml_training_progress")
        row = started.fetchone()
        assert row is not None
        assert 0 <= row[0].total_seconds() < 60
    assert superuser.execute("SELECT count(*) FROM ml.training_progress").fetchone() == (0,)


@pytest.mark.parametrize("error", [ValueError("no"), asyncio.CancelledError()])
async def test_however_it_ends_the_row_goes(
    registry: Registry, connect: Connect, error: BaseException
) -> None:
    """An error and the end of the session take the row away as success does."""
    superuser = connect()

    async def train() -> None:
        async with registry.progress.shown(TrainingProgress(superuser.info.backend_pid, "m")):
            await until(lambda: shown(superuser) != [])
            raise error

    with pytest.raises(type(error)):
        await train()
    await until(lambda: shown(superuser) == [])


async def test_who_sees_a_session_sees_its_training(
    cluster: Cluster, registry: Registry, connect: Connect
) -> None:
    """The role itself, its members, readers of all statistics and the superuser; nobody else."""
    alice, bob, superuser = connect(ALICE), connect(BOB), connect()
    cluster.execute("CREATE ROLE registry_reader LOGIN IN ROLE pg_read_all_stats")
    cluster.execute(f"CREATE ROLE registry_member LOGIN IN ROLE {ALICE}")
    try:
        reader, member = connect("registry_reader"), connect("registry_member")
        async with registry.progress.shown(TrainingProgress(alice.info.backend_pid, "churn")):
            await until(lambda: shown(superuser) != [])
            seen = [len(shown(one)) for one in (alice, member, reader, bob)]
            assert seen == [1, 1, 1, 0]
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                bob.execute("SELECT * FROM ml.training_progress")
        reader.close()
        member.close()
    finally:
        cluster.execute("DROP ROLE registry_reader")
        cluster.execute("DROP ROLE registry_member")


async def test_a_row_that_was_left_behind_is_hidden(registry: Registry, connect: Connect) -> None:
    """A backend that is gone, or another one of its process id, has no training."""
    superuser = connect()
    pid = superuser.info.backend_pid
    insert = "INSERT INTO ml.training_progress VALUES (%s, %s, 'm', 'fit', 1, 1, 0, 0, NULL, now())"
    superuser.execute(insert, [pid, "2001-01-01"])
    superuser.execute(insert, [2_000_000_000, None])
    assert shown(superuser) == []
    async with registry.progress.shown(TrainingProgress(pid, "m")):
        await until(lambda: shown(superuser) != [])
        left = superuser.execute("SELECT pid FROM ml.training_progress").fetchall()
        assert left == [(pid,)]  # the dead one's is cleaned up, the old one's is replaced


async def test_a_short_training_touches_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A training that is over before its row is due opens no connection."""
    monkeypatch.setattr(module, "FIRST_AFTER_S", 600.0)
    asked: list[None] = []

    async def connect() -> asyncpg.Connection:
        asked.append(None)
        raise OSError

    board = ProgressBoard(connect)
    for _ in range(3):
        async with board.shown(TrainingProgress(1, "m")):
            await asyncio.sleep(0)
    await asyncio.sleep(0.05)
    assert asked == []
    await board.close()


def failing(error: Exception, tries: list[None]) -> Callable[[], Awaitable[asyncpg.Connection]]:
    async def connect() -> asyncpg.Connection:
        tries.append(None)
        raise error

    return connect


@pytest.mark.parametrize("error", [OSError("no way"), KeyError("a mistake of ours")])
async def test_no_failure_reaches_the_training(
    error: Exception, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever goes wrong, it is tried again a second later, and logged once."""
    tries: list[None] = []
    board = ProgressBoard(failing(error, tries))
    async with board.shown(TrainingProgress(1, "m")):
        await until(lambda: len(tries) > 2)
    await board.close()
    out, err = capsys.readouterr()
    assert (out + err).count("training progress cannot be shown") <= 1


async def test_a_lost_connection_is_opened_again(
    cluster: Cluster, registry: Registry, connect: Connect
) -> None:
    """The board survives the end of its connection, and the row still goes in the end."""
    superuser = connect()
    training = TrainingProgress(superuser.info.backend_pid, "m")
    async with registry.progress.shown(training):
        await until(lambda: shown(superuser) != [])
        superuser.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE query LIKE '%%training_progress%%' AND pid <> pg_backend_pid()"
        )
        training.advance("after", 0, 0, None)
        await until(lambda: bool(shown(superuser)) and shown(superuser)[0][2] == "after")
    assert shown(superuser) == []


async def test_a_locked_table_delays_nobody(
    cluster: Cluster, registry: Registry, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody who locks the table keeps a training waiting for no longer than its patience."""
    monkeypatch.setattr(module, "PATIENCE_S", 0.1)
    monkeypatch.setattr(module, "TIMEOUT_S", 0.2)
    locker = connect(autocommit=False)
    locker.execute("LOCK TABLE ml.training_progress")
    waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted"
    async with asyncio.timeout(10):
        async with registry.progress.shown(TrainingProgress(1, "m")):
            await until(lambda: cluster.rows(waiting) == [(1,)])
        assert list(await registry.models()) == []
    locker.rollback()


async def test_the_service_role_needs_no_privilege_beyond_its_schema(
    cluster: Cluster, database: str, connect: Connect
) -> None:
    """A service role that sees nobody's session still shows each role its own training."""
    from tests.registry.test_schema import of_alice

    cluster.execute(f'GRANT CREATE ON DATABASE "{database}" TO {ALICE}')
    registries = of_alice(cluster)
    registry = registries.registry(database)
    await registry.models()
    bob, superuser = connect(BOB), connect(postgres.SUPERUSER)
    async with registry.progress.shown(TrainingProgress(bob.info.backend_pid, "m")):
        await until(lambda: shown(superuser) != [])
        assert len(shown(bob)) == 1
        start = superuser.execute("SELECT backend_start FROM ml.training_progress").fetchall()
        assert start == [(None,)]
    assert shown(bob) == []
    await registries.close()
