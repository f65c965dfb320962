"""What a linear model keeps of the rows that it has learned from, to learn on without them.

Owns sufficient statistics of least squares, and the quadratic that stands for a log-loss near its
minimum; how both are put together with those of new rows, and their arrays for storage. Fits are
`linear`'s and `logistic`'s.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from proxy.engine.arrays import Matrix, Vector
from proxy.engine.predictors import Tensors
from proxy.engine.preparation.moments import Moments, mean_gap


@dataclass(frozen=True, slots=True)
class Statistics:
    """Sums over rows, in standardised columns z = (x - shift) / unit and target t.

    t is (y - y_mean) / y_scale. With an intercept, both are centred: their weighted sums are 0.

    Attributes
    ----------
    columns : weight and moments of the raw columns, which give shift and unit
    gram : (n_columns, n_columns), sum of w z z'
    moment : (n_columns,), sum of w z t
    y_square : sum of w t^2
    """

    columns: Moments
    gram: Matrix
    moment: Vector
    y_mean: float
    y_scale: float
    y_square: float
    fit_intercept: bool

    @property
    def unit(self) -> Vector:
        """Return (n_columns,), the unit of each standardised column; 0 where it is constant."""
        return self.columns.unit(fit_intercept=self.fit_intercept)

    def merged(self, other: Statistics) -> Statistics:
        """Return the statistics of both sets of rows together.

        Raises
        ------
        ValueError
            They are not of the same columns, or only one of them is centred.
        """
        if (len(self.moment), self.fit_intercept) != (len(other.moment), other.fit_intercept):
            raise ValueError("the statistics are not of the same problem")
        columns = self.columns.merged(other.columns)
        unit = columns.unit(fit_intercept=self.fit_intercept)
        y_gap = other.y_mean - self.y_mean
        y_scale = max(self.y_scale, other.y_scale, abs(y_gap))
        gram, moment = np.zeros_like(self.gram), np.zeros_like(self.moment)
        y_square = 0.0
        for part in (self, other):
            ratio, y_ratio = _ratio(part.unit, unit), part.y_scale / y_scale
            gram += part.gram * ratio[:, None] * ratio
            moment += part.moment * ratio * y_ratio
            y_square += part.y_square * y_ratio**2
        share = other.columns.weight / columns.weight
        if self.fit_intercept:
            between = self.columns.weight * share
            gap = _ratio(mean_gap(self.columns.mean, other.columns.mean), unit)
            gram += between * np.outer(gap, gap)
            moment += between * (y_gap / y_scale) * gap
            y_square += between * (y_gap / y_scale) ** 2
        y_mean = self.y_mean + share * y_gap
        return Statistics(columns, gram, moment, y_mean, y_scale, y_square, self.fit_intercept)

    def tensors(self) -> dict[str, NDArray[Any]]:
        """Return the arrays that `from_tensors` rebuilds it of."""
        target = [self.columns.weight, self.y_mean, self.y_scale, self.y_square]
        return {
            "mean": self.columns.mean,
            "scale": self.columns.scale,
            "gram": self.gram,
            "moment": self.moment,
            "target": np.array(target),
        }

    @classmethod
    def from_tensors(cls, tensors: Tensors, *, n_features_in: int, fit_intercept: bool) -> Self:
        """Rebuild it of arrays that anybody may have made.

        Raises
        ------
        ValueError, KeyError
            They are not the statistics of so many columns.
        """
        target = _checked(tensors, "target", (4,))
        weight, y_mean, y_scale, y_square = (float(value) for value in target)
        columns = _moments(tensors, weight, n_features_in)
        if y_scale <= 0.0 or y_square < 0.0:
            raise ValueError("the target's scale is not positive")
        gram = _checked(tensors, "gram", (n_features_in, n_features_in))
        moment = _checked(tensors, "moment", (n_features_in,))
        return cls(columns, gram, moment, y_mean, y_scale, y_square, fit_intercept)


@dataclass(frozen=True, slots=True)
class Curvature:
    """The log-loss of rows near the coefficients that it is kept with, as a quadratic.

    slope' d + d' hessian d / 2, for a step d of parameters in standardised columns: for each output
    the coefficients, then the intercept where there is one.

    Attributes
    ----------
    columns : weight and moments of the raw columns, which give shift and unit
    hessian : (n_parameters, n_parameters), penalties not among it
    slope : (n_parameters,)

    References
    ----------
    Spiegelhalter & Lauritzen (1990), Networks 20, 579-605, section 4; Ritter, Botev & Barber
    (2018), NeurIPS 31, "online Laplace".
    """

    columns: Moments
    hessian: Matrix
    slope: Vector

    def reframed(self, columns: Moments, *, fit_intercept: bool) -> Curvature:
        """Return the same quadratic in columns that are standardised by other moments."""
        unit = columns.unit(fit_intercept=fit_intercept)
        own = np.diag(_ratio(self.columns.unit(fit_intercept=fit_intercept), unit))
        if fit_intercept:
            moved = _ratio(self.columns.mean - columns.mean, unit)
            own = np.block([[own, np.zeros((len(unit), 1))], [moved[None, :], np.ones((1, 1))]])
        jacobian = np.kron(np.eye(len(self.slope) // len(own)), own)
        hessian = jacobian.T @ self.hessian @ jacobian
        return Curvature(columns, hessian, jacobian.T @ self.slope)

    def tensors(self) -> dict[str, NDArray[Any]]:
        """Return the arrays that `from_tensors` rebuilds it of."""
        return {
            "mean": self.columns.mean,
            "scale": self.columns.scale,
            "weight": np.array([self.columns.weight]),
            "hessian": self.hessian,
            "slope": self.slope,
        }

    @classmethod
    def from_tensors(
        cls, tensors: Tensors, *, n_features_in: int, n_classes: int, fit_intercept: bool
    ) -> Self:
        """Rebuild it of arrays that anybody may have made.

        Raises
        ------
        ValueError, KeyError
            They are not those of so many columns and classes.
        """
        n_outputs = n_classes if n_classes > 2 else 1
        size = n_outputs * (n_features_in + fit_intercept)
        weight = float(_checked(tensors, "weight", (1,))[0])
        columns = _moments(tensors, weight, n_features_in)
        hessian = _checked(tensors, "hessian", (size, size))
        return cls(columns, hessian, _checked(tensors, "slope", (size,)))


def _ratio(part: Vector, unit: Vector) -> Vector:
    """Return part / unit, 0 where the unit is 0."""
    return np.divide(part, unit, out=np.zeros_like(unit), where=unit > 0)


def _moments(tensors: Tensors, weight: float, n_columns: int) -> Moments:
    mean, scale = (_checked(tensors, name, (n_columns,)) for name in ("mean", "scale"))
    if weight <= 0.0 or (scale < 0.0).any():
        raise ValueError("a weight or a scale is negative")
    return Moments(weight, mean, scale)


def _checked(tensors: Tensors, name: str, shape: tuple[int, ...]) -> NDArray[np.float64]:
    array = tensors[name]
    if array.shape != shape or array.dtype != np.float64 or not np.isfinite(array).all():
        raise ValueError(f"{name} is {array.shape}, not {shape}, or not finite")
    return array
