"""The two proxies under comparison, each a process of its own: started, awaited, stopped.

The password reaches them by the environment (ours) and by a private file (PgBouncer), never by a
command line.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

START_LIMIT_S = 60.0
STOP_LIMIT_S = 40.0
ROOT = Path(__file__).resolve().parents[1]
SYSTEM_PROGRAMS = "/usr/sbin:/usr/local/sbin"
"""Where daemons are installed, and ordinary users have no PATH to."""


class DidNotStartError(Exception):
    """A process ended at once, or does not listen; the message is the end of its log."""


@dataclass(frozen=True, slots=True)
class Listener:
    """A running process and the port of 127.0.0.1 that it listens on."""

    pid: int
    port: int


@contextlib.contextmanager
def running_pgseer(upstream_port: int, user: str, log: Path) -> Iterator[Listener]:
    """Run the proxy as its users do, before the database on a port of 127.0.0.1."""
    port = free_port()
    command = [
        *(sys.executable, "-m", "proxy", "serve"),
        *("--listen", f"127.0.0.1:{port}", "--http", "127.0.0.1:0"),
        *("--upstream", f"host=127.0.0.1 port={upstream_port} dbname=postgres user={user}"),
    ]
    with _running(command, port, log, cwd=ROOT) as listener:
        yield listener


@contextlib.contextmanager
def running_pgbouncer(
    program: str, upstream_port: int, user: str, password: str, directory: Path
) -> Iterator[Listener]:
    """Run PgBouncer in session mode, with `directory`, made here, for its files."""
    port = free_port()
    directory.mkdir(mode=0o700)
    users = directory / "users.txt"
    users.touch(mode=0o600)
    users.write_text(f'"{user}" "{password}"\n', encoding="utf-8")
    settings = directory / "pgbouncer.ini"
    settings.write_text(_pgbouncer_settings(port, upstream_port, users), encoding="utf-8")
    identity: dict[str, Any] = {}
    if os.geteuid() == 0:  # it refuses to be root
        nobody = pwd.getpwnam("nobody")
        for path in (directory, users, settings):
            os.chown(path, nobody.pw_uid, nobody.pw_gid)
        identity = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
    log = directory.with_suffix(".log")
    with _running([program, str(settings)], port, log, cwd="/", **identity) as listener:
        yield listener


def find_pgbouncer() -> str | None:
    """Return PgBouncer's path, None where it is not installed."""
    return shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:{SYSTEM_PROGRAMS}")


def free_port() -> int:
    """Return a TCP port of 127.0.0.1 that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _pgbouncer_settings(port: int, upstream_port: int, users: Path) -> str:
    databases = {"*": f"host=127.0.0.1 port={upstream_port}"}
    pgbouncer = {
        "listen_addr": "127.0.0.1",
        "listen_port": str(port),
        "unix_socket_dir": "",
        "auth_type": "scram-sha-256",
        "auth_file": str(users),
        "pool_mode": "session",
        "default_pool_size": "100",
        "ignore_startup_parameters": "extra_float_digits",
    }
    return "\n".join((*_section("databases", databases), *_section("pgbouncer", pgbouncer), ""))


def _section(name: str, settings: Mapping[str, str]) -> Iterator[str]:
    yield f"[{name}]"
    yield from (f"{key} = {value}" for key, value in settings.items())


@contextlib.contextmanager
def _running(command: list[str], port: int, log: Path, **options: Any) -> Iterator[Listener]:
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, **options
        )
    try:
        _wait_until_listening(process, port, log)
        yield Listener(process.pid, port)
    finally:
        process.terminate()
        try:
            process.wait(STOP_LIMIT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_until_listening(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + START_LIMIT_S
    while process.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        time.sleep(0.05)
    raise DidNotStartError(log.read_text(encoding="utf-8", errors="replace")[-2000:])
