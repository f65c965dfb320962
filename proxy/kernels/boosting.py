"""Gradients and Hessians of boosting's losses, and the choice of a part of the rows.

Owns the passes over rows. Leaves what a loss is for to `proxy.engine.trees.boosting_losses`.

Rows are taken CHUNK at a time: a loop brings them into `work`, a second one computes there, where
no array can be another's alias, and so becomes vector instructions; a third writes the results.
Sums are made in CHUNK lanes, which are then added: the same bits whatever vectors a processor has.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import types
from numpy.typing import NDArray

from proxy.kernels.compilation import FLOATS, INT64, OFFSETS, VOID, WRITABLE_FLOATS, inner, kernel
from proxy.kernels.elementary import LARGEST_EXPONENT, exp, log1p, quotient

CHUNK = 64
WORK_SIZE = 4 * CHUNK
LEAST_HESSIAN = 1e-16
"""So that a step is finite where every row is certain; XGBoost has the same."""
SUM_ALL, SUM_HELD = range(2)

U = np.uint64
_types: Any = types
_MATRIX = _types.Array(types.float64, 2, "C", readonly=True)
_LEAVES = _types.Array(types.int32, 1, "C", readonly=True)
_ROWS = _types.Array(types.int32, 1, "C")
_CODES = _types.Array(types.int64, 1, "C", readonly=True)
_LANES = U(CHUNK)


@inner
def _add_losses(
    work: NDArray[np.float64],
    lane: Any,
    row: Any,
    n_rows: int,
    held: NDArray[np.float64],
    lanes: NDArray[np.float64],
) -> None:
    """Add a chunk's weighted losses, in `work` from `lane` on, to the lanes of both sums."""
    for j in range(n_rows):
        lanes[U(j)] += work[lane + U(j)]
    if held.size > 0:
        for j in range(n_rows):
            lanes[_LANES + U(j)] += work[lane + U(j)] * held[row + U(j)]


@inner
def _sum_lanes(lanes: NDArray[np.float64], sums: NDArray[np.float64], place: int) -> None:
    """Write both sums of the lanes into a row of the sums."""
    for which in range(2):
        total = 0.0
        for j in range(CHUNK):
            total += lanes[U(CHUNK * which + j)]
        sums[U(2 * place + which)] = total


@kernel(VOID(WRITABLE_FLOATS, INT64, INT64, INT64, _LEAVES, FLOATS))
def add_steps(
    raw: NDArray[np.float64],
    first: int,
    start: int,
    stop: int,
    leaf_of_row: NDArray[np.int32],
    steps: NDArray[np.float64],
) -> None:
    """Add to raw[first + row], for start <= row < stop, the step of the row's leaf.

    Parameters
    ----------
    leaf_of_row : (n_samples,), from 0 on
    steps : for each node
    """
    for row in range(start, stop):
        raw[U(first + row)] += steps[U(leaf_of_row[U(row)])]


@kernel(
    VOID(
        WRITABLE_FLOATS,
        _LEAVES,
        FLOATS,
        FLOATS,
        FLOATS,
        FLOATS,
        INT64,
        INT64,
        WRITABLE_FLOATS,
        WRITABLE_FLOATS,
        WRITABLE_FLOATS,
        WRITABLE_FLOATS,
        INT64,
    )
)
def step_log_loss(
    raw: NDArray[np.float64],
    leaf_of_row: NDArray[np.int32],
    steps: NDArray[np.float64],
    wrong_sign: NDArray[np.float64],
    weight: NDArray[np.float64],
    held: NDArray[np.float64],
    start: int,
    stop: int,
    gradient: NDArray[np.float64],
    hessian: NDArray[np.float64],
    work: NDArray[np.float64],
    sums: NDArray[np.float64],
    place: int,
) -> None:
    """Take a step and differentiate the log-loss of two classes, for rows from start to stop.

    Parameters
    ----------
    raw : log-odds of class 1, to which the step of the row's leaf is added
    wrong_sign : 1 for rows of class 0, -1 for those of class 1
    weight : of each row, or empty for ones
    held : 1 for the rows that are held out, 0 for others, or empty for none
    gradient, hessian : written
    work : (WORK_SIZE + 2 * CHUNK,), overwritten
    sums : sums[2 * place] becomes the loss of all rows, the next one that of those held out
    """
    lanes = work[WORK_SIZE:]
    for j in range(2 * CHUNK):
        lanes[U(j)] = 0.0
    for chunk in range(start, stop, CHUNK):
        n_rows = min(CHUNK, stop - chunk)
        row = U(chunk)
        for j in range(n_rows):
            moved = raw[row + U(j)] + steps[U(leaf_of_row[row + U(j)])]
            raw[row + U(j)] = moved
            work[U(j)] = moved
        for j in range(n_rows):
            work[U(j)] *= wrong_sign[row + U(j)]
        for j in range(n_rows):
            margin = work[U(j)]  # of the wrong class over the right one
            smaller = exp(max(min(margin, -margin), -LARGEST_EXPONENT))
            larger = quotient(1.0, 1.0 + smaller)
            work[U(j)] = larger * (1.0 if margin >= 0.0 else smaller)
            work[_LANES + U(j)] = max(smaller * larger * larger, LEAST_HESSIAN)
            work[_LANES + _LANES + U(j)] = max(margin, 0.0) + log1p(smaller)
        if weight.size > 0:
            for j in range(n_rows):
                w = weight[row + U(j)]
                work[U(j)] *= w
                work[_LANES + U(j)] *= w
                work[_LANES + _LANES + U(j)] *= w
        for j in range(n_rows):
            gradient[row + U(j)] = work[U(j)] * wrong_sign[row + U(j)]
        for j in range(n_rows):
            hessian[row + U(j)] = work[_LANES + U(j)]
        _add_losses(work, _LANES + _LANES, row, n_rows, held, lanes)
    _sum_lanes(lanes, sums, place)


@kernel(
    VOID(
        WRITABLE_FLOATS,
        _LEAVES,
        FLOATS,
        FLOATS,
        FLOATS,
        INT64,
        INT64,
        WRITABLE_FLOATS,
        WRITABLE_FLOATS,
        WRITABLE_FLOATS,
        INT64,
    )
)
def step_squared_error(
    residual: NDArray[np.float64],
    leaf_of_row: NDArray[np.int32],
    steps: NDArray[np.float64],
    weight: NDArray[np.float64],
    held: NDArray[np.float64],
    start: int,
    stop: int,
    gradient: NDArray[np.float64],
    work: NDArray[np.float64],
    sums: NDArray[np.float64],
    place: int,
) -> None:
    """Take a step and differentiate the squared error; as `step_log_loss`.

    Parameters
    ----------
    residual : prediction less target
    gradient : written: the residual times the weight
    """
    lanes = work[WORK_SIZE:]
    for j in range(2 * CHUNK):
        lanes[U(j)] = 0.0
    for chunk in range(start, stop, CHUNK):
        n_rows = min(CHUNK, stop - chunk)
        row = U(chunk)
        for j in range(n_rows):
            moved = residual[row + U(j)] + steps[U(leaf_of_row[row + U(j)])]
            residual[row + U(j)] = moved
            work[U(j)] = moved
        for j in range(n_rows):
            work[_LANES + U(j)] = work[U(j)]
        if weight.size > 0:
            for j in range(n_rows):
                work[_LANES + U(j)] *= weight[row + U(j)]
        for j in range(n_rows):
            gradient[row + U(j)] = work[_LANES + U(j)]
        for j in range(n_rows):
            work[U(j)] *= work[_LANES + U(j)]
        _add_losses(work, U(0), row, n_rows, held, lanes)
    _sum_lanes(lanes, sums, place)


@kernel(
    VOID(
        _MATRIX,
        _CODES,
        FLOATS,
        FLOATS,
        INT64,
        INT64,
        WRITABLE_FLOATS,
        WRITABLE_FLOATS,
        WRITABLE_FLOATS,
        INT64,
    )
)
def normalise(
    raw: NDArray[np.float64],
    codes: NDArray[np.int64],
    weight: NDArray[np.float64],
    held: NDArray[np.float64],
    start: int,
    stop: int,
    total: NDArray[np.float64],
    work: NDArray[np.float64],
    sums: NDArray[np.float64],
    place: int,
) -> None:
    """Write the logarithm of the sum of exponentials over classes; sum up the log-loss.

    Parameters
    ----------
    raw : (n_classes, n_samples), log-odds up to a constant
    codes : of each row's class
    total : (n_samples,), written
    weight, held, work, sums, place : as for `step_log_loss`
    """
    lanes = work[WORK_SIZE:]
    for j in range(2 * CHUNK):
        lanes[U(j)] = 0.0
    for chunk in range(start, stop, CHUNK):
        n_rows = min(CHUNK, stop - chunk)
        row = U(chunk)
        for j in range(n_rows):
            work[U(j)] = raw[U(0), row + U(j)]
            work[_LANES + U(j)] = 0.0
        for k in range(1, raw.shape[0]):
            for j in range(n_rows):
                work[U(j)] = max(work[U(j)], raw[U(k), row + U(j)])
        for k in range(raw.shape[0]):
            for j in range(n_rows):
                below = raw[U(k), row + U(j)] - work[U(j)]
                work[_LANES + U(j)] += exp(max(below, -LARGEST_EXPONENT))
        for j in range(n_rows):
            work[U(j)] += np.log(work[_LANES + U(j)])
            total[row + U(j)] = work[U(j)]
        for j in range(n_rows):
            work[U(j)] -= raw[U(codes[row + U(j)]), row + U(j)]
        if weight.size > 0:
            for j in range(n_rows):
                work[U(j)] *= weight[row + U(j)]
        _add_losses(work, U(0), row, n_rows, held, lanes)
    _sum_lanes(lanes, sums, place)


@kernel(
    VOID(_MATRIX, FLOATS, _CODES, FLOATS, INT64, WRITABLE_FLOATS, WRITABLE_FLOATS, WRITABLE_FLOATS)
)
def differentiate_class(
    raw: NDArray[np.float64],
    total: NDArray[np.float64],
    codes: NDArray[np.int64],
    weight: NDArray[np.float64],
    output: int,
    gradient: NDArray[np.float64],
    hessian: NDArray[np.float64],
    work: NDArray[np.float64],
) -> None:
    """Write the derivatives of the log-loss of many classes by the log-odds of one of them."""
    for chunk in range(0, raw.shape[1], CHUNK):
        n_rows = min(CHUNK, raw.shape[1] - chunk)
        row = U(chunk)
        for j in range(n_rows):
            work[U(j)] = raw[U(output), row + U(j)] - total[row + U(j)]
        for j in range(n_rows):
            work[U(j)] = min(exp(max(work[U(j)], -LARGEST_EXPONENT)), 1.0)
            work[_LANES + U(j)] = max(work[U(j)] * (1.0 - work[U(j)]), LEAST_HESSIAN)
        for j in range(n_rows):
            work[U(j)] -= 1.0 if codes[row + U(j)] == output else 0.0
        if weight.size > 0:
            for j in range(n_rows):
                work[U(j)] *= weight[row + U(j)]
                work[_LANES + U(j)] *= weight[row + U(j)]
        for j in range(n_rows):
            gradient[row + U(j)] = work[U(j)]
        for j in range(n_rows):
            hessian[row + U(j)] = work[_LANES + U(j)]


@inner
def _mixed(state: Any) -> Any:
    """Return 64 random bits for a counter (splitmix64: Steele, Lea & Flood 2014)."""
    z = (state ^ (state >> U(30))) * U(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> U(27))) * U(0x94D049BB133111EB)
    return z ^ (z >> U(31))


@kernel(VOID(_ROWS, OFFSETS, INT64, _ROWS, _ROWS))
def choose(
    rows: NDArray[np.int32],
    seed: NDArray[np.int64],
    n_chosen: int,
    chosen: NDArray[np.int32],
    others: NDArray[np.int32],
) -> None:
    """Share the rows out at random, each set of `n_chosen` being equally likely; in their order.

    Selection sampling (Knuth, The Art of Computer Programming 2, 3.4.2, algorithm S).

    Parameters
    ----------
    seed : (1,)
    chosen, others : (n_chosen,) and the rest, written
    """
    state = U(seed[0])
    n_rows, n_found = rows.size, 0
    for place in range(n_rows):
        state += U(0x9E3779B97F4A7C15)
        uniform = np.float64(_mixed(state) >> U(11)) * 2.0**-53
        if uniform * (n_rows - place) < n_chosen - n_found:
            chosen[U(n_found)] = rows[U(place)]
            n_found += 1
        else:
            others[U(place - n_found)] = rows[U(place)]
