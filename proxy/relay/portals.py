"""Portals whose rows the compiled thread scores by itself, laid out as words for it.

Owns what a session tells the lane about its prepared statements with PREDICT: how a Bind is
changed, how the answers are. Leaves making it to `statements`, and the bytes to `walks`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from proxy.kernels.linear import N_NUMBERS, N_OUTPUTS, N_TABLES
from proxy.protocol.replies import Reply
from proxy.relay.freshness import Freshness

PORTALS: Final = 16
"""Scored portals that one session may bring along."""

MAX_BATCH_ROWS: Final = 2048
MAX_BATCH_VALUES: Final = 16 * 1024
MAX_OUTPUTS: Final = 1024
MAX_WORK: Final = 1 << 20
"""Products for one portal in one chunk, about a millisecond: the thread has other riders."""

# Columns of the table of portals. Whatever ends in _AT is an address.
NAME_AT: Final = 0
NAME_SIZE: Final = 1
WANTED_AT: Final = 2
WANTED_SIZE: Final = 3
SENT_AT: Final = 4
SENT_SIZE: Final = 5
DESCRIBED_AT: Final = 6
DESCRIBED_SIZE: Final = 7
DESCRIPTION_AT: Final = 8
DESCRIPTION_SIZE: Final = 9
IS_SCORED: Final = 10
N_VISIBLE: Final = 11
COLUMNS_AT: Final = 12
N_HIDDEN: Final = 13
WIDTH: Final = 14
BATCH_ROWS: Final = 15
SEED: Final = 16
TABLE_AT: Final = 17
TABLE_SIZE: Final = 18
ENTRIES_AT: Final = 19
N_ENTRIES: Final = 20
ARENA_AT: Final = 21
ARENA_SIZE: Final = 22
SLOTS_AT: Final = 23
N_SLOTS: Final = 24
SLOTS_SIZE: Final = 25
LABEL_OFFSETS_AT: Final = 26
N_LABEL_OFFSETS: Final = 27
LABELS_AT: Final = 28
LABELS_SIZE: Final = 29
SCORERS_AT: Final = 30
# Counters: of the chunk in hand, and of all that were passed on.
NEW_BINDS: Final = 31
NEW_ROWS: Final = 32
BINDS: Final = 33
ROWS: Final = 34
ROW_WORK: Final = 35
PORTAL_FIELDS: Final = 36

# Columns of a portal's table of scorers, one for each slot.
PROGRAM_AT: Final = 0
PROGRAM_SIZE: Final = 1
WEIGHTS_AT: Final = 2
WEIGHTS_SIZE: Final = 3
SCORER_FIELDS: Final = 4


class Scorer(Protocol):
    """A model's score as arrays: see `kernels.linear`."""

    program: NDArray[np.int64]
    weights: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class RowProgram:
    """How rows become scored rows: what `kernels.rows`, `linear` and `splice` are given.

    Parameters
    ----------
    n_visible, columns, seed, table, entries, arena : of `rows.decode_rows`
    width : values of one row
    slots, slots_size, label_offsets, labels : of `splice.splice_rows`
    scorers : for each slot, by ascending column
    """

    n_visible: int
    columns: NDArray[np.int64]
    width: int
    seed: int
    table: NDArray[np.int64]
    entries: NDArray[np.int64]
    arena: NDArray[np.uint8]
    slots: NDArray[np.int64]
    slots_size: int
    label_offsets: NDArray[np.int64]
    labels: NDArray[np.uint8]
    scorers: tuple[Scorer, ...]

    @property
    def row_work(self) -> int:
        """Products and table entries that a row takes."""
        work = 0
        for scorer in self.scorers:
            n_outputs, n_numbers, n_tables = scorer.program[[N_OUTPUTS, N_NUMBERS, N_TABLES]]
            work += int(n_outputs * (n_numbers + n_tables + 1))
        return work

    @property
    def batch_rows(self) -> int:
        """Rows that the thread's arrays have room for; 0 if it cannot run this program."""
        for scorer in self.scorers:
            n_outputs, n_numbers = scorer.program[[N_OUTPUTS, N_NUMBERS]]
            if n_outputs > MAX_OUTPUTS or n_numbers > MAX_BATCH_VALUES:
                return 0
        return min(MAX_BATCH_ROWS, MAX_BATCH_VALUES // max(self.width, len(self.scorers), 1))


def _count_nothing(_binds: int, _rows: int) -> None:
    """Leave it: nothing is scored."""


@dataclass(frozen=True, slots=True, eq=False)
class Passage:
    """What a Bind of one prepared statement of ours becomes, under the unnamed portal.

    Parameters
    ----------
    statement : its name
    program : None: the statement is ours, and a Bind of it is not for the lane
    wanted, sent : the result formats in the client's Bind and in the one sent upstream, as in Bind
    descriptions : RowDescription as the upstream sends it and as the client gets it; None: unknown
    replies : by the type of a message to this portal, how its answer goes back off the lane
    portal : what the session knows it by; the lane only keeps it
    count : called with numbers of Binds and rows
    """

    statement: bytes
    program: RowProgram | None = None
    wanted: bytes = b""
    sent: bytes = b""
    descriptions: tuple[bytes, bytes] | None = None
    replies: Mapping[int, Reply] = field(default_factory=dict)
    portal: object = None
    count: Callable[[int, int], None] = _count_nothing


@dataclass(frozen=True, slots=True)
class Luggage:
    """What a session brings along.

    Parameters
    ----------
    passages : at most PORTALS; every statement of the session's that is ours is named in one
    unnamed : the one that the unnamed portal is of; None: it is none of ours
    freshness, changes : the passages hold while there are no more changes than these
    """

    passages: tuple[Passage, ...]
    unnamed: Passage | None
    freshness: Freshness
    changes: int


class LaidOut:
    """Passages as rows of the table of portals, and the arrays that the addresses are of."""

    def __init__(self, luggage: Luggage, rows: NDArray[np.int64]) -> None:
        self._luggage = luggage  # the freshness' words are its too
        self._passages = luggage.passages
        self._kept: list[NDArray[Any]] = []
        self._rows = rows[: len(self._passages)]
        self._settled = np.zeros((len(self._passages), 2), np.int64)
        rows[:] = 0
        for row, passage in zip(self._rows, self._passages, strict=True):
            self._lay_out(row, passage)

    def __getitem__(self, index: int) -> Passage:
        return self._passages[index]

    def settle(self) -> None:
        """Count what the thread has done since the last time."""
        for passage, row, settled in zip(self._passages, self._rows, self._settled, strict=True):
            now = row[BINDS : ROWS + 1].copy()
            binds, scored = (int(n) for n in now - settled)
            settled[:] = now
            if binds or scored:
                passage.count(binds, scored)

    def _lay_out(self, row: NDArray[np.int64], passage: Passage) -> None:
        self._put(row, NAME_AT, _bytes(passage.statement))
        program = passage.program
        if program is None or not program.batch_rows:
            return
        described, description = passage.descriptions or (b"", b"")
        self._put(row, WANTED_AT, _bytes(passage.wanted))
        self._put(row, SENT_AT, _bytes(passage.sent))
        self._put(row, DESCRIBED_AT, _bytes(described))
        self._put(row, DESCRIPTION_AT, _bytes(description))
        row[IS_SCORED] = 1
        row[N_VISIBLE], row[WIDTH], row[SEED] = program.n_visible, program.width, program.seed
        row[BATCH_ROWS], row[SLOTS_SIZE] = program.batch_rows, program.slots_size
        row[ROW_WORK] = program.row_work
        self._put(row, COLUMNS_AT, program.columns)
        self._put(row, TABLE_AT, program.table)
        self._put(row, ENTRIES_AT, program.entries)
        self._put(row, ARENA_AT, program.arena)
        self._put(row, SLOTS_AT, program.slots)
        self._put(row, LABEL_OFFSETS_AT, program.label_offsets)
        self._put(row, LABELS_AT, program.labels)
        scorers = np.zeros((len(program.scorers), SCORER_FIELDS), np.int64)
        for line, scorer in zip(scorers, program.scorers, strict=True):
            self._put(line, PROGRAM_AT, scorer.program)
            self._put(line, WEIGHTS_AT, scorer.weights)
        self._kept.append(scorers)
        row[SCORERS_AT] = scorers.ctypes.data

    def _put(self, row: NDArray[np.int64], place: int, array: NDArray[Any]) -> None:
        """Note an array's address and, behind it, its length."""
        assert array.flags.c_contiguous
        self._kept.append(array)
        row[place : place + 2] = array.ctypes.data, len(array)


def _bytes(data: bytes) -> NDArray[np.uint8]:
    return np.frombuffer(data, np.uint8)
