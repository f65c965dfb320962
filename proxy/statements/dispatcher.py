"""One session's messages that concern the proxy, each to the protocol that it belongs to."""

from __future__ import annotations

from collections.abc import Awaitable

from proxy.errors import ProxyError
from proxy.protocol import message_types as t
from proxy.protocol.messages import STATEMENT, close
from proxy.protocol.wire import frame
from proxy.session.encodings import check_exact, decode
from proxy.session.questions import AlreadyAnswered, private_name
from proxy.session.session import Session
from proxy.statements.extended_query import ExtendedQuery
from proxy.statements.services import Services
from proxy.statements.simple_query import SimpleQuery


class Dispatcher:
    """Takes the messages that the session hands over."""

    def __init__(self, session: Session, services: Services) -> None:
        self._session = session
        self._services = services
        registry = services.registries.registry(session.database)
        self._simple = SimpleQuery(session, services, registry)
        self._extended = ExtendedQuery(session, services, registry)
        session.on_models_committed = registry.mark_stale
        session.on_transaction_end = self._extended.transaction_ended
        session.pack, session.unpack = self._extended.pack, self._extended.unpack

    def handle(self, kind: int, body: bytes) -> Awaitable[None] | None:
        """Handle one frontend message; return what is to be awaited."""
        if kind == t.QUERY:
            return self._query(body)
        return self._extended.handle(kind, body)

    async def _query(self, body: bytes) -> None:
        session = self._session
        if session.replies.skipping:
            return  # the backend discards everything up to Sync
        if session.replies.has_open_batch:
            try:
                # Should the batch fail, the backend discards this Query, and so must we.
                await session.ask([close(STATEMENT, private_name())])
            except AlreadyAnswered:
                return
        try:
            statement = body.removesuffix(b"\0")
            text = decode(statement, session.codec)
            if text is None:
                session.send(frame(t.QUERY, body), t.QUERY)
                return
            analysis = await self._services.analyses.of(
                text, standard_conforming_strings=session.standard_conforming_strings
            )
            if analysis.is_ours or analysis.relations:
                check_exact(statement, text, session.codec)
            if session.inspects_extended:
                for part in analysis.parts:
                    self._extended.check_executions(part)
        except ProxyError as error:
            session.fail(error)
            session.sync()
            return
        if analysis.is_ours or analysis.relations:
            await self._simple.run(analysis)
        else:
            session.send(frame(t.QUERY, body), t.QUERY)
