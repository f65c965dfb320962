"""Random forests, with scikit-learn's as the oracle."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import sklearn.ensemble as oracles
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits, load_wine
from sklearn.model_selection import train_test_split

from proxy.engine.trees import random_forest
from proxy.engine.trees.bagging import Votes
from proxy.engine.trees.decision_tree import DecisionTreeClassifier, DecisionTreeRegressor
from proxy.engine.trees.random_forest import (
    RandomForestClassifier,
    RandomForestRegressor,
    n_features_drawn,
)
from proxy.errors import TooLargeError
from tests.engine.maps import backwards

X, Y = load_diabetes(return_X_y=True)
CANCER, MALIGNANT = load_breast_cancer(return_X_y=True)


@pytest.mark.parametrize("load", [load_breast_cancer, load_wine, load_digits])
def test_unseen_rows_are_classified_as_well(load: Any) -> None:
    """Over three draws the mean accuracy is no more than one in a hundred below scikit-learn's."""
    rows, codes = load(return_X_y=True)
    ours, theirs = [], []
    for seed in range(3):
        train, test, c, truth = train_test_split(rows, codes, random_state=seed, stratify=codes)
        forest = RandomForestClassifier(n_trees=40, random_state=seed).fit(train, c)
        ours.append((forest.predict(test) == truth).mean())
        oracle = oracles.RandomForestClassifier(40, random_state=seed).fit(train, c)
        theirs.append(oracle.score(test, truth))
    assert np.mean(ours) > 0.99 * np.mean(theirs)


def test_unseen_values_are_predicted_as_well() -> None:
    """Over five draws the mean squared error is at most 2 in a hundred above scikit-learn's."""
    ours, theirs = [], []
    for seed in range(5):
        train, test, y, truth = train_test_split(X, Y, random_state=seed)
        forest = RandomForestRegressor(n_trees=60, random_state=seed).fit(train, y)
        ours.append(np.square(forest.predict(test) - truth).mean())
        oracle = oracles.RandomForestRegressor(60, random_state=seed).fit(train, y)
        theirs.append(np.square(oracle.predict(test) - truth).mean())
    assert np.mean(ours) < 1.02 * np.mean(theirs)


def test_without_draws_every_tree_is_the_decision_tree() -> None:
    """All rows and all columns for each tree: the forest says what one tree says."""
    forest = RandomForestRegressor(n_trees=3, bootstrap=False, max_depth=6).fit(X, Y)
    tree = DecisionTreeRegressor(max_depth=6).fit(X, Y)
    np.testing.assert_allclose(forest.predict(X), tree.predict(X), rtol=1e-12)
    np.testing.assert_allclose(forest.feature_importances_, tree.feature_importances_)
    assert forest.oob_score_ is None
    same = RandomForestClassifier(n_trees=2, bootstrap=False, max_features=None, max_depth=3)
    same.fit(CANCER, MALIGNANT)
    one = DecisionTreeClassifier(max_depth=3).fit(CANCER, MALIGNANT)
    np.testing.assert_allclose(same.predict_proba(CANCER), one.predict_proba(CANCER))


def test_scores_on_rows_left_out_are_scikit_learns() -> None:
    """`oob_score_` is within what two seeds of scikit-learn differ by."""
    ours = RandomForestClassifier(n_trees=100).fit(CANCER, MALIGNANT)
    theirs = oracles.RandomForestClassifier(100, oob_score=True, random_state=0)
    assert ours.oob_score_ == pytest.approx(theirs.fit(CANCER, MALIGNANT).oob_score_, abs=0.012)
    values = RandomForestRegressor(n_trees=100).fit(X, Y)
    oracle = oracles.RandomForestRegressor(100, oob_score=True, random_state=0).fit(X, Y)
    assert values.oob_score_ == pytest.approx(oracle.oob_score_, abs=0.03)
    assert ours.warnings_ == values.warnings_ == ()


def test_importances_are_scikit_learns_on_average() -> None:
    """The shares differ by less than scikit-learn's own do from seed to seed."""
    ours = RandomForestRegressor(n_trees=100, max_depth=6).fit(X, Y)
    theirs = oracles.RandomForestRegressor(100, max_depth=6, random_state=0).fit(X, Y)
    np.testing.assert_allclose(ours.feature_importances_, theirs.feature_importances_, atol=0.08)
    assert ours.feature_importances_.sum() == pytest.approx(1.0)


def test_rows_left_out_vote_and_others_do_not(monkeypatch: pytest.MonkeyPatch) -> None:
    """About 37 of a hundred rows are left out of each tree, and their votes are its scores."""
    kept: list[Votes] = []
    add = Votes.add

    def note(self: Votes, bagged: Any) -> None:
        kept[:] = [self]
        add(self, bagged)

    monkeypatch.setattr(Votes, "add", note)
    forest = RandomForestRegressor(n_trees=1, max_depth=5).fit(X, Y)
    votes = kept[0]
    assert votes.counts.mean() == pytest.approx(np.exp(-1), abs=0.06)
    left_out = votes.counts == 1
    np.testing.assert_allclose(votes.sums[left_out, 0], forest.predict(X)[left_out])
    assert not votes.sums[~left_out].any()
    assert forest.warnings_ == (random_forest.NEVER_LEFT_OUT_WARNING,)


def test_threads_change_no_byte_and_seeds_do() -> None:
    """Trees out of order give the same bytes; another seed gives others."""

    def fitted(seed: int, **more: Any) -> tuple[dict[str, bytes], float | None]:
        forest = RandomForestClassifier(n_trees=7, random_state=seed)
        forest.fit(CANCER, MALIGNANT, **more)
        tensors = forest.predictor_.tensors()
        return {name: array.tobytes() for name, array in tensors.items()}, forest.oob_score_

    assert fitted(3) == fitted(3, parallel=backwards)
    assert fitted(3)[0] != fitted(4)[0]


def test_every_tree_is_reported_in_its_turn() -> None:
    """Once before, once for each tree; the loss falls, and a report may end the fit."""
    reports: list[tuple[int, float]] = []
    forest = RandomForestRegressor(n_trees=5)
    forest.fit(X, Y, report=lambda done, loss: reports.append((done, loss)), parallel=backwards)
    assert [done for done, _ in reports] == list(range(forest.iterations_total + 1))
    assert reports[0][1] == pytest.approx(Y.var())
    assert all(loss < 0.5 * Y.var() for _, loss in reports[1:])

    def stop(done: int, _: float) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        forest.fit(X, Y, report=stop, parallel=backwards)


def test_rows_of_weight_0_are_as_absent() -> None:
    """Without them, or with weight 0, the forest is the same, scores on rows left out included."""
    used = np.arange(len(Y)) % 4 > 0
    ours = RandomForestRegressor(n_trees=5).fit(X, Y, sample_weight=used.astype(float))
    fewer = RandomForestRegressor(n_trees=5).fit(X[used], Y[used])
    assert (ours.predict(X) == fewer.predict(X)).all()
    assert ours.oob_score_ == pytest.approx(fewer.oob_score_, rel=1e-12)


def test_balanced_classes_lift_the_rare_one() -> None:
    """Of a class of one in twenty more rows are found with 'balanced'."""
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(2000, 4))
    codes = (rows[:, 0] + rng.normal(size=2000) > 2.3).astype(np.int64)
    settings: dict[str, Any] = {"n_trees": 20, "max_depth": 4}
    plain = RandomForestClassifier(**settings).fit(rows, codes)
    balanced = RandomForestClassifier(class_weight="balanced", **settings).fit(rows, codes)
    assert balanced.predict(rows).sum() > 2 * plain.predict(rows).sum() + 10


def test_missing_values_are_a_side_of_their_own() -> None:
    """A column that is missing where the target is 1 tells all there is to know."""
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(400, 3))
    codes = (np.arange(400) % 2).astype(np.int64)
    rows[codes == 1, 1] = np.nan
    forest = RandomForestClassifier(n_trees=30, max_features=None).fit(rows, codes)
    assert (forest.predict(rows) == codes).all()
    assert forest.oob_score_ == 1.0


@pytest.mark.parametrize("max_features", [None, "sqrt", "log2", 1, 3, 0.5, 1.0, 0.01])
def test_columns_are_counted_as_scikit_learn_does(max_features: Any) -> None:
    """For every way of saying how many, on 1 to 12 columns, where scikit-learn takes it."""
    for width in range(3, 13):
        oracle = oracles.RandomForestRegressor(1, max_features=max_features, max_depth=1)
        oracle.fit(np.zeros((2, width)), np.zeros(2))
        counted = oracle.estimators_[0].max_features_
        assert n_features_drawn(max_features, width) == counted


@pytest.mark.parametrize("weighted", [False, True])
def test_the_loss_reported_is_that_of_the_trees_own_rows(weighted: bool) -> None:
    """Of one tree on all rows it is the mean squared error, or the impurity of its leaves."""
    weight = np.random.default_rng(0).uniform(0.5, 2.0, len(Y)) if weighted else None
    settings = {"n_trees": 1, "max_depth": 3, "max_features": None, "bootstrap": False}
    losses: list[float] = []
    forest = RandomForestRegressor(**settings)
    forest.fit(X, Y, sample_weight=weight, report=lambda _, loss: losses.append(loss))
    errors = np.square(Y - forest.predict(X))
    assert losses[-1] == pytest.approx(np.average(errors, weights=weight), rel=1e-6)
    codes = np.digitize(Y, [100, 200])
    classifier = RandomForestClassifier(**settings)
    classifier.fit(X, codes, sample_weight=weight, report=lambda _, loss: losses.append(loss))
    shares = classifier.predict_proba(X)
    impurities = 1 - np.square(shares).sum(axis=1)
    assert losses[-1] == pytest.approx(np.average(impurities, weights=weight), rel=1e-6)


def test_a_forest_too_large_is_refused_after_its_first_tree(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """By the size of one tree all of them would not fit: 54000, with the estimate."""
    monkeypatch.setattr(random_forest, "LARGEST_FOREST_BYTES", 100_000)
    done: list[int] = []
    with pytest.raises(TooLargeError) as caught:
        RandomForestRegressor().fit(X, Y, report=lambda n, _: done.append(n))
    assert caught.value.sqlstate == "54000"
    assert "the limit" in str(caught.value.detail)
    assert done == [0]
    RandomForestRegressor(n_trees=3).fit(X, Y)


def test_a_forest_that_takes_too_much_memory_is_refused_as_soon() -> None:
    """53200 where there is a limit on memory; about as many trees as are named do fit."""
    forest = RandomForestRegressor(n_trees=50)
    forest.memory_limit = 1_000_000
    with pytest.raises(TooLargeError, match="50 such trees") as caught:
        forest.fit(X, Y)
    assert caught.value.sqlstate == "53200"
    named = int(str(caught.value.detail).split("About ")[1].split()[0])
    assert 0 < named < 50
    smaller = RandomForestRegressor(n_trees=named * 9 // 10)  # not all trees are as the first
    smaller.memory_limit = 1_000_000
    smaller.fit(X, Y)
