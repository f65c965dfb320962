"""Questions that the proxy asks the upstream in the client's own session, and errors of its own.

Owns the Replies for both. Everything goes through the one queue, in order: a question that fails is
the client's message failing, and the backend's own skip to Sync then holds for both.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable

from proxy.errors import ProxyError
from proxy.protocol import message_types as t
from proxy.protocol.messages import (
    NO_PARAMETER_TYPES,
    NO_PARAMETERS,
    PORTAL,
    STATEMENT,
    Bind,
    Execute,
    Parse,
    close,
    encode_report,
    error_response,
    report_fields,
)
from proxy.protocol.replies import Reply

_names = itertools.count()

PositionMap = Callable[[int], int]
"""1-based character offset in the text sent upstream to that in the client's text."""

FAILING_STATEMENT = b"pgseer.error"


def private_name() -> bytes:
    """Return a name for a statement or portal that no client uses."""
    return b"pgseer.%d" % next(_names)


def private_query(
    text: bytes,
    *,
    parameter_types: bytes = NO_PARAMETER_TYPES,
    parameters: bytes = NO_PARAMETERS,
    binary: bool = False,
) -> list[bytes]:
    """Return the messages that run one query under names of its own and leave nothing behind."""
    name = private_name()
    formats = (1,) if binary else ()
    return [
        Parse(name, text, parameter_types).encode(),
        Bind(name, name, parameters, formats).encode(),
        Execute(name).encode(),
        close(PORTAL, name),
        close(STATEMENT, name),
    ]


class AlreadyAnswered(Exception):  # noqa: N818 - control flow: the client has its ErrorResponse
    """The client's message was answered by an ErrorResponse, or is being skipped.

    Parameters
    ----------
    sqlstate : of the upstream's error, where there was one
    """

    def __init__(self, sqlstate: str | None = None) -> None:
        super().__init__(sqlstate)
        self.sqlstate = sqlstate


class Question:
    """One or more messages whose answers come back here, in one future."""

    __slots__ = ("_future", "_left", "messages")

    def __init__(self) -> None:
        self._future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._left = 0
        self.messages: list[tuple[int, bytes]] = []

    def add(self) -> None:
        """Expect one more answer."""
        self._left += 1

    def answered(self) -> None:
        """Note an answer; the last one resolves the question."""
        self._left -= 1
        if not self._left and not self._future.done():
            self._future.set_result(None)

    def failed(self, sqlstate: str | None = None) -> None:
        """Note that no answer will come."""
        if not self._future.done():
            self._future.set_exception(AlreadyAnswered(sqlstate))
            self._future.exception()  # it may have no reader left: the client is gone

    async def wait(self) -> list[tuple[int, bytes]]:
        """Return every message of every answer.

        Raises
        ------
        AlreadyAnswered
            The upstream refused; its error went to the client.
        """
        await self._future
        return self.messages

    def bodies(self, kind: int) -> list[bytes]:
        """Return the bodies of the messages of one type."""
        return [body for message_kind, body in self.messages if message_kind == kind]


class AnswerReply(Reply):
    """Keeps one message's answer for a Question; an error goes to the client."""

    __slots__ = ("_position_map", "_question")

    _ENDS = frozenset(b"123TnCIsZ")

    def __init__(self, kind: int, question: Question, position_map: PositionMap | None) -> None:
        super().__init__(kind)
        self._question = question
        self._position_map = position_map
        question.add()

    def on_message(self, kind: int, body: bytes) -> bytes | None:
        """Keep a message from the client; the one that ends the answer counts for the question."""
        if kind == t.ERROR_RESPONSE:
            self._question.failed(_sqlstate(body))
            return with_mapped_position(body, self._position_map)
        self._question.messages.append((kind, body))
        if kind in self._ENDS and not (kind == t.ROW_DESCRIPTION and self.kind != t.DESCRIBE):
            self._question.answered()
        return b""

    def on_rows(self, data: bytes, start: int, stop: int) -> tuple[int, bytes]:
        """Keep one row from the client."""
        end, row = super().on_rows(data, start, stop)
        if row:
            self._question.messages.append((row[0], row[5:]))
        return end, b""

    def on_skipped(self) -> None:
        """Tell the question that its answer will not come."""
        self._question.failed()


class MappedReply(Reply):
    """Passes an answer on; positions in its errors are made those of the client's text."""

    __slots__ = ("_position_map",)

    def __init__(self, kind: int, position_map: PositionMap | None) -> None:
        super().__init__(kind)
        self._position_map = position_map

    def on_message(self, kind: int, body: bytes) -> bytes | None:
        """Map the position of an error; let everything else through."""
        return with_mapped_position(body, self._position_map) if kind == t.ERROR_RESPONSE else None


class SilentMappedReply(MappedReply):
    """As MappedReply, but the client sees nothing unless it fails."""

    __slots__ = ()

    def on_message(self, kind: int, body: bytes) -> bytes | None:
        """Map the position of an error; keep everything else from the client."""
        return super().on_message(kind, body) if kind == t.ERROR_RESPONSE else b""


class FailureReply(Reply):
    """Answers with an error of the proxy's own.

    The upstream is given a statement that cannot be parsed: it fails the transaction and skips to
    Sync by itself, so every rule of the protocol holds without being written a second time. Only
    the words of its error are replaced.
    """

    __slots__ = ("_encoding", "_error")

    def __init__(self, error: ProxyError, encoding: str) -> None:
        super().__init__(t.PARSE)
        self._error = error
        self._encoding = encoding

    def on_message(self, kind: int, body: bytes) -> bytes | None:
        """Give the upstream's error our words; keep what else comes from the client."""
        if kind == t.ERROR_RESPONSE:
            return error_response(self._error, encoding=self._encoding)
        return b""


def without_context(body: bytes) -> bytes:
    """Return the ErrorResponse without where in the proxy's own functions it arose."""
    hidden = frozenset(b"WPpq")
    return encode_report(
        t.ERROR_RESPONSE, [field for field in report_fields(body) if field[0] not in hidden]
    )


def with_mapped_position(body: bytes, position_map: PositionMap | None) -> bytes | None:
    """Return the ErrorResponse with its P field mapped; None if there is nothing to change."""
    if position_map is None:
        return None
    fields = report_fields(body)
    mapped = [
        (code, str(position_map(int(value))).encode() if _is_position(code, value) else value)
        for code, value in fields
    ]
    return encode_report(t.ERROR_RESPONSE, mapped)


def _sqlstate(body: bytes) -> str:
    return dict(report_fields(body)).get(ord("C"), b"").decode("ascii", "replace")


def _is_position(code: int, value: bytes) -> bool:
    # A position counts in a statement; int() refuses thousands of digits with an error of its own.
    return code == ord("P") and value.isdigit() and len(value) < 12
