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
from proxy.engine.trees.tree_memory import RowNumbers, Words
from proxy.kernels.tree_leaves import sum_statistics, write_moments, write_weights

ClassCodes: TypeAlias = NDArray[np.uint16]

SUM_BITS, WEIGHT_BITS = 61, 62
LARGEST_EXPONENT = 1000
NO_CODES: ClassCodes = np.zeros(0, np.uint16)


@dataclass(frozen=True, slots=True)
class Units:
    """What is 1 in the words of a tree.

    Attributes
    ----------
    weight : a weight of 1 as a whole number
    gain : the gain that is 1 among the kernel's
    shift : the bits of a weight's word that are for the count of rows
    """

    weight: float
    gain: float
    shift: int


@dataclass(frozen=True, slots=True)
class Statistics:
    """What a tree is grown on.

    Attributes
    ----------
    codes : (n_samples,), classes; empty without
    first : (n_samples,), gradients, or weight * y; with classes not looked at
    second : (n_samples,), hessians or weights
    """

    codes: ClassCodes
    first: Vector
    second: Vector

    @classmethod
    def of(cls, first: Vector | ClassCodes, second: Vector, *, of_classes: bool) -> Self:
        """Return the statistics in the types that kernels take."""
        weight = np.ascontiguousarray(second, np.float64)
        if of_classes:
            return cls(np.ascontiguousarray(first, np.uint16), weight, weight)
        return cls(NO_CODES, np.ascontiguousarray(first, np.float64), weight)

    def write_words(self, rows: RowNumbers, words: Words, *, is_centred: bool) -> Units:
        """Round the statistics of the rows to fixed point; return its units.

        A power of two as large as their sum allows: 61 bits for a sum, and for a weight what its
        count of rows leaves. So whole weights are exact, and others to 2^-23 of their mean, with a
        million rows.

        Parameters
        ----------
        is_centred : the first are values, and their mean is taken from each: sums lose fewer digits
        """
        sums = np.zeros(3)
        sum_statistics(self.first, self.second, rows, sums)
        total, magnitude, total_weight = sums.tolist()
        shift = len(rows).bit_length()
        weight_exponent = _exponent(total_weight, WEIGHT_BITS - shift)
        weight = math.ldexp(1.0, weight_exponent)
        if len(self.codes):
            write_weights(self.second, rows, weight, shift, words)
            return Units(weight, 1.0 / weight, shift)
        mean = total / total_weight if is_centred and total_weight > 0 else 0.0
        exponent = _exponent(magnitude + abs(total), SUM_BITS)
        scale = math.ldexp(1.0, exponent)
        write_moments(self.first, self.second, rows, mean, scale, weight, shift, words)
        return Units(weight, _power_of_two(weight_exponent - 2 * exponent), shift)


def _exponent(total: float, bits: int) -> int:
    """Return the largest e for which total * 2^e is below 2^bits."""
    if total <= 0.0:
        return 0
    return min(bits - math.frexp(total)[1], LARGEST_EXPONENT)


def _power_of_two(exponent: int) -> float:
    """Return 2^exponent, or the nearest to it that is finite and not 0."""
    return math.ldexp(1.0, min(max(exponent, -1022), 1023))
