"""Messages that break the protocol."""

from __future__ import annotations

import struct

from tests.support.script import (
    Script,
    send,
    until,
)
from tests.support.wire import (
    bind,
    execute,
    frame,
    parse,
    password,
    query,
    sync,
)

scripts = [
    Script("unknown message type", (send(frame("!")),), ends=True, whole=True),
    Script("message type NUL", (send(frame("\0")),), ends=True, whole=True),
    Script("password at the wrong time", (send(password("x")),), ends=True, whole=True),
    Script("length 3", (send(b"Q\0\0\0\3"),), ends=True, ours=True, whole=True),
    Script("length 0", (send(b"Q\0\0\0\0"),), ends=True, ours=True, whole=True),
    Script("length -1", (send(b"Q\xff\xff\xff\xff"),), ends=True, ours=True, whole=True),
    Script("length 2^31 - 1", (send(b"Q\x7f\xff\xff\xff"),), ends=True, ours=True, whole=True),
    Script(
        "long Sync", (send(b"S" + struct.pack("!i", 20_000)),), ends=True, ours=True, whole=True
    ),
    Script(
        "an error after a good query", (send(query("SELECT 1"), frame("!")),), ends=True, whole=True
    ),
    Script(
        "an error inside a pipeline",
        (send(parse("SELECT 1"), bind(), execute(), frame("!")),),
        ends=True,
        whole=True,
    ),
    Script("query without NUL", (send(frame("Q", b"SELECT 1")), until("Z"))),
    Script("query with a NUL inside", (send(frame("Q", b"SELECT 1\0SELECT 2\0")), until("Z"))),
    Script("Sync with a body", (send(frame("S", b"x")), until("Z"))),
    Script("Parse cut short", (send(frame("P", b"name\0SELECT 1\0\0\5"), sync()), until("Z"))),
    Script("Parse too long", (send(frame("P", b"\0SELECT 1\0\0\0xyz"), sync()), until("Z"))),
    Script(
        "Bind cut short",
        (send(parse("SELECT $1::text"), frame("B", b"\0\0\0\0\0\1\0\0\0\xff"), sync()), until("Z")),
    ),
    Script(
        "Bind, value length -2",
        (
            send(parse("SELECT $1::text"), frame("B", b"\0\0\0\0\0\1\xff\xff\xff\xfe\0\0"), sync()),
            until("Z"),
        ),
    ),
    Script("Describe of what", (send(frame("D", b"X\0"), sync()), until("Z"))),
    Script("Close of what", (send(frame("C", b"X\0"), sync()), until("Z"))),
    Script("Execute cut short", (send(frame("E", b"\0\0\0"), sync()), until("Z"))),
    Script("FunctionCall cut short", (send(frame("F", b"\0\0")), until("Z"))),
]
