"""What linear models keep of their rows: put together, moved and stored."""

from __future__ import annotations

import numpy as np
import pytest

from proxy.engine.linear.linear import LinearRegression
from proxy.engine.linear.logistic import LogisticRegression
from proxy.engine.linear.remembered import Curvature, Statistics
from proxy.engine.preparation.moments import Moments


def data(seed: int, n_rows: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n_rows, 3)) * [1.0, 100.0, 0.01] + seed
    return X, X @ [1.0, 0.02, 50.0] + rng.normal(size=n_rows)


@pytest.mark.parametrize("fit_intercept", [True, False])
def test_merged_statistics_are_those_of_all_rows(fit_intercept: bool) -> None:
    """The products of two sets of rows together are those of the rows, in the merged units."""
    first, second = data(1, 40), data(2, 90)
    parts = [
        LinearRegression(fit_intercept=fit_intercept).fit(*each).statistics_
        for each in (first, second)
    ]
    both = parts[0].merged(parts[1])
    X, y = np.vstack([first[0], second[0]]), np.concatenate([first[1], second[1]])
    shift = X.mean(axis=0) if fit_intercept else 0.0
    y_shift = y.mean() if fit_intercept else 0.0
    Z, t = (X - shift) / both.unit, (y - y_shift) / both.y_scale
    np.testing.assert_allclose(both.gram, Z.T @ Z, atol=1e-9)
    np.testing.assert_allclose(both.moment, Z.T @ t, atol=1e-9)
    assert both.y_square == pytest.approx(t @ t)
    assert both.y_mean == pytest.approx(y_shift)


def test_statistics_of_other_problems_are_not_merged() -> None:
    """Neither other columns nor another sense of the intercept go together."""
    X, y = data(1, 40)
    ours = LinearRegression().fit(X, y).statistics_
    for other in (
        LinearRegression(fit_intercept=False).fit(X, y),
        LinearRegression().fit(X[:, :2], y),
    ):
        with pytest.raises(ValueError):
            ours.merged(other.statistics_)


@pytest.mark.parametrize("fit_intercept", [True, False])
def test_stored_statistics_are_the_same(fit_intercept: bool) -> None:
    """Arrays bring back what they were made of."""
    kept = LinearRegression(fit_intercept=fit_intercept).fit(*data(1, 40)).statistics_
    again = Statistics.from_tensors(kept.tensors(), n_features_in=3, fit_intercept=fit_intercept)
    for name, array in kept.tensors().items():
        np.testing.assert_array_equal(array, again.tensors()[name])
    assert again.fit_intercept == fit_intercept


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("gram", np.zeros((3, 2))),
        ("gram", np.full((3, 3), np.nan)),
        ("moment", np.zeros(3, np.float32)),
        ("mean", np.full(3, np.inf)),
        ("scale", np.array([1.0, -1.0, 1.0])),
        ("target", np.array([0.0, 1.0, 1.0, 1.0])),
        ("target", np.array([1.0, 1.0, 0.0, 1.0])),
        ("target", np.array([1.0, 1.0, 1.0, -1.0])),
    ],
)
def test_statistics_of_no_rows_are_refused(name: str, wrong: np.ndarray) -> None:
    """Arrays of another shape or type, and numbers that no rows have, are an error."""
    tensors = LinearRegression().fit(*data(1, 40)).statistics_.tensors()
    with pytest.raises(ValueError):
        Statistics.from_tensors({**tensors, name: wrong}, n_features_in=3, fit_intercept=True)
    del tensors[name]
    with pytest.raises(KeyError):
        Statistics.from_tensors(tensors, n_features_in=3, fit_intercept=True)


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("fit_intercept", [True, False])
def test_a_curvature_means_the_same_in_other_columns(n_classes: int, fit_intercept: bool) -> None:
    """Moved to other moments, the quadratic has the same value for the same raw step."""
    X, y = data(1, 60)
    codes = np.digitize(y, np.quantile(y, np.linspace(0, 1, n_classes + 1)[1:-1]))
    kept = LogisticRegression(fit_intercept=fit_intercept).fit(X, codes).curvature_
    assert kept is not None
    other = Moments(9.0, np.array([3.0, -2.0, 0.5]), np.array([0.1, 20.0, 3.0]))
    moved = kept.reframed(other, fit_intercept=fit_intercept)
    n_outputs = 1 if n_classes == 2 else n_classes
    raw = np.random.default_rng(0).normal(size=(n_outputs, 3 + fit_intercept))
    values = []
    for each in (kept, moved):
        step = raw.copy()
        step[:, :3] *= each.columns.unit(fit_intercept=fit_intercept)
        if fit_intercept:
            step[:, 3] += raw[:, :3] @ each.columns.mean
        d = step.ravel()
        values.append(each.slope @ d + 0.5 * d @ each.hessian @ d)
    assert values[0] == pytest.approx(values[1], rel=1e-9)


@pytest.mark.parametrize("n_classes", [2, 3])
def test_the_curvature_is_that_of_the_loss(n_classes: int) -> None:
    """Slope and Hessian are sums over rows at the coefficients, without the penalty."""
    X, y = data(1, 60)
    codes = np.digitize(y, np.quantile(y, np.linspace(0, 1, n_classes + 1)[1:-1]))
    weight = np.random.default_rng(0).exponential(5.0, 60)
    ours = LogisticRegression(l2=2.0).fit(X, codes, sample_weight=weight)
    kept = ours.curvature_
    Z = np.column_stack([(X - kept.columns.mean) / kept.columns.scale, np.ones(60)])
    probability = ours.predict_proba(X)
    residual = weight[:, None] * (probability - np.eye(n_classes)[codes])
    residual = residual[:, 1:] if n_classes == 2 else residual
    np.testing.assert_allclose(kept.slope, (residual.T @ Z).ravel(), atol=1e-5)
    spread = weight * probability[:, -1] * (1 - probability[:, -1])
    own = kept.hessian[-4:, -4:]
    if n_classes == 2:  # of more, the flat direction has a curvature of its own on the diagonal
        np.testing.assert_allclose(own, (Z * spread[:, None]).T @ Z, rtol=1e-4, atol=1e-4)
    else:
        off = ~np.eye(4, dtype=bool)
        expected = (Z * spread[:, None]).T @ Z
        np.testing.assert_allclose(own[off], expected[off], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("n_classes", [2, 3])
def test_stored_curvatures_are_the_same(n_classes: int) -> None:
    """Arrays bring back what they were made of, and no others are taken."""
    X, y = data(1, 60)
    codes = np.digitize(y, np.quantile(y, np.linspace(0, 1, n_classes + 1)[1:-1]))
    kept = LogisticRegression().fit(X, codes).curvature_
    arguments = {"n_features_in": 3, "n_classes": n_classes, "fit_intercept": True}
    tensors = kept.tensors()
    again = Curvature.from_tensors(tensors, **arguments)
    for name, array in tensors.items():
        np.testing.assert_array_equal(array, again.tensors()[name])
    for name, array in tensors.items():
        wrongs = [array[:0], array.astype(np.float32), np.full_like(array, np.nan)]
        if name in {"weight", "scale"}:
            wrongs.append(-1.0 - array)
        for wrong in wrongs:
            with pytest.raises(ValueError):
                Curvature.from_tensors({**tensors, name: wrong}, **arguments)
