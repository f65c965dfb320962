"""What the functions of schema ml promise to a client's session."""

from __future__ import annotations

import threading
from collections.abc import Callable

import psycopg
import pytest

from proxy.registry import queries
from proxy.registry.postgres_store import Registry
from tests.registry.conftest import ROLES, Connect, store
from tests.support.postgres import Cluster

ALICE, BOB = ROLES
VERSIONS = "SELECT model_name || ':' || version FROM ml.ml_models ORDER BY model_name, version"

pytestmark = [pytest.mark.asyncio, pytest.mark.usefixtures("registry")]


def versions(connection: psycopg.Connection) -> list[str]:
    return [row[0] for row in connection.execute(VERSIONS)]


def run(connection: psycopg.Connection, statement: str) -> None:
    connection.execute(statement)


async def test_versions_count_from_one_and_again_after_a_drop(connect: Connect) -> None:
    """1.0, 2.0, and 1.0 once more when the name is free again."""
    connection = connect()
    assert [store(connection), store(connection)] == ["1.0", "2.0"]
    run(connection, queries.drop_model("churn"))
    assert store(connection) == "1.0"


async def test_dropped_version_is_not_given_again_below_the_newest(connect: Connect) -> None:
    """Dropping 1.0 of two leaves 2.0, and the next one is 3.0."""
    connection = connect()
    store(connection)
    store(connection)
    run(connection, queries.drop_model("churn", "1.0"))
    assert store(connection) == "3.0"
    assert versions(connection) == ["churn:2.0", "churn:3.0"]


async def test_or_replace_leaves_the_new_version_alone(connect: Connect) -> None:
    """OR REPLACE drops every older version of that model and no other model."""
    connection = connect()
    store(connection, "other")
    store(connection)
    store(connection)
    assert store(connection, or_replace=True) == "3.0"
    assert versions(connection) == ["churn:3.0", "other:1.0"]


async def test_if_not_exists_keeps_the_old_one(connect: Connect) -> None:
    """IF NOT EXISTS changes nothing, whoever asks, and says so in a NOTICE."""
    connection, bob = connect(ALICE), connect(BOB)
    notices: list[str | None] = []
    bob.add_notice_handler(lambda notice: notices.append(notice.message_primary))
    assert store(connection, if_not_exists=True) == "1.0"
    assert store(bob, if_not_exists=True) is None
    assert notices == ['model "churn" already exists, skipping']
    assert versions(connection) == ["churn:1.0"]


async def test_rollback_leaves_nothing(connect: Connect) -> None:
    """A model is of its transaction: seen inside, gone after ROLLBACK, and back after a DROP."""
    connection, other = connect(autocommit=False), connect()
    store(connection)
    assert versions(connection) == ["churn:1.0"]
    assert versions(other) == []
    connection.rollback()
    assert versions(connection) == []
    store(other)
    run(connection, queries.drop_model("churn"))
    assert versions(connection) == []
    connection.rollback()
    assert versions(connection) == ["churn:1.0"]


@pytest.mark.parametrize("first_commits", [True, False])
async def test_concurrent_creators_come_one_after_the_other(
    cluster: Cluster, connect: Connect, first_commits: bool
) -> None:
    """The second creator of a name waits for the first, and counts on from what it left."""
    first, second = connect(ALICE, autocommit=False), connect(ALICE)
    assert store(first) == "1.0"
    stored: list[str | None] = []
    waiter = threading.Thread(target=lambda: stored.append(store(second)))
    waiter.start()
    try:
        pid = second.info.backend_pid
        blocked = f"SELECT pg_blocking_pids({pid}) = ARRAY[{first.info.backend_pid}]"
        while cluster.rows(blocked) != [(True,)]:
            assert waiter.is_alive()
        (first.commit if first_commits else first.rollback)()
    finally:
        first.close()
        waiter.join()
    assert stored == ["2.0" if first_commits else "1.0"]


async def test_concurrent_creators_that_cannot_see_each_other_must_retry(connect: Connect) -> None:
    """In REPEATABLE READ the loser gets 40001, which clients know how to retry."""
    first, second = connect(ALICE), connect(ALICE, autocommit=False)
    second.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
    second.execute("SELECT count(*) FROM ml.ml_models")
    store(first)
    with pytest.raises(psycopg.errors.SerializationFailure):
        store(second)


@pytest.mark.parametrize("artefact_sha256", ["0" * 64, None])
async def test_artefact_damaged_on_its_way_is_refused(
    connect: Connect, artefact_sha256: str | None
) -> None:
    """Bytes that are not those announced are never stored."""
    connection = connect()
    with pytest.raises(psycopg.errors.DataCorrupted):
        store(connection, artefact_sha256=artefact_sha256)
    with pytest.raises(psycopg.errors.DataCorrupted):
        store(connection, artefact_size_bytes=4)
    assert versions(connection) == []


async def test_drop_of_what_is_not_there(connect: Connect) -> None:
    """An unknown model or version is 42704 with the known ones, or a NOTICE for IF EXISTS."""
    connection = connect()
    notices: list[str | None] = []
    connection.add_notice_handler(lambda notice: notices.append(notice.message_primary))
    with pytest.raises(psycopg.errors.UndefinedObject, match='model "churn" does not exist'):
        run(connection, queries.drop_model("churn"))
    store(connection)
    store(connection)
    with pytest.raises(psycopg.errors.UndefinedObject) as caught:
        run(connection, queries.drop_model("churn", "7.0"))
    assert caught.value.diag.message_hint == "Known versions: 1.0, 2.0."
    run(connection, queries.drop_model("churn", "7.0", if_exists=True))
    run(connection, queries.drop_model("none", if_exists=True))
    assert notices == [
        'version 7.0 of model "churn" does not exist, skipping',
        'model "none" does not exist, skipping',
    ]


async def test_model_belongs_to_who_made_it(connect: Connect) -> None:
    """Another role may neither add a version, replace nor drop; the superuser may."""
    alice, bob = connect(ALICE), connect(BOB)
    store(alice)
    attempts: tuple[Callable[[], object], ...] = (
        lambda: store(bob),
        lambda: store(bob, or_replace=True),
        lambda: run(bob, queries.drop_model("churn")),
        lambda: run(bob, queries.drop_model("churn", if_exists=True)),
        lambda: run(bob, queries.check_create_model("churn")),
    )
    for attempt in attempts:
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match="must be owner of model"):
            attempt()
    assert store(connect()) == "2.0"
    assert alice.execute("SELECT DISTINCT owner FROM ml.ml_models").fetchall() == [(ALICE,)]
    run(alice, queries.drop_model("churn"))


async def test_the_role_that_is_set_counts(cluster: Cluster, connect: Connect) -> None:
    """SET ROLE gives models to that role, and lays the login's own rights down."""
    connection = connect()
    run(connection, f"SET ROLE {BOB}")
    store(connection, "of_bob")
    run(connection, f"SET ROLE {ALICE}")
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        store(connection, "of_bob")
    assert connection.execute("SELECT owner FROM ml.ml_models").fetchall() == [(BOB,)]


async def test_members_of_the_owner_are_owners(cluster: Cluster, connect: Connect) -> None:
    """A group's model is its members' model, as a group's table is."""
    cluster.execute("CREATE ROLE registry_group ROLE registry_bob")
    owner = connect()
    run(owner, "SET ROLE registry_group")
    store(owner)
    try:
        assert store(connect(BOB)) == "2.0"
    finally:
        cluster.execute("DROP ROLE registry_group")


async def test_model_whose_owner_is_gone_is_the_superusers(
    cluster: Cluster, connect: Connect
) -> None:
    """A dropped owner locks nobody out but other roles."""
    cluster.execute("CREATE ROLE registry_gone")
    connection = connect()
    run(connection, "SET ROLE registry_gone")
    store(connection)
    run(connection, "RESET ROLE")
    cluster.execute("DROP ROLE registry_gone")
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        store(connect(ALICE))
    run(connection, queries.drop_model("churn"))


async def test_tables_are_closed_to_everybody(connect: Connect) -> None:
    """A role reads the view and calls the functions; it touches no table and no inner function."""
    bob = connect(BOB)
    store(connect(ALICE))
    assert versions(bob) == ["churn:1.0"]
    for statement in (
        "SELECT FROM ml.model_versions",
        "SELECT FROM ml.models",
        "DELETE FROM ml.models",
        "INSERT INTO ml.models VALUES ('mine', 'registry_bob')",
        "SELECT ml.check_owner('churn', 'x')",
        "SELECT ml.caller()",
        "CREATE TABLE ml.mine ()",
        "CREATE FUNCTION ml.store_model(text) RETURNS text LANGUAGE sql AS 'SELECT 1'",
    ):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            run(bob, statement)


async def test_hostile_search_path_changes_nothing(connect: Connect) -> None:
    """Functions, operators, tables and types that stand in front of PostgreSQL's are not used."""
    mallory, victim = connect(BOB), connect(ALICE)
    connection = connect()
    run(connection, "CREATE SCHEMA evil")
    run(
        connection,
        """
        CREATE FUNCTION evil.trap(anyelement, anyelement) RETURNS boolean LANGUAGE plpgsql
            AS $$ BEGIN RAISE EXCEPTION 'trapped'; END $$;
        CREATE FUNCTION evil.trap() RETURNS timestamptz LANGUAGE plpgsql
            AS $$ BEGIN RAISE EXCEPTION 'trapped'; END $$;
        CREATE FUNCTION evil.sha256(bytea) RETURNS bytea LANGUAGE sql AS $$ SELECT ''::bytea $$;
        CREATE FUNCTION evil.quote_ident(text) RETURNS text LANGUAGE sql AS $$ SELECT 'postgres' $$;
        CREATE FUNCTION evil.pg_has_role(oid, oid, text) RETURNS boolean LANGUAGE sql
            AS $$ SELECT true $$;
        CREATE FUNCTION evil.clock_timestamp() RETURNS timestamptz LANGUAGE sql
            AS $$ SELECT evil.trap() $$;
        CREATE OPERATOR evil.= (FUNCTION = evil.trap, LEFTARG = anyelement, RIGHTARG = anyelement);
        CREATE OPERATOR evil.<> (FUNCTION = evil.trap, LEFTARG = anyelement, RIGHTARG = anyelement);
        CREATE TABLE evil.ml_models (trapped int);
        CREATE DOMAIN evil.numeric AS int CHECK (false);
        CREATE DOMAIN evil.text AS int CHECK (false);
        GRANT USAGE ON SCHEMA evil TO PUBLIC;
        """,
    )
    run(victim, "SET search_path = evil, pg_catalog")
    for name in ("pg_roles", "pg_type", "models", "model_versions"):
        run(victim, f"CREATE TEMP TABLE {name} (trapped pg_catalog.int4)")
    assert store(victim) == "1.0"
    assert store(victim) == "2.0"
    asked = (
        queries.show_models(),
        queries.show_model("churn"),
        queries.describe_model("churn", "1.0"),
        queries.model_exists("churn"),
        queries.check_create_model("churn"),
        queries.model_catalog(),
        queries.model_artefact("churn", "2.0"),
    )
    for statement in asked:
        assert victim.pgconn.exec_(statement.encode()).ntuples > 0, statement
    run(mallory, "SET search_path = evil, pg_catalog")
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        run(mallory, queries.drop_model("churn"))
    run(victim, queries.drop_model("churn", "1.0"))
    run(victim, queries.drop_model("churn"))


async def test_superusers_maintenance_lends_its_rights_to_nobody(connect: Connect) -> None:
    """An index expression that drops another's model fails when the superuser runs REINDEX."""
    alice, bob, superuser = connect(ALICE), connect(BOB), connect()
    store(alice)
    run(
        bob,
        """
        CREATE TABLE public.bait AS SELECT 1 AS x;
        CREATE FUNCTION public.drop_it() RETURNS void LANGUAGE plpgsql
            AS $$ BEGIN CALL ml.drop_model('churn', NULL, false); END $$;
        CREATE FUNCTION public.trap(int) RETURNS int IMMUTABLE LANGUAGE plpgsql
            AS $$ BEGIN RETURN $1; END $$;
        CREATE INDEX bait_index ON public.bait (public.trap(x));
        CREATE OR REPLACE FUNCTION public.trap(int) RETURNS int IMMUTABLE LANGUAGE plpgsql
            AS $$ BEGIN PERFORM public.drop_it(); RETURN $1; END $$;
        """,
    )
    with pytest.raises(psycopg.errors.InsufficientPrivilege, match="security-restricted"):
        run(superuser, "REINDEX TABLE public.bait")
    assert versions(superuser) == ["churn:1.0"]


async def test_type_of_the_target_is_written_by_the_server(connect: Connect) -> None:
    """The type's name is qualified and quoted, a domain is what it stands on, others are 42804."""
    connection = connect(ALICE)
    run(
        connection,
        """
        CREATE TYPE public."odd ""type" AS ENUM ('a', 'b');
        CREATE FUNCTION public.trap(text) RETURNS boolean LANGUAGE sql AS 'SELECT 1 / 0 = 1';
        CREATE DOMAIN public.inner_domain AS text CHECK (public.trap(VALUE));
        CREATE DOMAIN public.outer_domain AS public.inner_domain;
        """,
    )

    def oid(name: str) -> int:
        (row,) = connection.execute("SELECT %s::regtype::oid::int", [name]).fetchall()
        return int(row[0])

    store(connection, target_type_oid=oid('public."odd ""type"'))
    store(connection, target_type_oid=oid("public.outer_domain"))
    store(connection, target_type_oid=None)
    catalog = "SELECT convert_from(c, 'UTF8')::jsonb ->> %s FROM ml.model_catalog() AS c"
    names = connection.execute(catalog, ["target_type_sql"]).fetchall()
    assert names == [('public."odd ""type"',), ("pg_catalog.text",), (None,)]
    for name in ("public.outer_domain[]", "int4range"):
        with pytest.raises(psycopg.errors.DatatypeMismatch):
            store(connection, target_type_oid=oid(name))
    with pytest.raises(psycopg.errors.DatatypeMismatch):
        store(connection, target_type_oid=4000000000)


async def test_wrong_metric_fails_its_writer(connect: Connect) -> None:
    """A metric that is no number is refused, so that SHOW MODELS works for the others."""
    with pytest.raises(psycopg.errors.InvalidTextRepresentation):
        store(connect(BOB), metrics={"accuracy": "high"})
    with pytest.raises(psycopg.errors.CheckViolation):
        store(connect(BOB), features={"not": "a list"})


@pytest.mark.parametrize("name", ["", "x" * 64, "é" * 32])
async def test_names_have_the_length_of_identifiers(connect: Connect, name: str) -> None:
    """A name that PostgreSQL would cut off is an error, before and after the training."""
    with pytest.raises(psycopg.errors.InvalidName):
        run(connect(), queries.check_create_model(name))
    with pytest.raises(psycopg.errors.CheckViolation):
        store(connect(), name)


@pytest.mark.parametrize("name", ["../../etc/passwd", "a:1.0", "modèle'\\", "select", 'q"q'])
async def test_names_are_only_names(connect: Connect, name: str) -> None:
    """Whatever a quoted identifier can hold is stored, found and dropped."""
    connection = connect()
    store(connection, name, b"of this one")
    ((found,),) = connection.execute(queries.model_artefact(name)).fetchall()
    assert found == b"of this one"
    run(connection, queries.drop_model(name))
    assert versions(connection) == []


async def test_read_only_transaction_is_told_before_the_training(connect: Connect) -> None:
    """CREATE MODEL in a read-only transaction fails at once and not after an hour."""
    connection = connect()
    run(connection, "SET default_transaction_read_only = on")
    with pytest.raises(psycopg.errors.ReadOnlySqlTransaction, match="CREATE MODEL"):
        run(connection, queries.check_create_model("churn"))


async def test_restore_point_undoes_a_drop(connect: Connect) -> None:
    """DROP MODEL is undone by ROLLBACK TO SAVEPOINT, in the client's own transaction."""
    connection = connect(autocommit=False)
    store(connection)
    run(connection, "SAVEPOINT before")
    run(connection, queries.drop_model("churn"))
    run(connection, "ROLLBACK TO SAVEPOINT before")
    connection.commit()
    assert versions(connection) == ["churn:1.0"]


async def test_pinned_version_is_the_default_until_it_is_dropped(
    cluster: Cluster, connect: Connect, registry: Registry
) -> None:
    """A pin outranks newer versions everywhere, and goes with its version."""
    connection = connect()
    store(connection, artefact=b"first")
    run(connection, "UPDATE ml.models SET pinned_version = 1.0")
    store(connection, artefact=b"second")

    async def defaults() -> list[object]:
        registry.mark_stale()
        models = await registry.models()
        shown = connection.execute("SELECT version::text FROM ml.ml_models WHERE is_default")
        read = connection.execute(queries.model_artefact("churn"))
        described = connection.execute(
            "SELECT value FROM ml.describe_model('churn', NULL) WHERE name = 'version'"
        )
        rows = [cursor.fetchall()[0][0] for cursor in (shown, described, read)]
        return [models.entry("churn", None).version, *rows]

    assert await defaults() == ["1.0", "1.0", "1.0", b"first"]
    run(connection, queries.drop_model("churn", "1.0"))
    assert await defaults() == ["2.0", "2.0", "2.0", b"second"]
