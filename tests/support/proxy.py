"""The proxy under test, in two shapes: in this process for speed, and as a process for signals.

Owns starting and stopping it.  The in-process one runs its event loop in a thread of its own, so
that blocking clients (psycopg, SQLAlchemy, psql) and tests with a loop of theirs can share it.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvloop

from tests.support.postgres import free_port

START_LIMIT_S = 60
STOP_LIMIT_S = 30
root = Path(__file__).resolve().parents[2]

Address = tuple[str, int]


def settings_for(upstream: str, changes: Mapping[str, object]) -> Any:
    """Return settings for a listener on a free port of 127.0.0.1 before one upstream."""
    from proxy.settings import load_settings

    listener = {"pgseer.listen_port": 0, "pgseer.http_port": 0}
    return load_settings(None, {**listener, "upstream.dsn": upstream, **changes}, {})


@dataclass(frozen=True, slots=True)
class ThreadedProxy:
    """An Application in this process."""

    address: Address
    application: Any
    loop: asyncio.AbstractEventLoop


LoopFactory = Callable[[], asyncio.AbstractEventLoop]


@contextmanager
def running_proxy(
    upstream: str,
    changes: Mapping[str, object] | None = None,
    loop_factory: LoopFactory = uvloop.new_event_loop,
) -> Iterator[ThreadedProxy]:
    """Run `proxy.app.Application` in a thread until the block ends.

    Parameters
    ----------
    upstream : the database's connection string
    changes : `section.key` to value, of settings that differ from the defaults
    loop_factory : uvloop is what the command uses where there is one
    """
    from proxy.app import Application

    loop = loop_factory()
    outcome: Future[ThreadedProxy] = Future()
    stop = asyncio.Event()

    async def serve() -> None:
        try:
            application = Application(settings_for(upstream, changes or {}))
            await application.start()
        except BaseException as error:
            outcome.set_exception(error)
            return
        host, port = application.wire_address
        outcome.set_result(ThreadedProxy((host, port), application, loop))
        await stop.wait()
        await application.stop()

    ended: Future[None] = Future()

    def run() -> None:
        try:
            with asyncio.Runner(loop_factory=lambda: loop) as runner:
                runner.run(serve())
        except BaseException as error:
            ended.set_exception(error)
        else:
            ended.set_result(None)

    threading.Thread(target=run, name="proxy under test", daemon=True).start()
    running = outcome.result(START_LIMIT_S)
    try:
        yield running
    finally:
        loop.call_soon_threadsafe(stop.set)
        ended.result(STOP_LIMIT_S)


@dataclass(frozen=True, slots=True)
class ProxyProcess:
    """`python -m proxy serve` as a process."""

    address: Address
    process: subprocess.Popen[bytes]
    log: Path

    @property
    def pid(self) -> int:
        return self.process.pid

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def memory_bytes(self) -> int:
        """Return the resident set's size."""
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
        raise AssertionError("no VmRSS")

    def cpu_s(self) -> float:
        """Return the processor time that it has used, user and system."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextmanager
def proxy_process(upstream: str, directory: Path, *arguments: str) -> Iterator[ProxyProcess]:
    """Run the command until the block ends; its output goes to a file in directory."""
    port = free_port()
    log = directory / f"proxy-{port}.log"
    listen = ["--listen", f"127.0.0.1:{port}"]
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "proxy", "serve", *listen, "--upstream", upstream, *arguments],
            cwd=root,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    running = ProxyProcess(("127.0.0.1", port), process, log)
    try:
        _wait_until_listening(running)
        yield running
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(STOP_LIMIT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                raise AssertionError("the proxy ignores SIGTERM") from None


def _wait_until_listening(running: ProxyProcess) -> None:
    limit = time.monotonic() + START_LIMIT_S
    while time.monotonic() < limit:
        if running.process.poll() is not None:
            raise AssertionError(f"the proxy ends at once:\n{running.log.read_text()}")
        try:
            socket.create_connection(running.address, 1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise AssertionError(f"the proxy does not listen:\n{running.log.read_text()}")
