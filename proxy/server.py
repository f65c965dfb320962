"""The listener for Postgres clients, up to the session.

Owns a connection's first bytes: direct TLS, SSLRequest, GSSENCRequest, CancelRequest and
StartupMessage. Until the handshake they are read from the bare socket, exactly as many as one
request has: no buffer exists in which clear bytes could wait and be taken for encrypted ones
(CVE-2021-23214).
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from proxy.errors import AuthenticationError, ProxyError, RemoteProtocolError, TooManyClientsError
from proxy.logs import get_logger
from proxy.metrics import names
from proxy.metrics.instruments import Instruments
from proxy.peer import KeepAlive, Peer, PeerLost
from proxy.protocol import message_types as t
from proxy.protocol.messages import CancelRequest, StartupMessage, error_response
from proxy.tls import check_direct_alpn

_TLS_HANDSHAKE = 0x16
_ACCEPT_PAUSE_S = 0.1
_OUT_OF_DESCRIPTORS = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


@dataclass(frozen=True, slots=True)
class FrontDoor:
    """What a new connection needs to know; replaced as a whole when the settings are read again.

    Parameters
    ----------
    context : for TLS; None answers SSLRequest with 'N'
    tls_is_required : refuse a StartupMessage in clear
    login_timeout_s : from accept to the first ReadyForQuery
    max_clients : at once
    """

    context: ssl.SSLContext | None
    tls_is_required: bool
    login_timeout_s: float
    max_clients: int
    keep_alive: KeepAlive = KeepAlive()


WelcomeClient = Callable[[Peer, StartupMessage, bool], Awaitable[None]]
"""(client, startup, whether the client uses TLS): log it in and start its session."""


class Server:
    """Accepts clients and takes each one to its StartupMessage."""

    def __init__(
        self,
        door: FrontDoor,
        welcome: WelcomeClient,
        cancel: Callable[[CancelRequest], Awaitable[None]],
        instruments: Instruments,
    ) -> None:
        self.door = door
        self._welcome = welcome
        self._cancel = cancel
        self._instruments = instruments
        self._sockets: list[socket.socket] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._accepting: list[asyncio.Task[None]] = []
        self.client_count = 0

    async def listen(self, host: str, port: int) -> tuple[str, int]:
        """Listen on every address of `host`; return the first one bound."""
        loop = asyncio.get_running_loop()
        infos = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        for family, kind, protocol, _, where in infos:
            sock = socket.socket(family, kind, protocol)
            try:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if family == socket.AF_INET6:
                    sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                sock.bind(where)
                sock.listen(1024)
            except BaseException:
                sock.close()
                raise
            sock.setblocking(False)
            self._sockets.append(sock)
            self._accepting.append(asyncio.create_task(self._accept(sock)))
        bound = self._sockets[0].getsockname()
        return bound[0], bound[1]

    async def close(self) -> None:
        """Take no more clients; those in a login are let go."""
        for task in (*self._accepting, *self._tasks):
            task.cancel()
        await asyncio.gather(*self._accepting, *self._tasks, return_exceptions=True)
        for sock in self._sockets:
            sock.close()
        self._sockets.clear()

    async def _accept(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                sock, _ = await loop.sock_accept(listener)
            except OSError as error:
                # The backlog keeps the client: better late than refused, and never a busy loop.
                if error.errno in _OUT_OF_DESCRIPTORS:
                    get_logger(__name__).warning("cannot accept a client", error=error.strerror)
                await asyncio.sleep(_ACCEPT_PAUSE_S)
                continue
            sock.setblocking(False)
            with contextlib.suppress(OSError):
                self.door.keep_alive.apply(sock)
            task = asyncio.create_task(self._receive(sock))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _receive(self, sock: socket.socket) -> None:
        """Take one connection to its session; say no in the protocol's words where that fails."""
        client: Peer | None = None
        try:
            async with asyncio.timeout(self.door.login_timeout_s or None):
                client, has_tls = await self._negotiate(sock)
                await self._start_up(client, has_tls=has_tls)
        except TimeoutError:
            self._instruments.clients_rejected.of(names.TIMEOUT).add()
            self._refuse(client, sock, None)
        except ProxyError as error:
            self._instruments.clients_rejected.of(names.rejection_reason(error)).add()
            self._refuse(client, sock, error)
        except ssl.SSLError as error:
            get_logger(__name__).info("TLS with a client failed", reason=error.reason or str(error))
            self._refuse(client, sock, None)
        except (PeerLost, OSError):
            self._refuse(client, sock, None)
        except asyncio.CancelledError:
            self._refuse(client, sock, None)
            raise
        except Exception as error:  # noqa: BLE001 - one client's fault must not end the others
            get_logger(__name__).exception("login failed")
            self._instruments.clients_rejected.of(names.ERROR).add()
            self._refuse(client, sock, ProxyError(f"internal error: {type(error).__name__}"))

    def _refuse(self, client: Peer | None, sock: socket.socket, error: ProxyError | None) -> None:
        farewell = b"" if error is None else error_response(error, fatal=True)
        if client is not None:
            client.write(farewell)
            client.close()
            return
        with contextlib.suppress(OSError):
            sock.send(farewell)
        sock.close()

    # -- before TLS ------------------------------------------------------------------------------

    async def _negotiate(self, sock: socket.socket) -> tuple[Peer, bool]:
        """Answer SSLRequest and GSSENCRequest; return the peer and whether it has TLS."""
        ssl_done = gss_done = False
        if await _peek(sock) == _TLS_HANDSHAKE:
            return await self._encrypt_at_once(sock), True
        while True:
            header = await _read_exactly(sock, 4)
            length = _startup_length(header)
            header += await _read_exactly(sock, 4)
            code = int.from_bytes(header[4:], "big")
            if code == t.SSL_REQUEST and length == 8 and not ssl_done:
                ssl_done = True
                context = self.door.context
                if context is None:
                    await _send(sock, b"N")
                    continue
                _refuse_early_bytes(sock, "SSL")
                await _send(sock, b"S")
                return await _adopt(Peer(), sock, context), True
            if code == t.GSSENC_REQUEST and length == 8 and not gss_done:
                gss_done = True
                await _send(sock, b"N")
                continue
            return await _adopt(Peer(header), sock), False

    async def _encrypt_at_once(self, sock: socket.socket) -> Peer:
        """Take a connection that begins with TLS; who is refused here is told nothing.

        PostgreSQL is silent too: the bytes may come from another protocol's client.
        """
        if self.door.context is None:
            raise PeerLost
        peer = await _adopt(Peer(), sock, self.door.context)
        try:
            check_direct_alpn(peer.transport.get_extra_info("ssl_object"))
        except RemoteProtocolError as error:
            peer.abort()
            raise PeerLost from error
        return peer

    # -- the startup packet ----------------------------------------------------------------------

    async def _start_up(self, client: Peer, *, has_tls: bool) -> None:
        header = await client.read_exactly(4)
        packet = header + await client.read_exactly(_startup_length(header) - 4)
        code = int.from_bytes(packet[4:8], "big")
        if code == t.CANCEL_REQUEST:
            with contextlib.suppress(RemoteProtocolError):  # never an answer, by the protocol
                await self._cancel(CancelRequest.decode(packet))
            client.close()
            return
        if code in (t.SSL_REQUEST, t.GSSENC_REQUEST) or code >> 16 < 3:
            raise ProxyError(
                f"unsupported frontend protocol {code >> 16}.{code & 0xFFFF}: "
                "server supports 3.0 to 3.2",
                sqlstate="0A000",
            )
        if self.door.tls_is_required and not has_tls:
            raise AuthenticationError("TLS is required", hint="Connect with sslmode=require.")
        if self.client_count >= self.door.max_clients:
            raise TooManyClientsError("sorry, too many clients already")
        self.client_count += 1
        self._instruments.clients.add()
        try:
            await self._welcome(client, StartupMessage.decode(packet), has_tls)
        except BaseException:
            self.client_count -= 1
            raise


async def _adopt(peer: Peer, sock: socket.socket, context: ssl.SSLContext | None = None) -> Peer:
    """Hand a socket to the event loop, through the handshake if there is a context."""
    # The peer comes from outside because uvloop, with TLS, returns a protocol of its own.
    await asyncio.get_running_loop().connect_accepted_socket(lambda: peer, sock, ssl=context)
    return peer


def _startup_length(header: bytes) -> int:
    """Return the length of a first packet, itself included; checked before anything is kept."""
    length = int.from_bytes(header, "big")
    if not 8 <= length <= t.MAX_STARTUP_PACKET_LENGTH:
        raise PeerLost  # PostgreSQL, too, only hangs up: it may be no client at all
    return length


def _refuse_early_bytes(sock: socket.socket, request: str) -> None:
    """Refuse bytes that came behind a request for encryption, in clear."""
    with contextlib.suppress(BlockingIOError):
        if sock.recv(1, socket.MSG_PEEK):
            raise RemoteProtocolError(
                f"received unencrypted data after {request} request",
                detail="This could be either a client-software bug or evidence of an attempted "
                "man-in-the-middle attack.",
            )


async def _readable(sock: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    future: asyncio.Future[None] = loop.create_future()
    loop.add_reader(sock, _resolve, future)
    try:
        await future
    finally:
        loop.remove_reader(sock)


def _resolve(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


async def _peek(sock: socket.socket) -> int:
    """Return the next byte and leave it there; -1 at the end."""
    await _readable(sock)
    data = sock.recv(1, socket.MSG_PEEK)
    return data[0] if data else -1


async def _read_exactly(sock: socket.socket, size: int) -> bytes:
    """Read `size` bytes and not one more."""
    loop = asyncio.get_running_loop()
    data = b""
    while len(data) < size:
        chunk = await loop.sock_recv(sock, size - len(data))
        if not chunk:
            raise PeerLost
        data += chunk
    return data


async def _send(sock: socket.socket, data: bytes) -> None:
    await asyncio.get_running_loop().sock_sendall(sock, data)
