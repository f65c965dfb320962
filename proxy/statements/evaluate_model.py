"""EVALUATE MODEL: read in the client's session, score in another process, answer in the session.

Owns the order, and the form of the answer: the measures become a setting of the transaction, and
the rows are a query of that setting. So the upstream describes them, formats them and counts them,
for every client, portal and row limit. Leaves the COPY to `reading`, what stops the work to
`waiting`, the numbers to the engine.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from contextlib import closing
from typing import Any

from proxy.engine import artifact
from proxy.protocol import message_types as t
from proxy.protocol.messages import row_values
from proxy.registry.postgres_store import Registry
from proxy.registry.queries import quote_literal
from proxy.rewrite.statements import EvaluateModel
from proxy.session.questions import private_query
from proxy.session.session import Session
from proxy.statements.evaluation_query import EvaluationQuery, evaluation_query
from proxy.statements.models import FoundModel, find_models
from proxy.statements.notices import Narrator
from proxy.statements.reading import describe_query, read_rows
from proxy.statements.services import Services
from proxy.statements.session_facts import FACTS_SQL, SessionFacts
from proxy.statements.waiting import wait_for
from proxy.workers.buffers import SharedDataset
from proxy.workers.frames import Evaluated

SETTING = "pgseer.evaluation"

RESULT_SQL = (
    "SELECT metric, value, detail FROM pg_catalog.jsonb_to_recordset("
    f"pg_catalog.current_setting('{SETTING}')::pg_catalog.jsonb)"
    " AS evaluation (metric pg_catalog.text, value pg_catalog.float8, detail pg_catalog.text)"
)
"""What the client's portal is upstream; to be run after `evaluate_model` in the transaction."""


async def evaluate_model(
    session: Session,
    services: Services,
    registry: Registry,
    statement: EvaluateModel,
    offset: int,
) -> None:
    """Measure a model on a query's rows, and make RESULT_SQL answer with the measures.

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
    found = await _find(session, services, registry, statement)
    question = await session.ask(private_query(FACTS_SQL))
    facts = SessionFacts.of(row_values(question.bodies(t.DATA_ROW)[0]))
    narrator = Narrator(session, facts.client_min_messages)
    text, start = statement.query_rewritten, statement.query_start
    columns = await describe_query(session, text, start, offset)
    query = evaluation_query(found.signature, columns, text, start)
    _tell_missing(narrator, found, query)

    def report(n_rows: int) -> None:
        if narrator.may_report():
            narrator.notice(f"read {n_rows} rows")

    rows = await read_rows(session, query.fetched, offset, services=services, report=report)
    with closing(rows):
        errand = _evaluated(services, found, rows)
        evaluated = await wait_for(session, registry, errand, facts.lock_timeout)
    for notice in evaluated.notices:
        narrator.notice(notice)
    value = quote_literal(result_json(evaluated.metrics))
    setting = f"SELECT pg_catalog.set_config('{SETTING}', {value}, true)"
    await session.ask(private_query(setting.encode()))


async def _find(
    session: Session, services: Services, registry: Registry, statement: EvaluateModel
) -> FoundModel:
    models = await find_models(session, registry, [statement.model], services.expressions)
    return models.found(statement.model)


def _tell_missing(narrator: Narrator, found: FoundModel, query: EvaluationQuery) -> None:
    if query.missing:
        names = ", ".join(query.missing)
        narrator.notice(
            f'not given and imputed as in training: {names} of model "{found.signature.name}"'
        )


async def _evaluated(services: Services, found: FoundModel, rows: SharedDataset) -> Evaluated:
    # The same bytes as those in the registry; a large model takes a moment to write.
    artefact = await asyncio.to_thread(artifact.dump, found.model)
    return await services.workers.evaluate(artefact, rows)


def result_json(metrics: Mapping[str, Any]) -> str:
    """Return the result's rows; what is no number is told as JSON in `detail`, its value NULL."""
    rows: list[dict[str, Any]] = []
    for name, value in metrics.items():
        is_number = value is None or isinstance(value, int | float)
        rows.append(
            {
                "metric": name,
                "value": value if is_number else None,
                "detail": None if is_number else json.dumps(value),
            }
        )
    return json.dumps(rows)
