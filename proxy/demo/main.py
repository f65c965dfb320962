"""The stage of the demonstration: a private folder, a database, its data, the proxy, the client.

Everything is cleared away in the end, whatever happened; a folder that was named is kept.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import proxy
from proxy.compilation_notice import CompilationNotice
from proxy.demo.customers import load_customers
from proxy.embedded import EmbeddedPostgres, fresh_directory
from proxy.logs import configure_logging
from proxy.settings import load_settings

if TYPE_CHECKING:
    from collections.abc import Callable


async def run_demo(host: str, port: int, *, directory: Path | None, once: bool) -> int:
    """Show everything, stay until Ctrl-C unless `once`, and return the exit status."""
    configure_logging("warning", "console")
    status = 0
    with _interruptible() as interrupted, _folder(directory) as folder:
        try:
            async with (
                _database(folder, keep=directory is not None) as database,
                _proxy(database, host, port) as address,
            ):
                status = await _tour(database, *address)
                if not once and status == 0:
                    await _stay(database, *address, kept=directory)
        except asyncio.CancelledError:
            if not interrupted():
                raise
            _say("\nstopped")
    return status


# ---- the stage, from the bottom up


@contextlib.contextmanager
def _interruptible() -> Iterator[Callable[[], bool]]:
    """Turn SIGINT and SIGTERM into one cancellation of the running task, and tell of it."""
    loop = asyncio.get_running_loop()
    task = asyncio.current_task()
    assert task is not None
    heard: list[bool] = []

    def interrupt() -> None:
        if not heard:  # a second Ctrl-C must not interrupt the clearing away
            heard.append(True)
            task.cancel()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, interrupt)
    try:
        yield lambda: bool(heard)
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)


@contextlib.contextmanager
def _folder(named: Path | None) -> Iterator[Path]:
    """Give the named folder, or a fresh one that is removed in the end."""
    if named is not None:
        yield named
        return
    fresh = fresh_directory("pgseer-demo-")
    try:
        yield fresh
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


@contextlib.asynccontextmanager
async def _database(folder: Path, *, keep: bool) -> AsyncIterator[EmbeddedPostgres]:
    """Run a database in `folder` with table `customers` in it."""
    began = time.perf_counter()
    async with EmbeddedPostgres(folder, durable=keep, report=_say) as database:
        _say(f"PostgreSQL is running ({time.perf_counter() - began:.1f} s)")
        await _fill(database)
        yield database


async def _fill(database: EmbeddedPostgres) -> None:
    import asyncpg  # noqa: PLC0415  # after the first line is on the screen

    connection = await asyncpg.connect(database.dsn())
    try:
        if await connection.fetchval("SELECT to_regclass('public.customers') IS NOT NULL"):
            _say("table customers is here already")
            return
        _say("loading table customers")
        began = time.perf_counter()
        n_rows = await load_customers(connection)
        _say(f"loaded {n_rows:,} customers ({time.perf_counter() - began:.1f} s)")
    finally:
        await connection.close()


@contextlib.asynccontextmanager
async def _proxy(
    database: EmbeddedPostgres, host: str, port: int
) -> AsyncIterator[tuple[str, int]]:
    """Run the proxy before `database`; give the address that clients connect to."""
    with CompilationNotice(sys.stdout):
        from proxy.app import Application  # noqa: PLC0415  # a second's work, or once a minute's

    settings = load_settings(
        overrides={
            "upstream.dsn": database.dsn(),
            "pgseer.listen_addr": host,
            "pgseer.listen_port": _port_to_use(host, port),
            "pgseer.http_port": _port_to_use("127.0.0.1", 8080, aloud=False),
            "pgseer.log_level": "warning",
        },
        environment={},
    )
    application = Application(settings)
    await application.start()
    try:
        yield application.wire_address
    finally:
        await application.stop()


def _port_to_use(host: str, port: int, *, aloud: bool = True) -> int:
    """Return `port` if nobody has it, else a free one, saying so."""
    if _is_free(host, port):
        return port
    free = _free_port(host)
    if aloud:
        _say(f"port {port} is in use: taking {free} instead")
    return free


def _is_free(host: str, port: int) -> bool:
    try:
        _bound(host, port).close()
    except OSError:
        return False
    return True


def _free_port(host: str) -> int:
    with _bound(host, 0) as listener:
        port: int = listener.getsockname()[1]
        return port


def _bound(host: str, port: int) -> socket.socket:
    """Return a socket bound as a server's would be."""
    family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
    return socket.create_server((host, port), family=family)


# ---- the show


async def _tour(database: EmbeddedPostgres, host: str, port: int) -> int:
    """Run the client in a process of its own; return its exit status."""
    _say(f"pgseer is listening on {host}:{port}\n")
    client = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "proxy.demo.tour", host, str(port)),
        env=_without_libpq(os.environ) | {"PGPASSFILE": str(database.passfile)},
        cwd=Path(proxy.__file__).parents[1],  # -m looks for the package here first
        stdin=asyncio.subprocess.DEVNULL,
    )
    try:
        return await client.wait()
    finally:
        if client.returncode is None:
            client.kill()
            await client.wait()


def _without_libpq(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the environment without the user's own PGHOST, PGPASSWORD and the like."""
    return {name: value for name, value in environment.items() if not name.startswith("PG")}


async def _stay(database: EmbeddedPostgres, host: str, port: int, *, kept: Path | None) -> None:
    """Wait for Ctrl-C, having said how to connect and what will be left."""
    _say("Now you. In another terminal:\n")
    _say(f"    {database.psql_line(host, port)}\n")
    _say(f"Ctrl-C ends it and {f'keeps {kept}' if kept else 'removes the database'}.")
    await asyncio.Event().wait()


def _say(text: str) -> None:
    print(text, flush=True)
