"""The walk over packed nodes, and the order in which they are packed."""

from __future__ import annotations

import numpy as np
import pytest

from proxy.engine.trees.packed_trees import Cuts, PackedTrees
from proxy.kernels import ranks
from proxy.kernels import trees as kernel
from tests.engine.trees.grown_trees import random_rows, random_tree


@pytest.mark.parametrize("n_leaves", [1, 2, 3, 50])
def test_nodes_are_ordered_by_level(n_leaves: int) -> None:
    """Each node once, parents by distance from the root, children side by side."""
    tree = random_tree(np.random.default_rng(n_leaves), n_leaves, 3, 1)
    order = np.empty(len(tree.left), np.int64)
    kernel.order_by_level(tree.left, order)
    expected = [0]
    for node in expected:  # grows while it is read
        if tree.left[node]:
            expected += [tree.left[node], tree.left[node] + 1]
    assert order.tolist() == expected


def test_trees_are_packed_as_documented() -> None:
    """A word holds the column of the ranks, the threshold's place and the way to the left child."""
    trees = [random_tree(np.random.default_rng(i), 9, 2, 1) for i in range(3)]
    cuts, values = Cuts.from_trees(trees, 2)
    packed = PackedTrees.from_cuts(cuts)
    assert len(values) == 27
    for at, (tree, root) in enumerate(zip(trees, packed.roots.tolist(), strict=True)):
        assert root == at * 17
        order = np.empty(17, np.int64)
        kernel.order_by_level(tree.left, order)
        place = {node: root + i for i, node in enumerate(order.tolist())}
        for node in range(17):
            word = int(packed.words[place[node]])
            delta = word & (1 << kernel.DELTA_BITS) - 1
            rank = word >> kernel.DELTA_BITS & kernel.LEAF_RANK
            slot = word >> kernel.DELTA_BITS + ranks.RANK_BITS
            if tree.left[node] == 0:
                assert (delta, rank, slot) == (0, kernel.LEAF_RANK, 0)
                continue
            feature = tree.feature[node]
            assert delta == place[tree.left[node]] - place[node]
            assert packed.slot_feature[slot] == feature
            assert packed.slot_is_low[slot] == tree.missing_left[node]
            first = packed.threshold_counts[:feature].sum()
            assert packed.thresholds[first + rank] == tree.threshold[node]


@pytest.mark.parametrize("n_rows", [8, 9, 64, 65, 200])
@pytest.mark.parametrize("block", [1, 64, 128])
def test_rows_that_walk_together_arrive_where_single_ones_do(n_rows: int, block: int) -> None:
    """The kernel of many rows and that of few give the same bits, in blocks of any size."""
    rng = np.random.default_rng(0)
    cuts, values = Cuts.from_trees([random_tree(rng, 30, 3, 1) for _ in range(10)], 3)
    packed = PackedTrees.from_cuts(cuts)
    leaves = np.zeros(len(packed.words), np.uint32)
    leaves[~packed.is_cut] = np.arange(len(values))
    model = (packed.words, packed.roots, leaves, values, packed.searches, packed.tables)
    X, base = random_rows(rng, n_rows, 3), np.array([0.5, -1.0])
    few, many = np.empty((2, 2, n_rows))
    n_slots = packed.n_slots
    kernel.score_few(X, *model, base, 5.0, np.empty(n_slots, np.uint16), few)
    kernel.score_many(
        X,
        *model,
        base,
        5.0,
        np.empty(block * n_slots, np.uint16),
        n_slots,
        np.empty(ranks.CHUNK_ROWS),
        np.empty(ranks.CHUNK_ROWS, np.uint64),
        many,
    )
    np.testing.assert_array_equal(few, many)
