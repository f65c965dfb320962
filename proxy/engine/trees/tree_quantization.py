"""What leaves are worth: their values, whole or rounded, and how they are stored.

Owns the rounding and its inverse. What is stored is kept as it is, and scores come from what it
decodes to, so that a rounded model scores the same after any number of trips to the store.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, Self, TypeAlias

import numpy as np
from numpy.typing import NDArray

from proxy.engine.arrays import Matrix, Vector
from proxy.engine.predictors import Tensors
from proxy.engine.row_blocks import row_blocks

Precision: TypeAlias = Literal["float64", "float16", "int8"]

STORED_TYPES: dict[Precision, type[np.generic]] = {
    "float64": np.float64,
    "float16": np.float16,
    "int8": np.uint8,
}
LEVELS = 255
SHARE_TOLERANCE = 1e-6
PROBE_LEAVES = 4096
INDEX_TYPES = (np.uint8, np.uint16, np.uint32)


@dataclass(frozen=True, slots=True)
class LeafValues:
    """The values of leaves: low + step * stored, each distinct row once where that is smaller.

    Attributes
    ----------
    stored : (n_rows, n_values), of one of STORED_TYPES
    low, step : 0 and 1 for float64
    index : (n_leaves,), the row of each leaf; None: they are in order
    are_shares : each row is probabilities; if rounded, it is divided by its sum
    """

    stored: NDArray[Any]
    low: float = 0.0
    step: float = 1.0
    index: NDArray[Any] | None = None
    are_shares: bool = False

    @classmethod
    def of(cls, values: Matrix, precision: Precision = "float64", *, are_shares: bool) -> Self:
        """Return the (n_leaves, n_values) values, finite, rounded to a precision.

        float16 has 11 bits for the distance from the middle of all values, or for a share: an error
        of at most 2^-12 of their range. int8 has 255 steps from the lowest to the highest: at most
        1/510 of the range. Shares may be off by n_values times as much, as they are made to add up
        to 1.
        """
        stored, low, step = _rounded(values, precision, are_shares=are_shares)
        rows, index = _distinct_rows(stored)
        return cls(rows, low, step, index, are_shares)

    @property
    def n_leaves(self) -> int:
        """Return the number of leaves."""
        return len(self.stored if self.index is None else self.index)

    @property
    def n_values(self) -> int:
        """Return the number of values of a leaf."""
        return int(self.stored.shape[1])

    def decoded(self) -> Matrix:
        """Return the (n_rows, n_values) values."""
        if self.stored.dtype == np.float64:
            return np.ascontiguousarray(self.stored)
        with np.errstate(over="ignore", invalid="ignore"):
            values = np.asarray(self.low + self.step * self.stored.astype(np.float64))
            if self.are_shares:
                sums = values.sum(axis=1, keepdims=True)
                even = np.full_like(values, 1.0 / self.n_values)
                values = np.divide(values, sums, out=even, where=sums > 0)
        return values

    def of_leaves(self) -> Matrix:
        """Return the (n_leaves, n_values) values."""
        values = self.decoded()
        return values if self.index is None else values[self.index]

    def magnitudes(self) -> Vector:
        """Return the (n_leaves,) largest absolute value of each."""
        values = self.decoded()
        sizes = np.empty(len(values))
        for rows in row_blocks(len(values)):
            np.abs(values[rows]).max(axis=1, out=sizes[rows])
        return sizes if self.index is None else np.asarray(sizes[self.index])

    def tensors(self) -> dict[str, NDArray[Any]]:
        """Return the arrays that `from_tensors` rebuilds it of."""
        tensors = {"values": self.stored}
        if self.stored.dtype != np.float64:
            tensors["value_scale"] = np.array([self.low, self.step])
        if self.index is not None:
            tensors["value_index"] = self.index
        return tensors

    @classmethod
    def from_tensors(cls, tensors: Tensors, *, are_shares: bool) -> Self:
        """Rebuild it of arrays that anybody may have made.

        Raises
        ------
        ValueError, KeyError
            They are not values, or one is not finite.
        """
        stored, index = tensors["values"], tensors.get("value_index")
        if stored.ndim != 2 or stored.dtype.type not in STORED_TYPES.values():
            raise ValueError(f"the values of leaves are {stored.dtype} {stored.shape}")
        low, step = (0.0, 1.0) if stored.dtype == np.float64 else _scale(tensors["value_scale"])
        if are_shares and not (low == 0.0 and 0.0 < step <= 1.0):
            raise ValueError("shares are not between 0 and 1")
        if index is not None:
            if index.ndim != 1 or index.dtype.type not in INDEX_TYPES:
                raise ValueError(f"the rows of leaves are {index.dtype} {index.shape}")
            if int(index.max(initial=0)) >= len(stored):
                raise ValueError("a leaf has no values")
        values = cls(stored, low, step, index, are_shares)
        decoded = values.decoded()
        if not np.isfinite(decoded).all():
            raise ValueError("a leaf's value is not finite")
        if are_shares and not _are_shares(decoded):
            raise ValueError("the shares of a leaf do not add up to 1")
        return values


def _are_shares(values: Matrix) -> bool:
    if not ((values >= 0.0) & (values <= 1.0)).all():
        return False
    return bool((np.abs(values.sum(axis=1) - 1.0) < SHARE_TOLERANCE).all())


def _scale(array: NDArray[Any]) -> tuple[float, float]:
    if array.dtype != np.float64 or array.shape != (2,) or not np.isfinite(array).all():
        raise ValueError(f"the scale of values is {array.dtype} {array.shape}, or not finite")
    return float(array[0]), float(array[1])


def _rounded(
    values: Matrix, precision: Precision, *, are_shares: bool
) -> tuple[NDArray[Any], float, float]:
    """Return (stored, low, step)."""
    if precision == "float64":
        return np.ascontiguousarray(values), 0.0, 1.0
    least, most = float(values.min(initial=0.0)), float(values.max(initial=0.0))
    if len(values):
        least, most = float(values.min()), float(values.max())
    if are_shares:
        least, most = 0.0, 1.0
    if precision == "int8":
        step = most / LEVELS - least / LEVELS or 1.0
        # Of two steps' worth of rounding neither end may leave 0..255.
        return np.clip(np.rint((values - least) / step), 0, LEVELS).astype(np.uint8), least, step
    if are_shares:
        return values.astype(np.float16), 0.0, 1.0
    low = 0.5 * least + 0.5 * most
    step = float(np.ldexp(1.0, np.frexp(0.5 * most - 0.5 * least)[1]))
    return ((values - low) / step).astype(np.float16), low, step


def _distinct_rows(stored: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any] | None]:
    """Return each distinct row once and the row of each leaf, or all as they are and None.

    Leaves of a forest that are one row's share few values; those of boosting have their own.
    """
    probe = np.ascontiguousarray(stored[:: max(len(stored) // PROBE_LEAVES, 1)])
    if len(np.unique(_as_words(probe))) > len(probe) // 2:
        return stored, None
    words = _as_words(stored)
    distinct = np.unique(words)
    index = np.empty(len(words), np.min_scalar_type(max(len(distinct) - 1, 0)))
    if distinct.nbytes + index.nbytes >= stored.nbytes:
        return stored, None
    for leaves in row_blocks(len(words)):
        index[leaves] = distinct.searchsorted(words[leaves])
    return distinct.view(stored.dtype).reshape(-1, stored.shape[1]), index


def _as_words(stored: NDArray[Any]) -> NDArray[Any]:
    """Return one item of raw bytes for each row."""
    width = stored.dtype.itemsize * stored.shape[1]
    kinds = {1: np.uint8, 2: np.uint16, 4: np.uint32, 8: np.uint64}
    return stored.view(kinds.get(width, f"V{width}")).reshape(-1)
