import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.types import Receive, Scope, Send

from proxy.api.host_guard import HostGuard, is_loopback


async def welcome(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"in"})


async def status_for(host: str | None, own: tuple[str, ...] = ()) -> int:
    statuses = []

    async def send(message):
        if message["type"] == "http.response.start":
            statuses.append(message["status"])

    async def receive():
        raise AssertionError("nothing is to be read")

    headers = [] if host is None else [(b"host", host.encode("latin-1"))]
    scope = {"type": "http", "method": "GET", "path": "/", "headers": headers}
    await HostGuard(welcome, own)(scope, receive, send)
    (status,) = statuses
    return status


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "LocalHost:8080",
        "localhost.",
        "127.0.0.1",
        "127.0.0.1:9090",
        "127.8.8.8:80",
        "[::1]",
        "[::1]:8080",
        "[::ffff:127.0.0.1]:8080",
        "db-proxy.internal:8080",
        None,
    ],
)
@pytest.mark.asyncio
async def test_this_machine_is_let_in(host):
    """Names and addresses of the loopback, our own name, and no Host at all pass on any port."""
    assert await status_for(host, ("DB-proxy.internal",)) == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:8080",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "evil.example:127.0.0.1",
        "localhost@evil.example",
        "[::1]evil.example",
        "[::2]",
        "128.0.0.1",
        "0.0.0.0",
        "2130706433",
        "127.1",
        "",
        ":8080",
        "localhost evil.example",
        "localhost:80:90",
    ],
)
@pytest.mark.asyncio
async def test_a_rebound_name_is_turned_away(host):
    """Whatever is not exactly one of ours gets 421."""
    assert await status_for(host, ("db-proxy.internal",)) == 421


@given(st.ip_addresses())
def test_the_loopback_is_what_the_standard_library_says(address):
    """For numeric addresses that are not mapped ones, `is_loopback` is ipaddress's own."""
    if getattr(address, "ipv4_mapped", None) is None:
        assert is_loopback(str(address)) == address.is_loopback


@given(st.ip_addresses(v=4))
def test_a_mapped_address_is_the_one_inside(address):
    """::ffff:a.b.c.d is of the loopback if a.b.c.d is."""
    assert is_loopback(f"::ffff:{address}") == address.is_loopback
