"""What a SCRAM message is made of: attributes between commas, nonces, base64 (RFC 5802, section 7).

Owns the names of the mechanisms, the limits of a message's length, the reading of attributes, and
the errors for what cannot be read, in PostgreSQL's words. Leaves to `server` and `client` which
attributes a message must have, and to `keys` what they are worth.
"""

from __future__ import annotations

import base64
import re
import secrets
from collections.abc import Sequence
from typing import Final

from proxy.errors import AuthenticationError

SCRAM_SHA_256: Final = "SCRAM-SHA-256"
SCRAM_SHA_256_PLUS: Final = "SCRAM-SHA-256-PLUS"
CHANNEL_BINDING_TYPE: Final = b"tls-server-end-point"

MAX_CLIENT_MESSAGE_BYTES: Final = 1024  # PostgreSQL's PG_MAX_SASL_MESSAGE_LENGTH
MAX_SERVER_MESSAGE_BYTES: Final = 2000  # what libpq takes of an AuthenticationRequest
NONCE_BYTES: Final = 18  # PostgreSQL's SCRAM_RAW_NONCE_LEN; 24 characters in base64

_PRINTABLE = re.compile(rb"[\x21-\x2b\x2d-\x7e]+")  # RFC 5802: printable = %x21-2B / %x2D-7E
_ATTRIBUTE = re.compile(rb"([A-Za-z])=([^\0]*)", re.DOTALL)


def new_nonce() -> str:
    """Return a fresh printable nonce of 24 characters."""
    return encode_base64(secrets.token_bytes(NONCE_BYTES)).decode()


def is_printable(nonce: bytes) -> bool:
    """Whether a nonce has characters at all, and only those that a nonce may have."""
    return _PRINTABLE.fullmatch(nonce) is not None


# --- attributes -------------------------------------------------------------------------------


def split_message(message: bytes, limit: int) -> list[bytes]:
    """Split a message of at most `limit` bytes at its commas, which no value may hold."""
    if not message:
        raise malformed("The message is empty.")
    if len(message) > limit:
        raise malformed(f"The message is longer than {limit} bytes.")
    if b"\0" in message:
        raise malformed("Message length does not match input length.")
    return message.split(b",")


def read_attribute(part: bytes) -> tuple[str, bytes]:
    """Read any `letter=value`."""
    match = _ATTRIBUTE.fullmatch(part)
    if match is None:
        raise malformed(
            f'Attribute expected, but found invalid character "{shown(part[:1])}".'
            if part
            else "Attribute expected, but found end of string."
        )
    return match[1].decode(), match[2]


def read_value(parts: Sequence[bytes], index: int, letter: str) -> bytes:
    """Read the value of the attribute that must stand at `index`."""
    if index >= len(parts):
        raise malformed("Attribute expected, but found end of string.")
    found, value = read_attribute(parts[index])
    if found != letter:
        raise malformed(f'Expected attribute "{letter}" but found "{found}".')
    return value


def check_extensions(parts: Sequence[bytes]) -> None:
    """Let optional extensions pass unread, as PostgreSQL does; a mandatory one we cannot honour."""
    for part in parts:
        if read_attribute(part)[0] == "m":
            raise unsupported_extension()


# --- values -----------------------------------------------------------------------------------


def decode_base64(value: bytes, complaint: str) -> bytes:
    """Decode a value; `complaint` is the detail of the error if it is no base64."""
    try:
        return base64.b64decode(value, validate=True)
    except ValueError as error:
        raise malformed(complaint) from error


def encode_base64(value: bytes) -> bytes:
    """Write bytes as a value."""
    return base64.b64encode(value)


def encode_text(text: str) -> bytes:
    """Encode a name or a password; bytes that were no UTF-8 come back as they were."""
    return text.encode("utf-8", "surrogateescape")


# --- errors -----------------------------------------------------------------------------------


def shown(value: bytes) -> str:
    """Return a peer's bytes as short printable ASCII: errors go to clients and logs."""
    return repr(value[:64])[2:-1]


def violation(message: str, detail: str | None = None) -> AuthenticationError:
    """Return the error for what the protocol forbids: 08P01."""
    return AuthenticationError(message, detail=detail, sqlstate="08P01")


def malformed(detail: str) -> AuthenticationError:
    """Return the error for a message that cannot be read: 08P01."""
    return violation("malformed SCRAM message", detail)


def unsupported_extension() -> AuthenticationError:
    """Return the error for an extension that its sender insists on: 0A000."""
    return AuthenticationError("client requires an unsupported SCRAM extension", sqlstate="0A000")
