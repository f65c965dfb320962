"""Score rows by a linear model: products, table entries, and what their sum means.

Owns the order of a row's additions, which depends on nothing but the model: a row has the same
score, bit for bit, alone, in any batch and on the express lane (BLAS promises no such thing).
Leaves the making of a program to `proxy.engine.linear.linear_predictor`, which also takes the rows
whose sum overflows.

A program is two flat arrays, so that it can be handed to compiled code as two addresses:

    program  int64    N_OUTPUTS, N_NUMBERS, N_TABLES, MEANING, CLASS_INDEX, STRETCH; for each number
                      its source; for each table SOURCE, N_CATEGORIES and FIRST
    weights  float64  the constant of each output; for each number what stands for NULL, -inf and
                      inf; slopes and weights of NULL, (n_outputs, n_numbers) each; then the tables,
                      (n_outputs, N_CATEGORIES + 3) each, from FIRST on

A source is a column of the values, or NOT_GIVEN: then it is NULL in every row. STRETCH is that of
the first number if the others follow it one by one, else NOT_GIVEN.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from proxy.kernels.compilation import (
    FLOATS,
    INT64,
    MATRIX,
    OFFSETS,
    VOID,
    WRITABLE_FLOATS,
    inner,
    kernel,
)
from proxy.kernels.memory import dot

N_OUTPUTS, N_NUMBERS, N_TABLES, MEANING, CLASS_INDEX, STRETCH = range(6)
HEADER_SIZE = 6
SOURCE, N_CATEGORIES, FIRST = range(3)
TABLE_FIELDS = 3
NUMBER_FIELDS = 3
EXTRA_PLACES = 3
"""Places of a table beside its categories: unseen at both ends, and NULL behind them."""

NOT_GIVEN = -1

# What a score means.
VALUE = 0  # the sum itself
PROBABILITY = 1  # of the class CLASS_INDEX
LARGEST_PROBABILITY = 2  # of the likeliest class
LABEL = 3  # the likeliest class's number

LARGEST_SCORE = 1e300


@inner
def _place(code: float, n_categories: int) -> int:
    """Return a code's place in its table: unseen, each known category, unseen, NULL."""
    if code != code:
        return n_categories + 2
    return int(min(max(code, -1.0), float(n_categories))) + 1


@inner
def _read(values: NDArray[np.float64], row: int, source: int) -> float:
    return np.nan if source == NOT_GIVEN else values[row, source]


@inner
def _repair(
    values: NDArray[np.float64],
    row: int,
    program: NDArray[np.int64],
    weights: NDArray[np.float64],
    scratch: NDArray[np.float64],
) -> None:
    """Put a row's numbers into `scratch`, with what stands for NULL and for the infinities."""
    ends = program[N_OUTPUTS]
    for k in range(program[N_NUMBERS]):
        value = _read(values, row, program[HEADER_SIZE + k])
        if value - value != 0.0:
            end = ends + NUMBER_FIELDS * k
            if value == -np.inf:
                end += 1
            elif value == np.inf:
                end += 2
            value = weights[end]
        scratch[k] = value


@inner
def _null_sum(
    values: NDArray[np.float64],
    row: int,
    program: NDArray[np.int64],
    weights: NDArray[np.float64],
    output: int,
) -> float:
    """Return what the numbers that are NULL add to an output by being so."""
    n_outputs, n_numbers = program[N_OUTPUTS], program[N_NUMBERS]
    first = n_outputs + NUMBER_FIELDS * n_numbers + (n_outputs + output) * n_numbers
    total = 0.0
    for k in range(n_numbers):
        value = _read(values, row, program[HEADER_SIZE + k])
        if value != value:
            total += weights[first + k]
    return total


@inner
def _table_sum(
    values: NDArray[np.float64],
    row: int,
    program: NDArray[np.int64],
    weights: NDArray[np.float64],
    output: int,
) -> float:
    """Return what the categories add to an output."""
    total = 0.0
    for table in range(program[N_TABLES]):
        at = HEADER_SIZE + program[N_NUMBERS] + TABLE_FIELDS * table
        n_categories = program[at + N_CATEGORIES]
        place = _place(_read(values, row, program[at + SOURCE]), n_categories)
        total += weights[program[at + FIRST] + output * (n_categories + EXTRA_PLACES) + place]
    return total


@inner
def sum_row(
    values: NDArray[np.float64],
    row: int,
    program: NDArray[np.int64],
    weights: NDArray[np.float64],
    scratch: NDArray[np.float64],
    sums: NDArray[np.float64],
    column: int,
) -> bool:
    """Put a row's sums into `sums[:, column]`; False if one is not finite.

    Parameters
    ----------
    scratch : (at least n_numbers,)
    """
    n_outputs, n_numbers = program[N_OUTPUTS], program[N_NUMBERS]
    slopes = n_outputs + NUMBER_FIELDS * n_numbers
    is_gathered = program[STRETCH] == NOT_GIVEN
    if is_gathered:
        for k in range(n_numbers):
            scratch[k] = _read(values, row, program[HEADER_SIZE + k])
    start = row * values.shape[1] + program[STRETCH]
    # A NULL or an infinity makes every sum NaN or infinite: so rows without any are not searched.
    is_repaired, is_finite, output = False, True, 0
    while output < n_outputs:
        own = slopes + output * n_numbers
        if is_gathered:
            total = weights[output] + dot(scratch, 0, weights, own, n_numbers)
        else:
            total = weights[output] + dot(values, start, weights, own, n_numbers)
        if total - total != 0.0 and not is_repaired:
            _repair(values, row, program, weights, scratch)
            is_repaired = is_gathered = True
            continue
        total += _table_sum(values, row, program, weights, output)
        if is_repaired:
            total += _null_sum(values, row, program, weights, output)
        sums[output, column] = total
        if total - total != 0.0:
            is_finite = False
        output += 1
    return is_finite


@inner
def _bounded(score: float) -> float:
    return min(max(score, -LARGEST_SCORE), LARGEST_SCORE)


@inner
def _logistic(score: float) -> float:
    return 1.0 / (1.0 + math.exp(-score))


@inner
def _likeliest(sums: NDArray[np.float64], column: int) -> int:
    best = 0
    for output in range(1, sums.shape[0]):
        if sums[output, column] > sums[best, column]:
            best = output
    return best


@inner
def _softmax_total(sums: NDArray[np.float64], column: int, largest: float) -> float:
    total = 0.0
    for output in range(sums.shape[0]):
        total += math.exp(_bounded(sums[output, column]) - largest)
    return total


@inner
def finished(sums: NDArray[np.float64], column: int, meaning: int, class_index: int) -> float:
    """Return what the sums of one row mean; a label as its number."""
    if meaning == VALUE:
        return float(sums[0, column])
    if sums.shape[0] == 1:
        if meaning == LABEL:
            return 1.0 if sums[0, column] > 0.0 else 0.0
        positive = _logistic(sums[0, column])
        if meaning == LARGEST_PROBABILITY:
            return max(positive, 1.0 - positive)
        return positive if class_index == 1 else 1.0 - positive
    best = _likeliest(sums, column)
    if meaning == LABEL:
        return float(best)
    largest = _bounded(sums[best, column])
    wanted = best if meaning == LARGEST_PROBABILITY else class_index
    share = math.exp(_bounded(sums[wanted, column]) - largest)
    return share / _softmax_total(sums, column, largest)


@kernel(INT64(MATRIX, OFFSETS, FLOATS, WRITABLE_FLOATS, MATRIX))
def sum_rows(
    values: NDArray[np.float64],
    program: NDArray[np.int64],
    weights: NDArray[np.float64],
    scratch: NDArray[np.float64],
    sums: NDArray[np.float64],
) -> int:
    """Put the sums of every row of `values` into `sums`; return how many rows overflow.

    Parameters
    ----------
    values : (n_rows, width of the sources)
    scratch : (at least n_numbers,)
    sums : (n_outputs, n_rows)
    """
    n_wrong = 0
    for row in range(values.shape[0]):
        if not sum_row(values, row, program, weights, scratch, sums, row):
            n_wrong += 1
    return n_wrong


@kernel(VOID(MATRIX, INT64, INT64, WRITABLE_FLOATS))
def finish_rows(
    sums: NDArray[np.float64], meaning: int, class_index: int, scores: NDArray[np.float64]
) -> None:
    """Write what the (n_outputs, n_rows) sums mean into the (n_rows,) scores."""
    for row in range(scores.size):
        scores[row] = finished(sums, row, meaning, class_index)


@kernel(VOID(MATRIX, MATRIX))
def probabilities(sums: NDArray[np.float64], out: NDArray[np.float64]) -> None:
    """Write the (n_rows, n_classes) probabilities of (n_outputs, n_rows) sums.

    Each is what `finished` gives for its class.
    """
    for row in range(out.shape[0]):
        if sums.shape[0] == 1:
            positive = _logistic(sums[0, row])
            out[row, 0], out[row, 1] = 1.0 - positive, positive
            continue
        largest = _bounded(sums[_likeliest(sums, row), row])
        total = _softmax_total(sums, row, largest)
        for output in range(sums.shape[0]):
            out[row, output] = math.exp(_bounded(sums[output, row]) - largest) / total
