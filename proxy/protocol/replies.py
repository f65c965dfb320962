"""Which frontend messages still await their answer, in order, and when each has had it.

Owns the rules by which a backend answers: one table for both protocols, pipelines, COPY and the
skip to Sync. A message that is only relayed stands in the queue as its type byte (a shared small
int: no object is made for it); one whose answer the proxy changes, keeps or makes stands there as a
`Reply`.

Rules, each from "Message Flow" and "Message Formats" of PostgreSQL's protocol chapter:

- Parse, Bind, Describe, Close: one answer each (1, 2, T or n, 3).
- Execute: any rows, then C, I or s.
- Query, FunctionCall and Sync: anything, then Z. Flush, CopyData and Terminate are never answered.
- An ErrorResponse to an extended-query message makes the backend discard everything up to Sync.
- Within COPY IN the backend ignores Flush and Sync, until CopyDone or CopyFail.
"""

from __future__ import annotations

from collections import deque

from proxy.protocol import message_types as t

_ANSWERED_BY_READY = frozenset((t.QUERY, t.SYNC, t.FUNCTION_CALL))
_COPY_ENDS = frozenset((t.COPY_DONE, t.COPY_FAIL))
_QUEUED = frozenset(
    (t.QUERY, t.PARSE, t.BIND, t.DESCRIBE, t.EXECUTE, t.CLOSE, t.SYNC, t.FUNCTION_CALL)
)

ANSWERS_TO: dict[int, int] = {
    t.PARSE_COMPLETE: t.PARSE,
    t.BIND_COMPLETE: t.BIND,
    t.CLOSE_COMPLETE: t.CLOSE,
    t.ROW_DESCRIPTION: t.DESCRIBE,
    t.NO_DATA: t.DESCRIBE,
    t.COMMAND_COMPLETE: t.EXECUTE,
    t.EMPTY_QUERY_RESPONSE: t.EXECUTE,
    t.PORTAL_SUSPENDED: t.EXECUTE,
}
"""The backend message that ends the answer to a frontend message of the extended protocol."""


class Reply:
    """How the answer to one frontend message goes back to the client; by default untouched."""

    __slots__ = ("kind",)

    def __init__(self, kind: int) -> None:
        self.kind = kind

    def on_message(self, kind: int, body: bytes) -> bytes | None:
        """Return the bytes to send in place of this message; None lets it through."""
        return None

    def on_rows(self, data: bytes, start: int, stop: int) -> tuple[int, bytes]:
        """Take the DataRow or CopyData frames that begin at `start`.

        Returns the offset of the first byte not taken (`start` asks for more bytes) and the bytes
        to send to the client.
        """
        end = start + 1 + int.from_bytes(data[start + 1 : start + 5], "big")
        return (end, data[start:end]) if end <= stop else (start, b"")

    def on_skipped(self) -> None:
        """Learn that the backend discards this message: one before it failed."""


class SilentReply(Reply):
    """The answer to a message of the proxy's own: the client never hears of it, but of errors."""

    __slots__ = ()

    def on_message(self, kind: int, body: bytes) -> bytes | None:
        """Let errors through only."""
        return None if kind == t.ERROR_RESPONSE else b""

    def on_rows(self, data: bytes, start: int, stop: int) -> tuple[int, bytes]:
        """Take rows and send none."""
        return super().on_rows(data, start, stop)[0], b""


class ReplyQueue:
    """The messages sent upstream and not yet answered.

    Attributes
    ----------
    queue : type bytes and Reply objects, oldest first
    skipping : an error was answered and no Sync has been sent since: the backend discards
    copying_in : the backend reads CopyData
    """

    __slots__ = ("copying_in", "queue", "skipping")

    def __init__(self) -> None:
        self.queue: deque[int | Reply] = deque()
        self.skipping = False
        self.copying_in = False

    @property
    def is_empty(self) -> bool:
        """Whether every message has had its answer."""
        return not self.queue

    @property
    def is_calm(self) -> bool:
        """Whether nothing is under way in any mode."""
        return not (self.queue or self.skipping or self.copying_in)

    @property
    def has_open_batch(self) -> bool:
        """Whether the newest unanswered message belongs to a batch without its Sync yet."""
        return bool(self.queue) and kind_of(self.queue[-1]) not in _ANSWERED_BY_READY

    def sent(self, kind: int) -> None:
        """Note that a message of type `kind` went upstream."""
        if kind in _QUEUED:
            if kind == t.SYNC:
                if self.copying_in:
                    return
                self.skipping = False
            elif self.skipping:
                return
            self.queue.append(kind)
        elif kind in _COPY_ENDS:
            if self.copying_in:
                self.copying_in = False
            elif self.queue:
                # COPY data sent before CopyInResponse was seen: the mark tells which Syncs the
                # backend will ignore. A stray one falls away when it reaches the front.
                self.queue.append(kind)

    def expect(self, reply: Reply) -> None:
        """Note that a message went upstream whose answer `reply` takes."""
        if reply.kind == t.SYNC:
            self.skipping = False
        elif self.skipping:
            reply.on_skipped()
            return
        self.queue.append(reply)

    def received(self, kind: int) -> None:
        """Note that the backend sent a message of type `kind`, rows and COPY data excepted."""
        queue = self.queue
        if kind == t.READY_FOR_QUERY:
            self._ready()
        elif kind == t.ERROR_RESPONSE:
            self._failed()
        elif kind == t.COPY_IN_RESPONSE:
            self._copy_in_began()
        elif queue and ANSWERS_TO.get(kind) == kind_of(queue[0]):
            self.answered()

    def answered(self) -> None:
        """Note that the oldest message has had its whole answer."""
        queue = self.queue
        queue.popleft()
        while queue and queue[0] in _COPY_ENDS:
            queue.popleft()  # the end of a COPY that never was

    def _ready(self) -> None:
        self.copying_in = self.skipping = False
        while self.queue:
            entry = self.queue[0]
            self.answered()
            if kind_of(entry) in _ANSWERED_BY_READY:
                return
            _skip(entry)

    def _failed(self) -> None:
        self.copying_in = False
        if not self.queue or kind_of(self.queue[0]) in _ANSWERED_BY_READY:
            return  # Query and a failing Sync still send Z; an unasked error is a FATAL one
        self.queue.popleft()
        while self.queue:
            if kind_of(self.queue[0]) == t.SYNC:
                return
            _skip(self.queue.popleft())
        self.skipping = True

    def _copy_in_began(self) -> None:
        """Drop the Syncs that the backend will ignore while it reads COPY data."""
        head, rest = self.queue.popleft() if self.queue else t.QUERY, self.queue
        while rest and rest[0] == t.SYNC:
            rest.popleft()
        if rest and rest[0] in _COPY_ENDS:
            rest.popleft()
        else:
            self.copying_in = True
        rest.appendleft(head)

    def abandon(self) -> None:
        """Tell every waiting Reply that no answer will come."""
        while self.queue:
            _skip(self.queue.popleft())


def kind_of(entry: int | Reply) -> int:
    """Return the frontend message type of a queue entry."""
    return entry if type(entry) is int else entry.kind  # type: ignore[union-attr]


def _skip(entry: int | Reply) -> None:
    if isinstance(entry, Reply):
        entry.on_skipped()
