"""Subqueries in FROM that have no alias, which PostgreSQL wants before version 16.

Owns finding where one belongs. The dialect does without.
"""

from __future__ import annotations

from collections.abc import Iterator

from proxy.rewrite.blocks import Block
from proxy.rewrite.lexer import Token, TokenKind

_BEFORE_ITEM = frozenset({"join", "lateral"})
_AFTER_ITEM = frozenset(
    {"where", "group", "having", "window", "order", "limit", "offset", "fetch", "for", "union"}
    | {"intersect", "except", "join", "cross", "inner", "left", "right", "full", "natural", "on"}
    | {"using", "returning", "set", "when", ")", ",", ";"}
)
_QUERIES = frozenset({"select", "values", "with", "table"})


def missing_aliases(
    sql: str, tokens: tuple[Token, ...], blocks: tuple[Block, ...]
) -> Iterator[tuple[int, str]]:
    """Yield the offset and the text of each alias to put in."""

    def word(index: int) -> str:
        if not 0 <= index < len(tokens):
            return ";"
        token = tokens[index]
        if token.kind in (TokenKind.IDENTIFIER, TokenKind.PUNCTUATION):
            return sql[token.start : token.end].lower()
        return "?"

    number = 0
    for block in blocks:
        if "from" not in block.clauses:
            continue
        first, stop = block.clauses["from"]
        depth, opened = 0, [0] * 0
        for index in range(first, stop):
            if word(index) == "(":
                is_item = word(index - 1) in _BEFORE_ITEM or (
                    not depth and (index == first or word(index - 1) == ",")
                )
                opened.append(index if is_item and _is_query(word, index) else -1)
                depth += 1
            elif word(index) == ")" and opened:
                depth -= 1
                if opened.pop() >= 0 and word(index + 1) in _AFTER_ITEM:
                    yield tokens[index].end, f' AS "pgseer.subquery.{number}"'
                    number += 1


def _is_query(word: object, opening: int) -> bool:
    index = opening + 1
    while word(index) == "(":  # type: ignore[operator]
        index += 1
    return word(index) in _QUERIES  # type: ignore[operator]
