"""What rows count as when trees are grown: sums, weights and classes, in fixed point.

Owns the choice of units, which are powers of two. The layout of words is `kernels.histograms`'.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Self, TypeAlias

import numpy as np
from numpy.typing import NDArray

from proxy.engine.arrays import Vector
from proxy.engine.trees.tree_memory import RowNumbers
from proxy.kernels.row_statistics import sum_statistics

ClassCodes: TypeAlias = NDArray[np.uint16]
Counts: TypeAlias = NDArray[np.uint16]

SUM_BITS, WEIGHT_BITS = 61, 62
LARGEST_EXPONENT = 1000
NO_CODES: ClassCodes = np.zeros(0, np.uint16)
NO_VALUES: Vector = np.zeros(0)
DRAWN_ONCE: Counts = np.ones(1, np.uint16)


@dataclass(frozen=True, slots=True)
class Units:
    """How statistics become the words of a tree.

    Attributes
    ----------
    weight : a weight of 1 as a whole number
    gain : the gain that is 1 among the kernel's
    shift : the bits of a weight's word that are for the count of rows
    mean : what is taken from each value first
    scale : a value of 1 as a whole number
    variance : of the values
    """

    weight: float
    gain: float
    shift: int
    mean: float = 0.0
    scale: float = 1.0
    variance: float = 0.0


@dataclass(frozen=True, slots=True)
class Statistics:
    """What a tree is grown on; of each row as if it had been drawn once.

    Attributes
    ----------
    codes : (n_samples,), classes; empty without
    first : (n_samples,), gradients, or weight * y; empty with classes
    second : (n_samples,), hessians or weights; (1,) where all are the same
    counts : (n_samples,), how often each row was drawn; (1,) where all are the same
    """

    codes: ClassCodes
    first: Vector
    second: Vector
    counts: Counts

    @classmethod
    def of(
        cls,
        first: Vector | ClassCodes,
        second: Vector,
        counts: Counts | None = None,
        *,
        of_classes: bool,
    ) -> Self:
        """Return the statistics in the types that kernels take."""
        one_for_all = second.strides == (0,)
        weight = np.ascontiguousarray(second[:1] if one_for_all else second, np.float64)
        counts = DRAWN_ONCE if counts is None else counts
        if of_classes:
            return cls(np.ascontiguousarray(first, np.uint16), NO_VALUES, weight, counts)
        return cls(NO_CODES, np.ascontiguousarray(first, np.float64), weight, counts)

    def units(self, rows: RowNumbers, *, is_centred: bool) -> Units:
        """Return the units in which the rows' statistics are words.

        A power of two as large as their sum allows: 61 bits for a sum, and for a weight what its
        count of rows leaves. So whole weights are exact, and others to 2^-23 of their mean, with a
        million rows.

        Parameters
        ----------
        is_centred : the first are values, and their mean is taken from each: sums lose fewer digits
        """
        sums = np.zeros(4)
        sum_statistics(self.first, self.second, self.counts, rows, sums)
        total, magnitude, total_weight, squares = sums.tolist()
        shift = len(rows).bit_length()
        weight_exponent = _exponent(total_weight, WEIGHT_BITS - shift)
        weight = math.ldexp(1.0, weight_exponent)
        if len(self.codes):
            return Units(weight, 1.0 / weight, shift)
        mean = total / total_weight if is_centred and total_weight > 0 else 0.0
        exponent = _exponent(magnitude + abs(total), SUM_BITS)
        gain = _power_of_two(weight_exponent - 2 * exponent)
        variance = max(squares / total_weight - mean * mean, 0.0) if total_weight > 0 else 0.0
        return Units(weight, gain, shift, mean, math.ldexp(1.0, exponent), variance)


def even_weights(n_samples: int) -> Vector:
    """Return (n_samples,) ones that take the room of one."""
    return np.broadcast_to(np.float64(1.0), (n_samples,))


def _exponent(total: float, bits: int) -> int:
    """Return the largest e for which total * 2^e is below 2^bits."""
    if total <= 0.0:
        return 0
    return min(bits - math.frexp(total)[1], LARGEST_EXPONENT)


def _power_of_two(exponent: int) -> float:
    """Return 2^exponent, or the nearest to it that is finite and not 0."""
    return math.ldexp(1.0, min(max(exponent, -1022), 1023))
