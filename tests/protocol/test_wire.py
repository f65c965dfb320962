"""Primitive values: what is written is read back, what does not fit is refused or 08P01."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.errors import LocalProtocolError, RemoteProtocolError
from proxy.protocol.wire import Reader, cstring, frame, int16, int32, uint16, uint32

WRITERS: dict[str, tuple[Callable[[int], bytes], str, int, int]] = {
    "int16": (int16, "!h", -(2**15), 2**15 - 1),
    "uint16": (uint16, "!H", 0, 2**16 - 1),
    "int32": (int32, "!i", -(2**31), 2**31 - 1),
    "uint32": (uint32, "!I", 0, 2**32 - 1),
}


class Longer(bytes):
    """Bytes that say they are longer than a test can afford."""

    size = 0

    def __len__(self) -> int:
        return self.size


@pytest.mark.parametrize("name", WRITERS)
@settings(deadline=None)
@given(data=st.data())
def test_integers_round_trip(name: str, data: st.DataObject) -> None:
    """Every integer of the range is written as `struct` writes it, and read back."""
    write, code, low, high = WRITERS[name]
    value = data.draw(st.integers(low, high) | st.sampled_from((low, high, 0)))
    written = write(value)
    assert written == struct.pack(code, value)
    reader = Reader(written)
    assert getattr(reader, name)() == value
    assert reader.remaining == 0


@pytest.mark.parametrize("name", WRITERS)
@settings(deadline=None)
@given(data=st.data())
def test_an_integer_out_of_range_is_refused(name: str, data: st.DataObject) -> None:
    """No integer wraps round: a wrapped length would let data become messages."""
    write, _, low, high = WRITERS[name]
    value = data.draw(st.integers(max_value=low - 1) | st.integers(min_value=high + 1))
    with pytest.raises(LocalProtocolError):
        write(value)


@settings(deadline=None)
@given(st.binary())
def test_cstring(value: bytes) -> None:
    """A string is read back; one that holds a NUL is refused before a byte is written."""
    if b"\0" in value:
        with pytest.raises(LocalProtocolError):
            cstring(value)
    else:
        reader = Reader(b"before" + cstring(value) + b"after", 6)
        assert reader.cstring() == value
        assert reader.take(reader.remaining) == b"after"


@settings(deadline=None)
@given(st.integers(0, 255), st.binary())
def test_frame(kind: int, body: bytes) -> None:
    """A frame is its type, a length that counts itself, and the body."""
    assert frame(kind, body) == bytes([kind]) + struct.pack("!i", len(body) + 4) + body


@pytest.mark.parametrize("size", [2**31 - 4, 2**31, 2**32 - 4, 2**32, 2**32 + 8])
def test_a_frame_beyond_an_int32_is_refused(size: int) -> None:
    """A body whose length does not fit is refused (CVE-2024-27304)."""
    body = Longer(b"x")
    body.size = size
    with pytest.raises(LocalProtocolError):
        frame(ord("Q"), body)


def test_the_longest_frame() -> None:
    """The greatest length that an Int32 holds is still written."""
    body = Longer(b"x")
    body.size = 2**31 - 5
    assert frame(ord("Q"), body) == b"Q\x7f\xff\xff\xffx"


@settings(deadline=None)
@given(st.none() | st.binary())
def test_value(value: bytes | None) -> None:
    """A value is its length and its bytes, NULL is -1; `skip_value` passes over just that."""
    size = -1 if value is None else len(value)
    written = struct.pack("!i", size) + (value or b"") + b"rest"
    reader, skipper = Reader(written), Reader(written)
    assert reader.value() == value
    skipper.skip_value()
    assert reader.position == skipper.position
    assert reader.take(4) == b"rest"


@pytest.mark.parametrize("size", [-2, -(2**31), 5, 2**31 - 1])
@pytest.mark.parametrize("read", [Reader.value, Reader.skip_value])
def test_a_value_of_a_hostile_length(read: Callable[[Reader], Any], size: int) -> None:
    """A negative length other than -1, or one beyond the message, is 08P01 (CVE-2026-6664)."""
    reader = Reader(struct.pack("!i", size) + b"four")
    with pytest.raises(RemoteProtocolError) as caught:
        read(reader)
    assert caught.value.sqlstate == "08P01"


READS: dict[str, Callable[[Reader], Any]] = {
    "byte": Reader.byte,
    "int16": Reader.int16,
    "uint16": Reader.uint16,
    "int32": Reader.int32,
    "uint32": Reader.uint32,
    "cstring": Reader.cstring,
    "value": Reader.value,
    "skip_value": Reader.skip_value,
    "end": Reader.end,
}


@settings(deadline=None)
@given(st.binary(max_size=40), st.lists(st.sampled_from(sorted(READS)) | st.integers(-5, 50)))
def test_any_reads_of_any_bytes(body: bytes, reads: list[str | int]) -> None:
    """Reads give what `struct` finds there or RemoteProtocolError, and never pass the end."""
    reader = Reader(body)
    for read in reads:
        before = reader.position
        try:
            if isinstance(read, int):
                assert reader.take(read) == body[before : before + read]
            else:
                READS[read](reader)
        except RemoteProtocolError:
            assert 0 <= reader.position <= len(body)
            return
        assert before <= reader.position <= len(body)
        assert reader.remaining == len(body) - reader.position


@pytest.mark.parametrize("body", [b"", b"no end"])
def test_a_string_without_its_nul(body: bytes) -> None:
    """A string that does not end is 08P01."""
    with pytest.raises(RemoteProtocolError):
        Reader(body).cstring()


def test_end() -> None:
    """What is left over is 08P01."""
    Reader(b"").end()
    with pytest.raises(RemoteProtocolError):
        Reader(b"x").end()
