"""Penalised least squares as a system of equations, and the ways to solve it.

Owns the sums over rows, and the solution in standardised columns: by Cholesky, by singular values
where that is ill-conditioned, by coordinate descent under an L1 penalty. What it means in raw
columns is `linear`'s.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, TypeAlias

import numpy as np

from proxy.engine.arrays import Flags, IterationReport, Matrix, Vector
from proxy.engine.linear.coordinate_descent import minimise_quadratic
from proxy.engine.linear.remembered import Statistics
from proxy.engine.linear.solvers import is_well_conditioned
from proxy.engine.preparation.design import StandardisedDesign
from proxy.engine.preparation.moments import Moments
from proxy.engine.row_blocks import row_blocks

# X'X squares the condition number: below this pivot too few digits would be left, and the factors
# come from X itself.
ILL_CONDITIONED = 1e-6
RANK_TOLERANCE = 1e-11
SQUARED_RANK_TOLERANCE = 1e-6  # where only X'X is left, half the digits are lost
NULL_TOLERANCE = 1e-10  # of the length of X v, squared, if v is to be a null direction
LARGEST_PENALTY = 1e290
DESCENT_TOLERANCE = 1e-11  # of the largest product of a column and the target

Solver: TypeAlias = Literal["cholesky", "svd", "coordinate_descent"]
Factor: TypeAlias = tuple[Matrix, Vector]
"""R and q with R'R = X'X and R'q = X'y, penalty included."""


class LeastSquaresRows:
    """The rows of a problem, as sums and as a factor.

    Targets and weights are made ready for a block of rows at a time: there may be more rows than
    memory has room for.

    Parameters
    ----------
    weight : (n_samples,), or None for ones
    """

    def __init__(self, standardised: StandardisedDesign, y: Vector, weight: Vector | None) -> None:
        self.standardised = standardised
        self.n_columns = standardised.n_columns
        self.fit_intercept = standardised.fit_intercept
        self.y = y
        self.weight = weight
        self.total = float(len(y)) if weight is None else float(weight.sum())
        self.y_mean = self._mean() if self.fit_intercept else 0.0
        self.y_scale = 1.0
        blocks = row_blocks(len(y))
        largest = (float(np.abs(self._target(rows)).max(initial=0.0)) for rows in blocks)
        self.y_scale = max(largest, default=0.0) or 1.0

    def _mean(self) -> float:
        """Return the mean of y, each row counted by its weight."""
        if self.weight is None:
            return float(self.y.mean())
        blocks = row_blocks(len(self.y))
        return sum(float((self.weight[rows] * self.y[rows]).sum()) for rows in blocks) / self.total

    def _target(self, rows: slice) -> Vector:
        """Return (m,) values of y less their mean, in units of y_scale; 0 of a row of no weight."""
        target = self.y[rows] - self.y_mean
        if self.weight is not None:
            target[self.weight[rows] == 0.0] = 0.0
        target /= self.y_scale
        return target

    def statistics(self) -> Statistics:
        """Return the sums over all rows, in one pass."""
        size = self.n_columns
        n_sums = 2 * size + size**2 + 2

        def sums_of(rows: slice, block: Matrix, scratch: Matrix) -> Vector:
            sums = np.empty(n_sums)
            target = self._target(rows)
            if self.weight is None:
                sums[-2] = target.sum()
            else:
                root = np.sqrt(self.weight[rows])
                block = np.multiply(block, root, out=scratch[: len(block)])
                target *= root
                sums[-2] = (target * root).sum()
            sums[-1] = np.square(target).sum()
            columns = block[:size]
            np.matmul(columns, target, out=sums[:size])
            if self.fit_intercept:  # a seventh of what a row more in the next product costs
                np.matmul(columns, block[size], out=sums[size : 2 * size])
            np.matmul(columns, columns.T, out=sums[2 * size : -2].reshape(size, size))
            return sums

        n_scratch = 0 if self.weight is None else size + self.fit_intercept
        # Without any column there is room for one all the same: blocks have a size.
        n_scratch += not size
        sums = self.standardised.sum_over_blocks(sums_of, n_sums=n_sums, n_scratch=n_scratch)
        gram = sums[2 * size : -2].reshape(size, size)
        return self._centred(sums[:size], sums[size : 2 * size], gram, sums[-2:])

    def _centred(self, moment: Vector, total: Vector, gram: Matrix, y_sums: Vector) -> Statistics:
        """Return the statistics less what the means, not quite those of the rows, put into them.

        Parameters
        ----------
        total : (n_columns,), the columns' sums: of rounding only, if the design's means are true
        y_sums : (2,), the sum of the targets, and of their squares
        """
        design = self.standardised.design
        mean, y_mean = design.mean, self.y_mean
        y_sum, y_square = (float(part) for part in y_sums)
        if self.fit_intercept:
            offset = total / self.total
            gram -= np.outer(total, offset)
            y_offset = y_sum / self.total
            moment = moment - y_offset * total
            mean = mean + offset * design.scale
            y_mean += y_offset * self.y_scale
            y_square = max(y_square - self.total * y_offset**2, 0.0)
        columns = Moments(self.total, mean, design.scale)
        return Statistics(columns, gram, moment, y_mean, self.y_scale, y_square, self.fit_intercept)

    def factor(self, penalty: Vector) -> Factor:
        """Return the factor by QR of the rows, which are as well-conditioned as X itself."""
        first = int(self.fit_intercept)  # the ones lead: what follows is then centred
        width = first + self.n_columns + 1
        factor = np.diag(np.concatenate([np.zeros(first), np.sqrt(penalty), np.zeros(1)]))
        parts = [factor]
        n_waiting = 0
        for rows, block in self.standardised.blocks():
            stacked = np.empty((rows.stop - rows.start, width))
            stacked[:, :first] = 1.0
            stacked[:, first:-1] = block[: self.n_columns].T
            stacked[:, -1] = self._target(rows)
            if self.weight is not None:
                stacked *= np.sqrt(self.weight[rows])[:, None]
            parts.append(stacked)
            n_waiting += len(stacked)
            if n_waiting >= width:  # fewer would cost as much for the factor as for the rows
                parts, n_waiting = [np.asarray(np.linalg.qr(np.vstack(parts), mode="r"))], 0
        R = np.asarray(np.linalg.qr(np.vstack(parts), mode="r"))
        return R[first:-1, first:-1], R[first:-1, -1]


class LeastSquares:
    """One problem in standardised columns, without the column of ones: centring replaces it.

    Minimise ||y - X w||^2 + l2 ||w||^2 + l1 ||w||_1, in raw coefficients.

    Parameters
    ----------
    null_directions : (n_columns, m), in raw columns, those in which X w is known to be constant
    factor_of : given the penalty, the factor of the rows; None where they are gone

    Attributes
    ----------
    solver : what `solve` came to use
    rank_deficient : columns depend on one another beyond the null directions
    n_iter, converged : of coordinate descent
    """

    def __init__(
        self,
        statistics: Statistics,
        *,
        l2: float,
        l1: float,
        null_directions: Matrix,
        factor_of: Callable[[Vector], Factor] | None,
    ) -> None:
        self.statistics = statistics
        unit = statistics.unit
        self.inverse_unit = np.divide(1.0, unit, out=np.zeros_like(unit), where=unit > 0)
        with np.errstate(over="ignore"):
            self.penalty = np.minimum(l2 * np.square(self.inverse_unit), LARGEST_PENALTY)
            self.l1 = np.minimum(0.5 * l1 / statistics.y_scale * self.inverse_unit, LARGEST_PENALTY)
        self.null_directions = self._true_ones(null_directions)
        self.factor_of = factor_of
        self.solver: Solver = "cholesky"
        self.rank_deficient = False
        self.n_iter, self.converged = 1, True

    def solve(self, report: IterationReport) -> Vector:
        """Return the (n_columns,) coefficients of standardised columns, in units of y_scale."""
        gram = self.statistics.gram.copy()
        gram[np.diag_indices_from(gram)] += self.penalty
        if self.l1.any():
            return self._descend(gram, report)
        units = np.sqrt(np.maximum(np.diagonal(gram), 0.0))
        inverse = np.divide(1.0, units, out=np.zeros_like(units), where=units > 0)
        scaled = gram * inverse[:, None] * inverse
        scaled += self._curvature(inverse)
        np.fill_diagonal(scaled, np.where(units > 0, np.diagonal(scaled), 1.0))
        if is_well_conditioned(scaled, ILL_CONDITIONED):
            return np.asarray(inverse * np.linalg.solve(scaled, inverse * self.statistics.moment))
        self.solver = "svd"
        if self.factor_of is None:
            factor, tolerance = _root_of(gram, self.statistics.moment), SQUARED_RANK_TOLERANCE
        else:
            factor, tolerance = self.factor_of(self.penalty), RANK_TOLERANCE
        return self._solve_by_factor(factor, tolerance)

    def _descend(self, gram: Matrix, report: IterationReport) -> Vector:
        self.solver = "coordinate_descent"
        moment, weight = self.statistics.moment, self.statistics.columns.weight
        scale = self.statistics.y_scale**2

        def report_loss(n_sweeps: int, value: float) -> None:
            report(n_sweeps, (self.statistics.y_square + 2.0 * value) * scale / weight)

        found = minimise_quadratic(
            gram,
            moment,
            self.l1,
            np.zeros_like(moment),
            tol=DESCENT_TOLERANCE * float(np.abs(moment).max(initial=0.0)),
            report=report_loss,
        )
        self.n_iter, self.converged = found.n_sweeps, found.converged
        return found.point

    def _true_ones(self, directions: Matrix) -> Matrix:
        """Return the null directions that are such in these rows, less their constant columns.

        Rows that came later may hold a category that none before them did.
        """
        along = directions * self.statistics.unit[:, None]
        alive = directions * (self.inverse_unit > 0)[:, None]
        length = np.einsum("ij,ij->j", along, self.statistics.gram @ along)
        parts = np.diagonal(self.statistics.gram) @ np.square(along)
        return np.asarray(alive[:, (length <= NULL_TOLERANCE * parts) & alive.any(axis=0)])

    def _curvature(self, inverse: Vector) -> Matrix:
        """Return what makes the system definite without moving its solution of least norm.

        X'X is blind to a null direction v. Adding u u', where u'w is the part of the raw
        coefficients along v, forces that part to 0 and changes nothing else. Under a penalty the
        solution is unique and nothing is added.
        """
        if self.penalty.any() or not self.null_directions.shape[1]:
            return np.zeros_like(self.statistics.gram)
        along = self.null_directions * (self.inverse_unit * inverse)[:, None]
        norms = np.sqrt(np.square(along).sum(axis=0))
        along = along[:, norms > 0] / norms[norms > 0]
        return np.asarray(along @ along.T)

    def _solve_by_factor(self, factor: Factor, tolerance: float) -> Vector:
        """Return the solution by the singular values of the factor."""
        R, target = factor
        norms = np.sqrt(np.square(R).sum(axis=0))
        inverse = np.divide(1.0, norms, out=np.zeros_like(norms), where=norms > 0)
        left, singular, right = np.linalg.svd(R * inverse)
        kept = singular > tolerance * max(float(singular.max(initial=0.0)), 1e-300)
        w = inverse * (right[kept].T @ ((left.T @ target)[kept] / singular[kept]))
        return self._least_norm(w, inverse[:, None] * right[~kept].T, norms > 0)

    def _least_norm(self, w: Vector, null: Matrix, alive: Flags) -> Vector:
        """Return w less its part along the null space, orthogonal in raw coefficients."""
        n_null = null.shape[1] - int((~alive).sum())
        self.rank_deficient = n_null > self._n_implied()
        if n_null <= 0:
            return w
        raw_null = null * self.inverse_unit[:, None]
        part = np.linalg.lstsq(raw_null, w * self.inverse_unit, rcond=None)[0]
        return np.asarray(w - null @ part)

    def _n_implied(self) -> int:
        """Return the dimension of the null space that was to be expected."""
        if not self.null_directions.shape[1]:
            return 0
        return int(np.linalg.matrix_rank(self.null_directions))


def _root_of(gram: Matrix, moment: Vector) -> Factor:
    """Return a factor of what is left of the rows, their products."""
    norms = np.sqrt(np.maximum(np.diagonal(gram), 0.0))
    inverse = np.divide(1.0, norms, out=np.zeros_like(norms), where=norms > 0)
    values, vectors = np.linalg.eigh(gram * inverse[:, None] * inverse)
    is_kept = values > SQUARED_RANK_TOLERANCE**2 * max(float(values.max(initial=0.0)), 1e-300)
    roots = np.sqrt(np.where(is_kept, values, 0.0))
    R = roots[:, None] * vectors.T * norms
    inverse_roots = np.divide(1.0, roots, out=np.zeros_like(roots), where=is_kept)
    return R, inverse_roots * (vectors.T @ (inverse * moment))
