"""The design matrix, a block of rows at a time, for fits that must not hold it whole.

Owns the choice of the block's size and the standardising of a block in place. Blocks are
transposed, (columns, rows): every column is then contiguous and the products that fits need are
BLAS calls on a block that is still in the cache.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from proxy.engine.arrays import Matrix, Rows, Vector
from proxy.engine.columns import Column, Dataset, FeatureKind
from proxy.engine.encoders import CategoryEncoder
from proxy.engine.preprocessing import Preprocessor

# Measured on 1 M x 10: 128 KiB is 20% slower (calls), beyond 4 MiB nothing is gained.
BLOCK_SIZE_BYTES = 1 << 21
SMALLEST_BLOCK_ROWS = 256


class Design(Protocol):
    """A design matrix that can write any range of its rows."""

    @property
    def n_samples(self) -> int:
        """Return the number of rows."""

    @property
    def mean(self) -> Vector:
        """Return the mean of each column."""

    @property
    def scale(self) -> Vector:
        """Return the standard deviation of each column, 0 where it is constant."""

    def one_hot_groups(self) -> list[slice]:
        """Return groups of columns that add up to 1 in every row."""

    def fill(self, start: int, stop: int, out: Matrix) -> None:
        """Write rows start..stop, transposed, into the (n_columns, stop - start) `out`."""

    def every(self, step: int) -> Design:
        """Return the design of every step-th row."""


class MatrixDesign:
    """The design of a matrix in memory."""

    def __init__(self, X: Matrix) -> None:
        self.X = np.asarray(X, dtype=np.float64)
        self.mean = self.X.mean(axis=0)
        self.scale = self.X.std(axis=0)
        span = np.abs(self.X).max(axis=0, initial=0.0)
        self.scale[self.scale <= 8 * np.finfo(np.float64).eps * span] = 0.0

    @property
    def n_samples(self) -> int:
        """Return the number of rows."""
        return len(self.X)

    def one_hot_groups(self) -> list[slice]:
        """Return no group: nothing is known about the columns."""
        return []

    def fill(self, start: int, stop: int, out: Matrix) -> None:
        """Write rows start..stop, transposed, into `out`."""
        np.copyto(out, self.X[start:stop].T)

    def every(self, step: int) -> MatrixDesign:
        """Return the design of every step-th row."""
        return MatrixDesign(self.X[::step])


class EncodedDesign:
    """The design of a dataset's rows under a fitted preprocessor."""

    def __init__(self, dataset: Dataset, preprocessor: Preprocessor, rows: Rows = None) -> None:
        self._dataset = dataset
        self._preprocessor = preprocessor
        self._rows = rows
        self._inputs = input_columns(dataset, preprocessor)
        self.mean = preprocessor.mean_
        self.scale = preprocessor.scale_

    @property
    def n_samples(self) -> int:
        """Return the number of rows."""
        return self._dataset.n_samples if self._rows is None else len(self._rows)

    def one_hot_groups(self) -> list[slice]:
        """Return the columns of each categorical feature."""
        return self._preprocessor.one_hot_groups()

    def fill(self, start: int, stop: int, out: Matrix) -> None:
        """Write rows start..stop, transposed, into `out`."""
        chosen = slice(start, stop) if self._rows is None else self._rows[start:stop]
        first = 0
        for source, encoder in zip(self._inputs, self._preprocessor.encoders_, strict=True):
            last = first + encoder.n_columns
            encoder.encode(source.read(chosen), out[first:last])
            first = last

    def every(self, step: int) -> EncodedDesign:
        """Return the design of every step-th row."""
        rows = np.arange(self._dataset.n_samples) if self._rows is None else self._rows
        return EncodedDesign(self._dataset, self._preprocessor, rows[::step])


@dataclass(frozen=True, slots=True)
class InputColumn:
    """A column of the dataset, read as a column of the raw matrix."""

    values: NDArray[Any]
    raw_codes: Vector | None

    def read(self, chosen: slice | NDArray[np.int64]) -> Vector:
        """Return the raw values of the chosen rows; ±inf reads as missing, as in training."""
        picked = self.values[chosen]
        if self.raw_codes is not None:
            return np.asarray(self.raw_codes[picked])
        if np.isinf(picked).any():
            picked = np.where(np.isinf(picked), np.nan, picked)
        return picked


def input_columns(dataset: Dataset, preprocessor: Preprocessor) -> list[InputColumn]:
    """Return the columns of the raw matrix that the preprocessor's encoders read."""
    inputs: list[InputColumn] = []
    for column in dataset.features:
        if column.kind is FeatureKind.ARRAY:
            inputs.extend(InputColumn(column.values[:, j], None) for j in range(column.width))
        elif column.kind is FeatureKind.CATEGORY:
            encoder = preprocessor.encoders_[len(inputs)]
            assert isinstance(encoder, CategoryEncoder)
            inputs.append(InputColumn(column.values, _raw_codes(column, encoder)))
        else:
            inputs.append(InputColumn(column.values, None))
    return inputs


def _raw_codes(column: Column, encoder: CategoryEncoder) -> Vector:
    """Return the table from a dataset's codes to the encoder's.

    Its last place is NULL and the one before 'beyond the dictionary', so that the codes -1 and -2
    reach them as numpy's indices from the end.
    """
    code_of = {name: code for code, name in enumerate(encoder.categories)}
    unseen = len(encoder.categories)
    known = [float(code_of.get(name, unseen)) for name in column.categories]
    return np.array([*known, float(unseen), np.nan])


def raw_matrix(inputs: list[InputColumn], chosen: slice | NDArray[np.int64]) -> Matrix:
    """Return the (n, input_width) raw matrix of the chosen rows, as scoring would see it."""
    columns = [source.read(chosen) for source in inputs]
    return np.ascontiguousarray(np.stack(columns, axis=1))


class StandardisedDesign:
    """Blocks of a design, each column shifted and scaled, then a column of ones.

    With an intercept the columns are centred and have unit variance; without one a shift would
    change the model, so they are only scaled, by their root mean square. A constant column carries
    nothing beside an intercept: it becomes zeros.

    Attributes
    ----------
    inverse_scale : (n_columns,), the coefficient of a raw column is that of a standardised one
        times this
    shift : (n_columns,), what was subtracted before scaling
    n_parameters : n_columns, plus 1 with an intercept
    """

    def __init__(self, design: Design, *, fit_intercept: bool, width: int = 0) -> None:
        self.design = design
        self.n_samples = design.n_samples
        self.n_columns = len(design.mean)
        self.fit_intercept = fit_intercept
        self.shift = design.mean if fit_intercept else np.zeros(self.n_columns)
        scale = design.scale if fit_intercept else np.hypot(design.scale, design.mean)
        self.inverse_scale = np.divide(1.0, scale, out=np.zeros(self.n_columns), where=scale > 0)
        self.n_parameters = self.n_columns + fit_intercept
        per_row = max(width, self.n_parameters) * 8
        self.block_rows = max(SMALLEST_BLOCK_ROWS, BLOCK_SIZE_BYTES // per_row)

    def every(self, step: int) -> StandardisedDesign:
        """Return every step-th row, standardised by the moments of all rows."""
        thinned = StandardisedDesign(self.design, fit_intercept=self.fit_intercept)
        thinned.design = self.design.every(step)
        thinned.n_samples = thinned.design.n_samples
        thinned.block_rows = self.block_rows
        return thinned

    def blocks(self) -> Iterator[tuple[slice, Matrix]]:
        """Yield the rows and their (n_parameters, m) block; the next block overwrites it."""
        size = min(self.block_rows, self.n_samples)
        buffer = np.empty(self.n_parameters * size)
        shift, inverse_scale = self.shift[:, None], self.inverse_scale[:, None]
        for start in range(0, self.n_samples, size):
            stop = min(start + size, self.n_samples)
            block = buffer[: self.n_parameters * (stop - start)].reshape(self.n_parameters, -1)
            columns = block[: self.n_columns]
            self.design.fill(start, stop, columns)
            columns -= shift
            columns *= inverse_scale
            if self.fit_intercept:
                block[-1] = 1.0
            yield slice(start, stop), block
