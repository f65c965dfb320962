"""Brings schema `ml` of one database to the newest migration.

Owns the order of the migrations and the checks around them; what they create is written in
migrations/*.sql. A migration, once released, is never edited: the next one changes it.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files

import asyncpg

from proxy.errors import InsufficientPrivilegeError, ProxyError, UnsupportedError
from proxy.registry.queries import quote_identifier

# Stored generated columns came with 12, the youngest feature that the migrations need.
OLDEST_SERVER_VERSION = 120000
# Two proxies that start together on a new database: the second waits and finds it done.
MIGRATION_LOCK = int.from_bytes(b"pgseerml")
LOCK_TIMEOUT = "15s"
SAFE_SEARCH_PATH = "SET LOCAL search_path = pg_catalog, pg_temp"

STATE = """
SELECT current_setting('server_version_num')::int AS server_version,
       current_database()::text AS database,
       current_user::text AS service_role,
       pg_get_userbyid(nspowner)::text AS schema_owner,
       pg_has_role(nspowner, 'USAGE') AS is_ours,
       EXISTS (SELECT FROM pg_class WHERE relnamespace = pg_namespace.oid
                                      AND relname = 'schema_migrations') AS is_installed
  FROM (SELECT) AS always LEFT JOIN pg_namespace ON nspname = 'ml'
"""


@dataclass(frozen=True, slots=True)
class Migration:
    """One step: its number, from the file's name, and its SQL."""

    version: int
    name: str
    sql: str


def migrations() -> tuple[Migration, ...]:
    """Return every migration of this pgseer, in order."""
    folder = files("proxy.registry") / "migrations"
    scripts = sorted(
        (entry for entry in folder.iterdir() if entry.name.endswith(".sql")),
        key=lambda entry: entry.name,
    )
    return tuple(
        Migration(int(script.name[:4]), script.name, script.read_text("utf-8"))
        for script in scripts
    )


async def migrate(connection: asyncpg.Connection) -> None:
    """Bring schema `ml` to the newest migration; do nothing when it is there.

    Raises
    ------
    InsufficientPrivilegeError
        The role may not create schema `ml`, or may not use the one that exists.
    UnsupportedError
        The server is too old, or the schema was made by a newer pgseer.
    """
    known = migrations()
    async with connection.transaction():
        await connection.execute(SAFE_SEARCH_PATH)
        if await _installed_version(connection) == known[-1].version:
            return
    try:
        async with connection.transaction():
            await connection.execute(SAFE_SEARCH_PATH)
            await connection.execute(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'")
            await connection.execute("SELECT pg_advisory_xact_lock($1)", MIGRATION_LOCK)
            await _apply(connection, known, await _installed_version(connection))
    except asyncpg.InsufficientPrivilegeError as error:
        raise await _may_not_create(connection, error.message) from error
    except asyncpg.PostgresError as error:
        raise ProxyError(
            "schema ml could not be brought up to date",
            detail=error.message,
            hint="The log of the database server says more.",
            sqlstate=error.sqlstate,
        ) from error


async def _apply(
    connection: asyncpg.Connection, known: tuple[Migration, ...], installed: int
) -> None:
    for migration in known:
        if migration.version <= installed:
            continue
        await connection.execute(migration.sql)
        await connection.execute(
            "INSERT INTO ml.schema_migrations (version, name) VALUES ($1, $2)",
            migration.version,
            migration.name,
        )


async def _installed_version(connection: asyncpg.Connection) -> int:
    """Return the number of the newest migration that has run here, 0 for none."""
    state = await connection.fetchrow(STATE)
    if state["server_version"] < OLDEST_SERVER_VERSION:
        raise UnsupportedError(
            "pgseer keeps its models in PostgreSQL 12 or newer",
            detail=f"This server is version {state['server_version'] // 10000}.",
        )
    if state["schema_owner"] is None:
        return 0
    # A schema of somebody else's may hold functions of somebody else's, under our names.
    if not state["is_ours"]:
        owner, role = state["schema_owner"], state["service_role"]
        raise InsufficientPrivilegeError(
            f'schema ml belongs to role "{owner}", not to pgseer\'s role "{role}"',
            hint=f"GRANT {quote_identifier(owner)} TO {quote_identifier(role)}, or rename the "
            "schema if it is not pgseer's.",
        )
    if not state["is_installed"]:
        return 0
    installed = int(await connection.fetchval("SELECT max(version) FROM ml.schema_migrations") or 0)
    newest = migrations()[-1].version
    if installed > newest:
        raise UnsupportedError(
            "schema ml was made by a newer pgseer",
            detail=f"It is at version {installed}; this pgseer knows versions up to {newest}.",
            hint="Upgrade this pgseer.",
        )
    return installed


async def _may_not_create(
    connection: asyncpg.Connection, refusal: str
) -> InsufficientPrivilegeError:
    state = await connection.fetchrow(STATE)
    database, role = state["database"], state["service_role"]
    return InsufficientPrivilegeError(
        f'role "{role}" may not keep models in database "{database}"',
        detail=f"The server says: {refusal}.",
        hint=f"GRANT CREATE ON DATABASE {quote_identifier(database)} TO "
        f"{quote_identifier(role)}; pgseer then makes its schema ml at the next ML statement.",
    )
