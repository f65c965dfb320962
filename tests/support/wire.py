"""A raw PostgreSQL frontend: builds any message, legal or not, and reads replies as they came.

Owns the test's own idea of the wire format; it shares no line with `proxy.protocol`, so that a
misreading there cannot hide here.  Comparing two streams of replies is `normalise`'s; which
replies are right is for the test to say, or for PostgreSQL.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import random
import socket
import ssl
import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import NamedTuple, Self

from scramp import ScramClient

PROTOCOL_3_0 = 0x0003_0000
PROTOCOL_3_2 = 0x0003_0002
PROTOCOL_3_9999 = 0x0003_270F
SSL_REQUEST = 80877103
GSSENC_REQUEST = 80877104
CANCEL_REQUEST = 80877102

FIRST_USER_OID = 16384  # FirstNormalObjectId
REPLY_TIMEOUT_S = 15.0

type_codes = {
    "R": "Authentication",
    "K": "BackendKeyData",
    "Z": "ReadyForQuery",
    "T": "RowDescription",
    "D": "DataRow",
    "C": "CommandComplete",
    "E": "ErrorResponse",
    "N": "NoticeResponse",
    "A": "NotificationResponse",
    "S": "ParameterStatus",
    "1": "ParseComplete",
    "2": "BindComplete",
    "3": "CloseComplete",
    "s": "PortalSuspended",
    "n": "NoData",
    "t": "ParameterDescription",
    "I": "EmptyQueryResponse",
    "G": "CopyInResponse",
    "H": "CopyOutResponse",
    "W": "CopyBothResponse",
    "d": "CopyData",
    "c": "CopyDone",
    "V": "FunctionCallResponse",
    "v": "NegotiateProtocolVersion",
}


# --- what a frontend sends ------------------------------------------------------------------------


def frame(code: str, body: bytes = b"") -> bytes:
    """Return a whole message: its type, its length, its body."""
    return code.encode("latin-1") + struct.pack("!i", len(body) + 4) + body


def text(value: str | bytes) -> bytes:
    """Return a CString; bytes go as they are, for other encodings than UTF-8."""
    return (value.encode() if isinstance(value, str) else value) + b"\0"


def startup(*, protocol: int = PROTOCOL_3_0, **parameters: str) -> bytes:
    """Return a StartupMessage."""
    pairs = b"".join(text(name) + text(value) for name, value in parameters.items())
    return startup_packet(protocol, pairs + b"\0")


def startup_packet(code: int, body: bytes = b"") -> bytes:
    """Return an untyped first packet: a StartupMessage, or one of the three requests."""
    return struct.pack("!ii", len(body) + 8, code) + body


def ssl_request() -> bytes:
    return startup_packet(SSL_REQUEST)


def gssenc_request() -> bytes:
    return startup_packet(GSSENC_REQUEST)


def cancel_request(pid: int, secret: bytes) -> bytes:
    return startup_packet(CANCEL_REQUEST, struct.pack("!i", pid) + secret)


def password(value: str) -> bytes:
    return frame("p", text(value))


def query(sql: str | bytes) -> bytes:
    return frame("Q", text(sql))


def parse(sql: str | bytes, name: str = "", types: Sequence[int] = ()) -> bytes:
    oids = struct.pack(f"!h{len(types)}I", len(types), *types)
    return frame("P", text(name) + text(sql) + oids)


Value = str | bytes | None


def bind(
    values: Sequence[Value] = (),
    *,
    portal: str = "",
    statement: str = "",
    formats: Sequence[int] = (),
    results: Sequence[int] = (),
) -> bytes:
    parts = [text(portal), text(statement)]
    parts.append(struct.pack(f"!h{len(formats)}h", len(formats), *formats))
    parts.append(struct.pack("!h", len(values)))
    for value in values:
        if value is None:
            parts.append(struct.pack("!i", -1))
        else:
            raw = value.encode() if isinstance(value, str) else value
            parts.append(struct.pack("!i", len(raw)) + raw)
    parts.append(struct.pack(f"!h{len(results)}h", len(results), *results))
    return frame("B", b"".join(parts))


def describe_statement(name: str = "") -> bytes:
    return frame("D", b"S" + text(name))


def describe_portal(name: str = "") -> bytes:
    return frame("D", b"P" + text(name))


def execute(portal: str = "", limit: int = 0) -> bytes:
    return frame("E", text(portal) + struct.pack("!i", limit))


def close_statement(name: str = "") -> bytes:
    return frame("C", b"S" + text(name))


def close_portal(name: str = "") -> bytes:
    return frame("C", b"P" + text(name))


def sync() -> bytes:
    return frame("S")


def flush() -> bytes:
    return frame("H")


def terminate() -> bytes:
    return frame("X")


def copy_data(data: str | bytes) -> bytes:
    return frame("d", data.encode() if isinstance(data, str) else data)


def copy_done() -> bytes:
    return frame("c")


def copy_fail(reason: str) -> bytes:
    return frame("f", text(reason))


def function_call(oid: int, arguments: Sequence[bytes | None], *, result_format: int = 1) -> bytes:
    """Return a FunctionCall whose arguments are all binary."""
    parts = [struct.pack("!Ihhh", oid, 1, 1, len(arguments))]
    for argument in arguments:
        if argument is None:
            parts.append(struct.pack("!i", -1))
        else:
            parts.append(struct.pack("!i", len(argument)) + argument)
    return frame("F", b"".join(parts) + struct.pack("!h", result_format))


def extended(
    sql: str, values: Sequence[Value] = (), results: Sequence[int] = (), limit: int = 0
) -> bytes:
    """Return Parse, Bind, Describe, Execute and Sync of one statement."""
    return (
        parse(sql) + bind(values, results=results) + describe_portal() + execute("", limit) + sync()
    )


# --- what a backend sends -------------------------------------------------------------------------


class FieldDescription(NamedTuple):
    """One column of a RowDescription."""

    name: str
    table_oid: int
    attribute: int
    type_oid: int
    type_size: int
    type_modifier: int
    format_code: int


class Message(NamedTuple):
    """A backend message, as it came."""

    code: str
    body: bytes

    def __repr__(self) -> str:
        name = type_codes.get(self.code, f"Unknown {self.code!r}")
        if self.code in "EN":
            return f"{name}({self.error_fields})"
        shown = self.body if len(self.body) <= 200 else self.body[:200] + b"..."
        return f"{name}({shown!r})"

    @property
    def error_fields(self) -> dict[str, str]:
        """Of an ErrorResponse or NoticeResponse: field code to text."""
        fields = {}
        for part in self.body.split(b"\0"):
            if part:
                fields[chr(part[0])] = part[1:].decode("utf-8", "backslashreplace")
        return fields

    @property
    def sqlstate(self) -> str:
        return self.error_fields["C"]

    @property
    def columns(self) -> list[FieldDescription]:
        """Of a RowDescription."""
        (count,) = struct.unpack_from("!h", self.body)
        offset, columns = 2, []
        for _ in range(count):
            end = self.body.index(b"\0", offset)
            name = self.body[offset:end].decode("utf-8", "backslashreplace")
            columns.append(
                FieldDescription(name, *struct.unpack_from("!IhIhih", self.body, end + 1))
            )
            offset = end + 19
        assert offset == len(self.body)
        return columns

    @property
    def values(self) -> list[bytes | None]:
        """Of a DataRow."""
        (count,) = struct.unpack_from("!h", self.body)
        offset, values = 2, list[bytes | None]()
        for _ in range(count):
            (size,) = struct.unpack_from("!i", self.body, offset)
            offset += 4
            if size < 0:
                values.append(None)
            else:
                values.append(self.body[offset : offset + size])
                offset += size
        assert offset == len(self.body)
        return values

    @property
    def tag(self) -> str:
        """Of a CommandComplete."""
        assert self.code == "C"
        return self.body[:-1].decode()

    @property
    def status(self) -> str:
        """Of a ReadyForQuery: I, T or E."""
        assert self.code == "Z"
        return self.body.decode()

    @property
    def parameter(self) -> tuple[str, str]:
        """Of a ParameterStatus."""
        assert self.code == "S"
        name, value, _ = self.body.split(b"\0")
        return name.decode(), value.decode()

    @property
    def parameter_types(self) -> list[int]:
        """Of a ParameterDescription."""
        assert self.code == "t"
        (count,) = struct.unpack_from("!h", self.body)
        return list(struct.unpack_from(f"!{count}I", self.body, 2))

    @property
    def key(self) -> tuple[int, bytes]:
        """Of BackendKeyData: the process's number and the secret."""
        assert self.code == "K"
        return int.from_bytes(self.body[:4]), self.body[4:]


def codes(messages: Iterable[Message]) -> str:
    """Return the types of messages as one word, such as `12TDDCZ`."""
    return "".join(message.code for message in messages)


def rows(messages: Iterable[Message]) -> list[tuple[str | None, ...]]:
    """Return the DataRows, all in text format."""
    return [
        tuple(None if value is None else value.decode() for value in message.values)
        for message in messages
        if message.code == "D"
    ]


def errors(messages: Iterable[Message]) -> list[dict[str, str]]:
    return [message.error_fields for message in messages if message.code == "E"]


# --- the connection -------------------------------------------------------------------------------


class LoginError(Exception):
    """The server refused the login; carries everything that it said."""

    def __init__(self, messages: list[Message]) -> None:
        super().__init__(repr(messages[-1:]))
        self.messages = messages

    @property
    def sqlstate(self) -> str:
        return next(message.sqlstate for message in self.messages if message.code == "E")


class TruncatedError(Exception):
    """The stream ends inside a message."""


async def read_message(reader: asyncio.StreamReader) -> Message | None:
    """Return the next message of a stream, or None at its end."""
    head = b""
    try:
        head = await reader.readexactly(5)
        body = await reader.readexactly(int.from_bytes(head[1:]) - 4)
    except asyncio.IncompleteReadError as error:
        if head or error.partial:
            raise TruncatedError(head + error.partial) from None
        return None
    except ConnectionError:
        return None
    return Message(head[:1].decode("latin-1"), body)


Address = tuple[str, int]
Cutter = Callable[[bytes], Iterable[int]]


@dataclass(slots=True)
class Frontend:
    """A client that does exactly what it is told."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    pid: int = 0
    secret: bytes = b""
    parameters: dict[str, str] = field(default_factory=dict)
    cutter: Cutter | None = None  # how every write is cut into pieces

    @classmethod
    async def connect(cls, address: Address, cutter: Cutter | None = None) -> Self:
        """Open a TCP connection and say nothing."""
        reader, writer = await asyncio.open_connection(*address, limit=1 << 20)
        writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return cls(reader, writer, cutter=cutter)

    @classmethod
    async def login(
        cls,
        address: Address,
        *,
        user: str,
        database: str,
        secret: str = "",
        protocol: int = PROTOCOL_3_0,
        **options: str,
    ) -> Self:
        """Connect and log in; raise LoginError when the server refuses."""
        frontend = await cls.connect(address)
        try:
            await frontend.authenticate(
                user=user, database=database, secret=secret, protocol=protocol, **options
            )
        except BaseException:
            await frontend.close()
            raise
        return frontend

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Drop the connection without a Terminate."""
        self.writer.close()
        with contextlib.suppress(OSError):  # the other side was faster
            await self.writer.wait_closed()

    def reset(self) -> None:
        """Drop the connection with a TCP reset, as a crashed machine does."""
        linger = struct.pack("ii", 1, 0)
        self.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.writer.transport.abort()

    async def start_tls(self, context: ssl.SSLContext, host: str = "localhost") -> None:
        """Ask for TLS and start it."""
        await self.send(ssl_request())
        answer = await self.receive_byte()
        assert answer == b"S", answer
        await self.writer.start_tls(context, server_hostname=host)

    async def send(self, *messages: bytes) -> None:
        """Send all of it, in one write where no cutter says otherwise."""
        data, start = b"".join(messages), 0
        for cut in [*(self.cutter(data) if self.cutter else ()), len(data)]:
            if cut > start:
                self.writer.write(data[start:cut])
                await self.writer.drain()
                await asyncio.sleep(0)
                start = cut

    async def receive_byte(self) -> bytes:
        async with asyncio.timeout(REPLY_TIMEOUT_S):
            return await self.reader.read(1)

    async def receive(self, timeout_s: float = REPLY_TIMEOUT_S) -> Message | None:
        """Return the next message, or None at the end of the stream."""
        async with asyncio.timeout(timeout_s):
            message = await read_message(self.reader)
        if message is not None:
            self._remember(message)
        return message

    async def until(self, code: str, count: int = 1) -> list[Message]:
        """Return the messages up to the count-th of a type; fail where the stream ends before."""
        messages: list[Message] = []
        while count:
            message = await self.receive()
            assert message is not None, f"end of stream after {messages[-5:]}"
            messages.append(message)
            count -= message.code == code
        return messages

    async def until_end(self) -> list[Message]:
        """Return every message until the server closes the connection."""
        messages: list[Message] = []
        while (message := await self.receive()) is not None:
            messages.append(message)
        return messages

    async def is_silent(self, seconds: float = 0.2) -> bool:
        """Say whether nothing at all arrives for a while."""
        try:
            async with asyncio.timeout(seconds):
                await self.reader.readexactly(1)
        except TimeoutError:
            return True
        except (asyncio.IncompleteReadError, ConnectionError):
            return False
        return False

    async def query(self, sql: str | bytes) -> list[Message]:
        """Run a simple query and return its whole reply."""
        await self.send(query(sql))
        return await self.until("Z")

    async def value(self, sql: str) -> str | None:
        """Return the one value of a query."""
        reply = await self.query(sql)
        assert not errors(reply), errors(reply)
        ((value,),) = rows(reply)
        return value

    async def authenticate(
        self,
        *,
        user: str,
        database: str,
        secret: str = "",
        protocol: int = PROTOCOL_3_0,
        **options: str,
    ) -> list[Message]:
        """Send a StartupMessage and go through the login; return all messages of the server."""
        packet = startup(protocol=protocol, user=user, database=database, **options)
        await self.send(packet)
        return await self.answer_authentication(user, secret)

    async def answer_authentication(self, user: str, secret: str) -> list[Message]:
        """Answer the server's requests for authentication until ReadyForQuery."""
        messages: list[Message] = []
        scram: ScramClient | None = None
        while True:
            message = await self.receive()
            if message is None:
                raise LoginError(messages)
            messages.append(message)
            if message.code == "E":
                raise LoginError(messages + await self.until_end())
            if message.code == "Z":
                return messages
            if message.code != "R":
                continue
            request, rest = int.from_bytes(message.body[:4]), message.body[4:]
            if request == 3:
                await self.send(password(secret))
            elif request == 5:
                await self.send(password(md5_response(user, secret, rest)))
            elif request == 10:
                scram = ScramClient(["SCRAM-SHA-256"], user, secret)
                first = scram.get_client_first().encode()
                size = struct.pack("!i", len(first))
                await self.send(frame("p", text("SCRAM-SHA-256") + size + first))
            elif request == 11:
                assert scram is not None
                scram.set_server_first(rest.decode())
                await self.send(frame("p", scram.get_client_final().encode()))
            elif request == 12:
                assert scram is not None
                scram.set_server_final(rest.decode())
            else:
                assert request == 0, request

    def _remember(self, message: Message) -> None:
        if message.code == "K":
            self.pid, self.secret = message.key
        elif message.code == "S":
            name, value = message.parameter
            self.parameters[name] = value


def md5_response(user: str, secret: str, salt: bytes) -> str:
    """Return the answer to AuthenticationMD5Password."""
    inner = hashlib.md5(secret.encode() + user.encode()).hexdigest()
    return "md5" + hashlib.md5(inner.encode() + salt).hexdigest()


async def send_cancel(address: Address, pid: int, secret: bytes) -> bytes:
    """Send a CancelRequest on its own connection; return what comes back, which must be nothing."""
    async with await Frontend.connect(address) as frontend:
        await frontend.send(cancel_request(pid, secret))
        async with asyncio.timeout(REPLY_TIMEOUT_S):
            try:
                return await frontend.reader.read()
            except ConnectionError:
                return b""


# --- comparing two streams ------------------------------------------------------------------------


def random_cuts(data: bytes, seed: int, mean: int = 7) -> list[int]:
    """Return ascending random offsets into data, about `mean` bytes apart at first."""
    chooser = random.Random(seed)
    cuts, position = [], 0
    while position < len(data):
        # After the first 4000 bytes the pieces grow: megabytes need not take minutes.
        position += chooser.randint(1, 2 * mean + position // 500)
        cuts.append(position)
    return [cut for cut in cuts if cut < len(data)]


def byte_cuts(data: bytes, limit: int = 3000) -> list[int]:
    """Return a cut after every one of the first `limit` bytes and of the last 50."""
    last = max(limit, len(data) - 50)
    return [*range(1, min(limit, len(data))), *range(last, len(data))]


def normalise(messages: Iterable[Message], names: Mapping[int, bytes]) -> list[Message]:
    """Return messages with what no two sessions share taken out, and nothing else.

    That is: the key data (its length stays), the salts, nonces and proofs of a login, and the OIDs
    of tables made within the session, which are numbered in the order in which they come.

    Parameters
    ----------
    names : the backends' pids to what stands for them in notifications, four bytes each
    """
    seen: dict[int, int] = {}
    return [_normalised(message, names, seen) for message in messages]


def _normalised(message: Message, names: Mapping[int, bytes], seen: dict[int, int]) -> Message:
    code, body = message
    if code == "K":
        return Message(code, bytes(len(body)))
    if code == "R" and len(body) > 4 and body[:4] != b"\0\0\0\x0a":
        return Message(code, body[:4])
    if code == "A":
        return Message(code, names.get(int.from_bytes(body[:4]), body[:4]) + body[4:])
    if code == "T":
        out = bytearray(body)
        offset = 2
        for column in message.columns:
            end = body.index(b"\0", offset)
            if column.table_oid >= FIRST_USER_OID:
                ordinal = seen.setdefault(column.table_oid, FIRST_USER_OID + len(seen))
                struct.pack_into("!I", out, end + 1, ordinal)
            offset = end + 19
        return Message(code, bytes(out))
    return message
