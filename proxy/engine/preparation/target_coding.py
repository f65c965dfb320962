"""Target coding: what the target was, on the average, where a category occurred.

Owns the statistics and their shrinking towards the mean of all rows. A training row is coded by the
rows of the other folds, so that it does not see its own target in its features; scoring uses all
rows.

References
----------
Micci-Barreca (2001), SIGKDD Explorations 3(1), 27-32: the coding.
Buhlmann (1967), ASTIN Bulletin 4(3), 199-207: how much a mean of few rows is to be believed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from proxy.engine.arrays import Codes, Matrix, Rows, Vector
from proxy.engine.columns import NULL_CODE
from proxy.engine.preparation.encoders import CategorySummary, TargetEncoder
from proxy.engine.row_blocks import chosen_blocks

N_FOLDS = 5
MOST_CATEGORIES = 10_000
"""The others share one value: each name travels with the model."""
MOST_COLUMNS = 20
"""Of a classifier with more classes a category would make too many columns."""
LEAST_CREDIBILITY, MOST_CREDIBILITY = 1.0, 1000.0
# Knuth's multiplicative hash (The Art of Computer Programming 3, 6.4): rows that lie beside one
# another, or at any regular distance, are not all of one fold.
FOLD_MULTIPLIER = np.uint64(2654435761)


@dataclass(frozen=True, slots=True)
class TargetMatrix:
    """The target as numbers to average: one column of values, or a 0/1 column for each class.

    Of two classes one column says all.

    Attributes
    ----------
    answers : (n,), values, or the numbers of classes
    wanted : the classes that have a column; None: the values are the column
    """

    answers: Vector | Codes
    wanted: tuple[int, ...] | None = None

    @classmethod
    def of_values(cls, y: Vector) -> TargetMatrix:
        """Return that of a regression."""
        return cls(y)

    @classmethod
    def of_classes(cls, codes: Codes) -> TargetMatrix | None:
        """Return that of a classification; None where there are too many classes."""
        n_classes = int(codes.max()) + 1
        if n_classes > MOST_COLUMNS:
            return None
        return cls(codes, (1,) if n_classes == 2 else tuple(range(n_classes)))

    @property
    def n_columns(self) -> int:
        """Return the number of columns."""
        return 1 if self.wanted is None else len(self.wanted)

    def columns(self, rows: slice) -> Iterator[Vector]:
        """Yield the (m,) values of each column in some rows."""
        own = self.answers[rows]
        if self.wanted is None:
            yield np.asarray(own, dtype=np.float64)
        else:
            for k in self.wanted:
                yield (own == k).astype(np.float64)


@dataclass(frozen=True, slots=True)
class FoldedTable:
    """A target encoder as its training rows see it.

    Attributes
    ----------
    values : (N_FOLDS, n_places, n_columns): the encoder's `table` made without the fold's rows
    mean, scale : (n_columns,) of the training rows' codes
    """

    values: NDArray[np.float64]
    mean: Vector
    scale: Vector


def folds_of(rows: NDArray[np.int64]) -> Codes:
    """Return the fold of each of the dataset's rows, by their numbers."""
    hashed = (rows.astype(np.uint64) * FOLD_MULTIPLIER) & np.uint64(0xFFFFFFFF)
    return ((hashed >> np.uint64(16)) % np.uint64(N_FOLDS)).astype(np.int64)


def learn_target_codes(
    summary: CategorySummary,
    codes: NDArray[np.int32],
    rows: Rows,
    target: TargetMatrix,
) -> tuple[TargetEncoder, FoldedTable]:
    """Return the encoder of a category, and how its own training rows are coded.

    Parameters
    ----------
    codes : of all the dataset's rows, into the summary's dictionary
    rows : the training rows; None: all
    target : of the training rows
    """
    names, place_of = _known(summary)
    counts, sums, squares = _per_fold(codes, rows, place_of, target)
    weight = _credibility(counts.sum(axis=0), sums.sum(axis=0), squares.sum(axis=0))
    values = _shrunk(counts.sum(axis=0), sums.sum(axis=0), weight)
    others = [
        _shrunk(counts.sum(axis=0) - counts[fold], sums.sum(axis=0) - sums[fold], weight)
        for fold in range(N_FOLDS)
    ]
    encoder = TargetEncoder(names, values)
    tables = np.stack([TargetEncoder(names, other).table() for other in others])
    return encoder, _folded(tables, np.stack(others), counts)


def _known(summary: CategorySummary) -> tuple[tuple[str, ...], Codes]:
    """Return the names kept, and each code's place: theirs, the others', or that of NULL.

    The last two of the table are for the codes -2 and -1, as numpy counts from the end.
    """
    counts, dictionary = summary.counts, summary.dictionary
    present = [code for code in range(len(dictionary)) if counts[code + 2] > 0]
    present.sort(key=lambda code: (-int(counts[code + 2]), dictionary[code]))
    kept = sorted(present[:MOST_CATEGORIES], key=lambda code: dictionary[code])
    place_of = np.full(len(dictionary) + 2, len(kept), dtype=np.int64)
    place_of[kept] = np.arange(len(kept))
    place_of[NULL_CODE] = len(kept) + 1
    return tuple(dictionary[code] for code in kept), place_of


def _per_fold(
    codes: NDArray[np.int32], rows: Rows, place_of: Codes, target: TargetMatrix
) -> tuple[Matrix, NDArray[np.float64], NDArray[np.float64]]:
    """Return how many rows of each fold are at each place, and what the target adds up to there.

    Returns
    -------
    (N_FOLDS, n_places) counts; (N_FOLDS, n_places, n_columns) sums, and sums of squares
    """
    n_places = int(place_of.max()) + 1
    size = N_FOLDS * n_places
    counts, sums = np.zeros(size), np.zeros((target.n_columns, size))
    squares = np.zeros_like(sums)
    for block, own in chosen_blocks(codes, rows):
        numbers = np.arange(block.start, block.stop) if rows is None else rows[block]
        flat = folds_of(numbers) * n_places + place_of[own]
        counts += np.bincount(flat, minlength=size)
        for k, column in enumerate(target.columns(block)):
            sums[k] += np.bincount(flat, column, size)
            squares[k] += np.bincount(flat, np.square(column), size)
    shape = (N_FOLDS, n_places, target.n_columns)
    return counts.reshape(shape[:2]), sums.T.reshape(shape), squares.T.reshape(shape)


def _credibility(counts: Vector, sums: Matrix, squares: Matrix) -> Vector:
    """Return, for each column, how many rows the mean of all counts for: within over between."""
    n, present = counts.sum(), counts > 0
    n_spare = n - present.sum()
    if n_spare <= 0:  # one row in each category: nothing is known of what lies within
        return np.full(sums.shape[1], MOST_CREDIBILITY)
    means = sums[present] / counts[present, None]
    within = (squares[present] - sums[present] * means).sum(axis=0) / n_spare
    mean = sums.sum(axis=0) / n
    between = (counts[present, None] * np.square(means - mean)).sum(axis=0) / n
    ratio = np.divide(within, between, out=np.full_like(within, np.inf), where=between > 0)
    return np.asarray(np.clip(ratio, LEAST_CREDIBILITY, MOST_CREDIBILITY))


def _shrunk(counts: Vector, sums: Matrix, weight: Vector) -> Matrix:
    total = counts.sum()
    mean = sums.sum(axis=0) / total if total > 0 else np.zeros(sums.shape[1])
    return np.asarray((sums + weight * mean) / (counts[:, None] + weight))


def _folded(
    tables: NDArray[np.float64], values: NDArray[np.float64], counts: Matrix
) -> FoldedTable:
    n = counts.sum()
    mean = (counts[:, :, None] * values).sum(axis=(0, 1)) / n
    variance = (counts[:, :, None] * np.square(values - mean)).sum(axis=(0, 1)) / n
    return FoldedTable(tables, mean, np.sqrt(variance))
