"""An ordinary statement as one step of a batch that stands for a simple query."""

from __future__ import annotations

from proxy.errors import UnsupportedError
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
from proxy.protocol.replies import Reply
from proxy.rewrite.lexer import Token, TokenKind, tokenize
from proxy.session.questions import MappedReply, PositionMap, SilentMappedReply
from proxy.session.session import Session
from proxy.statements.replies import SimpleDescription

_UNNAMED = b""


def run_statement(
    session: Session,
    sql: str,
    position_map: PositionMap | None,
    parameters: bytes = NO_PARAMETERS,
    execution: Reply | None = None,
) -> None:
    """Run a statement as a part of a simple query.

    Parameters
    ----------
    execution : takes the rows; None lets them go to the client as they come
    """
    text = sql.encode(session.codec)
    session.send(
        Parse(_UNNAMED, text, NO_PARAMETER_TYPES).encode(),
        SilentMappedReply(t.PARSE, position_map),
    )
    session.send(
        Bind(_UNNAMED, _UNNAMED, parameters, ()).encode(),
        SilentMappedReply(t.BIND, position_map),
    )
    session.send(describe(PORTAL, _UNNAMED), SimpleDescription(t.DESCRIBE, position_map))
    session.send(Execute(_UNNAMED).encode(), execution or MappedReply(t.EXECUTE, position_map))


def refuse_copy_in(sql: str, *, standard_conforming_strings: bool) -> None:
    """Refuse a COPY FROM STDIN, before it is sent.

    Within one the backend reads the batch's next messages: it ignores a Sync, so that nobody would
    ever be ready, and hangs up on any other.

    Raises
    ------
    UnsupportedError
        At the word COPY.
    """
    tokens = tokenize(sql, standard_conforming_strings=standard_conforming_strings)
    if tokens and _word(sql, tokens[0]) == "copy" and _reads_from_client(sql, tokens):
        raise UnsupportedError(
            "COPY FROM STDIN cannot stand beside statements with models in one query string",
            hint="Send it by itself.",
            position=tokens[0].start + 1,
        )


def _reads_from_client(sql: str, tokens: tuple[Token, ...]) -> bool:
    depth, before = 0, ""
    for token in tokens:
        word = _word(sql, token)
        # The grammar takes either name for the client, whatever the direction.
        if depth == 0 and before == "from" and word in ("stdin", "stdout"):
            return True
        depth += (word == "(") - (word == ")")
        before = word
    return False


def _word(sql: str, token: Token) -> str:
    if token.kind in (TokenKind.IDENTIFIER, TokenKind.PUNCTUATION):
        return sql[token.start : token.end].lower()
    return ""
