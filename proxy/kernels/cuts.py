"""What the cut of a histogram gains, and the best cut of one.

Owns the criteria, and the order in which cuts are tried. How histograms are made, and what is in
them, is `histograms`'.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from proxy.kernels.compilation import inner
from proxy.kernels.histograms import MISSING_BIN, lowest_bit

# What a cut gains.
SQUARED_ERROR, NEWTON, GINI, ENTROPY = range(4)


@inner
def _gain_of_moments(
    left: int, left_weight: int, right: int, right_weight: int, criterion: int, l2: float
) -> float:
    """Return what a cut gains, in the units of the words; a constant of the node is left out.

    Squared errors: the decrease of the sum of squares, as the squared difference of the means. The
    sum of squares of either side less that of the node would lose every digit where the values are
    far from 0 and near each other.
    """
    s_left, w_left = float(left), float(left_weight)
    s_right, w_right = float(right), float(right_weight)
    if criterion == NEWTON:
        h_left, h_right = w_left + l2, w_right + l2
        return (s_left * s_left * h_right + s_right * s_right * h_left) / (h_left * h_right)
    difference = s_left * w_right - s_right * w_left
    return difference * difference / (w_left * w_right * (w_left + w_right))


@inner
def best_cut_by_moments(
    histograms: NDArray[np.int64],
    base: int,
    occupied: NDArray[np.uint64],
    is_pair: bool,
    total: int,
    total_weight: int,
    shift: int,
    criterion: int,
    least_rows: int,
    least_weight: float,
    l2: float,
) -> tuple[float, int, int, int]:
    """Return the best cut's gain, the bins beside it and whether missing rows go to the left.

    Without a cut that leaves enough on either side the first bin is -1. Missing rows are tried on
    the right, as the highest bin, and on the left. Of equally good cuts the first is returned.

    Parameters
    ----------
    is_pair : the words are the weights of two classes: then the sum is the second's weight
    total_weight : with the count, as in the words
    """
    best, low, high, missing_left = -np.inf, -1, -1, 0
    counted = (1 << shift) - 1
    missing = base + 2 * MISSING_BIN
    n_ways = 2 if occupied[3] >> np.uint64(63) else 1
    for way in range(n_ways):
        left, left_word, previous = 0, 0, -1
        if way == 1:
            left, left_word = histograms[missing], histograms[missing + 1]
            if is_pair:
                left, left_word = left_word >> shift, left + left_word
        for word in range(4):
            bits = occupied[word]
            if way == 1 and word == 3:
                bits &= ~(np.uint64(1) << np.uint64(63))
            while bits != np.uint64(0):
                place = 64 * word + lowest_bit(bits)
                bits &= bits - np.uint64(1)
                right_word = total_weight - left_word
                if (
                    previous >= 0
                    and (left_word & counted) >= least_rows
                    and (right_word & counted) >= least_rows
                ):
                    left_weight, right_weight = left_word >> shift, right_word >> shift
                    if left_weight >= least_weight and right_weight >= least_weight:
                        gain = _gain_of_moments(
                            left, left_weight, total - left, right_weight, criterion, l2
                        )
                        if gain > best:
                            best, low, high, missing_left = gain, previous, place, way
                own = np.uint64(base + 2 * place)
                first, second = histograms[own], histograms[own + np.uint64(1)]
                if is_pair:
                    first, second = second >> shift, first + second
                left += first
                left_word += second
                previous = place
    return best, low, high, missing_left


@inner
def _weight_times_log(weight: int) -> float:
    return weight * math.log2(float(weight)) if weight > 0 else 0.0


@inner
def _gain_of_classes(
    totals: NDArray[np.int64],
    n_channels: int,
    left_weight: int,
    right_weight: int,
    shift: int,
    criterion: int,
) -> float:
    """Return what a cut gains, in weights; a constant of the node is left out."""
    left_sum = right_sum = 0.0
    for channel in range(n_channels):
        left = totals[n_channels + channel]
        own = left >> shift
        other = (totals[channel] - left) >> shift
        if criterion == GINI:
            left_sum += float(own) * float(own)
            right_sum += float(other) * float(other)
        else:
            left_sum += _weight_times_log(own)
            right_sum += _weight_times_log(other)
    if criterion == GINI:
        return left_sum / float(left_weight) + right_sum / float(right_weight)
    return left_sum - _weight_times_log(left_weight) + right_sum - _weight_times_log(right_weight)


@inner
def best_cut_by_classes(
    histograms: NDArray[np.int64],
    base: int,
    occupied: NDArray[np.uint64],
    totals: NDArray[np.int64],
    n_channels: int,
    shift: int,
    criterion: int,
    least_rows: int,
) -> tuple[float, int, int, int]:
    """Return as `best_cut_by_moments`.

    Parameters
    ----------
    totals : (2 * n_channels,), the words of all the node's rows, then scratch: of the left ones
    """
    best, low, high, missing_left = -np.inf, -1, -1, 0
    counted = (1 << shift) - 1
    total_word = 0
    for channel in range(n_channels):
        total_word += totals[channel]
    n_ways = 2 if occupied[3] >> np.uint64(63) else 1
    for way in range(n_ways):
        left_word, previous = 0, -1
        for channel in range(n_channels):
            own = way * histograms[base + MISSING_BIN * n_channels + channel]
            totals[n_channels + channel] = own
            left_word += own
        for word in range(4):
            bits = occupied[word]
            if way == 1 and word == 3:
                bits &= ~(np.uint64(1) << np.uint64(63))
            while bits != np.uint64(0):
                place = 64 * word + lowest_bit(bits)
                bits &= bits - np.uint64(1)
                right_word = total_word - left_word
                if (
                    previous >= 0
                    and (left_word & counted) >= least_rows
                    and (right_word & counted) >= least_rows
                ):
                    left_weight, right_weight = left_word >> shift, right_word >> shift
                    if left_weight > 0 and right_weight > 0:
                        gain = _gain_of_classes(
                            totals, n_channels, left_weight, right_weight, shift, criterion
                        )
                        if gain > best:
                            best, low, high, missing_left = gain, previous, place, way
                for channel in range(n_channels):
                    own = histograms[base + place * n_channels + channel]
                    totals[n_channels + channel] += own
                    left_word += own
                previous = place
    return best, low, high, missing_left
