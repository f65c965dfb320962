"""The iterations of k-means: Lloyd's over all rows, or steps of mini-batches.

Owns how centres move, how empty clusters are filled again and when to stop. The first centres are
`kmeans_init`'s, the passes over the rows `kmeans_points`'s; who asks is `kmeans`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from proxy.engine.arrays import IterationReport, Matrix, Vector
from proxy.engine.clusters.kmeans_init import Draws, initial_centers
from proxy.engine.clusters.kmeans_points import Assignment, Points, unscaled
from proxy.engine.clusters.kmeans_predictor import KMeansPredictor

PATIENCE = 10
"""Mini-batches without a better smoothed inertia, to stop after: scikit-learn's."""

INIT_BATCHES = 3
"""Mini-batches whose rows the first centres are drawn from: scikit-learn's."""


@dataclass(slots=True)
class Run:
    """The state of one fit's centres, in the units of the points.

    Attributes
    ----------
    counts : (n_clusters,) the weight that each centre stands for
    inertia : of the centres as they are, if it is known
    """

    centers: Matrix
    counts: Vector
    inertia: float | None = None
    n_iter: int = 0
    converged: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    """What a fit is to do.

    Attributes
    ----------
    tolerance : squared movement of all centres to stop at, in units of the points
    n_runs : fits from different centres
    """

    k: int
    max_iterations: int
    tolerance: float
    n_runs: int
    mini_batch: bool
    batch_size: int
    random_state: int


class Fit:
    """One fit's iterations, on points."""

    def __init__(self, plan: Plan, points: Points, report: IterationReport) -> None:
        self._plan = plan
        self._points = points
        self._report = report

    def best(self) -> Run:
        """Return the run of the least inertia, the first of several."""
        best = self._run(0)
        for number in range(1, self._plan.n_runs):
            run = self._run(number)
            if self._inertia(run) < self._inertia(best):
                best = run
        return best

    def _inertia(self, run: Run) -> float:
        """Return the inertia of the centres where they have come to, which no pass has told yet."""
        if run.inertia is None:
            labels = np.zeros(len(self._points), np.int32)
            run.inertia = self._points.assign(run.centers, labels).inertia
        return run.inertia

    def continued(self, earlier: KMeansPredictor) -> Run:
        """Return the run that begins where an earlier fit ended."""
        if earlier.n_features_in != self._points.values.shape[1]:
            raise ValueError(
                f"the model has {earlier.n_features_in} columns, not those of the rows"
            )
        run = Run(self._points.to_own_units(earlier.centers), earlier.counts.copy())
        if self._plan.mini_batch:
            return self._one_pass(run)
        return self._lloyd(run, 0)

    def _run(self, number: int) -> Run:
        draws = Draws(self._plan.random_state, number)
        k = min(self._plan.k, len(self._points))
        if self._plan.mini_batch:
            return self._many_batches(self._first_of_sample(k, draws), draws)
        centers = initial_centers(self._points, k, draws)
        run = Run(centers, np.zeros(len(centers)))
        return self._lloyd(run, number * self._plan.max_iterations)

    def _lloyd(self, run: Run, iterations_before: int) -> Run:
        """Move the centres to the means of their rows until few or none change sides."""
        labels = np.full(len(self._points), -1, np.int32)
        while run.n_iter < self._plan.max_iterations and not run.converged:
            found = self._points.assign(run.centers, labels)
            run.n_iter += 1
            self._tell(iterations_before + run.n_iter, found.inertia, self._points.total_weight)
            _refill(found, self._points, run.centers, labels)
            moved = _means(found, run.centers)
            movement = float(np.square(moved - run.centers).sum())
            run.centers = moved
            run.converged = found.n_changed == 0 or movement <= self._plan.tolerance
        return run

    def _first_of_sample(self, k: int, draws: Draws) -> Run:
        size = first_sample_size(k, self._plan.batch_size)
        centers = np.zeros((0, 0))
        if size < len(self._points):
            sample = self._points.some(draws.integers(len(self._points), size))
            centers = initial_centers(sample, k, draws)
        if len(centers) < k:
            centers = initial_centers(self._points, k, draws)
        return Run(centers, np.zeros(len(centers)))

    def _many_batches(self, run: Run, draws: Draws) -> Run:
        """Move the centres by batches drawn at random until the smoothed inertia stays."""
        n_rows, size = len(self._points), min(self._plan.batch_size, len(self._points))
        per_pass = -(-n_rows // size)
        smoothed = _Smoothed(2.0 * size / (n_rows + 1))
        while run.n_iter < self._plan.max_iterations and not run.converged:
            for step in range(per_pass):
                batch = self._points.some(draws.integers(n_rows, size))
                found = _move(run, batch, is_refilled=step == per_pass - 1)
                run.converged = smoothed.is_stuck(found.inertia / max(batch.total_weight, 1e-300))
                if run.converged:
                    break
            run.n_iter += 1
            self._tell(run.n_iter, smoothed.value, 1.0)
        return run

    def _one_pass(self, run: Run) -> Run:
        """Move the centres by every row once, in batches of rows that are far apart."""
        n_batches = -(-len(self._points) // self._plan.batch_size)
        inertia = 0.0
        for first in range(n_batches):
            inertia += _move(run, self._points.some(slice(first, None, n_batches))).inertia
        run.n_iter, run.converged = 1, True
        self._tell(1, inertia, self._points.total_weight)
        return run

    def _tell(self, iterations_done: int, inertia: float, weight: float) -> None:
        mean = inertia / weight if weight > 0 else 0.0
        self._report(iterations_done, unscaled(mean, self._points.exponent))


def first_sample_size(k: int, batch_size: int) -> int:
    """Return how many rows the first of k centres are drawn from."""
    return INIT_BATCHES * max(batch_size, k)


class _Smoothed:
    """The exponentially smoothed inertia of batches, and whether it still falls."""

    def __init__(self, share: float) -> None:
        self._share = min(share, 1.0)
        self._least = np.inf
        self._n_worse = 0
        self._n_seen = 0
        self.value = 0.0

    def is_stuck(self, inertia: float) -> bool:
        """Take a batch's inertia; return whether the last PATIENCE brought nothing."""
        self._n_seen += 1
        if self._n_seen <= 2:  # the first is that of centres that no batch has moved
            self.value = inertia
            return False
        self.value += self._share * (inertia - self.value)
        self._n_worse = 0 if self.value < self._least else self._n_worse + 1
        self._least = min(self._least, self.value)
        return self._n_worse >= PATIENCE


def _move(run: Run, batch: Points, *, is_refilled: bool = False) -> Assignment:
    """Move each centre to the mean of all the rows that it has been given."""
    labels = np.zeros(len(batch), np.int32)
    found = batch.assign(run.centers, labels)
    run.counts += found.counts
    if is_refilled and (run.counts == 0).any():
        _refill(found, batch, run.centers, labels, run.counts)
    share = np.divide(1.0, run.counts, out=np.zeros_like(run.counts), where=found.counts > 0)
    run.centers += (found.sums - found.counts[:, None] * run.centers) * share[:, None]
    return found


def _means(found: Assignment, centers: Matrix) -> Matrix:
    """Return the means of the clusters' rows; an empty one's centre stays."""
    counts = found.counts[:, None]
    return np.divide(found.sums, counts, out=centers.copy(), where=counts > 0)


def _refill(
    found: Assignment,
    points: Points,
    centers: Matrix,
    labels: NDArray[np.int32],
    counts: Vector | None = None,
) -> None:
    """Give each empty cluster the farthest row that is left, and take that from its own."""
    totals = found.counts if counts is None else counts
    empty = np.flatnonzero(totals == 0)
    if not len(empty):
        return
    distances = np.concatenate(
        [
            np.square(points.values[rows] - centers[labels[rows]]).sum(axis=1)
            * (points.weights_of(rows) > 0)
            for rows in points.ranges()
        ]
    )
    farthest = np.argsort(-distances, kind="stable")[: len(empty)]
    for cluster, row in zip(empty, farthest, strict=False):
        if distances[row] == 0:
            return
        weight = float(points.weights_of(slice(row, row + 1))[0])
        for place, sign in ((labels[row], -1.0), (cluster, 1.0)):
            found.sums[place] += sign * weight * points.values[row]
            found.counts[place] += sign * weight
            if counts is not None:
                counts[place] += sign * weight
