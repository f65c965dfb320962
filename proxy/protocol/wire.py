"""Writers and readers of the protocol's primitive values.

Owns Int16, Int32, CString and the frame around a body; leaves the meaning of a body to `messages`.
"""

from __future__ import annotations

import struct

from proxy.errors import LocalProtocolError, RemoteProtocolError

_INT16 = struct.Struct("!h")
_UINT16 = struct.Struct("!H")
_INT32 = struct.Struct("!i")
_UINT32 = struct.Struct("!I")
_HEADER = struct.Struct("!BI")

MAX_FRAME_LENGTH = 0x7FFF_FFFF


def frame(kind: int, body: bytes) -> bytes:
    """Return the message of type `kind` around `body`.

    Raises
    ------
    LocalProtocolError
        The body does not fit an Int32 length: a wrapped length would let data become messages.
    """
    length = len(body) + 4
    if length > MAX_FRAME_LENGTH:
        raise LocalProtocolError("message is too long for the protocol")
    return _HEADER.pack(kind, length) + body


def int16(value: int) -> bytes:
    """Write a signed 16-bit value."""
    try:
        return _INT16.pack(value)
    except struct.error as error:
        raise LocalProtocolError(f"{value} does not fit an Int16") from error


def uint16(value: int) -> bytes:
    """Write an unsigned 16-bit value (PostgreSQL counts parameters up to 65535)."""
    try:
        return _UINT16.pack(value)
    except struct.error as error:
        raise LocalProtocolError(f"{value} does not fit a 16-bit count") from error


def int32(value: int) -> bytes:
    """Write a signed 32-bit value."""
    try:
        return _INT32.pack(value)
    except struct.error as error:
        raise LocalProtocolError(f"{value} does not fit an Int32") from error


def uint32(value: int) -> bytes:
    """Write an unsigned 32-bit value, as OIDs are."""
    try:
        return _UINT32.pack(value)
    except struct.error as error:
        raise LocalProtocolError(f"{value} does not fit an unsigned Int32") from error


def cstring(value: bytes) -> bytes:
    """Write a null-terminated string."""
    if b"\0" in value:
        raise LocalProtocolError("a string of the protocol cannot hold a NUL")
    return value + b"\0"


class Reader:
    """Reads one body from left to right; every overrun is a RemoteProtocolError."""

    __slots__ = ("_body", "_position")

    def __init__(self, body: bytes, position: int = 0) -> None:
        self._body = body
        self._position = position

    @property
    def position(self) -> int:
        """Offset of the next byte to read."""
        return self._position

    @property
    def remaining(self) -> int:
        """Bytes not read yet."""
        return len(self._body) - self._position

    def take(self, size: int) -> bytes:
        """Read `size` bytes."""
        end = self._position + size
        if size < 0 or end > len(self._body):
            raise RemoteProtocolError("insufficient data left in message")
        value = self._body[self._position : end]
        self._position = end
        return value

    def byte(self) -> int:
        """Read one byte."""
        return self.take(1)[0]

    def int16(self) -> int:
        """Read a signed 16-bit value."""
        return int.from_bytes(self.take(2), "big", signed=True)

    def uint16(self) -> int:
        """Read an unsigned 16-bit value."""
        return int.from_bytes(self.take(2), "big")

    def int32(self) -> int:
        """Read a signed 32-bit value."""
        return int.from_bytes(self.take(4), "big", signed=True)

    def uint32(self) -> int:
        """Read an unsigned 32-bit value, as OIDs are."""
        return int.from_bytes(self.take(4), "big")

    def cstring(self) -> bytes:
        """Read up to the next NUL."""
        end = self._body.find(b"\0", self._position)
        if end < 0:
            raise RemoteProtocolError("invalid string in message")
        value = self._body[self._position : end]
        self._position = end + 1
        return value

    def value(self) -> bytes | None:
        """Read an Int32 length and that many bytes; -1 is NULL."""
        size = self.int32()
        if size == -1:
            return None
        if size < 0:
            raise RemoteProtocolError("invalid value length in message")
        return self.take(size)

    def skip_value(self) -> None:
        """Pass over what `value` would read."""
        size = self.int32()
        if size < -1 or size > self.remaining:
            raise RemoteProtocolError("insufficient data left in message")
        if size > 0:
            self._position += size

    def end(self) -> None:
        """Demand that nothing is left."""
        if self.remaining:
            raise RemoteProtocolError("invalid message format")
