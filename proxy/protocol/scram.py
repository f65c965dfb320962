"""SCRAM-SHA-256 and SCRAM-SHA-256-PLUS, both roles (RFC 5802, RFC 7677, RFC 5929).

Owns the messages' grammar, the proofs and PostgreSQL's verifier text. Leaves to the caller: where a
verifier comes from, the SASL messages around these bytes (`authentication`), the certificate's hash
(`tls`) and the thread: `salted_password`, reached through `Password`, alone costs milliseconds.

The proxy's trick (PgBouncer's): a client that proves itself to `ScramServer` shows its ClientKey.
With it `ScramClient` logs in to an upstream whose verifier has the same salt and iterations, and
no password is ever known here. Keys, salts and passwords stay out of every repr.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets
import stringprep
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Final, Protocol

from proxy.errors import AuthenticationError, LocalProtocolError

SCRAM_SHA_256: Final = "SCRAM-SHA-256"
SCRAM_SHA_256_PLUS: Final = "SCRAM-SHA-256-PLUS"
CHANNEL_BINDING_TYPE: Final = b"tls-server-end-point"

DEFAULT_ITERATIONS: Final = 4096  # PostgreSQL's SCRAM_SHA_256_DEFAULT_ITERATIONS
MAX_ITERATIONS: Final = 1_000_000
"""More is refused: a hostile upstream may ask for hours of work (CVE-2026-42198)."""

MAX_CLIENT_MESSAGE_BYTES: Final = 1024  # PostgreSQL's PG_MAX_SASL_MESSAGE_LENGTH
MAX_SERVER_MESSAGE_BYTES: Final = 2000  # what libpq takes of an AuthenticationRequest
KEY_BYTES: Final = hashlib.sha256().digest_size
NONCE_BYTES: Final = 18  # PostgreSQL's SCRAM_RAW_NONCE_LEN; 24 characters in base64
SALT_BYTES: Final = 16  # PostgreSQL's SCRAM_DEFAULT_SALT_LEN

_PRINTABLE = re.compile(rb"[\x21-\x2b\x2d-\x7e]+")  # RFC 5802: printable = %x21-2B / %x2D-7E
_ATTRIBUTE = re.compile(rb"([A-Za-z])=([^\0]*)", re.DOTALL)
_POSITIVE = re.compile(rb"[1-9][0-9]{0,9}")
_VERIFIER = re.compile(r"SCRAM-SHA-256\$([1-9][0-9]{0,9}):([^$:]+)\$([^$:]+):([^$:]+)")


# --- keys -------------------------------------------------------------------------------------


def new_nonce() -> str:
    """Return a fresh printable nonce of 24 characters."""
    return base64.b64encode(secrets.token_bytes(NONCE_BYTES)).decode()


def salted_password(password: str, salt: bytes, iterations: int) -> bytes:
    """Return SaltedPassword (32 bytes): the slow step, and the only one.

    hashlib's PBKDF2 is OpenSSL's and releases the GIL: call it in a thread from an event loop.
    """
    return hashlib.pbkdf2_hmac("sha256", _utf8(saslprep(password)), salt, iterations)


@dataclass(frozen=True, slots=True)
class ScramKeys:
    """What both sides derive from a SaltedPassword; 32 bytes each."""

    client_key: bytes = field(repr=False)
    server_key: bytes = field(repr=False)

    @classmethod
    def from_password(cls, password: str, salt: bytes, iterations: int) -> ScramKeys:
        """Derive both keys; as slow as `salted_password`."""
        salted = salted_password(password, salt, iterations)
        return cls(_hmac(salted, b"Client Key"), _hmac(salted, b"Server Key"))


@dataclass(frozen=True, slots=True)
class Verifier:
    """What a server keeps of a password: enough to check a proof, not enough to make one."""

    iterations: int
    salt: bytes = field(repr=False)
    stored_key: bytes = field(repr=False)
    server_key: bytes = field(repr=False)

    @classmethod
    def parse(cls, text: str) -> Verifier:
        """Read `SCRAM-SHA-256$iterations:salt$StoredKey:ServerKey`, as pg_authid keeps it.

        Raises
        ------
        AuthenticationError
            28000: it is something else, an md5 hash or a plain password perhaps. The text is
            secret and not quoted.
        """
        match = _VERIFIER.fullmatch(text)
        if match is None:
            raise _not_a_verifier()
        try:
            salt, stored_key, server_key = (
                base64.b64decode(part.encode(), validate=True) for part in match.groups()[1:]
            )
        except ValueError as error:
            raise _not_a_verifier() from error
        if not salt or len(stored_key) != KEY_BYTES or len(server_key) != KEY_BYTES:
            raise _not_a_verifier()
        return cls(int(match[1]), salt, stored_key, server_key)

    def format(self) -> str:
        """Write the text that `parse` reads; it may stand in `ALTER ROLE ... PASSWORD`."""
        salt, stored, server = map(_base64, (self.salt, self.stored_key, self.server_key))
        return f"{SCRAM_SHA_256}${self.iterations}:{salt}${stored}:{server}"

    @classmethod
    def from_password(
        cls, password: str, *, salt: bytes | None = None, iterations: int = DEFAULT_ITERATIONS
    ) -> Verifier:
        """Derive the verifier of a password; as slow as `salted_password`."""
        salt = secrets.token_bytes(SALT_BYTES) if salt is None else salt
        keys = ScramKeys.from_password(password, salt, iterations)
        return cls(iterations, salt, hashlib.sha256(keys.client_key).digest(), keys.server_key)

    @classmethod
    def mock(cls, user: str, secret: bytes, *, iterations: int = DEFAULT_ITERATIONS) -> Verifier:
        """Make up a verifier that no password meets, so that unknown users look like known ones.

        Parameters
        ----------
        user : the name that was asked for; the same name gets the same salt every time
        secret : the process's own random bytes, else anybody could tell mock salts from real ones
        """
        salt, stored_key, server_key = (
            _hmac(secret, purpose + _utf8(user)) for purpose in (b"salt:", b"stored:", b"server:")
        )
        return cls(iterations, salt[:SALT_BYTES], stored_key, server_key)


def saslprep(password: str) -> str:
    """Normalise a password by SASLprep (RFC 4013), or return it as it is where that refuses it.

    PostgreSQL does both, the latter because it cannot know that a password is text in UTF-8.
    """
    if password.isascii() and password.isprintable():
        return password
    spaced = "".join(" " if stringprep.in_table_c12(c) else c for c in password)
    mapped = "".join(c for c in spaced if not stringprep.in_table_b1(c))
    prepared = unicodedata.normalize("NFKC", mapped)
    if not prepared or any(map(_is_prohibited, prepared)) or not _is_bidi_sound(prepared):
        return password
    return prepared


_PROHIBITED_TABLES: Final[tuple[Callable[[str], bool], ...]] = (
    stringprep.in_table_a1,
    stringprep.in_table_c12,
    stringprep.in_table_c21_c22,
    stringprep.in_table_c3,
    stringprep.in_table_c4,
    stringprep.in_table_c5,
    stringprep.in_table_c6,
    stringprep.in_table_c7,
    stringprep.in_table_c8,
    stringprep.in_table_c9,
)


def _is_prohibited(character: str) -> bool:
    return any(in_table(character) for in_table in _PROHIBITED_TABLES)


def _is_bidi_sound(text: str) -> bool:
    """RFC 3454, section 6: right-to-left text has no LCat, and begins and ends with RandALCat."""
    if not any(map(stringprep.in_table_d1, text)):
        return True
    if any(map(stringprep.in_table_d2, text)):
        return False
    return stringprep.in_table_d1(text[0]) and stringprep.in_table_d1(text[-1])


# --- server -----------------------------------------------------------------------------------


class _Stage(Enum):
    FIRST = auto()
    FINAL = auto()
    SERVER_FINAL = auto()
    OVER = auto()


class ScramServer:
    """Checks one client's proof.

    Parameters
    ----------
    user : the StartupMessage's user; the name inside SCRAM is ignored, as PostgreSQL ignores it
    verifier : that user's, or `Verifier.mock`
    channel_binding : the hash of the certificate that the client sees, or None: PLUS is not offered
    nonce : the source of our part of the nonce
    """

    def __init__(
        self,
        user: str,
        verifier: Verifier,
        *,
        channel_binding: bytes | None = None,
        nonce: Callable[[], str] = new_nonce,
    ) -> None:
        self._user = user
        self._verifier = verifier
        self._channel_binding = channel_binding
        self._new_nonce = nonce
        self._stage = _Stage.FIRST
        self._nonce = b""
        self._first_messages = b""
        self._cbind_input = b""
        self._client_key: bytes | None = None

    @property
    def mechanisms(self) -> tuple[str, ...]:
        """What AuthenticationSASL may offer, the stronger first."""
        if self._channel_binding is None:
            return (SCRAM_SHA_256,)
        return (SCRAM_SHA_256_PLUS, SCRAM_SHA_256)

    @property
    def client_key(self) -> bytes | None:
        """The client's key (32 bytes), once `server_final` has accepted its proof."""
        return self._client_key

    def server_first(self, mechanism: str, client_first: bytes | None) -> bytes:
        """Answer a SASLInitialResponse.

        None is a client that sends no initial response: it gets an empty challenge, and its
        client-first message comes by a second call.

        Raises
        ------
        AuthenticationError
            08P01 malformed, 0A000 an extension or an authorization identity, 28000 a client that
            believes us without channel binding while we offer it (RFC 5802, section 6: somebody
            between us may have taken it from the list).
        """
        self._enter(_Stage.FIRST)
        if mechanism not in self.mechanisms:
            raise _violation("client selected an invalid SASL authentication mechanism")
        if client_first is None:
            self._stage = _Stage.FIRST
            return b""
        parts = _parts(client_first, MAX_CLIENT_MESSAGE_BYTES)
        self._cbind_input = self._read_gs2_header(parts, plus=mechanism == SCRAM_SHA_256_PLUS)
        bare = parts[2:]
        if bare and bare[0].startswith(b"m="):
            raise _unsupported_extension()
        _value(bare, 0, "n")
        client_nonce = _value(bare, 1, "r")
        if not _PRINTABLE.fullmatch(client_nonce):
            raise _violation("non-printable characters in SCRAM nonce")
        _check_extensions(bare[2:])

        self._nonce = client_nonce + self._new_nonce().encode()
        message = b"r=%b,s=%b,i=%d" % (
            self._nonce,
            _base64(self._verifier.salt).encode(),
            self._verifier.iterations,
        )
        self._first_messages = b",".join(bare) + b"," + message
        self._stage = _Stage.FINAL
        return message

    def server_final(self, client_final: bytes) -> bytes:
        """Check a SASLResponse and return the server's own proof, for AuthenticationSASLFinal.

        Raises
        ------
        AuthenticationError
            28P01 wrong password, 28000 the client sees another certificate than ours, 08P01
            malformed.
        """
        self._enter(_Stage.FINAL)
        parts = _parts(client_final, MAX_CLIENT_MESSAGE_BYTES)
        binding = _value(parts, 0, "c")
        nonce = _value(parts, 1, "r")
        proof = _read_proof(parts)
        self._check_channel_binding(binding)
        if not hmac.compare_digest(nonce, self._nonce):
            raise _violation("invalid SCRAM response", "Nonce does not match.")

        auth_message = self._first_messages + b"," + b",".join(parts[:-1])
        # RFC 5802: ClientKey = ClientProof XOR ClientSignature, StoredKey = H(ClientKey)
        client_key = _xor(proof, _hmac(self._verifier.stored_key, auth_message))
        stored_key = hashlib.sha256(client_key).digest()
        if not hmac.compare_digest(stored_key, self._verifier.stored_key):
            raise AuthenticationError(
                f'password authentication failed for user "{self._user}"', sqlstate="28P01"
            )
        self._client_key = client_key
        return b"v=" + _base64(_hmac(self._verifier.server_key, auth_message)).encode()

    def _enter(self, stage: _Stage) -> None:
        entered, self._stage = self._stage, _Stage.OVER
        if entered is not stage:  # a failure leaves it at OVER: there is no second try
            raise LocalProtocolError("invalid SCRAM exchange state")

    def _read_gs2_header(self, parts: Sequence[bytes], *, plus: bool) -> bytes:
        """Return the cbind-input that `c=` must repeat: the header and the binding data."""
        flag = parts[0]
        if flag in (b"n", b"y"):
            if plus:
                raise _malformed(
                    "The client selected SCRAM-SHA-256-PLUS, but the SCRAM message does not "
                    "include channel binding data."
                )
            if flag == b"y" and self._channel_binding is not None:
                raise AuthenticationError(
                    "SCRAM channel binding negotiation error",
                    detail="The client supports SCRAM channel binding but thinks the server does "
                    "not.  However, this server does support channel binding.",
                )
        elif flag.startswith(b"p="):
            if not plus:
                raise _malformed(
                    "The client selected SCRAM-SHA-256 without channel binding, but the SCRAM "
                    "message includes channel binding data."
                )
            if flag[2:] != CHANNEL_BINDING_TYPE:
                raise _violation(f'unsupported SCRAM channel-binding type "{_shown(flag[2:])}"')
        else:
            raise _malformed(f'Unexpected channel-binding flag "{_shown(flag[:1])}".')
        if len(parts) < 2:
            raise _malformed("Attribute expected, but found end of string.")
        if parts[1].startswith(b"a="):
            raise AuthenticationError(
                "client uses authorization identity, but it is not supported", sqlstate="0A000"
            )
        if parts[1]:
            raise _malformed(
                f'Unexpected attribute "{_shown(parts[1][:1])}" in client-first-message.'
            )
        return flag + b",," + (self._channel_binding or b"" if plus else b"")

    def _check_channel_binding(self, binding: bytes) -> None:
        if hmac.compare_digest(binding, base64.b64encode(self._cbind_input)):
            return
        if self._cbind_input.startswith(b"p="):
            raise AuthenticationError("SCRAM channel binding check failed")
        raise _violation("unexpected SCRAM channel-binding attribute in client-final-message")


def _read_proof(parts: Sequence[bytes]) -> bytes:
    """Return the proof (32 bytes) of a client-final message; it is the last attribute."""
    for index, part in enumerate(parts[2:], start=3):
        letter, value = _attribute(part)
        if letter == "m":
            raise _unsupported_extension()
        if letter == "p":
            if index != len(parts):
                raise _malformed("Garbage found at the end of client-final-message.")
            return _key(value, "Malformed proof in client-final-message.")
    raise _malformed("Attribute expected, but found end of string.")


# --- client -----------------------------------------------------------------------------------


class Credential(Protocol):
    """What a client logs in with."""

    def keys(self, salt: bytes, iterations: int) -> ScramKeys:
        """Return the keys for the server's salt and iterations; may be slow, may refuse."""


@dataclass(frozen=True, slots=True)
class Password:
    """A password: PBKDF2 runs at every login."""

    text: str = field(repr=False)

    def keys(self, salt: bytes, iterations: int) -> ScramKeys:
        """Derive the keys; as slow as `salted_password`."""
        return ScramKeys.from_password(self.text, salt, iterations)


@dataclass(frozen=True, slots=True)
class RecoveredKey:
    """A ClientKey from `ScramServer.client_key`, with the verifier that it was checked by."""

    verifier: Verifier
    client_key: bytes = field(repr=False)

    def keys(self, salt: bytes, iterations: int) -> ScramKeys:
        """Return the keys, if the server salts as the verifier does; at once.

        Raises
        ------
        AuthenticationError
            28000: another salt or iteration count, so the key is worth nothing there.
        """
        same_salt = hmac.compare_digest(salt, self.verifier.salt)
        if not same_salt or iterations != self.verifier.iterations:
            raise AuthenticationError(
                "the upstream's SCRAM verifier is not the one that the client was checked by",
                hint="Let the proxy read the verifier of the upstream that it connects to; "
                "it changes whenever the password is set.",
            )
        return ScramKeys(self.client_key, self.verifier.server_key)


class ScramClient:
    """Logs in to one server, and checks that the server knows the verifier.

    Parameters
    ----------
    user : PostgreSQL goes by the StartupMessage's user, other servers may go by this one
    credential : `Password` or `RecoveredKey`
    channel_binding : the hash of the server's certificate, or None: no TLS, or none is wanted
    nonce : the source of our nonce
    """

    def __init__(
        self,
        user: str,
        credential: Credential,
        *,
        channel_binding: bytes | None = None,
        nonce: Callable[[], str] = new_nonce,
    ) -> None:
        self._user = user
        self._credential = credential
        self._channel_binding = channel_binding
        self._nonce = nonce().encode()
        self._cbind_input = b""
        self._server_signature = b""
        self._stage = _Stage.FIRST
        self._verified = False

    @property
    def verified(self) -> bool:
        """Whether the server has proved itself; AuthenticationOk before that is an imposter's."""
        return self._verified

    def client_first(self, offered: Sequence[str]) -> tuple[str, bytes]:
        """Choose among the mechanisms offered; return the choice and the initial response.

        Raises
        ------
        AuthenticationError
            28000: there is none that we speak.
        """
        self._enter(_Stage.FIRST)
        binding = self._channel_binding
        if binding is not None and SCRAM_SHA_256_PLUS in offered:
            mechanism, header = SCRAM_SHA_256_PLUS, b"p=" + CHANNEL_BINDING_TYPE + b",,"
            self._cbind_input = header + binding
        elif SCRAM_SHA_256 in offered:
            # 'y' is signed: a server that did offer PLUS learns that its list was cut.
            mechanism, header = SCRAM_SHA_256, b"n,," if binding is None else b"y,,"
            self._cbind_input = header
        else:
            raise AuthenticationError(
                "none of the server's SASL authentication mechanisms are supported",
                detail=f"The server offers {', '.join(offered) or 'none'}.",
            )
        self._stage = _Stage.FINAL
        return mechanism, header + self._bare()

    def client_final(self, server_first: bytes) -> bytes:
        """Answer AuthenticationSASLContinue; with a `Password` this is slow: run it in a thread.

        Raises
        ------
        AuthenticationError
            08P01 malformed or a nonce that is not ours, 28000 more than MAX_ITERATIONS, or a key
            that does not fit.
        """
        self._enter(_Stage.FINAL)
        parts = _parts(server_first, MAX_SERVER_MESSAGE_BYTES)
        nonce = _value(parts, 0, "r")
        encoded_salt = _value(parts, 1, "s")
        iterations = _read_iterations(_value(parts, 2, "i"))
        if len(parts) > 3:
            raise _malformed("Garbage found at the end of server-first-message.")
        if not _is_extended(nonce, self._nonce):
            raise _violation("invalid SCRAM response", "Nonce does not match.")
        salt = _decoded(encoded_salt, "Invalid salt in server-first-message.")
        if not salt:
            raise _malformed("Invalid salt in server-first-message.")

        keys = self._credential.keys(salt, iterations)
        without_proof = b"c=" + base64.b64encode(self._cbind_input) + b",r=" + nonce
        auth_message = b",".join((self._bare(), server_first, without_proof))
        stored_key = hashlib.sha256(keys.client_key).digest()
        proof = _xor(keys.client_key, _hmac(stored_key, auth_message))
        self._server_signature = _hmac(keys.server_key, auth_message)
        self._stage = _Stage.SERVER_FINAL
        return without_proof + b",p=" + base64.b64encode(proof)

    def check_server_final(self, server_final: bytes) -> None:
        """Check AuthenticationSASLFinal.

        Raises
        ------
        AuthenticationError
            28000 the server does not know the verifier, 28P01 it reports an error, 08P01 malformed.
        """
        self._enter(_Stage.SERVER_FINAL)
        parts = _parts(server_final, MAX_SERVER_MESSAGE_BYTES)
        letter, value = _attribute(parts[0])
        if letter == "e":
            raise AuthenticationError(
                f'password authentication failed for user "{self._user}"',
                detail=f"The server says {_shown(value)}.",
                sqlstate="28P01",
            )
        signature = _key(_value(parts, 0, "v"), "Invalid server signature.")
        if len(parts) > 1:
            raise _malformed("Garbage found at the end of server-final-message.")
        if not hmac.compare_digest(signature, self._server_signature):
            raise AuthenticationError("incorrect server signature")
        self._verified = True

    def _bare(self) -> bytes:
        # RFC 5802, section 5.1: a comma and an equals sign in a name are =2C and =3D
        name = _utf8(self._user).replace(b"=", b"=3D").replace(b",", b"=2C")
        return b"n=%b,r=%b" % (name, self._nonce)

    def _enter(self, stage: _Stage) -> None:
        entered, self._stage = self._stage, _Stage.OVER
        if entered is not stage:  # the server sent its messages out of turn
            raise _violation("invalid SCRAM exchange state")


def _is_extended(nonce: bytes, ours: bytes) -> bool:
    """Whether the server kept our nonce and added to it; a mere echo would be ours replayed."""
    longer = len(nonce) > len(ours) and _PRINTABLE.fullmatch(nonce) is not None
    return longer and hmac.compare_digest(nonce[: len(ours)], ours)


def _read_iterations(value: bytes) -> int:
    if not _POSITIVE.fullmatch(value):
        raise _malformed("Invalid iteration count in server-first-message.")
    iterations = int(value)
    if iterations > MAX_ITERATIONS:
        raise AuthenticationError(
            f"the server asks for {iterations} SCRAM iterations",
            detail=f"At most {MAX_ITERATIONS} are accepted.",
        )
    return iterations


# --- grammar ----------------------------------------------------------------------------------


def _parts(message: bytes, limit: int) -> list[bytes]:
    """Split a message at its commas, which no value may hold."""
    if not message:
        raise _malformed("The message is empty.")
    if len(message) > limit:
        raise _malformed(f"The message is longer than {limit} bytes.")
    if b"\0" in message:
        raise _malformed("Message length does not match input length.")
    return message.split(b",")


def _attribute(part: bytes) -> tuple[str, bytes]:
    """Read any `letter=value`."""
    match = _ATTRIBUTE.fullmatch(part)
    if match is None:
        raise _malformed(
            f'Attribute expected, but found invalid character "{_shown(part[:1])}".'
            if part
            else "Attribute expected, but found end of string."
        )
    return match[1].decode(), match[2]


def _value(parts: Sequence[bytes], index: int, letter: str) -> bytes:
    """Read the value of the attribute that must stand at `index`."""
    if index >= len(parts):
        raise _malformed("Attribute expected, but found end of string.")
    found, value = _attribute(parts[index])
    if found != letter:
        raise _malformed(f'Expected attribute "{letter}" but found "{found}".')
    return value


def _check_extensions(parts: Sequence[bytes]) -> None:
    """Let optional extensions pass unread, as PostgreSQL does; a mandatory one we cannot honour."""
    for part in parts:
        if _attribute(part)[0] == "m":
            raise _unsupported_extension()


def _decoded(value: bytes, complaint: str) -> bytes:
    try:
        return base64.b64decode(value, validate=True)
    except ValueError as error:
        raise _malformed(complaint) from error


def _key(value: bytes, complaint: str) -> bytes:
    key = _decoded(value, complaint)
    if len(key) != KEY_BYTES:
        raise _malformed(complaint)
    return key


def _base64(value: bytes) -> str:
    return base64.b64encode(value).decode()


def _utf8(text: str) -> bytes:
    """Encode a name or a password; bytes that were no UTF-8 come back as they were."""
    return text.encode("utf-8", "surrogateescape")


def _hmac(key: bytes, message: bytes) -> bytes:
    return hmac.digest(key, message, "sha256")


def _xor(left: bytes, right: bytes) -> bytes:
    return bytes(a ^ b for a, b in zip(left, right, strict=True))


def _shown(value: bytes) -> str:
    """Return a peer's bytes as short printable ASCII: errors go to clients and logs."""
    return repr(value[:64])[2:-1]


def _violation(message: str, detail: str | None = None) -> AuthenticationError:
    return AuthenticationError(message, detail=detail, sqlstate="08P01")


def _malformed(detail: str) -> AuthenticationError:
    return _violation("malformed SCRAM message", detail)


def _unsupported_extension() -> AuthenticationError:
    return AuthenticationError("client requires an unsupported SCRAM extension", sqlstate="0A000")


def _not_a_verifier() -> AuthenticationError:
    return AuthenticationError("the stored password is not a SCRAM-SHA-256 verifier")
