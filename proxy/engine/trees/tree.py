"""One grown tree: a binary tree of thresholds, as arrays over its nodes.

Owns the value and what can be read off it. Growing is `tree_growth`'s, scoring `tree_predictor`'s.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from proxy.engine.arrays import Flags, Matrix, Vector


@dataclass(frozen=True, slots=True)
class Tree:
    """A tree whose node 0 is the root; children stand side by side, after their parent.

    Attributes
    ----------
    feature : (n_nodes,) int32, the column that a node looks at, -1 in a leaf
    threshold : (n_nodes,), values up to it go to the left child
    missing_left : (n_nodes,) uint8, whether missing values do
    left : (n_nodes,) int32, the left child; the right one is the next; 0 in a leaf
    value : (n_nodes, n_values), the mean, or the share of each class, of a node's rows; of boosting
        the step
    weight : (n_nodes,), of a node's rows
    gain : (n_nodes,), what a cut gains, times weight; 0 in a leaf
    bin : (n_nodes,) uint8, the last bin of those that go to the left
    """

    feature: NDArray[np.int32]
    threshold: Vector
    missing_left: NDArray[np.uint8]
    left: NDArray[np.int32]
    value: Matrix
    weight: Vector
    gain: Vector
    bin: NDArray[np.uint8]

    @property
    def n_leaves(self) -> int:
        """Return the number of leaves."""
        return int((self.feature < 0).sum())

    @property
    def depth(self) -> int:
        """Return the number of cuts on the longest way to a leaf."""
        level, depth = np.zeros(1, np.int64), 0
        while True:
            level = self.left[level[self.feature[level] >= 0]].astype(np.int64)
            if not len(level):
                return depth
            level = np.concatenate([level, level + 1])
            depth += 1


@dataclass(frozen=True, slots=True)
class LevelTree:
    """What scoring needs of a tree, its nodes level by level: less than half of the memory.

    Attributes
    ----------
    is_cut : (n_nodes,), False for a leaf
    feature, threshold, missing_left : (n_cuts,), as of a `Tree`
    value : (n_leaves, n_values)
    """

    is_cut: Flags
    feature: NDArray[np.int32]
    threshold: Vector
    missing_left: Flags
    value: Matrix


def total_gains(tree: Tree, n_features: int) -> Vector:
    """Return the (n_features,) sums of what the cuts of each column gain."""
    cuts = tree.feature >= 0
    return np.bincount(tree.feature[cuts], tree.gain[cuts], n_features).astype(np.float64)


def importances(tree: Tree, n_features: int) -> Vector:
    """Return the (n_features,) shares of what the cuts of each column gain; they add up to 1.

    All 0 where nothing was gained. As scikit-learn's `feature_importances_` of one tree.
    """
    gains = np.maximum(total_gains(tree, n_features), 0.0)
    total = gains.sum()
    return gains / total if total > 0 else gains
