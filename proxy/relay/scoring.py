"""One run of rows scored by the compiled thread: decoded, scored and written again.

Owns the passage from a portal's words to the kernels' arguments. The kernels are those that the
event loop uses, so a row has the same score and the same bytes by either way.
"""

from __future__ import annotations

import numpy as np

from proxy.kernels.compilation import inner
from proxy.kernels.dictionary import ENTRY_FIELDS
from proxy.kernels.fields import OK
from proxy.kernels.linear import CLASS_INDEX, MEANING, N_OUTPUTS, finished, sum_row
from proxy.kernels.memory import (
    address_of,
    bytes_at,
    float64_table_at,
    float64s_at,
    int64_table_at,
    int64s_at,
)
from proxy.kernels.rows import decode_rows
from proxy.kernels.splice import SLOT_FIELDS, splice_rows
from proxy.relay.portals import (
    ARENA_AT,
    ARENA_SIZE,
    BATCH_ROWS,
    COLUMNS_AT,
    ENTRIES_AT,
    LABEL_OFFSETS_AT,
    LABELS_AT,
    LABELS_SIZE,
    MAX_WORK,
    N_ENTRIES,
    N_HIDDEN,
    N_LABEL_OFFSETS,
    N_SLOTS,
    N_VISIBLE,
    NEW_ROWS,
    PROGRAM_AT,
    PROGRAM_SIZE,
    ROW_WORK,
    SCORER_FIELDS,
    SCORERS_AT,
    SEED,
    SLOTS_AT,
    SLOTS_SIZE,
    TABLE_AT,
    TABLE_SIZE,
    WEIGHTS_AT,
    WEIGHTS_SIZE,
    WIDTH,
)
from proxy.relay.state import Shared

_COLUMN_FIELDS = 2

NOT_SCORED = -1


@inner
def _score(shared: Shared, portal: int, n_rows: int) -> bool:
    """Write the scores of the decoded rows; False if one of them needs more than the kernel."""
    row = shared.portals[portal]
    batch_rows, n_slots = row[BATCH_ROWS], row[N_SLOTS]
    values = float64_table_at(address_of(shared.values), batch_rows, row[WIDTH])
    scores = float64_table_at(address_of(shared.scores), n_slots, batch_rows)
    scorers = int64_table_at(row[SCORERS_AT], n_slots, SCORER_FIELDS)
    for slot in range(n_slots):
        program = int64s_at(scorers[slot, PROGRAM_AT], scorers[slot, PROGRAM_SIZE])
        weights = float64s_at(scorers[slot, WEIGHTS_AT], scorers[slot, WEIGHTS_SIZE])
        sums = float64_table_at(address_of(shared.sums), program[N_OUTPUTS], 1)
        for number in range(n_rows):
            if not sum_row(values, number, program, weights, shared.numbers, sums, 0):
                return False  # the sum overflows: the engine takes it apart
            scores[slot, number] = finished(sums, 0, program[MEANING], program[CLASS_INDEX])
    return True


@inner
def score_run(
    shared: Shared, portal: int, position: int, stop: int, written: int
) -> tuple[int, int]:
    """Score the rows that begin at `position` of the buffer; write them into `out`.

    Returns the offset behind the run and that behind what was written; NOT_SCORED for both if there
    is anything that the event loop should see.
    """
    row = shared.portals[portal]
    batch_rows, n_slots = row[BATCH_ROWS], row[N_SLOTS]
    values = float64_table_at(address_of(shared.values), batch_rows, row[WIDTH])
    scores = float64_table_at(address_of(shared.scores), n_slots, batch_rows)
    begun = position
    while True:
        position, n_rows, _, status, _, _ = decode_rows(
            shared.buffer,
            position,
            stop,
            row[N_VISIBLE],
            int64_table_at(row[COLUMNS_AT], row[N_HIDDEN], _COLUMN_FIELDS),
            row[SEED],
            int64s_at(row[TABLE_AT], row[TABLE_SIZE]),
            int64_table_at(row[ENTRIES_AT], row[N_ENTRIES], ENTRY_FIELDS),
            bytes_at(row[ARENA_AT], row[ARENA_SIZE]),
            values,
            shared.starts,
            shared.hidden_starts,
        )
        if status != OK:
            return NOT_SCORED, NOT_SCORED
        if n_rows == 0:
            break
        row[NEW_ROWS] += n_rows
        if row[NEW_ROWS] * row[ROW_WORK] > MAX_WORK or not _score(shared, portal, n_rows):
            return NOT_SCORED, NOT_SCORED
        size, status, _ = splice_rows(
            shared.buffer,
            shared.starts,
            shared.hidden_starts,
            n_rows,
            row[N_VISIBLE],
            int64_table_at(row[SLOTS_AT], n_slots, SLOT_FIELDS),
            scores,
            int64s_at(row[LABEL_OFFSETS_AT], row[N_LABEL_OFFSETS]),
            bytes_at(row[LABELS_AT], row[LABELS_SIZE]),
            row[SLOTS_SIZE],
            bytes_at(address_of(shared.out) + written, np.int64(shared.out.size - written)),
        )
        if status != OK:
            return NOT_SCORED, NOT_SCORED
        written += size
    if position == begun:
        return NOT_SCORED, NOT_SCORED  # a row that is not whole
    return position, written
