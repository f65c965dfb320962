"""CancelRequest, by the key that the server gave."""

from __future__ import annotations

from tests.support.script import (
    Script,
    cancel,
    elsewhere,
    send,
    simple,
    until,
    until_waiting,
)
from tests.support.wire import (
    PROTOCOL_3_2,
    Message,
    copy_data,
    copy_done,
    extended,
    query,
)


def without_context(message: Message) -> Message:
    """Leave out the line that COPY had come to, which is a matter of time."""
    if message.code != "E":
        return message
    fields = [part for part in message.body.split(b"\0") if not part.startswith(b"W")]
    return Message("E", b"\0".join(fields))


scripts = [
    Script(
        "cancel of a simple query",
        (send(query("SELECT pg_sleep(60)")), until_waiting("PgSleep"), cancel(), until("Z")),
    ),
    Script(
        "cancel of a pipeline",
        (
            send(extended("SELECT 1"), extended("SELECT pg_sleep(60)"), extended("SELECT 2")),
            until_waiting("PgSleep"),
            cancel(),
            until("Z", 3),
        ),
    ),
    Script(
        "cancel in a transaction",
        (
            *simple("BEGIN"),
            send(query("SELECT pg_sleep(60)")),
            until_waiting("PgSleep"),
            cancel(),
            until("Z"),
        ),
    ),
    Script(
        "cancel of COPY OUT",
        (
            send(query("COPY (SELECT pg_sleep(60)) TO STDOUT")),
            until_waiting("PgSleep"),
            cancel(),
            until("Z"),
        ),
    ),
    Script(
        "cancel of COPY IN",
        (
            *simple("CREATE TEMP TABLE t (a int, b text)"),
            send(query("COPY t FROM STDIN")),
            until("G"),
            cancel(),
            send(copy_data("1\ta\n"), copy_done()),
            until("Z"),
        ),
        erase=without_context,
    ),
    Script(
        "cancel with a wrong secret",
        (
            send(query("SELECT pg_sleep(0.3)")),
            until_waiting("PgSleep"),
            cancel(b"\1\2\3\4"),
            until("Z"),
        ),
    ),
    Script(
        "cancel by protocol 3.2's key",
        (send(query("SELECT pg_sleep(60)")), until_waiting("PgSleep"), cancel(), until("Z")),
        login={"protocol": PROTOCOL_3_2},
    ),
    Script(
        "cancel by another session's function",
        (
            *simple("SET application_name = 'to cancel'"),
            send(query("SELECT pg_sleep(60)")),
            until_waiting("PgSleep"),
            elsewhere(
                "SELECT pg_cancel_backend(pid) FROM pg_stat_activity"
                " WHERE application_name = 'to cancel'"
            ),
            until("Z"),
        ),
    ),
]
