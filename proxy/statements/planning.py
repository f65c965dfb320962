"""A PREDICT query made ready to run in one session: models found, stars known, text made.

Owns what must be asked of the upstream for that, in the client's own session: what a star stands
for, and how many columns a text with stars has. Leaves the text to `rewrite.planner`.
"""

from __future__ import annotations

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
from proxy.rewrite.plan import MARK, PredictQuery, Splice
from proxy.rewrite.planner import plan
from proxy.session.questions import PositionMap, private_name
from proxy.session.session import Session
from proxy.statements.models import FoundModels, find_models
from proxy.statements.notices import tell_notices
from proxy.statements.scoring import ScoredStatement, marked_positions
from proxy.statements.services import Services


@dataclass(frozen=True, slots=True)
class PlannedQuery:
    """A query ready to run, and the models that it was made with."""

    statement: ScoredStatement
    models: FoundModels


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
    models = await find_models(session, registry, query.models)
    text_as_utf8 = session.codec != "utf-8"
    key = (query.sql, session.standard_conforming_strings, models.identity, text_as_utf8)
    is_shared = not query.probes and query.visible_count is not None
    if is_shared:
        known = services.plans.find(key)
        if known is not None:
            return PlannedQuery(known, models)
    stars = {}
    for probe in query.probes:
        names = await _described(
            session, probe.sql, parameter_types, _shifted(probe.edited.original_position, offset)
        )
        stars[probe.star] = _behind_mark(names, session.codec)
    splice = plan(query, models, stars, text_as_utf8=text_as_utf8)
    positions, n_visible = await _layout(session, query, splice, parameter_types, offset)
    statement = ScoredStatement(
        splice,
        [models.model(reference) for reference in query.models],
        positions,
        n_visible,
        services.instruments.predictions,
    )
    if is_shared and not splice.notices:
        services.plans.keep(key, statement)
    await tell_notices(session, splice.notices)
    return PlannedQuery(statement, models)


async def _layout(
    session: Session, query: PredictQuery, splice: Splice, parameter_types: bytes, offset: int
) -> tuple[list[int], int]:
    """Return where the scores stand and how many columns are visible."""
    if query.visible_count is not None:
        return [target.index for target in query.targets], query.visible_count
    position_map = _shifted(splice.original_position, offset)
    fields = await _described(session, splice.sql, parameter_types, position_map)
    return marked_positions(splice, fields.fields), len(fields.fields) - len(splice.hidden)


def _shifted(position_map: PositionMap, offset: int) -> PositionMap:
    return lambda position: position_map(position) + offset


async def _described(
    session: Session, sql: str, parameter_types: bytes, position_map: PositionMap
) -> RowDescription:
    name = private_name()
    question = await session.ask(
        [
            Parse(name, sql.encode(session.codec), parameter_types).encode(),
            describe(STATEMENT, name),
            close(STATEMENT, name),
        ],
        position_map=position_map,
    )
    bodies = question.bodies(t.ROW_DESCRIPTION)
    if not bodies:
        raise UpstreamError("the upstream did not describe a query")
    return RowDescription.decode(bodies[0])


def _behind_mark(description: RowDescription, codec: str) -> tuple[str, ...]:
    names = [field.name.decode(codec, "replace") for field in description.fields]
    return tuple(names[names.index(MARK) + 1 :])
