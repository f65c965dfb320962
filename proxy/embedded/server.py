"""A running embedded PostgreSQL: its folder, its process, its address.

The folder DIR is private and holds everything:

    data/          the database, owned by the account that runs it
    run/           the Unix socket, mode 0700 (in the temporary folder where DIR's name is too long)
    pgpass         the superuser's password, mode 0600
    postgres.log   what the server says
    programs/      a copy of the programs, only where that account cannot reach the installed ones
    lock           held while somebody runs this database

Nothing outside DIR is changed, except a socket folder of ours in the temporary folder. The server
listens on no network unless `tcp` is asked for. It stops when told, and (on Linux) when the thread
that started it ends: start it in a thread that lives as long as the database shall.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import secrets
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote

from proxy.embedded import launch
from proxy.embedded.account import Account, serving_account
from proxy.embedded.binaries import Binaries, find_binaries, reachable_binaries
from proxy.embedded.cluster import SUPERUSER, create_cluster, server_environment
from proxy.embedded.passfile import read_password, write_password
from proxy.errors import UpstreamRefusedError

OUR_NAMES = {"data", "data.new", "run", "pgpass", "pgpass.new", "postgres.log", "programs", "lock"}
DEFAULT_PORT = 5432
# sockaddr_un.sun_path is 104 bytes on macOS, 108 on Linux, the final NUL included.
SOCKET_PATH_BYTES = 103
LOOPBACK_HOSTS = ("localhost", "127.0.0.1", "::1")
START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 30.0
POLL_INTERVAL_S = 0.02
LOG_TAIL_LINES = 8
LOG_LIMIT_BYTES = 10 * 1024 * 1024


def _ignore(_: str) -> None:
    """Say nothing: the default for `report`."""


class EmbeddedPostgres:
    """One database folder and, between `start` and `stop`, the server over it.

    Parameters
    ----------
    directory : the folder DIR; made when missing, initialised when empty
    bin_dir : where the server's programs are; None means the wheel's
    tcp : listen on 127.0.0.1 too, on a free port
    durable : False trades safety in a power cut for speed (throw-away databases)
    options : further server settings, name to value
    files : name to content, placed in the data directory for the server's own eyes
        (certificates, an hba file)
    report : called with one line before each step that takes time

    Raises
    ------
    UpstreamRefusedError
        From `start`: the folder is in use, out of reach or not ours, or the server did not start.
    """

    def __init__(
        self,
        directory: Path,
        *,
        bin_dir: Path | None = None,
        tcp: bool = False,
        durable: bool = True,
        options: Mapping[str, str] | None = None,
        files: Mapping[str, bytes] | None = None,
        report: Callable[[str], None] = _ignore,
    ) -> None:
        self.directory = directory.expanduser().absolute()
        self.port = DEFAULT_PORT
        self.password = ""
        self.socket_directory = self.directory / "run"
        self._bin_dir = bin_dir
        self._tcp = tcp
        self._durable = durable
        self._options = dict(options or {})
        self._files = dict(files or {})
        self._report = report
        self._account: Account | None = None
        self._binaries: Binaries | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._lock: int | None = None

    # ---- what others need to know

    @property
    def data(self) -> Path:
        """The data directory."""
        return self.directory / "data"

    @property
    def passfile(self) -> Path:
        """The password file, in libpq's format."""
        return self.directory / "pgpass"

    @property
    def log(self) -> Path:
        """What the server said since its last start, and before."""
        return self.directory / "postgres.log"

    @property
    def pid(self) -> int | None:
        """The server's process id, None when it does not run."""
        running = self._process is not None and self._process.poll() is None
        return self._process.pid if self._process is not None and running else None

    @property
    def binaries(self) -> Binaries:
        """The programs in use; psql, pgbench and pg_dump are among them."""
        return self._binaries or find_binaries(self._bin_dir)

    def dsn(self, database: str = "postgres") -> str:
        """Return the superuser's URI, with the password: not for printing."""
        credentials = f"{SUPERUSER}:{quote(self.password, safe='')}"
        if self._tcp:
            return f"postgresql://{credentials}@127.0.0.1:{self.port}/{quote(database, safe='')}"
        host = quote(str(self.socket_directory), safe="/")
        return (
            f"postgresql://{credentials}@/{quote(database, safe='')}?host={host}&port={self.port}"
        )

    def psql_line(self, host: str, port: int, database: str = "postgres") -> str:
        """Return a shell line that connects to `host`:`port`, the proxy's, as the superuser."""
        psql = shlex.quote(self.binaries.psql())
        return (
            f"PGPASSFILE={shlex.quote(str(self.passfile))} {psql} -h {shlex.quote(host)}"
            f" -p {port} -U {SUPERUSER} -d {shlex.quote(database)}"
        )

    # ---- its life

    def start(self) -> Self:
        """Start the server and wait until it takes connections."""
        with self._undone_on_failure():
            self._prepare()
            self._launch()
            for _ in self._until_ready():
                time.sleep(POLL_INTERVAL_S)
        return self

    async def start_async(self) -> Self:
        """Do as `start`, without blocking the event loop."""
        with self._undone_on_failure():
            await _to_the_end(asyncio.to_thread(self._prepare))
            self._launch()  # here: the server's life is tied to the launching thread's
            for _ in self._until_ready():
                await asyncio.sleep(POLL_INTERVAL_S)
        return self

    def stop(self) -> None:
        """Stop the server (PostgreSQL's fast shutdown) and wait; harmless when it is stopped."""
        for _ in self._until_stopped():
            time.sleep(POLL_INTERVAL_S)

    async def stop_async(self) -> None:
        """Do as `stop`, without blocking the event loop."""
        for _ in self._until_stopped():
            await asyncio.sleep(POLL_INTERVAL_S)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    async def __aenter__(self) -> Self:
        return await self.start_async()

    async def __aexit__(self, *_: object) -> None:
        await self.stop_async()

    # ---- the folder

    def _prepare(self) -> None:
        """Make the folder what the server needs; blocks for seconds the first time."""
        binaries = find_binaries(self._bin_dir)
        self._claim_directory()
        self._account = serving_account(self.data)
        self._open_directory()
        cache = self.directory / "programs"
        if self._account is not None:
            self._binaries = reachable_binaries(binaries, self._account, cache)
        else:
            self._binaries = binaries
        self._prepare_socket_directory()
        self._prepare_cluster()
        if self._tcp:
            self.port = _free_port()
        for name, content in self._files.items():
            self._place(name, content)

    def _claim_directory(self) -> None:
        """Make DIR and hold its lock."""
        if self.directory.exists():
            strangers = {path.name for path in self.directory.iterdir()} - OUR_NAMES
            if strangers and not (self.directory / "lock").exists():
                raise UpstreamRefusedError(
                    f"{self.directory} is not a folder of pgseer's",
                    detail=f"It holds {min(strangers)}.",
                    hint="Name an empty folder, or one that does not exist yet.",
                )
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._lock = os.open(self.directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UpstreamRefusedError(
                f"the embedded database in {self.directory} is already running",
                hint="Stop the other pgseer, or name another folder.",
            ) from error

    def _open_directory(self) -> None:
        """Let the server's account through DIR itself; its parents are left as they are."""
        if self._account is None:
            return
        self.directory.chmod(0o711)
        barrier = self._account.barrier_to(self.data)
        if barrier is not None:
            raise UpstreamRefusedError(
                f"the embedded PostgreSQL cannot live in {self.directory}",
                detail=(
                    f"As root it runs under uid {self._account.uid}, which may not enter {barrier}."
                ),
                hint="Name a folder that everybody may pass through, for example under /var/lib.",
            )

    def _prepare_socket_directory(self) -> None:
        wanted = self.directory / "run"
        longest = len(os.fsencode(wanted)) + len(f"/.s.PGSQL.{65535}")
        if longest <= SOCKET_PATH_BYTES:
            wanted.mkdir(mode=0o700, exist_ok=True)
            self.socket_directory = wanted
        else:
            self.socket_directory = Path(tempfile.mkdtemp(prefix="pgseer-"))
        if self._account is not None:
            self._account.take(self.socket_directory)

    def _prepare_cluster(self) -> None:
        if self.data.exists():
            self.password = self._known_password()
            self._keep_password()
            _wait_for_predecessor(self.data)
            return
        self._report(f"initialising a PostgreSQL database in {self.directory}")
        self.password = _chosen_password() or secrets.token_urlsafe(24)
        self._keep_password()  # before the data has its name: a database is never without it
        create_cluster(
            self.data, self.binaries, self._account, self.password, durable=self._durable
        )

    def _known_password(self) -> str:
        known = read_password(self.passfile, SUPERUSER) or _chosen_password()
        if known is None:
            raise UpstreamRefusedError(
                f"the password of the embedded database in {self.directory} is unknown",
                detail=f"{self.passfile} has no line for user {SUPERUSER}.",
                hint="Set PGPASSWORD to it, once.",
            )
        return known

    def _keep_password(self) -> None:
        hosts = [*LOOPBACK_HOSTS, str(self.socket_directory)]
        write_password(self.passfile, hosts, SUPERUSER, self.password)

    def _place(self, name: str, content: bytes) -> None:
        """Write a file that only the server may read into the data directory."""
        path = self.data / name
        path.unlink(missing_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
        if self._account is not None:
            os.chown(path, self._account.uid, self._account.gid)

    # ---- the process

    def _settings(self) -> dict[str, str]:
        settings = {
            "listen_addresses": "127.0.0.1" if self._tcp else "",
            "port": str(self.port),
            "unix_socket_directories": str(self.socket_directory),
            "unix_socket_permissions": "0700",
            "log_line_prefix": "%m [%p] ",
        }
        if not self._durable:
            settings |= {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
        return settings | self._options

    def _launch(self) -> None:
        """Start the server's process, in a session of its own: Ctrl-C is ours to translate."""
        settings = self._settings()
        account = self._account or Account(-1, -1)
        numbers = (os.getpid(), account.uid, account.gid)
        command = [
            *(sys.executable, "-I", "-S", str(launch.__file__), *map(str, numbers)),
            *(self.binaries.program("postgres"), "-D", str(self.data)),
            *(word for name, value in settings.items() for word in ("-c", f"{name}={value}")),
        ]
        _rotate(self.log)
        log = os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            self._process = subprocess.Popen(  # noqa: S603  # a found program, no shell
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.data,  # so that relative names in `options` are those of `files`
                env=server_environment(),
                start_new_session=True,
            )
        finally:
            os.close(log)

    def _until_ready(self) -> Iterator[None]:
        """Yield until the server takes connections: the caller sleeps its own way."""
        assert self._process is not None
        deadline = time.monotonic() + START_TIMEOUT_S
        while not _is_ready(self.data, self._process.pid):
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise UpstreamRefusedError(
                    "the embedded PostgreSQL did not start", detail=self._log_tail()
                )
            yield

    def _until_stopped(self) -> Iterator[None]:
        """Yield until the process has ended, asking more firmly as time goes by."""
        process = self._process
        if process is not None:
            for firmness in (signal.SIGINT, signal.SIGQUIT, signal.SIGKILL):
                deadline = time.monotonic() + STOP_TIMEOUT_S
                if process.poll() is None:
                    process.send_signal(firmness)
                while process.poll() is None and time.monotonic() < deadline:
                    yield
        self._release()

    @contextlib.contextmanager
    def _undone_on_failure(self) -> Iterator[None]:
        """Leave no process and no lock behind when starting fails or is cancelled."""
        if self.pid is not None:
            raise UpstreamRefusedError(f"the embedded database in {self.directory} runs already")
        try:
            yield
        except BaseException:
            self.stop()
            raise

    def _release(self) -> None:
        self._process = None
        if self.socket_directory != self.directory / "run":
            shutil.rmtree(self.socket_directory, ignore_errors=True)
            self.socket_directory = self.directory / "run"
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _log_tail(self) -> str:
        lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()
        return "\n".join(lines[-LOG_TAIL_LINES:])


async def _to_the_end(work: Coroutine[Any, Any, None]) -> None:
    """Await `work`; when cancelled, wait for its end all the same: a thread cannot be stopped."""
    task = asyncio.ensure_future(work)
    cancellation: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError as error:
            cancellation = error
    if cancellation is not None:
        task.exception()  # seen, and less than the cancellation
        raise cancellation
    task.result()


def _chosen_password() -> str | None:
    """Return PGPASSWORD, or None when it is unset or empty.

    Raises
    ------
    UpstreamRefusedError
        It holds a line break, which neither initdb nor a password file can carry.
    """
    password = os.environ.get("PGPASSWORD") or None
    if password is not None and ("\n" in password or "\r" in password):
        raise UpstreamRefusedError("PGPASSWORD must not contain a line break")
    return password


def _is_ready(data: Path, pid: int) -> bool:
    """Tell whether the postmaster `pid` takes connections (miscadmin.h, LOCK_FILE_LINE_PM_STATUS).

    The file of a predecessor that was killed names another pid.
    """
    try:
        lines = (data / "postmaster.pid").read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return False
    return len(lines) >= 8 and lines[0].strip() == str(pid) and lines[7].strip() == "ready"


def _wait_for_predecessor(data: Path) -> None:
    """Wait for a server whose proxy was killed: the kernel has asked it to stop, and it will."""
    deadline = time.monotonic() + STOP_TIMEOUT_S
    while time.monotonic() < deadline:
        try:
            first = (data / "postmaster.pid").read_text(encoding="utf-8").split("\n", 1)[0]
            os.kill(int(first), 0)
        except (FileNotFoundError, ProcessLookupError, PermissionError, ValueError):
            return
        time.sleep(POLL_INTERVAL_S)


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def _rotate(log: Path) -> None:
    """Keep the log of long-lived folders bounded: one old file of it at most."""
    if log.exists() and log.stat().st_size > LOG_LIMIT_BYTES:
        log.replace(log.with_suffix(".log.1"))
