"""Migrations: once, by whom, and what a dump carries."""

from __future__ import annotations

import asyncio
import os
import subprocess
from pathlib import Path

import asyncpg
import psycopg
import pytest

from proxy.errors import InsufficientPrivilegeError, ProxyError, UnsupportedError
from proxy.registry import queries, schema
from proxy.registry.postgres_store import Registries, Registry
from tests.registry.conftest import ROLES, Connect, service_connector, store
from tests.support import postgres
from tests.support.postgres import Cluster

pytestmark = pytest.mark.asyncio


@pytest.fixture
def alice_may_create(cluster: Cluster, database: str) -> None:
    cluster.execute(f'GRANT CREATE ON DATABASE "{database}" TO {ROLES[0]}')


def of_alice(cluster: Cluster) -> Registries:
    return Registries(service_connector(cluster, ROLES[0]), artefact_budget_bytes=1)


async def test_many_proxies_may_start_at_once(cluster: Cluster, database: str) -> None:
    """Eight proxies that meet a new database migrate it exactly once."""
    started = [Registries(service_connector(cluster), artefact_budget_bytes=1) for _ in range(8)]
    try:
        await asyncio.gather(*(one.registry(database).models() for one in started))
    finally:
        for one in started:
            await one.close()
    rows = cluster.rows("SELECT version, name FROM ml.schema_migrations", database)
    assert rows == [(migration.version, migration.name) for migration in schema.migrations()]


async def test_newer_schema_is_refused(cluster: Cluster, registry: Registry, database: str) -> None:
    """A schema of a newer pgseer is left alone, with the two versions in the DETAIL."""
    cluster.execute("INSERT INTO ml.schema_migrations VALUES (999, 'future')", database)
    newcomer = Registries(service_connector(cluster), artefact_budget_bytes=1)
    with pytest.raises(UnsupportedError, match="newer pgseer") as caught:
        await newcomer.registry(database).models()
    assert "999" in str(caught.value.detail)
    await newcomer.close()


async def test_models_of_the_first_schema_come_along(
    cluster: Cluster, database: str, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A database with models of 0001 is brought up to date, and they go on as they were."""
    known = schema.migrations()
    monkeypatch.setattr(schema, "migrations", lambda: known[:1])
    old = Registries(service_connector(cluster), artefact_budget_bytes=1)
    await old.registry(database).models()
    await old.close()
    alice = connect(ROLES[0])
    alice.execute("CREATE VIEW public.of_ours AS SELECT model_name, query FROM ml.ml_models")
    store(alice, metrics={"accuracy": 0.5})  # 0001 passes over what it does not know
    before = alice.execute("SELECT * FROM ml.show_model('churn')").fetchall()
    monkeypatch.setattr(schema, "migrations", lambda: known)
    new = Registries(service_connector(cluster), artefact_budget_bytes=1)
    models = await new.registry(database).models()
    assert [entry.version for entry in models] == ["1.0"]
    after = alice.execute("SELECT * FROM ml.show_model('churn')").fetchall()
    assert after == [(*before[0], None, None, [])]
    assert alice.execute("SELECT count(*) FROM public.of_ours").fetchone() == (1,)
    described = alice.execute(queries.describe_model("churn")).fetchall()
    assert ("held-out metric", "accuracy", "0.5", None) in described
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        store(connect(ROLES[1]))
    assert store(alice, importances=[{"feature": "tenure", "impurity": 1.0}]) == "2.0"
    alice.execute(queries.drop_model("churn"))
    await new.close()


async def test_failed_migration_leaves_nothing(
    cluster: Cluster, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A migration that fails half way is rolled back whole."""
    half = schema.Migration(1, "half.sql", "CREATE SCHEMA ml; SELECT 1 / 0")
    monkeypatch.setattr(schema, "migrations", lambda: (half,))
    broken = Registries(service_connector(cluster), artefact_budget_bytes=1)
    with pytest.raises(ProxyError, match="could not be brought up to date"):
        await broken.registry(database).models()
    await broken.close()
    assert cluster.rows("SELECT FROM pg_namespace WHERE nspname = 'ml'", database) == []


async def test_role_without_create_is_told_what_to_grant(cluster: Cluster, database: str) -> None:
    """The HINT, run as it stands, makes the same registry work."""
    registries = of_alice(cluster)
    try:
        with pytest.raises(InsufficientPrivilegeError) as caught:
            await registries.registry(database).models()
        grant = str(caught.value.hint).partition(";")[0]
        cluster.execute(grant, database)
        await asyncio.sleep(0.2)  # the pause between two attempts
        assert list(await registries.registry(database).models()) == []
    finally:
        await registries.close()


async def test_schema_of_somebody_else_is_not_used(
    cluster: Cluster, database: str, connect: Connect, alice_may_create: None
) -> None:
    """A schema ml that another role prepared is refused, not filled."""
    cluster.execute(f'GRANT CREATE ON DATABASE "{database}" TO {ROLES[1]}')
    connect(ROLES[1]).execute("CREATE SCHEMA ml")
    registries = of_alice(cluster)
    with pytest.raises(InsufficientPrivilegeError, match="belongs to role"):
        await registries.registry(database).models()
    await registries.close()


async def test_registry_needs_no_superuser(
    cluster: Cluster, database: str, connect: Connect, alice_may_create: None
) -> None:
    """A role with CREATE on the database is enough to keep everybody's models."""
    registries = of_alice(cluster)
    registry = registries.registry(database)
    assert list(await registry.models()) == []
    bob = connect(ROLES[1])
    store(bob)
    registry.mark_stale()
    assert [entry.owner for entry in await registry.models()] == [ROLES[1]]
    bob.execute(queries.drop_model("churn"))
    await registries.close()


def run_program(
    command: list[str | Path], environment: dict[str, str], standard_input: bytes = b""
) -> bytes:
    done = subprocess.run(
        command, env=environment, input=standard_input, capture_output=True, check=True
    )
    return done.stdout


async def test_dump_and_restore_keep_every_model(
    cluster: Cluster, database: str, registry: Registry, connect: Connect
) -> None:
    """pg_dump into a new database gives a registry that works, owners included."""
    store(connect(ROLES[0]), artefact=b"\x00\xff" * 5000)
    store(connect(ROLES[1]), "other")
    environment = os.environ | {
        "PGHOST": "127.0.0.1",
        "PGPORT": str(cluster.port),
        "PGUSER": postgres.SUPERUSER,
        "PGPASSWORD": postgres.SUPERUSER_SECRET,
    }
    pg_dump: list[str | Path] = [cluster.bin_dir / "pg_dump", "--schema=ml", database]
    dump = await asyncio.to_thread(run_program, pg_dump, environment)
    with postgres.temporary_database(cluster, "registry_restored") as restored:
        psql: list[str | Path] = [cluster.bin_dir / "psql", "-qXv", "ON_ERROR_STOP=1", restored]
        await asyncio.to_thread(run_program, psql, environment, dump)
        everything = "SELECT * FROM ml.model_versions ORDER BY model_name"
        assert cluster.rows(everything, restored) == cluster.rows(everything, database)
        with psycopg.connect(cluster.dsn(restored, user=ROLES[0]), autocommit=True) as alice:
            assert store(alice) == "2.0"
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                store(alice, "other")


async def test_nothing_in_the_schema_is_without_comment(
    cluster: Cluster, registry: Registry, database: str
) -> None:
    """Everything in ml that a person can list explains itself, and every column of the tables."""
    unexplained = cluster.rows(
        """
        SELECT c.relname, a.attname FROM pg_class AS c JOIN pg_attribute AS a ON attrelid = c.oid
         WHERE relnamespace = 'ml'::regnamespace AND relkind = 'r' AND attnum > 0
           AND col_description(c.oid, attnum) IS NULL
        UNION ALL
        SELECT relname, NULL FROM pg_class WHERE relnamespace = 'ml'::regnamespace
           AND relkind IN ('r', 'v') AND obj_description(oid, 'pg_class') IS NULL
        UNION ALL
        SELECT proname, NULL FROM pg_proc WHERE pronamespace = 'ml'::regnamespace
           AND obj_description(oid, 'pg_proc') IS NULL
        """,
        database,
    )
    assert unexplained == []


async def test_every_function_fixes_its_search_path(
    cluster: Cluster, registry: Registry, database: str
) -> None:
    """No function of ml looks names up where its caller says.

    Those that are written into their callers' queries have every name in full, or none, instead.
    """
    paths = cluster.rows(
        "SELECT DISTINCT proconfig FROM pg_proc"
        " WHERE pronamespace = 'ml'::regnamespace"
        " AND proname NOT IN ('vector', 'text_seconds', 'not_scored')",
        database,
    )
    assert paths == [(["search_path=pg_catalog, pg_temp"],)]


async def test_server_that_is_too_old_is_refused(
    registry: Registry, monkeypatch: pytest.MonkeyPatch, cluster: Cluster, database: str
) -> None:
    """A server without what the migrations need is named before anything is created."""
    monkeypatch.setattr(schema, "OLDEST_SERVER_VERSION", 990000)
    newcomer = Registries(service_connector(cluster), artefact_budget_bytes=1)
    with pytest.raises(UnsupportedError, match="PostgreSQL 12"):
        await newcomer.registry(database).models()
    await newcomer.close()


async def test_migration_that_cannot_be_locked_does_not_wait_for_ever(
    cluster: Cluster, database: str, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A lock that somebody keeps ends in an error, and the connection is given back."""
    connect().execute("SELECT pg_advisory_lock(%s)", [schema.MIGRATION_LOCK])
    monkeypatch.setattr(schema, "LOCK_TIMEOUT", "50ms")
    newcomer = Registries(service_connector(cluster), artefact_budget_bytes=1)
    with pytest.raises(ProxyError) as caught:
        await newcomer.registry(database).models()
    assert caught.value.sqlstate == asyncpg.LockNotAvailableError.sqlstate
    await newcomer.close()
