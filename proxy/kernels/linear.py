"""Score rows by a linear model: products, table entries, and what their sum means.

Owns the order of a row's additions, which depends on nothing but the model: a row has the same
score, bit for bit, alone, in any batch and on the express lane (BLAS promises no such thing).
Leaves the making of a program to `proxy.engine.linear_predictor`, which also takes the rows whose
sum overflows.

A program is two flat arrays, so that it can be handed to compiled code as two addresses:

    program  int64    N_OUTPUTS, N_NUMBERS, N_TABLES, MEANING, CLASS_INDEX; for each number its
                      source; for each table SOURCE, N_CATEGORIES and FIRST
    weights  float64  the constant of each output; for each number what stands for NULL, -inf and
                      inf; slopes and weights of NULL, (n_outputs, n_numbers) each; then the tables,
                      (n_outputs, N_CATEGORIES + 3) each, from FIRST on

A source is a column of the values, or NOT_GIVEN: then it is NULL in every row.
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

N_OUTPUTS, N_NUMBERS, N_TABLES, MEANING, CLASS_INDEX = range(5)
HEADER_SIZE = 5
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
def _dot(row: NDArray[np.float64], weights: NDArray[np.float64], first: int, count: int) -> float:
    """Return row @ weights[first:first + count], added up in four lanes, always in this order."""
    a = b = c = d = 0.0
    whole = count - count % 4
    for k in range(0, whole, 4):
        a += row[k] * weights[first + k]
        b += row[k + 1] * weights[first + k + 1]
        c += row[k + 2] * weights[first + k + 2]
        d += row[k + 3] * weights[first + k + 3]
    for k in range(whole, count):
        a += row[k] * weights[first + k]
    return (a + b) + (c + d)


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
    ends = n_outputs
    slopes = ends + NUMBER_FIELDS * n_numbers
    null_weights = slopes + n_outputs * n_numbers
    n_missing = 0
    for k in range(n_numbers):
        value = _read(values, row, program[HEADER_SIZE + k])
        if value - value != 0.0:
            end = ends + NUMBER_FIELDS * k
            if value != value:
                n_missing += 1
            elif value < 0.0:
                end += 1
            else:
                end += 2
            value = weights[end]
        scratch[k] = value
    is_finite = True
    for output in range(n_outputs):
        total = weights[output] + _dot(scratch, weights, slopes + output * n_numbers, n_numbers)
        for table in range(program[N_TABLES]):
            at = HEADER_SIZE + n_numbers + TABLE_FIELDS * table
            n_categories = program[at + N_CATEGORIES]
            place = _place(_read(values, row, program[at + SOURCE]), n_categories)
            first = program[at + FIRST] + output * (n_categories + EXTRA_PLACES)
            total += weights[first + place]
        if n_missing:
            for k in range(n_numbers):
                value = _read(values, row, program[HEADER_SIZE + k])
                if value != value:
                    total += weights[null_weights + output * n_numbers + k]
        sums[output, column] = total
        if total - total != 0.0:
            is_finite = False
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
