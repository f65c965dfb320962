"""How much features matter, against scikit-learn's permutation importance."""

from __future__ import annotations

import numpy as np
from sklearn.inspection import permutation_importance
from sklearn.linear_model import LinearRegression

from proxy.engine.columns import Column, Dataset, FeatureKind, InputFeature
from proxy.engine.importance import importances
from proxy.engine.model_selection import split_rows
from proxy.engine.preparation.encoders import CategoryEncoder, DroppedEncoder, NumberEncoder
from proxy.engine.preparation.preprocessing import Preprocessor
from tests.engine.estimator_checks import fit

RNG = np.random.default_rng(0)


def test_permutation_is_scikit_learns() -> None:
    """On the same held-out rows the same losses, up to which way they are shuffled."""
    X = RNG.normal(size=(4000, 3))
    y = 3.0 * X[:, 0] + X[:, 1] + RNG.normal(size=4000)
    features = tuple(
        Column(f"x{j}", FeatureKind.NUMBER, "double precision", np.ascontiguousarray(X[:, j]))
        for j in range(3)
    )
    target = Column("y", FeatureKind.NUMBER, "double precision", y)
    result = fit("linear_regression", Dataset(features, target, 4000), test_size=0.5)
    split = split_rows(4000, 0.5, 0)
    theirs = LinearRegression().fit(X[split.train], y[split.train])
    expected = permutation_importance(
        theirs, X[split.holdout], y[split.holdout], n_repeats=20, random_state=0
    )
    found = [importance.permutation for importance in result.importances]
    np.testing.assert_allclose(
        found, expected.importances_mean, atol=6 * expected.importances_std.max()
    )
    assert [importance.feature for importance in result.importances] == ["x0", "x1", "x2"]
    assert all(importance.impurity is None for importance in result.importances)


def test_shares_of_columns_add_up_by_feature() -> None:
    """A category's columns and an array's elements count for their feature; a dropped one has 0."""
    preprocessor = Preprocessor()
    preprocessor.features_ = (
        InputFeature("a", FeatureKind.NUMBER, "integer"),
        InputFeature("c", FeatureKind.CATEGORY, "text", 1, ("u", "v")),
        InputFeature("gone", FeatureKind.NUMBER, "integer"),
        InputFeature("v", FeatureKind.ARRAY, "integer[]", 2),
    )
    number = NumberEncoder(0.0, 0.0, 1.0, has_indicator=False)
    category = CategoryEncoder(("u", "v"), has_infrequent=False, has_indicator=True)
    preprocessor.encoders_ = (number, category, DroppedEncoder(), number, number)
    shares = np.array([0.1, 0.05, 0.05, 0.1, 0.3, 0.4])
    found = importances(preprocessor, shares, None)
    np.testing.assert_allclose([i.impurity for i in found], [0.1, 0.2, 0.0, 0.7])
    assert importances(preprocessor, None, None) == ()


def test_without_held_out_rows_there_is_no_permutation() -> None:
    """Nothing is measured on rows that the model has learned from."""
    X = RNG.normal(size=50)
    column = Column("x", FeatureKind.NUMBER, "double precision", X)
    target = Column("y", FeatureKind.NUMBER, "double precision", X + 1.0)
    assert fit("linear_regression", Dataset((column,), target, 50), test_size=0).importances == ()
