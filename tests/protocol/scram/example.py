"""RFC 7677's example of a login, its two sides as ours, and a way to see them fail."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable

import pytest

from proxy.errors import AuthenticationError
from proxy.protocol.scram.client import ScramClient
from proxy.protocol.scram.credentials import Password
from proxy.protocol.scram.keys import Verifier
from proxy.protocol.scram.server import ScramServer

# RFC 7677, section 3: user "user", password "pencil".
RFC_SALT = base64.b64decode("W22ZaJ0SNY7soEsUEjb6gQ==")
RFC_CLIENT_NONCE = "rOprNGfwEbeRWgbNEkqO"
RFC_SERVER_NONCE = "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
RFC_CLIENT_FIRST = b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO"
RFC_SERVER_FIRST = (
    b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
)
RFC_CLIENT_FINAL = (
    b"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,"
    b"p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
)
RFC_SERVER_FINAL = b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="

PASSWORD = "Pa\u00ad\u2168ss=,\u00a0word"  # SASLprep changes it
BINDING = hashlib.sha256(b"the certificate").digest()
KNOWN = Verifier.from_password("pencil", salt=RFC_SALT, iterations=4096)


def rfc_server(**changes: object) -> ScramServer:
    arguments: dict[str, object] = {"nonce": lambda: RFC_SERVER_NONCE, **changes}
    return ScramServer("user", KNOWN, **arguments)  # type: ignore[arg-type]


def rfc_client(password: str = "pencil", **changes: object) -> ScramClient:
    arguments: dict[str, object] = {"nonce": lambda: RFC_CLIENT_NONCE, **changes}
    return ScramClient("user", Password(password), **arguments)  # type: ignore[arg-type]


def log_in(client: ScramClient, server: ScramServer) -> str:
    """Carry messages between the two; return the mechanism."""
    mechanism, first = client.client_first(server.mechanisms)
    final = client.client_final(server.server_first(mechanism, first))
    client.check_server_final(server.server_final(final))
    return mechanism


def failure(call: Callable[[], object]) -> tuple[str, str, str | None]:
    with pytest.raises(AuthenticationError) as caught:
        call()
    return caught.value.sqlstate, caught.value.message, caught.value.detail
