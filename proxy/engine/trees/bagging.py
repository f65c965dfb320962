"""Draws of rows for the trees of a forest, and what trees say of the rows that were not drawn.

Owns the tree that a seed stands for, and the votes behind `oob_score_`. Growing is `tree_growth`'s.

References
----------
Breiman (1996), Machine Learning 24(2), 123-140.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from proxy.engine.arrays import Matrix, Vector
from proxy.engine.trees.decision_tree import impurity_of_shares, mean_gain
from proxy.engine.trees.packed_trees import levelled
from proxy.engine.trees.tree import LevelTree, importances
from proxy.engine.trees.tree_growth import GrownTree, TreeGrower, as_int64, walk
from proxy.engine.trees.tree_memory import RowNumbers
from proxy.engine.trees.tree_statistics import ClassCodes, Counts
from proxy.kernels.draws import draw_rows, list_rows
from proxy.kernels.tree_leaves import add_leaves

SCORED_AT_A_TIME = 1 << 16


@dataclass(frozen=True, slots=True)
class Bagged:
    """A tree with what is wanted of it beside its scores.

    Attributes
    ----------
    tree : what scoring needs of it
    values : (n_nodes, n_values), of each node as it was grown
    importances : (n_features,)
    loss : the mean impurity of its leaves, for its own rows
    left_out, leaves : (m,), the rows that were not drawn, and the leaf that each comes to
    """

    tree: LevelTree
    values: Matrix
    importances: Vector
    loss: float
    left_out: RowNumbers
    leaves: RowNumbers


class Bagging:
    """Grow one tree after the other, each from its own seed; several threads may."""

    def __init__(
        self,
        grower: TreeGrower,
        target: Vector | ClassCodes,
        weight: Vector,
        *,
        bootstrap: bool,
    ) -> None:
        self.grower = grower
        self.weight = weight
        is_weighted = not grower.of_classes and weight.strides != (0,)
        self.first = target * weight if is_weighted else target
        self.bootstrap = bootstrap
        self.rows: RowNumbers = np.flatnonzero(weight > 0).astype(np.int32)

    def grow(self, seed: int) -> Bagged:
        """Return the tree of a seed of 64 bits."""
        if not self.bootstrap:
            return self._finish(self._grow_on(self.rows, None, seed), self.rows[:0])
        counts = np.zeros(len(self.weight), np.uint16)
        # Two sequences of one generator, far apart: for rows and for columns.
        n_drawn = draw_rows(self.rows, as_int64(~seed), counts)
        drawn = np.empty(n_drawn, np.int32)
        list_rows(self.rows, counts, True, drawn)
        grown = self._grow_on(drawn, counts, seed)
        left_out = np.empty(len(self.rows) - n_drawn, np.int32)
        list_rows(self.rows, counts, False, left_out)
        return self._finish(grown, left_out)

    def _grow_on(self, rows: RowNumbers, counts: Counts | None, seed: int) -> GrownTree:
        return self.grower.grow(self.first, self.weight, rows, seed, counts=counts, locate=False)

    def _impurity(self, grown: GrownTree) -> float:
        """Return the impurity of a tree's rows before the first cut."""
        if self.grower.of_classes:
            return impurity_of_shares(grown.tree.value[0], self.grower.criterion)
        return grown.variance

    def _finish(self, grown: GrownTree, left_out: RowNumbers) -> Bagged:
        bins, tree = self.grower.bins, grown.tree
        return Bagged(
            levelled(tree),
            tree.value,
            importances(tree, bins.n_features),
            max(self._impurity(grown) - mean_gain(tree), 0.0),
            left_out,
            walk(bins, tree, left_out),
        )


class Votes:
    """What trees say of the rows that they were not grown on.

    Attributes
    ----------
    sums : (n_samples, n_values), in single precision: of a million rows they are the half of it
    counts : (n_samples,), of trees
    """

    def __init__(self, n_samples: int, n_values: int) -> None:
        self.sums: NDArray[np.float32] = np.zeros((n_samples, n_values), np.float32)
        self.counts: NDArray[np.int32] = np.zeros(n_samples, np.int32)

    def add(self, bagged: Bagged) -> None:
        """Add the votes of one tree; in the order of the trees, as sums depend on it."""
        add_leaves(bagged.left_out, bagged.leaves, bagged.values, self.sums, self.counts)

    def misses_rows(self, weight: Vector) -> bool:
        """Return whether a row that weighs something was drawn for every tree."""
        return bool(((self.counts == 0) & (weight > 0)).any())

    def score(self, target: Vector | ClassCodes, weight: Vector) -> float | None:
        """Return the accuracy, or R^2, over the rows with votes; None without any.

        Parameters
        ----------
        target : (n_samples,), class codes where there are several sums for a row, or values
        """
        total, total_truth, total_right = 0.0, 0.0, 0.0
        for means, truth, own in self._voted(target, weight):
            total += float(own.sum())
            total_truth += float(own @ truth)
            if self.sums.shape[1] > 1:
                total_right += float(own @ (means.argmax(axis=1) == truth))
        if total == 0:
            return None
        if self.sums.shape[1] > 1:
            return total_right / total
        squares, errors = 0.0, 0.0
        for means, truth, own in self._voted(target, weight):
            squares += float(own @ np.square(truth - total_truth / total))
            errors += float(own @ np.square(truth - means[:, 0]))
        return 1.0 - errors / squares if squares > 0 else None

    def _voted(
        self, target: Vector | ClassCodes, weight: Vector
    ) -> Iterator[tuple[Matrix, Vector | ClassCodes, Vector]]:
        """Yield mean vote, target and weight of rows that have them, a block at a time."""
        for start in range(0, len(self.counts), SCORED_AT_A_TIME):
            rows = slice(start, start + SCORED_AT_A_TIME)
            counts, own = self.counts[rows], weight[rows]
            chosen = (counts > 0) & (own > 0)
            yield self.sums[rows][chosen] / counts[chosen, None], target[rows][chosen], own[chosen]
