"""The monomials of a design's columns, as a design: expanded a block of rows at a time.

Owns what is learned of the columns before they are multiplied: which are constant, which have two
values, in which units. Which products there are is `monomials`'s.
"""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from proxy.engine.arrays import Flags, Matrix, Vector
from proxy.engine.linear.monomials import (
    NO_GROUP,
    Factors,
    count_monomials,
    list_monomials,
    null_pairs,
    program_of,
)
from proxy.engine.linear.polynomial_predictor import MOST_MONOMIALS
from proxy.engine.parallel import InOrderMap, one_by_one
from proxy.engine.preparation.design import Design
from proxy.engine.preparation.moments import Moments, measure, row_ranges
from proxy.errors import TooLargeError
from proxy.kernels.polynomial import expand


@dataclass(frozen=True, slots=True)
class Expansion:
    """How columns become monomials.

    Attributes
    ----------
    columns : (n_base,), those of the design that are not constant
    centre, scale : (n_base,): mean and standard deviation, or what makes two values 0 and 1
    factors : what the columns are to each other
    monomials : of places in `columns`
    """

    columns: NDArray[np.int64]
    centre: Vector
    scale: Vector
    factors: Factors
    monomials: list[tuple[int, ...]]
    degree: int

    def null_directions(self, *, fit_intercept: bool) -> Matrix:
        """Return, (n_monomials, m), the combinations of monomials known to be constant."""
        found = null_pairs(self.monomials, self.factors, self.degree, fit_intercept=fit_intercept)
        directions = np.zeros((len(self.monomials), len(found)))
        for j, weights in enumerate(found):
            directions[list(weights), j] = list(weights.values())
        return directions


def learn_expansion(
    design: Design,
    *,
    degree: int,
    interaction_only: bool,
    fit_intercept: bool,
    sample_weight: Vector | None = None,
    parallel: InOrderMap = one_by_one,
) -> Expansion:
    """Return how to expand a design, after one pass over its rows, with weights two.

    Without an intercept columns are scaled and not centred: where all are 0, so are the monomials.

    Raises
    ------
    TooLargeError
        54000: there would be more than 8192 monomials.
    """
    moments = Moments(1.0, design.mean, design.scale)
    if sample_weight is not None:
        moments = measure(design, sample_weight, parallel)
    ends = _two_values(design, parallel)
    is_two_valued = ends.is_two_valued & (fit_intercept | (ends.low == 0.0))
    unit = moments.unit(fit_intercept=fit_intercept)
    columns = np.flatnonzero((unit > 0) & (ends.high > ends.low))
    centre = np.where(is_two_valued, ends.low, moments.shift(fit_intercept=fit_intercept))
    scale = np.where(is_two_valued, ends.high - ends.low, unit)
    factors = _factors(
        design.one_hot_groups(), columns, is_two_valued, interaction_only=interaction_only
    )
    _check_count(count_monomials(factors, degree), degree, len(columns))
    monomials = list_monomials(factors, degree)
    return Expansion(columns, centre[columns], scale[columns], factors, monomials, degree)


def _factors(
    groups: list[slice],
    columns: NDArray[np.int64],
    is_two_valued: Flags,
    *,
    interaction_only: bool,
) -> Factors:
    group_of = np.full(len(is_two_valued), NO_GROUP)
    for number, group in enumerate(groups):
        group_of[group] = number
    own = np.where(is_two_valued, group_of, NO_GROUP)[columns]
    is_single = (is_two_valued | interaction_only)[columns]
    return Factors(tuple(is_single.tolist()), tuple(own.tolist()))


def _check_count(n_monomials: int, degree: int, n_columns: int) -> None:
    if n_monomials > MOST_MONOMIALS:
        raise TooLargeError(
            f"degree {degree} over {n_columns} columns would make {n_monomials:,} columns",
            detail=f"polynomial_regression takes {MOST_MONOMIALS:,} at most.",
            hint="Lower degree, set interaction_only, or use fewer feature columns.",
        )


@dataclass(frozen=True, slots=True)
class _Ends:
    """Least and largest value of each column, and whether there is any other."""

    low: Vector
    high: Vector
    has_others: Flags

    @property
    def is_two_valued(self) -> Flags:
        return ~self.has_others & (self.high > self.low)

    @classmethod
    def of(cls, block: Matrix) -> _Ends:
        low, high = block.min(axis=1), block.max(axis=1)
        others = ((block != low[:, None]) & (block != high[:, None])).any(axis=1)
        return cls(low, high, others)

    def joined(self, other: _Ends) -> _Ends:
        """Return those of both blocks."""
        low, high = np.minimum(self.low, other.low), np.maximum(self.high, other.high)
        others = self.has_others | other.has_others
        for value in (self.low, self.high, other.low, other.high):
            others |= (value != low) & (value != high)
        return _Ends(low, high, others)


def _two_values(design: Design, parallel: InOrderMap) -> _Ends:
    n_columns = len(design.mean)

    def ends_of(rows: slice) -> _Ends:
        block = np.empty((n_columns, rows.stop - rows.start))
        design.fill(rows.start, rows.stop, block)
        return _Ends.of(block)

    total: _Ends | None = None
    with closing(parallel(ends_of, row_ranges(design))) as parts:
        for part in parts:
            total = part if total is None else total.joined(part)
    assert total is not None
    return total


class PolynomialDesign:
    """The design of a design's monomials.

    Parameters
    ----------
    moments : of the monomials; None: they are measured, in one pass
    """

    def __init__(
        self,
        design: Design,
        expansion: Expansion,
        *,
        moments: Moments | None = None,
        parallel: InOrderMap = one_by_one,
    ) -> None:
        self._design = design
        self._n_columns = len(design.mean)
        self._expansion = expansion
        self._parent, self._column = program_of(expansion.monomials)
        self.mean = self.scale = np.zeros(len(expansion.monomials))
        self._moments = measure(self, parallel=parallel) if moments is None else moments
        self.mean, self.scale = self._moments.mean, self._moments.scale

    @property
    def n_samples(self) -> int:
        """Return the number of rows."""
        return self._design.n_samples

    def one_hot_groups(self) -> list[slice]:
        """Return no group: the expansion knows what else adds up to a constant."""
        return []

    def fill(self, start: int, stop: int, out: Matrix) -> None:
        """Write rows start..stop, transposed, into `out`."""
        block = np.empty((self._n_columns, stop - start))
        self._design.fill(start, stop, block)
        expansion = self._expansion
        expand(
            block,
            expansion.columns,
            expansion.centre,
            expansion.scale,
            self._parent,
            self._column,
            out,
        )

    def every(self, step: int) -> PolynomialDesign:
        """Return the design of every step-th row, under the moments of all."""
        return PolynomialDesign(self._design.every(step), self._expansion, moments=self._moments)
