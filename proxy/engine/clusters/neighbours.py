"""Which points are near which: a k-d tree in memory.

Owns the making of the tree and the sharing out of its leaves among threads. The walks over it are
`kernels`'s, what nearness is good for is `dbscan`'s.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from proxy.engine.arrays import Flags, Matrix, Vector
from proxy.engine.parallel import InOrderMap, collect, one_by_one
from proxy.kernels import kd_tree
from proxy.kernels.components import unite_neighbours
from proxy.kernels.neighbours import lowest_label_near, mark_dense

Metric: TypeAlias = Literal["euclidean", "manhattan", "chebyshev"]

METRICS: tuple[Metric, ...] = ("euclidean", "manhattan", "chebyshev")
"""Each at the place that is its number in the kernels."""

CHUNK_LEAVES = 64
"""A thousand points or less: enough that a thread works longer on them than it waits for them."""

MODERATE_EXPONENT = 400
LARGEST_EXPONENT = 500
"""Coordinates beyond two to this power are scaled down: their squares would overflow."""
SMALLEST_EXPONENT = 1000
"""The power of two itself must not overflow."""


@dataclass(frozen=True, slots=True)
class Reach:
    """How far is near.

    Parameters
    ----------
    distance : the largest, itself included
    """

    distance: float
    metric: Metric = "euclidean"

    @property
    def number(self) -> int:
        """Return the metric as the kernel knows it."""
        return METRICS.index(self.metric)

    def radius(self, scale: float) -> float:
        """Return the distance, times the scale, as the kernel adds distances up."""
        distance = self.distance * scale
        return distance * distance if self.metric == "euclidean" else distance


class NeighbourIndex:
    """A k-d tree over the rows of a matrix, for questions about one reach.

    Parameters
    ----------
    points : (n, n_columns), C-contiguous, finite, n and n_columns at least 1

    Attributes
    ----------
    order : (n,) the row of each point in the order of the tree
    scale : a power of two that coordinates are multiplied by, 1 unless they or the reach are of an
        extraordinary size

    References
    ----------
    Friedman, Bentley & Finkel (1977), "An Algorithm for Finding Best Matches in Logarithmic
    Expected Time".
    """

    def __init__(self, points: Matrix, reach: Reach, parallel: InOrderMap = one_by_one) -> None:
        self.reach = reach
        self.scale = _scale(points, reach.distance)
        self._radius = reach.radius(self.scale)
        self._parallel = parallel
        if self.scale != 1.0:
            points = points * self.scale
        n_levels = max(math.ceil(math.log2(len(points) / kd_tree.MOST_LEAF_POINTS)), 0)
        self._n_leaves = 1 << n_levels
        n_nodes = 2 * self._n_leaves - 1
        self.order = np.arange(len(points))
        self._bounds = np.zeros((n_nodes, 2), np.int64)
        self._bounds[0, 1] = len(points)
        self._boxes = np.empty((n_nodes, 2 * points.shape[1]))
        self._split(points, n_levels)
        self._columns = np.empty(points.shape[::-1])
        for column, values in zip(self._columns, points.T, strict=True):
            np.take(values, self.order, out=column, mode="clip")  # "raise" would copy twice

    def _split(self, points: Matrix, n_levels: int) -> None:
        keys = np.empty(len(points))
        for level in range(n_levels + 1):

            def work(nodes: slice, is_split: int = int(level < n_levels)) -> None:
                kd_tree.split_nodes(
                    points,
                    nodes.start,
                    nodes.stop,
                    is_split,
                    self.order,
                    keys,
                    self._bounds,
                    self._boxes,
                )

            first = (1 << level) - 1
            chunk = max((CHUNK_LEAVES << level) // self._n_leaves, 1)
            collect(self._parallel, work, _chunks(first, 2 * first + 1, chunk))

    def are_dense(self, weights: Vector, enough: float) -> Flags:
        """Return (n,): whether the rows near each one, itself included, weigh enough.

        Parameters
        ----------
        weights : (n,), each at least 0
        """
        in_order = np.ascontiguousarray(weights[self.order], dtype=np.float64)
        is_dense = np.empty(len(self.order), np.uint8)

        def work(leaves: slice) -> None:
            stack, near = self._scratch()
            mark_dense(
                self._columns,
                self._bounds,
                self._boxes,
                in_order,
                leaves.start,
                leaves.stop,
                self._radius,
                self.reach.number,
                enough,
                stack,
                near,
                np.empty(kd_tree.MOST_LEAF_POINTS),
                is_dense,
            )

        collect(self._parallel, work, self._leaf_chunks())
        return self._by_row(is_dense.astype(np.bool_))

    def components(self, taking_part: Flags) -> NDArray[np.int64]:
        """Return (n,) numbers of the sets that nearness joins rows to, -1 for those not in one.

        Parameters
        ----------
        taking_part : (n,) the rows that are to be joined; sets are numbered in their order
        """
        is_in = taking_part[self.order]
        parents = np.where(is_in, np.arange(len(is_in)), -1)
        known = self._first_components(is_in)
        stack, _ = self._scratch()
        for leaves in self._leaf_chunks():
            unite_neighbours(
                self._columns,
                self._bounds,
                self._boxes,
                leaves.start,
                leaves.stop,
                self._radius,
                self.reach.number,
                stack,
                parents,
                known,
            )
        return _numbered(self._by_row(_roots(parents)))

    def lowest_near(self, labels: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return (n,) labels: where there is none, -1, the lowest of a near row's, if any."""
        in_order = labels[self.order]
        known = self._first_components(in_order >= 0)
        lowest = in_order.copy()

        def work(leaves: slice) -> None:
            stack, near = self._scratch()
            lowest_label_near(
                self._columns,
                self._bounds,
                self._boxes,
                leaves.start,
                leaves.stop,
                self._radius,
                self.reach.number,
                stack,
                near,
                known,
                in_order,
                lowest,
            )

        collect(self._parallel, work, self._leaf_chunks())
        return self._by_row(lowest)

    def values_of_nearest(self, rows: Matrix, values: Vector) -> Matrix:
        """Return (1, n_rows): the value, by row, of the nearest point within reach, 0 if none.

        Of several at one distance the lowest row's. The same, bit for bit, alone and in a batch.
        """
        out = np.empty((1, len(rows)))
        kd_tree.find_values_of_nearest(
            rows,
            self.scale,
            self._columns,
            self._bounds,
            self._boxes,
            self.order,
            values,
            self._radius,
            self.reach.number,
            np.empty(kd_tree.DEEPEST_STACK, np.int64),
            np.empty((1, kd_tree.DEEPEST_STACK)),
            np.empty((rows.shape[1], 1)),
            out,
        )
        return out

    def _first_components(self, is_in: Flags) -> NDArray[np.int64]:
        """Return (n_nodes,) what is known of components before any two points are united."""
        n_before = np.concatenate([[0], np.cumsum(is_in)])
        n_in = n_before[self._bounds[:, 1]] - n_before[self._bounds[:, 0]]
        return np.where(n_in > 0, kd_tree.SEVERAL_COMPONENTS, kd_tree.NO_COMPONENT).astype(np.int64)

    def _leaf_chunks(self) -> list[slice]:
        return _chunks(self._n_leaves - 1, 2 * self._n_leaves - 1, CHUNK_LEAVES)

    def _scratch(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        return np.empty(kd_tree.DEEPEST_STACK, np.int64), np.empty(self._n_leaves, np.int64)

    def _by_row(self, values: NDArray[Any]) -> NDArray[Any]:
        """Return values in the order of the tree in that of the rows."""
        by_row: NDArray[Any] = np.empty_like(values)
        by_row[self.order] = values
        return by_row


def _chunks(first: int, last: int, size: int) -> list[slice]:
    return [slice(start, min(start + size, last)) for start in range(first, last, size)]


def _scale(points: Matrix, distance: float) -> float:
    """Return the power of two that brings a reach to about 1, if it is needed and possible."""
    largest = max(float(points.max()), -float(points.min()), distance)
    reach = int(np.frexp(distance)[1])
    exponent = reach if abs(reach) > MODERATE_EXPONENT else 0
    exponent = max(exponent, int(np.frexp(largest)[1]) - LARGEST_EXPONENT, -SMALLEST_EXPONENT)
    return 2.0**-exponent


def _roots(parents: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the representative of each point of a forest; -1 stays."""
    roots = parents
    while True:
        further = np.where(roots >= 0, roots[roots], -1)
        if np.array_equal(further, roots):
            return roots
        roots = further


def _numbered(roots: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return numbers from 0 for roots, in the order of their first row; -1 stays."""
    members = np.flatnonzero(roots >= 0)
    own = roots[members]
    numbers = np.full(len(roots), len(roots))  # first of roots: the row that each occurs in first
    np.minimum.at(numbers, own, members)
    first = numbers[own]
    numbers.fill(-1)
    numbers[members] = np.cumsum(first == members) - 1
    numbers[members] = numbers[first]
    return numbers
