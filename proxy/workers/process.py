"""One training process as the proxy sees it.

Owns its start, one job at a time and its end. When it is started, and who may use it, is the
pool's. The conversation is written in `frames`.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from asyncio.subprocess import DEVNULL, Process
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import proxy
from proxy.errors import AdminShutdownError, OutOfMemoryError, ProxyError, TooLargeError
from proxy.workers.buffers import SharedDataset
from proxy.workers.frames import (
    LENGTH,
    Answer,
    Evaluated,
    Evaluation,
    Failed,
    Job,
    ModelDescription,
    Progress,
    Ready,
    Trained,
    Training,
    decode_answer,
    encode,
)

# The child finds this very package, and not what the working directory may hold under its name:
# -P keeps that off the path, where -m alone would put it first.
SAFE_PATH = "-P"
PACKAGE_ROOT = str(Path(proxy.__file__).parents[1])
BOOTSTRAP = """
import sys
root = sys.argv.pop(1)
if root not in sys.path:
    sys.path.insert(0, root)
from proxy.workers.child import main
main(*sys.argv[1:])
"""
SYSTEM_ERROR = "58000"
LAST_WORDS_S = 10.0
"""An interpreter with this many libraries takes a while to end on a busy machine."""

ERROR_CLASSES = {ProxyError.sqlstate: ProxyError} | {
    error.sqlstate: error
    for error in reversed([*ProxyError.__subclasses__(), *TooLargeError.__subclasses__()])
}


class ChildGone(Exception):  # noqa: N818 - not an error: another child takes the job
    """The child died while it had nothing to do, and nobody had noticed yet."""


class TrainingProcess:
    """A child that gets ready, waits for a job or is busy with one.

    Build it with `start`. After `kill`, or a crash, only `finished` is of use.
    """

    def __init__(self, process: Process, connection: socket.socket) -> None:
        self._process = process
        self._connection = connection
        self._is_killed = False

    @classmethod
    async def start(cls) -> TrainingProcess:
        """Start a child; it is of use once it is `ready`.

        Raises
        ------
        ProxyError
            58000: it cannot be started.
        """
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        try:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, SAFE_PATH, "-c", BOOTSTRAP, PACKAGE_ROOT),
                *(str(theirs.fileno()), str(os.getpid())),
                stdin=DEVNULL,
                stdout=DEVNULL,
                pass_fds=(theirs.fileno(),),
                env=_environment(),
            )
        except OSError as error:
            ours.close()
            raise ProxyError(
                "no training process can be started", detail=str(error), sqlstate=SYSTEM_ERROR
            ) from error
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        return cls(process, ours)

    @property
    def pid(self) -> int:
        """Return the child's process id."""
        return self._process.pid

    @property
    def is_alive(self) -> bool:
        """Say whether the child's end has not been noticed."""
        return self._process.returncode is None

    async def ready(self) -> None:
        """Wait until the child's imports are done.

        Raises
        ------
        ProxyError
            58000: it died before.
        """
        if not isinstance(await self._receive(), Ready):
            raise ProxyError("training process answers before it is asked")

    async def train(
        self,
        job: Training,
        earlier: bytes,
        shared: SharedDataset,
        on_progress: Callable[[Progress], None],
    ) -> tuple[ModelDescription, bytes]:
        """Have the child train, on from the model in `earlier` if that is not empty.

        Returns what it learned and the artefact.

        Raises
        ------
        TrainingFailed
            The child reports an error and is ready for another job.
        AdminShutdownError
            `kill` was called meanwhile.
        ProxyError
            53200 or 58000: the child is gone.
        """
        await self._send(job, earlier, shared.descriptor)
        answer = await self._outcome(on_progress)
        if not isinstance(answer, Trained):
            raise _unasked(answer)
        artefact = await self._receive_exactly(answer.payload_size_bytes)
        return answer.description, bytes(artefact)

    async def evaluate(self, job: Evaluation, artefact: bytes, shared: SharedDataset) -> Evaluated:
        """Have the child measure the model in `artefact`.

        Raises
        ------
        TrainingFailed, AdminShutdownError, ProxyError
            As in `train`.
        """
        await self._send(job, artefact, shared.descriptor)
        answer = await self._outcome(lambda _: None)
        if not isinstance(answer, Evaluated):
            raise _unasked(answer)
        return answer

    async def _outcome(self, on_progress: Callable[[Progress], None]) -> Answer:
        while True:
            answer = await self._receive()
            match answer:
                case Progress():
                    on_progress(answer)
                case Failed():
                    raise TrainingFailed(rebuild(answer))
                case _:
                    return answer

    def kill(self) -> None:
        """End the child now, whatever it is doing."""
        self._is_killed = True
        with suppress(ProcessLookupError):
            self._process.kill()

    async def finished(self) -> None:
        """Wait until the child is gone and nothing of it is left."""
        await self._process.wait()
        self._connection.close()

    async def _send(self, job: Job, payload: bytes, descriptor: int) -> None:
        frame = encode(job)
        try:
            # The buffer of an idle connection is empty: the first bytes go out without waiting.
            sent = socket.send_fds(self._connection, [frame[: LENGTH.size]], [descriptor])
        except ConnectionError:
            raise ChildGone from None
        try:
            loop = asyncio.get_running_loop()
            await loop.sock_sendall(self._connection, memoryview(frame)[sent:])
            await loop.sock_sendall(self._connection, payload)
        except ConnectionError:
            raise await self._crash() from None

    async def _receive(self) -> Answer:
        (length,) = LENGTH.unpack(await self._receive_exactly(LENGTH.size))
        return decode_answer(await self._receive_exactly(length))

    async def _receive_exactly(self, size_bytes: int) -> bytearray:
        received = bytearray(size_bytes)
        rest = memoryview(received)
        loop = asyncio.get_running_loop()
        while rest:
            try:
                count = await loop.sock_recv_into(self._connection, rest)
            except ConnectionError:
                count = 0
            if count == 0:
                raise await self._crash()
            rest = rest[count:]
        return received

    async def _crash(self) -> ProxyError:
        if self._is_killed:
            return AdminShutdownError("pgseer is stopping")
        # Its end of the socket closes a moment before it is gone, and a crash says how only then.
        with suppress(TimeoutError):
            await asyncio.wait_for(self._process.wait(), LAST_WORDS_S)
        status = self._process.returncode
        if status is None:
            return ProxyError("the training process hung up", sqlstate=SYSTEM_ERROR)
        if status == -signal.SIGKILL:
            return OutOfMemoryError(
                "the training process was killed",
                detail="Signal 9 (SIGKILL) ended it.",
                hint="Most often the operating system had no memory left for it.",
            )
        if status < 0:
            detail = f"Signal {-status} ({signal.Signals(-status).name}) ended it."
        else:
            detail = f"It exited with status {status}."
        return ProxyError("the training process crashed", detail=detail, sqlstate=SYSTEM_ERROR)


class TrainingFailed(Exception):  # noqa: N818  # not an error of its own: it carries one
    """An error that the child reported in good order."""

    def __init__(self, error: ProxyError) -> None:
        super().__init__(error.message)
        self.error = error


def rebuild(failure: Failed) -> ProxyError:
    """Return the error that the child raised, of the class that its SQLSTATE names."""
    error_class = ERROR_CLASSES.get(failure.sqlstate, ProxyError)
    return error_class(
        failure.message, detail=failure.detail, hint=failure.hint, sqlstate=failure.sqlstate
    )


def _unasked(answer: Answer) -> ProxyError:
    return ProxyError(f"training process answers {type(answer).__name__}")


def _environment() -> dict[str, str]:
    """Return ours without libpq's variables: PGPASSWORD is no business of a training."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    # BLAS gets one thread: two that share busy cores were measured 8 to 10 times slower than one,
    # and a sum's order, so an artefact's bytes, must not depend on how many cores a machine has.
    # What uses the cores is `threads`, which keeps the order.
    return kept | {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
