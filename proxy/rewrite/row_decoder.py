"""The hidden trailing columns of DataRows, decoded into a matrix to score.

Owns the storage, and which error it is, for the kernel `rows`. Leaves scoring to the engine and the
way back to `splice`.

It is fed a range of a receive buffer and takes whole frames from it; what is left, or of another
type, stays with the caller. NULL becomes NaN, in a category too.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from proxy.errors import ProxyError, RemoteProtocolError
from proxy.kernels import fields
from proxy.kernels.memory import view_bytes
from proxy.kernels.rows import decode_rows
from proxy.rewrite.columns import ColumnKind, HiddenColumn, column_label, field_error
from proxy.rewrite.text_dictionary import SEED, TextDictionary

# A chunk of NULL arrays can stand for far more values than it has bytes: decode in batches of
# at most 8 MiB.
_MAX_BATCH_VALUES = 1 << 20
_FRAME_HEADER_SIZE = 7
_FIELD_HEADER_SIZE = 4


class DecodedRows(NamedTuple):
    """What `RowDecoder.decode` found; its arrays are valid until the next call.

    Parameters
    ----------
    n_rows : rows decoded
    next_offset : offset of the first byte that was not consumed
    values : (n_rows, sum of widths) float64, C-contiguous
    frame_starts, hidden_starts : (at least n_rows,) offsets of each DataRow in the buffer and of
        its first hidden column
    visible_size : bytes of all rows without their hidden columns
    """

    n_rows: int
    next_offset: int
    values: NDArray[np.float64]
    frame_starts: NDArray[np.int64]
    hidden_starts: NDArray[np.int64]
    visible_size: int


class RowDecoder:
    """Decode the hidden trailing columns of DataRows.

    Parameters
    ----------
    n_visible : leading columns, which are stepped over
    columns : the hidden columns, in their order

    Attributes
    ----------
    plan, dictionary : what the kernel is told of the columns; they do not change
    width : values of a row
    """

    def __init__(self, n_visible: int, columns: Sequence[HiddenColumn]) -> None:
        self.n_visible = n_visible
        self._columns = tuple(columns)
        widths = [column.width for column in columns]
        self.width = sum(widths)
        self.plan = np.array(
            [
                (column.kind, len(column.categories) if _is_text(column) else column.width)
                for column in columns
            ],
            np.int64,
        ).reshape(len(columns), 2)
        self.dictionary = TextDictionary.of(
            [[value.encode() for value in column.categories] for column in columns]
        )
        self._smallest_row = _FRAME_HEADER_SIZE + _FIELD_HEADER_SIZE * (n_visible + len(columns))
        self._most_rows = max(1, _MAX_BATCH_VALUES // max(self.width, 1))
        self._allocate(min(64, self._most_rows))

    def _allocate(self, capacity: int) -> None:
        self._capacity = capacity
        self._values = np.empty((capacity, self.width))
        self._frame_starts = np.empty(capacity, np.int64)
        self._hidden_starts = np.empty(capacity, np.int64)

    def decode(self, buffer: bytes | bytearray | memoryview, start: int, stop: int) -> DecodedRows:
        """Decode the leading whole DataRows of buffer[start:stop].

        Fewer rows than there are may come back: where a batch is full, and before a row that
        cannot be decoded. Call again from `next_offset` until `n_rows` is 0; then what is left
        is another message, an incomplete one, or nothing.

        Raises
        ------
        RemoteProtocolError
            The first row breaks the protocol, or has other columns than were asked for.
        InvalidParameterError
            2202E, an array of the first row has not the length that the model was trained with.
        DatatypeMismatchError
            An array has elements of another type than float8.
        """
        needed = min((stop - start) // self._smallest_row, self._most_rows)
        if needed > self._capacity:
            self._allocate(min(2 * needed, self._most_rows))
        words = self.dictionary
        next_offset, n_rows, visible_size, status, column, detail = decode_rows(
            view_bytes(buffer),
            start,
            stop,
            self.n_visible,
            self.plan,
            SEED,
            words.table,
            words.entries,
            words.arena,
            self._values,
            self._frame_starts,
            self._hidden_starts,
        )
        if status != fields.OK and n_rows == 0:
            raise self._error(status, column, detail)
        return DecodedRows(
            n_rows,
            next_offset,
            self._values[:n_rows],
            self._frame_starts,
            self._hidden_starts,
            visible_size,
        )

    def _error(self, status: int, column: int, detail: int) -> ProxyError:
        if status == fields.BAD_COUNT:
            expected = self.n_visible + len(self._columns)
            return RemoteProtocolError(f"DataRow has {detail} columns instead of {expected}")
        if column >= len(self._columns):
            return RemoteProtocolError("DataRow whose columns do not fill its length")
        hidden = self._columns[column]
        label = column_label(hidden.name, self.n_visible + column)
        return field_error(status, label, detail, hidden.width)


def _is_text(column: HiddenColumn) -> bool:
    return column.kind is ColumnKind.TEXT
