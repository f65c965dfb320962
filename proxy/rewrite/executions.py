"""Which prepared statements a text runs by SQL's EXECUTE.

Owns finding them. A statement with PREDICT that was prepared by the protocol has hidden columns,
which EXECUTE would show; leaves refusing that to `statements`.
"""

from __future__ import annotations

from itertools import pairwise

from proxy.errors import ModelSyntaxError
from proxy.rewrite.lexer import TokenKind, tokenize
from proxy.rewrite.literals import name_of
from proxy.rewrite.tree import parse_tree

_NAMES = (TokenKind.IDENTIFIER, TokenKind.QUOTED_IDENTIFIER)


def may_execute(data: bytes | memoryview) -> bool:
    """Tell whether a statement's bytes hold the word; a wrong "no" never happens."""
    return b"execute" in bytes(data).lower()


def executed_statements(sql: str, *, standard_conforming_strings: bool = True) -> dict[str, int]:
    """Return the names of the prepared statements that one statement runs, and where each stands.

    None where PostgreSQL's grammar refuses the text: then nothing runs.
    """
    if not may_execute(sql.encode()) or "\0" in sql:
        return {}
    try:
        stack: list[object] = [parse_tree(sql)]
    except ModelSyntaxError:
        return {}
    names = set()
    while stack:
        node = stack.pop()
        if isinstance(node, dict):
            execution = node.get("ExecuteStmt")
            if isinstance(execution, dict):
                names.add(str(execution.get("name", "")))
            stack.extend(node.values())
        elif isinstance(node, list):
            stack.extend(node)
    return {name: _place(sql, name, strings=standard_conforming_strings) for name in names}


def _place(sql: str, name: str, *, strings: bool) -> int:
    """Return the offset of the name behind the word, 0 if it is spelt in another way."""
    tokens = tokenize(sql, standard_conforming_strings=strings)
    for word, after in pairwise(tokens):
        is_word = sql[word.start : word.end].lower() == "execute"
        if is_word and after.kind in _NAMES and name_of(sql, after) == name:
            return after.start
    return 0
