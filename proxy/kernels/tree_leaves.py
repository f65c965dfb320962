"""What comes after a tree is grown: thresholds, values, and where rows end.

Owns what a leaf holds, and the walk of binned rows. Growth itself is `tree_growth`'s.
"""

from __future__ import annotations

import numpy as np
from numba import types
from numpy.typing import NDArray

from proxy.kernels.compilation import (
    BYTES,
    FLOATS,
    INT64,
    VOID,
    WRITABLE_BYTES,
    WRITABLE_FLOATS,
    inner,
    kernel,
)
from proxy.kernels.cuts import NEWTON
from proxy.kernels.histograms import ALL_CODES, CLASSES, MISSING_BIN, ROW_NUMBERS
from proxy.kernels.row_statistics import COUNTS, count_of, weight_of
from proxy.kernels.tree_nodes import (
    FEATURE,
    HIGH,
    LEFT,
    LOW,
    MISSING_LEFT,
    NO_FEATURE,
    NODES,
    START,
    STOP,
)

FLOAT64 = types.float64
FEATURES = types.Array(types.int32, 1, "C", readonly=True)
EDGES = types.Array(types.float64, 2, "C", readonly=True)
VALUES = types.Array(types.float64, 2, "C")
VOTES = types.Array(types.float32, 2, "C")

LARGEST_GAIN = 1e290
"""So that their sum is finite: squares of the largest values that training takes may not be."""

ABOVE_ALL = np.finfo(np.float64).max
"""The threshold that parts all values from the missing ones."""


@inner
def _threshold(
    edges: NDArray[np.float64],
    values: NDArray[np.float64],
    is_exact: int,
    feature: int,
    low: int,
    high: int,
) -> tuple[float, int]:
    """Return a cut between two bins, and the last bin on its left.

    Where a bin is a value, the middle between the node's nearest two, as an exact search would
    choose; it may part values that other nodes hold, hence the bin. Else an edge in the middle.
    """
    if high == MISSING_BIN:
        return ABOVE_ALL, MISSING_BIN - 1
    if not is_exact:
        middle = (low + high - 1) >> 1
        return edges[feature, middle], middle
    # Halves, as a sum of two values may overflow; the lower one where they are neighbours.
    threshold = 0.5 * values[feature, low] + 0.5 * values[feature, high]
    if not values[feature, low] <= threshold < values[feature, high]:
        threshold = values[feature, low]
    last = low
    while last + 1 < high and values[feature, last + 1] <= threshold:
        last += 1
    return threshold, last


@inner
def _add_rows(
    rows: NDArray[np.int32],
    start: int,
    stop: int,
    mode: int,
    first: NDArray[np.float64],
    second: NDArray[np.float64],
    counts: NDArray[np.uint16],
    codes: NDArray[np.uint16],
    value: NDArray[np.float64],
    weight: NDArray[np.float64],
    node: int,
) -> None:
    """Sum a leaf's rows up, in their order, from the statistics themselves."""
    total = own_weight = 0.0
    for i in range(np.uint64(start), np.uint64(stop)):
        row = np.uint64(rows[i])
        count = count_of(counts, row)
        row_weight = weight_of(second, row) * count
        own_weight += row_weight
        if mode == CLASSES:
            value[node, np.int64(codes[row])] += row_weight
        else:
            total += first[row] * count
    weight[node] = own_weight
    if mode != CLASSES:
        value[node, 0] = total


@kernel(
    VOID(
        ROW_NUMBERS,
        NODES,
        FLOATS,
        FLOAT64,
        EDGES,
        EDGES,
        BYTES,
        INT64,
        INT64,
        FLOAT64,
        FLOATS,
        FLOATS,
        COUNTS,
        ALL_CODES,
        ROW_NUMBERS,
        WRITABLE_FLOATS,
        WRITABLE_BYTES,
        WRITABLE_BYTES,
        ROW_NUMBERS,
        VALUES,
        WRITABLE_FLOATS,
        WRITABLE_FLOATS,
    )
)
def finish_tree(
    rows: NDArray[np.int32],
    nodes: NDArray[np.int32],
    gains: NDArray[np.float64],
    gain_unit: float,
    edges: NDArray[np.float64],
    values: NDArray[np.float64],
    is_exact: NDArray[np.uint8],
    mode: int,
    criterion: int,
    l2: float,
    first: NDArray[np.float64],
    second: NDArray[np.float64],
    counts: NDArray[np.uint16],
    codes: NDArray[np.uint16],
    feature: NDArray[np.int32],
    threshold: NDArray[np.float64],
    last_bin: NDArray[np.uint8],
    missing_left: NDArray[np.uint8],
    left: NDArray[np.int32],
    value: NDArray[np.float64],
    weight: NDArray[np.float64],
    gain: NDArray[np.float64],
) -> None:
    """Write the columns of a tree from the table of its nodes.

    Parameters
    ----------
    rows, gains, first, second, counts, codes : as `grow` took and left them
    nodes : (n_nodes, NODE_FIELDS)
    gain_unit : what a gain is multiplied with
    edges, values, is_exact : of the bins
    feature ... gain : (n_nodes,), to be written; `value` (n_nodes, n_values)
    """
    for node in range(nodes.shape[0] - 1, -1, -1):
        own = nodes[node, FEATURE]
        feature[node] = own
        left[node] = nodes[node, LEFT]
        threshold[node], last_bin[node], missing_left[node] = 0.0, 0, 0
        gain[node] = 0.0
        for k in range(value.shape[1]):
            value[node, k] = 0.0
        if own == NO_FEATURE:
            start, stop = nodes[node, START], nodes[node, STOP]
            _add_rows(rows, start, stop, mode, first, second, counts, codes, value, weight, node)
            continue
        missing_left[node] = nodes[node, MISSING_LEFT] == 1
        low, high = nodes[node, LOW], nodes[node, HIGH]
        cut, last = _threshold(edges, values, is_exact[own], own, low, high)
        threshold[node], last_bin[node] = cut, last
        gain[node] = min(gains[node] * gain_unit, LARGEST_GAIN)
        child = nodes[node, LEFT]
        weight[node] = weight[child] + weight[child + 1]
        for k in range(value.shape[1]):
            value[node, k] = value[child, k] + value[child + 1, k]
    for node in range(nodes.shape[0]):
        divisor = weight[node]
        if criterion == NEWTON:
            divisor = -(divisor + l2)
        for k in range(value.shape[1]):
            value[node, k] = value[node, k] / divisor if divisor != 0.0 else 0.0


@kernel(VOID(ROW_NUMBERS, NODES, ROW_NUMBERS))
def locate_rows(
    rows: NDArray[np.int32], nodes: NDArray[np.int32], leaf_of_row: NDArray[np.int32]
) -> None:
    """Write the leaf of each row of the tree; those of other rows are left alone."""
    for node in range(nodes.shape[0]):
        if nodes[node, FEATURE] == NO_FEATURE:
            for i in range(np.uint64(nodes[node, START]), np.uint64(nodes[node, STOP])):
                leaf_of_row[np.uint64(rows[i])] = node


@kernel(VOID(BYTES, INT64, ROW_NUMBERS, FEATURES, BYTES, BYTES, FEATURES, ROW_NUMBERS))
def walk_rows(
    bins: NDArray[np.uint8],
    n_rows: int,
    rows: NDArray[np.int32],
    feature: NDArray[np.int32],
    last_bin: NDArray[np.uint8],
    missing_left: NDArray[np.uint8],
    left: NDArray[np.int32],
    leaf: NDArray[np.int32],
) -> None:
    """Write the leaf that each of the rows comes to.

    Parameters
    ----------
    bins : (n_features * n_rows,), feature by feature
    rows : (m,), row numbers
    feature, last_bin, missing_left, left : (n_nodes,), a tree
    leaf : (m,)
    """
    for i in range(rows.size):
        row = np.uint64(rows[i])
        node = np.int64(0)
        while feature[node] >= 0:
            place = bins[np.uint64(feature[node]) * np.uint64(n_rows) + row]
            goes_left = place <= last_bin[node]
            if place == MISSING_BIN:
                goes_left = missing_left[node] != 0
            node = np.int64(left[node]) + (0 if goes_left else 1)
        leaf[i] = node


@kernel(VOID(ROW_NUMBERS, ROW_NUMBERS, EDGES, VOTES, ROW_NUMBERS))
def add_leaves(
    rows: NDArray[np.int32],
    leaf: NDArray[np.int32],
    value: NDArray[np.float64],
    sums: NDArray[np.float32],
    counts: NDArray[np.int32],
) -> None:
    """Add what a tree says of each of the rows to the (n_rows, n_values) sums, and count it."""
    for i in range(rows.size):
        row = np.uint64(rows[i])
        own = np.uint64(leaf[i])
        counts[row] += np.int32(1)
        for k in range(np.uint64(value.shape[1])):
            sums[row, k] = np.float32(sums[row, k] + value[own, k])
