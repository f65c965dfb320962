"""CancelRequests: from a key to the session that holds it.

Owns the map of keys. The keys are the upstream's own, passed on unchanged, so a request that
reached another proxy than its session still finds the backend.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

from proxy.errors import ProxyError
from proxy.logs import get_logger
from proxy.protocol.messages import CancelRequest
from proxy.upstream import Connector

_AT_ONCE = 16
"""CancelRequests delivered at the same time: anybody may send one without a login."""


class Cancellable(Protocol):
    """A session, as far as this room needs it."""

    def cancel(self) -> None:
        """Stop what the proxy itself does for the session."""


class Cancellation:
    """Finds what a CancelRequest means and delivers it."""

    def __init__(self, connector: Connector) -> None:
        self.connector = connector
        self._sessions: dict[bytes, Cancellable] = {}
        self._turn = asyncio.Semaphore(_AT_ONCE)

    def register(self, key: bytes, session: Cancellable) -> None:
        """Remember a session under its BackendKeyData; an empty key has no meaning."""
        if key:
            self._sessions[key] = session

    def forget(self, key: bytes) -> None:
        """Forget a session that ended."""
        self._sessions.pop(key, None)

    async def deliver(self, request: CancelRequest) -> None:
        """Stop the session's work here and the backend's there; by the protocol without answer."""
        session = self._sessions.get(request.key)
        if session is not None:
            session.cancel()
        async with self._turn:
            for tls in self.connector.attempts():
                try:
                    await self.connector.cancel(request, tls=tls)
                except ProxyError as error:
                    get_logger(__name__).info("cancel request not delivered", error=error.message)
                else:
                    return
