"""Target coding: the shrunken means by hand, and the folds that hide a row's own target."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LinearRegression

from proxy.engine.columns import Column, Dataset, FeatureKind
from proxy.engine.preparation.design import EncodedDesign
from proxy.engine.preparation.encoders import CategorySummary, TargetEncoder
from proxy.engine.preparation.preprocessing import Preparation, Preprocessor
from proxy.engine.preparation.target_coding import (
    N_FOLDS,
    TargetMatrix,
    folds_of,
    learn_target_codes,
)
from tests.engine.estimator_checks import fit


def learn(codes: list[int], y: list[float], names: tuple[str, ...]):
    values = np.array(codes, np.int32)
    summary = CategorySummary.of(names, [values])
    rows = np.arange(len(values))
    return learn_target_codes(summary, values, rows, TargetMatrix.of_values(np.array(y)))


def test_a_code_is_the_mean_shrunk_by_within_over_between() -> None:
    """Buhlmann's formula on six rows, worked out by hand."""
    encoder, _ = learn([0, 0, 0, 1, 1, 1], [1.0, 2.0, 3.0, 7.0, 8.0, 9.0], ("a", "b"))
    within = (2.0 + 2.0) / (6 - 2)  # squares about the categories' means, 2 and 8
    between = 3.0**2  # of the means about 5
    weight = max(within / between, 1.0)
    expected = [(6 + weight * 5) / (3 + weight), (24 + weight * 5) / (3 + weight), 5.0, 5.0]
    np.testing.assert_allclose(encoder.values[:, 0], expected)


def test_null_has_a_code_and_other_categories_have_the_mean() -> None:
    """NULL is coded by its own rows, a category never seen by all."""
    encoder, _ = learn([0, 0, -1, -1, -1, -1], [0.0, 0.0, 9.0, 9.0, 9.0, 9.0], ("a",))
    other, null = encoder.values[-2:, 0]
    assert other == pytest.approx(6.0)
    assert null == pytest.approx((36 + 6.0) / (4 + 1))
    out = np.empty((1, 3))
    encoder.encode(np.array([np.nan, 0.0, 1.0]), out)
    assert out[0].tolist() == [null, encoder.values[0, 0], other]


def test_a_training_row_is_coded_without_its_own_target() -> None:
    """Changing a row's target leaves the codes of its own fold as they were."""
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 3, 40).tolist()
    # Means so far apart that a row more or less does not change what they are believed.
    y = rng.normal(size=40) + 1000.0 * np.array(codes)
    _, before = learn(codes, y.tolist(), ("a", "b", "c"))
    y[7] += 0.5
    _, after = learn(codes, y.tolist(), ("a", "b", "c"))
    fold = folds_of(np.array([7]))[0]
    np.testing.assert_allclose(before.values[fold], after.values[fold])
    assert not np.allclose(before.values[(fold + 1) % N_FOLDS], after.values[(fold + 1) % N_FOLDS])


def test_moments_are_those_of_the_rows_as_they_are_coded() -> None:
    """Mean and deviation of the design's column agree with the column itself."""
    rng = np.random.default_rng(1)
    names = tuple(f"c{k}" for k in range(40))
    codes = rng.integers(-1, 40, 500).astype(np.int32)
    y = rng.normal(size=500) + codes
    column = Column("c", FeatureKind.CATEGORY, "text", codes, names)
    dataset = Dataset((column,), None, 500)
    preprocessor = Preprocessor(10).fit(dataset, target=TargetMatrix.of_values(y))
    assert isinstance(preprocessor.encoders_[0], TargetEncoder)
    design = EncodedDesign(dataset, preprocessor)
    out = np.empty((1, 500))
    design.fill(0, 500, out)
    np.testing.assert_allclose(design.mean, out.mean(axis=1))
    np.testing.assert_allclose(design.scale, out.std(axis=1))
    some = np.array([3, 77, 78, 400])
    part = np.empty((1, 4))
    EncodedDesign(dataset, preprocessor, some).fill(0, 4, part)
    np.testing.assert_array_equal(part[0], out[0, some])


def test_noise_of_many_categories_is_not_learned() -> None:
    """A key of 400 values over 800 rows of noise: one-hot coding overfits, the folds do not."""
    rng = np.random.default_rng(2)
    n = 800
    codes = rng.permutation(np.repeat(np.arange(400), 2)).astype(np.int32)
    signal = rng.normal(size=n)
    y = signal + rng.normal(size=n)
    names = tuple(f"k{k:03d}" for k in range(400))
    features = (
        Column("key", FeatureKind.CATEGORY, "text", codes, names),
        Column("x", FeatureKind.NUMBER, "double precision", signal),
    )
    target = Column("y", FeatureKind.NUMBER, "double precision", y)
    result = fit("linear_regression", Dataset(features, target, n), test_size=0.25)
    alone = LinearRegression().fit(signal[:600, None], y[:600])
    assert result.metrics["r2"] > alone.score(signal[600:, None], y[600:]) - 0.1


def test_categories_that_matter_are_learned() -> None:
    """150 categories with means of their own explain what is not noise."""
    rng = np.random.default_rng(3)
    n = 6000
    codes = rng.integers(0, 150, n).astype(np.int32)
    means = rng.normal(size=150)
    names = tuple(f"k{k:03d}" for k in range(150))
    target = Column("y", FeatureKind.NUMBER, "double precision", means[codes] + rng.normal(size=n))
    column = Column("key", FeatureKind.CATEGORY, "text", codes, names)
    result = fit("linear_regression", Dataset((column,), target, n))
    assert result.metrics["r2"] > 0.45  # half of the variance is the means'
    assert result.model.describe()[1].term == "target mean"


def test_of_several_classes_each_has_a_column() -> None:
    """A classifier with three classes gets three shares, with two classes one."""
    rng = np.random.default_rng(4)
    codes = rng.integers(0, 30, 300).astype(np.int32)
    names = tuple(f"k{k:02d}" for k in range(30))
    dataset = Dataset((Column("key", FeatureKind.CATEGORY, "text", codes, names),), None, 300)
    trees = Preparation(imputes=False, most_one_hot=8)
    for n_classes, n_columns in ((2, 1), (3, 3)):
        target = TargetMatrix.of_classes(rng.integers(0, n_classes, 300))
        preprocessor = Preprocessor(100, trees).fit(dataset, target=target)
        assert preprocessor.n_design_ == n_columns
    assert TargetMatrix.of_classes(np.arange(50)) is None
