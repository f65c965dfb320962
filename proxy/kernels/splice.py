"""Write DataRows again: visible columns, scores in their slots, hidden columns dropped.

Owns the bytes of the new rows; leaves the size of the output and the choice of slots to
`proxy.rewrite.splice`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from proxy.kernels.compilation import (
    BYTES,
    INT64,
    MATRIX,
    OFFSETS,
    TABLE,
    WRITABLE_BYTES,
    inner,
    kernel,
    tuple_of,
)
from proxy.kernels.floats import write_float8
from proxy.kernels.memory import (
    copy_16_bytes,
    copy_bytes,
    load_int32,
    store_float64,
    store_int16,
    store_int32,
    store_uint8,
)

# Kinds of slots.
FLOAT8_TEXT = 0
FLOAT8_BINARY = 1
LABEL = 2

# Columns of the table of slots. A label's code counts from FIRST_LABEL in the label table.
INDEX, KIND, FIRST_LABEL, N_LABELS = range(4)
SLOT_FIELDS = 4

OK = 0
BAD_ROW = 1
BAD_LABEL = 2
OUT_FULL = 3
ROW_TOO_LONG = 4

SLACK = 16  # a stretch is copied in blocks of 16 bytes, the last of which may go beyond it

_DATA_ROW = ord("D")
_HEADER_SIZE = 7
_NULL = -1
_LONGEST_FRAME = 2**31 - 1
# Above this, memcpy's own choice of instructions pays for its call.
_SHORT = 128


@inner
def _copy_stretch(
    buffer: NDArray[np.uint8], start: int, stop: int, out: NDArray[np.uint8], position: int
) -> int:
    """Copy buffer[start:stop]; return the position behind it. May write SLACK bytes more."""
    size = stop - start
    if size > _SHORT or stop + SLACK > buffer.size:
        copy_bytes(buffer, start, out, position, size)
    else:
        for offset in range(0, size, 16):
            copy_16_bytes(buffer, start + offset, out, position + offset)
    return position + size


@inner
def _write_label(
    code: int,
    slot: NDArray[np.int64],
    label_offsets: NDArray[np.int64],
    labels: NDArray[np.uint8],
    out: NDArray[np.uint8],
    position: int,
) -> int:
    """Write a label as a field; return the position behind it, or -1."""
    if code == _NULL:
        store_int32(out, position, _NULL)
        return position + 4
    if code < 0 or code >= slot[N_LABELS]:
        return -1
    start = label_offsets[slot[FIRST_LABEL] + code]
    size = label_offsets[slot[FIRST_LABEL] + code + 1] - start
    store_int32(out, position, size)
    copy_bytes(labels, start, out, position + 4, size)
    return int(position + 4 + size)


@inner
def _write_score(
    score: float,
    slot: NDArray[np.int64],
    label_offsets: NDArray[np.int64],
    labels: NDArray[np.uint8],
    out: NDArray[np.uint8],
    position: int,
) -> int:
    """Write a score as a field; return the position behind it, or -1."""
    if slot[KIND] == FLOAT8_TEXT:
        end = write_float8(score, out, position + 4)
        store_int32(out, position, end - position - 4)
        return end
    if slot[KIND] == FLOAT8_BINARY:
        store_int32(out, position, 8)
        store_float64(out, position + 4, score)
        return position + 12
    return _write_label(int(score), slot, label_offsets, labels, out, position)


_SIGNATURE = tuple_of(3)(
    BYTES,
    OFFSETS,
    OFFSETS,
    INT64,
    INT64,
    TABLE,
    MATRIX,
    OFFSETS,
    BYTES,
    INT64,
    WRITABLE_BYTES,
)


@kernel(_SIGNATURE)
def splice_rows(
    buffer: NDArray[np.uint8],
    frame_starts: NDArray[np.int64],
    hidden_starts: NDArray[np.int64],
    n_rows: int,
    n_visible: int,
    slots: NDArray[np.int64],
    scores: NDArray[np.float64],
    label_offsets: NDArray[np.int64],
    labels: NDArray[np.uint8],
    slots_size: int,
    out: NDArray[np.uint8],
) -> tuple[int, int, int]:
    """Write the rows that `decode_rows` found, each with its scores.

    Parameters
    ----------
    buffer, frame_starts, hidden_starts, n_rows : as `decode_rows` read and wrote them
    n_visible : columns of a written row
    slots : (n_slots, SLOT_FIELDS), by ascending INDEX
    scores : (n_slots, at least n_rows); a label's score is its code, -1 for NULL
    label_offsets, labels : label i is labels[label_offsets[i]:label_offsets[i + 1]]
    slots_size : the most bytes that all slots of one row can take
    out : room for the visible bytes, slots_size for each row, and SLACK

    Returns
    -------
    size : bytes written
    status : OK, or what is wrong with the row
    row : the row that is wrong
    """
    position = 0
    for row in range(n_rows):
        source = frame_starts[row] + _HEADER_SIZE
        stop = hidden_starts[row]
        if source < _HEADER_SIZE or stop < source or stop > buffer.size:
            return position, BAD_ROW, row
        if position + _HEADER_SIZE + (stop - source) + slots_size + SLACK > out.size:
            return position, OUT_FULL, row
        frame = position
        position += _HEADER_SIZE
        stretch = source
        column = 0
        for index in range(slots.shape[0]):
            slot = slots[index]
            slot_start = source
            while column <= slot[INDEX]:
                if source + 4 > stop:
                    return frame, BAD_ROW, row
                slot_start = source
                source += 4 + max(load_int32(buffer, source), 0)
                column += 1
            if source > stop:
                return frame, BAD_ROW, row
            position = _copy_stretch(buffer, stretch, slot_start, out, position)
            position = _write_score(scores[index, row], slot, label_offsets, labels, out, position)
            if position < 0:
                return frame, BAD_LABEL, row
            stretch = source
        position = _copy_stretch(buffer, stretch, stop, out, position)
        length = position - frame - 1
        if length > _LONGEST_FRAME:
            return frame, ROW_TOO_LONG, row
        store_uint8(out, frame, _DATA_ROW)
        store_int32(out, frame + 1, length)
        store_int16(out, frame + 5, n_visible)
    return position, OK, 0
