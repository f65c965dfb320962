"""The relayed login, with our own SCRAM as both ends: ScramServer refuses what PostgreSQL refuses.

Fuzz invariant: any bytes pass as they are, or give RemoteProtocolError or AuthenticationError.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.errors import AuthenticationError, RemoteProtocolError
from proxy.protocol.authentication import (
    LoginRelay,
    SASLInitialResponse,
    decode_mechanisms,
    encode_mechanisms,
)
from proxy.protocol.scram.client import ScramClient
from proxy.protocol.scram.credentials import Password
from proxy.protocol.scram.grammar import SCRAM_SHA_256, SCRAM_SHA_256_PLUS
from proxy.protocol.scram.keys import Verifier
from proxy.protocol.scram.server import ScramServer

SASL, CONTINUE, FINAL, OK = 10, 11, 12, 0
UPSTREAM_CERTIFICATE, PROXY_CERTIFICATE = b"upstream's hash", b"proxy's hash"
KNOWN = Verifier.from_password("pencil", iterations=1)
BOTH = encode_mechanisms([b"SCRAM-SHA-256-PLUS", b"SCRAM-SHA-256"])


class ClientRefusesError(Exception):
    """The client stops by itself, for want of channel binding."""


@dataclass(frozen=True)
class Lines:
    """What is encrypted, and by whose certificate."""

    client_tls: bool
    upstream_tls: bool
    same_certificate: bool = False

    def relay(self) -> LoginRelay:
        return LoginRelay(
            client_tls=self.client_tls,
            upstream_tls=self.upstream_tls,
            same_certificate=self.same_certificate,
        )

    def server(self) -> ScramServer:
        """Return PostgreSQL's end: over TLS it offers channel binding."""
        binding = UPSTREAM_CERTIFICATE if self.upstream_tls else None
        return ScramServer("u", KNOWN, channel_binding=binding)

    def client(self, channel_binding: str, offered: tuple[str, ...]) -> ScramClient:
        """Return libpq's end: `require` refuses what is not bound, before it sends anything."""
        seen = UPSTREAM_CERTIFICATE if self.same_certificate else PROXY_CERTIFICATE
        binding = seen if self.client_tls and channel_binding != "disable" else None
        if channel_binding == "require" and (binding is None or SCRAM_SHA_256_PLUS not in offered):
            raise ClientRefusesError
        return ScramClient("u", Password("pencil"), channel_binding=binding)


PLAIN_PLAIN = Lines(client_tls=False, upstream_tls=False)
PLAIN_TLS = Lines(client_tls=False, upstream_tls=True)
TLS_PLAIN = Lines(client_tls=True, upstream_tls=False)
TLS_TLS = Lines(client_tls=True, upstream_tls=True)
TLS_SAME = Lines(client_tls=True, upstream_tls=True, same_certificate=True)


def log_in(lines: Lines, channel_binding: str) -> str:
    """Carry a whole login over the relay; return the mechanism that was used."""
    relay, server = lines.relay(), lines.server()
    offer = encode_mechanisms([name.encode() for name in server.mechanisms])
    offered = tuple(m.decode() for m in decode_mechanisms(relay.from_upstream(SASL, offer)))
    client = lines.client(channel_binding, offered)
    mechanism, first = client.client_first(offered)
    sent = relay.from_client(SASLInitialResponse(mechanism.encode(), first).encode())
    got = SASLInitialResponse.decode(sent)
    challenge = server.server_first(got.mechanism.decode(), got.response)
    final = client.client_final(relay.from_upstream(CONTINUE, challenge))
    client.check_server_final(
        relay.from_upstream(FINAL, server.server_final(relay.from_client(final)))
    )
    assert relay.from_upstream(OK, b"") == b""
    return mechanism


@pytest.mark.parametrize(
    ("lines", "channel_binding", "outcome"),
    [
        (PLAIN_PLAIN, "disable", SCRAM_SHA_256),
        (PLAIN_PLAIN, "prefer", SCRAM_SHA_256),
        (PLAIN_PLAIN, "require", ClientRefusesError),
        (PLAIN_TLS, "disable", SCRAM_SHA_256),
        (PLAIN_TLS, "prefer", SCRAM_SHA_256),
        (PLAIN_TLS, "require", ClientRefusesError),
        (TLS_PLAIN, "disable", SCRAM_SHA_256),
        (TLS_PLAIN, "prefer", SCRAM_SHA_256),
        (TLS_PLAIN, "require", ClientRefusesError),
        (TLS_SAME, "disable", SCRAM_SHA_256),
        (TLS_SAME, "prefer", SCRAM_SHA_256_PLUS),
        (TLS_SAME, "require", SCRAM_SHA_256_PLUS),
        (TLS_TLS, "disable", SCRAM_SHA_256),
        (TLS_TLS, "prefer", AuthenticationError),
        (TLS_TLS, "require", ClientRefusesError),
    ],
)
def test_matrix(lines: Lines, channel_binding: str, outcome: str | type[Exception]) -> None:
    """The table in the module's docstring: every login ends as it says."""
    if isinstance(outcome, str):
        assert log_in(lines, channel_binding) == outcome
    else:
        with pytest.raises(outcome) as caught:
            log_in(lines, channel_binding)
        # and it is the relay's own error, not the upstream's about a downgrade
        if isinstance(caught.value, AuthenticationError):
            assert caught.value.message == "channel binding cannot cross this proxy"
            assert caught.value.sqlstate == "28000"
            assert "channel_binding=disable" in (caught.value.hint or "")


def test_false_claim_of_same_certificate() -> None:
    """If the certificates differ after all, the upstream notices: the relay weakens nothing."""
    relay, server = TLS_SAME.relay(), TLS_SAME.server()
    assert relay.from_upstream(SASL, BOTH) is BOTH
    client = ScramClient("u", Password("pencil"), channel_binding=PROXY_CERTIFICATE)
    mechanism, first = client.client_first(server.mechanisms)
    challenge = server.server_first(mechanism, first)
    with pytest.raises(AuthenticationError, match="channel binding check failed"):
        server.server_final(client.client_final(challenge))


class TestMechanisms:
    @pytest.mark.parametrize(
        "lines",
        [
            PLAIN_PLAIN,
            PLAIN_TLS,
            TLS_PLAIN,
            TLS_TLS,
            Lines(client_tls=False, upstream_tls=True, same_certificate=True),
            Lines(client_tls=True, upstream_tls=False, same_certificate=True),
        ],
    )
    def test_plus_is_removed(self, lines: Lines) -> None:
        """Every PLUS goes, whatever its hash, and the rest stays in order."""
        offer = encode_mechanisms([b"SCRAM-SHA-512-PLUS", b"B", b"SCRAM-SHA-256-PLUS", b"A"])
        assert lines.relay().from_upstream(SASL, offer) == b"B\0A\0\0"

    @pytest.mark.parametrize("offer", [b"SCRAM-SHA-256\0\0", b"OAUTHBEARER\0\0", b"\0"])
    def test_without_plus_is_untouched(self, offer: bytes) -> None:
        """A list without PLUS passes as the very same bytes."""
        assert TLS_TLS.relay().from_upstream(SASL, offer) is offer

    def test_nothing_left(self) -> None:
        """An upstream that takes PLUS only cannot be logged in to, and the hint says what to do."""
        with pytest.raises(AuthenticationError) as caught:
            PLAIN_TLS.relay().from_upstream(SASL, encode_mechanisms([b"SCRAM-SHA-256-PLUS"]))
        assert caught.value.sqlstate == "28000"
        assert "auth = scram" in (caught.value.hint or "")

    @pytest.mark.parametrize("offer", [b"", b"SCRAM-SHA-256", b"A\0", b"A\0\0B"])
    def test_malformed(self, offer: bytes) -> None:
        """A list without an end, or with something after it, is the upstream's violation."""
        with pytest.raises(RemoteProtocolError):
            TLS_TLS.relay().from_upstream(SASL, offer)

    @given(st.lists(st.binary(min_size=1).filter(lambda name: b"\0" not in name)))
    def test_round_trip(self, names: list[bytes]) -> None:
        """What encode writes, decode reads."""
        assert decode_mechanisms(encode_mechanisms(names)) == tuple(names)


class TestInitialResponse:
    @given(
        st.binary().filter(lambda name: b"\0" not in name),
        st.none() | st.binary(),
    )
    def test_round_trip(self, mechanism: bytes, response: bytes | None) -> None:
        """What encode writes, decode reads."""
        message = SASLInitialResponse(mechanism, response)
        assert SASLInitialResponse.decode(message.encode()) == message

    @pytest.mark.parametrize("length", [-2, -(2**31), 2**31 - 1, 8, 6, 0, -1])
    def test_inner_length(self, length: int) -> None:
        """A length that is not that of the rest is 08P01 and goes no further (CVE-2026-6664)."""
        relay = TLS_TLS.relay()
        relay.from_upstream(SASL, BOTH)
        with pytest.raises(RemoteProtocolError) as caught:
            relay.from_client(b"SCRAM-SHA-256\0" + struct.pack("!i", length) + b"n,,n=,r")
        assert caught.value.sqlstate == "08P01"

    @pytest.mark.parametrize("body", [b"", b"SCRAM-SHA-256", b"SCRAM-SHA-256\0", b"S\0\0\0\0"])
    def test_cut_short(self, body: bytes) -> None:
        """A body that ends too early is 08P01."""
        relay = TLS_TLS.relay()
        relay.from_upstream(SASL, BOTH)
        with pytest.raises(RemoteProtocolError):
            relay.from_client(body)

    @pytest.mark.parametrize(
        "message",
        [
            SASLInitialResponse(b"SCRAM-SHA-256", b"p=unknown,,n=,r=a"),
            SASLInitialResponse(b"SCRAM-SHA-256", b"x"),
            SASLInitialResponse(b"SCRAM-SHA-256", None),
            SASLInitialResponse(b"OAUTHBEARER", b"y,,\x01auth=\x01\x01"),
            SASLInitialResponse(b"no such", b""),
        ],
    )
    def test_upstream_answers_the_rest(self, message: SASLInitialResponse) -> None:
        """What is well-formed and not ours to judge passes as the very same bytes."""
        relay = TLS_TLS.relay()
        relay.from_upstream(SASL, BOTH)
        body = message.encode()
        assert relay.from_client(body) is body

    def test_y_to_an_upstream_without_plus(self) -> None:
        """'y' is true, and passes, where the upstream has TLS and offers no PLUS."""
        relay = TLS_TLS.relay()
        relay.from_upstream(SASL, encode_mechanisms([b"SCRAM-SHA-256"]))
        body = SASLInitialResponse(b"SCRAM-SHA-256", b"y,,n=,r=a").encode()
        assert relay.from_client(body) is body


class TestOtherMethods:
    @pytest.mark.parametrize("auth_type", [3, 5, 7, 8, 9, 11, 99])
    @pytest.mark.parametrize("lines", [PLAIN_PLAIN, TLS_TLS, TLS_SAME])
    def test_untouched(self, lines: Lines, auth_type: int) -> None:
        """Cleartext, md5, GSS, SSPI and what is yet to come pass as the very same bytes."""
        relay = lines.relay()
        question, answer = b"\1\2\3\4", b"y,\0secret\0"
        assert relay.from_upstream(auth_type, question) is question
        assert relay.from_client(answer) is answer

    @pytest.mark.parametrize("before", [[], [OK], [FINAL], [CONTINUE, FINAL]])
    def test_unasked(self, before: list[int]) -> None:
        """A 'p' message that nobody asked for is 08P01."""
        relay = PLAIN_PLAIN.relay()
        for auth_type in before:
            relay.from_upstream(auth_type, b"")
        with pytest.raises(RemoteProtocolError):
            relay.from_client(b"secret\0")

    def test_one_answer_for_one_question(self) -> None:
        """A second answer to the same question is 08P01."""
        relay = PLAIN_PLAIN.relay()
        relay.from_upstream(3, b"")
        relay.from_client(b"secret\0")
        with pytest.raises(RemoteProtocolError):
            relay.from_client(b"secret\0")


MESSAGES = st.lists(
    st.tuples(st.none() | st.integers(0, 13), st.binary(max_size=60) | st.just(BOTH)), max_size=8
)


@given(MESSAGES, st.booleans(), st.booleans(), st.booleans())
def test_fuzz(
    messages: list[tuple[int | None, bytes]], client_tls: bool, upstream_tls: bool, same: bool
) -> None:
    """Any conversation passes or gives an error of the login; only the list of PLUS is edited."""
    relay = LoginRelay(client_tls=client_tls, upstream_tls=upstream_tls, same_certificate=same)
    for auth_type, body in messages:
        try:
            if auth_type is None:
                assert relay.from_client(body) is body
            elif relay.from_upstream(auth_type, body) is not body:
                assert auth_type == SASL
                assert b"-PLUS\0" in body
        except (RemoteProtocolError, AuthenticationError):
            return
