"""Gradient boosting, with LightGBM, scikit-learn and closed forms as oracles."""

from __future__ import annotations

from collections.abc import Iterator

import lightgbm
import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits, load_wine
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.metrics import log_loss, roc_auc_score
from sklearn.model_selection import train_test_split
from threadpoolctl import threadpool_limits

from proxy.engine.preparation.design import MatrixDesign
from proxy.engine.trees import gradient_boosting
from proxy.engine.trees.gradient_boosting import (
    GradientBoostingClassifier,
    GradientBoostingRegressor,
)
from proxy.errors import TooLargeError
from tests.engine.maps import backwards

N_SEEDS = 5
N_TREES = 30


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Keep the oracles' threads from waiting for each other."""
    with threadpool_limits(1):
        yield


def synthetic(n_rows: int = 1500) -> tuple[np.ndarray, np.ndarray]:
    """Return columns of which some values are missing, and a value that depends on them."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n_rows, 5))
    value = X[:, 0] * X[:, 1] + np.sin(2 * X[:, 2]) + 0.3 * rng.normal(size=n_rows)
    X[rng.random(X.shape) < 0.15] = np.nan
    return X, value + np.isnan(X[:, 3])


def two_classes() -> tuple[np.ndarray, np.ndarray]:
    X, value = synthetic()
    return X, (value > 0.3).astype(np.int64)


def three_classes() -> tuple[np.ndarray, np.ndarray]:
    X, value = synthetic()
    return X, np.digitize(value, [-0.5, 0.8])


def some_digits() -> tuple[np.ndarray, np.ndarray]:
    X, y = load_digits(return_X_y=True)
    return X[y < 4], y[y < 4]


def probabilities(model: GradientBoostingClassifier, X: np.ndarray) -> np.ndarray:
    raw = model.predictor_.outputs(np.ascontiguousarray(X))
    if len(raw) == 1:
        raw = np.vstack([np.zeros_like(raw), raw])
    shares = np.exp(raw - raw.max(axis=0))
    return (shares / shares.sum(axis=0)).T


def values(model: GradientBoostingRegressor, X: np.ndarray) -> np.ndarray:
    return model.predictor_.outputs(np.ascontiguousarray(X))[0]


def halves(X: np.ndarray, y: np.ndarray, seed: int, *, stratify: bool) -> list[np.ndarray]:
    return train_test_split(
        X, y, test_size=0.4, random_state=seed, stratify=y if stratify else None
    )


@pytest.mark.parametrize(
    "data", [load_breast_cancer, load_wine, some_digits, two_classes, three_classes]
)
def test_classes_are_told_apart_as_well_as_by_others(data) -> None:
    """Over five splits AUC and log-loss are those of LightGBM and scikit-learn, or better."""
    X, y = data(return_X_y=True) if data.__module__.startswith("sklearn") else data()
    scores = []
    for seed in range(N_SEEDS):
        train, test, own, truth = halves(X, y, seed, stratify=True)
        ours = GradientBoostingClassifier(n_trees=N_TREES).fit(train, own)
        theirs = [
            lightgbm.LGBMClassifier(n_estimators=N_TREES, verbose=-1, n_jobs=1),
            HistGradientBoostingClassifier(max_iter=N_TREES, early_stopping=False),
        ]
        scores.append(
            [
                (log_loss(truth, shares), area(truth, shares))
                for shares in (
                    probabilities(ours, test),
                    *(model.fit(train, own).predict_proba(test) for model in theirs),
                )
            ]
        )
    ours_mean, *theirs_means = np.mean(scores, axis=0)
    for loss, auc in theirs_means:
        assert ours_mean[0] <= 1.05 * loss + 0.002
        assert ours_mean[1] >= 0.99 * auc


def area(truth: np.ndarray, shares: np.ndarray) -> float:
    two = shares.shape[1] == 2
    return float(roc_auc_score(truth, shares[:, 1] if two else shares, multi_class="ovr"))


@pytest.mark.parametrize("data", [load_diabetes, synthetic])
def test_values_are_predicted_as_well_as_by_others(data) -> None:
    """Over five splits the error is scikit-learn's within 1 %, and LightGBM's within 2 %.

    LightGBM chooses other bins, which moves the mean of so few rows by more than 1 % either way.
    """
    X, y = data(return_X_y=True) if data is load_diabetes else data()
    errors = []
    for seed in range(N_SEEDS):
        train, test, own, truth = halves(X, y, seed, stratify=False)
        predictions = [
            values(GradientBoostingRegressor(n_trees=N_TREES).fit(train, own), test),
            lightgbm.LGBMRegressor(n_estimators=N_TREES, verbose=-1, n_jobs=1)
            .fit(train, own)
            .predict(test),
            HistGradientBoostingRegressor(max_iter=N_TREES, early_stopping=False)
            .fit(train, own)
            .predict(test),
        ]
        errors.append([np.sqrt(np.mean(np.square(p - truth))) for p in predictions])
    ours, lightgbms, scikit_learns = np.mean(errors, axis=0)
    assert ours <= 1.01 * scikit_learns
    assert ours <= 1.02 * lightgbms


def test_one_full_step_of_least_squares_is_a_mean() -> None:
    """With a rate of 1 and two leaves the prediction is the mean of each side; l2 shrinks it."""
    X = np.repeat([[0.0], [1.0]], [4, 6], axis=0)
    y = np.array([1.0, 2.0, 3.0, 4.0, 10.0, 11.0, 12.0, 13.0, 14.0, 15.0])
    arguments = {"n_trees": 1, "learning_rate": 1.0, "max_leaf_nodes": 2, "min_samples_leaf": 1}
    plain = GradientBoostingRegressor(**arguments).fit(X, y)
    np.testing.assert_allclose(values(plain, X[[0, -1]]), [2.5, 12.5], rtol=1e-12)
    shrunk = GradientBoostingRegressor(**arguments, l2=2.0).fit(X, y)
    mean = y.mean()
    expected = [mean + 4 * (2.5 - mean) / 6, mean + 6 * (12.5 - mean) / 8]
    np.testing.assert_allclose(values(shrunk, X[[0, -1]]), expected, rtol=1e-12)


def test_one_step_of_log_loss_is_newtons() -> None:
    """From the log-odds of all rows each side moves by the rate times -G / H."""
    X = np.repeat([[0.0], [1.0]], [4, 6], axis=0)
    y = np.array([0, 0, 0, 1, 0, 1, 1, 1, 1, 1])
    model = GradientBoostingClassifier(
        n_trees=1, learning_rate=0.5, max_leaf_nodes=2, min_samples_leaf=1
    ).fit(X, y)
    p = 0.6
    steps = [(1 - 4 * p) / (4 * p * (1 - p)), (5 - 6 * p) / (6 * p * (1 - p))]
    expected = np.log(p / (1 - p)) + 0.5 * np.array(steps)
    np.testing.assert_allclose(model.predictor_.outputs(X[[0, -1]])[0], expected, rtol=1e-12)


def test_one_step_of_three_classes_is_newtons() -> None:
    """Each class moves from the logarithm of its share by the rate times -G / H."""
    X = np.repeat([[0.0], [1.0]], [4, 6], axis=0)
    y = np.array([0, 0, 0, 1, 2, 1, 1, 1, 2, 2])
    model = GradientBoostingClassifier(
        n_trees=1, learning_rate=0.5, max_leaf_nodes=2, min_samples_leaf=1
    ).fit(X, y)
    for k in range(3):
        p = np.mean(y == k)
        steps = [
            (np.sum(y[side] == k) - count * p) / (count * p * (1 - p))
            for side, count in ((slice(0, 4), 4), (slice(4, 10), 6))
        ]
        expected = np.log(p) + 0.5 * np.array(steps)
        np.testing.assert_allclose(model.predictor_.outputs(X[[0, -1]])[k], expected, rtol=1e-12)


@pytest.mark.parametrize("weighted", [False, True])
def test_the_scores_of_training_are_those_of_the_predictor(weighted: bool) -> None:
    """The last loss that was reported is that of the stored trees on the rows."""
    X, y = three_classes()
    weight = np.random.default_rng(0).uniform(0.1, 3, len(y)) if weighted else None
    for codes in (y, (y > 0).astype(np.int64)):
        model = GradientBoostingClassifier(n_trees=10).fit(X, codes, sample_weight=weight)
        loss = log_loss(codes, probabilities(model, X), sample_weight=weight)
        assert model.train_score_[-1] == pytest.approx(loss, rel=1e-9)
        assert len(model.train_score_) == 11
    regressor = GradientBoostingRegressor(n_trees=10).fit(X, 1e5 * y, sample_weight=weight)
    squares = np.square(values(regressor, X) - 1e5 * y)
    assert regressor.train_score_[-1] == pytest.approx(np.average(squares, weights=weight))
    assert (np.diff(regressor.train_score_) < 0).all()


@pytest.mark.parametrize("subsample", [1.0, 0.5])
def test_fits_are_the_same_however_the_work_is_shared(subsample: float) -> None:
    """The same data and seed give the same bytes, in whatever order pieces are worked on."""
    X, y = three_classes()
    X, y = np.tile(X, (30, 1)), np.tile(y, 30)  # enough rows to be shared out
    for codes in (y, (y > 0).astype(np.int64)):
        arguments = {"n_trees": 3, "subsample": subsample, "early_stopping": True}
        plain = GradientBoostingClassifier(**arguments).fit(X, codes)
        shared = GradientBoostingClassifier(**arguments).fit(X, codes, parallel=backwards)
        assert_same(plain, shared)


def assert_same(
    one: GradientBoostingClassifier | GradientBoostingRegressor,
    other: GradientBoostingClassifier | GradientBoostingRegressor,
) -> None:
    first, second = one.predictor_.tensors(), other.predictor_.tensors()
    assert first.keys() == second.keys()
    for name, array in first.items():
        np.testing.assert_array_equal(array, second[name])
    np.testing.assert_array_equal(one.train_score_, other.train_score_)


def test_a_design_is_learned_from_as_its_matrix_is() -> None:
    """A design in blocks gives the same trees as the matrix."""
    X, y = load_diabetes(return_X_y=True)
    plain = GradientBoostingRegressor(n_trees=3).fit(X, y)
    assert_same(plain, GradientBoostingRegressor(n_trees=3).fit(MatrixDesign(X), y))


def test_subsamples_are_drawn_by_the_seed() -> None:
    """The same seed gives the same trees, another one others; half the rows still teach."""
    X, y = synthetic()
    fits = [
        GradientBoostingRegressor(n_trees=20, subsample=0.5, random_state=seed).fit(X, y)
        for seed in (1, 1, 2)
    ]
    assert_same(fits[0], fits[1])
    assert not np.array_equal(values(fits[0], X), values(fits[2], X))
    whole = GradientBoostingRegressor(n_trees=20).fit(X, y)
    assert fits[0].train_score_[-1] < 1.2 * whole.train_score_[-1]


@pytest.mark.parametrize("n_classes", [0, 2, 3])
def test_a_weight_of_two_is_a_row_twice(n_classes: int) -> None:
    """Whole weights are as good as repeated rows, and a weight of 0 as no row."""
    rng = np.random.default_rng(0)
    X = rng.integers(0, 30, (300, 3)).astype(float)
    y = X[:, 0] - X[:, 1] + rng.integers(0, 9, 300)
    counts = rng.integers(0, 4, 300)
    kind = GradientBoostingClassifier if n_classes else GradientBoostingRegressor
    if n_classes:
        y = np.digitize(y, [4] if n_classes == 2 else [-4, 9])
    arguments = {"n_trees": 8, "min_samples_leaf": 1, "max_leaf_nodes": 6}
    weighted = kind(**arguments).fit(X, y, sample_weight=counts.astype(float))
    repeated = kind(**arguments).fit(np.repeat(X, counts, axis=0), np.repeat(y, counts))
    np.testing.assert_allclose(
        weighted.predictor_.outputs(X), repeated.predictor_.outputs(X), rtol=1e-8, atol=1e-9
    )


def test_balanced_classes_weigh_the_same() -> None:
    """'balanced' is n / (K * rows of the class), rows counted by what they weigh already."""
    X, y = three_classes()
    own = np.random.default_rng(0).uniform(1, 2, len(y))
    for given in (None, own):
        counts = np.bincount(y, given)
        weight = (counts.sum() / 3 / counts)[y]
        balanced = GradientBoostingClassifier(n_trees=3, class_weight="balanced")
        balanced.fit(X, y, sample_weight=given)
        by_hand = GradientBoostingClassifier(n_trees=3)
        by_hand.fit(X, y, sample_weight=weight if given is None else weight * given)
        assert_same(balanced, by_hand)


def test_early_stopping_keeps_the_best_iteration() -> None:
    """It stops when the loss of rows held out no longer falls, at its least, and says so truly."""
    X, y = three_classes()
    for codes in (y, (y > 0).astype(np.int64)):
        model = GradientBoostingClassifier(
            n_trees=500, early_stopping=True, validation_fraction=0.3, n_iter_no_change=5
        ).fit(X, codes)
        losses = model.validation_score_
        assert model.n_iter_ == int(np.argmin(losses)) < len(losses) - 1 < 499
        n_outputs = model.predictor_.n_outputs
        assert model.predictor_.n_trees == model.n_iter_ * n_outputs
        held = model._held_out(codes, codes.max() + 1)
        assert held is not None
        best = log_loss(codes[held], probabilities(model, X[held]))
        assert losses.min() == pytest.approx(best, rel=1e-9)
        # Stratified: the same share of each class.
        shares = np.bincount(codes[held]) / np.bincount(codes)
        np.testing.assert_allclose(shares, 0.3, atol=0.005)


def test_early_stopping_of_a_regression() -> None:
    """Squared errors of the rows held out are in the target's own units."""
    X, y = synthetic()
    model = GradientBoostingRegressor(n_trees=300, early_stopping=True).fit(X, 1e6 * y)
    held = model._held_out(y, 0)
    assert held is not None
    assert held.sum() == 150
    best = np.mean(np.square(values(model, X[held]) - 1e6 * y[held]))
    assert model.validation_score_.min() == pytest.approx(best, rel=1e-9)
    assert 0 < model.n_iter_ < 300


def test_early_stopping_in_tiny_units() -> None:
    """Where squared errors are too small for a float it stops as in larger units."""
    X, y = synthetic()
    arguments = {"n_trees": 100, "early_stopping": True, "learning_rate": 0.5}
    plain = GradientBoostingRegressor(**arguments).fit(X, y)
    tiny = GradientBoostingRegressor(**arguments).fit(X, y * 2.0**-700)
    assert tiny.n_iter_ == plain.n_iter_ < 90
    np.testing.assert_allclose(values(tiny, X) * 2.0**700, values(plain, X), rtol=1e-12)


def test_weights_that_are_all_zero_say_nothing() -> None:
    """The rows then count as without weights, held out or not."""
    X, y = two_classes()
    for early_stopping in (False, True):
        arguments = {"n_trees": 3, "early_stopping": early_stopping}
        plain = GradientBoostingClassifier(**arguments).fit(X, y)
        zero = GradientBoostingClassifier(**arguments).fit(X, y, sample_weight=np.zeros(len(y)))
        assert_same(plain, zero)


def test_too_few_rows_to_hold_any_out() -> None:
    """Then nothing is held out, and a sentence says so."""
    model = GradientBoostingRegressor(n_trees=3, early_stopping=True, min_samples_leaf=1)
    model.fit(np.arange(4.0)[:, None], np.arange(4.0))
    assert any("too few rows" in warning for warning in model.warnings_)
    assert model.n_iter_ == 3


@pytest.mark.parametrize("constant", [0.0, 7.25, -1e150, 1e-300])
def test_a_constant_target_is_predicted(constant: float) -> None:
    """Every prediction is that constant, without a cut."""
    X = np.arange(100.0)[:, None]
    model = GradientBoostingRegressor().fit(X, np.full(100, constant))
    np.testing.assert_allclose(values(model, X), constant, rtol=1e-15)
    assert model.feature_importances_.tolist() == [0.0]
    assert any("no cut" in warning for warning in model.warnings_)


def test_one_row_predicts_itself() -> None:
    """A single row, with a missing value, is a model."""
    model = GradientBoostingRegressor().fit(np.array([[np.nan, 3.0]]), np.array([5.0]))
    assert values(model, np.array([[1.0, np.nan]])).tolist() == [5.0]
    classifier = GradientBoostingClassifier(min_samples_leaf=1)
    classifier.fit(np.array([[0.0], [1.0]]), np.array([0, 1]))
    first, second = classifier.predictor_.outputs(np.array([[0.0], [1.0]]))[0]
    assert first < 0.0 < second


@pytest.mark.parametrize("n_classes", [2, 3])
def test_classes_that_are_told_apart_at_once_do_not_overflow(n_classes: int) -> None:
    """Thousands of full steps on separable rows leave finite scores, on the right side."""
    X = np.arange(60.0)[:, None]
    y = (X[:, 0] * n_classes / 60).astype(np.int64)
    model = GradientBoostingClassifier(n_trees=2000, learning_rate=1.0, min_samples_leaf=1)
    model.fit(X, y)
    raw = model.predictor_.outputs(X)
    assert np.isfinite(raw).all()
    np.testing.assert_array_equal(probabilities(model, X).argmax(axis=1), y)
    assert np.isfinite(model.train_score_).all()


def test_a_rare_class_does_not_throw_its_rows_to_the_other_end() -> None:
    """A pure leaf of a class with a share of 3e-4 moves by 2, not by Newton's 0.1 / 3e-4."""
    X = np.zeros((100_000, 1))
    X[:30] = 1.0
    y = X[:, 0].astype(np.int64)
    model = GradientBoostingClassifier(n_trees=1, min_samples_leaf=1).fit(X, y)
    common, rare = model.predictor_.outputs(np.array([[0.0], [1.0]]))[0]
    start = np.log(3e-4 / (1 - 3e-4))
    assert rare == pytest.approx(start + 2.0, rel=1e-12)
    assert common == pytest.approx(start - 0.1, abs=0.001)


@pytest.mark.parametrize("size", [1e-150, 1e150])
def test_units_change_the_predictions_and_nothing_else(size: float) -> None:
    """Targets and columns in enormous and tiny units give the same trees."""
    X, y = load_diabetes(return_X_y=True)
    size = float(np.ldexp(1.0, np.frexp(size)[1]))
    plain = GradientBoostingRegressor(n_trees=5).fit(X, y)
    scaled = GradientBoostingRegressor(n_trees=5).fit(X * size, y * size)
    np.testing.assert_allclose(values(scaled, X * size) / size, values(plain, X), rtol=1e-12)
    extreme = np.array([[1e308] * 10, [-1e308] * 10, [5e-324] * 10, [np.nan] * 10])
    assert np.isfinite(values(plain, extreme)).all()


def test_enormous_weights_are_weights_all_the_same() -> None:
    """Weights whose sums would overflow count as their ratios."""
    X, y = two_classes()
    weight = np.random.default_rng(0).integers(1, 5, len(y)).astype(float)
    plain = GradientBoostingClassifier(n_trees=3).fit(X, y, sample_weight=weight * 2.0**60)
    vast = GradientBoostingClassifier(n_trees=3).fit(X, y, sample_weight=weight * 2.0**1000)
    np.testing.assert_allclose(probabilities(vast, X), probabilities(plain, X), rtol=1e-9)


def test_missing_values_can_be_all_that_tells() -> None:
    """A column of which only the gaps say something is learned from."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(400, 2))
    y = rng.integers(0, 2, 400)
    X[y == 1, 0] = np.nan
    model = GradientBoostingClassifier(n_trees=20).fit(X, y)
    assert (probabilities(model, X).argmax(axis=1) == y).all()
    assert model.feature_importances_[0] > 0.99


def test_importances_are_shares_of_the_gain() -> None:
    """They add up to 1, and what matters has the most."""
    X = np.random.default_rng(0).normal(size=(1000, 4))
    model = GradientBoostingRegressor(n_trees=20).fit(X, X[:, 2] - 0.5 * X[:, 0])
    assert model.feature_importances_.sum() == pytest.approx(1.0)
    # The variance of each part is its share.
    np.testing.assert_allclose(model.feature_importances_, [0.2, 0, 0.8, 0], atol=0.05)


def test_every_iteration_is_reported() -> None:
    """The report has the iterations done and the loss, and what it raises comes out."""
    X, y = synthetic()
    seen: list[tuple[int, float]] = []
    model = GradientBoostingRegressor(n_trees=4)
    model.fit(X, y, report=lambda done, loss: seen.append((done, loss)))
    assert [done for done, _ in seen] == [1, 2, 3, 4] == list(range(1, model.iterations_total + 1))
    assert [loss for _, loss in seen] == model.train_score_[1:].tolist()

    def stop(done: int, loss: float) -> None:
        raise InterruptedError

    with pytest.raises(InterruptedError):
        model.fit(X, y, report=stop)


def test_trees_that_would_not_fit_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """An estimate is made before anything is allocated."""
    monkeypatch.setattr(gradient_boosting, "LARGEST_FIT_BYTES", 100_000)
    X, y = synthetic()
    with pytest.raises(TooLargeError) as caught:
        GradientBoostingRegressor(n_trees=100).fit(X, y)
    assert "31 leaves" in str(caught.value.detail)
