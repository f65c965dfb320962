"""The compiled thread: wait, receive, look, send.

Owns the sessions' sockets while they ride. One thread serves them all; every call is non-blocking.
Python and the loop speak through shared arrays (`state`) and two eventfds:

    commands    Python -> loop   (operation, lane); `wake` says that there are some
    handed      loop -> Python   (lane, what, size) with the bytes beside; `notify` says so
    control     how far each side has written and read

The counters only grow and each has one writer, so no lock is needed; the eventfds order the rest.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from proxy.kernels.compilation import VOID, inner, kernel
from proxy.kernels.memory import address_of, copy_bytes
from proxy.relay.portals import BINDS, NEW_BINDS, NEW_ROWS, PORTALS, ROWS
from proxy.relay.state import (
    ACTIVE,
    BUFFER_SIZE,
    CHUNKS,
    CLIENT_FD,
    COMMANDS_READ,
    COMMANDS_WRITTEN,
    HANDED_READ,
    HANDED_WRITTEN,
    HEAD,
    MAX_EVENTS,
    N_PORTALS,
    OUT_SIZE,
    RING,
    SHARED,
    STATUS,
    UNNAMED,
    UPSTREAM_FD,
    WAITING,
    Shared,
)
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
from proxy.relay.walks import NOT_OURS, walk_client, walk_upstream

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


@inner
def _watch(shared: Shared, operation: int, fd: int, tag: int) -> bool:
    """Watch a socket or cease to; False if the system refuses."""
    event = shared.event
    event[0] = EPOLLIN
    event[DATA_WORD] = np.uint32(tag & 0xFFFFFFFF)
    event[DATA_WORD + 1] = np.uint32((tag >> 32) & 0xFFFFFFFF)
    failed = c_epoll_ctl(
        np.int32(shared.epoll), np.int32(operation), np.int32(fd), address_of(event)
    )
    return not failed


@inner
def _hand_back(
    shared: Shared, lane: int, what: int, data: NDArray[np.uint8], start: int, size: int
) -> None:
    """Give a session back, with the bytes data[start:start + size]."""
    sessions, control = shared.sessions, shared.control
    while control[HANDED_WRITTEN] - control[HANDED_READ] >= shared.handed.shape[0]:
        c_usleep(np.uint32(50))
    sessions[lane, ACTIVE] = 0
    _watch(shared, EPOLL_CTL_DEL, sessions[lane, CLIENT_FD], 0)
    _watch(shared, EPOLL_CTL_DEL, sessions[lane, UPSTREAM_FD], 0)
    slot = control[HANDED_WRITTEN] % shared.handed.shape[0]
    if size:
        copy_bytes(data, start, shared.handed_bytes, slot * OUT_SIZE, size)
    shared.handed[slot, 0] = lane
    shared.handed[slot, 1] = what
    shared.handed[slot, 2] = size
    control[HANDED_WRITTEN] += 1
    c_write(np.int32(shared.notify), address_of(shared.one), 8)


@inner
def _obey(shared: Shared) -> bool:
    """Carry out the commands; False is the end."""
    sessions, control, commands = shared.sessions, shared.control, shared.commands
    while control[COMMANDS_READ] != control[COMMANDS_WRITTEN]:
        place = control[COMMANDS_READ] % commands.shape[0]
        operation, lane = commands[place, 0], commands[place, 1]
        control[COMMANDS_READ] += 1
        if operation == STOP:
            return False
        if operation == ADD:
            sessions[lane, ACTIVE] = 1
            if _watch(shared, EPOLL_CTL_ADD, sessions[lane, CLIENT_FD], 2 * lane) and _watch(
                shared, EPOLL_CTL_ADD, sessions[lane, UPSTREAM_FD], 2 * lane + 1
            ):
                continue
        elif not sessions[lane, ACTIVE]:
            continue  # handed back before the recall was read
        _hand_back(shared, lane, NOTHING, shared.buffer, 0, 0)
    return True


@inner
def _settle(shared: Shared, lane: int, passed_on: bool) -> None:
    """Count what was done for the session's portals in this chunk, or forget it."""
    for portal in range(lane * PORTALS, lane * PORTALS + shared.sessions[lane, N_PORTALS]):
        row = shared.portals[portal]
        if passed_on:
            row[BINDS] += row[NEW_BINDS]
            row[ROWS] += row[NEW_ROWS]
        row[NEW_BINDS] = row[NEW_ROWS] = 0


@inner
def _send(shared: Shared, lane: int, column: int, what: int, size: int, written: int) -> None:
    """Send the chunk, or what was written in its place; hand back what does not go at once."""
    data = shared.out if written else shared.buffer
    size = written or size
    flags = np.int32(MSG_DONTWAIT | MSG_NOSIGNAL)
    sent = c_send(np.int32(shared.sessions[lane, column]), address_of(data), size, flags)
    if sent != size:
        sent = max(sent, 0)
        _hand_back(shared, lane, what, data, sent, size - sent)


@inner
def _from_client(shared: Shared, lane: int, size: int) -> None:
    waiting, written, unnamed = walk_client(shared, lane, size)
    if waiting == NOT_OURS:
        _hand_back(shared, lane, FROM_CLIENT, shared.buffer, 0, size)
        return
    shared.sessions[lane, WAITING] = waiting
    shared.sessions[lane, UNNAMED] = unnamed
    _send(shared, lane, UPSTREAM_FD, FOR_UPSTREAM, size, written)


@inner
def _from_upstream(shared: Shared, lane: int, size: int) -> None:
    sessions = shared.sessions
    answered, status, written = walk_upstream(shared, lane, size)
    if sessions[lane, N_PORTALS]:
        _settle(shared, lane, answered != NOT_OURS)
    if answered == NOT_OURS:
        _hand_back(shared, lane, FROM_UPSTREAM, shared.buffer, 0, size)
        return
    sessions[lane, CHUNKS] += 1
    sessions[lane, HEAD] = (sessions[lane, HEAD] + answered) % RING
    sessions[lane, WAITING] -= answered
    if status:
        sessions[lane, STATUS] = status
    _send(shared, lane, CLIENT_FD, FOR_CLIENT, size, written)


@kernel(VOID(SHARED))
def relay(shared: Shared) -> None:
    """Relay until told to stop."""
    sessions, events = shared.sessions, shared.events
    flags = np.int32(MSG_DONTWAIT | MSG_NOSIGNAL)
    while _obey(shared):
        count = c_epoll_wait(
            np.int32(shared.epoll), address_of(events), np.int32(MAX_EVENTS), np.int32(-1)
        )
        for number in range(count):
            place = number * EVENT_WORDS + DATA_WORD
            tag = np.int64(events[place]) | (np.int64(events[place + 1]) << 32)
            if tag == WAKE:
                c_read(np.int32(shared.wake), address_of(shared.buffer), 8)
                continue
            lane, side = int(tag >> 1), int(tag & 1)
            if not sessions[lane, ACTIVE]:
                continue  # handed back earlier in this turn
            size = c_recv(
                np.int32(sessions[lane, CLIENT_FD + side]),
                address_of(shared.buffer),
                BUFFER_SIZE,
                flags,
            )
            if size <= 0:  # the end, or an error: the event loop will meet it again
                _hand_back(shared, lane, NOTHING, shared.buffer, 0, 0)
            elif side == 0:
                _from_client(shared, lane, size)
            else:
                _from_upstream(shared, lane, size)
