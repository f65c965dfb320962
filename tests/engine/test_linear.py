"""Least squares and ridge, with scikit-learn and closed forms as oracles."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.datasets import load_diabetes
from sklearn.linear_model import LinearRegression as Oracle
from sklearn.linear_model import Ridge

from proxy.engine.design import MatrixDesign
from proxy.engine.linear import WIDEST_DESIGN, LinearRegression
from proxy.errors import TooLargeError

X, Y = load_diabetes(return_X_y=True, scaled=False)


@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("l2", [0.0, 1e-3, 1.0, 1e4])
def test_coefficients_are_scikit_learns(l2: float, fit_intercept: bool) -> None:
    """OLS and ridge on raw columns agree with scikit-learn to 1e-8."""
    oracle = Oracle(fit_intercept=fit_intercept)
    if l2:
        oracle = Ridge(l2, fit_intercept=fit_intercept, solver="svd")
    oracle.fit(X, Y)
    ours = LinearRegression(l2=l2, fit_intercept=fit_intercept).fit(X, Y)
    np.testing.assert_allclose(ours.coef_, oracle.coef_, rtol=1e-8, atol=1e-8)
    np.testing.assert_allclose(ours.intercept_, oracle.intercept_, rtol=1e-8)
    np.testing.assert_allclose(ours.predict(X), oracle.predict(X), rtol=1e-9)
    assert not ours.rank_deficient_


@pytest.mark.parametrize("fit_intercept", [True, False])
def test_of_many_solutions_the_smallest_is_chosen(fit_intercept: bool) -> None:
    """With dependent columns the coefficients are lstsq's: least norm, on raw columns."""
    dependent = np.hstack([X, 2.0 * X[:, :3], X[:, :1] + X[:, 1:2]])
    oracle = Oracle(fit_intercept=fit_intercept).fit(dependent, Y)
    ours = LinearRegression(fit_intercept=fit_intercept).fit(dependent, Y)
    np.testing.assert_allclose(ours.coef_, oracle.coef_, rtol=1e-6, atol=1e-7)
    assert ours.rank_deficient_


def test_fewer_rows_than_columns_fit_exactly() -> None:
    """An underdetermined system is solved with the least norm."""
    rng = np.random.default_rng(0)
    wide, y = rng.normal(size=(5, 9)), rng.normal(size=5)
    ours = LinearRegression().fit(wide, y)
    np.testing.assert_allclose(ours.predict(wide), y, atol=1e-9)
    np.testing.assert_allclose(ours.coef_, Oracle().fit(wide, y).coef_, atol=1e-9)


def test_nearly_dependent_columns_keep_their_digits() -> None:
    """At a condition of 1e7, where X'X has lost every digit, the known line is found."""
    rng = np.random.default_rng(1)
    first = rng.normal(size=400)
    nearly = np.column_stack([first, first + 1e-7 * rng.normal(size=400)])
    ours = LinearRegression().fit(nearly, nearly @ [3.0, -2.0] + 5.0)
    np.testing.assert_allclose(ours.coef_, [3.0, -2.0], rtol=1e-5)
    assert ours.intercept_ == pytest.approx(5.0)


def test_enormous_and_tiny_units_change_the_coefficients_only() -> None:
    """Columns in units of 1e100 and 1e-100 give the same predictions."""
    units = 10.0 ** np.linspace(-100, 100, X.shape[1])
    plain, scaled = LinearRegression().fit(X, Y), LinearRegression().fit(X * units, Y)
    np.testing.assert_allclose(scaled.coef_ * units, plain.coef_, rtol=1e-6)


def test_a_large_offset_costs_no_digits() -> None:
    """A column of epoch seconds gives the slope of the same column counted from today."""
    rng = np.random.default_rng(2)
    seconds = rng.uniform(0, 1e5, (500, 1))
    y = 0.25 * seconds[:, 0] + rng.normal(size=500)
    near, far = LinearRegression().fit(seconds, y), LinearRegression().fit(seconds + 1.7e9, y)
    np.testing.assert_allclose(far.coef_, near.coef_, rtol=1e-9)


def test_one_row_predicts_itself() -> None:
    """With a single row every prediction is its target."""
    ours = LinearRegression().fit(np.array([[3.0, 4.0]]), np.array([7.0]))
    assert ours.predict(np.array([[100.0, -5.0]])).tolist() == [7.0]


def test_too_many_columns_are_refused() -> None:
    """A design whose X'X would not fit is an error, before it is built."""
    with pytest.raises(TooLargeError) as caught:
        LinearRegression().fit(MatrixDesign(np.zeros((2, WIDEST_DESIGN + 1))), np.zeros(2))
    assert caught.value.sqlstate == "54000"
