"""Coordinate descent and the proximal Newton method, with subgradients as the oracle."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.engine.linear import coordinate_descent
from proxy.engine.linear.coordinate_descent import minimise_proximal_newton, minimise_quadratic
from proxy.engine.linear.solvers import Evaluation


def violation(A: np.ndarray, b: np.ndarray, l1: np.ndarray, point: np.ndarray) -> float:
    """Return how far from 0 the nearest subgradient of the quadratic and its penalty is."""
    gradient = A @ point - b
    at_zero = np.maximum(np.abs(gradient) - l1, 0.0)
    return float(np.where(point == 0.0, at_zero, np.abs(gradient + l1 * np.sign(point))).max())


@given(st.integers(1, 12), st.integers(1, 40), st.integers(0, 10_000), st.floats(-3.0, 1.0))
def test_a_zero_is_among_the_subgradients(
    size: int, n_rows: int, seed: int, exponent: float
) -> None:
    """Of any quadratic, definite or not, the point found is a minimum."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n_rows, size)) @ rng.normal(size=(size, size))
    A, b = X.T @ X, X.T @ rng.normal(size=n_rows)
    l1 = np.full(size, 10.0**exponent * np.abs(b).max())
    l1[rng.random(size) < 0.2] = 0.0
    tol = 1e-9 * max(float(np.abs(b).max()), 1e-300)
    found = minimise_quadratic(A, b, l1, rng.normal(size=size), tol=tol, most_sweeps=200_000)
    if found.converged:
        scale = np.abs(A).max() * max(1.0, np.abs(found.point).max())
        assert violation(A, b, l1, found.point) <= 2 * tol + 1e-12 * scale
    assert found.converged or np.linalg.cond(A) > 1e6


@pytest.mark.parametrize("start", [0.0, 3.0])
def test_a_coordinate_without_curvature_is_left_to_its_penalty(start: float) -> None:
    """A column of zeros has the coefficient 0, or without a penalty the one that it began with."""
    A, b = np.diag([2.0, 0.0, 0.0]), np.array([4.0, 0.0, 0.0])
    found = minimise_quadratic(A, b, np.array([1.0, 1.0, 0.0]), np.full(3, start), tol=1e-12)
    assert found.converged
    assert found.point.tolist() == [1.5, 0.0, start]


def test_too_few_sweeps_are_said() -> None:
    """Short of the tolerance, the minimum does not claim to be one."""
    rng = np.random.default_rng(0)
    first = rng.normal(size=50)
    X = np.column_stack([first, first])  # dependent: no linear system will finish it
    found = minimise_quadratic(
        X.T @ X, X.T @ first, np.array([1.0, 2.0]), np.array([-5.0, 9.0]), tol=0.0, most_sweeps=3
    )
    assert (found.n_sweeps, found.converged) == (3, False)


def test_long_descents_report(monkeypatch: pytest.MonkeyPatch) -> None:
    """Between stretches of sweeps the caller is told, with values that fall, and may raise."""
    rng = np.random.default_rng(1)
    X = rng.normal(size=(200, 30)) + 3.0 * rng.normal(size=(200, 1))
    A, b, l1 = X.T @ X, X.T @ rng.normal(size=200), np.full(30, 0.1)
    monkeypatch.setattr(coordinate_descent, "_finished", lambda *_: None)
    monkeypatch.setattr(coordinate_descent, "FIRST_SWEEPS", 1)
    values: list[float] = []
    minimise_quadratic(
        A, b, l1, np.zeros(30), tol=1e-8, report=lambda _, value: values.append(value)
    )
    assert len(values) > 2
    assert values == sorted(values, reverse=True)

    def interrupt(n_sweeps: int, value: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        minimise_quadratic(A, b, l1, np.zeros(30), tol=1e-8, report=interrupt)


class Quartic:
    """sum (x - i)^4 + (x - i)^2, far from quadratic."""

    def evaluate(self, parameters: np.ndarray, *, with_hessian: bool) -> Evaluation:
        d = parameters - np.arange(len(parameters))
        return Evaluation(float(np.sum(d**4 + d**2)), 4 * d**3 + 2 * d, np.diag(12 * d**2 + 2))


def test_proximal_newton_finds_the_minimum() -> None:
    """Under a penalty of 6 coordinates whose slope at 0 is less are 0, the others where it is 6."""
    found = minimise_proximal_newton(
        Quartic(), np.full(6, 6.0), np.full(6, -50.0), tol=1e-10, max_iterations=200
    )
    assert found.converged
    assert found.parameters[:2].tolist() == [0.0, 0.0]
    d = np.arange(2, 6) - found.parameters[2:]
    np.testing.assert_allclose(4 * d**3 + 2 * d, 6.0, rtol=1e-9)


def test_proximal_newton_says_that_it_ran_out() -> None:
    """A solution short of the tolerance does not claim to have converged."""
    found = minimise_proximal_newton(
        Quartic(), np.full(6, 6.0), np.full(6, -50.0), tol=1e-10, max_iterations=2
    )
    assert (found.n_iter, found.converged) == (2, False)


def test_losses_reported_fall() -> None:
    """Every step lowers the loss that is reported, penalty included."""
    losses: list[float] = []
    minimise_proximal_newton(
        Quartic(),
        np.full(3, 6.0),
        np.full(3, 50.0),
        tol=1e-10,
        max_iterations=99,
        report=lambda _, loss: losses.append(loss),
    )
    assert losses[0] == pytest.approx(sum((50 - i) ** 4 + (50 - i) ** 2 + 300 for i in range(3)))
    assert losses == sorted(losses, reverse=True)
