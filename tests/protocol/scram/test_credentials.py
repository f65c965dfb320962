"""The key that a client shows the proxy, and where it is worth something."""

from __future__ import annotations

import pytest

from proxy.protocol.scram.client import ScramClient
from proxy.protocol.scram.credentials import RecoveredKey
from proxy.protocol.scram.grammar import SCRAM_SHA_256_PLUS
from proxy.protocol.scram.keys import ScramKeys, Verifier
from proxy.protocol.scram.server import ScramServer
from tests.protocol.scram.example import (
    BINDING,
    KNOWN,
    RFC_SALT,
    failure,
    log_in,
    rfc_client,
    rfc_server,
)


def test_recovered_key() -> None:
    """The key that a client showed us logs in upstream, and checks the upstream too."""
    ours = rfc_server()
    log_in(rfc_client(), ours)
    assert ours.client_key is not None
    upstream = ScramServer("user", KNOWN, channel_binding=BINDING)
    client = ScramClient("user", RecoveredKey(KNOWN, ours.client_key), channel_binding=BINDING)
    assert log_in(client, upstream) == SCRAM_SHA_256_PLUS
    assert client.verified


@pytest.mark.parametrize("change", ["salt", "iterations"])
def test_recovered_key_elsewhere(change: str) -> None:
    """Where the upstream salts otherwise, the key is not even tried."""
    salt, iterations = RFC_SALT, 4096
    key = ScramKeys.from_password("pencil", salt, iterations).client_key
    if change == "salt":
        salt = RFC_SALT[::-1]
    else:
        iterations = 4097
    upstream = ScramServer(
        "user", Verifier.from_password("pencil", salt=salt, iterations=iterations)
    )
    client = ScramClient("user", RecoveredKey(KNOWN, key))
    sqlstate, message, _ = failure(lambda: log_in(client, upstream))
    assert sqlstate == "28000"
    assert "verifier is not the one" in message
