"""SCRAM verifiers of the upstream's users, for `auth = scram`.

Owns the query and its connections, made with the service credentials (which must be allowed to
read pg_authid). A verifier is read anew for each login: a changed password counts at once, and
nothing of it is kept (CVE-2025-2291 came from keeping).
"""

from __future__ import annotations

import secrets
import ssl

import asyncpg

from proxy.errors import AuthenticationError, ProxyError, UpstreamRefusedError
from proxy.protocol.scram import Verifier
from proxy.settings import UpstreamAddress

_QUERY = "SELECT rolpassword FROM pg_catalog.pg_authid WHERE rolname OPERATOR(pg_catalog.=) $1"
_MOCK_SECRET = secrets.token_bytes(32)


class Verifiers:
    """Reads verifiers with the service credentials.

    Parameters
    ----------
    address : the upstream, and the service credentials
    tls : as asyncpg takes it, a libpq sslmode or a context, which demands TLS; None is plain
    timeout_s : for the connection, and for the answer; 0 waits for ever
    """

    def __init__(
        self, address: UpstreamAddress, tls: ssl.SSLContext | str | None, timeout_s: float
    ) -> None:
        self._address = address
        self._tls = "disable" if tls is None or address.is_socket else tls
        self._timeout_s = timeout_s or None

    async def verifier_of(self, user: str) -> Verifier:
        """Return a user's verifier; a user without one gets a mock that no password fits.

        Raises
        ------
        AuthenticationError
            The service credentials may not read verifiers.
        UpstreamRefusedError
            The upstream cannot be reached with them.
        """
        stored = await self._stored(user)
        try:
            return Verifier.parse(stored) if stored else Verifier.mock(user, _MOCK_SECRET)
        except ProxyError:
            return Verifier.mock(user, _MOCK_SECRET)  # an md5 hash: SCRAM cannot check it

    async def _stored(self, user: str) -> str | None:
        try:
            connection = await self._connect()
            try:
                value: str | None = await connection.fetchval(_QUERY, user, timeout=self._timeout_s)
            finally:
                await connection.close(timeout=self._timeout_s)
        except asyncpg.InsufficientPrivilegeError as error:
            raise AuthenticationError(
                "the service user of the proxy may not read SCRAM verifiers",
                hint="auth = scram needs a service user that can read pg_authid.",
            ) from error
        except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            raise UpstreamRefusedError(
                "cannot read SCRAM verifiers from the upstream server", detail=str(error)
            ) from error
        return value

    async def _connect(self) -> asyncpg.Connection:
        address = self._address
        return await asyncpg.connect(
            host=address.host,
            port=address.port,
            user=address.user,
            password=address.password or None,
            database=address.database,
            ssl=self._tls,
            timeout=self._timeout_s,
            statement_cache_size=0,
            server_settings={"search_path": "", "application_name": "pgseer/auth"},
        )
