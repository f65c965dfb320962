"""The walks take what two plain oracles take, and then agree with the session's own streams.

Every buffer ends where readable memory ends: a read behind it would end this process. The ring's
other rows must stay as they were.
"""

from __future__ import annotations

import ctypes
import mmap
import re
from collections.abc import Callable, Sequence
from typing import Any, TypeVar, cast

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numba import njit as untyped_njit
from numba import types as untyped_types
from numpy.typing import NDArray

from proxy.kernels.compilation import INT64, WRITABLE_BYTES
from proxy.protocol.replies import ReplyQueue
from proxy.protocol.streams import ClientStream, UpstreamStream
from proxy.relay import state, walks
from proxy.relay.state import RING, SHARED, Shared
from proxy.relay.walks import NOT_OURS
from proxy.rewrite import prefilter
from proxy.session.frames import run_end
from tests.protocol.backend import (
    ASYNCHRONOUS,
    COMPLETE,
    DESCRIPTION,
    ERROR,
    NOTICE,
    READY,
    ROW,
    Backend,
    Fate,
    Sent,
)
from tests.support import wire
from tests.support.wire import frame

# numba's own hints describe less than what it accepts.
njit: Any = untyped_njit
types: Any = untyped_types
Function = TypeVar("Function", bound=Callable[..., Any])


def compiled(signature: Any) -> Callable[[Function], Function]:
    """Compile as the kernels are, but for numba's cache: it would miss a change in `walks`."""
    return cast("Callable[[Function], Function]", njit([signature], nogil=True, _nrt=False))


@compiled(types.boolean(WRITABLE_BYTES, INT64, INT64))
def concerns(buffer: NDArray[np.uint8], start: int, stop: int) -> bool:
    return walks.may_concern_us(buffer, start, stop)


@compiled(types.UniTuple(INT64, 3)(SHARED, INT64, INT64))
def walk_client(shared: Shared, lane: int, size: int) -> tuple[int, int, int]:
    return walks.walk_client(shared, lane, size)


@compiled(types.UniTuple(INT64, 3)(SHARED, INT64, INT64))
def walk_upstream(shared: Shared, lane: int, size: int) -> tuple[int, int, int]:
    return walks.walk_upstream(shared, lane, size)


class BrinkOfMemory:
    """Puts bytes right before a page that nobody may read."""

    _SIZE = 1 << 20

    def __init__(self) -> None:
        self._map = mmap.mmap(-1, self._SIZE + mmap.PAGESIZE)
        address = ctypes.addressof(ctypes.c_char.from_buffer(self._map))
        libc = ctypes.CDLL(None, use_errno=True)
        beyond = ctypes.c_void_p(address + self._SIZE)
        if libc.mprotect(beyond, mmap.PAGESIZE, 0) != 0:
            raise OSError(ctypes.get_errno(), "mprotect")
        self._bytes: NDArray[np.uint8] = np.frombuffer(self._map, np.uint8)[: self._SIZE]

    def holding(self, data: bytes) -> NDArray[np.uint8]:
        """Return an array of these bytes, valid until the next call."""
        place = self._bytes[self._SIZE - len(data) :]
        place[:] = np.frombuffer(data, np.uint8)
        return place


brink = BrinkOfMemory()


class Walker:
    """One session of three as the compiled loop keeps it.

    Parameters
    ----------
    waiting : types of the messages that wait, oldest first
    head : where in the ring they begin
    stale : what lies in the ring's other places: answered messages
    """

    LANE = 1

    def __init__(self, waiting: bytes = b"", head: int = 0, stale: int = 0) -> None:
        self.shared = state.allocate(3)
        self._ring = self.shared.ring
        self._ring[:] = 0xEE
        self._ring[self.LANE] = stale
        self.session = self.shared.sessions[self.LANE]
        self.session[state.HEAD] = head
        self.session[state.WAITING] = len(waiting)
        self.status = 0
        for number, kind in enumerate(waiting):
            self._ring[self.LANE, (head + number) % RING] = kind

    @property
    def waiting(self) -> bytes:
        head, count = self.session[state.HEAD], self.session[state.WAITING]
        places = [(head + number) % RING for number in range(count)]
        return self._ring[self.LANE, places].tobytes()

    def from_client(self, data: bytes) -> bool:
        """Walk over a chunk; commit to it and return True if it is for the relay."""
        before = self.waiting
        shared = self.shared._replace(buffer=brink.holding(data))
        after, written, unnamed = walk_client(shared, self.LANE, len(data))
        self._look_around()
        assert self.waiting == before
        assert (written, unnamed) == (0, 0)
        if after == NOT_OURS:
            return False
        self.session[state.WAITING] = after
        return True

    def from_upstream(self, data: bytes) -> bool:
        """Walk over a chunk; commit to it and return True if it is for the relay."""
        before = self._ring.copy()
        shared = self.shared._replace(buffer=brink.holding(data))
        answered, status, written = walk_upstream(shared, self.LANE, len(data))
        np.testing.assert_array_equal(self._ring, before)
        assert written == 0
        if answered == NOT_OURS:
            assert status == 0
            return False
        self.session[state.HEAD] = (self.session[state.HEAD] + answered) % RING
        self.session[state.WAITING] -= answered
        self.status = status or self.status
        return True

    def _look_around(self) -> None:
        assert (self._ring[[0, 2]] == 0xEE).all(), "written into another session's row"
        assert not self.shared.owners.any()


# --- oracles: what the relay is for, said once more ----------------------------------------------

WORDS = re.compile(rb"predict|model|ml_", re.IGNORECASE)
ANSWERED = {
    "1": b"P",
    "2": b"B",
    "3": b"C",
    "n": b"D",
    "s": b"E",
    "T": b"DQ",
    "C": b"EQ",
    "I": b"EQ",
}
"""A backend message, and the frontend messages that it may be an answer to."""


def cut(data: bytes) -> list[tuple[str, bytes]] | None:
    """Return the messages, None if they are not all whole."""
    found, position = [], 0
    while position < len(data):
        end = position + 1 + int.from_bytes(data[position + 1 : position + 5], "big", signed=True)
        if end < position + 5 or end > len(data):
            return None
        found.append((chr(data[position]), data[position + 5 : end]))
        position = end
    return found


def client_oracle(data: bytes, waiting: bytes) -> bytes | None:
    """Return what waits afterwards, None if the chunk is not for the relay."""
    messages = cut(data)
    if messages is None or any(code not in "QPBDECSH" for code, _ in messages):
        return None
    if any(code in "QP" and WORDS.search(body) for code, body in messages):
        return None
    after = waiting + "".join(code for code, _ in messages if code != "H").encode()
    return after if len(after) <= RING else None


def upstream_oracle(data: bytes, waiting: bytes) -> tuple[bytes, int] | None:
    """Return what waits afterwards and the last status, None if it is not for the relay."""
    messages = cut(data)
    if messages is None:
        return None
    status = 0
    for code, body in messages:
        if code in "Dt":
            continue
        oldest = waiting[:1] or b"nothing"
        if code == "Z" and oldest in b"QS" and body in (b"I", b"T", b"E"):
            waiting, status = waiting[1:], body[0]
        elif code not in ANSWERED or oldest not in ANSWERED[code]:
            return None
        elif oldest != b"Q":
            waiting = waiting[1:]
    return waiting, status


# --- the words -----------------------------------------------------------------------------------

words = st.sampled_from([b"predict", b"model", b"ml_", b"PREDICT", b"MODEL", b"ML_", b"mODeL"])
nearly = st.sampled_from([b"predic", b"odel", b"ml", b"m", b"p", b"MODE1", b"PREDICU", b"ml\x7f"])
twins = st.binary(max_size=8).map(lambda text: bytes(byte & 0xDF | 0x40 for byte in text))
texts = st.lists(words | nearly | twins | st.binary(max_size=5), max_size=5).map(b"".join)


@settings(deadline=None, max_examples=400)
@given(texts, st.data())
def test_words_are_found_where_the_prefilter_finds_them(text: bytes, data: st.DataObject) -> None:
    """Within any part of any bytes, the two say the same: also of a word cut at either end."""
    start = data.draw(st.integers(0, len(text)))
    stop = data.draw(st.integers(start, len(text)))
    expected = prefilter.may_concern_us(text[start:stop])
    assert concerns(brink.holding(text), start, stop) == expected
    assert concerns(brink.holding(text[start:stop]), 0, stop - start) == expected


@pytest.mark.parametrize("word", [b"predict", b"Predict", b"MODEL", b"modeL", b"ml_", b"Ml_"])
def test_every_byte_of_a_word_counts(word: bytes) -> None:
    """With any one of its bytes changed, other than in case, it is no longer a word of ours."""
    assert concerns(brink.holding(word), 0, len(word))
    for place in range(len(word)):
        for byte in range(256):
            changed = word[:place] + bytes([byte]) + word[place + 1 :]
            expected = bool(WORDS.search(changed))
            assert concerns(brink.holding(changed), 0, len(changed)) == expected, changed


# --- one message ---------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", range(256))
def test_types_of_a_client(kind: int) -> None:
    """Eight types are for the relay, and Flush alone is not waited for."""
    message = bytes([kind]) + b"\0\0\0\6x\0"
    walker = Walker(b"PB", head=RING - 1)
    is_ours = chr(kind) in "QPBDECSH"
    assert walker.from_client(message) == is_ours
    added = bytes([kind]) if is_ours and chr(kind) != "H" else b""
    assert walker.waiting == b"PB" + added


@pytest.mark.parametrize("waiting", [b"", *[bytes([kind]) for kind in b"QPBDECSF"]])
def test_types_of_an_upstream(waiting: bytes) -> None:
    """An answer is taken only if it is one to the message that has waited longest."""
    for kind in range(256):
        for body in (b"", b"I", b"T", b"E", b"x", b"\0", b"II"):
            data = frame(chr(kind), body)
            walker = Walker(waiting, head=RING - 1)
            expected = upstream_oracle(data, waiting)
            assert walker.from_upstream(data) == (expected is not None), data
            if expected is not None:
                assert (walker.waiting, walker.status) == expected


@pytest.mark.parametrize("length", [-(2**31), -1, 0, 3, 6, 2**16, 2**31 - 5, 2**31 - 1])
def test_a_length_that_does_not_fit(length: int) -> None:
    """Below four, or beyond the chunk, it ends the ride; negative ones lead nowhere."""
    header = length.to_bytes(4, "big", signed=True)
    for before in (b"", wire.query("SELECT 1")):
        walker = Walker(b"B")
        assert not walker.from_client(before + b"Q" + header + b"\0")
        assert walker.waiting == b"B"
    for before in (b"", ROW):
        walker = Walker(b"Q")
        assert not walker.from_upstream(before + b"D" + header + b"\0")
        assert walker.waiting == b"Q"


@pytest.mark.parametrize("head", [0, 1, RING - 1])
def test_no_more_than_the_ring_holds(head: int) -> None:
    """As many messages as the ring has places may wait, wherever it begins; one more may not."""
    walker = Walker(head=head)
    assert walker.from_client(wire.sync() * (RING - 1))
    assert walker.from_client(wire.flush() * 3 + wire.query("x"))
    assert walker.waiting == b"S" * (RING - 1) + b"Q"
    assert walker.from_client(wire.flush())
    assert not walker.from_client(wire.sync())
    assert walker.from_upstream(READY * 2)
    assert not walker.from_client(wire.sync() * 3)
    assert walker.from_client(wire.sync() * 2)
    assert walker.from_upstream(READY * RING)
    assert walker.waiting == b""
    assert not walker.from_upstream(READY)  # though the ring is still full of Syncs
    assert not Walker(head=head).from_client(wire.sync() * (RING + 1))


def test_only_whole_messages() -> None:
    """Cut anywhere but between two messages, a chunk is not for the relay."""
    up = wire.query("SELECT 1") + wire.extended("SELECT $1", ["a"]) + wire.flush()
    down = DESCRIPTION + ROW + COMPLETE + READY + b"1\0\0\0\4" + b"2\0\0\0\4"
    for size in range(len(up)):
        assert Walker().from_client(up[:size]) == (cut(up[:size]) is not None)
    for size in range(len(down)):
        assert Walker(b"QPB").from_upstream(down[:size]) == (cut(down[:size]) is not None)


# --- any bytes -----------------------------------------------------------------------------------

up_messages = st.one_of(
    st.sampled_from(
        [
            wire.query("SELECT 1"),
            wire.query("SELECT mode, ml, pre_dict"),
            wire.parse("SELECT $1", "name"),
            wire.bind(["a model, PREDICT, ml_"]),
            wire.describe_portal("model"),
            wire.execute("predict"),
            wire.close_statement("ml_"),
            wire.sync(),
            wire.flush(),
        ]
    ),
    st.builds(frame, st.sampled_from("QPBDECSH"), st.binary(max_size=12)),
)
down_messages = st.one_of(
    st.sampled_from(
        [
            *(frame(code) for code in "123nsIt"),
            *(DESCRIPTION, ROW, COMPLETE),
            *(READY, frame("Z", b"T"), frame("Z", b"E")),
        ]
    ),
    st.builds(frame, st.sampled_from("DTC"), st.binary(max_size=12)),
    st.builds(frame, st.just("Z"), st.binary(max_size=2)),
)
strangers = st.one_of(
    st.sampled_from(
        [ERROR, *ASYNCHRONOUS, wire.terminate(), wire.copy_done(), frame("G", b"\0\0")]
    ),
    st.builds(wire.query, texts.filter(lambda text: b"\0" not in text)),
    st.binary(max_size=9),
)
queues = st.lists(st.sampled_from(b"QPBDECS"), max_size=RING).map(bytes)
heads = st.integers(0, RING - 1)
stales = st.sampled_from(b"QPBDECS")


def chunks(messages: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    """Return mostly whole good messages, now and then something else among them."""
    good = st.lists(messages, max_size=9).map(b"".join)
    spoilt = st.builds(
        lambda parts, keep: b"".join(parts)[: keep or None],
        st.lists(messages | strangers, max_size=6),
        st.integers(-6, 0),
    )
    return good | spoilt | st.binary(max_size=40)


@settings(deadline=None, max_examples=400)
@given(chunks(up_messages), queues, heads, stales)
@example(wire.sync() * 3, b"P" * (RING - 3), 62, 0)
@example(wire.sync() * 4, b"P" * (RING - 3), 62, 0)
def test_any_bytes_of_a_client(data: bytes, waiting: bytes, head: int, stale: int) -> None:
    """What is taken, and what waits then, is what the oracle says."""
    walker = Walker(waiting, head, stale)
    expected = client_oracle(data, waiting)
    assert walker.from_client(data) == (expected is not None)
    assert walker.waiting == (waiting if expected is None else expected)


@settings(deadline=None, max_examples=400)
@given(chunks(down_messages), queues, heads, stales)
@example(READY, b"", 0, ord("S"))
@example(COMPLETE, b"", 0, ord("E"))
@example(COMPLETE, b"", 0, ord("Q"))
@example(DESCRIPTION + ROW + COMPLETE + READY, b"Q", RING - 1, ord("Q"))
def test_any_bytes_of_an_upstream(data: bytes, waiting: bytes, head: int, stale: int) -> None:
    """What is taken, what waits then, and the status, are what the oracle says."""
    walker = Walker(waiting, head, stale)
    expected = upstream_oracle(data, waiting)
    assert walker.from_upstream(data) == (expected is not None)
    assert (walker.waiting, walker.status) == (expected or (waiting, 0))


# --- beside the session's streams ----------------------------------------------------------------


class Beside:
    """The relay, and the session that would have had the same bytes.

    A chunk that the relay takes must pass through the session untouched and leave it as the relay
    says; one that it refuses ends the ride.
    """

    def __init__(self, waiting: bytes = b"", head: int = 0) -> None:
        self.walker = Walker(waiting, head)
        self.replies = ReplyQueue()
        self.replies.queue.extend(waiting)
        self._status = 0
        self._client = ClientStream(
            self.replies, prefilter.may_concern_us, _never, run_end, inspection_limit=1 << 20
        )
        self._upstream = UpstreamStream(self.replies, _unexpected, self._on_ready, run_end)

    def _on_ready(self, status: int) -> None:
        self._status = status

    def from_client(self, data: bytes) -> bool:
        if not self.walker.from_client(data):
            return False
        assert self._client.receive(data) == data
        assert self._client.frame is None
        self._check()
        return True

    def from_upstream(self, data: bytes) -> bool:
        if not self.walker.from_upstream(data):
            return False
        assert self._upstream.receive(data) == data
        assert self._upstream.violation is None
        self._check()
        return True

    def _check(self) -> None:
        assert self._client.is_calm
        assert self._upstream.is_calm
        assert not self.replies.skipping
        assert not self.replies.copying_in
        assert bytes(self.replies.queue) == self.walker.waiting  # type: ignore[arg-type]
        assert self._status == self.walker.status


def _never(text: bytes) -> bool:
    return False


def _unexpected(body: bytes) -> None:
    raise AssertionError("a ParameterStatus was taken")


@settings(deadline=None, max_examples=300)
@given(chunks(up_messages), queues, heads)
def test_a_client_beside_the_session(data: bytes, waiting: bytes, head: int) -> None:
    """Whatever the relay takes from a client the session hands on, and counts alike."""
    Beside(waiting, head).from_client(data)


@settings(deadline=None, max_examples=300)
@given(chunks(down_messages), queues, heads)
def test_an_upstream_beside_the_session(data: bytes, waiting: bytes, head: int) -> None:
    """Whatever the relay takes from an upstream the session hands on, and counts alike."""
    Beside(waiting, head).from_upstream(data)


RENDERED = {
    "Q": wire.query("SELECT 1"),
    "P": wire.parse("SELECT 1"),
    "B": wire.bind(),
    "D": wire.describe_portal(),
    "E": wire.execute(),
    "C": wire.close_portal(),
    "S": wire.sync(),
    "H": wire.flush(),
}
plain_fates = st.builds(
    Fate,
    works=st.sampled_from([("rows",), ("empty",), ("suspended",), ("rows", "rows"), ()]),
    rows=st.integers(0, 3),
)
bad_fates = st.sampled_from(
    [
        Fate(fails=True),
        *(Fate(works=(work,)) for work in ("fail", "fail late", "copy out")),
        Fate(noise=(NOTICE,)),
    ]
)
fates = st.one_of(plain_fates, plain_fates, plain_fates, plain_fates, bad_fates)
sent_messages = st.builds(Sent, st.sampled_from("QQPBDECSSH"), fates)


@settings(deadline=None, max_examples=300)
@given(st.lists(st.lists(sent_messages, max_size=6), max_size=8), st.data())
def test_a_conversation_beside_the_session(
    batches: Sequence[Sequence[Sent]], data: st.DataObject
) -> None:
    """In step with a model of the backend, relay and session stay one until an error comes."""
    backend, both, delivered = Backend(), Beside(head=data.draw(heads)), 0
    for batch in batches:
        sound = [Sent(m.code, _without_works(m.fate)) if m.code == "E" else m for m in batch]
        if not both.from_client(b"".join(RENDERED[message.code] for message in sound)):
            assert len(both.walker.waiting) + len(sound) > RING
            return
        for message in sound:
            backend.feed(message)
        upto = data.draw(st.integers(delivered, len(backend.answers)))
        for answers in _slices(backend, delivered, upto, data):
            if not both.from_upstream(b"".join(answers)):
                assert any(answer[:1] in b"ENASHdc" for answer in answers)
                return
        delivered = upto
    for answers in _slices(backend, delivered, len(backend.answers), data):
        if not both.from_upstream(b"".join(answers)):
            assert any(answer[:1] in b"ENASHdc" for answer in answers)
            return
    # All is answered but what the backend answers together with a later Sync: nothing.
    assert both.walker.waiting == b""


def _without_works(fate: Fate) -> Fate:
    """An Execute runs one statement."""
    return fate if len(fate.works) == 1 else Fate(rows=fate.rows)


def _slices(
    backend: Backend, start: int, stop: int, data: st.DataObject
) -> Sequence[Sequence[bytes]]:
    """Cut answers between messages."""
    messages = [answer.message for answer in backend.answers[start:stop]]
    middle = data.draw(st.integers(0, len(messages)))
    return messages[:middle], messages[middle:]
