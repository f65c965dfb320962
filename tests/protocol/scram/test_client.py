"""The client's side, against RFC 7677's example and scramp, an implementation not ours.

Fuzz invariant: any bytes give a message or an AuthenticationError, nothing else.
"""

from __future__ import annotations

import base64

import pytest
import scramp
from hypothesis import given
from hypothesis import strategies as st

from proxy.errors import AuthenticationError
from proxy.protocol.scram.client import ScramClient
from proxy.protocol.scram.credentials import Password, RecoveredKey
from proxy.protocol.scram.grammar import SCRAM_SHA_256, SCRAM_SHA_256_PLUS
from proxy.protocol.scram.keys import ScramKeys
from tests.protocol.scram.example import (
    BINDING,
    KNOWN,
    PASSWORD,
    RFC_CLIENT_FINAL,
    RFC_CLIENT_FIRST,
    RFC_CLIENT_NONCE,
    RFC_SALT,
    RFC_SERVER_FINAL,
    RFC_SERVER_FIRST,
    RFC_SERVER_NONCE,
    failure,
    rfc_client,
    rfc_server,
)


def test_example() -> None:
    """Our client says what RFC 7677's client says."""
    client = rfc_client()
    assert client.client_first([SCRAM_SHA_256]) == (SCRAM_SHA_256, RFC_CLIENT_FIRST)
    assert client.client_final(RFC_SERVER_FIRST) == RFC_CLIENT_FINAL
    assert not client.verified
    client.check_server_final(RFC_SERVER_FINAL)
    assert client.verified


@pytest.mark.parametrize("binding", [None, BINDING])
@pytest.mark.parametrize("user", ["kurt", "a=b,c", "Jürgen"])
def test_against_scramp(user: str, binding: bytes | None) -> None:
    """Our client logs in to scramp's server, with and without channel binding."""
    mechanism = scramp.ScramMechanism(SCRAM_SHA_256_PLUS if binding else SCRAM_SHA_256)
    known = mechanism.make_auth_info(PASSWORD)
    channel = ("tls-server-end-point", binding) if binding else None
    server = mechanism.make_server({user: known}.get, channel_binding=channel)
    client = ScramClient(user, Password(PASSWORD), channel_binding=binding)
    offered = [SCRAM_SHA_256_PLUS, SCRAM_SHA_256] if binding else [SCRAM_SHA_256]
    chosen, first = client.client_first(offered)
    assert chosen == mechanism.name
    server.set_client_first(first.decode())
    server.set_client_final(client.client_final(server.get_server_first().encode()).decode())
    client.check_server_final(server.get_server_final().encode())
    assert client.verified


@pytest.mark.parametrize("offered", [[], ["SCRAM-SHA-1"], [SCRAM_SHA_256_PLUS]])
def test_no_common_mechanism(offered: list[str]) -> None:
    """Without a mechanism that we speak there is no login."""
    assert failure(lambda: rfc_client().client_first(offered))[0] == "28000"


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (b"i=4096", b"i=1000001", ("28000", "1000001 SCRAM iterations")),
        (b"i=4096", b"i=2147483647", ("28000", "2147483647 SCRAM iterations")),
        (b"i=4096", b"i=" + b"9" * 1500, ("08P01", "Invalid iteration count")),
        (b"i=4096", b"i=0", ("08P01", "Invalid iteration count")),
        (b"i=4096", b"i=-1", ("08P01", "Invalid iteration count")),
        (b"i=4096", b"i=1e9", ("08P01", "Invalid iteration count")),
        (b"i=4096", b"i=\xd9\xa1", ("08P01", "Invalid iteration count")),
        (b",i=4096", b"", ("08P01", "end of string")),
        (b"i=4096", b"i=4096,x=y", ("08P01", "Garbage found")),
        (b"r=rOpr", b"m=x,r=rOpr", ("08P01", 'Expected attribute "r" but found "m".')),
        (b"r=rOpr", b"r=rOps", ("08P01", "Nonce does not match.")),
        (RFC_SERVER_NONCE.encode(), b"", ("08P01", "Nonce does not match.")),
        (RFC_SERVER_NONCE.encode(), b"\xff", ("08P01", "Nonce does not match.")),
        (b"s=W22ZaJ0SNY7soEsUEjb6gQ==", b"s=", ("08P01", "Invalid salt")),
        (b"s=W22ZaJ0SNY7soEsUEjb6gQ==", b"s=W22", ("08P01", "Invalid salt")),
        (b"k0,", b"k0" + b"a" * 2000 + b",", ("08P01", "longer than 2000 bytes")),
    ],
)
def test_bad_server_first(old: bytes, new: bytes, expected: tuple[str, str]) -> None:
    """A hostile upstream's challenge is refused before any PBKDF2 is computed."""

    class Untouchable:
        def keys(self, salt: bytes, iterations: int) -> ScramKeys:
            raise AssertionError

    client = ScramClient("user", Untouchable(), nonce=lambda: RFC_CLIENT_NONCE)
    client.client_first([SCRAM_SHA_256])
    assert old in RFC_SERVER_FIRST
    message = RFC_SERVER_FIRST.replace(old, new)
    sqlstate, text, detail = failure(lambda: client.client_final(message))
    assert sqlstate == expected[0]
    assert expected[1] in f"{text} {detail}"


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (b"v=" + base64.b64encode(bytes(32)), ("28000", "incorrect server signature")),
        (b"v=", ("08P01", "Invalid server signature.")),
        (b"v=AAAA", ("08P01", "Invalid server signature.")),
        (RFC_SERVER_FINAL + b",x=y", ("08P01", "Garbage found")),
        (b"e=invalid-proof", ("28P01", "The server says invalid-proof.")),
        (b"e=\x1b[31m\n", ("28P01", r"The server says \x1b[31m\n.")),
        (b"", ("08P01", "The message is empty.")),
    ],
)
def test_bad_server_final(message: bytes, expected: tuple[str, str]) -> None:
    """A server that does not know the verifier is no server of ours."""
    client = rfc_client()
    client.client_first([SCRAM_SHA_256])
    client.client_final(RFC_SERVER_FIRST)
    sqlstate, text, detail = failure(lambda: client.check_server_final(message))
    assert sqlstate == expected[0]
    assert expected[1] in f"{text} {detail}"
    assert not client.verified


def test_server_out_of_turn() -> None:
    """A server that skips its challenge, or sends it twice, is refused."""
    client = rfc_client()
    client.client_first([SCRAM_SHA_256])
    assert failure(lambda: client.check_server_final(RFC_SERVER_FINAL))[0] == "08P01"
    assert failure(lambda: client.client_final(RFC_SERVER_FIRST))[0] == "08P01"
    assert not client.verified


@given(st.binary(max_size=200))
def test_fuzz(message: bytes) -> None:
    """Any bytes from a server are refused unless they carry on our nonce."""
    client = rfc_client()
    client.client_first([SCRAM_SHA_256])
    with pytest.raises(AuthenticationError):
        client.client_final(message)


@given(st.integers(0, len(RFC_SERVER_FIRST) - 1), st.integers(0, 255))
def test_fuzz_near_the_truth(index: int, byte: int) -> None:
    """One byte changed in the server's challenge is an error or an unfit proof."""
    mutated = bytearray(RFC_SERVER_FIRST)
    mutated[index] = byte
    client = ScramClient(
        "user",
        RecoveredKey(KNOWN, ScramKeys.from_password("pencil", RFC_SALT, 1).client_key),
        nonce=lambda: RFC_CLIENT_NONCE,
    )
    client.client_first([SCRAM_SHA_256])
    try:
        final = client.client_final(bytes(mutated))
    except AuthenticationError:
        return
    server = rfc_server()
    server.server_first(SCRAM_SHA_256, RFC_CLIENT_FIRST)
    with pytest.raises(AuthenticationError):
        server.server_final(final)
