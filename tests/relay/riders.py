"""Riders without a session: the express lane between two socket pairs, on either event loop.

Owns the far ends of both connections and what was handed back. What a session makes of that is
tested with a real one.
"""

from __future__ import annotations

import asyncio
import inspect
import socket
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from types import TracebackType
from typing import Any, Self

import pytest
import uvloop

from proxy.protocol.replies import Reply
from proxy.relay import state
from proxy.relay.lane import ExpressLane, HandedBack
from proxy.relay.portals import Luggage

LIMIT_S = 20.0
IDLE = ord("I")


def Handed(  # noqa: N802 - reads as the value that it makes
    what: int, data: bytes, waiting: Sequence[int | Reply], status: int, unnamed: Any = None
) -> HandedBack:
    """Return what a rider is handed back with, the number of chunks left out."""
    return HandedBack(what, data, list(waiting), status, 0, unnamed)


class Rider:
    """A session that does nothing but get on and off.

    Attributes
    ----------
    client, upstream : the far ends, where the test writes and reads
    near_client, near_upstream : the ends that the lane is given
    place : its lane, None before it has one
    """

    def __init__(self, lane: ExpressLane) -> None:
        self._lane = lane
        self.client, self.near_client = socket.socketpair()
        self.upstream, self.near_upstream = socket.socketpair()
        for end in self._ends:
            end.setblocking(False)
        self.place: int | None = None
        self.chunks = 0
        self._handed: asyncio.Future[HandedBack] = asyncio.get_running_loop().create_future()

    @property
    def _ends(self) -> tuple[socket.socket, ...]:
        return self.client, self.near_client, self.upstream, self.near_upstream

    def board(self, status: int = IDLE, luggage: Luggage | None = None) -> bool:
        """Get on; False if there is no room."""
        self._handed = asyncio.get_running_loop().create_future()
        self.place = self._lane.adopt(
            self, self.near_client.fileno(), self.near_upstream.fileno(), status, luggage
        )
        return self.place is not None

    def recall(self) -> None:
        """Ask to be handed back."""
        assert self.place is not None
        self._lane.recall(self.place)

    def taken_back(self, handed: HandedBack) -> None:
        assert not self._handed.done(), "handed back twice"
        self.chunks = handed.chunks
        self._handed.set_result(replace(handed, chunks=0))

    @property
    def is_off(self) -> bool:
        return self._handed.done()

    async def handed_back(self) -> HandedBack:
        """Wait until it is off the lane."""
        async with asyncio.timeout(LIMIT_S):
            return await asyncio.shield(self._handed)

    async def goes_up(self, data: bytes) -> None:
        """Let the client send a chunk that must reach the upstream as it is."""
        await send(self.client, data)
        assert await receive(self.upstream, len(data)) == data

    async def comes_down(self, data: bytes) -> None:
        """Let the upstream send a chunk that must reach the client as it is."""
        await send(self.upstream, data)
        assert await receive(self.client, len(data)) == data

    def close(self) -> None:
        for end in self._ends:
            end.close()


class Station:
    """A running lane and its riders.

    Parameters
    ----------
    capacity : the lane's
    """

    def __init__(self, capacity: int = 8) -> None:
        self.lane = ExpressLane(capacity)
        self._riders: list[Rider] = []

    async def __aenter__(self) -> Self:
        self.lane.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.lane.stop()
        for rider in self._riders:
            rider.close()

    def arrival(self) -> Rider:
        """Return a new rider that has not got on yet."""
        rider = Rider(self.lane)
        self._riders.append(rider)
        return rider

    def rider(self, status: int = IDLE, luggage: Luggage | None = None) -> Rider:
        """Return a new rider on the lane."""
        rider = self.arrival()
        assert rider.board(status, luggage)
        return rider

    def wait_blocking(self, count: int) -> None:
        """Keep the event loop from running until so many were handed back since the start."""
        limit = time.monotonic() + LIMIT_S
        while self.lane._shared.control[state.HANDED_WRITTEN] < count:
            assert time.monotonic() < limit
            time.sleep(0.001)


def on_both_loops(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    """Run an async test on asyncio's event loop and on uvloop's."""

    def run(new_loop: Callable[[], asyncio.AbstractEventLoop], **arguments: Any) -> None:
        async def bounded() -> None:
            async with asyncio.timeout(3 * LIMIT_S):
                await test(**arguments)

        with asyncio.Runner(loop_factory=new_loop) as runner:
            runner.run(bounded())

    signature = inspect.signature(test)
    new_loop = inspect.Parameter("new_loop", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    run.__signature__ = signature.replace(  # type: ignore[attr-defined]
        parameters=[*signature.parameters.values(), new_loop], return_annotation=None
    )
    run.__name__, run.__doc__, run.__module__ = test.__name__, test.__doc__, test.__module__
    loops = [asyncio.new_event_loop, uvloop.new_event_loop]
    both: Callable[..., None] = pytest.mark.parametrize(
        "new_loop", loops, ids=["asyncio", "uvloop"]
    )(run)
    return both


async def send(end: socket.socket, data: bytes) -> None:
    """Send all of it; a chunk of up to 32 KiB arrives in one piece."""
    async with asyncio.timeout(LIMIT_S):
        await asyncio.get_running_loop().sock_sendall(end, data)


async def receive(end: socket.socket, size: int) -> bytes:
    """Return the next `size` bytes."""
    data = b""
    async with asyncio.timeout(LIMIT_S):
        while len(data) < size:
            chunk = await asyncio.get_running_loop().sock_recv(end, size - len(data))
            assert chunk, f"the end after {len(data)} of {size} bytes"
            data += chunk
    return data


def lying(end: socket.socket) -> bytes:
    """Return what has arrived and not been read, without waiting."""
    data = b""
    while True:
        try:
            chunk = end.recv(1 << 16)
        except BlockingIOError:
            return data
        if not chunk:
            return data
        data += chunk
