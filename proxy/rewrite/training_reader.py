"""A binary COPY TO STDOUT, read into columns to train on.

Owns the storage and its growth, and which error it is, for the kernel `copy_rows`. Where rows go
that are handed over is the caller's.

It is fed a range of a receive buffer and takes whole frames from it; what is left, or of another
type, stays with the caller. NULL becomes NaN, or code -1.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from proxy.errors import ProxyError, RemoteProtocolError
from proxy.kernels import copy_rows, fields
from proxy.kernels.memory import view_bytes
from proxy.rewrite.columns import ColumnKind, InputColumn, column_label, field_error
from proxy.rewrite.text_dictionary import SEED, TextDictionary

# Up to this size storage is doubled, beyond it a quarter is added.
_DOUBLING_SIZE = 1 << 26
_MOST_SPARES = 2
_FIRST_CAPACITY = 1024
# Long texts are no categories; what is above this counts as beyond the dictionary.
_MAX_ARENA_SIZE = 1 << 26


@dataclass(frozen=True, slots=True)
class ColumnValues:
    """All values of one column of a query that trains.

    Parameters
    ----------
    values : FLOAT8, (n_rows,) float64; TEXT, (n_rows,) int32 codes into categories, -1 for NULL
        and -2 beyond the limit; FLOAT8_ARRAY, (n_rows, width) float64, width 0 if all are NULL
    categories : distinct values of a TEXT column, as the bytes that were sent, by first appearance
    """

    values: NDArray[Any]
    categories: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True)
class ColumnParts:
    """Some rows of a query that trains, column by column.

    Parameters
    ----------
    values : of each column the first n_rows * width values of an array: float64, or int32 of TEXT
    widths : values of a row; -1 of an array column that has been NULL so far
    """

    n_rows: int
    values: list[NDArray[Any]]
    widths: list[int]


class TrainingReader:
    """Read a binary COPY TO STDOUT into columns.

    Parameters
    ----------
    columns : the columns of the COPY, in their order
    max_categories_kept : distinct values of a TEXT column that get a code of their own
    hand_over : takes the rows whenever they fill `part_size` bytes; None: all are kept

    Notes
    -----
    Storage is resized in place, which moves pages instead of copying them where the C library
    can (mremap), and is trimmed at the end: the peak is at most 1.25 times the data.
    """

    def __init__(
        self,
        columns: Sequence[InputColumn],
        max_categories_kept: int = 65536,
        *,
        part_size: int = 0,
        hand_over: Callable[[ColumnParts], None] | None = None,
    ) -> None:
        self._columns = tuple(columns)
        self._part_size = part_size
        self._hand_over = hand_over
        self._n_handed_over = 0
        self._spares: list[list[NDArray[Any]]] = []
        self._limits = (max_categories_kept, _MAX_ARENA_SIZE)
        self._plan = np.zeros((len(columns), 3), np.int64)
        self._capacity = _FIRST_CAPACITY
        self._storage: list[NDArray[Any]] = []
        for column in columns:
            itemtype = np.int32 if column.kind is ColumnKind.TEXT else np.float64
            is_array = column.kind is ColumnKind.FLOAT8_ARRAY
            self._storage.append(np.empty(0 if is_array else self._capacity, itemtype))
        self._plan[:, fields.KIND] = [column.kind for column in columns]
        self._plan[:, fields.WIDTH] = [
            -1 if column.kind is ColumnKind.FLOAT8_ARRAY else 1 for column in columns
        ]
        self._note_addresses()
        self._counts = np.zeros(len(columns), np.int64)
        self._state = np.zeros(copy_rows.STATE_SIZE, np.int64)
        self._dictionary = TextDictionary.empty()

    @property
    def n_rows(self) -> int:
        """Rows read so far."""
        return self._n_handed_over + self._n_stored

    @property
    def widths(self) -> list[int]:
        """Values of a row in each column; -1 of an array column that has been NULL so far."""
        return [int(width) for width in self._plan[:, fields.WIDTH]]

    @property
    def _n_stored(self) -> int:
        return int(self._state[copy_rows.ROWS])

    def take_back(self, parts: ColumnParts) -> None:
        """Use the storage of rows that were handed over for others."""
        if self._storage and len(self._spares) < _MOST_SPARES:
            self._spares.append(parts.values)

    def close(self) -> None:
        """Give up all rows and their memory, at once and not when the collector comes by.

        Nothing may be fed any more; without room the kernel would write nothing.
        """
        self._storage, self._spares, self._capacity = [], [], 0

    def feed(self, buffer: bytes | bytearray | memoryview, start: int, stop: int) -> int:
        """Consume the leading whole CopyData frames of buffer[start:stop]; return where they end.

        Raises
        ------
        RemoteProtocolError
            The bytes are not a binary COPY of these columns.
        InvalidParameterError
            2202E, an array is not as long as the first one of its column.
        DatatypeMismatchError
            An array has elements of another type than float8.
        """
        while True:
            words = self._dictionary
            start, status, column, detail, row = copy_rows.read_copy(
                view_bytes(buffer),
                start,
                stop,
                self._plan,
                self._capacity,
                self._limits,
                self._counts,
                self._state,
                SEED,
                words.table,
                words.entries,
                words.arena,
            )
            if status == fields.OK:
                return start
            self._make_room(status, column, detail, row)

    def finish(self) -> list[ColumnValues]:
        """Give up the columns' rows that were not handed over, after the stream has ended.

        Raises
        ------
        RemoteProtocolError
            The trailer of the COPY has not come.
        """
        if self._state[copy_rows.PHASE] != copy_rows.AFTER_END:
            raise RemoteProtocolError("COPY data ended before their trailer")
        n_rows = self._n_stored
        self._resize(n_rows)
        categories = self._dictionary.values(
            len(self._columns), int(self._state[copy_rows.ENTRIES])
        )
        result: list[ColumnValues] = []
        for column, values, words in zip(self._columns, self._storage, categories, strict=True):
            if column.kind is ColumnKind.FLOAT8_ARRAY:
                width = max(int(self._plan[len(result), fields.WIDTH]), 0)
                values = values.reshape(n_rows, width)  # type: ignore[assignment,unused-ignore]
            result.append(ColumnValues(values, tuple(words)))
        self.close()
        return result

    def _make_room(self, status: int, column: int, detail: int, row: int) -> None:
        """Do what the kernel asks for, or raise the error that it found."""
        if status == copy_rows.ROWS_FULL:
            if self._is_part_full():
                self._give_rows()
            else:
                self._resize(self._grown_capacity())
        elif status == copy_rows.ENTRIES_FULL:
            self._dictionary.double_entries()
        elif status == copy_rows.ARENA_FULL:
            self._dictionary.grow_arena(detail, _MAX_ARENA_SIZE)
        elif status == copy_rows.WIDTH_UNKNOWN:
            self._begin_array(column, detail)
        else:
            raise self._error(status, column, detail, row)

    def _is_part_full(self) -> bool:
        if self._hand_over is None or not self._n_stored:
            return False  # one frame may hold more rows than there is room for
        return 2 * self._capacity * self._row_size() > self._part_size

    def _give_rows(self) -> None:
        assert self._hand_over is not None
        parts = ColumnParts(self._n_stored, self._storage, self.widths)
        self._n_handed_over += self._n_stored
        self._state[copy_rows.ROWS] = 0
        self._storage = self._new_storage()
        self._note_addresses()
        self._hand_over(parts)

    def _new_storage(self) -> list[NDArray[Any]]:
        while self._spares:
            spare = self._spares.pop()
            if all(new.size == old.size for new, old in zip(spare, self._storage, strict=True)):
                return spare
        return [np.empty_like(values) for values in self._storage]

    def _row_size(self) -> int:
        widths = self._plan[:, fields.WIDTH].clip(min=0)
        return sum(
            int(width) * values.itemsize
            for width, values in zip(widths, self._storage, strict=True)
        )

    def _grown_capacity(self) -> int:
        if self._capacity * self._row_size() <= _DOUBLING_SIZE:
            return 2 * self._capacity
        return self._capacity + self._capacity // 4 + 1

    def _resize(self, capacity: int) -> None:
        widths = self._plan[:, fields.WIDTH].clip(min=0)
        for width, values in zip(widths, self._storage, strict=True):
            values.resize(capacity * int(width), refcheck=False)
        self._capacity = capacity
        self._note_addresses()

    def _begin_array(self, column: int, width: int) -> None:
        """Allocate an array column, whose width is now known; the rows so far were NULL."""
        self._plan[column, fields.WIDTH] = width
        # One long array must not reserve room for a thousand of them.
        fitting = (self._part_size or _DOUBLING_SIZE) // self._row_size()
        n_rows = self._n_stored
        self._capacity = max(n_rows + 1, min(self._capacity, fitting))
        values = np.empty(self._capacity * width)
        values[: n_rows * width] = np.nan
        self._storage[column] = values
        self._note_addresses()

    def _note_addresses(self) -> None:
        self._plan[:, fields.ADDRESS] = [values.ctypes.data for values in self._storage]

    def _error(self, status: int, column: int, detail: int, row: int) -> ProxyError:
        if status in _STREAM_ERRORS:
            return RemoteProtocolError(_STREAM_ERRORS[status])
        if status == fields.BAD_COUNT:
            found = "an incomplete count of" if detail < 0 else detail
            expected = len(self._columns)
            return RemoteProtocolError(f"COPY row has {found} columns instead of {expected}")
        row += self._n_handed_over
        label = column_label(self._columns[column].name if self._columns else "", column)
        width = int(self._plan[column, fields.WIDTH]) if self._columns else 0
        return field_error(status, f"row {row + 1}, {label}", detail, width)


_STREAM_ERRORS = {
    copy_rows.BAD_SIGNATURE: "COPY data do not begin with the header of the binary format",
    copy_rows.BAD_FLAGS: "COPY data have a flag that is not known",
    copy_rows.AFTER_TRAILER: "COPY data go on after their trailer",
    fields.BAD_FRAME: "message with an invalid length",
}
