"""Any bytes give what a plain reading of a binary COPY gives, or the error that it calls for."""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import psycopg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.errors import (
    DatatypeMismatchError,
    InvalidParameterError,
    RemoteProtocolError,
)
from proxy.rewrite import training_reader
from proxy.rewrite.columns import ColumnKind, InputColumn
from proxy.rewrite.training_reader import ColumnParts, ColumnValues, TrainingReader
from tests.kernels import encoders
from tests.kernels.encoders import (
    COPY_HEADER,
    COPY_TRAILER,
    Field,
    MalformedError,
    Reader,
    float8,
    float8_array,
    frame,
)
from tests.rewrite.fields import ARRAY_2D, arrays, changes, floats, mutate, same, texts, utf8
from tests.support.postgres import Cluster

INPUTS = (
    InputColumn(ColumnKind.FLOAT8, "age"),
    InputColumn(ColumnKind.TEXT, "city"),
    InputColumn(ColumnKind.FLOAT8_ARRAY, "pixels"),
    InputColumn(ColumnKind.TEXT, "plan"),
)
training_rows = st.tuples(floats, texts, arrays, texts)


def encode_training(row: tuple[Any, ...]) -> list[Field]:
    return [float8(row[0]), utf8(row[1]), float8_array(row[2]), utf8(row[3])]


def copy_stream(rows: Sequence[Sequence[Field]], rows_per_frame: int = 1) -> bytes:
    """As PostgreSQL sends it: the header in the first frame, one tuple in each."""
    tuples = [encoders.fields(row) for row in rows]
    starts = range(0, len(rows), rows_per_frame)
    payloads = [b"".join(tuples[start : start + rows_per_frame]) for start in starts]
    payloads.append(COPY_TRAILER)
    payloads[0] = COPY_HEADER + payloads[0]
    return b"".join(frame(b"d", payload) for payload in payloads)


def decoded_texts(column: ColumnValues) -> list[bytes | None]:
    return [None if code == -1 else column.categories[code] for code in column.values]


def assert_columns_hold(found: list[ColumnValues], rows: Sequence[Sequence[Field]]) -> None:
    """Compare columns with rows read the plain way."""
    numbers, cities, pixels, plans = found
    assert same(numbers.values, [[encoders.read_float8(row[0]) for row in rows]])
    assert decoded_texts(cities) == [row[1] for row in rows]
    assert decoded_texts(plans) == [row[3] for row in rows]
    elements = [encoders.read_float8_array(row[2]) for row in rows]
    width = next((len(item) for item in elements if item), 0)
    assert pixels.values.shape == (len(rows), width)
    assert same(pixels.values, [item or [math.nan] * width for item in elements])


@settings(deadline=None)
@given(st.lists(training_rows, max_size=8), st.lists(st.integers(0, 10**6), max_size=5))
def test_copy_in_any_pieces(rows: list[Any], cuts: list[int]) -> None:
    """However the stream is cut, the columns are those of a plain reading."""
    encoded = [encode_training(row) for row in rows]
    stream = copy_stream(encoded)
    reader = TrainingReader(INPUTS)
    offset = 0
    for cut in [*sorted(cut % (len(stream) + 1) for cut in cuts), len(stream)]:
        offset = reader.feed(stream, offset, max(cut, offset))
    assert offset == len(stream)
    assert reader.n_rows == len(rows)
    assert_columns_hold(reader.finish(), encoded)


@settings(deadline=None)
@given(
    st.lists(training_rows, max_size=40),
    st.lists(st.integers(0, 10**6), max_size=5),
    st.integers(1, 400),
    st.integers(1, 5),
)
def test_rows_handed_over_part_by_part(
    rows: list[Any], cuts: list[int], part_size: int, rows_per_frame: int
) -> None:
    """The parts and the rest, one behind the other, are the columns of a plain reading."""
    encoded = [encode_training(row) for row in rows]
    stream = copy_stream(encoded, rows_per_frame)
    parts: list[ColumnParts] = []

    def keep(given: ColumnParts) -> None:
        kept = [
            values[: given.n_rows * max(width, 0)].copy()
            for values, width in zip(given.values, given.widths, strict=True)
        ]
        parts.append(ColumnParts(given.n_rows, kept, given.widths))
        for values in given.values:
            values[:] = 0  # what is handed over may change at any time
        reader.take_back(given)

    with pytest.MonkeyPatch.context() as few:
        few.setattr(training_reader, "_FIRST_CAPACITY", 2)
        reader = TrainingReader(INPUTS, part_size=part_size, hand_over=keep)
    offset = 0
    for cut in [*sorted(cut % (len(stream) + 1) for cut in cuts), len(stream)]:
        offset = reader.feed(stream, offset, max(cut, offset))
    assert reader.n_rows == len(rows)
    last = reader.finish()
    if rows_per_frame == 1:
        assert len(parts) > 0 or len(rows) <= max(2, part_size // 16)
    whole = []
    for number, rest in enumerate(last):
        width = rest.values.shape[1] if rest.values.ndim > 1 else 1
        pieces = [
            part.values[number].reshape(part.n_rows, -1)
            if part.widths[number] > 0
            else np.full((part.n_rows, width), np.nan)
            for part in parts
        ]
        pieces.append(rest.values.reshape(len(rest.values), width))
        joined = np.concatenate(pieces).reshape(len(rows), *rest.values.shape[1:])
        whole.append(ColumnValues(joined.astype(rest.values.dtype), rest.categories))
    assert_columns_hold(whole, encoded)


def test_a_reader_that_is_closed_writes_nothing() -> None:
    """Its memory is somebody else's by then."""
    stream = copy_stream([encode_training((1.5, "a", None, "b"))] * 3)
    reader = TrainingReader(INPUTS)
    offset = reader.feed(stream, 0, len(stream) // 2)
    reader.close()
    reader.take_back(ColumnParts(0, [np.empty(0)], [1]))
    with pytest.raises(ValueError, match="shorter"):
        reader.feed(stream, offset, len(stream))


def test_a_wide_array_begins_with_no_more_than_a_part() -> None:
    """Rows of 800 KB do not reserve room for eighty of them where a part is smaller."""
    sizes: list[int] = []
    reader = TrainingReader(
        [InputColumn(ColumnKind.FLOAT8_ARRAY)],
        part_size=1 << 20,
        hand_over=lambda parts: sizes.append(parts.values[0].nbytes),
    )
    stream = copy_stream([[float8_array([1.0] * 100_000)]] * 4)
    reader.feed(stream, 0, len(stream))
    assert sizes
    assert max(sizes) <= 1 << 20


def test_copy_split_at_every_byte() -> None:
    """A frame is taken only with its last byte."""
    encoded = [encode_training((1.5, "a", None, "b")), encode_training((None, "b", [1, 2], None))]
    stream = copy_stream(encoded)
    for split in range(len(stream) + 1):
        reader = TrainingReader(INPUTS)
        offset = reader.feed(bytearray(stream), 0, split)
        assert reader.feed(stream, offset, len(stream)) == len(stream)
        assert_columns_hold(reader.finish(), encoded)


def test_copy_stops_at_another_message() -> None:
    """CopyDone is left to the caller."""
    stream = copy_stream([]) + frame(b"c", b"")
    reader = TrainingReader(INPUTS)
    assert reader.feed(stream, 0, len(stream)) == len(stream) - 5
    assert [column.values.shape for column in reader.finish()] == [(0,), (0,), (0, 0), (0,)]


def test_codes_follow_first_appearance() -> None:
    """Codes count from 0 in the order of the rows, in each column for itself."""
    words = [b"x", b"y", None, b"x", b"z"]
    reader = TrainingReader([InputColumn(ColumnKind.TEXT)] * 2)
    stream = copy_stream([[word, b"y"] for word in words])
    reader.feed(stream, 0, len(stream))
    first, second = reader.finish()
    assert first.values.tolist() == [0, 1, -1, 0, 2]
    assert first.categories == (b"x", b"y", b"z")
    assert (second.values.tolist(), second.categories) == ([0] * 5, (b"y",))
    assert first.values.dtype == np.int32


def test_values_beyond_the_limit() -> None:
    """When the dictionary is full, known values keep their code and new ones get -2."""
    reader = TrainingReader([InputColumn(ColumnKind.TEXT)], max_categories_kept=2)
    stream = copy_stream([[word] for word in (b"a", b"b", b"c", b"a", None, b"d")])
    reader.feed(stream, 0, len(stream))
    (column,) = reader.finish()
    assert column.values.tolist() == [0, 1, -2, 0, -1, -2]
    assert column.categories == (b"a", b"b")


def test_texts_too_long_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """Texts that would overfill the arena are beyond the dictionary; shorter ones still fit."""
    monkeypatch.setattr(training_reader, "_MAX_ARENA_SIZE", 10_000)
    reader = TrainingReader([InputColumn(ColumnKind.TEXT)])
    stream = copy_stream([[b"a" * 6000], [b"b" * 6000], [b"c" * 4000], [b"a" * 6000], [b"d"]])
    reader.feed(stream, 0, len(stream))
    (column,) = reader.finish()
    assert column.values.tolist() == [0, -2, 1, 0, -2]


def test_growth() -> None:
    """Many rows, many words and a late first array: everything grows and nothing is lost."""
    rng = np.random.default_rng(0)
    numbers = rng.standard_normal(20_000)
    codes = rng.integers(0, 5_000, 20_000)
    late = 3_000
    rows = [
        [
            float8(number),
            b"a word of some length, number %d" % code,
            float8_array([number, float(code)] if row >= late else None),
            b"%d" % row,
        ]
        for row, (number, code) in enumerate(zip(numbers.tolist(), codes.tolist(), strict=True))
    ]
    stream = copy_stream(rows)
    reader = TrainingReader(INPUTS)
    offset = 0
    while offset < len(stream):
        offset = reader.feed(stream, offset, min(offset + 65_536, len(stream)))
    assert_columns_hold(reader.finish(), rows)


def test_growth_inside_one_frame() -> None:
    """A frame of many tuples, which PostgreSQL never sends, is taken once and whole."""
    rows = [
        encode_training((float(n), str(n), [n, n] if n > 700 else None, "")) for n in range(3000)
    ]
    payload = COPY_HEADER + b"".join(encoders.fields(row) for row in rows) + COPY_TRAILER
    stream = frame(b"d", payload)
    reader = TrainingReader(INPUTS)
    assert reader.feed(stream, 0, len(stream)) == len(stream)
    assert_columns_hold(reader.finish(), rows)


def test_a_long_first_array_reserves_no_thousand_of_them() -> None:
    """Room for rows follows the size of a row."""
    reader = TrainingReader([InputColumn(ColumnKind.FLOAT8_ARRAY)] * 2)
    wide = float8_array([1.0] * 100_000)
    stream = copy_stream([[None, None]] + [[wide, None]] * 3 + [[wide, float8_array([2.0])]])
    assert reader.feed(stream, 0, len(stream)) == len(stream)
    assert reader._capacity <= 100
    first, second = reader.finish()
    assert np.isnan(first.values[0]).all()
    assert (first.values[1:] == 1.0).all()
    assert same(second.values, [[math.nan]] * 4 + [[2.0]])


def fed(*payloads: bytes) -> Callable[[], object]:
    def run() -> object:
        reader = TrainingReader(INPUTS[:1] + INPUTS[2:3])
        stream = b"".join(frame(b"d", payload) for payload in payloads)
        reader.feed(stream, 0, len(stream))
        return reader.finish()

    return run


def row_of(*values: Field) -> bytes:
    return encoders.fields(values)


@pytest.mark.parametrize(
    ("run", "error", "words"),
    [
        (fed(b"PGCOPY\n\xff\r\n\1" + bytes(8)), RemoteProtocolError, "header"),
        (fed(COPY_HEADER[:-1]), RemoteProtocolError, "header"),
        (fed(COPY_HEADER[:-4] + b"\0\0\0\1"), RemoteProtocolError, "header"),
        (fed(COPY_HEADER[:-8] + b"\0\1\0\0" + bytes(4)), RemoteProtocolError, "flag"),
        (fed(COPY_HEADER), RemoteProtocolError, "ended before"),
        (fed(COPY_HEADER + COPY_TRAILER, b""), RemoteProtocolError, "after their trailer"),
        (fed(COPY_HEADER + COPY_TRAILER + b"x"), RemoteProtocolError, "after their trailer"),
        (fed(COPY_HEADER + row_of(None)), RemoteProtocolError, "1 columns instead of 2"),
        (fed(COPY_HEADER + b"\0"), RemoteProtocolError, "incomplete"),
        (fed(COPY_HEADER + row_of(None, None)[:-1]), RemoteProtocolError, "beyond its row"),
        (fed(COPY_HEADER + row_of(b"123", None)), RemoteProtocolError, 'row 1, column "age"'),
        (
            fed(
                COPY_HEADER + row_of(None, float8_array([1.0, 2.0])),
                row_of(None, None),
                row_of(None, float8_array([1.0] * 3)),
            ),
            InvalidParameterError,
            'row 3, column "pixels": array has 3 elements instead of 2',
        ),
        (fed(COPY_HEADER + row_of(None, ARRAY_2D)), InvalidParameterError, "2 dimensions"),
        (
            fed(COPY_HEADER + row_of(None, struct.pack(">iii", 0, 0, 25))),
            DatatypeMismatchError,
            "OID 25",
        ),
    ],
)
def test_unfit_copies(run: Callable[[], object], error: type[Exception], words: str) -> None:
    """A stream that is no binary COPY of these columns is an error that says why."""
    with pytest.raises(error, match=words) as caught:
        run()
    if error is InvalidParameterError:
        assert caught.value.sqlstate == "2202E"


def test_an_extension_of_the_header_is_skipped() -> None:
    """Readers should silently skip over any header extension data, says the manual."""
    header = COPY_HEADER[:-4] + struct.pack(">i", 3) + b"ext"
    stream = frame(b"d", header + row_of(float8(2.5))) + frame(b"d", COPY_TRAILER)
    reader = TrainingReader(INPUTS[:1])
    reader.feed(stream, 0, len(stream))
    assert reader.finish()[0].values.tolist() == [2.5]


def plain_copy(data: bytes) -> list[list[Field]]:
    """Read whole frames of a COPY the plain way."""
    rows: list[list[Field]] = []
    width, begun, ended = None, False, False
    for found in encoders.read_frames(data, b"d"):
        if found is None or ended:
            raise MalformedError
        reader = Reader(found[1])
        if not begun:
            begun = True
            if reader.take(11) != COPY_HEADER[:11] or reader.int32() & 0xFFFF0000:
                raise MalformedError
            reader.take(reader.int32())
        while reader.at < len(reader.body):
            count = reader.int16()
            if count == 0xFFFF:
                ended = True
                reader.end()
            elif count != len(INPUTS):
                raise MalformedError
            else:
                row = [reader.field() for _ in range(count)]
                encoders.read_float8(row[0])
                elements = encoders.read_float8_array(row[2])
                if elements is not None and width not in (None, len(elements)):
                    raise MalformedError
                width = len(elements) if elements is not None else width
                rows.append(row)
    if not ended:
        raise MalformedError
    return rows


def feed_all(reader: TrainingReader, data: bytes, after: bytes) -> list[ColumnValues]:
    reader.feed(data + after, 0, len(data))
    return reader.finish()


@settings(max_examples=300, deadline=None)
@given(st.lists(training_rows, max_size=4), changes, st.binary(max_size=40))
def test_hostile_copies(rows: list[Any], where: list[tuple[int, int]], after: bytes) -> None:
    """A mutated stream gives the columns of a plain reading, or an error as that does."""
    data = mutate(copy_stream([encode_training(row) for row in rows]), where)
    reader = TrainingReader(INPUTS)
    try:
        wanted = plain_copy(data)
    except MalformedError:
        with pytest.raises((RemoteProtocolError, InvalidParameterError, DatatypeMismatchError)):
            feed_all(reader, data, after)
    else:
        assert_columns_hold(feed_all(reader, data, after), wanted)


def test_a_real_copy(cluster: Cluster) -> None:
    """What PostgreSQL sends is read as what its text format says."""
    query = (
        "SELECT CASE WHEN i % 7 > 0 THEN sqrt(i::float8) END, 'käse ' || i % 13,"
        " CASE WHEN i % 5 > 0 THEN ARRAY[i, NULL, -i]::float8[] END, nullif(i % 3, 0)::text"
        " FROM generate_series(1, 3000) AS i"
    )
    reader = TrainingReader(INPUTS)
    with psycopg.connect(cluster.dsn()) as connection:
        rows = connection.execute(query).fetchall()
        with connection.cursor().copy(f"COPY ({query}) TO STDOUT (FORMAT binary)") as copy:
            for payload in copy:
                data = frame(b"d", bytes(payload))
                assert reader.feed(data, 0, len(data)) == len(data)
    encoded = [encode_training(row) for row in rows]
    assert_columns_hold(reader.finish(), encoded)
