"""Which prepared statements and cursors a text runs by SQL's EXECUTE and FETCH.

Owns finding them. A statement with PREDICT that was prepared by the protocol, and a portal of it,
have hidden columns, which SQL would show; leaves refusing that to `statements`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from proxy.errors import ModelSyntaxError
from proxy.rewrite.lexer import Token, TokenKind
from proxy.rewrite.literals import name_of
from proxy.rewrite.tree import parse_tree

_NAMES = (TokenKind.IDENTIFIER, TokenKind.QUOTED_IDENTIFIER)


@dataclass(frozen=True, slots=True)
class Execution:
    """A prepared statement that is executed, or a cursor that is fetched from.

    `place` is the offset of the name in the text, 0 if it is spelt in an unusual way.
    """

    word: Literal["EXECUTE", "FETCH"]
    name: str
    place: int


def may_execute(data: bytes | memoryview) -> bool:
    """Tell whether a statement's bytes hold one of the words; a wrong "no" never happens."""
    text = bytes(data).lower()
    return b"execute" in text or b"fetch" in text


def executions(sql: str, tokens: tuple[Token, ...]) -> tuple[Execution, ...]:
    """Return what one statement executes and fetches from, by name.

    Nothing where PostgreSQL's grammar refuses the text: then nothing runs.
    """
    text = sql.lower()
    if not ("execute" in text or "fetch" in text) or "\0" in sql:
        return ()
    try:
        stack: list[object] = [parse_tree(sql)]
    except (ModelSyntaxError, UnicodeEncodeError):
        return ()
    found: set[tuple[Literal["EXECUTE", "FETCH"], str]] = set()
    while stack:
        node = stack.pop()
        if isinstance(node, dict):
            execute = node.get("ExecuteStmt")
            if isinstance(execute, dict):
                found.add(("EXECUTE", str(execute.get("name", ""))))
            fetch = node.get("FetchStmt")
            if isinstance(fetch, dict) and not fetch.get("ismove"):
                found.add(("FETCH", str(fetch.get("portalname", ""))))
            stack.extend(node.values())
        elif isinstance(node, list):
            stack.extend(node)
    return tuple(
        Execution(word, name, _place(sql, tokens, word, name)) for word, name in sorted(found)
    )


def _place(sql: str, tokens: tuple[Token, ...], word: str, name: str) -> int:
    """Return the offset of the first token behind the word that spells the name."""
    is_behind = False
    for token in tokens:
        if is_behind and token.kind in _NAMES and name_of(sql, token) == name:
            return token.start
        is_behind = is_behind or sql[token.start : token.end].upper() == word
    return 0
