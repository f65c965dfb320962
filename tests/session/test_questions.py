"""Questions and errors of the proxy's own: what the client sees of them, and what the asker."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.errors import UnknownModelError
from proxy.protocol import message_types as t
from proxy.protocol.messages import encode_report, report_fields
from proxy.protocol.replies import Reply, ReplyQueue
from proxy.protocol.streams import UpstreamStream
from proxy.session.frames import run_end
from proxy.session.questions import (
    AlreadyAnswered,
    AnswerReply,
    FailureReply,
    MappedReply,
    PositionMap,
    Question,
    SilentMappedReply,
    private_name,
    private_query,
    with_mapped_position,
    without_context,
)
from tests.protocol.backend import COMPLETE, DESCRIPTION, NOTICE, READY, ROW
from tests.support import wire
from tests.support.wire import frame

asking = pytest.mark.asyncio


def error_with(**fields: str) -> bytes:
    """Return the body of an ErrorResponse."""
    pairs = {"S": "ERROR", "C": "42703", "M": "no such column", **fields}
    return b"".join(code.encode() + wire.text(value) for code, value in pairs.items()) + b"\0"


def fields_of(body: bytes) -> dict[str, str]:
    return wire.Message("E", body).error_fields


class TestPositions:
    def test_position(self) -> None:
        """The position is that of the client's text; every other field is as it was."""
        body = error_with(P="17", p="3", W="PL/pgSQL function", D="P5")
        mapped = with_mapped_position(body, lambda position: position - 10)
        assert mapped is not None
        assert fields_of(mapped[5:]) == {**fields_of(body), "P": "7"}

    @pytest.mark.parametrize("position", ["", "x", "-1", "9" * 5000, "1 "])
    def test_a_position_that_is_none(self, position: str) -> None:
        """What is no number, from a hostile upstream, is passed on as it is."""
        body = error_with(P=position)
        mapped = with_mapped_position(body, lambda _: 1)
        assert mapped == frame("E", body)

    def test_without_a_map(self) -> None:
        """Nothing to map: the bytes need not be touched."""
        assert with_mapped_position(error_with(P="17"), None) is None

    @settings(deadline=None)
    @given(st.binary(max_size=40), st.integers(1, 1000))
    def test_any_body(self, body: bytes, position: int) -> None:
        """Whatever an upstream sends as an error gives one well-formed ErrorResponse."""
        mapped = with_mapped_position(body, lambda _: position)
        assert mapped is not None
        assert mapped[0] == t.ERROR_RESPONSE
        assert int.from_bytes(mapped[1:5], "big") == len(mapped) - 1
        before, after = report_fields(body), report_fields(mapped[5:])
        assert [code for code, _ in before] == [code for code, _ in after]
        assert mapped == encode_report(t.ERROR_RESPONSE, after)

    def test_context(self) -> None:
        """Where in the proxy's own functions an error arose is nobody's business."""
        body = error_with(P="17", p="3", q="SELECT 1", W="PL/pgSQL function", H="do it")
        kept = fields_of(without_context(body)[5:])
        assert kept == fields_of(error_with(H="do it"))


class TestPrivateQuery:
    def test_messages(self) -> None:
        """A query under a name of its own, which it gives back."""
        messages = private_query(b"SELECT 1", binary=True)
        name = messages[0][5:].partition(b"\0")[0].decode()
        assert name.startswith("pgseer.")
        assert messages == [
            wire.parse("SELECT 1", name),
            wire.bind(portal=name, statement=name, results=[1]),
            wire.execute(name),
            wire.close_portal(name),
            wire.close_statement(name),
        ]

    def test_parameters(self) -> None:
        """Types and values are those that were given."""
        messages = private_query(
            b"SELECT $1",
            parameter_types=b"\0\1\0\0\0\x17",
            parameters=b"\0\0\0\1\0\0\0\1" + b"7",
        )
        name = messages[0][5:].partition(b"\0")[0].decode()
        assert messages[0] == wire.parse("SELECT $1", name, [23])
        assert messages[1] == wire.bind(["7"], portal=name, statement=name)

    def test_names(self) -> None:
        """No two names are the same, and none has what a client's identifier has not."""
        names = {private_name() for _ in range(100)}
        assert len(names) == 100
        assert all(name.startswith(b"pgseer.") for name in names)


def answered(*replies: Reply | int) -> Callable[[bytes], bytes]:
    """Return what a client sees of the upstream's bytes while these replies wait."""
    queue = ReplyQueue()
    for reply in replies:
        if isinstance(reply, Reply):
            queue.expect(reply)
        else:
            queue.sent(reply)
    return UpstreamStream(queue, lambda _: None, lambda _: None, run_end).receive


ERROR = frame("E", error_with(P="17"))
MOVED = frame("E", error_with(P="7"))


def ten_less(position: int) -> int:
    return position - 10


class TestQuestion:
    @asking
    async def test_answers(self) -> None:
        """Every message of every answer is kept from the client and told to the asker, in order."""
        question = Question()
        replies = [AnswerReply(kind, question, None) for kind in b"PBDEC"]
        upstream = [frame("1"), frame("2"), DESCRIPTION, ROW, ROW, COMPLETE, frame("3")]
        seen = answered(*replies)(b"".join([*upstream[:3], NOTICE, *upstream[3:]]))
        assert seen == NOTICE
        messages = await question.wait()
        assert [frame(chr(kind), body) for kind, body in messages] == upstream
        assert question.bodies(t.DATA_ROW) == [ROW[5:]] * 2

    @asking
    @pytest.mark.parametrize("size", [1, 7, 30])
    async def test_answers_in_pieces(self, size: int) -> None:
        """However the bytes are cut, the question is answered with the last one."""
        question = Question()
        receive = answered(*(AnswerReply(kind, question, None) for kind in b"PDE"))
        upstream = frame("1") + frame("t", b"\0\0") + DESCRIPTION + ROW * 3 + COMPLETE
        waiting = question.wait()
        for start in range(0, len(upstream), size):
            assert not question._future.done()
            assert receive(upstream[start : start + size]) == b""
        assert len(await waiting) == 7

    @asking
    async def test_a_description_within_a_query(self) -> None:
        """The RowDescription of rows to come ends no answer but a Describe's."""
        question = Question()
        receive = answered(AnswerReply(t.QUERY, question, None))
        receive(DESCRIPTION + ROW)
        assert not question._future.done()

    @asking
    @pytest.mark.parametrize(("position_map", "seen"), [(None, ERROR), (ten_less, MOVED)])
    async def test_an_error(self, position_map: PositionMap | None, seen: bytes) -> None:
        """The client has the error, in its own text's positions; the asker learns that it has."""
        question = Question()
        replies = [AnswerReply(kind, question, position_map) for kind in b"PBE"]
        assert answered(*replies)(frame("1") + ERROR + NOTICE) == seen + NOTICE
        with pytest.raises(AlreadyAnswered):
            await question.wait()

    @asking
    async def test_skipped(self) -> None:
        """A question behind a failed message of the client's is not answered either."""
        question = Question()
        receive = answered(t.PARSE, AnswerReply(t.BIND, question, None), t.SYNC)
        assert receive(ERROR + READY) == ERROR + READY
        with pytest.raises(AlreadyAnswered):
            await question.wait()

    @asking
    async def test_nobody_waits(self) -> None:
        """A question whose asker has gone fails without a word: its exception counts as seen."""
        question = Question()
        queue = ReplyQueue()
        queue.expect(AnswerReply(t.PARSE, question, None))
        queue.abandon()
        question.failed()
        question.answered()
        assert question._future.done()


class TestReplies:
    @pytest.mark.parametrize("position_map", [None, ten_less])
    def test_mapped(self, position_map: PositionMap | None) -> None:
        """All goes on; only an error's position changes."""
        receive = answered(MappedReply(t.EXECUTE, position_map), t.EXECUTE)
        assert receive(ROW + NOTICE + COMPLETE + ERROR) == ROW + NOTICE + COMPLETE + ERROR
        receive = answered(MappedReply(t.EXECUTE, position_map))
        assert receive(ROW + ERROR) == ROW + (MOVED if position_map else ERROR)

    @pytest.mark.parametrize("position_map", [None, ten_less])
    def test_silent(self, position_map: PositionMap | None) -> None:
        """Nothing goes on but errors."""
        assert answered(SilentMappedReply(t.PARSE, position_map))(frame("1") + NOTICE) == NOTICE
        seen = answered(SilentMappedReply(t.PARSE, position_map))(ERROR)
        assert seen == (MOVED if position_map else ERROR)

    @settings(deadline=None)
    @given(st.sampled_from(["utf-8", "cp932"]), st.text(max_size=20))
    def test_failure(self, encoding: str, words: str) -> None:
        """The upstream's error is put in our words; the skip to Sync is the upstream's own."""
        error = UnknownModelError(f"no model {words}", hint="train it", position=9)
        receive = answered(FailureReply(error, encoding), t.BIND, t.SYNC)
        seen = receive(ERROR + READY)
        fields = dict(report_fields(seen[5 : 1 + int.from_bytes(seen[1:5], "big")]))
        assert seen.endswith(READY)
        assert fields[ord("C")] == b"42704"
        assert fields[ord("P")] == b"9"
        spoken = words.replace("\0", "\N{REPLACEMENT CHARACTER}")
        assert fields[ord("M")] == f"no model {spoken}".encode(encoding, "replace")
