"""Logistic regression as something to minimise: rows, weights, penalties, standardised columns.

Owns the objective per unit of weight, the choice of solver for it, and the quadratic that stands
for rows of an earlier fit. The functions are in `losses`, the iterations in `solvers` and
`coordinate_descent`; coefficients of raw columns are `logistic`'s.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from proxy.engine.arrays import Codes, IterationReport, Matrix, Vector, ignore_iteration
from proxy.engine.linear.coordinate_descent import minimise_proximal_newton
from proxy.engine.linear.losses import BinaryLogLoss, MultinomialLogLoss, Remembering, Rescaled
from proxy.engine.linear.remembered import Curvature
from proxy.engine.linear.row_weights import RowWeights
from proxy.engine.linear.solvers import (
    Objective,
    Solution,
    minimise_lbfgs,
    minimise_newton,
    minimise_owlqn,
)
from proxy.engine.preparation.design import StandardisedDesign
from proxy.engine.preparation.moments import Moments
from proxy.errors import NoTrainingRowsError

LARGEST_PENALTY = 1e290
LARGEST_HESSIAN = 600


@dataclass(frozen=True, slots=True)
class Penalties:
    """On coefficients of raw columns: l2/2 ||w||^2 + l1 ||w||_1."""

    l2: float
    l1: float


@dataclass(frozen=True, slots=True)
class Stopping:
    """When to end: the largest element of the gradient per unit of weight, and the iterations."""

    tol: float
    max_iterations: int


@dataclass(frozen=True, slots=True)
class Earlier:
    """Rows of an earlier fit: their loss's curvature at its parameters, standardised as here."""

    point: Vector
    curvature: Curvature


class LogisticProblem:
    """One problem. Its loss is divided by the weights' total, so that a tolerance means the same.

    Parameters
    ----------
    weight : of each row, or None for ones
    earlier : of what has been learned before; None without
    """

    def __init__(
        self,
        standardised: StandardisedDesign,
        codes: Codes,
        n_classes: int,
        weight: RowWeights | None,
        penalties: Penalties,
        *,
        earlier: Earlier | None = None,
    ) -> None:
        self.standardised = standardised
        self.codes = codes
        self.n_classes = n_classes
        self.n_outputs = 1 if n_classes == 2 else n_classes
        self.n_parameters = self.n_outputs * standardised.n_parameters
        self.weight = weight
        self.penalties = penalties
        self.earlier = earlier
        self.mean_weight = 1.0 if weight is None else weight.mean()
        if self.mean_weight == 0.0:
            raise NoTrainingRowsError("no row has a positive weight")
        self.total = self.mean_weight * standardised.n_samples

    def every(self, step: int) -> LogisticProblem:
        """Return the problem of every step-th row, with as much less of a penalty."""
        return LogisticProblem(
            self.standardised.every(step),
            self.codes[::step],
            self.n_classes,
            None if self.weight is None else self.weight.every(step),
            Penalties(self.penalties.l2 / step, self.penalties.l1 / step),
        )

    def l2(self) -> Vector:
        """Return (columns, and intercept,), the penalty on squares per unit of mean weight."""
        standardised = self.standardised
        penalty = np.zeros(standardised.n_parameters)
        with np.errstate(over="ignore"):
            raw = self.penalties.l2 / self.mean_weight * np.square(standardised.inverse_scale)
        penalty[: standardised.n_columns] = np.minimum(raw, LARGEST_PENALTY)
        return penalty

    def l1(self) -> Vector:
        """Return (columns, and intercept,), the penalty on absolute values per unit of weight."""
        standardised = self.standardised
        penalty = np.zeros(standardised.n_parameters)
        raw = self.penalties.l1 / self.total * standardised.inverse_scale
        penalty[: standardised.n_columns] = np.minimum(raw, LARGEST_PENALTY)
        return penalty

    def loss(self) -> BinaryLogLoss | MultinomialLogLoss:
        """Return the smooth part of what is minimised, of these rows."""
        weight = None if self.weight is None else self.weight.per(self.mean_weight)
        if self.n_classes == 2:
            return BinaryLogLoss(self.standardised, self.codes, weight, self.l2())
        is_centred = self.l1() == 0.0
        return MultinomialLogLoss(
            self.standardised, self.codes, self.n_classes, weight, self.l2(), is_centred=is_centred
        )

    def minimise(
        self,
        guess: Vector,
        stopping: Stopping,
        *,
        with_hessian: bool,
        report: IterationReport = ignore_iteration,
    ) -> Solution:
        """Return the minimum, by second derivatives or without."""
        if not with_hessian:
            return self._minimise_by_gradients(guess, stopping, report)
        objective: Objective = self.loss()
        if self.earlier is not None:
            objective = _with_earlier(objective, self.earlier, self.total)
        tol, most = stopping.tol, stopping.max_iterations
        if not self.penalties.l1:
            return minimise_newton(objective, guess, tol=tol, max_iterations=most, report=report)
        return minimise_proximal_newton(
            objective,
            np.tile(self.l1(), self.n_outputs),
            guess,
            tol=tol,
            max_iterations=most,
            centre=self.centred if self.n_outputs > 1 and self.earlier is None else None,
            report=report,
        )

    def _minimise_by_gradients(
        self, guess: Vector, stopping: Stopping, report: IterationReport
    ) -> Solution:
        objective = self.loss()
        # L-BFGS begins from the identity: make that a fair guess at the Hessian's diagonal. A
        # standardised column has curvature n/4 at most; a rare one's penalty may far exceed it.
        units = np.sqrt(0.25 + objective.penalty / self.standardised.n_samples)
        rescaled = Rescaled(objective, units)
        tol, most, start = stopping.tol, stopping.max_iterations, guess * units
        if self.penalties.l1:
            l1 = np.tile(self.l1(), self.n_outputs) / units
            found = minimise_owlqn(rescaled, l1, start, tol=tol, max_iterations=most, report=report)
        else:
            found = minimise_lbfgs(rescaled, start, tol=tol, max_iterations=most, report=report)
        return Solution(found.parameters / units, found.loss, found.n_iter, found.converged)

    def centred(self, parameters: Vector) -> Vector:
        """Return parameters with the same probabilities and the least penalty."""
        theta = parameters.reshape(self.n_outputs, -1)
        n_columns, l1 = self.standardised.n_columns, self.l1()
        shift = theta.mean(axis=0)
        shift[:n_columns] = _cheapest_shift(
            theta[:, :n_columns],
            l1[:n_columns],
            self.l2()[:n_columns] / self.standardised.n_samples,
        )
        return np.asarray((theta - shift).ravel())

    def curvature(self, solution: Solution, columns: Moments) -> Curvature:
        """Return the quadratic that stands for the loss of all rows learned from so far."""
        assert solution.hessian is not None
        l2 = np.tile(self.l2(), self.n_outputs) * self.mean_weight
        slope = -l2 * solution.parameters
        if solution.gradient is not None:
            slope += self.total * solution.gradient
        hessian = self.total * solution.hessian
        hessian[np.diag_indices_from(hessian)] -= l2
        return Curvature(columns, hessian, slope)


def _with_earlier(objective: Objective, earlier: Earlier, total: float) -> Remembering:
    slope, hessian = earlier.curvature.slope / total, earlier.curvature.hessian / total
    return Remembering(objective, earlier.point, slope, hessian)


def _cheapest_shift(theta: Matrix, l1: Vector, l2: Vector) -> Vector:
    """Return the c, (n_columns,), that minimises the penalty of theta - c, (n_classes, n_columns).

    It is the median of the coefficients and of where the penalty on squares would balance each
    possible number of them below c (Li & Osher 2009, Inverse Problems and Imaging 3(3), 487-503).
    """
    n_classes = len(theta)
    ratio = np.divide(l1, l2, out=np.zeros_like(l1), where=l2 > 0)
    surplus = n_classes - 2.0 * np.arange(n_classes + 1)[:, None]
    balance = surplus / n_classes * ratio + theta.mean(axis=0)
    middle = np.sort(theta, axis=0)[(n_classes - 1) // 2]  # without a penalty on squares
    both = np.median(np.vstack([theta, balance]), axis=0)
    return np.asarray(np.where((l1 > 0.0) & (l2 == 0.0), middle, both))
