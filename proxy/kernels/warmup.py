"""Load every kernel, so that no client waits for a compiler.

Owns the list of the entry points. Their signatures are given, so that importing them compiles
them once, or reads them from numba's cache; what remains for the first call is small.
"""

from __future__ import annotations

import numpy as np

from proxy.kernels.copy_rows import STATE_SIZE, read_copy
from proxy.kernels.dictionary import ENTRY_FIELDS, rehash
from proxy.kernels.floats import format_float8
from proxy.kernels.frames import skip_frames
from proxy.kernels.linear import HEADER_SIZE, finish_rows, probabilities, sum_rows
from proxy.kernels.memory import view_bytes
from proxy.kernels.rows import decode_rows
from proxy.kernels.splice import SLOT_FIELDS, splice_rows


def warm() -> None:
    """Call every kernel once, with nothing to do."""
    empty = view_bytes(b"")
    out = np.empty(0, np.uint8)
    out_floats = np.empty(0)
    offsets = np.zeros(1, np.int64)
    matrix = np.empty((0, 0))
    entries = np.empty((0, ENTRY_FIELDS), np.int64)
    state = np.zeros(STATE_SIZE, np.int64)
    columns = np.empty((0, 3), np.int64)
    slots = np.empty((0, SLOT_FIELDS), np.int64)
    skip_frames(empty, 0, 0, ord("D"))
    rehash(offsets, entries, 0, empty, 0)
    decode_rows(empty, 0, 0, 0, columns, 0, offsets, entries, empty, matrix, offsets, offsets)
    read_copy(empty, 0, 0, columns, 0, (0, 0), offsets, state, 0, offsets, entries, out)
    splice_rows(empty, offsets, offsets, 0, 0, slots, matrix, offsets, empty, 0, out)
    sum_rows(matrix, np.zeros(HEADER_SIZE, np.int64), out_floats, out_floats, matrix)
    finish_rows(matrix, 0, 0, out_floats)
    probabilities(matrix, matrix)
    format_float8(np.zeros(1))
