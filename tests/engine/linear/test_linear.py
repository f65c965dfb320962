"""Least squares and ridge, with scikit-learn and closed forms as oracles."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.datasets import load_diabetes
from sklearn.linear_model import ElasticNet, Ridge
from sklearn.linear_model import LinearRegression as Oracle

from proxy.engine.linear import linear
from proxy.engine.linear.linear import (
    RANK_WARNING,
    SVD_NOTICE,
    UNREMEMBERED_NOTICE,
    WIDEST_DESIGN,
    LinearRegression,
)
from proxy.engine.preparation import design
from proxy.engine.preparation.design import MatrixDesign
from proxy.errors import NoTrainingRowsError, TooLargeError
from tests.engine.maps import backwards

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


def whole_weights(n_samples: int, seed: int = 0) -> np.ndarray:
    """Return how often each row counts: 0 to 3 times."""
    return np.random.default_rng(seed).integers(0, 4, n_samples).astype(np.float64)


@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("l2", [0.0, 10.0])
def test_weighted_coefficients_are_scikit_learns(l2: float, fit_intercept: bool) -> None:
    """With any weights OLS and ridge agree with scikit-learn to 1e-8."""
    weight = np.random.default_rng(3).exponential(size=len(Y))
    oracle = (
        Ridge(l2, fit_intercept=fit_intercept, solver="svd")
        if l2
        else Oracle(fit_intercept=fit_intercept)
    )
    oracle.fit(X, Y, weight)
    ours = LinearRegression(l2=l2, fit_intercept=fit_intercept).fit(X, Y, sample_weight=weight)
    np.testing.assert_allclose(ours.coef_, oracle.coef_, rtol=1e-8, atol=1e-8)
    np.testing.assert_allclose(ours.intercept_, oracle.intercept_, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("l1", [0.0, 500.0])
@pytest.mark.parametrize("fit_intercept", [True, False])
def test_a_weight_is_how_often_a_row_is_there(fit_intercept: bool, l1: float) -> None:
    """Weight 2 is the row twice, weight 0 its absence, whatever is in it."""
    weight = whole_weights(len(Y))
    wild = np.where(weight[:, None] == 0.0, 1e150, X)
    arguments = {"l2": 3.0, "l1": l1, "fit_intercept": fit_intercept}
    ours = LinearRegression(**arguments).fit(wild, Y, sample_weight=weight)
    times = weight.astype(int)
    repeated = LinearRegression(**arguments).fit(np.repeat(X, times, axis=0), np.repeat(Y, times))
    np.testing.assert_allclose(ours.coef_, repeated.coef_, rtol=1e-9, atol=1e-9)
    assert ours.intercept_ == pytest.approx(repeated.intercept_, rel=1e-9)


def test_weights_hold_in_ill_conditioned_systems_too() -> None:
    """The fit by singular values weighs its rows as the other one does, and says that it is it."""
    rng = np.random.default_rng(1)
    first = rng.normal(size=400)
    nearly = np.column_stack([first, first + 1e-7 * rng.normal(size=400)])
    y = nearly @ [3.0, -2.0] + 5.0
    weight = whole_weights(400)
    y[weight == 0.0] = -1e6
    ours = LinearRegression().fit(nearly, y, sample_weight=weight)
    np.testing.assert_allclose(ours.coef_, [3.0, -2.0], rtol=1e-5)
    assert ours.intercept_ == pytest.approx(5.0)
    assert ours.solver_ == "svd"
    assert ours.notices_ == (SVD_NOTICE,)
    assert LinearRegression().fit(X, Y).notices_ == ()


def test_a_column_constant_where_rows_count_is_left_out() -> None:
    """What varies only in rows of weight 0 has the coefficient 0."""
    weight = whole_weights(len(Y))
    steady = np.column_stack([X, np.where(weight > 0, 0.1, X[:, 0])])
    ours = LinearRegression().fit(steady, Y, sample_weight=weight)
    assert ours.coef_[-1] == 0.0
    oracle = Oracle().fit(X, Y, weight)
    np.testing.assert_allclose(ours.coef_[:-1], oracle.coef_, rtol=1e-8, atol=1e-8)


def test_weights_of_nothing_are_refused() -> None:
    """Rows that all have weight 0 teach nothing."""
    with pytest.raises(NoTrainingRowsError):
        LinearRegression().fit(X, Y, sample_weight=np.zeros(len(Y)))


# At 1e-14 scikit-learn may find its duality gap within rounding of it; its answer is good.
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("l1_ratio", [1.0, 0.5])
@pytest.mark.parametrize("alpha", [0.01, 1.0, 20.0])
def test_elastic_nets_are_scikit_learns(alpha: float, l1_ratio: float, fit_intercept: bool) -> None:
    """With l1 = 2 n alpha l1_ratio and l2 = n alpha (1 - l1_ratio), to 1e-6, zeros exactly."""
    oracle = ElasticNet(
        alpha, l1_ratio=l1_ratio, fit_intercept=fit_intercept, tol=1e-14, max_iter=10**6
    ).fit(X, Y)
    total = len(Y)
    ours = LinearRegression(
        l1=2 * total * alpha * l1_ratio,
        l2=total * alpha * (1 - l1_ratio),
        fit_intercept=fit_intercept,
    ).fit(X, Y)
    np.testing.assert_allclose(ours.coef_, oracle.coef_, rtol=1e-6, atol=1e-9)
    np.testing.assert_array_equal(ours.coef_ == 0.0, oracle.coef_ == 0.0)
    assert ours.solver_ == "coordinate_descent"
    assert ours.converged_


def test_a_great_l1_leaves_the_mean() -> None:
    """Beyond the largest product of a column and the target every coefficient is 0."""
    ours = LinearRegression(l1=1e12).fit(X, Y)
    assert not ours.coef_.any()
    assert ours.intercept_ == pytest.approx(Y.mean())


def test_more_columns_than_rows_are_selected_from() -> None:
    """On a wide design the lasso is scikit-learn's, dependent columns and all."""
    rng = np.random.default_rng(5)
    wide = rng.normal(size=(40, 300))
    y = wide[:, :3] @ [3.0, -2.0, 1.0] + 0.1 * rng.normal(size=40)
    oracle = ElasticNet(0.1, l1_ratio=1.0, tol=1e-14, max_iter=10**6).fit(wide, y)
    ours = LinearRegression(l1=2 * 40 * 0.1).fit(wide, y)
    np.testing.assert_allclose(ours.coef_, oracle.coef_, atol=1e-7)


@pytest.mark.parametrize(("l2", "l1"), [(0.0, 0.0), (5.0, 0.0), (1.0, 300.0)])
@pytest.mark.parametrize("fit_intercept", [True, False])
def test_learning_on_is_learning_from_all(l2: float, l1: float, fit_intercept: bool) -> None:
    """Three parts one after the other give the coefficients of all rows, to 1e-9."""
    weight = np.random.default_rng(4).exponential(size=len(Y))
    arguments = {"l2": l2, "l1": l1, "fit_intercept": fit_intercept}
    whole = LinearRegression(**arguments).fit(X, Y, sample_weight=weight)
    before = None
    order = np.argsort(X[:, 2])  # so that the parts are unlike each other
    for part in np.array_split(order, 3):
        ours = LinearRegression(**arguments)
        ours.fit(X[part], Y[part], sample_weight=weight[part], start=before, continues=True)
        before = ours
    np.testing.assert_allclose(ours.coef_, whole.coef_, rtol=1e-9, atol=1e-9)
    assert ours.intercept_ == pytest.approx(whole.intercept_, rel=1e-9)
    assert ours.notices_ == ()


def test_learning_on_where_a_column_was_constant_until_now() -> None:
    """A column that has not varied before has the coefficient of all rows together."""
    steady = X.copy()
    steady[:200, 1] = 0.1
    before = LinearRegression().fit(steady[:200], Y[:200])
    assert before.coef_[1] == 0.0
    ours = LinearRegression().fit(steady[200:], Y[200:], start=before, continues=True)
    np.testing.assert_allclose(ours.coef_, Oracle().fit(steady, Y).coef_, rtol=1e-8)


def test_a_column_that_stays_constant_stays_out() -> None:
    """The rounding of a constant's mean is not taken for its scatter."""
    rng = np.random.default_rng(6)
    steady = np.column_stack([X, np.full(len(Y), 0.1)])
    weight = rng.exponential(size=len(Y))
    before = LinearRegression().fit(steady[:150], Y[:150], sample_weight=weight[:150])
    ours = LinearRegression().fit(
        steady[150:], Y[150:], sample_weight=weight[150:], start=before, continues=True
    )
    assert ours.coef_[-1] == 0.0


def test_dependent_columns_are_found_without_the_rows() -> None:
    """Learning on, the solution of least norm comes from the products that are left."""
    dependent = np.hstack([X, 2.0 * X[:, :3]])
    before = LinearRegression().fit(dependent[:200], Y[:200])
    ours = LinearRegression().fit(dependent[200:], Y[200:], start=before, continues=True)
    np.testing.assert_allclose(ours.coef_, Oracle().fit(dependent, Y).coef_, rtol=1e-5, atol=1e-6)
    assert ours.warnings_ == (RANK_WARNING,)


def test_too_many_columns_to_remember_are_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """A model that keeps no statistics says that it goes on from none."""
    monkeypatch.setattr(linear, "WIDEST_REMEMBERED", 5)
    before = LinearRegression().fit(X[:200], Y[:200])
    assert before.statistics_ is None
    ours = LinearRegression().fit(X[200:], Y[200:], start=before, continues=True)
    assert ours.notices_ == (UNREMEMBERED_NOTICE,)
    np.testing.assert_allclose(ours.coef_, Oracle().fit(X[200:], Y[200:]).coef_, rtol=1e-8)


def test_the_predictor_scores_as_the_estimator_does() -> None:
    """What is stored gives the same values."""
    ours = LinearRegression(l2=1.0).fit(X, Y)
    np.testing.assert_allclose(ours.predictor_.outputs(X)[0], ours.predict(X), rtol=1e-12)


class Grouped(MatrixDesign):
    """A matrix whose first three columns are one category's."""

    def one_hot_groups(self) -> list[slice]:
        return [slice(0, 3)]


def test_a_category_unknown_until_now_is_no_one_hot_row() -> None:
    """Where later rows have none of a group's columns, these no longer add up to a constant."""
    rng = np.random.default_rng(9)
    codes = rng.integers(0, 3, 300)
    matrix = np.column_stack([np.eye(3)[codes], rng.normal(size=300)])
    matrix[200::5, :3] = 0.0
    y = matrix @ [1.0, 2.0, 4.0, -1.0] + rng.normal(size=300)
    before = LinearRegression().fit(Grouped(matrix[:200]), y[:200])
    assert before.solver_ == "cholesky"
    assert before.coef_[:3].sum() == pytest.approx(0.0, abs=1e-12)
    ours = LinearRegression()
    ours.fit(Grouped(matrix[200:]), y[200:], start=before, continues=True)
    np.testing.assert_allclose(ours.coef_, Oracle().fit(matrix, y).coef_, rtol=1e-9)


@pytest.mark.parametrize("l1", [0.0, 100.0])
def test_blocks_in_another_order_change_no_bit(l1: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Weighted sums and moments are added in the order of the rows, whoever works on them."""
    monkeypatch.setattr(design, "BLOCK_SIZE_BYTES", 1)
    monkeypatch.setattr(design, "SMALLEST_BLOCK_ROWS", 37)
    weight = whole_weights(len(Y))
    ours = LinearRegression(l1=l1).fit(X, Y, sample_weight=weight)
    other = LinearRegression(l1=l1).fit(X, Y, sample_weight=weight, parallel=backwards)
    np.testing.assert_array_equal(ours.coef_, other.coef_)
    assert ours.intercept_ == other.intercept_
    whole = Oracle().fit(X, Y, weight)
    if not l1:
        np.testing.assert_allclose(ours.coef_, whole.coef_, rtol=1e-9)
