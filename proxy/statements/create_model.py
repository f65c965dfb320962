"""CREATE MODEL: what can be refused is refused before a row is read; what is trained is stored.

Owns that order, and the words at the end: the model is stored by a call in the client's own
transaction. Leaves the long part between to `training`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from proxy.engine import artifact
from proxy.engine.algorithms import check_parameters, find_algorithm
from proxy.engine.continuation import check_algorithm
from proxy.errors import InvalidParameterError, ProxyError
from proxy.protocol import message_types as t
from proxy.protocol import oids
from proxy.protocol.messages import row_values
from proxy.protocol.wire import int16, int32, uint16
from proxy.registry import queries
from proxy.registry.model_version import ModelRecord
from proxy.registry.postgres_store import Registry
from proxy.registry.queries import StoreModel
from proxy.rewrite.cursor import reference_in
from proxy.rewrite.statements import CreateModel, Value
from proxy.session.questions import private_query
from proxy.session.session import Session
from proxy.statements.fetched_query import FetchedQuery
from proxy.statements.models import find_models
from proxy.statements.notices import Narrator
from proxy.statements.reading import describe_query
from proxy.statements.services import Services
from proxy.statements.session_facts import FACTS_SQL, SessionFacts
from proxy.statements.training import Training
from proxy.statements.training_query import SampleWeight, clustering_query, training_query
from proxy.workers.pool import TrainedArtifact

CLUSTERING: str = "clustering"
SAMPLE_WEIGHT = "sample_weight"
WARM_START = "warm_start"


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

    async def run(self) -> None:
        """Do all of it."""
        parameters = self._check_parameters()
        facts = await self._may_create()
        if facts is None:
            return
        earlier = await self._earlier(parameters)
        query = await self._training_query(parameters)
        training = Training(
            self._session,
            self._services,
            self._registry,
            self._statement,
            self._offset,
            facts=facts,
        )
        with self._services.instruments.training(self._statement.algorithm):
            started_s = time.monotonic()
            trained = await training.run(query, parameters, earlier)
            duration_s = time.monotonic() - started_s
            version = await self._store(query, trained, duration_s)
        if version is not None:  # None: IF NOT EXISTS, somebody was faster, the NOTICE is told
            self._tell(training.narrator, version, trained, duration_s)

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

    async def _may_create(self) -> SessionFacts | None:
        """Learn of the session, and whether the name may be used; None: nothing is to be done."""
        statement = self._statement
        may_create = private_query(queries.check_create_model(statement.name).encode())
        exists = private_query(queries.model_exists(statement.name).encode())
        first = exists if statement.if_not_exists else may_create
        question = await self._session.ask(
            [*private_query(FACTS_SQL), *first],
            position_map=lambda _: statement.name_position + self._offset,
        )
        rows = [row_values(body) for body in question.bodies(t.DATA_ROW)]
        facts = SessionFacts.of(rows[0])
        if not statement.if_not_exists:
            return facts
        if rows[1][0] == b"t":
            Narrator(self._session, facts.client_min_messages).notice(
                f'model "{statement.name}" already exists, skipping'
            )
            return None
        await self._session.ask(may_create)
        return facts

    async def _training_query(self, parameters: dict[str, Any]) -> FetchedQuery:
        statement = self._statement
        text, start = statement.query_rewritten, statement.query_start
        weight = self._sample_weight(parameters)
        columns = await describe_query(self._session, text, start, self._offset)
        if find_algorithm(statement.algorithm).task == CLUSTERING:
            return clustering_query(statement.name, columns, text, start, sample_weight=weight)
        return training_query(columns, text, start, sample_weight=weight)

    async def _earlier(self, parameters: dict[str, Any]) -> bytes:
        """Return the artefact of the model that is learned on from; empty where there is none."""
        named = parameters.get(WARM_START)
        if named is None:
            return b""
        position = self._position_of(WARM_START)
        reference = reference_in(str(named), position)
        if reference is None:
            raise InvalidParameterError(
                f"parameter \"{WARM_START}\" cannot be '{named}'",
                hint="Name a model: 'name' or 'name:1.0'.",
                position=position,
            )
        models = await find_models(
            self._session, self._registry, [reference], self._services.expressions
        )
        model = models.model(reference)
        try:
            check_algorithm(model, self._statement.algorithm)
        except ProxyError as error:
            error.position = position
            raise
        return await asyncio.to_thread(artifact.dump, model)

    def _position_of(self, name: str) -> int:
        (position,) = (
            parameter.value_position
            for parameter in self._statement.parameters
            if parameter.name == name
        )
        return position

    def _sample_weight(self, parameters: dict[str, Any]) -> SampleWeight | None:
        column = parameters.get(SAMPLE_WEIGHT)
        if column is None:
            return None
        position = self._position_of(SAMPLE_WEIGHT)
        if not isinstance(column, str):
            raise InvalidParameterError(
                f'parameter "{SAMPLE_WEIGHT}" is the name of a column', position=position
            )
        return SampleWeight(column, position)

    # -- the end ---------------------------------------------------------------------------------

    async def _store(
        self,
        query: FetchedQuery,
        trained: TrainedArtifact,
        duration_s: float,
    ) -> bytes | None:
        """Store the model; return its version, or None where IF NOT EXISTS found one."""
        statement, description = self._statement, trained.description
        record = ModelRecord(
            model_name=statement.name,
            algorithm=statement.algorithm,
            task=description.task,
            target=description.target,
            # A cluster is told by its number.
            target_type_oid=(
                oids.INT4 if query.target is None else query.columns[query.target].type_oid
            ),
            predict_kind=description.predict_kind,
            classes=description.classes,
            parameters=description.parameters,
            features=description.features,
            terms=description.terms,
            importances=description.importances,
            metrics=description.metrics,
            query=statement.query,
            training_rows=description.n_samples,
            holdout_rows=description.n_holdout,
            duration_s=duration_s,
            random_state=description.parameters.get("random_state"),
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
        version: bytes | None = row_values(question.bodies(t.DATA_ROW)[0])[0]
        return version

    def _tell(
        self, narrator: Narrator, version: bytes, trained: TrainedArtifact, duration_s: float
    ) -> None:
        for notice in trained.description.notices:
            narrator.notice(notice)
        for warning in trained.description.warnings:
            narrator.warning(warning)
        narrator.notice(_summary(self._statement.name, version.decode(), trained, duration_s))


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
    _Shown("silhouette", "silhouette"),
    _Shown("inertia", "inertia"),
)


def _summary(name: str, version: str, trained: TrainedArtifact, duration_s: float) -> str:
    description = trained.description
    text = f'model "{name}" version {version}: {description.n_samples} rows in {duration_s:.2f} s'
    shown = [
        f"{metric.title} {description.metrics[metric.name]:.4f}"
        for metric in _SUMMARY
        if isinstance(description.metrics.get(metric.name), int | float)
    ]
    if not shown:
        return text
    rows = f"on {description.n_holdout} held-out rows: " if description.n_holdout else ""
    return f"{text}; {rows}{', '.join(shown)}"


def _plain(value: Value) -> Any:
    return [_plain(item) for item in value] if isinstance(value, tuple) else value


def _parameter_types(type_oids: Sequence[int]) -> bytes:
    return uint16(len(type_oids)) + b"".join(map(int32, type_oids))


def _parameters(values: Sequence[bytes], formats: Sequence[int]) -> bytes:
    parts = [uint16(len(formats)), *map(int16, formats), uint16(len(values))]
    for value in values:
        parts += (int32(len(value)), value)
    return b"".join(parts)
