"""Whether a SELECT wants the first few rows by a score: then they are chosen here.

Owns recognising it: one call, or its alias or number, in ORDER BY, a LIMIT that is a number, and
nothing that depends on either. PostgreSQL is then asked for all rows, unsorted, and only the best
are kept. Ties are in no order, as SQL has it.
"""

from __future__ import annotations

from proxy.rewrite.calls import is_volatile
from proxy.rewrite.lexer import Token
from proxy.rewrite.plan import Ranking
from proxy.rewrite.references import constant_count, is_star, sole_sort_key
from proxy.rewrite.sites import Sites, is_plain_list
from proxy.rewrite.tree import Node, byte_offset

MOST_RANKED = 10_000
"""Rows that are kept for one statement at most, OFFSET included."""

_PLAIN = frozenset(
    {"targetList", "fromClause", "whereClause", "sortClause", "limitCount", "limitOffset"}
    | {"limitOption", "op", "withClause"}
)


def find_ranking(sql: str, tokens: tuple[Token, ...], sites: Sites) -> Ranking | None:
    """Return how a statement's rows are ranked; None: PostgreSQL has to sort them."""
    block, select = sites.outermost, sites.select
    if sites.kind != "SelectStmt" or block is None or not is_plain_list(sites):
        return None
    if not set(select) <= _PLAIN or select.get("limitOption") != "LIMIT_OPTION_COUNT":
        return None
    key = sole_sort_key(select)
    wanted = constant_count(select.get("limitCount"))
    skipped = constant_count(select.get("limitOffset"))
    if key is None or wanted is None or skipped is None or "limitCount" not in select:
        return None
    if not (wanted >= 0 and skipped >= 0 and wanted + skipped <= MOST_RANKED):
        return None
    if is_volatile(sql, tokens[slice(*block.clauses["list"])]):
        return None  # computed for each row that is asked for, and more are
    site = _site(sql, sites, key[0])
    if site is None or not {"order by", "limit"} <= set(block.clauses):
        return None
    order, limit = block.clauses["order by"], block.clauses["limit"]
    return Ranking(
        site,
        (tokens[order[0] - 2].start, tokens[order[1] - 1].end),
        (tokens[limit[0] - 1].start, tokens[limit[1] - 1].end),
        key[1],
        skipped,
        wanted,
    )


def _site(sql: str, sites: Sites, key: Node) -> int | None:
    """Return the call that a sort key is, or means."""
    targets = sites.select.get("targetList", [])
    if "FuncCall" in key:
        location = key["FuncCall"].get("location", 0)
        for number, site in enumerate(sites.sites):
            if byte_offset(sql, site.call.start) == location and site.clause == "order by":
                return number
        return None
    index = None
    fields = key.get("ColumnRef", {}).get("fields", [])
    if len(fields) == 1 and "String" in fields[0]:
        name = fields[0]["String"]["sval"]
        same = [i for i, target in enumerate(targets) if target["ResTarget"].get("name") == name]
        index = same[0] if len(same) == 1 else None
    elif "ival" in key.get("A_Const", {}):
        index = key["A_Const"]["ival"].get("ival", 0) - 1
        if any(is_star(target) for target in targets[:index]):
            return None
    for number, site in enumerate(sites.sites):
        item = site.item
        is_item = item is not None and item.is_outermost and item.index == index
        if is_item and site.is_whole and not site.is_argument:
            return number
    return None
