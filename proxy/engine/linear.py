"""Linear regression: ordinary least squares, and ridge.

Owns the solution in coefficients of raw columns. Preprocessing and evaluation are left to others.
"""

from __future__ import annotations

import numpy as np

from proxy.engine.arrays import Flags, IterationReport, Matrix, Vector, ignore_iteration
from proxy.engine.design import Design, MatrixDesign, StandardisedDesign
from proxy.engine.parallel import InOrderMap, one_by_one
from proxy.engine.solvers import is_well_conditioned
from proxy.errors import TooLargeError

# X'X squares the condition number: below this pivot too few digits would be left, and the factors
# come from X itself.
ILL_CONDITIONED = 1e-6
RANK_TOLERANCE = 1e-11
LARGEST_PENALTY = 1e290
WIDEST_DESIGN = 8192


class LinearRegression:
    """Minimise ||y - X w - b||^2 + l2 ||w||^2; with `l2` 0, of many solutions that of least ||w||.

    The intercept b is not penalised. The penalty is on coefficients of raw columns, as in
    scikit-learn's Ridge; the system is solved for standardised ones.

    Attributes
    ----------
    coef_ : (n_features,)
    intercept_ : float
    rank_deficient_ : columns depend on one another beyond what one-hot coding implies
    """

    def __init__(self, *, l2: float = 0.0, fit_intercept: bool = True) -> None:
        self.l2 = l2
        self.fit_intercept = fit_intercept
        self.coef_: Vector = np.zeros(0)
        self.intercept_ = 0.0
        self.n_features_in_ = 0
        self.rank_deficient_ = False

    def fit(
        self,
        X: Design | Matrix,
        y: Vector,
        *,
        report: IterationReport = ignore_iteration,
        parallel: InOrderMap = one_by_one,
    ) -> LinearRegression:
        """Learn from X (n_samples, n_features) and y (n_samples,).

        One pass over the rows for X'X and a Cholesky factor of it; where that is ill-conditioned,
        a second pass for a QR factor of X and its singular values.

        Raises
        ------
        TooLargeError
            54000: X has more than 8192 columns.
        """
        design = MatrixDesign(X) if isinstance(X, np.ndarray) else X
        standardised = StandardisedDesign(
            design, fit_intercept=self.fit_intercept, parallel=parallel
        )
        system = _LeastSquares(standardised, y, l2=self.l2)
        report(0, float(np.mean(np.square(system.y))) * system.y_scale**2)
        w = system.solve()
        self.coef_ = w * system.standardised.inverse_scale * system.y_scale
        self.intercept_ = 0.0
        if self.fit_intercept:
            self.intercept_ = float(system.y_mean - self.coef_ @ design.mean)
        self.rank_deficient_ = system.rank_deficient
        self.n_features_in_ = len(self.coef_)
        return self

    def predict(self, X: Matrix) -> Vector:
        """Return the (n_samples,) values for X (n_samples, n_features)."""
        return np.asarray(X @ self.coef_ + self.intercept_)


class _LeastSquares:
    """One problem in standardised columns, without the column of ones: centring replaces it."""

    def __init__(self, standardised: StandardisedDesign, y: Vector, *, l2: float) -> None:
        self.standardised = standardised
        self.n_columns = standardised.n_columns
        if self.n_columns > WIDEST_DESIGN:
            raise TooLargeError(
                f"the model would have {self.n_columns} columns after one-hot coding",
                detail=f"linear_regression takes {WIDEST_DESIGN} at most.",
                hint="Set a lower max_categories.",
            )
        self.fit_intercept = standardised.fit_intercept
        self.y_mean = float(y.mean()) if self.fit_intercept else 0.0
        centred = y - self.y_mean
        self.y_scale = float(np.abs(centred).max(initial=0.0)) or 1.0
        self.y = centred / self.y_scale
        units = self.standardised.inverse_scale
        with np.errstate(over="ignore"):
            self.penalty = np.minimum(l2 * np.square(units), LARGEST_PENALTY)
        self.rank_deficient = False

    def solve(self) -> Vector:
        """Return the (n_columns,) coefficients of standardised columns."""
        gram, moment = self._normal_equations()
        units = np.sqrt(np.diagonal(gram))
        inverse = np.divide(1.0, units, out=np.zeros_like(units), where=units > 0)
        scaled = gram * inverse[:, None] * inverse
        scaled += self._one_hot_curvature(inverse)
        np.fill_diagonal(scaled, np.where(units > 0, np.diagonal(scaled), 1.0))
        if is_well_conditioned(scaled, ILL_CONDITIONED):
            return np.asarray(inverse * np.linalg.solve(scaled, inverse * moment))
        return self._solve_by_factors()

    def _normal_equations(self) -> tuple[Matrix, Vector]:
        size = self.n_columns

        def sums_of(rows: slice, block: Matrix, _: Matrix) -> Vector:
            sums = np.empty(size + size**2)
            columns = block[:size]
            np.matmul(columns, self.y[rows], out=sums[:size])
            np.matmul(columns, columns.T, out=sums[size:].reshape(size, size))
            return sums

        sums = self.standardised.sum_over_blocks(sums_of, n_sums=size + size**2)
        gram = sums[size:].reshape(size, size)
        gram[np.diag_indices(size)] += self.penalty
        return gram, sums[:size]

    def _null_directions(self) -> list[Vector]:
        """Return, in raw columns, the directions in which one-hot coding makes X w constant."""
        if not self.fit_intercept:
            return []
        directions = []
        for group in self.standardised.design.one_hot_groups():
            direction = np.zeros(self.n_columns)
            direction[group] = 1.0
            directions.append(direction)
        return directions

    def _one_hot_curvature(self, inverse: Vector) -> Matrix:
        """Return what makes the system definite without moving its solution of least norm.

        X'X is blind to a null direction v. Adding u u', where u'w is the part of the raw
        coefficients along v, forces that part to 0 and changes nothing else. Under a penalty the
        solution is unique and nothing is added.
        """
        curvature = np.zeros((self.n_columns, self.n_columns))
        if self.penalty.any():
            return curvature
        for direction in self._null_directions():
            u = direction * self.standardised.inverse_scale * inverse
            norm = float(np.sqrt(u @ u))
            if norm > 0:
                curvature += np.outer(u / norm, u / norm)
        return curvature

    def _solve_by_factors(self) -> Vector:
        """Return the solution by QR of the rows and SVD of R, at the condition of X itself."""
        factor = np.diag(np.append(np.sqrt(self.penalty), 0.0))
        for rows, block in self.standardised.blocks():
            stacked = np.vstack([block[: self.n_columns], self.y[rows]]).T
            factor = np.asarray(np.linalg.qr(np.vstack([factor, stacked]), mode="r"))
        R, target = factor[: self.n_columns, : self.n_columns], factor[: self.n_columns, -1]
        norms = np.sqrt(np.square(R).sum(axis=0))
        inverse = np.divide(1.0, norms, out=np.zeros_like(norms), where=norms > 0)
        left, singular, right = np.linalg.svd(R * inverse)
        kept = singular > RANK_TOLERANCE * max(float(singular.max(initial=0.0)), 1e-300)
        w = inverse * (right[kept].T @ ((left.T @ target)[kept] / singular[kept]))
        return self._least_norm(w, inverse[:, None] * right[~kept].T, norms > 0)

    def _least_norm(self, w: Vector, null: Matrix, alive: Flags) -> Vector:
        """Return w less its part along the null space, orthogonal in raw coefficients."""
        units = self.standardised.inverse_scale
        implied = sum(bool((d * units).any()) for d in self._null_directions())
        if not self.fit_intercept:
            implied = max(len(self.standardised.design.one_hot_groups()) - 1, 0)
        n_null = null.shape[1] - int((~alive).sum())
        self.rank_deficient = n_null > implied
        if n_null <= 0:
            return w
        raw_null = null * units[:, None]
        part = np.linalg.lstsq(raw_null, w * units, rcond=None)[0]
        return np.asarray(w - null @ part)
