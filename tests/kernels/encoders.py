"""PostgreSQL's wire format in plain Python, both ways: the other road to the kernels' answers."""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence

COPY_HEADER = b"PGCOPY\n\xff\r\n\0" + struct.pack(">ii", 0, 0)
COPY_TRAILER = struct.pack(">h", -1)

Field = bytes | None


def frame(type_code: bytes, body: bytes) -> bytes:
    return type_code + struct.pack(">i", len(body) + 4) + body


def field(value: Field) -> bytes:
    return struct.pack(">i", -1 if value is None else len(value)) + (value or b"")


def fields(values: Sequence[Field]) -> bytes:
    return struct.pack(">h", len(values)) + b"".join(map(field, values))


def data_row(values: Sequence[Field]) -> bytes:
    return frame(b"D", fields(values))


def float8(value: float | None) -> Field:
    return None if value is None else struct.pack(">d", value)


def float8_array(values: Sequence[float | None] | None) -> Field:
    if values is None:
        return None
    if not values:
        return struct.pack(">iii", 0, 0, 701)
    head = struct.pack(">iiiii", 1, int(None in values), 701, len(values), 1)
    return head + b"".join(field(float8(value)) for value in values)


class MalformedError(Exception):
    """The bytes are not what the format says."""


class Reader:
    """Read a message with the checks of the format."""

    def __init__(self, body: bytes) -> None:
        self.body = body
        self.at = 0

    def take(self, size: int) -> bytes:
        if size < 0 or self.at + size > len(self.body):
            raise MalformedError
        self.at += size
        return self.body[self.at - size : self.at]

    def int16(self) -> int:
        return int(struct.unpack(">H", self.take(2))[0])

    def int32(self) -> int:
        return int(struct.unpack(">i", self.take(4))[0])

    def field(self) -> Field:
        size = self.int32()
        return None if size == -1 else self.take(size)

    def end(self) -> None:
        if self.at != len(self.body):
            raise MalformedError


def read_frames(data: bytes, type_code: bytes) -> list[tuple[int, bytes] | None]:
    """Return (end, body) of the leading whole frames of a type; None is a frame of bad length."""
    result: list[tuple[int, bytes] | None] = []
    at = 0
    while at + 5 <= len(data) and data[at : at + 1] == type_code:
        (length,) = struct.unpack(">i", data[at + 1 : at + 5])
        if length < 4:
            return [*result, None]
        if at + 1 + length > len(data):
            break
        result.append((at + 1 + length, data[at + 5 : at + 1 + length]))
        at += 1 + length
    return result


def read_fields(body: bytes, count: int) -> list[Field]:
    reader = Reader(body)
    if reader.int16() != count:
        raise MalformedError
    values = [reader.field() for _ in range(count)]
    reader.end()
    return values


def read_float8(value: Field) -> float:
    if value is None:
        return math.nan
    if len(value) != 8:
        raise MalformedError
    return float(struct.unpack(">d", value)[0])


def read_float8_array(value: Field) -> list[float] | None:
    """Return the elements, None for NULL or no dimensions."""
    if value is None:
        return None
    reader = Reader(value)
    n_dimensions, _, element_type = reader.int32(), reader.int32(), reader.int32()
    if n_dimensions not in (0, 1) or element_type != 701:
        raise MalformedError
    if n_dimensions == 0:
        reader.end()
        return None
    length, _ = reader.int32(), reader.int32()
    if length <= 0 or 4 * length > len(value):
        raise MalformedError
    elements = [read_float8(reader.field()) for _ in range(length)]
    reader.end()
    return elements
