"""Random trees, and a walk over them in plain Python: the other road to a predictor's answers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from proxy.engine.trees.tree import Tree


def random_tree(
    rng: np.random.Generator, n_leaves: int, n_features: int, n_values: int, *, shares: bool = False
) -> Tree:
    """Return a tree grown by splitting leaves at random: its nodes are in no order of levels."""
    n_nodes = 2 * n_leaves - 1
    feature, left = np.full(n_nodes, -1, np.int32), np.zeros(n_nodes, np.int32)
    threshold = np.zeros(n_nodes)
    leaves = [0]
    for size in range(1, n_nodes, 2):
        node = leaves.pop(int(rng.integers(len(leaves))))
        feature[node], left[node] = rng.integers(n_features), size
        # Few distinct thresholds, so that values meet them exactly.
        threshold[node] = rng.integers(-4, 5) / 2 if rng.random() < 0.8 else rng.normal()
        leaves += [size, size + 1]
    value = rng.normal(size=(n_nodes, n_values))
    if shares:
        value = np.abs(value) + 1e-3
        value /= value.sum(axis=1, keepdims=True)
    return Tree(
        feature=feature,
        threshold=threshold,
        missing_left=rng.integers(0, 2, n_nodes).astype(np.uint8),
        left=left,
        value=value,
        weight=np.ones(n_nodes),
        gain=np.where(feature >= 0, 1.0, 0.0),
        bin=np.zeros(n_nodes, np.uint8),
    )


def random_rows(rng: np.random.Generator, n_rows: int, n_features: int) -> np.ndarray:
    """Return rows some of whose values are thresholds, missing, or as large as a float can be."""
    X = rng.integers(-9, 10, (n_rows, n_features)) / 4
    X[rng.random(X.shape) < 0.1] = np.nan
    extreme = rng.random(X.shape) < 0.1
    X[extreme] = rng.choice([1e308, -1e308, 5e-324, -0.0, 1.7e308], int(extreme.sum()))
    return X


def walk(tree: Tree, row: np.ndarray) -> np.ndarray:
    """Return the values of the leaf that a row comes to."""
    node = 0
    while tree.feature[node] >= 0:
        x = row[tree.feature[node]]
        goes_left = bool(tree.missing_left[node]) if np.isnan(x) else x <= tree.threshold[node]
        node = tree.left[node] + (not goes_left)
    return tree.value[node]


def summed(trees: Sequence[Tree], X: np.ndarray, base: np.ndarray, *, averages: bool) -> np.ndarray:
    """Return the (n_outputs, n) outputs: added up tree by tree."""
    n_outputs = len(base)
    total = np.zeros((n_outputs, len(X)))
    one_each = len(trees) and trees[0].value.shape[1] == 1
    for i, row in enumerate(X):
        for t, tree in enumerate(trees):
            if one_each:
                total[t % n_outputs, i] += walk(tree, row)[0]
            else:
                total[:, i] += walk(tree, row)
    divisor = (len(trees) / n_outputs if one_each else len(trees)) if averages and trees else 1.0
    return base[:, None] + total / divisor
