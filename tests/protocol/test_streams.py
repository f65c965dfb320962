"""The two streams of a session, however their bytes are cut.

Any bytes from a client give bytes, any bytes from an upstream give bytes or RemoteProtocolError,
nothing else; what goes out is what came in, in order, where no Reply rewrites it.

One table of conversations is fed whole, byte by byte, with trailing bytes and in random slices.
"""

from __future__ import annotations

import contextlib
import itertools
import random
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from proxy.errors import RemoteProtocolError, TooLargeError
from proxy.protocol import message_types as t
from proxy.protocol.replies import ReplyQueue, SilentReply, kind_of
from proxy.protocol.streams import ClientStream, UpstreamStream
from proxy.session.frames import run_end
from tests.protocol.backend import COMPLETE, DESCRIPTION, ERROR, NOTICE, NOTIFICATION, READY, ROW
from tests.support import wire
from tests.support.wire import frame

LIMIT = 200
"""The inspection limit of these tests, in bytes of a whole message."""


def is_ours(body: bytes) -> bool:
    return b"predict" in body


def begins_ours(text: bytes) -> bool:
    return text.startswith(b"CREATE MODEL")


@dataclass
class Client:
    """A ClientStream, and all that came out of it.

    Attributes
    ----------
    sent : what went upstream
    frames : what was handed over, and after how much of `sent`
    """

    queue: ReplyQueue = field(default_factory=ReplyQueue)
    sent: bytes = b""
    frames: list[tuple[int, int, bytes]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.stream = ClientStream(self.queue, is_ours, begins_ours, run_end, LIMIT)

    def feed(self, data: bytes) -> None:
        """Receive as the session does: take each frame, then ask for what came behind it."""
        self.sent += self.stream.receive(data)
        while self.stream.frame is not None:
            kind, body = self.stream.frame
            self.frames.append((len(self.sent), kind, body))
            self.sent += self.stream.receive(b"")

    @property
    def state(self) -> tuple[object, ...]:
        """All that must not depend on how the bytes were cut."""
        return (
            self.sent,
            self.frames,
            [kind_of(entry) for entry in self.queue.queue],
            self.queue.skipping,
            self.queue.copying_in,
            self.stream.terminated,
            self.stream.is_broken,
        )

    @property
    def everything(self) -> bytes:
        """What went up and what was handed over, in the order in which it came."""
        parts: list[bytes] = []
        before = 0
        for position, kind, body in self.frames:
            parts += (self.sent[before:position], frame(chr(kind), body))
            before = position
        return b"".join(parts) + self.sent[before:]


def feed_all(end: Client | Server, pieces: Iterable[bytes]) -> None:
    for piece in pieces:
        end.feed(piece)


def slices(data: bytes, seed: int, mean: int) -> Iterable[bytes]:
    """Cut data at random."""
    cuts = [0, *wire.random_cuts(data, seed, mean), len(data)]
    return (data[start:stop] for start, stop in itertools.pairwise(cuts))


extended = wire.parse("SELECT 1") + wire.bind() + wire.describe_portal() + wire.execute()
copy_lines = wire.copy_data("a line of the copy\n") * 300
long_query = wire.query("SELECT '" + "x" * 5000 + "'")

CLIENT_SCRIPTS: dict[str, bytes] = {
    "nothing": b"",
    "simple": wire.query("SELECT 1"),
    "simple pipelined": wire.query("SELECT 1") + wire.query("") + wire.query("SELECT 3"),
    "extended": extended + wire.sync(),
    "extended pipelined": (extended + wire.sync()) * 3,
    "one sync for all": extended * 3 + wire.flush() + wire.close_portal("p") + wire.sync(),
    "no sync": extended + wire.flush(),
    "query in an open batch": wire.parse("SELECT 1") + wire.query("SELECT 2") + wire.sync(),
    "copy in": wire.query("COPY t FROM STDIN") + copy_lines + wire.copy_done() + wire.query("x"),
    "copy in, extended": extended + wire.sync() + copy_lines + wire.copy_done() + wire.sync(),
    "copy fail": wire.query("COPY t FROM STDIN") + copy_lines[:96] + wire.copy_fail("no"),
    "small copy data": wire.query("COPY") + (wire.copy_data("") + wire.copy_data("a")) * 400,
    "large copy data": wire.query("COPY") + wire.copy_data("x" * 9000) * 3 + wire.copy_done(),
    "function call": wire.function_call(89, [b"", None, b"x" * 50]) + wire.query("SELECT 1"),
    "terminate": wire.query("SELECT 1") + wire.terminate(),
    "ours": wire.query("SELECT 0") + wire.query("SELECT predict(m)") + wire.query("SELECT 1"),
    "ours in a batch": extended + wire.parse("SELECT predict(m)") + wire.bind() + wire.sync(),
    "only ours": wire.query("SELECT predict(m)") * 3,
    "longer than the limit": long_query + wire.query("SELECT predict(m)"),
    "ours beyond the limit": wire.parse("SELECT predict(m)" + "x" * 500) + wire.sync(),
    "at the limit": wire.query("predict".ljust(LIMIT - 6)) + wire.query("predict".ljust(LIMIT - 5)),
    "unknown type": frame("!", b"what") + wire.query("SELECT 1"),
    "password": wire.password("secret") + wire.query("SELECT 1"),
    "length 3": wire.query("SELECT 1") + b"Q\0\0\0\3" + wire.query("SELECT predict(m)"),
    "length -1": wire.query("SELECT 1") + b"D\xff\xff\xff\xff" + bytes(300),
    "length 2^31 - 1": b"Q\x7f\xff\xff\xff" + bytes(3000),
}


def fed_whole(data: bytes) -> Client:
    client = Client()
    client.feed(data)
    return client


@pytest.mark.parametrize("name", CLIENT_SCRIPTS)
def test_client_byte_by_byte(name: str) -> None:
    """A client's bytes come out the same and leave the same state, one at a time or at once."""
    data = CLIENT_SCRIPTS[name]
    client = Client()
    for byte in data:
        client.feed(bytes([byte]))
    assert client.state == fed_whole(data).state
    assert client.everything == data


@pytest.mark.parametrize("name", CLIENT_SCRIPTS)
@pytest.mark.parametrize("mean", [3, 40, 700])
def test_client_in_slices(name: str, mean: int) -> None:
    """The same in random slices."""
    data = CLIENT_SCRIPTS[name]
    whole = fed_whole(data).state
    for seed in range(5):
        client = Client()
        for piece in slices(data, seed, mean):
            client.feed(piece)
        assert client.state == whole


@pytest.mark.parametrize("name", CLIENT_SCRIPTS)
@pytest.mark.parametrize("size", [1, 3, 4, 5])
def test_client_with_trailing_bytes(name: str, size: int) -> None:
    """The beginning of a next message waits: nothing of it goes upstream, nothing is lost."""
    data, last = CLIENT_SCRIPTS[name], wire.query("SELECT 1")
    whole, client = fed_whole(data), fed_whole(data + last[:size])
    if whole.stream.is_broken:
        assert client.sent == whole.sent + last[:size]
    else:
        assert client.state == whole.state
        assert client.stream.buffered == size
    client.feed(last[size:])
    assert client.state == fed_whole(data + last).state
    assert client.everything == data + last


QUEUES: dict[str, Sequence[int]] = {
    "simple pipelined": b"QQQ",
    "extended": b"PBDES",
    "one sync for all": b"PBDEPBDEPBDECS",
    "query in an open batch": b"PQS",
    "copy in": b"QcQ",
    "copy in, extended": b"PBDEScS",
    "copy fail": b"Qf",
    "function call": b"FQ",
    "ours": b"QQ",
    "ours in a batch": b"PBDEBS",
    "longer than the limit": b"Q",
    "ours beyond the limit": b"PS",
    "at the limit": b"Q",
    "unknown type": b"Q",
    "length 3": b"Q",
}


@pytest.mark.parametrize("name", QUEUES)
def test_what_awaits_an_answer(name: str) -> None:
    """What went upstream stands in the queue, in order; what was handed over does not."""
    queue = fed_whole(CLIENT_SCRIPTS[name]).queue.queue
    assert [kind_of(entry) for entry in queue] == list(QUEUES[name])


def test_what_is_handed_over() -> None:
    """A statement that may be ours is handed over whole, with what stood before it sent."""
    client = fed_whole(CLIENT_SCRIPTS["ours"])
    assert client.frames == [(len(wire.query("SELECT 0")), t.QUERY, b"SELECT predict(m)\0")]


@pytest.mark.parametrize("wanted", ["inspects_extended", "passive"])
def test_what_is_handed_over_on_demand(wanted: str) -> None:
    """Every message of the extended protocol, or nothing: as the session asks."""
    data = wire.query("SELECT 1") + extended + wire.close_portal() + wire.sync() + wire.query("x")
    ours = wire.query("SELECT predict(m)")
    for cut in (len(data), 7, 1):
        client = Client()
        setattr(client.stream, wanted, True)
        for start in range(0, len(data + ours), cut):
            client.feed((data + ours)[start : start + cut])
        handed = bytes(kind for _, kind, _ in client.frames)
        expected = {"inspects_extended": b"PBDECQ", "passive": b""}
        assert handed == expected[wanted]
        assert client.everything == data + ours


def test_a_long_statement_of_ours() -> None:
    """A statement with a verb of ours that is too long to be read is an error, not passed on."""
    text = "CREATE MODEL m USING linear_regression AS SELECT " + "x, " * 1000
    for cut in (7000, 100, 1):
        client = Client()
        data = wire.query(text)
        with pytest.raises(TooLargeError) as caught:
            feed_all(client, (data[start : start + cut] for start in range(0, len(data), cut)))
        assert caught.value.sqlstate == "54000"
        assert client.sent == b""


def test_a_relayed_chunk_is_not_copied() -> None:
    """A chunk that is passed on goes out as the very same object, in both directions."""
    client = Client()
    chunk = wire.query("SELECT 1") * 10
    assert client.stream.receive(chunk) is chunk
    part = wire.copy_data("x" * 5000)
    assert client.stream.receive(part[:3000]) == part[:3000]
    rest = part[3000:]
    assert client.stream.receive(rest) is rest
    server = Server(b"EE")
    for piece in (ROW * 200, ROW + ROW[:7], ROW[7:] + COMPLETE):
        assert server.stream.receive(piece) is piece


def test_a_statement_in_many_pieces_is_judged_once() -> None:
    """A long Query in small pieces is looked at when it is whole: no quadratic search."""
    seen: list[int] = []

    def concerns(body: bytes) -> bool:
        seen.append(len(body))
        return False

    stream = ClientStream(ReplyQueue(), concerns, begins_ours, run_end, 1 << 20)
    data = wire.query("SELECT '" + "x" * 500_000 + "'")
    out = b"".join(stream.receive(data[start : start + 100]) for start in range(0, len(data), 100))
    assert out == data
    assert seen == [len(data) - 5]


def test_kept_bytes_follow() -> None:
    """Bytes that come while a statement is worked on are read when it is done, in order."""
    client = Client()
    client.sent += client.stream.receive(wire.query("predict") + wire.query("SELECT 1")[:4])
    assert client.stream.frame == (t.QUERY, b"predict\0")
    client.stream.keep(wire.query("SELECT 1")[4:])
    client.stream.keep(wire.query("predict too") + wire.sync())
    assert client.sent == b""
    client.feed(b"")
    assert client.sent == wire.query("SELECT 1") + wire.sync()
    assert [body for _, _, body in client.frames] == [b"predict too\0"]


messages = st.lists(st.sampled_from(sorted(CLIENT_SCRIPTS.values())), max_size=4).map(b"".join)
bytes_from_hell = st.binary(max_size=200) | st.lists(
    st.sampled_from(b"QPBDECSHFXdcfpRKTVZNAGWIvtns123!\0").map(lambda code: bytes([code]))
    | st.sampled_from(
        [struct.pack("!I", n) for n in (0, 3, 4, 5, 8, 30, 2**30, 2**31 - 1, 2**31, 2**32 - 1)]
    )
    | st.binary(max_size=8)
    | st.sampled_from([wire.query("predict"), wire.sync(), ROW, READY, ERROR, COMPLETE]),
    max_size=30,
).map(b"".join)
cuts = st.lists(st.integers(1, 60), max_size=60)


def cut_up(data: bytes, sizes: Sequence[int]) -> list[bytes]:
    pieces, rest = [], data
    for size in sizes:
        pieces.append(rest[:size])
        rest = rest[size:]
    return [*pieces, rest]


@settings(deadline=None, max_examples=300)
@given(messages | bytes_from_hell, cuts, st.booleans())
@example(b"Q\x7f\xff\xff\xff" + b"x" * 20, [5], False)
def test_any_bytes_of_a_client(data: bytes, sizes: list[int], inspects: bool) -> None:
    """Any bytes go on in order but for what is handed over; at most one message is held back."""
    client = Client()
    client.stream.inspects_extended = inspects
    for piece in cut_up(data, sizes):
        client.feed(piece)
        assert data.startswith(client.everything)
    held = len(data) - len(client.everything)
    assert held == client.stream.buffered
    assert held < 5 or (held <= 1024 + LIMIT and not client.stream.is_broken) or inspects


# --- the upstream ---------------------------------------------------------------------------------


class Server:
    """An UpstreamStream, and all that came out of it."""

    def __init__(self, awaiting: Iterable[int] = b"") -> None:
        self.queue = ReplyQueue()
        for kind in awaiting:
            self.queue.sent(kind)
        self.parameters: list[bytes] = []
        self.statuses: list[int] = []
        self.sent = b""
        self.stream = UpstreamStream(
            self.queue, self.parameters.append, self.statuses.append, run_end
        )

    def feed(self, data: bytes) -> None:
        """Receive as the session does: a violation comes to light behind what stood before it."""
        self.sent += self.stream.receive(data)
        if self.stream.violation is not None:
            raise self.stream.violation

    @property
    def state(self) -> tuple[object, ...]:
        return (
            self.sent,
            [kind_of(entry) for entry in self.queue.queue],
            self.queue.skipping,
            self.queue.copying_in,
            self.parameters,
            self.statuses,
            self.stream.last_kind,
            self.stream.is_between_messages,
        )


PARAMETER = frame("S", b"client_encoding\0SJIS\0")
long_row = frame("D", b"\0\1\0\0\x23\x28" + b"x" * 9000)

SERVER_SCRIPTS: dict[str, tuple[bytes, bytes, bytes]] = {
    # name: (what awaits an answer, what the backend sends, what still awaits one)
    "nothing": (b"", b"", b""),
    "simple": (b"Q", DESCRIPTION + ROW * 3 + COMPLETE + READY, b""),
    "several statements": (b"QQ", (DESCRIPTION + ROW + COMPLETE) * 3 + READY, b"Q"),
    "empty query": (b"Q", frame("I") + READY, b""),
    "error": (b"QQ", DESCRIPTION + ERROR + READY, b"Q"),
    "extended": (b"PBDES", frame("1") + frame("2") + DESCRIPTION + ROW + COMPLETE + READY, b""),
    "described": (b"PDS", frame("1") + frame("t", b"\0\0") + frame("n") + READY, b""),
    "suspended": (b"BEEE", frame("2") + ROW + frame("s") + ROW + frame("s") + ROW, b"E"),
    "closed": (b"CCS", frame("3") + frame("3") + READY, b""),
    "error skips": (b"PBESPBES", frame("1") + ERROR + READY + frame("1"), b"BES"),
    "error, no sync": (b"PBEQ", frame("1") + ERROR, b""),
    "copy in": (b"Q", frame("G", b"\0\0\0") + COMPLETE + READY, b""),
    "copy in, ahead": (b"ESQ", frame("G", b"\0\0\0"), b"EQ"),
    "copy out": (b"Q", frame("H", b"\0\0\0") + wire.copy_data("a\n") * 900 + frame("c"), b"Q"),
    "copy both": (b"Q", frame("W", b"\0\0\0") + wire.copy_data("wal") * 3, b"Q"),
    "function call": (b"FQ", frame("V", b"\xff\xff\xff\xff") + READY, b"Q"),
    "asynchronous": (
        b"PES",
        NOTICE + frame("1") + NOTIFICATION + PARAMETER + ROW + NOTICE + ROW + COMPLETE + READY,
        b"",
    ),
    "unasked": (b"", NOTICE + NOTIFICATION + PARAMETER + ERROR, b""),
    "many rows": (b"Q", DESCRIPTION + ROW * 2000 + COMPLETE + READY, b""),
    "long rows": (b"Q", DESCRIPTION + long_row * 5 + COMPLETE + READY, b""),
    "long notice": (b"Q", frame("N", b"M" + b"x" * 9000 + b"\0\0") + READY, b""),
    "a login's rest": (
        b"",
        frame("R", bytes(4)) + PARAMETER + frame("K", bytes(36)) + frame("v", bytes(8)) + READY,
        b"",
    ),
}


@pytest.mark.parametrize("name", SERVER_SCRIPTS)
def test_server_byte_by_byte(name: str) -> None:
    """A backend's bytes come out the same and leave the same state, one at a time or at once."""
    awaiting, data, left = SERVER_SCRIPTS[name]
    whole, single = Server(awaiting), Server(awaiting)
    whole.feed(data)
    for byte in data:
        single.feed(bytes([byte]))
    assert whole.sent == data
    assert bytes(kind_of(entry) for entry in whole.queue.queue) == left
    assert single.state == whole.state


@pytest.mark.parametrize("name", SERVER_SCRIPTS)
@pytest.mark.parametrize("mean", [3, 40, 700])
def test_server_in_slices(name: str, mean: int) -> None:
    """The same in random slices."""
    awaiting, data, _ = SERVER_SCRIPTS[name]
    whole = Server(awaiting)
    whole.feed(data)
    for seed in range(5):
        server = Server(awaiting)
        for piece in slices(data, seed, mean):
            server.feed(piece)
        assert server.state == whole.state


@pytest.mark.parametrize("name", SERVER_SCRIPTS)
@pytest.mark.parametrize("trailing", [b"T", b"T\0\0\0", READY[:5], PARAMETER[:-1]])
def test_server_with_trailing_bytes(name: str, trailing: bytes) -> None:
    """The beginning of a message that the proxy must read waits until it is whole."""
    awaiting, data, _ = SERVER_SCRIPTS[name]
    whole, server = Server(awaiting), Server(awaiting)
    whole.feed(data)
    server.feed(data + trailing)
    assert server.state == whole.state


def test_rows_are_told_from_what_is_inside_them() -> None:
    """Bytes that look like messages within a row are data, wherever the row is cut."""
    value = READY + COMPLETE + ERROR + frame("S", b"client_encoding\0UTF8\0")
    row = frame("D", b"\0\1" + struct.pack("!i", len(value)) + value)
    for cut in range(1, len(row)):
        server = Server(b"Q")
        server.feed(row[:cut])
        server.feed(row[cut:])
        assert list(server.queue.queue) == [t.QUERY]
        assert server.statuses == []
        assert server.parameters == []
        assert server.sent == row


def test_what_the_session_learns() -> None:
    """Each ParameterStatus and each ReadyForQuery is told, whole."""
    server = Server(b"QQ")
    server.feed(PARAMETER + READY + frame("S", b"a\0b\0") + frame("Z", b"T"))
    assert server.parameters == [b"client_encoding\0SJIS\0", b"a\0b\0"]
    assert server.statuses == [t.IDLE, t.IN_TRANSACTION]


def test_between_messages() -> None:
    """Only where no message is half sent may one of our own be inserted."""
    for cut in range(1, len(ROW)):
        server = Server(b"Q")
        server.feed(ROW[:cut])
        assert server.stream.is_between_messages == (server.sent == b"")


BROKEN = {
    "unknown type": frame("!", b""),
    "frontend's type": frame("Q", b"SELECT 1\0"),
    "zeros": bytes(5),
    "length 3": b"C\0\0\0\3",
    "length 0": b"N\0\0\0\0",
    "row of length 3": b"D\0\0\0\3",
    "endless parameter": b"S\x7f\xff\xff\xff",
    "endless ready": b"Z\xff\xff\xff\xff",
    "ready without a status": frame("Z", b""),
    "ready with more": frame("Z", b"II"),
    "ready of no known status": frame("Z", b"Z"),
}


@pytest.mark.parametrize("name", BROKEN)
@pytest.mark.parametrize("is_ours", [False, True])
def test_a_broken_upstream(name: str, is_ours: bool) -> None:
    """What no backend sends is 08P01, whoever waits for it (S9)."""
    server = Server()
    if is_ours:
        server.queue.expect(SilentReply(t.EXECUTE))
    with pytest.raises(RemoteProtocolError) as caught:
        server.feed(BROKEN[name] + NOTICE)
    assert caught.value.sqlstate == "08P01"


def test_what_stood_before_the_broken_message_goes_out() -> None:
    """The good bytes of the chunk reach the client: the error is never inside a message."""
    for cut in range(len(ROW) + 1):
        server = Server(b"Q")
        server.feed(ROW[:cut])
        with pytest.raises(RemoteProtocolError):
            server.feed(ROW[cut:] + NOTICE + BROKEN["unknown type"])
        assert server.sent == ROW + NOTICE
        assert server.stream.is_between_messages


class Refusing(SilentReply):
    """A Reply that cannot make anything of its answer."""

    def __init__(self, kind: int, refused: bytes) -> None:
        super().__init__(kind)
        self.refused = refused

    def on_message(self, kind: int, body: bytes) -> bytes | None:
        if kind in self.refused:
            raise RemoteProtocolError("no such thing")
        return None

    def on_rows(self, data: bytes, start: int, stop: int) -> tuple[int, bytes]:
        if data[start] in self.refused:
            raise RemoteProtocolError("no such row")
        end, _ = super().on_rows(data, start, stop)
        return end, data[start:end]


@pytest.mark.parametrize("refused", [b"T", b"D", b"C"])
def test_a_reply_that_cannot_read_its_answer(refused: bytes) -> None:
    """An answer that its Reply finds wrong is a violation; what stood before it goes out."""
    answer = {b"T": DESCRIPTION, b"D": ROW, b"C": COMPLETE}
    before = NOTICE + b"".join(message for kind, message in answer.items() if kind != refused)
    server = Server()
    server.queue.expect(Refusing(t.FUNCTION_CALL, refused))
    with pytest.raises(RemoteProtocolError):
        server.feed(before + answer[refused] + NOTICE)
    assert server.sent == before


@settings(deadline=None, max_examples=300)
@given(
    st.lists(
        st.sampled_from([ROW, READY, ERROR, COMPLETE, NOTICE, PARAMETER, frame("G", b"\0\0\0")])
        | st.sampled_from([frame(code) for code in "12n3IsHWctv"])
        | bytes_from_hell,
        max_size=12,
    ).map(b"".join),
    st.lists(st.sampled_from(b"QPBDECSFcf"), max_size=8),
    cuts,
)
def test_any_bytes_of_an_upstream(data: bytes, awaiting: list[int], sizes: list[int]) -> None:
    """Any bytes go on in order, or are 08P01; what is held back is less than a message."""
    server = Server(awaiting)
    try:
        for piece in cut_up(data, sizes):
            server.feed(piece)
            assert data.startswith(server.sent)
    except RemoteProtocolError:
        assert data.startswith(server.sent)
        return
    held = data[len(server.sent) :]
    assert len(held) < 5 or (held[0] in b"ZSKG" and len(held) <= int.from_bytes(held[1:5], "big"))


@settings(deadline=None, max_examples=200)
@given(bytes_from_hell, cuts)
def test_any_bytes_for_a_reply(data: bytes, sizes: list[int]) -> None:
    """The same where a Reply waits for them."""
    server = Server()
    for kind in b"PBDE":
        server.queue.expect(SilentReply(kind))
    with contextlib.suppress(RemoteProtocolError):
        feed_all(server, cut_up(data, sizes))


def test_a_message_that_would_have_to_be_kept_is_bounded() -> None:
    """A Reply's message beyond what PostgreSQL itself can send is refused, not collected."""
    for kind in b"DTE":
        server = Server()
        server.queue.expect(SilentReply(t.EXECUTE))
        with pytest.raises(RemoteProtocolError):
            server.feed(bytes([kind]) + struct.pack("!I", (1 << 30) + 1) + bytes(100))


@pytest.mark.parametrize("seed", range(20))
def test_a_whole_session(seed: int) -> None:
    """A long random mixture of scripts, both ways, ends with an empty queue."""
    chooser = random.Random(seed)
    kinds = ["simple", "extended", "error", "error skips", "described", "closed", "asynchronous"]
    client_of = {
        "simple": wire.query("SELECT 1"),
        "extended": extended + wire.sync(),
        "error": wire.query("SELECT 1/0"),
        "error skips": extended + wire.sync(),
        "described": wire.parse("BEGIN") + wire.describe_statement() + wire.sync(),
        "closed": wire.close_portal() + wire.close_statement() + wire.sync(),
        "asynchronous": wire.parse("SELECT 1") + wire.execute() + wire.sync(),
    }
    answer_of = {
        **{name: SERVER_SCRIPTS[name][1] for name in kinds},
        "error": DESCRIPTION + ERROR + READY,
        "error skips": frame("1") + ERROR + READY,
    }
    chosen = chooser.choices(kinds, k=60)
    client = Client()
    for piece in slices(b"".join(client_of[name] for name in chosen), seed, 50):
        client.feed(piece)
    server = Server()
    server.queue.queue.extend(client.queue.queue)
    for piece in slices(b"".join(answer_of[name] for name in chosen), seed, 50):
        server.feed(piece)
    assert server.queue.is_empty
    assert not server.queue.skipping
    assert server.statuses == [t.IDLE] * len(chosen)
