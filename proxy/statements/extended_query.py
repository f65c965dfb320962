"""The extended protocol for statements of ours: Parse, Bind, Describe, Execute, Close.

Owns what each message becomes upstream. Each has its counterpart there under the same name, so the
order of answers, the skip to Sync and the life of portals need no second implementation. The common
case, a prepared PREDICT whose models have not changed, is answered without waiting for anything.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from proxy.errors import ProxyError, RemoteProtocolError, UnsupportedError
from proxy.metrics import names
from proxy.protocol import message_types as t
from proxy.protocol.messages import (
    STATEMENT,
    Bind,
    Execute,
    Parse,
    close,
    command_complete,
    target_and_name,
)
from proxy.protocol.replies import SilentReply
from proxy.protocol.wire import frame
from proxy.registry import queries
from proxy.registry.postgres_store import Registry
from proxy.relay.lane import HandedBack
from proxy.relay.portals import Luggage
from proxy.rewrite.executions import may_execute
from proxy.rewrite.plan import Command, Passthrough, PredictQuery
from proxy.rewrite.prefilter import may_concern_us
from proxy.rewrite.statements import CreateModel, DropModel, EvaluateModel, MLStatement
from proxy.session.encodings import check_exact, decode
from proxy.session.questions import AlreadyAnswered, MappedReply, PositionMap
from proxy.session.session import Session
from proxy.statements.analysis import Part
from proxy.statements.commands import CREATE_TAG, DROP_TAG, as_query, count_command
from proxy.statements.create_model import create_model
from proxy.statements.evaluate_model import RESULT_SQL, evaluate_model
from proxy.statements.luggage import pack, unpack
from proxy.statements.planning import plan_query
from proxy.statements.prepared import (
    Bound,
    BoundEvaluation,
    BoundScores,
    OurStatements,
    Prepared,
    PreparedCommand,
    PreparedEvaluation,
    PreparedScores,
)
from proxy.statements.ranking import RankedPortal, RankedRows
from proxy.statements.relations import need_schema
from proxy.statements.replies import BindReply, RetaggedExecution, ScoredDescription
from proxy.statements.services import Services
from proxy.statements.staging import (
    ClientParameters,
    bound_parameters,
    keep_one_snapshot,
    parameter_count,
    stage,
)
from proxy.statements.without_jit import WithoutJit, is_alone

_REMEMBERED_PORTALS = 16

_NEVER_RUN = "DO $pgseer$BEGIN RAISE EXCEPTION 'CREATE MODEL is carried out by pgseer'; END$pgseer$"


class ExtendedQuery:
    """One session's extended protocol."""

    def __init__(self, session: Session, services: Services, registry: Registry) -> None:
        self._session = session
        self._services = services
        self._registry = registry
        self._ours = OurStatements()
        self._handlers: dict[int, Callable[[bytes], Awaitable[None] | None]] = {
            t.PARSE: self._parse,
            t.BIND: self._bind,
            t.DESCRIBE: self._describe,
            t.EXECUTE: self._execute,
            t.CLOSE: self._close,
        }

    def handle(self, kind: int, body: bytes) -> Awaitable[None] | None:
        """Handle a Parse, Bind, Describe, Execute or Close; return what is to be awaited."""
        try:
            return self._handlers[kind](body)
        except RemoteProtocolError:
            self._relay(kind, body)  # not well made: the backend says so, and how it goes on
            return None

    def transaction_ended(self) -> None:
        """Forget the portals: they end with their transaction."""
        if self._ours.portals:
            self._ours.transaction_ended()
            self._watch()

    # -- the express lane ------------------------------------------------------------------------

    def pack(self) -> Luggage | None:
        """Return what the session brings along on the lane; None: it must stay off."""
        count = self._services.instruments.statements.of(names.PREDICT).add
        return pack(self._ours, self._registry, self._is_current, count)

    def unpack(self, handed: HandedBack) -> None:
        """Know the portals again that were bound meanwhile."""
        unpack(self._ours, handed)
        self._watch()

    def _relay(self, kind: int, body: bytes) -> None:
        self._session.send(frame(kind, body), kind)

    def _watch(self) -> None:
        self._session.inspect_extended(wanted=not self._ours.is_empty)

    def check_executions(self, part: Part) -> None:
        """Refuse to run a statement or a portal of ours by SQL.

        The hidden columns of a PREDICT would be seen, and nobody would evaluate for an EVALUATE.

        Raises
        ------
        UnsupportedError
            It has EXECUTE of a statement with PREDICT, or of an EVALUATE MODEL, that was prepared
            by the protocol, or FETCH from a portal of one.
        """
        for found in part.executions:
            name = found.name.encode(self._session.codec, "replace")
            ours = self._ours
            known: object = ours.portals.get(name)
            if found.word == "EXECUTE":
                known = ours.statements.get(name)
            is_scored = isinstance(known, PreparedScores | BoundScores)
            if is_scored or isinstance(known, PreparedEvaluation | BoundEvaluation):
                what = "has PREDICT in it" if is_scored else "is an EVALUATE MODEL"
                raise UnsupportedError(
                    f'{found.word} of "{found.name}" is not supported: it {what}',
                    position=part.start + found.place + 1,
                    hint="Bind and execute it by the protocol, which prepared it.",
                )

    # -- Parse -----------------------------------------------------------------------------------

    def _parse(self, body: bytes) -> Awaitable[None] | None:
        message = Parse.decode(body)
        if may_concern_us(message.text) or may_execute(message.text):
            return self._parse_ours(message)
        self._parse_ordinary(message)
        return None

    def _parse_ordinary(self, message: Parse) -> None:
        """Pass it on; from now on its name is none of ours, unless the upstream refuses it."""
        if message.name in self._ours.statements:
            self._send_parse(message, message, None, None)
        else:
            self._session.send(message.encode(), t.PARSE)

    async def _parse_ours(self, message: Parse) -> None:
        session = self._session
        if session.replies.skipping:
            return  # the backend discards everything up to Sync
        try:
            sql = decode(message.text, session.codec)
            part = await self._only_part(sql)
            if part is not None:
                self.check_executions(part)
            if part is None or (isinstance(part.plan, Passthrough) and part.qualified is None):
                self._parse_ordinary(message)
                return
            check_exact(message.text, sql or "", session.codec)
            if isinstance(part.plan, Passthrough):
                await self._parse_qualified(message, part)
            elif isinstance(part.plan, Command):
                await self._parse_command(message, part.plan.statement)
            elif isinstance(part.plan, PredictQuery):
                await self._parse_scored(message, part.plan)
        except AlreadyAnswered:
            return
        except ProxyError as error:
            session.fail(error)

    async def _only_part(self, sql: str | None) -> Part | None:
        if sql is None:
            return None
        analysis = await self._services.analyses.of(
            sql, standard_conforming_strings=self._session.standard_conforming_strings
        )
        if len(analysis.parts) == 1:
            return analysis.parts[0]
        return None  # the upstream refuses several commands in one prepared statement

    async def _parse_qualified(self, message: Parse, part: Part) -> None:
        assert part.qualified is not None
        if not await need_schema(self._session, self._registry, part.relations):
            self._parse_ordinary(message)
            return
        position_map = part.qualified.original_position
        self._send_parse(message, self._with_text(message, part.qualified.text), None, position_map)

    async def _parse_command(self, message: Parse, statement: MLStatement) -> None:
        await self._registry.models()  # schema ml exists from here on
        sql = as_query(statement)
        if sql is not None:
            count_command(self._services, statement)
            self._send_parse(message, self._with_text(message, sql), None, lambda _: 1)
            return
        if isinstance(statement, CreateModel):
            self._send_parse(
                message, self._with_text(message, _NEVER_RUN), PreparedCommand(statement), None
            )
        elif isinstance(statement, DropModel):
            text = self._with_text(message, _drop_text(statement))
            self._send_parse(message, text, PreparedCommand(statement), lambda _: 1)
        elif isinstance(statement, EvaluateModel):
            text = self._with_text(message, RESULT_SQL)
            self._send_parse(message, text, PreparedEvaluation(statement), lambda _: 1)

    async def _parse_scored(self, message: Parse, query: PredictQuery) -> None:
        prepared = await self._plan(query, message.parameter_types)
        splice = prepared.planned.statement.splice
        self._send_parse(
            message, self._with_text(message, splice.sql), prepared, splice.original_position
        )

    async def _plan(self, query: PredictQuery, parameter_types: bytes) -> PreparedScores:
        session = self._session
        catalogue = None if session.models_changed else await self._registry.models()
        planned = await plan_query(session, self._services, self._registry, query, parameter_types)
        types = tuple(call.type_sql for call in planned.statement.splice.calls)
        return PreparedScores(query, parameter_types, planned, session.codec, catalogue, types)

    def _with_text(self, message: Parse, sql: str) -> Parse:
        return Parse(message.name, sql.encode(self._session.codec), message.parameter_types)

    def _send_parse(
        self,
        message: Parse,
        sent: Parse,
        prepared: Prepared | None,
        position_map: PositionMap | None,
    ) -> None:
        """Send a Parse; its name is ours (or not) at once, and what it was again if it fails."""
        statements = self._ours.statements
        before = statements.pop(message.name, None)
        if prepared is not None:
            statements[message.name] = prepared
        self._watch()

        def undo() -> None:
            statements.pop(message.name, None)
            if before is not None:
                statements[message.name] = before
            self._watch()

        self._session.send(sent.encode(), _ParseReply(position_map, undo))

    # -- Bind ------------------------------------------------------------------------------------

    def _bind(self, body: bytes) -> Awaitable[None] | None:
        message = Bind.decode(body)
        self._ours.ranked.pop(message.portal, None)
        prepared = self._ours.statements.get(message.statement)
        if prepared is None:
            self._ours.portals.pop(message.portal, None)
            self._watch()
            self._relay(t.BIND, body)
            return None
        if isinstance(prepared, PreparedCommand | PreparedEvaluation):
            self._ours.portals[message.portal] = (
                prepared
                if isinstance(prepared, PreparedCommand)
                else BoundEvaluation(prepared.statement)
            )
            self._send_bind(frame(t.BIND, body), BindReply(message.portal, self._ours.unanswered))
            return None
        if self._is_current(prepared) and self._needs_no_asking(prepared):
            self._bind_scored(message, prepared)
            return None
        return self._bind_again(message, prepared)

    def _needs_no_asking(self, prepared: PreparedScores) -> bool:
        splice = prepared.planned.statement.splice
        return not splice.stages and (splice.jit_off_at != "bind" or is_alone(self._session))

    def _is_current(self, prepared: PreparedScores) -> bool:
        return (
            prepared.catalogue is not None
            and prepared.catalogue is self._registry.fresh_models
            and not self._session.models_changed
            and prepared.codec == self._session.codec
        )

    async def _is_unchanged(self, prepared: PreparedScores) -> bool:
        """Say whether the registry, asked, still has the models that the statement has."""
        if self._session.models_changed or prepared.codec != self._session.codec:
            return False
        return await self._registry.models() is prepared.catalogue

    async def _bind_again(self, message: Bind, prepared: PreparedScores) -> None:
        """Bind a statement whose models may have changed since; it may need another text."""
        session = self._session
        if session.replies.skipping:
            return
        try:
            if await self._is_unchanged(prepared):
                await self._bind_carefully(message, prepared)
                return
            fresh = await self._plan(prepared.query, prepared.parameter_types)
            if fresh.described != prepared.described:
                raise UnsupportedError(
                    "cached plan must not change result type",
                    detail="The model that the statement names now predicts another type.",
                    hint="Prepare the statement again.",
                )
            new, old = fresh.planned.statement.splice, prepared.planned.statement.splice
            if new.sql != old.sql:
                text = new.sql.encode(session.codec)
                session.send(close(STATEMENT, message.statement), SilentReply(t.CLOSE))
                again = Parse(message.statement, text, prepared.parameter_types)
                session.send(again.encode(), SilentReply(t.PARSE))
            prepared.planned, prepared.catalogue = fresh.planned, fresh.catalogue
            prepared.codec = fresh.codec
            prepared.bound.clear()
            await self._bind_carefully(message, prepared)
        except AlreadyAnswered:
            return
        except ProxyError as error:
            error.position = None
            session.fail(error)

    async def _bind_carefully(self, message: Bind, prepared: PreparedScores) -> None:
        """Bind a statement, having scored what it looks up, and asked what JIT was."""
        if prepared.planned.statement.splice.stages:
            message = await self._staged(message, prepared)
        without_jit = None
        if prepared.planned.statement.splice.jit_off_at == "bind":
            without_jit = await WithoutJit.ask(self._session)
        self._bind_scored(message, prepared, without_jit)

    async def _staged(self, message: Bind, prepared: PreparedScores) -> Bind:
        """Return a Bind with the scores that its statement looks up."""
        planned, session = prepared.planned, self._session
        if prepared.query.takes_no_parameters:
            raise UnsupportedError(
                "a COPY with PREDICT of so large a model is not supported in the extended protocol",
                hint="Send it as a simple query.",
            )
        given = parameter_count(message.parameters)
        if given != len(planned.parameter_types):
            raise RemoteProtocolError(
                f"bind message supplies {given} parameters, but prepared statement"
                f' "{message.statement.decode(session.codec, "replace")}" requires'
                f" {len(planned.parameter_types)}"
            )
        await keep_one_snapshot(session, prepared.query)
        parameters = ClientParameters(message.parameters, planned.parameter_types)
        arrays = await stage(session, planned.statement, parameters)
        return message._replace(parameters=bound_parameters(message.parameters, arrays))

    def _bind_scored(
        self, message: Bind, prepared: PreparedScores, without_jit: WithoutJit | None = None
    ) -> None:
        statement = prepared.planned.statement
        formats = statement.result_formats(message.result_formats)
        if formats is None:
            self._session.fail(
                RemoteProtocolError(
                    f"bind message has {len(message.result_formats)} result formats but query "
                    f"has {statement.n_visible} columns"
                )
            )
            return
        self._services.instruments.statements.of(names.PREDICT).add()
        bound = self._bound(prepared, message.portal, message.result_formats, formats)
        self._ours.portals[message.portal] = bound
        sent = Bind(message.portal, message.statement, message.parameters, formats).encode()
        if bound.jit_off_at == "bind":
            with without_jit or WithoutJit.alone(self._session):
                self._send_bind(sent, bound.binding)
        else:
            self._send_bind(sent, bound.binding)
        self._session.send_rest(bound.usual)

    def _send_bind(self, message: bytes, reply: BindReply) -> None:
        reply.sent()
        self._session.send(message, reply)

    def _bound(
        self,
        prepared: PreparedScores,
        portal: bytes,
        wanted: tuple[int, ...],
        formats: tuple[int, ...],
    ) -> BoundScores:
        key = (portal, wanted)
        bound = prepared.bound.get(key)
        if bound is None:
            if len(prepared.bound) == _REMEMBERED_PORTALS:
                prepared.bound.clear()
            statement = prepared.planned.statement
            binding = BindReply(portal, self._ours.unanswered)
            bound = BoundScores.of(statement, formats, portal, prepared.codec, binding)
            prepared.bound[key] = bound
        return bound

    # -- Describe, Execute, Close ----------------------------------------------------------------

    def _describe(self, body: bytes) -> None:
        target, name = target_and_name(body)
        ours: Prepared | Bound | None
        if target == STATEMENT:
            ours = self._ours.statements.get(name)
        else:
            ours = self._ours.portals.get(name)
        if isinstance(ours, PreparedScores):
            reply = ScoredDescription(ours.planned.statement, self._session.codec)
        elif isinstance(ours, BoundScores):
            reply = ours.description
        else:
            self._relay(t.DESCRIBE, body)
            return
        self._session.send(frame(t.DESCRIBE, body), reply)

    def _execute(self, body: bytes) -> Awaitable[None] | None:
        message = Execute.decode(body)
        bound = self._ours.portals.get(message.portal)
        if isinstance(bound, BoundScores):
            if bound.statement.is_ranked:
                return self._execute_ranked(bound, message)
            if bound.jit_off_at == "execute":
                return self._execute_without_jit(bound, body)
            if bound.codec == self._session.codec:
                self._session.send(frame(t.EXECUTE, body), bound.execution)
            else:
                self._session.fail(
                    UnsupportedError("client_encoding has changed since the portal was bound")
                )
        elif isinstance(bound, PreparedCommand) and isinstance(bound.statement, CreateModel):
            return self._create_model(bound.statement)
        elif isinstance(bound, PreparedCommand):
            count_command(self._services, bound.statement)
            self._session.models_changed = True
            self._session.send(frame(t.EXECUTE, body), RetaggedExecution(DROP_TAG))
        elif isinstance(bound, BoundEvaluation) and not bound.is_begun:
            return self._evaluate_model(bound, body)
        else:
            self._relay(t.EXECUTE, body)
        return None

    async def _execute_ranked(self, bound: BoundScores, message: Execute) -> None:
        """Run the portal to its end, sort what it gave, and tell as much as is asked for."""
        session = self._session
        if session.replies.skipping:
            return
        portal = self._ours.ranked.get(message.portal)
        try:
            if portal is None:
                portal = await self._ranked(bound, message.portal)
                self._ours.ranked[message.portal] = portal
            else:
                # Whatever is in the way of an Execute now is PostgreSQL's to say.
                await session.ask([Execute(message.portal).encode()])
        except AlreadyAnswered:
            return
        except ProxyError as error:
            session.fail(error)
            return
        session.tell(portal.next_messages(message.row_limit))

    async def _ranked(self, bound: BoundScores, name: bytes) -> RankedPortal:
        session, statement = self._session, bound.statement
        ranking = statement.splice.ranking
        assert ranking is not None
        rows = RankedRows(session, statement, ranking, bound.formats[: statement.n_visible])
        position_map = statement.splice.original_position
        question = session.ask([Execute(name).encode()], position_map=position_map, rows=rows)
        await rows.run(question)
        return rows.portal()

    async def _execute_without_jit(self, bound: BoundScores, body: bytes) -> None:
        if self._session.replies.skipping:
            return
        with await WithoutJit.ask(self._session):
            self._session.send(frame(t.EXECUTE, body), bound.execution)

    async def _create_model(self, statement: CreateModel) -> None:
        session = self._session
        if session.replies.skipping:
            return
        count_command(self._services, statement)
        try:
            await create_model(session, self._services, self._registry, statement, 0)
        except AlreadyAnswered:
            return
        except ProxyError as error:
            session.fail(error)
            return
        session.tell(command_complete(CREATE_TAG))

    async def _evaluate_model(self, bound: BoundEvaluation, body: bytes) -> None:
        """Evaluate, then let the upstream run the portal: its rows are the result."""
        session = self._session
        if session.replies.skipping:
            return
        bound.is_begun = True
        count_command(self._services, bound.statement)
        try:
            await evaluate_model(session, self._services, self._registry, bound.statement, 0)
        except AlreadyAnswered:
            return
        except ProxyError as error:
            session.fail(error)
            return
        self._relay(t.EXECUTE, body)

    def _close(self, body: bytes) -> None:
        target, name = target_and_name(body)
        if target == STATEMENT:
            self._ours.statements.pop(name, None)
        else:
            self._ours.portals.pop(name, None)
            self._ours.ranked.pop(name, None)
        self._watch()
        self._relay(t.CLOSE, body)


class _ParseReply(MappedReply):
    """A Parse; if it fails, the name means what it meant before."""

    __slots__ = ("_undo",)

    def __init__(self, position_map: PositionMap | None, undo: Callable[[], None]) -> None:
        super().__init__(t.PARSE, position_map)
        self._undo = undo

    def on_message(self, kind: int, body: bytes) -> bytes | None:
        if kind == t.ERROR_RESPONSE:
            self._undo()
        return super().on_message(kind, body)

    def on_skipped(self) -> None:
        self._undo()


def _drop_text(statement: DropModel) -> str:
    calls = [
        queries.drop_model(model.name, model.version, if_exists=statement.if_exists)
        for model in statement.models
    ]
    if len(calls) == 1:
        return calls[0]
    body = f"BEGIN {'; '.join(calls)}; END"
    tag = "$pgseer$"
    while tag in body:  # a name may hold anything
        tag = f"{tag[:-1]}_$"
    return f"DO {tag}{body}{tag}"
