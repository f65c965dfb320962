"""Query blocks of a statement, by its tokens: where each begins, ends, and has its clauses.

Owns the cutting. A block is one SELECT (each arm of a UNION by itself), VALUES, INSERT, UPDATE,
DELETE or MERGE. Words that begin a clause are reserved in PostgreSQL's grammar, so a bare one is
that clause unless it follows AS or a dot. Leaves what a block selects from to `sources`, and what
is an expression to the parse tree.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from proxy.rewrite.lexer import Token, TokenKind

_SELECT_CLAUSES = {
    "from": "from",
    "into": "into",
    "where": "where",
    "group": "group by",
    "having": "having",
    "window": "window",
    "order": "order by",
    "limit": "limit",
    "offset": "limit",
    "fetch": "limit",
    "for": "for",
}
_CLAUSES = {
    "select": _SELECT_CLAUSES,
    "table": _SELECT_CLAUSES,
    "values": {word: _SELECT_CLAUSES[word] for word in ("order", "limit", "offset", "fetch")},
    "insert": {"values": "values", "on": "on conflict", "returning": "returning"},
    "update": {"set": "set", "from": "from", "where": "where", "returning": "returning"},
    "delete": {"using": "from", "where": "where", "returning": "returning"},
    "merge": {"using": "from", "on": "on", "when": "when", "returning": "returning"},
}
_SET_OPERATIONS = frozenset({"union", "intersect", "except"})
_CHANGES = frozenset({"insert", "update", "delete", "merge"})
_ARMS = frozenset({"select", "values", "table"})
_TARGETS = {"insert": "into", "delete": "from", "merge": "into"}
_NO_WITH = frozenset({"time", "ordinality", "ties", "hold", "check", "no", "data", "local"})
_BEGINNINGS = frozenset(
    {"select", "values", "table", "with", "insert", "update", "delete", "merge"}
)
_AFTER_LIST = {"order": "by", "group": "by"}


@dataclass(slots=True, eq=False)
class With:
    """A WITH clause; `queries` are the token ranges of its entries, names included.

    `inside` is the WITH whose query it stands in, and which of them.
    """

    first: int
    is_recursive: bool
    queries: list[tuple[int, int]] = field(default_factory=list)
    inside: tuple[With, int] | None = None


@dataclass(slots=True, eq=False)
class Block:
    """One query block: `tokens[first:stop]`.

    Attributes
    ----------
    kind : its first word
    parent, parent_clause : the block that it stands in, and the clause there
    opening : token index of the parenthesis that it is alone in, -1 at the top
    clauses : token ranges without the words that begin them; `list` is a SELECT's, `target` the
        table of what changes one
    with_clause : its own WITH
    inside : the WITH whose query it is, or stands in, and which of its queries
    is_arm : it is one side of a UNION, INTERSECT or EXCEPT
    has_distinct : it is a SELECT DISTINCT
    """

    kind: str
    first: int
    stop: int
    parent: Block | None
    parent_clause: str
    opening: int
    with_clause: With | None = None
    inside: tuple[With, int] | None = None
    is_arm: bool = False
    has_distinct: bool = False
    clauses: dict[str, tuple[int, int]] = field(default_factory=dict)

    @property
    def changes_rows(self) -> bool:
        """Whether it is no query but changes rows."""
        return self.kind in _CHANGES

    def clause_of(self, index: int) -> str:
        """Return the clause that a token stands in, nothing where none is known."""
        for name, (first, stop) in self.clauses.items():
            if first <= index < stop:
                return name
        return ""


@dataclass(slots=True)
class _Level:
    """What is open between two parentheses."""

    opening: int
    parent: Block | None = None
    parent_clause: str = ""
    inside: tuple[With, int] | None = None
    blocks: list[Block] = field(default_factory=list)  # the open ones, an INSERT before its SELECT
    clause: str = ""
    clause_first: int = 0
    with_clause: With | None = None
    entry_first: int = 0
    has_arms: bool = False
    is_query: bool = False  # of the WITH around it
    last: list[Block] = field(default_factory=list)


def cut_blocks(sql: str, tokens: tuple[Token, ...]) -> tuple[Block, ...]:
    """Return the blocks of one statement, in the order in which they begin."""
    cutter = _Cutter(sql, tokens)
    for index in range(len(tokens)):
        cutter.see(index)
    cutter.finish()
    return tuple(cutter.found)


def innermost(blocks: tuple[Block, ...], index: int) -> Block | None:
    """Return the smallest block that holds a token."""
    found = None
    for block in blocks:
        if block.first > index:
            break
        if index < block.stop and (found is None or block.first >= found.first):
            found = block
    return found


def split_at_commas(sql: str, tokens: tuple[Token, ...], first: int, stop: int) -> list[range]:
    """Cut `tokens[first:stop]` at the commas that stand in no parentheses of it."""
    parts = []
    depth, start = 0, first
    for index in range(first, stop):
        if tokens[index].kind is not TokenKind.PUNCTUATION:
            continue
        character = sql[tokens[index].start]
        if character in "([":
            depth += 1
        elif character in ")]":
            depth -= 1
        elif character == "," and depth == 0:
            parts.append(range(start, index))
            start = index + 1
    if stop > start:
        parts.append(range(start, stop))
    return parts


class _Cutter:
    def __init__(self, sql: str, tokens: tuple[Token, ...]) -> None:
        self._sql = sql
        self._tokens = tokens
        self._levels = [_Level(-1)]
        self.found: list[Block] = []

    def see(self, index: int) -> None:
        token = self._tokens[index]
        level = self._levels[-1]
        if token.kind is TokenKind.PUNCTUATION:
            character = self._sql[token.start]
            if character == "(":
                self._open(index)
            elif character == ")":
                if len(self._levels) > 1:
                    self._close(level, index)
                    self._levels.pop()
            elif character == "," and level.with_clause is not None and not level.blocks:
                level.entry_first = index + 1
            elif character == ";" and len(self._levels) == 1:
                self._close(level, index)
        elif token.kind is TokenKind.IDENTIFIER and self._is_keyword(level, index):
            self._see_word(level, index, self._word(index))

    def _is_keyword(self, level: _Level, index: int) -> bool:
        before = self._word(index - 1)
        if before == "as":
            # CREATE TABLE x AS SELECT: a query begins there, not a name.
            return not level.blocks and self._word(index) in _BEGINNINGS
        return before != "."

    def finish(self) -> None:
        while self._levels:
            self._close(self._levels.pop(), len(self._tokens))

    def _word(self, index: int) -> str:
        if not 0 <= index < len(self._tokens):
            return ""
        token = self._tokens[index]
        if token.kind in (TokenKind.IDENTIFIER, TokenKind.PUNCTUATION):
            return self._sql[token.start : token.end].lower()
        return "?"

    def _open(self, index: int) -> None:
        level = self._levels[-1]
        block = level.blocks[-1] if level.blocks else None
        new = _Level(index)
        if block is not None:
            new.parent, new.parent_clause, new.inside = block, level.clause, block.inside
        else:
            new.parent, new.parent_clause = level.parent, level.parent_clause
            new.inside = level.inside
            if level.with_clause is not None and self._word(index - 1) in ("as", "materialized"):
                new.inside = (level.with_clause, len(level.with_clause.queries))
                new.is_query = True
            elif level.with_clause is not None:
                new.with_clause = level.with_clause  # WITH ... (SELECT ...) UNION ...
        self._levels.append(new)

    def _close(self, level: _Level, index: int) -> None:
        """End every block that is open between these parentheses, before token `index`."""
        while level.blocks:
            self._end_block(level, index)
        outer = self._levels[-2] if len(self._levels) > 1 else None
        queries = None if outer is None or outer.blocks else outer.with_clause
        if outer is not None and queries is not None and level.is_query:
            queries.queries.append((outer.entry_first, index + 1))

    def _end_block(self, level: _Level, index: int) -> None:
        block = level.blocks.pop()
        self._end_clause(level, block, index)
        block.stop = index
        block.is_arm = block.is_arm or (level.has_arms and block.kind in _ARMS)
        level.last.append(block)
        if level.blocks:
            level.clause, level.clause_first = "query", index

    def _end_clause(self, level: _Level, block: Block, index: int) -> None:
        if level.clause and level.clause not in block.clauses:
            block.clauses[level.clause] = (level.clause_first, index)

    def _begin_clause(self, level: _Level, block: Block, name: str, index: int, first: int) -> None:
        self._end_clause(level, block, index)
        level.clause, level.clause_first = name, first

    def _begin_block(self, level: _Level, kind: str, index: int) -> None:
        block = Block(kind, index, index, level.parent, level.parent_clause, level.opening)
        block.inside = level.inside
        block.is_arm = level.has_arms and kind in _ARMS
        if level.blocks:
            block.parent, block.parent_clause = level.blocks[-1], "query"
            self._end_clause(level, level.blocks[-1], index)
        if level.with_clause is not None and not level.has_arms:
            block.with_clause = level.with_clause
        elif level.has_arms and level.last:
            block.with_clause = level.last[0].with_clause
        level.with_clause = None
        level.blocks.append(block)
        self.found.append(block)
        level.clause, level.clause_first = "", index + 1
        if kind in ("select", "values"):
            level.clause = "list" if kind == "select" else "values"
        elif kind == "table":
            level.clause = "from"
        else:
            skipped = 2 if kind in _TARGETS else 1
            level.clause, level.clause_first = "target", index + skipped

    def _see_word(self, level: _Level, index: int, word: str) -> None:
        block = level.blocks[-1] if level.blocks else None
        if word == "select" or (word in ("values", "table") and block is None):
            if word != "table" or self._begins_statement(level, index):
                self._begin_block(level, word, index)
            return
        if block is None:
            self._see_beginning(level, index, word)
            return
        if word == "with" and self._is_behind_query(index):
            self._close(level, index)  # CREATE TABLE ... AS query WITH [NO] DATA
            return
        if word in _SET_OPERATIONS and block.kind in _ARMS:
            self._end_block(level, index)
            level.has_arms = True
            for each in level.last:
                each.is_arm = True
            return
        if block.kind == "select" and word == "distinct" and index == block.first + 1:
            block.has_distinct = True
            self._skip_distinct(level, index)
            return
        if block.kind == "select" and word == "all" and index == block.first + 1:
            level.clause_first = index + 1
            return
        outer = level.blocks[-2] if len(level.blocks) > 1 else None
        ends_query = word == "returning" or (word == "on" and self._word(index + 1) == "conflict")
        if outer is not None and outer.kind == "insert" and ends_query:
            self._end_block(level, index)
            block = outer
        if block.kind == "merge" and word == level.clause == "on" and "from" in block.clauses:
            # USING a JOIN b ON ... ON ...: the last is the MERGE's own.
            block.clauses["from"] = (block.clauses["from"][0], index)
            level.clause_first = index + 1
            return
        name = self._clause_of(block, index, word)
        if name and name not in block.clauses and name != level.clause:
            first = index + 2 if word in _AFTER_LIST or name == "on conflict" else index + 1
            if name == "returning" and self._word(first) == "with":
                first = self._behind_parentheses(first + 1)  # RETURNING WITH (OLD AS o) ...
            self._begin_clause(level, block, name, index, first)

    def _is_behind_query(self, index: int) -> bool:
        """Tell whether a WITH is what may follow a query: [NO] DATA, CHECK OPTION."""
        after, then = self._word(index + 1), self._word(index + 2)
        return after in ("data", "check", "local", "cascaded") or (after == "no" and then == "data")

    def _clause_of(self, block: Block, index: int, word: str) -> str:
        name = _CLAUSES[block.kind].get(word, "")
        if word in _AFTER_LIST and self._word(index + 1) != "by":
            return ""
        if word == "from" and self._word(index - 1) == "distinct":
            return "" if self._word(index - 2) in ("is", "not") else name
        if name == "on conflict" and self._word(index + 1) != "conflict":
            return ""
        if name == "values" and "on conflict" in block.clauses:
            return ""
        return name

    def _skip_distinct(self, level: _Level, index: int) -> None:
        """Let the list begin behind DISTINCT [ON (...)]."""
        level.clause_first = index + 1
        if self._word(index + 1) == "on":
            level.clause_first = self._behind_parentheses(index + 2)

    def _behind_parentheses(self, opening: int) -> int:
        """Return the place after the parenthesis that closes the one at `opening`."""
        depth = 0
        for place in range(opening, len(self._tokens)):
            word = self._word(place)
            depth += (word == "(") - (word == ")")
            if depth == 0:
                return place + 1
        return len(self._tokens)

    def _begins_statement(self, level: _Level, index: int) -> bool:
        return index == level.opening + 1 or (level.has_arms and not level.blocks)

    def _see_beginning(self, level: _Level, index: int, word: str) -> None:
        """Look for a WITH or a statement where no block is open."""
        if word == "with" and level.with_clause is None:
            after = self._word(index + 1)
            if after not in _NO_WITH and after not in ("(", ""):
                is_recursive = after == "recursive"
                level.with_clause = With(index, is_recursive, [], level.inside)
                level.entry_first = index + (2 if is_recursive else 1)
            return
        before, after = self._word(index - 1), self._word(index + 1)
        if before in ("for", "key", "do", "then", "on"):
            return
        begins = (
            (word in ("insert", "merge") and after == "into")
            or (word == "delete" and after == "from")
            or (word == "update" and after not in ("", "(", ")", ",", ";", "."))
        )
        if begins:
            self._begin_block(level, word, index)
