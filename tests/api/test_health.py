import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from proxy.api.health import STARTING, STOPPING, UNREACHABLE, Readiness
from proxy.settings import UpstreamAddress
from tests.support.postgres import free_port

FOREVER_S = 3600.0


def address(host: str, port: int) -> UpstreamAddress:
    return UpstreamAddress(host, port, "shop", "pgseer")


def readiness_of(where: UpstreamAddress, **options: float) -> Readiness:
    """Of a proxy that takes clients."""
    readiness = Readiness(**options)
    readiness.begin(where)
    return readiness


@contextmanager
def listener(port: int = 0) -> Iterator[socket.socket]:
    """A socket whose connections the kernel accepts, until the block ends."""
    with socket.socket() as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(("127.0.0.1", port))
        listening.listen()
        listening.setblocking(False)
        yield listening


async def received(listening: socket.socket) -> list[bytes]:
    """What each connection so far sent until it was closed."""
    sent = []
    with suppress(BlockingIOError):
        while True:
            connection, _ = listening.accept()
            with connection:
                connection.settimeout(30)
                sent.append(await asyncio.to_thread(connection.recv, 1))
    return sent


@pytest.mark.asyncio
async def test_an_upstream_that_accepts_is_ready():
    """A TCP connection is all that is asked: not a byte is sent over it, and it is closed."""
    with listener() as upstream:
        readiness = readiness_of(address(*upstream.getsockname()))
        assert await readiness.obstacle() is None
        assert await received(upstream) == [b""]


@pytest.mark.asyncio
async def test_an_upstream_that_refuses_is_not():
    """Nobody on the port, no socket, no such name: each is an obstacle and not an exception."""
    nobody = address("127.0.0.1", free_port())
    for where in (nobody, address("/nowhere/at/all", 5432), address("no.such.host.invalid", 1)):
        assert await readiness_of(where).obstacle() == UNREACHABLE


@pytest.mark.asyncio
async def test_a_unix_socket_is_asked(tmp_path: Path):
    """An upstream that is named by its folder is reached by PostgreSQL's name for the socket."""
    where = address(str(tmp_path), 5432)
    readiness = readiness_of(where, keep_s=0)
    assert await readiness.obstacle() == UNREACHABLE
    with socket.socket(socket.AF_UNIX) as upstream:
        upstream.bind(str(tmp_path / ".s.PGSQL.5432"))
        upstream.listen()
        assert await readiness.obstacle() is None


@pytest.mark.asyncio
async def test_an_upstream_that_says_nothing_is_not_waited_for():
    """A listener whose queue is full never answers; the question ends all the same."""
    with listener() as upstream, socket.socket() as first, socket.socket() as second:
        upstream.listen(0)
        for client in (first, second):
            client.setblocking(False)
            client.connect_ex(upstream.getsockname())
        where = address(*upstream.getsockname())
        assert await readiness_of(where, timeout_s=0.2).obstacle() == UNREACHABLE


@pytest.mark.asyncio
async def test_many_questions_are_one_connection():
    """However many ask at a time, and again while the answer holds, the upstream sees one."""
    with listener() as upstream:
        readiness = readiness_of(address(*upstream.getsockname()), keep_s=FOREVER_S)
        answers = await asyncio.gather(*(readiness.obstacle() for _ in range(20)))
        answers.append(await readiness.obstacle())
        assert answers == [None] * 21
        assert len(await received(upstream)) == 1


@pytest.mark.asyncio
async def test_an_answer_holds_for_a_while_and_not_longer():
    """A kept answer outlives the upstream; one that is not kept follows it, down and up again."""
    with listener() as upstream:
        where = address(*upstream.getsockname())
        kept, fresh = readiness_of(where, keep_s=FOREVER_S), readiness_of(where, keep_s=0)
        assert (await kept.obstacle(), await fresh.obstacle()) == (None, None)
    assert (await kept.obstacle(), await fresh.obstacle()) == (None, UNREACHABLE)
    with listener(where.port):
        assert await fresh.obstacle() is None


@pytest.mark.asyncio
async def test_before_and_after_the_proxy_takes_clients_it_is_not_ready():
    """Until it begins it is starting; once it ends it is stopping, though the upstream is up."""
    readiness = Readiness()
    assert await readiness.obstacle() == STARTING
    with listener() as upstream:
        readiness.begin(address(*upstream.getsockname()))
        assert await readiness.obstacle() is None
        readiness.end()
        assert await readiness.obstacle() == STOPPING


@pytest.mark.asyncio
async def test_only_changes_are_logged():
    """An upstream that stays down is told of once, and once more when it is back."""
    where = address("127.0.0.1", free_port())
    readiness = readiness_of(where, keep_s=0)
    with capture_logs() as lines:
        for _ in range(3):
            await readiness.obstacle()
        with listener(where.port):
            for _ in range(3):
                await readiness.obstacle()
    assert [line["event"] for line in lines] == [
        "upstream does not accept connections",
        "upstream accepts connections again",
    ]


@pytest.mark.asyncio
async def test_an_upstream_that_was_always_up_is_no_news():
    """Nothing is logged while all is well."""
    with listener() as upstream, capture_logs() as lines:
        readiness = readiness_of(address(*upstream.getsockname()), keep_s=0)
        for _ in range(3):
            assert await readiness.obstacle() is None
    assert lines == []
