"""The HTTP listener and its operations: /healthz, /readyz and /metrics.

Owns the sockets, and what a client may take of them. Without a login, so it tells nothing that a
neighbour on the machine may not know, and changes nothing. Leaves signals to `app`.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
from collections.abc import Generator

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from proxy.api.health import Readiness
from proxy.api.host_guard import HostGuard, is_loopback
from proxy.errors import SettingsError
from proxy.metrics.event_loop import watch_lag
from proxy.metrics.exposition import CONTENT_TYPE, Exposition
from proxy.metrics.instruments import Instruments

_CONNECTIONS_LIMIT = 64
_CONNECTION_LIFE_S = 30.0
_CLOSE_TIMEOUT_S = 1
_NO_STORE = {"Cache-Control": "no-store"}
# An address of the host's that this machine has not: IPv6 where it is switched off.
_NOT_HERE = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)


def operations(instruments: Instruments, readiness: Readiness) -> Starlette:
    """Return what is answered, by path."""
    exposition = Exposition(instruments)

    async def healthz(_: Request) -> Response:
        return PlainTextResponse("ok\n", headers=_NO_STORE)

    async def readyz(_: Request) -> Response:
        obstacle = await readiness.obstacle()
        status = 200 if obstacle is None else 503
        return PlainTextResponse(f"{obstacle or 'ready'}\n", status, headers=_NO_STORE)

    async def metrics(_: Request) -> Response:
        return Response(exposition.page(), headers=_NO_STORE | {"Content-Type": CONTENT_TYPE})

    routes = [Route(f"/{each.__name__}", each) for each in (healthz, readyz, metrics)]
    application = Starlette(routes=routes)
    application.router.redirect_slashes = False
    return application


class HttpDoor:
    """The listener for HTTP clients; may be opened and closed once."""

    def __init__(self, instruments: Instruments, readiness: Readiness) -> None:
        self._instruments = instruments
        self._application = operations(instruments, readiness)
        self._listener: _Listener | None = None
        self._tasks: list[asyncio.Task[None]] = []

    async def listen(self, host: str, port: int) -> tuple[str, int]:
        """Listen on every address of `host`; return the first one bound.

        Raises
        ------
        SettingsError
            It cannot: the port is somebody else's, or the address is not this machine's.
        """
        try:
            sockets = await _bind(host, port)
        except OSError as error:
            raise SettingsError(
                f"cannot listen for HTTP on {host}:{port}: {error.strerror or error}",
                hint="Choose another address with --http HOST:PORT, or http_addr and http_port; "
                "port 0 turns HTTP off.",
            ) from error
        bound = [sock.getsockname()[0] for sock in sockets]
        application: ASGIApp = self._application
        if all(map(is_loopback, bound)):
            application = HostGuard(application, (host, *bound))
        self._listener = _Listener(_configuration(application))
        self._tasks = [
            asyncio.create_task(self._listener.serve(sockets)),
            asyncio.create_task(watch_lag(self._instruments.event_loop_lag)),
        ]
        return bound[0], sockets[0].getsockname()[1]

    async def close(self) -> None:
        """Take no more requests, and give those under way a moment."""
        if self._listener is None:
            return
        serving, watching = self._tasks
        watching.cancel()
        self._listener.should_exit = True
        await serving
        self._listener.abort_connections()
        self._listener = None


# ---- uvicorn, as it is wanted here


class _Connection(H11Protocol):
    """Bounds what HTTP clients take: descriptors are for the database's clients."""

    _end_of_life: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > _CONNECTIONS_LIMIT:
            transport.abort()
            return
        self._end_of_life = self.loop.call_later(_CONNECTION_LIFE_S, self._retire)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if self._end_of_life is not None:
            self._end_of_life.cancel()

    def _retire(self) -> None:
        """Close, after the request that is being answered; one that still comes is let go.

        uvicorn by itself waits for the rest of a request for ever.
        """
        if not self.transport.is_closing():
            self.shutdown()


class _Listener(uvicorn.Server):
    """Leaves SIGINT and SIGTERM to the application."""

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield

    def abort_connections(self) -> None:
        """Drop those who did not go in time."""
        for connection in tuple(self.server_state.connections):
            connection.transport.abort()


def _configuration(application: ASGIApp) -> uvicorn.Config:
    configuration = uvicorn.Config(
        application,
        loop="none",
        http=_Connection,
        ws="none",
        lifespan="off",
        log_config=None,
        log_level="error",  # malformed requests are the sender's business
        access_log=False,
        proxy_headers=False,
        server_header=False,
        workers=1,  # or $WEB_CONCURRENCY is read
        timeout_graceful_shutdown=_CLOSE_TIMEOUT_S,
    )
    configuration.load()
    return configuration


# ---- sockets


async def _bind(host: str, port: int) -> list[socket.socket]:
    """Return a listening socket for each of the host's addresses that this machine has."""
    loop = asyncio.get_running_loop()
    infos = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    # Each once: some hosts files name 127.0.0.1 twice.
    places = list(dict.fromkeys((family, where) for family, _, _, _, where in infos))
    sockets: list[socket.socket] = []
    try:
        for number, (family, where) in enumerate(places, 1):
            try:
                sockets.append(_listening(family, where))
            except OSError as error:
                is_only_chance = number == len(places) and not sockets
                if is_only_chance or error.errno not in _NOT_HERE:
                    raise
    except BaseException:
        for sock in sockets:
            sock.close()
        raise
    return sockets


def _listening(family: int, where: tuple[object, ...]) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind(where)
        # Here and not in uvicorn: two who bound the same port at a time find out only now.
        sock.listen(_CONNECTIONS_LIMIT)
    except BaseException:
        sock.close()
        raise
    return sock
