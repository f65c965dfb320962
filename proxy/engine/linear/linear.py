"""Linear regression: ordinary least squares, ridge, lasso and the elastic net.

Owns the solution in coefficients of raw columns, and what is kept to learn on from it. The
equations are `least_squares`'s; preprocessing and evaluation are left to others.
"""

from __future__ import annotations

import numpy as np

from proxy.engine.arrays import IterationReport, Matrix, Vector, ignore_iteration
from proxy.engine.linear.coefficients import Coefficients
from proxy.engine.linear.least_squares import LeastSquares, LeastSquaresRows, Solver
from proxy.engine.linear.remembered import Statistics
from proxy.engine.parallel import InOrderMap, one_by_one
from proxy.engine.predictors import VALUE
from proxy.engine.preparation.design import Design, MatrixDesign, StandardisedDesign
from proxy.engine.preparation.moments import ReframedDesign, measure
from proxy.errors import TooLargeError

WIDEST_DESIGN = 8192
WIDEST_REMEMBERED = 512

RANK_WARNING = (
    "some feature columns are linearly dependent: of the coefficients that fit equally "
    "well, the smallest were chosen"
)
SVD_NOTICE = (
    "the normal equations are ill-conditioned: solved by a singular value decomposition instead"
)
UNREMEMBERED_NOTICE = (
    "there are too many columns to remember the earlier rows by: the new ones alone decide"
)


class LinearRegression:
    """Minimise ||y - X w - b||^2 + l2 ||w||^2 + l1 ||w||_1.

    Of many solutions, which there can be where both penalties are 0, that of least ||w||. The
    intercept b is not penalised. Penalties are on coefficients of raw columns; the system is solved
    for standardised ones. With sample weights each row's square counts so many times.

    Parameters
    ----------
    l2 : >= 0; scikit-learn's Ridge has it as alpha
    l1 : >= 0; with it, scikit-learn's ElasticNet, whose squares are divided by 2 n, has
        l1 = 2 n alpha l1_ratio and l2 = n alpha (1 - l1_ratio), n being the weights' total

    Attributes
    ----------
    coef_ : (n_features,); some are exactly 0 with l1
    intercept_ : float
    solver_ : what found them
    rank_deficient_ : columns depend on one another beyond what one-hot coding implies
    converged_, n_iter_ : of coordinate descent; True and 1 without it
    statistics_ : what a later fit can go on from; None beyond 512 columns
    warnings_, notices_ : sentences for the person who trains
    """

    iterations_total = 1

    def __init__(self, *, l2: float = 0.0, l1: float = 0.0, fit_intercept: bool = True) -> None:
        self.l2 = l2
        self.l1 = l1
        self.fit_intercept = fit_intercept
        self.coef_: Vector = np.zeros(0)
        self.intercept_ = 0.0
        self.n_features_in_ = 0
        self.rank_deficient_ = False
        self.solver_: Solver = "cholesky"
        self.converged_ = True
        self.n_iter_ = 0
        self.statistics_: Statistics | None = None
        self.warnings_: tuple[str, ...] = ()
        self.notices_: tuple[str, ...] = ()

    def fit(
        self,
        X: Design | Matrix,
        y: Vector,
        *,
        sample_weight: Vector | None = None,
        start: LinearRegression | None = None,
        continues: bool = False,
        null_directions: Matrix | None = None,
        report: IterationReport = ignore_iteration,
        parallel: InOrderMap = one_by_one,
    ) -> LinearRegression:
        """Learn from X (n_samples, n_features) and y (n_samples,).

        One pass over the rows for X'X and a Cholesky factor of it; where that is ill-conditioned, a
        second pass for a QR factor of X and its singular values; with l1 coordinate descent on X'X.
        Weights take one pass more, for the means of the columns.

        Parameters
        ----------
        sample_weight : (n_samples,), >= 0: 2 is the row twice, 0 its absence; None: all 1
        start, continues : learn from the earlier fit's rows and these together, by its
            `statistics_`; without `continues` an earlier fit is of no use, the solution being
            direct
        null_directions : (n_features, m), in which X w is known to be constant; None: those of the
            design's one-hot groups
        report : called before the solution, and with l1 between sweeps
        parallel : how to work on several blocks of rows at a time

        Raises
        ------
        TooLargeError
            54000: X has more than 8192 columns.
        NoTrainingRowsError
            ML001: every weight is 0.
        """
        design = MatrixDesign(X) if isinstance(X, np.ndarray) else X
        _check_width(len(design.mean))
        earlier = start.statistics_ if start is not None and continues else None
        notices = [UNREMEMBERED_NOTICE] if continues and earlier is None else []
        if sample_weight is not None or continues:
            moments = measure(design, sample_weight, parallel)
            design = ReframedDesign(design, moments, sample_weight)
        standardised = StandardisedDesign(
            design, fit_intercept=self.fit_intercept, parallel=parallel
        )
        rows = LeastSquaresRows(standardised, y, sample_weight)
        statistics = rows.statistics()
        if earlier is not None:
            statistics = earlier.merged(statistics)
        if null_directions is None:
            null_directions = one_hot_directions(design, fit_intercept=self.fit_intercept)
        problem = LeastSquares(
            statistics,
            l2=self.l2,
            l1=self.l1,
            null_directions=null_directions,
            factor_of=rows.factor if earlier is None else None,
        )
        report(0, statistics.y_square / statistics.columns.weight * statistics.y_scale**2)
        self._keep(problem, problem.solve(report), notices)
        return self

    def _keep(self, problem: LeastSquares, w: Vector, notices: list[str]) -> None:
        statistics = problem.statistics
        self.coef_ = w * problem.inverse_unit * statistics.y_scale
        self.intercept_ = 0.0
        if self.fit_intercept:
            self.intercept_ = float(statistics.y_mean - self.coef_ @ statistics.columns.mean)
        self.n_features_in_ = len(self.coef_)
        self.rank_deficient_, self.solver_ = problem.rank_deficient, problem.solver
        self.converged_, self.n_iter_ = problem.converged, problem.n_iter
        self.statistics_ = statistics if self.n_features_in_ <= WIDEST_REMEMBERED else None
        warnings = [RANK_WARNING] if self.rank_deficient_ else []
        if not self.converged_:
            warnings.append(
                f"the fit did not reach its tolerance in {self.n_iter_} iterations; raise l2, or "
                "lower l1"
            )
        self.warnings_ = tuple(warnings)
        self.notices_ = (*notices, *([SVD_NOTICE] if self.solver_ == "svd" else []))

    @property
    def predictor_(self) -> Coefficients:
        """Return what scores rows, and is stored."""
        return Coefficients(self.coef_[None, :], np.array([self.intercept_]), VALUE)

    def predict(self, X: Matrix) -> Vector:
        """Return the (n_samples,) values for X (n_samples, n_features)."""
        return np.asarray(X @ self.coef_ + self.intercept_)


def one_hot_directions(design: Design, *, fit_intercept: bool) -> Matrix:
    """Return, (n_columns, m), the directions in which one-hot coding makes X w constant.

    Beside an intercept each group is one; without it, what two groups have in common.
    """
    groups = design.one_hot_groups()
    directions = np.zeros((len(design.mean), len(groups)))
    for k, group in enumerate(groups):
        directions[group, k] = 1.0
    return directions if fit_intercept else directions[:, 1:] - directions[:, :1]


def _check_width(n_columns: int) -> None:
    if n_columns > WIDEST_DESIGN:
        raise TooLargeError(
            f"the model would have {n_columns} columns after one-hot coding",
            detail=f"linear_regression takes {WIDEST_DESIGN} at most.",
            hint="Set a lower max_categories.",
        )
