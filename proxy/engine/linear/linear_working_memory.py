"""How much memory linear models are fitted in, told before they are.

Owns the sums over what the fits of `linear` hold at a time. Nothing of it grows with the rows:
blocks of them go by, and what stays are sums over pairs of columns.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from proxy.engine.fit_shape import FitShape
from proxy.engine.linear.logistic import AFFORDABLE_PASS, LARGEST_AFFORDABLE_HESSIAN
from proxy.engine.linear.logistic_problem import LARGEST_HESSIAN
from proxy.engine.linear.monomials import NO_GROUP, Factors, count_monomials
from proxy.engine.linear.polynomial_predictor import MOST_MONOMIALS
from proxy.engine.preparation.design import (
    BLOCK_SIZE_BYTES,
    MOST_SHARED_SUMS,
    SMALLEST_BLOCK_ROWS,
)
from proxy.engine.row_blocks import BLOCK_ROWS

GRAM_COPIES = 4
"""Of the products of all pairs of columns, while their system is solved."""
HESSIAN_COPIES = 5
DESCENT_STEPS = 2 * 10 + 10
"""Vectors of parameters that L-BFGS remembers, and those in work."""
MONOMIAL_BYTES = 300
"""Of a monomial in Python: a tuple, its place in lists, its term in the model."""


def linear_regression_memory(_arguments: Mapping[str, Any], shape: FitShape) -> int:
    """Return the bytes that least squares hold at their peak."""
    return _least_squares(shape, shape.n_columns)


def polynomial_regression_memory(
    arguments: Mapping[str, Any], shape: FitShape, one_hot_groups: Sequence[slice] = ()
) -> int:
    """Return the bytes that least squares on products of columns hold at their peak.

    Columns with two values, which have no powers, are not known before the rows have been read,
    but for those of one-hot groups.
    """
    groups = [NO_GROUP] * shape.n_columns
    for number, group in enumerate(one_hot_groups):
        groups[group] = [number] * len(groups[group])
    is_single = arguments["interaction_only"]
    factors = Factors((is_single,) * shape.n_columns, tuple(groups))
    n_monomials = min(count_monomials(factors, arguments["degree"]), MOST_MONOMIALS)
    # The columns are filled in beside their products, whose moments are taken in half a block.
    block = min(8 * shape.n_columns * shape.n_rows, BLOCK_SIZE_BYTES)
    return (
        _least_squares(shape, n_monomials) + n_monomials * MONOMIAL_BYTES + shape.n_threads * block
    )


def logistic_regression_memory(arguments: Mapping[str, Any], shape: FitShape) -> int:
    """Return the bytes that a logistic regression holds at its peak."""
    n_outputs = shape.n_classes if shape.n_classes > 2 else 1
    n_columns = shape.n_columns + int(arguments["fit_intercept"])
    n_parameters = n_outputs * n_columns
    by_hessian = n_parameters <= LARGEST_HESSIAN or (
        n_parameters <= LARGEST_AFFORDABLE_HESSIAN
        and shape.n_rows * n_parameters**2 <= AFFORDABLE_PASS
    )
    n_sums = 1 + n_parameters + (n_parameters**2 if by_hessian else 0)
    n_scratch = 4 if n_outputs == 1 else n_outputs
    solving = 8 * DESCENT_STEPS * n_parameters
    if by_hessian:
        n_scratch += n_columns + (n_parameters if n_outputs > 1 else 0)
        solving = 8 * HESSIAN_COPIES * n_parameters**2
    return _blocks(shape, n_columns + n_scratch) + _sums(shape, n_sums, solving)


def _least_squares(shape: FitShape, n_columns: int) -> int:
    n_sums = n_columns * (n_columns + 2)
    solving = 8 * GRAM_COPIES * n_columns**2
    targets = 2 * 8 * min(BLOCK_ROWS, shape.n_rows)  # of a block of another kind
    return _blocks(shape, n_columns + 1) + _sums(shape, n_sums, solving) + targets


def _blocks(shape: FitShape, width: int) -> int:
    """Return what the blocks in work take."""
    block = max(BLOCK_SIZE_BYTES, 8 * width * SMALLEST_BLOCK_ROWS)
    return min(shape.n_threads * block, 8 * width * shape.n_rows)


def _sums(shape: FitShape, n_sums: int, solving: int) -> int:
    """Return what sums over blocks take: the total, those not yet added to it, and their solution.

    Large ones are made of a block at a time, and go back to the system before they are solved. What
    a thread has used for small ones its allocator may keep.
    """
    if n_sums > MOST_SHARED_SUMS:
        return 8 * n_sums + max(8 * n_sums, solving)
    return 8 * n_sums * (2 * shape.n_threads + 2) + solving
