r"""Decode the CopyData frames of a binary COPY into growing columns.

Owns the walk over header, tuples and trailer; leaves growth, and the words of an error, to
`proxy.rewrite.training_reader`, which calls again after it has made room.

    CopyData  (B)  Byte1('d') Int32(length) bytes
    header         'PGCOPY\n\377\r\n\0' Int32(flags) Int32(size of extension) extension
    tuple          Int16(columns), for each column Int32(size or -1) bytes
    trailer        Int16(-1)
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from proxy.kernels import fields
from proxy.kernels.compilation import (
    BYTES,
    INT64,
    OFFSETS,
    TABLE,
    WRITABLE_BYTES,
    inner,
    kernel,
    tuple_of,
)
from proxy.kernels.dictionary import EMPTY, find, hash_value, insert
from proxy.kernels.fields import array_length, put_missing, read_elements
from proxy.kernels.memory import (
    load_float64,
    load_int32,
    load_uint8,
    load_uint16,
    load_uint64,
    put_float64,
    put_int32,
)

# Status codes beside those of `fields`: the stream is wrong ...
BAD_SIGNATURE = 20
BAD_FLAGS = 21
AFTER_TRAILER = 22
# ... or the caller has to make room and call again.
ROWS_FULL = 30
ENTRIES_FULL = 31
ARENA_FULL = 32
WIDTH_UNKNOWN = 33

# Codes of a text value that has none.
NULL_CODE = -1
BEYOND_CODE = -2

BEFORE_HEADER, IN_TUPLES, AFTER_END = range(3)  # phases of the stream

# The mutable state: where in the stream, and how full the dictionary is.
PHASE, ROWS, ENTRIES, ARENA_USED = range(4)
STATE_SIZE = 4

_COPY_DATA = ord("d")
_SIGNATURE_WORD = np.uint64(int.from_bytes(b"PGCOPY\n\xff", "big"))
_SIGNATURE_TAIL = (ord("\r"), ord("\n"), 0)
_HEADER_SIZE = 19
_TRAILER = 0xFFFF
# "Bits 16-31 are reserved to denote critical file format issues; a reader should abort if it
# finds an unexpected bit set in this range" (COPY, Binary Format).
_CRITICAL_FLAGS = 0xFFFF0000


@inner
def _read_header(buffer: NDArray[np.uint8], position: int, end: int) -> tuple[int, int]:
    """Return (status, offset behind the header)."""
    if end - position < _HEADER_SIZE or load_uint64(buffer, position) != _SIGNATURE_WORD:
        return BAD_SIGNATURE, position
    for index in range(3):
        if load_uint8(buffer, position + 8 + index) != _SIGNATURE_TAIL[index]:
            return BAD_SIGNATURE, position
    if load_int32(buffer, position + 11) & _CRITICAL_FLAGS:
        return BAD_FLAGS, position
    extension = load_int32(buffer, position + 15)
    if extension < 0 or extension > end - position - _HEADER_SIZE:
        return BAD_SIGNATURE, position
    return fields.OK, position + _HEADER_SIZE + extension


@inner
def _encode_text(
    buffer: NDArray[np.uint8],
    start: int,
    size: int,
    column: int,
    limits: tuple[int, int],
    counts: NDArray[np.int64],
    state: NDArray[np.int64],
    seed: int,
    table: NDArray[np.int64],
    entries: NDArray[np.int64],
    arena: NDArray[np.uint8],
) -> tuple[int, int]:
    """Return (status, code); a new value gets the column's next code."""
    if size == fields.NULL:
        return fields.OK, NULL_CODE
    hashed = hash_value(buffer, start, size, column, seed)
    code, slot = find(buffer, start, size, column, hashed, table, entries, arena)
    if code != EMPTY:
        return fields.OK, code
    max_categories, max_arena = limits
    if counts[column] >= max_categories or state[ARENA_USED] + size > max_arena:
        return fields.OK, BEYOND_CODE
    if state[ENTRIES] >= entries.shape[0]:
        return ENTRIES_FULL, 0
    if state[ARENA_USED] + size > arena.size:
        return ARENA_FULL, size
    code = counts[column]
    entry, used = state[ENTRIES], state[ARENA_USED]
    insert(buffer, start, size, column, code, hashed, slot, entry, used, table, entries, arena)
    counts[column] += 1
    state[ENTRIES] += 1
    state[ARENA_USED] += size
    return fields.OK, code


@inner
def _read_array(
    buffer: NDArray[np.uint8], start: int, size: int, width: int, address: int, row: int
) -> tuple[int, int]:
    """Store one array; its width is that of the column's first array, -1 before that."""
    if size == fields.NULL:
        put_missing(address + 8 * width * row, width)
        return fields.OK, 0
    status, detail, length = array_length(buffer, start, size)
    if status != fields.OK:
        return status, detail
    if length == 0:
        put_missing(address + 8 * width * row, width)
        return fields.OK, 0
    if width < 0:
        return WIDTH_UNKNOWN, length
    if length != width:
        return fields.WRONG_LENGTH, length
    return read_elements(buffer, start, size, length, address + 8 * width * row), 0


@inner
def _read_tuple(
    buffer: NDArray[np.uint8],
    position: int,
    end: int,
    row: int,
    columns: NDArray[np.int64],
    limits: tuple[int, int],
    counts: NDArray[np.int64],
    state: NDArray[np.int64],
    seed: int,
    table: NDArray[np.int64],
    entries: NDArray[np.int64],
    arena: NDArray[np.uint8],
) -> tuple[int, int, int, int]:
    """Store one tuple, whose count of columns was read; return (status, column, detail, next)."""
    field = position
    for column in range(columns.shape[0]):
        if field + 4 > end:
            return fields.BAD_FIELD, column, 0, 0
        size = load_int32(buffer, field)
        field += 4
        if size < fields.NULL or size > end - field:
            return fields.BAD_FIELD, column, 0, 0
        kind = columns[column, fields.KIND]
        address = columns[column, fields.ADDRESS]
        if kind == fields.FLOAT8:
            if size == 8:
                put_float64(address + 8 * row, load_float64(buffer, field))
            elif size == fields.NULL:
                put_float64(address + 8 * row, np.nan)
            else:
                return fields.BAD_FLOAT8, column, size, 0
        elif kind == fields.TEXT:
            status, code = _encode_text(
                buffer, field, size, column, limits, counts, state, seed, table, entries, arena
            )
            if status != fields.OK:
                return status, column, code, 0
            put_int32(address + 4 * row, code)
        else:
            width = columns[column, fields.WIDTH]
            status, detail = _read_array(buffer, field, size, width, address, row)
            if status != fields.OK:
                return status, column, detail, 0
        field += max(size, 0)
    return fields.OK, 0, 0, field


@inner
def _read_frame(
    buffer: NDArray[np.uint8],
    position: int,
    end: int,
    columns: NDArray[np.int64],
    capacity: int,
    limits: tuple[int, int],
    counts: NDArray[np.int64],
    state: NDArray[np.int64],
    seed: int,
    table: NDArray[np.int64],
    entries: NDArray[np.int64],
    arena: NDArray[np.uint8],
) -> tuple[int, int, int]:
    """Store the payload of one frame; return (status, column, detail)."""
    if state[PHASE] == AFTER_END:
        return AFTER_TRAILER, 0, 0
    if state[PHASE] == BEFORE_HEADER:
        status, position = _read_header(buffer, position, end)
        if status != fields.OK:
            return status, 0, 0
        state[PHASE] = IN_TUPLES
    # PostgreSQL sends one tuple in each frame, with the header before the first.
    while position < end:
        if position + 2 > end:
            return fields.BAD_COUNT, 0, -1
        count = load_uint16(buffer, position)
        position += 2
        if count == _TRAILER:
            state[PHASE] = AFTER_END
            return (fields.OK if position == end else AFTER_TRAILER), 0, 0
        if count != columns.shape[0]:
            return fields.BAD_COUNT, 0, count
        if state[ROWS] >= capacity:
            return ROWS_FULL, 0, 0
        status, column, detail, position = _read_tuple(
            buffer,
            position,
            end,
            state[ROWS],
            columns,
            limits,
            counts,
            state,
            seed,
            table,
            entries,
            arena,
        )
        if status != fields.OK:
            return status, column, detail
        state[ROWS] += 1
    return fields.OK, 0, 0


_RESULT = tuple_of(5)
_READ_SIGNATURE = _RESULT(
    BYTES,
    INT64,
    INT64,
    TABLE,
    INT64,
    tuple_of(2),
    OFFSETS,
    OFFSETS,
    INT64,
    OFFSETS,
    TABLE,
    WRITABLE_BYTES,
)


@kernel(_READ_SIGNATURE)
def read_copy(
    buffer: NDArray[np.uint8],
    start: int,
    stop: int,
    columns: NDArray[np.int64],
    capacity: int,
    limits: tuple[int, int],
    counts: NDArray[np.int64],
    state: NDArray[np.int64],
    seed: int,
    table: NDArray[np.int64],
    entries: NDArray[np.int64],
    arena: NDArray[np.uint8],
) -> tuple[int, int, int, int, int]:
    """Store the leading whole CopyData frames of a range.

    Parameters
    ----------
    buffer : (n,) uint8, of which [start, stop) holds received bytes
    columns : (n_columns, 3), KIND, WIDTH and ADDRESS of each column's storage: float64
        (capacity,), int32 (capacity,) or float64 (capacity, WIDTH); WIDTH of an array column is
        -1, and its address unused, until the first array was seen
    limits : most distinct values of a text column, most bytes of all of them together
    counts : (n_columns,), distinct values of each text column
    state : (STATE_SIZE,), changed in place
    seed, table, entries, arena : the growing dictionary, see `dictionary`

    Returns
    -------
    next : offset of the first frame not consumed
    status, column, detail, row : why the frame at `next` was not consumed, and the row (from 0)
        where that was found; status OK if the frame is merely absent

    Notes
    -----
    A frame is consumed whole or not at all: after growth it is read again from its beginning,
    which puts the same values into the same places.
    """
    position = max(start, 0)
    stop = min(stop, buffer.size)
    while position + 5 <= stop and load_uint8(buffer, position) == _COPY_DATA:
        end = position + 1 + load_int32(buffer, position + 1)
        if end < position + 5:
            return position, fields.BAD_FRAME, 0, 0, state[ROWS]
        if end > stop:
            break
        phase, rows = state[PHASE], state[ROWS]
        status, column, detail = _read_frame(
            buffer,
            position + 5,
            end,
            columns,
            capacity,
            limits,
            counts,
            state,
            seed,
            table,
            entries,
            arena,
        )
        if status != fields.OK:
            row = state[ROWS]
            state[PHASE], state[ROWS] = phase, rows
            return position, status, column, detail, row
        position = end
    return position, fields.OK, 0, 0, state[ROWS]
