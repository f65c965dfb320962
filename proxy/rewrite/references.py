"""Columns of a SELECT's list that its ORDER BY or GROUP BY means, by name or by number.

Owns these two of SQL's oldest rules. A score that is meant so must be known to the upstream.
"""

from __future__ import annotations

from collections.abc import Iterator

from proxy.errors import ModelSyntaxError
from proxy.rewrite.tree import Node, character_offset


def referenced_targets(sql: str, select: Node) -> frozenset[int] | None:
    """Return the places of the targets that ORDER BY, GROUP BY or DISTINCT ON mean.

    None: it cannot be told, as a star stands before a column that is meant by number.

    Raises
    ------
    ModelSyntaxError
        42P10: a number is beyond the list, where PostgreSQL would count hidden columns in.
    """
    targets = select.get("targetList", [])
    if not targets:
        return frozenset()
    names = _names(targets)
    star = next((i for i, target in enumerate(targets) if is_star(target)), None)
    found: set[int] = set()
    for clause, title in (
        ("sortClause", "ORDER BY"),
        ("groupClause", "GROUP BY"),
        ("distinctClause", "SELECT DISTINCT ON"),
    ):
        for node in _sorted_by(select.get(clause, [])):
            fields = node.get("ColumnRef", {}).get("fields", [])
            if len(fields) == 1:
                name = fields[0].get("String", {}).get("sval")
                found.update(index for index, own in enumerate(names) if own == name)
            constant = node.get("A_Const", {})
            if "ival" not in constant:
                continue
            number = constant["ival"].get("ival", 0)
            if star is not None and number > star:
                return None
            if not 0 < number <= len(targets):
                raise ModelSyntaxError(
                    f"{title} position {number} is not in select list",
                    position=character_offset(sql, constant.get("location", 0)) + 1,
                    sqlstate="42P10",
                )
            found.add(number - 1)
    return frozenset(found)


def sole_sort_key(select: Node) -> tuple[Node, bool] | None:
    """Return the one thing that a SELECT is sorted by, and whether descending; None otherwise."""
    keys = select.get("sortClause", [])
    if len(keys) != 1 or "SortBy" not in keys[0]:
        return None
    key = keys[0]["SortBy"]
    if key.get("useOp") or key.get("sortby_dir") == "SORTBY_USING":
        return None
    return key["node"], key.get("sortby_dir") == "SORTBY_DESC"


def constant_count(node: Node | None) -> int | None:
    """Return the number that a LIMIT or OFFSET is; None where it is no plain number."""
    if node is None:
        return 0
    value = node.get("A_Const", {}).get("ival")
    return None if value is None else int(value.get("ival", 0))


def is_star(target: Node) -> bool:
    """Tell whether a target stands for several columns."""
    value = target["ResTarget"]["val"]
    if "A_Indirection" in value:
        return any("A_Star" in part for part in value["A_Indirection"]["indirection"])
    return any("A_Star" in field for field in value.get("ColumnRef", {}).get("fields", []))


def _names(targets: list[Node]) -> list[str | None]:
    names: list[str | None] = []
    for target in targets:
        body = target["ResTarget"]
        call = body["val"].get("FuncCall", {})
        own = call["funcname"][-1]["String"]["sval"] if call else None
        names.append(body.get("name") or own)
    return names


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
        elif node:
            yield node
