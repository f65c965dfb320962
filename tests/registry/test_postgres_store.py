"""The catalogue in memory: fresh, and never less than committed."""

from __future__ import annotations

import asyncio
import os
import pickle
import signal
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import asyncpg
import psycopg
import pytest

from proxy.errors import (
    AdminShutdownError,
    ArtifactError,
    UnknownModelError,
    UpstreamError,
    UpstreamRefusedError,
)
from proxy.registry import postgres_store, queries
from proxy.registry.catalog import Models
from proxy.registry.model_version import ModelEntry
from proxy.registry.postgres_store import Registries, Registry
from proxy.service_connections import ServiceConnector
from tests.registry import trained
from tests.registry.conftest import Connect, service_connector, store
from tests.support import postgres
from tests.support.postgres import Cluster

pytestmark = pytest.mark.asyncio

PATIENCE_S = 30


async def eventually(is_so: Callable[[], Awaitable[bool]]) -> None:
    """Wait until something is so; a test that waits in vain fails."""
    async with asyncio.timeout(PATIENCE_S):
        while not await is_so():  # noqa: ASYNC110  # another process makes it so
            await asyncio.sleep(0.01)


def listed(models: Models) -> list[str]:
    return sorted(f"{entry.model_name}:{entry.version}" for entry in models)


async def test_commit_elsewhere_is_heard(registry: Registry, connect: Connect) -> None:
    """A model that another proxy's client commits appears without anybody asking for it."""
    connection = connect(autocommit=False)
    assert listed(await registry.models()) == []
    store(connection)
    assert listed(await registry.models()) == []
    connection.commit()

    async def appeared() -> bool:
        return listed(await registry.models()) == ["churn:1.0"]

    await eventually(appeared)
    connection.execute(queries.drop_model("churn"))
    connection.commit()

    async def vanished() -> bool:
        return listed(await registry.models()) == []

    await eventually(vanished)


async def test_session_sees_its_own_commit_at_once(registry: Registry, connect: Connect) -> None:
    """After mark_stale the next answer holds everything that was committed before."""
    connection = connect()
    for n in range(1, 20):
        store(connection)
        registry.mark_stale()
        assert (await registry.models()).entry("churn", None).version == f"{n}.0"


async def test_change_during_a_load_is_not_lost(
    registry: Registry, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is announced while the catalogue is being read leads to another reading."""
    connection = connect()
    read = registry._fetch

    async def read_and_then_store(sql: str, *arguments: object, **more: float) -> list[object]:
        rows = await read(sql, *arguments, **more)
        if sql == postgres_store.CATALOG:
            monkeypatch.undo()
            store(connection)
            registry.mark_stale()
        return rows

    monkeypatch.setattr(registry, "_fetch", read_and_then_store)
    registry.mark_stale()
    assert listed(await registry.models()) == []
    assert listed(await registry.models()) == ["churn:1.0"]


async def test_fresh_answers_ask_nothing(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While nothing changes and the connection is known good, no question goes upstream."""
    first = await registry.models()
    monkeypatch.setattr(registry, "_fetch", None)
    assert all([await registry.models() is first for _ in range(100)])


class SilentConnection:
    """A connection that has died without a word, as behind a firewall that forgets."""

    async def fetch(self, *_: object, timeout: float | None) -> list[object]:  # noqa: ASYNC109
        async with asyncio.timeout(timeout):
            await asyncio.Event().wait()
        return []

    def is_closed(self) -> bool:
        return False

    def terminate(self) -> None:
        pass


async def test_silence_is_checked(
    registry: Registry, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a dead connection failed to announce is found out at the next heartbeat."""
    assert registry._connection is not None
    await registry._connection.remove_listener(postgres_store.CHANNEL, registry._announced)
    await registry._connection.close()
    registry._connection = SilentConnection()
    store(connect(), "unheard")
    assert listed(await registry.models()) == []
    monkeypatch.setattr(postgres_store, "HEARTBEAT_TIMEOUT_S", 0.01)
    registry.freshness.is_good_for(0.0)
    assert listed(await registry.models()) == ["unheard:1.0"]


async def test_lost_connection_is_replaced(
    registry: Registry, connect: Connect, database: str, cluster: Cluster
) -> None:
    """Killing the registry's backend costs nobody an answer, and no change made meanwhile."""
    connection = connect()
    for n in range(1, 4):
        assert registry._connection is not None
        pid = registry._connection.get_server_pid()
        store(connection)
        connection.execute("SELECT pg_terminate_backend(%s)", [pid])
        expected = [f"churn:{m}.0" for m in range(1, n + 1)]

        async def is_there(expected: list[str] = expected) -> bool:
            return listed(await registry.models()) == expected

        await eventually(is_there)


async def test_connection_lost_twice_is_an_error_and_not_a_loop(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A database that closes every connection at the first question gives 08006."""
    fetch = asyncpg.Connection.fetch

    async def lose(
        connection: asyncpg.Connection, sql: str, *arguments: object, **more: object
    ) -> list[object]:
        if sql.startswith("LISTEN"):
            return list(await fetch(connection, sql, *arguments, **more))
        raise asyncpg.ConnectionDoesNotExistError("connection was closed")

    monkeypatch.setattr(asyncpg.Connection, "fetch", lose)
    registry.mark_stale()
    with pytest.raises(UpstreamError) as caught:
        await registry.models()
    assert caught.value.sqlstate == "08006"


async def test_registry_survives_a_crash_of_the_server() -> None:
    """After the server's crash and recovery the same registry answers, and hears changes again."""
    with postgres.running_cluster() as own:
        registries = Registries(service_connector(own), artefact_budget_bytes=1 << 20)
        registry = registries.registry("postgres")
        await registry.models()
        with psycopg.connect(own.dsn(), autocommit=True) as victim:
            victim.execute("SET synchronous_commit = on")  # off in the tests' cluster
            store(victim)
            # A backend that is killed brings them all down: PostgreSQL starts over.
            os.kill(victim.info.backend_pid, signal.SIGKILL)

        async def recovered() -> bool:
            try:
                return listed(await registry.models()) == ["churn:1.0"]
            except (UpstreamRefusedError, UpstreamError):
                return False

        await eventually(recovered)
        with psycopg.connect(own.dsn(), autocommit=True) as writer:
            store(writer)

        async def heard() -> bool:
            return len(listed(await registry.models())) == 2

        await eventually(heard)
        await registries.close()


@pytest.mark.parametrize("changes", [{"port": 1}, {"user": "nobody_of_that_name"}])
async def test_database_that_cannot_be_reached_is_08001(
    cluster: Cluster, changes: dict[str, object]
) -> None:
    """No server, or no such role, is an error that names the service role and no password."""
    address = replace(service_connector(cluster).address, **changes)
    registries = Registries(ServiceConnector(address), artefact_budget_bytes=1)
    for _ in range(3):
        with pytest.raises(UpstreamRefusedError) as caught:
            await registries.registry("postgres").models()
        assert caught.value.sqlstate == "08001"
        shown = f"{caught.value.message} {caught.value.detail} {caught.value.hint}"
        assert address.user in shown
        assert postgres.SUPERUSER_SECRET not in shown
    await registries.close()


async def test_failed_attempts_are_not_repeated_at_once(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A hundred questions to a dead database make one attempt, and all fail alike."""
    attempts = []

    async def refuse(**arguments: object) -> None:
        attempts.append(arguments)
        raise ConnectionRefusedError("refused")

    monkeypatch.setattr(asyncpg, "connect", refuse)
    monkeypatch.setattr(postgres_store, "FIRST_BACKOFF_S", 60.0)
    registries = Registries(service_connector(cluster), artefact_budget_bytes=1)
    registry = registries.registry("postgres")
    answers = await asyncio.gather(*(registry.models() for _ in range(100)), return_exceptions=True)
    assert {type(answer) for answer in answers} == {UpstreamRefusedError}
    assert len(attempts) == 1


async def test_databases_have_models_of_their_own(
    cluster: Cluster, registries: Registries, registry: Registry, connect: Connect
) -> None:
    """A model of one database is not in another."""
    store(connect())
    registry.mark_stale()
    with postgres.temporary_database(cluster, "registry_neighbour") as neighbour:
        assert listed(await registries.registry(neighbour).models()) == []
        assert listed(await registry.models()) == ["churn:1.0"]


async def test_closed_registry_opens_nothing(
    registry: Registry, connect: Connect, cluster: Cluster, database: str
) -> None:
    """After close no connection of the registry is left, and a late question gets 57P01."""
    await registry.close()

    async def is_gone() -> bool:
        count = "SELECT count(*) FROM pg_stat_activity WHERE datname = %s"
        with psycopg.connect(cluster.dsn()) as connection:
            return connection.execute(count, [database]).fetchall() == [(0,)]

    await eventually(is_gone)
    with pytest.raises(AdminShutdownError):
        await registry.models()


async def test_one_bad_model_is_nobody_elses_problem(registry: Registry, connect: Connect) -> None:
    """A description that no pgseer wrote fails its own users only."""
    connection = connect()
    store(connection, "good")
    store(connection, "bad", features=[{"name": 5}, "?"], classes=[None])
    registry.mark_stale()
    models = await registry.models()
    assert [feature.name for feature in models.resolve("good", None).features] == ["tenure", "país"]
    with pytest.raises(ArtifactError, match="bad"):
        models.resolve("bad", None)


async def test_artefact_is_the_model_that_was_trained(registry: Registry, connect: Connect) -> None:
    """The model that comes back predicts what the trained one did, bit for bit."""
    original = trained.line(3.0)
    store(connect(), "line", trained.line_bytes(3.0))
    registry.mark_stale()
    entry = (await registry.models()).entry("line", None)
    loaded = await registry.artefact(entry)
    assert trained.slope(loaded) == trained.slope(original)
    assert await registry.artefact(entry) is loaded


async def test_tampered_artefact_is_refused(
    cluster: Cluster, registry: Registry, connect: Connect, database: str
) -> None:
    """One flipped bit in the stored bytes is XX001, and the session's other models go on."""
    store(connect(), "line", trained.line_bytes(3.0))
    cluster.execute(
        "UPDATE ml.model_versions"
        " SET artefact = set_bit(artefact, 100, 1 - get_bit(artefact, 100))",
        database,
    )
    registry.mark_stale()
    entry = (await registry.models()).entry("line", None)
    with pytest.raises(ArtifactError, match='"line"') as caught:
        await registry.artefact(entry)
    assert caught.value.sqlstate == "XX001"
    store(connect(), "line", trained.line_bytes(4.0))
    registry.mark_stale()
    repaired = await registry.artefact((await registry.models()).entry("line", None))
    assert trained.slope(repaired) == pytest.approx(4.0)


async def test_pickle_in_the_place_of_a_model_is_only_bytes(
    registry: Registry, connect: Connect, tmp_path: Path
) -> None:
    """A pickle with a correct hash is refused as a model and never run."""
    witness = tmp_path / "executed"

    class Payload:
        def __reduce__(self) -> tuple[object, tuple[Path]]:
            return (os.mkdir, (witness,))

    store(connect(), "payload", pickle.dumps(Payload()))
    registry.mark_stale()
    with pytest.raises(ArtifactError):
        await registry.artefact((await registry.models()).entry("payload", None))
    assert os.listdir(tmp_path) == []  # noqa: PTH208


async def test_version_dropped_between_two_questions(registry: Registry, connect: Connect) -> None:
    """An artefact that is gone is an unknown model, and so it is in the catalogue from then on."""
    connection = connect()
    store(connection, "line", trained.line_bytes(3.0))
    registry.mark_stale()
    entry = (await registry.models()).entry("line", None)
    connection.execute(queries.drop_model("line"))
    with pytest.raises(UnknownModelError):
        await registry.artefact(entry)
    assert listed(await registry.models()) == []


async def test_model_of_an_open_transaction_can_be_used(
    registry: Registry, connect: Connect
) -> None:
    """What a session reads in its own transaction plans and scores; others do not see it."""
    connection = connect(autocommit=False)
    store(connection, "line", trained.line_bytes(2.0))
    rows = connection.execute(queries.model_catalog(), binary=True).fetchall()
    own = Models(ModelEntry.from_json(row[0]) for row in rows)
    read = connection.execute(queries.model_artefact("line"), binary=True)
    ((artefact,),) = read.fetchall()
    model = await registry.parse_artefact(own.entry("line", None), artefact)
    assert trained.slope(model) == pytest.approx(2.0)
    assert listed(await registry.models()) == []


async def test_cancelled_question_leaves_the_registry_well(
    registry: Registry, connect: Connect, cluster: Cluster, database: str
) -> None:
    """A client that is cancelled while the registry waits for PostgreSQL harms nobody after it."""
    blocker = connect(autocommit=False)
    store(connect())
    blocker.execute("LOCK TABLE ml.model_versions")
    registry.mark_stale()
    asking = asyncio.create_task(registry.models())
    waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted"

    async def blocked() -> bool:
        return await asyncio.to_thread(cluster.rows, waiting) == [(1,)]

    await eventually(blocked)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    blocker.rollback()
    assert listed(await registry.models()) == ["churn:1.0"]
