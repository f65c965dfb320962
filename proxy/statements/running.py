"""An ordinary statement as one step of a batch that stands for a simple query."""

from __future__ import annotations

from proxy.protocol import message_types as t
from proxy.protocol.messages import (
    NO_PARAMETER_TYPES,
    NO_PARAMETERS,
    PORTAL,
    Bind,
    Execute,
    Parse,
    describe,
)
from proxy.protocol.wire import cstring, frame
from proxy.session.questions import PositionMap, SilentMappedReply
from proxy.session.session import Session
from proxy.statements.replies import SimpleDescription, SimpleExecution

_UNNAMED = b""


def run_statement(session: Session, sql: str, position_map: PositionMap | None) -> None:
    """Run an ordinary statement as a part of a simple query."""

    def refuse_copy() -> None:
        reason = b"COPY FROM STDIN cannot stand beside statements with models in one query string"
        session.upstream.write(frame(t.COPY_FAIL, cstring(reason)))
        session.replies.sent(t.COPY_FAIL)

    text = sql.encode(session.codec)
    session.send(
        Parse(_UNNAMED, text, NO_PARAMETER_TYPES).encode(),
        SilentMappedReply(t.PARSE, position_map),
    )
    session.send(
        Bind(_UNNAMED, _UNNAMED, NO_PARAMETERS, ()).encode(),
        SilentMappedReply(t.BIND, position_map),
    )
    session.send(describe(PORTAL, _UNNAMED), SimpleDescription(t.DESCRIBE, position_map))
    session.send(Execute(_UNNAMED).encode(), SimpleExecution(position_map, refuse_copy))
