"""CREATE MODEL: read in the client's session, train in another process, store in the session.

Owns the order: what can be refused is refused before a row is read; the rows come by one COPY;
while the training process works the backend waits, so that whatever stops a statement stops this
one too; the model is stored by a call in the client's own transaction.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from proxy.engine.algorithms import check_parameters
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
    row_values,
)
from proxy.protocol.replies import Reply
from proxy.protocol.wire import int16, int32, uint16
from proxy.registry import queries
from proxy.registry.model_version import ModelRecord
from proxy.registry.postgres_store import Registry
from proxy.registry.queries import StoreModel
from proxy.registry.vigil import Vigil
from proxy.rewrite.columns import TrainingReader
from proxy.rewrite.statements import CreateModel, Value
from proxy.session.questions import AlreadyAnswered, private_name, private_query
from proxy.session.session import Session
from proxy.statements.notices import shows_notices
from proxy.statements.services import Services
from proxy.statements.training_query import TrainingQuery, training_column
from proxy.workers.frames import Progress
from proxy.workers.pool import TrainedArtifact

CANCELED = "canceling statement due to user request"

_NOTICE_INTERVAL_S = 2.0
_VIGIL_AFTER_S = 0.1
"""A training shorter than this is over before anybody could stop it."""

_SETTINGS = (
    b"SELECT pg_catalog.current_setting('client_min_messages'),"
    b" pg_catalog.current_setting('lock_timeout')"
)


async def create_model(
    session: Session,
    services: Services,
    registry: Registry,
    statement: CreateModel,
    offset: int,
) -> None:
    """Train and store a model; the caller sends the CommandComplete.

    Parameters
    ----------
    offset : of the statement in the client's text, for positions

    Raises
    ------
    ProxyError
        It cannot be done; a position counts in the statement.
    AlreadyAnswered
        The upstream refused; the client has its error.
    """
    await Creation(session, services, registry, statement, offset).run()


class Creation:
    """One CREATE MODEL."""

    def __init__(
        self,
        session: Session,
        services: Services,
        registry: Registry,
        statement: CreateModel,
        offset: int,
    ) -> None:
        self._session = session
        self._services = services
        self._registry = registry
        self._statement = statement
        self._offset = offset
        self._shows_notices = True
        self._shows_warnings = True
        self._lock_timeout = b"0"
        self._is_cancelled = False
        self._told_at_s = time.monotonic()

    async def run(self) -> None:
        """Do all of it."""
        parameters = self._check_parameters()
        if not await self._may_create():
            return
        query = await self._training_query()
        with self._services.instruments.training(self._statement.algorithm):
            started_s = time.monotonic()
            self._session.on_cancel = self._note_cancel
            try:
                dataset = await self._read(query)
            finally:
                self._session.on_cancel = None
            if self._is_cancelled:
                # PostgreSQL ignores a cancel that finds it between two messages of ours.
                raise QueryCanceledError(CANCELED)
            trained = await self._train(parameters, dataset)
            await self._store(query, trained, parameters, time.monotonic() - started_s)

    def _note_cancel(self) -> None:
        self._is_cancelled = True

    # -- before the first row --------------------------------------------------------------------

    def _check_parameters(self) -> dict[str, Any]:
        statement = self._statement
        given = {parameter.name: _plain(parameter.value) for parameter in statement.parameters}
        try:
            return dict(check_parameters(statement.algorithm, given))
        except ProxyError as error:
            places = {parameter.name: parameter.position for parameter in statement.parameters}
            named = [place for name, place in places.items() if name in error.message]
            error.position = named[0] if named else statement.algorithm_position
            raise

    async def _may_create(self) -> bool:
        """Learn the session's settings and whether the name may be used; False: nothing to do."""
        statement = self._statement
        messages = [
            *private_query(_SETTINGS),
            *private_query(queries.check_create_model(statement.name).encode()),
            *private_query(queries.model_exists(statement.name).encode()),
        ]
        if statement.if_not_exists:
            messages = [*private_query(_SETTINGS), *messages[-5:]]
        question = await self._session.ask(
            messages, position_map=lambda _: statement.name_position + self._offset
        )
        rows = [row_values(body) for body in question.bodies(t.DATA_ROW)]
        client_min_messages, lock_timeout = rows[0]
        self._shows_notices = shows_notices(client_min_messages)
        self._shows_warnings = client_min_messages not in (b"error", b"fatal", b"panic")
        self._lock_timeout = lock_timeout or b"0"
        if statement.if_not_exists and rows[-1][0] == b"t":
            self._tell(f'model "{statement.name}" already exists, skipping')
            return False
        if statement.if_not_exists:
            await self._session.ask(
                private_query(queries.check_create_model(statement.name).encode())
            )
        return True

    async def _training_query(self) -> TrainingQuery:
        statement, session = self._statement, self._session
        text, start = statement.query_rewritten, statement.query_start

        def position_map(position: int) -> int:
            return text.original_position(position) + start + self._offset

        name = private_name()
        question = await session.ask(
            [
                Parse(name, text.text.encode(session.codec), NO_PARAMETER_TYPES).encode(),
                describe(STATEMENT, name),
                close(STATEMENT, name),
            ],
            position_map=position_map,
        )
        bodies = question.bodies(t.ROW_DESCRIPTION)
        if not bodies:
            raise UndefinedColumnError("the training query returns no columns", position=start + 1)
        fields = RowDescription.decode(bodies[0]).fields
        columns = [
            training_column(field.name.decode(session.codec, "replace"), field.type_oid)
            for field in fields
        ]
        return TrainingQuery.of(columns, text, start)

    # -- the rows --------------------------------------------------------------------------------

    async def _read(self, query: TrainingQuery) -> Dataset:
        session = self._session
        text_as_utf8 = session.codec != "utf-8"
        in_copy = query.position_map(text_as_utf8=text_as_utf8)
        limit = self._services.max_training_memory
        stopping: list[Awaitable[None]] = []

        def stop() -> None:
            stopping.append(session.stop_upstream())

        rows = TrainingRows(query, limit, stop, self._tell_rows, session.codec)
        parse, bind, execute, *closes = private_query(
            query.copy(text_as_utf8=text_as_utf8).encode(session.codec)
        )
        try:
            await session.ask(
                [parse, bind, execute, *closes],
                position_map=lambda position: in_copy(position) + self._offset,
                rows=rows,
            )
        finally:
            # A signal that is still under way would stop what the session does next.
            for errand in stopping:
                await errand
        if rows.failure is not None:
            raise rows.failure  # the COPY ended before it could be stopped
        return query.dataset(rows.reader.finish(), rows.reader.n_rows)

    def _tell_rows(self, n_rows: int) -> None:
        if self._is_time_to_tell():
            self._tell(f"read {n_rows} rows")

    # -- training --------------------------------------------------------------------------------

    async def _train(self, parameters: dict[str, Any], dataset: Dataset) -> TrainedArtifact:
        """Train in another process while the backend waits for it.

        A backend that waits can be cancelled, runs into statement_timeout and is seen in
        pg_stat_activity as any other; and its error reaches the client by the usual way.
        """
        work = asyncio.ensure_future(
            self._services.workers.train(
                self._statement.algorithm, parameters, dataset, self._tell_progress
            )
        )

        def stop() -> None:
            work.cancel()

        self._session.on_cancel = stop
        try:
            await asyncio.wait((work,), timeout=_VIGIL_AFTER_S)
            if not work.done():
                await self._keep_vigil(work)
            return await work
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise  # the session itself ends
            raise QueryCanceledError(CANCELED) from None
        finally:
            self._session.on_cancel = None
            if not work.done():
                work.cancel()
            with contextlib.suppress(BaseException):
                await work

    async def _keep_vigil(self, work: asyncio.Future[TrainedArtifact]) -> None:
        """Let the backend wait for a lock that the proxy holds until the work is done."""
        session = self._session
        async with Vigil(self._registry) as vigil:
            wait = asyncio.ensure_future(
                session.ask(private_query(vigil.wait_sql.encode())),
            )
            try:
                await asyncio.wait((work, wait), return_when=asyncio.FIRST_COMPLETED)
                if wait.done():
                    wait.result()
                    await asyncio.wait((work,))
            finally:
                await vigil.end()
                if not wait.done():
                    with contextlib.suppress(AlreadyAnswered):
                        await wait
            wait.result()
        await session.ask(private_query(vigil.leave_sql(self._lock_timeout.decode()).encode()))

    def _tell_progress(self, progress: Progress) -> None:
        if not self._is_time_to_tell():
            return
        text = progress.phase
        if progress.iterations_total:
            text += f": iteration {progress.iterations_done}"
        if progress.loss is not None:
            text += f", loss {progress.loss:.6g}"
        self._tell(text)

    # -- the end ---------------------------------------------------------------------------------

    async def _store(
        self,
        query: TrainingQuery,
        trained: TrainedArtifact,
        parameters: dict[str, Any],
        duration_s: float,
    ) -> None:
        statement, description = self._statement, trained.description
        record = ModelRecord(
            model_name=statement.name,
            algorithm=statement.algorithm,
            task=description.task,
            target=description.target,
            target_type_oid=query.columns[query.target].type_oid,
            predict_kind=description.predict_kind,
            classes=description.classes,
            parameters=parameters,
            features=description.features,
            terms=description.terms,
            metrics=description.metrics,
            query=statement.query,
            training_rows=description.n_samples,
            holdout_rows=description.n_holdout,
            duration_s=duration_s,
            random_state=parameters.get("random_state"),
            format_version=description.format_version,
            artefact_sha256=description.artefact_sha256,
            artefact_size_bytes=len(trained.artefact),
        )
        store = StoreModel(
            record,
            trained.artefact,
            or_replace=statement.or_replace,
            if_not_exists=statement.if_not_exists,
        )
        self._session.models_changed = True
        question = await self._session.ask(
            private_query(
                queries.STORE_MODEL_SQL.encode(),
                parameter_types=_parameter_types(queries.STORE_MODEL_PARAMETER_OIDS),
                parameters=_parameters(store.parameters(), queries.STORE_MODEL_FORMATS),
            ),
            position_map=lambda _: statement.name_position + self._offset,
        )
        version = row_values(question.bodies(t.DATA_ROW)[0])[0]
        if version is None:
            return  # IF NOT EXISTS, and somebody else was faster: the NOTICE is told
        for warning in description.warnings:
            self._tell(warning, severity="WARNING")
        self._tell(_summary(statement.name, version.decode(), trained, duration_s))

    def _is_time_to_tell(self) -> bool:
        now = time.monotonic()
        if now - self._told_at_s < _NOTICE_INTERVAL_S:
            return False
        self._told_at_s = now
        return True

    def _tell(self, text: str, *, severity: str = "NOTICE") -> None:
        if self._shows_notices or (severity == "WARNING" and self._shows_warnings):
            self._session.notice(text, severity=severity)


class TrainingRows(Reply):
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
        query: TrainingQuery,
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
            raise TooLargeError(
                "the training set is larger than max_training_memory",
                detail=f"After {self.reader.n_rows} rows it takes {self.reader.size_bytes} bytes; "
                f"the limit is {self._limit}.",
                hint="Select fewer rows or columns, or raise [ml] max_training_memory.",
                sqlstate="53200",
            )


@dataclass(frozen=True, slots=True)
class _Shown:
    """A metric as the summary shows it."""

    name: str
    title: str


_SUMMARY = (
    _Shown("accuracy", "accuracy"),
    _Shown("auc", "AUC"),
    _Shown("f1", "F1"),
    _Shown("log_loss", "log loss"),
    _Shown("r2", "R2"),
    _Shown("rmse", "RMSE"),
    _Shown("mae", "MAE"),
)


def _summary(name: str, version: str, trained: TrainedArtifact, duration_s: float) -> str:
    description = trained.description
    text = f'model "{name}" version {version}: {description.n_samples} rows in {duration_s:.2f} s'
    shown = [
        f"{metric.title} {description.metrics[metric.name]:.4f}"
        for metric in _SUMMARY
        if isinstance(description.metrics.get(metric.name), int | float)
    ]
    if not description.n_holdout or not shown:
        return text
    return f"{text}; on {description.n_holdout} held-out rows: {', '.join(shown)}"


def _plain(value: Value) -> Any:
    return [_plain(item) for item in value] if isinstance(value, tuple) else value


def _parameter_types(type_oids: Sequence[int]) -> bytes:
    return uint16(len(type_oids)) + b"".join(map(int32, type_oids))


def _parameters(values: Sequence[bytes], formats: Sequence[int]) -> bytes:
    parts = [uint16(len(formats)), *map(int16, formats), uint16(len(values))]
    for value in values:
        parts += (int32(len(value)), value)
    return b"".join(parts)
