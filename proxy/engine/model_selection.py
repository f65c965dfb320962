"""Which rows are held out to measure quality on.

Owns the split. It depends on the seed and the number of rows, and for classes on which row is of
which class; on nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from proxy.engine.arrays import Codes

FEWEST_ROWS = 5
FEWEST_CLASS_ROWS = 2
FEW_CLASSES = 8  # up to here a pass for each class is cheaper than sorting


@dataclass(frozen=True, slots=True)
class Split:
    """Ascending places of the rows to learn from and of those held out."""

    train: NDArray[np.int64]
    holdout: NDArray[np.int64]


def split_rows(
    n_samples: int, test_size: float, random_state: int, codes: Codes | None = None
) -> Split | None:
    """Return a split, or None where there are too few rows for one.

    Parameters
    ----------
    test_size : share of the rows to hold out, of each class where `codes` are given; rounded
    codes : (n_samples,) class numbers; either part then has two rows of each class at least
    """
    if n_samples < FEWEST_ROWS:
        return None
    # The bit generator's raw stream is fixed by its definition; `permutation` may change with
    # numpy's version, and with it every recorded metric.
    keys = np.random.PCG64(random_state).random_raw(n_samples)
    groups = _groups(n_samples, codes)
    fewest = 1 if codes is None else FEWEST_CLASS_ROWS
    largest_held_out = np.zeros(len(groups), dtype=np.uint64)
    for number, group in enumerate(groups):
        if len(group) == 0:  # a class of an earlier model's that has no row here
            continue
        n_held_out = int(test_size * len(group) + 0.5)
        if min(n_held_out, len(group) - n_held_out) < fewest:
            return None
        last = n_held_out - 1
        largest_held_out[number] = np.partition(keys[group], last)[last]
    # Two equal keys of 64 bits are not to be expected, nor a key of 0.
    is_held_out = keys <= largest_held_out[0 if codes is None else codes]
    return Split(np.flatnonzero(~is_held_out), np.flatnonzero(is_held_out))


def _groups(n_samples: int, codes: Codes | None) -> list[NDArray[np.int64]]:
    if codes is None:
        return [np.arange(n_samples)]
    counts = np.bincount(codes)
    if len(counts) <= FEW_CLASSES:
        return [np.flatnonzero(codes == code) for code in range(len(counts))]
    by_class = np.argsort(codes, kind="stable")
    return np.split(by_class, np.cumsum(counts)[:-1])
