"""What a query block selects from, as a statement of its own.

Owns cutting a block's FROM and WHERE out of its statement, with the WITH queries and the outer
blocks that it can refer to: so that the upstream can be asked what a star in the block stands for,
and for the rows that a call in it is computed for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from proxy.rewrite.blocks import Block, With
from proxy.rewrite.edits import Piece
from proxy.rewrite.guards import Guard
from proxy.rewrite.lexer import Token, TokenKind
from proxy.rewrite.literals import NAME_KINDS

Unknown = Callable[[int, int], bool]
"""Whether `tokens[first:stop]` hold a call whose scores are not known yet."""

Render = Callable[[int, int], list[Piece]]
"""The pieces that stand for `sql[start:end]`, calls replaced."""

_GROUPED = {
    "from": "FROM",
    "where": "WHERE",
    "group by": "GROUP BY",
    "having": "HAVING",
    "window": "WINDOW",
}
_JOIN_WORDS = frozenset(
    {"lateral", "join", "cross", "inner", "left", "right", "full", "outer", "natural"}
)


class Sources:
    """The sources of one statement's blocks.

    Parameters
    ----------
    render : how a stretch of the text is written
    """

    def __init__(self, sql: str, tokens: tuple[Token, ...], render: Render) -> None:
        self._sql = sql
        self._tokens = tokens
        self._render = render

    def star(self, block: Block, star: str, position: int) -> list[Piece]:
        """Return the pieces of a statement whose columns are those of `star` in a block.

        Parameters
        ----------
        position : offset of the star, for errors about what the proxy wrote
        """
        pieces = self._select(block, [Piece(star, position)], position)
        pieces = self._within(block, pieces, position)
        common = self._outer_queries(block)
        if common:
            word = "WITH RECURSIVE " if _has_recursion(block) else "WITH "
            pieces = [Piece(word, position), *common, Piece(" ", position), *pieces]
        return pieces + self._unused_parameters(pieces, position)

    def rows(
        self,
        block: Block,
        columns: list[Piece],
        unknown: Unknown,
        *,
        is_within: bool,
        item: int | None = None,
        guards: Sequence[Guard] = (),
    ) -> list[Piece]:
        """Return the pieces of a query whose rows are at least those that a block works on.

        Parameters
        ----------
        columns : what is selected of each
        unknown : tells whether tokens hold a call whose scores are not known yet; conditions that
            do are left out, so that there are more rows rather than fewer
        is_within : the block refers to the blocks around it
        item : a token of the block's FROM: only what comes before that item is selected from
        guards : conditions that rows must meet besides; those with unknown calls are left out
        """
        position = columns[0].source
        pieces = [*self._own_queries(block), Piece("SELECT ", position), *columns]
        if item is None:
            pieces += self._filtered(block, unknown, position)
        else:
            before = list(self._items_before(block, item))
            pieces += [Piece(" FROM ", position), *before] if before else []
        pieces = self._guarded(
            pieces, [each for each in guards if not unknown(each.first, each.stop)]
        )
        around: Block | None = block
        while is_within and around is not None and around.parent is not None:
            pieces = self._rows_within(around, pieces, unknown, position)
            around = around.parent
        common = self._outer_queries(block)
        if common:
            pieces = [Piece("WITH ", position), *common, Piece(" ", position), *pieces]
        return pieces

    def grouped_rows(self, block: Block, columns: list[Piece], unknown: Unknown) -> list[Piece]:
        """Return the pieces of a SELECT with its own list, and `columns` behind it.

        Its ORDER BY and LIMIT are left out; what GROUP BY means by name or number it still means.
        """
        position = columns[0].source
        first = block.first
        own_list = self._range(first, block.clauses["list"][1])
        pieces = [*self._own_queries(block), *own_list, Piece(", ", position), *columns]
        for name, word in _GROUPED.items():
            if name not in block.clauses:
                continue
            parts = [block.clauses[name]]
            if name in ("where", "having"):
                parts = self._known_conditions(*parts[0], unknown)
            if parts:
                pieces.append(Piece(f"\n{word} ", position))
                whole = len(parts) == 1 and parts[0] == block.clauses[name]
                pieces += self._range(*parts[0]) if whole else self._all_of(parts, position)
        pieces.append(Piece("\n", position))
        common = self._outer_queries(block)
        if common:
            pieces = [Piece("WITH ", position), *common, Piece(" ", position), *pieces]
        return pieces

    def _filtered(self, block: Block, unknown: Unknown, position: int) -> list[Piece]:
        """Return FROM and WHERE of a block, less the conditions whose calls are unknown."""
        pieces: list[Piece] = []
        if block.kind in ("values", "insert"):
            return pieces
        for first, stop in _source_ranges(self._sql, self._tokens, block):
            pieces.append(Piece("\n, " if pieces else " FROM ", position))
            pieces += self._joined_items(first, stop, unknown, position)
        if pieces and block.kind == "merge":
            pieces = self._merged(block, position)
        kept = []
        if "where" in block.clauses and not self._is_outer_join(block, unknown):
            kept = self._known_conditions(*block.clauses["where"], unknown)
        if kept:
            pieces.append(Piece("\nWHERE ", position))
            pieces += self._all_of(kept, position)
        return pieces

    def _is_outer_join(self, block: Block, unknown: Unknown) -> bool:
        """Tell whether an outer join's pairs are not known yet: WHERE is about its result."""
        if "from" not in block.clauses:
            return False
        first, stop = block.clauses["from"]
        words = {self._word(index) for index in range(first, stop)}
        return bool(words & {"left", "right", "full"}) and unknown(first, stop)

    def _merged(self, block: Block, position: int) -> list[Piece]:
        """Return the pairs that a MERGE works on."""
        return [
            Piece(" FROM ", position),
            *self._range(*block.clauses["from"]),
            Piece("\nLEFT JOIN ", position),
            *self._range(*block.clauses["target"]),
            Piece("\nON ", position),
            *self._range(*block.clauses["on"]),
        ]

    def _joined_items(self, first: int, stop: int, unknown: Unknown, position: int) -> list[Piece]:
        """Return a FROM's items; a join condition with unknown calls is only that much of it."""
        pieces: list[Piece] = []
        start = first
        for on, end in self._join_conditions(first, stop):
            if not unknown(on, end):
                continue
            kept = self._known_conditions(on, end, unknown)
            pieces += self._range(start, on)
            pieces.append(Piece(" ", position))
            pieces += self._all_of(kept, position) if kept else [Piece("true", position)]
            pieces.append(Piece(" ", position))
            start = end
        return pieces + self._range(start, stop)

    def _join_conditions(self, first: int, stop: int) -> Iterator[tuple[int, int]]:
        """Yield the token range of each ON's condition."""
        index = first
        while index < stop:
            if self._is_word(index, "on"):
                end, depth = index + 1, 0
                while end < stop:
                    word = self._word(end)
                    depth += (word == "(") - (word == ")")
                    is_end = word == "," or word in _JOIN_WORDS
                    if depth < 0 or (depth == 0 and is_end and end > index + 1):
                        break
                    end += 1
                yield index + 1, end
                index = end
            else:
                index += 1

    def _known_conditions(self, first: int, stop: int, unknown: Unknown) -> list[tuple[int, int]]:
        """Return the parts of a condition, joined by AND, that hold no unknown call."""
        if not unknown(first, stop):
            return [(first, stop)]
        parts, start, depth, between = [], first, 0, 0
        for index in range(first, stop):
            word = self._word(index)
            depth += (word in ("(", "[", "case")) - (word in (")", "]", "end"))
            if depth:
                continue
            if word == "or":
                return []
            if word == "between":
                between += 1
            elif word == "and" and between:
                between -= 1
            elif word == "and":
                parts.append((start, index))
                start = index + 1
        parts.append((start, stop))
        return [part for part in parts if not unknown(*part)]

    def _all_of(self, parts: list[tuple[int, int]], position: int) -> list[Piece]:
        pieces: list[Piece] = []
        for first, stop in parts:
            pieces.append(Piece(" AND (" if pieces else "(", position))
            pieces += [*self._range(first, stop), Piece("\n)", position)]
        return pieces

    def _rows_within(
        self, block: Block, pieces: list[Piece], unknown: Unknown, position: int
    ) -> list[Piece]:
        """Put the rows of a block beside the rows of the block around it that they refer to."""
        assert block.parent is not None
        is_item = block.parent_clause == "from" and not self.is_in_condition(
            block.parent, block.first
        )
        if is_item:
            around = list(self._before(block.parent, block))
            around = [Piece(" FROM ", position), *around] if around else []
        else:
            around = self._filtered(block.parent, unknown, position)
        if not around:
            return pieces
        return [
            Piece('SELECT "pgseer.within".* ', position),
            *self._with_lateral(around, pieces, position),
        ]

    def _with_lateral(self, around: list[Piece], pieces: list[Piece], position: int) -> list[Piece]:
        where = next(
            (place for place, piece in enumerate(around) if piece.text == "\nWHERE "), len(around)
        )
        return [
            *around[:where],
            Piece("\nCROSS JOIN LATERAL (", position),
            *pieces,
            Piece('\n) AS "pgseer.within"', position),
            *around[where:],
        ]

    def is_in_condition(self, block: Block, index: int) -> bool:
        """Tell whether a token of a block's FROM stands in the condition of a join."""
        conditions = self._join_conditions(*block.clauses["from"])
        return any(first <= index < stop for first, stop in conditions)

    def own_names(self, block: Block) -> set[str]:
        """Return every name that may stand for a table of a block, in lower case."""
        names: set[str] = set()
        for first, stop in _source_ranges(self._sql, self._tokens, block):
            depth = 0
            for index in range(first, stop):
                word = self._word(index)
                depth += (word == "(") - (word == ")")
                if depth == 0 and not self._has_alias(index, stop):
                    names.add(word)
        return names

    def _has_alias(self, index: int, stop: int) -> bool:
        """Tell whether a name in FROM is a schema's, or a table's that has another name here."""
        if index + 1 >= stop:
            return False
        after = self._word(index + 1)
        if after in (".", "as"):
            return True
        is_name = self._tokens[index + 1].kind in NAME_KINDS
        return is_name and after not in _JOIN_WORDS and after not in ("on", "using", "tablesample")

    def _select(self, block: Block, columns: list[Piece], position: int) -> list[Piece]:
        pieces = [*self._own_queries(block), Piece("SELECT ", position), *columns]
        source = list(self._source(block))
        if source:
            pieces += [Piece(" FROM ", position), *source, Piece("\n", position)]
        return pieces

    def _source(self, block: Block) -> Iterator[Piece]:
        first = True
        for first_token, stop in _source_ranges(self._sql, self._tokens, block):
            if not first:
                yield Piece("\n, ", self._tokens[first_token].start)
            yield from self._range(first_token, stop)
            first = False

    def _within(self, block: Block, pieces: list[Piece], position: int) -> list[Piece]:
        """Put a block where it can refer to the blocks around it."""
        parent = block.parent
        if parent is None:
            return pieces
        around = list(self._source(parent))
        if block.parent_clause == "from":
            around = list(self._before(parent, block))
        elif block.parent_clause == "query":
            around = []  # of an INSERT, which has nothing to refer to
        if around:
            pieces = [
                Piece('SELECT "pgseer.within".* FROM ', position),
                *around,
                Piece("\nCROSS JOIN LATERAL (", position),
                *pieces,
                Piece('\n) AS "pgseer.within"', position),
            ]
        return self._within(parent, pieces, position)

    def _guarded(self, pieces: list[Piece], guards: list[Guard]) -> list[Piece]:
        """Add conditions to the WHERE that the pieces end with, if they have one."""
        has_where = any(piece.text == "\nWHERE " for piece in pieces)
        for guard in guards:
            start = self._tokens[guard.first].start
            word = " AND (" if has_where else "\nWHERE ("
            has_where = True
            test = Piece(f"\n) {guard.test}", start)
            pieces = [*pieces, Piece(word, start), *self._range(guard.first, guard.stop), test]
        return pieces

    def _items_before(self, block: Block, index: int) -> Iterator[Piece]:
        """Yield a FROM's items before the one that a token stands in."""
        first, _ = block.clauses["from"]
        stop, depth = first, 0
        for place in range(first, index):
            word = self._word(place)
            depth += (word == "(") - (word == ")")
            if depth == 0 and (word == "," or word in _JOIN_WORDS):
                stop = place
        while stop > first and self._word(stop - 1) in _JOIN_WORDS | {","}:
            stop -= 1
        yield from self._range(first, stop)

    def _before(self, parent: Block, block: Block) -> Iterator[Piece]:
        """Yield what a LATERAL subquery of a FROM can refer to: the items before it."""
        opening = block.opening
        if opening < 1 or self._word(opening - 1) != "lateral":
            return
        first = parent.clauses["from"][0]
        stop = opening
        while stop > first and self._word(stop - 1) in _JOIN_WORDS | {","}:
            stop -= 1
        yield from self._range(first, stop)

    def _outer_queries(self, block: Block) -> list[Piece]:
        """Return the WITH queries that a block stands behind, the outermost first."""
        lists: list[list[Piece]] = []
        found = block
        while True:
            if found.inside is not None:
                lists.extend(self._earlier(*found.inside))
            if found.parent is None:
                break
            found = found.parent
            if found.with_clause is not None:
                queries = found.with_clause
                lists.append(self._joined(queries, len(queries.queries)))
        kept = [pieces for pieces in reversed(lists) if pieces]
        joined: list[Piece] = []
        for pieces in kept:
            joined += [*([Piece(", ", pieces[0].source)] if joined else []), *pieces]
        return joined

    def _earlier(self, queries: With, index: int) -> Iterator[list[Piece]]:
        yield self._joined(queries, index)
        if queries.inside is not None:
            yield from self._earlier(*queries.inside)

    def _own_queries(self, block: Block) -> list[Piece]:
        """Return a block's WITH clause."""
        own = block.with_clause
        if own is None:
            return []
        start = self._tokens[own.first].start
        word = "WITH RECURSIVE " if own.is_recursive else "WITH "
        return [Piece(word, start), *self._joined(own, len(own.queries)), Piece(" ", start)]

    def _joined(self, queries: With, count: int) -> list[Piece]:
        pieces: list[Piece] = []
        for first, stop in queries.queries[:count]:
            if pieces:
                pieces.append(Piece("\n, ", self._tokens[first].start))
            pieces += self._range(first, stop)
        return pieces

    def _unused_parameters(self, pieces: list[Piece], position: int) -> list[Piece]:
        """Give the parameters that the statement has lost a type: PostgreSQL wants one of each."""
        every = {
            int(self._sql[token.start + 1 : token.end])
            for token in self._tokens
            if token.kind is TokenKind.PARAMETER and token.end - token.start < 8
        }
        if not every:
            return []
        text = "".join(piece.text for piece in pieces)
        lost = [number for number in range(1, max(every) + 1) if f"${number}" not in text]
        if not lost:
            return []
        tests = " AND ".join(f"${number}::pg_catalog.text IS NULL" for number in lost)
        return [Piece(f" WHERE {tests}", position)]

    def _range(self, first: int, stop: int) -> list[Piece]:
        if stop <= first:
            return []
        return self._render(self._tokens[first].start, self._tokens[stop - 1].end)

    def _is_word(self, index: int, word: str) -> bool:
        before = self._word(index - 1) if index else ""
        return self._word(index) == word and before not in ("as", ".")

    def _word(self, index: int) -> str:
        token = self._tokens[index]
        return self._sql[token.start : token.end].lower()


def _has_recursion(block: Block) -> bool:
    """Tell whether a WITH around a block is recursive."""
    around: Block | None = block
    while around is not None:
        if around.with_clause is not None and around.with_clause.is_recursive:
            return True
        inside = around.inside
        while inside is not None:
            if inside[0].is_recursive:
                return True
            inside = inside[0].inside
        around = around.parent
    return False


def _source_ranges(sql: str, tokens: tuple[Token, ...], block: Block) -> Iterator[tuple[int, int]]:
    """Yield the token ranges of what a block selects from, its target table first."""
    if "target" in block.clauses:
        first, stop = block.clauses["target"]
        if block.kind == "insert":
            stop = _without_columns(sql, tokens, first, stop)
        yield first, stop
    if "from" in block.clauses:
        yield block.clauses["from"]


def _without_columns(sql: str, tokens: tuple[Token, ...], first: int, stop: int) -> int:
    """Return the end of `table [AS alias]` in an INSERT's target."""
    for index in range(first, stop):
        word = sql[tokens[index].start : tokens[index].end].lower()
        if word in ("(", "overriding", "default"):
            return index
    return stop
