"""PREDICT in the body of a function, a procedure or a DO block, which are strings to PostgreSQL.

Owns finding it there. The body runs in the database, where nobody could compute it; left to pass it
would fail at its first call, in words that help nobody.
"""

from __future__ import annotations

from proxy.errors import UnsupportedError
from proxy.rewrite.calls import find_calls
from proxy.rewrite.lexer import Token, TokenKind, tokenize
from proxy.rewrite.literals import STRING_KINDS

_LANGUAGES = frozenset({"sql", "plpgsql"})


def refuse_bodies(sql: str, tokens: tuple[Token, ...]) -> None:
    """Refuse a body in SQL or PL/pgSQL that calls PREDICT.

    Raises
    ------
    UnsupportedError
        At the call.
    """
    if not _has_body(sql, tokens):
        return
    for token in tokens:
        if token.kind not in STRING_KINDS:
            continue
        text = sql[token.start : token.end]
        opening = text.index("$", 1) + 1 if token.kind is TokenKind.DOLLAR_STRING else 1
        body = text[opening : len(text) - opening]
        if "predict" not in body.lower():
            continue
        calls = find_calls(body, tokenize(body))
        if calls:
            raise UnsupportedError(
                f"{calls[0].function.upper()} is not supported in a function's body yet",
                detail="The body runs in the database, which does not know the models.",
                hint="Call it in the statement that calls the function, and pass its value.",
                position=token.start + opening + calls[0].position,
            )


def _has_body(sql: str, tokens: tuple[Token, ...]) -> bool:
    """Tell whether a statement makes or runs a body in a language whose calls are SQL's."""
    words = [
        sql[token.start : token.end].lower() if token.kind is TokenKind.IDENTIFIER else ""
        for token in tokens
    ]
    makes = words[:1] == ["create"] and ("function" in words[1:4] or "procedure" in words[1:4])
    if not makes and words[:1] != ["do"]:
        return False
    places = [index for index, word in enumerate(words) if word == "language"]
    if not places:
        return words[0] == "do"
    after = tokens[places[0] + 1 : places[0] + 2]
    name = sql[after[0].start : after[0].end].lower().strip("'\"") if after else ""
    return name in _LANGUAGES
