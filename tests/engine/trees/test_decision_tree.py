"""Decision trees, with scikit-learn's as the oracle."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import sklearn.tree as oracles
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits, load_iris, load_wine
from sklearn.model_selection import train_test_split

from proxy.engine.preparation.design import MatrixDesign
from proxy.engine.trees.decision_tree import (
    DecisionTreeClassifier,
    DecisionTreeRegressor,
    class_weights,
)
from tests.engine.maps import backwards

SETTINGS: list[dict[str, Any]] = [
    {"max_depth": 4},
    {"max_leaf_nodes": 15},
    {"min_samples_leaf": 12, "max_depth": 6},
    {"min_samples_split": 40, "max_depth": 6},
]


@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("criterion", ["gini", "entropy", "log_loss"])
def test_shares_of_classes_are_scikit_learns(criterion: Any, settings: dict[str, Any]) -> None:
    """On columns of up to 255 values scores, importances and size agree, but for equal cuts."""
    X, codes = load_iris(return_X_y=True)
    weight = 1.0 + np.arange(len(codes)) % 3
    ours = DecisionTreeClassifier(criterion=criterion, **settings)
    ours.fit(X, codes, sample_weight=weight)
    oracle = oracles.DecisionTreeClassifier(criterion=criterion, random_state=0, **settings)
    oracle.fit(X, codes, weight)
    assert ours.n_leaves_ == oracle.get_n_leaves()
    theirs = oracle.predict_proba(X)
    assert np.isclose(ours.predict_proba(X), theirs).all(axis=1).mean() > 0.95
    assert (ours.predict(X) == oracle.predict(X)).mean() > 0.98


@pytest.mark.parametrize("settings", SETTINGS)
def test_means_are_scikit_learns(settings: dict[str, Any]) -> None:
    """On columns of up to 255 values a regression tree is scikit-learn's, thresholds included."""
    X, y = load_diabetes(return_X_y=True)
    ours = DecisionTreeRegressor(**settings).fit(X[:350], y[:350])
    oracle = oracles.DecisionTreeRegressor(random_state=0, **settings).fit(X[:350], y[:350])
    np.testing.assert_allclose(ours.predict(X), oracle.predict(X), rtol=1e-9)
    impurity = oracle.tree_.impurity * oracle.tree_.weighted_n_node_samples
    gained = impurity[0] - impurity[oracle.tree_.children_left < 0].sum()
    assert ours.tree_.gain.sum() == pytest.approx(gained, rel=1e-9)
    assert (ours.n_leaves_, ours.depth_) == (oracle.get_n_leaves(), oracle.get_depth())


def test_a_tree_without_limits_knows_its_rows() -> None:
    """Every training row of distinct features gets its own target."""
    X, y = load_diabetes(return_X_y=True)
    np.testing.assert_allclose(DecisionTreeRegressor().fit(X, y).predict(X), y, rtol=1e-12)
    X, codes = load_digits(return_X_y=True)
    assert (DecisionTreeClassifier().fit(X, codes).predict(X) == codes).all()


@pytest.mark.parametrize("load", [load_breast_cancer, load_wine])
def test_unseen_rows_are_classified_as_well(load: Any) -> None:
    """Over ten draws the mean accuracy is no more than one in a hundred below scikit-learn's."""
    X, codes = load(return_X_y=True)
    ours, theirs = [], []
    for seed in range(10):
        train, test, c, truth = train_test_split(X, codes, random_state=seed, stratify=codes)
        fitted = DecisionTreeClassifier(max_depth=5).fit(train, c)
        ours.append((fitted.predict(test) == truth).mean())
        oracle = oracles.DecisionTreeClassifier(max_depth=5, random_state=seed)
        theirs.append(oracle.fit(train, c).score(test, truth))
    assert np.mean(ours) > 0.99 * np.mean(theirs)


def test_balanced_classes_weigh_the_same() -> None:
    """'balanced' is scikit-learn's formula, with rows counted by their weights."""
    X, codes = load_breast_cancer(return_X_y=True)
    weight = 1.0 + np.arange(len(codes)) % 2
    own = class_weights(codes, 2, weight, "balanced")
    assert np.bincount(codes, own) == pytest.approx([weight.sum() / 2] * 2)
    plain = np.bincount(codes) / len(codes)
    own = class_weights(codes, 2, None, "balanced")
    np.testing.assert_allclose(own, (0.5 / plain)[codes])
    X = np.round(X, 1)
    tree = DecisionTreeClassifier(max_depth=3, class_weight="balanced").fit(X, codes)
    same = DecisionTreeClassifier(max_depth=3).fit(X, codes, sample_weight=own)
    assert (tree.predict_proba(X) == same.predict_proba(X)).all()


def test_rows_of_weight_0_are_as_absent() -> None:
    """Without them, or with weight 0, the scores are the same."""
    X, y = load_diabetes(return_X_y=True)
    weight = (np.arange(len(y)) % 4 > 0).astype(float)
    ours = DecisionTreeRegressor(max_depth=6).fit(X, y, sample_weight=weight)
    fewer = DecisionTreeRegressor(max_depth=6).fit(X[weight > 0], y[weight > 0])
    assert (ours.predict(X) == fewer.predict(X)).all()


def test_reported_losses_are_those_of_the_root_and_of_the_leaves() -> None:
    """The mean squared error before, of the mean, and after, of the scores."""
    X, y = load_diabetes(return_X_y=True)
    reports: list[tuple[int, float]] = []
    tree = DecisionTreeRegressor(max_depth=4)
    tree.fit(X, y, report=lambda done, loss: reports.append((done, loss)))
    after = np.square(tree.predict(X) - y).mean()
    assert reports == [(0, pytest.approx(y.var())), (1, pytest.approx(after))]
    assert tree.iterations_total == 1


def test_reported_losses_of_classes_are_impurities() -> None:
    """Gini's and entropy's of the root are those of the shares, and of pure leaves 0."""
    X, codes = load_iris(return_X_y=True)
    for criterion, root in (("gini", 2 / 3), ("entropy", np.log2(3))):
        losses: list[float] = []
        tree = DecisionTreeClassifier(criterion=criterion)  # type: ignore[arg-type]
        tree.fit(X, codes, report=lambda _, loss, to=losses: to.append(loss))
        assert losses == pytest.approx([root, 0.0], abs=1e-9)


def test_a_design_and_threads_learn_the_same() -> None:
    """A matrix, its design and work out of order give the same bytes."""
    X, codes = load_breast_cancer(return_X_y=True)
    one = DecisionTreeClassifier().fit(X, codes).predictor_.tensors()
    other = DecisionTreeClassifier().fit(MatrixDesign(X), codes, parallel=backwards)
    tensors = other.predictor_.tensors()
    assert all(tensors[name].tobytes() == array.tobytes() for name, array in one.items())
    assert other.n_features_in_ == X.shape[1]
