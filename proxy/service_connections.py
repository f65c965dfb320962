"""Connections of the proxy's own to the upstream, made with the service credentials.

Owns how one is made: by asyncpg, with TLS or without, in the order and with the files that the
sessions' connections have. Leaves to `registry` and `verifiers` what is asked over it, and what a
client is told where it cannot be made.
"""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import dataclass, replace
from typing import Final

import asyncpg

from proxy.settings.dsn import UpstreamAddress

FAILURES: Final = (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError)
"""What is raised where a connection cannot be made, or fails while it is used."""

# A password was asked for, or the server hung up: as in libpq and in a session's login, that is an
# answer, and no reason to try the other way.
_DECISIVE: Final = (asyncpg.InvalidPasswordError, asyncpg.ConnectionDoesNotExistError)


@dataclass(frozen=True, slots=True)
class ServiceConnector:
    """Makes service connections to one database.

    Parameters
    ----------
    address : the database, and the service credentials
    ways : what to try, in this order: a context is TLS, None is plain
    timeout_s : for the connection and the login, by all ways together; 0 waits for ever
    """

    address: UpstreamAddress
    ways: tuple[ssl.SSLContext | None, ...] = (None,)
    timeout_s: float = 15.0

    def to_database(self, name: str) -> ServiceConnector:
        """Return the connector to another database of the same upstream."""
        return replace(self, address=replace(self.address, database=name))

    async def connect(self, server_settings: dict[str, str] | None = None) -> asyncpg.Connection:
        """Return a new connection; the caller closes it.

        asyncpg has libpq's `allow` and `prefer` too, but not with a context of ours: it would show
        no certificate, and check none. So each way is a connection attempt here.

        Raises
        ------
        PostgresError, InterfaceError, OSError, TimeoutError
            `FAILURES`: what the last way came to.
        """
        *earlier, last = self.ways
        async with asyncio.timeout(self.timeout_s or None):
            for tls in earlier:
                try:
                    return await self._connect(tls, server_settings)
                except _DECISIVE:
                    raise
                except (OSError, asyncpg.PostgresError):
                    continue
            return await self._connect(last, server_settings)

    async def _connect(
        self, tls: ssl.SSLContext | None, server_settings: dict[str, str] | None
    ) -> asyncpg.Connection:
        address = self.address
        return await asyncpg.connect(
            host=address.host,
            port=address.port,
            user=address.user,
            password=address.password or None,
            database=address.database,
            ssl=tls or False,
            timeout=None,  # `connect` has one for all ways
            statement_cache_size=0,
            server_settings=server_settings,
        )
