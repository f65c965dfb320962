"""The two byte streams of a session: framing without an object per message.

`ClientStream` finds in the client's bytes the few messages that concern the proxy; everything else
is handed on as the spans in which it came. `UpstreamStream` walks the backend's bytes, keeps the
`ReplyQueue` true, and lets a `Reply` at the queue's head rewrite its answer. Neither decodes what
it only passes on.
"""

from __future__ import annotations

import struct
from collections.abc import Callable

from proxy.errors import ProxyError, RemoteProtocolError, TooLargeError
from proxy.protocol import message_types as t
from proxy.protocol.replies import ANSWERS_TO, Reply, ReplyQueue

_header = struct.Struct("!BI").unpack_from
_STATEMENTS = frozenset((t.QUERY, t.PARSE))
_EXTENDED = frozenset((t.BIND, t.DESCRIBE, t.EXECUTE, t.CLOSE))
_ALWAYS_QUEUED = _STATEMENTS | _EXTENDED
_ASYNCHRONOUS = frozenset((t.NOTICE_RESPONSE, t.NOTIFICATION_RESPONSE, t.PARAMETER_STATUS))
_READ_WHOLE = frozenset(
    (t.READY_FOR_QUERY, t.PARAMETER_STATUS, t.BACKEND_KEY_DATA, t.COPY_IN_RESPONSE)
)
_MAX_CONTROL_LENGTH = 1 << 20
_MAX_MESSAGE_LENGTH = 0x3FFF_FFFE
"""PostgreSQL's PQ_LARGE_MESSAGE_LIMIT (src/include/libpq/libpq.h): MaxAllocSize - 1."""
_MAX_HELD_LENGTH = 1 << 30
_WORTH_A_KERNEL = 2048
"""Bytes from which one compiled call beats the loop below (a call costs about four turns of it)."""

_SHORT = 64

SkipFrames = Callable[[bytes, int, int, int], int]
"""(data, start, stop, kind): offset behind the run of whole frames of `kind` at `start`."""


class ClientStream:
    """The frontend's bytes, cut at the messages that concern the proxy.

    Parameters
    ----------
    replies : kept true of everything that is handed on
    concerns : whether the text of a Query or Parse may concern the proxy; no false negatives
    begins_ours : whether a text too long to inspect begins with a verb of the proxy's
    skip_frames : compiled walk over CopyData
    inspection_limit : bytes; longer statements pass unread

    Attributes
    ----------
    concerns : may be changed at any time
    inspects_extended : hand over every Parse, Bind, Describe, Execute and Close too
    is_broken : a length was impossible: all that follows goes on as it comes
    """

    __slots__ = (
        "_at",
        "_begins_ours",
        "_limit",
        "_need",
        "_replies",
        "_rest",
        "_skip",
        "_skip_frames",
        "_tail",
        "concerns",
        "frame",
        "inspects_extended",
        "is_broken",
        "passive",
        "terminated",
    )

    def __init__(
        self,
        replies: ReplyQueue,
        concerns: Callable[[bytes], bool],
        begins_ours: Callable[[bytes], bool],
        skip_frames: SkipFrames,
        inspection_limit: int,
    ) -> None:
        self._replies = replies
        self.concerns = concerns
        self._begins_ours = begins_ours
        self._skip_frames = skip_frames
        self._limit = inspection_limit
        self._tail = bytearray()
        self._rest = b""
        self._at = 0
        self._need = 0
        self._skip = 0
        self.is_broken = False
        self.frame: tuple[int, bytes] | None = None
        self.inspects_extended = False
        self.passive = False
        self.terminated = False

    @property
    def is_calm(self) -> bool:
        """Whether it stands between messages, with nothing kept."""
        return not (self._tail or self._rest or self._skip or self.is_broken or self.terminated)

    @property
    def buffered(self) -> int:
        """Bytes kept for later."""
        return len(self._tail) + len(self._rest) - self._at

    def short_rest(self) -> bytes:
        """Return what stands behind `frame` in the same chunk, if it is short; else nothing."""
        if len(self._rest) - self._at > _SHORT:
            return b""
        return self._rest[self._at :]

    def drop_rest(self) -> None:
        """Forget what `short_rest` returned: it is dealt with."""
        self._rest, self._at = b"", 0

    def keep(self, data: bytes) -> None:
        """Add bytes without looking at them: a statement is being worked on."""
        if self._rest:
            self._tail += self._rest[self._at :]
            self._rest, self._at = b"", 0
        self._tail += data

    def receive(self, data: bytes) -> bytes:
        """Return the bytes to send upstream.

        If `frame` is not None afterwards, it is the next message, (type, body), and concerns the
        proxy: handle it, then call `receive(b"")` for what came behind it.
        """
        self.frame = None
        start = 0
        if self._rest:
            # Go on in the same bytes: a pipeline of small messages must not be copied for each.
            if data:
                self.keep(data)
            else:
                data, start = self._rest, self._at
                self._rest, self._at = b"", 0
        if self._tail:
            self._tail += data
            if len(self._tail) < self._need:
                return b""
            data = bytes(self._tail)
            self._tail.clear()
        self._need = 0
        if self.is_broken:
            return data
        size = len(data)
        position = start
        if self._skip:
            if self._skip >= size:
                self._skip -= size
                return data
            position, self._skip = self._skip, 0
        replies = self._replies
        append = replies.queue.append
        while size - position >= 5:
            kind, length = _header(data, position)
            if length < 4 or length > _MAX_MESSAGE_LENGTH:
                # PostgreSQL hangs up on this itself; from here on there are no frames.
                self.is_broken = True
                return data[start:]
            end = position + 1 + length
            if kind in _STATEMENTS:
                if self._inspect(data, position, end, kind) or self._need:
                    return data[start:position]
            elif kind in _EXTENDED:
                if self.inspects_extended:
                    if end > size:
                        self._hold(data, position, length + 1)
                    else:
                        self._stop(data, position, end, kind)
                    return data[start:position]
            elif kind == t.COPY_DATA:
                if size - position > _WORTH_A_KERNEL and end <= size:
                    position = self._skip_frames(data, position, size, kind)
                    continue
            elif kind == t.TERMINATE:
                self.terminated = True
            if kind in _ALWAYS_QUEUED and not replies.skipping:
                append(kind)  # what `sent` would do, without the call
            else:
                replies.sent(kind)
            if end > size:
                self._skip = end - size
                return data[start:]
            position = end
        if position < size:
            self._tail += data[position:]
            return data[start:position]
        return data[start:]

    def _inspect(self, data: bytes, position: int, end: int, kind: int) -> bool:
        """Decide on a Query or Parse; True if it is in `frame`, `_need` set if incomplete."""
        size = len(data)
        if self.passive:
            return False
        if end - position > self._limit:
            beginning = min(end, position + 1024)
            if size < beginning:
                self._hold(data, position, beginning - position)
            elif self._begins_ours(data[position + 5 : beginning]):
                raise TooLargeError(
                    "statement is too long to be inspected",
                    detail=f"It has {end - position - 5} bytes; the limit is {self._limit}.",
                )
            return False
        if end > size:
            self._hold(data, position, end - position)
            return False
        if self.concerns(data[position + 5 : end]) or (kind == t.PARSE and self.inspects_extended):
            self._stop(data, position, end, kind)
            return True
        return False

    def _hold(self, data: bytes, position: int, need: int) -> None:
        self._tail += data[position:]
        self._need = need

    def _stop(self, data: bytes, position: int, end: int, kind: int) -> None:
        self.frame = (kind, data[position + 5 : end])
        if end < len(data):
            self._rest, self._at = data, end


class UpstreamStream:
    """The backend's bytes on their way to the client.

    Parameters
    ----------
    replies : the session's queue; its heads decide what is rewritten
    on_parameter : called with the body of each ParameterStatus
    on_ready : called with the transaction status of each ReadyForQuery
    skip_frames : compiled walk over DataRow and CopyData

    Attributes
    ----------
    last_kind : type byte of the newest message, 0 before the first
    violation : the backend broke the protocol; nothing after that place is read
    is_between_messages : whether a message of our own may be inserted now
    """

    __slots__ = (
        "_need",
        "_on_parameter",
        "_on_ready",
        "_replies",
        "_skip",
        "_skip_frames",
        "_tail",
        "last_kind",
        "violation",
    )

    def __init__(
        self,
        replies: ReplyQueue,
        on_parameter: Callable[[bytes], None],
        on_ready: Callable[[int], None],
        skip_frames: SkipFrames,
    ) -> None:
        self._replies = replies
        self._on_parameter = on_parameter
        self._on_ready = on_ready
        self._skip_frames = skip_frames
        self._tail = bytearray()
        self._need = 0
        self._skip = 0
        self.last_kind = 0
        self.violation: ProxyError | None = None

    @property
    def is_calm(self) -> bool:
        """Whether it stands between messages with nothing kept."""
        return not (self._tail or self._skip)

    @property
    def is_between_messages(self) -> bool:
        """Whether the client has only whole messages so far."""
        return not self._skip

    def receive(self, data: bytes) -> bytes:
        """Return the bytes to send to the client, whole messages or parts of one in order.

        Raises
        ------
        ProxyError
            `violation` was set before: what came until then has been handed out.
        """
        if self.violation is not None:
            raise self.violation
        if self._tail:
            self._tail += data
            if len(self._tail) < self._need:
                return b""
            data = bytes(self._tail)
            self._tail.clear()
        self._need = 0
        size = len(data)
        position = start = 0
        parts: list[bytes] | None = None
        if self._skip:
            if self._skip >= size:
                self._skip -= size
                return data
            position, self._skip = self._skip, 0
        queue = self._replies.queue
        received, answered = self._replies.received, self._replies.answered
        while size - position >= 5:
            kind, length = _header(data, position)
            end = position + 1 + length
            head = queue[0] if queue else 0
            if ANSWERS_TO.get(kind) == head and length >= 4 and end <= size:
                # The common case: a relayed message has its answer.
                answered()
                self.last_kind = kind
                position = end
                continue
            if kind == t.DATA_ROW or kind == t.COPY_DATA:  # noqa: PLR1714 - two compares are faster
                if length < 4:
                    self.violation = _broken("invalid message length")
                    break
                self.last_kind = kind
                if type(head) is int:
                    if end > size:
                        self._skip = end - size
                        position = size
                    elif size - position > _WORTH_A_KERNEL:
                        position = self._skip_frames(data, position, size, kind)
                    else:
                        position = end
                    continue
                parts = parts if parts is not None else []
                if start < position:
                    parts.append(data[start:position])
                start = position
                try:
                    taken, output = head.on_rows(data, position, size)  # type: ignore[union-attr]
                except ProxyError as error:
                    self.violation = error
                    break
                if output:
                    parts.append(output)
                if taken == position:
                    self._hold(length + 1)
                    break
                position = start = taken
                continue
            if length < 4 or kind not in t.BACKEND_TYPES:
                self.violation = _broken(f'unexpected message "{chr(kind)}" of length {length}')
                break
            if kind == t.READY_FOR_QUERY and not (
                length == 5 and (end > size or data[end - 1] in t.TRANSACTION_STATUSES)
            ):
                self.violation = _broken("invalid transaction status")
                break
            is_rewritten = type(head) is not int and kind not in _ASYNCHRONOUS
            if end > size:
                if is_rewritten or kind in _READ_WHOLE:
                    self._hold(length + 1, _MAX_CONTROL_LENGTH if kind in _READ_WHOLE else 0)
                    break
                self._skip = end - size
            self.last_kind = kind
            if is_rewritten:
                body = data[position + 5 : end]
                try:
                    output_or_none = head.on_message(kind, body)  # type: ignore[union-attr]
                except ProxyError as error:
                    self.violation = error
                    break
                if output_or_none is not None:
                    parts = parts if parts is not None else []
                    if start < position:
                        parts.append(data[start:position])
                    parts.append(output_or_none)
                    start = end
            if kind == t.READY_FOR_QUERY:
                received(kind)
                self._on_ready(data[end - 1])
            elif kind == t.PARAMETER_STATUS:
                self._on_parameter(data[position + 5 : end])
            else:
                received(kind)
            position = min(end, size)
        if position < size and self.violation is None:
            self._tail += data[position:]
        if parts is None:
            return data if position == size else data[:position]
        if start < position:
            parts.append(data[start:position])
        return b"".join(parts)

    def _hold(self, need: int, limit: int = 0) -> None:
        if need > (limit or _MAX_HELD_LENGTH):
            self.violation = _broken("message is too long")
        self._need = need


def _broken(reason: str) -> RemoteProtocolError:
    return RemoteProtocolError(f"upstream broke the protocol: {reason}")


__all__ = ["ClientStream", "Reply", "SkipFrames", "UpstreamStream"]
