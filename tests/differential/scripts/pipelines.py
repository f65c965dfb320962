"""The order of replies where many messages are under way."""

from __future__ import annotations

from tests.differential.messages import (
    group,
    usual,
)
from tests.support.script import (
    Script,
    half_close,
    send,
    silence,
    simple,
    until,
)
from tests.support.wire import (
    bind,
    close_statement,
    describe_portal,
    describe_statement,
    execute,
    extended,
    flush,
    parse,
    query,
    sync,
    terminate,
)

scripts = [
    Script("Sync alone", (send(sync()), until("Z"), send(sync(), sync(), sync()), until("Z", 3))),
    Script("Flush alone says nothing", (send(flush()), silence(), send(sync()), until("Z"))),
    Script(
        "Flush after each message",
        (
            send(parse("SELECT id FROM points ORDER BY id"), flush()),
            until("1"),
            send(describe_statement(), flush()),
            until("T"),
            send(bind(), flush()),
            until("2"),
            send(execute("", 2), flush()),
            until("s"),
            send(execute(), flush()),
            until("C"),
            silence(),
            send(sync()),
            until("Z"),
        ),
    ),
    Script(
        "an error does not wait for Sync",
        (send(parse("SELEC")), until("E"), silence(), send(sync()), until("Z")),
    ),
    Script(
        "twenty statements, one Sync",
        group(*[parse(f"SELECT {i}") + bind() + describe_portal() + execute() for i in range(20)]),
    ),
    Script(
        "several Syncs in one write",
        (send(*[extended(f"SELECT {i}") for i in range(30)]), until("Z", 30)),
    ),
    Script(
        "an error skips to Sync",
        (
            send(
                extended("SELECT 1"),
                parse("SELECT 1/0"),
                bind(),
                execute(),
                parse("SELECT 2"),
                bind(),
                execute(),
                flush(),
                sync(),
                extended("SELECT 3"),
                parse("SELEC"),
                describe_statement(),
                bind(),
                execute(),
                close_statement("x"),
                sync(),
                extended("SELECT 4"),
            ),
            until("Z", 5),
        ),
    ),
    Script(
        "a pipeline is one transaction",
        (
            *simple("CREATE TEMP TABLE t (a int)"),
            *group(
                parse("INSERT INTO t VALUES (1)"),
                bind(),
                execute(),
                parse("SELECT 1/0"),
                bind(),
                execute(),
            ),
            *simple("SELECT count(*) FROM t"),
        ),
    ),
    Script(
        "BEGIN in a pipeline that fails",
        (
            *group(parse("BEGIN"), bind(), execute(), parse("SELECT 1/0"), bind(), execute()),
            *usual("SELECT 1"),
            *usual("ROLLBACK"),
        ),
    ),
    Script(
        "a simple query inside a pipeline",
        (send(parse("SELECT 1"), bind(), execute(), query("SELECT 2"), sync()), until("Z", 2)),
    ),
    Script(
        "a simple query after an error is skipped",
        (send(parse("SELEC"), query("SELECT 2"), sync(), query("SELECT 3")), until("Z", 2)),
    ),
    Script(
        "a portal of a pipeline after a simple query",
        (
            send(parse("SELECT 1"), bind(portal="p"), query("SELECT 2"), execute("p"), sync()),
            until("Z", 2),
        ),
    ),
    Script(
        "Terminate ends a pipeline",
        (send(parse("SELECT 1"), bind(), execute(), terminate()),),
        ends=True,
    ),
    Script("Terminate in a transaction", (*simple("BEGIN"), send(terminate())), ends=True),
    Script("end of stream in a transaction", (*simple("BEGIN"), half_close()), ends=True),
    Script(
        "end of stream inside a message", (send(query("SELECT 1")[:-3]), half_close()), ends=True
    ),
    Script(
        "query and Terminate in one write",
        (send(query("SELECT * FROM points"), terminate()),),
        ends=True,
    ),
]
