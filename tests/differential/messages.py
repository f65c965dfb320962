"""Short ways to write what most scripts send."""

from __future__ import annotations

import struct

from tests.support.script import (
    Step,
    send,
    until,
)
from tests.support.wire import (
    extended,
    sync,
)

DATABASE = "test_wire_equality"
INT4, INT8, FLOAT8, TEXT, BYTEA, OID = 23, 20, 701, 25, 17, 26
binary_copy_header = b"PGCOPY\n\xff\r\n\0" + bytes(8)


def int4(value: int) -> bytes:
    return struct.pack("!i", value)


def float8(value: float) -> bytes:
    return struct.pack("!d", value)


def group(*messages: bytes) -> tuple[Step, ...]:
    """Send one pipeline that ends in Sync, and read its reply."""
    return (send(*messages, sync()), until("Z"))


def usual(sql: str, **arguments: object) -> tuple[Step, ...]:
    """Run one statement by the extended protocol."""
    return (send(extended(sql, **arguments)), until("Z"))  # type: ignore[arg-type]
