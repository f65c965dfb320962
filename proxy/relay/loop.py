"""The compiled thread: wait, receive, look, send.

Owns the sessions' sockets while they ride. One thread serves them all; every call is non-blocking.
Python and the loop speak through three shared arrays and two eventfds:

    commands    Python -> loop   (operation, lane); `wake` says that there are some
    handed      loop -> Python   (lane, what, size) with the bytes beside; `notify` says so
    control     how far each side has written and read

The counters only grow and each has one writer, so no lock is needed; the eventfds order the rest.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numba import types
from numpy.typing import NDArray

from proxy.kernels.compilation import INT64, TABLE, VOID, WRITABLE_BYTES, inner, kernel
from proxy.kernels.memory import address_of, copy_bytes
from proxy.relay.system import (
    DATA_WORD,
    EPOLL_CTL_ADD,
    EPOLL_CTL_DEL,
    EPOLLIN,
    EVENT_WORDS,
    MSG_DONTWAIT,
    MSG_NOSIGNAL,
    c_epoll_ctl,
    c_epoll_wait,
    c_read,
    c_recv,
    c_send,
    c_usleep,
    c_write,
)
from proxy.relay.walks import NOT_OURS, RING, walk_client, walk_upstream

BUFFER_SIZE: Final = 64 * 1024
MAX_EVENTS: Final = 128
WAKE: Final = -1

# Operations of a command.
ADD: Final = 0
RECALL: Final = 1
STOP: Final = 2

# What is handed back with a session.
NOTHING: Final = 0
FROM_CLIENT: Final = 1  # bytes received and not looked at
FROM_UPSTREAM: Final = 2
FOR_UPSTREAM: Final = 3  # bytes accounted for and not sent yet
FOR_CLIENT: Final = 4

# Columns of `sessions`.
CLIENT_FD: Final = 0
UPSTREAM_FD: Final = 1
ACTIVE: Final = 2
HEAD: Final = 3
WAITING: Final = 4
STATUS: Final = 5
SESSION_FIELDS: Final = 6

# Places in `control`.
COMMANDS_WRITTEN: Final = 0
COMMANDS_READ: Final = 1
HANDED_WRITTEN: Final = 2
HANDED_READ: Final = 3
CONTROL_FIELDS: Final = 4

_WORDS: Any = types.Array(types.uint32, 1, "C")
_COUNTERS: Any = types.Array(types.int64, 1, "C")
_RING: Any = types.Array(types.uint8, 2, "C")


@inner
def _watch(epoll: int, operation: int, fd: int, tag: int, event: NDArray[np.uint32]) -> bool:
    """Watch a socket or cease to; False if the system refuses."""
    event[0] = EPOLLIN
    event[DATA_WORD] = np.uint32(tag & 0xFFFFFFFF)
    event[DATA_WORD + 1] = np.uint32((tag >> 32) & 0xFFFFFFFF)
    failed = c_epoll_ctl(np.int32(epoll), np.int32(operation), np.int32(fd), address_of(event))
    return not failed


@inner
def _hand_back(
    epoll: int,
    notify: int,
    lane: int,
    what: int,
    start: int,
    size: int,
    sessions: NDArray[np.int64],
    buffer: NDArray[np.uint8],
    handed: NDArray[np.int64],
    handed_bytes: NDArray[np.uint8],
    control: NDArray[np.int64],
    event: NDArray[np.uint32],
    one: NDArray[np.int64],
) -> None:
    while control[HANDED_WRITTEN] - control[HANDED_READ] >= handed.shape[0]:
        c_usleep(np.uint32(50))
    sessions[lane, ACTIVE] = 0
    _watch(epoll, EPOLL_CTL_DEL, sessions[lane, CLIENT_FD], 0, event)
    _watch(epoll, EPOLL_CTL_DEL, sessions[lane, UPSTREAM_FD], 0, event)
    slot = control[HANDED_WRITTEN] % handed.shape[0]
    if size:
        copy_bytes(buffer, start, handed_bytes, slot * BUFFER_SIZE, size)
    handed[slot, 0] = lane
    handed[slot, 1] = what
    handed[slot, 2] = size
    control[HANDED_WRITTEN] += 1
    c_write(np.int32(notify), address_of(one), 8)


@inner
def _obey(
    epoll: int,
    notify: int,
    sessions: NDArray[np.int64],
    buffer: NDArray[np.uint8],
    commands: NDArray[np.int64],
    handed: NDArray[np.int64],
    handed_bytes: NDArray[np.uint8],
    control: NDArray[np.int64],
    event: NDArray[np.uint32],
    one: NDArray[np.int64],
) -> bool:
    """Carry out the commands; False is the end."""
    while control[COMMANDS_READ] != control[COMMANDS_WRITTEN]:
        place = control[COMMANDS_READ] % commands.shape[0]
        operation, lane = commands[place, 0], commands[place, 1]
        control[COMMANDS_READ] += 1
        if operation == STOP:
            return False
        if operation == ADD:
            sessions[lane, ACTIVE] = 1
            watched = _watch(epoll, EPOLL_CTL_ADD, sessions[lane, CLIENT_FD], 2 * lane, event)
            if watched and _watch(
                epoll, EPOLL_CTL_ADD, sessions[lane, UPSTREAM_FD], 2 * lane + 1, event
            ):
                continue
        elif not sessions[lane, ACTIVE]:
            continue  # handed back before the recall was read
        _hand_back(
            epoll, notify, lane, NOTHING, 0, 0, sessions, buffer, handed, handed_bytes,
            control, event, one,
        )  # fmt: skip
    return True


@kernel(
    VOID(
        *(INT64,) * 3,
        TABLE,
        _RING,
        WRITABLE_BYTES,
        _WORDS,
        TABLE,
        TABLE,
        WRITABLE_BYTES,
        _COUNTERS,
        _WORDS,
        _COUNTERS,
    )
)
def relay(
    epoll: int,
    wake: int,
    notify: int,
    sessions: NDArray[np.int64],
    ring: NDArray[np.uint8],
    buffer: NDArray[np.uint8],
    events: NDArray[np.uint32],
    commands: NDArray[np.int64],
    handed: NDArray[np.int64],
    handed_bytes: NDArray[np.uint8],
    control: NDArray[np.int64],
    event: NDArray[np.uint32],
    one: NDArray[np.int64],
) -> None:
    """Relay until told to stop.

    Parameters
    ----------
    epoll, wake, notify : file descriptors; `wake` and `notify` are eventfds
    sessions : (lanes, SESSION_FIELDS)
    ring : (lanes, RING), see `walks`
    buffer : (BUFFER_SIZE,), for one chunk
    events : room for MAX_EVENTS epoll events
    commands, handed : (places, 2) and (places, 3); handed_bytes: BUFFER_SIZE for each place
    event, one : scratch: one epoll event, and the number that wakes an eventfd
    """
    flags = np.int32(MSG_DONTWAIT | MSG_NOSIGNAL)
    while _obey(
        epoll, notify, sessions, buffer, commands, handed, handed_bytes, control, event, one
    ):
        count = c_epoll_wait(
            np.int32(epoll), address_of(events), np.int32(MAX_EVENTS), np.int32(-1)
        )
        for number in range(count):
            place = number * EVENT_WORDS + DATA_WORD
            tag = np.int64(events[place]) | (np.int64(events[place + 1]) << 32)
            if tag == WAKE:
                c_read(np.int32(wake), address_of(buffer), 8)
                continue
            lane, side = int(tag >> 1), int(tag & 1)
            if not sessions[lane, ACTIVE]:
                continue  # handed back earlier in this turn
            size = c_recv(
                np.int32(sessions[lane, CLIENT_FD + side]), address_of(buffer), BUFFER_SIZE, flags
            )
            what, start = NOTHING, 0
            head, waiting = sessions[lane, HEAD], sessions[lane, WAITING]
            if size <= 0:
                size = 0  # the end, or an error: the event loop will meet it again
            elif side == 0:
                after = walk_client(buffer, size, ring, lane, head, waiting)
                if after == NOT_OURS:
                    what = FROM_CLIENT
                else:
                    sessions[lane, WAITING] = after
                    start = c_send(
                        np.int32(sessions[lane, UPSTREAM_FD]), address_of(buffer), size, flags
                    )
                    if start == size:
                        continue
                    what = FOR_UPSTREAM
            else:
                answered, status = walk_upstream(buffer, size, ring, lane, head, waiting)
                if answered == NOT_OURS:
                    what = FROM_UPSTREAM
                else:
                    sessions[lane, HEAD] = (head + answered) % RING
                    sessions[lane, WAITING] = waiting - answered
                    if status:
                        sessions[lane, STATUS] = status
                    start = c_send(
                        np.int32(sessions[lane, CLIENT_FD]), address_of(buffer), size, flags
                    )
                    if start == size:
                        continue
                    what = FOR_CLIENT
            start = max(start, 0)
            _hand_back(
                epoll, notify, lane, what, start, size - start, sessions, buffer, handed,
                handed_bytes, control, event, one,
            )  # fmt: skip
