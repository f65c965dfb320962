"""The design matrix, a block of rows at a time, for fits that must not hold it whole.

Owns the choice of the block's size and the standardising of a block in place. Blocks are
transposed, (columns, rows): every column is then contiguous and the products that fits need are
BLAS calls on a block that is still in the cache.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from proxy.engine.arrays import Matrix, Rows, Vector
from proxy.engine.columns import Column, Dataset, FeatureKind
from proxy.engine.memory import Allocate
from proxy.engine.parallel import InOrderMap, one_by_one
from proxy.engine.preparation.encoders import NumberEncoder, table_index
from proxy.engine.preparation.preprocessing import Preprocessor
from proxy.engine.preparation.target_coding import folds_of
from proxy.engine.row_blocks import row_blocks

# Measured on 1 M x 10, on 300 k x 10 with four classes and on 200 k x 50, with one thread and with
# two: half of it is a tenth slower, and two threads gain nothing, as they wait for the interpreter
# between short operations. Twice as much is better for narrow designs and worse for wide ones.
BLOCK_SIZE_BYTES = 1 << 22
SMALLEST_BLOCK_ROWS = 256
SCORING_BLOCK_BYTES = 1 << 21
MOST_SHARED_SUMS = 1 << 21
"""16 MiB: more sums than these are made of one block at a time, as every block has its own."""

BlockWork: TypeAlias = Callable[[slice, Matrix, Matrix], Vector]
"""Returns sums over a block, given its rows, the block and numbers to overwrite."""


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

    @property
    def mean(self) -> Vector:
        """Return the mean of each column."""
        return self._moments[0]

    @property
    def scale(self) -> Vector:
        """Return the standard deviation of each column, 0 where it is constant."""
        return self._moments[1]

    @cached_property
    def _moments(self) -> tuple[Vector, Vector]:
        """Measure a few columns at a time: numpy's own way makes copies of the whole matrix."""
        n_columns = self.X.shape[1]
        mean, scale = np.zeros(n_columns), np.zeros(n_columns)
        at_a_time = max(BLOCK_SIZE_BYTES // (8 * max(len(self.X), 1)), 1)
        for start in range(0, n_columns, at_a_time):
            chosen = slice(start, start + at_a_time)
            columns = np.array(self.X[:, chosen].T, order="C")  # a copy, to be overwritten
            span = np.maximum(columns.max(axis=1), -columns.min(axis=1))
            mean[chosen] = columns.mean(axis=1)
            columns -= mean[chosen, None]
            np.square(columns, out=columns)
            deviation = np.sqrt(columns.mean(axis=1))
            constant = deviation <= 8 * np.finfo(np.float64).eps * np.abs(span)
            scale[chosen] = np.where(constant, 0.0, deviation)
        return mean, scale

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
    """The design of a dataset's rows under a preprocessor that has learned from them.

    Parameters
    ----------
    rows : all that the preprocessor has learned from, or some of them
    """

    def __init__(self, dataset: Dataset, preprocessor: Preprocessor, rows: Rows = None) -> None:
        self._dataset = dataset
        self._preprocessor = preprocessor
        self._rows = rows
        self._inputs = input_columns(dataset, preprocessor)
        self.mean, self.scale = preprocessor.mean_, preprocessor.scale_
        if preprocessor.preparation.standardises:
            self.mean = np.zeros(preprocessor.n_design_)
            self.scale = np.asarray(preprocessor.scale_ > 0, dtype=np.float64)

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
        folded = self._preprocessor.folded_
        first = 0
        for j, (source, encoder) in enumerate(
            zip(self._inputs, self._preprocessor.encoders_, strict=True)
        ):
            last = first + encoder.n_columns
            if isinstance(encoder, NumberEncoder):
                source.encode_number(chosen, encoder, out[first:last])
            elif j in folded:
                places = table_index(source.read(chosen), len(source.encoder_categories))
                rows = np.arange(start, stop) if self._rows is None else self._rows[start:stop]
                np.copyto(out[first:last], folded[j].values[folds_of(rows), places].T)
            elif last > first:
                encoder.encode(source.read(chosen), out[first:last])
            first = last
        self._preprocessor.standardise(out)

    def every(self, step: int) -> EncodedDesign:
        """Return the design of every step-th row."""
        n = self._dataset.n_samples
        rows = np.arange(0, n, step) if self._rows is None else self._rows[::step]
        return EncodedDesign(self._dataset, self._preprocessor, rows)


@dataclass(frozen=True, slots=True)
class InputColumn:
    """A column of the dataset, read as a column of the raw matrix.

    Attributes
    ----------
    raw_codes : of a category, the encoder's code for each of the dataset's; None for numbers
    encoder_categories : of a category, those that the encoder knows
    """

    values: NDArray[Any]
    raw_codes: Vector | None
    encoder_categories: tuple[str, ...] = ()

    def encode_number(
        self, chosen: slice | NDArray[np.int64], encoder: NumberEncoder, out: Matrix
    ) -> None:
        """Write what `encoder.encode` makes of rows that it has learned from, in fewer steps.

        Without an indicator there was neither NULL nor infinity among them.
        """
        values = out[0]
        if isinstance(chosen, slice) or not self.values.flags.c_contiguous:
            np.copyto(values, self.values[chosen])
        else:  # a third faster than to index; "raise", the default mode, would copy twice
            self.values.take(chosen, out=values, mode="clip")
        if encoder.has_indicator:
            missing = ~np.isfinite(values)
            np.copyto(out[1], missing)
            np.copyto(values, encoder.imputed, where=missing)
        elif np.isnan(encoder.imputed):
            np.copyto(values, np.nan, where=np.isinf(values))

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
            assert not isinstance(encoder, NumberEncoder)
            codes = _raw_codes(column, encoder.categories)
            inputs.append(InputColumn(column.values, codes, encoder.categories))
        else:
            inputs.append(InputColumn(column.values, None))
    return inputs


def _raw_codes(column: Column, categories: tuple[str, ...]) -> Vector:
    """Return the table from a dataset's codes to the encoder's.

    Its last place is NULL and the one before 'beyond the dictionary', so that the codes -1 and -2
    reach them as numpy's indices from the end.
    """
    code_of = {name: code for code, name in enumerate(categories)}
    unseen = len(categories)
    known = [float(code_of.get(name, unseen)) for name in column.categories]
    return np.array([*known, float(unseen), np.nan])


def raw_matrix(inputs: list[InputColumn], chosen: slice | NDArray[np.int64]) -> Matrix:
    """Return the (n, input_width) raw matrix of the chosen rows, as scoring would see it."""
    columns = [source.read(chosen) for source in inputs]
    return np.ascontiguousarray(np.stack(columns, axis=1))


def over_raw_blocks(
    work: Callable[[Matrix], NDArray[Any]],
    inputs: list[InputColumn],
    rows: Rows,
    *,
    n_outputs: int,
    parallel: InOrderMap,
    allocate: Allocate = np.empty,
) -> NDArray[Any]:
    """Return what `work` returns for the raw matrices of the rows, block after block, joined.

    Parameters
    ----------
    rows : one at least, or None for all
    n_outputs : numbers that it returns for a row, to tell how many rows make a block
    allocate : for what is returned
    """
    n_rows = len(inputs[0].values) if rows is None else len(rows)
    size = rows_per_block(len(inputs) + n_outputs, SCORING_BLOCK_BYTES)
    blocks = list(row_blocks(n_rows, size))

    def part_of(block: slice) -> NDArray[Any]:
        return work(raw_matrix(inputs, block if rows is None else rows[block]))

    if len(blocks) == 1:
        return part_of(blocks[0])
    joined: NDArray[Any] | None = None
    with closing(parallel(part_of, blocks)) as parts:
        for block, part in zip(blocks, parts, strict=True):
            if joined is None:
                joined = allocate((n_rows, *part.shape[1:]), part.dtype)
            joined[block] = part
    assert joined is not None
    return joined


class StandardisedDesign:
    """Blocks of a design, each column shifted and scaled, then a column of ones.

    With an intercept the columns are centred and have unit variance; without one a shift would
    change the model, so they are only scaled, by their root mean square. A constant column carries
    nothing beside an intercept: it becomes zeros.

    Parameters
    ----------
    parallel : how to work on several blocks at a time

    Attributes
    ----------
    inverse_scale : (n_columns,), the coefficient of a raw column is that of a standardised one
        times this
    shift : (n_columns,), what was subtracted before scaling
    n_parameters : n_columns, plus 1 with an intercept
    """

    def __init__(
        self, design: Design, *, fit_intercept: bool, parallel: InOrderMap = one_by_one
    ) -> None:
        self.design = design
        self.n_samples = design.n_samples
        self.n_columns = len(design.mean)
        self.fit_intercept = fit_intercept
        self.parallel = parallel
        self.shift = design.mean if fit_intercept else np.zeros(self.n_columns)
        scale = design.scale if fit_intercept else np.hypot(design.scale, design.mean)
        self.inverse_scale = np.divide(1.0, scale, out=np.zeros(self.n_columns), where=scale > 0)
        self.n_parameters = self.n_columns + fit_intercept
        self._buffers: list[Vector] = []
        self._only: Matrix | None = None

    def every(self, step: int) -> StandardisedDesign:
        """Return every step-th row, standardised by the moments of all rows."""
        thinned = StandardisedDesign(
            self.design, fit_intercept=self.fit_intercept, parallel=self.parallel
        )
        thinned.design = self.design.every(step)
        thinned.n_samples = thinned.design.n_samples
        return thinned

    def blocks(self) -> Iterator[tuple[slice, Matrix]]:
        """Yield the rows and their (n_parameters, m) block; the next block overwrites it."""
        size = rows_per_block(self.n_parameters)
        buffer = np.empty(self.n_parameters * min(size, self.n_samples))
        for rows in self._ranges(size):
            yield rows, self._fill(rows, buffer, self.n_parameters)

    def sum_over_blocks(self, work: BlockWork, *, n_sums: int, n_scratch: int = 0) -> Vector:
        """Return the (n_sums,) sums of what `work` returns for each block.

        Blocks are worked on several at a time, unless their sums would need too much room, and
        added in the order of their rows: the result is the same, bit for bit, either way.

        Parameters
        ----------
        work : called with the rows, their (n_parameters, m) block, to be left as it is, and
            (n_scratch, m) numbers, its own until it returns
        """
        width = self.n_parameters + n_scratch
        size = rows_per_block(width)
        if size >= self.n_samples:
            return self._work_on_the_only_block(work, width)
        parallel = self.parallel if n_sums <= MOST_SHARED_SUMS else one_by_one

        def run(rows: slice) -> Vector:
            buffer = self._borrow(width * size)
            both = self._fill(rows, buffer, width)
            sums = work(rows, both[: self.n_parameters], both[self.n_parameters :])
            self._buffers.append(buffer)
            return sums

        total = np.zeros(n_sums)
        with closing(parallel(run, self._ranges(size))) as parts:
            for part in parts:
                total += part
        return total

    def _work_on_the_only_block(self, work: BlockWork, width: int) -> Vector:
        """Return what `work` returns for all rows, which are filled in once for all calls."""
        rows = slice(0, self.n_samples)
        if self._only is None or len(self._only) < width:
            self._only = self._fill(rows, np.empty(width * self.n_samples), width)
        return work(rows, self._only[: self.n_parameters], self._only[self.n_parameters :])

    def _borrow(self, size: int) -> Vector:
        """Return a buffer that nobody uses; `list.pop` gives none to two threads."""
        try:
            buffer = self._buffers.pop()
        except IndexError:
            return np.empty(size)
        return buffer if len(buffer) >= size else np.empty(size)

    def _ranges(self, size: int) -> Iterator[slice]:
        return row_blocks(self.n_samples, size)

    def _fill(self, rows: slice, buffer: Vector, width: int) -> Matrix:
        """Return the (width, m) matrix of the buffer's first numbers, with the block on top."""
        n_rows = rows.stop - rows.start
        matrix = buffer[: width * n_rows].reshape(width, n_rows)
        columns = matrix[: self.n_columns]
        self.design.fill(rows.start, rows.stop, columns)
        columns -= self.shift[:, None]
        columns *= self.inverse_scale[:, None]
        if self.fit_intercept:
            matrix[self.n_columns] = 1.0
        return matrix


def rows_per_block(n_floats: int, size_bytes: int | None = None) -> int:
    """Return how many rows of so many float64 make a block."""
    return max((size_bytes or BLOCK_SIZE_BYTES) // (8 * n_floats), SMALLEST_BLOCK_ROWS)
