"""Where k-means begins: greedy k-means++.

Owns the drawing of the first centres and the numbers it draws with. What becomes of the centres is
`kmeans`'s.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from proxy.engine.arrays import Matrix, Vector
from proxy.engine.clusters.kmeans_points import Points


class Draws:
    """Uniform numbers from a seed and the number of a stream.

    Made of PCG64's raw words, which are fixed by definition: numpy may change what its
    distributions make of them.
    """

    def __init__(self, seed: int, stream: int = 0) -> None:
        self._source = np.random.PCG64(np.random.SeedSequence([seed, stream]))

    def uniform(self, count: int) -> Vector:
        """Return (count,) numbers from 0 to below 1."""
        words = np.asarray(self._source.random_raw(count), dtype=np.uint64)
        return np.asarray((words >> np.uint64(11)) * 2.0**-53)

    def integers(self, below: int, count: int) -> NDArray[np.int64]:
        """Return (count,) numbers from 0 to below `below`."""
        return np.asarray((self.uniform(count) * below).astype(np.int64))


def initial_centers(points: Points, k: int, draws: Draws) -> Matrix:
    """Return (k, n_columns) rows to begin from; fewer if no more of them differ.

    Each is the best of 2 + log k that are drawn with probabilities in proportion to their squared
    distances from the nearest of those before.

    References
    ----------
    Arthur & Vassilvitskii (2007), "k-means++: The Advantages of Careful Seeding", SODA; the greedy
    choice is that of the authors' own program.
    """
    n_trials = trial_count(k)
    closest, lowered = np.full(len(points), np.inf), np.empty((n_trials, len(points)))
    chosen: list[int] = []
    rows = np.array([_first(points, draws)])
    while True:
        candidates = np.ascontiguousarray(points.values[rows])
        potentials = points.potentials(candidates, closest, lowered)
        best = int(potentials.sum(axis=0).argmin())
        chosen.append(int(rows[best]))
        masses = potentials[:, best]
        if len(chosen) == k or masses.sum() == 0:
            return np.ascontiguousarray(points.values[chosen])
        np.copyto(closest, lowered[best])
        rows = _drawn_by_mass(points, closest, masses, draws.uniform(n_trials))


def trial_count(k: int) -> int:
    """Return how many rows are drawn for each of k centres."""
    return 2 + int(math.log(k))


def _first(points: Points, draws: Draws) -> int:
    """Return a row, drawn by weight."""
    share = float(draws.uniform(1)[0])
    if not points.weights.size:
        return int(share * len(points))
    return _place(points.weights, share * points.total_weight)


def _drawn_by_mass(
    points: Points, closest: Vector, masses: Vector, shares: Vector
) -> NDArray[np.int64]:
    """Return the rows at which the sums of weighted `closest` reach the shares of the total."""
    ranges, before = points.ranges(), np.cumsum(masses)
    rows = []
    for target in shares * before[-1]:
        block = _place(masses, target, before)
        own = ranges[block]
        rest = target - (before[block] - masses[block])
        rows.append(own.start + _place(closest[own] * points.weights_of(own), rest))
    return np.array(rows, np.int64)


def _place(masses: Vector, target: float, sums: Vector | None = None) -> int:
    """Return the first place at which the running sum exceeds the target; its mass is not 0."""
    sums = np.cumsum(masses) if sums is None else sums
    place = int(np.searchsorted(sums, target, side="right"))
    if place < len(masses) and masses[place] > 0:
        return place
    return int(masses.argmax())  # rounding has put the target beyond the last sum
