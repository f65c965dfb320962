"""FunctionCall and large objects."""

from __future__ import annotations

from tests.differential.messages import (
    int4,
)
from tests.support.script import (
    Script,
    send,
    simple,
    until,
)
from tests.support.wire import (
    function_call,
)

INT4PL, INT4DIV = 177, 154
LO_OPEN, LO_CLOSE, LO_READ, LO_WRITE, LO_CREATE, LO_UNLINK = 952, 953, 954, 955, 715, 964
LARGE_OBJECT = 424242

scripts = [
    Script("FunctionCall", (send(function_call(INT4PL, [int4(20), int4(22)])), until("Z"))),
    Script(
        "FunctionCall, text result",
        (send(function_call(INT4PL, [int4(20), int4(22)], result_format=0)), until("Z")),
    ),
    Script("FunctionCall of NULL", (send(function_call(INT4PL, [int4(20), None])), until("Z"))),
    Script(
        "FunctionCall that fails", (send(function_call(INT4DIV, [int4(1), int4(0)])), until("Z"))
    ),
    Script("FunctionCall of nothing", (send(function_call(1, [])), until("Z"))),
    Script(
        "FunctionCall in a failed transaction",
        (
            *simple("BEGIN", "SELECT 1/0"),
            send(function_call(INT4PL, [int4(1), int4(1)])),
            until("Z"),
            *simple("ROLLBACK"),
        ),
    ),
    Script(
        "large objects by FunctionCall",
        (
            *simple("BEGIN"),
            send(function_call(LO_CREATE, [int4(LARGE_OBJECT)])),
            until("Z"),
            send(function_call(LO_OPEN, [int4(LARGE_OBJECT), int4(0x60000)])),
            until("Z"),
            send(function_call(LO_WRITE, [int4(0), b"large " * 1000])),
            until("Z"),
            send(function_call(LO_CLOSE, [int4(0)])),
            until("Z"),
            send(function_call(LO_OPEN, [int4(LARGE_OBJECT), int4(0x40000)])),
            until("Z"),
            send(function_call(LO_READ, [int4(0), int4(20)])),
            until("Z"),
            send(function_call(LO_UNLINK, [int4(LARGE_OBJECT)])),
            until("Z"),
            *simple("ROLLBACK"),
        ),
    ),
    Script(
        "large objects by SQL",
        simple(
            f"BEGIN; SELECT lo_from_bytea({LARGE_OBJECT + 1}, 'content')",
            f"SELECT lo_get({LARGE_OBJECT + 1})",
            f"SELECT lo_unlink({LARGE_OBJECT + 1})",
            "ROLLBACK",
        ),
    ),
]
