"""A PREDICT query made ready to run in one session: models found, stars known, text made.

Owns what must be asked of the upstream for that, in the client's own session: what a star stands
for, and how many columns a text with stars has. Leaves the text to `rewrite.planner`.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from proxy.errors import UpstreamError
from proxy.protocol import message_types as t
from proxy.protocol.messages import (
    NO_PARAMETER_TYPES,
    STATEMENT,
    Parse,
    RowDescription,
    close,
    describe,
)
from proxy.registry.postgres_store import Registry
from proxy.rewrite.plan import PredictQuery, Splice
from proxy.rewrite.planner import may_stage, plan, probes
from proxy.session.questions import PositionMap, Question, private_name
from proxy.session.session import Session
from proxy.statements.models import FoundModels, find_models
from proxy.statements.notices import tell_notices
from proxy.statements.scoring import ScoredStatement, marked_positions
from proxy.statements.services import Services
from proxy.statements.staging import keep_one_snapshot


@dataclass(frozen=True, slots=True)
class PlannedQuery:
    """A query ready to run, and the models that it was made with.

    `parameter_types` are the OIDs of the client's parameters, where something is staged.
    """

    statement: ScoredStatement
    models: FoundModels
    parameter_types: tuple[int, ...] = ()


async def plan_query(
    session: Session,
    services: Services,
    registry: Registry,
    query: PredictQuery,
    parameter_types: bytes = NO_PARAMETER_TYPES,
    *,
    offset: int = 0,
) -> PlannedQuery:
    """Make a query ready.

    Parameters
    ----------
    parameter_types : of its Parse
    offset : of the query in the client's text, for positions

    Raises
    ------
    ProxyError
        It cannot be; its position counts in the query.
    AlreadyAnswered
        The upstream refused what it was asked on the way.
    """
    models = await find_models(session, registry, query.models, services.expressions)
    text_as_utf8 = session.codec != "utf-8"
    n_parameters = max(int.from_bytes(parameter_types[:2], "big"), query.n_parameters)
    key = (
        query.sql, session.standard_conforming_strings, models.identity, text_as_utf8, n_parameters
    )  # fmt: skip
    is_shared = not query.stars and (query.visible_count is not None or not query.spliced)
    known = services.plans.find(key) if is_shared else None
    if known.splice.stages if known else may_stage(query, models):
        await keep_one_snapshot(session, query)
    if known is not None:
        types = await _parameter_types(session, known, parameter_types, n_parameters, offset)
        return PlannedQuery(known, models, types)
    stars = {}
    for probe in probes(query, models):
        columns = await _columns(
            session, probe.sql, parameter_types, _shifted(probe.edited.original_position, offset)
        )
        stars[probe.key] = tuple(
            field.name.decode(session.codec, "replace") for field in columns.fields
        )
    splice = plan(query, models, stars, text_as_utf8=text_as_utf8, n_parameters=n_parameters)
    positions, n_visible = await _layout(session, query, splice, parameter_types, offset)
    statement = ScoredStatement(
        splice,
        [models.model(query.models[score.site]) for score in splice.scores],
        positions,
        n_visible,
        services.instruments.predictions,
        [models.model(query.models[step.site]) for step in splice.stages],
    )
    if is_shared and not stars and not splice.notices:
        services.plans.keep(key, statement)
    await tell_notices(session, splice.notices)
    types = await _parameter_types(session, statement, parameter_types, n_parameters, offset)
    return PlannedQuery(statement, models, types)


async def _parameter_types(
    session: Session,
    statement: ScoredStatement,
    declared: bytes,
    n_parameters: int,
    offset: int,
) -> tuple[int, ...]:
    """Return the types of the client's parameters, for the queries that run beforehand."""
    splice = statement.splice
    if not splice.stages or not n_parameters:
        return ()
    position_map = _shifted(splice.original_position, offset)
    question = await _described(session, splice.sql, declared, position_map)
    (body,) = question.bodies(t.PARAMETER_DESCRIPTION)
    every = struct.unpack_from(f"!{int.from_bytes(body[:2], 'big')}I", body, 2)
    return every[:n_parameters]


async def _layout(
    session: Session, query: PredictQuery, splice: Splice, parameter_types: bytes, offset: int
) -> tuple[list[int], int]:
    """Return where the scores stand and how many columns are visible."""
    if not splice.scores or splice.explained is not None:
        return [-1] * len(splice.scores), query.visible_count or 0
    if query.visible_count is not None:
        return [score.index for score in splice.scores], query.visible_count
    position_map = _shifted(splice.original_position, offset)
    fields = await _columns(session, splice.sql, parameter_types, position_map)
    return marked_positions(splice, fields.fields), len(fields.fields) - len(splice.hidden)


def _shifted(position_map: PositionMap, offset: int) -> PositionMap:
    return lambda position: position_map(position) + offset


async def _columns(
    session: Session, sql: str, parameter_types: bytes, position_map: PositionMap
) -> RowDescription:
    question = await _described(session, sql, parameter_types, position_map)
    bodies = question.bodies(t.ROW_DESCRIPTION)
    if not bodies:
        raise UpstreamError("the upstream did not describe a query")
    return RowDescription.decode(bodies[0])


async def _described(
    session: Session, sql: str, parameter_types: bytes, position_map: PositionMap
) -> Question:
    name = private_name()
    return await session.ask(
        [
            Parse(name, sql.encode(session.codec), parameter_types).encode(),
            describe(STATEMENT, name),
            close(STATEMENT, name),
        ],
        position_map=position_map,
    )
