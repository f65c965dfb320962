"""The proxy's state under its short names: `ml_models` is `ml.ml_models`.

Owns finding where a statement reads or writes such a relation without a schema, and the text that
reaches it with one. Leaves to the caller whether to use it: a table of the user's own comes first.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from proxy.errors import ModelSyntaxError
from proxy.rewrite.calls import find_calls, grammatical
from proxy.rewrite.edits import Edit, EditedText, Piece, edited
from proxy.rewrite.lexer import Token
from proxy.rewrite.tree import character_offset, parse_tree

STATE_SCHEMA = "ml"
STATE_RELATIONS = frozenset({"ml_models", "ml_training_progress"})

# The keys under which a RangeVar is a relation to read or write; elsewhere it is a new table's
# name, or (FOR UPDATE OF x) an alias that takes no schema.
_LISTS = frozenset({"fromClause", "usingClause"})
_SINGLE = frozenset({"larg", "rarg", "sourceRelation"})
_WRITERS = frozenset({"InsertStmt", "UpdateStmt", "DeleteStmt", "MergeStmt", "CopyStmt"})


@dataclass(frozen=True, slots=True)
class StateRelations:
    """Names that a statement uses unqualified, and its text with the schema before each."""

    names: tuple[str, ...]
    edits: tuple[Edit, ...]
    edited: EditedText


def qualify_state_relations(sql: str, tokens: tuple[Token, ...]) -> StateRelations | None:
    """Put the schema before every unqualified name of a state relation; None: there is none.

    A name that a WITH query of the statement has is left alone everywhere in it. Columns and
    aliases go on as they were: `ml_models.version` finds `ml.ml_models`.

    Parameters
    ----------
    sql : one statement
    tokens : its tokens
    """
    if not any(name in sql.lower() for name in STATE_RELATIONS) or "\0" in sql:
        return None
    try:
        tree = parse_tree(grammatical(sql, find_calls(sql, tokens)))
    except (ModelSyntaxError, UnicodeEncodeError):
        return None
    found, shadowed = _relations(tree)
    kept = {location: name for location, name in found.items() if name not in shadowed}
    if not kept:
        return None
    offsets = [character_offset(sql, location) for location in sorted(kept)]
    edits = tuple(Edit(offset, offset, (Piece(f"{STATE_SCHEMA}.", offset),)) for offset in offsets)
    return StateRelations(tuple(sorted(set(kept.values()))), edits, edited(sql, edits))


def _relations(tree: Any) -> tuple[dict[int, str], set[str]]:
    """Return location -> name of each relation used, and the names of WITH queries."""
    found: dict[int, str] = {}
    shadowed: set[str] = set()
    stack: list[Any] = [tree]
    while stack:
        value = stack.pop()
        if isinstance(value, list):
            stack.extend(value)
            continue
        if not isinstance(value, dict):
            continue
        for key, child in value.items():
            stack.append(child)
            if key in _LISTS:
                candidates = child
            elif key in _SINGLE:
                candidates = [child]
            elif key in _WRITERS:
                # A writer's own relation is a bare RangeVar, without the wrapper.
                candidates = [{"RangeVar": child.get("relation", {})}]
            else:
                if key == "CommonTableExpr":
                    shadowed.add(child.get("ctename", ""))
                continue
            _collect(candidates, found)
    return found, shadowed


def _collect(nodes: Any, found: dict[int, str]) -> None:
    for node in nodes:
        relation = node.get("RangeVar", {})
        if "schemaname" not in relation and relation.get("relname") in STATE_RELATIONS:
            found[relation.get("location", 0)] = relation["relname"]
