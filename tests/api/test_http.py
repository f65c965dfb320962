import asyncio
import os
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from prometheus_client.parser import text_string_to_metric_families
from structlog.testing import capture_logs

from proxy.api import http
from proxy.api.health import Readiness
from proxy.api.http import HttpDoor
from proxy.errors import SettingsError
from proxy.metrics.instruments import Instruments
from proxy.settings import UpstreamAddress
from tests.support.http_client import Address, exchange, parse, request


@asynccontextmanager
async def open_door(
    instruments: Instruments | None = None, host: str = "127.0.0.1", upstream_port: int = 0
) -> AsyncIterator[Address]:
    """A door on a free port; its upstream is a port of 127.0.0.1, or not known yet."""
    readiness = Readiness()
    if upstream_port:
        readiness.begin(UpstreamAddress("127.0.0.1", upstream_port, "shop", "pgseer"))
    door = HttpDoor(instruments or Instruments(), readiness)
    address = await door.listen(host, 0)
    try:
        yield address
    finally:
        await door.close()


# ---- the operations


@pytest.mark.asyncio
async def test_a_live_process_is_healthy():
    """/healthz is 200 whatever the upstream does."""
    async with open_door() as address:
        answer = await request(address, "/healthz")
    assert (answer.status, answer.body) == (200, b"ok\n")
    assert answer.headers["cache-control"] == "no-store"


@pytest.mark.asyncio
async def test_readiness_is_the_upstreams():
    """/readyz is 200 while somebody listens on the upstream's port, 503 with the reason if not."""
    with socket.create_server(("127.0.0.1", 0)) as upstream:
        port = upstream.getsockname()[1]
        async with open_door(upstream_port=port) as address:
            answer = await request(address, "/readyz")
    assert (answer.status, answer.body) == (200, b"ready\n")
    async with open_door(upstream_port=port) as address:
        answer = await request(address, "/readyz")
    assert (answer.status, answer.body) == (
        503,
        b"the upstream server does not accept connections\n",
    )
    async with open_door() as address:
        answer = await request(address, "/readyz")
    assert (answer.status, answer.body) == (503, b"starting\n")


@pytest.mark.asyncio
async def test_metrics_are_those_of_the_instruments():
    """/metrics is a page that Prometheus reads, with the numbers as they are at that moment."""
    instruments = Instruments()
    totals = []
    async with open_door(instruments) as address:
        for _ in range(2):
            instruments.predictions.of("churn", "1.0").add(500)
            answer = await request(address, "/metrics")
            assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
            families = text_string_to_metric_families(answer.body.decode())
            samples = {sample.name: sample.value for each in families for sample in each.samples}
            totals.append(samples["pgseer_predictions_total"])
            assert samples["process_open_fds"] > 0
    assert totals == [500, 1000]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/", 404),
        ("GET", "/metrics/", 404),
        ("GET", "/healthz/../metrics", 404),
        ("POST", "/healthz", 405),
        ("DELETE", "/metrics", 405),
        ("HEAD", "/healthz", 200),
    ],
)
@pytest.mark.asyncio
async def test_nothing_else_is_answered(method, path, status):
    """Other paths are not found, other methods not allowed; HEAD is GET without its body."""
    async with open_door() as address:
        answer = await request(address, path, method=method)
    assert answer.status == status
    if method == "HEAD":
        assert answer.body == b""


# ---- Host


@pytest.mark.asyncio
async def test_a_rebound_name_reads_nothing():
    """On the loopback a request for another host gets 421, whatever it asks for."""
    async with open_door() as address:
        for path in ("/healthz", "/readyz", "/metrics", "/"):
            answer = await request(address, path, {"Host": f"evil.example:{address[1]}"})
            assert answer.status == 421
            assert b"pgseer_" not in answer.body


@pytest.mark.asyncio
async def test_a_probe_without_a_host_is_answered():
    """HTTP/1.0 has no Host, and some load balancers still speak it."""
    async with open_door() as address:
        answer = await request(address, "/healthz", {}, version="1.0")
    assert answer.status == 200


@pytest.mark.parametrize("hosts", [[], ["localhost", "evil.example"]])
@pytest.mark.asyncio
async def test_http_1_1_has_one_host(hosts):
    """No Host, or two of them, are no HTTP/1.1."""
    fields = "".join(f"Host: {host}\r\n" for host in hosts)
    async with open_door() as address:
        data = await exchange(address, f"GET /metrics HTTP/1.1\r\n{fields}\r\n".encode())
    assert parse(data).status == 400


@pytest.mark.asyncio
async def test_a_door_for_everybody_has_any_name():
    """Bound to every address, the machine's names are not known, so any Host will do."""
    async with open_door(host="0.0.0.0") as (_, port):
        answer = await request(("127.0.0.1", port), "/healthz", {"Host": "db-proxy.example"})
    assert answer.status == 200


@pytest.mark.asyncio
async def test_localhost_is_bound_and_guarded():
    """A name of the loopback is as good as its address."""
    async with open_door(host="localhost") as address:
        assert (await request(address, "/healthz")).status == 200
        assert (await request(address, "/healthz", {"Host": "evil.example"})).status == 421


# ---- the listener


@pytest.mark.asyncio
async def test_a_busy_port_is_named():
    """A port that somebody has is an error with the address, and a hint what to do."""
    async with open_door() as (host, port):
        door = HttpDoor(Instruments(), Readiness())
        with pytest.raises(SettingsError) as error:
            await door.listen(host, port)
        assert error.value.message.lower() == (
            f"cannot listen for http on {host}:{port}: address already in use"
        )
        assert "--http HOST:PORT" in (error.value.hint or "")
        await door.close()  # of one that never opened: nothing to do


@pytest.mark.asyncio
async def test_an_address_of_another_machine_is_an_error():
    """What this machine has not cannot be bound (192.0.2.0/24 is for documentation)."""
    door = HttpDoor(Instruments(), Readiness())
    with pytest.raises(SettingsError, match=r"cannot listen for HTTP on 192\.0\.2\.1:0: "):
        await door.listen("192.0.2.1", 0)


@pytest.mark.asyncio
async def test_a_closed_door_leaves_nothing_behind():
    """After `close` the port is free, no task runs, and clients that linger are gone."""
    before = asyncio.all_tasks()
    async with open_door() as address:
        reader, writer = await asyncio.open_connection(*address)
        writer.write(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n")  # and no end
        await writer.drain()
        assert (await request(address, "/healthz")).status == 200
    assert await reader.read() == b""
    writer.close()
    await writer.wait_closed()
    assert asyncio.all_tasks() == before
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection(*address)
    with socket.create_server(address):
        pass


@pytest.mark.asyncio
async def test_signals_are_not_the_doors():
    """SIGTERM stays with whoever handled it before the door was opened."""
    heard = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, heard.set)
    try:
        async with open_door() as address:
            assert (await request(address, "/healthz")).status == 200
            os.kill(os.getpid(), signal.SIGTERM)
            await heard.wait()
            assert (await request(address, "/healthz")).status == 200
    finally:
        loop.remove_signal_handler(signal.SIGTERM)


@pytest.mark.asyncio
async def test_an_endless_request_ends(monkeypatch):
    """A client that never finishes its request is let go of."""
    monkeypatch.setattr(http, "_CONNECTION_LIFE_S", 0.05)
    async with open_door() as address:
        assert await exchange(address, b"GET /healthz HTTP/1.1\r\nHost: localh") == b""


async def is_answered(address: Address) -> bool:
    """Whether a new connection is served, and not dropped before its answer."""
    try:
        data = await exchange(address, b"GET /healthz HTTP/1.0\r\n\r\n")
    except ConnectionError:
        return False
    return data.endswith(b"ok\n")


@pytest.mark.asyncio
async def test_http_clients_cannot_take_every_descriptor(monkeypatch):
    """Beyond a fixed number of connections the newest is dropped; with one gone there is room."""
    monkeypatch.setattr(http, "_CONNECTIONS_LIMIT", 2)
    async with open_door() as address:
        idle = [await asyncio.open_connection(*address) for _ in range(2)]
        assert not await is_answered(address)
        for _, writer in idle:
            writer.close()
            await writer.wait_closed()
        while not await is_answered(address):  # until the door has noticed
            pass


@pytest.mark.asyncio
async def test_nonsense_is_answered_and_not_logged(caplog):
    """What is no HTTP gets 400, and cannot fill the log."""
    with capture_logs() as lines:
        async with open_door() as address:
            assert parse(await exchange(address, b"\x16\x03\x01 nonsense\r\n\r\n")).status == 400
    assert (lines, caplog.records) == ([], [])
