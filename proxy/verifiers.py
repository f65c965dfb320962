"""SCRAM verifiers of the upstream's users, for `auth = scram`.

Owns the query; its connections are `service_connections`', whose user must be allowed to read
pg_authid. A verifier is read anew for each login: a changed password counts at once, and nothing of
it is kept (CVE-2025-2291 came from keeping).
"""

from __future__ import annotations

import secrets

import asyncpg

from proxy.errors import AuthenticationError, ProxyError, UpstreamRefusedError
from proxy.protocol.scram.keys import Verifier
from proxy.service_connections import FAILURES, ServiceConnector

_QUERY = "SELECT rolpassword FROM pg_catalog.pg_authid WHERE rolname OPERATOR(pg_catalog.=) $1"
_SERVER_SETTINGS = {"search_path": "", "application_name": "pgseer/auth"}
_MOCK_SECRET = secrets.token_bytes(32)


class Verifiers:
    """Reads verifiers with the service credentials.

    Parameters
    ----------
    connector : to any database of the upstream; its timeout holds for the answer too
    """

    def __init__(self, connector: ServiceConnector) -> None:
        self._connector = connector
        self._timeout_s = connector.timeout_s or None

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
            connection = await self._connector.connect(_SERVER_SETTINGS)
            try:
                value: str | None = await connection.fetchval(_QUERY, user, timeout=self._timeout_s)
            finally:
                await connection.close(timeout=self._timeout_s)
        except asyncpg.InsufficientPrivilegeError as error:
            raise AuthenticationError(
                "the service user of the proxy may not read SCRAM verifiers",
                hint="auth = scram needs a service user that can read pg_authid.",
            ) from error
        except FAILURES as error:
            raise UpstreamRefusedError(
                "cannot read SCRAM verifiers from the upstream server", detail=str(error)
            ) from error
        return value
