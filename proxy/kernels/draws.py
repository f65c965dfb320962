"""Draws of rows with replacement, for trees that are to differ.

Owns the draw and the lists of who was drawn and who was not. The generator is `tree_evaluation`'s.
"""

from __future__ import annotations

import numpy as np
from numba import types
from numpy.typing import NDArray

from proxy.kernels.compilation import INT64, VOID, kernel
from proxy.kernels.histograms import ROW_NUMBERS
from proxy.kernels.row_statistics import COUNTS
from proxy.kernels.tree_evaluation import next_random

WRITABLE_COUNTS = types.Array(types.uint16, 1, "C")


@kernel(INT64(ROW_NUMBERS, INT64, WRITABLE_COUNTS))
def draw_rows(rows: NDArray[np.int32], seed: int, counts: NDArray[np.uint16]) -> int:
    """Draw as many of the rows as there are, with replacement; return how many different ones.

    Parameters
    ----------
    rows : (m,), row numbers
    counts : (n_rows,), zeros where `rows` points to; then how often each row was drawn
    """
    state = np.uint64(seed)
    n_rows = np.uint64(rows.size)
    n_drawn = 0
    for _ in range(rows.size):
        state, bits = next_random(state)
        drawn = np.uint64(rows[((bits >> np.uint64(32)) * n_rows) >> np.uint64(32)])
        n_drawn += counts[drawn] == 0
        counts[drawn] += np.uint16(1)
    return n_drawn


@kernel(VOID(ROW_NUMBERS, COUNTS, types.boolean, ROW_NUMBERS))
def list_rows(
    rows: NDArray[np.int32], counts: NDArray[np.uint16], is_drawn: bool, chosen: NDArray[np.int32]
) -> None:
    """Write those of the rows that were drawn, or those that were not; `chosen` has their size."""
    place = np.uint64(0)
    for i in range(np.uint64(rows.size)):
        row = rows[i]
        if (counts[np.uint64(row)] != 0) == is_drawn:
            chosen[place] = row
            place += np.uint64(1)
