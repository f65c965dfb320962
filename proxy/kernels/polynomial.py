"""Products of columns: a block of monomials for a fit, their weighted sum for a score.

Owns the order of a row's products and additions, which depends on nothing but the model: a row has
the same value, bit for bit, alone and in any batch. Leaves the making of a program, and its check,
to `proxy.engine.linear.monomials` and `proxy.engine.linear.polynomial_predictor`.

A program has a `parent` and a `column` for each monomial. The first `columns.size` monomials are
the columns themselves, (x - centre) / scale; each later one is an earlier one, its parent, times
one of those. Rows go side by side, so that each step is a loop over vectors.
"""

from __future__ import annotations

import numpy as np
from numba import types
from numpy.typing import NDArray

from proxy.kernels.compilation import FLOATS, VOID, WRITABLE_FLOATS, kernel

_FLOAT64 = types.float64
_PLACES = types.Array(types.int64, 1, "C", readonly=True)
_BLOCK = types.Array(types.float64, 2, "C", readonly=True)
_WRITABLE_BLOCK = types.Array(types.float64, 2, "C")


@kernel(VOID(_BLOCK, _PLACES, FLOATS, FLOATS, _PLACES, _PLACES, _WRITABLE_BLOCK))
def expand(
    block: NDArray[np.float64],
    columns: NDArray[np.int64],
    centre: NDArray[np.float64],
    scale: NDArray[np.float64],
    parent: NDArray[np.int64],
    column: NDArray[np.int64],
    out: NDArray[np.float64],
) -> None:
    """Write the monomials of a transposed block.

    Parameters
    ----------
    block : (n_columns, m)
    columns, centre, scale : (n_base,), the rows of the block that are expanded, and their units
    parent, column : (n_monomials,), places in `out`; of the first n_base they are not read
    out : (n_monomials, m)
    """
    for k in range(columns.size):
        source, shift, unit = columns[k], centre[k], scale[k]
        for row in range(out.shape[1]):
            out[k, row] = (block[source, row] - shift) / unit
    for k in range(columns.size, parent.size):
        left, right = parent[k], column[k]
        for row in range(out.shape[1]):
            out[k, row] = out[left, row] * out[right, row]


@kernel(
    VOID(
        _BLOCK,
        _PLACES,
        FLOATS,
        FLOATS,
        _PLACES,
        _PLACES,
        FLOATS,
        _FLOAT64,
        _FLOAT64,
        _WRITABLE_BLOCK,
        WRITABLE_FLOATS,
    )
)
def evaluate(
    X: NDArray[np.float64],
    columns: NDArray[np.int64],
    centre: NDArray[np.float64],
    scale: NDArray[np.float64],
    parent: NDArray[np.int64],
    column: NDArray[np.int64],
    weight: NDArray[np.float64],
    intercept: float,
    limit: float,
    scratch: NDArray[np.float64],
    values: NDArray[np.float64],
) -> None:
    """Write the weighted sum of each row's monomials.

    Parameters
    ----------
    X : (n_rows, n_columns)
    weight : (n_monomials,)
    limit : standardised columns are held within ±limit, where no product or sum overflows
    scratch : (n_monomials, rows at a time)
    values : (n_rows,)
    """
    for start in range(0, values.size, max(scratch.shape[1], 1)):
        n_rows = min(scratch.shape[1], values.size - start)
        for row in range(n_rows):
            values[start + row] = intercept
        for k in range(columns.size):
            source, shift, unit, slope = columns[k], centre[k], scale[k], weight[k]
            for row in range(n_rows):
                place = min(max((X[start + row, source] - shift) / unit, -limit), limit)
                scratch[k, row] = place
                values[start + row] += slope * place
        for k in range(columns.size, parent.size):
            left, right, slope = parent[k], column[k], weight[k]
            for row in range(n_rows):
                product = scratch[left, row] * scratch[right, row]
                scratch[k, row] = product
                values[start + row] += slope * product
