"""Connections to the upstream server: TCP or Unix socket, with or without TLS.

Owns the SSLRequest towards the upstream and the order in which sslmode tries things.
Leaves the login to `login` and the contexts to `tls`.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Iterator
from dataclasses import dataclass

from proxy.errors import UpstreamRefusedError
from proxy.peer import KeepAlive, Peer
from proxy.protocol import message_types as t
from proxy.protocol.messages import CancelRequest
from proxy.protocol.wire import int32
from proxy.settings import UpstreamAddress
from proxy.tls import TlsMode

_SSL_REQUEST = int32(8) + int32(t.SSL_REQUEST)


@dataclass(frozen=True, slots=True)
class Connector:
    """Makes connections to one upstream.

    Parameters
    ----------
    address : where
    sslmode : libpq's disable, allow, prefer, require, verify-ca or verify-full
    context : for TLS; None where sslmode is disable
    timeout_s : for one connection, TLS included
    """

    address: UpstreamAddress
    sslmode: str
    context: ssl.SSLContext | None
    timeout_s: float
    keep_alive: KeepAlive = KeepAlive()

    @property
    def where(self) -> str:
        """The address, for messages."""
        address = self.address
        return address.socket_path if address.is_socket else f"{address.host}:{address.port}"

    def attempts(self) -> tuple[bool, ...]:
        """Return whether to use TLS, first choice first (libpq's table of sslmode)."""
        if self.address.is_socket or self.context is None:
            return (False,)
        return TlsMode.parse(self.sslmode).upstream_attempts

    async def connect(self, *, tls: bool) -> tuple[Peer, bool]:
        """Return a peer and whether it speaks TLS (with prefer the server may not).

        Raises
        ------
        UpstreamRefusedError
            Nobody listens there, it took too long, or TLS could not be agreed.
        """
        try:
            async with asyncio.timeout(self.timeout_s or None):
                return await self._connect(tls=tls)
        except TimeoutError as error:
            raise UpstreamRefusedError(
                f"connection to the upstream server at {self.where} timed out"
            ) from error
        except ssl.SSLError as error:
            raise UpstreamRefusedError(
                f"TLS with the upstream server at {self.where} failed",
                detail=error.reason or str(error),
            ) from error
        except OSError as error:
            raise UpstreamRefusedError(
                f"connection to the upstream server at {self.where} failed",
                detail=error.strerror or str(error),
                hint="Is the server running there, and does it accept connections?",
            ) from error

    async def _connect(self, *, tls: bool) -> tuple[Peer, bool]:
        with _closing_on_error(await self._open()) as sock:
            if tls:
                tls = await self._agree_on_tls(sock)
            loop = asyncio.get_running_loop()
            _, peer = await loop.create_connection(
                Peer,
                sock=sock,
                ssl=self.context if tls else None,
                server_hostname=self.address.host if tls else None,
            )
            return peer, tls

    async def _open(self) -> socket.socket:
        loop = asyncio.get_running_loop()
        if self.address.is_socket:
            with _closing_on_error(socket.socket(socket.AF_UNIX)) as sock:
                sock.setblocking(False)
                await loop.sock_connect(sock, self.address.socket_path)
                return sock
        infos = await loop.getaddrinfo(
            self.address.host, self.address.port, type=socket.SOCK_STREAM
        )
        failure: OSError | None = None
        for family, kind, protocol, _, where in infos:
            try:
                with _closing_on_error(socket.socket(family, kind, protocol)) as sock:
                    sock.setblocking(False)
                    self.keep_alive.apply(sock)
                    await loop.sock_connect(sock, where)
                    return sock
            except OSError as error:
                failure = error
        raise failure or OSError(f"no address for {self.address.host}")

    async def _agree_on_tls(self, sock: socket.socket) -> bool:
        """Send an SSLRequest and read its answer.

        Exactly one byte is read from the bare socket: whatever somebody may have put behind it is
        taken for part of the handshake and fails there (CVE-2021-23222).
        """
        loop = asyncio.get_running_loop()
        await loop.sock_sendall(sock, _SSL_REQUEST)
        answer = await loop.sock_recv(sock, 1)
        if answer == b"S":
            return True
        if answer == b"N" and self.sslmode in ("allow", "prefer"):
            return False
        raise UpstreamRefusedError(
            f"the upstream server at {self.where} does not support TLS",
            hint=f"server_tls_sslmode is {self.sslmode}.",
        )

    async def cancel(self, request: CancelRequest, *, tls: bool) -> None:
        """Deliver a CancelRequest and wait until the server has taken it."""
        peer, _ = await self.connect(tls=tls)
        peer.write(request.encode())
        with contextlib.suppress(Exception):
            async with asyncio.timeout(self.timeout_s or None):
                # The server closes when it has sent the signal: the client may rely on that order.
                await peer.read_exactly(1)
        peer.close()


@contextlib.contextmanager
def _closing_on_error(sock: socket.socket) -> Iterator[socket.socket]:
    try:
        yield sock
    except BaseException:
        sock.close()
        raise
