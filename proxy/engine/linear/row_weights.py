"""How much each row counts in a fit, its class considered, without an array of that.

Owns the product of a row's weight and its class's, made for a block of rows at a time.
"""

from __future__ import annotations

import numpy as np

from proxy.engine.arrays import Codes, Vector
from proxy.engine.class_weight import class_shares
from proxy.engine.row_blocks import row_blocks


class RowWeights:
    """Weights of rows; `weights[rows]` are those of a slice of them.

    Parameters
    ----------
    codes : (n,) the classes' numbers
    sample_weight : (n,), or None for ones
    share : (n_classes,), what a row of each class counts times that; None: nothing but that
    unit : what the weights are divided by
    """

    def __init__(
        self,
        codes: Codes,
        sample_weight: Vector | None,
        share: Vector | None = None,
        unit: float = 1.0,
    ) -> None:
        self._codes = codes
        self._sample_weight = sample_weight
        self._share = share
        self._unit = unit

    @classmethod
    def of(
        cls, codes: Codes, n_classes: int, sample_weight: Vector | None, class_weight: str | None
    ) -> RowWeights | None:
        """Return the weights of rows, with those of their classes; None: each counts 1.

        Parameters
        ----------
        class_weight : as of `class_weight.class_weights`
        """
        if class_weight == "balanced":
            return cls(codes, sample_weight, class_shares(codes, n_classes, sample_weight))
        return None if sample_weight is None else cls(codes, sample_weight)

    def __getitem__(self, rows: slice) -> Vector:
        """Return the (m,) weights of some rows, an array of its own."""
        if self._share is None:
            assert self._sample_weight is not None
            return np.asarray(self._sample_weight[rows] / self._unit)
        weight = (self._share / self._unit)[self._codes[rows]]
        if self._sample_weight is not None:
            weight *= self._sample_weight[rows]
        return weight

    def mean(self) -> float:
        """Return the mean weight of a row."""
        if self._share is None and self._sample_weight is not None and self._unit == 1.0:
            return float(self._sample_weight.mean())
        n = len(self._codes)
        return sum(float(self[rows].sum()) for rows in row_blocks(n)) / n

    def every(self, step: int) -> RowWeights:
        """Return the weights of every step-th row."""
        weight = None if self._sample_weight is None else self._sample_weight[::step]
        return RowWeights(self._codes[::step], weight, self._share, self._unit)

    def per(self, unit: float) -> RowWeights:
        """Return the weights divided by a unit."""
        return RowWeights(self._codes, self._sample_weight, self._share, self._unit * unit)
