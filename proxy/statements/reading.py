"""The rows of a client's query, read in the client's session: first described, then by one COPY.

Owns the limits of the reading and its end before time. What is read, and what for, is the caller's.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from proxy.engine.columns import Dataset
from proxy.errors import ProxyError, QueryCanceledError, TooLargeError, UndefinedColumnError
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
from proxy.rewrite.columns import TrainingReader
from proxy.rewrite.edits import EditedText
from proxy.session.questions import private_name, private_query
from proxy.session.session import Session
from proxy.statements.fetched_columns import FetchedColumn, fetched_column
from proxy.statements.fetched_query import FetchedQuery

CANCELED = "canceling statement due to user request"


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
    limit: int,
    report: Callable[[int], None],
) -> Dataset:
    """Run the query and return its rows.

    Parameters
    ----------
    offset : of the statement in the client's text
    limit : bytes of memory that the rows may take
    report : called with the number of rows read so far

    Raises
    ------
    TooLargeError
        53200: they take more.
    QueryCanceledError
        The client asked to stop.
    AlreadyAnswered
        The upstream refused the query, or ended it.
    """
    cancels: list[bool] = []
    session.on_cancel = lambda: cancels.append(True)
    try:
        rows = await _copy(session, query, offset, limit, report)
    finally:
        session.on_cancel = None
    if cancels:
        # PostgreSQL ignores a cancel that finds it between two messages of ours.
        raise QueryCanceledError(CANCELED)
    return query.dataset(rows.reader.finish(), rows.reader.n_rows)


async def _copy(
    session: Session,
    query: FetchedQuery,
    offset: int,
    limit: int,
    report: Callable[[int], None],
) -> FetchedRows:
    text_as_utf8 = session.codec != "utf-8"
    in_copy = query.position_map(text_as_utf8=text_as_utf8)
    stopping: list[Awaitable[None]] = []
    rows = FetchedRows(
        query, limit, lambda: stopping.append(session.stop_upstream()), report, session.codec
    )
    text = query.copy(text_as_utf8=text_as_utf8).encode(session.codec)
    try:
        await session.ask(
            private_query(text),
            position_map=lambda position: in_copy(position) + offset,
            rows=rows,
        )
    finally:
        # A signal that is still under way would stop what the session does next.
        for errand in stopping:
            await errand
    if rows.failure is not None:
        raise rows.failure  # the COPY ended before it could be stopped
    return rows


class FetchedRows(Reply):
    """Reads the COPY's rows into arrays.

    Parameters
    ----------
    limit : bytes of memory that the arrays may take
    stop : called once, when the rows are no longer wanted
    report : called with the number of rows read so far
    codec : the client's encoding, for an error

    Attributes
    ----------
    failure : what is wrong with the rows; the backend is being stopped
    """

    __slots__ = ("_codec", "_limit", "_report", "_stop", "failure", "reader")

    def __init__(
        self,
        query: FetchedQuery,
        limit: int,
        stop: Callable[[], None],
        report: Callable[[int], None],
        codec: str,
    ) -> None:
        super().__init__(t.EXECUTE)
        self._codec = codec
        self.reader = TrainingReader([column.input for column in query.columns])
        self._limit = limit
        self._stop = stop
        self._report = report
        self.failure: ProxyError | None = None

    def on_message(self, kind: int, body: bytes) -> bytes | None:
        """Say why the backend was stopped, where it only knows that it was."""
        if kind == t.ERROR_RESPONSE and self.failure is not None:
            return error_response(self.failure, encoding=self._codec)
        return None

    def on_rows(self, data: bytes, start: int, stop: int) -> tuple[int, bytes]:
        """Read the rows; after a failure pass over them, until the backend has stopped."""
        if self.failure is None:
            try:
                end = self.reader.feed(data, start, stop)
                self._check_memory()
            except ProxyError as error:
                self.failure = error
                self._stop()
            else:
                self._report(self.reader.n_rows)
                return end, b""
        return super().on_rows(data, start, stop)[0], b""

    def _check_memory(self) -> None:
        if self.reader.size_bytes > self._limit:
            n_rows, size = self.reader.n_rows, self.reader.size_bytes
            fitting = int(n_rows * self._limit / size) // 1000 * 1000
            raise TooLargeError(
                "the training set is larger than max_training_memory",
                detail=f"After {n_rows} rows it takes {size} bytes; the limit is {self._limit}. "
                f"About {fitting} rows of these columns would fit.",
                hint="Select fewer rows or columns, raise [ml] max_training_memory, or learn on "
                "from part to part by warm_start.",
                sqlstate="53200",
            )
