"""Whether the calls and the lists are where the tokens say, by PostgreSQL's own grammar.

Owns the proof that editing the text changes what it is meant to change and nothing else: the text
with a stand-in for each call, and for the hidden columns, must parse to the client's tree with just
these in it; and each argument, by itself, must be an expression. Then whatever expression stands
for a call, in parentheses, stands where the call stood.

The trees are compared as libpg_query writes them, as text: that is done in C.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

from proxy.errors import UnsupportedError
from proxy.rewrite.calls import ArgumentKind
from proxy.rewrite.edits import Edit, Piece, edited
from proxy.rewrite.literals import quote_identifier
from proxy.rewrite.plan import PredictQuery
from proxy.rewrite.sites import Sites
from proxy.rewrite.tree import byte_offset, decode, parse_json, parse_tree

_STAND_IN, _HIDDEN, _NAME = "pgseer_call", "pgseer_hidden", "pgseer.name"
_PLACES = re.compile(r',?"(?:location|stmt_len|stmt_location|\w+_location|rexpr_list_(?:start|end)'
                     r'|list_(?:start|end))":-?\d+')  # fmt: skip
_ALIAS = re.compile(r',?"alias":\{"aliasname":"pgseer\.subquery\.\d+"\}')
_CALL = re.compile(r'\{"FuncCall":\{"funcname":\[\{"String":\{"sval":"predict(?:_\w+)?"\}\}\]')
_NAMED = re.compile(r'\{"ResTarget":\{"name":"pgseer\.name",')
_MARKS = re.compile(r'[{}]|"(?:[^"\\]|\\.)*+"')
_LOCATION = re.compile(r'"location":(\d+)\}\}$')
_STAND_IN_NODE = (
    '{"FuncCall":{"funcname":[{"String":{"sval":"%s"}}],"funcformat":"COERCE_EXPLICIT_CALL"}}'
)


def verify_places(query: PredictQuery, readable: str, tree: str) -> None:
    """Make sure that calls, select-list items and the end of the list are where they seem.

    Parameters
    ----------
    readable : the text that `tree` was made of
    tree : the client's, as JSON

    Raises
    ------
    UnsupportedError
        They are not.
    """
    stand_ins = {
        byte_offset(query.sql, site.call.start): f"{_STAND_IN}_{number}"
        for number, site in enumerate(query.sites)
    }
    wanted = _without_places(_replaced(tree, stand_ins))
    ours = parse_json(edited(readable, _edits(query)).text)
    found = _ALIAS.sub("", _without_names(_without_places(ours)))
    if query.list_end is not None:
        hidden = '{"ResTarget":{"val":' + _STAND_IN_NODE % _HIDDEN + "}}"
        is_last = _last_target(ours) == json.loads(hidden)
        found = found.replace(f",{hidden}", "") if is_last else ""
    if found != wanted:
        raise UnsupportedError(
            "PREDICT is not supported in a statement of this form yet",
            position=query.sites[0].call.position,
        )


def verify_arguments(sites: Sites, readable: str) -> None:
    """Make sure that each argument's text is an expression by itself.

    Raises
    ------
    UnsupportedError
        It is not.
    """
    for site in sites.sites:
        texts = [
            argument
            for argument in site.call.arguments
            if argument.kind in (ArgumentKind.EXPRESSION, ArgumentKind.NAMED)
        ]
        # Calls within are verified by themselves: here they only must not be in the way.
        if not texts or any(
            other.call.start >= site.call.start and other.call.end < site.call.end
            for other in sites.sites
            if other is not site
        ):
            continue
        parts = [readable[argument.start : argument.end] for argument in texts]
        query = "SELECT " + ", ".join(f"({part}\n)" for part in parts)
        statements = parse_tree(query)["stmts"]
        ((_, select),) = statements[0]["stmt"].items()
        is_list = len(statements) == 1 and set(select) <= {"targetList", "limitOption", "op"}
        if not is_list or len(select["targetList"]) != len(texts):
            raise UnsupportedError(
                "PREDICT is not supported with arguments of this form", position=site.call.position
            )


def _edits(query: PredictQuery) -> list[Edit]:
    """Return the edits that put stand-ins where calls, names and hidden columns will be."""
    edits: list[tuple[int, int, int, str]] = []
    named: set[int] = set()
    for number, site in enumerate(query.sites):
        if site.is_argument:
            continue
        call, item = site.call, site.item
        stand_in = f"{_STAND_IN}_{number}()"
        if number in query.spliced and item is not None:
            alias = f" AS {quote_identifier(item.name)}" if item.has_alias else ""
            edits.append((item.start, item.end, 0, stand_in + alias))
            continue
        edits.append((call.start, call.end, 0, stand_in))
        if item is not None and not item.has_alias and item.start not in named:
            named.add(item.start)
            edits.append((item.value_end, item.value_end, 2, f' AS "{_NAME}"'))
    edits += [(offset, offset, 1, text) for offset, text in query.insertions]
    if query.list_end is not None:
        edits.append((query.list_end, query.list_end, 3, f", {_HIDDEN}()"))
    return [Edit(start, end, (Piece(text, start),)) for start, end, _, text in sorted(edits)]


def _replaced(tree: str, stand_ins: dict[int, str]) -> str:
    """Put the stand-in in the place of each call that is in no other."""
    parts = []
    position = 0
    for start, end in _nodes(_CALL, tree):
        if start < position:
            continue
        found = _LOCATION.search(tree[start:end])
        name = stand_ins.get(int(found.group(1)) if found else 0)
        if name is not None:
            parts += [tree[position:start], _STAND_IN_NODE % name]
            position = end
    return "".join([*parts, tree[position:]])


def _nodes(pattern: re.Pattern[str], tree: str) -> Iterator[tuple[int, int]]:
    """Yield where each node that begins so begins and ends, the outer ones first."""
    for found in pattern.finditer(tree):
        depth = 0
        for mark in _MARKS.finditer(tree, found.start()):
            text = mark.group()
            depth += (text == "{") - (text == "}")
            if depth == 0:
                yield found.start(), mark.end()
                break


def _without_names(tree: str) -> str:
    """Take the names away that items with a call were given."""
    for start, end in _nodes(_NAMED, tree):
        if _STAND_IN not in tree[start:end]:
            return ""  # it is another item that has the name
    return tree.replace(f'"name":"{_NAME}",', "")


def _without_places(tree: str) -> str:
    return _PLACES.sub("", tree)


def _last_target(tree: str) -> object:
    """Return the last target of the outermost list, without its places."""
    statement = decode(_without_places(tree))["stmts"][0]["stmt"]
    ((kind, body),) = statement.get("ExplainStmt", {}).get("query", statement).items()
    clause = body.get("returningClause", {}).get("exprs", [None])
    targets = body.get("targetList", [None]) if kind == "SelectStmt" else clause
    return targets[-1]
