"""The queries that read what staged calls are scored on, in the order in which they must run.

Owns which call's scores must be known before which other's rows can be read, whether a block has to
be read within the blocks around it, and the text of each query. Leaves cutting blocks to `sources`.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence

from proxy.errors import UnsupportedError
from proxy.rewrite.blocks import Block, With
from proxy.rewrite.calls import is_over_rows
from proxy.rewrite.edits import Edit, EditedText, Piece, edited
from proxy.rewrite.guards import Guard, guards_of
from proxy.rewrite.inputs import cast_around
from proxy.rewrite.lexer import Token, TokenKind
from proxy.rewrite.literals import quote_identifier
from proxy.rewrite.plan import HiddenColumn, PredictQuery, StageStep
from proxy.rewrite.rules.draft import BoundCall, Draft, StagedCall
from proxy.rewrite.rules.stage import key_pieces
from proxy.rewrite.sources import Sources

_RANKS = {"from": 0, "target": 0, "where": 1, "group by": 2}
_LATER = 3
_LAST = 9


class Gathering:
    """The staged calls of one statement.

    Parameters
    ----------
    columns : names of the columns of a block's source, by the block's identity, where known
    """

    def __init__(
        self, query: PredictQuery, draft: Draft, columns: Mapping[int, Sequence[str]]
    ) -> None:
        self._query = query
        self._draft = draft
        self._columns = columns
        self._sources = Sources(query.sql, query.tokens, draft.render)

    def steps(self, *, text_as_utf8: bool) -> tuple[StageStep, ...]:
        """Return what is to be read and scored, in order.

        Raises
        ------
        UnsupportedError
            A query to run beforehand would change rows.
        """
        staged = sorted(self._draft.stage_calls, key=self._order)
        return tuple(
            self._step(entry, staged[index:], text_as_utf8=text_as_utf8)
            for index, entry in enumerate(staged)
        )

    def _order(self, entry: StagedCall) -> tuple[tuple[int, ...], int]:
        return (*self._path(entry.call.site.block, entry.call.site.clause), _LAST), entry.number

    def _path(self, block: Block | None, clause: str) -> tuple[int, ...]:
        """Return when, within each block from the outermost on, the place of a call is computed."""
        ranks = [_RANKS.get(clause, _LATER)]
        while block is not None:
            if block.parent is not None:
                ranks.append(_RANKS.get(block.parent_clause, _LATER))
                block = block.parent
            elif block.inside is not None:
                queries, index = block.inside
                ranks.append(index - 1000)
                block = self._owner(queries)
            else:
                break
        return tuple(reversed(ranks))

    def _owner(self, queries: With) -> Block | None:
        return next((each for each in self._query.blocks if each.with_clause is queries), None)

    def _step(
        self, entry: StagedCall, unknown_calls: list[StagedCall], *, text_as_utf8: bool
    ) -> StageStep:
        call, draft = entry.call, self._draft
        block = call.site.block
        assert block is not None
        self._check_effects(block, call)
        unknown_sites = [same for each in unknown_calls for same in each.same]
        spans = [(each.site.call.first, each.site.call.stop) for each in unknown_sites]
        starts = [token.start for token in self._query.tokens]
        numbers = {each.number for each in unknown_sites}
        for use in self._query.alias_uses:
            if use.site in numbers:
                index = bisect_left(starts, use.start)
                spans.append((index, index + 1))

        def unknown(first: int, stop: int) -> bool:
            return any(first <= start and end <= stop for start, end in spans)

        position = call.site.call.start
        columns: list[Piece] = [*key_pieces(call, draft), Piece(' AS "pgseer.key"', position)]
        hidden: list[HiddenColumn] = []
        inputs: list[int | None] = []
        for feature, given in zip(call.signature.features, call.binding.inputs, strict=True):
            if given is None:
                inputs.append(None)
                continue
            before, after = cast_around(feature, text_as_utf8=text_as_utf8)
            name = f"pgseer.in.{len(hidden)}"
            columns += [
                Piece(f", {before}", given.argument.start),
                *draft.argument(given),
                Piece(f"{after} AS {quote_identifier(name)}", given.argument.start),
            ]
            inputs.append(len(hidden))
            hidden.append(HiddenColumn(name, feature.kind, feature.width))
        if self._is_of_groups(call):
            names = ", ".join(['"pgseer.key"', *(f'"{each.name}"' for each in hidden)])
            nulls = Sources(
                self._query.sql,
                self._query.tokens,
                draft.render_without(unknown_sites),
            )
            pieces = [
                Piece(f"SELECT {names} FROM (", position),
                *nulls.grouped_rows(block, columns, unknown),
                Piece('\n) AS "pgseer.groups"', position),
            ]
        else:
            is_within = self._is_correlated(block)
            place = call.site.call.first
            is_item = call.site.clause == "from" and not self._sources.is_in_condition(block, place)
            pieces = self._sources.rows(
                block,
                columns,
                unknown,
                is_within=is_within,
                item=place if is_item else None,
                guards=self._guards(entry, block),
            )
        return StageStep(
            edited=_whole(pieces),
            signature=call.signature,
            site=call.number,
            output=call.output,
            class_index=call.class_index,
            hidden=tuple(hidden),
            inputs=tuple(inputs),
            bounds=entry.bounds,
            scores=entry.scores,
        )

    def _guards(self, entry: StagedCall, block: Block) -> list[Guard]:
        """Return what must be so for a call to be computed; for one that stands twice, nothing."""
        if len(entry.same) > 1:
            return []
        sql, tokens = self._query.sql, self._query.tokens
        found = guards_of(sql, tokens, block.first, entry.call.site.call.first)
        return [guard for guard in found if not is_over_rows(sql, tokens[guard.first : guard.stop])]

    def _is_of_groups(self, call: BoundCall) -> bool:
        """Tell whether an argument is an aggregate, or a window function, of the call's block."""
        block = call.site.block
        if block is None or block.kind != "select" or call.site.clause in ("where", "from"):
            return False
        return any(argument.is_over_rows for argument in call.site.call.arguments)

    def _is_correlated(self, block: Block) -> bool:
        """Tell whether a block, or its source, refers to the blocks around it."""
        parent = block.parent
        if parent is None or block.parent_clause == "query":
            return False
        if block.parent_clause == "from" and not self._sources.is_in_condition(parent, block.first):
            return self._text(self._query.tokens[block.opening - 1]) == "lateral"
        own: set[str] = set()
        for each in self._query.blocks:
            if block.first <= each.first and each.stop <= block.stop:
                own |= self._sources.own_names(each)
        tokens = self._query.tokens
        for index in range(block.first, block.stop - 1):
            is_name = tokens[index].kind in (TokenKind.IDENTIFIER, TokenKind.QUOTED_IDENTIFIER)
            begins = is_name and self._text(tokens[index + 1]) == "."
            if (
                begins
                and self._text(tokens[index - 1]) != "."
                and self._text(tokens[index]) not in own
            ):
                return True
        models = {site.call.model.position - 1 for site in self._query.sites}
        known = self._columns.get(id(block))
        if known is None:
            return "from" not in block.clauses
        return any(
            name not in known
            for place, name in self._query.bare_names
            if place not in models
            and tokens[block.first].start <= place < tokens[block.stop - 1].end
        )

    def _check_effects(self, block: Block, call: BoundCall) -> None:
        """Refuse to run a WITH query that changes rows a second time."""
        for each in self._query.blocks:
            if each.changes_rows and self._is_read_by(each, block):
                raise UnsupportedError(
                    f'{call.site.call.function.upper()} of model "{call.signature.name}" is not'
                    " supported beside a WITH query that changes rows",
                    detail="The model is too large for an SQL expression, and its rows would have"
                    " to be read beforehand.",
                    position=call.site.call.position,
                )

    def _is_read_by(self, query: Block, block: Block) -> bool:
        """Tell whether a WITH query stands before a block, so that the block may read it."""
        if query.inside is None or (query.first <= block.first and block.stop <= query.stop):
            return False
        queries, index = query.inside
        own = block.inside
        while own is not None:
            if own[0] is queries:
                return index < own[1]
            own = own[0].inside
        return True

    def _text(self, token: Token) -> str:
        return self._query.sql[token.start : token.end].lower()


def _whole(pieces: list[Piece]) -> EditedText:
    return edited("", [Edit(0, 0, tuple(pieces))])
