"""Rows that are decoded as they come and worked on by threads, part by part.

Owns the parts that wait, the upstream's pause while they are too many, and what happens when
something is wrong with a row. What is done with a part is its subclasses'.
"""

from __future__ import annotations

import abc
import asyncio
from collections.abc import Awaitable
from typing import Generic, TypeVar

from proxy.errors import ProxyError, QueryCanceledError
from proxy.protocol import message_types as t
from proxy.protocol.messages import error_response
from proxy.protocol.replies import Reply
from proxy.session.session import Session
from proxy.statements.reading import CANCELED

PART_BYTES = 1 << 21
MOST_AT_WORK = 2
"""Parts that are worked on at a time, one thread each; with as many waiting nothing is read."""

Part = TypeVar("Part")


class ThreadedRows(Reply, abc.ABC, Generic[Part]):
    """Takes the rows of one Execute, for `Session.ask`.

    Attributes
    ----------
    failure : what is wrong with the rows; the backend is being stopped
    stopping : how, to be awaited
    """

    __slots__ = ("_at_work", "_holds", "_session", "_waiting", "failure", "stopping")

    def __init__(self, session: Session) -> None:
        super().__init__(t.EXECUTE)
        self._session = session
        self._waiting: list[Part] = []
        self._at_work: set[asyncio.Task[None]] = set()
        self._holds = False
        self.failure: ProxyError | None = None
        self.stopping: list[Awaitable[None]] = []

    @abc.abstractmethod
    def take(self, data: bytes, start: int, stop: int) -> int:
        """Decode rows at the beginning of data[start:stop]; return the offset behind them."""

    @abc.abstractmethod
    def last_part(self) -> Part | None:
        """Return the rows that were not handed over yet."""

    @abc.abstractmethod
    def work_on(self, part: Part) -> None:
        """Do what is to be done with a part, in a thread, while others may do so with theirs."""

    async def run(self, asked: Awaitable[object]) -> None:
        """Await the question that these rows answer, and all work on them.

        Raises
        ------
        QueryCanceledError
            The client asked to stop.
        ProxyError
            Something is wrong with the rows.
        AlreadyAnswered
            The upstream refused the query, or ended it.
        """
        session = self._session
        cancels: list[bool] = []
        session.on_cancel = lambda: cancels.append(True)
        try:
            try:
                await asked
            finally:
                for errand in self.stopping:
                    await errand
            last = None if self.failure is not None else self.last_part()
            if last is not None:
                self.hand_over(last)
            while self._at_work:
                await asyncio.wait(set(self._at_work))
            if self.failure is not None:
                raise self.failure
        finally:
            self._waiting.clear()
            session.on_cancel = None
        if cancels:
            # PostgreSQL ignores a cancel that finds it between two messages of ours.
            raise QueryCanceledError(CANCELED)

    def hand_over(self, part: Part) -> None:
        """Let a thread work on a part as soon as one is free."""
        self._waiting.append(part)
        self._begin()
        if len(self._waiting) >= MOST_AT_WORK and not self._holds:
            self._holds = True
            self._session.upstream.hold()

    def on_message(self, kind: int, body: bytes) -> bytes | None:
        """Say why the backend was stopped, where it only knows that it was."""
        if kind == t.ERROR_RESPONSE and self.failure is not None:
            return error_response(self.failure, encoding=self._session.codec)
        return None

    def on_rows(self, data: bytes, start: int, stop: int) -> tuple[int, bytes]:
        """Take all whole rows; after a failure pass over them, until the backend has stopped."""
        if self.failure is not None:
            return super().on_rows(data, start, stop)[0], b""
        try:
            return self.take(data, start, stop), b""
        except ProxyError as error:
            self._fail(error)
            return start, b""

    def _begin(self) -> None:
        while self._waiting and len(self._at_work) < MOST_AT_WORK:
            task = asyncio.create_task(self._work(self._waiting.pop(0)))
            self._at_work.add(task)
            task.add_done_callback(self._ended)

    async def _work(self, part: Part) -> None:
        try:
            await asyncio.to_thread(self.work_on, part)
        except ProxyError as error:
            self._waiting.clear()
            self._fail(error)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._at_work.discard(task)
        if not task.cancelled() and task.exception() is not None:
            self._fail(ProxyError(f"internal error: {type(task.exception()).__name__}"))
        self._begin()
        if self._holds and len(self._waiting) < MOST_AT_WORK:
            self._holds = False
            self._session.upstream.release()

    def _fail(self, error: ProxyError) -> None:
        if self.failure is None:
            self.failure = error
            self.stopping.append(self._session.stop_upstream())
