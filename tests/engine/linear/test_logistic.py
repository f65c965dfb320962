"""Logistic regression, with scikit-learn's newton-cholesky at tol 1e-12 as the oracle."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer, load_digits, load_iris, load_wine
from sklearn.linear_model import LogisticRegression as Oracle

from proxy.engine.linear import logistic
from proxy.engine.linear.linear import UNREMEMBERED_NOTICE
from proxy.engine.linear.logistic import SEPARATED_WARNING, LogisticRegression
from proxy.engine.preparation import design
from proxy.errors import NoTrainingRowsError
from tests.engine.maps import backwards


def oracle(l2: float, **arguments: object) -> Oracle:
    return Oracle(C=1.0 / l2, solver="newton-cholesky", tol=1e-12, max_iter=10_000, **arguments)


def centred(estimator: object) -> np.ndarray:
    """Return coefficients and intercepts less their undetermined means over classes."""
    theta = np.column_stack([estimator.coef_, estimator.intercept_])
    return theta - theta.mean(axis=0) if len(theta) > 1 else theta


# At 1e-12 scikit-learn's line search may find no lower loss and say so; its answer is good.
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("class_weight", [None, "balanced"])
@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("l2", [0.01, 1.0, 100.0])
@pytest.mark.parametrize("loader", [load_breast_cancer, load_iris, load_wine])
def test_coefficients_are_scikit_learns(
    loader, l2: float, fit_intercept: bool, class_weight: str | None
) -> None:
    """With default tolerance, coefficients and probabilities agree to 1e-6."""
    X, y = loader(return_X_y=True)
    theirs = oracle(l2, fit_intercept=fit_intercept, class_weight=class_weight).fit(X, y)
    ours = LogisticRegression(l2=l2, fit_intercept=fit_intercept, class_weight=class_weight)
    ours.fit(X, y.astype(np.int64))
    assert ours.converged_
    np.testing.assert_allclose(centred(ours), centred(theirs), rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(ours.predict_proba(X), theirs.predict_proba(X), atol=1e-6)


def test_l_bfgs_finds_newtons_minimum(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a Hessian would be too large the other solver gives the same probabilities."""
    X, y = load_digits(return_X_y=True)
    newton = LogisticRegression(l2=1.0).fit(X, y)
    monkeypatch.setattr(logistic, "_is_newton_affordable", lambda *_: False)
    lbfgs = LogisticRegression(l2=1.0, max_iterations=2000).fit(X, y)
    assert newton.converged_
    assert lbfgs.converged_
    np.testing.assert_allclose(lbfgs.predict_proba(X), newton.predict_proba(X), atol=1e-5)


def test_without_penalty_the_truth_is_found() -> None:
    """Without a penalty the estimate satisfies the score equations X'(y - p) = 0."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(2000, 4))
    y = (X @ [1.0, -2.0, 0.5, 0.0] + rng.logistic(size=2000) > 0.3).astype(np.int64)
    ours = LogisticRegression(l2=0.0).fit(X, y)
    residual = y - ours.predict_proba(X)[:, 1]
    np.testing.assert_allclose(residual @ np.column_stack([X, np.ones(2000)]), 0.0, atol=1e-8)


def test_a_column_that_separates_the_classes_ends() -> None:
    """Without a penalty there is no minimum; the fit stops all the same, finite and right."""
    X, y = np.arange(20.0)[:, None], (np.arange(20) >= 9).astype(np.int64)
    ours = LogisticRegression(l2=0.0).fit(X, y)
    assert np.isfinite(ours.coef_).all()
    assert ours.predict(X).tolist() == y.tolist()


def test_beginning_elsewhere_ends_at_the_same_place() -> None:
    """A warm start changes the path and not the answer."""
    X, y = load_wine(return_X_y=True)
    half = LogisticRegression().fit(X[::2], y[::2])
    cold, warm = LogisticRegression().fit(X, y), LogisticRegression().fit(X, y, start=half)
    np.testing.assert_allclose(warm.coef_, cold.coef_, atol=1e-8)
    assert warm.n_iter_ < cold.n_iter_


def test_a_sample_to_begin_with_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many rows are fitted from a sample's answer to the same coefficients."""
    rng = np.random.default_rng(3)
    X = rng.normal(size=(5000, 3))
    y = (X[:, 0] + rng.logistic(size=5000) > 0).astype(np.int64)
    cold = LogisticRegression().fit(X, y)
    monkeypatch.setattr(logistic, "WARM_START_ROWS", 4000)
    monkeypatch.setattr(logistic, "WARM_START_SAMPLE", 1000)
    warm = LogisticRegression().fit(X, y)
    np.testing.assert_allclose(warm.coef_, cold.coef_, atol=1e-9)
    assert warm.n_iter_ < cold.n_iter_


def test_too_few_iterations_are_said() -> None:
    """An unfinished fit does not claim to have converged."""
    X, y = load_iris(return_X_y=True)
    assert not LogisticRegression(max_iterations=1).fit(X, y).converged_


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("class_weight", [None, "balanced"])
@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("loader", [load_breast_cancer, load_iris])
def test_weighted_coefficients_are_scikit_learns(
    loader, fit_intercept: bool, class_weight: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With weights, which multiply class weights, both solvers agree with scikit-learn to 1e-6."""
    X, y = loader(return_X_y=True)
    X = (X - X.mean(axis=0)) / X.std(axis=0) * np.linspace(0.5, 2.0, X.shape[1]) + 1.0
    weight = np.random.default_rng(0).exponential(3.0, len(y))
    weight[::7] = 0.0
    theirs = oracle(0.7, fit_intercept=fit_intercept, class_weight=class_weight)
    theirs.fit(X, y, weight)
    for by_newton in (True, False):
        monkeypatch.setattr(logistic, "_is_newton_affordable", lambda *_, by=by_newton: by)
        ours = LogisticRegression(
            l2=0.7,
            fit_intercept=fit_intercept,
            class_weight=class_weight,
            max_iterations=5000,
            tol=1e-10,
        ).fit(X, y.astype(np.int64), sample_weight=weight)
        assert ours.converged_
        np.testing.assert_allclose(centred(ours), centred(theirs), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("l1", [0.0, 2.0])
@pytest.mark.parametrize("loader", [load_breast_cancer, load_wine])
def test_a_weight_is_how_often_a_row_is_there(loader, l1: float) -> None:
    """Weight 2 is the row twice, weight 0 its absence, whatever is in it."""
    X, y = loader(return_X_y=True)
    weight = np.random.default_rng(1).integers(0, 3, len(y))
    wild = np.where(weight[:, None] == 0, 1e150, X)
    ours = LogisticRegression(l1=l1, class_weight="balanced")
    ours.fit(wild, y, sample_weight=weight.astype(np.float64))
    repeated = LogisticRegression(l1=l1, class_weight="balanced")
    repeated.fit(np.repeat(X, weight, axis=0), np.repeat(y, weight))
    np.testing.assert_allclose(centred(ours), centred(repeated), rtol=1e-6, atol=1e-6)


def test_weights_of_nothing_are_refused() -> None:
    """Rows that all have weight 0 teach nothing."""
    X, y = load_iris(return_X_y=True)
    with pytest.raises(NoTrainingRowsError):
        LogisticRegression().fit(X, y, sample_weight=np.zeros(len(y)))


def standardised(loader) -> tuple[np.ndarray, np.ndarray]:
    X, y = loader(return_X_y=True)
    return (X - X.mean(axis=0)) / X.std(axis=0), y


def objective(X: np.ndarray, y: np.ndarray, estimator: object, l2: float, l1: float) -> float:
    """Return what is minimised, at an estimator's coefficients."""
    scores = X @ estimator.coef_.T + estimator.intercept_
    if scores.shape[1] == 1:
        loss = np.logaddexp(0.0, np.where(y == 1, -1.0, 1.0) * scores[:, 0]).sum()
    else:
        loss = (np.logaddexp.reduce(scores, axis=1) - scores[np.arange(len(y)), y]).sum()
    size = np.abs(estimator.coef_)
    return float(loss + 0.5 * l2 * np.square(size).sum() + l1 * size.sum())


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize(("l2", "l1"), [(0.0, 10.0), (1.0, 2.0)])
@pytest.mark.parametrize("loader", [load_breast_cancer, load_iris, load_wine])
def test_sparse_coefficients_are_scikit_learns(
    loader, l2: float, l1: float, fit_intercept: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With l1 = l1_ratio / C both solvers agree with saga: zeros, coefficients and objective."""
    X, y = standardised(loader)
    theirs = Oracle(
        C=1.0 / (l1 + l2),
        l1_ratio=l1 / (l1 + l2),
        penalty="elasticnet",
        solver="saga",
        tol=1e-8,
        max_iter=100_000,
        fit_intercept=fit_intercept,
    ).fit(X, y)
    best = objective(X, y, theirs, l2, l1)
    for by_newton in (True, False):
        monkeypatch.setattr(logistic, "_is_newton_affordable", lambda *_, by=by_newton: by)
        ours = LogisticRegression(l2=l2, l1=l1, fit_intercept=fit_intercept, max_iterations=3000)
        ours.fit(X, y)
        assert ours.converged_
        assert objective(X, y, ours, l2, l1) <= best * (1 + 1e-8)
        np.testing.assert_allclose(ours.coef_, theirs.coef_, atol=3e-4)
        np.testing.assert_array_equal(ours.coef_ == 0.0, theirs.coef_ == 0.0)


@pytest.mark.parametrize("n_classes", [2, 3, 4])
def test_the_subgradient_at_a_sparse_answer_holds_a_zero(n_classes: int) -> None:
    """No derivative is beyond its penalty where a coefficient is 0, nor off it elsewhere."""
    rng = np.random.default_rng(n_classes)
    X = rng.normal(size=(400, 8)) * np.logspace(-2, 2, 8) + 5.0
    codes = (X @ rng.normal(size=(8, n_classes)) / np.logspace(-2, 2, 8).max()).argmax(axis=1)
    codes[:n_classes] = np.arange(n_classes)
    l1, l2 = 3.0, 0.5
    ours = LogisticRegression(l1=l1, l2=l2, tol=1e-10).fit(X, codes)
    residual = ours.predict_proba(X) - np.eye(n_classes)[codes]
    slope = (residual[:, 1:] if n_classes == 2 else residual).T @ X + l2 * ours.coef_
    is_zero = ours.coef_ == 0.0
    assert is_zero.any()
    assert (np.abs(slope[is_zero]) <= l1 * (1 + 1e-6)).all()
    np.testing.assert_allclose(slope[~is_zero], -l1 * np.sign(ours.coef_[~is_zero]), rtol=1e-5)


def test_a_great_l1_leaves_the_shares_of_the_classes() -> None:
    """Beyond the largest slope every coefficient is 0 and the classes have their shares."""
    X, y = load_wine(return_X_y=True)
    ours = LogisticRegression(l1=1e9).fit(X, y)
    assert not ours.coef_.any()
    np.testing.assert_allclose(ours.predict_proba(X[:1])[0], np.bincount(y) / len(y), rtol=1e-6)


def test_beginning_elsewhere_ends_at_the_same_sparse_answer() -> None:
    """With l1 too a warm start changes the path and not the answer."""
    X, y = standardised(load_wine)
    half = LogisticRegression(l1=1.0).fit(X[::2], y[::2])
    cold = LogisticRegression(l1=1.0).fit(X, y)
    warm = LogisticRegression(l1=1.0).fit(X, y, start=half)
    np.testing.assert_allclose(warm.coef_, cold.coef_, atol=1e-7)


def separable(kind: str) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(300, 2))
    if kind == "wholly":
        return X, (X[:, 0] > 0).astype(np.int64)
    if kind == "many classes":
        return X, np.digitize(X[:, 0], [-0.5, 0.5]).astype(np.int64)
    y = (rng.random(300) < 0.5).astype(np.int64)  # one value of a column has one class only
    return np.column_stack([X[:, 0], (np.arange(300) < 20) & (y == 1)]).astype(float), y


@pytest.mark.parametrize("kind", ["wholly", "many classes", "in part"])
@pytest.mark.parametrize("by_newton", [True, False])
def test_separable_classes_end_with_a_warning(
    kind: str, by_newton: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where no finite coefficients are best, the fit stops with finite ones and says so."""
    monkeypatch.setattr(logistic, "_is_newton_affordable", lambda *_: by_newton)
    X, y = separable(kind)
    ours = LogisticRegression(l2=0.0, max_iterations=1000).fit(X, y)
    assert np.isfinite(ours.coef_).all()
    if by_newton:
        assert ours.warnings_ == (SEPARATED_WARNING,)
    if kind != "in part":
        assert (ours.predict(X) == y).mean() > 0.99
    assert LogisticRegression(l2=1e-3).fit(X, y).warnings_ == ()


def test_classes_that_overlap_end_without_a_warning() -> None:
    """Without a penalty, and with a minimum, nobody is warned."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(300, 2))
    y = (X[:, 0] + rng.logistic(size=300) > 0).astype(np.int64)
    assert LogisticRegression(l2=0.0).fit(X, y).warnings_ == ()


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize(("l2", "l1"), [(1.0, 0.0), (0.5, 2.0)])
def test_learning_on_remembers(l2: float, l1: float, fit_intercept: bool, n_classes: int) -> None:
    """Two halves in turn are within a few percent of all rows, and nearer than the second half."""
    rng = np.random.default_rng(7)
    X = rng.normal(size=(3000, 4)) * [1.0, 10.0, 0.1, 1.0] + [0.0, 30.0, 0.0, 1e3 * fit_intercept]
    units = X.std(axis=0)
    truth = rng.normal(size=(4, n_classes))
    scores = (X - X.mean(axis=0)) / units @ truth + rng.gumbel(size=(3000, n_classes))
    codes = scores.argmax(axis=1)
    arguments = {"l2": l2, "l1": l1, "fit_intercept": fit_intercept}
    whole = LogisticRegression(**arguments).fit(X, codes)
    first = LogisticRegression(**arguments).fit(X[:1500], codes[:1500])
    second = LogisticRegression(**arguments).fit(X[1500:], codes[1500:])
    ours = LogisticRegression(**arguments)
    ours.fit(X[1500:], codes[1500:], start=first, continues=True)
    size = np.linalg.norm(whole.coef_ * units)
    error = np.linalg.norm((ours.coef_ - whole.coef_) * units) / size
    forgetful = np.linalg.norm((second.coef_ - whole.coef_) * units) / size
    assert error < 0.02
    assert error < 0.3 * forgetful
    np.testing.assert_allclose(ours.predict_proba(X), whole.predict_proba(X), atol=0.02)
    assert ours.notices_ == ()


def test_learning_on_from_all_rows_but_one_changes_next_to_nothing() -> None:
    """What is kept accumulates: ten parts in turn end near the fit on all."""
    rng = np.random.default_rng(8)
    X = rng.normal(size=(5000, 3)) + 4.0
    codes = (X @ [1.0, -1.0, 0.5] - 2.0 + rng.logistic(size=5000) > 0).astype(np.int64)
    whole = LogisticRegression().fit(X, codes)
    ours = None
    for part in np.array_split(np.arange(5000), 10):
        before, ours = ours, LogisticRegression()
        ours.fit(X[part], codes[part], start=before, continues=True)
    np.testing.assert_allclose(ours.coef_, whole.coef_, atol=0.03)
    assert ours.curvature_.columns.weight == 5000.0


def test_classes_without_new_rows_are_kept() -> None:
    """Learning on from rows of two classes of three, the third keeps its coefficients' sense."""
    X, y = standardised(load_iris)
    before = LogisticRegression().fit(X, y)
    new = y < 2
    ours = LogisticRegression(class_weight="balanced")
    ours.fit(X[new], y[new], start=before, continues=True)
    assert ours.coef_.shape == (3, 4)
    assert (ours.predict(X) == y).mean() > 0.95


def test_unknown_classes_cannot_be_learned_on() -> None:
    """A class that the earlier fit does not know is an error."""
    X, y = load_iris(return_X_y=True)
    before = LogisticRegression().fit(X[:100], y[:100])
    with pytest.raises(ValueError):
        LogisticRegression().fit(X, y, start=before, continues=True)


def test_too_many_coefficients_to_remember_are_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """A model that keeps no curvature says that it goes on from none."""
    X, y = standardised(load_iris)
    monkeypatch.setattr(logistic, "LARGEST_HESSIAN", 3)
    before = LogisticRegression().fit(X[::2], y[::2])
    assert before.curvature_ is None
    ours = LogisticRegression().fit(X[1::2], y[1::2], start=before, continues=True)
    assert ours.notices_ == (UNREMEMBERED_NOTICE,)


@pytest.mark.parametrize("loader", [load_breast_cancer, load_wine])
def test_the_predictor_scores_as_the_estimator_does(loader) -> None:
    """What is stored gives the same scores."""
    X, y = loader(return_X_y=True)
    ours = LogisticRegression().fit(X, y)
    np.testing.assert_allclose(ours.predictor_.outputs(X).T, ours.decision_function(X), rtol=1e-9)


@pytest.mark.parametrize("l1", [0.0, 5.0])
def test_a_weighted_sample_to_begin_with_changes_nothing(
    l1: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Many weighted rows are fitted from a sample's answer to the same coefficients."""
    rng = np.random.default_rng(3)
    X = rng.normal(size=(5000, 3))
    y = (X[:, 0] + rng.logistic(size=5000) > 0).astype(np.int64)
    weight = rng.integers(0, 3, 5000).astype(np.float64)
    cold = LogisticRegression(l1=l1).fit(X, y, sample_weight=weight)
    monkeypatch.setattr(logistic, "WARM_START_ROWS", 4000)
    monkeypatch.setattr(logistic, "WARM_START_SAMPLE", 1000)
    warm = LogisticRegression(l1=l1).fit(X, y, sample_weight=weight)
    np.testing.assert_allclose(warm.coef_, cold.coef_, atol=1e-7)
    assert warm.n_iter_ < cold.n_iter_


@pytest.mark.parametrize("n_classes", [2, 3])
def test_blocks_in_another_order_change_no_bit(
    n_classes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Weighted and penalised sums are added in the order of the rows, whoever works on them."""
    monkeypatch.setattr(design, "BLOCK_SIZE_BYTES", 1)
    monkeypatch.setattr(design, "SMALLEST_BLOCK_ROWS", 37)
    X, y = load_wine(return_X_y=True)
    codes = y % n_classes
    weight = np.random.default_rng(0).exponential(size=len(y))
    ours = LogisticRegression(l1=1.0).fit(X, codes, sample_weight=weight)
    other = LogisticRegression(l1=1.0).fit(X, codes, sample_weight=weight, parallel=backwards)
    np.testing.assert_array_equal(ours.coef_, other.coef_)
    np.testing.assert_array_equal(ours.intercept_, other.intercept_)
