"""Put values into bins: one byte for each value of a block of a design.

Owns the search. Which edges a column has is `proxy.engine.trees.binning`'s.
"""

from __future__ import annotations

import numpy as np
from numba import types
from numpy.typing import NDArray

from proxy.kernels.compilation import FLOATS, INT64, MATRIX, VOID, inner, kernel

BINS = types.Array(types.uint8, 2, "C")

N_BINS = 256
MISSING_BIN = 255


@inner
def _step(value: float, edges: NDArray[np.float64], place: np.uint64, size: int) -> np.uint64:
    """Go `size` edges on if the value is above the one there; by arithmetic, not by a branch."""
    step = np.uint64(size)
    return place + step * np.uint64(value > edges[place + step])


@kernel(VOID(MATRIX, FLOATS, INT64, BINS))
def find_bins(
    block: NDArray[np.float64],
    edges: NDArray[np.float64],
    start: int,
    bins: NDArray[np.uint8],
) -> None:
    """Write the bin of each value: the number of edges below it.

    Always eight halvings, whatever the number of edges: unrolled they take a tenth of the time of
    a loop that ends early, as several values are worked on at a time.

    Parameters
    ----------
    block : (n_features, m), a block of the design; NaN is missing
    edges : (n_features * 256,), of each feature at most 254, ascending, then infinities
    start : the first row of the block
    bins : (n_features, n_rows), of which columns start..start + m are written
    """
    for feature in range(np.uint64(block.shape[0])):
        before = feature * np.uint64(N_BINS) - np.uint64(1)
        for i in range(np.uint64(block.shape[1])):
            value = block[feature, i]
            place = _step(value, edges, before, 128)
            place = _step(value, edges, place, 64)
            place = _step(value, edges, place, 32)
            place = _step(value, edges, place, 16)
            place = _step(value, edges, place, 8)
            place = _step(value, edges, place, 4)
            place = _step(value, edges, place, 2)
            place = _step(value, edges, place, 1)
            found = place - before
            bins[feature, np.uint64(start) + i] = found if value == value else MISSING_BIN
