"""Upstreams that die or lie: no client gets half a reply, and others notice nothing (S2, S9)."""

from __future__ import annotations

import asyncio
import contextlib
import struct
from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio

from tests.conftest import is_direct
from tests.support.chaos import (
    LOGIN,
    Conversation,
    FakeUpstream,
    authentication_ok,
    command_complete,
    data_row,
    error,
    key_data,
    ready,
    row_description,
    whole_messages,
)
from tests.support.proxy import ThreadedProxy, running_proxy
from tests.support.wire import (
    Frontend,
    LoginError,
    Message,
    TruncatedError,
    bind,
    codes,
    errors,
    execute,
    frame,
    parse,
    query,
    send_cancel,
    sync,
    text,
)

pytestmark = pytest.mark.skipif(is_direct(), reason="is about the proxy itself")

LOST = {"08006", "08P01", "08001"}


class Switchboard:
    """What the fake upstream does for each role, by the name of the role."""

    def __init__(self) -> None:
        self.replies: dict[str, bytes] = {}
        self.logins: dict[str, bytes] = {}

    async def __call__(self, conversation: Conversation) -> None:
        user = conversation.startup["user"]
        await conversation.send(self.logins.get(user, LOGIN))
        if user in self.logins and self.logins[user] != LOGIN:
            return
        await conversation.expect("Q" if user != "extended" else "S")
        await conversation.send(self.replies.get(user, ready()))
        if user == "calm":
            await conversation.until_left()


@pytest.fixture
def switchboard() -> Switchboard:
    return Switchboard()


@pytest_asyncio.fixture
async def upstream(switchboard: Switchboard) -> AsyncIterator[FakeUpstream]:
    async with FakeUpstream(switchboard) as running:
        yield running


@pytest.fixture
def proxy(upstream: FakeUpstream) -> Iterator[ThreadedProxy]:
    with running_proxy(upstream.dsn) as running:
        yield running


async def until_end(client: Frontend) -> list[Message]:
    """Return the whole messages up to the end; one that is cut short is left out."""
    messages: list[Message] = []
    while True:
        try:
            message = await client.receive()
        except TruncatedError:
            return messages
        if message is None:
            return messages
        messages.append(message)


REPLY = b"".join(
    (
        row_description("a", "b"),
        data_row(b"one", None),
        data_row(b"two", b"2" * 30),
        command_complete("SELECT 2"),
        ready(),
    )
)
EXTENDED_REPLY = frame("1") + frame("2") + REPLY[len(row_description("a", "b")) :]


@pytest.mark.asyncio
@pytest.mark.parametrize("way", ["simple", "extended"])
async def test_dies_at_any_byte(proxy: ThreadedProxy, switchboard: Switchboard, way: str) -> None:
    """Wherever the upstream dies: what was whole arrives, then one error of class 08 at most."""
    reply = REPLY if way == "simple" else EXTENDED_REPLY
    request = query("SELECT") if way == "simple" else parse("SELECT") + bind() + execute() + sync()
    for size in range(len(reply) + 1):
        switchboard.replies[way] = reply[:size]
        async with await Frontend.login(proxy.address, user=way, database="x") as client:
            await client.send(request)
            got = await until_end(client)
        whole = whole_messages(reply[:size])
        assert got[: len(whole)] == whole, size
        rest = got[len(whole) :]
        assert codes(rest) in ("", "E"), size
        assert all(fields["C"] in LOST for fields in errors(rest)), size
        assert codes(got).count("Z") == (size == len(reply)), size


@pytest.mark.asyncio
async def test_dies_at_any_byte_of_the_login(
    proxy: ThreadedProxy, switchboard: Switchboard
) -> None:
    """Wherever the upstream dies during the login, the login fails, by one error at most."""
    for size in range(0, len(LOGIN), 3):
        switchboard.logins["newcomer"] = LOGIN[:size]
        with pytest.raises((LoginError, TruncatedError)) as caught:
            await Frontend.login(proxy.address, user="newcomer", database="x")
        if isinstance(caught.value, LoginError):
            failures = errors(caught.value.messages)
            assert len(failures) <= 1, size
            assert all(fields["C"] in LOST for fields in failures), size


bad_replies = {
    "an error without SQLSTATE": frame("E", text("SERROR") + text("Mwhy") + b"\0") + ready(),
    "an error without terminator": frame("E", text("SERROR") + b"C42") + ready(),
    "an error without fields": frame("E") + ready(),
    "an error of 1 MB": error("42000", "x" * 1_000_000) + ready(),
    "a field length of -2": row_description("a") + frame("D", struct.pack("!hi", 1, -2)) + ready(),
    "a field beyond the row": row_description("a")
    + frame("D", struct.pack("!hi", 1, 99))
    + ready(),
    "more fields than columns": row_description("a") + data_row(b"1", b"2") + ready(),
    "65 535 columns": frame("T", struct.pack("!H", 65535)) + ready(),
    "a status Z": ready("Z"),
    "an unknown type": frame("\x01") + ready(),
    "a message of length 3": b"D\0\0\0\3",
    "a message of length 0": b"C\0\0\0\0",
    "a message of length -1": b"D\xff\xff\xff\xff",
    "HTTP": b"HTTP/1.1 400 Bad Request\r\n\r\n",
    "zeros": bytes(100),
    "a second login": authentication_ok() + key_data(1) + ready(),
    "too many ReadyForQuery": ready() * 5,
    "CopyInResponse at the wrong time": frame("G", b"\0\0\0") + ready(),
}


@pytest.mark.asyncio
@pytest.mark.parametrize("name", bad_replies)
async def test_bad_reply(proxy: ThreadedProxy, switchboard: Switchboard, name: str) -> None:
    """Whatever the upstream says to one client, the sessions of others live."""
    switchboard.replies["unlucky"] = bad_replies[name]
    async with (
        await Frontend.login(proxy.address, user="calm", database="x") as calm,
        await Frontend.login(proxy.address, user="unlucky", database="x") as unlucky,
    ):
        await unlucky.send(query("SELECT"))
        async with asyncio.timeout(15):
            with contextlib.suppress(ConnectionError):
                await unlucky.reader.read()
        assert codes(await calm.query("SELECT")) == "Z"
    async with await Frontend.login(proxy.address, user="calm", database="x") as calm:
        assert codes(await calm.query("SELECT")) == "Z"


bad_logins = {
    "an unknown request": frame("R", struct.pack("!i", 99)),
    "a short salt": frame("R", struct.pack("!i", 5) + b"\1"),
    "an empty request": frame("R"),
    "no mechanism": frame("R", struct.pack("!i", 10) + b"\0"),
    "an endless mechanism": frame("R", struct.pack("!i", 10) + b"SCRAM"),
    "SASLContinue first": frame("R", struct.pack("!i", 11) + b"r=x,s=x,i=1"),
    "a length of 2 GiB": b"R\x7f\xff\xff\xff",
    "a length of 3": b"R\0\0\0\3",
    "HTTP": b"HTTP/1.1 400 Bad Request\r\n\r\n",
    "negotiation of version 9": frame("v", struct.pack("!ii", 9, 0)),
    "negotiation cut short": frame("v", b"\0"),
    "a query's reply": REPLY,
}


@pytest.mark.asyncio
@pytest.mark.parametrize("name", bad_logins)
async def test_bad_login(proxy: ThreadedProxy, switchboard: Switchboard, name: str) -> None:
    """A login that goes wrong upstream ends for this client alone."""
    switchboard.logins["unlucky"] = bad_logins[name]
    async with await Frontend.connect(proxy.address) as unlucky:
        await unlucky.send(struct.pack("!ii", 27, 0x30000) + b"user\0unlucky\0\0" + b"\0" * 5)
        async with asyncio.timeout(15):
            with contextlib.suppress(ConnectionError):
                await unlucky.reader.read()
    async with await Frontend.login(proxy.address, user="calm", database="x") as calm:
        assert codes(await calm.query("SELECT")) == "Z"


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "answer",
    [
        b"S" + LOGIN,
        b"S" + error("28000", "a forged reply", "FATAL"),
        b"N" + LOGIN,
        b"E" + LOGIN,
        b"X",
        b"S",
        b"",
    ],
)
async def test_bytes_before_tls(answer: bytes) -> None:
    """Clear bytes that an upstream sends around its answer to SSLRequest are never relayed."""
    switchboard = Switchboard()
    async with FakeUpstream(switchboard, tls_answer=answer) as upstream:
        dsn = upstream.dsn.replace("disable", "require")
        with running_proxy(dsn, {"pgseer.server_connect_timeout": 1.0}) as running:
            with pytest.raises((LoginError, TruncatedError)) as caught:
                await Frontend.login(running.address, user="calm", database="x")
            if isinstance(caught.value, LoginError):
                assert b"forged" not in b"".join(m.body for m in caught.value.messages)
                assert "Z" not in codes(caught.value.messages)
    assert upstream.conversations == []


@pytest.mark.asyncio
async def test_cancel_keys(proxy: ThreadedProxy, upstream: FakeUpstream) -> None:
    """Keys that nobody has reach no upstream, and are answered with silence."""
    async with await Frontend.login(proxy.address, user="calm", database="x") as client:
        for secret in (b"\0\0\0\0", b"\1\2\3\5", b"\1\2\3\4\0", b"\1" * 32):
            assert await send_cancel(proxy.address, client.pid, secret) == b""
        assert codes(await client.query("SELECT")) == "Z"
    assert len(upstream.conversations) == 1
