"""Where each PREDICT call of a statement stands, by PostgreSQL's own parse tree.

Owns telling a call from what only reads like one (`INSERT INTO predict (a, b)`), the select-list
item that a call is or stands in, and the statements in which no call can stand. Leaves the text of
the calls to `calls`, the blocks to `blocks`, and what becomes of a call to `rules`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from proxy.errors import UnsupportedError
from proxy.rewrite.blocks import Block, cut_blocks, innermost, split_at_commas
from proxy.rewrite.calls import Call, Function
from proxy.rewrite.column_names import column_name
from proxy.rewrite.lexer import Token, TokenKind
from proxy.rewrite.tree import Node, byte_offset, character_offset

_SERVED = frozenset(
    {
        "SelectStmt",
        "InsertStmt",
        "UpdateStmt",
        "DeleteStmt",
        "MergeStmt",
        "CreateTableAsStmt",
        "ViewStmt",
        "ExplainStmt",
        "PrepareStmt",
        "DeclareCursorStmt",
        "CopyStmt",
    }
)
_OTHERS = {
    "ExecuteStmt": "EXECUTE",
    "CallStmt": "CALL",
    "CreateFunctionStmt": "a function's body",
    "IndexStmt": "CREATE INDEX",
    "CreateStmt": "CREATE TABLE",
    "AlterTableStmt": "ALTER TABLE",
    "RuleStmt": "CREATE RULE",
    "CreatePolicyStmt": "CREATE POLICY",
    "CreateTrigStmt": "CREATE TRIGGER",
    "CreateStatsStmt": "CREATE STATISTICS",
}
_OFF = frozenset({"false", "off", "0"})
_CHANGES = frozenset({"InsertStmt", "UpdateStmt", "DeleteStmt", "MergeStmt"})
_DECORATIONS = ("over", "agg_filter", "agg_order", "agg_within_group", "func_variadic")
_COMPARISONS = frozenset({"<", "<=", ">", ">="})
_HINT = "Call PREDICT in a query, or in a statement that changes rows."


@dataclass(frozen=True, slots=True)
class Item:
    """One item of a select list or RETURNING: `sql[start:end]`, alias included.

    Attributes
    ----------
    name : of the column, by its alias or as PostgreSQL would name it
    has_alias : the client named it
    value_end : offset after the expression, before the alias
    is_outermost : its list is that of the whole statement, so its values go to the client
    index : its place in the list
    """

    name: str
    has_alias: bool
    start: int
    value_end: int
    end: int
    is_outermost: bool
    index: int


@dataclass(frozen=True, slots=True)
class Comparison:
    """`call operator number` (turned round if need be): `sql[start:end]`."""

    start: int
    end: int
    operator: str
    bound: float


@dataclass(frozen=True, slots=True)
class Site:
    """A call and its place.

    Attributes
    ----------
    block, clause : the query block that it stands in, None if there is none
    item : the select-list item that it stands in, not by way of a subquery
    is_whole : it is that item, but for parentheses
    comparison : the comparison with a number that it is one side of
    is_argument : it stands in an argument of another call
    """

    call: Call
    block: Block | None
    clause: str
    item: Item | None
    is_whole: bool
    comparison: Comparison | None
    is_argument: bool


@dataclass(frozen=True, slots=True)
class AliasUse:
    """A column reference, `sql[start:end]`, that may mean a call's alias in the same list.

    `is_alone` : it is a whole item of the list, which has its name.
    """

    site: int
    start: int
    end: int
    block: Block
    is_alone: bool


@dataclass(frozen=True, slots=True)
class Sites:
    """Every call of a statement, placed.

    Attributes
    ----------
    kind : the statement's, as PostgreSQL's grammar names it; of an EXPLAIN, what it explains
    explain : the options of an EXPLAIN, None for another statement
    select : the outermost SELECT, or what changes rows
    outermost : its block
    """

    kind: str
    explain: dict[str, str] | None
    sites: tuple[Site, ...]
    alias_uses: tuple[AliasUse, ...]
    blocks: tuple[Block, ...]
    bare_names: tuple[tuple[int, str], ...]
    select: Node
    outermost: Block | None

    @property
    def is_stored(self) -> bool:
        """Whether the statement makes a view."""
        return self.kind == "ViewStmt" or (
            self.kind == "CreateTableAsStmt" and self.select.get("objtype") == "OBJECT_MATVIEW"
        )

    @property
    def is_only_explained(self) -> bool:
        """Whether it is an EXPLAIN without ANALYZE: nothing runs."""
        return self.explain is not None and self.explain.get("analyze", "false") in _OFF

    @property
    def planned_at(self) -> Literal["bind", "execute"] | None:
        """When the upstream plans it; None: at some other statement's time."""
        if self.kind == "PrepareStmt" or self.is_stored:
            return None
        is_bound = self.explain is None and (self.kind in _CHANGES or self.kind == "SelectStmt")
        return "bind" if is_bound and "intoClause" not in self.select else "execute"


@dataclass(slots=True)
class _Found:
    """What the tree says about one call."""

    call_node: Node
    target: Node | None = None
    is_whole: bool = False
    comparison: Node | None = None
    is_table: bool = False


def find_sites(
    sql: str, tokens: tuple[Token, ...], tree: Node, calls: tuple[Call, ...]
) -> Sites | None:
    """Place every call that the grammar sees as a call; None where there is none.

    Raises
    ------
    UnsupportedError
        A call stands where none is served; `position` is the call's.
    """
    wanted = {byte_offset(sql, call.start): call for call in calls}
    found: dict[int, _Found] = {}
    for statement in tree["stmts"]:
        _walk(statement["stmt"], wanted, found)
    if not found:
        return None
    real = [wanted[location] for location in sorted(found)]
    if len(tree["stmts"]) > 1:
        raise UnsupportedError(
            "PREDICT is not supported in a string of several statements here",
            position=real[0].position,
        )
    ((kind, body),) = tree["stmts"][0]["stmt"].items()
    if kind not in _SERVED:
        where = _OTHERS.get(kind, "this kind of statement")
        raise UnsupportedError(
            f"{real[0].function.upper()} is not supported in {where} yet",
            hint=_HINT,
            position=real[0].position,
        )
    explain = None
    if kind == "ExplainStmt":
        explain = _explain_options(body)
        ((kind, body),) = body["query"].items()
    blocks = cut_blocks(sql, tokens)
    outermost = next((block for block in blocks if _is_outermost(kind, block)), None)
    items = _Items(sql, tokens, blocks, outermost)
    sites = []
    for call in real:
        about = found[byte_offset(sql, call.start)]
        _check_call(call, about)
        block = innermost(blocks, call.first)
        sites.append(
            Site(
                call,
                block,
                block.clause_of(call.first) if block else "",
                items.of(about.target),
                about.is_whole,
                _comparison(sql, tokens, call, about.comparison),
                any(other.start < call.start < other.end for other in real),
            )
        )
    placed = tuple(sites)
    uses = tuple(_alias_uses(sql, tokens, tree, placed, blocks))
    names = tuple(_bare_names(sql, tree)) if len(blocks) > 1 else ()
    return Sites(kind, explain, placed, uses, blocks, names, body, outermost)


def _explain_options(body: Node) -> dict[str, str]:
    """Return an EXPLAIN's options, in lower case; one without a value is "true"."""
    options = {}
    for each in body.get("options", []):
        option = each["DefElem"]
        argument = option.get("arg", {})
        value = argument.get("String", {}).get("sval", "true")
        if "Integer" in argument:
            value = str(argument["Integer"].get("ival", 0))
        if "Boolean" in argument:
            value = str(argument["Boolean"].get("boolval", False)).lower()
        options[option["defname"].lower()] = value.lower()
    return options


def is_plain_list(sites: Sites) -> bool:
    """Tell whether the outermost list's values go to the client row by row, as they are."""
    if sites.kind in _CHANGES:
        return True
    select = sites.select
    return (
        sites.kind == "SelectStmt"
        and select.get("op", "SETOP_NONE") == "SETOP_NONE"
        and "intoClause" not in select
        and "distinctClause" not in select
    )


def returned_targets(sites: Sites) -> list[Node]:
    """Return the outermost list's targets in the tree."""
    if sites.kind == "SelectStmt":
        targets: list[Node] = sites.select.get("targetList", [])
        return targets
    returned: list[Node] = sites.select.get("returningClause", {}).get("exprs", [])
    return returned


def _is_outermost(kind: str, block: Block) -> bool:
    if block.parent is not None or block.inside is not None:
        return False
    return kind != "SelectStmt" or block.kind == "select"


def _walk(root: Node, wanted: dict[int, Call], found: dict[int, _Found]) -> None:
    """Find the calls of a tree: each with the target and the comparison around it."""
    stack: list[tuple[Any, Node | None, Node | None]] = [(root, None, None)]
    child: Any
    tables: set[int] = set()
    while stack:
        value, target, parent = stack.pop()
        if isinstance(value, list):
            stack.extend((child, target, None) for child in value)
            continue
        if not isinstance(value, dict):
            continue
        for key, inner in value.items():
            if not isinstance(inner, (dict, list)):
                continue
            child = inner
            if key == "FuncCall" and child.get("location", 0) in wanted:
                location = child.get("location", 0)
                whole = target is not None and target.get("val") is value
                found[location] = _Found(child, target, whole, parent, id(value) in tables)
                stack.append((child.get("args", []), target, None))
            elif key == "ResTarget":
                stack.append((child, child, None))
            elif key in ("SelectStmt", "subselect", "subquery"):
                stack.append((child, None, None))
            elif key == "RangeFunction":
                tables.update(map(id, _functions(child)))
                stack.append((child, target, None))
            elif key == "A_Expr":
                stack.append((child, target, child))
            else:
                keep = parent if key in ("lexpr", "rexpr") else None
                stack.append((child, target, keep))


def _functions(item: Node) -> Iterator[Node]:
    """Yield the functions that an item of FROM is."""
    for function in item.get("functions", []):
        yield from function.get("List", {}).get("items", [])[:1]


def _check_call(call: Call, about: _Found) -> None:
    if call.function is Function.PREDICT_EXPLAIN:
        raise UnsupportedError("PREDICT_EXPLAIN is not supported yet", position=call.position)
    if about.is_table:
        raise UnsupportedError(
            f"{call.function.upper()} is not supported as a table in FROM",
            hint="Call it in a subquery's select list.",
            position=call.position,
        )
    if any(decoration in about.call_node for decoration in _DECORATIONS):
        raise UnsupportedError(
            f"{call.function.upper()} takes no OVER, FILTER, ORDER BY or VARIADIC",
            position=call.position,
        )


class _Items:
    """The items of every select list and RETURNING, by where each begins."""

    def __init__(
        self,
        sql: str,
        tokens: tuple[Token, ...],
        blocks: tuple[Block, ...],
        outermost: Block | None,
    ) -> None:
        self._sql = sql
        self._tokens = tokens
        self._places: dict[int, tuple[range, bool, int]] = {}
        for block in blocks:
            for name in ("list", "returning"):
                if name not in block.clauses:
                    continue
                is_outermost = block is outermost and not block.is_arm
                for index, part in enumerate(split_at_commas(sql, tokens, *block.clauses[name])):
                    self._places[tokens[part.start].start] = (part, is_outermost, index)

    def of(self, target: Node | None) -> Item | None:
        """Return the item that a target of the tree is; None for those of SET and INSERT."""
        if target is None or "val" not in target:
            return None
        start = character_offset(self._sql, target.get("location", 0))
        if start not in self._places:
            return None
        part, is_outermost, index = self._places[start]
        alias: str | None = target.get("name")
        stop = part.stop - (_alias_length(self._sql, self._tokens, part) if alias else 0)
        return Item(
            alias or column_name(target["val"]),
            alias is not None,
            start,
            self._tokens[stop - 1].end,
            self._tokens[part.stop - 1].end,
            is_outermost,
            index,
        )


def _alias_length(sql: str, tokens: tuple[Token, ...], part: range) -> int:
    """Count the tokens of the alias at the end of an item that has one."""

    def word(index: int) -> str:
        return sql[tokens[index].start : tokens[index].end].lower()

    last = part.stop - 1
    length = 3 if word(last - 1) == "uescape" and tokens[last].kind is TokenKind.STRING else 1
    return length + (word(part.stop - length - 1) == "as")


def _comparison(
    sql: str, tokens: tuple[Token, ...], call: Call, node: Node | None
) -> Comparison | None:
    """Read `call > 0.7` or `0.7 < call`, the number and the call being whole sides."""
    if node is None or node.get("kind", "AEXPR_OP") != "AEXPR_OP":
        return None
    operator = node["name"][-1].get("String", {}).get("sval", "")
    if operator not in _COMPARISONS or len(node["name"]) > 1:
        return None
    location = byte_offset(sql, call.start)
    sides = node.get("lexpr", {}), node.get("rexpr", {})
    places = [side.get("FuncCall", {}).get("location", 0 if "FuncCall" in side else -1)
              for side in sides]  # fmt: skip
    if location not in places or len(set(places)) == 1:
        return None
    is_left = places[0] == location
    constant = sides[1 if is_left else 0].get("A_Const", {})
    value = constant.get("ival", constant.get("fval"))
    if value is None:
        return None
    index = call.stop + 1 if is_left else call.first - 2
    middle = call.stop if is_left else call.first - 1
    if not 0 <= index < len(tokens) or tokens[index].kind is not TokenKind.NUMBER:
        return None
    if sql[tokens[middle].start : tokens[middle].end] != operator:
        return None
    number = float(value.get("fval", value.get("ival", 0)))
    if is_left:
        return Comparison(call.start, tokens[index].end, operator, number)
    turned = operator.translate(str.maketrans("<>", "><"))
    return Comparison(tokens[index].start, call.end, turned, number)


def _alias_uses(
    sql: str,
    tokens: tuple[Token, ...],
    tree: Node,
    sites: tuple[Site, ...],
    blocks: tuple[Block, ...],
) -> Iterator[AliasUse]:
    """Find the bare names beside a call, in its own select list, that are its alias."""
    named: dict[str, list[int]] = {}
    for number, site in enumerate(sites):
        if site.item and site.is_whole and site.item.has_alias and site.clause == "list":
            named.setdefault(site.item.name, []).append(number)
    if not named:
        return
    starts = {token.start: index for index, token in enumerate(tokens)}
    for node in _column_references(tree):
        fields = node.get("fields", [])
        name = fields[0].get("String", {}).get("sval") if len(fields) == 1 else None
        if name not in named:
            continue
        index = starts.get(character_offset(sql, node.get("location", 0)))
        if index is None:
            continue
        block = innermost(blocks, index)
        for number in named[name]:
            site = sites[number]
            is_beside = block is site.block and block.clause_of(index) == "list"  # type: ignore[union-attr]
            inside = site.item and site.item.start <= tokens[index].start < site.item.end
            if block is not None and is_beside and not inside:
                parts = split_at_commas(sql, tokens, *block.clauses["list"])
                is_alone = range(index, index + 1) in parts
                yield AliasUse(number, tokens[index].start, tokens[index].end, block, is_alone)
                break


def _bare_names(sql: str, tree: Node) -> Iterator[tuple[int, str]]:
    """Yield where each column stands that is named without its table."""
    for node in _column_references(tree):
        fields = node.get("fields", [])
        if len(fields) == 1 and "String" in fields[0]:
            yield character_offset(sql, node.get("location", 0)), fields[0]["String"]["sval"]


def _column_references(tree: Node) -> Iterator[Node]:
    stack: list[Any] = [tree]
    while stack:
        value = stack.pop()
        if isinstance(value, list):
            stack.extend(value)
        elif isinstance(value, dict):
            for key, child in value.items():
                if key == "ColumnRef":
                    yield child
                elif isinstance(child, (dict, list)):
                    stack.append(child)
