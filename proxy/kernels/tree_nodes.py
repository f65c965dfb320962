"""The table of a growing tree's nodes, and what waits in it.

Owns the layout of nodes, settings and state, the stack or heap of nodes that wait for their cut,
and the slots of histograms. What is done with them is `tree_growth`'s.
"""

from __future__ import annotations

import numpy as np
from numba import types
from numpy.typing import NDArray

from proxy.kernels.compilation import inner
from proxy.kernels.histograms import N_BINS

# Columns of the table of nodes: a stretch of rows; the cut, FEATURE NO_FEATURE in a leaf.
START, STOP, DEPTH, FEATURE, LOW, HIGH, MISSING_LEFT, LEFT, SLOT = range(9)
NODE_FIELDS = 9
NO_FEATURE = -1
NO_SLOT = -1
NONE_MISSING = 2
"""As MISSING_LEFT, until the children are made: missing values will go to the larger one."""

# Settings.
(
    N_ROWS,
    N_FEATURES,
    N_CHANNELS,
    MODE,
    CRITERION,
    SHIFT,
    MAX_DEPTH,
    MIN_SAMPLES_SPLIT,
    MIN_SAMPLES_LEAF,
    MAX_LEAVES,
    MAX_FEATURES,
    IS_BEST_FIRST,
    SHARED_WORK,
) = range(13)
N_SETTINGS = 13

# Limits, in the units of the words; then how words are made of statistics.
L2, MIN_WEIGHT, MIN_GAIN, MEAN, SCALE, WEIGHT_SCALE = range(6)
N_LIMITS = 6

# State: four counts; whose children are in work, and how far; the node whose slot is filled.
N_NODES, N_WAITING, N_FREE, N_LEAVES, PARENT, PHASE, RANDOM, FILLING = range(8)
STATE_SIZE = 8

BEGIN, PICK, FILL, EVALUATE = range(4)  # phases
DONE = -1

NODES = types.Array(types.int32, 2, "C")

DENSE_BINS = 64
"""Rows for each channel above which to subtract is cheaper than to count, as measured."""


@inner
def _is_before(gains: NDArray[np.float64], one: int, other: int) -> bool:
    return gains[one] > gains[other] or (gains[one] == gains[other] and one < other)


@inner
def push(
    waiting: NDArray[np.int32],
    gains: NDArray[np.float64],
    state: NDArray[np.int64],
    node: int,
    is_best_first: int,
) -> None:
    """Let a node wait."""
    place = state[N_WAITING]
    state[N_WAITING] += 1
    while is_best_first and place > 0:
        above = (place - 1) >> 1
        if not _is_before(gains, node, waiting[above]):
            break
        waiting[place] = waiting[above]
        place = above
    waiting[place] = node


@inner
def pop(
    waiting: NDArray[np.int32],
    gains: NDArray[np.float64],
    state: NDArray[np.int64],
    is_best_first: int,
) -> int:
    """Return the node whose turn it is: the last, or the one of the highest gain."""
    state[N_WAITING] -= 1
    size = state[N_WAITING]
    moved = waiting[size]
    if not is_best_first or size == 0:
        return int(moved)
    best = waiting[0]
    place = 0
    while True:
        below = 2 * place + 1
        if below >= size:
            break
        if below + 1 < size and _is_before(gains, waiting[below + 1], waiting[below]):
            below += 1
        if not _is_before(gains, waiting[below], moved):
            break
        waiting[place] = waiting[below]
        place = below
    waiting[place] = moved
    return int(best)


@inner
def leave_waiting(
    nodes: NDArray[np.int32], waiting: NDArray[np.int32], state: NDArray[np.int64]
) -> None:
    """Make leaves of the nodes that still wait."""
    for i in range(state[N_WAITING]):
        nodes[waiting[i], FEATURE] = NO_FEATURE


@inner
def slot_base(slot: int, settings: NDArray[np.int64]) -> int:
    """Return where a slot begins: behind the room for one histogram."""
    return int((1 + slot * settings[N_FEATURES]) * N_BINS * settings[N_CHANNELS])


@inner
def new_child(nodes: NDArray[np.int32], child: int, start: int, stop: int, depth: int) -> None:
    """Put down a leaf."""
    nodes[child, START] = start
    nodes[child, STOP] = stop
    nodes[child, DEPTH] = depth
    nodes[child, FEATURE] = NO_FEATURE
    nodes[child, LOW] = nodes[child, HIGH] = nodes[child, MISSING_LEFT] = 0
    nodes[child, LEFT] = 0
    nodes[child, SLOT] = NO_SLOT


@inner
def may_split(nodes: NDArray[np.int32], node: int, settings: NDArray[np.int64]) -> bool:
    """Return whether depth and number of rows allow a cut."""
    n_rows = nodes[node, STOP] - nodes[node, START]
    return bool(
        nodes[node, DEPTH] < settings[MAX_DEPTH]
        and n_rows >= settings[MIN_SAMPLES_SPLIT]
        and n_rows >= 2 * settings[MIN_SAMPLES_LEAF]
    )


@inner
def is_dense(nodes: NDArray[np.int32], node: int, settings: NDArray[np.int64]) -> bool:
    """Return whether a node has so many rows that it should have a slot."""
    n_rows = nodes[node, STOP] - nodes[node, START]
    return bool(
        settings[MAX_FEATURES] == settings[N_FEATURES]
        and n_rows >= DENSE_BINS * settings[N_CHANNELS]
    )


@inner
def give_slot_back(
    nodes: NDArray[np.int32], node: int, free: NDArray[np.int32], state: NDArray[np.int64]
) -> None:
    """Leave a node without a slot."""
    if nodes[node, SLOT] != NO_SLOT:
        free[state[N_FREE]] = nodes[node, SLOT]
        state[N_FREE] += 1
        nodes[node, SLOT] = NO_SLOT


@inner
def take_slot(
    nodes: NDArray[np.int32], node: int, free: NDArray[np.int32], state: NDArray[np.int64]
) -> None:
    """Give a node one of the free slots."""
    state[N_FREE] -= 1
    nodes[node, SLOT] = free[state[N_FREE]]
