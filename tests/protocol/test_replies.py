"""The queue of awaited answers against a slow model of the backend, and the Replies in it.

Property: whatever is sent, whatever fails and however the bytes are cut, each Reply gets exactly
the messages that answer its own, or learns once that there will be none; after the last answer the
queue is empty and `skipping` is the backend's `ignore_till_sync`.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.errors import RemoteProtocolError
from proxy.protocol import message_types as t
from proxy.protocol.replies import ANSWERS_TO, Reply, ReplyQueue, SilentReply, kind_of
from proxy.protocol.streams import UpstreamStream
from proxy.session.frames import run_end
from tests.protocol.backend import (
    ASYNCHRONOUS,
    COMPLETE,
    DESCRIPTION,
    ERROR,
    NOTICE,
    READY,
    ROW,
    Answer,
    Backend,
    Fate,
    Sent,
)
from tests.support.wire import frame

ANSWERED = frozenset("QPBDECSF")


class Recorder(Reply):
    """Lets everything through and keeps it."""

    __slots__ = ("messages", "skips")

    def __init__(self, kind: int) -> None:
        super().__init__(kind)
        self.messages: list[bytes] = []
        self.skips = 0

    def on_message(self, kind: int, body: bytes) -> bytes | None:
        self.messages.append(frame(chr(kind), body))
        return None

    def on_rows(self, data: bytes, start: int, stop: int) -> tuple[int, bytes]:
        end, rows = super().on_rows(data, start, stop)
        if rows:
            self.messages.append(rows)
        return end, rows

    def on_skipped(self) -> None:
        self.skips += 1


class Line:
    """The proxy's half of a session: a queue and its stream, before the model backend.

    Attributes
    ----------
    to_client : all bytes that went to the client
    recorders : number of a frontend message to the Reply that stood for it
    """

    def __init__(self) -> None:
        self.queue = ReplyQueue()
        self.stream = UpstreamStream(self.queue, lambda _: None, lambda _: None, run_end)
        self.backend = Backend()
        self.to_client = b""
        self.recorders: dict[int, Recorder] = {}
        self._delivered = 0
        self._waiting = b""
        self._count = 0

    def send(self, message: Sent, *, recorded: bool) -> None:
        """Send one frontend message; the backend works on it at once, its answer waits."""
        kind = ord(message.code)
        if recorded and message.code in ANSWERED - {"S"}:
            self.recorders[self._count] = Recorder(kind)
            self.queue.expect(self.recorders[self._count])
        else:
            self.queue.sent(kind)
        self._count += 1
        self.backend.feed(message)

    def deliver(self, size: int | None = None) -> None:
        """Let the proxy read some of what the backend has sent; None is all of it."""
        answers = self.backend.answers
        self._waiting += b"".join(answer.message for answer in answers[self._delivered :])
        self._delivered = len(answers)
        size = len(self._waiting) if size is None else size
        piece, self._waiting = self._waiting[:size], self._waiting[size:]
        if piece:
            self.to_client += self.stream.receive(piece)
            assert self.stream.violation is None

    def check(self) -> None:
        """Everything is delivered: compare with the backend."""
        answers = self.backend.answers
        assert self.to_client == b"".join(answer.message for answer in answers)
        assert list(self.queue.queue) == []
        assert self.queue.is_empty
        assert self.queue.skipping == self.backend.ignore_till_sync
        for number, recorder in self.recorders.items():
            assert recorder.messages == expected(answers, number)
            assert recorder.skips == self.backend.skipped.count(number)
            assert bool(recorder.messages) != bool(recorder.skips)


def expected(answers: list[Answer], number: int) -> list[bytes]:
    """Return what answers one message, without what nobody asked for."""
    return [
        answer.message
        for answer in answers
        if answer.owner == number and answer.message not in ASYNCHRONOUS
    ]


# --- conversations --------------------------------------------------------------------------------

noise = st.lists(st.sampled_from(ASYNCHRONOUS), max_size=2).map(tuple)
few = st.integers(0, 3)
rarely = st.sampled_from((False, False, False, True))
simple_works = st.lists(
    st.sampled_from(("rows", "rows", "copy out", "fail", "fail late")), max_size=3
).map(tuple)
one_work = st.sampled_from(("rows", "rows", "empty", "suspended", "copy out", "fail", "fail late"))


@st.composite
def copy_data(draw: st.DrawFn, *, with_syncs: bool) -> tuple[int | None, list[Sent]]:
    """Draw what a client sends for a COPY FROM STDIN, and after how much of it that fails.

    A Flush or Sync may stand before the data, as clients send them that do not look at what they
    execute. One behind the first data is left out: whether the backend reads it before or after
    an error nobody but the backend can tell.
    """
    n_data = draw(few)
    breaks_after = draw(st.none() | st.integers(1, n_data)) if n_data else None
    before = draw(st.lists(st.sampled_from("HS"), max_size=2)) if with_syncs else []
    end = draw(st.sampled_from("ccf"))
    return breaks_after, [Sent(code) for code in [*before, *"d" * n_data, end]]


@st.composite
def simple_query(draw: st.DrawFn) -> list[Sent]:
    fate = Fate(draw(simple_works), draw(few), noise=draw(noise))
    if not draw(rarely):
        return [Sent("Q", fate)]
    breaks_after, data = draw(copy_data(with_syncs=draw(st.booleans())))
    return [Sent("Q", replace(fate, works=("copy in",), breaks_after=breaks_after)), *data]


@st.composite
def extended_message(draw: st.DrawFn) -> list[Sent]:
    code = draw(st.sampled_from("PBDECEH"))
    fate = Fate((draw(one_work),), draw(few), fails=draw(rarely), noise=draw(noise))
    if code != "E" or not draw(rarely):
        return [Sent(code, fate)]
    breaks_after, data = draw(copy_data(with_syncs=draw(st.booleans())))
    return [Sent("E", replace(fate, works=("copy in",), breaks_after=breaks_after)), *data]


@st.composite
def sync(draw: st.DrawFn) -> list[Sent]:
    return [Sent("S", Fate(fails=draw(rarely), noise=draw(noise)))]


@st.composite
def function_call(draw: st.DrawFn) -> list[Sent]:
    return [Sent("F", Fate(fails=draw(rarely), noise=draw(noise)))]


conversations = st.lists(
    extended_message() | extended_message() | sync() | simple_query() | function_call(),
    max_size=14,
).map(lambda steps: [message for step in steps for message in step])


@settings(max_examples=400, deadline=None)
@given(conversations, st.data())
def test_the_queue_follows_the_backend(conversation: list[Sent], data: st.DataObject) -> None:
    """Whatever fails, each Reply gets its own answer or learns that there is none."""
    line = Line()
    for message in conversation:
        line.send(message, recorded=data.draw(st.booleans()))
        if data.draw(st.booleans()):
            line.deliver(data.draw(st.none() | st.integers(1, 60)))
    line.deliver()
    line.check()


@settings(max_examples=200, deadline=None)
@given(conversations, st.data())
def test_a_client_that_waits(conversation: list[Sent], data: st.DataObject) -> None:
    """A client that reads every answer before it goes on finds the queue empty each time."""
    line = Line()
    for message in conversation:
        line.send(message, recorded=data.draw(st.booleans()))
        line.deliver()
        if line.backend.answers and line.backend.answers[-1].message == READY:
            assert line.queue.is_empty
            assert not line.queue.has_open_batch
    line.check()


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        extended_message()
        | simple_query()
        | sync()
        | st.sampled_from("dcf").map(lambda code: [Sent(code)]),
        max_size=12,
    ),
    st.data(),
)
def test_copy_data_that_nobody_asked_for(steps: list[list[Sent]], data: st.DataObject) -> None:
    """CopyData, CopyDone and CopyFail outside a COPY change nothing: the backend ignores them."""
    line = Line()
    for message in [message for step in steps for message in step]:
        line.send(message, recorded=data.draw(st.booleans()))
        if data.draw(st.booleans()):
            line.deliver(data.draw(st.none() | st.integers(1, 60)))
    line.deliver()
    line.check()


# --- the same rules, one by one -------------------------------------------------------------------


def played(*messages: Sent) -> Line:
    """Send all, then deliver all."""
    line = Line()
    for message in messages:
        line.send(message, recorded=True)
    line.deliver()
    line.check()
    return line


def sent(codes: str) -> list[Sent]:
    return [Sent(code) for code in codes]


FAILS = Fate(("fail",), fails=True)
COPIES = Fate(("copy in",))


def test_an_error_skips_to_sync() -> None:
    """What stands between a failed message and the Sync is discarded, a Query too."""
    line = played(*sent("P"), Sent("B", FAILS), *sent("DEQFS"), *sent("PBES"))
    assert [recorder.skips for recorder in line.recorders.values()] == [0, 0, 1, 1, 1, 1, 0, 0, 0]


def test_an_error_in_a_simple_query_skips_nothing() -> None:
    """The next Query of a pipeline is carried out."""
    line = played(Sent("Q", FAILS), *sent("Q"))
    assert [recorder.messages for recorder in line.recorders.values()] == [
        [ERROR, READY],
        [DESCRIPTION, ROW, COMPLETE, READY],
    ]


def test_skipping_outlasts_the_answer() -> None:
    """Messages sent after the error has been seen are discarded too, until a Sync is sent."""
    line = played(Sent("P", FAILS))
    assert line.queue.skipping
    late = Recorder(t.EXECUTE)
    line.queue.expect(late)
    assert late.skips == 1
    assert line.queue.is_empty
    line.queue.sent(t.SYNC)
    assert not line.queue.skipping
    assert list(line.queue.queue) == [t.SYNC]


def test_a_failing_sync_still_sends_ready() -> None:
    """A deferred constraint fails at Sync: its error and Z answer that one Sync."""
    played(*sent("PBE"), Sent("S", FAILS), *sent("PBES"))


def test_sync_directly_behind_a_copy_is_eaten() -> None:
    """A Sync that the backend meets within COPY FROM STDIN has no answer; the one behind has."""
    for pipelined in (True, False):
        line = Line()
        for message in (*sent("PB"), Sent("E", COPIES), *sent("SdcS")):
            line.send(message, recorded=False)
            if not pipelined:
                line.deliver()
        line.deliver()
        line.check()
        assert Counter(answer.message[:1] for answer in line.backend.answers)[b"Z"] == 1


def test_two_copies_in_one_query() -> None:
    """Each CopyInResponse takes the CopyDone that was sent ahead for it."""
    played(Sent("Q", Fate(("copy in", "rows", "copy in"))), *sent("dcddc"), *sent("Q"))


def test_a_copy_that_fails_at_its_end() -> None:
    """CopyFail of an extended COPY is an error like any other: up to Sync all is discarded."""
    line = played(Sent("E", COPIES), *sent("dfPS"))
    assert line.recorders[3].skips == 1


def test_copy_both() -> None:
    """Replication: the stream ends when the client's CopyDone has been answered."""
    line = Line()
    line.send(Sent("Q", Fate(("copy both",))), recorded=False)
    line.deliver()
    for message in sent("ddc"):
        line.send(message, recorded=False)
    line.deliver()
    line.check()


def test_ready_ends_the_skipping() -> None:
    """A COPY that broke before a Sync that was taken for one within it: Z says that it was none."""
    line = Line()
    line.send(Sent("E", Fate(("copy in",), breaks_after=1)), recorded=False)
    line.deliver()
    for message in sent("dS"):
        line.send(message, recorded=False)
    line.deliver()
    line.check()


def test_open_batch() -> None:
    """A batch is open from its first unanswered message to its Sync."""
    queue = ReplyQueue()
    assert not queue.has_open_batch
    for kind in (t.QUERY, t.PARSE, t.BIND):
        queue.sent(kind)
        assert queue.has_open_batch == (kind != t.QUERY)
    queue.expect(Recorder(t.EXECUTE))
    assert queue.has_open_batch
    queue.sent(t.SYNC)
    assert not queue.has_open_batch


def test_a_fatal_error_without_a_question() -> None:
    """An error that answers nothing (a termination) leaves the queue as it is."""
    queue = ReplyQueue()
    queue.received(t.ERROR_RESPONSE)
    assert queue.is_empty
    assert not queue.skipping


@pytest.mark.parametrize("kind", [t.FLUSH, t.COPY_DATA, t.TERMINATE, t.PASSWORD_MESSAGE, 0, 255])
def test_messages_that_are_never_answered(kind: int) -> None:
    """Flush, CopyData, Terminate and whatever else has no answer stand in no queue."""
    queue = ReplyQueue()
    queue.sent(kind)
    assert queue.is_empty


def test_answers() -> None:
    """Every answer of the table ends a message of the extended protocol, once."""
    for answer, question in ANSWERS_TO.items():
        queue = ReplyQueue()
        queue.sent(question)
        queue.sent(t.SYNC)
        queue.received(answer)
        assert list(queue.queue) == [t.SYNC]
        queue.received(answer)
        assert list(queue.queue) == [t.SYNC]


def test_abandon() -> None:
    """The end of a session tells every waiting Reply once."""
    queue = ReplyQueue()
    recorders = [Recorder(kind) for kind in b"PBE"]
    for recorder in recorders:
        queue.expect(recorder)
        queue.sent(t.QUERY)
    queue.abandon()
    queue.abandon()
    assert [recorder.skips for recorder in recorders] == [1, 1, 1]
    assert queue.is_empty


# --- what a Reply does to the bytes ---------------------------------------------------------------


class Rewriter(Reply):
    """Doubles rows, replaces CommandComplete, hides notices of its own kind."""

    __slots__ = ("batches",)

    def __init__(self) -> None:
        super().__init__(t.EXECUTE)
        self.batches: list[int] = []

    def on_message(self, kind: int, body: bytes) -> bytes | None:
        if kind == t.COMMAND_COMPLETE:
            return frame("C", b"SCORED\0")
        return b"" if kind == t.COPY_OUT_RESPONSE else None

    def on_rows(self, data: bytes, start: int, stop: int) -> tuple[int, bytes]:
        self.batches.append(stop - start)
        end, row = super().on_rows(data, start, stop)
        return end, row + row


def stream_of(*replies: Reply | int) -> UpstreamStream:
    queue = ReplyQueue()
    for reply in replies:
        if isinstance(reply, Reply):
            queue.expect(reply)
        else:
            queue.sent(reply)
    return UpstreamStream(queue, lambda _: None, lambda _: None, run_end)


def row_of(size: int) -> bytes:
    value = bytes(range(256)) * (size // 256 + 1)
    return frame("D", b"\0\1" + size.to_bytes(4, "big") + value[:size])


REWRITTEN_ROWS = [row_of(size) for size in (0, 1, 5, 300, 0, 17)]


@settings(deadline=None)
@given(st.data())
def test_rewriting_however_the_bytes_are_cut(data: st.DataObject) -> None:
    """Rows, replaced and hidden messages come out alike, and what surrounds them is untouched."""
    upstream = b"".join(
        (
            frame("1"),
            frame("H", b"\0\0\0"),
            *REWRITTEN_ROWS[:3],
            NOTICE,
            *REWRITTEN_ROWS[3:],
            COMPLETE,
            COMPLETE,
            READY,
        )
    )
    wanted = b"".join(
        (
            frame("1"),
            *[row * 2 for row in REWRITTEN_ROWS[:3]],
            NOTICE,
            *[row * 2 for row in REWRITTEN_ROWS[3:]],
            frame("C", b"SCORED\0"),
            COMPLETE,
            READY,
        )
    )
    stream = stream_of(t.PARSE, Rewriter(), t.EXECUTE, t.SYNC)
    got, rest = b"", upstream
    while rest:
        size = data.draw(st.integers(1, 40) | st.integers(1, len(upstream)))
        got += stream.receive(rest[:size])
        rest = rest[size:]
    assert got == wanted


def test_a_long_row_is_asked_for_once() -> None:
    """A row of megabytes in many chunks is kept until it is whole: no piece is looked at twice.

    The bytes that `on_rows` is shown are a bound on what is copied; shown at every chunk they
    would be half a gigabyte here.
    """
    reply = Rewriter()
    stream = stream_of(reply, t.SYNC)
    row = row_of(4 << 20)
    upstream = row + ROW + COMPLETE + READY
    got = [
        stream.receive(upstream[start : start + 8192]) for start in range(0, len(upstream), 8192)
    ]
    assert b"".join(got) == row * 2 + ROW * 2 + frame("C", b"SCORED\0") + READY
    assert sum(reply.batches) <= 3 * len(upstream)
    assert len(reply.batches) <= 6


def test_silence() -> None:
    """The answer to a message of the proxy's own is kept from the client, but for its errors."""
    stream = stream_of(SilentReply(t.EXECUTE), SilentReply(t.PARSE), t.SYNC)
    assert stream.receive(NOTICE + COMPLETE + ERROR + READY) == NOTICE + ERROR + READY


def test_silence_of_rows() -> None:
    """Rows of the proxy's own are kept from the client too."""
    stream = stream_of(SilentReply(t.EXECUTE), t.SYNC)
    assert stream.receive(ROW + ROW + COMPLETE + READY) == READY


@pytest.mark.parametrize("length", [0, 3, 2**31, 2**32 - 1])
def test_a_row_of_a_hostile_length(length: int) -> None:
    """A row that says it is shorter than its own length word, or endless, is 08P01."""
    for kind in b"Dd":
        stream = stream_of(Recorder(t.EXECUTE))
        assert stream.receive(bytes([kind]) + length.to_bytes(4, "big") + b"\0" * 20) == b""
        assert isinstance(stream.violation, RemoteProtocolError)


def test_kind_of() -> None:
    """An entry is the type byte itself, or has it."""
    assert kind_of(t.PARSE) == kind_of(Reply(t.PARSE)) == t.PARSE
