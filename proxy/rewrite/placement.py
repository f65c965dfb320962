"""Where a PREDICT call stands, by PostgreSQL's own parse tree.

Owns telling a call from what only reads like one (`INSERT INTO predict (a, b)`), the one place
where a call is served - a whole target of the outermost select list - and the words for every other
place. Leaves the text of the calls to `calls` and what they become to `plan`.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from proxy.errors import ModelSyntaxError, UnsupportedError
from proxy.rewrite.calls import Call, Function
from proxy.rewrite.lexer import Token, TokenKind
from proxy.rewrite.tree import Node, byte_offset, character_offset

_HINT = (
    "Call PREDICT as a column of the outermost select list; what stands around it can become a"
    " subquery that selects the model's inputs."
)
_STATEMENTS = {
    "InsertStmt": "INSERT",
    "UpdateStmt": "UPDATE",
    "DeleteStmt": "DELETE",
    "MergeStmt": "MERGE",
    "CreateTableAsStmt": "CREATE TABLE AS",
    "ViewStmt": "CREATE VIEW",
    "ExplainStmt": "EXPLAIN",
    "PrepareStmt": "PREPARE",
    "ExecuteStmt": "EXECUTE",
    "DeclareCursorStmt": "DECLARE CURSOR",
    "CopyStmt": "COPY",
    "CallStmt": "CALL",
    "CreateFunctionStmt": "a function's body",
    "IndexStmt": "CREATE INDEX",
    "CreateStmt": "CREATE TABLE",
    "AlterTableStmt": "ALTER TABLE",
    "RuleStmt": "CREATE RULE",
    "CreatePolicyStmt": "CREATE POLICY",
}
_CLAUSES = {
    "targetList": "an expression",
    "whereClause": "WHERE",
    "havingClause": "HAVING",
    "groupClause": "GROUP BY",
    "sortClause": "ORDER BY",
    "distinctClause": "DISTINCT ON",
    "windowClause": "WINDOW",
    "limitCount": "LIMIT",
    "limitOffset": "OFFSET",
    "valuesLists": "VALUES",
    "withClause": "a WITH query",
    "fromClause": "FROM",
    "quals": "a JOIN condition",
    "RangeSubselect": "a subquery",
    "SubLink": "a subquery",
}
# A place within these is the better answer; within any other, the outer one is.
_REFINED = frozenset({"", "an expression", "FROM"})
_DECORATIONS = ("over", "agg_filter", "agg_order", "agg_within_group", "func_variadic")
# What may follow a select list; each is a reserved word, so it can be a label only after AS.
_LIST_END = frozenset(
    {"from", "into", "where", "having", "window", "union", "intersect", "except"}
    | {"limit", "offset", "fetch", "for"}
)


@dataclass(frozen=True, slots=True)
class PredictTarget:
    """A call that is a whole target: `sql[start:end]`, parentheses around it and alias included.

    `name` is the column's name for the client; `index` is its place among the targets.
    """

    call: Call
    index: int
    name: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Placement:
    """Every call of a statement, placed.

    `list_end` is the offset after the last target; `order_by` is where its ORDER BY begins and ends
    (the same offset twice where it has none); `visible_count` is None where a star in the list
    hides how many columns there are; `select` is the tree of the one SELECT.
    """

    targets: tuple[PredictTarget, ...]
    list_end: int
    order_by: tuple[int, int]
    visible_count: int | None
    select: Node


def real_calls(sql: str, tree: Node, calls: tuple[Call, ...]) -> dict[int, str]:
    """Tell which calls the grammar sees as calls: index in `calls` -> the place it stands in."""
    wanted = {byte_offset(sql, call.start): index for index, call in enumerate(calls)}
    found = {}
    stack: list[tuple[Any, str]] = [
        (body, _statement_place(kind, body))
        for statement in tree["stmts"]
        for kind, body in statement["stmt"].items()
    ]
    while stack:
        value, place = stack.pop()
        if isinstance(value, list):
            stack.extend((child, place) for child in value)
        elif isinstance(value, dict):
            for key, child in value.items():
                if key == "FuncCall" and child.get("location", 0) in wanted:
                    found[wanted[child.get("location", 0)]] = place
                if isinstance(child, (dict, list)):
                    inner = _CLAUSES.get(key, place) if place in _REFINED else place
                    stack.append((child, inner))
    return found


def _statement_place(kind: str, body: Node) -> str:
    if kind != "SelectStmt":
        return _STATEMENTS.get(kind, "this kind of statement")
    if body.get("op", "SETOP_NONE") != "SETOP_NONE":
        return "UNION, INTERSECT or EXCEPT"
    if "intoClause" in body:
        return "SELECT INTO"
    return "SELECT DISTINCT" if "distinctClause" in body else ""


def place(
    sql: str, tokens: tuple[Token, ...], tree: Node, calls: tuple[Call, ...], places: dict[int, str]
) -> Placement:
    """Find the target that each call is.

    Parameters
    ----------
    calls : at least one; each is a key of `places` by its index

    Raises
    ------
    UnsupportedError
        A call stands anywhere else; `position` is the call's.
    """
    (_, select), *others = tree["stmts"][0]["stmt"].items()
    assert not others
    targets = select.get("targetList", [])
    whole = {_call_location(target): index for index, target in enumerate(targets)}
    placed = []
    previous: Call | None = None
    for number, call in enumerate(calls):
        index = whole.get(byte_offset(sql, call.start))
        if previous and call.start < previous.end:
            raise _unsupported(call, "an argument of PREDICT")
        if len(tree["stmts"]) > 1:
            raise _unsupported(call, "a string of several statements")
        if places[number] not in _REFINED or index is None:
            raise _unsupported(call, places[number])
        placed.append(_target(sql, tokens, call, index, targets[index]["ResTarget"]))
        previous = call
    first = targets[0]["ResTarget"]["location"]
    last = _list_end(sql, tokens, character_offset(sql, first))
    order_by = _order_by(sql, tokens, last)
    _check_references(sql, select, placed)
    stars = any(_is_star(target) for target in targets)
    return Placement(
        tuple(placed), tokens[last].end, order_by, None if stars else len(targets), select
    )


def _unsupported(call: Call, where: str) -> UnsupportedError:
    name = call.function.upper()
    return UnsupportedError(
        f"{name} is not supported in {where} yet", hint=_HINT, position=call.position
    )


def _call_location(target: Node) -> int:
    call = target["ResTarget"]["val"].get("FuncCall")
    location: int = call.get("location", -1) if call else -1
    return location


def _target(
    sql: str, tokens: tuple[Token, ...], call: Call, index: int, target: Node
) -> PredictTarget:
    """Stretch a call over the parentheses and the alias that belong to its target."""
    node = target["val"]["FuncCall"]
    if call.function is Function.PREDICT_EXPLAIN:
        raise UnsupportedError("PREDICT_EXPLAIN is not supported yet", position=call.position)
    if any(decoration in node for decoration in _DECORATIONS):
        raise UnsupportedError(
            f"{call.function.upper()} takes no OVER, FILTER, ORDER BY or VARIADIC",
            position=call.position,
        )
    start = character_offset(sql, target["location"])
    first, stop = call.first, call.stop
    while tokens[first].start > start:
        first, stop = first - 1, stop + 1
    if target.get("name"):
        stop += 2 if sql[tokens[stop].start : tokens[stop].end].lower() == "as" else 1
        after = tokens[stop : stop + 1]
        if after and sql[after[0].start : after[0].end].lower() == "uescape":
            stop += 2
    name = target.get("name") or str(call.function)
    return PredictTarget(call, index, name, start, tokens[stop - 1].end)


def _list_end(sql: str, tokens: tuple[Token, ...], start: int) -> int:
    """Return the index of the last token of the select list whose first target is at `start`."""
    first = bisect_left(tokens, start, key=lambda token: token.start)
    depth = 0
    for index in range(first, len(tokens)):
        token = tokens[index]
        if token.kind is TokenKind.PUNCTUATION:
            character = sql[token.start]
            depth += (character in "([") - (character in ")]")
            if depth < 0 or (depth == 0 and character == ";"):
                return index - 1
        elif depth == 0 and index > first and _ends_list(sql, tokens, index):
            return index - 1
    return len(tokens) - 1


def _order_by(sql: str, tokens: tuple[Token, ...], last: int) -> tuple[int, int]:
    """Return where the ORDER BY after the select list begins and ends."""
    depth, start = 0, None
    for index in range(last + 1, len(tokens)):
        token = tokens[index]
        text = sql[token.start : token.end].lower()
        if token.kind is TokenKind.PUNCTUATION:
            depth += (text in "([") - (text in ")]")
        if start is None:
            # A closing parenthesis leaves the SELECT's own: its ORDER BY may stand after it.
            if depth <= 0 and text == "order" and _ends_list(sql, tokens, index):
                start, depth = index, 0
        elif depth < 0 or (depth == 0 and (text == ";" or _ends_list(sql, tokens, index))):
            return tokens[start].start, tokens[index - 1].end
    end = tokens[-1].end
    return (end if start is None else tokens[start].start), end


def _ends_list(sql: str, tokens: tuple[Token, ...], index: int) -> bool:
    if tokens[index].kind is not TokenKind.IDENTIFIER:
        return False
    before, word, after = (
        sql[token.start : token.end].lower()
        for token in (tokens[index - 1], tokens[index], tokens[min(index + 1, len(tokens) - 1)])
    )
    if before in ("as", "."):
        return False  # a label, a field
    if word in ("group", "order"):  # but WITHIN GROUP (
        return after == "by"
    if word == "from" and before == "distinct":  # but IS [NOT] DISTINCT FROM
        earlier = tokens[max(index - 2, 0)]
        return sql[earlier.start : earlier.end].lower() not in ("is", "not")
    return word in _LIST_END


def _is_star(target: Node) -> bool:
    value = target["ResTarget"]["val"]
    if "A_Indirection" in value:
        return any("A_Star" in part for part in value["A_Indirection"]["indirection"])
    return any("A_Star" in field for field in value.get("ColumnRef", {}).get("fields", []))


def _check_references(sql: str, select: Node, placed: list[PredictTarget]) -> None:
    """Refuse ORDER BY and GROUP BY that name the score, or count columns that cannot be counted."""
    for clause, title in (("sortClause", "ORDER BY"), ("groupClause", "GROUP BY")):
        for node in _sorted_by(select.get(clause, [])):
            fields = node.get("ColumnRef", {}).get("fields", [])
            if len(fields) == 1:
                name = fields[0].get("String", {}).get("sval")
                _check_name(name, title, placed)
            constant = node.get("A_Const", {})
            if "ival" in constant:
                position = character_offset(sql, constant.get("location", 0)) + 1
                number = constant["ival"].get("ival", 0)
                _check_number(number, title, select["targetList"], placed, position)


def _sorted_by(nodes: list[Node]) -> Iterator[Node]:
    """Yield the plain expressions of an ORDER BY or GROUP BY, grouping sets opened."""
    stack = list(nodes)
    while stack:
        node = stack.pop()
        if "SortBy" in node:
            stack.append(node["SortBy"]["node"])
        elif "GroupingSet" in node:
            stack.extend(node["GroupingSet"].get("content", []))
        elif "RowExpr" in node:
            stack.extend(node["RowExpr"].get("args", []))
        else:
            yield node


def _check_name(name: str | None, title: str, placed: list[PredictTarget]) -> None:
    for target in placed:
        if target.name == name:
            raise _unsupported(target.call, title)


def _check_number(
    number: int, title: str, targets: list[Node], placed: list[PredictTarget], position: int
) -> None:
    certain = next((i for i, target in enumerate(targets) if _is_star(target)), None)
    if certain is not None and number > certain:
        # What a star stands for is not known here, so neither is the column that is meant.
        raise _unsupported(placed[0].call, f"a query whose {title} counts columns over a star")
    for target in placed:
        if target.index == number - 1:
            raise _unsupported(target.call, title)
    if not 0 < number <= len(targets):
        # PostgreSQL would count the hidden columns in.
        raise ModelSyntaxError(
            f"{title} position {number} is not in select list",
            position=position,
            sqlstate="42P10",
        )
