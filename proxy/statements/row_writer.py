"""Rows on their way from the event loop into the spool: written by a thread, in their order.

Owns the queue between the two, and the upstream's pause while it is full. What is read is
`reading`'s, where rows are kept is `workers.spool`'s.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from proxy.errors import ProxyError
from proxy.peer import Peer
from proxy.rewrite.training_reader import ColumnParts
from proxy.workers.spool import Spool

MOST_WAITING = 2
"""Parts: the one that is being written and the next. With more the upstream is not read."""


class RowWriter:
    """Writes parts into a spool.

    Parameters
    ----------
    source : held while too many parts wait
    take_back : gets the memory of what was written
    fail : called with what went wrong; nothing is written after that
    """

    def __init__(
        self,
        spool: Spool,
        source: Peer,
        *,
        take_back: Callable[[ColumnParts], None],
        fail: Callable[[ProxyError], None],
    ) -> None:
        self._spool = spool
        self._source = source
        self._take_back = take_back
        self._fail = fail
        self._waiting: deque[ColumnParts] = deque()
        self._task: asyncio.Task[None] | None = None
        self._holds = False

    def add(self, parts: ColumnParts) -> None:
        """Write these next."""
        self._waiting.append(parts)
        if self._task is None:
            self._task = asyncio.create_task(self._write())
        if len(self._waiting) >= MOST_WAITING and not self._holds:
            self._holds = True
            self._source.hold()

    async def drain(self) -> None:
        """Wait until everything is written, or something went wrong."""
        while self._task is not None:
            await asyncio.shield(self._task)

    def abandon(self) -> None:
        """Close the spool, as soon as nobody writes to it."""
        self._waiting.clear()
        if self._task is None:
            self._spool.close()
        else:
            self._task.add_done_callback(lambda _: self._spool.close())

    async def _write(self) -> None:
        try:
            while self._waiting:
                parts = self._waiting[0]
                await asyncio.to_thread(
                    self._spool.append, parts.n_rows, parts.values, parts.widths
                )
                if self._waiting:  # not abandoned meanwhile
                    self._waiting.popleft()
                self._take_back(parts)
                if len(self._waiting) < MOST_WAITING:
                    self._release()
        except ProxyError as error:
            self._waiting.clear()
            self._fail(error)
        finally:
            self._task = None
            self._release()

    def _release(self) -> None:
        if self._holds:
            self._holds = False
            self._source.release()
