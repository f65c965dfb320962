"""Raw values in, design matrix out: imputation, one-hot coding, missing indicators.

Owns the choice of an encoder for every input column, the layout of the design matrix and its
training moments. The arithmetic of one column is in `encoders`; standardising is left to the
solvers, so that coefficients are those of raw values.

The raw matrix is (n, input_width): one column for each feature, `width` for an array. The design
matrix is (n, n_design_). In training it is never built whole: `design.EncodedDesign` asks for it in
blocks of rows.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from itertools import accumulate, islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from proxy.engine.arrays import Matrix, Rows, Vector
from proxy.engine.columns import Column, Dataset, FeatureKind, InputFeature
from proxy.engine.encoders import (
    LARGEST_MAGNITUDE,
    CategoryEncoder,
    CategorySummary,
    InputEncoder,
    MagnitudeError,
    NumberSummary,
)
from proxy.engine.parallel import InOrderMap, one_by_one
from proxy.errors import InvalidParameterError

NUMERIC_VALUE_OUT_OF_RANGE = "22003"
SUMMARY_BLOCK_ROWS = 1 << 18
"""2 MiB: fewer make the threads of a parallel map wait for the interpreter, and for each other."""
FEWEST_SHARED_ROWS = 1 << 15
"""With fewer rows than these a column takes less time than to hand it to a thread."""


class Preprocessor:
    """Learn from a dataset how raw values become numbers to fit on.

    Parameters
    ----------
    max_categories : a category's one-hot columns, the infrequent one included

    Attributes
    ----------
    features_ : what the model takes, in order
    encoders_ : one for each column of the raw matrix
    n_design_ : columns of the design matrix
    mean_, scale_ : (n_design_,) training mean and standard deviation of each
    warnings_ : what the person who trains should know
    """

    def __init__(self, max_categories: int = 100) -> None:
        self.max_categories = max_categories
        self.features_: tuple[InputFeature, ...] = ()
        self.encoders_: tuple[InputEncoder, ...] = ()
        self.mean_: Vector = np.zeros(0)
        self.scale_: Vector = np.zeros(0)
        self.warnings_: tuple[str, ...] = ()

    @property
    def input_width_(self) -> int:
        """Return the number of columns of the raw matrix."""
        return len(self.encoders_)

    @property
    def n_design_(self) -> int:
        """Return the number of columns of the design matrix."""
        return sum(encoder.n_columns for encoder in self.encoders_)

    def fit(
        self, dataset: Dataset, rows: Rows = None, *, parallel: InOrderMap = one_by_one
    ) -> Preprocessor:
        """Learn encoders and moments from the features of the chosen rows.

        Parameters
        ----------
        parallel : how to read several columns at a time

        Raises
        ------
        InvalidParameterError
            22003: a value's magnitude is beyond 1e150.
        """
        features: list[InputFeature] = []
        encoders: list[InputEncoder] = []
        moments: list[tuple[float, float]] = []
        warnings: list[str] = []
        n_rows = dataset.n_samples if rows is None else len(rows)
        if n_rows < FEWEST_SHARED_ROWS:
            parallel = one_by_one
        sources = [(column, j) for column in dataset.features for j in range(column.width)]
        with closing(parallel(lambda source: _summarise(*source, rows), sources)) as summaries:
            for column in dataset.features:
                learn = self._learn_category if _is_category(column) else _learn_numbers
                learned, column_moments, notes = learn(
                    column, list(islice(summaries, column.width))
                )
                features.append(_input_feature(column, learned))
                encoders.extend(learned)
                moments.extend(column_moments)
                warnings.extend(notes)
        self.features_, self.encoders_ = tuple(features), tuple(encoders)
        self.mean_ = np.array([mean for mean, _ in moments])
        self.scale_ = np.array([deviation for _, deviation in moments])
        self.warnings_ = tuple(warnings)
        return self

    def _learn_category(self, column: Column, summaries: list[_Summary]) -> _Learned:
        (summary,) = summaries
        assert isinstance(summary, CategorySummary)
        encoder = summary.encoder(self.max_categories)
        notes = []
        if encoder.has_infrequent:
            notes.append(
                f'column "{column.name}" has more categories than max_categories '
                f"({self.max_categories}): the rarest are treated as one"
            )
        return [encoder], summary.moments(encoder), notes

    def transform(self, raw: Matrix) -> Matrix:
        """Return the (n, n_design_) design matrix of a (n, input_width_) raw matrix."""
        out = np.empty((self.n_design_, len(raw)))
        for j, (encoder, start) in enumerate(zip(self.encoders_, self.offsets(), strict=True)):
            encoder.encode(raw[:, j], out[start : start + encoder.n_columns])
        return np.ascontiguousarray(out.T)

    def offsets(self) -> list[int]:
        """Return the first design column of each input column."""
        widths = [encoder.n_columns for encoder in self.encoders_]
        return [0, *accumulate(widths[:-1])] if widths else []

    def one_hot_groups(self) -> list[slice]:
        """Return the design columns of each category: in every training row they add up to 1."""
        return [
            slice(start, start + encoder.n_columns)
            for encoder, start in zip(self.encoders_, self.offsets(), strict=True)
            if isinstance(encoder, CategoryEncoder)
        ]


_Summary = NumberSummary | CategorySummary
_Learned = tuple[list[InputEncoder], list[tuple[float, float]], list[str]]


def _is_category(column: Column) -> bool:
    return column.kind is FeatureKind.CATEGORY


def _summarise(column: Column, j: int, rows: Rows) -> _Summary:
    """Return what the chosen rows say of a column, of an array's column j."""
    if _is_category(column):
        return CategorySummary.of(column.categories, _blocks(column.values, rows))
    summary = NumberSummary()
    values = column.values[:, j] if column.kind is FeatureKind.ARRAY else column.values
    try:
        for block in _blocks(values, rows):
            summary.update(block)
    except MagnitudeError:
        raise _magnitude_error(column) from None
    return summary


def _learn_numbers(column: Column, summaries: list[_Summary]) -> _Learned:
    numbers = [summary for summary in summaries if isinstance(summary, NumberSummary)]
    moments = [pair for summary in numbers for pair in summary.moments()]
    encoders: list[InputEncoder] = [summary.encoder() for summary in numbers]
    return encoders, moments, _number_warnings(column, numbers)


def _blocks(values: NDArray[Any], rows: Rows) -> Iterator[NDArray[Any]]:
    n_rows = len(values) if rows is None else len(rows)
    for start in range(0, n_rows, SUMMARY_BLOCK_ROWS):
        stop = min(start + SUMMARY_BLOCK_ROWS, n_rows)
        yield values[start:stop] if rows is None else values[rows[start:stop]]


def _input_feature(column: Column, encoders: list[InputEncoder]) -> InputFeature:
    first = encoders[0] if encoders else None
    categories = first.categories if isinstance(first, CategoryEncoder) else ()
    return InputFeature(column.name, column.kind, column.sql_type, column.width, categories)


def _number_warnings(column: Column, summaries: list[NumberSummary]) -> list[str]:
    notes = []
    n_infinite = sum(summary.n_infinite for summary in summaries)
    if n_infinite:
        notes.append(
            f'column "{column.name}": {n_infinite} infinite '
            f"{'value is' if n_infinite == 1 else 'values are'} treated as missing"
        )
    if any(summary.n_valid == 0 for summary in summaries):
        notes.append(f'column "{column.name}" has no value in training and is of no use')
    return notes


def _magnitude_error(column: Column) -> InvalidParameterError:
    return InvalidParameterError(
        f'column "{column.name}" has values too large to learn from',
        detail=f"The magnitude of a training value may be {LARGEST_MAGNITUDE:g} at most.",
        hint="Scale the column in the training query, or leave such rows out.",
        sqlstate=NUMERIC_VALUE_OUT_OF_RANGE,
    )
