"""Minimise a smooth convex function: Newton's method and L-BFGS; solve its linear systems.

Owns iteration, line search and stopping; with an L1 penalty, of OWL-QN, which is L-BFGS under it.
What is minimised is an `Objective`; `losses` has those of the engine. With an L1 penalty and a
Hessian, `coordinate_descent` does better.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from proxy.engine.arrays import IterationReport, Matrix, Vector, ignore_iteration

SUFFICIENT_DECREASE = 1e-4  # Nocedal & Wright (2006), section 3.1
CURVATURE = 0.9  # the same, for quasi-Newton steps
LONGEST_LINE_SEARCH = 40
LONGEST_STEP = 1e8  # of a log-odds in standard deviations, far beyond what data can ask for
LBFGS_MEMORY = 10
CAUTION = 1000.0  # the next step may be in a direction of greater curvature
WELL_CONDITIONED = 1e-10
SMALLEST_EIGENVALUE = 1e-13


@dataclass(frozen=True, slots=True)
class Evaluation:
    """An objective at a point: its value, gradient (p,) and, where asked for, Hessian (p, p)."""

    loss: float
    gradient: Vector
    hessian: Matrix | None = None


class Objective(Protocol):
    """A convex function of p parameters."""

    def evaluate(self, parameters: Vector, *, with_hessian: bool) -> Evaluation:
        """Return value and derivatives at `parameters`."""


@dataclass(frozen=True, slots=True)
class Solution:
    """Where an iteration ended.

    Attributes
    ----------
    loss : penalties among it
    gradient : of the smooth part, at `parameters`; None: next to nothing is left of it
    hessian : of the smooth part, there or one last short step before; None where none was made
    last_step : largest change of a parameter by the last step, which was not looked at; else 0
    """

    parameters: Vector
    loss: float
    n_iter: int
    converged: bool
    gradient: Vector | None = None
    hessian: Matrix | None = None
    last_step: float = 0.0


def minimise_newton(
    objective: Objective,
    start: Vector,
    *,
    tol: float,
    max_iterations: int,
    report: IterationReport = ignore_iteration,
) -> Solution:
    """Return the minimum by damped Newton steps.

    Ends when the largest element of the gradient is `tol` at most, or will be after the next step
    by a wide margin. The Hessian is known there, so that step is taken without looking.
    """
    parameters = start
    here = objective.evaluate(parameters, with_hessian=True)
    decrement = 0.0
    for n_iter in range(max_iterations):
        report(n_iter, here.loss)
        assert here.hessian is not None
        step = held_back(-solve_symmetric(here.hessian, here.gradient))
        before, decrement = decrement, -float(here.gradient @ step)
        largest = float(np.abs(here.gradient).max(initial=0.0))
        if largest <= tol or _is_last_step(largest, before, decrement, tol):
            longest = float(np.abs(step).max(initial=0.0))
            there = parameters + step
            return Solution(there, here.loss, n_iter, True, None, here.hessian, longest)
        moved = _halve_until_lower(objective, parameters, here, step)
        if moved is None:
            return Solution(parameters, here.loss, n_iter, False, here.gradient, here.hessian)
        parameters, here = moved
    converged = bool(np.abs(here.gradient).max(initial=0.0) <= tol)
    return Solution(parameters, here.loss, max_iterations, converged, here.gradient, here.hessian)


def held_back(step: Vector) -> Vector:
    """Return the step, or one in its direction whose squares are within float64.

    Where all probabilities are 0 or 1 a Hessian is next to nothing, and a step without end.
    """
    longest = float(np.abs(step).max(initial=0.0))
    return step if longest <= LONGEST_STEP else step * (LONGEST_STEP / longest)


def _is_last_step(gradient: float, before: float, decrement: float, tol: float) -> bool:
    """Say whether the gradient will be `tol` at most after the next step, by a wide margin.

    What a Newton step leaves of the gradient is as the square of the step's length. Decrements,
    g' H^-1 g, are such squares: the last step left this gradient, and the next one will leave less
    in proportion. Of damped steps, and far from the minimum, decrements fall too slowly to say so.

    Parameters
    ----------
    gradient : its largest element, here
    before, decrement : of the last step, 0 where there was none, and of the next
    """
    return decrement >= 0.0 and CAUTION * gradient * decrement <= tol * before


def _halve_until_lower(
    objective: Objective, parameters: Vector, here: Evaluation, step: Vector
) -> tuple[Vector, Evaluation] | None:
    """Return the first of the points step, step/2, step/4 ... that is low enough, or None."""
    slope = float(here.gradient @ step)
    slack = 16 * np.finfo(np.float64).eps * max(abs(here.loss), 1e-3)  # rounding near the minimum
    length = 1.0
    for _ in range(LONGEST_LINE_SEARCH):
        candidate = parameters + length * step
        there = objective.evaluate(candidate, with_hessian=True)
        if there.loss <= here.loss + SUFFICIENT_DECREASE * length * slope + slack:
            return candidate, there
        length *= 0.5
    return None


def solve_symmetric(A: Matrix, b: Vector) -> Vector:
    """Return x with A x = b, A (p, p) positive semi-definite; of many the one of least norm.

    Cholesky says whether A is safely positive definite; eigenvalues too small to trust are left out
    where it is not.
    """
    diagonal = np.sqrt(np.maximum(np.diagonal(A), 0.0))
    inverse = np.divide(1.0, diagonal, out=np.ones_like(diagonal), where=diagonal > 0)
    scaled = A * inverse[:, None] * inverse
    np.fill_diagonal(scaled, 1.0)  # exact, and makes an all-zero column solvable
    if is_well_conditioned(scaled, WELL_CONDITIONED):
        return np.asarray(inverse * np.linalg.solve(scaled, inverse * b))
    values, vectors = np.linalg.eigh(scaled)
    kept = values > SMALLEST_EIGENVALUE * len(b) * max(float(values[-1]), 1.0)
    basis = vectors[:, kept]
    return np.asarray(inverse * (basis @ ((basis.T @ (inverse * b)) / values[kept])))


def is_well_conditioned(A: Matrix, threshold: float) -> bool:
    """Say whether no pivot of the Cholesky factor of A, of unit diagonal, is below threshold."""
    try:
        factor = np.linalg.cholesky(A)
    except np.linalg.LinAlgError:
        return False
    return bool(np.square(np.diagonal(factor)).min(initial=1.0) >= threshold)


def minimise_lbfgs(
    objective: Objective,
    start: Vector,
    *,
    tol: float,
    max_iterations: int,
    report: IterationReport = ignore_iteration,
) -> Solution:
    """Return the minimum by limited-memory BFGS; for more parameters than a Hessian can have.

    References
    ----------
    Liu & Nocedal (1989), Mathematical Programming 45, 503-528.
    """
    parameters = start
    here = objective.evaluate(parameters, with_hessian=False)
    history: deque[tuple[Vector, Vector]] = deque(maxlen=LBFGS_MEMORY)
    for n_iter in range(max_iterations):
        report(n_iter, here.loss)
        if np.abs(here.gradient).max(initial=0.0) <= tol:
            return Solution(parameters, here.loss, n_iter, converged=True)
        direction = -_two_loop(here.gradient, history)
        moved = _search_weak_wolfe(objective, parameters, here, direction)
        if moved is None:
            if not history:
                return Solution(parameters, here.loss, n_iter, converged=False)
            history.clear()
            continue
        candidate, there = moved
        step, change = candidate - parameters, there.gradient - here.gradient
        if float(step @ change) > np.finfo(np.float64).eps * float(change @ change):
            history.append((step, change))
        parameters, here = candidate, there
    converged = bool(np.abs(here.gradient).max(initial=0.0) <= tol)
    return Solution(parameters, here.loss, max_iterations, converged)


def _two_loop(gradient: Vector, history: deque[tuple[Vector, Vector]]) -> Vector:
    """Return the inverse Hessian's estimate times the gradient: Nocedal & Wright, alg. 7.4."""
    q = gradient.copy()
    weights = []
    for step, change in reversed(history):
        weight = float(step @ q) / float(step @ change)
        q -= weight * change
        weights.append(weight)
    if history:
        step, change = history[-1]
        q *= float(step @ change) / float(change @ change)
    for (step, change), weight in zip(history, reversed(weights), strict=True):
        q += (weight - float(change @ q) / float(step @ change)) * step
    return q


def _search_weak_wolfe(
    objective: Objective, parameters: Vector, here: Evaluation, direction: Vector
) -> tuple[Vector, Evaluation] | None:
    """Return a point of sufficient decrease and curvature along a direction, by bisection.

    References
    ----------
    Lewis & Overton (2013), Mathematical Programming 141, 135-163, algorithm 4.6.
    """
    slope = float(here.gradient @ direction)
    slack = 4 * np.finfo(np.float64).eps * max(abs(here.loss), 1e-3)
    low, high, length = 0.0, np.inf, 1.0
    for _ in range(LONGEST_LINE_SEARCH):
        candidate = parameters + length * direction
        there = objective.evaluate(candidate, with_hessian=False)
        if there.loss > here.loss + SUFFICIENT_DECREASE * length * slope + slack:
            high = length
        elif float(there.gradient @ direction) < CURVATURE * slope:
            low = length
        else:
            return candidate, there
        length = 2.0 * low if np.isinf(high) else 0.5 * (low + high)
    return None


def minimise_owlqn(
    objective: Objective,
    l1: Vector,
    start: Vector,
    *,
    tol: float,
    max_iterations: int,
    report: IterationReport = ignore_iteration,
) -> Solution:
    """Return the minimum of a smooth convex function plus l1'|x|, without its Hessian.

    L-BFGS within the orthant that the point is in, or is about to enter; a coordinate that would
    leave it stays at 0.

    References
    ----------
    Andrew & Gao (2007), Proceedings of the 24th ICML, 33-40.
    """
    point = start
    here = objective.evaluate(point, with_hessian=False)
    history: deque[tuple[Vector, Vector]] = deque(maxlen=LBFGS_MEMORY)
    for n_iter in range(max_iterations):
        value = here.loss + float(l1 @ np.abs(point))
        report(n_iter, value)
        slope = pseudo_gradient(here.gradient, point, l1)
        if np.abs(slope).max(initial=0.0) <= tol:
            return Solution(point, value, n_iter, converged=True)
        direction = -_two_loop(slope, history)
        direction[direction * slope >= 0.0] = 0.0
        moved = _search_orthant(objective, l1, point, here, (slope, direction))
        if moved is None:
            if not history:
                return Solution(point, value, n_iter, converged=False)
            history.clear()
            continue
        candidate, there = moved
        step, change = candidate - point, there.gradient - here.gradient
        if float(step @ change) > np.finfo(np.float64).eps * float(change @ change):
            history.append((step, change))
        point, here = candidate, there
    value = here.loss + float(l1 @ np.abs(point))
    rest = float(np.abs(pseudo_gradient(here.gradient, point, l1)).max(initial=0.0))
    return Solution(point, value, max_iterations, rest <= tol)


def pseudo_gradient(gradient: Vector, point: Vector, l1: Vector) -> Vector:
    """Return the subgradient of least size of a function plus l1'|x|, given the function's own."""
    at_zero = np.sign(gradient) * np.maximum(np.abs(gradient) - l1, 0.0)
    return np.asarray(np.where(point == 0.0, at_zero, gradient + l1 * np.sign(point)))


def _search_orthant(
    objective: Objective,
    l1: Vector,
    point: Vector,
    here: Evaluation,
    way: tuple[Vector, Vector],
) -> tuple[Vector, Evaluation] | None:
    """Return the first low enough point of the direction, halved and halved again, or None.

    `way` is the pseudo-gradient and the direction.
    """
    slope, direction = way
    orthant = np.where(point == 0.0, -np.sign(slope), np.sign(point))
    value = here.loss + float(l1 @ np.abs(point))
    slack = 4 * np.finfo(np.float64).eps * max(abs(value), 1e-3)
    length = 1.0
    for _ in range(LONGEST_LINE_SEARCH):
        candidate = point + length * direction
        candidate[(candidate * orthant <= 0.0) & (l1 > 0.0)] = 0.0
        there = objective.evaluate(candidate, with_hessian=False)
        lowered = there.loss + float(l1 @ np.abs(candidate))
        gain = float(slope @ (candidate - point))
        if lowered <= value + SUFFICIENT_DECREASE * gain + slack:
            return candidate, there
        length *= 0.5
    return None
