"""A lock that a client's backend waits for while the proxy works for it.

A backend that waits is busy: pg_cancel_backend, statement_timeout and the client's CancelRequest
stop it as they stop any statement. Owns the lock's key, its holder (a service connection for the
time of the wait) and the SQL of the waiting side. An advisory lock is the one thing that another
session can end at a moment of its choosing, without leaving anything behind.
"""

from __future__ import annotations

import secrets
from typing import Self

import asyncpg

from proxy.errors import UpstreamError
from proxy.registry.postgres_store import LOST, Registry
from proxy.registry.queries import quote_literal


class Vigil:
    """One wait.

    Attributes
    ----------
    wait_sql : what the backend runs; it returns when the vigil ends
    """

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._connection: asyncpg.Connection | None = None
        self._key = secrets.randbits(63)
        # lock_timeout would end the wait for a reason that the client does not have. It is set for
        # this transaction only, and set back by `leave_sql`.
        self.wait_sql = (
            "SELECT pg_catalog.set_config('lock_timeout', '0', true), "
            f"pg_catalog.pg_advisory_lock({self._key})"
        )

    def leave_sql(self, lock_timeout: str) -> str:
        """Return what the backend runs afterwards: it gives the lock back."""
        return (
            f"SELECT pg_catalog.pg_advisory_unlock({self._key}), "
            f"pg_catalog.set_config('lock_timeout', {quote_literal(lock_timeout)}, true)"
        )

    async def __aenter__(self) -> Self:
        connection = await self._registry.connect()
        self._connection = connection
        try:
            await connection.execute(f"SELECT pg_catalog.pg_advisory_lock({self._key})")
        except LOST as error:
            connection.terminate()
            raise UpstreamError("the service connection was lost", detail=str(error)) from error
        return self

    async def end(self) -> None:
        """Let the backend go on; harmless twice."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.terminate()  # a session's locks end with it, whatever state it is in

    async def __aexit__(self, *_: object) -> None:
        await self.end()
