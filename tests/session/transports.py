"""Two peers without sockets: a session's client and upstream, whose bytes a test sees and sends."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from proxy.peer import Peer
from proxy.protocol import message_types as t
from proxy.session.session import LoggedIn, Session


class Wire(asyncio.Transport):
    """Keeps what is written, until somebody takes it.

    Attributes
    ----------
    written : bytes
    is_paused : whether the other side of it is not read from
    """

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.is_paused = False
        self.is_closed = False
        self.protocol: Any = None

    def write(self, data: Any) -> None:
        assert not self.is_closed, "written to after it was closed"
        self.written += bytes(data)

    def take(self) -> bytes:
        """Return what was written since the last time."""
        taken, self.written = self.written, b""
        return taken

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self.protocol = protocol

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass

    def get_write_buffer_size(self) -> int:
        return 0

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return default

    def pause_reading(self) -> None:
        self.is_paused = True

    def resume_reading(self) -> None:
        self.is_paused = False

    def close(self) -> None:
        if not self.is_closed:
            self.is_closed = True
            asyncio.get_running_loop().call_soon(self.protocol.connection_lost, None)

    def abort(self) -> None:
        self.close()

    def is_closing(self) -> bool:
        return self.is_closed

    def receive(self, data: bytes) -> None:
        """Let bytes arrive."""
        self.protocol.data_received(data)

    def lose(self) -> None:
        """Let the other side close the connection."""
        self.is_closed = True
        self.protocol.connection_lost(None)


def connected() -> tuple[Peer, Wire]:
    """Return a peer and its transport."""
    peer, wire = Peer(), Wire()
    wire.protocol = peer
    peer.connection_made(wire)
    return peer, wire


class Hall:
    """A started session between two such peers.

    Attributes
    ----------
    handed : messages that the session handed over
    handler : what is done with them; by default nothing is awaited
    ended : how often the session ended
    """

    def __init__(
        self,
        handler: Callable[[int, bytes], Awaitable[None] | None] | None = None,
        *,
        parameters: Mapping[str, str] | None = None,
        is_replication: bool = False,
        inspection_limit: int = 1 << 20,
    ) -> None:
        client, self.client = connected()
        upstream, self.upstream = connected()
        login = LoggedIn(
            upstream, "app", "ann", b"12345678", t.IDLE, dict(parameters or {}), is_replication
        )
        self.ended = 0
        self.handed: list[tuple[int, bytes]] = []
        self.handler = handler
        self.session = Session(
            client, login, inspection_limit=inspection_limit, on_end=self._on_end
        )
        self.session.start(self._handle)

    def _handle(self, kind: int, body: bytes) -> Awaitable[None] | None:
        self.handed.append((kind, body))
        return self.handler(kind, body) if self.handler is not None else None

    def _on_end(self, session: Session) -> None:
        assert session is self.session
        self.ended += 1


async def settle() -> None:
    """Let everything that is ready run."""
    for _ in range(5):
        await asyncio.sleep(0)
