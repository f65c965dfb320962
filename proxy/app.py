"""The proxy put together: the only place where rooms are joined.

It builds and never computes. `Application.start` makes the database (if embedded), the listener and
what sessions share; signals re-read the settings or end it all.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Callable
from pathlib import Path

import msgspec

# Compiles the kernels of fits as well, on the first start: no training waits for that.
import proxy.engine.training  # noqa: F401
from proxy.api.health import Readiness
from proxy.api.http import HttpDoor
from proxy.cancellation import Cancellation
from proxy.embedded import EmbeddedPostgres
from proxy.errors import ProxyError, SettingsError
from proxy.kernels.warmup import warm
from proxy.login import LoginPolicy, LoginRefused, log_in
from proxy.logs import get_logger
from proxy.metrics import names
from proxy.metrics.instruments import Instruments
from proxy.peer import KeepAlive, Peer
from proxy.protocol.messages import CancelRequest, StartupMessage
from proxy.registry.postgres_store import Registries
from proxy.relay.lane import ExpressLane
from proxy.server import FrontDoor, Server
from proxy.service_connections import ServiceConnector
from proxy.session.session import LoggedIn, Session
from proxy.settings import Listener, Settings, UpstreamAddress
from proxy.statements.dispatcher import Dispatcher
from proxy.statements.services import Services
from proxy.tls import TlsMode, TlsOptions, client_context, leaf_certificate, upstream_context
from proxy.upstream import Connector
from proxy.verifiers import Verifiers
from proxy.workers.pool import TrainingPool
from proxy.workers.spool import MemoryAccount, RowLimits

_REST_AFTER_S = 1.0
_GOODBYE_S = 2.0
_GOODBYE_POLL_S = 0.01


class Application:
    """One running proxy.

    Parameters
    ----------
    settings : everything that can be chosen
    reload : reads the settings again, for SIGHUP; None keeps them
    """

    def __init__(self, settings: Settings, reload: Callable[[], Settings] | None = None) -> None:
        self.settings = settings
        self.wire_address = ("", 0)
        self.instruments = Instruments()
        self._readiness = Readiness()
        self._http = HttpDoor(self.instruments, self._readiness)
        self._reload = reload
        self._embedded: EmbeddedPostgres | None = None
        self._sessions: set[Session] = set()
        self._closing: set[Peer] = set()
        self._errands: set[asyncio.Task[None]] = set()
        self._all_gone = asyncio.Event()
        self._stopping = asyncio.Event()
        self._stopped = asyncio.Event()
        self._server: Server | None = None
        self._lane: ExpressLane | None = None
        self._cancellation: Cancellation | None = None
        self._policy: LoginPolicy | None = None
        self._services: Services

    # -- life ------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Start the database if it is ours, then listen; HTTP answers from the beginning.

        Raises
        ------
        ProxyError
            A setting cannot be used, or the database does not start.
        OSError
            The address cannot be bound.
        """
        await self._listen_for_http()
        try:
            await self._start_serving()
        except BaseException:
            await self._http.close()
            raise
        self._readiness.begin(self._address)

    async def _listen_for_http(self) -> None:
        listener = self.settings.pgseer
        if not listener.http_port:
            return
        log = get_logger(__name__)
        try:
            host, port = await self._http.listen(listener.http_addr, listener.http_port)
        except SettingsError as error:
            # Nobody asked for the default port: a second proxy on a machine must not fail for it.
            if listener.http_port != Listener().http_port:
                raise
            log.warning("no HTTP", error=error.message)
            return
        log.info("listening for HTTP", address=f"{host}:{port}")

    async def _start_serving(self) -> None:
        if self.settings.upstream.is_embedded:
            await self._start_embedded()
        await asyncio.to_thread(warm)
        connector = self._connector()
        self._services = self._shared_services(connector)
        self._services.workers.warm_up()
        self._start_lane()
        self._cancellation = Cancellation(connector)
        self._policy = self._login_policy(connector)
        self._server = Server(
            self._door(), self._welcome, self._cancellation.deliver, self.instruments
        )
        self.instruments.read_client_connections = self._count_clients
        listener = self.settings.pgseer
        try:
            self.wire_address = await self._server.listen(
                listener.listen_addr, listener.listen_port
            )
        except BaseException:
            await self._close_services()
            await self._stop_embedded()
            raise
        log = get_logger(__name__)
        log.info("listening", address=f"{self.wire_address[0]}:{self.wire_address[1]}")
        if self._embedded is not None:
            log.info("connect with", psql=self._embedded.psql_line(*self.wire_address))

    async def run(self) -> None:
        """Start, serve until SIGTERM or SIGINT, stop."""
        loop = asyncio.get_running_loop()
        await self.start()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stopping.set)
        if hasattr(signal, "SIGHUP"):
            loop.add_signal_handler(signal.SIGHUP, self.reload)
        try:
            await self._stopping.wait()
        finally:
            await self.stop()

    async def wait_closed(self) -> None:
        """Wait until `stop` is through."""
        await self._stopped.wait()

    async def stop(self) -> None:
        """Let running statements finish, end every session (57P01), and stop the database."""
        self._stopping.set()
        self._readiness.end()
        if self._server is not None:
            await self._server.close()
        for session in tuple(self._sessions):
            session.leave()
        if self._sessions:
            self._all_gone.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self.settings.pgseer.shutdown_timeout):
                    await self._all_gone.wait()
        for session in tuple(self._sessions):
            session.end_now()
        await self._wait_for_peers()
        await self._close_services()
        await self._stop_embedded()
        await self._http.close()
        self._stopped.set()

    async def _wait_for_peers(self) -> None:
        """Let closed connections say goodbye: what is written must leave, TLS ends by a turn."""
        for _ in range(int(_GOODBYE_S / _GOODBYE_POLL_S)):
            if not self._sessions and all(peer.is_lost for peer in self._closing):
                break
            await asyncio.sleep(_GOODBYE_POLL_S)
        for peer in self._closing:
            peer.abort()
        await asyncio.sleep(0)

    def reload(self) -> None:
        """Read the settings again; what cannot change while running keeps its value."""
        log = get_logger(__name__)
        if self._reload is None or self._server is None or self._cancellation is None:
            log.info("no settings file: nothing to read again")
            return
        before = self.settings
        try:
            settings = self._reload()
            self.settings = msgspec.structs.replace(settings, upstream=before.upstream)
            connector = self._connector()
            policy, door = self._login_policy(connector), self._door()
        except (ProxyError, OSError) as error:
            self.settings = before
            log.warning("settings not read again", error=str(error))
            return
        self._policy, self._server.door = policy, door
        self._cancellation.connector = connector
        fixed = ("listen_addr", "listen_port", "http_addr", "http_port")
        changed = [
            name for name in fixed if getattr(settings.pgseer, name) != getattr(before.pgseer, name)
        ]
        if changed or settings.upstream != before.upstream:
            log.warning("some settings need a restart", keys=changed)
        log.info("settings read again")

    # -- the parts -------------------------------------------------------------------------------

    async def _start_embedded(self) -> None:
        log = get_logger(__name__)
        directory = Path(self.settings.upstream.embedded)
        database = EmbeddedPostgres(directory, report=log.info)
        await database.start_async()
        self._embedded = database
        host = str(database.socket_directory)
        upstream = msgspec.structs.replace(
            self.settings.upstream,
            host=host,
            port=database.port,
            user="postgres",
            password=database.password,
        )
        self.settings = msgspec.structs.replace(self.settings, upstream=upstream)

    async def _stop_embedded(self) -> None:
        if self._embedded is not None:
            await self._embedded.stop_async()
            self._embedded = None

    @property
    def _address(self) -> UpstreamAddress:
        return self.settings.upstream.address

    def _connector(self) -> Connector:
        listener = self.settings.pgseer
        options = TlsOptions(
            listener.server_tls_sslmode,
            listener.server_tls_ca_file or None,
            listener.server_tls_cert_file or None,
            listener.server_tls_key_file or None,
        )
        return Connector(
            self._address,
            listener.server_tls_sslmode,
            upstream_context(options),
            listener.server_connect_timeout,
            self._keep_alive,
        )

    @property
    def _keep_alive(self) -> KeepAlive:
        listener = self.settings.pgseer
        return KeepAlive(
            listener.tcp_keepalive,
            listener.tcp_keepidle,
            listener.tcp_keepintvl,
            listener.tcp_keepcnt,
        )

    def _shared_services(self, connector: Connector) -> Services:
        registries = Registries(
            self._service_connector(connector),
            artefact_budget_bytes=self.settings.ml.model_cache_size,
        )
        self.instruments.read_model_cache_bytes = registries.count_cached_bytes
        ml = self.settings.ml
        workers = TrainingPool(ml.training_workers)
        limits = RowLimits(ml.max_training_memory, ml.max_training_disk, ml.training_directory)
        # As many as are fitted at a time, and one more that is read meanwhile.
        memory = MemoryAccount(ml.max_training_memory * (ml.training_workers + 1))
        return Services(registries, workers, limits, memory, self.instruments)

    def _service_connector(self, connector: Connector) -> ServiceConnector:
        """Return what makes the service connections, in the ways in which sessions' are made."""
        ways = tuple(connector.context if tls else None for tls in connector.attempts())
        return ServiceConnector(connector.address, ways, connector.timeout_s)

    def _start_lane(self) -> None:
        listener = self.settings.pgseer
        if listener.express_lane and ExpressLane.is_supported():
            self._lane = ExpressLane(listener.max_client_conn)
            self._lane.start()
            self._services.instruments.settle = self._lane.settle

    async def _close_services(self) -> None:
        if self._lane is not None:
            self._lane.stop()
            self._lane = None
        await self._services.workers.close()
        await self._services.registries.close()

    def _login_policy(self, connector: Connector) -> LoginPolicy:
        listener = self.settings.pgseer
        certificate = None
        if listener.client_tls_cert_file and listener.client_tls_sslmode != "disable":
            certificate = leaf_certificate(listener.client_tls_cert_file)
        verifiers = None
        if listener.auth == "scram":
            verifiers = Verifiers(self._service_connector(connector)).verifier_of
        return LoginPolicy(connector, verifiers, certificate)

    def _door(self) -> FrontDoor:
        listener = self.settings.pgseer
        options = TlsOptions(
            listener.client_tls_sslmode,
            listener.client_tls_ca_file or None,
            listener.client_tls_cert_file or None,
            listener.client_tls_key_file or None,
        )
        return FrontDoor(
            context=client_context(options),
            tls_is_required=TlsMode.parse(listener.client_tls_sslmode).is_required,
            login_timeout_s=listener.client_login_timeout,
            max_clients=listener.max_client_conn,
            keep_alive=self._keep_alive,
        )

    # -- sessions --------------------------------------------------------------------------------

    async def _welcome(self, client: Peer, startup: StartupMessage, has_tls: bool) -> None:  # noqa: FBT001
        assert self._policy is not None
        try:
            login = await log_in(client, startup, self._policy, client_tls=has_tls)
        except LoginRefused:
            self.instruments.clients_rejected.of(names.UPSTREAM_REFUSED).add()
            client.close()
            assert self._server is not None
            self._server.client_count -= 1
            return
        self._open_session(client, login)

    def _open_session(self, client: Peer, login: LoggedIn) -> None:
        assert self._cancellation is not None
        session = Session(
            client,
            login,
            inspection_limit=self.settings.pgseer.max_inspected_statement_bytes,
            on_end=self._session_ended,
            lane=self._lane,
        )
        self._sessions.add(session)
        self._cancellation.register(session.cancel_key, session)
        session.stop_upstream = lambda: self._stop_statement(session.cancel_key)
        session.start(Dispatcher(session, self._services).handle)

    def _stop_statement(self, key: bytes) -> asyncio.Task[None]:
        """Cancel what a session's backend runs; done when the signal has been sent."""
        assert self._cancellation is not None
        task = asyncio.create_task(self._cancellation.deliver(CancelRequest(key)))
        self._errands.add(task)
        task.add_done_callback(self._errands.discard)
        return task

    def _session_ended(self, session: Session) -> None:
        self._sessions.discard(session)
        self._closing = {peer for peer in self._closing if not peer.is_lost}
        self._closing |= {session.client, session.upstream}
        if self._cancellation is not None:
            self._cancellation.forget(session.cancel_key)
        if self._server is not None:
            self._server.client_count -= 1
        if not self._sessions:
            self._all_gone.set()
        # Not at once, for the next client may be on its way; but well within the 5 s that
        # PostgreSQL's DROP DATABASE waits for others to leave.
        asyncio.get_running_loop().call_later(_REST_AFTER_S, self._rest, session.database)

    def _rest(self, database: str) -> None:
        """Leave a database that no session is in."""
        if self._stopping.is_set() or any(each.database == database for each in self._sessions):
            return
        task = asyncio.create_task(self._services.registries.rest(database))
        self._errands.add(task)
        task.add_done_callback(self._errands.discard)

    def _count_clients(self) -> int:
        return 0 if self._server is None else self._server.client_count
