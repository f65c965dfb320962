"""Polynomial regression: least squares on products of columns.

Owns the estimator. The products are made block by block in `polynomial_design`, the coefficients
found by `linear`; scoring is `polynomial_predictor`'s.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np

from proxy.engine.arrays import IterationReport, Matrix, Vector, ignore_iteration
from proxy.engine.linear.linear import LinearRegression
from proxy.engine.linear.monomials import powers_of, program_of
from proxy.engine.linear.polynomial_design import Expansion, PolynomialDesign, learn_expansion
from proxy.engine.linear.polynomial_predictor import PolynomialPredictor
from proxy.engine.parallel import InOrderMap, one_by_one
from proxy.engine.preparation.design import Design, MatrixDesign

Term: TypeAlias = tuple[tuple[tuple[int, int], ...], float]
"""(column of the design, power) of each factor, and the coefficient."""


class PolynomialRegression:
    """Minimise ||y - P(X) w - b||^2 + l2 ||w||^2, P being all monomials of total degree <= degree.

    The columns are standardised before they are multiplied: X as it is, to the tenth power, would
    have no digits left, and l2 would weigh each power in other units. A column with two values is
    taken as 0 and 1 instead, and no power of it is made; nor are products of two columns of one
    one-hot group. So it is scikit-learn's StandardScaler, PolynomialFeatures, Ridge(alpha=l2); with
    l2 0, the default, which of many solutions is chosen depends on these units, and with a unique
    one nothing does. Without an intercept columns are scaled, not centred.

    Parameters
    ----------
    degree : 1 to 10
    interaction_only : no column more than once in a product
    l2 : >= 0

    Attributes
    ----------
    coef_ : (n_monomials,), of standardised columns, as in `terms_`
    intercept_ : float, the value where each column is at its centre
    n_output_features_ : monomials, the constant not counted
    centre_, scale_ : (n_features,): a term is of (x - centre_) / scale_; scale_ is 0 for a constant
        column, which has no terms
    solver_, rank_deficient_ : as of `LinearRegression`
    warnings_, notices_ : sentences for the person who trains
    """

    iterations_total = 1

    def __init__(
        self,
        *,
        degree: int = 2,
        interaction_only: bool = False,
        l2: float = 0.0,
        fit_intercept: bool = True,
    ) -> None:
        self.degree = degree
        self.interaction_only = interaction_only
        self.l2 = l2
        self.fit_intercept = fit_intercept
        self.n_features_in_ = 0
        self.n_output_features_ = 0
        self.coef_: Vector = np.zeros(0)
        self.intercept_ = 0.0
        self.centre_: Vector = np.zeros(0)
        self.scale_: Vector = np.zeros(0)
        self.solver_ = "cholesky"
        self.rank_deficient_ = False
        self.warnings_: tuple[str, ...] = ()
        self.notices_: tuple[str, ...] = ()
        self.terms_: list[Term] = []

    def fit(
        self,
        X: Design | Matrix,
        y: Vector,
        *,
        sample_weight: Vector | None = None,
        report: IterationReport = ignore_iteration,
        parallel: InOrderMap = one_by_one,
    ) -> PolynomialRegression:
        """Learn from X (n_samples, n_features) and y (n_samples,).

        One pass to look at the columns, one for the moments of the monomials, and one for their
        products; with weights two more. Memory: the square of the number of monomials.

        Raises
        ------
        TooLargeError
            54000: there would be more than 8192 monomials.
        NoTrainingRowsError
            ML001: every weight is 0.
        """
        design = MatrixDesign(X) if isinstance(X, np.ndarray) else X
        expansion = learn_expansion(
            design,
            degree=self.degree,
            interaction_only=self.interaction_only,
            fit_intercept=self.fit_intercept,
            sample_weight=sample_weight,
            parallel=parallel,
        )
        linear = LinearRegression(l2=self.l2, fit_intercept=self.fit_intercept)
        linear.fit(
            PolynomialDesign(design, expansion, parallel=parallel),
            y,
            sample_weight=sample_weight,
            null_directions=expansion.null_directions(fit_intercept=self.fit_intercept),
            report=report,
            parallel=parallel,
        )
        self._keep(linear, expansion, len(design.mean))
        return self

    def _keep(self, linear: LinearRegression, expansion: Expansion, n_features: int) -> None:
        self.n_features_in_ = n_features
        self.n_output_features_ = len(expansion.monomials)
        self.coef_, self.intercept_ = linear.coef_, linear.intercept_
        self.solver_, self.rank_deficient_ = linear.solver_, linear.rank_deficient_
        self.warnings_, self.notices_ = linear.warnings_, linear.notices_
        self.centre_, self.scale_ = np.zeros((2, n_features))
        self.centre_[expansion.columns] = expansion.centre
        self.scale_[expansion.columns] = expansion.scale
        columns = expansion.columns.tolist()
        self.terms_ = [
            (tuple((columns[place], power) for place, power in powers_of(monomial)), weight)
            for monomial, weight in zip(expansion.monomials, linear.coef_.tolist(), strict=True)
        ]
        parent, column = program_of(expansion.monomials)
        self.predictor_ = PolynomialPredictor(
            n_features_in=n_features,
            columns=expansion.columns,
            centre=expansion.centre,
            scale=expansion.scale,
            parent=parent,
            column=column,
            coef=linear.coef_,
            intercept=linear.intercept_,
        )

    def predict(self, X: Matrix) -> Vector:
        """Return the (n_samples,) values for X (n_samples, n_features)."""
        return np.asarray(self.predictor_.outputs(np.ascontiguousarray(X))[0])
