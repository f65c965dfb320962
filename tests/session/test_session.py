"""One session between two peers: order, what is kept back, whose error it is, and the end."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable

import pytest

from proxy.errors import InvalidParameterError, ModelSyntaxError, ProxyError
from proxy.protocol import message_types as t
from proxy.protocol.messages import PORTAL, describe
from proxy.protocol.replies import Reply, SilentReply
from proxy.session.questions import AlreadyAnswered, private_query
from tests.protocol.backend import COMPLETE, DESCRIPTION, ERROR, NOTICE, READY, ROW
from tests.session.transports import Hall, settle
from tests.support import wire
from tests.support.wire import Message, frame

pytestmark = pytest.mark.asyncio

OURS = wire.query("SELECT PREDICT(m)")
FAILED = frame("Z", b"E")
ANSWERS = frame("1") + frame("2") + ROW + COMPLETE + frame("3") + frame("3")
"""What the upstream says to a private query."""


def messages_of(data: bytes) -> list[Message]:
    """Cut whole messages; there must be nothing else."""
    found, position = [], 0
    while position < len(data):
        end = position + 1 + int.from_bytes(data[position + 1 : position + 5], "big")
        assert end <= len(data)
        found.append(Message(chr(data[position]), data[position + 5 : end]))
        position = end
    return found


def only_error(data: bytes) -> dict[str, str]:
    (message,) = messages_of(data)
    assert message.code == "E"
    return message.error_fields


class TestRelay:
    async def test_both_ways(self) -> None:
        """What concerns nobody goes through as it is, both ways."""
        hall = Hall()
        sent = wire.query("SELECT 1") + wire.extended("SELECT 2")
        hall.client.receive(sent[:20])
        hall.client.receive(sent[20:])
        assert hall.upstream.take() == sent
        hall.upstream.receive(DESCRIPTION + ROW + COMPLETE + READY)
        assert hall.client.take() == DESCRIPTION + ROW + COMPLETE + READY
        assert hall.handed == []

    async def test_a_statement_of_ours(self) -> None:
        """It is handed over with what stood before it sent, and what stands behind it goes on."""
        hall = Hall()
        hall.client.receive(wire.query("SELECT 1") + OURS + wire.query("SELECT 2"))
        assert hall.handed == [(t.QUERY, b"SELECT PREDICT(m)\0")]
        assert hall.upstream.take() == wire.query("SELECT 1") + wire.query("SELECT 2")

    async def test_replication_is_not_looked_into(self) -> None:
        """A replication session's bytes pass unread."""
        hall = Hall(is_replication=True)
        hall.client.receive(OURS)
        assert hall.upstream.take() == OURS
        assert hall.handed == []

    async def test_inspection_on_demand(self) -> None:
        """While something of ours is prepared, every extended message is handed over."""
        hall = Hall()
        hall.session.inspect_extended(wanted=True)
        hall.client.receive(wire.bind() + wire.execute() + wire.sync())
        assert [kind for kind, _ in hall.handed] == [t.BIND, t.EXECUTE]
        assert hall.upstream.take() == wire.sync()
        hall.session.inspect_extended(wanted=False)
        hall.client.receive(wire.bind())
        assert hall.upstream.take() == wire.bind()

    async def test_what_the_upstream_reports(self) -> None:
        """client_encoding and standard_conforming_strings are those that the upstream reports."""
        hall = Hall(parameters={"client_encoding": "LATIN1", "standard_conforming_strings": "off"})
        session = hall.session
        assert (session.codec, session.standard_conforming_strings) == ("latin-1", False)
        reports = frame("S", b"client_encoding\0SJIS\0")
        reports += frame("S", b"standard_conforming_strings\0on\0") + frame("S", b"x\0y\0")
        hall.upstream.receive(reports)
        assert (session.codec, session.standard_conforming_strings) == ("cp932", True)
        assert hall.client.take() == reports

    async def test_a_statement_that_is_too_long(self) -> None:
        """A statement of ours beyond the limit ends the session with 54000, unsent."""
        hall = Hall(inspection_limit=100)
        hall.client.receive(wire.query("CREATE MODEL m AS SELECT " + "1," * 1000))
        assert only_error(hall.client.take())["C"] == "54000"
        assert hall.upstream.take() == wire.terminate()


class TestWork:
    async def test_later_messages_wait(self) -> None:
        """While a statement is worked on nothing behind it goes up; then all does, in order."""
        done = asyncio.Event()

        async def work(session: Hall) -> None:
            await done.wait()
            session.session.send(wire.query("ours"), t.QUERY)

        hall = Hall(lambda kind, body: work(hall))
        hall.client.receive(OURS + wire.query("SELECT 1"))
        hall.client.receive(wire.query("SELECT 2")[:6])
        hall.client.receive(wire.query("SELECT 2")[6:])
        await settle()
        assert hall.upstream.take() == b""
        assert hall.session.is_busy
        done.set()
        await settle()
        expected = wire.query("ours") + wire.query("SELECT 1") + wire.query("SELECT 2")
        assert hall.upstream.take() == expected

    async def test_a_statement_that_is_not_waited_for(self) -> None:
        """What its handler sends goes up between what stood before it and what stands behind."""

        def handle(kind: int, body: bytes) -> None:
            hall.session.send(wire.query("ours"), t.QUERY)

        hall = Hall(handle)
        hall.client.receive(wire.query("1") + OURS + wire.query("2") + OURS + wire.query("3"))
        expected = b"".join(map(wire.query, ("1", "ours", "2", "ours", "3")))
        assert hall.upstream.take() == expected
        assert list(hall.session.replies.queue) == [t.QUERY] * 5

    async def test_two_statements_of_ours(self) -> None:
        """The second is begun when the first is done."""
        log: list[str] = []

        async def work() -> None:
            log.append("begun")
            await asyncio.sleep(0)
            log.append("done")

        hall = Hall(lambda kind, body: work())
        hall.client.receive(OURS * 3)
        await settle()
        await settle()
        assert log == ["begun", "done"] * 3

    async def test_a_client_that_sends_much(self) -> None:
        """Beyond a megabyte it must wait; it is read from again when the statement is done."""
        done = asyncio.Event()

        async def work() -> None:
            await done.wait()

        hall = Hall(lambda kind, body: work())
        hall.client.receive(OURS)
        chunk = wire.copy_data(b"x" * 1000) * 100
        for _ in range(10):
            hall.client.receive(chunk)
        assert not hall.client.is_paused
        hall.client.receive(chunk)
        assert hall.client.is_paused
        done.set()
        await settle()
        assert not hall.client.is_paused
        assert hall.upstream.take() == chunk * 11

    async def test_a_fault_of_ours(self) -> None:
        """An error nobody foresaw ends this session, with XX000 and without its words."""

        async def work() -> None:
            raise ValueError("secret")

        hall = Hall(lambda kind, body: work())
        hall.client.receive(OURS + wire.query("SELECT 1"))
        await settle()
        fields = only_error(hall.client.take())
        assert (fields["S"], fields["C"]) == ("FATAL", "XX000")
        assert "secret" not in fields["M"]
        assert hall.upstream.take() == wire.terminate()
        assert hall.ended == 1

    async def test_an_error_that_nobody_answered(self) -> None:
        """A ProxyError that leaves a handler ends the session with its words."""

        async def work() -> None:
            raise ProxyError("no way", sqlstate="53300")

        hall = Hall(lambda kind, body: work())
        hall.client.receive(OURS)
        await settle()
        assert only_error(hall.client.take())["C"] == "53300"
        assert hall.ended == 1

    async def test_already_answered(self) -> None:
        """A statement whose error the client has leaves the session as it is."""

        async def work() -> None:
            raise AlreadyAnswered

        hall = Hall(lambda kind, body: work())
        hall.client.receive(OURS + wire.query("SELECT 1"))
        await settle()
        assert hall.ended == 0
        assert hall.upstream.take() == wire.query("SELECT 1")


class TestQuestions:
    async def test_ask(self) -> None:
        """A question goes up with a Flush; its answer comes to the asker, not to the client."""
        hall = Hall()
        hall.client.receive(wire.query("SELECT 1"))
        messages = private_query(b"SELECT 7")
        asking = asyncio.ensure_future(hall.session.ask(messages))
        await settle()
        assert hall.upstream.take() == wire.query("SELECT 1") + b"".join(messages) + wire.flush()
        hall.upstream.receive(COMPLETE + READY + ANSWERS[:-3])
        await settle()
        assert not asking.done()
        hall.upstream.receive(ANSWERS[-3:])
        question = await asking
        assert question.bodies(t.DATA_ROW) == [ROW[5:]]
        assert hall.client.take() == COMPLETE + READY

    async def test_an_error(self) -> None:
        """The client gets the upstream's error, with the position in its own text."""
        hall = Hall()
        messages = [wire.parse("SELECT wrong"), describe(PORTAL, b"")]
        asking = asyncio.ensure_future(
            hall.session.ask(messages, position_map=lambda position: position + 30)
        )
        await settle()
        hall.upstream.receive(frame("E", b"SERROR\0C42703\0Mno\0P8\0\0"))
        with pytest.raises(AlreadyAnswered):
            await asking
        assert only_error(hall.client.take())["P"] == "38"
        assert hall.session.replies.skipping

    async def test_while_the_backend_skips(self) -> None:
        """A question that the backend discards is known to be at once."""
        hall = Hall()
        hall.client.receive(wire.parse("SELECT 1"))
        hall.upstream.receive(ERROR)
        with pytest.raises(AlreadyAnswered):
            await hall.session.ask(private_query(b"SELECT 7"))

    async def test_rows_for_somebody_else(self) -> None:
        """The rows of a question go to the Reply that was named; its answers count all the same."""

        class Rows(Reply):
            taken = b""

            def on_rows(self, data: bytes, start: int, stop: int) -> tuple[int, bytes]:
                end, rows = super().on_rows(data, start, stop)
                Rows.taken += rows
                return end, b""

        hall = Hall()
        asking = asyncio.ensure_future(
            hall.session.ask(private_query(b"COPY t TO STDOUT"), rows=Rows(t.EXECUTE))
        )
        await settle()
        copied = wire.copy_data("a\n") + wire.copy_data("b\n")
        hall.upstream.receive(frame("1") + frame("2") + frame("H", b"\0\0\0") + copied[:9])
        hall.upstream.receive(copied[9:] + frame("c") + COMPLETE + frame("3") * 2)
        question = await asking
        assert Rows.taken == copied
        assert bytes(kind for kind, _ in question.messages) == b"12C33"
        assert hall.client.take() == b""

    async def test_the_end_while_asking(self) -> None:
        """Who asks when the session ends is told that there is no answer."""
        hall = Hall()
        asking = asyncio.ensure_future(hall.session.ask(private_query(b"SELECT 7")))
        await settle()
        hall.client.lose()
        with pytest.raises(AlreadyAnswered):
            await asking


class TestErrors:
    async def test_fail(self) -> None:
        """The upstream fails by itself, on a text no parser takes; the client reads our words."""

        def handle(kind: int, body: bytes) -> None:
            hall.session.fail(InvalidParameterError("wrong\nvalue; SELECT 1", position=3))
            hall.session.sync()

        hall = Hall(handle)
        hall.client.receive(OURS)
        parse, sync = messages_of(hall.upstream.take())
        assert (parse.code, sync.code) == ("P", "S")
        name, text = parse.body.split(b"\0")[:2]
        assert name == b"pgseer.error"
        assert text == b"-- pgseer 22023: wrong value; SELECT 1\nfailed"
        hall.upstream.receive(frame("E", b"SERROR\0C42601\0Msyntax error\0\0") + READY)
        error, ready = messages_of(hall.client.take())
        assert ready == Message("Z", b"I")
        assert error.error_fields["C"] == "22023"
        assert error.error_fields["M"] == "wrong\nvalue; SELECT 1"
        assert error.error_fields["P"] == "3"

    @pytest.mark.parametrize(
        ("error", "sqlstate"),
        [(InvalidParameterError("x"), "25P02"), (ModelSyntaxError("x"), "42601")],
    )
    async def test_in_a_failed_transaction(self, error: ProxyError, sqlstate: str) -> None:
        """As PostgreSQL: only a syntax error is told, all else is that the transaction failed."""
        hall = Hall()
        hall.upstream.receive(FAILED)
        hall.client.take()
        hall.session.fail(error)
        hall.upstream.receive(ERROR)
        assert only_error(hall.client.take())["C"] == sqlstate

    async def test_notice(self) -> None:
        """A notice is in the client's encoding."""
        hall = Hall(parameters={"client_encoding": "LATIN1"})
        hall.session.notice("déjà", severity="WARNING", hint="là")
        (message,) = messages_of(hall.client.take())
        assert b"M" + "déjà".encode("latin-1") in message.body


class TestTransactions:
    async def test_models_are_committed(self) -> None:
        """Models changed in a transaction are told of when it has ended, once."""
        hall, told = Hall(), list[str]()
        session = hall.session
        session.on_models_committed = lambda: told.append("committed")
        session.on_transaction_end = lambda: told.append("end")
        session.models_changed = True
        hall.upstream.receive(frame("Z", b"T"))
        hall.upstream.receive(FAILED)
        assert told == []
        assert session.models_changed
        hall.upstream.receive(READY)
        assert told == ["end", "committed"]
        assert not session.models_changed
        hall.upstream.receive(READY)
        assert told == ["end", "committed", "end"]


class TestEnd:
    async def test_the_client_goes(self) -> None:
        """The upstream is told by a Terminate and closed; the session ends once."""
        hall = Hall()
        hall.client.lose()
        await settle()
        assert hall.upstream.take() == wire.terminate()
        assert hall.upstream.is_closed
        assert hall.ended == 1

    async def test_the_upstream_goes(self) -> None:
        """A loss without a word is told as 08006."""
        hall = Hall()
        hall.upstream.lose()
        fields = only_error(hall.client.take())
        assert (fields["S"], fields["C"]) == ("FATAL", "08006")
        assert hall.client.is_closed
        assert hall.ended == 1

    @pytest.mark.parametrize("cut", range(1, len(ROW)))
    async def test_the_upstream_goes_within_a_row(self, cut: int) -> None:
        """Nothing is put into the middle of a message: the connection just ends."""
        hall = Hall()
        hall.client.receive(wire.query("SELECT 1"))
        hall.upstream.receive(ROW + ROW[:cut])
        hall.upstream.lose()
        seen = hall.client.take()
        if cut < 5:  # nothing of the second row was sent: there is room for the error
            assert [message.code for message in messages_of(seen)] == ["D", "E"]
        else:
            assert seen == ROW + ROW[:cut]
        assert hall.client.is_closed

    async def test_the_upstream_said_why(self) -> None:
        """A FATAL error of the upstream's is the last word."""
        hall = Hall()
        hall.upstream.receive(ERROR)
        hall.upstream.lose()
        assert hall.client.take() == ERROR

    @pytest.mark.parametrize("last", [wire.terminate(), b"Q\0\0\0\3", b"Q\xff\xff\xff\xff"])
    async def test_the_client_made_it_close(self, last: bytes) -> None:
        """Where the client said goodbye, or what no server bears, there is nothing to explain."""
        hall = Hall()
        hall.client.receive(last)
        hall.upstream.lose()
        assert hall.client.take() == b""
        assert hall.ended == 1

    async def test_a_broken_upstream(self) -> None:
        """What came before reaches the client, then a FATAL 08P01 between messages (S9)."""
        hall = Hall()
        hall.upstream.receive(ROW[:7])
        hall.upstream.receive(ROW[7:] + NOTICE + b"!\0\0\0\4")
        row, notice, error = messages_of(hall.client.take())
        assert (row.code, notice.code) == ("D", "N")
        assert (error.error_fields["S"], error.error_fields["C"]) == ("FATAL", "08P01")
        assert hall.ended == 1

    async def test_a_reply_that_cannot_read_its_answer(self) -> None:
        """A description that is none, where ours is expected, is a broken upstream's too."""

        class Reader(SilentReply):
            def on_message(self, kind: int, body: bytes) -> bytes | None:
                raise ProxyError("cannot be read", sqlstate="08P01")

        hall = Hall()
        hall.session.send(wire.describe_portal(), Reader(t.DESCRIBE))
        hall.upstream.receive(NOTICE + DESCRIPTION)
        notice, error = messages_of(hall.client.take())
        assert notice.code == "N"
        assert error.error_fields["C"] == "08P01"
        assert hall.ended == 1

    async def test_work_is_cancelled(self) -> None:
        """What the session works on stops when the client goes."""
        stopped = asyncio.Event()

        async def work() -> None:
            try:
                await asyncio.sleep(3600)
            finally:
                stopped.set()

        hall = Hall(lambda kind, body: work())
        hall.client.receive(OURS)
        await settle()
        hall.client.lose()
        await settle()
        assert stopped.is_set()

    async def test_leave_when_idle(self) -> None:
        """A session without a statement leaves at once, with 57P01."""
        hall = Hall()
        hall.session.leave()
        assert only_error(hall.client.take())["C"] == "57P01"
        assert hall.ended == 1

    async def test_leave_after_the_answer(self) -> None:
        """A running statement is answered before the session leaves."""
        hall = Hall()
        hall.client.receive(wire.query("SELECT 1"))
        hall.session.leave()
        hall.upstream.receive(ROW + COMPLETE)
        assert hall.ended == 0
        hall.upstream.receive(READY)
        *answer, error = messages_of(hall.client.take())
        assert wire.codes(answer) == "DCZ"
        assert error.error_fields["C"] == "57P01"

    async def test_leave_after_the_work(self) -> None:
        """So is a statement of the proxy's own."""
        done = asyncio.Event()

        async def work() -> None:
            await done.wait()

        def handle(kind: int, body: bytes) -> Awaitable[None]:
            return work()

        hall = Hall(handle)
        hall.client.receive(OURS)
        hall.session.leave()
        await settle()
        assert hall.ended == 0
        done.set()
        await settle()
        assert hall.ended == 1

    async def test_end_now(self) -> None:
        """When the proxy has waited long enough the statement is not waited for."""
        hall = Hall()
        hall.client.receive(wire.query("SELECT 1"))
        hall.session.end_now()
        assert only_error(hall.client.take())["C"] == "57P01"
        assert hall.ended == 1
        hall.session.end_now()
        await settle()
        assert hall.ended == 1

    async def test_a_stray_end_of_copy_is_no_work(self) -> None:
        """A CopyDone that no COPY wanted keeps no session from leaving."""
        hall = Hall()
        hall.client.receive(wire.query("COPY missing FROM STDIN") + wire.copy_done())
        hall.upstream.receive(ERROR + READY)
        assert not hall.session.is_busy

    async def test_cancel(self) -> None:
        """A CancelRequest reaches what the proxy itself does, if it does something."""
        hall, told = Hall(), list[str]()
        hall.session.cancel()
        hall.session.on_cancel = lambda: told.append("stop")
        hall.session.cancel()
        assert told == ["stop"]
