"""What a row counts as when trees are grown, made where it is needed.

Owns the rounding of statistics to words of fixed point, whose layout is `histograms`'. For a whole
training set the words would be as large as the set's bins, and for each tree that is grown at a
time; so only those of one node's rows exist.

`second` and `counts` may have one element, which then stands for all rows.
"""

from __future__ import annotations

import math

import numpy as np
from numba import types
from numpy.typing import NDArray

from proxy.kernels.compilation import FLOATS, VOID, WRITABLE_FLOATS, inner, kernel
from proxy.kernels.histograms import MOMENTS, ROW_NUMBERS
from proxy.kernels.tree_nodes import MEAN, MODE, SCALE, SHIFT, WEIGHT_SCALE

COUNTS = types.Array(types.uint16, 1, "C", readonly=True)


@inner
def weight_of(second: NDArray[np.float64], row: np.uint64) -> float:
    """Return what a row weighs, drawn once."""
    return float(second[row] if second.size > 1 else second[np.uint64(0)])


@inner
def count_of(counts: NDArray[np.uint16], row: np.uint64) -> float:
    """Return how often a row was drawn."""
    return float(counts[row] if counts.size > 1 else counts[np.uint64(0)])


@kernel(VOID(FLOATS, FLOATS, COUNTS, ROW_NUMBERS, WRITABLE_FLOATS))
def sum_statistics(
    first: NDArray[np.float64],
    second: NDArray[np.float64],
    counts: NDArray[np.uint16],
    rows: NDArray[np.int32],
    sums: NDArray[np.float64],
) -> None:
    """Write the sums over rows of `first`, of its magnitudes, of `second`, and of first^2 / second.

    Parameters
    ----------
    first : (n_rows,), or empty where the statistics are classes
    second, counts : (n_rows,), or (1,)
    rows : (m,), row numbers
    sums : (4,)
    """
    total = magnitude = weight = squares = 0.0
    for i in range(np.uint64(rows.size)):
        row = np.uint64(rows[i])
        count = count_of(counts, row)
        own = weight_of(second, row)
        if first.size:
            total += first[row] * count
            magnitude += abs(first[row]) * count
            squares += first[row] * first[row] / own * count if own > 0.0 else 0.0
        weight += own * count
    sums[0], sums[1], sums[2], sums[3] = total, magnitude, weight, squares


@inner
def gather(
    rows: NDArray[np.int32],
    start: int,
    stop: int,
    first: NDArray[np.float64],
    second: NDArray[np.float64],
    counts: NDArray[np.uint16],
    codes: NDArray[np.uint16],
    settings: NDArray[np.int64],
    limits: NDArray[np.float64],
    node_words: NDArray[np.int64],
    node_codes: NDArray[np.uint16],
) -> None:
    """Write the words of a node's rows in their order, and their classes if there are any.

    By mode: (first - mean * second) * scale and then second * weight_scale beside a count of 1, or
    the latter alone.
    """
    one, shift = np.uint64(1), settings[SHIFT]
    weight_scale = limits[WEIGHT_SCALE]
    if settings[MODE] == MOMENTS:
        mean, scale = limits[MEAN], limits[SCALE]
        for i in range(np.uint64(0), np.uint64(stop - start)):
            row = np.uint64(rows[np.uint64(start) + i])
            count, weight = count_of(counts, row), weight_of(second, row)
            value = (first[row] - mean * weight) * count * scale
            node_words[i << one] = np.int64(math.floor(value + 0.5))
            word = np.int64(math.floor(weight * count * weight_scale + 0.5))
            node_words[(i << one) + one] = (word << shift) + 1
    else:
        for i in range(np.uint64(0), np.uint64(stop - start)):
            row = np.uint64(rows[np.uint64(start) + i])
            weight = weight_of(second, row) * count_of(counts, row)
            node_words[i] = (np.int64(math.floor(weight * weight_scale + 0.5)) << shift) + 1
            node_codes[i] = codes[row]
