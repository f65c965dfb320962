"""One end of a session's two connections: its transport, its back pressure, its end.

Owns reading whole messages while a login goes on (rare, small) and handing chunks to a receiver
afterwards (the row path). Leaves every meaning to the receiver.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from dataclasses import dataclass

from proxy.errors import RemoteProtocolError

WRITE_BUFFER_HIGH = 256 * 1024
_LOGIN_BUFFER_LIMIT = 128 * 1024
_LINGER_S = 10.0


@dataclass(frozen=True, slots=True)
class KeepAlive:
    """TCP keepalive: whether, and seconds or counts where 0 leaves it to the operating system."""

    wanted: bool = True
    idle_s: int = 0
    interval_s: int = 0
    count: int = 0

    def apply(self, sock: socket.socket) -> None:
        """Set up a TCP socket: keepalive, and no waiting for more bytes to send."""
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, int(self.wanted))
        for name, value in (
            ("TCP_KEEPIDLE", self.idle_s),
            ("TCP_KEEPINTVL", self.interval_s),
            ("TCP_KEEPCNT", self.count),
        ):
            if self.wanted and value and hasattr(socket, name):
                sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


class PeerLost(Exception):  # noqa: N818 - it is an event, not a fault
    """The peer closed its connection."""


class _Relay(asyncio.Protocol):
    """A peer's protocol after the login: the transport calls the receiver, no step between."""

    __slots__ = (
        "connection_lost",
        "data_received",
        "eof_received",
        "pause_writing",
        "resume_writing",
    )

    def __init__(self, peer: Peer, receiver: Callable[[bytes], None]) -> None:
        self.data_received = receiver  # type: ignore[method-assign,assignment]
        self.eof_received = peer.eof_received  # type: ignore[method-assign]
        self.pause_writing = peer.pause_writing  # type: ignore[method-assign]
        self.resume_writing = peer.resume_writing  # type: ignore[method-assign]
        self.connection_lost = peer.connection_lost  # type: ignore[method-assign]


class Peer(asyncio.Protocol):
    """The client or the upstream.

    Parameters
    ----------
    early : bytes that were read from its socket before

    Attributes
    ----------
    other : the peer whose bytes are written here; it stops reading while this one cannot take more
    on_lost : called once when the connection is gone
    """

    __slots__ = (
        "_buffer",
        "_held",
        "_holds",
        "_is_full",
        "_receiver",
        "_waiter",
        "is_lost",
        "on_lost",
        "other",
        "transport",
    )

    def __init__(self, early: bytes = b"") -> None:
        self.transport: asyncio.Transport = None  # type: ignore[assignment]
        self.other: Peer | None = None
        self.on_lost: Callable[[], None] | None = None
        self.is_lost = False
        self._receiver: Callable[[bytes], None] | None = None
        self._buffer = bytearray(early)
        self._waiter: asyncio.Future[None] | None = None
        self._holds = 0
        self._is_full = False
        self._held: Peer | None = None

    # -- asyncio.Protocol ------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self.transport = transport  # type: ignore[assignment]
        self.transport.set_write_buffer_limits(high=WRITE_BUFFER_HIGH)

    def data_received(self, data: bytes) -> None:
        """Keep what a login will read, up to a limit."""
        if self._receiver is not None:  # a transport that was closing kept its protocol
            self._receiver(data)
            return
        self._buffer += data
        if len(self._buffer) > _LOGIN_BUFFER_LIMIT and not self._is_full:
            self._is_full = True
            self.hold()
        self._wake()

    def eof_received(self) -> bool:
        """Close: neither side of the protocol ever half-closes."""
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell who waits or relays."""
        self.is_lost = True
        self._wake()
        if self.on_lost is not None:
            self.on_lost()
        self.other = self._held = None

    def pause_writing(self) -> None:
        """Read no more of what would be written here."""
        if self.other is not None:
            self._held = self.other
            self._held.hold()

    def resume_writing(self) -> None:
        """Read on."""
        if self._held is not None:
            self._held.release()
            self._held = None

    # -- back pressure ---------------------------------------------------------------------------

    def hold(self) -> None:
        """Stop reading; holds add up."""
        self._holds += 1
        if self._holds == 1 and not self.is_lost:
            self.transport.pause_reading()

    def release(self) -> None:
        """Take back one hold; reading goes on after the last."""
        self._holds -= 1
        if self._holds == 0 and not self.is_lost:
            self.transport.resume_reading()

    @property
    def is_reading(self) -> bool:
        """Whether nothing holds it back."""
        return self._holds == 0 and not self.is_lost

    @property
    def is_written(self) -> bool:
        """Whether everything written is with the kernel."""
        return not self.is_lost and self.transport.get_write_buffer_size() == 0

    @property
    def is_plain(self) -> bool:
        """Whether it speaks without TLS."""
        return self.transport.get_extra_info("ssl_object") is None

    @property
    def descriptor(self) -> int:
        """The socket's file descriptor."""
        return int(self.transport.get_extra_info("socket").fileno())

    # -- messages, during login ------------------------------------------------------------------

    async def read_exactly(self, size: int) -> bytes:
        """Return the next `size` bytes.

        Raises
        ------
        PeerLost
            The connection ended before.
        """
        while len(self._buffer) < size:
            self._drained()
            if self.is_lost:
                raise PeerLost
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        data = bytes(self._buffer[:size])
        del self._buffer[:size]
        return data

    async def readable(self) -> None:
        """Wait until there is something to read, or the connection is gone."""
        while not (self._buffer or self.is_lost):
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter

    async def read_message(self, limit: int) -> tuple[int, bytes]:
        """Return the next message's type and body.

        Raises
        ------
        RemoteProtocolError
            Its length is below 4 or its body above `limit` bytes; checked before anything is kept.
        """
        header = await self.read_exactly(5)
        length = int.from_bytes(header[1:], "big") - 4
        if not 0 <= length <= limit:
            raise RemoteProtocolError("invalid message length")
        return header[0], await self.read_exactly(length)

    def receive_with(self, receiver: Callable[[bytes], None]) -> None:
        """From now on hand every chunk to `receiver`, beginning with what was already read."""
        self._receiver = receiver
        self.transport.set_protocol(_Relay(self, receiver))
        early = bytes(self._buffer)
        self._buffer = bytearray()
        self._drained()
        if early:
            receiver(early)

    def _drained(self) -> None:
        """Read on: what was read is being used up."""
        if self._is_full:
            self._is_full = False
            self.release()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    # -- writing ---------------------------------------------------------------------------------

    def write(self, data: bytes) -> None:
        """Send bytes, if anybody is still there."""
        if not self.is_lost:
            self.transport.write(data)

    def close(self) -> None:
        """Send what is written and close; give up on a peer that does not take it."""
        if self.transport is None or self.is_lost or self.transport.is_closing():
            return
        self.transport.close()
        if self.transport.get_write_buffer_size():
            asyncio.get_running_loop().call_later(_LINGER_S, self.abort)

    def abort(self) -> None:
        """Close at once."""
        if self.transport is not None and not self.is_lost:
            self.transport.abort()
