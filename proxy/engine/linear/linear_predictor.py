"""The flat form of preprocessing and a linear estimator, for scoring row batches fast.

Owns the program that the kernel `linear` runs: a slope for each numeric input, a table for each
category, a constant; and the sums that overflow there. What a score means is the caller's choice.

A row's score is the same, bit for bit, alone and in any batch: see the kernel.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from proxy.engine.arrays import Matrix, Vector
from proxy.engine.preparation.encoders import (
    CategoryEncoder,
    DroppedEncoder,
    InputEncoder,
    NumberEncoder,
    TargetEncoder,
)
from proxy.kernels import linear as kernel

# Powers of two that bring any product of two float64 into range: 1024 - 600 + 1024 - 500 < 1024.
INPUT_EXPONENT, SLOPE_EXPONENT = -600, -500


class LinearPredictor:
    """Score raw rows with `coef` (n_outputs, n_design) and `intercept` (n_outputs,)."""

    def __init__(self, encoders: Sequence[InputEncoder], coef: Matrix, intercept: Vector) -> None:
        self.width = len(encoders)
        self.n_outputs = len(coef)
        self.constant = intercept
        self._numbers: list[tuple[int, NumberEncoder]] = []
        self._tables: list[tuple[int, Matrix]] = []
        slopes, null_weights = [], []
        first = 0
        for j, encoder in enumerate(encoders):
            own = coef[:, first : first + encoder.n_columns]
            first += encoder.n_columns
            if isinstance(encoder, CategoryEncoder):
                padded = np.hstack([own, np.zeros((self.n_outputs, 1))])  # slot -1 weighs nothing
                self._tables.append((j, padded[:, encoder.slot_table()]))
                continue
            if isinstance(encoder, TargetEncoder):
                self._tables.append((j, np.ascontiguousarray(own @ encoder.table().T)))
                continue
            if isinstance(encoder, DroppedEncoder):
                continue
            self._numbers.append((j, encoder))
            slopes.append(own[:, 0])
            null_weights.append(own[:, 1] if encoder.has_indicator else np.zeros(self.n_outputs))
        self._slopes = _side_by_side(slopes, self.n_outputs)
        self._null_weights = _side_by_side(null_weights, self.n_outputs)
        self._whole = LinearScorer(self, range(self.width))

    def scores(self, raw: Matrix) -> Matrix:
        """Return the (n_outputs, n) scores of a C-contiguous (n, width) raw matrix; never NaN."""
        return self._whole.sums(raw)

    def program(
        self,
        sources: Sequence[int],
        recodings: Sequence[Vector | None],
        meaning: int,
        class_index: int,
    ) -> tuple[NDArray[np.int64], Vector]:
        """Return the program and its weights, laid out as in `kernels.linear`."""
        numbers = [sources[j] for j, _ in self._numbers]
        words = [self.n_outputs, len(numbers), len(self._tables), meaning, class_index]
        words += [_stretch(numbers), *numbers]
        ends = [(each.imputed, each.minimum, each.maximum) for _, each in self._numbers]
        parts = [self.constant, np.array(ends).ravel()]
        parts += [self._slopes.ravel(), self._null_weights.ravel()]
        size = sum(len(part) for part in parts)
        for j, weights in self._tables:
            weights = _recoded(weights, recodings[j])
            words += [sources[j], weights.shape[1] - kernel.EXTRA_PLACES, size]
            parts.append(weights.ravel())
            size += weights.size
        return np.array(words, np.int64), np.concatenate(parts).astype(np.float64)

    def rescaled(self, raw: Matrix) -> Matrix:
        """Return sums whose terms overflow, taken where they do not; ±inf only if so large.

        Categories and indicators are left out: they are lost beside such terms.
        """
        numbers = [j for j, _ in self._numbers]
        values = raw[:, numbers]
        for column, (_, encoder) in zip(values.T, self._numbers, strict=True):
            np.nan_to_num(
                column,
                copy=False,
                nan=encoder.imputed,
                posinf=encoder.maximum,
                neginf=encoder.minimum,
            )
        exponent = INPUT_EXPONENT + SLOPE_EXPONENT
        values = np.ldexp(values, INPUT_EXPONENT)
        slopes = np.ldexp(self._slopes, SLOPE_EXPONENT)
        small = np.zeros((self.n_outputs, len(raw)))
        for column, slope in zip(values.T, slopes.T, strict=True):
            small += column * slope[:, None]
        with np.errstate(over="ignore"):
            return np.ldexp(small + np.ldexp(self.constant, exponent)[:, None], -exponent)


class LinearScorer:
    """Scores of rows of values whose columns need not be those of the raw matrix.

    Parameters
    ----------
    sources : for each raw column the column of the values, or `kernels.linear.NOT_GIVEN`
    recodings : for each raw column None, or the raw code for each code of a category's values
    meaning, class_index : as in `kernels.linear`

    Attributes
    ----------
    program, weights : what the kernel runs; whoever runs it elsewhere keeps this object
    meaning, class_index : what a score is
    """

    def __init__(
        self,
        predictor: LinearPredictor,
        sources: Sequence[int],
        recodings: Sequence[Vector | None] = (),
        meaning: int = kernel.VALUE,
        class_index: int | None = None,
    ) -> None:
        self._predictor = predictor
        self._sources = tuple(sources)
        self.meaning = meaning
        self.class_index = -1 if class_index is None else class_index
        self.program, self.weights = predictor.program(
            self._sources,
            tuple(recodings) or (None,) * len(self._sources),
            meaning,
            self.class_index,
        )
        self._n_numbers = int(self.program[kernel.N_NUMBERS])

    def scores(self, values: Matrix) -> Vector:
        """Return (n,): the score of each row; a label as its place in the classes."""
        scores = np.empty(len(values))
        kernel.finish_rows(self.sums(values), self.meaning, self.class_index, scores)
        return scores

    def sums(self, values: Matrix) -> Matrix:
        """Return the (n_outputs, n) sums of C-contiguous rows; never NaN."""
        sums = np.empty((self._predictor.n_outputs, len(values)))
        n_wrong = kernel.sum_rows(
            values, self.program, self.weights, np.empty(self._n_numbers), sums
        )
        if n_wrong:
            wrong = ~np.isfinite(sums)
            rows = np.flatnonzero(wrong.any(axis=0))
            rescaled = self._predictor.rescaled(self._raw(values[rows]))
            sums[:, rows] = np.where(wrong[:, rows], rescaled, sums[:, rows])
        return sums

    def _raw(self, values: Matrix) -> Matrix:
        """Return the model's raw matrix; an input that was not given is NaN, so are categories."""
        raw = np.full((len(values), len(self._sources)), np.nan)
        for j, source in enumerate(self._sources):
            if source != kernel.NOT_GIVEN:
                raw[:, j] = values[:, source]
        return raw


def _stretch(sources: list[int]) -> int:
    """Return the first source if the others follow it one by one, else NOT_GIVEN."""
    first = sources[0] if sources else kernel.NOT_GIVEN
    is_stretch = first != kernel.NOT_GIVEN and sources == list(range(first, first + len(sources)))
    return first if is_stretch else kernel.NOT_GIVEN


def _side_by_side(columns: list[Vector], n_rows: int) -> Matrix:
    return np.stack(columns, axis=1) if columns else np.zeros((n_rows, 0))


def _recoded(weights: Matrix, codes: Vector | None) -> Matrix:
    """Return a table by the codes of the values: codes[i] is the model's for their code i.

    The last of `codes` is that of values that they do not know.
    """
    if codes is None:
        return weights
    places = codes.astype(np.int64) + 1
    null = weights.shape[1] - 1
    return np.ascontiguousarray(weights[:, [places[-1], *places, null]])
