"""What SCRAM derives from a password: SaltedPassword, ClientKey, ServerKey, StoredKey, verifiers.

Owns the derivation, the signatures and PostgreSQL's verifier text. Leaves to `server` and `client`
what is signed, and to the caller the thread: `salted_password` alone costs milliseconds.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass, field
from typing import Final

from proxy.errors import AuthenticationError
from proxy.protocol.scram.grammar import (
    SCRAM_SHA_256,
    decode_base64,
    encode_base64,
    encode_text,
    malformed,
)
from proxy.protocol.scram.saslprep import saslprep

DEFAULT_ITERATIONS: Final = 4096  # PostgreSQL's SCRAM_SHA_256_DEFAULT_ITERATIONS
KEY_BYTES: Final = hashlib.sha256().digest_size
SALT_BYTES: Final = 16  # PostgreSQL's SCRAM_DEFAULT_SALT_LEN

_VERIFIER = re.compile(r"SCRAM-SHA-256\$([1-9][0-9]{0,9}):([^$:]+)\$([^$:]+):([^$:]+)")


def salted_password(password: str, salt: bytes, iterations: int) -> bytes:
    """Return SaltedPassword (32 bytes): the slow step, and the only one.

    hashlib's PBKDF2 is OpenSSL's and releases the GIL: call it in a thread from an event loop.
    """
    return hashlib.pbkdf2_hmac("sha256", encode_text(saslprep(password)), salt, iterations)


@dataclass(frozen=True, slots=True)
class ScramKeys:
    """What both sides derive from a SaltedPassword; 32 bytes each."""

    client_key: bytes = field(repr=False)
    server_key: bytes = field(repr=False)

    @classmethod
    def from_password(cls, password: str, salt: bytes, iterations: int) -> ScramKeys:
        """Derive both keys; as slow as `salted_password`."""
        salted = salted_password(password, salt, iterations)
        return cls(sign(salted, b"Client Key"), sign(salted, b"Server Key"))


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
        salt, stored, server = (
            encode_base64(value).decode() for value in (self.salt, self.stored_key, self.server_key)
        )
        return f"{SCRAM_SHA_256}${self.iterations}:{salt}${stored}:{server}"

    @classmethod
    def from_password(
        cls, password: str, *, salt: bytes | None = None, iterations: int = DEFAULT_ITERATIONS
    ) -> Verifier:
        """Derive the verifier of a password; as slow as `salted_password`."""
        salt = secrets.token_bytes(SALT_BYTES) if salt is None else salt
        keys = ScramKeys.from_password(password, salt, iterations)
        return cls(iterations, salt, derive_stored_key(keys.client_key), keys.server_key)

    @classmethod
    def mock(cls, user: str, secret: bytes, *, iterations: int = DEFAULT_ITERATIONS) -> Verifier:
        """Make up a verifier that no password meets, so that unknown users look like known ones.

        Parameters
        ----------
        user : the name that was asked for; the same name gets the same salt every time
        secret : the process's own random bytes, else anybody could tell mock salts from real ones
        """
        salt, stored_key, server_key = (
            sign(secret, purpose + encode_text(user))
            for purpose in (b"salt:", b"stored:", b"server:")
        )
        return cls(iterations, salt[:SALT_BYTES], stored_key, server_key)


def derive_stored_key(client_key: bytes) -> bytes:
    """Return the StoredKey (32 bytes) of a ClientKey: H(ClientKey)."""
    return hashlib.sha256(client_key).digest()


def sign(key: bytes, message: bytes) -> bytes:
    """Return HMAC-SHA-256 (32 bytes)."""
    return hmac.digest(key, message, "sha256")


def xor(left: bytes, right: bytes) -> bytes:
    """Return two keys' exclusive or: a ClientProof is a ClientKey XOR its ClientSignature."""
    return bytes(a ^ b for a, b in zip(left, right, strict=True))


def read_key(value: bytes, complaint: str) -> bytes:
    """Read a proof or a signature (32 bytes) from an attribute's value.

    Raises
    ------
    AuthenticationError
        08P01 with `complaint` as its detail: no base64, or another length.
    """
    key = decode_base64(value, complaint)
    if len(key) != KEY_BYTES:
        raise malformed(complaint)
    return key


def _not_a_verifier() -> AuthenticationError:
    return AuthenticationError("the stored password is not a SCRAM-SHA-256 verifier")
