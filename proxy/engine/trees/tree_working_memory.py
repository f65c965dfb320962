"""How much memory trees are grown in, told before they are.

Owns the sums over what the fits of this room hold at a time, beside the rows that they read. How
large a tree's own scratch is, `tree_memory` says.

All have three phases: the columns are binned, trees are grown, and they are packed for scoring.
What a thread has used for bins its allocator may keep, so that phase is counted with the others.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from proxy.engine.fit_shape import FitShape
from proxy.engine.preparation.design import BLOCK_SIZE_BYTES, SMALLEST_BLOCK_ROWS
from proxy.engine.trees.binning import MOST_BINS, most_sample_rows
from proxy.engine.trees.random_forest import n_features_drawn
from proxy.engine.trees.tree_memory import NO_LIMIT, GrowthSize, kept_bytes, packing_bytes

LEARNING_BYTES = 44
"""Of one row of the sample, while a column's edges are learned: its order, and passes over it."""
DRAWN_SHARE = 0.632
"""Of the rows, in a bootstrap: 1 - 1/e."""
LEAVES_OF_IMPURITY = 1 / 3
"""Leaves of a classification for each row and unit of Gini impurity before the first cut, without
other limits: measured, a half where columns say nothing of the class, a quarter with one wrong row
in eight. With numbers each row that differs has its own leaf."""
FULL_DEPTH, LEAVES_PER_LEVEL, MOST_LEVELS = 10, 1.75, 64
"""Down to that many cuts nearly all nodes are cut again; each level further has so many times the
leaves: measured at 15 cuts of a million rows, 1.6 of classes and 1.75 of numbers."""
NODE_BYTES, NODE_VALUE_BYTES = 34, 8
"""Of a node of a `Tree`, and of each value."""


@dataclass(frozen=True, slots=True)
class _Growth:
    """How the trees of a fit are grown.

    Attributes
    ----------
    n_values : of a leaf
    balanced : whether rows have weights of their classes
    """

    shape: FitShape
    size: GrowthSize
    n_values: int
    balanced: bool
    weighted: bool

    def n_leaves(self, n_rows: int) -> int:
        """Return how many leaves a tree of so many rows is likely to have."""
        n_columns = min(self.shape.n_columns, 8)  # with more there are rows enough that differ
        n_different: int = min(n_rows, (MOST_BINS + 1) ** n_columns)
        if self.shape.n_classes:
            impurity = 1.0 - 1.0 / self.shape.n_classes
            n_different = int(n_different * impurity * LEAVES_OF_IMPURITY)
        n_deeper = min(max(self.size.max_depth - FULL_DEPTH, 0), MOST_LEVELS)
        by_depth = int(2**FULL_DEPTH * LEAVES_PER_LEVEL**n_deeper)
        return max(min(self.size.most_leaves(n_rows), n_different, by_depth), 1)

    def scratch(self, n_rows: int) -> int:
        """Return what one tree of so many rows is grown in."""
        n_rows = self.size.with_spare_rows(n_rows)
        return self.size.scratch_bytes(n_rows, self.n_leaves(n_rows))

    def weights(self) -> int:
        """Return what each row's weight takes, if it is made of its class."""
        return 8 * self.shape.n_rows * (1 + self.weighted) if self.balanced else 0

    def tree(self, n_nodes: int) -> int:
        """Return what a tree of so many nodes takes, as it was grown."""
        return n_nodes * (NODE_BYTES + NODE_VALUE_BYTES * self.n_values)

    def kept(self, n_nodes: int) -> int:
        """Return what trees of so many nodes take until they are packed."""
        return kept_bytes(n_nodes, self.n_values)

    def packing(self, n_nodes: int) -> int:
        """Return what so many nodes take while they are packed."""
        return packing_bytes(n_nodes, self.n_values)

    def peak(self, grown: int, packed: int) -> int:
        """Return the most of the three phases, given what two of them take beside bins."""
        shape = self.shape
        n_sampled = min(shape.n_rows, most_sample_rows(shape.n_columns))
        n_learning = min(shape.n_threads, max(shape.n_columns, 1))
        block = max(BLOCK_SIZE_BYTES, 8 * shape.n_columns * SMALLEST_BLOCK_ROWS)
        block = min(block, 8 * shape.n_columns * shape.n_rows)
        edges = 2 * 8 * (MOST_BINS + 1) * shape.n_columns
        threads = n_learning * LEARNING_BYTES * n_sampled + shape.n_threads * block
        sample, bins = 8 * n_sampled * shape.n_columns, shape.n_rows * shape.n_columns
        return edges + threads + max(sample, bins + grown, packed)


def _growth(
    arguments: Mapping[str, Any], shape: FitShape, *, of_classes: bool, n_tried: int
) -> _Growth:
    max_depth, max_leaf_nodes = arguments["max_depth"], arguments["max_leaf_nodes"]
    size = GrowthSize(
        n_samples=shape.n_rows,
        n_features=shape.n_columns,
        n_channels=shape.n_classes if of_classes else 2,
        of_classes=of_classes,
        max_depth=NO_LIMIT if max_depth is None else max_depth,
        max_leaves=NO_LIMIT if max_leaf_nodes is None else max_leaf_nodes,
        min_samples_leaf=arguments["min_samples_leaf"],
        is_best_first=max_leaf_nodes is not None,
        searches_all=n_tried >= shape.n_columns,
    )
    return _Growth(
        shape,
        size,
        n_values=shape.n_classes if of_classes else 1,
        balanced=shape.n_classes > 0 and arguments.get("class_weight") == "balanced",
        weighted=arguments.get("sample_weight") is not None,
    )


def decision_tree_memory(arguments: Mapping[str, Any], shape: FitShape) -> int:
    """Return the bytes that a decision tree holds at its peak."""
    n_rows, of_classes = shape.n_rows, shape.n_classes > 0
    growth = _growth(arguments, shape, of_classes=of_classes, n_tried=shape.n_columns)
    n_nodes = 2 * growth.n_leaves(n_rows) - 1
    per_row = 4 + (2 if of_classes else 8 * growth.weighted)  # numbers; classes, or products
    tree = growth.tree(n_nodes)
    return growth.peak(
        n_rows * per_row + growth.weights() + growth.scratch(n_rows) + tree,
        tree + growth.kept(n_nodes) + growth.packing(n_nodes),
    )


def random_forest_memory(arguments: Mapping[str, Any], shape: FitShape) -> int:
    """Return the bytes that a forest holds at its peak.

    Where neither depth nor leaves are limited, how large trees become depends on how well columns
    tell rows apart: then only those in growth are counted, and the fit looks at the others itself.
    """
    n_rows, of_classes, n_trees = shape.n_rows, shape.n_classes > 0, arguments["n_trees"]
    wanted = arguments["max_features"]
    if wanted == "auto":
        wanted = "sqrt" if of_classes else None
    growth = _growth(
        arguments,
        shape,
        of_classes=of_classes,
        n_tried=n_features_drawn(wanted, shape.n_columns),
    )
    n_drawn, per_row, of_one = n_rows, 4, 0
    if arguments["bootstrap"]:
        n_drawn = int(n_rows * DRAWN_SHARE)
        per_row += 4 + 4 * growth.n_values  # votes, and their sums
        of_one = 2 * n_rows + 4 * n_drawn + 2 * 4 * (n_rows - n_drawn)  # times drawn; rows; others
    per_row += 2 if of_classes else 8 * growth.weighted
    n_nodes = 2 * growth.n_leaves(n_drawn) - 1
    of_one += growth.scratch(n_drawn) + growth.tree(n_nodes)
    n_growing = min(shape.n_threads, n_trees)
    n_nodes *= n_trees if growth.size.limits_leaves(n_drawn) else n_growing
    kept = growth.kept(n_nodes)
    return growth.peak(
        n_rows * per_row + growth.weights() + n_growing * of_one + kept,
        kept + growth.packing(n_nodes),
    )


def gradient_boosting_memory(arguments: Mapping[str, Any], shape: FitShape) -> int:
    """Return the bytes that boosting holds at its peak."""
    n_rows, n_classes = shape.n_rows, shape.n_classes
    growth = _growth(arguments, shape, of_classes=False, n_tried=shape.n_columns)
    n_outputs, n_grown = (n_classes, min(n_classes, shape.n_threads)) if n_classes > 2 else (1, 1)
    of_one = growth.size.scratch_bytes(n_rows, growth.size.most_leaves(n_rows)) + 4 * n_rows
    per_row = 1 + 4  # whether it is trained on; its number
    if n_outputs > 1:
        per_row += 8 * n_outputs + 8  # scores, and the sum of their exponentials
        of_one += 2 * 8 * n_rows  # derivatives
    else:
        per_row += 2 * 8 + 4  # score and gradient; the leaf whose step waits
        per_row += 2 * 8 * (n_classes > 0)  # sign and Hessian
    if arguments["early_stopping"]:
        per_row += 8
    if arguments["subsample"] < 1.0:
        per_row += 2 * 4  # numbers of the rows that are drawn, and of those that are not
    n_nodes = arguments["n_trees"] * n_outputs * (2 * growth.size.most_leaves(n_rows) - 1)
    trees = growth.tree(n_nodes)
    grown = n_rows * per_row + growth.weights() + n_grown * of_one + trees
    return growth.peak(grown, grown + n_rows * shape.n_columns + growth.packing(n_nodes))
