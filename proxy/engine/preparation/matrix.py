"""A design matrix in memory, whole, for algorithms that go over its rows again and again.

Owns the gathering, a block of rows at a time. Fits that can do with blocks use `design`; what is
done with the rows is the algorithms'.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from proxy.engine.arrays import Matrix, Vector
from proxy.engine.parallel import InOrderMap, collect, one_by_one
from proxy.engine.preparation.design import Design, rows_per_block
from proxy.errors import TooLargeError

BLOCK_SIZE_BYTES = 1 << 19
"""A block is transposed while it is in the cache."""

LARGEST_MATRIX_BYTES = 1 << 35


def design_matrix(
    design: Design,
    dtype: DTypeLike = np.float64,
    parallel: InOrderMap = one_by_one,
    *,
    shift: Vector | None = None,
) -> NDArray[Any]:
    """Return the rows of a design less the (n_columns,) shift, C-contiguous (n, n_columns).

    Raises
    ------
    TooLargeError
        54000: it would take more than 32 GiB.
    """
    n_columns = len(design.mean)
    _check_size(design.n_samples, n_columns, np.dtype(dtype).itemsize)
    matrix = np.empty((design.n_samples, n_columns), dtype)

    def gather(rows: slice) -> None:
        block = filled_block(design, rows)
        if shift is not None:
            block -= shift[:, None]
        matrix[rows] = block.T

    collect(parallel, gather, list(row_ranges(design.n_samples, n_columns)))
    return matrix


def row_ranges(n_rows: int, n_columns: int) -> Iterator[slice]:
    """Yield the ranges of rows that make blocks of a size that stays in the cache."""
    size = rows_per_block(max(n_columns, 1), BLOCK_SIZE_BYTES)
    for start in range(0, n_rows, size):
        yield slice(start, min(start + size, n_rows))


def filled_block(design: Design, rows: slice) -> Matrix:
    """Return the rows of a design, transposed: (n_columns, n)."""
    block = np.empty((len(design.mean), rows.stop - rows.start))
    design.fill(rows.start, rows.stop, block)
    return block


def _check_size(n_rows: int, n_columns: int, item_size: int) -> None:
    size = n_rows * n_columns * item_size
    if size > LARGEST_MATRIX_BYTES:
        raise TooLargeError(
            f"the training rows would take {size >> 30} GiB of memory",
            detail=f"{n_rows} rows of {n_columns} columns, after one-hot coding, are held at once;"
            f" {LARGEST_MATRIX_BYTES >> 30} GiB are the most.",
            hint="Train on a sample of the rows, or set a lower max_categories.",
        )
