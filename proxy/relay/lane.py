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
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from proxy.relay import loop as native
from proxy.relay.system import DATA_WORD, EPOLLIN, EVENT_WORDS, IS_SUPPORTED
from proxy.relay.walks import RING

_PLACES = 64
_STOP_TIMEOUT_S = 5.0
_STOP_PAUSE_S = 0.01


class Rider(Protocol):
    """A session, as far as this room needs it."""

    def taken_back(self, what: int, data: bytes, waiting: bytes, status: int) -> None:
        """Go on by itself.

        Parameters
        ----------
        what : of `relay.loop`: NOTHING, FROM_CLIENT, FROM_UPSTREAM, FOR_UPSTREAM, FOR_CLIENT
        data : the bytes that this is about
        waiting : types of the messages that await their answer, oldest first
        status : the transaction's, as the last ReadyForQuery had it
        """


class ExpressLane:
    """The compiled thread and its riders.

    Parameters
    ----------
    capacity : riders at once; more sessions than that stay on the event loop
    """

    def __init__(self, capacity: int) -> None:
        self._riders: list[Rider | None] = [None] * capacity
        self._free = list(range(capacity - 1, -1, -1))
        self._sessions: NDArray[np.int64] = np.zeros((capacity, native.SESSION_FIELDS), np.int64)
        self._ring: NDArray[np.uint8] = np.zeros((capacity, RING), np.uint8)
        self._is_recalled = [False] * capacity
        # At most three of a lane are under way (a late recall, then the next rider's two), and one
        # more stops the thread.
        self._commands: NDArray[np.int64] = np.zeros((3 * capacity + 1, 2), np.int64)
        self._handed: NDArray[np.int64] = np.zeros((_PLACES, 3), np.int64)
        self._handed_bytes: NDArray[np.uint8] = np.zeros(_PLACES * native.BUFFER_SIZE, np.uint8)
        self._control: NDArray[np.int64] = np.zeros(native.CONTROL_FIELDS, np.int64)
        self._epoll = self._wake = self._notify = -1
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
        self._epoll = _detached_epoll(select)
        self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._notify = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        event: NDArray[np.uint32] = np.zeros(EVENT_WORDS, np.uint32)
        event[0], event[DATA_WORD:] = EPOLLIN, 0xFFFFFFFF  # the tag WAKE, in two halves
        native_events = np.zeros(native.MAX_EVENTS * EVENT_WORDS, np.uint32)
        _add_to_epoll(self._epoll, self._wake, event)
        arguments = (
            self._epoll,
            self._wake,
            self._notify,
            self._sessions,
            self._ring,
            np.zeros(native.BUFFER_SIZE, np.uint8),
            native_events,
            self._commands,
            self._handed,
            self._handed_bytes,
            self._control,
            np.zeros(EVENT_WORDS, np.uint32),
            np.ones(1, np.int64),
        )
        self._thread = threading.Thread(
            target=native.relay, args=arguments, name="pgseer relay", daemon=True
        )
        self._thread.start()
        self._loop.add_reader(self._notify, self._take_back)

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
        self._loop.remove_reader(self._notify)
        if not thread.is_alive():
            for descriptor in (self._epoll, self._wake, self._notify):
                os.close(descriptor)

    def adopt(self, rider: Rider, client_fd: int, upstream_fd: int, status: int) -> int | None:
        """Take a session that awaits nothing; return its lane, None if there is no room."""
        if not self._free or self._thread is None:
            return None
        lane = self._free.pop()
        self._riders[lane] = rider
        self._is_recalled[lane] = False
        self._sessions[lane] = (client_fd, upstream_fd, 0, 0, 0, status)
        self._command(native.ADD, lane)
        return lane

    def recall(self, lane: int) -> None:
        """Have a session handed back; it may be on its way already."""
        if self._thread is not None and not self._is_recalled[lane]:
            self._is_recalled[lane] = True
            self._command(native.RECALL, lane)

    def _command(self, operation: int, lane: int) -> None:
        place = int(self._control[native.COMMANDS_WRITTEN]) % len(self._commands)
        self._commands[place] = (operation, lane)
        self._control[native.COMMANDS_WRITTEN] += 1
        os.eventfd_write(self._wake, 1)

    def _take_back(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(self._notify)
        control = self._control
        while control[native.HANDED_READ] != control[native.HANDED_WRITTEN]:
            place = int(control[native.HANDED_READ]) % _PLACES
            lane, what, size = (int(value) for value in self._handed[place])
            start = place * native.BUFFER_SIZE
            data = self._handed_bytes[start : start + size].tobytes()
            control[native.HANDED_READ] += 1
            rider = self._riders[lane]
            head, count = (int(self._sessions[lane, i]) for i in (native.HEAD, native.WAITING))
            waiting = bytes(int(self._ring[lane, (head + i) % RING]) for i in range(count))
            status = int(self._sessions[lane, native.STATUS])
            self._riders[lane] = None
            self._free.append(lane)
            if rider is None:
                continue
            try:
                rider.taken_back(what, data, waiting, status)
            except Exception as error:  # noqa: BLE001 - one rider's fault must not keep the others
                context = {"message": "a session that was handed back failed", "exception": error}
                asyncio.get_running_loop().call_exception_handler(context)


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
