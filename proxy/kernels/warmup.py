"""Load every kernel that serves clients, so that none of them waits for a compiler.

Owns the list of the entry points. Their signatures are given, so that importing them compiles
them once, or reads them from numba's cache; what remains for the first call is small. Those that
only fits use are imported with the engine, and called first in the training process.
"""

from __future__ import annotations

import numpy as np

from proxy.kernels import network, trees
from proxy.kernels.clusters import N_LINES, find_nearest_centers
from proxy.kernels.copy_rows import STATE_SIZE, read_copy
from proxy.kernels.dictionary import ENTRY_FIELDS, rehash
from proxy.kernels.encoding import encode_rows, likeliest
from proxy.kernels.floats import format_float8
from proxy.kernels.frames import skip_frames
from proxy.kernels.kd_tree import find_values_of_nearest
from proxy.kernels.linear import HEADER_SIZE, finish_rows, probabilities, sum_rows
from proxy.kernels.memory import view_bytes
from proxy.kernels.polynomial import evaluate
from proxy.kernels.rows import decode_rows
from proxy.kernels.splice import SLOT_FIELDS, splice_rows


def warm() -> None:
    """Call every kernel once, with nothing to do."""
    _warm_wire()
    _warm_predictors()


def _warm_wire() -> None:
    empty = view_bytes(b"")
    out = np.empty(0, np.uint8)
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
    format_float8(np.zeros(1))


def _warm_predictors() -> None:
    matrix, out_floats = np.empty((0, 0)), np.empty(0)
    column, rows, words = np.empty((0, 1)), np.empty((1, 0)), np.empty(0, np.uint64)
    sum_rows(matrix, np.zeros(HEADER_SIZE, np.int64), out_floats, out_floats, matrix)
    finish_rows(matrix, 0, 0, out_floats)
    probabilities(matrix, matrix)
    encode_rows(matrix, np.zeros(2, np.int64), out_floats, matrix)
    likeliest(matrix, out_floats)
    none = np.empty(0, np.int64)
    evaluate(
        matrix, none, out_floats, out_floats, none, none, out_floats, 0.0, 1.0, matrix, out_floats
    )
    lines = np.empty((N_LINES, 1))
    find_nearest_centers(matrix, 1.0, matrix, column, lines, matrix, out_floats)
    table = np.empty((0, 2), np.int64)
    find_values_of_nearest(
        matrix, 1.0, matrix, table, matrix, none, out_floats, 1.0, 0, none, matrix, matrix, matrix
    )
    sizes, scratch = np.ones(2, np.int64), np.empty(2 * network.LANES, np.float32)
    network.score_rows(column, sizes, 0, np.empty(0, np.float32), 1.0, 0.0, scratch, rows)
    leaves, ranks = np.empty(0, np.uint32), np.empty(1, np.uint16)
    searches = np.empty((0, 5), np.int64)
    packed = (matrix, words, words, leaves, matrix, searches, out_floats, out_floats, 1.0, ranks)
    trees.score_few(*packed, matrix)
    trees.score_many(*packed, 1, out_floats, words, matrix)
