"""The flat form of preprocessing and a linear estimator, for scoring row batches fast.

Owns the sums: a slope for each numeric input, a table for each category, a constant. What a score
means (value, log-odds) is left to `model`.

A row's score is the same, bit for bit, alone and in any batch: the order of a row's additions
depends on nothing but the model. BLAS products do not promise that.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from proxy.engine.arrays import Flags, Matrix, Vector
from proxy.engine.encoders import CategoryEncoder, InputEncoder, NumberEncoder, table_index

NARROW = 16
"""Up to so many inputs one column after the other is faster than one row after the other."""

# Powers of two that bring any product of two float64 into range: 1024 - 600 + 1024 - 500 < 1024.
INPUT_EXPONENT, SLOPE_EXPONENT = -600, -500


@dataclass(frozen=True, slots=True)
class _Table:
    """What a category adds to each output, by place of `table_index`."""

    column: int
    n_categories: int
    weights: Matrix
    first_output: tuple[float, ...]

    def place(self, raw: float) -> int:
        """Return `table_index` of one value, in Python."""
        if raw != raw:  # noqa: PLR0124  NaN, and cheaper than math.isnan
            return self.n_categories + 2
        return int(min(max(raw, -1.0), float(self.n_categories)) + 1.0)


class LinearPredictor:
    """Score raw rows with `coef` (n_outputs, n_design) and `intercept` (n_outputs,)."""

    def __init__(self, encoders: Sequence[InputEncoder], coef: Matrix, intercept: Vector) -> None:
        self.width = len(encoders)
        self.n_outputs = len(coef)
        self.constant = intercept
        self.slopes = np.zeros((self.n_outputs, self.width))
        self.indicator_weights = np.zeros((self.n_outputs, self.width))
        self.imputed = np.zeros(self.width)
        self.minimum = np.zeros(self.width)
        self.maximum = np.zeros(self.width)
        self._tables: list[_Table] = []
        first = 0
        for j, encoder in enumerate(encoders):
            self._flatten(j, encoder, coef[:, first : first + encoder.n_columns])
            first += encoder.n_columns
        self._finish()

    def _flatten(self, j: int, encoder: InputEncoder, coef: Matrix) -> None:
        if isinstance(encoder, CategoryEncoder):
            padded = np.hstack([coef, np.zeros((self.n_outputs, 1))])  # slot -1 weighs nothing
            weights = np.ascontiguousarray(padded[:, encoder.slot_table()])
            n_categories = len(encoder.categories)
            self._tables.append(_Table(j, n_categories, weights, tuple(weights[0].tolist())))
            return
        assert isinstance(encoder, NumberEncoder)
        self.slopes[:, j] = coef[:, 0]
        if encoder.has_indicator:
            self.indicator_weights[:, j] = coef[:, 1]
        self.imputed[j] = encoder.imputed
        self.minimum[j], self.maximum[j] = encoder.minimum, encoder.maximum

    def _finish(self) -> None:
        categorical = {table.column for table in self._tables}
        self._numeric = [j for j in range(self.width) if j not in categorical]
        self._first_slopes = [(j, float(self.slopes[0, j])) for j in self._numeric]
        self._first_constant = float(self.constant[0])
        self._is_narrow = self.width <= NARROW

    def score_row(self, row: Sequence[float]) -> float:
        """Return the first output of one row of Python floats; what `scores` returns, sooner."""
        if not self._is_narrow:
            return float(self.scores(np.array([row]))[0, 0])
        z = self._first_constant
        for j, slope in self._first_slopes:
            z += row[j] * slope
        for table in self._tables:
            z += table.first_output[table.place(row[table.column])]
        if z - z == 0.0:
            return z
        with np.errstate(all="ignore"):
            return float(self._careful(np.array([row]))[0, 0])

    def scores(self, raw: Matrix) -> Matrix:
        """Return the (n_outputs, n) scores of a C-contiguous (n, width) raw matrix; never NaN."""
        with np.errstate(all="ignore"):
            z = self._sum(raw, raw)
            wrong = ~np.isfinite(z)
            if wrong.any():
                rows = np.flatnonzero(wrong.any(axis=0))
                z[:, rows] = self._careful(raw[rows])
        return z

    def _sum(self, values: Matrix, codes: Matrix) -> Matrix:
        """Return constant + slopes * values + tables[codes]; both (n, width), often the same."""
        z = np.empty((self.n_outputs, len(values)))
        z[:] = self.constant[:, None]
        if self._is_narrow:
            for j in self._numeric:
                z += values[:, j] * self.slopes[:, j, None]
        elif self._numeric:
            for k in range(self.n_outputs):
                z[k] += np.vecdot(values, self.slopes[k])
        for table in self._tables:
            places = table_index(codes[:, table.column], table.n_categories)
            z += table.weights.take(places, axis=1)
        return z

    def _careful(self, raw: Matrix) -> Matrix:
        """Return the scores of rows with missing, infinite or enormous values."""
        missing = np.isnan(raw)
        repaired = self._repair(raw, missing)
        z = self._sum(repaired, raw)
        for j in self._numeric:
            if missing[:, j].any():
                z += missing[:, j] * self.indicator_weights[:, j, None]
        wrong = ~np.isfinite(z)
        if wrong.any():
            rows = np.flatnonzero(wrong.any(axis=0))
            z[:, rows] = np.where(wrong[:, rows], self._rescaled(repaired[rows]), z[:, rows])
        return z

    def _repair(self, raw: Matrix, missing: Flags) -> Matrix:
        repaired = raw.copy()
        for j in self._numeric:
            column = repaired[:, j]
            column[missing[:, j]] = self.imputed[j]
            column[column == np.inf] = self.maximum[j]
            column[column == -np.inf] = self.minimum[j]
        # A row product runs over the codes too, with slope 0: a NULL's NaN would spoil it.
        repaired[:, [table.column for table in self._tables]] = 0.0
        return repaired

    def _rescaled(self, raw: Matrix) -> Matrix:
        """Return sums whose terms overflow, taken where they do not; ±inf only if so large."""
        exponent = INPUT_EXPONENT + SLOPE_EXPONENT
        small = self._products_only(
            np.ldexp(raw, INPUT_EXPONENT), np.ldexp(self.slopes, SLOPE_EXPONENT)
        )
        return np.ldexp(small + np.ldexp(self.constant, exponent)[:, None], -exponent)

    def _products_only(self, raw: Matrix, slopes: Matrix) -> Matrix:
        z = np.zeros((self.n_outputs, len(raw)))
        for j in self._numeric:
            z += raw[:, j] * slopes[:, j, None]
        return z
