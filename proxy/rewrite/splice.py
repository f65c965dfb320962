"""Scores to rows: write each DataRow again with its scores, without the hidden columns.

Owns the output buffer and the layout of the slots for the kernel `splice`. Leaves decoding to
`columns`, scoring to the engine, and the choice of slots and formats to the planner.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from proxy.errors import LocalProtocolError, ProxyError, TooLargeError
from proxy.kernels import splice as kernel
from proxy.kernels.floats import MAX_FLOAT8_SIZE
from proxy.kernels.memory import view_bytes
from proxy.rewrite.row_decoder import DecodedRows


class SlotKind(IntEnum):
    """How a score is written: as a float8 in either format, or as a label's own bytes."""

    FLOAT8_TEXT = kernel.FLOAT8_TEXT
    FLOAT8_BINARY = kernel.FLOAT8_BINARY
    LABEL = kernel.LABEL


@dataclass(frozen=True, slots=True)
class Slot:
    """A visible column that a score is put into.

    Parameters
    ----------
    index : the column's number, from 0
    labels : for LABEL, the bytes of each code in the format that the client asked for
    """

    index: int
    kind: SlotKind
    labels: tuple[bytes, ...] = ()

    @property
    def max_size(self) -> int:
        """The most bytes that a field of the slot takes, its length word included."""
        if self.kind is SlotKind.FLOAT8_TEXT:
            return 4 + MAX_FLOAT8_SIZE
        if self.kind is SlotKind.FLOAT8_BINARY:
            return 4 + 8
        return 4 + max(map(len, self.labels), default=0)


class Splicer:
    """Put scores into the slots of decoded rows.

    Parameters
    ----------
    n_visible : columns of a written row
    slots : in any order, no two of one column

    Attributes
    ----------
    order : the number of each slot as it was given, by ascending column
    slots, slots_size, label_offsets, labels : what the kernel is told; they do not change
    """

    def __init__(self, n_visible: int, slots: Sequence[Slot]) -> None:
        indices = [slot.index for slot in slots]
        if len(set(indices)) < len(slots) or not set(indices) <= set(range(n_visible)):
            raise LocalProtocolError(f"slots {indices} do not fit {n_visible} columns")
        self._n_visible = n_visible
        self.order = sorted(range(len(slots)), key=indices.__getitem__)
        ordered = [slots[number] for number in self.order]
        counts = [len(slot.labels) for slot in ordered]
        self.slots = np.zeros((len(slots), kernel.SLOT_FIELDS), np.int64)
        self.slots[:, kernel.INDEX] = [slot.index for slot in ordered]
        self.slots[:, kernel.KIND] = [slot.kind for slot in ordered]
        self.slots[:, kernel.FIRST_LABEL] = np.cumsum(counts) - counts
        self.slots[:, kernel.N_LABELS] = counts
        labels = [label for slot in ordered for label in slot.labels]
        self.labels = view_bytes(b"".join(labels))
        self.label_offsets = np.zeros(len(labels) + 1, np.int64)
        self.label_offsets[1:] = np.cumsum([len(label) for label in labels])
        self.slots_size = sum(slot.max_size for slot in slots)
        self._scores = np.empty((len(slots), 64))

    def splice(
        self,
        buffer: bytes | bytearray | memoryview,
        decoded: DecodedRows,
        scores: Sequence[NDArray[Any]],
    ) -> memoryview:
        """Return the rows with their scores, in a buffer that nobody else writes to.

        Parameters
        ----------
        buffer : the one that `decoded` was read from, unchanged
        scores : for each slot, in the order given, (n_rows,): float64, or for a LABEL the integer
            code, -1 for NULL

        Raises
        ------
        LocalProtocolError
            The scores do not fit the rows or the labels, or the rows the buffer.
        TooLargeError
            A row would be longer than a message can be.
        """
        n_rows = decoded.n_rows
        self._gather(scores, n_rows)
        size = decoded.visible_size + n_rows * self.slots_size + kernel.SLACK
        out: NDArray[np.uint8] = np.empty(size, np.uint8)
        written, status, row = kernel.splice_rows(
            view_bytes(buffer),
            decoded.frame_starts,
            decoded.hidden_starts,
            n_rows,
            self._n_visible,
            self.slots,
            self._scores,
            self.label_offsets,
            self.labels,
            self.slots_size,
            out,
        )
        if status != kernel.OK:
            raise _error(status, row)
        return out.data[:written]

    def _gather(self, scores: Sequence[NDArray[Any]], n_rows: int) -> None:
        """Put the scores of all slots into one matrix, by ascending column."""
        if len(scores) != len(self.order):
            raise LocalProtocolError(f"{len(scores)} scores for {len(self.order)} slots")
        if n_rows > self._scores.shape[1]:
            self._scores = np.empty((len(self.order), 2 * n_rows))
        for target, number in zip(self._scores, self.order, strict=True):
            if scores[number].shape != (n_rows,):
                raise LocalProtocolError(
                    f"scores of shape {scores[number].shape} for {n_rows} rows"
                )
            target[:n_rows] = scores[number]


def _error(status: int, row: int) -> ProxyError:
    if status == kernel.ROW_TOO_LONG:
        return TooLargeError("a row with its scores is longer than a message can be")
    if status == kernel.BAD_LABEL:
        return LocalProtocolError(f"no label for the score of row {row}")
    return LocalProtocolError(f"row {row} is not what was decoded")
