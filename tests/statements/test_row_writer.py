"""Rows are written in their order, the source waits while too many are, and errors are told."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import numpy as np
import pytest

from proxy.errors import ProxyError, TooLargeError
from proxy.rewrite.training_reader import ColumnParts
from proxy.statements.row_writer import MOST_WAITING, RowWriter

pytestmark = pytest.mark.asyncio

PATIENCE_S = 20


class Source:
    """Counts how often it is held."""

    def __init__(self) -> None:
        self.holds = 0
        self.was_held = 0

    def hold(self) -> None:
        self.holds += 1
        self.was_held += 1

    def release(self) -> None:
        self.holds -= 1


class SlowSpool:
    """Writes a part whenever it is let."""

    def __init__(self, error: ProxyError | None = None) -> None:
        self.gate = threading.Semaphore(0)
        self.written: list[int] = []
        self.error = error
        self.is_closed = False

    def append(self, n_rows: int, _values: Any, _widths: Any) -> None:
        assert self.gate.acquire(timeout=PATIENCE_S)
        assert not self.is_closed
        if self.error is not None:
            raise self.error
        self.written.append(n_rows)

    def close(self) -> None:
        self.is_closed = True


def part(n_rows: int) -> ColumnParts:
    return ColumnParts(n_rows, [np.zeros(n_rows)], [1])


def writer_of(spool: SlowSpool) -> tuple[RowWriter, Source, list[int], list[ProxyError]]:
    source = Source()
    back: list[int] = []
    errors: list[ProxyError] = []
    writer = RowWriter(
        spool,  # type: ignore[arg-type]
        source,  # type: ignore[arg-type]
        take_back=lambda parts: back.append(parts.n_rows),
        fail=errors.append,
    )
    return writer, source, back, errors


async def test_parts_are_written_in_order_and_given_back() -> None:
    """One after another, by one thread at a time."""
    spool = SlowSpool()
    writer, source, back, errors = writer_of(spool)
    for n_rows in range(1, 6):
        writer.add(part(n_rows))
    spool.gate.release(5)
    await writer.drain()
    assert spool.written == back == [1, 2, 3, 4, 5]
    assert (source.holds, errors) == (0, [])


async def test_the_source_waits_while_too_many_parts_do() -> None:
    """It is held once, and released as soon as there is room again."""
    spool = SlowSpool()
    writer, source, back, _ = writer_of(spool)
    for n_rows in range(1, MOST_WAITING):
        writer.add(part(n_rows))
        assert source.holds == 0
    writer.add(part(8))
    writer.add(part(9))
    assert source.holds == 1
    spool.gate.release(2)
    async with asyncio.timeout(PATIENCE_S):
        while source.holds:  # noqa: ASYNC110  # a thread ends it
            await asyncio.sleep(0.001)
    assert len(back) == 2
    spool.gate.release(1)
    await writer.drain()
    assert (source.holds, source.was_held) == (0, 1)


async def test_an_error_ends_the_writing() -> None:
    """It is told once; what waits is dropped, and the source is not left waiting."""
    error = TooLargeError("too many")
    spool = SlowSpool(error)
    writer, source, back, errors = writer_of(spool)
    for n_rows in range(1, 5):
        writer.add(part(n_rows))
    spool.gate.release(1)
    await writer.drain()
    assert errors == [error]
    assert (spool.written, back, source.holds) == ([], [], 0)


async def test_an_abandoned_spool_is_closed_when_nobody_writes() -> None:
    """A descriptor that a thread writes to must not become another file's."""
    spool = SlowSpool()
    writer, source, _, _ = writer_of(spool)
    for n_rows in range(1, 4):
        writer.add(part(n_rows))
    await asyncio.sleep(0)
    writer.abandon()
    assert not spool.is_closed
    spool.gate.release(1)
    async with asyncio.timeout(PATIENCE_S):
        while not spool.is_closed:  # noqa: ASYNC110  # a thread ends it
            await asyncio.sleep(0.001)
    assert (spool.written, source.holds) == ([1], 0)


async def test_an_idle_spool_is_closed_at_once() -> None:
    """There is nobody to wait for."""
    spool = SlowSpool()
    writer, *_ = writer_of(spool)
    spool.gate.release(1)
    writer.add(part(1))
    await writer.drain()
    writer.abandon()
    assert spool.is_closed
