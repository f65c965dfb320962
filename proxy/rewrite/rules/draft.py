"""The upstream's text in the making: what is replaced, what is put in, what is asked for.

Owns the replacements of one statement and writing any stretch of its text with them. What replaces
a call is a rule's to say.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from proxy.rewrite.binding import Binding, Input
from proxy.rewrite.blocks import Block
from proxy.rewrite.calls import Argument, ArgumentKind, Function
from proxy.rewrite.catalog import FeatureSignature, ModelCatalog, ModelSignature
from proxy.rewrite.edits import Edit, Piece
from proxy.rewrite.inputs import cast_around
from proxy.rewrite.literals import quote_identifier
from proxy.rewrite.plan import HiddenColumn, Output, PredictQuery, Ranking, ScoreColumn
from proxy.rewrite.sites import Site

_FUNCTIONS = frozenset(Function)
_FILTERS = ("from", "where")
ALIAS, NAME, LIST_END = 1, 2, 3
"""Ranks of what is put in at one place: a subquery's alias, a column's name, hidden columns."""


@dataclass(frozen=True, slots=True)
class BoundCall:
    """A call and the model that it names.

    Attributes
    ----------
    number : its place among the statement's calls
    type_sql : of what it returns
    class_index : of a probability, into the model's classes; None is the most probable class
    """

    number: int
    site: Site
    signature: ModelSignature
    binding: Binding
    output: Output
    type_sql: str
    class_index: int | None


@dataclass(frozen=True, slots=True)
class StagedCall:
    """A call whose scores the statement gets as two parameters.

    Attributes
    ----------
    number : when it was met
    same : every call that is the same, the first included
    """

    call: BoundCall
    number: int
    bounds: int
    scores: int
    same: list[BoundCall]


class Draft:
    """One statement's edits so far.

    Parameters
    ----------
    text_as_utf8 : categories are asked for as bytes of UTF-8, whatever the client's encoding
    n_parameters : of the client's; the statement's own come behind them

    Attributes
    ----------
    stage_calls : the calls that are scored before the statement runs, equal ones once
    hidden : the columns asked for behind the client's
    hidden_pieces : their text
    scores : the columns that are scored here
    ranking : how rows are sorted here
    """

    def __init__(
        self,
        query: PredictQuery,
        catalog: ModelCatalog,
        *,
        text_as_utf8: bool = False,
        n_parameters: int = 0,
    ) -> None:
        self.query = query
        self.catalog = catalog
        self.hidden: list[HiddenColumn] = []
        self.hidden_pieces: list[Piece] = []
        self.scores: list[ScoreColumn] = []
        self.ranking: Ranking | None = None
        self._rank_column: ScoreColumn | None = None
        self._n_parameters = n_parameters
        self._staged: dict[tuple[object, ...], StagedCall] = {}
        self._text_as_utf8 = text_as_utf8
        self._known: dict[tuple[str, str, str, int], int] = {}
        self._edits: dict[tuple[int, int, int], tuple[Piece, ...]] = {}
        for offset, text in query.insertions:
            self.insert(offset, ALIAS, (Piece(text, offset),))

    def replace(self, start: int, end: int, pieces: tuple[Piece, ...]) -> None:
        """Let `pieces` stand for `sql[start:end]`, whatever was changed within."""
        self._edits[start, end, 0] = pieces

    def insert(self, offset: int, rank: int, pieces: tuple[Piece, ...]) -> None:
        """Put `pieces` in, behind those of a lower rank that were put there."""
        self._edits[offset, offset, rank] = pieces

    def edits(self, start: int = 0, end: int | None = None) -> list[Edit]:
        """Return the edits within a stretch of the text, in order; the outer ones only."""
        stop = len(self.query.sql) if end is None else end
        places = [place for place in self._edits if start <= place[0] and place[1] <= stop]
        # What is put in comes before what begins there, a longer stretch before a shorter one.
        places.sort(key=lambda place: (place[0], place[0] < place[1], -place[1], place[2]))
        found = []
        position = start
        for place in places:
            if place[0] >= position:
                found.append(Edit(place[0], place[1], self._edits[place]))
                position = place[1]
        return found

    def render(self, start: int, end: int) -> list[Piece]:
        """Return the pieces of `sql[start:end]`, edits applied."""
        pieces: list[Piece] = []
        position = start
        for edit in self.edits(start, end):
            pieces.append(Piece(self.query.sql[position : edit.start], position, verbatim=True))
            pieces += edit.pieces
            position = edit.end
        pieces.append(Piece(self.query.sql[position:end], position, verbatim=True))
        return [piece for piece in pieces if piece.text]

    @property
    def samples_at_random(self) -> bool:
        """Whether the statement reads other rows each time."""
        text = self.query.sql.lower()
        return "tablesample" in text and "repeatable" not in text

    def words(self, block: Block, clause: str) -> list[str]:
        """Return the tokens of a block's clause, in lower case."""
        first, stop = block.clauses.get(clause, (0, 0))
        tokens = self.query.tokens[first:stop]
        return [self.query.sql[token.start : token.end].lower() for token in tokens]

    def has_words(self, block: Block, clause: str, wanted: tuple[str, str]) -> bool:
        """Tell whether two words stand beside each other in a block's clause."""
        return wanted in pairwise(self.words(block, clause))

    def groups_inputs(self, call: BoundCall) -> bool:
        """Tell whether some groups of its block have NULL for inputs of a call, and not for it."""
        block, item = call.site.block, call.site.item
        words = self.words(block, "group by") if block is not None else []
        has_sets = any(
            word in ("rollup", "cube") or (word, after) == ("grouping", "sets")
            for word, after in pairwise([*words, ""])
        )
        is_grouped = any(
            word in _FUNCTIONS or word.isdecimal() or (item is not None and word == item.name)
            for word in words
        )
        inputs = {argument.name for argument in call.site.call.arguments}
        return has_sets and not is_grouped and bool(inputs & set(words))

    def is_of_current_row(self, block: Block) -> bool:
        """Tell whether a block is an UPDATE or DELETE with WHERE CURRENT OF."""
        return self.words(block, "where")[:2] == ["current", "of"]

    def rank_by(self, column: ScoreColumn, ranking: Ranking) -> None:
        """Let the rows be sorted here, by this score."""
        self.ranking, self._rank_column = ranking, column
        for start, end in (ranking.order, ranking.limit):
            self.replace(start, end, ())

    def all_scores(self) -> tuple[ScoreColumn, ...]:
        """Return the scores; the one that rows are sorted by is the last."""
        last = () if self._rank_column is None else (self._rank_column,)
        return (*self.scores, *last)

    @property
    def stage_calls(self) -> list[StagedCall]:
        """The calls that are scored before the statement runs."""
        return list(self._staged.values())

    def staged(self, call: BoundCall) -> tuple[int, int]:
        """Ask for a call's scores beforehand; return the parameters that they will be."""
        texts = tuple(
            None if given is None else "".join(piece.text for piece in self.argument(given))
            for given in call.binding.inputs
        )
        signature = call.signature
        is_new = any(given and given.argument.is_call for given in call.binding.inputs)
        key = (
            id(call.site.block), signature.name, signature.version, call.output, call.class_index,
            texts, call.number if is_new else None, is_filter(call),
        )  # fmt: skip
        known = self._staged.get(key)
        if known is None:
            number = len(self._staged)
            first = self._n_parameters + 2 * number + 1
            known = self._staged[key] = StagedCall(call, number, first, first + 1, [])
        known.same.append(call)
        return known.bounds, known.scores

    def render_without(self, calls: Sequence[BoundCall]) -> Callable[[int, int], list[Piece]]:
        """Return a `render` in which these calls are NULL, and no column is hidden."""
        other = Draft(self.query, self.catalog)
        other._edits = {
            place: pieces for place, pieces in self._edits.items() if place[2] != LIST_END
        }
        for call in calls:
            where = call.site.call
            null = Piece(f"NULL::{call.type_sql}", where.start)
            other.replace(where.start, where.end, (null,))
        return other.render

    def argument(self, given: Input) -> list[Piece]:
        """Return the pieces of an argument's own text."""
        argument = given.argument
        if argument.kind is ArgumentKind.STAR:
            return [Piece(given.text, argument.start)]
        if argument.kind is ArgumentKind.COLUMN and not self.query.alias_uses:
            return [Piece(argument.text, argument.start, verbatim=True)]
        return self.render(argument.start, argument.end)

    def input_pieces(self, feature: FeatureSignature, given: Input) -> list[Piece]:
        """Return the pieces of an argument, cast to what its feature takes."""
        before, after = cast_around(feature, text_as_utf8=False)
        start = given.argument.start
        return [Piece(before, start), *self.argument(given), Piece(after, start)]

    def hidden_index(self, feature: FeatureSignature, given: Input) -> int:
        """Ask for an input behind the client's columns, equal ones once; return its place."""
        argument = given.argument
        before, after = cast_around(feature, text_as_utf8=self._text_as_utf8)
        text = self.argument(given)
        key = (before, "".join(piece.text for piece in text), after, feature.width)
        if key in self._known and not argument.is_call:
            return self._known[key]
        index = len(self.hidden)
        # Named, for PostgreSQL would name it after its argument, and ORDER BY could mean it.
        name = f"pgseer.in.{index}"
        self.hidden.append(HiddenColumn(name, feature.kind, feature.width))
        self.hidden_pieces += (
            Piece(f", {before}", argument.start),
            *text,
            Piece(f"{after} AS {quote_identifier(name)}", argument.start),
        )
        self._known[key] = index
        return index


def is_filter(call: BoundCall) -> bool:
    """Tell whether a call helps to choose rows: in WHERE or ON, or in a subquery there.

    PostgreSQL may ask of more rows than will be chosen, in any order.
    """
    block, clause = call.site.block, call.site.clause
    while block is not None:
        if clause in _FILTERS and not (clause == "from" and block is not call.site.block):
            return True
        clause, block = block.parent_clause, block.parent
    return False


def identities(call: BoundCall) -> list[Argument]:
    """Return the arguments that name the row and have a parameter.

    They are not asked for, but the client binds the parameter: it must not vanish.
    """
    return [
        argument
        for argument in call.site.call.arguments
        if argument.has_parameter and is_identity(argument)
    ]


def is_identity(argument: Argument) -> bool:
    """Tell whether an argument names the row."""
    return argument.kind is ArgumentKind.NAMED and argument.name == "key"


def without_alias(draft: Draft, call: BoundCall) -> None:
    """Name the column that a call stands in as PostgreSQL would have, if nothing names it."""
    item = call.site.item
    if item is not None and not item.has_alias and not call.site.is_argument:
        name = Piece(f" AS {quote_identifier(item.name)}", item.start)
        draft.insert(item.value_end, NAME, (name,))
