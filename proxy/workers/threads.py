"""The threads that a training works with: an in-order map for the engine.

Owns how many there are and how far they run ahead. What they compute is the engine's, which adds
their results up in order: how many there are changes no bit of what is learned.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from types import TracebackType
from typing import Self, TypeVar

from proxy.engine.parallel import one_by_one

Item = TypeVar("Item")
Result = TypeVar("Result")

MOST_THREADS = 16
"""Each has some MiB of buffers and needs the interpreter between two operations of numpy."""

LOOK_AHEAD = 2
"""Calls for each thread: the one it is at, and one to go on with while the slowest is awaited."""


class ThreadedMap:
    """An `engine.parallel.InOrderMap` over threads, which end with the `with` block.

    Numpy leaves the interpreter to others while it computes, so threads are enough. One thread is
    the caller's own.
    """

    def __init__(self, n_threads: int) -> None:
        self.n_threads = n_threads
        self._executor = ThreadPoolExecutor(n_threads, thread_name_prefix="training")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._executor.shutdown(cancel_futures=True)

    def __call__(
        self, function: Callable[[Item], Result], items: Iterable[Item], /
    ) -> Generator[Result, None, None]:
        """Yield `function` of each item, in order."""
        if self.n_threads == 1:
            return one_by_one(function, items)
        return self._look_ahead(function, items)

    def _look_ahead(
        self, function: Callable[[Item], Result], items: Iterable[Item]
    ) -> Generator[Result, None, None]:
        ahead: deque[Future[Result]] = deque()
        try:
            for item in items:
                ahead.append(self._executor.submit(function, item))
                if len(ahead) == LOOK_AHEAD * self.n_threads:
                    yield ahead.popleft().result()
            while ahead:
                yield ahead.popleft().result()
        finally:
            for future in ahead:
                future.cancel()
            wait(ahead)


def thread_count(wanted: int | None = None) -> int:
    """Return how many threads a training should have: one for each processor it may run on.

    Parameters
    ----------
    wanted : at most so many
    """
    if hasattr(os, "sched_getaffinity"):
        n_cpus = len(os.sched_getaffinity(0))
    else:
        n_cpus = os.cpu_count() or 1
    return min(n_cpus, MOST_THREADS, wanted or MOST_THREADS)
