"""A k-d tree over points: its layout, its making, and the nearest point to a row.

Owns distances and the rounding that walks over the tree rely on: gaps between boxes are measured as
distances between points are, column by column, so a box is never nearer, and its far side never
farther, than one of its points as they are computed. Leaves the arrays' making and the sharing out
among threads to `proxy.engine.clusters.neighbours`, other questions to `neighbours` and
`components`.

The tree is complete: node i has the children 2 i + 1 and 2 i + 2, and all leaves are on the last
level. Points lie in the order of the leaves:

    columns  (n_columns, n)        their coordinates, so that a leaf's are side by side
    bounds   (n_nodes, 2)          the first point of a node, and the one behind its last
    boxes    (n_nodes, 2 n_columns) the least coordinates of its points, then the largest

A `radius` is a distance as METRIC adds it up: of the Euclidean one the square.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import types
from numpy.typing import NDArray

from proxy.kernels.compilation import (
    FLOATS,
    INT64,
    MATRIX,
    OFFSETS,
    TABLE,
    VOID,
    WRITABLE_FLOATS,
    inner,
    kernel,
)

_types: Any = types

FLOAT64 = types.float64
POINTS = _types.Array(types.float64, 2, "C", readonly=True)
FIXED_TABLE = _types.Array(types.int64, 2, "C", readonly=True)
FIXED_INT64S = _types.Array(types.int64, 1, "C", readonly=True)

EUCLIDEAN, MANHATTAN, CHEBYSHEV = range(3)

MOST_LEAF_POINTS = 16
DEEPEST_STACK = 128
"""A walk holds a sibling for each level at most, and a tree has fewer than 64."""

NO_COMPONENT = -1
SEVERAL_COMPONENTS = -2


@inner
def _joined(total: float, gap: float, metric: int) -> float:
    """Return a distance with one more column's gap."""
    if metric == EUCLIDEAN:
        return total + gap * gap
    if metric == MANHATTAN:
        return total + gap
    return max(total, gap)


@inner
def nearest_gap(boxes: NDArray[np.float64], a: int, b: int, metric: int) -> float:
    """Return the least distance that points of two boxes can have."""
    n_columns = boxes.shape[1] // 2
    total = 0.0
    for j in range(n_columns):
        below = boxes[a, j] - boxes[b, n_columns + j]
        above = boxes[b, j] - boxes[a, n_columns + j]
        total = _joined(total, max(below, above, 0.0), metric)
    return total


@inner
def farthest_gap(boxes: NDArray[np.float64], a: int, b: int, metric: int) -> float:
    """Return the largest distance that points of two boxes can have."""
    n_columns = boxes.shape[1] // 2
    total = 0.0
    for j in range(n_columns):
        below = boxes[a, n_columns + j] - boxes[b, j]
        above = boxes[b, n_columns + j] - boxes[a, j]
        total = _joined(total, max(below, above), metric)
    return total


@inner
def gap_from_point(
    boxes: NDArray[np.float64], node: int, columns: NDArray[np.float64], point: int, metric: int
) -> float:
    """Return the least distance of a point, a column of `columns`, from points of a box."""
    n_columns = boxes.shape[1] // 2
    total = 0.0
    for j in range(n_columns):
        value = columns[j, point]
        gap = max(boxes[node, j] - value, value - boxes[node, n_columns + j], 0.0)
        total = _joined(total, gap, metric)
    return total


@inner
def distance_between(
    columns: NDArray[np.float64], p: int, others: NDArray[np.float64], q: int, metric: int
) -> float:
    """Return the distance of a column of `columns` from one of `others`."""
    total = 0.0
    for j in range(columns.shape[0]):
        total = _joined(total, abs(columns[j, p] - others[j, q]), metric)
    return total


@inner
def push_children(stack: NDArray[np.int64], size: int, node: int) -> int:
    """Put a node's children on a stack, the left one on top; return the stack's new size."""
    stack[size], stack[size + 1] = 2 * node + 2, 2 * node + 1
    return size + 2


@inner
def _select(
    keys: NDArray[np.float64], order: NDArray[np.int64], start: int, stop: int, middle: int
) -> None:
    """Reorder start..stop so that no key before `middle` is above one from there on (Hoare)."""
    low, high = start, stop - 1
    while low < high:
        pivot = keys[(low + high) // 2]
        i, j = low, high
        while i <= j:
            while keys[i] < pivot:
                i += 1
            while keys[j] > pivot:
                j -= 1
            if i <= j:
                keys[i], keys[j] = keys[j], keys[i]
                order[i], order[j] = order[j], order[i]
                i += 1
                j -= 1
        if middle <= j:
            high = j
        elif middle >= i:
            low = i
        else:
            return


@kernel(VOID(POINTS, INT64, INT64, INT64, OFFSETS, WRITABLE_FLOATS, TABLE, MATRIX))
def split_nodes(
    points: NDArray[np.float64],
    first: int,
    last: int,
    is_split: int,
    order: NDArray[np.int64],
    keys: NDArray[np.float64],
    bounds: NDArray[np.int64],
    boxes: NDArray[np.float64],
) -> None:
    """Box the nodes first..last, whose bounds are known, and halve each along its widest side.

    Parameters
    ----------
    points : (n, n_columns)
    is_split : not 0: they have children, which are given their bounds
    order : (n,) the rows of `points` in the order of the nodes, rearranged within each
    keys : (n,), to be overwritten
    """
    n_columns = points.shape[1]
    for node in range(first, last):
        start, stop = bounds[node, 0], bounds[node, 1]
        for j in range(n_columns):
            boxes[node, j] = np.inf
            boxes[node, n_columns + j] = -np.inf
        for place in range(start, stop):
            for j in range(n_columns):
                value = points[order[place], j]
                boxes[node, j] = min(boxes[node, j], value)
                boxes[node, n_columns + j] = max(boxes[node, n_columns + j], value)
        if not is_split:
            continue
        widest, width = 0, -1.0
        for j in range(n_columns):
            side = boxes[node, n_columns + j] - boxes[node, j]
            if side > width:
                widest, width = j, side
        middle = (start + stop) // 2
        if width > 0.0:
            for place in range(start, stop):
                keys[place] = points[order[place], widest]
            _select(keys, order, start, stop, middle)
        bounds[2 * node + 1, 0], bounds[2 * node + 1, 1] = start, middle
        bounds[2 * node + 2, 0], bounds[2 * node + 2, 1] = middle, stop


@kernel(
    VOID(
        POINTS,
        FLOAT64,
        POINTS,
        FIXED_TABLE,
        POINTS,
        FIXED_INT64S,
        FLOATS,
        FLOAT64,
        INT64,
        OFFSETS,
        MATRIX,
        MATRIX,
        MATRIX,
    )
)
def find_values_of_nearest(
    rows: NDArray[np.float64],
    scale: float,
    columns: NDArray[np.float64],
    bounds: NDArray[np.int64],
    boxes: NDArray[np.float64],
    order: NDArray[np.int64],
    values: NDArray[np.float64],
    radius: float,
    metric: int,
    stack: NDArray[np.int64],
    gaps: NDArray[np.float64],
    point: NDArray[np.float64],
    out: NDArray[np.float64],
) -> None:
    """Write what the nearest point within the radius of each row has as its value, or else 0.

    Of several points at the same distance the one of the lowest row counts.

    Parameters
    ----------
    rows : (n_rows, n_columns), any finite numbers
    scale : what the points have been multiplied by
    order : (n,) the row that each point was
    values : (n,) by row
    stack : (DEEPEST_STACK,), gaps : (1, DEEPEST_STACK), point : (n_columns, 1): to be overwritten
    out : (1, n_rows)
    """
    first_leaf = bounds.shape[0] // 2
    for row in range(rows.shape[0]):
        for j in range(rows.shape[1]):
            point[j, 0] = rows[row, j] * scale
        best, nearest = radius, -1
        stack[0], gaps[0, 0], size = 0, 0.0, 1
        while size > 0:
            size -= 1
            node = stack[size]
            if not gaps[0, size] <= best:
                continue
            if node >= first_leaf:
                for q in range(bounds[node, 0], bounds[node, 1]):
                    distance = distance_between(point, 0, columns, q, metric)
                    if distance < best or (
                        distance == best and (nearest < 0 or order[q] < nearest)
                    ):
                        best, nearest = distance, order[q]
                continue
            for side in range(2):
                stack[size + side] = 2 * node + 1 + side
                gaps[0, size + side] = gap_from_point(boxes, 2 * node + 1 + side, point, 0, metric)
            # The nearer child is put on top: it is likely to make the other one needless.
            if gaps[0, size] < gaps[0, size + 1]:
                stack[size], stack[size + 1] = stack[size + 1], stack[size]
                gaps[0, size], gaps[0, size + 1] = gaps[0, size + 1], gaps[0, size]
            size += 2
        out[0, row] = values[nearest] if nearest >= 0 else 0.0
