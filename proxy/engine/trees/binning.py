"""A design matrix in bytes: the bin of each value, which is all that trees are grown on.

Owns the edges between bins and the pass over the design. How trees use bins is `tree_growth`'s.

A column of few distinct values has a bin for each, and loses nothing. Else edges are quantiles of a
sample, rows at equal distances, in which a value that fills a bin alone counts no more than that:
so a heap of zeros leaves the other bins to the other values.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from proxy.engine.arrays import Matrix, Vector
from proxy.engine.memory import passing
from proxy.engine.parallel import InOrderMap, collect, one_by_one
from proxy.engine.preparation.design import Design, rows_per_block
from proxy.errors import TooLargeError
from proxy.kernels.binning import MISSING_BIN, find_bins

MOST_BINS = MISSING_BIN
"""Of values; one more byte says that there is none."""
SAMPLE_ROWS = 200_000
SAMPLE_VALUES = 1 << 24
"""128 MiB: a wide design has a smaller sample ..."""
LEAST_SAMPLE_ROWS = 10_000
"""... but not smaller than this."""
MOST_ROWS = 2**31 - 1
CAPPING_ROUNDS = 40
TAIL_SHARE = 0.25
"""Of the bins: those that are not quantiles."""


@dataclass(frozen=True, slots=True)
class BinnedMatrix:
    """The bins of a design, with what they stand for.

    Attributes
    ----------
    bins : (n_features, n_samples) uint8; MISSING_BIN is NaN
    edges : (n_features, 256), ascending; values up to edges[f, b] are in bins up to b; infinity
        behind the last
    values : (n_features, 256), the value of each bin of an exact column; else NaN
    n_bins : (n_features,), bins of values, 1 for a column that is constant
    is_exact : (n_features,) uint8, whether each bin of the column holds one value only
    has_missing : (n_features,), whether a row is in MISSING_BIN
    """

    bins: NDArray[np.uint8]
    edges: Matrix
    values: Matrix
    n_bins: NDArray[np.int64]
    is_exact: NDArray[np.uint8]
    has_missing: NDArray[np.bool_]

    @property
    def n_features(self) -> int:
        """Return the number of columns."""
        return len(self.bins)

    @property
    def n_samples(self) -> int:
        """Return the number of rows."""
        return int(self.bins.shape[1])


def bin_design(
    X: Design | Matrix,
    parallel: InOrderMap = one_by_one,
    *,
    sample_weight: Vector | None = None,
) -> BinnedMatrix:
    """Return the bins of X (n_samples, n_features), whose NaN are missing values.

    Two passes over the design, in blocks: one for the sample, one for the bins. Rows of weight 0
    make no edges.

    Raises
    ------
    TooLargeError
        54000: there are 2^31 rows or more.
    """
    n_samples = len(X) if isinstance(X, np.ndarray) else X.n_samples
    if n_samples > MOST_ROWS:
        raise TooLargeError(
            f"the training query returned {n_samples} rows",
            detail=f"Trees take {MOST_ROWS} at most.",
            hint="Train on a sample of the rows.",
        )
    step = _sampling_step(n_samples, _n_features(X))
    sample = _sample(X, n_samples, step)
    if sample_weight is not None and not (sample_weight > 0).all():
        sample = sample[:, sample_weight[::step] > 0]
    edges, values, n_bins = _learn_edges(sample, parallel)
    del sample  # of two hundred thousand rows it takes eight times as much as their bins
    is_exact = np.isfinite(values[:, 0])
    if step > 1:
        is_exact[:] = False  # other rows may hold other values
    bins = _find_all_bins(X, n_samples, edges, parallel)
    has_missing = np.array([bool((column == MISSING_BIN).any()) for column in bins])
    return BinnedMatrix(bins, edges, values, n_bins, is_exact.astype(np.uint8), has_missing)


def _n_features(X: Design | Matrix) -> int:
    return int(X.shape[1]) if isinstance(X, np.ndarray) else len(X.mean)


def _fill(X: Design | Matrix, start: int, stop: int, out: Matrix) -> None:
    if isinstance(X, np.ndarray):
        np.copyto(out, X[start:stop].T)
    else:
        X.fill(start, stop, out)


def most_sample_rows(n_features: int) -> int:
    """Return how many rows of so many columns are looked at for the edges."""
    return min(SAMPLE_ROWS, max(SAMPLE_VALUES // max(n_features, 1), LEAST_SAMPLE_ROWS))


def _sampling_step(n_samples: int, n_features: int) -> int:
    return max(-(-n_samples // most_sample_rows(n_features)), 1)


def _sample(X: Design | Matrix, n_samples: int, step: int) -> Matrix:
    """Return (n_features, m) rows at equal distances."""
    thinned = X
    if step > 1:
        thinned = X[::step] if isinstance(X, np.ndarray) else X.every(step)
    sample: Matrix = passing((_n_features(X), -(-n_samples // step)))
    _fill(thinned, 0, sample.shape[1], sample)
    return sample


def _learn_edges(sample: Matrix, parallel: InOrderMap) -> tuple[Matrix, Matrix, NDArray[np.int64]]:
    """Return edges, values and the number of bins of each column."""
    edges = np.full((len(sample), MOST_BINS + 1), np.inf)
    values = np.full((len(sample), MOST_BINS + 1), np.nan)

    def learn(feature: int) -> int:
        distinct, counts = _distinct(sample[feature])
        if len(distinct) <= MOST_BINS:
            own = middles(distinct[:-1], distinct[1:])
            values[feature, : len(distinct)] = distinct
        else:
            last = _bin_ends(distinct, counts)
            own = middles(distinct[last], distinct[last + 1])
        edges[feature, : len(own)] = own
        return len(own) + 1

    n_bins = collect(parallel, learn, range(len(sample)))
    return edges, values, np.array(n_bins, np.int64)


def _distinct(column: Vector) -> tuple[Vector, NDArray[np.int64]]:
    """Return the distinct numbers of a column, ascending, and how often each occurs.

    As `np.unique`, in a third of the time.
    """
    column.sort()
    column = column[: len(column) - int(np.count_nonzero(np.isnan(column)))]
    is_first = np.ones(len(column), np.bool_)
    np.not_equal(column[1:], column[:-1], out=is_first[1:])
    starts = np.flatnonzero(is_first)
    distinct = column[starts]
    starts[:-1] = starts[1:] - starts[:-1]
    starts[-1:] = len(column) - starts[-1:]
    return distinct, starts


def _bin_ends(distinct: Vector, counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return after which of the distinct values, fewer than MOST_BINS, a bin ends.

    Most bins hold equally many rows. The others lie as those of the quantizer of least squared
    error, by the cube root of the density, so that a long tail is cut too: on the flights' delays
    that lowered the error of boosting by 3 %. No value takes more than a bin.

    References
    ----------
    Panter & Dite (1951), "Quantization distortion in pulse-count modulation with nonuniform
    spacing of levels", Proceedings of the IRE 39(1), 44-48.
    """
    # In place: each thread has a column of the sample in work.
    spread = np.gradient(distinct)
    np.square(spread, out=spread)
    spread *= counts
    np.cbrt(spread, out=spread)
    spread *= TAIL_SHARE / spread.sum()
    capped = counts * ((1 - TAIL_SHARE) / counts.sum())
    capped += spread
    del spread
    for _ in range(CAPPING_ROUNDS):
        np.minimum(capped, capped.sum() / MOST_BINS, out=capped)
    below = np.cumsum(capped)
    below *= MOST_BINS / below[-1]
    place = np.floor(below, out=below).astype(np.int64)
    ends: NDArray[np.int64] = np.flatnonzero(np.diff(place[:-1], prepend=0) > 0)
    return ends[: MOST_BINS - 1]


def middles(low: Vector, high: Vector) -> Vector:
    """Return numbers from low to below high, the middle where there is one.

    Of halves, as the sum of two numbers may overflow.
    """
    middle = 0.5 * low + 0.5 * high
    return np.where((middle >= low) & (middle < high), middle, low)


def _find_all_bins(
    X: Design | Matrix,
    n_samples: int,
    edges: Matrix,
    parallel: InOrderMap,
) -> NDArray[np.uint8]:
    n_features = len(edges)
    bins: NDArray[np.uint8] = passing((n_features, n_samples), np.uint8)
    size = rows_per_block(max(n_features, 1))
    spare: list[Vector] = []

    def find(start: int) -> None:
        try:
            buffer = spare.pop()
        except IndexError:
            buffer = np.empty(n_features * size)
        stop = min(start + size, n_samples)
        block = buffer[: n_features * (stop - start)].reshape(n_features, stop - start)
        _fill(X, start, stop, block)
        find_bins(block, edges.reshape(-1), start, bins)
        spare.append(buffer)

    def starts() -> Iterator[int]:
        yield from range(0, n_samples, size)

    with closing(parallel(find, starts())) as blocks:
        for _ in blocks:
            pass
    return bins
