"""COPY in both directions."""

from __future__ import annotations

import struct

from tests.differential.messages import (
    binary_copy_header,
    usual,
)
from tests.support.script import (
    Script,
    Step,
    send,
    simple,
    until,
)
from tests.support.wire import (
    bind,
    copy_data,
    copy_done,
    copy_fail,
    describe_portal,
    execute,
    extended,
    flush,
    parse,
    query,
    sync,
    terminate,
)

lines = "".join(f"{i}\tline {i}\n" for i in range(1000))
make_t = simple("CREATE TEMP TABLE t (a int, b text)")
count_t = simple("SELECT count(*), sum(a), min(b), max(b) FROM t")


def copy_in(*data: bytes, sql: str = "COPY t FROM STDIN") -> tuple[Step, ...]:
    """Copy into the table t by a simple query, waiting for the server's consent."""
    return (*make_t, send(query(sql)), until("G"), send(*data), until("Z"), *count_t)


binary_rows = b"".join(struct.pack("!hiii", 2, 4, i, 2) + b"ab" for i in range(10))

scripts = [
    Script("COPY OUT", simple("COPY points TO STDOUT")),
    Script(
        "COPY OUT, CSV",
        simple("COPY (SELECT id, label FROM points WHERE id < 4) TO STDOUT (FORMAT csv, HEADER)"),
    ),
    Script("COPY OUT, binary", simple("COPY points TO STDOUT (FORMAT binary)")),
    Script("COPY OUT of many rows", simple("COPY many TO STDOUT")),
    Script("COPY OUT of nothing", simple("COPY (SELECT 1 WHERE false) TO STDOUT")),
    Script("COPY OUT by the extended protocol", usual("COPY points TO STDOUT")),
    Script(
        "COPY OUT that fails half-way", simple("COPY (SELECT 1 / (5000 - id) FROM many) TO STDOUT")
    ),
    Script("COPY OUT among statements", simple("SELECT 1; COPY (SELECT 2) TO STDOUT; SELECT 3")),
    Script("COPY IN", copy_in(copy_data(lines), copy_done())),
    Script("COPY IN of nothing", copy_in(copy_done())),
    Script(
        "COPY IN, pieces of lines",
        copy_in(*[copy_data(lines[i : i + 13]) for i in range(0, len(lines), 13)], copy_done()),
    ),
    Script("COPY IN with end marker", copy_in(copy_data("1\tx\n\\.\n"), copy_done())),
    Script(
        "COPY IN, binary",
        copy_in(
            copy_data(binary_copy_header + binary_rows + b"\xff\xff"),
            copy_done(),
            sql="COPY t FROM STDIN (FORMAT binary)",
        ),
    ),
    Script("COPY IN of 4 MB", copy_in(*[copy_data("7\t" + "z" * 1000 + "\n")] * 4000, copy_done())),
    Script(
        "COPY IN by the extended protocol",
        (
            *make_t,
            send(parse("COPY t FROM STDIN"), bind(), describe_portal(), execute(), flush()),
            until("G"),
            send(copy_data(lines), copy_done(), sync()),
            until("Z"),
            *count_t,
        ),
    ),
    Script(
        "COPY IN by the extended protocol, Sync sent at once",
        (
            *make_t,
            send(parse("COPY t FROM STDIN"), bind(), execute(), sync()),
            until("G"),
            send(copy_data(lines), copy_done(), sync()),
            until("Z"),
            *count_t,
        ),
    ),
    Script(
        "COPY IN sent before it was agreed",
        (
            *make_t,
            send(
                query("COPY t FROM STDIN"), copy_data(lines), copy_done(), query("SELECT 'after'")
            ),
            until("Z", 2),
            *count_t,
        ),
    ),
    Script(
        "COPY IN by the extended protocol sent before it was agreed",
        (
            *make_t,
            send(
                parse("COPY t FROM STDIN"),
                bind(),
                execute(),
                copy_data(lines),
                copy_done(),
                sync(),
                extended("SELECT 1"),
            ),
            until("Z", 2),
            *count_t,
        ),
    ),
    Script("CopyFail", copy_in(copy_data(lines), copy_fail("no more"))),
    Script(
        "CopyFail by the extended protocol",
        (
            *make_t,
            send(parse("COPY t FROM STDIN"), bind(), execute(), flush()),
            until("G"),
            send(copy_data(lines), copy_fail("thought better"), parse("SELECT 1"), sync()),
            until("Z"),
            *count_t,
        ),
    ),
    Script(
        "bad data in COPY IN",
        copy_in(copy_data("1\tgood\nbad\tline\n"), copy_data(lines), copy_done()),
    ),
    Script(
        "bad data in COPY IN by the extended protocol",
        (
            *make_t,
            send(parse("COPY t FROM STDIN"), bind(), execute(), flush()),
            until("G"),
            send(copy_data("bad\tline\n"), copy_data(lines), copy_done(), sync()),
            until("Z"),
            *count_t,
        ),
    ),
    Script(
        "COPY IN of an unknown table, data sent",
        (send(query("COPY nowhere FROM STDIN"), copy_data(lines), copy_done()), until("Z")),
    ),
    Script(
        "Sync and Flush within COPY IN",
        copy_in(copy_data("1\ta\n"), sync(), flush(), copy_data("2\tb\n"), copy_done()),
    ),
    Script(
        "a query within COPY IN",
        (
            *make_t,
            send(query("COPY t FROM STDIN")),
            until("G"),
            send(copy_data("1\ta\n"), query("SELECT 1")),
        ),
        ends=True,
    ),
    Script(
        "CopyData, CopyDone and CopyFail outside COPY",
        (send(copy_data("x"), copy_done(), copy_fail("y"), query("SELECT 1")), until("Z")),
    ),
    Script(
        "two COPY IN in one query",
        (
            *make_t,
            send(query("COPY t FROM STDIN; SELECT 'between'; COPY t FROM STDIN")),
            until("G"),
            send(copy_data("1\ta\n"), copy_done()),
            until("G"),
            send(copy_data("2\tb\n"), copy_done()),
            until("Z"),
            *count_t,
        ),
    ),
    Script(
        "COPY in a transaction that rolls back",
        (
            *make_t,
            *simple("BEGIN"),
            send(query("COPY t FROM STDIN"), copy_data(lines), copy_done()),
            until("Z"),
            *simple("ROLLBACK"),
            *count_t,
        ),
    ),
    Script(
        "Terminate within COPY IN",
        (
            *make_t,
            send(query("COPY t FROM STDIN")),
            until("G"),
            send(copy_data("1\ta\n"), terminate()),
        ),
        ends=True,
    ),
]
