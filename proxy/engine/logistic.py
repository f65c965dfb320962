"""Logistic regression with an L2 penalty: two classes, or the softmax of many.

Owns the choice of solver and the passage between raw and standardised coefficients. The functions
minimised are in `losses`, the iterations in `solvers`.
"""

from __future__ import annotations

import numpy as np

from proxy.engine.arrays import Codes, IterationReport, Matrix, Vector, ignore_iteration
from proxy.engine.design import Design, MatrixDesign, StandardisedDesign
from proxy.engine.losses import BinaryLogLoss, MultinomialLogLoss, Rescaled
from proxy.engine.parallel import InOrderMap, one_by_one
from proxy.engine.solvers import Objective, Solution, minimise_lbfgs, minimise_newton
from proxy.errors import TooLargeError

LARGEST_HESSIAN = 600
LARGEST_AFFORDABLE_HESSIAN = 2000
AFFORDABLE_PASS = 1e10  # products; a Newton step then still costs less than ten of L-BFGS
LARGEST_MODEL = 2_000_000
LARGEST_PENALTY = 1e290
WARM_START_ROWS = 100_000
WARM_START_SAMPLE = 20_000
WARM_START_CLASS_ROWS = 100


class LogisticRegression:
    """Minimise the log-loss plus l2/2 ||w||^2: scikit-learn's with C = 1/l2.

    The intercept is not penalised. Two classes have one coefficient vector, that of class 1; more
    have one each, centred over the classes.

    Parameters
    ----------
    tol : largest element of the gradient per sample, in standardised columns, to stop at
    class_weight : None, or 'balanced': n_samples / (n_classes * rows of the class)

    Attributes
    ----------
    coef_ : (1, n_features) or (n_classes, n_features)
    intercept_ : (1,) or (n_classes,)
    n_iter_, converged_, loss_ : of the last fit
    """

    def __init__(
        self,
        *,
        l2: float = 1.0,
        fit_intercept: bool = True,
        max_iterations: int = 100,
        tol: float = 1e-8,
        class_weight: str | None = None,
    ) -> None:
        self.l2 = l2
        self.fit_intercept = fit_intercept
        self.max_iterations = max_iterations
        self.tol = tol
        self.class_weight = class_weight
        self.coef_: Matrix = np.zeros((1, 0))
        self.intercept_: Vector = np.zeros(1)
        self.n_features_in_ = 0
        self.n_iter_ = 0
        self.converged_ = True
        self.loss_ = 0.0

    def fit(
        self,
        X: Design | Matrix,
        codes: Codes,
        *,
        start: LogisticRegression | None = None,
        report: IterationReport = ignore_iteration,
        parallel: InOrderMap = one_by_one,
    ) -> LogisticRegression:
        """Learn from X (n_samples, n_features) and the classes' numbers, (n_samples,) from 0.

        Parameters
        ----------
        start : a fit on like data to begin from, or None
        report : called before every iteration
        parallel : how to work on several blocks of rows at a time

        Raises
        ------
        TooLargeError
            54000: there would be more than two million coefficients.
        """
        design = MatrixDesign(X) if isinstance(X, np.ndarray) else X
        n_classes = int(codes.max()) + 1
        n_outputs = 1 if n_classes == 2 else n_classes
        size = len(design.mean) + self.fit_intercept
        _check_size(n_outputs * size)
        by_newton = _is_newton_affordable(design.n_samples, n_outputs * size)
        standardised = StandardisedDesign(
            design, fit_intercept=self.fit_intercept, parallel=parallel
        )
        guess = self._initial(standardised, codes, n_outputs, start)
        solve = self._newton if by_newton else self._lbfgs
        solution = solve(standardised, codes, guess, report)
        self._keep(solution, standardised, n_outputs)
        return self

    def _initial(
        self,
        standardised: StandardisedDesign,
        codes: Codes,
        n_outputs: int,
        start: LogisticRegression | None,
    ) -> Vector:
        """Return parameters to begin at: an earlier fit's, a sample's, or zeros."""
        zeros = np.zeros(n_outputs * standardised.n_parameters)
        if start is not None and start.coef_.shape == (n_outputs, standardised.n_columns):
            return _to_standardised(start, standardised)
        step = standardised.n_samples // WARM_START_SAMPLE
        if standardised.n_samples < WARM_START_ROWS or len(zeros) > LARGEST_HESSIAN:
            return zeros
        sample = codes[::step]
        if np.bincount(sample, minlength=max(n_outputs, 2)).min() < WARM_START_CLASS_ROWS:
            return zeros
        # Most steps towards the minimum are as good on a sample, at a fraction of the cost.
        rough = minimise_newton(
            self._objective(standardised.every(step), sample, self.l2 / step),
            zeros,
            tol=1e-5,
            max_iterations=self.max_iterations,
        )
        return rough.parameters if rough.converged else zeros

    def _objective(
        self, standardised: StandardisedDesign, codes: Codes, l2: float
    ) -> BinaryLogLoss | MultinomialLogLoss:
        penalty = np.zeros(standardised.n_parameters)
        with np.errstate(over="ignore"):
            raw = l2 * np.square(standardised.inverse_scale)
        penalty[: standardised.n_columns] = np.minimum(raw, LARGEST_PENALTY)
        counts = np.bincount(codes)
        weight = None
        if self.class_weight == "balanced":
            weight = (len(codes) / (len(counts) * counts))[codes]
        if len(counts) == 2:
            return BinaryLogLoss(standardised, codes, weight, penalty)
        return MultinomialLogLoss(standardised, codes, len(counts), weight, penalty)

    def _newton(
        self, standardised: StandardisedDesign, codes: Codes, guess: Vector, report: IterationReport
    ) -> Solution:
        objective = self._objective(standardised, codes, self.l2)
        return minimise_newton(
            objective, guess, tol=self.tol, max_iterations=self.max_iterations, report=report
        )

    def _lbfgs(
        self, standardised: StandardisedDesign, codes: Codes, guess: Vector, report: IterationReport
    ) -> Solution:
        objective = self._objective(standardised, codes, self.l2)
        # L-BFGS begins from the identity: make that a fair guess at the Hessian's diagonal. A
        # standardised column has curvature n/4 at most; a rare one's penalty may far exceed it.
        units = np.sqrt(0.25 + objective.penalty / standardised.n_samples)
        rescaled: Objective = Rescaled(objective, units)
        solution = minimise_lbfgs(
            rescaled,
            guess * units,
            tol=self.tol,
            max_iterations=self.max_iterations,
            report=report,
        )
        return Solution(
            solution.parameters / units, solution.loss, solution.n_iter, solution.converged
        )

    def _keep(self, solution: Solution, standardised: StandardisedDesign, n_outputs: int) -> None:
        theta = solution.parameters.reshape(n_outputs, -1)
        self.coef_ = theta[:, : standardised.n_columns] * standardised.inverse_scale
        self.intercept_ = np.zeros(n_outputs)
        if self.fit_intercept:
            self.intercept_ = theta[:, -1] - self.coef_ @ standardised.shift
        self.n_features_in_ = standardised.n_columns
        self.n_iter_, self.converged_ = solution.n_iter, solution.converged
        self.loss_ = solution.loss

    def decision_function(self, X: Matrix) -> Matrix:
        """Return the (n_samples, 1 or n_classes) scores."""
        return np.asarray(X @ self.coef_.T + self.intercept_)

    def predict_proba(self, X: Matrix) -> Matrix:
        """Return the (n_samples, n_classes) probabilities."""
        scores = self.decision_function(X)
        if scores.shape[1] == 1:
            scores = np.hstack([np.zeros_like(scores), scores])
        scores -= scores.max(axis=1, keepdims=True)
        np.exp(scores, out=scores)
        return np.asarray(scores / scores.sum(axis=1, keepdims=True))

    def predict(self, X: Matrix) -> Codes:
        """Return the (n_samples,) numbers of the likeliest classes."""
        return np.asarray(self.predict_proba(X).argmax(axis=1))


def _is_newton_affordable(n_samples: int, n_parameters: int) -> bool:
    if n_parameters <= LARGEST_HESSIAN:
        return True
    per_pass = float(n_samples) * n_parameters**2
    return n_parameters <= LARGEST_AFFORDABLE_HESSIAN and per_pass <= AFFORDABLE_PASS


def _check_size(n_coefficients: int) -> None:
    if n_coefficients > LARGEST_MODEL:
        raise TooLargeError(
            f"the model would have {n_coefficients} coefficients",
            detail=f"logistic_regression takes {LARGEST_MODEL} at most.",
            hint="Set a lower max_categories.",
        )


def _to_standardised(fitted: LogisticRegression, standardised: StandardisedDesign) -> Vector:
    """Return the parameters that give a fitted model's scores on standardised columns."""
    alive = standardised.inverse_scale > 0
    scale = np.divide(
        1.0, standardised.inverse_scale, out=np.zeros(standardised.n_columns), where=alive
    )
    theta = np.zeros((len(fitted.coef_), standardised.n_parameters))
    theta[:, : standardised.n_columns] = fitted.coef_ * scale
    if standardised.fit_intercept:
        theta[:, -1] = fitted.intercept_ + fitted.coef_ @ standardised.shift
    return theta.ravel()
