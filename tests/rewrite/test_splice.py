"""Written rows are the client's: visible columns as they were, scores in their slots."""

from __future__ import annotations

import math
import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.errors import LocalProtocolError
from proxy.rewrite.columns import ColumnKind, HiddenColumn
from proxy.rewrite.row_decoder import DecodedRows, RowDecoder
from proxy.rewrite.splice import Slot, SlotKind, Splicer
from tests.kernels.encoders import Field, data_row, float8, frame

LABELS = (b"low", b"", b"a label of more than sixteen bytes")
HIDDEN = [HiddenColumn(ColumnKind.FLOAT8)]

field = st.none() | st.binary(max_size=40) | st.binary(min_size=120, max_size=200)
scores = st.floats(allow_nan=False, allow_infinity=False)


def decode(rows: list[list[Field]], n_visible: int) -> tuple[bytes, DecodedRows]:
    stream = b"".join(data_row([*row, float8(0.5)]) for row in rows)
    decoded = RowDecoder(n_visible, HIDDEN).decode(stream, 0, len(stream))
    assert decoded.n_rows == len(rows)
    return stream, decoded


def parse(stream: bytes, n_columns: int) -> list[list[Field]]:
    """Read rows the plain way."""
    rows, at = [], 0
    while at < len(stream):
        assert stream[at : at + 1] == b"D"
        length, count = struct.unpack(">ih", stream[at + 1 : at + 7])
        assert count == n_columns
        end, at, row = at + 1 + length, at + 7, []
        for _ in range(count):
            (size,) = struct.unpack(">i", stream[at : at + 4])
            at += 4 + max(size, 0)
            row.append(None if size == -1 else stream[at - size : at])
        assert at == end
        rows.append(row)
    return rows


@settings(deadline=None)
@given(st.data())
def test_scores_stand_in_their_slots(data: st.DataObject) -> None:
    """Every column but the slots is unchanged; each slot holds its score in its format."""
    n_visible = data.draw(st.integers(0, 5))
    rows = data.draw(st.lists(st.lists(field, min_size=n_visible, max_size=n_visible), max_size=5))
    indices = data.draw(st.permutations(range(n_visible)))[: data.draw(st.integers(0, n_visible))]
    slots, given_scores = [], []
    wanted: list[list[Field]] = [list(row) for row in rows]
    for index in indices:
        kind = data.draw(st.sampled_from(SlotKind))
        values: list[Any]
        if kind is SlotKind.LABEL:
            values = [data.draw(st.integers(-1, 2)) for _ in rows]
            texts: list[Field] = [None if code < 0 else LABELS[code] for code in values]
            given_scores.append(np.array(values, np.int64))
        else:
            values = [data.draw(scores) for _ in rows]
            texts = [struct.pack(">d", value) for value in values]
            given_scores.append(np.array(values, np.float64))
        slots.append(Slot(index, kind, LABELS if kind is SlotKind.LABEL else ()))
        for row, text in zip(wanted, texts, strict=True):
            row[index] = text
    stream, decoded = decode(rows, n_visible)
    out = Splicer(n_visible, slots).splice(stream, decoded, given_scores)
    found = parse(bytes(out), n_visible)
    for slot in slots:
        if slot.kind is SlotKind.FLOAT8_TEXT:
            for row in found:
                row[slot.index] = struct.pack(">d", float(row[slot.index] or b""))
    assert found == wanted


def test_numbers_that_are_none_as_text() -> None:
    """NaN and the infinities are written as PostgreSQL names them."""
    stream, decoded = decode([[b"1", None]] * 3, 2)
    splicer = Splicer(2, [Slot(1, SlotKind.FLOAT8_TEXT)])
    out = splicer.splice(stream, decoded, [np.array([math.nan, math.inf, -math.inf])])
    assert [row[1] for row in parse(bytes(out), 2)] == [b"NaN", b"Infinity", b"-Infinity"]


def test_a_value_at_the_slot_is_replaced() -> None:
    """The slot holds the score even where the upstream sent something."""
    stream, decoded = decode([[b"something", b"kept"]], 2)
    out = Splicer(2, [Slot(0, SlotKind.FLOAT8_TEXT)]).splice(stream, decoded, [np.array([0.25])])
    assert bytes(out) == data_row([b"0.25", b"kept"])


def test_hidden_columns_are_dropped_without_slots() -> None:
    """With nothing to put, only the hidden columns go."""
    stream, decoded = decode([[b"a", None], [None, b"b"]], 2)
    out = Splicer(2, []).splice(stream, decoded, [])
    assert bytes(out) == data_row([b"a", None]) + data_row([None, b"b"])


def test_no_rows() -> None:
    """No row gives no byte."""
    stream = frame(b"C", b"SELECT 0\0")
    decoded = RowDecoder(1, HIDDEN).decode(stream, 0, len(stream))
    splicer = Splicer(1, [Slot(0, SlotKind.FLOAT8_BINARY)])
    assert bytes(splicer.splice(stream, decoded, [np.empty(0)])) == b""


def test_a_written_buffer_is_never_reused() -> None:
    """What was handed to a transport stays as it was."""
    splicer = Splicer(1, [Slot(0, SlotKind.FLOAT8_TEXT)])
    stream, decoded = decode([[None]], 1)
    first = splicer.splice(stream, decoded, [np.array([1.0])])
    splicer.splice(stream, decoded, [np.array([2.0])])
    assert bytes(first) == data_row([b"1"])


def test_many_rows_in_several_chunks() -> None:
    """Scratch that grew for one chunk serves a smaller one."""
    splicer = Splicer(2, [Slot(1, SlotKind.FLOAT8_TEXT)])
    for count in (1, 3000, 2):
        stream, decoded = decode([[b"%d" % number, None] for number in range(count)], 2)
        out = splicer.splice(stream, decoded, [np.arange(count) / 4])
        found = [(int(row[0] or b""), float(row[1] or b"")) for row in parse(bytes(out), 2)]
        assert found == [(number, number / 4) for number in range(count)]


@pytest.mark.parametrize("indices", [[0, 0], [2], [-1]])
def test_slots_must_fit(indices: list[int]) -> None:
    """Two slots of one column, and slots beyond the row, are refused."""
    with pytest.raises(LocalProtocolError, match="do not fit"):
        Splicer(2, [Slot(index, SlotKind.FLOAT8_TEXT) for index in indices])


@pytest.mark.parametrize(
    ("given_scores", "words"),
    [
        ([], "0 scores for 1 slots"),
        ([np.zeros(1, np.int64)], "shape"),
        ([np.zeros((2, 1), np.int64)], "shape"),
        ([np.array([0, 3])], "no label for the score of row 1"),
        ([np.array([-2, 0])], "no label for the score of row 0"),
    ],
)
def test_scores_must_fit(given_scores: list[Any], words: str) -> None:
    """Too few scores, and codes without a label, are refused before a byte is written."""
    stream, decoded = decode([[None]] * 2, 1)
    splicer = Splicer(1, [Slot(0, SlotKind.LABEL, LABELS)])
    with pytest.raises(LocalProtocolError, match=words):
        splicer.splice(stream, decoded, given_scores)


@settings(deadline=None)
@given(st.binary(max_size=60))
def test_another_buffer_is_noticed_or_harmless(other: bytes) -> None:
    """Rows that were decoded from other bytes never make the kernel read outside the buffer."""
    _, decoded = decode([[b"12345", None], [None, b"x"]], 2)
    splicer = Splicer(2, [Slot(1, SlotKind.FLOAT8_TEXT)])
    try:
        out = splicer.splice(other, decoded, [np.zeros(2)])
    except LocalProtocolError:
        return
    assert len(out) <= decoded.visible_size + 2 * 28
