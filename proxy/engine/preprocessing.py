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
from itertools import accumulate
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
from proxy.errors import InvalidParameterError

NUMERIC_VALUE_OUT_OF_RANGE = "22003"
SUMMARY_BLOCK_ROWS = 8192  # BLAS starts threads for a dot product of more than 10000


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

    def fit(self, dataset: Dataset, rows: Rows = None) -> Preprocessor:
        """Learn encoders and moments from the features of the chosen rows.

        Raises
        ------
        InvalidParameterError
            22003: a value's magnitude is beyond 1e150.
        """
        features: list[InputFeature] = []
        encoders: list[InputEncoder] = []
        moments: list[tuple[float, float]] = []
        warnings: list[str] = []
        for column in dataset.features:
            fit_column = self._fit_category if _is_category(column) else self._fit_numbers
            learned, column_moments, notes = fit_column(column, rows)
            features.append(_input_feature(column, learned))
            encoders.extend(learned)
            moments.extend(column_moments)
            warnings.extend(notes)
        self.features_, self.encoders_ = tuple(features), tuple(encoders)
        self.mean_ = np.array([mean for mean, _ in moments])
        self.scale_ = np.array([deviation for _, deviation in moments])
        self.warnings_ = tuple(warnings)
        return self

    def _fit_category(self, column: Column, rows: Rows) -> _Learned:
        summary = CategorySummary.of(column.categories, _blocks(column.values, rows))
        encoder = summary.encoder(self.max_categories)
        notes = []
        if encoder.has_infrequent:
            notes.append(
                f'column "{column.name}" has more categories than max_categories '
                f"({self.max_categories}): the rarest are treated as one"
            )
        return [encoder], summary.moments(encoder), notes

    def _fit_numbers(self, column: Column, rows: Rows) -> _Learned:
        width = column.width
        summaries = [NumberSummary() for _ in range(width)]
        for j, summary in enumerate(summaries):
            values = column.values[:, j] if column.kind is FeatureKind.ARRAY else column.values
            try:
                for block in _blocks(values, rows):
                    summary.update(block)
            except MagnitudeError:
                raise _magnitude_error(column) from None
        moments = [pair for summary in summaries for pair in summary.moments()]
        encoders: list[InputEncoder] = [summary.encoder() for summary in summaries]
        return encoders, moments, _number_warnings(column, summaries)

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


_Learned = tuple[list[InputEncoder], list[tuple[float, float]], list[str]]


def _is_category(column: Column) -> bool:
    return column.kind is FeatureKind.CATEGORY


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
