"""How a session gets on the express lane and off it.

Owns the compiled thread, its arrays and the meaning of what it hands back. A rider's sockets are
read by nobody else meanwhile; when it is handed back it continues as if its bytes had just come.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from proxy.protocol.replies import Reply
from proxy.relay import loop as native
from proxy.relay import state
from proxy.relay.portals import PORTALS, LaidOut, Luggage, Passage
from proxy.relay.system import DATA_WORD, EPOLLIN, IS_SUPPORTED

_STOP_TIMEOUT_S = 5.0
_STOP_PAUSE_S = 0.01


@dataclass(frozen=True, slots=True)
class HandedBack:
    """How a session comes back from the lane.

    Attributes
    ----------
    what : of `relay.loop`: NOTHING, FROM_CLIENT, FROM_UPSTREAM, FOR_UPSTREAM, FOR_CLIENT
    data : the bytes that this is about
    waiting : the messages that await their answer, oldest first: types, or replies of ours
    status : the transaction's, as the last ReadyForQuery had it
    chunks : of answers, that were passed on
    unnamed : what the unnamed portal is of, if that is ours
    """

    what: int
    data: bytes = b""
    waiting: Sequence[int | Reply] = ()
    status: int = ord("I")
    chunks: int = 0
    unnamed: Passage | None = None


class Rider(Protocol):
    """A session, as far as this room needs it."""

    def taken_back(self, handed: HandedBack) -> None:
        """Go on by itself."""


class ExpressLane:
    """The compiled thread and its riders.

    Parameters
    ----------
    capacity : riders at once; more sessions than that stay on the event loop
    """

    def __init__(self, capacity: int) -> None:
        self._riders: list[Rider | None] = [None] * capacity
        self._luggage: list[LaidOut | None] = [None] * capacity
        self._free = list(range(capacity - 1, -1, -1))
        self._is_recalled = [False] * capacity
        self._shared = state.allocate(capacity)
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    @staticmethod
    def is_supported() -> bool:
        """Whether this system has what the lane needs (epoll: Linux)."""
        return IS_SUPPORTED

    def start(self) -> None:
        """Start the thread; from the event loop."""
        import select  # noqa: PLC0415 - not everywhere has epoll

        self._loop = asyncio.get_running_loop()
        self._shared = self._shared._replace(
            epoll=_detached_epoll(select),
            wake=os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK),
            notify=os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK),
        )
        event = self._shared.event.copy()
        event[0], event[DATA_WORD:] = EPOLLIN, 0xFFFFFFFF  # the tag WAKE, in two halves
        _add_to_epoll(self._shared.epoll, self._shared.wake, event)
        self._thread = threading.Thread(
            target=native.relay, args=(self._shared,), name="pgseer relay", daemon=True
        )
        self._thread.start()
        self._loop.add_reader(self._shared.notify, self._take_back)

    def stop(self) -> None:
        """Have every rider handed back, and stop the thread."""
        if self._thread is None or self._loop is None:
            return
        for lane, rider in enumerate(self._riders):
            if rider is not None:
                self.recall(lane)
        thread, self._thread = self._thread, None  # from here on nobody gets on
        self._command(native.STOP, 0)
        limit = time.monotonic() + _STOP_TIMEOUT_S
        while thread.is_alive() and time.monotonic() < limit:
            self._take_back()  # the thread waits while all places are taken
            thread.join(_STOP_PAUSE_S)
        self._take_back()
        self._loop.remove_reader(self._shared.notify)
        if not thread.is_alive():
            for descriptor in (self._shared.epoll, self._shared.wake, self._shared.notify):
                os.close(descriptor)

    def adopt(
        self,
        rider: Rider,
        client_fd: int,
        upstream_fd: int,
        status: int,
        luggage: Luggage | None = None,
    ) -> int | None:
        """Take a session that awaits nothing; return its lane, None if there is no room."""
        if not self._free or self._thread is None:
            return None
        lane = self._free.pop()
        self._riders[lane] = rider
        self._is_recalled[lane] = False
        session = self._shared.sessions[lane]
        session[:] = 0
        session[state.CLIENT_FD], session[state.UPSTREAM_FD] = client_fd, upstream_fd
        session[state.STATUS] = status
        if luggage is not None:
            self._stow(lane, luggage)
        self._command(native.ADD, lane)
        return lane

    def settle(self) -> None:
        """Have the riders' portals count what was done for them so far."""
        for laid_out in self._luggage:
            if laid_out is not None:
                laid_out.settle()

    def _stow(self, lane: int, luggage: Luggage) -> None:
        rows = self._shared.portals[lane * PORTALS : (lane + 1) * PORTALS]
        self._luggage[lane] = LaidOut(luggage, rows)
        session = self._shared.sessions[lane]
        session[state.N_PORTALS] = len(luggage.passages)
        if luggage.unnamed is not None:
            session[state.UNNAMED] = 1 + luggage.passages.index(luggage.unnamed)
        session[state.FRESHNESS_AT] = luggage.freshness.address
        session[state.FRESH_CHANGES] = luggage.changes

    def recall(self, lane: int) -> None:
        """Have a session handed back; it may be on its way already."""
        if self._thread is not None and not self._is_recalled[lane]:
            self._is_recalled[lane] = True
            self._command(native.RECALL, lane)

    def _command(self, operation: int, lane: int) -> None:
        commands, control = self._shared.commands, self._shared.control
        commands[int(control[state.COMMANDS_WRITTEN]) % len(commands)] = (operation, lane)
        control[state.COMMANDS_WRITTEN] += 1
        os.eventfd_write(self._shared.wake, 1)

    def _take_back(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(self._shared.notify)
        control = self._shared.control
        while control[state.HANDED_READ] != control[state.HANDED_WRITTEN]:
            place = int(control[state.HANDED_READ]) % state.PLACES
            lane, what, size = (int(value) for value in self._shared.handed[place])
            start = place * state.OUT_SIZE
            data = self._shared.handed_bytes[start : start + size].tobytes()
            control[state.HANDED_READ] += 1
            handed = self._handed(lane, what, data)
            rider, self._riders[lane] = self._riders[lane], None
            self._luggage[lane] = None
            self._free.append(lane)
            if rider is None:
                continue
            try:
                rider.taken_back(handed)
            except Exception as error:  # noqa: BLE001 - one rider's fault must not keep the others
                context = {"message": "a session that was handed back failed", "exception": error}
                asyncio.get_running_loop().call_exception_handler(context)

    def _handed(self, lane: int, what: int, data: bytes) -> HandedBack:
        shared, laid_out = self._shared, self._luggage[lane]
        session = shared.sessions[lane]
        places = (session[state.HEAD] + np.arange(session[state.WAITING])) % state.RING
        kinds: list[int] = shared.ring[lane, places].tolist()
        waiting: list[int | Reply] = list(kinds)
        unnamed = None
        if laid_out is not None:
            laid_out.settle()
            for number, owner in enumerate(shared.owners[lane, places].tolist()):
                if owner:
                    waiting[number] = laid_out[owner - 1].replies[kinds[number]]
            if session[state.UNNAMED]:
                unnamed = laid_out[int(session[state.UNNAMED]) - 1]
        return HandedBack(
            what,
            data,
            waiting,
            int(session[state.STATUS]),
            int(session[state.CHUNKS]),
            unnamed,
        )


def _detached_epoll(select: object) -> int:
    """Return an epoll descriptor that no Python object closes."""
    epoll = select.epoll()  # type: ignore[attr-defined]
    try:
        return os.dup(epoll.fileno())
    finally:
        epoll.close()


def _add_to_epoll(epoll: int, descriptor: int, event: NDArray[np.uint32]) -> None:
    import ctypes  # noqa: PLC0415 - only here

    libc = ctypes.CDLL(None, use_errno=True)
    pointer = ctypes.c_void_p(event.ctypes.data)
    if libc.epoll_ctl(epoll, 1, descriptor, pointer) != 0:
        raise OSError(ctypes.get_errno(), "epoll_ctl")
