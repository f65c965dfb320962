"""Whether a client that came now would find the database.

Owns the question and how often it may be asked: however many ask, the upstream sees one connection
a second at most. It is opened and closed without a word, which PostgreSQL does not even log.
"""

from __future__ import annotations

import asyncio
import time

from proxy.logs import get_logger
from proxy.settings import UpstreamAddress

# Kubernetes gives a probe one second unless told otherwise: an answer after that is none.
PROBE_TIMEOUT_S = 0.9
KEEP_S = 1.0

STARTING = "starting"
STOPPING = "stopping"
UNREACHABLE = "the upstream server does not accept connections"


class Readiness:
    """Tells whether the upstream accepts connections.

    Parameters
    ----------
    keep_s : how long an answer is given again
    """

    def __init__(self, *, timeout_s: float = PROBE_TIMEOUT_S, keep_s: float = KEEP_S) -> None:
        self._upstream: UpstreamAddress | None = None
        self._own_obstacle = STARTING
        self._timeout_s = timeout_s
        self._keep_s = keep_s
        self._lock = asyncio.Lock()
        self._is_reachable: bool | None = None
        self._known_until_s = 0.0

    def begin(self, upstream: UpstreamAddress) -> None:
        """Say that the proxy takes clients; from now on it depends on the upstream."""
        self._upstream = upstream

    def end(self) -> None:
        """Say that the proxy takes no more clients."""
        self._upstream = None
        self._own_obstacle = STOPPING

    async def obstacle(self) -> str | None:
        """Return why a client had better not come now; None: it may."""
        upstream = self._upstream
        if upstream is None:
            return self._own_obstacle
        async with self._lock:  # those who wait here find the answer of the one before them
            if time.monotonic() >= self._known_until_s:
                await self._probe(upstream)
        return None if self._is_reachable else UNREACHABLE

    async def _probe(self, upstream: UpstreamAddress) -> None:
        failure = ""
        try:
            async with asyncio.timeout(self._timeout_s):
                await connect_and_leave(upstream)
        except TimeoutError:
            failure = "no answer in time"
        except OSError as error:
            failure = error.strerror or str(error)
        self._tell_change(failure)
        self._is_reachable = not failure
        self._known_until_s = time.monotonic() + self._keep_s

    def _tell_change(self, failure: str) -> None:
        log = get_logger(__name__)
        if failure and self._is_reachable is not False:
            log.warning("upstream does not accept connections", error=failure)
        elif not failure and self._is_reachable is False:
            log.info("upstream accepts connections again")


async def connect_and_leave(address: UpstreamAddress) -> None:
    """Connect to the upstream and close at once.

    Raises
    ------
    OSError
        Nobody listens there, or the name is unknown.
    """
    loop = asyncio.get_running_loop()
    transport: asyncio.Transport
    if address.is_socket:
        transport, _ = await loop.create_unix_connection(asyncio.Protocol, address.socket_path)
    else:
        transport, _ = await loop.create_connection(asyncio.Protocol, address.host, address.port)
    transport.close()
