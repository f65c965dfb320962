"""The rows that k-means goes over, and its passes over them.

Owns the units that keep squares in range, the blocks of rows and the order in which their sums are
added: the same bits with any number of threads. Where centres come from is `kmeans_init`'s and
`kmeans`'s, the loops over the rows are `kernels.clusters`'s.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from proxy.engine.arrays import Matrix, Vector
from proxy.engine.parallel import InOrderMap, collect, one_by_one
from proxy.engine.preparation.design import Design
from proxy.engine.preparation.matrix import design_matrix
from proxy.kernels import clusters as kernel

BLOCK_ROWS = 1 << 15
"""Enough that a thread works longer on it than it waits for it. Sums depend on it."""

CACHE_LINE_FLOATS = 8

MODERATE_EXPONENT = 200
"""Coordinates between two to this power and its inverse are squared as they are."""

UNWEIGHTED: Vector = np.zeros(0)


@dataclass(frozen=True, slots=True)
class Assignment:
    """What one pass over the rows has found.

    Attributes
    ----------
    sums : (n_centers, n_columns) weighted sums of each cluster's rows
    counts : (n_centers,) their weights
    inertia : the weighted sum of squared distances
    n_changed : rows whose label is another than before
    """

    sums: Matrix
    counts: Vector
    inertia: float
    n_changed: int


class Points:
    """Rows of a design, less the columns' means, over a power of two if they need it.

    Parameters
    ----------
    weights : (n,), or none at all where every row weighs 1

    Attributes
    ----------
    values : (n, n_columns)
    exponent : of the power of two
    """

    def __init__(
        self,
        values: Matrix,
        weights: Vector,
        *,
        shift: Vector,
        exponent: int = 0,
        parallel: InOrderMap = one_by_one,
    ) -> None:
        self.values = values
        self.weights = weights
        self.exponent = exponent
        self._shift = shift
        self._parallel = parallel

    @classmethod
    def of_design(
        cls, design: Design, sample_weight: Vector | None, parallel: InOrderMap
    ) -> Points:
        """Gather the rows of a design, `sample_weight` (n,) or None."""
        values = design_matrix(design, np.float64, parallel, shift=design.mean)
        weights = UNWEIGHTED if sample_weight is None else sample_weight
        weights = np.ascontiguousarray(weights, dtype=np.float64)
        exponent = scaling_exponent(largest_coordinate(values))
        if exponent:
            np.ldexp(values, -exponent, out=values)
        return cls(values, weights, shift=design.mean, exponent=exponent, parallel=parallel)

    def __len__(self) -> int:
        return len(self.values)

    @property
    def total_weight(self) -> float:
        """Return the sum of all weights."""
        return float(self.weights.sum()) if self.weights.size else float(len(self))

    def weights_of(self, rows: slice | NDArray[np.int64]) -> Vector:
        """Return the weights of some rows, 1 where there are none."""
        if self.weights.size:
            return self.weights[rows]
        return np.ones(len(self.values[rows]))

    def some(self, rows: slice | NDArray[np.int64]) -> Points:
        """Return a copy of some rows, to be worked on in one piece."""
        weights = self.weights[rows] if self.weights.size else self.weights
        return Points(
            np.ascontiguousarray(self.values[rows]),
            np.ascontiguousarray(weights),
            shift=self._shift,
            exponent=self.exponent,
        )

    def ranges(self) -> list[slice]:
        """Return the rows of each block."""
        ends = [*range(0, len(self), BLOCK_ROWS), len(self)]
        return [slice(*pair) for pair in pairwise(ends)]

    def assign(self, centers: Matrix, labels: NDArray[np.int32]) -> Assignment:
        """Replace the (n,) labels by the nearest of the (n_centers, n_columns) centres."""

        def work(rows: slice) -> tuple[Matrix, Vector, Vector]:
            sums, counts = np.zeros_like(centers), np.zeros(len(centers))
            statistics = np.zeros(kernel.N_STATISTICS)
            tile, lines = scratch(centers.shape[1])
            kernel.assign_rows(
                self.values,
                self.weights,
                rows.start,
                rows.stop,
                centers,
                tile,
                lines,
                labels,
                sums,
                counts,
                statistics,
            )
            return sums, counts, statistics

        sums, counts = np.zeros_like(centers), np.zeros(len(centers))
        statistics = np.zeros(kernel.N_STATISTICS)
        for part in collect(self._parallel, work, self.ranges()):
            for total, added in zip((sums, counts, statistics), part, strict=True):
                total += added
        inertia, n_changed = statistics[kernel.INERTIA], statistics[kernel.CHANGED]
        return Assignment(sums, counts, float(inertia), int(n_changed))

    def potentials(self, candidates: Matrix, closest: Vector, lowered: Matrix) -> Matrix:
        """Return (n_blocks, n_candidates): the weighted sums of squared distances with one more.

        Parameters
        ----------
        closest : (n,) squared distances from the nearest centre yet
        lowered : (at least n_candidates, n), overwritten: what they would be with each candidate
        """

        def work(rows: slice) -> Vector:
            sums = np.zeros(len(candidates))
            tile, lines = scratch(candidates.shape[1])
            kernel.add_potentials(
                self.values,
                self.weights,
                rows.start,
                rows.stop,
                candidates,
                tile,
                lines,
                closest,
                lowered,
                sums,
            )
            return sums

        return np.stack(collect(self._parallel, work, self.ranges()))

    def to_own_units(self, centers: Matrix) -> Matrix:
        """Return centres given in the design's units in those of the points."""
        return np.ascontiguousarray(np.ldexp(centers - self._shift, -self.exponent))

    def to_design_units(self, centers: Matrix) -> Matrix:
        """Return centres of points in the design's units."""
        return np.ascontiguousarray(np.ldexp(centers, self.exponent) + self._shift)


def scratch(n_columns: int, n_rows: int = kernel.TILE_ROWS) -> tuple[Matrix, Matrix]:
    """Return a tile and its lines, for the kernels to overwrite.

    Whole tiles begin where a line of the cache does: elsewhere a pass takes 1.7 times as long.
    """
    if n_rows < kernel.TILE_ROWS:
        return np.empty((n_columns, n_rows)), np.empty((kernel.N_LINES, n_rows))
    room = np.empty((n_columns + kernel.N_LINES) * n_rows + CACHE_LINE_FLOATS)
    first = (-room.ctypes.data // room.itemsize) % CACHE_LINE_FLOATS
    both = room[first : first + room.size - CACHE_LINE_FLOATS].reshape(-1, n_rows)
    return both[:n_columns], both[n_columns:]


def largest_coordinate(values: Matrix) -> float:
    """Return the largest absolute value, without a copy of them."""
    return max(float(values.max(initial=0.0)), -float(values.min(initial=0.0)))


def scaling_exponent(largest: float) -> int:
    """Return the exponent of the power of two to divide by: 0 if squares are safe without."""
    exponent = int(np.frexp(largest)[1])
    return exponent if abs(exponent) > MODERATE_EXPONENT and largest > 0 else 0


def unscaled(squared: float, exponent: int) -> float:
    """Return a squared length over 4**exponent as it is, or the largest number."""
    with np.errstate(over="ignore", under="ignore"):
        return min(float(np.ldexp(squared, 2 * exponent)), sys.float_info.max)
