"""Score rows by trees, and order nodes for it: walks over packed nodes.

Owns the walk. Leaves the packing, and every check of it, to `proxy.engine.trees.tree_predictor`:
here an index is believed.

No value is compared with a threshold during a walk. Each is replaced by its rank, the number of the
feature's distinct thresholds that are below it: x > thresholds[i] exactly when rank > i, so nothing
is lost, a node takes 8 bytes and a row's ranks two each. A node, of its tree in level order, is

    word   uint64   SLOT (21 bits), a column of the ranks; RANK (16 bits), the place of its
                    threshold; DELTA (27 bits), its left child's place less its own

The right child is behind the left. A leaf has DELTA 0 and a RANK that no rank exceeds, so a walk
that arrives stays. That lets rows walk together without a branch for each.

A feature has up to two columns of ranks, which differ for NaN: below every threshold in one, above
all in the other. `proxy.kernels.ranks` makes them.
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
    VOID,
    WRITABLE_FLOATS,
    inner,
    kernel,
)
from proxy.kernels.ranks import CHUNK_ROWS, HIGHEST_RANK, RANK_BITS, rank_chunk, rank_row

DELTA_BITS, SLOT_BITS = 27, 21
LEAF_RANK = HIGHEST_RANK

LANES = 8
"""Rows, or trees, that walk together: while one waits for memory the others go on."""

U = np.uint64
_DELTA_MASK = U((1 << DELTA_BITS) - 1)
_RANK_MASK = U(LEAF_RANK)
_RANK_SHIFT = U(DELTA_BITS)
_SLOT_SHIFT = U(DELTA_BITS + RANK_BITS)
_ZERO, _ONE = U(0), U(1)
_LANES = U(LANES)

_types: Any = types
_ROWS = _types.Array(types.float64, 2, "C", readonly=True)
_NODES = _types.Array(types.uint64, 1, "C", readonly=True)
_LEAVES = _types.Array(types.uint32, 1, "C", readonly=True)
_VALUES = _types.Array(types.float64, 2, "C", readonly=True)
_SEARCHES = _types.Array(types.int64, 2, "C", readonly=True)
_RANKS = _types.Array(types.uint16, 1, "C")
_POSITIONS = _types.Array(types.uint64, 1, "C")
_CHILDREN = _types.Array(types.int32, 1, "C", readonly=True)
_ORDER = _types.Array(types.int64, 1, "C")
_FLOAT64 = types.float64


@inner
def _next(nodes: NDArray[np.uint64], ranks: NDArray[np.uint16], place: Any, row: Any) -> Any:
    """Return the place of the child that a row goes to; of a leaf its own."""
    word = nodes[place]
    rank = U(ranks[row + (word >> _SLOT_SHIFT)])
    goes_right = rank > ((word >> _RANK_SHIFT) & _RANK_MASK)
    return place + (word & _DELTA_MASK) + U(goes_right)


@inner
def _leaf(nodes: NDArray[np.uint64], ranks: NDArray[np.uint16], root: Any, row: Any) -> Any:
    """Return the place of the leaf that one row arrives at."""
    place = root
    while True:
        child = _next(nodes, ranks, place, row)
        if child == place:
            return place
        place = child


@inner
def _leaves(
    nodes: NDArray[np.uint64],
    ranks: NDArray[np.uint16],
    roots: tuple[Any, Any, Any, Any, Any, Any, Any, Any],
    row: Any,
    step: Any,
) -> Any:
    """Return the places of eight leaves: from the roots, by rows that are `step` ranks apart."""
    row_0 = row
    row_1 = row_0 + step
    row_2 = row_1 + step
    row_3 = row_2 + step
    row_4 = row_3 + step
    row_5 = row_4 + step
    row_6 = row_5 + step
    row_7 = row_6 + step
    at_0, at_1, at_2, at_3, at_4, at_5, at_6, at_7 = roots
    while True:
        to_0 = _next(nodes, ranks, at_0, row_0)
        to_1 = _next(nodes, ranks, at_1, row_1)
        to_2 = _next(nodes, ranks, at_2, row_2)
        to_3 = _next(nodes, ranks, at_3, row_3)
        to_4 = _next(nodes, ranks, at_4, row_4)
        to_5 = _next(nodes, ranks, at_5, row_5)
        to_6 = _next(nodes, ranks, at_6, row_6)
        to_7 = _next(nodes, ranks, at_7, row_7)
        moved = (to_0 ^ at_0) | (to_1 ^ at_1) | (to_2 ^ at_2) | (to_3 ^ at_3)
        moved |= (to_4 ^ at_4) | (to_5 ^ at_5) | (to_6 ^ at_6) | (to_7 ^ at_7)
        if moved == _ZERO:
            return at_0, at_1, at_2, at_3, at_4, at_5, at_6, at_7
        at_0, at_1, at_2, at_3 = to_0, to_1, to_2, to_3
        at_4, at_5, at_6, at_7 = to_4, to_5, to_6, to_7


@inner
def _add(
    leaves: NDArray[np.uint32],
    values: NDArray[np.float64],
    place: Any,
    output: int,
    row: int,
    out: NDArray[np.float64],
) -> None:
    """Add a leaf's values to a row's outputs, from `output` on."""
    leaf = U(leaves[place])
    for k in range(values.shape[1]):
        out[U(output + k), U(row)] += values[leaf, U(k)]


@inner
def _finish(out: NDArray[np.float64], base: NDArray[np.float64], divisor: float) -> None:
    for output in range(out.shape[0]):
        for row in range(out.shape[1]):
            at = (U(output), U(row))
            out[at] = base[U(output)] + out[at] / divisor


@inner
def _walk_block(
    nodes: NDArray[np.uint64],
    roots: NDArray[np.uint64],
    leaves: NDArray[np.uint32],
    values: NDArray[np.float64],
    ranks: NDArray[np.uint16],
    n_slots: int,
    first: int,
    n_rows: int,
    out: NDArray[np.float64],
) -> None:
    """Add every tree's values for rows first..first + n_rows, whose ranks start at 0."""
    width, n_outputs, output = U(n_slots), out.shape[0], 0
    for tree in range(roots.shape[0]):
        root = roots[U(tree)]
        row = 0
        while row + LANES <= n_rows:
            at_0, at_1, at_2, at_3, at_4, at_5, at_6, at_7 = _leaves(
                nodes,
                ranks,
                (root, root, root, root, root, root, root, root),
                U(row) * width,
                width,
            )
            own = first + row
            _add(leaves, values, at_0, output, own, out)
            _add(leaves, values, at_1, output, own + 1, out)
            _add(leaves, values, at_2, output, own + 2, out)
            _add(leaves, values, at_3, output, own + 3, out)
            _add(leaves, values, at_4, output, own + 4, out)
            _add(leaves, values, at_5, output, own + 5, out)
            _add(leaves, values, at_6, output, own + 6, out)
            _add(leaves, values, at_7, output, own + 7, out)
            row += LANES
        while row < n_rows:
            place = _leaf(nodes, ranks, root, U(row) * width)
            _add(leaves, values, place, output, first + row, out)
            row += 1
        if values.shape[1] == 1:
            output = output + 1 if output + 1 < n_outputs else 0


@kernel(
    VOID(
        _ROWS,
        _NODES,
        _NODES,
        _LEAVES,
        _VALUES,
        _SEARCHES,
        FLOATS,
        FLOATS,
        _FLOAT64,
        _RANKS,
        INT64,
        WRITABLE_FLOATS,
        _POSITIONS,
        MATRIX,
    )
)
def score_many(
    X: NDArray[np.float64],
    nodes: NDArray[np.uint64],
    roots: NDArray[np.uint64],
    leaves: NDArray[np.uint32],
    values: NDArray[np.float64],
    searches: NDArray[np.int64],
    tables: NDArray[np.float64],
    base: NDArray[np.float64],
    divisor: float,
    ranks: NDArray[np.uint16],
    n_slots: int,
    column: NDArray[np.float64],
    position: NDArray[np.uint64],
    out: NDArray[np.float64],
) -> None:
    """Write base + (sum of the trees' values) / divisor for every row, added up in tree order.

    Parameters
    ----------
    X : (n_rows, n_features)
    nodes, roots : words, and the place of each tree's first
    leaves : for each node that is a leaf its row in `values`
    values : (n_leaves, 1), and tree t is for output t % n_outputs; or (n_leaves, n_outputs)
    searches, tables : (n_searches, SEARCH_FIELDS of `ranks`), and the thresholds
    base : (n_outputs,)
    ranks : a multiple of n_slots, at least 1 row of them: so many rows are a block, which goes
        through one tree after the other while its ranks, and the tree, are in the cache
    n_slots : columns of the ranks, at least 1
    column, position : (CHUNK_ROWS,), overwritten
    out : (n_outputs, n_rows)
    """
    n_rows, block_rows = X.shape[0], ranks.size // n_slots
    for output in range(out.shape[0]):
        for row in range(n_rows):
            out[U(output), U(row)] = 0.0
    for start in range(0, n_rows, block_rows):
        n_block = min(block_rows, n_rows - start)
        for chunk in range(0, n_block, CHUNK_ROWS):
            rank_chunk(
                X,
                start + chunk,
                min(CHUNK_ROWS, n_block - chunk),
                searches,
                tables,
                n_slots,
                ranks,
                chunk * n_slots,
                column,
                position,
            )
        _walk_block(nodes, roots, leaves, values, ranks, n_slots, start, n_block, out)
    _finish(out, base, divisor)


@kernel(
    VOID(
        _ROWS,
        _NODES,
        _NODES,
        _LEAVES,
        _VALUES,
        _SEARCHES,
        FLOATS,
        FLOATS,
        _FLOAT64,
        _RANKS,
        MATRIX,
    )
)
def score_few(
    X: NDArray[np.float64],
    nodes: NDArray[np.uint64],
    roots: NDArray[np.uint64],
    leaves: NDArray[np.uint32],
    values: NDArray[np.float64],
    searches: NDArray[np.int64],
    tables: NDArray[np.float64],
    base: NDArray[np.float64],
    divisor: float,
    ranks: NDArray[np.uint16],
    out: NDArray[np.float64],
) -> None:
    """Do as `score_many`, for less than LANES rows: here trees walk together, not rows.

    Parameters
    ----------
    ranks : at least (n_slots,)
    """
    n_trees, n_outputs = roots.shape[0], out.shape[0]
    step = 1 if values.shape[1] == 1 and n_outputs > 1 else 0
    for row in range(X.shape[0]):
        for output in range(n_outputs):
            out[U(output), U(row)] = 0.0
        rank_row(X, row, searches, tables, ranks)
        tree = 0
        while tree + LANES <= n_trees:
            at = U(tree)
            at_0, at_1, at_2, at_3, at_4, at_5, at_6, at_7 = _leaves(
                nodes,
                ranks,
                (
                    roots[at],
                    roots[at + U(1)],
                    roots[at + U(2)],
                    roots[at + U(3)],
                    roots[at + U(4)],
                    roots[at + U(5)],
                    roots[at + U(6)],
                    roots[at + U(7)],
                ),
                _ZERO,
                _ZERO,
            )
            _add(leaves, values, at_0, step * (tree % n_outputs), row, out)
            _add(leaves, values, at_1, step * ((tree + 1) % n_outputs), row, out)
            _add(leaves, values, at_2, step * ((tree + 2) % n_outputs), row, out)
            _add(leaves, values, at_3, step * ((tree + 3) % n_outputs), row, out)
            _add(leaves, values, at_4, step * ((tree + 4) % n_outputs), row, out)
            _add(leaves, values, at_5, step * ((tree + 5) % n_outputs), row, out)
            _add(leaves, values, at_6, step * ((tree + 6) % n_outputs), row, out)
            _add(leaves, values, at_7, step * ((tree + 7) % n_outputs), row, out)
            tree += LANES
        while tree < n_trees:
            place = _leaf(nodes, ranks, roots[U(tree)], _ZERO)
            _add(leaves, values, place, step * (tree % n_outputs), row, out)
            tree += 1
    _finish(out, base, divisor)


@kernel(VOID(_CHILDREN, _ORDER))
def order_by_level(left: NDArray[np.int32], order: NDArray[np.int64]) -> None:
    """Write a tree's nodes in level order, the children of each pair side by side.

    Parameters
    ----------
    left : (n_nodes,) each node's left child, the right one behind it; 0 for a leaf
    order : (n_nodes,), written; it ends early, with what it held, where nodes are unreachable
    """
    n_nodes, n_found, taken = left.size, 1, 0
    order[U(0)] = 0
    while taken < n_found:
        child = left[U(order[U(taken)])]
        taken += 1
        if child > 0 and n_found + 2 <= n_nodes:
            order[U(n_found)] = child
            order[U(n_found + 1)] = child + 1
            n_found += 2
