"""Logistic regression, with scikit-learn's newton-cholesky at tol 1e-12 as the oracle."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer, load_digits, load_iris, load_wine
from sklearn.linear_model import LogisticRegression as Oracle

from proxy.engine import logistic
from proxy.engine.logistic import LogisticRegression


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
