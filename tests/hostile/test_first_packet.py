"""Clients that mean harm, from their first byte up to the login (S1, S3, S4, S6, S7, S8, S18)."""

from __future__ import annotations

import asyncio
import contextlib
import random
import ssl
import struct
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
import pytest_asyncio
import uvloop

from tests.conftest import Certificates, Endpoint, is_direct
from tests.support import postgres
from tests.support.chaos import LOGIN, Conversation, FakeUpstream
from tests.support.postgres import Cluster
from tests.support.proxy import ProxyProcess, ThreadedProxy, proxy_process, running_proxy
from tests.support.waiting import until_true
from tests.support.wire import (
    Address,
    Frontend,
    LoginError,
    codes,
    errors,
    frame,
    gssenc_request,
    query,
    ssl_request,
    startup,
    startup_packet,
    text,
)

pytestmark = pytest.mark.skipif(is_direct(), reason="is about the proxy itself")

MEBIBYTE = 1 << 20
LOGIN_TIMEOUT_S = 1.0


async def rest_of(frontend: Frontend) -> bytes:
    """Return all bytes up to the end of the stream, which must come."""
    async with asyncio.timeout(15):
        try:
            return await frontend.reader.read()
        except ConnectionError:
            return b""


# --- TLS ------------------------------------------------------------------------------------------


async def greet(conversation: Conversation) -> None:
    """Behave as a server without passwords that answers nothing."""
    await conversation.send(LOGIN)
    await conversation.until_left()


@pytest_asyncio.fixture
async def upstream() -> AsyncIterator[FakeUpstream]:
    """A fake upstream that counts who comes."""
    async with FakeUpstream(greet) as running:
        yield running


@pytest.fixture(params=[asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def tls_proxy(
    request: pytest.FixtureRequest, upstream: FakeUpstream, certificates: Certificates
) -> Iterator[ThreadedProxy]:
    """A proxy that offers TLS, on either event loop."""
    changes = {
        "pgseer.client_tls_cert_file": str(certificates.chain),
        "pgseer.client_tls_key_file": str(certificates.key),
    }
    with running_proxy(upstream.dsn, changes, request.param) as running:
        yield running


def trusting(certificates: Certificates, *alpn: str) -> ssl.SSLContext:
    context = postgres.client_context(certificates.authority)
    if alpn:
        context.set_alpn_protocols(list(alpn))
    return context


hello = startup(user="somebody", database="somewhere")


@pytest.mark.asyncio
async def test_tls_login(
    tls_proxy: ThreadedProxy, upstream: FakeUpstream, certificates: Certificates
) -> None:
    """A client that asks for TLS properly gets it."""
    async with await Frontend.connect(tls_proxy.address) as client:
        await client.start_tls(trusting(certificates))
        await client.authenticate(user="somebody", database="somewhere")
        assert client.pid == 4321
    assert [c.startup["user"] for c in upstream.conversations] == ["somebody"]


@pytest.mark.asyncio
async def test_clear_bytes_behind_the_request(
    tls_proxy: ThreadedProxy, upstream: FakeUpstream
) -> None:
    """A StartupMessage in the same segment as SSLRequest is never read (CVE-2021-23214)."""
    async with await Frontend.connect(tls_proxy.address) as client:
        await client.send(ssl_request(), hello, query("SELECT 1"))
        # The reason may be lost: a socket closed with unread bytes is reset.
        answer = await rest_of(client)
        assert answer == b"" or b"received unencrypted data after SSL request" in answer
    assert upstream.conversations == []


@pytest.mark.asyncio
async def test_clear_bytes_before_the_handshake(
    tls_proxy: ThreadedProxy, upstream: FakeUpstream, certificates: Certificates
) -> None:
    """Clear bytes that arrive after the S and before the handshake are not taken for data."""
    async with await Frontend.connect(tls_proxy.address) as client:
        await client.send(ssl_request())
        assert await client.receive_byte() == b"S"
        await client.send(hello)
        await asyncio.sleep(0.05)
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await client.writer.start_tls(trusting(certificates), server_hostname="localhost")
    async with await Frontend.connect(tls_proxy.address) as client:
        await client.send(ssl_request())
        assert await client.receive_byte() == b"S"
        await client.send(hello, query("SELECT 1"))
        assert b"SELECT" not in await rest_of(client)
    assert upstream.conversations == []


@pytest.mark.asyncio
@pytest.mark.parametrize("alpn", [(), ("http/1.1",)], ids=["none", "http"])
async def test_direct_tls_without_alpn(
    tls_proxy: ThreadedProxy, upstream: FakeUpstream, certificates: Certificates, alpn: tuple[str]
) -> None:
    """TLS from the first byte is refused without the protocol's own name."""
    context = trusting(certificates, *alpn)
    with pytest.raises((OSError, asyncio.IncompleteReadError)):
        await direct_tls(tls_proxy.address, context)
    assert upstream.conversations == []


@pytest.mark.asyncio
async def test_direct_tls(
    tls_proxy: ThreadedProxy, upstream: FakeUpstream, certificates: Certificates
) -> None:
    """TLS from the first byte is served with ALPN postgresql."""
    await direct_tls(tls_proxy.address, trusting(certificates, "postgresql"))
    assert len(upstream.conversations) == 1


async def direct_tls(address: Address, context: ssl.SSLContext) -> None:
    """Log in over TLS from the first byte."""
    reader, writer = await asyncio.open_connection(
        *address, ssl=context, server_hostname="localhost"
    )
    async with Frontend(reader, writer) as client:
        await client.send(hello)
        await client.reader.readexactly(1)


@pytest.mark.asyncio
@pytest.mark.parametrize("inner", [ssl_request(), gssenc_request()], ids=["SSL", "GSS"])
async def test_encryption_within_tls(
    tls_proxy: ThreadedProxy, upstream: FakeUpstream, certificates: Certificates, inner: bytes
) -> None:
    """A request for encryption within TLS is refused."""
    async with await Frontend.connect(tls_proxy.address) as client:
        await client.start_tls(trusting(certificates))
        await client.send(inner, hello)
        assert not (await rest_of(client)).startswith((b"S", b"N", b"R"))
    assert upstream.conversations == []


# --- negotiation ----------------------------------------------------------------------------------


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "packets",
    [
        [gssenc_request()],
        [gssenc_request(), ssl_request()],
        [ssl_request(), gssenc_request()],
    ],
    ids=["GSS", "GSS, SSL", "SSL, GSS"],
)
async def test_encryption_declined(endpoint: Endpoint, packets: list[bytes]) -> None:
    """Encryption that is not offered is declined by N, and the login goes on in clear."""
    async with await Frontend.connect(endpoint.address) as client:
        for packet in packets:
            await client.send(packet)
            assert await client.receive_byte() == b"N"
        await client.authenticate(**endpoint.login)
        assert await client.value("SELECT 1") == "1"


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "packets",
    [[ssl_request()], [gssenc_request()], [ssl_request(), gssenc_request()]],
    ids=["SSL", "GSS", "both"],
)
async def test_negotiation_without_end(endpoint: Endpoint, packets: list[bytes]) -> None:
    """Requests for encryption are answered once each; then the connection ends (CVE-2026-6479)."""
    async with await Frontend.connect(endpoint.address) as client:
        for _ in range(len(packets)):
            await client.send(packets[_])
            assert await client.receive_byte() == b"N"
        try:
            await client.send(*packets * 10_000)
        except ConnectionError:
            return
        answer = await rest_of(client)
        assert answer.count(b"N\0") == 0
        assert not answer.startswith((b"N", b"S", b"R"))


# --- options --------------------------------------------------------------------------------------

options = [
    "-c=",
    "-c",
    "--=",
    "-c a",
    "--",
    "-",
    "\\",
    "-c a=\\",
    "- - - -",
    "-c work_mem=1MB " * 200,
    "-c a.b=" + "\\ " * 1000,
    "--" + "a-" * 2000,
    "=" * 3000,
]


@pytest.mark.asyncio
@pytest.mark.parametrize("value", options, ids=lambda value: repr(value[:20]))
async def test_options(endpoint: Endpoint, direct: Endpoint, value: str) -> None:
    """Options that are no options are answered as PostgreSQL answers them (CVE-2026-107349)."""
    assert await outcome(endpoint, value) == await outcome(direct, value)


async def outcome(endpoint: Endpoint, value: str) -> list[dict[str, str]]:
    """Return the errors of a login with options."""
    try:
        async with await Frontend.login(endpoint.address, **endpoint.login, options=value):
            return []
    except LoginError as refusal:
        return errors(refusal.messages)


# --- lengths --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def one_proxy(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProxyProcess]:
    """A proxy process of the module's own, with a short login timeout."""
    directory = tmp_path_factory.mktemp("hostile")
    config = directory / "pgseer.toml"
    config.write_text(f"[pgseer]\nclient_login_timeout = {LOGIN_TIMEOUT_S}\n")
    with proxy_process(cluster.dsn(), directory, "--config", str(config)) as running:
        yield running


def int32(value: int) -> bytes:
    return struct.pack("!I", value & 0xFFFFFFFF)


first_packets = {
    "length 0": int32(0),
    "length 7": int32(7) + b"\0\3\0\0",
    "length 10 005": int32(10_005) + int32(0x30000) + b"x" * 9_997,
    "length 2^31 - 1": int32(2**31 - 1) + int32(0x30000),
    "length 2^31": int32(2**31) + int32(0x30000),
    "length -1": int32(-1) + int32(0x30000),
    "HTTP": b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "SSH": b"SSH-2.0-OpenSSH_9.2\r\n",
    "zeros": bytes(64),
    "a query": query("SELECT 1"),
    "no version": startup_packet(0, b"user\0a\0\0"),
    "a cancel key of 257 bytes": startup_packet(80877102, int32(1) + bytes(257)),
    "a cancel key of 3 bytes": startup_packet(80877102, int32(1) + bytes(3)),
    "a cancel without key": startup_packet(80877102),
}


@pytest.mark.asyncio
@pytest.mark.parametrize("name", first_packets)
async def test_first_packets(one_proxy: ProxyProcess, name: str) -> None:
    """A first packet that is none is refused, without a login, and the connection closed."""
    async with await Frontend.connect(one_proxy.address) as client:
        await client.send(first_packets[name])
        answer = await rest_of(client)
    assert answer[:1] in (b"", b"E")


@pytest.mark.asyncio
async def test_announced_lengths_cost_nothing(one_proxy: ProxyProcess, direct: Endpoint) -> None:
    """A hundred clients that announce 2 GiB each, before and after the login, cost no memory."""
    async with await Frontend.login(one_proxy.address, **direct.login) as client:
        await client.value("SELECT 1")
    before = one_proxy.memory_bytes()
    clients = []
    try:
        for _ in range(50):
            stranger = await Frontend.connect(one_proxy.address)
            clients.append(stranger)
            await stranger.send(int32(2**31 - 1) + int32(0x30000) + bytes(1000))
        for _ in range(50):
            guest = await Frontend.login(one_proxy.address, **direct.login)
            clients.append(guest)
            await guest.send(b"Q" + int32(2**31 - 1) + bytes(1000))
        await asyncio.sleep(0.2)
        # Sessions have their buffers; what they announce must not be among these.
        assert one_proxy.memory_bytes() - before < 50 * MEBIBYTE // 2
    finally:
        for each in clients:
            await each.close()


@pytest.mark.asyncio
@pytest.mark.parametrize("length", [2**31 - 1, 2**30, -1, -(2**31), 0, 3])
@pytest.mark.parametrize("code", ["Q", "P", "B", "d", "S"])
async def test_lengths_within_a_session(
    one_proxy: ProxyProcess, direct: Endpoint, code: str, length: int
) -> None:
    """A length that PostgreSQL refuses ends the session, without waiting for so many bytes."""
    async with await Frontend.login(one_proxy.address, **direct.login) as client:
        await client.send(code.encode() + int32(length))
        assert codes(await client.until_end()) in ("", "E")


@pytest.mark.asyncio
async def test_flood_after_a_long_length(one_proxy: ProxyProcess, direct: Endpoint) -> None:
    """Bytes that follow an announcement of 2 GiB are not collected."""
    async with await Frontend.login(one_proxy.address, **direct.login) as client:
        before = one_proxy.memory_bytes()
        try:
            await client.send(b"P" + int32(2**31 - 1))
            for _ in range(50):
                await client.send(bytes(MEBIBYTE))
        except ConnectionError:
            pass  # as it should be
        assert one_proxy.memory_bytes() - before < 20 * MEBIBYTE


# --- passwords ------------------------------------------------------------------------------------

sasl_answers = {
    "length -2": text("SCRAM-SHA-256") + int32(-2) + b"n,,n=,r=abc",
    "length 2^31 - 1": text("SCRAM-SHA-256") + int32(2**31 - 1) + b"n,,n=,r=abc",
    "length too long": text("SCRAM-SHA-256") + int32(50) + b"n,,n=,r=abc",
    "length too short": text("SCRAM-SHA-256") + int32(3) + b"n,,n=,r=abc",
    "no length": text("SCRAM-SHA-256"),
    "no mechanism": b"SCRAM-SHA-256",
    "nothing": b"",
    "a nonce of 60 kB": text("SCRAM-SHA-256") + int32(60_007) + b"n,,n=,r=" + b"x" * 60_000,
    "another user": text("SCRAM-SHA-256") + int32(14) + b"n,a=b,n=,r=abc",
}


@pytest.mark.asyncio
@pytest.mark.parametrize("name", sasl_answers)
async def test_sasl_answers(one_proxy: ProxyProcess, cluster: Cluster, name: str) -> None:
    """A malformed SASLInitialResponse ends the login, by one FATAL as PostgreSQL's or a 08P01."""

    async def answer(address: Address) -> list[str]:
        async with await Frontend.connect(address) as client:
            await client.send(startup(user=postgres.SCRAM_USER, database="postgres"))
            await client.until("R")
            await client.send(frame("p", sasl_answers[name]))
            return [error["C"] for error in errors(await client.until_end())]

    assert await answer(one_proxy.address) in (await answer(cluster.address), ["08P01"])


@pytest.mark.asyncio
async def test_second_startup_within_scram(one_proxy: ProxyProcess) -> None:
    """A second StartupMessage during SCRAM starts no session of the other user's (S5)."""
    async with await Frontend.connect(one_proxy.address) as client:
        await client.send(startup(user=postgres.SCRAM_USER, database="postgres"))
        await client.until("R")
        first = b"n,,n=,r=abcdefghijklmnop"
        await client.send(frame("p", text("SCRAM-SHA-256") + int32(len(first)) + first))
        await client.until("R")
        await client.send(startup(user=postgres.TRUST_USER, database="postgres"))
        rest = await client.until_end()
        assert codes(rest) in ("", "E")


# --- slowness -------------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_slow_startup(one_proxy: ProxyProcess, direct: Endpoint) -> None:
    """A client that sends a byte now and then is closed at client_login_timeout."""
    async with await Frontend.connect(one_proxy.address) as client:
        packet = startup(**direct.login)
        sent = 0
        with contextlib.suppress(ConnectionError):
            for byte in packet:
                await client.send(bytes([byte]))
                sent += 1
                await asyncio.sleep(LOGIN_TIMEOUT_S / 4)
        assert sent < len(packet)


@pytest.mark.asyncio
@pytest.mark.parametrize("stage", ["nothing sent", "half a packet", "no password"])
async def test_half_open(one_proxy: ProxyProcess, direct: Endpoint, stage: str) -> None:
    """Three hundred half-open connections keep nobody out, and are closed in time."""
    packets: dict[str, Callable[[], bytes]] = {
        "nothing sent": lambda: b"",
        "half a packet": lambda: startup(**direct.login)[:11],
        "no password": lambda: startup(user=postgres.SCRAM_USER, database="postgres"),
    }
    number = 300 if stage != "no password" else 50
    strangers = await asyncio.gather(*(Frontend.connect(one_proxy.address) for _ in range(number)))
    try:
        for stranger in strangers:
            await stranger.send(packets[stage]())
        async with await Frontend.login(one_proxy.address, **direct.login) as client:
            assert await client.value("SELECT 1") == "1"
        for stranger in strangers:
            answer = await rest_of(stranger)
            assert b"4321" not in answer
    finally:
        await asyncio.gather(*(stranger.close() for stranger in strangers))


@pytest.mark.asyncio
async def test_too_many_clients(cluster: Cluster, direct: Endpoint, tmp_path: Path) -> None:
    """One client more than max_client_conn gets 53300; when one leaves there is room again."""
    config = tmp_path / "pgseer.toml"
    config.write_text("[pgseer]\nmax_client_conn = 3\n")
    with proxy_process(cluster.dsn(), tmp_path, "--config", str(config)) as running:
        clients = [await Frontend.login(running.address, **direct.login) for _ in range(3)]
        try:
            with pytest.raises(LoginError) as caught:
                await Frontend.login(running.address, **direct.login)
            assert caught.value.sqlstate == "53300"
            await clients.pop().close()
            await until_true(lambda: is_let_in(running.address, direct))
        finally:
            for client in clients:
                await client.close()


async def is_let_in(address: Address, endpoint: Endpoint) -> bool:
    try:
        async with await Frontend.login(address, **endpoint.login):
            return True
    except LoginError:
        return False


@pytest.mark.asyncio
async def test_random_bytes(one_proxy: ProxyProcess, direct: Endpoint) -> None:
    """Random bytes, before and after the login, end that client's connection at most."""
    chooser = random.Random(7)
    for number in range(60):
        noise = chooser.randbytes(chooser.randint(1, 200))
        if number % 2:
            client = await Frontend.connect(one_proxy.address)
        else:
            client = await Frontend.login(one_proxy.address, **direct.login)
        async with client:
            with contextlib.suppress(OSError):  # it may be closed by now
                await client.send(noise)
                client.writer.write_eof()
            await rest_of(client)
    async with await Frontend.login(one_proxy.address, **direct.login) as client:
        assert await client.value("SELECT 1") == "1"
    assert one_proxy.process.poll() is None
