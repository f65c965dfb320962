"""Minimise under an L1 penalty: a quadratic, or any smooth convex function by way of quadratics.

Owns coordinate descent with its exact finish, and the proximal Newton method. The sweeps are in
`kernels.coordinate_descent`; smooth minimisers, and OWL-QN for more parameters than a Hessian can
have, in `solvers`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from proxy.engine.arrays import IterationReport, Matrix, Vector, ignore_iteration
from proxy.engine.linear.solvers import (
    LONGEST_LINE_SEARCH,
    SUFFICIENT_DECREASE,
    WELL_CONDITIONED,
    Evaluation,
    Objective,
    Solution,
    held_back,
    is_well_conditioned,
    pseudo_gradient,
)
from proxy.kernels.coordinate_descent import descend

FIRST_SWEEPS = 8
MOST_SWEEPS = 20_000
MODEL_SWEEPS = 1_000
LONGEST_STRETCH = 2_000_000_000  # products between two reports: about a second
MODEL_TOLERANCE = 0.01  # of the violation that the step is to remove
NO_CURVATURE = 1e-20  # of the largest: beyond the last digit of any product with it
EDGE = 1e-9  # how far beyond its penalty a gradient may be for rounding's sake

Centring: TypeAlias = Callable[[Vector], Vector]
"""Moves a point where the smooth function is flat, to where the penalty is least."""


@dataclass(frozen=True, slots=True)
class Minimum:
    """Where coordinate descent ended."""

    point: Vector
    n_sweeps: int
    converged: bool


def minimise_quadratic(
    A: Matrix,
    b: Vector,
    l1: Vector,
    start: Vector,
    *,
    tol: float,
    most_sweeps: int = MOST_SWEEPS,
    centre: Centring | None = None,
    report: IterationReport = ignore_iteration,
) -> Minimum:
    """Return the x, (p,), that minimises x'Ax/2 - b'x + l1'|x|.

    Sweeps over the coordinates find which of them are 0 and the signs of the others; a linear
    system then gives their values to the last digit, where its matrix allows it.

    Parameters
    ----------
    A : (p, p), symmetric, positive semi-definite, C-contiguous
    tol : how far from optimal a gradient may be where no linear system helps
    report : called after every stretch of sweeps with their number and the value

    References
    ----------
    Friedman, Hastie & Tibshirani (2010), Journal of Statistical Software 33(1), "covariance
    updates".
    """
    point, n_sweeps, stretch = start.copy(), 0, FIRST_SWEEPS
    least = NO_CURVATURE * float(np.diagonal(A).max(initial=0.0))
    longest = max(LONGEST_STRETCH // max(A.size, 1), FIRST_SWEEPS)
    while True:
        residual = b - A @ point
        stretch = min(stretch, longest, most_sweeps - n_sweeps)
        taken = descend(A, l1, point, residual, least, 0.1 * tol, stretch)
        n_sweeps += taken
        if centre is not None:
            point = centre(point)
        finished = _finished(A, b, l1, point)
        if finished is not None:
            return Minimum(finished, n_sweeps, converged=True)
        residual = b - A @ point
        violation = float(np.abs(pseudo_gradient(-residual, point, l1)).max(initial=0.0))
        if violation <= tol:
            return Minimum(point, n_sweeps, converged=True)
        is_at_rest = taken == 1 < stretch
        if n_sweeps >= most_sweeps or is_at_rest:
            return Minimum(point, n_sweeps, converged=violation <= len(b) * tol)
        value = -0.5 * float((residual + b) @ point) + float(l1 @ np.abs(point))
        report(n_sweeps, value)
        stretch *= 2


def _finished(A: Matrix, b: Vector, l1: Vector, point: Vector) -> Vector | None:
    """Return the minimum if it has the zeros and signs of `point`, else None."""
    sign = np.sign(point)
    is_active = (sign != 0.0) | ((l1 == 0.0) & (np.diagonal(A) > 0.0))
    places = np.flatnonzero(is_active)
    sub = A[np.ix_(places, places)]
    if (np.diagonal(sub) <= 0.0).any():
        return None
    inverse = 1.0 / np.sqrt(np.diagonal(sub))
    scaled = sub * inverse[:, None] * inverse
    if not is_well_conditioned(scaled, WELL_CONDITIONED):
        return None
    right = (b - l1 * sign)[places]
    found = np.zeros_like(point)
    found[places] = inverse * np.linalg.solve(scaled, inverse * right)
    is_kept = (np.sign(found) == sign) | (l1 == 0.0)
    residual = b - A @ found
    is_optimal = is_active | (np.abs(residual) <= l1 * (1.0 + EDGE))
    return found if bool((is_kept & is_optimal).all()) else None


def minimise_proximal_newton(
    objective: Objective,
    l1: Vector,
    start: Vector,
    *,
    tol: float,
    max_iterations: int,
    centre: Centring | None = None,
    report: IterationReport = ignore_iteration,
) -> Solution:
    """Return the minimum of a smooth convex function plus l1'|x|.

    Every step minimises the function's second-order model with the penalty itself, by coordinate
    descent, and is halved until it is low enough. Ends when no element of the subgradient of least
    size is beyond `tol`.

    References
    ----------
    Yuan, Ho & Lin (2012), Journal of Machine Learning Research 13, 1999-2030 ("newGLMNET").
    """
    point = start if centre is None else centre(start)
    here = objective.evaluate(point, with_hessian=True)
    for n_iter in range(max_iterations):
        value = here.loss + float(l1 @ np.abs(point))
        report(n_iter, value)
        violation = float(np.abs(pseudo_gradient(here.gradient, point, l1)).max(initial=0.0))
        if violation <= tol:
            return Solution(point, value, n_iter, True, here.gradient, here.hessian)
        assert here.hessian is not None
        model = minimise_quadratic(
            here.hessian,
            here.hessian @ point - here.gradient,
            l1,
            point,
            tol=MODEL_TOLERANCE * violation,
            most_sweeps=MODEL_SWEEPS,
            centre=centre,
        )
        step = held_back(model.point - point)
        moved = _halve_until_lower(objective, l1, point, here, step) if step.any() else None
        if moved is None:
            return Solution(point, value, n_iter, False, here.gradient, here.hessian)
        point, here = moved
    value = here.loss + float(l1 @ np.abs(point))
    converged = bool(np.abs(pseudo_gradient(here.gradient, point, l1)).max(initial=0.0) <= tol)
    return Solution(point, value, max_iterations, converged, here.gradient, here.hessian)


def _halve_until_lower(
    objective: Objective, l1: Vector, point: Vector, here: Evaluation, step: Vector
) -> tuple[Vector, Evaluation] | None:
    """Return the first of the points step, step/2, step/4 ... that is low enough, or None."""
    value = here.loss + float(l1 @ np.abs(point))
    slope = float(here.gradient @ step + l1 @ (np.abs(point + step) - np.abs(point)))
    slack = 16 * np.finfo(np.float64).eps * max(abs(value), 1e-3)  # rounding near the minimum
    length = 1.0
    for _ in range(LONGEST_LINE_SEARCH):
        candidate = point + length * step
        there = objective.evaluate(candidate, with_hessian=True)
        lowered = there.loss + float(l1 @ np.abs(candidate))
        if lowered <= value + SUFFICIENT_DECREASE * length * min(slope, 0.0) + slack:
            return candidate, there
        length *= 0.5
    return None
