"""Peers that do not behave: an upstream that follows a script, down to the byte where it dies.

Owns the server side of a connection as the test writes it: expect, send, close, reset.  What a
client does badly is written with `wire.Frontend`, which sends any bytes.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Self

from tests.support.wire import (
    GSSENC_REQUEST,
    SSL_REQUEST,
    Address,
    Frontend,
    Message,
    TruncatedError,
    frame,
    read_message,
    text,
)

CONTROL_USER = "control"


def authentication_ok() -> bytes:
    return frame("R", struct.pack("!i", 0))


def parameter_status(name: str, value: str) -> bytes:
    return frame("S", text(name) + text(value))


def key_data(pid: int = 4321, secret: bytes = b"\1\2\3\4") -> bytes:
    return frame("K", struct.pack("!i", pid) + secret)


def ready(status: str = "I") -> bytes:
    return frame("Z", status.encode())


def error(sqlstate: str, message: str, severity: str = "ERROR") -> bytes:
    fields = {"S": severity, "V": severity, "C": sqlstate, "M": message}
    return frame("E", b"".join(text(code + value) for code, value in fields.items()) + b"\0")


def row_description(*names: str) -> bytes:
    """Describe columns of type text."""
    columns = b"".join(text(name) + struct.pack("!IhIhih", 0, 0, 25, -1, -1, 0) for name in names)
    return frame("T", struct.pack("!h", len(names)) + columns)


def data_row(*values: bytes | None) -> bytes:
    parts = [struct.pack("!h", len(values))]
    parts += [
        struct.pack("!i", -1 if value is None else len(value)) + (value or b"") for value in values
    ]
    return frame("D", b"".join(parts))


def command_complete(tag: str) -> bytes:
    return frame("C", text(tag))


LOGIN = b"".join(
    (
        authentication_ok(),
        parameter_status("server_version", "18.0"),
        parameter_status("server_encoding", "UTF8"),
        parameter_status("client_encoding", "UTF8"),
        parameter_status("standard_conforming_strings", "on"),
        parameter_status("integer_datetimes", "on"),
        key_data(),
        ready(),
    )
)


def whole_messages(data: bytes) -> list[Message]:
    """Return the messages that are complete in data."""
    messages, offset = [], 0
    while offset + 5 <= len(data):
        end = offset + 1 + int.from_bytes(data[offset + 1 : offset + 5])
        if end > len(data):
            break
        messages.append(Message(chr(data[offset]), data[offset + 5 : end]))
        offset = end
    return messages


class Conversation:
    """One connection to the fake upstream."""

    def __init__(self, frontend: Frontend) -> None:
        self._stream = frontend
        self.startup: dict[str, str] = {}
        self.negotiations: list[int] = []

    async def accept(self, tls_answer: bytes = b"N") -> None:
        """Read the first packets, answering requests for encryption, up to a StartupMessage."""
        reader = self._stream.reader
        while True:
            size = int.from_bytes(await reader.readexactly(4))
            packet = await reader.readexactly(size - 4)
            code = int.from_bytes(packet[:4])
            if code not in (SSL_REQUEST, GSSENC_REQUEST):
                break
            self.negotiations.append(code)
            await self.send(tls_answer if code == SSL_REQUEST else b"N")
        words = [word.decode() for word in packet[4:].split(b"\0")]
        pairs = words[: words.index("")] if "" in words[::2] else words[:-2]
        self.startup = dict(zip(pairs[::2], pairs[1::2], strict=False))

    async def expect(self, code: str) -> Message:
        """Read messages up to one of a type, and return that."""
        while (message := await read_message(self._stream.reader)) is not None:
            if message.code == code:
                return message
        raise ConnectionResetError

    async def send(self, *data: bytes) -> None:
        await self._stream.send(*data)

    async def until_left(self) -> None:
        """Read until the other side closes."""
        while await self._stream.reader.read(1 << 16):
            pass

    def reset(self) -> None:
        """Drop the connection with a TCP reset."""
        self._stream.reset()


Behaviour = Callable[[Conversation], Awaitable[None]]


class FakeUpstream:
    """A server whose every connection behaves as the test says.

    The proxy's own connections, by the role CONTROL_USER, are refused, so that a test sees its
    clients' only.
    """

    def __init__(self, behaviour: Behaviour, *, tls_answer: bytes = b"N") -> None:
        self.behaviour = behaviour
        self.conversations: list[Conversation] = []
        self._tls_answer = tls_answer
        self._server: asyncio.Server | None = None
        self.address: Address = ("127.0.0.1", 0)

    @property
    def dsn(self) -> str:
        """The connection string for the proxy."""
        host, port = self.address
        return f"host={host} port={port} dbname=postgres user={CONTROL_USER} sslmode=disable"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.address = self._server.sockets[0].getsockname()[:2]
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        problem: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._server is not None
        self._server.close()
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        stream = Frontend(reader, writer)
        conversation = Conversation(stream)
        try:
            await conversation.accept(self._tls_answer)
            if conversation.startup.get("user") == CONTROL_USER:
                await conversation.send(error("28000", "not for you", "FATAL"))
            else:
                self.conversations.append(conversation)
                await self.behaviour(conversation)
        except (OSError, asyncio.IncompleteReadError, TruncatedError):
            pass  # the proxy has hung up, which is what many tests wait for
        finally:
            await stream.close()
