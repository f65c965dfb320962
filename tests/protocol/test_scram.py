"""SCRAM-SHA-256 against RFC 7677's example and against scramp, an implementation not ours.

Fuzz invariant: any bytes give a message or an AuthenticationError, nothing else.
"""

from __future__ import annotations

import base64
import hashlib
import stringprep
from collections.abc import Callable

import pytest
import scramp
from hypothesis import given, settings
from hypothesis import strategies as st
from scramp.utils import saslprep as scramp_saslprep

from proxy.errors import AuthenticationError, LocalProtocolError
from proxy.protocol.scram import (
    MAX_ITERATIONS,
    SCRAM_SHA_256,
    SCRAM_SHA_256_PLUS,
    Password,
    RecoveredKey,
    ScramClient,
    ScramKeys,
    ScramServer,
    Verifier,
    new_nonce,
    saslprep,
)

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


class TestExample:
    def test_server(self) -> None:
        """Our server says what RFC 7677's server says."""
        server = rfc_server()
        assert server.server_first(SCRAM_SHA_256, RFC_CLIENT_FIRST) == RFC_SERVER_FIRST
        assert server.server_final(RFC_CLIENT_FINAL) == RFC_SERVER_FINAL

    def test_client(self) -> None:
        """Our client says what RFC 7677's client says."""
        client = rfc_client()
        assert client.client_first([SCRAM_SHA_256]) == (SCRAM_SHA_256, RFC_CLIENT_FIRST)
        assert client.client_final(RFC_SERVER_FIRST) == RFC_CLIENT_FINAL
        assert not client.verified
        client.check_server_final(RFC_SERVER_FINAL)
        assert client.verified


class TestVerifier:
    @pytest.mark.parametrize(
        ("password", "written"),
        [
            (
                "pencil",
                (
                    "SCRAM-SHA-256$4096:poA9LdWEQa4WYQ8sXEyxEA=="
                    "$geFw3NI0d4327HANtvVyGOUmW6EXh+gPdBk71OfOotk="
                    ":JnaBH2IwYBCRAxTgvFyk9k7CRzLXmJHk5+zpg7TqbMM="
                ),
            ),
            (
                "Pa\u00ad\u2168ss=,\u00a0w\u00f6rd",
                (
                    "SCRAM-SHA-256$4096:pCJI5o9RZcVd61I3O/cEPA=="
                    "$MOlkCq8iNzBnYBbK4lkukEuZYAS+9rHcie1/kqKzkak="
                    ":TmyQCfs/Zr8wz0cZ8k3dLTGN3aOLIe0+GoTjSU7BAuM="
                ),
            ),
            (
                "be\x07ll",
                (
                    "SCRAM-SHA-256$4096:sS5bDVuEEBdE5b2NwN8v3g=="
                    "$dBaESHtpAbZtjauJ0YgJrXiZtl9dLR/KVFPlX5iHJaI="
                    ":VKzksDlb1solhB/7ixMblKXFuBBm7a009T9nXWcJddo="
                ),
            ),
        ],
    )
    def test_made_by_postgresql(self, password: str, written: str) -> None:
        """What PostgreSQL 15 wrote into pg_authid for a password is what we derive from it."""
        salt = Verifier.parse(written).salt
        assert Verifier.from_password(password, salt=salt).format() == written

    @given(
        st.integers(1, MAX_ITERATIONS),
        st.binary(min_size=1, max_size=40),
        st.binary(min_size=32, max_size=32),
        st.binary(min_size=32, max_size=32),
    )
    def test_round_trip(self, iterations: int, salt: bytes, stored: bytes, server: bytes) -> None:
        """What format writes, parse reads."""
        verifier = Verifier(iterations, salt, stored, server)
        assert Verifier.parse(verifier.format()) == verifier

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "pencil",
            "md5a3d9f7a2c2ab5bd5dd0a6ac8b14ed8c6",
            KNOWN.format().replace("4096", "0"),
            KNOWN.format().replace("4096", "-1"),
            KNOWN.format().replace("4096", "9" * 5000),
            KNOWN.format()[:-4],
            KNOWN.format() + "\n",
            KNOWN.format().replace("SHA-256", "SHA-1"),
            KNOWN.format().replace("==", "="),
            "SCRAM-SHA-256$4096:salt$é:é",
        ],
    )
    def test_refused(self, text: str) -> None:
        """Anything else is refused, and never quoted: it may be a password."""
        sqlstate, message, detail = failure(lambda: Verifier.parse(text))
        assert sqlstate == "28000"
        assert not text or text not in f"{message}{detail}"

    def test_repr_keeps_secrets(self) -> None:
        """No repr shows a key, a salt or a password."""
        keys = ScramKeys.from_password("pencil", RFC_SALT, 1)
        shown = repr([KNOWN, keys, Password("pencil"), RecoveredKey(KNOWN, keys.client_key)])
        assert "pencil" not in shown
        for secret in (KNOWN.stored_key, KNOWN.server_key, KNOWN.salt, keys.client_key):
            assert repr(secret)[2:-1] not in shown

    def test_mock(self) -> None:
        """An unknown user has the same salt each time, another than his neighbour and elsewhere."""
        mock = Verifier.mock("nobody", b"secret")
        assert mock == Verifier.mock("nobody", b"secret")
        assert (len(mock.salt), mock.iterations) == (16, 4096)
        others = [Verifier.mock("nobody2", b"secret"), Verifier.mock("nobody", b"another")]
        assert mock.salt not in [other.salt for other in others]

    def test_mock_logs_in_nobody(self) -> None:
        """Against a mock verifier a login goes the whole way and then fails as a wrong password."""
        server = ScramServer("nobody", Verifier.mock("nobody", b"secret"))
        assert failure(lambda: log_in(rfc_client(), server))[:2] == (
            "28P01",
            'password authentication failed for user "nobody"',
        )


class TestAgainstScramp:
    PASSWORD = "Pa\u00ad\u2168ss=,\u00a0word"  # SASLprep changes it

    @pytest.mark.parametrize("binding", [None, BINDING])
    @pytest.mark.parametrize("user", ["kurt", "a=b,c", "Jürgen"])
    def test_our_client(self, user: str, binding: bytes | None) -> None:
        """Our client logs in to scramp's server, with and without channel binding."""
        mechanism = scramp.ScramMechanism(SCRAM_SHA_256_PLUS if binding else SCRAM_SHA_256)
        known = mechanism.make_auth_info(self.PASSWORD)
        channel = ("tls-server-end-point", binding) if binding else None
        server = mechanism.make_server({user: known}.get, channel_binding=channel)
        client = ScramClient(user, Password(self.PASSWORD), channel_binding=binding)
        offered = [SCRAM_SHA_256_PLUS, SCRAM_SHA_256] if binding else [SCRAM_SHA_256]
        chosen, first = client.client_first(offered)
        assert chosen == mechanism.name
        server.set_client_first(first.decode())
        server.set_client_final(client.client_final(server.get_server_first().encode()).decode())
        client.check_server_final(server.get_server_final().encode())
        assert client.verified

    @pytest.mark.parametrize("binding", [None, BINDING])
    def test_our_server(self, binding: bytes | None) -> None:
        """Our server lets scramp's client in, and the recovered ClientKey is the password's."""
        verifier = Verifier.from_password(self.PASSWORD)
        server = ScramServer("kurt", verifier, channel_binding=binding)
        channel = ("tls-server-end-point", binding) if binding else None
        client = scramp.ScramClient(
            list(server.mechanisms), "kurt", self.PASSWORD, channel_binding=channel
        )
        assert server.client_key is None
        first = client.get_client_first().encode()
        client.set_server_first(server.server_first(client.mechanism_name, first).decode())
        client.set_server_final(server.server_final(client.get_client_final().encode()).decode())
        keys = ScramKeys.from_password(self.PASSWORD, verifier.salt, verifier.iterations)
        assert server.client_key == keys.client_key

    @given(st.text())
    def test_saslprep(self, password: str) -> None:
        """SASLprep is scramp's, but what it refuses is kept as PostgreSQL keeps it."""
        if any(map(stringprep.in_table_a1, password)):
            return  # PostgreSQL normalises by a newer Unicode than RFC 3454's 3.2, and so do we
        try:
            expected = scramp_saslprep(password) or password
        except scramp.ScramException:
            expected = password
        assert saslprep(password) == expected


class TestServer:
    @pytest.mark.parametrize("password", ["pencil2", "", "PENCIL"])
    def test_wrong_password(self, password: str) -> None:
        """A wrong password is PostgreSQL's 28P01, and no key is recovered."""
        server = rfc_server()
        assert failure(lambda: log_in(rfc_client(password), server))[:2] == (
            "28P01",
            'password authentication failed for user "user"',
        )
        assert server.client_key is None

    def test_no_second_try(self) -> None:
        """After a failure the exchange is over: a guess costs a connection."""
        server = rfc_server()
        server.server_first(SCRAM_SHA_256, RFC_CLIENT_FIRST)
        wrong = RFC_CLIENT_FINAL.replace(b"p=dHzb", b"p=AAAA")
        assert failure(lambda: server.server_final(wrong))[0] == "28P01"
        with pytest.raises(LocalProtocolError):
            server.server_final(RFC_CLIENT_FINAL)

    def test_no_initial_response(self) -> None:
        """A client without an initial response gets an empty challenge first (RFC 4422)."""
        server = rfc_server()
        assert server.server_first(SCRAM_SHA_256, None) == b""
        assert server.server_first(SCRAM_SHA_256, RFC_CLIENT_FIRST) == RFC_SERVER_FIRST

    def test_downgrade(self) -> None:
        """'y' where we offer PLUS is a list cut on the way: 28000, as PostgreSQL says it."""
        client = rfc_client(channel_binding=BINDING)
        mechanism, first = client.client_first([SCRAM_SHA_256])
        assert first.startswith(b"y,,")
        server = rfc_server(channel_binding=BINDING)
        assert failure(lambda: server.server_first(mechanism, first))[:2] == (
            "28000",
            "SCRAM channel binding negotiation error",
        )

    def test_y_without_plus(self) -> None:
        """'y' where we do not offer PLUS is honest."""
        client = rfc_client(channel_binding=BINDING)
        assert log_in(client, rfc_server()) == SCRAM_SHA_256

    def test_n_with_plus(self) -> None:
        """A client that wants no channel binding need not use it."""
        assert log_in(rfc_client(), rfc_server(channel_binding=BINDING)) == SCRAM_SHA_256

    def test_other_certificate(self) -> None:
        """A client that sees another certificate is refused: somebody is in between."""
        client = rfc_client(channel_binding=hashlib.sha256(b"another").digest())
        server = rfc_server(channel_binding=BINDING)
        assert failure(lambda: log_in(client, server))[:2] == (
            "28000",
            "SCRAM channel binding check failed",
        )

    @pytest.mark.parametrize("mechanism", [SCRAM_SHA_256_PLUS, "PLAIN", "", "SCRAM-SHA-1"])
    def test_plus_needs_an_offer(self, mechanism: str) -> None:
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
    def test_bad_first(self, plus: bool, message: bytes, expected: tuple[str, str]) -> None:
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
    def test_bad_final(self, old: bytes, new: bytes, expected: tuple[str, str]) -> None:
        """A right proof in a wrong message logs nobody in."""
        server = rfc_server()
        server.server_first(SCRAM_SHA_256, RFC_CLIENT_FIRST)
        assert old in RFC_CLIENT_FINAL
        message = RFC_CLIENT_FINAL.replace(old, new)
        sqlstate, text, detail = failure(lambda: server.server_final(message))
        assert sqlstate == expected[0]
        assert expected[1] in f"{text} {detail}"
        assert server.client_key is None

    def test_extensions_are_ignored_and_signed(self) -> None:
        """An optional extension is ignored, but it is part of what the proof signs."""
        server = rfc_server()
        server.server_first(SCRAM_SHA_256, RFC_CLIENT_FIRST)
        inserted = RFC_CLIENT_FINAL.replace(b",p=", b",x=y,p=")
        assert failure(lambda: server.server_final(inserted))[0] == "28P01"

    def test_replayed_proof(self) -> None:
        """A proof that was overheard is worth nothing under another server nonce."""
        server = rfc_server(nonce=new_nonce)
        server.server_first(SCRAM_SHA_256, RFC_CLIENT_FIRST)
        assert failure(lambda: server.server_final(RFC_CLIENT_FINAL))[0] == "08P01"

    @given(st.binary(max_size=200), st.binary(max_size=200), st.booleans())
    def test_fuzz(self, first: bytes, final: bytes, plus: bool) -> None:
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
    def test_fuzz_near_the_truth(self, data: st.DataObject) -> None:
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


class TestClient:
    def test_recovered_key(self) -> None:
        """The key that a client showed us logs in upstream, and checks the upstream too."""
        ours = rfc_server()
        log_in(rfc_client(), ours)
        assert ours.client_key is not None
        upstream = ScramServer("user", KNOWN, channel_binding=BINDING)
        client = ScramClient("user", RecoveredKey(KNOWN, ours.client_key), channel_binding=BINDING)
        assert log_in(client, upstream) == SCRAM_SHA_256_PLUS
        assert client.verified

    @pytest.mark.parametrize("change", ["salt", "iterations"])
    def test_recovered_key_elsewhere(self, change: str) -> None:
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

    @pytest.mark.parametrize("offered", [[], ["SCRAM-SHA-1"], [SCRAM_SHA_256_PLUS]])
    def test_no_common_mechanism(self, offered: list[str]) -> None:
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
    def test_bad_server_first(self, old: bytes, new: bytes, expected: tuple[str, str]) -> None:
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
    def test_bad_server_final(self, message: bytes, expected: tuple[str, str]) -> None:
        """A server that does not know the verifier is no server of ours."""
        client = rfc_client()
        client.client_first([SCRAM_SHA_256])
        client.client_final(RFC_SERVER_FIRST)
        sqlstate, text, detail = failure(lambda: client.check_server_final(message))
        assert sqlstate == expected[0]
        assert expected[1] in f"{text} {detail}"
        assert not client.verified

    def test_server_out_of_turn(self) -> None:
        """A server that skips its challenge, or sends it twice, is refused."""
        client = rfc_client()
        client.client_first([SCRAM_SHA_256])
        assert failure(lambda: client.check_server_final(RFC_SERVER_FINAL))[0] == "08P01"
        assert failure(lambda: client.client_final(RFC_SERVER_FIRST))[0] == "08P01"
        assert not client.verified

    @given(st.binary(max_size=200))
    def test_fuzz(self, message: bytes) -> None:
        """Any bytes from a server are refused unless they carry on our nonce."""
        client = rfc_client()
        client.client_first([SCRAM_SHA_256])
        with pytest.raises(AuthenticationError):
            client.client_final(message)

    @given(st.integers(0, len(RFC_SERVER_FIRST) - 1), st.integers(0, 255))
    def test_fuzz_near_the_truth(self, index: int, byte: int) -> None:
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
