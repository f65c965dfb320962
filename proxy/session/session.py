"""One client's session: its two streams, the statement in work, its end.

Owns the order of everything: bytes that concern nobody go on at once; a statement of the proxy's
own is worked on in a task while the client's later bytes wait. Leaves what to do with such a
statement to `statements`. Only here are messages of the proxy's own written to a peer.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field

from proxy.errors import AdminShutdownError, ProxyError, RemoteProtocolError, UpstreamError
from proxy.logs import get_logger
from proxy.peer import Peer
from proxy.protocol import message_types as t
from proxy.protocol.messages import (
    FLUSH_FRAME,
    NO_PARAMETER_TYPES,
    SYNC_FRAME,
    TERMINATE_FRAME,
    Parse,
    error_response,
    notice_response,
)
from proxy.protocol.replies import Reply, ReplyQueue
from proxy.protocol.streams import ClientStream, UpstreamStream
from proxy.relay.lane import ExpressLane, HandedBack
from proxy.relay.loop import FOR_CLIENT, FOR_UPSTREAM, FROM_CLIENT, FROM_UPSTREAM
from proxy.relay.portals import Luggage
from proxy.rewrite.executions import may_execute
from proxy.rewrite.prefilter import may_concern_us
from proxy.session.boarding import Boarding
from proxy.session.encodings import codec_of
from proxy.session.frames import run_end
from proxy.session.questions import (
    FAILING_STATEMENT,
    AlreadyAnswered,
    AnswerReply,
    FailureReply,
    PositionMap,
    Question,
)

_KEEP_WHILE_WORKING = 1 << 20
"""Bytes of a client's later messages kept while a statement is worked on; then it must wait."""

_BEGINS_OURS = re.compile(
    rb"\s*(?:create\s+(?:or\s+replace\s+)?|drop\s+|alter\s+|show\s+|describe\s+|evaluate\s+)"
    rb"model",
    re.IGNORECASE,
)

FrameHandler = Callable[[int, bytes], Awaitable[None] | None]
"""Handles one frontend message; returns None when it is done, else what to await."""


@dataclass(slots=True)
class LoggedIn:
    """What a login established."""

    upstream: Peer
    database: str
    user: str
    cancel_key: bytes
    status: int
    parameters: dict[str, str] = field(default_factory=dict)
    is_replication: bool = False
    upstream_tls: bool = False


class Session:
    """The hall between the two peers.

    Parameters
    ----------
    client : the client's peer
    login : the upstream's peer and what the login told
    inspection_limit : bytes; longer statements pass unread
    on_end : called once, when both peers are gone or going
    lane : relays for the session while it sends everyday messages only; None: never
    """

    __slots__ = (
        "_boarding",
        "_client_stream",
        "_ending",
        "_handler",
        "_is_ended",
        "_is_leaving",
        "_on_end",
        "_outgoing",
        "_task",
        "_untold",
        "_upstream_stream",
        "_waits",
        "_write_client",
        "_write_upstream",
        "cancel_key",
        "client",
        "codec",
        "database",
        "models_changed",
        "on_cancel",
        "on_models_committed",
        "on_transaction_end",
        "pack",
        "replies",
        "standard_conforming_strings",
        "status",
        "stop_upstream",
        "unpack",
        "upstream",
        "user",
    )

    def __init__(
        self,
        client: Peer,
        login: LoggedIn,
        *,
        inspection_limit: int,
        on_end: Callable[[Session], None],
        lane: ExpressLane | None = None,
    ) -> None:
        self.client = client
        self.upstream = login.upstream
        self.database = login.database
        self.user = login.user
        self.cancel_key = login.cancel_key
        self.status = login.status
        self.codec = codec_of(login.parameters.get("client_encoding", "UTF8"))
        self.standard_conforming_strings = (
            login.parameters.get("standard_conforming_strings", "on") == "on"
        )
        self.replies = ReplyQueue()
        self.models_changed = False
        self.on_models_committed: Callable[[], None] | None = None
        self.on_cancel: Callable[[], None] | None = None
        self.on_transaction_end: Callable[[], None] | None = None
        self.pack: Callable[[], Luggage | None] = _no_luggage
        self.unpack: Callable[[HandedBack], None] = _no_unpacking
        self.stop_upstream: Callable[[], Awaitable[None]] = _nothing
        self._client_stream = ClientStream(
            self.replies, may_concern_us, _begins_ours, run_end, inspection_limit
        )
        self._client_stream.passive = login.is_replication
        self._upstream_stream = UpstreamStream(
            self.replies, self._parameter_status, self._ready_for_query, run_end
        )
        # Straight to the transports: one call less on the path of every byte.
        self._write_client: Callable[[bytes], None] = client.transport.write
        self._write_upstream: Callable[[bytes], None] = login.upstream.transport.write
        self._handler: FrameHandler = _no_handler
        self._task: asyncio.Task[None] | None = None
        self._waits = False
        self._is_leaving = False
        self._is_ended = False
        self._on_end = on_end
        may_ride = client.is_plain and login.upstream.is_plain and not login.is_replication
        self._boarding = Boarding(self, lane if may_ride else None)
        self._outgoing = bytearray()
        self._untold: list[bytes] = []
        self._ending: ProxyError | None = None

    def start(self, handler: FrameHandler) -> None:
        """Relay from now on; `handler` gets the messages that concern the proxy."""
        self._handler = handler
        self.client.other, self.upstream.other = self.upstream, self.client
        self.client.on_lost, self.upstream.on_lost = self._client_lost, self._upstream_lost
        self.upstream.receive_with(self._from_upstream)
        self.client.receive_with(self._from_client)
        if self.client.is_lost:
            self._client_lost()
        elif self.upstream.is_lost:
            self._upstream_lost()

    # -- the two streams -------------------------------------------------------------------------

    def inspect_extended(self, *, wanted: bool) -> None:
        """Ask for every Parse, Bind, Describe, Execute and Close, or no longer."""
        stream = self._client_stream
        stream.inspects_extended = wanted
        # What is ours can be run by SQL's EXECUTE and FETCH, too.
        stream.concerns = _may_concern_or_execute if wanted else may_concern_us

    def _from_client(self, data: bytes) -> None:
        stream = self._client_stream
        if self._task is not None:
            stream.keep(data)
            if stream.buffered > _KEEP_WHILE_WORKING and not self._waits:
                self._waits = True
                self.client.hold()
            return
        try:
            onward = stream.receive(data)
            if stream.frame is None:
                if onward:
                    self._write_upstream(onward)
                return
            self._outgoing += onward
            while stream.frame is not None:
                work = self._handler(*stream.frame)
                if work is not None:
                    self._boarding.disturbed()
                    self._task = asyncio.ensure_future(self._work(work))
                    break
                self._outgoing += stream.receive(b"")
            self._write_outgoing()
        except ProxyError as error:
            self.end(error)

    def _write_outgoing(self) -> None:
        """Send what was collected, in one piece: each write is a system call and a wake-up."""
        if self._outgoing:
            self._write_upstream(bytes(self._outgoing))
            self._outgoing.clear()

    async def _work(self, work: Awaitable[None]) -> None:
        """Finish one message, then take up what the client sent meanwhile."""
        try:
            await work
        except AlreadyAnswered:
            pass
        except asyncio.CancelledError:
            raise
        except ProxyError as error:
            self.end(error)
            return
        except Exception as error:  # noqa: BLE001 - one client's fault must not end the others
            get_logger(__name__).exception("session failed", database=self.database)
            self.end(ProxyError(f"internal error: {type(error).__name__}"))
            return
        self._task = None
        self._write_outgoing()
        if self._waits:
            self._waits = False
            self.client.release()
        if not self._is_ended:
            self._from_client(b"")
            self._leave_if_quiet()

    def _from_upstream(self, data: bytes) -> None:
        stream = self._upstream_stream
        onward = stream.receive(data)
        if onward:
            self._write_client(onward)
        if self._untold and stream.is_between_messages:
            self._write_client(b"".join(self._untold))
            self._untold.clear()
        if stream.violation is not None:
            self.end(stream.violation)
            return
        if self._is_leaving:
            self._leave_if_quiet()
        elif not self.replies.queue and stream.last_kind == t.READY_FOR_QUERY:
            self._boarding.all_answered()

    # -- the express lane ------------------------------------------------------------------------

    @property
    def inspects_extended(self) -> bool:
        """Whether every Parse, Bind, Describe, Execute and Close is handed over."""
        return self._client_stream.inspects_extended

    @property
    def is_between_batches(self) -> bool:
        """Whether the upstream has answered everything and waits for what begins a batch."""
        last = self._upstream_stream.last_kind
        return self.replies.is_calm and last == t.READY_FOR_QUERY and not self._outgoing

    @property
    def is_calm(self) -> bool:
        """Whether nothing is under way, and nothing is to be expected of the next message."""
        return (
            self._task is None
            and not (self._is_ended or self._is_leaving or self.models_changed)
            and self.replies.is_calm
            and self._client_stream.is_calm
            and self._upstream_stream.is_calm
            and self._upstream_stream.last_kind == t.READY_FOR_QUERY
            and self.client.is_reading
            and self.upstream.is_reading
        )

    def taken_back(self, handed: HandedBack) -> None:
        """Go on without the lane: something came that is not for it, or it was asked to stop."""
        self._boarding.came_back(handed)
        self.status = handed.status
        self.unpack(handed)
        self.replies.queue.extend(handed.waiting)
        self.client.release()
        self.upstream.release()
        actions = {
            FROM_CLIENT: self._from_client,
            FROM_UPSTREAM: self._from_upstream,
            FOR_UPSTREAM: self._write_upstream,
            FOR_CLIENT: self._write_client,
        }
        try:
            if handed.what in actions:
                actions[handed.what](handed.data)
        except Exception as error:  # noqa: BLE001 - no transport stands behind to close it
            get_logger(__name__).exception("session failed", database=self.database)
            self.end(ProxyError(f"internal error: {type(error).__name__}"))
        if self._ending is not None:
            self.end(self._ending)
        else:
            self._leave_if_quiet()

    def _parameter_status(self, body: bytes) -> None:
        name, _, rest = body.partition(b"\0")
        if name == b"client_encoding":
            self.codec = codec_of(rest.rstrip(b"\0").decode("ascii", "replace"))
        elif name == b"standard_conforming_strings":
            self.standard_conforming_strings = rest.rstrip(b"\0") == b"on"

    def _ready_for_query(self, status: int) -> None:
        self.status = status
        if status != t.IDLE:
            return
        if self.on_transaction_end is not None:
            self.on_transaction_end()
        if self.models_changed:
            self.models_changed = False
            if self.on_models_committed is not None:
                self.on_models_committed()

    # -- what statements of ours do --------------------------------------------------------------

    def send(self, message: bytes, reply: Reply | int) -> None:
        """Send a frontend message upstream, its answer expected by `reply` (an int: untouched).

        It leaves with what follows it, at the latest when the client's message is dealt with.
        """
        if isinstance(reply, Reply):
            self.replies.expect(reply)
        else:
            self.replies.sent(reply)
        self._outgoing += message

    def send_rest(self, usual: Mapping[bytes, Sequence[Reply | int]]) -> None:
        """Send the rest of the client's chunk too, if it is one of those that `usual` knows."""
        rest = self._client_stream.short_rest()
        replies = usual.get(rest)
        if replies is None:
            return
        self._client_stream.drop_rest()
        self.send(rest, replies[0])
        for reply in replies[1:]:
            self.send(b"", reply)

    def sync(self) -> None:
        """End the extended-query batch that stands for a simple Query; its Z goes to the client."""
        self.send(SYNC_FRAME, t.SYNC)

    async def ask(
        self,
        messages: Sequence[bytes],
        *,
        position_map: PositionMap | None = None,
        rows: Reply | None = None,
    ) -> Question:
        """Send messages of the proxy's own and return their answers.

        Parameters
        ----------
        messages : Parse, Bind, Describe, Execute or Close, whole
        position_map : for the positions in an error
        rows : takes the rows of the Execute; the question waits for it through `on_message`

        Raises
        ------
        AlreadyAnswered
            One failed; the client has the error.
        """
        question = Question()
        for message in messages:
            kind = message[0]
            if rows is not None and kind == t.EXECUTE:
                self.replies.expect(_RowsTo(question, position_map, rows))
            else:
                self.replies.expect(AnswerReply(kind, question, position_map))
            self._outgoing += message
        self._outgoing += FLUSH_FRAME
        self._write_outgoing()
        await question.wait()
        return question

    def fail(self, error: ProxyError) -> None:
        """Answer the message in hand with `error`, as if the upstream had refused it."""
        if self.status == t.FAILED_TRANSACTION and error.sqlstate != "42601":
            error = ProxyError(
                "current transaction is aborted, commands ignored until end of transaction block",
                sqlstate="25P02",
            )
        reason = f"pgseer {error.sqlstate}: {error.message}".replace("\0", "")
        text = b"-- " + reason.replace("\n", " ").replace("\r", " ").encode(self.codec, "replace")
        message = Parse(FAILING_STATEMENT, text + b"\nfailed", NO_PARAMETER_TYPES).encode()
        self.send(message, FailureReply(error, self.codec))

    def tell(self, message: bytes) -> None:
        """Send the client a whole message of the proxy's own, between two of the upstream's."""
        if self._upstream_stream.is_between_messages:
            self._write_client(message)
        else:
            self._untold.append(message)

    def notice(self, text: str, *, severity: str = "NOTICE", hint: str | None = None) -> None:
        """Send the client a NoticeResponse."""
        self.tell(notice_response(text, severity=severity, hint=hint, encoding=self.codec))

    # -- the end ---------------------------------------------------------------------------------

    @property
    def is_busy(self) -> bool:
        """Whether a statement is running."""
        return self._task is not None or not self.replies.is_empty

    def cancel(self) -> None:
        """Stop what the proxy itself does for this session."""
        if self.on_cancel is not None:
            self.on_cancel()

    def leave(self) -> None:
        """End as soon as no statement runs: the proxy is stopping."""
        self._is_leaving = True
        if not self._boarding.recall():
            self._leave_if_quiet()

    def _leave_if_quiet(self) -> None:
        if self._is_leaving and not self.is_busy:
            self.end(shutdown_error())

    def end(self, error: ProxyError) -> None:
        """End the session with a FATAL error."""
        if self._is_ended:
            return
        if self._boarding.recall():
            self._ending = self._ending or error  # `taken_back` comes here again
            return
        if self._upstream_stream.is_between_messages:
            self.client.write(error_response(error, fatal=True, encoding=self.codec))
        if isinstance(error, RemoteProtocolError | UpstreamError):
            get_logger(__name__).warning(
                "session ended", error=error.message, database=self.database
            )
        self._finish()

    def end_now(self) -> None:
        """End at once: the proxy has waited long enough."""
        self.end(shutdown_error())

    def _client_lost(self) -> None:
        self._write_client = _discard
        self._finish()

    def _upstream_lost(self) -> None:
        self._write_upstream = _discard
        if self._is_ended:
            return
        was_told = self._upstream_stream.last_kind == t.ERROR_RESPONSE
        client = self._client_stream
        if was_told or client.terminated or client.is_broken:
            self._finish()
        else:
            self.end(
                UpstreamError(
                    "connection to the upstream server was lost",
                    detail="The server closed the connection without a message.",
                )
            )

    def _finish(self) -> None:
        if self._is_ended:
            return
        self._is_ended = True
        self._write_client = self._write_upstream = _discard
        if self._task is not None:
            self._task.cancel()
        self.replies.abandon()
        if not self.upstream.is_lost:
            self.upstream.write(TERMINATE_FRAME)
        self.upstream.close()
        self.client.close()
        self._on_end(self)


class _RowsTo(AnswerReply):
    """Hands the rows of one Execute to another Reply, and the end to the question."""

    __slots__ = ("_rows",)

    def __init__(self, question: Question, position_map: PositionMap | None, rows: Reply) -> None:
        super().__init__(t.EXECUTE, question, position_map)
        self._rows = rows

    def on_message(self, kind: int, body: bytes) -> bytes | None:
        if kind in (t.COPY_OUT_RESPONSE, t.COPY_DONE):
            return b""
        own = self._rows.on_message(kind, body)
        output = super().on_message(kind, body)
        return output if own is None else own

    def on_rows(self, data: bytes, start: int, stop: int) -> tuple[int, bytes]:
        return self._rows.on_rows(data, start, stop)


def _discard(_: bytes) -> None:
    """Write to nobody: a closed transport of uvloop refuses to be written to."""


def _no_handler(kind: int, body: bytes) -> None:
    raise AssertionError(f"message {kind} of {len(body)} bytes before the session has started")


def _no_luggage() -> Luggage | None:
    """Bring nothing along: what is to be inspected must not be passed on uninspected."""
    return None


def _no_unpacking(_: HandedBack) -> None:
    """Find nothing to unpack."""


async def _nothing() -> None:
    """Do nothing."""


def _may_concern_or_execute(text: bytes) -> bool:
    return may_concern_us(text) or may_execute(text)


def _begins_ours(text: bytes) -> bool:
    return _BEGINS_OURS.match(text) is not None


def shutdown_error() -> AdminShutdownError:
    """Return the error that a session ends with when the proxy stops."""
    return AdminShutdownError("terminating connection due to administrator command")
