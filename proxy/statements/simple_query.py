"""A simple Query that holds a statement of ours: run as one batch of the extended protocol.

A query string is one implicit transaction and has one ReadyForQuery; so has a batch up to its
Sync. Every statement of the string, ours or not, becomes Parse, Bind, Describe, Execute; the
answers that a simple query would not have are kept back.
"""

from __future__ import annotations

from proxy.errors import ProxyError
from proxy.metrics import names
from proxy.protocol import message_types as t
from proxy.protocol.messages import (
    NO_PARAMETER_TYPES,
    NO_PARAMETERS,
    PORTAL,
    STATEMENT,
    Bind,
    Execute,
    Parse,
    close,
    describe,
)
from proxy.registry.postgres_store import Registry
from proxy.rewrite.plan import Command, Passthrough, PredictQuery
from proxy.session.questions import (
    AlreadyAnswered,
    PositionMap,
    SilentMappedReply,
    private_name,
)
from proxy.session.session import Session
from proxy.statements.analysis import Analysis, Part
from proxy.statements.commands import run_command
from proxy.statements.explaining import ExplainedExecution, ScoringRun
from proxy.statements.planning import plan_query
from proxy.statements.ranking import RankedRows
from proxy.statements.relations import need_schema
from proxy.statements.replies import (
    ScoredDescription,
    ScoredExecution,
)
from proxy.statements.running import refuse_copy_in, run_statement
from proxy.statements.scoring import ScoredStatement
from proxy.statements.services import Services
from proxy.statements.staging import ClientParameters, bound_parameters, constants, stage
from proxy.statements.trial import try_out
from proxy.statements.without_jit import WithoutJit

_UNNAMED = b""


class SimpleQuery:
    """One Query message."""

    def __init__(self, session: Session, services: Services, registry: Registry) -> None:
        self._session = session
        self._services = services
        self._registry = registry

    async def run(self, analysis: Analysis) -> None:
        """Answer it, ReadyForQuery included."""
        offset = 0
        try:
            for part in analysis.parts:
                offset = part.start
                await self._run_part(part)
        except AlreadyAnswered:
            pass
        except ProxyError as error:
            if error.position is not None:
                error.position += offset
            self._session.fail(error)
        self._session.sync()

    async def _run_part(self, part: Part) -> None:
        plan = part.plan
        if isinstance(plan, Passthrough):
            await self._run_ordinary(part)
        elif isinstance(plan, Command):
            await run_command(
                self._session, self._services, self._registry, plan.statement, part.start
            )
        elif isinstance(plan, PredictQuery):
            await self._run_scored(part, plan)

    async def _run_ordinary(self, part: Part) -> None:
        refuse_copy_in(
            part.sql, standard_conforming_strings=self._session.standard_conforming_strings
        )
        text = part.qualified
        if text and not await need_schema(self._session, self._registry, part.relations):
            text = None
        sql = part.sql if text is None else text.text
        start = part.start

        def position_map(position: int) -> int:
            inside = position if text is None else text.original_position(position)
            return inside + start

        run_statement(self._session, sql, position_map)

    async def _run_scored(self, part: Part, query: PredictQuery) -> None:
        session, start = self._session, part.start
        self._services.instruments.statements.of(names.PREDICT).add()
        planned = await plan_query(session, self._services, self._registry, query, offset=start)
        statement = planned.statement

        def position_map(position: int) -> int:
            return statement.splice.original_position(position) + start

        sql, parameters = statement.splice.sql, NO_PARAMETERS
        runs: dict[int, ScoringRun] = {}
        if statement.splice.stages:
            arrays = await stage(session, statement, ClientParameters(), start, runs)
            if query.takes_no_parameters:
                sql = statement.splice.sql_with(constants(arrays, 1))
            else:
                parameters = bound_parameters(parameters, arrays)
        if statement.splice.explained is not None:
            if statement.splice.explained_sql is not None:
                runs |= await try_out(session, statement, parameters, statement.n_visible)
            execution = ExplainedExecution(statement.splice, position_map, session.codec, runs)
            with await WithoutJit.ask(session):
                run_statement(session, sql, position_map, parameters, execution)
        elif statement.splice.ranking is not None:
            await self._run_ranked(statement, parameters, position_map)
        elif statement.splice.jit_off_at is not None:
            with await WithoutJit.ask(session):
                self._send_scored(statement, sql, parameters, position_map)
        else:
            self._send_scored(statement, sql, parameters, position_map)

    async def _run_ranked(
        self, statement: ScoredStatement, parameters: bytes, position_map: PositionMap
    ) -> None:
        session, ranking = self._session, statement.splice.ranking
        formats = statement.result_formats(())
        assert formats is not None
        assert ranking is not None
        name = private_name()
        rows = RankedRows(session, statement, ranking, formats[: statement.n_visible])
        text = statement.splice.sql.encode(session.codec)
        described = await session.ask(
            [
                Parse(name, text, NO_PARAMETER_TYPES).encode(),
                Bind(name, name, parameters, formats).encode(),
                describe(PORTAL, name),
            ],
            position_map=position_map,
        )
        description = statement.describe(described.bodies(t.ROW_DESCRIPTION)[0], session.codec)
        messages = [Execute(name).encode(), close(PORTAL, name), close(STATEMENT, name)]
        await rows.run(session.ask(messages, position_map=position_map, rows=rows))
        session.tell(description + rows.portal().next_messages(0))

    def _send_scored(
        self, statement: ScoredStatement, sql: str, parameters: bytes, position_map: PositionMap
    ) -> None:
        session = self._session
        if not statement.is_scored:
            run_statement(session, sql, position_map, parameters)
            return
        formats = statement.result_formats(())
        assert formats is not None
        text = sql.encode(session.codec)
        session.send(
            Parse(_UNNAMED, text, NO_PARAMETER_TYPES).encode(),
            SilentMappedReply(t.PARSE, position_map),
        )
        session.send(
            Bind(_UNNAMED, _UNNAMED, parameters, formats).encode(),
            SilentMappedReply(t.BIND, position_map),
        )
        session.send(describe(PORTAL, _UNNAMED), ScoredDescription(statement, session.codec))
        rows = statement.rows(formats[: statement.n_visible], session.codec)
        session.send(Execute(_UNNAMED).encode(), ScoredExecution(rows, position_map))
