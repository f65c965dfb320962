"""A session gets on only when nothing is under way, and goes on where the lane left it.

The lane is a double that does as the test says; what the real one does has tests of its own.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Callable
from typing import Any, cast

import pytest

from proxy.errors import ProxyError
from proxy.peer import Peer
from proxy.protocol import message_types as t
from proxy.relay.freshness import Freshness
from proxy.relay.lane import ExpressLane, HandedBack
from proxy.relay.loop import FOR_CLIENT, FOR_UPSTREAM, FROM_CLIENT, FROM_UPSTREAM, NOTHING
from proxy.relay.portals import Luggage, Passage
from proxy.session.session import LoggedIn, Session
from tests.protocol.backend import COMPLETE, DESCRIPTION, ERROR, NOTIFICATION, READY, ROW
from tests.session.transports import Wire, settle
from tests.support import wire
from tests.support.chaos import whole_messages
from tests.support.wire import codes, frame

pytestmark = pytest.mark.asyncio

QUERY = wire.query("SELECT 1")
ANSWER = DESCRIPTION + ROW + COMPLETE + READY
IN_BLOCK = frame("Z", b"T")
OURS = wire.query("SELECT PREDICT(m)")
CLIENT_FD, UPSTREAM_FD = 101, 102
PLACE = 7


class LaneDouble:
    """Notes who gets on and who is recalled.

    Attributes
    ----------
    adopted : (client's descriptor, upstream's, status) of each rider
    recalls : how often the rider was asked for
    """

    def __init__(self) -> None:
        self.has_room = True
        self.adopted: list[tuple[int, int, int]] = []
        self.recalls = 0
        self.luggage: object = None

    def adopt(
        self, rider: object, client_fd: int, upstream_fd: int, status: int, luggage: object
    ) -> int | None:
        self.luggage = luggage
        if not self.has_room:
            return None
        self.adopted.append((client_fd, upstream_fd, status))
        return PLACE

    def recall(self, lane: int) -> None:
        assert lane == PLACE
        self.recalls += 1


class Descriptor:
    """As much of a socket as the session looks at."""

    def __init__(self, number: int) -> None:
        self._number = number

    def fileno(self) -> int:
        return self._number


class Transport(Wire):
    """A transport with a socket.

    Attributes
    ----------
    unwritten : bytes that it says it still has to write
    """

    def __init__(self, number: int, *, has_tls: bool) -> None:
        super().__init__()
        self.unwritten = 0
        self._extra = {"socket": Descriptor(number), "ssl_object": object() if has_tls else None}

    def get_write_buffer_size(self) -> int:
        return self.unwritten

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self._extra.get(name, default)


class Platform:
    """A started session that may get on."""

    def __init__(
        self,
        *,
        client_tls: bool = False,
        upstream_tls: bool = False,
        is_replication: bool = False,
        handler: Callable[[int, bytes], Awaitable[None] | None] | None = None,
    ) -> None:
        self.lane = LaneDouble()
        self.client = Transport(CLIENT_FD, has_tls=client_tls)
        self.upstream = Transport(UPSTREAM_FD, has_tls=upstream_tls)
        peers = []
        for transport in (self.client, self.upstream):
            transport.protocol = peer = Peer()
            peer.connection_made(transport)
            peers.append(peer)
        login = LoggedIn(peers[1], "app", "ann", b"12345678", t.IDLE, {}, is_replication)
        self.ended = 0
        self.session = Session(
            peers[0],
            login,
            inspection_limit=1 << 20,
            on_end=self._on_end,
            lane=cast("ExpressLane", self.lane),
        )
        self.session.start(handler or (lambda kind, body: None))

    def _on_end(self, session: Session) -> None:
        self.ended += 1

    def rides(self) -> bool:
        """Whether it is on the lane; then, and only then, nobody else reads its sockets."""
        is_on = self.session._boarding.place is not None
        assert (self.client.is_paused, self.upstream.is_paused) == (is_on, is_on)
        return is_on

    def exchange(self, answer: bytes = ANSWER) -> None:
        """Let the client ask and the upstream answer."""
        self.client.receive(QUERY)
        assert self.upstream.take() == QUERY
        self.upstream.receive(answer)
        assert self.client.take() == answer

    async def get_on(self, answer: bytes = ANSWER) -> None:
        self.exchange(answer)
        self.exchange(answer)
        await settle()
        assert self.rides()

    def come_back(
        self, what: int, data: bytes = b"", waiting: bytes = b"", status: int = t.IDLE
    ) -> None:
        long_ride = 100
        self.session.taken_back(HandedBack(what, data, list(waiting), status, long_ride))

    @property
    def queue(self) -> list[object]:
        return list(self.session.replies.queue)


# --- getting on ----------------------------------------------------------------------------------


async def test_calm_water() -> None:
    """After two answers in a row it gets on, with its sockets and the transaction's status."""
    platform = Platform()
    platform.exchange()
    await settle()
    assert not platform.rides()
    platform.exchange(COMPLETE + IN_BLOCK)
    await settle()
    assert platform.rides()
    assert platform.lane.adopted == [(CLIENT_FD, UPSTREAM_FD, ord("T"))]


async def test_a_statement_of_ours_between() -> None:
    """Two answers with a statement of ours between that takes time are not calm."""

    async def work() -> None:
        await asyncio.sleep(0)

    platform = Platform(handler=lambda kind, body: work())
    platform.exchange()
    platform.client.receive(OURS)
    await settle()
    platform.exchange()
    await settle()
    assert not platform.rides()
    platform.exchange()
    await settle()
    assert platform.rides()


@pytest.mark.parametrize(
    "make",
    [
        functools.partial(Platform, client_tls=True),
        functools.partial(Platform, upstream_tls=True),
        functools.partial(Platform, is_replication=True),
    ],
    ids=["client's TLS", "upstream's TLS", "replication"],
)
async def test_sessions_that_never_ride(make: Callable[[], Platform]) -> None:
    """TLS on either side, and replication, stay on the event loop."""
    platform = make()
    for _ in range(5):
        platform.exchange()
        await settle()
    assert not platform.rides()


async def test_no_room() -> None:
    """Where the lane is full the session goes on as before."""
    platform = Platform()
    platform.lane.has_room = False
    for _ in range(5):
        platform.exchange()
        await settle()
        assert not platform.rides()


def half_a_message(platform: Platform) -> None:
    platform.client.receive(QUERY[:-1])


def half_a_row(platform: Platform) -> None:
    platform.upstream.receive(ROW[:-1])


def half_a_header(platform: Platform) -> None:
    platform.upstream.receive(NOTIFICATION[:3])


def a_query(platform: Platform) -> None:
    platform.client.receive(QUERY)


def an_open_batch(platform: Platform) -> None:
    platform.client.receive(wire.parse("SELECT 1") + wire.flush())


def a_failed_batch(platform: Platform) -> None:
    platform.client.receive(wire.parse("x") + wire.flush())
    platform.upstream.receive(ERROR)


def a_notification(platform: Platform) -> None:
    platform.upstream.receive(NOTIFICATION)


def a_copy(platform: Platform) -> None:
    platform.client.receive(QUERY)
    platform.upstream.receive(frame("G", b"\0\0\0"))


def terminate(platform: Platform) -> None:
    platform.client.receive(wire.terminate())


def changed_models(platform: Platform) -> None:
    platform.session.models_changed = True


def inspection(platform: Platform) -> None:
    platform.session.inspect_extended(wanted=True)


def the_end(platform: Platform) -> None:
    platform.session.end(ProxyError("over"))


def a_full_client(platform: Platform) -> None:
    platform.client.protocol.pause_writing()


CHANGES = [
    half_a_message,
    half_a_row,
    half_a_header,
    a_query,
    an_open_batch,
    a_failed_batch,
    a_notification,
    a_copy,
    terminate,
    changed_models,
    inspection,
    the_end,
]


@pytest.mark.parametrize("change", CHANGES)
async def test_something_came_before_it_got_on(change: Callable[[Platform], None]) -> None:
    """What comes between the second answer and the next turn of the loop keeps it off."""
    platform = Platform()
    platform.exchange()
    platform.exchange()
    change(platform)
    await settle()
    assert not platform.rides()
    assert not platform.lane.adopted


async def test_a_client_that_is_full() -> None:
    """While a peer cannot take more the other is held, and the session stays off."""
    platform = Platform()
    platform.exchange()
    platform.exchange()
    a_full_client(platform)
    await settle()
    assert not platform.lane.adopted


async def test_a_statement_at_work() -> None:
    """While a statement of ours is worked on it stays off; calm afterwards, it gets on."""
    done = asyncio.Event()

    async def work() -> None:
        await done.wait()

    platform = Platform(handler=lambda kind, body: work())
    platform.exchange()
    platform.exchange()
    platform.client.receive(OURS)
    platform.upstream.receive(READY * 2)
    await settle()
    assert not platform.rides()
    assert platform.client.take() == READY * 2
    done.set()
    await settle()
    await platform.get_on()


@pytest.mark.parametrize("side", ["client", "upstream"])
async def test_bytes_that_are_not_written_yet(side: str) -> None:
    """It waits for a transport to write, a turn or two, and gives up for now if it does not."""
    platform = Platform()
    transport: Transport = getattr(platform, side)
    platform.exchange()
    platform.exchange()
    transport.unwritten = 10
    await asyncio.sleep(0)
    assert not platform.rides()
    transport.unwritten = 0
    await settle()
    assert platform.rides()
    platform.come_back(NOTHING)
    platform.exchange()
    platform.exchange()
    transport.unwritten = 10
    await settle()
    transport.unwritten = 0
    await settle()
    assert not platform.rides()
    await platform.get_on()


# --- getting off ---------------------------------------------------------------------------------


async def test_taken_back_with_nothing() -> None:
    """It is read from again, and the answers that wait are known."""
    platform = Platform()
    await platform.get_on()
    platform.come_back(NOTHING, waiting=b"PBS", status=ord("T"))
    assert not platform.rides()
    assert (platform.queue, platform.session.status) == (list(b"PBS"), ord("T"))
    assert platform.client.take() + platform.upstream.take() == b""
    platform.upstream.receive(frame("1") + frame("2") + READY)
    assert platform.client.take() == frame("1") + frame("2") + READY
    assert (platform.queue, platform.session.status) == ([], t.IDLE)
    await platform.get_on()


async def test_taken_back_from_the_client() -> None:
    """The client's chunk is dealt with as if it had just come: ours to us, the rest up."""
    handed: list[tuple[int, bytes]] = []
    platform = Platform(handler=lambda kind, body: handed.append((kind, body)))
    await platform.get_on()
    platform.come_back(FROM_CLIENT, QUERY + OURS + QUERY[:4], b"Q")
    assert handed == [(t.QUERY, b"SELECT PREDICT(m)\0")]
    assert platform.upstream.take() == QUERY
    assert platform.queue == list(b"QQ")
    platform.client.receive(QUERY[4:])
    assert platform.upstream.take() == QUERY


async def test_taken_back_from_the_upstream() -> None:
    """The upstream's chunk is dealt with as if it had just come."""
    platform = Platform()
    await platform.get_on()
    report = frame("S", b"client_encoding\0LATIN1\0")
    platform.come_back(FROM_UPSTREAM, report + COMPLETE + IN_BLOCK + ROW[:3], b"QP")
    assert platform.client.take() == report + COMPLETE + IN_BLOCK
    assert (platform.session.codec, platform.session.status) == ("latin-1", ord("T"))
    assert platform.queue == list(b"P")
    platform.upstream.receive(ROW[3:])
    assert platform.client.take() == ROW


async def test_taken_back_with_unsent_bytes() -> None:
    """Bytes that the lane has counted and not sent are sent, and not counted again."""
    platform = Platform()
    await platform.get_on()
    platform.come_back(FOR_UPSTREAM, QUERY[3:] + QUERY, b"QQ")
    assert (platform.upstream.take(), platform.queue) == (QUERY[3:] + QUERY, list(b"QQ"))
    platform.upstream.receive(ANSWER * 2)
    assert platform.client.take() == ANSWER * 2
    await platform.get_on()
    platform.come_back(FOR_CLIENT, ANSWER[9:], b"Q", ord("T"))
    assert (platform.client.take(), platform.queue) == (ANSWER[9:], list(b"Q"))
    assert platform.session.status == ord("T")


async def test_calm_is_counted_anew() -> None:
    """One answer after it was taken back is not enough to get on again."""
    platform = Platform()
    await platform.get_on()
    platform.come_back(NOTHING)
    platform.exchange()
    await settle()
    assert not platform.rides()
    platform.exchange()
    await settle()
    assert platform.rides()


@pytest.mark.parametrize("status", b"IT")
async def test_the_status_counts_for_our_errors(status: int) -> None:
    """An error of ours is the statement's own, unless the transaction on the lane had failed."""
    platform = Platform(
        handler=lambda kind, body: platform.session.fail(ProxyError("mine", sqlstate="42704"))
    )
    await platform.get_on(COMPLETE + frame("Z", b"E"))
    platform.come_back(FROM_CLIENT, OURS, status=status)
    assert b"-- pgseer 42704: mine" in platform.upstream.take()
    platform.upstream.receive(ERROR + READY)
    platform.client.take()
    await platform.get_on(COMPLETE + bytes(frame("Z", bytes([status]))))
    platform.come_back(FROM_CLIENT, OURS, status=ord("E"))
    assert b"-- pgseer 25P02" in platform.upstream.take()


async def test_patience_after_short_rides() -> None:
    """Who comes back at once waits twice as long each time; after a long ride, as at first."""
    platform = Platform(handler=lambda kind, body: None)
    waits = []
    for chunks in (0, 1, 7, 8, 0):
        exchanges = 0
        while not platform.rides():
            platform.exchange()
            exchanges += 1
            await settle()
        waits.append(exchanges)
        platform.session.taken_back(HandedBack(FROM_CLIENT, OURS, chunks=chunks))
    assert waits == [2, 4, 8, 16, 2]


async def test_luggage() -> None:
    """With statements of its own it brings along what is packed, or stays off."""
    platform = Platform()
    platform.session.inspect_extended(wanted=True)
    packed: Luggage | None = None
    unpacked: list[HandedBack] = []
    platform.session.pack = lambda: packed
    platform.session.unpack = unpacked.append
    for _ in range(5):
        platform.exchange()
        await settle()
        assert not platform.rides()
    packed = Luggage((Passage(b"s"),), None, Freshness(), 0)
    await platform.get_on()
    assert platform.lane.luggage is packed
    platform.come_back(NOTHING, waiting=b"BES")
    assert [list(handed.waiting) for handed in unpacked] == [list(b"BES")]
    assert platform.queue == list(b"BES")


# --- the end -------------------------------------------------------------------------------------


def farewells(platform: Platform) -> list[str]:
    """Return the SQLSTATEs of what the client was told; there must be errors only."""
    messages = whole_messages(platform.client.take())
    assert set(codes(messages)) <= {"E"}
    return [message.sqlstate for message in messages]


async def test_leaving_idle() -> None:
    """Asked to leave on the lane, it asks for itself, and ends when it is back."""
    platform = Platform()
    await platform.get_on()
    platform.session.leave()
    assert platform.lane.recalls == 1
    assert not platform.client.is_closed
    assert platform.client.take() == b""
    platform.come_back(NOTHING)
    assert farewells(platform) == ["57P01"]
    assert platform.upstream.take() == wire.terminate()
    await settle()
    assert (platform.client.is_closed, platform.upstream.is_closed) == (True, True)
    assert platform.ended == 1


@pytest.mark.parametrize("what", [NOTHING, FROM_CLIENT, FOR_UPSTREAM])
async def test_leaving_busy(what: int) -> None:
    """What was under way on the lane is finished first, whatever it came back with."""
    platform = Platform()
    await platform.get_on()
    platform.session.leave()
    platform.come_back(
        what, b"" if what == NOTHING else QUERY, b"" if what == FROM_CLIENT else b"Q"
    )
    assert platform.ended == 0
    platform.upstream.receive(ANSWER)
    told = whole_messages(platform.client.take())
    assert codes(told) == "TDCZE"
    assert told[-1].sqlstate == "57P01"
    await settle()
    assert platform.ended == 1


@pytest.mark.parametrize("what", [FROM_UPSTREAM, FOR_CLIENT])
async def test_leaving_when_the_answer_comes(what: int) -> None:
    """An answer that was on its way goes to the client before the farewell."""
    platform = Platform()
    await platform.get_on()
    platform.session.leave()
    platform.come_back(what, ANSWER, b"Q" if what == FROM_UPSTREAM else b"")
    assert codes(whole_messages(platform.client.take())) == "TDCZE"
    assert platform.ended == 1


@pytest.mark.parametrize("times", [1, 2])
async def test_ended_on_the_lane(times: int) -> None:
    """Ended on the lane, it keeps its sockets open until they are its own; then it tells once."""
    platform = Platform()
    await platform.get_on()
    for _ in range(times):
        platform.session.end_now()
    assert platform.lane.recalls >= 1
    assert (platform.client.is_closed, platform.upstream.is_closed) == (False, False)
    assert platform.client.take() + platform.upstream.take() == b""
    platform.come_back(FOR_UPSTREAM, QUERY, b"Q")
    assert farewells(platform) == ["57P01"]
    assert platform.upstream.take() == QUERY + wire.terminate()
    await settle()
    assert platform.ended == 1


@pytest.mark.parametrize("what", [FROM_CLIENT, FROM_UPSTREAM])
async def test_a_failure_of_ours(what: int) -> None:
    """An unexpected error as it is taken back ends the session: nobody waits for ever."""

    def fail(kind: int, body: bytes) -> None:
        raise RuntimeError("on purpose")

    platform = Platform(handler=fail)
    await platform.get_on()
    if what == FROM_UPSTREAM:
        platform.session.on_transaction_end = lambda: fail(0, b"")
    platform.come_back(what, OURS if what == FROM_CLIENT else ANSWER, b"Q")
    assert farewells(platform) == ["XX000"]
    assert platform.ended == 1


async def test_a_violation_on_the_lane() -> None:
    """An upstream that breaks the protocol ends the session with 08P01, after what was good."""
    platform = Platform()
    await platform.get_on()
    platform.come_back(FROM_UPSTREAM, COMPLETE + frame("Z", b"x"), b"Q")
    told = whole_messages(platform.client.take())
    assert (codes(told), told[-1].sqlstate) == ("CE", "08P01")
