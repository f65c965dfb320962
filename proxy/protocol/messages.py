"""The messages that the proxy itself reads or writes, as values.

Messages that are only passed on never come here: the relay counts them by their type byte
(`replies`). Bodies are without the type byte and the length.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from proxy.errors import LocalProtocolError, ProxyError, RemoteProtocolError
from proxy.protocol import message_types as t
from proxy.protocol.wire import Reader, cstring, frame, int16, int32, uint16, uint32

_uint16 = struct.Struct("!H").unpack_from
_int32 = struct.Struct("!i").unpack_from

SYNC_FRAME = frame(t.SYNC, b"")
FLUSH_FRAME = frame(t.FLUSH, b"")
TERMINATE_FRAME = frame(t.TERMINATE, b"")


@dataclass(frozen=True, slots=True)
class StartupMessage:
    """A session's first message.  (F)  Int32(length) Int32(version) {String String}* Byte1(0)."""

    version: int
    parameters: dict[bytes, bytes]
    packet: bytes
    """The packet as it came, with its length: it goes upstream verbatim."""

    @classmethod
    def decode(cls, packet: bytes) -> StartupMessage:
        """Read a whole packet, its Int32 length included."""
        reader = Reader(packet, 4)
        version = reader.uint32()
        parameters: dict[bytes, bytes] = {}
        while reader.remaining > 1:
            name = reader.cstring()
            if not name:
                break
            parameters[name] = reader.cstring()
        return cls(version, parameters, packet)


@dataclass(frozen=True, slots=True)
class CancelRequest:
    """Asks to stop what another connection runs.  (F)  Int32(length) Int32(code) Int32(pid) key."""

    key: bytes
    """Process ID and secret key as one: 4 bytes and 4 to 256 more (protocol 3.2)."""

    @classmethod
    def decode(cls, packet: bytes) -> CancelRequest:
        """Read a whole packet, its Int32 length included.

        Raises
        ------
        RemoteProtocolError
            The secret is shorter than 4 or longer than 256 bytes.
        """
        key = packet[8:]
        if not 8 <= len(key) <= 4 + 256:
            raise RemoteProtocolError("invalid length of cancel request packet")
        return cls(key)

    def encode(self) -> bytes:
        """Write the packet."""
        body = int32(t.CANCEL_REQUEST) + self.key
        return int32(len(body) + 4) + body


@dataclass(frozen=True, slots=True)
class Parse:
    """Creates a prepared statement.  (F)  String(name) String(text) Int16(n) Int32(oid)*."""

    name: bytes
    text: bytes
    parameter_types: bytes
    """Count and OIDs as they came: nobody here reads them."""

    @classmethod
    def decode(cls, body: bytes) -> Parse:
        """Read the body of a Parse."""
        reader = Reader(body)
        name, text = reader.cstring(), reader.cstring()
        return cls(name, text, body[reader.position :])

    def encode(self) -> bytes:
        """Write the whole message."""
        return frame(t.PARSE, cstring(self.name) + cstring(self.text) + self.parameter_types)


NO_PARAMETER_TYPES = uint16(0)


class Bind(NamedTuple):
    """Makes a portal of a statement and values.  (F).

    String(portal) String(statement) Int16(n) Int16(format)* Int16(n) {Int32(length) Byte*}*
    Int16(n) Int16(result format)*
    """

    portal: bytes
    statement: bytes
    parameters: bytes
    """Parameter formats and values as they came."""
    result_formats: tuple[int, ...]

    @classmethod
    def decode(cls, body: bytes) -> Bind:
        """Read the body of a Bind; by hand, for it is on the path of every point query."""
        try:
            first = body.index(0)
            second = body.index(0, first + 1)
            start = second + 1
            position = start + 2 + 2 * _uint16(body, start)[0]
            count = _uint16(body, position)[0]
            position += 2
            for _ in range(count):
                size = _int32(body, position)[0]
                if size < -1:
                    raise RemoteProtocolError("invalid value length in message")
                position += 4 + max(size, 0)
            (count,) = _uint16(body, position)
            formats = struct.unpack_from(f"!{count}h", body, position + 2) if count else ()
        except (ValueError, struct.error) as error:
            raise RemoteProtocolError("insufficient data left in message") from error
        if position + 2 + 2 * count != len(body):
            raise RemoteProtocolError("invalid message format")
        return cls(body[:first], body[first + 1 : second], body[start:position], formats)

    def encode(self) -> bytes:
        """Write the whole message."""
        count = len(self.result_formats)
        try:
            formats = uint16(count) + struct.pack(f"!{count}h", *self.result_formats)
        except struct.error as error:
            raise LocalProtocolError("a format code does not fit an Int16") from error
        names = cstring(self.portal) + cstring(self.statement)
        return frame(t.BIND, names + self.parameters + formats)


def parameters_in_text(values: Sequence[bytes | None]) -> bytes:
    """Return the `Bind.parameters` of text values."""
    sized = (int32(-1) if value is None else int32(len(value)) + value for value in values)
    return uint16(0) + uint16(len(values)) + b"".join(sized)


NO_PARAMETERS = parameters_in_text(())


class Execute(NamedTuple):
    """Runs a portal.  (F)  String(portal) Int32(row limit; 0 is none)."""

    portal: bytes
    row_limit: int = 0

    @classmethod
    def decode(cls, body: bytes) -> Execute:
        """Read the body of an Execute."""
        end = body.find(0)
        if end < 0 or len(body) != end + 5:
            raise RemoteProtocolError("invalid message format")
        return cls(body[:end], _int32(body, end + 1)[0])

    def encode(self) -> bytes:
        """Write the whole message."""
        return frame(t.EXECUTE, cstring(self.portal) + int32(self.row_limit))


STATEMENT = ord("S")
PORTAL = ord("P")


def describe(target: int, name: bytes) -> bytes:
    """Write a Describe of a STATEMENT or a PORTAL."""
    return frame(t.DESCRIBE, bytes([target]) + cstring(name))


def close(target: int, name: bytes) -> bytes:
    """Write a Close of a STATEMENT or a PORTAL."""
    return frame(t.CLOSE, bytes([target]) + cstring(name))


def target_and_name(body: bytes) -> tuple[int, bytes]:
    """Read the body of a Describe or a Close."""
    end = body.find(0, 1)
    if end < 0:
        raise RemoteProtocolError("invalid string in message")
    return body[0], body[1:end]


@dataclass(frozen=True, slots=True)
class FieldDescription:
    """One column of a RowDescription."""

    name: bytes
    table_oid: int
    column_attribute: int
    type_oid: int
    type_size: int
    type_modifier: int
    format_code: int


@dataclass(frozen=True, slots=True)
class RowDescription:
    """The columns of the rows to come.  (B)  Int16(n) FieldDescription*."""

    fields: tuple[FieldDescription, ...]

    @classmethod
    def decode(cls, body: bytes) -> RowDescription:
        """Read the body of a RowDescription."""
        reader = Reader(body)
        fields = tuple(
            FieldDescription(
                reader.cstring(),
                reader.uint32(),
                reader.int16(),
                reader.uint32(),
                reader.int16(),
                reader.int32(),
                reader.int16(),
            )
            for _ in range(reader.uint16())
        )
        reader.end()
        return cls(fields)

    def encode(self) -> bytes:
        """Write the whole message."""
        parts = [uint16(len(self.fields))]
        for field in self.fields:
            parts += (
                cstring(field.name),
                uint32(field.table_oid),
                int16(field.column_attribute),
                uint32(field.type_oid),
                int16(field.type_size),
                int32(field.type_modifier),
                int16(field.format_code),
            )
        return frame(t.ROW_DESCRIPTION, b"".join(parts))

    def renamed(self, names: dict[int, bytes], count: int) -> RowDescription:
        """Return the first `count` fields, those at the indices in `names` with a new name."""
        fields = list(self.fields[:count])
        for index, name in names.items():
            fields[index] = replace(fields[index], name=name)
        return RowDescription(tuple(fields))


def row_values(body: bytes) -> list[bytes | None]:
    """Read the values of a DataRow."""
    reader = Reader(body)
    return [reader.value() for _ in range(reader.uint16())]


def command_complete(tag: bytes) -> bytes:
    """Write a CommandComplete."""
    return frame(t.COMMAND_COMPLETE, cstring(tag))


def report_fields(body: bytes) -> list[tuple[int, bytes]]:
    """Read the fields of an ErrorResponse or a NoticeResponse; a missing terminator is borne."""
    fields: list[tuple[int, bytes]] = []
    position = 0
    while position < len(body) and body[position]:
        end = body.find(b"\0", position)
        end = len(body) if end < 0 else end
        fields.append((body[position], body[position + 1 : end]))
        position = end + 1
    return fields


def encode_report(kind: int, fields: Iterable[tuple[int, bytes]]) -> bytes:
    """Write an ErrorResponse or a NoticeResponse."""
    body = b"".join(bytes([code]) + cstring(value) for code, value in fields)
    return frame(kind, body + b"\0")


def _text(value: str, encoding: str) -> bytes:
    return value.replace("\0", "\N{REPLACEMENT CHARACTER}").encode(encoding, "replace")


def report(
    kind: int,
    severity: str,
    sqlstate: str,
    message: str,
    *,
    detail: str | None = None,
    hint: str | None = None,
    position: int | None = None,
    encoding: str = "utf-8",
) -> bytes:
    """Write an ErrorResponse or a NoticeResponse of our own."""
    fields = [
        (ord("S"), severity.encode()),
        (ord("V"), severity.encode()),
        (ord("C"), sqlstate.encode()),
        (ord("M"), _text(message, encoding)),
    ]
    if detail:
        fields.append((ord("D"), _text(detail, encoding)))
    if hint:
        fields.append((ord("H"), _text(hint, encoding)))
    if position is not None:
        fields.append((ord("P"), str(position).encode()))
    return encode_report(kind, fields)


def error_response(error: ProxyError, *, fatal: bool = False, encoding: str = "utf-8") -> bytes:
    """Write an ErrorResponse that says what `error` says."""
    return report(
        t.ERROR_RESPONSE,
        "FATAL" if fatal else "ERROR",
        error.sqlstate,
        error.message,
        detail=error.detail,
        hint=error.hint,
        position=error.position,
        encoding=encoding,
    )


def notice_response(
    message: str,
    *,
    severity: str = "NOTICE",
    sqlstate: str = "00000",
    detail: str | None = None,
    hint: str | None = None,
    encoding: str = "utf-8",
) -> bytes:
    """Write a NoticeResponse."""
    return report(
        t.NOTICE_RESPONSE,
        severity,
        sqlstate,
        message,
        detail=detail,
        hint=hint,
        encoding=encoding,
    )
