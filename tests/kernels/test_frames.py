"""The walk over frames stops where a plain walk over the same bytes does."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.kernels.frames import BAD_LENGTH, COMPLETE, skip_frames
from proxy.kernels.memory import view_bytes
from tests.kernels.encoders import frame, read_frames

DATA_ROW = ord("D")


def test_runs_are_taken_up_to_another_type() -> None:
    """Only the leading frames of the wanted type are passed."""
    rows = frame(b"D", b"abc") + frame(b"D", b"")
    data = view_bytes(rows + frame(b"C", b"SELECT 2\0") + frame(b"D", b"x"))
    assert skip_frames(data, 0, data.size, DATA_ROW) == (len(rows), 2, COMPLETE)


def test_a_frame_is_taken_only_when_its_last_byte_is_there() -> None:
    """Split at every byte, a run gives the whole frames of its first part."""
    sizes = [0, 3, 17]
    data = b"".join(frame(b"D", bytes(size)) for size in sizes)
    ends = [0, 5, 13, 35]
    for stop in range(len(data) + 1):
        whole = [end for end in ends if end <= stop]
        expected = (whole[-1], len(whole) - 1, COMPLETE)
        assert skip_frames(view_bytes(data), 0, stop, DATA_ROW) == expected


@pytest.mark.parametrize("length", [3, 0, -1, -(2**31)])
def test_a_length_below_four_is_reported(length: int) -> None:
    """A length that does not even cover itself is a fault, not a frame."""
    good = frame(b"D", b"abc")
    data = view_bytes(good + b"D" + length.to_bytes(4, "big", signed=True) + bytes(9))
    assert skip_frames(data, 0, data.size, DATA_ROW) == (len(good), 1, BAD_LENGTH)


def test_a_range_beyond_the_buffer_is_cut() -> None:
    """Offsets outside the buffer are never read."""
    data = view_bytes(frame(b"D", b"abc"))
    assert skip_frames(data, -9, 10**12, DATA_ROW) == (data.size, 1, COMPLETE)
    assert skip_frames(data, 10**12, 10**12 + 9, DATA_ROW) == (10**12, 0, COMPLETE)


def test_writable_arrays_are_taken_too() -> None:
    """A view of a bytearray needs no preparation."""
    data = np.frombuffer(bytearray(frame(b"d", b"abc")), np.uint8)
    assert skip_frames(data, 0, data.size, ord("d")) == (8, 1, COMPLETE)


@settings(deadline=None)
@given(st.binary(max_size=64), st.lists(st.binary(max_size=9), max_size=4))
def test_any_bytes_give_the_frames_of_a_plain_walk(noise: bytes, bodies: list[bytes]) -> None:
    """Whatever follows good frames, the answer is that of the reference."""
    data = b"".join(frame(b"D", body) for body in bodies) + noise
    frames = read_frames(data, b"D")
    whole = [found for found in frames if found is not None]
    expected = (
        whole[-1][0] if whole else 0,
        len(whole),
        COMPLETE if None not in frames else BAD_LENGTH,
    )
    assert skip_frames(view_bytes(data), 0, len(data), DATA_ROW) == expected
