"""A client that throws its answers away as fast as they come.

psql and the drivers spend longer on a row than PostgreSQL does, so they would measure themselves.
Here libpq logs in, and then its socket is ours: a query goes out, and what comes back is read in
large pieces and not looked at, but for the last bytes, which tell that the statement ended and how.
"""

from __future__ import annotations

import os
import socket
import time
from types import TracebackType
from typing import Protocol, Self

import psycopg

READY = b"Z\0\0\0\5"
"""The head of ReadyForQuery, the last message of every answer; one byte of status follows."""
COPY_DONE = b"c\0\0\0\4"
RECEIVE_BYTES = 1 << 20


class UnexpectedAnswerError(Exception):
    """A statement did not end as it should have; the message is the end of what came."""


class DiscardingClient:
    """One logged-in connection outside any transaction.

    Parameters
    ----------
    dsn : a connection string without TLS
    """

    def __init__(self, dsn: str) -> None:
        self._connection = psycopg.connect(
            dsn, autocommit=True, sslmode="disable", gssencmode="disable"
        )
        self._socket = socket.socket(fileno=os.dup(self._connection.fileno()))
        self._socket.settimeout(None)  # libpq left it non-blocking
        self._buffer = memoryview(bytearray(RECEIVE_BYTES))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self._socket.close()
        self._connection.close()

    def time_query(self, statement: str, tag: str, *, binary: bool = False) -> float:
        """Run a statement that must end with the command tag `tag`; return the seconds it took.

        `binary` asks for binary results, by the extended protocol.
        """
        request = extended_request(statement) if binary else query(statement)
        start = time.perf_counter()
        self._socket.sendall(request)
        drain(self._socket, self._buffer, ending(tag))
        return time.perf_counter() - start

    def copy_out(self, statement: str, tag: str) -> bytes:
        """Return the CopyData frames of a COPY TO STDOUT, as they came."""
        self._socket.sendall(query(statement))
        answer = bytearray()
        last = COPY_DONE + ending(tag)
        while not answer.endswith(last):
            answer += self._receive()
        opening = 1 + int.from_bytes(answer[1:5], "big")  # CopyOutResponse
        return bytes(answer[opening : -len(last)])

    def time_copy_in(self, statement: str, frames: bytes, tag: str) -> float:
        """Run a COPY FROM STDIN over CopyData frames; return the seconds it took."""
        start = time.perf_counter()
        self._socket.sendall(query(statement))
        response = self._receive()
        if not response.startswith(b"G"):  # CopyInResponse
            raise UnexpectedAnswerError(response.decode(errors="replace"))
        self._socket.sendall(frames)
        self._socket.sendall(COPY_DONE)
        drain(self._socket, self._buffer, ending(tag))
        return time.perf_counter() - start

    def _receive(self) -> bytes:
        size = self._socket.recv_into(self._buffer)
        if not size:
            raise UnexpectedAnswerError("the connection was closed")
        return bytes(self._buffer[:size])


class Source(Protocol):
    """What can be read from: a blocking socket."""

    def recv_into(self, buffer: memoryview) -> int:
        """Fill the beginning of the buffer and return how much of it; 0 at the end."""


def drain(source: Source, buffer: memoryview, expected: bytes) -> int:
    """Read until `expected` and return the number of bytes read.

    Raises
    ------
    UnexpectedAnswerError
        The answer ended in another way, or the connection did.
    """
    total = 0
    tail = b""
    while not tail.endswith(expected):
        if tail[-6:-1] == READY:
            raise UnexpectedAnswerError(tail.decode(errors="replace"))
        size = source.recv_into(buffer)
        if not size:
            raise UnexpectedAnswerError("the connection was closed")
        total += size
        # An ErrorResponse comes in one piece with its ReadyForQuery: keep enough to show it.
        tail = (tail + bytes(buffer[max(0, size - 1024) : size]))[-1024:]
    return total


def query(statement: str) -> bytes:
    """Return a Query message."""
    return _message(b"Q", statement.encode() + b"\0")


def extended_request(statement: str) -> bytes:
    """Return Parse, Bind with binary results, Execute and Sync."""
    return b"".join(
        (
            _message(b"P", b"\0" + statement.encode() + b"\0\0\0"),
            _message(b"B", b"\0\0\0\0\0\0\0\1\0\1"),
            _message(b"E", b"\0\0\0\0\0"),
            _message(b"S", b""),
        )
    )


def ending(tag: str) -> bytes:
    """Return the CommandComplete with this tag, and a ReadyForQuery outside any transaction."""
    return _message(b"C", tag.encode() + b"\0") + READY + b"I"


def _message(kind: bytes, body: bytes) -> bytes:
    return kind + (len(body) + 4).to_bytes(4, "big") + body
