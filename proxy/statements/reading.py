"""The rows of a client's query, read in the client's session: first described, then by one COPY.

Owns the way of the rows into memory that a training process can map, and the reading's end before
time. What is read, and what for, is the caller's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeAlias

from numpy.typing import NDArray

from proxy.engine.columns import Dataset
from proxy.errors import ProxyError, QueryCanceledError, UndefinedColumnError
from proxy.protocol import message_types as t
from proxy.protocol.messages import (
    NO_PARAMETER_TYPES,
    STATEMENT,
    Parse,
    RowDescription,
    close,
    describe,
    error_response,
)
from proxy.protocol.replies import Reply
from proxy.rewrite.edits import EditedText
from proxy.rewrite.training_reader import ColumnParts, ColumnValues, TrainingReader
from proxy.session.questions import private_name, private_query
from proxy.session.session import Session
from proxy.statements.fetched_columns import FetchedColumn, fetched_column
from proxy.statements.fetched_query import FetchedQuery
from proxy.statements.row_writer import RowWriter
from proxy.statements.services import Services
from proxy.workers.buffers import SharedDataset, share
from proxy.workers.spool import Spool

CANCELED = "canceling statement due to user request"

RowCheck: TypeAlias = Callable[[int, Sequence[int]], None]


def accept_rows(n_rows: int, widths: Sequence[int]) -> None:
    """Take any number of rows."""


async def describe_query(
    session: Session, query: EditedText, query_start: int, offset: int
) -> list[FetchedColumn]:
    """Return the query's columns, in order.

    Parameters
    ----------
    query_start : where the query begins in the statement, from 0
    offset : of the statement in the client's text

    Raises
    ------
    UndefinedColumnError
        It has none.
    AlreadyAnswered
        The upstream refused the query.
    """
    name = private_name()
    question = await session.ask(
        [
            Parse(name, query.text.encode(session.codec), NO_PARAMETER_TYPES).encode(),
            describe(STATEMENT, name),
            close(STATEMENT, name),
        ],
        position_map=lambda position: query.original_position(position) + query_start + offset,
    )
    bodies = question.bodies(t.ROW_DESCRIPTION)
    if not bodies:
        raise UndefinedColumnError("the query returns no columns", position=query_start + 1)
    return [
        fetched_column(field.name.decode(session.codec, "replace"), field.type_oid)
        for field in RowDescription.decode(bodies[0]).fields
    ]


async def read_rows(
    session: Session,
    query: FetchedQuery,
    offset: int,
    *,
    services: Services,
    report: Callable[[int], None],
    check: RowCheck = accept_rows,
) -> SharedDataset:
    """Run the query and return its rows, for the caller to close.

    Parameters
    ----------
    offset : of the statement in the client's text
    report : called with the number of rows read so far
    check : called with the rows so far and the values of each; what it raises ends the reading

    Raises
    ------
    TooLargeError
        53200: they are more than the limits allow; 53100: there is no space for them.
    QueryCanceledError
        The client asked to stop.
    AlreadyAnswered
        The upstream refused the query, or ended it.
    """
    cancels: list[bool] = []
    session.on_cancel = lambda: cancels.append(True)
    try:
        rows = await _copy(
            session, query, offset, FetchedRows(session, query, services, report, check)
        )
    finally:
        session.on_cancel = None
    if cancels:
        rows.abandon()
        # PostgreSQL ignores a cancel that finds it between two messages of ours.
        raise QueryCanceledError(CANCELED)
    return await rows.finish()


async def _copy(
    session: Session, query: FetchedQuery, offset: int, rows: FetchedRows
) -> FetchedRows:
    text_as_utf8 = session.codec != "utf-8"
    in_copy = query.position_map(text_as_utf8=text_as_utf8)
    text = query.copy(text_as_utf8=text_as_utf8).encode(session.codec)
    try:
        try:
            await session.ask(
                private_query(text),
                position_map=lambda position: in_copy(position) + offset,
                rows=rows,
            )
        finally:
            # A signal that is still under way would stop what the session does next.
            for errand in rows.stopping:
                await errand
        await rows.written()
    except BaseException:
        rows.abandon()
        raise
    return rows


class FetchedRows(Reply):
    """Reads the COPY's rows into arrays: a few in memory, many into a spool.

    Attributes
    ----------
    failure : what is wrong with the rows; the backend is being stopped
    stopping : how, to be awaited
    """

    __slots__ = (
        "_check",
        "_query",
        "_reader",
        "_report",
        "_services",
        "_session",
        "_spool",
        "_writer",
        "failure",
        "stopping",
    )

    def __init__(
        self,
        session: Session,
        query: FetchedQuery,
        services: Services,
        report: Callable[[int], None],
        check: RowCheck,
    ) -> None:
        super().__init__(t.EXECUTE)
        self._session = session
        self._query = query
        self._services = services
        self._report = report
        self._check = check
        self._reader = TrainingReader(
            [column.input for column in query.columns],
            part_size=services.row_limits.part_size,
            hand_over=self._hand_over,
        )
        self._spool: Spool | None = None
        self._writer: RowWriter | None = None
        self.failure: ProxyError | None = None
        self.stopping: list[Awaitable[None]] = []

    def on_message(self, kind: int, body: bytes) -> bytes | None:
        """Say why the backend was stopped, where it only knows that it was."""
        if kind == t.ERROR_RESPONSE and self.failure is not None:
            return error_response(self.failure, encoding=self._session.codec)
        return None

    def on_rows(self, data: bytes, start: int, stop: int) -> tuple[int, bytes]:
        """Read the rows; after a failure pass over them, until the backend has stopped."""
        if self.failure is None:
            try:
                end = self._reader.feed(data, start, stop)
            except ProxyError as error:
                self._fail(error)
            else:
                self._report(self._reader.n_rows)
                return end, b""
        return super().on_rows(data, start, stop)[0], b""

    async def written(self) -> None:
        """Wait until the spool has what it was given.

        Raises
        ------
        ProxyError
            Something is wrong with the rows, and their COPY ended before it could be stopped.
        """
        if self._writer is not None:
            await self._writer.drain()
        if self.failure is not None:
            raise self.failure

    def abandon(self) -> None:
        """Give back what the rows take."""
        self._reader.close()
        if self._writer is not None:
            self._writer.abandon()

    async def finish(self) -> SharedDataset:
        """Return the rows, after the last."""
        sharing = asyncio.create_task(asyncio.to_thread(self._share))
        try:
            return await asyncio.shield(sharing)
        except BaseException:
            # A caller who is cancelled meanwhile leaves no descriptor behind.
            sharing.add_done_callback(self._give_back)
            raise

    def _give_back(self, sharing: asyncio.Task[SharedDataset]) -> None:
        if not sharing.cancelled() and sharing.exception() is None:
            sharing.result().close()
        self.abandon()

    def _share(self) -> SharedDataset:
        n_rows, last = self._reader.n_rows, self._reader.finish()
        if self._spool is None:
            return share(self._query.dataset(last, n_rows))
        flat = [part.values.reshape(-1) for part in last]
        self._spool.append(n_rows - self._spool.n_rows, flat, self._reader.widths)

        def arranged(columns: list[NDArray[Any]]) -> Dataset:
            values = [
                ColumnValues(column.reshape(n_rows, *part.values.shape[1:]), part.categories)
                for column, part in zip(columns, last, strict=True)
            ]
            return self._query.dataset(values, n_rows)

        return self._spool.share(arranged)

    def _hand_over(self, parts: ColumnParts) -> None:
        self._check(self._reader.n_rows, parts.widths)
        if self._spool is None or self._writer is None:
            sizes = [values.itemsize for values in parts.values]
            self._spool = Spool(sizes, self._services.row_limits, self._services.row_memory)
            self._writer = RowWriter(
                self._spool,
                self._session.upstream,
                take_back=self._reader.take_back,
                fail=self._fail,
            )
        self._writer.add(parts)

    def _fail(self, error: ProxyError) -> None:
        if self.failure is None:
            self.failure = error
            self.stopping.append(self._session.stop_upstream())
