"""Scores by key: each key once, and told from what is none; arrays as PostgreSQL has them."""

from __future__ import annotations

import bisect
import math
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.errors import ProxyError
from proxy.protocol import oids
from proxy.rewrite.lookup import array_binary, bounded, unique_scores

SMALLEST, LARGEST = -(1 << 63), (1 << 63) - 1
KEYS = st.one_of(
    st.integers(SMALLEST, LARGEST),
    st.integers(-4, 4),
    st.integers(SMALLEST, SMALLEST + 3),
    st.integers(LARGEST - 3, LARGEST),
)


def found(bounds: np.ndarray, values: np.ndarray, key: int) -> float | None:
    """Look a key up as `scores[width_bucket(key, bounds)]` does; None is NULL."""
    place = bisect.bisect_right(bounds.tolist(), key)
    return float(values[place - 1]) if 1 <= place <= len(values) else None


@given(st.dictionaries(KEYS, st.floats(-1e9, 1e9), max_size=12), st.lists(KEYS, max_size=8))
def test_a_key_that_is_there_is_told_from_one_that_is_not(
    known: dict[int, float], others: list[int]
) -> None:
    """Of every key the score is found, and of every other number nothing or NaN."""
    keys = np.array(sorted(known), np.int64)
    scores = np.array([known[key] for key in keys.tolist()])
    bounds, values = bounded(keys, scores)
    assert bounds.dtype == np.int64
    assert (np.diff(bounds.astype(object)) > 0).all()
    for key, score in known.items():
        assert found(bounds, values, key) == score
    neighbours = [key + step for key in known for step in (-1, 1)]
    for key in {*others, *neighbours} - set(known):
        if SMALLEST <= key <= LARGEST:
            value = found(bounds, values, key)
            assert value is None or math.isnan(value)


@pytest.mark.parametrize(
    ("keys", "bounds"),
    [
        ([], []),
        ([5], [5, 6]),
        ([5, 6], [5, 6, 7]),
        ([5, 7], [5, 6, 7, 8]),
        ([SMALLEST], [SMALLEST, SMALLEST + 1]),
        ([LARGEST], [LARGEST]),
        ([LARGEST - 1], [LARGEST - 1, LARGEST]),
        ([LARGEST - 1, LARGEST], [LARGEST - 1, LARGEST]),
        ([LARGEST - 2, LARGEST], [LARGEST - 2, LARGEST - 1, LARGEST]),
    ],
)
def test_bounds(keys: list[int], bounds: list[int]) -> None:
    """Each key is followed by the next number, but where that is a key, or there is none."""
    scores = np.arange(1.0, len(keys) + 1)
    made, values = bounded(np.array(keys, np.int64), scores)
    assert made.tolist() == bounds
    assert [value for value in values.tolist() if not math.isnan(value)] == scores.tolist()
    assert [bounds[i] for i, value in enumerate(values) if not math.isnan(value)] == keys


@given(st.lists(st.tuples(KEYS, st.integers(0, 3)), max_size=30))
def test_unique_scores(rows: list[tuple[int, int]]) -> None:
    """Keys come in order and each once; it is an error exactly where one has two scores."""
    expected: dict[int, float] = {}
    is_clear = True
    for key, score in rows:
        is_clear = is_clear and expected.setdefault(key, score) == score
    keys = np.array([key for key, _ in rows], np.int64)
    scores = np.array([float(score) for _, score in rows])
    if is_clear:
        kept, theirs = unique_scores(keys, scores)
        assert kept.tolist() == sorted(expected)
        assert theirs.tolist() == [expected[key] for key in sorted(expected)]
    else:
        with pytest.raises(ProxyError) as caught:
            unique_scores(keys, scores)
        assert caught.value.sqlstate == "54000"


def test_one_row_has_one_score() -> None:
    """A single row is no pair of rows."""
    keys, scores = unique_scores(np.array([7], np.int64), np.array([0.5]))
    assert (keys.tolist(), scores.tolist()) == ([7], [0.5])


@pytest.mark.parametrize("values", [[], [0], [SMALLEST, -1, LARGEST], list(range(1000))])
def test_integers_in_binary(values: list[int]) -> None:
    """An int8[] is a header, and each element behind its length."""
    header = struct.pack("!5i", 1, 0, oids.INT8, len(values), 1)
    if not values:
        header = struct.pack("!3i", 0, 0, oids.INT8)
    expected = header + b"".join(struct.pack("!iq", 8, value) for value in values)
    assert array_binary(np.array(values, np.int64), oids.INT8) == expected


def test_numbers_in_binary() -> None:
    """A float8[] has its bits, NaN and infinities among them."""
    values = [0.0, -0.0, 0.1, math.inf, -math.inf, math.nan]
    expected = struct.pack("!5i", 1, 0, oids.FLOAT8, len(values), 1) + b"".join(
        struct.pack("!id", 8, value) for value in values
    )
    assert array_binary(np.array(values), oids.FLOAT8) == expected
    empty = struct.pack("!3i", 0, 0, oids.FLOAT8)
    assert array_binary(np.empty(0), oids.FLOAT8) == empty
