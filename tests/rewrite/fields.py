"""Random values of columns, and what may happen to their bytes on the way."""

from __future__ import annotations

import struct
from collections.abc import Sequence

import numpy as np
from hypothesis import strategies as st

from tests.kernels.encoders import Field

CATEGORIES = ("", "a", "b", "Grün", "a longer category than eight bytes", "exactly8", "日本")

floats = st.none() | st.floats(allow_nan=False)
texts = st.none() | st.sampled_from(CATEGORIES) | st.text(max_size=12)
arrays = st.none() | st.just([]) | st.lists(floats, min_size=3, max_size=3)
changes = st.lists(st.tuples(st.integers(0, 10**6), st.sampled_from([0, 1, 8, 127, 128, 255])))

ARRAY_2D = struct.pack(">iiiiiii", 2, 0, 701, 1, 1, 3, 1) + struct.pack(">id", 8, 0.0) * 3


def utf8(text: str | None) -> Field:
    return None if text is None else text.encode()


def same(found: np.ndarray, wanted: Sequence[Sequence[float]]) -> bool:
    return np.array_equal(found, np.array(wanted).reshape(found.shape), equal_nan=True)


def mutate(data: bytes, changes: list[tuple[int, int]]) -> bytes:
    result = bytearray(data)
    for where, value in changes:
        if result:
            result[where % len(result)] = value
    return bytes(result)
