"""The best cut of one node: its statistics, the columns to look at, the choice.

Owns the draw of columns, and whether the best cut is made at all. What a cut gains is `cuts`', the
order of growth `tree_growth`'s.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from proxy.kernels.compilation import (
    BYTES,
    FLOATS,
    INT64,
    OFFSETS,
    VOID,
    WRITABLE_FLOATS,
    inner,
    kernel,
)
from proxy.kernels.cuts import (
    GINI,
    NEWTON,
    SQUARED_ERROR,
    best_cut_by_classes,
    best_cut_by_moments,
)
from proxy.kernels.histograms import (
    ALL_CODES,
    BITS,
    CODES,
    FEW_ROWS,
    MOMENTS,
    N_BINS,
    ROW_NUMBERS,
    add_classes,
    add_moments,
    clear_bins,
    is_constant,
    note_bins_of_histogram,
    note_bins_of_rows,
    total_of_histogram,
    total_of_rows,
)
from proxy.kernels.row_statistics import COUNTS, gather, weight_of
from proxy.kernels.tree_nodes import (
    CRITERION,
    FEATURE,
    HIGH,
    L2,
    LOW,
    MAX_FEATURES,
    MIN_GAIN,
    MIN_SAMPLES_LEAF,
    MIN_WEIGHT,
    MISSING_LEFT,
    MODE,
    N_CHANNELS,
    N_FEATURES,
    N_ROWS,
    NO_FEATURE,
    NO_SLOT,
    NODES,
    NONE_MISSING,
    RANDOM,
    SHIFT,
    SLOT,
    START,
    STOP,
    slot_base,
)

NO_DIFFERENCE = 1e-12
"""Of S^2 / W: gains below it may be all rounding, so the node's values are looked at."""

_SAME = 8 * np.finfo(np.float64).eps


@inner
def next_random(state: np.uint64) -> tuple[np.uint64, np.uint64]:
    """Return the next state and 64 random bits (splitmix64: Steele et al. 2014, OOPSLA)."""
    state += np.uint64(0x9E3779B97F4A7C15)
    mixed = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return state, mixed ^ (mixed >> np.uint64(31))


@inner
def _draw_feature(order: NDArray[np.int32], n_drawn: int, state: NDArray[np.int64]) -> int:
    """Return a feature that was not drawn for this node; order[:n_drawn] are those that were."""
    n_left = np.uint64(order.size - n_drawn)
    after, bits = next_random(np.uint64(state[RANDOM]))
    state[RANDOM] = np.int64(after)
    other = n_drawn + np.int64(((bits >> np.uint64(32)) * n_left) >> np.uint64(32))
    drawn = order[other]
    order[other] = order[n_drawn]
    order[n_drawn] = drawn
    return int(drawn)


@inner
def _is_pure(totals: NDArray[np.int64], n_channels: int, mode: int) -> bool:
    """Return whether nothing is left to tell apart, as far as the totals say."""
    if mode == MOMENTS:
        return False
    n_classes = 0
    for channel in range(n_channels):
        if totals[channel] != 0:
            n_classes += 1
    return n_classes <= 1


@inner
def _has_one_value(
    rows: NDArray[np.int32],
    start: int,
    stop: int,
    first: NDArray[np.float64],
    second: NDArray[np.float64],
) -> bool:
    """Return whether all rows have the same value, up to rounding, where it is weighted."""
    value = first[rows[start]] / weight_of(second, np.uint64(rows[start]))
    for i in range(start + 1, stop):
        other = first[rows[i]] / weight_of(second, np.uint64(rows[i]))
        if abs(other - value) > _SAME * abs(value):
            return False
    return True


@inner
def _gain_without_cut(
    totals: NDArray[np.int64], settings: NDArray[np.int64], limits: NDArray[np.float64]
) -> float:
    """Return what is to be taken from a gain that `cuts` returns."""
    shift, criterion = settings[SHIFT], settings[CRITERION]
    if criterion == NEWTON:
        total = float(totals[0])
        return float(total * total / (float(totals[1] >> shift) + limits[L2]))
    if settings[MODE] == MOMENTS or (criterion == GINI and settings[N_CHANNELS] == 2):
        return 0.0
    total, own = 0.0, 0.0
    for channel in range(settings[N_CHANNELS]):
        weight = float(totals[channel] >> shift)
        total += weight
        if criterion == GINI:
            own += weight * weight
        elif weight > 0.0:
            own += weight * np.log2(weight)
    return own / total if criterion == GINI else own - total * np.log2(total)


@inner
def _is_worth_it(
    gain: float,
    totals: NDArray[np.int64],
    rows: NDArray[np.int32],
    start: int,
    stop: int,
    first: NDArray[np.float64],
    second: NDArray[np.float64],
    settings: NDArray[np.int64],
    limits: NDArray[np.float64],
) -> bool:
    """Return whether the best cut is to be made: a tree cuts without gain, but for equal values."""
    if settings[CRITERION] == NEWTON:
        # Of equal gradients the gain is a difference of equal numbers, up to rounding.
        noise = NO_DIFFERENCE * _gain_without_cut(totals, settings, limits)
        return bool(gain > limits[MIN_GAIN] and gain > noise)
    if settings[CRITERION] != SQUARED_ERROR:
        return True
    total = float(totals[0])
    if gain > NO_DIFFERENCE * total * total / float(totals[1] >> settings[SHIFT]):
        return True
    return not _has_one_value(rows, start, stop, first, second)


@inner
def _count_feature(
    bins: NDArray[np.uint8],
    feature: int,
    rows: NDArray[np.int32],
    start: int,
    stop: int,
    node_words: NDArray[np.int64],
    node_codes: NDArray[np.uint16],
    settings: NDArray[np.int64],
    histograms: NDArray[np.int64],
    base: int,
) -> None:
    column = feature * settings[N_ROWS]
    if settings[MODE] == MOMENTS:
        add_moments(bins, column, rows, start, stop, node_words, histograms, base)
    else:
        n_channels = settings[N_CHANNELS]
        add_classes(
            bins, column, rows, start, stop, node_words, node_codes, n_channels, histograms, base
        )


@kernel(
    VOID(
        BYTES,
        ROW_NUMBERS,
        NODES,
        INT64,
        WRITABLE_FLOATS,
        ALL_CODES,
        OFFSETS,
        CODES,
        OFFSETS,
        ROW_NUMBERS,
        BITS,
        OFFSETS,
        FLOATS,
        FLOATS,
        COUNTS,
        OFFSETS,
        FLOATS,
        OFFSETS,
    )
)
def find_cut(
    bins: NDArray[np.uint8],
    rows: NDArray[np.int32],
    nodes: NDArray[np.int32],
    node: int,
    gains: NDArray[np.float64],
    codes: NDArray[np.uint16],
    node_words: NDArray[np.int64],
    node_codes: NDArray[np.uint16],
    histograms: NDArray[np.int64],
    order: NDArray[np.int32],
    occupied: NDArray[np.uint64],
    totals: NDArray[np.int64],
    first: NDArray[np.float64],
    second: NDArray[np.float64],
    counts: NDArray[np.uint16],
    settings: NDArray[np.int64],
    limits: NDArray[np.float64],
    state: NDArray[np.int64],
) -> None:
    """Find a node's best cut, if there is one that is to be made; all arguments as of `grow`.

    A kernel of its own, that `grow` calls: inlined there it would take longer to compile than both.
    """
    start, stop = nodes[node, START], nodes[node, STOP]
    mode, n_channels, shift = settings[MODE], settings[N_CHANNELS], settings[SHIFT]
    n_features, criterion = settings[N_FEATURES], settings[CRITERION]
    least_rows = settings[MIN_SAMPLES_LEAF]
    has_slot = nodes[node, SLOT] != NO_SLOT
    base = 0
    if has_slot:
        base = slot_base(nodes[node, SLOT], settings)
        total_of_histogram(histograms, base, n_channels, totals)
    else:
        gather(
            rows,
            start,
            stop,
            first,
            second,
            counts,
            codes,
            settings,
            limits,
            node_words,
            node_codes,
        )
        total_of_rows(stop - start, mode, n_channels, node_words, node_codes, totals)
    if _is_pure(totals, n_channels, mode):
        return
    is_pair = mode != MOMENTS and n_channels == 2 and criterion == GINI
    by_moments = mode == MOMENTS or is_pair
    total, total_weight = totals[0], totals[1] if n_channels > 1 else 0
    if is_pair:
        total, total_weight = totals[1] >> shift, totals[0] + totals[1]
    best = -np.inf
    n_told_apart = 0
    searches_all = settings[MAX_FEATURES] == n_features
    for i in range(n_features):
        feature = i
        if not searches_all:
            if i >= settings[MAX_FEATURES] and n_told_apart > 0:
                break
            feature = _draw_feature(order, i, state)
        own = base
        if has_slot:
            own += feature * N_BINS * n_channels
        else:
            _count_feature(
                bins,
                feature,
                rows,
                start,
                stop,
                node_words,
                node_codes,
                settings,
                histograms,
                own,
            )
        if stop - start < FEW_ROWS:
            note_bins_of_rows(bins, feature * settings[N_ROWS], rows, start, stop, occupied)
        else:
            note_bins_of_histogram(histograms, own, n_channels, occupied)
        if not is_constant(occupied):
            n_told_apart += 1
            if by_moments:
                gain, low, high, missing_left = best_cut_by_moments(
                    histograms,
                    own,
                    occupied,
                    is_pair,
                    total,
                    total_weight,
                    shift,
                    criterion,
                    least_rows,
                    limits[MIN_WEIGHT],
                    limits[L2],
                )
            else:
                gain, low, high, missing_left = best_cut_by_classes(
                    histograms,
                    own,
                    occupied,
                    totals,
                    n_channels,
                    shift,
                    criterion,
                    least_rows,
                )
            if low >= 0 and (gain > best or (gain == best and feature < nodes[node, FEATURE])):
                best = gain
                nodes[node, FEATURE] = feature
                nodes[node, LOW] = low
                nodes[node, HIGH] = high
                has_missing = occupied[3] >> np.uint64(63) != np.uint64(0)
                nodes[node, MISSING_LEFT] = missing_left if has_missing else NONE_MISSING
        if not has_slot:
            clear_bins(histograms, own, n_channels, occupied)
    if nodes[node, FEATURE] == NO_FEATURE:
        return
    best -= _gain_without_cut(totals, settings, limits)
    if is_pair:
        best *= 2.0  # both classes' shares differ by as much
    gains[node] = best
    if not _is_worth_it(best, totals, rows, start, stop, first, second, settings, limits):
        nodes[node, FEATURE] = NO_FEATURE
