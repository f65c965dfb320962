"""Everything that the compiled thread works on, as one value.

Owns the arrays' names, shapes and columns. Compiled code takes a named tuple apart at no cost, so
its functions have one argument for all of this.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np
from numba import types
from numpy.typing import NDArray

from proxy.kernels.compilation import INT64, OFFSETS, TABLE, WRITABLE_BYTES, WRITABLE_FLOATS
from proxy.relay.portals import (
    MAX_BATCH_ROWS,
    MAX_BATCH_VALUES,
    MAX_OUTPUTS,
    PORTAL_FIELDS,
    PORTALS,
)
from proxy.relay.system import EVENT_WORDS

BUFFER_SIZE: Final = 64 * 1024
OUT_SIZE: Final = 2 * BUFFER_SIZE
MAX_EVENTS: Final = 128
PLACES: Final = 64
RING: Final = 64
"""Messages that may await their answer; more end the ride."""

# Columns of `sessions`.
CLIENT_FD: Final = 0
UPSTREAM_FD: Final = 1
ACTIVE: Final = 2
HEAD: Final = 3
WAITING: Final = 4
STATUS: Final = 5
CHUNKS: Final = 6  # of the upstream's, passed on
N_PORTALS: Final = 7
UNNAMED: Final = 8  # 1 + the portal that the unnamed one is of; 0: it is none of ours
FRESHNESS_AT: Final = 9
FRESH_CHANGES: Final = 10
SESSION_FIELDS: Final = 11

# Places in `control`.
COMMANDS_WRITTEN: Final = 0
COMMANDS_READ: Final = 1
HANDED_WRITTEN: Final = 2
HANDED_READ: Final = 3
CONTROL_FIELDS: Final = 4


class Shared(NamedTuple):
    """What the thread, and Python, read and write.

    Attributes
    ----------
    epoll, wake, notify : file descriptors; `wake` and `notify` are eventfds
    sessions : (lanes, SESSION_FIELDS)
    ring, owners : (lanes, RING), the type of each message that awaits its answer, and 1 + the
        portal that it is to, 0 if that is none of ours
    portals : (lanes * PORTALS, PORTAL_FIELDS), see `portals`
    buffer : one chunk as it was received
    out : the chunk in hand as it is sent, where it is changed
    events : room for MAX_EVENTS epoll events
    commands, handed : (places, 2) and (PLACES, 3); handed_bytes: OUT_SIZE for each place
    control : how far each side has written and read
    event, one, clock : scratch: one epoll event, the number that wakes an eventfd, a timespec
    values, scores, sums, numbers, starts, hidden_starts : scratch for scoring one batch of rows
    """

    epoll: int
    wake: int
    notify: int
    sessions: NDArray[np.int64]
    ring: NDArray[np.uint8]
    owners: NDArray[np.uint8]
    portals: NDArray[np.int64]
    buffer: NDArray[np.uint8]
    out: NDArray[np.uint8]
    events: NDArray[np.uint32]
    commands: NDArray[np.int64]
    handed: NDArray[np.int64]
    handed_bytes: NDArray[np.uint8]
    control: NDArray[np.int64]
    event: NDArray[np.uint32]
    one: NDArray[np.int64]
    clock: NDArray[np.int64]
    values: NDArray[np.float64]
    scores: NDArray[np.float64]
    sums: NDArray[np.float64]
    numbers: NDArray[np.float64]
    starts: NDArray[np.int64]
    hidden_starts: NDArray[np.int64]


_types: Any = types
_RING: Any = _types.Array(types.uint8, 2, "C")
_WORDS: Any = _types.Array(types.uint32, 1, "C")

SHARED: Any = _types.NamedTuple(
    (
        *(INT64,) * 3,
        TABLE,
        *(_RING,) * 2,
        TABLE,
        *(WRITABLE_BYTES,) * 2,
        _WORDS,
        *(TABLE,) * 2,
        WRITABLE_BYTES,
        OFFSETS,
        _WORDS,
        *(OFFSETS,) * 2,
        *(WRITABLE_FLOATS,) * 4,
        *(OFFSETS,) * 2,
    ),
    Shared,
)


def allocate(capacity: int, epoll: int = -1, wake: int = -1, notify: int = -1) -> Shared:
    """Return the arrays for `capacity` lanes, all zero."""
    # At most three commands of a lane are under way (a late recall, then the next rider's two),
    # and one more stops the thread.
    return Shared(
        epoll=epoll,
        wake=wake,
        notify=notify,
        sessions=np.zeros((capacity, SESSION_FIELDS), np.int64),
        ring=np.zeros((capacity, RING), np.uint8),
        owners=np.zeros((capacity, RING), np.uint8),
        portals=np.zeros((capacity * PORTALS, PORTAL_FIELDS), np.int64),
        buffer=np.zeros(BUFFER_SIZE, np.uint8),
        out=np.zeros(OUT_SIZE, np.uint8),
        events=np.zeros(MAX_EVENTS * EVENT_WORDS, np.uint32),
        commands=np.zeros((3 * capacity + 1, 2), np.int64),
        handed=np.zeros((PLACES, 3), np.int64),
        handed_bytes=np.zeros(PLACES * OUT_SIZE, np.uint8),
        control=np.zeros(CONTROL_FIELDS, np.int64),
        event=np.zeros(EVENT_WORDS, np.uint32),
        one=np.ones(1, np.int64),
        clock=np.zeros(2, np.int64),
        values=np.zeros(MAX_BATCH_VALUES),
        scores=np.zeros(MAX_BATCH_VALUES),
        sums=np.zeros(MAX_OUTPUTS),
        numbers=np.zeros(MAX_BATCH_VALUES),
        starts=np.zeros(MAX_BATCH_ROWS, np.int64),
        hidden_starts=np.zeros(MAX_BATCH_ROWS, np.int64),
    )
