"""Decode the hidden columns of a run of DataRows into one matrix.

Owns the walk over DataRow; leaves the choice of columns, the storage and the words of an error
to `proxy.rewrite.row_decoder`.

    DataRow  (B)  Byte1('D') Int32(length) Int16(columns), for each column Int32(size or -1) bytes
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from proxy.kernels import fields
from proxy.kernels.compilation import BYTES, INT64, MATRIX, OFFSETS, TABLE, inner, kernel, tuple_of
from proxy.kernels.dictionary import EMPTY, find, hash_value
from proxy.kernels.fields import array_length, put_missing, read_elements
from proxy.kernels.memory import (
    address_of,
    load_float64,
    load_int32,
    load_uint8,
    load_uint16,
    put_float64,
)

_DATA_ROW = ord("D")
_HEADER_SIZE = 7  # type, length, number of columns

# _decode_row returns (status, column, detail, offset of the first hidden column).
_Outcome = tuple[int, int, int, int]


@inner
def _decode_text(
    buffer: NDArray[np.uint8],
    start: int,
    size: int,
    column: int,
    n_categories: int,
    seed: int,
    table: NDArray[np.int64],
    entries: NDArray[np.int64],
    arena: NDArray[np.uint8],
) -> float:
    if size == fields.NULL:
        return np.nan
    hashed = hash_value(buffer, start, size, column, seed)
    code, _slot = find(buffer, start, size, column, hashed, table, entries, arena)
    return float(n_categories if code == EMPTY else code)


@inner
def _decode_array(
    buffer: NDArray[np.uint8], start: int, size: int, width: int, address: int
) -> tuple[int, int]:
    if size == fields.NULL:
        put_missing(address, width)
        return fields.OK, 0
    status, detail, length = array_length(buffer, start, size)
    if status != fields.OK:
        return status, detail
    if length == 0:
        put_missing(address, width)
        return fields.OK, 0
    if length != width:
        return fields.WRONG_LENGTH, length
    return read_elements(buffer, start, size, length, address), 0


@inner
def _skip_visible(buffer: NDArray[np.uint8], field: int, end: int, n_visible: int) -> int:
    """Return the offset behind the visible columns, or -1."""
    for _ in range(n_visible):
        if field + 4 > end:
            return -1
        size = load_int32(buffer, field)
        if size < fields.NULL:
            return -1
        field += 4 + max(size, 0)
    return field if field <= end else -1


@inner
def _decode_row(
    buffer: NDArray[np.uint8],
    position: int,
    end: int,
    n_visible: int,
    columns: NDArray[np.int64],
    seed: int,
    table: NDArray[np.int64],
    entries: NDArray[np.int64],
    arena: NDArray[np.uint8],
    address: int,
) -> _Outcome:
    n_hidden = columns.shape[0]
    count = load_uint16(buffer, position + 5)
    if count != n_visible + n_hidden:
        return fields.BAD_COUNT, 0, count, 0
    hidden = _skip_visible(buffer, position + _HEADER_SIZE, end, n_visible)
    if hidden < 0:
        return fields.BAD_FIELD, n_hidden, 0, 0
    field = hidden
    for column in range(n_hidden):
        if field + 4 > end:
            return fields.BAD_FIELD, column, 0, 0
        size = load_int32(buffer, field)
        field += 4
        if size < fields.NULL or size > end - field:
            return fields.BAD_FIELD, column, 0, 0
        kind = columns[column, fields.KIND]
        width = columns[column, fields.WIDTH]
        if kind == fields.FLOAT8:
            if size == 8:
                put_float64(address, load_float64(buffer, field))
            elif size == fields.NULL:
                put_float64(address, np.nan)
            else:
                return fields.BAD_FLOAT8, column, size, 0
            address += 8
        elif kind == fields.TEXT:
            code = _decode_text(buffer, field, size, column, width, seed, table, entries, arena)
            put_float64(address, code)
            address += 8
        else:
            status, detail = _decode_array(buffer, field, size, width, address)
            if status != fields.OK:
                return status, column, detail, 0
            address += 8 * width
        field += max(size, 0)
    return (fields.OK if field == end else fields.BAD_FIELD), n_hidden, 0, hidden


_SIGNATURE = tuple_of(6)(
    BYTES,
    INT64,
    INT64,
    INT64,
    TABLE,
    INT64,
    OFFSETS,
    TABLE,
    BYTES,
    MATRIX,
    OFFSETS,
    OFFSETS,
)


@kernel(_SIGNATURE)
def decode_rows(
    buffer: NDArray[np.uint8],
    start: int,
    stop: int,
    n_visible: int,
    columns: NDArray[np.int64],
    seed: int,
    table: NDArray[np.int64],
    entries: NDArray[np.int64],
    arena: NDArray[np.uint8],
    values: NDArray[np.float64],
    frame_starts: NDArray[np.int64],
    hidden_starts: NDArray[np.int64],
) -> tuple[int, int, int, int, int, int]:
    """Decode the leading whole DataRows of a range; stop early where the matrix is full.

    Parameters
    ----------
    buffer : (n,) uint8, of which [start, stop) holds received bytes
    n_visible : number of leading columns that are only stepped over
    columns : (n_hidden, 2), KIND and WIDTH of each hidden column; of a text column WIDTH is the
        code of unseen values
    seed, table, entries, arena : the dictionary of the text columns, see `dictionary`
    values : (capacity, sum of widths), filled row by row; NULL is NaN
    frame_starts, hidden_starts : (capacity,), offsets of the frame and of its first hidden column

    Returns
    -------
    next : offset of the first byte not consumed
    n_rows : rows decoded
    visible_size : bytes before the hidden columns, summed over the rows, frame headers included
    status, column, detail : why the row at `next` cannot be decoded; OK if it is merely absent
    """
    position = max(start, 0)
    stop = min(stop, buffer.size)
    capacity = min(values.shape[0], frame_starts.size, hidden_starts.size)
    row_bytes = 8 * values.shape[1]
    address = address_of(values)
    row = 0
    visible_size = 0
    while row < capacity and position + 5 <= stop and load_uint8(buffer, position) == _DATA_ROW:
        end = position + 1 + load_int32(buffer, position + 1)
        if end < position + _HEADER_SIZE:
            return position, row, visible_size, fields.BAD_FRAME, 0, 0
        if end > stop:
            break
        status, column, detail, hidden = _decode_row(
            buffer, position, end, n_visible, columns, seed, table, entries, arena, address
        )
        if status != fields.OK:
            return position, row, visible_size, status, column, detail
        frame_starts[row] = position
        hidden_starts[row] = hidden
        visible_size += hidden - position
        address += row_bytes
        position = end
        row += 1
    return position, row, visible_size, fields.OK, 0, 0
