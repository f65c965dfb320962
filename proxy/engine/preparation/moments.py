"""Means and standard deviations of a design's columns, measured on the rows that count.

Owns weighted moments and the design that is seen through them. `Design.mean` and `Design.scale` are
of all rows alike, and of a design whose preprocessing was learned elsewhere they are not of its
rows at all: fits with weights, and fits that go on from an earlier one, measure their own.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass

import numpy as np

from proxy.engine.arrays import Matrix, Vector
from proxy.engine.parallel import InOrderMap, one_by_one
from proxy.engine.preparation.design import Design, rows_per_block
from proxy.errors import NoTrainingRowsError

ROUNDING = 8 * float(np.finfo(np.float64).eps)
"""Of a column's magnitude: a standard deviation below it is that of a constant."""


@dataclass(frozen=True, slots=True)
class Moments:
    """Of columns, each row counted by its weight.

    Attributes
    ----------
    weight : the rows' total, > 0
    mean : (n_columns,)
    scale : (n_columns,), standard deviations, 0 where a column is constant
    """

    weight: float
    mean: Vector
    scale: Vector

    def merged(self, other: Moments) -> Moments:
        """Return the moments of both sets of rows together.

        References
        ----------
        Chan, Golub & LeVeque (1983), The American Statistician 37(3), 242-247.
        """
        share = other.weight / (self.weight + other.weight)
        gap = mean_gap(self.mean, other.mean)
        # In units of the largest part, so that no square is beyond float64.
        unit = np.maximum(np.maximum(self.scale, other.scale), np.abs(gap))
        inverse = np.divide(1.0, unit, out=np.zeros_like(unit), where=unit > 0)
        variance = (1.0 - share) * np.square(self.scale * inverse)
        variance += share * np.square(other.scale * inverse)
        variance += share * (1.0 - share) * np.square(gap * inverse)
        mean = self.mean + share * gap
        return Moments(self.weight + other.weight, mean, unit * np.sqrt(variance))

    def shift(self, *, fit_intercept: bool) -> Vector:
        """Return what `StandardisedDesign` subtracts from each column."""
        return self.mean if fit_intercept else np.zeros_like(self.mean)

    def unit(self, *, fit_intercept: bool) -> Vector:
        """Return what `StandardisedDesign` divides each column by; 0 where it is left out."""
        return self.scale if fit_intercept else np.hypot(self.scale, self.mean)


def mean_gap(before: Vector, after: Vector) -> Vector:
    """Return after - before, 0 where it is no more than their rounding."""
    gap = after - before
    gap[np.abs(gap) <= ROUNDING * np.maximum(np.abs(before), np.abs(after))] = 0.0
    return gap


def measure(
    design: Design, weight: Vector | None = None, parallel: InOrderMap = one_by_one
) -> Moments:
    """Return the moments of the design's columns, in one pass over its rows.

    Raises
    ------
    NoTrainingRowsError
        ML001: no row has a positive weight.
    """
    n_columns = len(design.mean)

    def moments_of(rows: slice) -> Moments | None:
        own = None if weight is None else weight[rows]
        if own is not None and not own.any():
            return None
        block = np.empty((n_columns, rows.stop - rows.start))
        design.fill(rows.start, rows.stop, block)
        return _of_block(block, own)

    total: Moments | None = None
    with closing(parallel(moments_of, row_ranges(design))) as parts:
        for part in parts:
            if part is not None:
                total = part if total is None else total.merged(part)
    if total is None:
        raise NoTrainingRowsError("no row has a positive weight")
    return total


def row_ranges(design: Design) -> Iterator[slice]:
    """Yield ranges of rows that are looked at together, with room for as much again."""
    size = rows_per_block(2 * max(len(design.mean), 1))
    for start in range(0, design.n_samples, size):
        yield slice(start, min(start + size, design.n_samples))


def _of_block(block: Matrix, weight: Vector | None) -> Moments:
    """Return the moments of a transposed block, which is overwritten."""
    if weight is None:
        weight = np.ones(block.shape[1])
    elif not weight.all():
        block, weight = block[:, weight > 0], weight[weight > 0]
    total = float(weight.sum())
    first = block[:, 0].copy()  # from there a constant column's mean is exact
    block -= first[:, None]
    mean = first + block @ weight / total
    block -= (mean - first)[:, None]
    unit = np.abs(block).max(axis=1, initial=0.0)
    block *= np.divide(1.0, unit, out=np.zeros_like(unit), where=unit > 0)[:, None]
    scale = unit * np.sqrt(np.square(block) @ weight / total)
    scale[scale <= ROUNDING * np.abs(mean)] = 0.0
    return Moments(total, mean, scale)


class ReframedDesign:
    """A design seen through other moments than its own.

    Parameters
    ----------
    weight : (n_samples,), or None; rows of weight 0 read as the mean, so that none of their
        values can overflow a sum in which they do not count
    """

    def __init__(self, design: Design, moments: Moments, weight: Vector | None = None) -> None:
        self._design = design
        self._moments = moments
        self._weight = weight
        self._lacks_some = weight is not None and not weight.all()
        self.mean, self.scale = moments.mean, moments.scale

    @property
    def n_samples(self) -> int:
        """Return the number of rows."""
        return self._design.n_samples

    def one_hot_groups(self) -> list[slice]:
        """Return groups of columns that add up to 1 in every row."""
        return self._design.one_hot_groups()

    def fill(self, start: int, stop: int, out: Matrix) -> None:
        """Write rows start..stop, transposed, into `out`."""
        self._design.fill(start, stop, out)
        if self._weight is not None and self._lacks_some:
            np.copyto(out, self.mean[:, None], where=self._weight[start:stop] == 0.0)

    def every(self, step: int) -> ReframedDesign:
        """Return the design of every step-th row, through the same moments."""
        weight = None if self._weight is None else self._weight[::step]
        return ReframedDesign(self._design.every(step), self._moments, weight)
