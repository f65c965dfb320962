"""Rows to arrays: the hidden columns of a query that scores, the columns of one that trains.

Owns the storage, and the words of an error, for the kernels `rows` and `copy_rows`. Leaves the
choice of columns to the planner, scoring to the engine and the way back to `splice`.

Both readers are fed a range of a receive buffer and take whole frames from it; what is left, or
of another type, stays with the caller. NULL becomes NaN, or code -1.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from proxy.errors import (
    DatatypeMismatchError,
    InvalidParameterError,
    LocalProtocolError,
    ProxyError,
    RemoteProtocolError,
)
from proxy.kernels import copy_rows, dictionary, fields
from proxy.kernels.memory import view_bytes
from proxy.kernels.rows import decode_rows

ARRAY_SUBSCRIPT_ERROR = "2202E"

# A chunk of NULL arrays can stand for far more values than it has bytes: decode in batches of
# at most 8 MiB.
_MAX_BATCH_VALUES = 1 << 20
_FRAME_HEADER_SIZE = 7
_FIELD_HEADER_SIZE = 4

# Up to this size storage is doubled, beyond it a quarter is added.
_DOUBLING_SIZE = 1 << 26
_MOST_SPARES = 2
_FIRST_CAPACITY = 1024
# Long texts are no categories; what is above this counts as beyond the dictionary.
_MAX_ARENA_SIZE = 1 << 26


class ColumnKind(IntEnum):
    """How a column's values travel: float8, text or float8[], all in binary format."""

    FLOAT8 = fields.FLOAT8
    TEXT = fields.TEXT
    FLOAT8_ARRAY = fields.FLOAT8_ARRAY
    CATEGORY = TEXT  # text whose values are known


@dataclass(frozen=True, slots=True)
class InputColumn:
    """A column of a query that trains; the name is for messages only."""

    kind: ColumnKind
    name: str = ""


@dataclass(frozen=True, slots=True)
class HiddenColumn:
    """A column that a query that scores was given by us.

    Parameters
    ----------
    width : columns of the matrix that it fills; more than 1 for an array only
    categories : the values of a CATEGORY column in the order of their codes; they arrive in UTF-8
    name : for messages only
    """

    kind: ColumnKind
    width: int = 1
    categories: tuple[str, ...] = ()
    name: str = ""

    def __post_init__(self) -> None:
        # The kernel writes by this width without looking back.
        if self.width < 0 or (self.width != 1 and self.kind is not ColumnKind.FLOAT8_ARRAY):
            raise LocalProtocolError(f"a hidden {self.kind.name} column of width {self.width}")


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
        self.dictionary = _Dictionary.of(
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
        label = _label(hidden.name, self.n_visible + column)
        return _field_error(status, label, detail, hidden.width)


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
        self._dictionary = _Dictionary.empty()

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
        if len(self._spares) < _MOST_SPARES:
            self._spares.append(parts.values)

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
        self._storage = []
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
        fitting = _DOUBLING_SIZE // self._row_size()
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
        label = _label(self._columns[column].name if self._columns else "", column)
        width = int(self._plan[column, fields.WIDTH]) if self._columns else 0
        return _field_error(status, f"row {row + 1}, {label}", detail, width)


_STREAM_ERRORS = {
    copy_rows.BAD_SIGNATURE: "COPY data do not begin with the header of the binary format",
    copy_rows.BAD_FLAGS: "COPY data have a flag that is not known",
    copy_rows.AFTER_TRAILER: "COPY data go on after their trailer",
    fields.BAD_FRAME: "message with an invalid length",
}

SEED = secrets.randbits(63)
"""Of every dictionary: against texts made to collide. A code depends on the order alone."""


class _Dictionary:
    """The arrays of `kernels.dictionary`, and their growth."""

    __slots__ = ("arena", "entries", "table")

    def __init__(
        self, table: NDArray[np.int64], entries: NDArray[np.int64], arena: NDArray[np.uint8]
    ) -> None:
        self.table = table
        self.entries = entries
        self.arena = arena

    @classmethod
    def empty(cls) -> _Dictionary:
        """Return a dictionary that can grow."""
        entries = np.zeros((256, dictionary.ENTRY_FIELDS), np.int64)
        return cls(np.full(512, dictionary.EMPTY, np.int64), entries, np.empty(4096, np.uint8))

    @classmethod
    def of(cls, columns: Sequence[Sequence[bytes]]) -> _Dictionary:
        """Return a dictionary that cannot grow, of the categories of each column."""
        words = [
            (owner << 32 | code, word)
            for owner, categories in enumerate(columns)
            for code, word in enumerate(categories)
        ]
        sizes = np.array([len(word) for _, word in words], np.int64)
        entries = np.zeros((len(words), dictionary.ENTRY_FIELDS), np.int64)
        entries[:, dictionary.OWNER] = [owner for owner, _ in words]
        entries[:, dictionary.SIZE] = sizes
        entries[:, dictionary.START] = np.cumsum(sizes) - sizes
        arena = view_bytes(b"".join(word for _, word in words))
        table = np.empty(1 << (2 * len(words) + 1).bit_length(), np.int64)
        dictionary.rehash(table, entries, len(words), arena, SEED)
        return cls(table, entries, arena)

    def double_entries(self) -> None:
        """Make room for as many values again; the table stays at most half full."""
        n_entries = len(self.entries)
        entries = np.zeros((2 * n_entries, dictionary.ENTRY_FIELDS), np.int64)
        entries[:n_entries] = self.entries
        table = np.empty(4 * n_entries, np.int64)
        dictionary.rehash(table, entries, n_entries, view_bytes(self.arena.data), SEED)
        self.table, self.entries = table, entries

    def grow_arena(self, needed: int, limit: int) -> None:
        """Make room for the bytes of one more value."""
        size = min(max(2 * self.arena.size, self.arena.size + needed), limit)
        self.arena.resize(size, refcheck=False)

    def values(self, n_columns: int, n_entries: int) -> list[list[bytes]]:
        """Return the values of each column in the order of their codes."""
        result: list[list[bytes]] = [[] for _ in range(n_columns)]
        arena = self.arena.data
        for _, owner, start, size in self.entries[:n_entries].tolist():
            result[owner >> 32].append(bytes(arena[start : start + size]))
        return result


def _is_text(column: HiddenColumn) -> bool:
    return column.kind is ColumnKind.TEXT


def _label(name: str, index: int) -> str:
    return f'column "{name}"' if name else f"column {index + 1}"


def _field_error(status: int, label: str, detail: int, width: int) -> ProxyError:
    """Return the error for a status of `kernels.fields` about one field."""
    if status == fields.WRONG_LENGTH:
        return InvalidParameterError(
            f"{label}: array has {detail} elements instead of {width}",
            detail="All arrays of a column must have the length of those seen first in training.",
            sqlstate=ARRAY_SUBSCRIPT_ERROR,
        )
    if status == fields.WRONG_DIMENSIONS:
        return InvalidParameterError(
            f"{label}: array has {detail} dimensions instead of 1", sqlstate=ARRAY_SUBSCRIPT_ERROR
        )
    if status == fields.WRONG_ELEMENT_TYPE:
        return DatatypeMismatchError(
            f"{label}: array elements have type OID {detail} instead of {fields.FLOAT8OID}"
        )
    if status == fields.BAD_FLOAT8:
        return RemoteProtocolError(f"{label}: float8 of {detail} bytes")
    if status == fields.BAD_ARRAY:
        return RemoteProtocolError(f"{label}: invalid binary array")
    if status == fields.BAD_FRAME:
        return RemoteProtocolError("message with an invalid length")
    return RemoteProtocolError(f"{label}: field runs beyond its row")
