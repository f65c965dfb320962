"""Growing of trees, against brute force, closed forms and scikit-learn."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from proxy.engine.arrays import Matrix, Vector
from proxy.engine.trees import tree_growth, tree_memory
from proxy.engine.trees.binning import bin_design
from proxy.engine.trees.tree import Tree, importances
from proxy.engine.trees.tree_growth import Criterion, TreeGrower, leaves_of
from tests.engine.maps import backwards

RNG = np.random.default_rng(0)
N = 2000
X = np.column_stack(
    [RNG.integers(0, 40, N), RNG.integers(0, 3, N), RNG.integers(0, 200, N), RNG.integers(0, 9, N)]
).astype(float)
Y = X[:, 0] * (X[:, 1] > 1) + np.sin(X[:, 2]) * 9 + RNG.normal(size=N)
CODES = (np.digitize(Y, [0.0, 8.0])).astype(np.uint16)
WEIGHT = RNG.integers(0, 4, N).astype(float)
HOLED = np.where(RNG.random(X.shape) < 0.2, np.nan, X)
CRITERIA: list[Criterion] = ["squared_error", "newton", "gini", "entropy"]


def walked(tree: Tree, rows: Matrix) -> np.ndarray:
    """Return the leaf of each row, by thresholds."""
    node = np.zeros(len(rows), np.int64)
    while (tree.feature[node] >= 0).any():
        feature = np.maximum(tree.feature[node], 0)
        value = rows[np.arange(len(rows)), feature]
        left = np.where(np.isnan(value), tree.missing_left[node] > 0, value <= tree.threshold[node])
        node = np.where(tree.feature[node] >= 0, tree.left[node] + 1 - left, node)
    return node


def grown(
    criterion: Criterion, matrix: Matrix = X, weight: Vector = WEIGHT, **settings: Any
) -> Tree:
    """Return a tree of this file's target."""
    classes = criterion in tree_growth.OF_CLASSES
    grower = TreeGrower(bin_design(matrix), criterion=criterion, n_classes=3 * classes, **settings)
    return grower.grow(CODES if classes else Y * weight, weight).tree


def same(one: Tree, other: Tree) -> bool:
    """Return whether all arrays have the same bytes."""
    names = Tree.__slots__
    return all(getattr(one, n).tobytes() == getattr(other, n).tobytes() for n in names)


def impurity(criterion: Criterion, rows: np.ndarray, l2: float) -> float:
    """Return weight times impurity of some rows, from the definition."""
    weight = WEIGHT[rows]
    if weight.sum() == 0:
        return 0.0
    if criterion == "newton":
        return -float((Y * WEIGHT)[rows].sum() ** 2 / (weight.sum() + l2))
    if criterion == "squared_error":
        return float(weight @ np.square(Y[rows] - np.average(Y[rows], weights=weight)))
    shares = np.bincount(CODES[rows], weight) / weight.sum()
    if criterion == "gini":
        return float(weight.sum() * (1 - shares @ shares))
    return -float(weight.sum() * (shares[shares > 0] @ np.log2(shares[shares > 0])))


@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize("criterion", CRITERIA)
def test_the_first_cut_gains_most_of_all(criterion: Criterion, missing: bool) -> None:
    """Brute force over columns, thresholds and sides for missing values finds no larger gain."""
    matrix = HOLED if missing else X
    tree = grown(criterion, matrix, max_depth=1, min_samples_leaf=25, l2=3.0)
    used = np.flatnonzero(WEIGHT > 0)
    whole, best = impurity(criterion, used, 3.0), -np.inf
    for column in matrix[used].T:
        for value in [*np.unique(column[~np.isnan(column)]), np.inf]:
            for side in [False, True] if missing else [False]:
                left = (column <= value) | (np.isnan(column) & side)
                if 25 <= left.sum() <= len(used) - 25:
                    parts = impurity(criterion, used[left], 3.0)
                    parts += impurity(criterion, used[~left], 3.0)
                    best = max(best, whole - parts)
    assert tree.gain[0] == pytest.approx(best, rel=1e-9)
    leaf = walked(tree, matrix)[used]
    parts = sum(impurity(criterion, used[leaf == k], 3.0) for k in (1, 2))
    assert whole - parts == pytest.approx(best, rel=1e-9)


@pytest.mark.parametrize("settings", [{}, {"max_leaf_nodes": 40}, {"min_samples_leaf": 9}])
@pytest.mark.parametrize("criterion", CRITERIA)
@pytest.mark.parametrize("matrix", [X, HOLED])
def test_slots_and_shared_work_change_no_bit(
    criterion: Criterion,
    matrix: Matrix,
    settings: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Histograms by subtraction, from rows, with few slots or by several calls: the same tree."""
    plain = grown(criterion, matrix, **settings)
    monkeypatch.setattr(tree_growth, "SHARED_WORK", 400)
    monkeypatch.setattr(tree_growth, "VALUES_PER_CALL", 2000)
    assert same(plain, grown(criterion, matrix, parallel=backwards, **settings))
    slot = 8 * 256 * 4 * (3 if criterion in {"gini", "entropy"} else 2)
    for n_slots in (0, 1, 2):
        monkeypatch.setattr(tree_memory, "SLOTS_SIZE_BYTES", slot * n_slots)
        assert same(plain, grown(criterion, matrix, **settings))


@pytest.mark.parametrize("matrix", [X, HOLED, RNG.normal(size=(N, 3))])
def test_rows_are_where_thresholds_and_bins_lead_them(matrix: Matrix) -> None:
    """`leaf_of_row`, a walk over bins and a walk over values agree, for rows left out too."""
    bins = bin_design(matrix)
    rows = np.flatnonzero(np.arange(N) % 3).astype(np.int32)
    growth = TreeGrower(bins, criterion="newton").grow(Y, np.ones(N), rows)
    leaf = walked(growth.tree, matrix)
    assert (growth.leaf_of_row[rows] == leaf[rows]).all()
    assert (np.delete(growth.leaf_of_row, rows) == -1).all()
    found = np.empty(N, np.int32)
    leaves_of(bins, growth.tree, np.arange(N, dtype=np.int32), found)
    assert (found == leaf).all()


def test_children_stand_side_by_side_after_their_parent() -> None:
    """Every node but the root is the child of one earlier node."""
    tree = grown("squared_error")
    left = tree.left[tree.feature >= 0]
    assert (left > np.flatnonzero(tree.feature >= 0)).all()
    assert sorted([0, *left, *(left + 1)]) == list(range(len(tree.feature)))
    assert tree.n_leaves == len(left) + 1


def test_leaves_of_newton_hold_the_step() -> None:
    """A leaf's value is -G / (H + l2) of its rows, and its weight is H."""
    gradient, hessian = RNG.normal(size=N), RNG.random(N)
    grower = TreeGrower(bin_design(X), criterion="newton", max_leaf_nodes=20, l2=1.5)
    growth = grower.grow(gradient, hessian)
    G = np.bincount(growth.leaf_of_row, gradient)
    H = np.bincount(growth.leaf_of_row, hessian)
    leaves = np.flatnonzero(growth.tree.feature < 0)
    assert growth.tree.n_leaves == 20
    np.testing.assert_allclose(growth.tree.value[leaves, 0], (-G / (H + 1.5))[leaves], rtol=1e-12)
    np.testing.assert_allclose(growth.tree.weight[leaves], H[leaves], rtol=1e-12)


def test_least_hessian_and_gain_bound_the_cuts() -> None:
    """Every child has min_hessian, and every cut gains more than min_gain."""
    hessian = RNG.random(N)
    bins = bin_design(X)
    tree = TreeGrower(bins, criterion="newton", min_hessian=30.0).grow(Y, hessian).tree
    assert 30.0 <= tree.weight.min() < 45.0
    tree = TreeGrower(bins, criterion="newton", min_gain=500.0).grow(Y, hessian).tree
    assert 500.0 < tree.gain[tree.feature >= 0].min() < 1500.0


def test_equal_gradients_are_not_cut() -> None:
    """Where nothing is gained but rounding, boosting's tree is one leaf."""
    tree = TreeGrower(bin_design(X), criterion="newton").grow(np.full(N, 0.1), np.full(N, 0.3)).tree
    assert tree.n_leaves == 1
    assert tree.value[0, 0] == pytest.approx(-1 / 3)


@pytest.mark.parametrize("settings", [{}, {"max_leaf_nodes": 12}, {"min_samples_split": 60}])
def test_missing_values_go_where_scikit_learn_sends_them(settings: dict[str, Any]) -> None:
    """With holes in the columns the leaves' shares are scikit-learn's on nearly all rows.

    Equally good cuts are chosen otherwise, hence nearly.
    """
    tree = grown("gini", HOLED, max_depth=5, **settings)
    oracle = DecisionTreeClassifier(max_depth=5, random_state=0, **settings)
    oracle.fit(HOLED, CODES, WEIGHT)
    ours, theirs = tree.value[walked(tree, HOLED)], oracle.predict_proba(HOLED)
    assert np.isclose(ours, theirs).all(axis=1).mean() > 0.97


def test_unseen_missing_values_go_to_the_larger_child() -> None:
    """Where no row of the node misses the value, the side is that of more rows."""
    tree = grown("squared_error", weight=np.ones(N), max_depth=4)
    cuts = np.flatnonzero(tree.feature >= 0)
    larger = tree.weight[tree.left[cuts]] > tree.weight[tree.left[cuts] + 1]
    assert (tree.missing_left[cuts] == larger).all()
    assert 0 < larger.sum() < len(larger)


def test_values_may_be_parted_from_missing_ones() -> None:
    """Where only the missing tell, the threshold is above all values."""
    column = np.array([1.0, 2.0, 3.0, np.nan, np.nan])
    growth = TreeGrower(bin_design(column[:, None]), criterion="squared_error").grow(
        np.array([0.0, 0.0, 0.0, 1.0, 1.0]), np.ones(5)
    )
    assert growth.tree.n_leaves == 2
    assert growth.leaf_of_row.tolist() == [1, 1, 1, 2, 2]
    assert growth.tree.threshold[0] == np.finfo(np.float64).max


def test_a_target_that_needs_two_cuts_is_reached() -> None:
    """A first cut that gains nothing is made, as in scikit-learn: exclusive or is learned."""
    corners = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
    target = np.array([0.0, 1.0, 1.0, 0.0])
    for criterion, first in (("gini", target.astype(np.uint16)), ("squared_error", target)):
        grower = TreeGrower(bin_design(corners), criterion=criterion, n_classes=2)
        tree = grower.grow(first, np.ones(4)).tree
        assert tree.value[walked(tree, corners), -1].tolist() == target.tolist()


def test_equal_values_far_from_the_others_are_one_leaf() -> None:
    """A node of one value is not cut, however large the value and uneven the weights."""
    target = np.where(X[:, 0] < 20, 1e9 / 3, -7.1)
    weight = RNG.random(N) + 0.1
    tree = TreeGrower(bin_design(X), criterion="squared_error").grow(target * weight, weight).tree
    assert tree.n_leaves == 2


def test_the_draw_goes_on_until_a_column_is_not_constant() -> None:
    """With one column drawn for each cut, constant ones do not end the growth."""
    matrix = np.zeros((N, 30))
    matrix[:, 17] = X[:, 2]
    grower = TreeGrower(bin_design(matrix), criterion="squared_error", max_features=1)
    tree = grower.grow(Y, np.ones(N), seed=5).tree
    assert set(tree.feature) == {-1, 17}
    assert tree.n_leaves == len(np.unique(X[:, 2]))


def test_draws_of_columns_depend_on_the_seed_alone() -> None:
    """One seed gives one tree, another seed another, whatever was grown before."""
    grower = TreeGrower(bin_design(X), criterion="gini", n_classes=3, max_features=2)
    first, other, again = (grower.grow(CODES, WEIGHT, seed=s).tree for s in (1, 2**64 - 1, 1))
    assert same(first, again)
    assert not same(first, other)


def test_every_column_is_drawn_about_as_often() -> None:
    """Of many first cuts by one column of six alike, each column has its share."""
    column = np.arange(30.0)
    bins = bin_design(np.repeat(column[:, None], 6, axis=1))
    grower = TreeGrower(bins, criterion="squared_error", max_features=1, max_depth=1)
    drawn = [grower.grow(column, np.ones(30), seed=s).tree.feature[0] for s in range(600)]
    assert np.bincount(drawn, minlength=6).min() > 70


def test_rows_of_weight_0_are_as_absent() -> None:
    """The tree is that of the other rows."""
    used = WEIGHT > 0
    tree = grown("squared_error", min_samples_leaf=5)
    grower = TreeGrower(bin_design(X[used]), criterion="squared_error", min_samples_leaf=5)
    assert same(tree, grower.grow((Y * WEIGHT)[used], WEIGHT[used]).tree)


@pytest.mark.parametrize("scale", [1e-120, 1e120])
def test_units_of_the_target_do_not_matter(scale: float) -> None:
    """A target in enormous or tiny units has the same cuts."""
    bins = bin_design(X)
    grower = TreeGrower(bins, criterion="squared_error", min_samples_leaf=20)
    plain = grower.grow(Y, np.ones(N)).tree
    scaled = grower.grow(Y * scale, np.ones(N)).tree
    assert (plain.feature == scaled.feature).all()
    np.testing.assert_allclose(scaled.value / scale, plain.value, rtol=1e-9)


def test_a_large_offset_of_the_target_costs_no_cut() -> None:
    """Values near 1e9 are cut as the same values near 0."""
    grower = TreeGrower(bin_design(X), criterion="squared_error", max_leaf_nodes=50)
    steps = np.round(Y * 64) / 64  # exact beside 1e9
    plain, moved = (grower.grow(steps + c, np.ones(N)).tree for c in (0.0, 2.0**30))
    assert (plain.feature == moved.feature).all()
    np.testing.assert_allclose(moved.gain, plain.gain, rtol=1e-6, atol=1e-3)


def test_importances_are_scikit_learns() -> None:
    """The shares of the gains agree with `feature_importances_`."""
    oracle = DecisionTreeRegressor(max_leaf_nodes=30, random_state=0).fit(X, Y, WEIGHT)
    tree = grown("squared_error", max_leaf_nodes=30)
    np.testing.assert_allclose(importances(tree, 4), oracle.feature_importances_, rtol=1e-9)
    assert tree.depth == oracle.get_depth()


def test_no_rows_make_a_leaf_of_nothing() -> None:
    """With all weights 0 the tree says 0, and nothing fails."""
    tree = grown("gini", weight=np.zeros(N))
    assert tree.value.tolist() == [[0.0, 0.0, 0.0]]


def test_without_columns_there_is_one_leaf() -> None:
    """A design without columns gives the mean."""
    growth = TreeGrower(bin_design(np.empty((4, 0))), criterion="squared_error").grow(
        np.arange(4.0), np.ones(4)
    )
    assert growth.tree.value.tolist() == [[1.5]]
