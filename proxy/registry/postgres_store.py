"""The catalogue of one database's models, read with the service credentials and kept fresh.

Owns one upstream connection per database, used for migrating, listening and reading; nothing is
written by it but the migrations. It is opened by the first question and again by the first one
after a loss, so a database that nobody asks about costs nothing.

Freshness. A change is announced by NOTIFY at its commit, to every proxy. The catalogue in memory
is used only while the connection that hears the announcements has been known good within
`HEARTBEAT_S`. A session that committed a change itself calls `mark_stale`, because its client may
ask again before the announcement is here.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from typing import Any

import asyncpg

from proxy.engine.model import Model
from proxy.errors import (
    AdminShutdownError,
    ProxyError,
    UnknownModelError,
    UpstreamError,
    UpstreamRefusedError,
)
from proxy.registry.cache import ArtefactCache
from proxy.registry.catalog import Models
from proxy.registry.model_version import ModelEntry
from proxy.registry.progress import ProgressBoard
from proxy.registry.schema import migrate
from proxy.relay.freshness import Freshness
from proxy.service_connections import FAILURES, ServiceConnector

CHANNEL = "pgseer_models"
HEARTBEAT_S = 5.0
HEARTBEAT_TIMEOUT_S = 5.0
FIRST_BACKOFF_S = 0.1
LONGEST_BACKOFF_S = 1.0

SET_SEARCH_PATH = "SELECT pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', false)"
CATALOG = "SELECT * FROM ml.model_catalog()"
ARTEFACT = """
SELECT artefact FROM ml.model_versions
 WHERE model_name = $1 AND version::text = $2 AND artefact_sha256 = $3
"""
# What says that the connection, and not the question, was at fault.
LOST = (
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
    asyncpg.InterfaceError,
    # The server's farewell came between two messages of one question, and asyncpg lost its place.
    asyncpg.InternalClientError,
    OSError,
    TimeoutError,
)


class Registry:
    """The models of one database.

    Parameters
    ----------
    connector : to the database
    artefacts : where loaded models are kept; may be shared between databases

    Attributes
    ----------
    freshness : whether `fresh_models` are still there, for those who cannot ask
    progress : the trainings under way
    """

    def __init__(self, connector: ServiceConnector, artefacts: ArtefactCache) -> None:
        self._connector = connector
        self._artefacts = artefacts
        self._lock = asyncio.Lock()
        self._connection: asyncpg.Connection | None = None
        self._is_closed = False
        self._hears_changes = False
        self._backoff = Backoff()
        self._models = Models()
        # A count, so that a change which is announced during a load is not lost by it.
        self.freshness = Freshness()
        self._changes_loaded = -1
        self.progress = ProgressBoard(self.connect)

    def mark_stale(self) -> None:
        """Have the next `models` read the catalogue again."""
        self.freshness.changed()

    async def models(self) -> Models:
        """Return the models that are committed, from memory while that is known to be true.

        Raises
        ------
        UpstreamRefusedError
            The database cannot be reached with the service credentials.
        InsufficientPrivilegeError
            They may not create schema `ml`; the HINT says what to grant.
        UpstreamError
            The connection was lost twice in a row.
        """
        if not self._is_fresh():
            async with self._lock:
                if not self._is_fresh():
                    await self._refresh()
        return self._models

    @property
    def fresh_models(self) -> Models | None:
        """The committed models if memory is known to be true, without waiting; else None."""
        return self._models if self._is_fresh() else None

    def known(self, entry: ModelEntry) -> Model | None:
        """Return the model of `entry` if it is in memory."""
        return self._artefacts.find(entry)

    async def connect(self) -> asyncpg.Connection:
        """Return a new connection with the service credentials; the caller closes it.

        Raises
        ------
        UpstreamRefusedError
            It cannot be made.
        """
        try:
            return await self._connector.connect()
        except FAILURES as error:
            raise self._unreachable(error) from error

    async def artefact(self, entry: ModelEntry) -> Model:
        """Return the model of `entry`, ready to score.

        Raises
        ------
        ArtifactError
            The stored bytes are not what was stored.
        UnknownModelError
            The version was dropped since `models` was asked.
        """
        return await self._artefacts.get(entry, lambda: self._read_artefact(entry))

    async def parse_artefact(self, entry: ModelEntry, artefact: bytes) -> Model:
        """Return the model of bytes that a client's session read in its own transaction."""

        async def read() -> bytes:
            return artefact

        return await self._artefacts.get(entry, read)

    async def rest(self) -> None:
        """Let the connection go until the next question: it would keep DROP DATABASE waiting."""
        async with self._lock:
            connection, self._connection = self._connection, None
            self.freshness.lost()
            if connection is not None:
                with suppress(*LOST):
                    await connection.close(timeout=HEARTBEAT_TIMEOUT_S)

    async def close(self) -> None:
        """Let the connection go, for good."""
        self._is_closed = True
        await self.progress.close()
        connection, self._connection = self._connection, None
        self.freshness.lost()
        if connection is not None and not connection.is_closed():
            with suppress(*LOST):
                await connection.close(timeout=HEARTBEAT_TIMEOUT_S)

    def _is_fresh(self) -> bool:
        return (
            self._connection is not None
            and self._hears_changes
            and self._changes_loaded == self.freshness.changes
            and self.freshness.is_good
        )

    async def _refresh(self) -> None:
        if self._connection is not None and self._hears_changes:
            # Announcements come before the answer, so an answer also says that none is missing.
            await self._fetch("SELECT", timeout_s=HEARTBEAT_TIMEOUT_S)
        else:
            await self._connected()
        changes = self.freshness.changes
        if changes != self._changes_loaded or not self._hears_changes:
            rows = await self._fetch(CATALOG)
            self._models = Models(ModelEntry.from_json(row[0]) for row in rows)
            self._changes_loaded = changes
        if self._connection is not None and self._hears_changes:
            self.freshness.is_good_for(HEARTBEAT_S)

    async def _read_artefact(self, entry: ModelEntry) -> bytes:
        async with self._lock:
            rows = await self._fetch(
                ARTEFACT, entry.model_name, entry.version, entry.artefact_sha256
            )
        if not rows:
            self.mark_stale()
            raise UnknownModelError(
                f'version {entry.version} of model "{entry.model_name}" does not exist',
                detail="It was dropped a moment ago.",
            )
        return bytes(rows[0][0])

    async def _fetch(
        self, sql: str, *arguments: object, timeout_s: float | None = None
    ) -> list[Any]:
        """Ask, and once more on a new connection when the old one turns out to be lost."""
        for _ in range(2):
            connection = await self._connected()
            try:
                rows: list[Any] = await connection.fetch(sql, *arguments, timeout=timeout_s)
            except LOST as error:
                lost = error
                self._forget(connection)
            else:
                return rows
        raise UpstreamError(
            "the registry's connection to the database was lost", detail=str(lost)
        ) from lost

    async def _connected(self) -> asyncpg.Connection:
        if self._is_closed:
            raise AdminShutdownError("pgseer is stopping")
        if self._connection is None:
            self._backoff.check()
            try:
                self._connection = await self._connect()
            except ProxyError as error:
                self._backoff.failed(error)
                raise
            self._backoff = Backoff()
            self.mark_stale()
        return self._connection

    def _unreachable(self, error: Exception) -> UpstreamRefusedError:
        address = self._connector.address
        return UpstreamRefusedError(
            f'the registry cannot reach database "{address.database}" as role "{address.user}"',
            detail=str(error) or type(error).__name__,
            hint="Models are kept there with the credentials that pgseer was started with.",
        )

    async def _connect(self) -> asyncpg.Connection:
        connection = await self.connect()
        try:
            await connection.execute(SET_SEARCH_PATH)
            await migrate(connection)
            self._hears_changes = await self._listen(connection)
        except FAILURES as error:
            _terminate(connection)
            raise self._unreachable(error) from error
        except BaseException:
            _terminate(connection)
            raise
        connection.add_termination_listener(self._forget)
        return connection

    async def _listen(self, connection: asyncpg.Connection) -> bool:
        try:
            await connection.add_listener(CHANNEL, self._announced)
        except asyncpg.ReadOnlySQLTransactionError:
            return False  # a hot standby: nothing is announced there, so every question reads
        return True

    def _announced(self, *_: object) -> None:
        self.mark_stale()

    def _forget(self, connection: asyncpg.Connection) -> None:
        if self._connection is connection:
            self._connection = None
            self.freshness.lost()
        _terminate(connection)


class Backoff:
    """Refuses to try again too soon, with the error of the last time."""

    def __init__(self) -> None:
        self._error: ProxyError | None = None
        self._delay_s = FIRST_BACKOFF_S
        self._not_before_s = 0.0

    def check(self) -> None:
        """Raise the last error while it is too early for another attempt."""
        if self._error is not None and time.monotonic() < self._not_before_s:
            raise self._error.with_traceback(None)

    def failed(self, error: ProxyError) -> None:
        """Note a failure; each one in a row doubles the pause."""
        self._error = error
        self._not_before_s = time.monotonic() + self._delay_s
        self._delay_s = min(2 * self._delay_s, LONGEST_BACKOFF_S)


class Registries:
    """One registry for each database of the upstream that is asked about.

    Parameters
    ----------
    connector : to any database of the upstream
    artefact_budget_bytes : of all databases together
    """

    def __init__(self, connector: ServiceConnector, *, artefact_budget_bytes: int) -> None:
        self._connector = connector
        self._artefacts = ArtefactCache(artefact_budget_bytes)
        self._registries: dict[str, Registry] = {}

    def registry(self, database: str) -> Registry:
        """Return the registry of `database`; it connects when it is first asked something."""
        if database not in self._registries:
            connector = self._connector.to_database(database)
            self._registries[database] = Registry(connector, self._artefacts)
        return self._registries[database]

    async def rest(self, database: str) -> None:
        """Let the connection to a database go that nobody uses now."""
        registry = self._registries.get(database)
        if registry is not None:
            await registry.rest()

    def count_cached_bytes(self) -> int:
        """Return the size of the models kept in memory, of all databases together."""
        return self._artefacts.held_bytes

    async def close(self) -> None:
        """Close every connection."""
        await asyncio.gather(*(registry.close() for registry in self._registries.values()))


def _terminate(connection: asyncpg.Connection | None) -> None:
    if connection is not None and not connection.is_closed():
        connection.terminate()
