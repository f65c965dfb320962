"""Rows in blocks, so that no temporary is as long as a column, which may be longer than memory.

Owns the size of a block, and what is done to a whole column a block at a time: rows are chosen,
values are taken, counted or told apart. Sums over blocks are added in order, so they are the same
each time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from proxy.engine.arrays import Flags, Rows
from proxy.engine.memory import Allocate

BLOCK_ROWS = 1 << 18
"""2 MiB of float64: large enough that Python's share of the work is not noticed."""


def row_blocks(n_rows: int, size: int | None = None) -> Iterator[slice]:
    """Yield slices of `size` rows, by default BLOCK_ROWS; the last may be shorter."""
    step = size or BLOCK_ROWS
    for start in range(0, n_rows, step):
        yield slice(start, min(start + step, n_rows))


def chosen_blocks(
    values: NDArray[Any], rows: Rows, size: int | None = None
) -> Iterator[tuple[slice, NDArray[Any]]]:
    """Yield places among the chosen rows, and the values there."""
    for block in row_blocks(len(values) if rows is None else len(rows), size):
        yield block, values[block] if rows is None else values[rows[block]]


def count_where(holds: Callable[[slice], Flags], n_rows: int) -> int:
    """Return in how many of the rows something holds; it is asked for a block at a time."""
    return sum(int(np.count_nonzero(holds(block))) for block in row_blocks(n_rows))


def rows_where(holds: Callable[[slice], Flags], n_rows: int, allocate: Allocate = np.empty) -> Rows:
    """Return the ascending rows where something holds, None if it does in all.

    It is asked of each block twice: to count, and to write.
    """
    n_chosen = count_where(holds, n_rows)
    if n_chosen == n_rows:
        return None
    rows = allocate(n_chosen, np.int64)
    end = 0
    for block in row_blocks(n_rows):
        own = np.flatnonzero(holds(block))
        own += block.start
        rows[end : end + len(own)] = own
        end += len(own)
    return rows


def take(values: NDArray[Any], rows: Rows, allocate: Allocate = np.empty) -> NDArray[Any]:
    """Return the values of the chosen rows; None: the values themselves, not a copy."""
    if rows is None:
        return values
    taken = allocate(len(rows), values.dtype)
    for block in row_blocks(len(rows)):
        if values.flags.c_contiguous:  # a third faster than to index
            values.take(rows[block], out=taken[block], mode="clip")
        else:  # `take` would make a copy of all values
            taken[block] = values[rows[block]]
    return taken


def distinct_values(blocks: Iterable[NDArray[Any]], most: int) -> NDArray[Any]:
    """Return the distinct values, ascending; if there are more than `most`, some that are more."""
    found = np.zeros(0)
    for block in blocks:
        if not len(block):
            continue
        found = np.union1d(found, _distinct(block, most))
        if len(found) > most:
            break
    return found


def _distinct(block: NDArray[Any], most: int) -> NDArray[Any]:
    """Return the distinct values of a block, or more than `most` of them.

    Two are found without a sort, and that they are many in the first rows: the common cases.
    """
    low, high = block.min(), block.max()
    if bool(((block == low) | (block == high)).all()):
        return np.array([low, high])
    first = np.unique(block[: 4 * most])
    return first if len(first) > most else np.unique(block)
