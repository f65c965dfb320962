"""The server's side, against RFC 7677's example and scramp, an implementation not ours.

Fuzz invariant: any bytes give a message or an AuthenticationError, nothing else.
"""

from __future__ import annotations

import hashlib

import pytest
import scramp
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.errors import AuthenticationError, LocalProtocolError
from proxy.protocol.scram.grammar import SCRAM_SHA_256, SCRAM_SHA_256_PLUS, new_nonce
from proxy.protocol.scram.keys import ScramKeys, Verifier
from proxy.protocol.scram.server import ScramServer
from tests.protocol.scram.example import (
    BINDING,
    PASSWORD,
    RFC_CLIENT_FINAL,
    RFC_CLIENT_FIRST,
    RFC_SERVER_FINAL,
    RFC_SERVER_FIRST,
    failure,
    log_in,
    rfc_client,
    rfc_server,
)


def test_example() -> None:
    """Our server says what RFC 7677's server says."""
    server = rfc_server()
    assert server.server_first(SCRAM_SHA_256, RFC_CLIENT_FIRST) == RFC_SERVER_FIRST
    assert server.server_final(RFC_CLIENT_FINAL) == RFC_SERVER_FINAL


@pytest.mark.parametrize("binding", [None, BINDING])
def test_against_scramp(binding: bytes | None) -> None:
    """Our server lets scramp's client in, and the recovered ClientKey is the password's."""
    verifier = Verifier.from_password(PASSWORD)
    server = ScramServer("kurt", verifier, channel_binding=binding)
    channel = ("tls-server-end-point", binding) if binding else None
    client = scramp.ScramClient(list(server.mechanisms), "kurt", PASSWORD, channel_binding=channel)
    assert server.client_key is None
    first = client.get_client_first().encode()
    client.set_server_first(server.server_first(client.mechanism_name, first).decode())
    client.set_server_final(server.server_final(client.get_client_final().encode()).decode())
    keys = ScramKeys.from_password(PASSWORD, verifier.salt, verifier.iterations)
    assert server.client_key == keys.client_key


@pytest.mark.parametrize("password", ["pencil2", "", "PENCIL"])
def test_wrong_password(password: str) -> None:
    """A wrong password is PostgreSQL's 28P01, and no key is recovered."""
    server = rfc_server()
    assert failure(lambda: log_in(rfc_client(password), server))[:2] == (
        "28P01",
        'password authentication failed for user "user"',
    )
    assert server.client_key is None


def test_no_second_try() -> None:
    """After a failure the exchange is over: a guess costs a connection."""
    server = rfc_server()
    server.server_first(SCRAM_SHA_256, RFC_CLIENT_FIRST)
    wrong = RFC_CLIENT_FINAL.replace(b"p=dHzb", b"p=AAAA")
    assert failure(lambda: server.server_final(wrong))[0] == "28P01"
    with pytest.raises(LocalProtocolError):
        server.server_final(RFC_CLIENT_FINAL)


def test_no_initial_response() -> None:
    """A client without an initial response gets an empty challenge first (RFC 4422)."""
    server = rfc_server()
    assert server.server_first(SCRAM_SHA_256, None) == b""
    assert server.server_first(SCRAM_SHA_256, RFC_CLIENT_FIRST) == RFC_SERVER_FIRST


def test_downgrade() -> None:
    """'y' where we offer PLUS is a list cut on the way: 28000, as PostgreSQL says it."""
    client = rfc_client(channel_binding=BINDING)
    mechanism, first = client.client_first([SCRAM_SHA_256])
    assert first.startswith(b"y,,")
    server = rfc_server(channel_binding=BINDING)
    assert failure(lambda: server.server_first(mechanism, first))[:2] == (
        "28000",
        "SCRAM channel binding negotiation error",
    )


def test_y_without_plus() -> None:
    """'y' where we do not offer PLUS is honest."""
    client = rfc_client(channel_binding=BINDING)
    assert log_in(client, rfc_server()) == SCRAM_SHA_256


def test_n_with_plus() -> None:
    """A client that wants no channel binding need not use it."""
    assert log_in(rfc_client(), rfc_server(channel_binding=BINDING)) == SCRAM_SHA_256


def test_other_certificate() -> None:
    """A client that sees another certificate is refused: somebody is in between."""
    client = rfc_client(channel_binding=hashlib.sha256(b"another").digest())
    server = rfc_server(channel_binding=BINDING)
    assert failure(lambda: log_in(client, server))[:2] == (
        "28000",
        "SCRAM channel binding check failed",
    )


@pytest.mark.parametrize("mechanism", [SCRAM_SHA_256_PLUS, "PLAIN", "", "SCRAM-SHA-1"])
def test_plus_needs_an_offer(mechanism: str) -> None:
    """A mechanism that was not offered is refused."""
    server = rfc_server()
    assert failure(lambda: server.server_first(mechanism, RFC_CLIENT_FIRST)) == (
        "08P01",
        "client selected an invalid SASL authentication mechanism",
        None,
    )


@pytest.mark.parametrize(
    ("plus", "message", "expected"),
    [
        (False, b"", ("08P01", "The message is empty.")),
        (False, b"n,,n=user", ("08P01", "Attribute expected, but found end of string.")),
        (False, b"n", ("08P01", "Attribute expected, but found end of string.")),
        (False, b"n,,", ("08P01", "Attribute expected")),
        (False, b"x,,n=,r=a", ("08P01", 'Unexpected channel-binding flag "x".')),
        (False, b"nn,,n=,r=a", ("08P01", "Unexpected channel-binding flag")),
        (False, b"n,a=root,n=,r=a", ("0A000", "")),
        (False, b"n,b=root,n=,r=a", ("08P01", 'Unexpected attribute "b"')),
        (False, b"n,,m=x,n=,r=a", ("0A000", "")),
        (False, b"n,,n=,r=a,m=x", ("0A000", "")),
        (False, b"n,,r=a,n=", ("08P01", 'Expected attribute "n" but found "r".')),
        (False, b"n,,n=,r=", ("08P01", "")),
        (False, b"n,,n=,r=a b", ("08P01", "")),
        (False, b"n,,n=,r=a\xffb", ("08P01", "")),
        (False, b"n,,n=,r=a,1=x", ("08P01", 'found invalid character "1"')),
        (False, b"n,,n=,r=a\0", ("08P01", "Message length does not match")),
        (False, b"n,,n=,r=" + b"a" * 1_000_000, ("08P01", "longer than 1024 bytes")),
        (False, b"p=tls-server-end-point,,n=,r=a", ("08P01", "without channel binding")),
        (True, b"n,,n=,r=a", ("08P01", "does not include channel binding data")),
        (True, b"y,,n=,r=a", ("08P01", "does not include channel binding data")),
        (True, b"p=tls-unique,,n=,r=a", ("08P01", 'type "tls-unique"')),
        (True, b"p=\x1b[31m,,n=,r=a", ("08P01", r'type "\x1b[31m"')),
    ],
)
def test_bad_first(plus: bool, message: bytes, expected: tuple[str, str]) -> None:
    """Each malformed client-first message has PostgreSQL's SQLSTATE and says what is wrong."""
    server = rfc_server(channel_binding=BINDING)
    mechanism = SCRAM_SHA_256_PLUS if plus else SCRAM_SHA_256
    sqlstate, text, detail = failure(lambda: server.server_first(mechanism, message))
    assert sqlstate == expected[0]
    assert expected[1] in f"{text} {detail}"


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (b"c=biws", b"c=eSws", ("08P01", "unexpected SCRAM channel-binding attribute")),
        (b"c=biws", b"c=", ("08P01", "unexpected SCRAM channel-binding attribute")),
        (b"c=biws,", b"", ("08P01", 'Expected attribute "c" but found "r".')),
        (b"hvYDp", b"hvYDq", ("08P01", "Nonce does not match.")),
        (b"hNlF$k0", b"", ("08P01", "Nonce does not match.")),
        (b",p=", b",m=x,p=", ("0A000", "")),
        (b",p=", b",q=", ("08P01", "end of string")),
        (b",p=", b",p=AAAA,p=", ("08P01", "Garbage found")),
        (b"dVQ=", b"dVQ=,x=", ("08P01", "Garbage found")),
        (b"dVQ=", b"dV==", ("08P01", "Malformed proof")),
        (b"dVQ=", b"", ("08P01", "Malformed proof")),
        (b"dVQ=", b"\xff\xff\xff=", ("08P01", "Malformed proof")),
        (b"dVQ=", b"dVQ=" + b"A" * 1024, ("08P01", "longer than 1024 bytes")),
    ],
)
def test_bad_final(old: bytes, new: bytes, expected: tuple[str, str]) -> None:
    """A right proof in a wrong message logs nobody in."""
    server = rfc_server()
    server.server_first(SCRAM_SHA_256, RFC_CLIENT_FIRST)
    assert old in RFC_CLIENT_FINAL
    message = RFC_CLIENT_FINAL.replace(old, new)
    sqlstate, text, detail = failure(lambda: server.server_final(message))
    assert sqlstate == expected[0]
    assert expected[1] in f"{text} {detail}"
    assert server.client_key is None


def test_extensions_are_ignored_and_signed() -> None:
    """An optional extension is ignored, but it is part of what the proof signs."""
    server = rfc_server()
    server.server_first(SCRAM_SHA_256, RFC_CLIENT_FIRST)
    inserted = RFC_CLIENT_FINAL.replace(b",p=", b",x=y,p=")
    assert failure(lambda: server.server_final(inserted))[0] == "28P01"


def test_replayed_proof() -> None:
    """A proof that was overheard is worth nothing under another server nonce."""
    server = rfc_server(nonce=new_nonce)
    server.server_first(SCRAM_SHA_256, RFC_CLIENT_FIRST)
    assert failure(lambda: server.server_final(RFC_CLIENT_FINAL))[0] == "08P01"


@given(st.binary(max_size=200), st.binary(max_size=200), st.booleans())
def test_fuzz(first: bytes, final: bytes, plus: bool) -> None:
    """Any bytes give a message or an AuthenticationError."""
    server = rfc_server(channel_binding=BINDING if plus else None)
    mechanism = SCRAM_SHA_256_PLUS if plus else SCRAM_SHA_256
    with pytest.raises(AuthenticationError):
        server.server_final(server.server_first(mechanism, first) and final)
    server = rfc_server()
    server.server_first(SCRAM_SHA_256, RFC_CLIENT_FIRST)
    with pytest.raises(AuthenticationError):
        server.server_final(final)
    assert server.client_key is None


@given(st.data())
@settings(max_examples=200)
def test_fuzz_near_the_truth(data: st.DataObject) -> None:
    """One byte changed in the client's last message never logs in another way than base64's.

    The last character of a base64 text has two bits that mean nothing; any other change counts.
    """
    index = data.draw(st.integers(0, len(RFC_CLIENT_FINAL) - 3))
    byte = data.draw(st.integers(0, 255))
    message = bytearray(RFC_CLIENT_FINAL)
    changed = message[index] != byte
    message[index] = byte
    server = rfc_server()
    server.server_first(SCRAM_SHA_256, RFC_CLIENT_FIRST)
    if changed:
        with pytest.raises(AuthenticationError):
            server.server_final(bytes(message))
    else:
        assert server.server_final(bytes(message)) == RFC_SERVER_FINAL
