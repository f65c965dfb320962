"""Logistic regression, penalised by squares and absolute values: two classes, or many.

Owns where a fit begins, the passage between raw and standardised coefficients, and what is kept to
learn on from. What is minimised, and how, is in `logistic_problem`.
"""

from __future__ import annotations

import numpy as np

from proxy.engine.arrays import Codes, IterationReport, Matrix, Vector, ignore_iteration
from proxy.engine.linear.coefficients import Coefficients
from proxy.engine.linear.linear import UNREMEMBERED_NOTICE
from proxy.engine.linear.logistic_problem import (
    LARGEST_HESSIAN,
    Earlier,
    LogisticProblem,
    Penalties,
    Stopping,
)
from proxy.engine.linear.remembered import Curvature
from proxy.engine.linear.row_weights import RowWeights
from proxy.engine.linear.solvers import Solution
from proxy.engine.parallel import InOrderMap, one_by_one
from proxy.engine.predictors import LOG_ODDS
from proxy.engine.preparation.design import Design, MatrixDesign, StandardisedDesign
from proxy.engine.preparation.moments import Moments, ReframedDesign, measure
from proxy.errors import TooLargeError

LARGEST_AFFORDABLE_HESSIAN = 2000
AFFORDABLE_PASS = 1e10  # products; a Newton step then still costs less than ten of L-BFGS
LARGEST_MODEL = 2_000_000
WARM_START_ROWS = 100_000
WARM_START_SAMPLE = 20_000
WARM_START_CLASS_ROWS = 100
WARM_START_TOLERANCE = 1e-5
# Without a penalty: the last step of a fit that has a minimum is far shorter, and where classes
# are told apart without error each step adds about 1 to the log-odds, for ever.
SEPARATED_STEP = 0.1
SEPARATED_LOSS = 1e-6

SEPARATED_WARNING = (
    "the features tell some classes apart without error, so that no finite coefficients are the "
    "best: these are where the fit stopped; raise l2"
)


class LogisticRegression:
    """Minimise the log-loss plus l2/2 ||w||^2 + l1 ||w||_1.

    scikit-learn's penalty is l2 = (1 - l1_ratio) / C and l1 = l1_ratio / C. The intercept is not
    penalised. Two classes have one coefficient vector, that of class 1; more have one each, centred
    over the classes (with l1: moved to where the penalty is least). With sample weights each row's
    loss counts so many times.

    Parameters
    ----------
    tol : largest element of the gradient per unit of weight, in standardised columns, to stop at
    class_weight : None, or 'balanced': n_samples / (n_classes * rows of the class), rows counted
        by their weights

    Attributes
    ----------
    coef_ : (1, n_features) or (n_classes, n_features); some are exactly 0 with l1
    intercept_ : (1,) or (n_classes,)
    n_iter_, converged_, loss_ : of the last fit
    curvature_ : what a later fit can go on from; None beyond 600 parameters
    warnings_, notices_ : sentences for the person who trains
    """

    def __init__(
        self,
        *,
        l2: float = 1.0,
        l1: float = 0.0,
        fit_intercept: bool = True,
        max_iterations: int = 100,
        tol: float = 1e-8,
        class_weight: str | None = None,
    ) -> None:
        self.l2 = l2
        self.l1 = l1
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
        self.curvature_: Curvature | None = None
        self.warnings_: tuple[str, ...] = ()
        self.notices_: tuple[str, ...] = ()

    @property
    def iterations_total(self) -> int:
        """Return the most iterations that there can be."""
        return self.max_iterations

    def fit(
        self,
        X: Design | Matrix,
        codes: Codes,
        *,
        sample_weight: Vector | None = None,
        start: LogisticRegression | None = None,
        continues: bool = False,
        report: IterationReport = ignore_iteration,
        parallel: InOrderMap = one_by_one,
    ) -> LogisticRegression:
        """Learn from X (n_samples, n_features) and the classes' numbers, (n_samples,) from 0.

        Parameters
        ----------
        sample_weight : (n_samples,), >= 0: 2 is the row twice, 0 its absence; None: all 1
        start : a fit on like data to begin from, or None
        continues : learn from the rows of `start` as well, as far as its `curvature_` tells of
            them; the classes are then those of `start`, which may lack rows here
        report : called before every iteration
        parallel : how to work on several blocks of rows at a time

        Raises
        ------
        TooLargeError
            54000: there would be more than two million coefficients.
        NoTrainingRowsError
            ML001: every weight is 0.
        ValueError
            `continues`, and `start` is not of the same columns and classes.
        """
        design = MatrixDesign(X) if isinstance(X, np.ndarray) else X
        n_classes = int(codes.max()) + 1
        before = start if continues else None
        if before is not None:
            n_classes = _classes_to_continue(before, n_classes, len(design.mean))
        n_outputs = 1 if n_classes == 2 else n_classes
        size = n_outputs * (len(design.mean) + self.fit_intercept)
        _check_size(size)
        columns = Moments(float(design.n_samples), design.mean, design.scale)
        if sample_weight is not None or continues:
            columns = measure(design, sample_weight, parallel)
            if before is not None and before.curvature_ is not None:
                columns = before.curvature_.columns.merged(columns)
            design = ReframedDesign(design, columns, sample_weight)
        standardised = StandardisedDesign(
            design, fit_intercept=self.fit_intercept, parallel=parallel
        )
        problem = LogisticProblem(
            standardised,
            codes,
            n_classes,
            RowWeights.of(codes, n_classes, sample_weight, self.class_weight),
            Penalties(self.l2, self.l1),
            earlier=None if before is None else _earlier(before, standardised, columns),
        )
        by_hessian = _is_newton_affordable(design.n_samples, size) or problem.earlier is not None
        guess = self._initial(problem, start)
        stopping = Stopping(self.tol, self.max_iterations)
        solution = problem.minimise(guess, stopping, with_hessian=by_hessian, report=report)
        self._keep(solution, standardised, n_outputs)
        self.curvature_ = None
        if solution.hessian is not None and size <= LARGEST_HESSIAN:
            self.curvature_ = problem.curvature(solution, columns)
        self.warnings_ = self._warnings(solution)
        is_forgetful = continues and problem.earlier is None
        self.notices_ = (UNREMEMBERED_NOTICE,) if is_forgetful else ()
        return self

    def _initial(self, problem: LogisticProblem, start: LogisticRegression | None) -> Vector:
        """Return parameters to begin at: an earlier fit's, a sample's, or zeros."""
        standardised, n_outputs = problem.standardised, problem.n_outputs
        zeros = np.zeros(problem.n_parameters)
        if start is not None and start.coef_.shape == (n_outputs, standardised.n_columns):
            return _to_standardised(start, standardised)
        step = standardised.n_samples // WARM_START_SAMPLE
        if standardised.n_samples < WARM_START_ROWS or len(zeros) > LARGEST_HESSIAN:
            return zeros
        codes = problem.codes[::step]
        if problem.weight is not None:
            codes = codes[problem.weight.every(step)[:] > 0]
        counts = np.bincount(codes, minlength=problem.n_classes)
        if counts.min() < WARM_START_CLASS_ROWS:
            return zeros
        # Most steps towards the minimum are as good on a sample, at a fraction of the cost.
        stopping = Stopping(WARM_START_TOLERANCE, self.max_iterations)
        rough = problem.every(step).minimise(zeros, stopping, with_hessian=True)
        return rough.parameters if rough.converged else zeros

    def _keep(self, solution: Solution, standardised: StandardisedDesign, n_outputs: int) -> None:
        theta = solution.parameters.reshape(n_outputs, -1)
        self.coef_ = theta[:, : standardised.n_columns] * standardised.inverse_scale
        self.intercept_ = np.zeros(n_outputs)
        if self.fit_intercept:
            self.intercept_ = theta[:, -1] - self.coef_ @ standardised.shift
        self.n_features_in_ = standardised.n_columns
        self.n_iter_, self.converged_ = solution.n_iter, solution.converged
        self.loss_ = solution.loss

    def _warnings(self, solution: Solution) -> tuple[str, ...]:
        is_endless = solution.last_step > SEPARATED_STEP or solution.loss < SEPARATED_LOSS
        if self.l2 == 0.0 and self.l1 == 0.0 and is_endless:
            return (SEPARATED_WARNING,)
        if solution.converged:
            return ()
        sentence = (
            f"the fit did not reach its tolerance in {solution.n_iter} iterations; "
            "raise max_iterations, or l2"
        )
        return (sentence,)

    @property
    def predictor_(self) -> Coefficients:
        """Return what scores rows, and is stored."""
        return Coefficients(self.coef_, self.intercept_, LOG_ODDS)

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


def _classes_to_continue(before: LogisticRegression, n_classes: int, n_columns: int) -> int:
    """Return how many classes an earlier fit knows.

    Raises
    ------
    ValueError
        It is not of so many columns, or the new rows have classes that it does not know.
    """
    known = max(len(before.coef_), 2)
    if before.coef_.shape[1] != n_columns or n_classes > known:
        raise ValueError(f"a fit of {before.coef_.shape} cannot go on with {n_classes} classes")
    return known


def _earlier(
    before: LogisticRegression, standardised: StandardisedDesign, columns: Moments
) -> Earlier | None:
    if before.curvature_ is None:
        return None
    curvature = before.curvature_.reframed(columns, fit_intercept=standardised.fit_intercept)
    return Earlier(_to_standardised(before, standardised), curvature)


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
