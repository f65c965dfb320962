"""The trainings of this proxy in one database, as rows of ml.training_progress.

Owns when they are written: by a connection of the proxy's own, outside the client's transaction, so
that others see them. Nothing here delays a training or fails one: rows are written in the
background, and what goes wrong is logged once. What the rows say is the statement's; who may see
them is written in migrations/.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime

import asyncpg

from proxy.logs import get_logger
from proxy.service_connections import FAILURES

FIRST_AFTER_S = 0.1
"""A training that is over by then has no row."""
INTERVAL_S = 1.0
PATIENCE_S = 0.25
"""How long the end of a training waits for the end of its row."""
TIMEOUT_S = 5.0
MOST_FAILURES = 3
"""Tries to delete a row; after these it is left to the view, which hides it with its backend."""

# Rows of backends that ended with their proxy: nobody sees them, and nobody else deletes them.
CLEAN_UP = """
DELETE FROM ml.training_progress AS p
 WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_stat_activity AS a WHERE a.pid = p.pid)
"""
WRITE = """
INSERT INTO ml.training_progress (pid, backend_start, model, phase, rows_read, rows_total,
                                  iterations_done, iterations_total, loss, started_at)
VALUES ($1, (SELECT backend_start FROM pg_catalog.pg_stat_activity WHERE pid = $1),
        $2, $3, $4, $5, $6, $7, $8, $9)
ON CONFLICT (pid) DO UPDATE
   SET backend_start = excluded.backend_start, model = excluded.model, phase = excluded.phase,
       rows_read = excluded.rows_read, rows_total = excluded.rows_total,
       iterations_done = excluded.iterations_done,
       iterations_total = excluded.iterations_total, loss = excluded.loss,
       started_at = excluded.started_at
"""
DELETE = "DELETE FROM ml.training_progress WHERE pid = $1"


@dataclass(slots=True)
class TrainingProgress:
    """How far a training is; set by the statement, written once a second.

    Attributes
    ----------
    pid : of the session's backend
    rows_total : None until they are all read
    iterations_total : the most there can be; 0 where a phase has none
    """

    pid: int
    model: str
    phase: str = "reading"
    rows_read: int = 0
    rows_total: int | None = None
    iterations_done: int = 0
    iterations_total: int = 0
    loss: float | None = None
    started_at: datetime = field(default_factory=lambda: datetime.now(UTC))

    def all_read(self, n_rows: int) -> None:
        """Go on from reading: the training waits for a process."""
        self.rows_read = self.rows_total = n_rows
        self.phase = "waiting"

    def advance(
        self, phase: str, iterations_done: int, iterations_total: int, loss: float | None
    ) -> None:
        """Note how far the training process is."""
        self.phase = phase
        self.iterations_done, self.iterations_total = iterations_done, iterations_total
        self.loss = loss


class _Row:
    """A training on the board, and its row in the table."""

    __slots__ = ("due_s", "failures", "gone", "is_over", "is_written", "progress")

    def __init__(self, progress: TrainingProgress) -> None:
        self.progress = progress
        self.due_s = time.monotonic() + FIRST_AFTER_S
        self.failures = 0
        self.is_written = False
        self.is_over = False
        self.gone = asyncio.Event()


class ProgressBoard:
    """The trainings under way.

    Parameters
    ----------
    connect : opens a service connection to the database; it is kept while there is any training
    """

    def __init__(self, connect: Callable[[], Awaitable[asyncpg.Connection]]) -> None:
        self._connect = connect
        self._connection: asyncpg.Connection | None = None
        self._rows: list[_Row] = []
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._has_complained = False

    @asynccontextmanager
    async def shown(self, progress: TrainingProgress) -> AsyncIterator[None]:
        """Show a training while the block runs; what is set on the value is what is shown."""
        row = _Row(progress)
        self._rows.append(row)
        if self._task is None:
            self._task = asyncio.create_task(self._run())
        try:
            yield
        finally:
            row.is_over = True
            self._changed.set()
            if row.is_written:
                with suppress(TimeoutError):
                    await asyncio.wait_for(row.gone.wait(), PATIENCE_S)

    async def close(self) -> None:
        """Stop writing; the rows go unseen with the backends that they are of."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait((task,))

    async def _run(self) -> None:
        try:
            while self._rows:
                await self._pause()
                try:
                    await self._write()
                except Exception as error:  # noqa: BLE001 - whatever it is, trainings go on
                    self._failed(error)
                if not self._rows:
                    await self._disconnect()  # another training may begin meanwhile
        finally:
            self._task = None
            self._terminate()

    async def _pause(self) -> None:
        """Wait until a row is due, or a training is over."""
        delay_s = min(row.due_s for row in self._rows) - time.monotonic()
        if delay_s > 0:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), delay_s)
        self._changed.clear()

    async def _write(self) -> None:
        now_s = time.monotonic()
        for row in self._rows.copy():
            if row.is_over and not row.is_written:
                self._forget(row)
            elif row.is_over:
                await (await self._connected()).execute(DELETE, row.progress.pid, timeout=TIMEOUT_S)
                self._forget(row)
            elif row.due_s <= now_s:
                row.due_s = now_s + INTERVAL_S
                await self._write_row(row)

    async def _write_row(self, row: _Row) -> None:
        connection = await self._connected()
        if row.is_over:
            return  # it ended while the connection was made
        row.is_written = True
        progress = row.progress
        await connection.execute(
            WRITE,
            progress.pid,
            progress.model,
            progress.phase,
            progress.rows_read,
            progress.rows_total,
            progress.iterations_done,
            progress.iterations_total,
            progress.loss,
            progress.started_at,
            timeout=TIMEOUT_S,
        )

    async def _connected(self) -> asyncpg.Connection:
        if self._connection is None:
            self._connection = await self._connect()
            await self._connection.execute(CLEAN_UP, timeout=TIMEOUT_S)
        return self._connection

    def _forget(self, row: _Row) -> None:
        self._rows.remove(row)
        row.gone.set()

    def _failed(self, error: Exception) -> None:
        """Try again later, and give a finished training's row up after some tries."""
        if not self._has_complained:
            self._has_complained = True
            get_logger(__name__).warning("training progress cannot be shown", error=str(error))
        self._terminate()
        for row in self._rows.copy():
            row.due_s = time.monotonic() + INTERVAL_S
            row.failures += row.is_over
            if row.failures == MOST_FAILURES or (row.is_over and not row.is_written):
                self._forget(row)

    async def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(*FAILURES):
                await connection.close(timeout=TIMEOUT_S)

    def _terminate(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.terminate()
