"""Rows of raw values become rows of a design matrix: what a model that is not linear scores.

Owns the loop. Leaves the making of a program to `proxy.engine.preparation.encoding`, the meaning of
encoders to `encoders` beside it.

A program is two flat arrays:

    program  int64    N_NUMBERS, N_TABLES; for each number SOURCE, COLUMN and HAS_INDICATOR; for
                      each table SOURCE, COLUMN, N_CATEGORIES, N_COLUMNS, FIRST and IS_ONE_HOT
    weights  float64  for each number what stands for NULL, -inf and inf, the shift and the inverse
                      scale, the indicator's 0 and its 1; then the tables, each from FIRST on: row
                      by row, (N_CATEGORIES + 3, N_COLUMNS); of one-hot columns, whose table would
                      be the square of the categories, what each column is when it is off, what it
                      is when it is on, and for each of the N_CATEGORIES + 3 the one that is on

A source is a column of the values, or NOT_GIVEN: then it is NULL in every row.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from proxy.kernels.compilation import FLOATS, MATRIX, OFFSETS, VOID, WRITABLE_FLOATS, inner, kernel

N_NUMBERS, N_TABLES = range(2)
HEADER_SIZE = 2
SOURCE, COLUMN, HAS_INDICATOR = range(3)
NUMBER_SIZE = 3
N_CATEGORIES, N_COLUMNS, FIRST, IS_ONE_HOT = range(2, 6)
TABLE_SIZE = 6
NULL, LOW, HIGH, SHIFT, INVERSE, ABSENT, PRESENT = range(7)
N_WEIGHTS = 7
NOT_GIVEN = -1
LARGEST = 1.7e308
"""No product is larger: a design holds no infinity."""


@inner
def _number(value: float, weights: NDArray[np.float64], at: int) -> float:
    if value - value != 0.0:
        end = NULL
        if value == -np.inf:
            end = LOW
        elif value == np.inf:
            end = HIGH
        value = weights[at + end]
    value = (value - weights[at + SHIFT]) * weights[at + INVERSE]
    # A NaN that trees want to see passes: no comparison with it is true.
    if value > LARGEST:
        return LARGEST
    if value < -LARGEST:
        return -LARGEST
    return value


@kernel(VOID(MATRIX, OFFSETS, FLOATS, MATRIX))
def encode_rows(
    values: NDArray[np.float64],
    program: NDArray[np.int64],
    weights: NDArray[np.float64],
    out: NDArray[np.float64],
) -> None:
    """Write the design of each row of `values` into `out`.

    Parameters
    ----------
    values : (n_rows, width of the sources)
    out : (n_rows, n_design)
    """
    n_numbers, n_tables = program[N_NUMBERS], program[N_TABLES]
    for row in range(values.shape[0]):
        for number in range(n_numbers):
            at = HEADER_SIZE + NUMBER_SIZE * number
            own = N_WEIGHTS * number
            source, column = program[at + SOURCE], program[at + COLUMN]
            value = np.nan if source == NOT_GIVEN else values[row, source]
            out[row, column] = _number(value, weights, own)
            if program[at + HAS_INDICATOR]:
                is_missing = value != value
                out[row, column + 1] = weights[own + (PRESENT if is_missing else ABSENT)]
        for table in range(n_tables):
            at = HEADER_SIZE + NUMBER_SIZE * n_numbers + TABLE_SIZE * table
            source, column = program[at + SOURCE], program[at + COLUMN]
            n_categories, n_columns = program[at + N_CATEGORIES], program[at + N_COLUMNS]
            code = np.nan if source == NOT_GIVEN else values[row, source]
            place = n_categories + 2
            if code == code:
                place = int(min(max(code, -1.0), float(n_categories))) + 1
            first = program[at + FIRST]
            is_one_hot = program[at + IS_ONE_HOT] != 0
            start = first if is_one_hot else first + place * n_columns
            for k in range(n_columns):
                out[row, column + k] = weights[start + k]
            if is_one_hot:
                hot = int(weights[first + 2 * n_columns + place])
                if hot >= 0:
                    out[row, column + hot] = weights[first + n_columns + hot]


@kernel(VOID(MATRIX, WRITABLE_FLOATS))
def likeliest(shares: NDArray[np.float64], out: NDArray[np.float64]) -> None:
    """Write the place of each row's largest share, of equal ones the first.

    Parameters
    ----------
    shares : (n_outputs, n_rows)
    out : (n_rows,)
    """
    for row in range(shares.shape[1]):
        best = 0
        for output in range(1, shares.shape[0]):
            if shares[output, row] > shares[best, row]:
                best = output
        out[row] = float(best)
