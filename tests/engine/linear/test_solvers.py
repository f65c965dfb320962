"""Newton, L-BFGS and the linear systems under them, on functions with a known answer."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.engine.linear.losses import BinaryLogLoss, MultinomialLogLoss
from proxy.engine.linear.solvers import (
    Evaluation,
    Objective,
    minimise_lbfgs,
    minimise_newton,
    minimise_owlqn,
    solve_symmetric,
)
from proxy.engine.preparation import design
from proxy.engine.preparation.design import MatrixDesign, StandardisedDesign


class Quartic:
    """sum (x - i)^4 + (x - i)^2: convex, minimum at 0, 1, 2 ..., far from quadratic."""

    def evaluate(self, parameters: np.ndarray, *, with_hessian: bool) -> Evaluation:
        d = parameters - np.arange(len(parameters))
        hessian = np.diag(12 * d**2 + 2) if with_hessian else None
        return Evaluation(float(np.sum(d**4 + d**2)), 4 * d**3 + 2 * d, hessian)


class Counted:
    """An objective that keeps the points it is asked about."""

    def __init__(self, function: Objective) -> None:
        self.function = function
        self.seen: list[np.ndarray] = []

    def evaluate(self, parameters: np.ndarray, *, with_hessian: bool) -> Evaluation:
        self.seen.append(parameters)
        return self.function.evaluate(parameters, with_hessian=with_hessian)


@pytest.mark.parametrize("minimise", [minimise_newton, minimise_lbfgs])
def test_the_minimum_is_found(minimise) -> None:
    """Both solvers reach the known minimum from far away."""
    solution = minimise(Quartic(), np.full(6, 50.0), tol=1e-10, max_iterations=200)
    assert solution.converged
    np.testing.assert_allclose(solution.parameters, np.arange(6), atol=1e-9)


@pytest.mark.parametrize("tol", [1e-8, 1e-9, 1e-11])
def test_the_last_step_is_taken_where_it_is_enough(tol: float) -> None:
    """Newton ends without looking where the step leaves a gradient below the tolerance."""
    counted = Counted(Quartic())
    solution = minimise_newton(counted, np.full(6, 50.0), tol=tol, max_iterations=200)
    last = counted.function.evaluate(counted.seen[-1], with_hessian=False).gradient
    there = counted.function.evaluate(solution.parameters, with_hessian=False).gradient
    assert np.abs(last).max() > tol >= np.abs(there).max()
    assert len(counted.seen) == solution.n_iter + 1


@given(st.integers(2, 4), st.integers(0, 10_000), st.floats(-4.0, 2.0))
def test_the_gradient_at_the_answer_is_the_tolerance_at_most(
    n_classes: int, seed: int, exponent: float
) -> None:
    """Whether the last step was looked at or not, on nearly dependent columns too."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(60, 3))
    X[:, 1] = X[:, 0] + 10.0 ** rng.uniform(-3, 0) * X[:, 1]
    codes = np.arange(60) % n_classes
    standardised = StandardisedDesign(MatrixDesign(X), fit_intercept=True)
    penalty = np.array([*[10.0**exponent] * 3, 0.0])
    objective: Objective
    if n_classes == 2:
        objective, size = BinaryLogLoss(standardised, codes, None, penalty), 4
    else:
        objective = MultinomialLogLoss(standardised, codes, n_classes, None, penalty)
        size = 4 * n_classes
    solution = minimise_newton(objective, np.zeros(size), tol=1e-8, max_iterations=100)
    there = objective.evaluate(solution.parameters, with_hessian=False)
    assert solution.converged
    assert np.abs(there.gradient).max() <= 1e-8


@pytest.mark.parametrize("minimise", [minimise_newton, minimise_lbfgs])
def test_running_out_of_iterations_is_said(minimise) -> None:
    """A solution short of the tolerance does not claim to have converged."""
    solution = minimise(Quartic(), np.full(6, 50.0), tol=1e-10, max_iterations=2)
    assert (solution.converged, solution.n_iter) == (False, 2)


@pytest.mark.parametrize("minimise", [minimise_newton, minimise_lbfgs])
def test_a_report_that_raises_ends_the_fit(minimise) -> None:
    """Cancelling travels through the solver as the exception it is."""

    def report(iterations_done: int, loss: float) -> None:
        if iterations_done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        minimise(Quartic(), np.full(6, 50.0), tol=1e-10, max_iterations=99, report=report)


def test_losses_reported_fall() -> None:
    """Every Newton step lowers the loss that is reported."""
    losses: list[float] = []
    minimise_newton(
        Quartic(),
        np.full(3, 50.0),
        tol=1e-10,
        max_iterations=99,
        report=lambda _, loss: losses.append(loss),
    )
    assert losses == sorted(losses, reverse=True)


@given(st.integers(1, 6), st.integers(0, 6), st.integers(0, 10_000))
def test_singular_systems_are_solved(size: int, rank: int, seed: int) -> None:
    """Any consistent semi-definite system, singular or badly scaled, is solved."""
    rng = np.random.default_rng(seed)
    root = rng.normal(size=(size, min(rank, size)))
    units = 10.0 ** rng.integers(-3, 4, size)
    A = (root @ root.T) * units[:, None] * units
    b = A @ (rng.normal(size=size) / units)
    x = solve_symmetric(A, b)
    np.testing.assert_allclose((A @ x) / units, b / units, atol=1e-6 * max(1, abs(b / units).max()))


def losses(seed: int, n_classes: int, weighted: bool) -> tuple[Objective, int]:
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(50, 3)) * [1.0, 10.0, 0.1]
    codes = np.arange(50) % n_classes
    weight = rng.uniform(0.5, 2.0, 50) if weighted else None
    standardised = StandardisedDesign(MatrixDesign(X), fit_intercept=True)
    penalty = np.array([0.3, 2.0, 0.1, 0.0])
    if n_classes == 2:
        return BinaryLogLoss(standardised, codes, weight, penalty), 4
    return MultinomialLogLoss(standardised, codes, n_classes, weight, penalty), 4 * n_classes


@pytest.mark.parametrize("block_rows", [17, 50])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("n_classes", [2, 3, 5])
def test_derivatives_are_those_of_the_loss(
    n_classes: int, weighted: bool, block_rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Gradient and Hessian agree with differences of the loss and of the gradient."""
    monkeypatch.setattr(design, "rows_per_block", lambda n_floats: block_rows)
    objective, size = losses(n_classes, n_classes, weighted)
    point = np.random.default_rng(1).normal(size=size)
    if n_classes > 2:  # where every step of the solver stays: centred over the classes
        point -= np.tile(point.reshape(n_classes, 4).mean(axis=0), n_classes)
    here = objective.evaluate(point, with_hessian=True)
    step = 1e-5
    for i in range(size):
        forward, backward = point.copy(), point.copy()
        forward[i] += step
        backward[i] -= step
        up = objective.evaluate(forward, with_hessian=False)
        down = objective.evaluate(backward, with_hessian=False)
        assert (up.loss - down.loss) / (2 * step) == pytest.approx(here.gradient[i], abs=1e-8)
        column = (up.gradient - down.gradient) / (2 * step)
        # The Hessian is exact off the flat direction: compare its action on centred vectors.
        error = here.hessian[:, i] - column
        if n_classes > 2:
            error = error.reshape(n_classes, 4) - error.reshape(n_classes, 4).mean(axis=0)
        np.testing.assert_allclose(error, 0.0, atol=1e-8)


def test_log_loss_of_enormous_scores_is_finite() -> None:
    """Neither value nor derivatives overflow where probabilities are 0 and 1."""
    objective, size = losses(0, 2, weighted=False)
    there = objective.evaluate(np.full(size, 1e6), with_hessian=True)
    assert np.isfinite(there.loss)
    assert np.isfinite(there.gradient).all()
    assert np.isfinite(there.hessian).all()


def test_owlqn_finds_the_minimum() -> None:
    """Under a penalty of 6, coordinates whose slope at 0 is less are 0, others where it is 6."""
    found = minimise_owlqn(
        Quartic(), np.full(6, 6.0), np.full(6, -50.0), tol=1e-10, max_iterations=500
    )
    assert found.converged
    assert found.parameters[:2].tolist() == [0.0, 0.0]
    d = np.arange(2, 6) - found.parameters[2:]
    np.testing.assert_allclose(4 * d**3 + 2 * d, 6.0, rtol=1e-9)


def test_owlqn_without_a_penalty_is_lbfgs() -> None:
    """Coordinates with a penalty of 0 go through 0 freely."""
    found = minimise_owlqn(Quartic(), np.zeros(6), np.full(6, -50.0), tol=1e-10, max_iterations=500)
    assert found.converged
    np.testing.assert_allclose(found.parameters, np.arange(6), atol=1e-9)


def test_owlqn_says_that_it_ran_out() -> None:
    """A solution short of the tolerance does not claim to have converged."""
    found = minimise_owlqn(
        Quartic(), np.full(6, 6.0), np.full(6, -50.0), tol=1e-10, max_iterations=2
    )
    assert (found.n_iter, found.converged) == (2, False)


def test_newton_keeps_its_last_hessian() -> None:
    """The solution carries the curvature at the minimum, to within its last short step."""
    solution = minimise_newton(Quartic(), np.full(3, 50.0), tol=1e-10, max_iterations=99)
    np.testing.assert_allclose(solution.hessian, 2.0 * np.eye(3), atol=1e-6)
    assert 0.0 < solution.last_step < 1e-3
