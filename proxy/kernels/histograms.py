"""Histograms of binned columns: the sums over rows from which trees are grown.

Owns how statistics are laid out in words, and their addition. What cuts gain is `cuts`', what the
statistics are is `proxy.engine.trees.tree_growth`'s.

A row's statistics are whole numbers of 64 bits, in fixed point: their sums do not depend on an
order, a histogram less another is exact, and equal partitions have equal gains, bit for bit. A
weight shares its word with a count of rows, (weight << shift) + 1, so that one addition does both.

    MOMENTS   two words for each bin: a sum (of gradients, or of weight times value), a weight
    CLASSES   for each bin the weight of each class

The bins of a column are 0..254 in the order of its values; MISSING_BIN is for rows without one.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic
from numpy.typing import NDArray

from proxy.kernels.compilation import BYTES, INT64, OFFSETS, VOID, inner, kernel

N_BINS = 256
MISSING_BIN = 255

# How rows are counted.
MOMENTS, CLASSES = range(2)

FEW_ROWS = 160
"""With fewer, the bins that they hit are noted one by one; with more, all bins are looked at."""

ROW_NUMBERS = types.Array(types.int32, 1, "C")
CODES = types.Array(types.uint16, 1, "C")
ALL_CODES = types.Array(types.uint16, 1, "C", readonly=True)
BITS = types.Array(types.uint64, 1, "C")

_intrinsic: Any = intrinsic


def _lowest_bit(_typing: Any, _word: Any) -> Any:
    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 0))

    return types.int64(types.uint64), generate


lowest_bit: Any = _intrinsic(_lowest_bit)
"""The place of the lowest bit that is set, 64 if none is."""


@inner
def total_of_rows(
    n_rows: int,
    mode: int,
    n_channels: int,
    node_words: NDArray[np.int64],
    node_codes: NDArray[np.uint16],
    totals: NDArray[np.int64],
) -> None:
    """Write the sums of the words of a node's rows."""
    for channel in range(n_channels):
        totals[channel] = 0
    if mode == MOMENTS:
        first = second = 0
        for i in range(np.uint64(0), np.uint64(n_rows)):
            first += node_words[i << np.uint64(1)]
            second += node_words[(i << np.uint64(1)) + np.uint64(1)]
        totals[0], totals[1] = first, second
    else:
        for i in range(np.uint64(0), np.uint64(n_rows)):
            totals[np.uint64(node_codes[i])] += node_words[i]


@inner
def total_of_histogram(
    histograms: NDArray[np.int64], base: int, n_channels: int, totals: NDArray[np.int64]
) -> None:
    """Write the sums of the words of a histogram's bins."""
    for channel in range(n_channels):
        totals[channel] = 0
    for place in range(N_BINS):
        for channel in range(n_channels):
            totals[channel] += histograms[base + place * n_channels + channel]


@inner
def add_moments(
    bins: NDArray[np.uint8],
    column: int,
    rows: NDArray[np.int32],
    start: int,
    stop: int,
    node_words: NDArray[np.int64],
    histograms: NDArray[np.int64],
    base: int,
) -> None:
    """Add two words of each of a node's rows to the histogram at `base`.

    Unsigned places spare numba's test for negative ones, here and in all loops over rows.
    """
    for i in range(np.uint64(0), np.uint64(stop - start)):
        row = np.uint64(rows[np.uint64(start) + i])
        place = np.uint64(base) + (np.uint64(bins[np.uint64(column) + row]) << np.uint64(1))
        histograms[place] += node_words[i << np.uint64(1)]
        histograms[place + np.uint64(1)] += node_words[(i << np.uint64(1)) + np.uint64(1)]


@inner
def add_classes(
    bins: NDArray[np.uint8],
    column: int,
    rows: NDArray[np.int32],
    start: int,
    stop: int,
    node_words: NDArray[np.int64],
    node_codes: NDArray[np.uint16],
    n_channels: int,
    histograms: NDArray[np.int64],
    base: int,
) -> None:
    """Add one word of each of a node's rows to the histogram at `base`."""
    for i in range(np.uint64(0), np.uint64(stop - start)):
        row = np.uint64(rows[np.uint64(start) + i])
        place = np.uint64(bins[np.uint64(column) + row]) * np.uint64(n_channels)
        place += np.uint64(base) + np.uint64(node_codes[i])
        histograms[place] += node_words[i]


@inner
def note_bins_of_rows(
    bins: NDArray[np.uint8],
    column: int,
    rows: NDArray[np.int32],
    start: int,
    stop: int,
    occupied: NDArray[np.uint64],
) -> None:
    """Write the 256 bits of the bins that rows are in."""
    first = second = third = fourth = np.uint64(0)
    for i in range(np.uint64(start), np.uint64(stop)):
        place = np.uint64(bins[np.uint64(column) + np.uint64(rows[i])])
        bit = np.uint64(1) << (place & np.uint64(63))
        word = place >> np.uint64(6)
        first |= bit if word == np.uint64(0) else np.uint64(0)
        second |= bit if word == np.uint64(1) else np.uint64(0)
        third |= bit if word == np.uint64(2) else np.uint64(0)
        fourth |= bit if word == np.uint64(3) else np.uint64(0)
    occupied[0], occupied[1], occupied[2], occupied[3] = first, second, third, fourth


@inner
def note_bins_of_histogram(
    histograms: NDArray[np.int64], base: int, n_channels: int, occupied: NDArray[np.uint64]
) -> None:
    """Write the 256 bits of the bins that hold a row; every row adds to one of its words."""
    place = np.uint64(base)
    for word in range(4):
        bits = np.uint64(0)
        for b in range(np.uint64(0), np.uint64(64)):
            any_row = 0
            for _ in range(n_channels):
                any_row |= histograms[place]
                place += np.uint64(1)
            bits |= (np.uint64(1) if any_row != 0 else np.uint64(0)) << b
        occupied[word] = bits


@inner
def clear_bins(
    histograms: NDArray[np.int64], base: int, n_channels: int, occupied: NDArray[np.uint64]
) -> None:
    """Put zeros back into the bins that hold a row."""
    for word in range(4):
        bits = occupied[word]
        while bits != np.uint64(0):
            place = base + (64 * word + lowest_bit(bits)) * n_channels
            bits &= bits - np.uint64(1)
            for channel in range(n_channels):
                histograms[place + channel] = 0


@inner
def is_constant(occupied: NDArray[np.uint64]) -> bool:
    """Return whether all rows are in one bin."""
    n_words = 0
    for word in range(4):
        bits = occupied[word]
        if bits != np.uint64(0):
            n_words += 1
            if bits & (bits - np.uint64(1)) != np.uint64(0):
                return False
    return n_words <= 1


@kernel(
    VOID(
        BYTES,
        INT64,
        ROW_NUMBERS,
        INT64,
        INT64,
        OFFSETS,
        CODES,
        INT64,
        INT64,
        OFFSETS,
        INT64,
        INT64,
        INT64,
    )
)
def fill_histograms(
    bins: NDArray[np.uint8],
    n_rows: int,
    rows: NDArray[np.int32],
    start: int,
    stop: int,
    node_words: NDArray[np.int64],
    node_codes: NDArray[np.uint16],
    mode: int,
    n_channels: int,
    histograms: NDArray[np.int64],
    base: int,
    first_feature: int,
    last_feature: int,
) -> None:
    """Write the histograms of some features over the rows rows[start:stop] of a node.

    Parameters
    ----------
    bins : (n_features * n_rows,), feature by feature
    node_words, node_codes : of the node's rows, in their order
    histograms : those of the node begin at `base`, with that of feature 0
    """
    size = N_BINS * n_channels
    for feature in range(first_feature, last_feature):
        own = base + feature * size
        for place in range(own, own + size):
            histograms[place] = 0
        if mode == MOMENTS:
            add_moments(bins, feature * n_rows, rows, start, stop, node_words, histograms, own)
        else:
            add_classes(
                bins,
                feature * n_rows,
                rows,
                start,
                stop,
                node_words,
                node_codes,
                n_channels,
                histograms,
                own,
            )
