"""A linear model's coefficients on the columns of the design: how they are stored.

Owns their arrays, and carries those that a later fit goes on from. Scoring fuses the coefficients
with the preprocessing, in `linear_predictor`.
"""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from proxy.engine.arrays import Matrix, Vector
from proxy.engine.predictors import LOG_ODDS, VALUE, Link, Tensors

PREFIX = "memory."


class Coefficients:
    """A sum of columns for each output.

    Parameters
    ----------
    coef : (n_outputs, n_features_in)
    intercept : (n_outputs,)
    memory : what the fit remembers of its rows, for `warm_start`; nothing reads it in scoring
    """

    def __init__(
        self, coef: Matrix, intercept: Vector, link: Link, memory: Tensors | None = None
    ) -> None:
        self.coef = coef
        self.intercept = intercept
        self.link: Link = link
        self.memory = dict(memory or {})
        self.n_outputs, self.n_features_in = coef.shape

    @property
    def is_classifier(self) -> bool:
        """Say whether the sums are log-odds."""
        return self.link == LOG_ODDS

    def outputs(self, X: Matrix) -> Matrix:
        """Return (n_outputs, n) for X (n, n_features_in).

        Added up column by column, so that a row has the same sum in any batch.
        """
        sums = np.repeat(self.intercept[:, None], len(X), axis=1)
        for column, weights in zip(X.T, self.coef.T, strict=True):
            sums += weights[:, None] * column
        return np.asarray(sums)

    def tensors(self) -> dict[str, NDArray[Any]]:
        """Return the arrays that `from_tensors` rebuilds it of."""
        remembered = {f"{PREFIX}{name}": array for name, array in self.memory.items()}
        return {"coef": self.coef, "intercept": self.intercept, **remembered}

    @classmethod
    def from_tensors(cls, tensors: Tensors, *, n_features_in: int, n_classes: int) -> Self:
        """Rebuild it.

        Raises
        ------
        ValueError, KeyError
            They are not the coefficients of so many columns and classes.
        """
        n_outputs = n_classes if n_classes > 2 else 1
        coef, intercept = tensors["coef"], tensors["intercept"]
        for array, shape in ((coef, (n_outputs, n_features_in)), (intercept, (n_outputs,))):
            if array.shape != shape or array.dtype != np.float64 or not np.isfinite(array).all():
                raise ValueError(f"an array is {array.shape}, not {shape}, or not finite")
        # Whoever goes on from them checks them: `remembered` knows what they must be.
        memory = {
            name.removeprefix(PREFIX): array
            for name, array in tensors.items()
            if name.startswith(PREFIX)
        }
        return cls(coef, intercept, LOG_ODDS if n_classes else VALUE, memory)
