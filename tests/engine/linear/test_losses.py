"""The terms and products that the losses are made of; their derivatives are in `test_solvers`."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.engine.linear import losses
from proxy.engine.linear.solvers import Evaluation


@given(st.lists(st.floats(-1e300, 1e300) | st.floats(-50.0, 50.0), min_size=1, max_size=20))
def test_terms_of_any_score_are_exact(values: list[float]) -> None:
    """Loss and derivatives keep their digits where probabilities are near 0 or 1."""
    argument = np.array(values)
    loss, first, second = np.empty((3, len(values)))
    losses._binary_terms(argument, loss, first, second)
    np.testing.assert_allclose(loss, np.logaddexp(0.0, argument), rtol=1e-14)
    decay = np.exp(-np.abs(argument).astype(np.longdouble))
    wrong = np.where(argument >= 0, 1.0, decay) / (1.0 + decay)
    np.testing.assert_allclose(first, wrong.astype(np.float64), rtol=1e-14, atol=1e-300)
    curvature = decay / (1.0 + decay) ** 2
    np.testing.assert_allclose(second, curvature.astype(np.float64), rtol=1e-14, atol=1e-300)


@pytest.mark.parametrize("n_rows", [1, 11, losses.NARROW, losses.NARROW + 1])
@pytest.mark.parametrize("width", [1, 511, 512, 513, 2000])
def test_products_in_pieces_are_those_of_the_whole(n_rows: int, width: int) -> None:
    """Narrow or wide, short or long, with a rest or without."""
    rng = np.random.default_rng(width)
    block, weight = rng.normal(size=(n_rows, width)), rng.uniform(size=width)
    out = np.empty((n_rows, n_rows))
    before = block.copy()
    losses._weighted_gram(block, weight, np.empty_like(block), out)
    np.testing.assert_allclose(out, (block * weight) @ block.T, atol=1e-11)
    np.testing.assert_array_equal(block, before)


class Parabola:
    """sum x^2."""

    def evaluate(self, parameters: np.ndarray, *, with_hessian: bool) -> Evaluation:
        hessian = 2.0 * np.eye(len(parameters)) if with_hessian else None
        return Evaluation(float(parameters @ parameters), 2.0 * parameters, hessian)


@pytest.mark.parametrize("with_hessian", [True, False])
def test_earlier_rows_add_their_quadratic(with_hessian: bool) -> None:
    """Value, gradient and Hessian have those of slope'd + d'Hd/2 added."""
    point, slope = np.array([1.0, 2.0]), np.array([0.5, -1.0])
    H = np.array([[2.0, 1.0], [1.0, 3.0]])
    there = losses.Remembering(Parabola(), point, slope, H).evaluate(
        np.array([2.0, 4.0]), with_hessian=with_hessian
    )
    d = np.array([1.0, 2.0])
    assert there.loss == 20.0 + (0.5 - 2.0) + 0.5 * d @ H @ d
    assert there.gradient.tolist() == [4.0 + 0.5 + 4.0, 8.0 - 1.0 + 7.0]
    assert (there.hessian is not None) == with_hessian
    if with_hessian:
        assert there.hessian.tolist() == [[4.0, 1.0], [1.0, 5.0]]
