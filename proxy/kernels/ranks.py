"""Ranks of values: how many of a feature's thresholds, in ascending order, are below each.

Owns the search; what ranks are for is said in `trees`. A feature is a row of `searches`:

    int64   FEATURE, its column; TABLE_START and TOP of its table; LOW_SLOT and HIGH_SLOT, the
            columns of the ranks in which NaN is below all thresholds, and above all, or NO_SLOT

Its table has 2 * TOP - 1 thresholds, TOP a power of two, and is filled up with inf.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from proxy.kernels.compilation import inner

FEATURE, TABLE_START, TOP, LOW_SLOT, HIGH_SLOT = range(5)
SEARCH_FIELDS = 5
NO_SLOT = -1

RANK_BITS = 16
HIGHEST_RANK = (1 << RANK_BITS) - 1
CHUNK_ROWS = 64
"""Rows whose values are searched for together, in vectors."""

U = np.uint64
_ABOVE_ALL = U(HIGHEST_RANK)
_ZERO, _ONE = U(0), U(1)


@inner
def rank_chunk(
    X: NDArray[np.float64],
    first: int,
    n_rows: int,
    searches: NDArray[np.int64],
    tables: NDArray[np.float64],
    n_slots: int,
    ranks: NDArray[np.uint16],
    ranks_start: int,
    column: NDArray[np.float64],
    position: NDArray[np.uint64],
) -> None:
    """Write the ranks of up to CHUNK_ROWS rows, from `ranks_start` on.

    A bisection for all rows at once: every step is one loop without a branch, which becomes vector
    instructions. One row after the other, with its branches guessed wrong, takes eight times as
    long.
    """
    width, start = U(n_slots), U(ranks_start)
    for index in range(searches.shape[0]):
        search = U(index)
        feature = U(searches[search, FEATURE])
        # Positions are one below the number of thresholds passed: -1 is 2**64 - 1, and wraps back.
        before = U(searches[search, TABLE_START]) - _ONE
        for row in range(n_rows):
            column[U(row)] = X[U(first + row), feature]
            position[U(row)] = before
        step = U(searches[search, TOP])
        while step > _ZERO:
            for row in range(n_rows):
                tried = position[U(row)] + step
                passed = tables[tried] < column[U(row)]
                position[U(row)] = tried if passed else position[U(row)]
            step >>= _ONE
        if searches[search, LOW_SLOT] != NO_SLOT:
            slot = start + U(searches[search, LOW_SLOT])
            for row in range(n_rows):
                ranks[slot + U(row) * width] = position[U(row)] - before
        if searches[search, HIGH_SLOT] != NO_SLOT:
            slot = start + U(searches[search, HIGH_SLOT])
            for row in range(n_rows):
                is_missing = column[U(row)] != column[U(row)]
                rank = _ABOVE_ALL if is_missing else position[U(row)] - before
                ranks[slot + U(row) * width] = rank


@inner
def rank_row(
    X: NDArray[np.float64],
    row: int,
    searches: NDArray[np.int64],
    tables: NDArray[np.float64],
    ranks: NDArray[np.uint16],
) -> None:
    """Write the ranks of one row, from 0 on."""
    for index in range(searches.shape[0]):
        search = U(index)
        value = X[U(row), U(searches[search, FEATURE])]
        before = U(searches[search, TABLE_START]) - _ONE
        position = before
        step = U(searches[search, TOP])
        while step > _ZERO:
            if tables[position + step] < value:
                position += step
            step >>= _ONE
        if searches[search, LOW_SLOT] != NO_SLOT:
            ranks[U(searches[search, LOW_SLOT])] = position - before
        if searches[search, HIGH_SLOT] != NO_SLOT:
            rank = _ABOVE_ALL if value != value else position - before
            ranks[U(searches[search, HIGH_SLOT])] = rank
