"""How many training processes there are, and whose job is next.

Jobs run in the order in which they were asked for, `size` at a time. One child is kept ready
beyond the busy ones, as long as there are fewer than `size`: starting one takes a second. A child
is used again after a job that ended in good order, even in an error; after anything else it is
killed, which also is how a job is cancelled.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from proxy.errors import AdminShutdownError, ProxyError
from proxy.workers.buffers import SharedDataset
from proxy.workers.frames import (
    Evaluated,
    Evaluation,
    ModelDescription,
    Progress,
    SharedRows,
    Training,
)
from proxy.workers.process import ChildGone, TrainingFailed, TrainingProcess

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class TrainedArtifact:
    """A trained model: its bytes, and what the registry keeps beside them."""

    artefact: bytes
    description: ModelDescription


class TrainingPool:
    """Up to `size` training processes."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._slots = asyncio.Semaphore(size)  # first come, first served
        self._busy = 0
        self._alive: set[TrainingProcess] = set()
        self._spawning = 0
        self._tasks: set[asyncio.Task[None]] = set()  # starts and ends under way
        self._idle: asyncio.Queue[TrainingProcess | ProxyError] = asyncio.Queue()
        self._waiting = 0
        self._is_closed = False

    @property
    def pids(self) -> frozenset[int]:
        """Return the process ids of the children."""
        return frozenset(process.pid for process in self._alive)

    def warm_up(self) -> None:
        """Start a first child in the background, so that the first job finds it ready."""
        self._keep_one_ready()

    async def train(
        self,
        algorithm: str,
        parameters: Mapping[str, Any],
        shared: SharedDataset,
        on_progress: Callable[[Progress], None],
        *,
        earlier: bytes = b"",
        memory_limit: int | None = None,
    ) -> TrainedArtifact:
        """Train in a child; `on_progress` is called on the event loop.

        Cancelling kills the child at once, and another is started in the background.

        Parameters
        ----------
        shared : the rows, to be left open until this returns
        earlier : the artefact of the model to learn on from; empty for none
        memory_limit : bytes that the fit may hold beside the rows; None: any number

        Raises
        ------
        ProxyError
            Whatever the engine raised; or 53200, 58000 where the child did not survive.
        """
        job = Training(
            algorithm=algorithm,
            parameters=dict(parameters),
            rows=_rows_of(shared),
            payload_size_bytes=len(earlier),
            memory_limit=memory_limit,
        )

        def train(process: TrainingProcess) -> Awaitable[tuple[ModelDescription, bytes]]:
            return process.train(job, earlier, shared, on_progress)

        description, artefact = await self._in_a_child(train)
        return TrainedArtifact(artefact, description)

    async def evaluate(self, artefact: bytes, shared: SharedDataset) -> Evaluated:
        """Measure a model in a child; as `train`.

        Raises
        ------
        ProxyError
            As in `train`.
        """
        job = Evaluation(rows=_rows_of(shared), payload_size_bytes=len(artefact))

        def evaluate(process: TrainingProcess) -> Awaitable[Evaluated]:
            return process.evaluate(job, artefact, shared)

        return await self._in_a_child(evaluate)

    async def close(self) -> None:
        """Kill every child, jobs or not, and wait until they are gone."""
        self._is_closed = True
        for process in self._alive.copy():
            self._end(process)
        while self._tasks:
            await asyncio.wait(self._tasks)

    async def _in_a_child(self, work: Callable[[TrainingProcess], Awaitable[Result]]) -> Result:
        async with self._slots:
            self._busy += 1
            try:
                return await self._run(work)
            finally:
                self._busy -= 1
                self._keep_one_ready()

    async def _run(self, work: Callable[[TrainingProcess], Awaitable[Result]]) -> Result:
        process = await self._take()
        try:
            result = await work(process)
        except ChildGone:
            self._end(process)
            return await self._run(work)
        except TrainingFailed as failure:
            self._idle.put_nowait(process)
            raise failure.error from None
        except BaseException:
            self._end(process)
            raise
        self._idle.put_nowait(process)
        return result

    async def _take(self) -> TrainingProcess:
        while True:
            if self._is_closed:
                raise AdminShutdownError("pgseer is stopping")
            self._keep_one_ready()
            self._waiting += 1
            try:
                found = await self._idle.get()
            finally:
                self._waiting -= 1
            if isinstance(found, ProxyError):
                raise found
            if found.is_alive:
                return found
            self._end(found)  # it died while it had nothing to do

    def _keep_one_ready(self) -> None:
        wanted = min(self._busy + 1, self._size)
        while not self._is_closed and len(self._alive) + self._spawning < wanted:
            self._spawning += 1
            self._in_background(self._start())

    async def _start(self) -> None:
        try:
            try:
                process = await TrainingProcess.start()
            finally:
                self._spawning -= 1
            self._alive.add(process)
            await self._welcome(process)
        except ProxyError as error:
            # Told to a job that waits for this child; the next job starts another.
            if self._waiting:
                self._idle.put_nowait(error)

    async def _welcome(self, process: TrainingProcess) -> None:
        try:
            if not self._is_closed:
                await process.ready()
                self._idle.put_nowait(process)
                return
        except BaseException:
            self._end(process)
            raise
        self._end(process)

    def _end(self, process: TrainingProcess) -> None:
        if process in self._alive:
            self._alive.remove(process)
            process.kill()
            self._in_background(process.finished())

    def _in_background(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _rows_of(shared: SharedDataset) -> SharedRows:
    return SharedRows(
        description=shared.description,
        extents=shared.extents,
        size_bytes=shared.size_bytes,
        directory=shared.directory,
    )
