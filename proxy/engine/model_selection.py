"""Which rows are held out to measure quality on.

Owns the split. It depends on the seed and the number of rows, and for classes on which row is of
which class; on nothing else. A row is held out if its key, a number from a generator, is among the
smallest of its class. Keys are made again for each pass over them: kept, they would be as large as
a column.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from proxy.engine.arrays import Codes
from proxy.engine.memory import Allocate
from proxy.engine.row_blocks import row_blocks

FEWEST_ROWS = 5
FEWEST_CLASS_ROWS = 2
BLOCK_ROWS = 1 << 17
"""Keys, places and codes of a block stay in the cache."""
MOST_BINS = 1 << 16
KEY_BITS = 64

Keys = NDArray[np.uint64]


@dataclass(frozen=True, slots=True)
class Split:
    """Ascending places of the rows to learn from and of those held out."""

    train: NDArray[np.int64]
    holdout: NDArray[np.int64]


def split_rows(
    n_samples: int,
    test_size: float,
    random_state: int,
    codes: Codes | None = None,
    allocate: Allocate = np.empty,
) -> Split | None:
    """Return a split, or None where there are too few rows for one.

    Parameters
    ----------
    test_size : share of the rows to hold out, of each class where `codes` are given; rounded
    codes : (n_samples,) class numbers; either part then has two rows of each class at least
    allocate : for the places
    """
    if n_samples < FEWEST_ROWS:
        return None
    counts = np.array([n_samples]) if codes is None else np.bincount(codes)
    n_held_out = (test_size * counts + 0.5).astype(np.int64)
    fewest = 1 if codes is None else FEWEST_CLASS_ROWS
    # A class of an earlier model's may have no row here.
    if (np.minimum(n_held_out, counts - n_held_out)[counts > 0] < fewest).any():
        return None
    keyed = _KeyedRows(n_samples, random_state, codes, len(counts))
    largest, n_holdout = keyed.smallest(n_held_out)
    train = allocate(n_samples - n_holdout, np.int64)
    holdout = allocate(n_holdout, np.int64)
    end = 0
    for rows, keys, classes in keyed.blocks():
        is_held_out = keys <= largest[classes]
        own = np.flatnonzero(is_held_out)
        own += rows.start
        holdout[end : end + len(own)] = own
        others = np.flatnonzero(~is_held_out)
        others += rows.start
        train[rows.start - end : rows.start - end + len(others)] = others
        end += len(own)
    return Split(train, holdout)


@dataclass(frozen=True, slots=True)
class _KeyedRows:
    """Rows, each with a class and a key of 64 bits."""

    n_samples: int
    random_state: int
    codes: Codes | None
    n_classes: int

    def blocks(self) -> Iterator[tuple[slice, Keys, Codes | int]]:
        """Yield rows, their keys and their classes; of one class alone its number."""
        # The bit generator's raw stream is fixed by its definition; `permutation` may change with
        # numpy's version, and with it every recorded metric.
        generator = np.random.PCG64(self.random_state)
        for rows in row_blocks(self.n_samples, BLOCK_ROWS):
            keys = generator.random_raw(rows.stop - rows.start)
            yield rows, keys, 0 if self.codes is None else self.codes[rows]

    def smallest(self, wanted: Codes) -> tuple[Keys, int]:
        """Return the largest of each class's so many smallest keys, and how many rows that makes.

        The keys are counted by their leading bits, and those that agree in them with the one that
        is looked for are ordered: a few of each class.

        Parameters
        ----------
        wanted : (n_classes,), >= 1 for a class that has rows
        """
        bits = max(min(MOST_BINS, self.n_samples) // self.n_classes, 2).bit_length() - 1
        shift = np.uint64(KEY_BITS - bits)
        counts = self._by_leading_bits(bits)
        up_to = counts.cumsum(axis=1)
        bins = (up_to < wanted[:, None]).sum(axis=1)
        leading, classes_of = self._with_leading_bits(bins.astype(np.uint64), shift)
        largest = np.zeros(self.n_classes, dtype=np.uint64)
        n_smallest = 0
        order = np.argsort(classes_of, kind="stable")
        ends = np.searchsorted(classes_of[order], np.arange(self.n_classes + 1))
        for k in np.flatnonzero(counts.any(axis=1)).tolist():
            own = leading[order[ends[k] : ends[k + 1]]]
            n_below = int(up_to[k, bins[k]] - counts[k, bins[k]])
            last = int(wanted[k]) - n_below - 1
            largest[k] = np.partition(own, last)[last]
            # Two equal keys of 64 bits are not to be expected, but nothing depends on it.
            n_smallest += n_below + int(np.count_nonzero(own <= largest[k]))
        return largest, n_smallest

    def _by_leading_bits(self, bits: int) -> Codes:
        """Return (n_classes, 2**bits): how many keys of each class begin with which bits."""
        counts = np.zeros(self.n_classes << bits, dtype=np.int64)
        for _, keys, classes in self.blocks():
            np.right_shift(keys, np.uint64(KEY_BITS - bits), out=keys)
            places = keys.view(np.int64)
            if isinstance(classes, np.ndarray):
                places += classes << bits
            counts += np.bincount(places, minlength=len(counts))
        return counts.reshape(self.n_classes, -1)

    def _with_leading_bits(self, wanted: Keys, shift: np.uint64) -> tuple[Keys, Codes]:
        """Return the keys that begin with the (n_classes,) bits of their class, and the classes."""
        found, classes_of = [], []
        for _, keys, classes in self.blocks():
            chosen = np.flatnonzero(keys >> shift == wanted[classes])
            found.append(keys[chosen])
            classes_of.append(np.broadcast_to(classes, keys.shape)[chosen])
        return np.concatenate(found), np.concatenate(classes_of)
