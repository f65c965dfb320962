"""What every fitted estimator leaves behind: something that scores rows, and that can be stored.

Owns the protocol, and what the numbers of a score mean. The estimators' own predictors are in their
files; how raw values become the columns that they take is `preprocessing`'s.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, Protocol, Self, TypeAlias

from numpy.typing import NDArray

from proxy.engine.arrays import Matrix

Link: TypeAlias = Literal["value", "log_odds", "probability", "label"]

VALUE: Link = "value"
"""One output, the value itself."""
LOG_ODDS: Link = "log_odds"
"""Of two classes one output, the log-odds of class 1; of more one each, up to a constant."""
PROBABILITY: Link = "probability"
"""One output for each class; they add up to 1."""
LABEL: Link = "label"
"""One output, the place of a class or a cluster."""

Tensors: TypeAlias = Mapping[str, NDArray[Any]]


class Predictor(Protocol):
    """Scores rows of a design matrix.

    A row gets the same outputs, bit for bit, alone and in any batch; none is NaN.

    Attributes
    ----------
    link : what an output means
    n_features_in : columns of the design
    n_outputs : numbers for each row
    """

    link: Link
    n_features_in: int
    n_outputs: int

    def outputs(self, X: Matrix) -> Matrix:
        """Return (n_outputs, n) for a C-contiguous X (n, n_features_in)."""

    def tensors(self) -> dict[str, NDArray[Any]]:
        """Return the arrays that `from_tensors` rebuilds it of."""

    @classmethod
    def from_tensors(cls, tensors: Tensors, *, n_features_in: int, n_classes: int) -> Self:
        """Rebuild it of arrays that anybody may have made.

        Parameters
        ----------
        n_classes : of a classifier; else 0

        Raises
        ------
        ValueError, KeyError
            They are not those of such a predictor.
        """
