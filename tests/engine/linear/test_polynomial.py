"""Polynomial regression, with scikit-learn's PolynomialFeatures as the oracle."""

from __future__ import annotations

from itertools import combinations_with_replacement

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.linear_model import LinearRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import PolynomialFeatures, StandardScaler

from proxy.engine.columns import Column, Dataset, FeatureKind
from proxy.engine.linear.monomials import NO_GROUP, Factors, count_monomials, list_monomials
from proxy.engine.linear.polynomial import PolynomialRegression
from proxy.engine.linear.polynomial_design import PolynomialDesign, learn_expansion
from proxy.engine.linear.polynomial_predictor import MOST_MONOMIALS, PolynomialPredictor
from proxy.engine.preparation import design as blocks
from proxy.engine.preparation.design import EncodedDesign, MatrixDesign
from proxy.engine.preparation.preprocessing import Preprocessor
from proxy.errors import TooLargeError
from tests.engine.maps import backwards

RNG = np.random.default_rng(0)
X = RNG.normal(size=(600, 4)) * [1.0, 20.0, 0.01, 3.0] + [0.0, 50.0, 1.0, -7.0]
Z = (X - X.mean(axis=0)) / X.std(axis=0)
Y = Z[:, 0] ** 2 * Z[:, 1] - Z[:, 2] + Z[:, 3] * Z[:, 0] + 0.3 * RNG.normal(size=600)


@pytest.mark.parametrize("interaction_only", [True, False])
@pytest.mark.parametrize("degree", [1, 2, 3, 5])
def test_predictions_are_scikit_learns(degree: int, interaction_only: bool) -> None:
    """Standardised, expanded and fitted by scikit-learn the values are the same, to 1e-6."""
    features = PolynomialFeatures(degree, interaction_only=interaction_only, include_bias=False)
    oracle = make_pipeline(StandardScaler(), features, LinearRegression()).fit(X, Y)
    ours = PolynomialRegression(degree=degree, interaction_only=interaction_only).fit(X, Y)
    np.testing.assert_allclose(ours.predict(X), oracle.predict(X), rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(ours.coef_, oracle[-1].coef_, rtol=1e-6, atol=1e-8)
    assert ours.n_output_features_ == features.n_output_features_
    assert ours.warnings_ == ()


def test_ridge_coefficients_are_scikit_learns() -> None:
    """l2 is Ridge's alpha on products of standardised columns."""
    features = PolynomialFeatures(3, include_bias=False)
    oracle = make_pipeline(StandardScaler(), features, Ridge(5.0)).fit(X, Y)
    ours = PolynomialRegression(degree=3, l2=5.0).fit(X, Y)
    np.testing.assert_allclose(ours.coef_, oracle[-1].coef_, rtol=1e-8, atol=1e-9)
    assert ours.intercept_ == pytest.approx(oracle[-1].intercept_)


def test_without_an_intercept_columns_are_not_centred() -> None:
    """Through the origin the values are those of products of the raw columns."""
    products = PolynomialFeatures(2, include_bias=False).fit_transform(X)
    products /= np.sqrt(np.square(products).mean(axis=0))
    expected = products @ np.linalg.lstsq(products, Y, rcond=1e-15)[0]
    ours = PolynomialRegression(fit_intercept=False).fit(X, Y)
    np.testing.assert_allclose(ours.predict(X), expected, atol=1e-8)
    assert ours.predict(np.zeros((1, 4))).tolist() == [0.0]


def test_degree_ten_keeps_its_digits() -> None:
    """Even far from 0, ten powers of a column follow a smooth curve closely."""
    x = np.linspace(1e6, 1e6 + 10.0, 2000)[:, None]
    ours = PolynomialRegression(degree=10).fit(x, np.sin(x[:, 0] - 1e6))
    np.testing.assert_allclose(ours.predict(x), np.sin(x[:, 0] - 1e6), atol=1e-2)


@pytest.mark.parametrize("l2", [0.0, 5.0])
def test_a_weight_is_how_often_a_row_is_there(l2: float) -> None:
    """Weight 2 is the row twice, weight 0 its absence, units included."""
    weight = np.random.default_rng(1).integers(0, 3, 600)
    ours = PolynomialRegression(l2=l2).fit(X, Y, sample_weight=weight.astype(np.float64))
    repeated = PolynomialRegression(l2=l2)
    repeated.fit(np.repeat(X, weight, axis=0), np.repeat(Y, weight))
    np.testing.assert_allclose(ours.coef_, repeated.coef_, rtol=1e-8, atol=1e-9)


def test_blocks_and_threads_change_no_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows worked on in another order, a block at a time, give the same bytes."""
    monkeypatch.setattr(blocks, "BLOCK_SIZE_BYTES", 1)
    monkeypatch.setattr(blocks, "SMALLEST_BLOCK_ROWS", 37)
    ours = PolynomialRegression(degree=3).fit(X, Y)
    other = PolynomialRegression(degree=3).fit(X, Y, parallel=backwards)
    np.testing.assert_array_equal(ours.coef_, other.coef_)


def test_two_values_have_no_powers() -> None:
    """A column of 0 and 1, or of any two values, is in a product once at most."""
    flag = (Z[:, 1] > 0).astype(np.float64)
    two = np.column_stack([flag, X[:, 0], 3.0 + 4.0 * (Z[:, 2] > 0)])
    ours = PolynomialRegression(degree=3).fit(two, Y)
    powers = [term for term, _ in ours.terms_]
    assert powers == [
        ((0, 1),),
        ((1, 1),),
        ((2, 1),),
        ((0, 1), (1, 1)),
        ((0, 1), (2, 1)),
        ((1, 2),),
        ((1, 1), (2, 1)),
        ((0, 1), (1, 2)),
        ((0, 1), (1, 1), (2, 1)),
        ((1, 3),),
        ((1, 2), (2, 1)),
    ]
    assert ours.centre_[[0, 2]].tolist() == [0.0, 3.0]
    assert ours.scale_[[0, 2]].tolist() == [1.0, 4.0]
    assert ours.warnings_ == ()
    oracle = make_pipeline(PolynomialFeatures(3), LinearRegression()).fit(two, Y)
    np.testing.assert_allclose(ours.predict(two), oracle.predict(two), atol=1e-8)


def encoded(n_samples: int = 900) -> tuple[EncodedDesign, np.ndarray, np.ndarray]:
    """Return the design of two texts and a number, it as a matrix, and a target."""
    rng = np.random.default_rng(2)
    first, second = rng.integers(0, 3, n_samples), rng.integers(0, 2, n_samples)
    number = rng.normal(size=n_samples)
    features = (
        Column("first", FeatureKind.CATEGORY, "text", first.astype(np.int32), ("a", "b", "c")),
        Column("number", FeatureKind.NUMBER, "double precision", number),
        Column("second", FeatureKind.CATEGORY, "text", second.astype(np.int32), ("x", "y")),
    )
    y = first * number - second + number**2 + rng.normal(size=n_samples)
    target = Column("target", FeatureKind.NUMBER, "double precision", y)
    dataset = Dataset(features, target, n_samples)
    preprocessor = Preprocessor(100)
    preprocessor.fit(dataset)
    design = EncodedDesign(dataset, preprocessor)
    matrix = np.empty((len(design.mean), n_samples))
    design.fill(0, n_samples, matrix)
    return design, np.ascontiguousarray(matrix.T), y


@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("degree", [1, 2, 3])
def test_one_hot_columns_are_no_trouble(degree: int, fit_intercept: bool) -> None:
    """Their products are solved without singular values, warnings or other predictions."""
    design, matrix, y = encoded()
    ours = PolynomialRegression(degree=degree, fit_intercept=fit_intercept).fit(design, y)
    features = PolynomialFeatures(degree, include_bias=False)
    oracle = make_pipeline(features, LinearRegression(fit_intercept=fit_intercept))
    oracle.fit(matrix, y)
    np.testing.assert_allclose(ours.predict(matrix), oracle.predict(matrix), atol=1e-8)
    assert ours.solver_ == "cholesky"
    assert (ours.warnings_, ours.notices_) == ((), ())
    assert all(
        sum(column in group for column, _ in powers) <= 1
        for powers, _ in ours.terms_
        for group in ({0, 1, 2}, {4, 5})
    )


def test_of_many_solutions_the_smallest_is_chosen() -> None:
    """With one-hot columns the coefficients are those of least norm among the terms."""
    design, matrix, y = encoded()
    ours = PolynomialRegression(degree=2).fit(design, y)
    z = (matrix - ours.centre_) / ours.scale_
    terms = np.column_stack(
        [np.prod([z[:, j] ** power for j, power in powers], axis=0) for powers, _ in ours.terms_]
    )
    centred = terms - terms.mean(axis=0)
    expected = np.linalg.pinv(centred, rcond=1e-10) @ (y - y.mean())
    np.testing.assert_allclose(ours.coef_, expected, atol=1e-9)


def test_constant_columns_take_no_part() -> None:
    """What does not vary is in no term; with nothing else the mean is predicted."""
    steady = np.column_stack([np.full(600, 0.1), X])
    ours = PolynomialRegression().fit(steady, Y)
    assert all(column > 0 for powers, _ in ours.terms_ for column, _ in powers)
    np.testing.assert_allclose(ours.coef_, PolynomialRegression().fit(X, Y).coef_, rtol=1e-9)
    for fit_intercept, value in ((True, Y.mean()), (False, 0.0)):
        for weight in (None, np.full(600, 2.0)):
            alone = PolynomialRegression(fit_intercept=fit_intercept)
            alone.fit(np.zeros((600, 2)), Y, sample_weight=weight)
            np.testing.assert_allclose(alone.predict(np.ones((3, 2))), value, atol=1e-12)


def test_one_row_predicts_itself() -> None:
    """With a single row every prediction is its target."""
    ours = PolynomialRegression().fit(np.array([[3.0, 4.0]]), np.array([7.0]))
    assert ours.predict(np.array([[100.0, -5.0]])).tolist() == [7.0]


def test_fewer_rows_than_terms_fit_exactly() -> None:
    """An underdetermined system goes through its rows, and says that it is one."""
    ours = PolynomialRegression(degree=3).fit(X[:20], Y[:20])
    np.testing.assert_allclose(ours.predict(X[:20]), Y[:20], atol=1e-7)
    assert len(ours.warnings_) == 1


def test_terms_say_what_is_predicted() -> None:
    """Terms, centre and scale give the value by hand."""
    ours = PolynomialRegression(degree=3).fit(X, Y)
    z = (X[7] - ours.centre_) / ours.scale_
    value = ours.intercept_ + sum(
        weight * np.prod([z[j] ** power for j, power in powers]) for powers, weight in ours.terms_
    )
    assert ours.predict(X[7:8])[0] == pytest.approx(value, rel=1e-12)


@given(
    st.lists(st.sampled_from(["number", "flag", "a", "b"]), min_size=1, max_size=7),
    st.integers(1, 5),
)
def test_monomials_are_counted_before_they_are_made(kinds: list[str], degree: int) -> None:
    """There are as many as by trying all products, each once, by degree and then in order."""
    groups = {"a": 0, "b": 1}
    factors = Factors(
        tuple(kind != "number" for kind in kinds),
        tuple(groups.get(kind, NO_GROUP) for kind in kinds),
    )

    def is_wanted(product: tuple[int, ...]) -> bool:
        singles = [kinds[j] for j in product if kinds[j] in groups]
        flags = [j for j in product if kinds[j] == "flag"]
        return len(set(singles)) == len(singles) and len(set(flags)) == len(flags)

    expected = [
        product
        for power in range(1, degree + 1)
        for product in combinations_with_replacement(range(len(kinds)), power)
        if is_wanted(product)
    ]
    assert list_monomials(factors, degree) == expected
    assert count_monomials(factors, degree) == len(expected)


def test_too_many_terms_are_refused() -> None:
    """A polynomial that would not fit is an error with its size, before it is made."""
    wide = np.random.default_rng(0).normal(size=(50, 30))
    with pytest.raises(TooLargeError) as caught:
        PolynomialRegression(degree=10).fit(wide, wide[:, 0])
    assert caught.value.sqlstate == "54000"
    assert str(caught.value) == "degree 10 over 30 columns would make 847,660,527 columns"


def test_a_thinned_design_has_every_step_th_row() -> None:
    """It is expanded alike, under the moments of all rows."""
    expansion = learn_expansion(
        MatrixDesign(X), degree=2, interaction_only=False, fit_intercept=True
    )
    whole = PolynomialDesign(MatrixDesign(X), expansion)
    thin = whole.every(7)
    out, every = np.empty((14, 86)), np.empty((14, 600))
    thin.fill(0, 86, out)
    whole.fill(0, 600, every)
    np.testing.assert_array_equal(out, every[:, ::7])
    np.testing.assert_array_equal(thin.scale, whole.scale)


WILD = np.array([1e308, -1e308, 1e154, 5e-324, 0.0, -1e30, 50.0])


@pytest.mark.parametrize("degree", [1, 2, 5, 10])
def test_a_row_scores_alike_in_any_batch_and_never_nan(degree: int) -> None:
    """Alone, in a batch or in halves of it: the same bits, however large the values."""
    predictor = PolynomialRegression(degree=degree).fit(X[:, :3], Y).predictor_
    rng = np.random.default_rng(degree)
    rows = np.vstack([X[:, :3], rng.choice(WILD, (400, 3))])
    whole = predictor.outputs(rows)
    assert not np.isnan(whole).any()
    alone = np.hstack([predictor.outputs(rows[i : i + 1]) for i in range(len(rows))])
    halves = np.hstack([predictor.outputs(rows[:333]), predictor.outputs(rows[333:])])
    np.testing.assert_array_equal(whole, alone)
    np.testing.assert_array_equal(whole, halves)
    assert predictor.outputs(rows[:0]).shape == (1, 0)


def test_outside_the_range_of_training_it_goes_on() -> None:
    """A million standard deviations away a parabola is still one."""
    x = np.linspace(-1.0, 1.0, 50)[:, None]
    ours = PolynomialRegression().fit(x, 3.0 * x[:, 0] ** 2)
    np.testing.assert_allclose(ours.predict(np.array([[1e6], [-1e100]])), [3e12, 3e200], rtol=1e-6)


@pytest.mark.parametrize("degree", [1, 3])
def test_the_stored_predictor_is_the_same(degree: int) -> None:
    """Arrays bring back what they were made of, and its values bit for bit."""
    flagged = np.column_stack([X, (Z[:, 0] > 0).astype(np.float64), np.ones(600)])
    predictor = PolynomialRegression(degree=degree).fit(flagged, Y).predictor_
    again = PolynomialPredictor.from_tensors(predictor.tensors(), n_features_in=6, n_classes=0)
    for name, array in predictor.tensors().items():
        np.testing.assert_array_equal(array, again.tensors()[name])
        assert array.dtype == again.tensors()[name].dtype
    np.testing.assert_array_equal(again.outputs(flagged), predictor.outputs(flagged))


def change(array: np.ndarray, place: int, value: float) -> np.ndarray:
    changed = array.copy()
    changed[place] = value
    return changed


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("columns", lambda a: change(a, -1, 4)),
        ("columns", lambda a: change(a, 0, -1)),
        ("columns", lambda a: a[::-1].copy()),
        ("columns", lambda a: a.astype(np.int32)),
        ("columns", lambda a: a[:-1]),
        ("centre", lambda a: change(a, 1, np.nan)),
        ("scale", lambda a: change(a, 1, 0.0)),
        ("scale", lambda a: a[:-1]),
        ("parent", lambda a: change(a, 6, 6)),
        ("parent", lambda a: change(a, 6, 7)),
        ("parent", lambda a: change(a, 6, -1)),
        ("parent", lambda a: change(a, 0, 0)),
        ("parent", lambda a: np.concatenate([a[:4], np.arange(3, len(a) - 1)])),
        ("column", lambda a: change(a, 6, 4)),
        ("column", lambda a: change(a, 6, -1)),
        ("column", lambda a: change(a, 1, 0)),
        ("column", lambda a: a[:-1]),
        ("coef", lambda a: change(a, 3, np.inf)),
        ("coef", lambda a: a[:3]),
        ("coef", lambda a: np.zeros(MOST_MONOMIALS + 1)),
        ("coef", lambda a: a.astype(np.float32)),
        ("intercept", lambda a: np.array([np.nan])),
        ("intercept", lambda a: np.zeros(2)),
    ],
)
def test_arrays_of_no_polynomial_are_refused(name: str, wrong) -> None:
    """Places outside, programs that read what is not there yet, numbers that are none."""
    tensors = PolynomialRegression().fit(X, Y).predictor_.tensors()
    with pytest.raises(ValueError):
        PolynomialPredictor.from_tensors(
            {**tensors, name: wrong(tensors[name])}, n_features_in=4, n_classes=0
        )
    with pytest.raises(ValueError):
        PolynomialPredictor.from_tensors(tensors, n_features_in=4, n_classes=2)
    del tensors[name]
    with pytest.raises(KeyError):
        PolynomialPredictor.from_tensors(tensors, n_features_in=4, n_classes=0)


def test_enormous_coefficients_give_no_nan() -> None:
    """Whatever numbers were stored, terms do not overflow against each other."""
    tensors = PolynomialRegression(degree=3).fit(X, Y).predictor_.tensors()
    tensors["coef"] = np.where(np.arange(len(tensors["coef"])) % 2, 1.7e308, -1.7e308)
    predictor = PolynomialPredictor.from_tensors(tensors, n_features_in=4, n_classes=0)
    rows = np.random.default_rng(3).choice(WILD, (200, 4))
    assert np.isfinite(predictor.outputs(rows)).all()
