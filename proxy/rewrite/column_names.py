"""The name that PostgreSQL gives a column without an alias, by the parse tree.

Owns the rules of `FigureColname` in PostgreSQL's parse_target.c, as far as an expression with
PREDICT in it can need them: what stands for the call has another name, and clients ask for this.
"""

from __future__ import annotations

from proxy.rewrite.tree import Node

UNNAMED = "?column?"

_FIXED = {
    "A_ArrayExpr": "array",
    "RowExpr": "row",
    "CoalesceExpr": "coalesce",
    "XmlSerialize": "xmlserialize",
    "GroupingFunc": "grouping",
    "JsonObjectConstructor": "json_object",
    "JsonArrayConstructor": "json_array",
    "JsonArrayQueryConstructor": "json_array",
    "JsonObjectAgg": "json_objectagg",
    "JsonArrayAgg": "json_arrayagg",
}
_KEYWORDS = {
    "SVFOP_CURRENT_DATE": "current_date",
    "SVFOP_CURRENT_TIME": "current_time",
    "SVFOP_CURRENT_TIME_N": "current_time",
    "SVFOP_CURRENT_TIMESTAMP": "current_timestamp",
    "SVFOP_CURRENT_TIMESTAMP_N": "current_timestamp",
    "SVFOP_LOCALTIME": "localtime",
    "SVFOP_LOCALTIME_N": "localtime",
    "SVFOP_LOCALTIMESTAMP": "localtimestamp",
    "SVFOP_LOCALTIMESTAMP_N": "localtimestamp",
    "SVFOP_CURRENT_ROLE": "current_role",
    "SVFOP_CURRENT_USER": "current_user",
    "SVFOP_USER": "user",
    "SVFOP_SESSION_USER": "session_user",
    "SVFOP_CURRENT_CATALOG": "current_catalog",
    "SVFOP_CURRENT_SCHEMA": "current_schema",
    "IS_XMLCONCAT": "xmlconcat",
    "IS_XMLELEMENT": "xmlelement",
    "IS_XMLFOREST": "xmlforest",
    "IS_XMLPARSE": "xmlparse",
    "IS_XMLPI": "xmlpi",
    "IS_XMLROOT": "xmlroot",
}
_SUBLINKS = {"EXISTS_SUBLINK": "exists", "ARRAY_SUBLINK": "array"}


def column_name(value: Node) -> str:
    """Return the name of a target that is this expression."""
    return _figured(value)[0]


def _figured(node: Node) -> tuple[str, int]:
    """Return the name and how sure it is: 0 none, 1 a type's or a keyword's, 2 its own."""
    strength = 2
    after: str | None = None  # the weak name of what is around, if nothing within has a strong one
    while True:
        ((kind, body),) = node.items()
        if kind == "TypeCast":
            if after is None:
                after = _last_name(body["typeName"]["names"])
            node = body["arg"]
        elif kind == "CollateClause":
            node = body["arg"]
        elif kind == "A_Indirection":
            names = [part["String"]["sval"] for part in body["indirection"] if "String" in part]
            if names:
                return names[-1], 2
            node = body["arg"]
        elif kind == "CaseExpr":
            if after is None:
                after = "case"
            if "defresult" not in body:
                return after, 1
            node = body["defresult"]
        else:
            name = _own_name(kind, body)
            if name is not None:
                return name, strength
            return (after, 1) if after is not None else (UNNAMED, 0)


def _own_name(kind: str, body: Node) -> str | None:
    if kind == "ColumnRef":
        names = [field["String"]["sval"] for field in body["fields"] if "String" in field]
        return names[-1] if names else None
    if kind == "FuncCall":
        return _last_name(body["funcname"])
    if kind == "A_Expr":
        return "nullif" if body.get("kind") == "AEXPR_NULLIF" else None
    if kind == "MinMaxExpr":
        return "least" if body.get("op") == "IS_LEAST" else "greatest"
    if kind == "SubLink":
        return _sublink_name(body)
    if kind in ("SQLValueFunction", "XmlExpr"):
        return _KEYWORDS.get(body.get("op", ""))
    return _FIXED.get(kind)


def _sublink_name(body: Node) -> str | None:
    kind = body.get("subLinkType", "")
    if kind != "EXPR_SUBLINK":
        return _SUBLINKS.get(kind)
    select = body["subselect"].get("SelectStmt", {})
    targets = select.get("targetList", [])
    if not targets:
        return "column1" if "valuesLists" in select else None
    target = targets[0]["ResTarget"]
    name: str | None = target.get("name")
    return name or _figured(target["val"])[0]


def _last_name(names: list[Node]) -> str:
    name: str = names[-1]["String"]["sval"]
    return name
