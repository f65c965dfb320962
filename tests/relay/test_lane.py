"""The lane passes everyday chunks as they are; its rider gets whatever else comes, untouched."""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import struct
from pathlib import Path

import pytest

from proxy.relay.lane import ExpressLane, HandedBack
from proxy.relay.loop import (
    FOR_CLIENT,
    FOR_UPSTREAM,
    FROM_CLIENT,
    FROM_UPSTREAM,
    NOTHING,
)
from proxy.relay.state import BUFFER_SIZE, RING
from tests.protocol.backend import (
    COMPLETE,
    DESCRIPTION,
    ERROR,
    NOTICE,
    NOTIFICATION,
    PARAMETER,
    READY,
    ROW,
)
from tests.relay.riders import (
    IDLE,
    LIMIT_S,
    Handed,
    Rider,
    Station,
    lying,
    on_both_loops,
    receive,
    send,
)
from tests.support import wire
from tests.support.wire import frame

pytestmark = pytest.mark.skipif(not ExpressLane.is_supported(), reason="needs epoll")

QUERY = wire.query("SELECT 1")
ANSWER = DESCRIPTION + ROW + COMPLETE + READY
BATCH = wire.extended("SELECT $1", ["a model"])
BATCH_ANSWER = frame("1") + frame("2") + DESCRIPTION + ROW + COMPLETE + READY
IN_BLOCK = frame("Z", b"T")
BLOCK = ord("T")
ALONE = Handed(NOTHING, b"", b"", IDLE)


# --- the ride ------------------------------------------------------------------------------------


@on_both_loops
async def test_both_ways() -> None:
    """Everyday chunks reach the other side as they are; off the lane nothing is left behind."""
    async with Station() as station:
        rider = station.rider()
        for _ in range(40):  # more messages than the ring has places
            await rider.goes_up(QUERY)
            await rider.comes_down(DESCRIPTION + ROW)
            await rider.comes_down(COMPLETE + READY)
            await rider.goes_up(BATCH)
            await rider.comes_down(BATCH_ANSWER)
        await rider.goes_up(QUERY + BATCH + wire.flush() + QUERY)
        await rider.comes_down(ANSWER + BATCH_ANSWER + ANSWER)
        rider.recall()
        assert await rider.handed_back() == ALONE
        assert lying(rider.near_client) + lying(rider.near_upstream) == b""


@on_both_loops
async def test_answers_of_any_size() -> None:
    """Whole messages pass however many there are of them."""
    async with Station() as station:
        rider = station.rider()
        for size in (0, 1, 1000, 20_000):
            body = struct.pack("!hi", 1, size) + bytes(size)
            await rider.goes_up(wire.parse("SELECT '" + "x" * size + "'") + wire.sync())
            await rider.comes_down(frame("1") + frame("D", body) + READY)
        assert not rider.is_off


@on_both_loops
async def test_the_status_is_the_last_one() -> None:
    """A rider gets back the transaction's status, changed or not."""
    async with Station() as station:
        rider = station.rider(BLOCK)
        rider.recall()
        assert (await rider.handed_back()).status == BLOCK
        for letter in "ITE":
            assert rider.board()
            await rider.goes_up(QUERY)
            await rider.comes_down(COMPLETE + frame("Z", letter.encode()))
            rider.recall()
            assert (await rider.handed_back()).status == ord(letter)


# --- what is not for the lane --------------------------------------------------------------------

STRANGE_CHUNKS = {
    "Terminate": wire.terminate(),
    "FunctionCall": wire.function_call(1, []),
    "CopyData": wire.copy_data("x\n"),
    "CopyDone": wire.copy_done(),
    "a password": wire.password("x"),
    "a statement of ours": wire.query("SELECT PREDICT(m, 1)"),
    "a Parse of ours": wire.parse("CREATE MODEL m AS SELECT 1"),
    "a relation of ours": QUERY + wire.query("TABLE ml_models") + QUERY,
    "part of a message": QUERY + QUERY[:-1],
    "part of a header": QUERY[:4],
    "a bad length": b"Q\0\0\0\3" + QUERY,
    "a negative length": b"Q\xff\xff\xff\xff",
    "no type": b"\0\0\0\0\4",
    "too many": wire.sync() * (RING + 1),
}


@pytest.mark.parametrize("case", STRANGE_CHUNKS)
@on_both_loops
async def test_a_client_that_is_not_everyday(case: str) -> None:
    """Its chunk comes back untouched, with all that waits, and none of it goes up."""
    async with Station() as station:
        rider = station.rider()
        await rider.goes_up(QUERY)
        await rider.comes_down(COMPLETE + IN_BLOCK)
        await rider.goes_up(wire.parse("SELECT 1") + wire.bind())
        await send(rider.client, STRANGE_CHUNKS[case])
        expected = Handed(FROM_CLIENT, STRANGE_CHUNKS[case], b"PB", BLOCK)
        assert await rider.handed_back() == expected
        assert lying(rider.upstream) == b""


STRANGE_ANSWERS = {
    "ErrorResponse": ERROR + READY,
    "NoticeResponse": NOTICE + COMPLETE + READY,
    "NotificationResponse": NOTIFICATION,
    "ParameterStatus": COMPLETE + PARAMETER + READY,
    "CopyInResponse": frame("G", b"\0\0\0"),
    "CopyOutResponse": frame("H", b"\0\0\0"),
    "CopyData": wire.copy_data("x\n"),
    "an answer to nobody": frame("1"),
    "a second answer": ANSWER + READY + READY,
    "part of a message": ANSWER[:-1],
    "part of a header": DESCRIPTION + b"D\0\0",
    "a bad length": b"D\0\0\0\3",
    "a bad status": COMPLETE + frame("Z", b"x"),
    "a long ReadyForQuery": frame("Z", b"II"),
    "an unknown type": frame("~"),
}


@pytest.mark.parametrize("case", STRANGE_ANSWERS)
@on_both_loops
async def test_an_upstream_that_is_not_everyday(case: str) -> None:
    """Its chunk comes back untouched, with all that waits, and none of it goes down."""
    async with Station() as station:
        rider = station.rider(BLOCK)
        await rider.goes_up(QUERY + wire.sync())
        await send(rider.upstream, STRANGE_ANSWERS[case])
        expected = Handed(FROM_UPSTREAM, STRANGE_ANSWERS[case], b"QS", BLOCK)
        assert await rider.handed_back() == expected
        assert lying(rider.client) == b""


@on_both_loops
async def test_a_message_longer_than_the_buffer() -> None:
    """What was read of it comes back, and the rest is still there to be read."""
    async with Station() as station:
        rider = station.rider()
        message = wire.query("SELECT '" + "x" * 3 * BUFFER_SIZE + "'")
        sending = asyncio.create_task(send(rider.client, message))
        handed = await rider.handed_back()
        rest = await receive(rider.near_client, len(message) - len(handed.data))
        assert handed.what == FROM_CLIENT
        assert handed.data + rest == message
        await sending


@on_both_loops
async def test_bytes_that_were_there_before() -> None:
    """What a peer sent before its session got on is relayed all the same."""
    async with Station() as station:
        rider = station.arrival()
        await send(rider.client, QUERY)
        assert rider.board()
        assert await receive(rider.upstream, len(QUERY)) == QUERY
        rider = station.arrival()
        await send(rider.upstream, NOTIFICATION)
        assert rider.board()
        assert await rider.handed_back() == Handed(FROM_UPSTREAM, NOTIFICATION, b"", IDLE)


@on_both_loops
async def test_both_sides_at_once() -> None:
    """When one side ends the ride the other side's bytes, ready too, are left for the session."""
    async with Station() as station:
        rider = station.arrival()
        await send(rider.client, wire.terminate())
        await send(rider.upstream, NOTIFICATION)
        assert rider.board()
        handed = await rider.handed_back()
        rider.recall()
        await station.rider().goes_up(QUERY)
        assert handed.what in (FROM_CLIENT, FROM_UPSTREAM)
        unread = lying(rider.near_client) + lying(rider.near_upstream)
        other = NOTIFICATION if handed.what == FROM_CLIENT else wire.terminate()
        assert unread == other
        assert handed.data == (wire.terminate() + NOTIFICATION).replace(other, b"")


# --- peers that do not take their bytes ----------------------------------------------------------


def make_narrow(end: socket.socket, *, is_full: bool) -> bytes:
    """Let a socket take little, or nothing any more; return what lies in it."""
    end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)  # the system's least: a few KiB
    filler = b""
    with contextlib.suppress(BlockingIOError):
        while is_full:
            filler += b"." * end.send(b"." * 512)
    return filler


@pytest.mark.parametrize("is_full", [False, True])
@on_both_loops
async def test_an_upstream_that_does_not_read(is_full: bool) -> None:
    """What it does not take comes back, no byte more or less, and counts as sent."""
    async with Station() as station:
        rider = station.arrival()
        filler = make_narrow(rider.near_upstream, is_full=is_full)
        assert rider.board(BLOCK)
        chunk = wire.bind(["x" * 1000]) * 20
        await send(rider.client, chunk)
        handed = await rider.handed_back()
        taken = lying(rider.upstream)
        assert (handed.what, bytes(handed.waiting), handed.status) == (
            FOR_UPSTREAM,
            b"B" * 20,
            BLOCK,
        )
        assert taken + handed.data == filler + chunk
        assert (handed.data == chunk) is is_full


@pytest.mark.parametrize("is_full", [False, True])
@on_both_loops
async def test_a_client_that_does_not_read(is_full: bool) -> None:
    """What it does not take comes back, no byte more or less, and its messages are answered."""
    async with Station() as station:
        rider = station.arrival()
        filler = make_narrow(rider.near_client, is_full=is_full)
        assert rider.board()
        await rider.goes_up(QUERY * 20 + wire.sync() * 2)
        row = frame("D", struct.pack("!hi", 1, 1000) + bytes(1000))
        chunk = (row + COMPLETE + IN_BLOCK) * 20
        await send(rider.upstream, chunk)
        handed = await rider.handed_back()
        taken = lying(rider.client)
        assert (handed.what, bytes(handed.waiting), handed.status) == (FOR_CLIENT, b"SS", BLOCK)
        assert taken + handed.data == filler + chunk
        assert (handed.data == chunk) is is_full


@on_both_loops
async def test_a_peer_that_is_gone() -> None:
    """Bytes for a peer that takes none any more come back, and no signal ends the process."""
    async with Station() as station:
        rider = station.rider()
        rider.upstream.shutdown(socket.SHUT_RD)
        await send(rider.client, QUERY)
        assert await rider.handed_back() == Handed(FOR_UPSTREAM, QUERY, b"Q", IDLE)
        rider = station.rider()
        await rider.goes_up(QUERY)
        rider.client.shutdown(socket.SHUT_RD)
        await send(rider.upstream, ANSWER)
        assert await rider.handed_back() == Handed(FOR_CLIENT, ANSWER, b"", IDLE)


@pytest.mark.parametrize("side", ["client", "upstream"])
@pytest.mark.parametrize("way", ["half closed", "closed", "closed with bytes unread"])
@on_both_loops
async def test_the_end_of_a_peer(side: str, way: str) -> None:
    """Whichever peer ends, and however, its rider is handed back to meet the end itself."""
    async with Station() as station:
        rider = station.rider()
        await rider.goes_up(QUERY)
        end: socket.socket = getattr(rider, side)
        near: socket.socket = getattr(rider, f"near_{side}")
        if way == "half closed":
            end.shutdown(socket.SHUT_WR)
        elif way == "closed":
            end.close()
        else:
            near.send(b"unread")
            end.close()
        assert await rider.handed_back() == Handed(NOTHING, b"", b"Q", IDLE)
        assert near.recv(1) == b""


@on_both_loops
async def test_a_reset_connection() -> None:
    """A TCP reset hands its rider back; then the socket says that it has ended."""
    async with Station() as station:
        rider = station.arrival()
        with socket.create_server(("127.0.0.1", 0)) as listener:
            far = socket.create_connection(listener.getsockname())
            near, _ = listener.accept()
        with near:
            near.setblocking(False)
            rider.place = station.lane.adopt(
                rider, near.fileno(), rider.near_upstream.fileno(), IDLE
            )
            far.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            far.close()
            assert await rider.handed_back() == ALONE
            assert near.recv(1) == b""


# --- recalled ------------------------------------------------------------------------------------


@on_both_loops
async def test_recalled_while_a_message_waits() -> None:
    """What waits for its answer comes back by its types, oldest first."""
    async with Station() as station:
        rider = station.rider()
        for _ in range(RING // 3):
            await rider.goes_up(QUERY * 3)
            await rider.comes_down(ANSWER * 3)
        # The ring's end is in the middle of these.
        await rider.goes_up(wire.parse("x") + wire.bind() + wire.describe_portal() + wire.execute())
        await rider.goes_up(wire.close_portal("") + wire.sync() + QUERY)
        rider.recall()
        assert await rider.handed_back() == Handed(NOTHING, b"", b"PBDECSQ", IDLE)


@on_both_loops
async def test_recalled_with_bytes_under_way() -> None:
    """Every message of a client that goes on sending is either relayed and waits, or unread."""
    async with Station() as station:
        for pause_s in (0.0, 0.0001, 0.001):
            rider = station.rider()
            sent = 0
            for number in range(60):
                rider.client.send(QUERY)
                sent += 1
                if number == 30:
                    rider.recall()
                    await asyncio.sleep(pause_s)
            handed = await rider.handed_back()
            relayed, unread = lying(rider.upstream), lying(rider.near_client)
            assert handed.what in (NOTHING, FROM_CLIENT)
            assert relayed + handed.data + unread == QUERY * sent
            assert bytes(handed.waiting) == b"Q" * (len(relayed) // len(QUERY))


@on_both_loops
async def test_recalled_when_already_handed_back() -> None:
    """It is handed back once, with its bytes, and its lane's next rider is left alone."""
    async with Station(capacity=1) as station:
        for number in range(50):
            first = station.rider()
            first.client.send(wire.terminate())
            station.wait_blocking(2 * number + 1)
            first.recall()
            assert (await first.handed_back()).data == wire.terminate()
            second = station.rider()
            assert second.place == first.place
            await second.goes_up(QUERY)
            second.recall()
            assert await second.handed_back() == Handed(NOTHING, b"", b"Q", IDLE)
            first.close()
            second.close()


@on_both_loops
async def test_recalled_many_times() -> None:
    """However often riders are recalled while the thread cannot listen, no command is lost."""
    async with Station(capacity=80) as station:
        riders = [station.rider() for _ in range(70)]
        for rider in riders:
            await rider.goes_up(QUERY)
        for rider in riders:
            rider.client.send(wire.terminate())
        station.wait_blocking(64)  # all places are taken: the thread waits for Python
        late = [station.rider() for _ in range(5)]
        for _ in range(5):
            for rider in riders:
                rider.recall()
        for rider in riders:
            handed = await rider.handed_back()
            assert bytes(handed.waiting) == b"Q"
            assert handed.data + lying(rider.near_client) == wire.terminate()
        for rider in late:
            await rider.goes_up(QUERY)
            await rider.comes_down(ANSWER)


# --- room ----------------------------------------------------------------------------------------


@on_both_loops
async def test_no_room() -> None:
    """One rider more than the capacity is not taken, until another is off."""
    async with Station(capacity=3) as station:
        riders = [station.rider() for _ in range(3)]
        assert len({rider.place for rider in riders}) == 3
        late = station.arrival()
        assert not late.board()
        riders[1].recall()
        await riders[1].handed_back()
        assert late.board()
        assert late.place == riders[1].place
        for rider in (riders[0], late, riders[2]):
            await rider.goes_up(QUERY)
            await rider.comes_down(ANSWER)


@on_both_loops
async def test_a_socket_that_cannot_be_watched(tmp_path: Path) -> None:
    """Where the system refuses to watch a socket its rider is handed back at once."""
    async with Station() as station:
        with (tmp_path / "file").open("w+b") as file:  # epoll takes no plain files
            for is_client in (True, False):
                rider = station.arrival()
                descriptors = (file.fileno(), rider.near_upstream.fileno())
                if not is_client:
                    descriptors = (rider.near_client.fileno(), file.fileno())
                rider.place = station.lane.adopt(rider, *descriptors, IDLE)
                assert await rider.handed_back() == ALONE
                assert rider.board()
                await rider.goes_up(QUERY)


@on_both_loops
async def test_handed_back_while_nobody_looks() -> None:
    """Two hundred that come off while the event loop is held up all come back with their bytes."""
    async with Station(capacity=200) as station:
        riders = [station.rider() for _ in range(200)]
        chunks = [wire.query(f"SELECT PREDICT(m, {'x' * number})") for number in range(200)]
        for rider, chunk in zip(riders, chunks, strict=True):
            rider.client.send(chunk)
        station.wait_blocking(64)
        for rider, chunk in zip(riders, chunks, strict=True):
            assert await rider.handed_back() == Handed(FROM_CLIENT, chunk, b"", IDLE)
        assert all(rider.board() for rider in riders)
        for rider in riders:
            await rider.goes_up(QUERY)


@on_both_loops
async def test_a_rider_that_fails() -> None:
    """An error in one rider's `taken_back` is reported, and the others get theirs."""
    reports: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: reports.append(context))
    async with Station() as station:
        riders = [station.rider() for _ in range(4)]
        for number, rider in enumerate(riders):
            if number == 1:
                rider.taken_back = fail  # type: ignore[method-assign]
            rider.client.send(wire.terminate())
        station.wait_blocking(4)
        for number in (0, 2, 3):
            assert (await riders[number].handed_back()).data == wire.terminate()
        assert station.rider().place == riders[3].place
    assert [str(report["exception"]) for report in reports] == ["on purpose"]


def fail(handed: HandedBack) -> None:
    raise RuntimeError("on purpose")


# --- the end -------------------------------------------------------------------------------------


@pytest.mark.parametrize("is_recalled", [True, False])
@on_both_loops
async def test_stop(is_recalled: bool) -> None:
    """When `stop` returns everybody is off, recalled before or not, though the loop never ran."""
    async with Station(capacity=200) as station:
        riders = [station.rider() for _ in range(200)]
        await asyncio.gather(*(rider.goes_up(QUERY) for rider in riders))
        if is_recalled:
            for rider in riders:
                rider.recall()
        station.lane.stop()
        assert all(rider.is_off for rider in riders)
        for rider in riders:
            assert await rider.handed_back() == Handed(NOTHING, b"", b"Q", IDLE)


@on_both_loops
async def test_stop_of_riders_that_come_off() -> None:
    """Riders that were on their way off when the lane stops have their bytes."""
    async with Station(capacity=100) as station:
        riders = [station.rider() for _ in range(100)]
        for rider in riders:
            rider.client.send(wire.terminate())
        station.wait_blocking(64)
        station.lane.stop()
        for rider in riders:
            handed = await rider.handed_back()
            assert handed.data + lying(rider.near_client) == wire.terminate()


@on_both_loops
async def test_after_the_stop() -> None:
    """The thread is gone and so are its descriptors; nobody gets on, and a recall does nothing."""
    async with Station() as station:
        lane, rider = station.lane, station.rider()
        descriptors, thread = lane._shared[:3], lane._thread
        assert thread is not None
        assert all(map(is_of_epoll, descriptors))
        lane.stop()
        assert await rider.handed_back() == ALONE
        rider.recall()
        assert not rider.board()
        lane.stop()
        assert not any(map(is_of_epoll, descriptors))
        assert not thread.is_alive()


def is_of_epoll(descriptor: int) -> bool:
    """Say whether a descriptor is open and one of eventpoll's or eventfd's."""
    place = Path(f"/proc/self/fd/{descriptor}")
    return place.is_symlink() and str(place.readlink()).startswith("anon_inode:[event")


@on_both_loops
async def test_boarding_while_it_stops() -> None:
    """A rider that wants to get on again as it is handed back by `stop` stays off."""
    async with Station() as station:
        rider = station.rider()
        boarded: list[bool] = []

        def board_again(handed: HandedBack) -> None:
            boarded.append(rider.board())

        rider.taken_back = board_again  # type: ignore[method-assign]
        station.lane.stop()
        assert boarded == [False]


def test_stop_before_start() -> None:
    """A lane that was never started may be stopped."""
    ExpressLane(4).stop()


# --- a crowd -------------------------------------------------------------------------------------


@on_both_loops
async def test_two_hundred_riders() -> None:
    """Two hundred sessions of fifty exchanges of any size at once: each gets its own, all of it."""

    async def converse(rider: Rider, seed: int) -> None:
        chooser = random.Random(seed)
        for _ in range(50):
            count = chooser.choice((1, 1, 1, 5, 12))
            size = chooser.randrange(20_000 // count)
            noise = chooser.randbytes(size).hex()[:size].encode()
            await rider.goes_up(wire.query(b"-- " + noise) * count)
            await rider.comes_down((frame("D", noise) + COMPLETE + READY) * count)
        rider.recall()
        assert await rider.handed_back() == ALONE

    async with Station(capacity=200) as station:
        riders = [station.rider() for _ in range(200)]
        async with asyncio.timeout(3 * LIMIT_S):
            await asyncio.gather(*map(converse, riders, range(200)))
