"""Draws of rows for the trees of a forest, and what trees say of the rows that were not drawn.

Owns the tree that a seed stands for, and the votes behind `oob_score_`. Growing is `tree_growth`'s.

References
----------
Breiman (1996), Machine Learning 24(2), 123-140.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from proxy.engine.arrays import Flags, Matrix, Vector
from proxy.engine.trees.decision_tree import mean_gain
from proxy.engine.trees.packed_trees import levelled
from proxy.engine.trees.tree import LevelTree, Tree, importances
from proxy.engine.trees.tree_growth import TreeGrower, as_int64, walk
from proxy.engine.trees.tree_memory import RowNumbers
from proxy.engine.trees.tree_statistics import ClassCodes
from proxy.kernels.tree_leaves import add_leaves, draw_rows


@dataclass(frozen=True, slots=True)
class Bagged:
    """A tree with what is wanted of it beside its scores.

    Attributes
    ----------
    tree : what scoring needs of it
    values : (n_nodes, n_values), of each node as it was grown
    importances : (n_features,)
    gain : by how much it lowers the mean impurity of its rows
    left_out, leaves : (m,), the rows that were not drawn, and the leaf that each comes to
    """

    tree: LevelTree
    values: Matrix
    importances: Vector
    gain: float
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
        self.target = target
        self.weight = weight
        self.bootstrap = bootstrap
        self.rows: RowNumbers = np.flatnonzero(weight > 0).astype(np.int32)

    def grow(self, seed: int) -> Bagged:
        """Return the tree of a seed of 64 bits."""
        if not self.bootstrap:
            return self._finish(self._grow_on(self.rows, self.weight, seed), self.rows[:0])
        counts = np.zeros(len(self.weight), np.uint16)
        # Two sequences of one generator, far apart: for rows and for columns.
        draw_rows(self.rows, as_int64(~seed), counts)
        drawn = np.flatnonzero(counts).astype(np.int32)
        left_out = self.rows[counts[self.rows] == 0]
        weight = self.weight * counts
        del counts  # of megabytes, and several trees are grown at a time
        return self._finish(self._grow_on(drawn, weight, seed), left_out)

    def _grow_on(self, rows: RowNumbers, weight: Vector, seed: int) -> Tree:
        first = self.target if self.grower.of_classes else self.target * weight
        return self.grower.grow(first, weight, rows, seed, locate=False).tree

    def _finish(self, tree: Tree, left_out: RowNumbers) -> Bagged:
        bins = self.grower.bins
        return Bagged(
            levelled(tree),
            tree.value,
            importances(tree, bins.n_features),
            mean_gain(tree),
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
        has_votes: Flags = (self.counts > 0) & (weight > 0)
        if not has_votes.any():
            return None
        sums, truth, weight = self.sums[has_votes], target[has_votes], weight[has_votes]
        if sums.shape[1] > 1:
            return float(weight @ (sums.argmax(axis=1) == truth) / weight.sum())
        return _r2(truth, sums[:, 0] / self.counts[has_votes], weight)


def _r2(truth: Vector | ClassCodes, scores: Vector, weight: Vector) -> float | None:
    """Return R^2; None where the truth is constant."""
    mean = weight @ truth / weight.sum()
    total = float(weight @ np.square(truth - mean))
    return 1.0 - float(weight @ np.square(truth - scores)) / total if total > 0 else None
