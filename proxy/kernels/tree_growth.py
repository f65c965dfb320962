"""Grow one tree over binned rows: which node next, its best cut, its rows apart.

Owns the order of growth, the reuse of histograms and the draw of features. Leaves what a cut gains
to `histograms`, and thresholds and values to `tree_leaves`. Trees of every estimator are grown
here; the differences are in the settings.

A node is a stretch of an array of row numbers, in which they ascend. A cut puts the left child's
rows before the right child's, each in their order. Two children are evaluated as soon as they
exist, and wait in a stack (depth first) or in a heap by gain (best first, for a number of leaves).

Where all features are searched, a large node keeps its histograms in a slot: those of the smaller
child are made of its rows and those of the larger are the rest, in the parent's slot. A node
without a slot has the histogram of one feature at a time, at the beginning of the array, where all
are zero in between.

`grow` returns where a slot is to be filled from so many rows that it pays to share the work, and
goes on when it is called again.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from proxy.kernels.compilation import (
    BYTES,
    FLOATS,
    INT64,
    OFFSETS,
    WRITABLE_FLOATS,
    inner,
    kernel,
)
from proxy.kernels.histograms import (
    ALL_CODES,
    BITS,
    CODES,
    MISSING_BIN,
    N_BINS,
    ROW_NUMBERS,
    fill_histograms,
)
from proxy.kernels.row_statistics import COUNTS, gather
from proxy.kernels.tree_evaluation import find_cut
from proxy.kernels.tree_nodes import (
    DEPTH,
    DONE,
    EVALUATE,
    FEATURE,
    FILL,
    FILLING,
    IS_BEST_FIRST,
    LEFT,
    LOW,
    MAX_LEAVES,
    MISSING_LEFT,
    MODE,
    N_CHANNELS,
    N_FEATURES,
    N_FREE,
    N_LEAVES,
    N_NODES,
    N_ROWS,
    N_WAITING,
    NO_FEATURE,
    NO_SLOT,
    NODES,
    NONE_MISSING,
    PARENT,
    PHASE,
    PICK,
    SHARED_WORK,
    SLOT,
    START,
    STOP,
    give_slot_back,
    is_dense,
    leave_waiting,
    may_split,
    new_child,
    pop,
    push,
    slot_base,
    take_slot,
)


@inner
def _part_rows(
    bins: NDArray[np.uint8],
    rows: NDArray[np.int32],
    spare: NDArray[np.int32],
    nodes: NDArray[np.int32],
    node: int,
    n_rows: int,
) -> int:
    """Put the rows that go to the left first; return where the others begin."""
    start, stop = nodes[node, START], nodes[node, STOP]
    column = np.uint64(nodes[node, FEATURE]) * np.uint64(n_rows)
    low, missing_left = nodes[node, LOW], nodes[node, MISSING_LEFT] == 1
    left, right = np.uint64(start), np.uint64(0)
    for i in range(np.uint64(start), np.uint64(stop)):
        row = rows[i]
        place = bins[column + np.uint64(row)]
        goes_left = np.uint64((place <= low) | ((place == MISSING_BIN) & missing_left))
        rows[left] = row
        spare[right] = row
        left += goes_left
        right += np.uint64(1) - goes_left
    for i in range(right):
        rows[left + i] = spare[i]
    return int(left)


@inner
def _split(
    bins: NDArray[np.uint8],
    rows: NDArray[np.int32],
    spare: NDArray[np.int32],
    nodes: NDArray[np.int32],
    node: int,
    state: NDArray[np.int64],
    n_rows: int,
) -> None:
    """Make a node's two children."""
    middle = _part_rows(bins, rows, spare, nodes, node, n_rows)
    left, depth = state[N_NODES], nodes[node, DEPTH] + 1
    new_child(nodes, left, nodes[node, START], middle, depth)
    new_child(nodes, left + 1, middle, nodes[node, STOP], depth)
    nodes[node, LEFT] = left
    if nodes[node, MISSING_LEFT] == NONE_MISSING:
        nodes[node, MISSING_LEFT] = middle - nodes[node, START] > nodes[node, STOP] - middle
    state[N_NODES] += 2
    state[N_LEAVES] += 1


@inner
def _assign_slots(
    nodes: NDArray[np.int32],
    parent: int,
    free: NDArray[np.int32],
    settings: NDArray[np.int64],
    state: NDArray[np.int64],
) -> None:
    """Decide which child's slot is filled from its rows; the other has its parent's, or none."""
    state[FILLING] = DONE
    if parent < 0:
        if state[N_FREE] > 0 and is_dense(nodes, 0, settings):
            take_slot(nodes, 0, free, state)
            state[FILLING] = 0
        return
    smaller = larger = nodes[parent, LEFT]
    if nodes[smaller, STOP] - nodes[smaller, START] > nodes[parent, STOP] - nodes[smaller, STOP]:
        smaller += 1
    else:
        larger += 1
    if not (is_dense(nodes, larger, settings) and may_split(nodes, larger, settings)):
        give_slot_back(nodes, parent, free, state)
    elif nodes[parent, SLOT] == NO_SLOT:
        # All slots were taken when the parent was made; the larger child may begin anew.
        if state[N_FREE] > 0:
            take_slot(nodes, larger, free, state)
            state[FILLING] = larger
    elif state[N_FREE] > 0:
        take_slot(nodes, smaller, free, state)
        nodes[larger, SLOT] = nodes[parent, SLOT]
        nodes[parent, SLOT] = NO_SLOT
        state[FILLING] = smaller
    else:
        nodes[larger, SLOT] = nodes[parent, SLOT]
        nodes[parent, SLOT] = NO_SLOT
        state[FILLING] = larger


@inner
def _subtract(
    histograms: NDArray[np.int64],
    nodes: NDArray[np.int32],
    settings: NDArray[np.int64],
    state: NDArray[np.int64],
) -> None:
    """Take the histograms of the child that was filled from its sibling's, the parent's so far."""
    filled = state[FILLING]
    left = nodes[state[PARENT], LEFT]
    other = left + 1 if filled == left else left
    if nodes[other, SLOT] == NO_SLOT:
        return
    source = np.uint64(slot_base(nodes[filled, SLOT], settings))
    target = np.uint64(slot_base(nodes[other, SLOT], settings))
    for i in range(np.uint64(settings[N_FEATURES] * N_BINS * settings[N_CHANNELS])):
        histograms[target + i] -= histograms[source + i]


_SIGNATURE = INT64(
    BYTES,
    ROW_NUMBERS,
    ROW_NUMBERS,
    ALL_CODES,
    OFFSETS,
    CODES,
    OFFSETS,
    NODES,
    WRITABLE_FLOATS,
    ROW_NUMBERS,
    ROW_NUMBERS,
    ROW_NUMBERS,
    BITS,
    OFFSETS,
    FLOATS,
    FLOATS,
    COUNTS,
    OFFSETS,
    FLOATS,
    OFFSETS,
)


@kernel(_SIGNATURE)
def grow(
    bins: NDArray[np.uint8],
    rows: NDArray[np.int32],
    spare: NDArray[np.int32],
    codes: NDArray[np.uint16],
    node_words: NDArray[np.int64],
    node_codes: NDArray[np.uint16],
    histograms: NDArray[np.int64],
    nodes: NDArray[np.int32],
    gains: NDArray[np.float64],
    waiting: NDArray[np.int32],
    free: NDArray[np.int32],
    order: NDArray[np.int32],
    occupied: NDArray[np.uint64],
    totals: NDArray[np.int64],
    first: NDArray[np.float64],
    second: NDArray[np.float64],
    counts: NDArray[np.uint16],
    settings: NDArray[np.int64],
    limits: NDArray[np.float64],
    state: NDArray[np.int64],
) -> int:
    """Grow until the tree is done, or a large node's slot is to be filled.

    Parameters
    ----------
    bins : (n_features * N_ROWS,), feature by feature
    rows : (m,), the row numbers of the tree; put into the order of the leaves
    spare : (m,), scratch
    codes : (N_ROWS,), the class of each row; empty with MOMENTS
    node_words : by MODE (2 * m,) or (m,), the statistics of the rows of the node to be filled
    node_codes : (m,), their classes; empty with MOMENTS
    histograms : (N_CHANNELS * 256 * (1 + n_slots * N_FEATURES),); the room before the slots is
        zero, and is again at the end
    nodes : (capacity, NODE_FIELDS), of which the first is the root: all rows, a leaf so far
    gains : (capacity,), what each cut gains, in the units of the words
    waiting : (capacity,), scratch
    free : (n_slots,), the slots that nobody has
    order : (N_FEATURES,), a permutation of the features
    occupied, totals : (4,) and (2 * N_CHANNELS,), scratch
    first : (N_ROWS,), gradients, or weight * y, of a row drawn once; empty with CLASSES
    second : (N_ROWS,) or (1,), hessians or weights, of a row drawn once
    counts : (N_ROWS,) or (1,), how often each row was drawn
    settings, limits : (N_SETTINGS,) and (N_LIMITS,)
    state : (STATE_SIZE,), changed in place; at first one node, one leaf, no parent and BEGIN

    Returns
    -------
    node : whose slot the caller fills, by `fill_histograms`, before it calls again; or DONE
    """
    is_best_first = settings[IS_BEST_FIRST]
    while True:
        phase = state[PHASE]
        if phase <= PICK:
            if phase == PICK:
                if state[N_WAITING] == 0 or state[N_LEAVES] >= settings[MAX_LEAVES]:
                    leave_waiting(nodes, waiting, state)
                    return DONE
                node = pop(waiting, gains, state, is_best_first)
                state[PARENT] = node
                _split(bins, rows, spare, nodes, node, state, settings[N_ROWS])
            _assign_slots(nodes, state[PARENT], free, settings, state)
            state[PHASE] = FILL
        elif phase == FILL:
            state[PHASE] = EVALUATE
            node = state[FILLING]
            if node != DONE:
                start, stop = nodes[node, START], nodes[node, STOP]
                gather(
                    rows,
                    start,
                    stop,
                    first,
                    second,
                    counts,
                    codes,
                    settings,
                    limits,
                    node_words,
                    node_codes,
                )
                if (stop - start) * settings[N_FEATURES] >= settings[SHARED_WORK]:
                    return int(node)
                fill_histograms(
                    bins,
                    settings[N_ROWS],
                    rows,
                    start,
                    stop,
                    node_words,
                    node_codes,
                    settings[MODE],
                    settings[N_CHANNELS],
                    histograms,
                    slot_base(nodes[node, SLOT], settings),
                    0,
                    settings[N_FEATURES],
                )
        else:
            parent = state[PARENT]
            first_child, n_children = 0, 1
            if parent >= 0:
                first_child, n_children = nodes[parent, LEFT], 2
                if state[FILLING] != DONE:
                    _subtract(histograms, nodes, settings, state)
            for i in range(n_children):
                node = first_child + n_children - 1 - i  # the left child is the next in a stack
                if state[N_LEAVES] < settings[MAX_LEAVES] and may_split(nodes, node, settings):
                    find_cut(
                        bins,
                        rows,
                        nodes,
                        node,
                        gains,
                        codes,
                        node_words,
                        node_codes,
                        histograms,
                        order,
                        occupied,
                        totals,
                        first,
                        second,
                        counts,
                        settings,
                        limits,
                        state,
                    )
                if nodes[node, FEATURE] == NO_FEATURE:
                    give_slot_back(nodes, node, free, state)
                else:
                    push(waiting, gains, state, node, is_best_first)
            state[PHASE] = PICK
