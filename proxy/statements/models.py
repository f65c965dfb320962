"""The models that a session's statements name.

Owns where they are looked up. While the session's transaction has changed models, in that session,
so that it sees its own; else in the registry's catalogue. Leaves the catalogue's freshness to
`registry`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from proxy.engine.model import Model
from proxy.errors import ArtifactError, UnknownModelError
from proxy.protocol import message_types as t
from proxy.protocol.messages import row_values
from proxy.pushdown.expressions import score_template, threshold_template
from proxy.pushdown.template import Template
from proxy.registry import queries
from proxy.registry.catalog import Models
from proxy.registry.model_version import ModelEntry
from proxy.registry.postgres_store import Registry
from proxy.rewrite.catalog import ModelSignature, PredictKind
from proxy.rewrite.statements import ModelReference
from proxy.session.questions import private_query
from proxy.session.session import Session
from proxy.statements.expressions import Expressions


@dataclass(frozen=True, slots=True)
class FoundModel:
    """A version with what scores by it."""

    entry: ModelEntry
    model: Model
    signature: ModelSignature

    @property
    def identity(self) -> tuple[object, ...]:
        """Return all that a plan takes of it: the artefact, and the types, which it has not.

        Two databases may well hold the same artefact over columns of different types.
        """
        signature = self.signature
        return (
            self.entry.artefact_sha256,
            signature.name,
            signature.version,
            signature.predict_kind,
            signature.target_type_sql,
            *(feature.sql_type for feature in signature.features),
        )


class FoundModels:
    """The models of one statement; the catalog that `rewrite.planner` asks."""

    def __init__(
        self, found: Mapping[tuple[str, str | None], FoundModel], expressions: Expressions
    ) -> None:
        self._found = found
        self._expressions = expressions

    @property
    def identity(self) -> tuple[tuple[object, ...], ...]:
        """Return what tells whether two lookups found the same, in whichever databases."""
        return tuple(found.identity for found in self._found.values())

    def resolve(self, name: str, version: str | None) -> ModelSignature:
        """Return a version's signature; every one was looked up before."""
        return self._found[name, version].signature

    def score_expression(
        self,
        model: ModelReference,
        given: Sequence[bool],
        output: PredictKind,
        class_index: int | None,
        type_sql: str,
    ) -> Template | None:
        """Return a model as an SQL expression; None where it is too large for one."""
        found = self.found(model)
        wanted = (tuple(given), output, class_index, type_sql)
        return self._expressions.of(
            (found.identity, *wanted), lambda: score_template(found.model, *wanted)
        )

    def threshold_expression(
        self,
        model: ModelReference,
        given: Sequence[bool],
        class_index: int | None,
        operator: str,
        bound: float,
    ) -> Template | None:
        """Return `probability operator bound` as a condition without the probability."""
        if operator not in ("<", "<=", ">", ">="):
            return None
        found = self.found(model)
        sign: Literal["<", "<=", ">", ">="] = operator  # type: ignore[assignment]
        wanted = (tuple(given), class_index, sign, bound)
        return self._expressions.of(
            (found.identity, "threshold", *wanted),
            lambda: threshold_template(found.model, *wanted),
        )

    def model(self, reference: ModelReference) -> Model:
        """Return what scores."""
        return self.found(reference).model

    def found(self, reference: ModelReference) -> FoundModel:
        """Return all that was found of a model."""
        return self._found[reference.name, reference.version]


async def find_models(
    session: Session,
    registry: Registry,
    references: Iterable[ModelReference],
    expressions: Expressions,
) -> FoundModels:
    """Look up every model that a statement names.

    Raises
    ------
    UnknownModelError
        One does not exist; with its position.
    AlreadyAnswered
        The session's transaction has failed.
    """
    models = await (_own_models(session) if session.models_changed else registry.models())
    found: dict[tuple[str, str | None], FoundModel] = {}
    for reference in references:
        key = (reference.name, reference.version)
        if key not in found:
            try:
                entry, signature = models.entry(*key), models.resolve(*key)
            except UnknownModelError as error:
                error.position = reference.position
                raise
            model = await _model(session, registry, entry)
            _check(entry, signature, model)
            found[key] = FoundModel(entry, model, signature)
    return FoundModels(found, expressions)


def _check(entry: ModelEntry, signature: ModelSignature, model: Model) -> None:
    """Refuse a row whose description is not that of its artefact: any role may write rows."""
    described = [(f.name, f.kind, f.width, f.categories) for f in signature.features]
    learned = [(f.name, f.kind.value, f.width, f.categories) for f in model.features]
    if described != learned or tuple(signature.classes) != tuple(model.classes):
        raise ArtifactError(
            f'version {entry.version} of model "{entry.model_name}" is damaged',
            detail="Its description is not that of its artefact.",
            hint="Restore it from a backup, or train it again.",
        )


async def _own_models(session: Session) -> Models:
    question = await session.ask(private_query(queries.model_catalog().encode(), binary=True))
    rows = [row_values(body)[0] for body in question.bodies(t.DATA_ROW)]
    return Models(ModelEntry.from_json(row) for row in rows if row is not None)


async def _model(session: Session, registry: Registry, entry: ModelEntry) -> Model:
    if not session.models_changed:
        return await registry.artefact(entry)
    known = registry.known(entry)
    if known is not None:
        return known
    sql = queries.model_artefact(entry.model_name, entry.version)
    question = await session.ask(private_query(sql.encode(), binary=True))
    value = row_values(question.bodies(t.DATA_ROW)[0])[0]
    return await registry.parse_artefact(entry, value or b"")
