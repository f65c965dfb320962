"""Any bytes give what a plain reading of DataRows gives, or the error that it calls for."""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.errors import (
    DatatypeMismatchError,
    InvalidParameterError,
    LocalProtocolError,
    RemoteProtocolError,
)
from proxy.rewrite import row_decoder
from proxy.rewrite.columns import ColumnKind, HiddenColumn
from proxy.rewrite.row_decoder import RowDecoder
from tests.kernels import encoders
from tests.kernels.encoders import (
    Field,
    MalformedError,
    data_row,
    float8,
    float8_array,
    frame,
)
from tests.rewrite.fields import (
    ARRAY_2D,
    CATEGORIES,
    arrays,
    changes,
    floats,
    mutate,
    same,
    texts,
    utf8,
)

FLOAT8 = HiddenColumn(ColumnKind.FLOAT8)
CATEGORY = HiddenColumn(ColumnKind.CATEGORY, categories=CATEGORIES)
ARRAY = HiddenColumn(ColumnKind.FLOAT8_ARRAY, width=3, name="pixels")
ALL = (FLOAT8, CATEGORY, ARRAY, FLOAT8)


visible = st.lists(st.none() | st.binary(max_size=20), max_size=4)
hidden_rows = st.tuples(floats, texts, arrays, floats)


def encode(row: tuple[Any, ...]) -> list[Field]:
    return [float8(row[0]), utf8(row[1]), float8_array(row[2]), float8(row[3])]


def flat(row: Sequence[Field]) -> list[float]:
    """Read four hidden fields the plain way."""
    number, text, array, other = row
    code = math.nan
    if text is not None:
        known = [category.encode() for category in CATEGORIES]
        code = float(known.index(text)) if text in known else float(len(known))
    elements = encoders.read_float8_array(array) or [math.nan] * 3
    if len(elements) != 3:
        raise MalformedError
    return [encoders.read_float8(number), code, *elements, encoders.read_float8(other)]


@settings(deadline=None)
@given(st.lists(st.tuples(visible, hidden_rows), max_size=6), st.data())
def test_rows_decode_to_what_was_encoded(rows: list[Any], data: st.DataObject) -> None:
    """Numbers, categories and arrays, NULL or not, come out in the layout of the matrix."""
    n_visible = data.draw(st.integers(0, 4))
    encoded = [encode(hidden) for _, hidden in rows]
    shown = [(values + [None] * 4)[:n_visible] for values, _ in rows]
    frames = [data_row(a + b) for a, b in zip(shown, encoded, strict=True)]
    before, after = b"junk", frame(b"C", b"SELECT\0")
    buffer = before + b"".join(frames) + after
    decoded = RowDecoder(n_visible, ALL).decode(buffer, len(before), len(buffer))
    assert decoded.n_rows == len(rows)
    assert decoded.next_offset == len(buffer) - len(after)
    assert same(decoded.values, [flat(fields) for fields in encoded])
    assert decoded.values.flags.c_contiguous
    starts = np.cumsum([len(before)] + [len(item) for item in frames])[:-1]
    assert decoded.frame_starts[: len(rows)].tolist() == starts.tolist()
    sizes = [len(data_row(values)) for values in shown]
    assert (decoded.hidden_starts - decoded.frame_starts)[: len(rows)].tolist() == sizes
    assert decoded.visible_size == sum(sizes)


def test_rows_split_at_every_byte() -> None:
    """A row is taken only with its last byte; the rest comes with the next call."""
    rows = [[b"x", float8(1.5)], [None, None], [b"", float8(-2.0)]]
    stream = b"".join(data_row(row) for row in rows)
    ends = np.cumsum([0] + [len(data_row(row)) for row in rows]).tolist()
    decoder = RowDecoder(1, [FLOAT8])
    for split in range(len(stream) + 1):
        first = decoder.decode(bytearray(stream), 0, split)
        assert first.next_offset == max(end for end in ends if end <= split)
        head = first.values[:, 0].tolist()
        second = decoder.decode(memoryview(stream), first.next_offset, len(stream))
        assert second.next_offset == len(stream)
        assert same(np.array(head + second.values[:, 0].tolist()), [[1.5, math.nan, -2.0]])


def test_no_hidden_columns_is_a_plain_walk() -> None:
    """Without hidden columns rows are counted, and without visible ones as well."""
    stream = data_row([b"a"]) * 3
    decoded = RowDecoder(1, []).decode(stream, 0, len(stream))
    assert (decoded.n_rows, decoded.values.shape) == (3, (3, 0))
    assert RowDecoder(0, []).decode(data_row([]) * 2, 0, 14).n_rows == 2


def test_more_rows_than_any_scratch() -> None:
    """Results grow with the chunk, and a batch that would be huge is cut."""
    decoder = RowDecoder(0, [FLOAT8])
    stream = b"".join(data_row([float8(float(number))]) for number in range(5000))
    assert decoder.decode(stream, 0, len(stream)).values[:, 0].tolist() == list(range(5000))
    wide = RowDecoder(
        0, [HiddenColumn(ColumnKind.FLOAT8_ARRAY, row_decoder._MAX_BATCH_VALUES // 2)]
    )
    stream = data_row([None]) * 5
    offset, counts = 0, []
    while (decoded := wide.decode(stream, offset, len(stream))).n_rows:
        counts.append(decoded.n_rows)
        offset = decoded.next_offset
        assert np.isnan(decoded.values).all()
    assert (counts, offset) == ([2, 2, 1], len(stream))


def test_equal_categories_of_two_columns() -> None:
    """Each column has its own codes, and the first of two equal categories counts."""
    hidden = [
        HiddenColumn(ColumnKind.CATEGORY, categories=("a", "b")),
        HiddenColumn(ColumnKind.CATEGORY, categories=("b", "b", "a")),
        HiddenColumn(ColumnKind.CATEGORY),
    ]
    stream = data_row([b"a", b"a", b"a"]) + data_row([b"b", b"b", b"b"])
    decoded = RowDecoder(0, hidden).decode(stream, 0, len(stream))
    assert decoded.values.tolist() == [[0.0, 2.0, 0.0], [1.0, 0.0, 0.0]]


@pytest.mark.parametrize(
    ("fields", "error", "words"),
    [
        ([float8(1.0)], RemoteProtocolError, "1 columns instead of 2"),
        ([float8(1.0)] * 3, RemoteProtocolError, "3 columns instead of 2"),
        ([b"1234567", None], RemoteProtocolError, "column 1: float8 of 7 bytes"),
        ([None, b"short"], RemoteProtocolError, "invalid binary array"),
        ([None, float8_array([1.0, 2.0])], InvalidParameterError, "2 elements instead of 3"),
        ([None, float8_array([1.0] * 9)], InvalidParameterError, "9 elements instead of 3"),
        ([None, ARRAY_2D], InvalidParameterError, "2 dimensions"),
        ([None, struct.pack(">iii", 0, 0, 700)], DatatypeMismatchError, "OID 700"),
    ],
)
def test_unfit_rows(fields: list[Field], error: type[Exception], words: str) -> None:
    """A row that is not what was asked for is named; the rows before it are not lost."""
    good = data_row([float8(1.0), float8_array([1.0, None, 3.0])])
    stream = good + data_row(fields)
    decoder = RowDecoder(0, [FLOAT8, ARRAY])
    decoded = decoder.decode(stream, 0, len(stream))
    assert (decoded.n_rows, decoded.next_offset) == (1, len(good))
    with pytest.raises(error, match=words) as caught:
        decoder.decode(stream, decoded.next_offset, len(stream))
    if error is InvalidParameterError:
        assert caught.value.sqlstate == "2202E"
        assert 'column "pixels"' in str(caught.value)


def test_rows_whose_columns_do_not_fill_them() -> None:
    """A length that the columns fall short of, or run over, is no row."""
    decoder = RowDecoder(1, [])
    for body in (b"\0\1\0\0\0\1ab", b"\0\1\0\0\0\3ab", b"\0\1\xff\xff\xff\xfe"):
        with pytest.raises(RemoteProtocolError, match="do not fill its length"):
            decoder.decode(frame(b"D", body), 0, 5 + len(body))


@pytest.mark.parametrize(
    ("kind", "width"),
    [(ColumnKind.FLOAT8, 0), (ColumnKind.CATEGORY, 2), (ColumnKind.FLOAT8_ARRAY, -1)],
)
def test_a_width_that_no_column_has(kind: ColumnKind, width: int) -> None:
    """Only an array is wider than one number."""
    with pytest.raises(LocalProtocolError, match="width"):
        HiddenColumn(kind, width)


@settings(max_examples=300, deadline=None)
@given(st.lists(hidden_rows, max_size=4), changes, st.binary(max_size=40), st.binary(max_size=40))
def test_hostile_rows(
    rows: list[Any], where: list[tuple[int, int]], before: bytes, after: bytes
) -> None:
    """Mutated rows give the rows of a plain reading, then an error where it finds one."""
    data = mutate(b"".join(data_row([b"v", *encode(row)]) for row in rows), where)
    wanted, end, faulty = [], 0, False
    for found in encoders.read_frames(data, b"D"):
        try:
            if found is None:
                raise MalformedError
            wanted.append(flat(encoders.read_fields(found[1], 5)[1:]))
        except MalformedError:
            faulty = True
            break
        end = found[0]
    # What lies around the range must not matter.
    buffer, start = before + data + after, len(before)
    decoder = RowDecoder(1, ALL)
    if wanted:
        decoded = decoder.decode(buffer, start, start + len(data))
        assert decoded.next_offset == start + end
        assert same(decoded.values, wanted)
    if faulty:
        with pytest.raises((RemoteProtocolError, InvalidParameterError, DatatypeMismatchError)):
            decoder.decode(buffer, start + end, start + len(data))
    else:
        assert decoder.decode(buffer, start + end, start + len(data)).n_rows == 0


# --- training ---
