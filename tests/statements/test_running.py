"""An ordinary statement beside one of ours: what it is sent as, and which is refused."""

from __future__ import annotations

import pytest

from proxy.errors import UnsupportedError
from proxy.protocol import message_types as t
from proxy.statements.running import refuse_copy_in, run_statement
from tests.protocol.backend import COMPLETE, DESCRIPTION, ROW
from tests.session.transports import Hall
from tests.support import wire
from tests.support.wire import frame


def refuse(sql: str, *, standard: bool = True) -> None:
    refuse_copy_in(sql, standard_conforming_strings=standard)


@pytest.mark.parametrize(
    "sql",
    [
        "COPY t FROM STDIN",
        "copy t (a, b) from stdin with (format csv)",
        " /* a */ COPY BINARY s.t -- b\n FROM STDIN",
        'COPY "from" FROM stdin',
        "COPY t FROM STDOUT",
        "COPY t FROM STDIN WHERE a > 1",
    ],
)
def test_refused(sql: str) -> None:
    """A COPY that asks the client for data is 0A000, at its first word."""
    with pytest.raises(UnsupportedError) as caught:
        refuse(sql)
    assert caught.value.sqlstate == "0A000"
    assert sql[(caught.value.position or 0) - 1 :].lower().startswith("copy")


@pytest.mark.parametrize(
    "sql",
    [
        "",
        "COPY t TO STDOUT",
        "COPY t FROM '/tmp/stdin'",
        "COPY t FROM PROGRAM 'cat stdin'",
        "COPY (SELECT * FROM stdin) TO STDOUT",
        'COPY "t FROM STDIN" TO STDOUT',
        "COPY t TO STDOUT -- FROM STDIN",
        "SELECT a AS copy FROM stdin",
        'SELECT * FROM "copy" FROM stdin',
    ],
)
def test_not_refused(sql: str) -> None:
    """Any other statement goes on."""
    refuse(sql)


def test_standard_conforming_strings() -> None:
    r"""With the setting off, a backslash keeps a string open."""
    sql = r"COPY t FROM '\' FROM STDIN'"
    with pytest.raises(UnsupportedError):
        refuse(sql)
    refuse(sql, standard=False)


@pytest.mark.asyncio
async def test_run_statement() -> None:
    """It is run by the extended protocol; the client sees the answer of the simple one."""

    def handle(kind: int, body: bytes) -> None:
        run_statement(hall.session, "SELECT 'é'", lambda position: position + 100)
        run_statement(hall.session, "BEGIN", None)
        hall.session.sync()

    hall = Hall(handle)
    hall.client.receive(wire.query("SELECT 'é'; PREDICT; BEGIN"))
    one = wire.parse("SELECT 'é'") + wire.bind() + wire.describe_portal() + wire.execute()
    two = wire.parse("BEGIN") + wire.bind() + wire.describe_portal() + wire.execute()
    assert hall.upstream.take() == one + two + wire.sync()
    answers = frame("1") + frame("2") + DESCRIPTION + ROW + COMPLETE
    hall.upstream.receive(answers + frame("1") + frame("2") + frame("n") + COMPLETE)
    hall.upstream.receive(frame("Z", b"T"))
    assert hall.client.take() == DESCRIPTION + ROW + COMPLETE + COMPLETE + frame("Z", b"T")
    assert hall.session.status == t.IN_TRANSACTION


@pytest.mark.asyncio
async def test_the_position_of_its_error() -> None:
    """An error points into the client's whole string."""

    def handle(kind: int, body: bytes) -> None:
        run_statement(hall.session, "SELECT nothing", lambda position: position + 100)
        hall.session.sync()

    hall = Hall(handle)
    hall.client.receive(wire.query("PREDICT"))
    hall.upstream.receive(frame("E", b"SERROR\0C42703\0Mno\0P8\0\0") + frame("Z", b"I"))
    error = wire.Message("E", hall.client.take()[5:-6])
    assert error.error_fields["P"] == "108"
