"""A connection up to its session: first packets, protocol versions, time limits, cancel keys."""

from __future__ import annotations

import asyncio
import contextlib
import struct
from collections.abc import AsyncIterator, Iterator

import psycopg
import pytest
import pytest_asyncio

from tests.support import postgres, tls
from tests.support.postgres import Cluster
from tests.support.proxy import Address, ThreadedProxy, running_proxy
from tests.support.tls import KeyPair, connect
from tests.support.waiting import until_true
from tests.support.wire import (
    PROTOCOL_3_0,
    PROTOCOL_3_2,
    PROTOCOL_3_9999,
    Frontend,
    LoginError,
    Message,
    cancel_request,
    codes,
    errors,
    password,
    query,
    rows,
    send_cancel,
    ssl_request,
    startup,
    startup_packet,
)

pytest_plugins = ("tests.support.tls_fixtures",)

login = {"user": postgres.TRUST_USER, "database": "postgres"}
KEY_BYTES = 32  # of PostgreSQL 18, by protocol 3.2


@pytest.fixture(scope="module")
def new_server(cluster: Cluster) -> Cluster:
    """A PostgreSQL that speaks protocol 3.2."""
    if cluster.rows("SHOW server_version_num")[0] < ("180000",):
        pytest.skip("PostgreSQL speaks protocol 3.2 since version 18")
    return cluster


@pytest.fixture(scope="module")
def old_server(secure_cluster: Cluster) -> Cluster:
    """A PostgreSQL that speaks protocol 3.0 only."""
    if secure_cluster.rows("SHOW server_version_num")[0] >= ("180000",):
        pytest.skip("this PostgreSQL is too new")
    return secure_cluster


async def is_served(address: Address) -> bool:
    """Say whether a well-behaved client gets in and gets an answer."""
    async with await Frontend.login(address, **login) as client:
        return await client.value("SELECT 1") == "1"


# --- first packets --------------------------------------------------------------------------------


lengths = [0, 3, 7, 10_001, 2**31 - 1, 2**31, 2**32 - 1]


@pytest.mark.asyncio
@pytest.mark.parametrize("length", lengths)
@pytest.mark.parametrize("rest", [b"", b"\0\3\0\0user\0"], ids=["alone", "and more"])
async def test_impossible_length(proxy: ThreadedProxy, length: int, rest: bytes) -> None:
    """A first packet of an impossible length is hung up on at once, without a word."""
    async with await Frontend.connect(proxy.address) as client:
        await client.send(struct.pack("!I", length) + rest)
        assert await client.until_end() == []
    assert await is_served(proxy.address)


@pytest.mark.asyncio
@pytest.mark.parametrize("length", lengths)
async def test_impossible_length_within_tls(secure_front: Address, length: int) -> None:
    """Within TLS a first packet of an impossible length is hung up on, too."""
    async with await Frontend.connect(secure_front) as client:
        await client.start_tls(tls.context())
        await client.send(struct.pack("!I", length))
        assert await client.until_end() == []
    assert await is_served(secure_front)


@pytest.fixture(scope="module")
def secure_front(secure_cluster: Cluster, proxy_pair: KeyPair) -> Iterator[Address]:
    """A proxy that offers TLS to clients and prefers it upstream."""
    with running_proxy(secure_cluster.dsn(), tls.shows(proxy_pair)) as running:
        yield running.address


@pytest.mark.asyncio
async def test_longest_packet(proxy: ThreadedProxy) -> None:
    """A StartupMessage of 10 000 bytes is served; one byte more is hung up on."""
    filler = "x" * (10_000 - len(startup(**login, **{"my.filler": ""})))
    async with await Frontend.login(proxy.address, **login, **{"my.filler": filler}) as client:
        assert await client.value("SHOW my.filler") == filler
    async with await Frontend.connect(proxy.address) as client:
        await client.send(startup(**login, **{"my.filler": filler + "x"}))
        assert await client.until_end() == []


@pytest.mark.asyncio
@pytest.mark.parametrize("major", [0, 1, 2])
async def test_ancient_protocol(proxy: ThreadedProxy, major: int) -> None:
    """Protocols before 3.0 are refused by FATAL 0A000, and nothing is asked upstream."""
    async with await Frontend.connect(proxy.address) as client:
        await client.send(startup_packet(major << 16, bytes(288)))
        (fields,) = errors(await client.until_end())
    assert (fields["S"], fields["C"]) == ("FATAL", "0A000")
    assert fields["M"].startswith(f"unsupported frontend protocol {major}.0")


# --- protocol versions ----------------------------------------------------------------------------


async def greeting(address: Address, protocol: int, **options: str) -> list[Message]:
    """Return what a server says up to the end of the login, its key left out."""
    async with await Frontend.connect(address) as client:
        said = await client.authenticate(**login, protocol=protocol, **options)
        assert await client.value("SELECT 'served'") == "served"
        return [message for message in said if message.code != "K"]


def negotiated(messages: list[Message]) -> tuple[int, list[bytes]] | None:
    """Return the newest protocol and the unknown options of the one NegotiateProtocolVersion."""
    found = [message.body for message in messages if message.code == "v"]
    if not found:
        return None
    (body,) = found
    newest, count = struct.unpack_from("!ii", body)
    options = body[8:].split(b"\0")[:-1]
    assert len(options) == count
    return newest & 0xFFFF, options


grease = {"_pq_.test_protocol_negotiation": "", "_pq_.other": "1"}
versions = [
    (PROTOCOL_3_0, {}, None, None),
    (PROTOCOL_3_0, grease, (0, list(grease)), (0, list(grease))),
    (PROTOCOL_3_2, {}, None, (0, [])),
    (PROTOCOL_3_2, grease, (2, list(grease)), (0, list(grease))),
    (PROTOCOL_3_9999, {}, (2, []), (0, [])),
    (PROTOCOL_3_9999, grease, (2, list(grease)), (0, list(grease))),
]
names = ["3.0", "3.0 and options", "3.2", "3.2 and options", "3.9999", "3.9999 and options"]


def expected_negotiation(value: tuple[int, list[str]] | None) -> tuple[int, list[bytes]] | None:
    return None if value is None else (value[0], [name.encode() for name in value[1]])


@pytest.mark.asyncio
@pytest.mark.parametrize(("protocol", "options", "new", "old"), versions, ids=names)
async def test_version_before_a_new_server(
    proxy: ThreadedProxy,
    new_server: Cluster,
    protocol: int,
    options: dict[str, str],
    new: tuple[int, list[str]] | None,
    old: tuple[int, list[str]] | None,
) -> None:
    """What PostgreSQL 18 can, and which options it does not know, reaches the client, once."""
    said = await greeting(proxy.address, protocol, **options)
    assert said == await greeting(new_server.address, protocol, **options)
    assert negotiated(said) == expected_negotiation(new)


@pytest.mark.asyncio
@pytest.mark.parametrize(("protocol", "options", "new", "old"), versions, ids=names)
async def test_version_before_an_old_server(
    secure_front: Address,
    old_server: Cluster,
    protocol: int,
    options: dict[str, str],
    new: tuple[int, list[str]] | None,
    old: tuple[int, list[str]] | None,
) -> None:
    """The proxy promises nothing that an older server cannot keep."""
    said = await greeting(secure_front, protocol, **options)
    assert said == await greeting(old_server.address, protocol, **options)
    assert negotiated(said) == expected_negotiation(old)


@pytest.mark.asyncio
async def test_version_and_the_second_attempt(secure_front: Address, old_server: Cluster) -> None:
    """Where TLS is refused upstream and clear text is not, the client hears one negotiation."""
    async with await Frontend.connect(secure_front) as client:
        said = await client.authenticate(
            user=tls.PLAIN_ONLY_USER, database="postgres", protocol=PROTOCOL_3_2, **grease
        )
        assert negotiated(said) == expected_negotiation((0, list(grease)))
        assert codes(said)[:2] == "vR"
        assert await client.value("SELECT session_user") == tls.PLAIN_ONLY_USER


@pytest.mark.asyncio
async def test_version_and_a_refusal(secure_front: Address, old_server: Cluster) -> None:
    """A refused client hears what was negotiated, and the refusal: as from PostgreSQL."""
    said = []
    for address in (secure_front, old_server.address):
        with pytest.raises(LoginError) as caught:
            await Frontend.login(
                address, user="rejected_user", database="postgres", protocol=PROTOCOL_3_2
            )
        said.append(caught.value.messages)
    assert said[0] == said[1]
    assert codes(said[0]) == "vE"


@pytest.mark.skipif(psycopg.pq.version() < 180000, reason="libpq speaks it since version 18")
def test_libpq_and_a_new_server(proxy: ThreadedProxy, new_server: Cluster) -> None:
    """libpq speaks protocol 3.2 through the proxy where the server does."""
    with connect(proxy.address, sslmode="disable", max_protocol_version="3.2") as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)
        assert connection.pgconn.full_protocol_version == 3_0002


@pytest.mark.skipif(psycopg.pq.version() < 180000, reason="libpq speaks it since version 18")
def test_libpq_and_an_old_server(secure_front: Address, old_server: Cluster) -> None:
    """libpq is told by an older server to speak protocol 3.0, and then does."""
    with connect(secure_front, sslmode="require", max_protocol_version="latest") as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)
        assert connection.pgconn.full_protocol_version == 3_0000


# --- cancelling -----------------------------------------------------------------------------------


@pytest_asyncio.fixture
async def other(cluster: Cluster) -> AsyncIterator[Frontend]:
    """A session directly at the server."""
    async with await Frontend.login(cluster.address, **login) as opened:
        yield opened


async def until_asleep(other: Frontend, pid: int) -> None:
    """Wait until a backend runs pg_sleep."""

    async def is_asleep() -> bool:
        asleep = f"SELECT wait_event = 'PgSleep' FROM pg_stat_activity WHERE pid = {pid}"
        return await other.value(asleep) == "t"

    await until_true(is_asleep)


@pytest.mark.asyncio
@pytest.mark.parametrize("way", ["by the proxy", "by another proxy", "by the server"])
async def test_long_key(
    proxy: ThreadedProxy, new_server: Cluster, other: Frontend, way: str
) -> None:
    """A key of protocol 3.2 is the server's own: whoever it is sent to, it cancels the query."""
    with running_proxy(new_server.dsn()) as another:
        whereto = {
            "by the proxy": proxy.address,
            "by another proxy": another.address,
            "by the server": new_server.address,
        }
        async with await Frontend.login(proxy.address, **login, protocol=PROTOCOL_3_2) as client:
            assert len(client.secret) == KEY_BYTES
            await client.send(query("SELECT pg_sleep(60)"))
            await until_asleep(other, client.pid)
            assert await send_cancel(whereto[way], client.pid, client.secret) == b""
            (fields,) = errors(await client.until("Z"))
            assert fields["C"] == "57014"
            assert await client.value("SELECT 1") == "1"


@pytest.mark.skipif(psycopg.pq.version() < 180000, reason="libpq speaks 3.2 since version 18")
@pytest.mark.asyncio
@pytest.mark.parametrize("version", ["3.0", "3.2"])
async def test_cancel_by_libpq(
    proxy: ThreadedProxy, new_server: Cluster, other: Frontend, version: str
) -> None:
    """libpq cancels a query by the key that it was given, a short or a long one."""
    connection = await psycopg.AsyncConnection.connect(
        host=proxy.address[0],
        port=proxy.address[1],
        dbname="postgres",
        user=postgres.TRUST_USER,
        max_protocol_version=version,
    )
    async with connection:
        sleeping = asyncio.create_task(connection.execute("SELECT pg_sleep(60)"))
        await until_asleep(other, connection.info.backend_pid)
        await connection.cancel_safe(timeout=20)
        with pytest.raises(psycopg.errors.QueryCanceled):
            await sleeping


@pytest.mark.asyncio
@pytest.mark.parametrize("protocol", [PROTOCOL_3_0, PROTOCOL_3_2], ids=["3.0", "3.2"])
async def test_wrong_keys(proxy: ThreadedProxy, other: Frontend, protocol: int) -> None:
    """Another's key, a key of the wrong length, half a request: silence, and no query is hurt."""
    async with (
        await Frontend.login(proxy.address, **login, protocol=protocol) as client,
        await Frontend.login(proxy.address, **login, protocol=protocol) as bystander,
    ):
        await client.send(query("SELECT pg_sleep(1.5), 'unhurt'"))
        await until_asleep(other, client.pid)
        pid, secret = client.pid, client.secret
        requests = [
            cancel_request(bystander.pid, bystander.secret),  # it is idle
            cancel_request(pid, bystander.secret),
            cancel_request(bystander.pid, secret),
            cancel_request(pid, secret + bytes(257 - len(secret))),
            cancel_request(pid, secret + bytes(4096)),
            cancel_request(pid, secret[:3]),
            cancel_request(pid, b""),
            cancel_request(0, secret),
            startup_packet(80877102),
        ]
        for request in requests:
            async with await Frontend.connect(proxy.address) as sender:
                await sender.send(request)
                assert await sender.until_end() == [], request
        assert rows(await client.until("Z")) == [("", "unhurt")]
        assert await bystander.value("SELECT 1") == "1"


# --- slots ----------------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_slots(cluster: Cluster, other: Frontend) -> None:
    """max_client_conn counts sessions: one more gets 53300, one less makes room.

    Logins that failed or were given up, clients that were refused, and CancelRequests take no slot.
    """
    with running_proxy(cluster.dsn(), {"pgseer.max_client_conn": 2}) as running:
        for _ in range(5):
            with pytest.raises(LoginError):
                await Frontend.login(
                    running.address, user=postgres.SCRAM_USER, database="postgres", secret="wrong"
                )
            async with await Frontend.connect(running.address) as gone:
                await gone.send(startup(user=postgres.SCRAM_USER, database="postgres"))
                await gone.until("R")
        first = await until_let_in(running.address)
        second = await until_let_in(running.address)
        for _ in range(3):
            with pytest.raises(LoginError) as caught:
                await Frontend.login(running.address, **login)
            (fields,) = errors(caught.value.messages)
            assert (fields["S"], fields["C"]) == ("FATAL", "53300")
        await first.send(query("SELECT pg_sleep(60)"))
        await until_asleep(other, first.pid)
        await send_cancel(running.address, first.pid, first.secret)
        assert errors(await first.until("Z"))[0]["C"] == "57014"
        await first.close()
        third = await until_let_in(running.address)
        assert await second.value("SELECT 1") == "1"
        for client in (second, third):
            await client.close()


async def until_let_in(address: Address) -> Frontend:
    """Log in, again and again while there are too many: who left may not have been noticed yet."""
    opened: list[Frontend] = []

    async def is_let_in() -> bool:
        with contextlib.suppress(LoginError):
            opened.append(await Frontend.login(address, **login))
        return bool(opened)

    await until_true(is_let_in)
    return opened[0]


# --- time limits ----------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=["relay", "scram"])
def hasty(
    request: pytest.FixtureRequest, secure_cluster: Cluster, proxy_pair: KeyPair
) -> Iterator[Address]:
    """A proxy whose clients must have logged in within a second."""
    changes = {"pgseer.client_login_timeout": 1, "pgseer.auth": request.param}
    shown = {**tls.shows(proxy_pair), "pgseer.server_tls_sslmode": "require"}
    with running_proxy(secure_cluster.dsn(), {**changes, **shown}) as running:
        yield running.address


stages = {
    "nothing is sent": (b"", 0),
    "half a length": (b"\0\0", 0),
    "half a header": (b"\0\0\0\x08\x04", 0),
    "half a packet": (startup(**login)[:20], 0),
    "SSLRequest and no handshake": (ssl_request(), 1),
    "half a handshake": (b"\x16\x03\x01\x02\0\x01", 0),
    "no password": (startup(user=postgres.PASSWORD_USER, database="postgres"), 9),
    "no proof": (startup(user=postgres.SCRAM_USER, database="postgres"), 24),
}


@pytest.mark.asyncio
@pytest.mark.parametrize("stage", stages)
async def test_slow_login(hasty: Address, stage: str) -> None:
    """A client that stops at any stage of the login is hung up on; who is in may take his time."""
    sent, answer_bytes = stages[stage]
    async with (
        await Frontend.login(hasty, **login) as early,
        await Frontend.connect(hasty) as client,
    ):
        await client.send(sent)
        async with asyncio.timeout(15):
            assert len(await client.reader.readexactly(answer_bytes)) == answer_bytes
            assert await client.reader.read(1) in (b"", b"R")
            await client.reader.read()
        assert await early.value("SELECT 1") == "1"
    assert await is_served(hasty)


@pytest.mark.asyncio
async def test_silent_server() -> None:
    """A server that takes connections and says nothing: the client is told so by 08001, or let go.

    The former after server_connect_timeout while TLS is negotiated, the latter after
    client_login_timeout while the server should answer the StartupMessage.
    """
    server = await asyncio.start_server(_say_nothing, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        dsn = f"host=127.0.0.1 port={port} user=postgres dbname=postgres"
        changes = {"pgseer.client_login_timeout": 2, "pgseer.server_connect_timeout": 0.2}
        for mode, said in (("require", "E"), ("disable", "")):
            settings = {**changes, "pgseer.server_tls_sslmode": mode}
            with running_proxy(dsn, settings) as running:
                async with await Frontend.connect(running.address) as client:
                    await client.send(startup(**login))
                    end = await client.until_end()
                assert codes(end) == said
                assert [fields["C"] for fields in errors(end)] == ["08001"] * len(said)


async def _say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()
    writer.close()


# --- what is sent ahead ---------------------------------------------------------------------------


@pytest.mark.asyncio
@pytest.mark.parametrize("auth", ["relay", "scram"])
async def test_pipelined_behind_the_password(secure_cluster: Cluster, auth: str) -> None:
    """Megabytes of queries that are sent with the password are all answered, in their order."""
    changes = {"pgseer.auth": auth, "pgseer.server_tls_sslmode": "disable"}
    texts = [f"{number}{'x' * 5000}" for number in range(400)]
    with running_proxy(secure_cluster.dsn(), changes) as running:
        async with await Frontend.connect(running.address) as client:
            await client.send(
                startup(user=postgres.PASSWORD_USER, database="postgres"),
                password(postgres.SECRET),
            )
            queries = [query(f"SELECT '{each}'") for each in texts]
            sending = asyncio.create_task(client.send(*queries))
            replies = await client.until("Z", 1 + len(texts))
            await sending
            assert [value for (value,) in rows(replies)] == texts
