"""Raw values in, design matrix out: imputation, one-hot and target coding, missing indicators.

Owns the choice of an encoder for every input column, the layout of the design matrix and its
training moments. The arithmetic of one column is in `encoders`, which columns say nothing in
`screening`. Linear solvers standardise for themselves, so that coefficients are those of raw
values; what else wants it standardised says so in its `Preparation`.

The raw matrix is (n, input_width): one column for each feature, `width` for an array. The design
matrix is (n, n_design_). In training it is never built whole: `design.EncodedDesign` asks for it in
blocks of rows.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import accumulate, islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from proxy.engine.arrays import Matrix, Rows, Vector
from proxy.engine.columns import Column, Dataset, FeatureKind, InputFeature
from proxy.engine.parallel import InOrderMap, one_by_one
from proxy.engine.preparation.encoders import (
    LARGEST_MAGNITUDE,
    CategoryEncoder,
    CategorySummary,
    DroppedEncoder,
    InputEncoder,
    MagnitudeError,
    NumberSummary,
    TargetEncoder,
)
from proxy.engine.preparation.screening import Screening, Source, Summary, redundant_notices, screen
from proxy.engine.preparation.target_coding import FoldedTable, TargetMatrix, learn_target_codes
from proxy.engine.row_blocks import chosen_blocks
from proxy.errors import InvalidParameterError

NUMERIC_VALUE_OUT_OF_RANGE = "22003"
SUMMARY_BLOCK_ROWS = 1 << 18
"""2 MiB: fewer make the threads of a parallel map wait for the interpreter, and for each other."""
FEWEST_SHARED_ROWS = 1 << 15
"""With fewer rows than these a column takes less time than to hand it to a thread."""


@dataclass(frozen=True, slots=True)
class Preparation:
    """What an algorithm wants of its design.

    Attributes
    ----------
    imputes : a missing number becomes the mean, with a column that says so; else it stays NaN
    standardises : columns are shifted and scaled to mean 0 and variance 1
    most_one_hot : a category of more values than this, or than max_categories, is target coded
    drops : which columns are left out: those that are constant, and those that repeat another
    """

    imputes: bool = True
    standardises: bool = False
    most_one_hot: int | None = None
    drops: Screening = Screening()  # noqa: RUF009  # a frozen value


class Preprocessor:
    """Learn from a dataset how raw values become numbers to fit on.

    Parameters
    ----------
    max_categories : a category's one-hot columns, the infrequent one included
    preparation : what the algorithm wants

    Attributes
    ----------
    features_ : what the model takes, in order
    encoders_ : one for each column of the raw matrix
    n_design_ : columns of the design matrix
    mean_, scale_ : (n_design_,) training mean and standard deviation of each, before standardising
    folded_ : for each target coded input, how training rows are coded; not stored
    warnings_, notices_ : what the person who trains should know
    """

    def __init__(self, max_categories: int = 100, preparation: Preparation = Preparation()) -> None:
        self.max_categories = max_categories
        self.preparation = preparation
        self.features_: tuple[InputFeature, ...] = ()
        self.encoders_: tuple[InputEncoder, ...] = ()
        self.mean_: Vector = np.zeros(0)
        self.scale_: Vector = np.zeros(0)
        self.folded_: dict[int, FoldedTable] = {}
        self.warnings_: tuple[str, ...] = ()
        self.notices_: tuple[str, ...] = ()

    @property
    def input_width_(self) -> int:
        """Return the number of columns of the raw matrix."""
        return len(self.encoders_)

    @property
    def n_design_(self) -> int:
        """Return the number of columns of the design matrix."""
        return sum(encoder.n_columns for encoder in self.encoders_)

    @property
    def shift_(self) -> Vector:
        """Return (n_design_,): what is subtracted from each column."""
        return self.mean_ if self.preparation.standardises else np.zeros(self.n_design_)

    @property
    def inverse_scale_(self) -> Vector:
        """Return (n_design_,): what each column is then multiplied by."""
        ones = np.ones(self.n_design_)
        if not self.preparation.standardises:
            return ones
        return np.divide(1.0, self.scale_, out=ones, where=self.scale_ > 0)

    def fit(
        self,
        dataset: Dataset,
        rows: Rows = None,
        *,
        target: TargetMatrix | None = None,
        parallel: InOrderMap = one_by_one,
    ) -> Preprocessor:
        """Learn encoders and moments from the features of the chosen rows.

        Parameters
        ----------
        target : of the chosen rows; without it no category is target coded
        parallel : how to read several columns at a time

        Raises
        ------
        InvalidParameterError
            22003: a value's magnitude is beyond 1e150.
        """
        n_rows = dataset.n_samples if rows is None else len(rows)
        if n_rows < FEWEST_SHARED_ROWS:
            parallel = one_by_one
        sources = [
            Source(column, j, rows) for column in dataset.features for j in range(column.width)
        ]
        with closing(parallel(_summarise, sources)) as results:
            summaries = list(results)
        redundant = screen(sources, summaries, self.preparation.drops)
        self.folded_ = {}
        learned = [
            self._learn(j, source, summary, target)
            if redundant[j] is None
            else (DroppedEncoder(), [])
            for j, (source, summary) in enumerate(zip(sources, summaries, strict=True))
        ]
        self.encoders_ = tuple(encoder for encoder, _ in learned)
        moments = [pair for _, pairs in learned for pair in pairs]
        self.mean_ = np.array([mean for mean, _ in moments])
        self.scale_ = np.array([deviation for _, deviation in moments])
        by_column = iter(zip(self.encoders_, summaries, strict=True))
        features, warnings = [], []
        for column in dataset.features:
            own = list(islice(by_column, column.width))
            features.append(_input_feature(column, [encoder for encoder, _ in own]))
            warnings += _warnings(column, [summary for _, summary in own])
            notices = self._category_notices(column, own)
            warnings += notices
        self.features_, self.warnings_ = tuple(features), tuple(warnings)
        self.notices_ = tuple(redundant_notices(sources, redundant))
        return self

    def _learn(
        self, j: int, source: Source, summary: Summary, target: TargetMatrix | None
    ) -> tuple[InputEncoder, list[tuple[float, float]]]:
        """Return the encoder of input column j, and the moments of its design columns."""
        if isinstance(summary, NumberSummary):
            encoder = summary.encoder()
            moments = summary.moments()
            if not self.preparation.imputes:
                encoder = replace(encoder, imputed=np.nan, has_indicator=False)
                moments = moments[:1]
            return encoder, moments
        if target is not None and summary.n_present > self._most_one_hot:
            coded, folded = learn_target_codes(summary, source.values, source.rows, target)
            self.folded_[j] = folded
            return coded, list(zip(folded.mean.tolist(), folded.scale.tolist(), strict=True))
        one_hot = summary.encoder(self.max_categories)
        return one_hot, summary.moments(one_hot)

    @property
    def _most_one_hot(self) -> int:
        wanted = self.preparation.most_one_hot
        return self.max_categories if wanted is None else min(wanted, self.max_categories)

    def _category_notices(
        self, column: Column, own: list[tuple[InputEncoder, Summary]]
    ) -> list[str]:
        notes = []
        for encoder, summary in own:
            if isinstance(encoder, CategoryEncoder) and encoder.has_infrequent:
                notes.append(
                    f'column "{column.name}" has more categories than max_categories '
                    f"({self.max_categories}): the rarest are treated as one"
                )
            if isinstance(encoder, TargetEncoder) and isinstance(summary, CategorySummary):
                n_left = summary.n_present - len(encoder.categories)
                if n_left > 0 or summary.counts[0]:
                    notes.append(
                        f'column "{column.name}" has more than {len(encoder.categories)} '
                        "categories: the rarest are treated as one"
                    )
        return notes

    def transform(self, raw: Matrix) -> Matrix:
        """Return the (n, n_design_) design matrix of a (n, input_width_) raw matrix."""
        out = np.empty((self.n_design_, len(raw)))
        for j, (encoder, start) in enumerate(zip(self.encoders_, self.offsets(), strict=True)):
            encoder.encode(raw[:, j], out[start : start + encoder.n_columns])
        self.standardise(out)
        return np.ascontiguousarray(out.T)

    def standardise(self, columns: Matrix) -> None:
        """Shift and scale the (n_design_, m) columns in place, if that is wanted."""
        if self.preparation.standardises:
            columns -= self.shift_[:, None]
            columns *= self.inverse_scale_[:, None]

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


def _summarise(source: Source) -> Summary:
    """Return what the chosen rows say of a column, of an array's column j."""
    column = source.column
    if column.kind is FeatureKind.CATEGORY:
        return CategorySummary.of(column.categories, _blocks(source))
    summary = NumberSummary()
    try:
        for block in _blocks(source):
            summary.update(block)
    except MagnitudeError:
        raise _magnitude_error(column) from None
    return summary


def _blocks(source: Source) -> Iterator[NDArray[Any]]:
    return (own for _, own in chosen_blocks(source.values, source.rows, SUMMARY_BLOCK_ROWS))


def _input_feature(column: Column, encoders: list[InputEncoder]) -> InputFeature:
    first = encoders[0] if encoders else None
    categories: tuple[str, ...] = ()
    if isinstance(first, CategoryEncoder | TargetEncoder):
        categories = first.categories
    return InputFeature(column.name, column.kind, column.sql_type, column.width, categories)


def _warnings(column: Column, summaries: list[Summary]) -> list[str]:
    numbers = [summary for summary in summaries if isinstance(summary, NumberSummary)]
    notes = []
    n_infinite = sum(summary.n_infinite for summary in numbers)
    if n_infinite:
        notes.append(
            f'column "{column.name}": {n_infinite} infinite '
            f"{'value is' if n_infinite == 1 else 'values are'} treated as missing"
        )
    if any(summary.n_valid == 0 for summary in numbers):
        notes.append(f'column "{column.name}" has no value in training and is of no use')
    return notes


def _magnitude_error(column: Column) -> InvalidParameterError:
    return InvalidParameterError(
        f'column "{column.name}" has values too large to learn from',
        detail=f"The magnitude of a training value may be {LARGEST_MAGNITUDE:g} at most.",
        hint="Scale the column in the training query, or leave such rows out.",
        sqlstate=NUMERIC_VALUE_OUT_OF_RANGE,
    )
