"""What a score should be, by another road: plain Python for the encoding, scikit-learn for the fit.

Owns the design contract's encoding rules, written a second time: numbers are imputed by the mean,
with an indicator where training had missing values; categories are one-hot, NULL among them where
training had NULLs; an unseen category is all zeros; infinities are clipped to the training range.
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.preprocessing import StandardScaler

Row = Sequence[object]
Matrix = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class NumberRule:
    """One column for the number, one more if training had missing values."""

    mean: float
    minimum: float
    maximum: float
    has_missing: bool

    @classmethod
    def learn(cls, values: Sequence[float]) -> NumberRule:
        known = [value for value in values if math.isfinite(value)]
        mean = math.fsum(known) / len(known)
        return cls(mean, min(known), max(known), len(known) < len(values))

    def columns(self, values: Sequence[float]) -> list[list[float]]:
        missing = [float(math.isnan(value)) for value in values]
        filled = [
            self.mean if math.isnan(v) else v if math.isfinite(v) else self._clipped(v)
            for v in values
        ]
        return [filled, missing] if self.has_missing else [filled]

    def _clipped(self, value: float) -> float:
        return min(max(value, self.minimum), self.maximum)


@dataclass(frozen=True, slots=True)
class CategoryRule:
    """One column for each value that training had, NULL too."""

    values: tuple[object, ...]

    @classmethod
    def learn(cls, values: Sequence[object]) -> CategoryRule:
        return cls(tuple(sorted(set(values), key=repr)))

    def columns(self, values: Sequence[object]) -> list[list[float]]:
        return [[float(value == known) for value in values] for known in self.values]


def number(value: object) -> float:
    """Return a SQL value as a number; dates and timestamps are seconds since 1970."""
    if value is None:
        return math.nan
    if isinstance(value, dt.datetime):
        return value.replace(tzinfo=value.tzinfo or dt.UTC).timestamp()
    if isinstance(value, dt.date):
        return float((value - dt.date(1970, 1, 1)).days * 86400)
    assert isinstance(value, bool | int | float | Decimal), value
    return float(value)


class Encoding:
    """The design matrix of rows whose columns hold numbers, texts or lists of numbers."""

    def __init__(self, rows: Sequence[Row]) -> None:
        self.kinds = [_kind([row[i] for row in rows]) for i in range(len(rows[0]))]
        self.widths = [
            max(len(row[i]) for row in rows if row[i] is not None) if kind is list else 1  # type: ignore[arg-type]
            for i, kind in enumerate(self.kinds)
        ]
        self.rules = [
            CategoryRule.learn(values) if kind is str else NumberRule.learn(values)  # type: ignore[arg-type]
            for kind, values in self._spread(rows)
        ]

    def matrix(self, rows: Sequence[Row]) -> Matrix:
        """Return (n_samples, n_columns)."""
        columns: list[list[float]] = []
        for rule, (_, values) in zip(self.rules, self._spread(rows), strict=True):
            columns += rule.columns(values)  # type: ignore[arg-type]
        return np.array(columns, dtype=np.float64).T

    def _spread(self, rows: Sequence[Row]) -> list[tuple[type, list[object]]]:
        spread: list[tuple[type, list[object]]] = []
        for i, (kind, width) in enumerate(zip(self.kinds, self.widths, strict=True)):
            values = [row[i] for row in rows]
            if kind is str:
                spread.append((str, values))
            elif kind is list:
                lists = [value or [None] * width for value in values]
                spread += [(float, [number(each[k]) for each in lists]) for k in range(width)]  # type: ignore[index]
            else:
                spread.append((float, [number(value) for value in values]))
        return spread


def _kind(values: Sequence[object]) -> type:
    known = next(value for value in values if value is not None)
    return str if isinstance(known, str) else list if isinstance(known, list) else float


@dataclass(frozen=True, slots=True)
class Fitted:
    """A scikit-learn model of encoded rows."""

    encoding: Encoding
    scaler: StandardScaler | None
    estimator: LinearRegression | Ridge | LogisticRegression

    def _matrix(self, rows: Sequence[Row]) -> Matrix:
        matrix = self.encoding.matrix(rows)
        return self.scaler.transform(matrix) if self.scaler is not None else matrix

    def values(self, rows: Sequence[Row]) -> Matrix:
        """Return the regression values, or the labels."""
        return self.estimator.predict(self._matrix(rows))

    def probabilities(self, rows: Sequence[Row]) -> Matrix:
        """Return the probability of the second class."""
        return self.estimator.predict_proba(self._matrix(rows))[:, 1]


def linear(rows: Sequence[Row], target: Sequence[float], l2: float = 0.0) -> Fitted:
    """Fit least squares.  Without a penalty the scale of the columns changes no score."""
    encoding = Encoding(rows)
    matrix = encoding.matrix(rows)
    if l2:
        return Fitted(encoding, None, Ridge(alpha=l2, solver="svd").fit(matrix, target))
    scaler = StandardScaler().fit(matrix)
    return Fitted(encoding, scaler, LinearRegression().fit(scaler.transform(matrix), target))


def logistic(rows: Sequence[Row], target: Sequence[object], l2: float = 1.0) -> Fitted:
    """Fit the log loss with the penalty l2/2 |w|^2 on the raw columns."""
    encoding = Encoding(rows)
    estimator = LogisticRegression(C=1 / l2, solver="newton-cholesky", tol=1e-11, max_iter=1000)
    return Fitted(encoding, None, estimator.fit(encoding.matrix(rows), target))
