"""A polynomial of the design's columns: how it is stored, and how it scores rows.

Owns the arrays, their check, and how far a column may go before its powers would overflow. The
loops are in `kernels.polynomial`, the fit in `polynomial`.
"""

from __future__ import annotations

from collections import Counter
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from proxy.engine.arrays import Matrix, Vector
from proxy.engine.predictors import VALUE, Link, Tensors
from proxy.kernels.polynomial import evaluate

MOST_MONOMIALS = 8192
HIGHEST_DEGREE = 10
LARGEST_SUM = 1e300
SCRATCH_FLOATS = 1 << 15
MOST_ROWS_AT_A_TIME = 256


class PolynomialPredictor:
    """A weighted sum of monomials of standardised columns, (x - centre) / scale.

    Parameters
    ----------
    columns : (n_base,), ascending, those of the design that take part
    centre, scale : (n_base,), scale > 0
    parent, column : (n_monomials,), the program as in `kernels.polynomial`; of the first n_base,
        which are the columns themselves, -1 and their own place
    coef : (n_monomials,), in standardised columns
    intercept : what is left where every column is at its centre

    Notes
    -----
    Beyond the range of training the polynomial goes on as it is. Columns are held back only where
    the sum of the terms would pass 1e300: at degree 2 some 1e150 standard deviations away, at
    degree 10 some 1e30.
    """

    link: Link = VALUE
    n_outputs = 1

    def __init__(
        self,
        *,
        n_features_in: int,
        columns: NDArray[np.int64],
        centre: Vector,
        scale: Vector,
        parent: NDArray[np.int64],
        column: NDArray[np.int64],
        coef: Vector,
        intercept: float,
    ) -> None:
        self.n_features_in = n_features_in
        self.columns = columns
        self.centre, self.scale = centre, scale
        self.parent, self.column = parent, column
        self.coef = coef
        self.intercept = intercept
        self._program = (columns, centre, scale, parent, column, coef)
        self._limit = _limit(_degrees(parent, len(columns)), coef)
        self._rows_at_a_time = min(max(SCRATCH_FLOATS // max(len(coef), 1), 8), MOST_ROWS_AT_A_TIME)

    def outputs(self, X: Matrix) -> Matrix:
        """Return (1, n) for a C-contiguous X (n, n_features_in)."""
        values = np.empty((1, len(X)))
        scratch = np.empty((len(self.coef), min(len(X), self._rows_at_a_time)))
        evaluate(X, *self._program, self.intercept, self._limit, scratch, values[0])
        return values

    def powers(self) -> list[tuple[tuple[int, int], ...]]:
        """Return, for each monomial, its columns of the design and their powers, ascending."""
        factors: list[tuple[int, ...]] = []
        for parent, column in zip(self.parent.tolist(), self.column.tolist(), strict=True):
            before = factors[parent] if parent >= 0 else ()
            factors.append((*before, int(self.columns[column])))
        return [tuple(sorted(Counter(each).items())) for each in factors]

    def tensors(self) -> dict[str, NDArray[Any]]:
        """Return the arrays that `from_tensors` rebuilds it of."""
        return {
            "columns": self.columns,
            "centre": self.centre,
            "scale": self.scale,
            "parent": self.parent,
            "column": self.column,
            "coef": self.coef,
            "intercept": np.array([self.intercept]),
        }

    @classmethod
    def from_tensors(cls, tensors: Tensors, *, n_features_in: int, n_classes: int) -> Self:
        """Rebuild it of arrays that anybody may have made.

        Raises
        ------
        ValueError, KeyError
            They are not those of a polynomial of so many columns.
        """
        if n_classes:
            raise ValueError("a polynomial predicts no classes")
        columns = _places(tensors, "columns", tensors["columns"].size)
        n_base, n_monomials = len(columns), tensors["coef"].size
        if not n_base <= n_monomials <= MOST_MONOMIALS:
            raise ValueError(f"{n_monomials} monomials of {n_base} columns")
        inside = (columns >= 0).all() and (columns < n_features_in).all()
        if not inside or (np.diff(columns) <= 0).any():
            raise ValueError("a column is not one of the design's, or out of order")
        scale = _numbers(tensors, "scale", n_base)
        if (scale <= 0.0).any():
            raise ValueError("a scale is not positive")
        parent = _places(tensors, "parent", n_monomials)
        column = _places(tensors, "column", n_monomials)
        _check_program(parent, column, n_base)
        return cls(
            n_features_in=n_features_in,
            columns=columns,
            centre=_numbers(tensors, "centre", n_base),
            scale=scale,
            parent=parent,
            column=column,
            coef=_numbers(tensors, "coef", n_monomials),
            intercept=float(_numbers(tensors, "intercept", 1)[0]),
        )


def _check_program(parent: NDArray[np.int64], column: NDArray[np.int64], n_base: int) -> None:
    own = np.arange(len(parent))
    is_base = own < n_base
    if (parent[is_base] != -1).any() or (column[is_base] != own[is_base]).any():
        raise ValueError("the first monomials are not the columns themselves")
    later = ~is_base
    if (parent[later] < 0).any() or (parent[later] >= own[later]).any():
        raise ValueError("a monomial comes before the one that it is made of")
    if (column[later] < 0).any() or (column[later] >= n_base).any():
        raise ValueError("a monomial has a column that there is not")
    if _degrees(parent, n_base).max(initial=0) > HIGHEST_DEGREE:
        raise ValueError(f"a monomial's degree is beyond {HIGHEST_DEGREE}")


def _degrees(parent: NDArray[np.int64], n_base: int) -> NDArray[np.int64]:
    degrees = np.ones(len(parent), np.int64)
    for k in range(n_base, len(parent)):
        degrees[k] = degrees[parent[k]] + 1
    return degrees


def _limit(degrees: NDArray[np.int64], coef: Vector) -> float:
    """Return how large columns may be if neither a monomial nor the sum is to pass LARGEST_SUM."""
    limit = LARGEST_SUM
    for degree in range(1, int(degrees.max(initial=1)) + 1):
        with np.errstate(over="ignore"):
            share = max(float(np.abs(coef[degrees == degree]).sum()), 1.0) * HIGHEST_DEGREE
        limit = min(limit, (LARGEST_SUM / share) ** (1.0 / degree))
    return limit


def _places(tensors: Tensors, name: str, size: int) -> NDArray[np.int64]:
    array = tensors[name]
    if array.shape != (size,) or array.dtype != np.int64:
        raise ValueError(f"{name} is {array.dtype} {array.shape}, not int64 ({size},)")
    return np.ascontiguousarray(array)


def _numbers(tensors: Tensors, name: str, size: int) -> Vector:
    array = tensors[name]
    if array.shape != (size,) or array.dtype != np.float64 or not np.isfinite(array).all():
        raise ValueError(f"{name} is {array.shape}, not ({size},), or not finite")
    return np.ascontiguousarray(array)
