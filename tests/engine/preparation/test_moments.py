"""Weighted moments, with numpy on repeated rows as the oracle."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.engine.preparation import design as blocks
from proxy.engine.preparation.design import MatrixDesign
from proxy.engine.preparation.moments import ReframedDesign, measure
from proxy.errors import NoTrainingRowsError
from tests.engine.maps import backwards


@given(st.integers(1, 60), st.integers(1, 9), st.integers(0, 10_000))
def test_moments_are_those_of_repeated_rows(n_rows: int, block_rows: int, seed: int) -> None:
    """Whatever the blocks, mean and deviation are numpy's, with each row as often as it weighs."""
    rng = np.random.default_rng(seed)
    units = np.array([1.0, 1e100, 1e-100])
    X = rng.normal(size=(n_rows, 3)) * units + [1e6, 0.0, 0.0]
    weight = rng.integers(0, 4, n_rows).astype(np.float64)
    weight[0] = 1.0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blocks, "SMALLEST_BLOCK_ROWS", block_rows)
        patch.setattr(blocks, "BLOCK_SIZE_BYTES", 1)
        found = measure(MatrixDesign(X), weight)
        shuffled = measure(MatrixDesign(X), weight, backwards)
    repeated = np.repeat(X, weight.astype(int), axis=0)
    assert found.weight == weight.sum()
    # A mean near 0 is the rest of values that cancel: it is as exact as they are.
    mean = repeated.mean(axis=0) / units
    np.testing.assert_allclose(found.mean / units, mean, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(found.scale, repeated.std(axis=0), rtol=1e-8, atol=1e-110)
    np.testing.assert_array_equal(found.scale, shuffled.scale)


def test_the_rounding_of_a_constant_is_no_scatter(monkeypatch: pytest.MonkeyPatch) -> None:
    """A column that is 0.1 in every row that counts has the deviation 0."""
    monkeypatch.setattr(blocks, "SMALLEST_BLOCK_ROWS", 7)
    monkeypatch.setattr(blocks, "BLOCK_SIZE_BYTES", 1)
    weight = np.random.default_rng(0).exponential(size=1000)
    weight[::3] = 0.0
    X = np.where(weight[:, None] > 0, 0.1, 5.0)
    assert measure(MatrixDesign(X), weight).scale.tolist() == [0.0]


def test_weights_of_nothing_have_no_moments() -> None:
    """Where no row counts there is nothing to measure."""
    with pytest.raises(NoTrainingRowsError):
        measure(MatrixDesign(np.ones((4, 1))), np.zeros(4))


def test_rows_that_do_not_count_read_as_the_mean() -> None:
    """A reframed design hides what rows of weight 0 hold, in every thinning of it."""
    X = np.array([[1.0, 2.0], [1e150, -1e150], [3.0, 6.0], [9e149, 0.0]])
    weight = np.array([1.0, 0.0, 1.0, 0.0])
    design = MatrixDesign(X)
    seen = ReframedDesign(design, measure(design, weight), weight)
    out = np.empty((2, 3))
    seen.fill(1, 4, out)
    assert out.T.tolist() == [[2.0, 4.0], [3.0, 6.0], [2.0, 4.0]]
    thin = seen.every(3)
    out = np.empty((2, 2))
    thin.fill(0, 2, out)
    assert thin.n_samples == 2
    assert out.T.tolist() == [[1.0, 2.0], [2.0, 4.0]]
