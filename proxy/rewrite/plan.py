"""A Plan: one value that says both the way out and the way back.

Owns the forms a plan can take. Passthrough: the client's bytes go up as they came. Command: a
statement of ours, carried out by `commands`. PredictQuery: a statement with PREDICT in it,
understood but not yet bound to models; with a catalog `planner.plan` makes it a Splice, which says
what the upstream is asked and how each of its rows becomes one of the client's. Leaves making them
to `planner` and `rules`, the rows to `columns` and `splice`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal

from proxy.rewrite.blocks import Block
from proxy.rewrite.catalog import FeatureKind, ModelSignature
from proxy.rewrite.edits import Edit, EditedText
from proxy.rewrite.lexer import Token, TokenKind
from proxy.rewrite.sites import AliasUse, Site
from proxy.rewrite.statements import MLStatement, ModelReference

Output = Literal["value", "probability", "label"]


class Strategy(StrEnum):
    """Where a call is computed."""

    SPLICE = "splice"  # here, and written into the rows on their way to the client
    PUSH_DOWN = "push-down"  # by the upstream, as an SQL expression
    STAGE = "stage"  # here, before the statement runs, which looks the scores up


@dataclass(frozen=True, slots=True)
class Passthrough:
    """Nothing of ours: the client's own bytes go up."""


@dataclass(frozen=True, slots=True)
class Command:
    """A statement that `commands` carries out."""

    statement: MLStatement


_ONLY_READ = frozenset({"SelectStmt", "CopyStmt"})

PlannedAt = Literal["bind", "execute"]

StarKey = tuple[int, str]
"""A query block's place among the statement's, and a star in it without spaces: `*`, `t.*`."""


@dataclass(frozen=True, slots=True)
class Star:
    """A star whose columns must be known: `text` at the offset `position`, in `block`."""

    key: StarKey
    block: Block
    text: str
    position: int


@dataclass(frozen=True, slots=True)
class Probe:
    """A statement to describe, never to execute: its columns are those of the star `key`."""

    key: StarKey
    edited: EditedText

    @property
    def sql(self) -> str:
        """The statement's text."""
        return self.edited.text


@dataclass(frozen=True, slots=True)
class Ranking:
    """An ORDER BY of one call, with a LIMIT, at the end of the statement.

    Attributes
    ----------
    site : the call's place among the statement's
    order, limit : where the two clauses stand, their words included
    is_descending : the largest first
    n_skipped, n_wanted : OFFSET and LIMIT
    """

    site: int
    order: tuple[int, int]
    limit: tuple[int, int]
    is_descending: bool
    n_skipped: int
    n_wanted: int


@dataclass(frozen=True, slots=True)
class PredictQuery:
    """A statement with PREDICT in it.

    Attributes
    ----------
    kind : the statement's, as PostgreSQL's grammar names it; of an EXPLAIN, what it explains
    explained : the format of an EXPLAIN; None for another statement
    explained_from : offset of what an EXPLAIN explains
    sites : its calls, in the order of the text
    spliced : which of them are whole columns that go to the client as they are
    stars : what stands for which columns must be asked before `plan`
    ranking : how the rows are sorted, where that can be done here
    list_end : offset where hidden columns are put; None where nothing can be spliced
    visible_count : None where a star in the outermost list hides how many columns there are
    insertions : offset and text of what older servers need
    bare_names : offset and name of every column that is named without its table
    blocks : its query blocks
    is_stored : the statement makes a view: its text is kept
    planned_at : whether the upstream plans it when it is bound, when it is executed, or never
    is_only_explained : nothing runs
    """

    sql: str
    kind: str
    explained: str | None
    explained_from: int
    sites: tuple[Site, ...]
    alias_uses: tuple[AliasUse, ...]
    spliced: frozenset[int]
    models: tuple[ModelReference, ...]
    stars: tuple[Star, ...]
    ranking: Ranking | None
    list_end: int | None
    visible_count: int | None
    insertions: tuple[tuple[int, str], ...]
    bare_names: tuple[tuple[int, str], ...]
    blocks: tuple[Block, ...]
    is_stored: bool
    planned_at: PlannedAt | None
    is_only_explained: bool
    tokens: tuple[Token, ...] = field(repr=False)

    @property
    def n_parameters(self) -> int:
        """The largest number of a parameter in the text."""
        return max(
            (
                int(self.sql[token.start + 1 : token.end])
                for token in self.tokens
                if token.kind is TokenKind.PARAMETER and token.end - token.start < 8
            ),
            default=0,
        )

    @property
    def takes_no_parameters(self) -> bool:
        """Whether the upstream binds none to it."""
        return self.kind == "CopyStmt"

    @property
    def only_reads(self) -> bool:
        """Whether it may run in a transaction of a stricter isolation, and nobody will notice."""
        changes = any(block.changes_rows or "for" in block.clauses for block in self.blocks)
        return self.kind in _ONLY_READ and self.planned_at is not None and not changes

    @property
    def is_kept(self) -> bool:
        """Whether the upstream keeps the text and runs it some other time."""
        return self.is_stored or self.kind == "PrepareStmt"


@dataclass(frozen=True, slots=True)
class HiddenColumn:
    """An input, asked for after the visible columns, in binary.

    Its type on the wire: float8 for number, boolean and time; text for category, or bytea of UTF-8
    where the plan was made with `text_as_utf8`; float8[] for array.
    """

    name: str
    kind: FeatureKind
    width: int


@dataclass(frozen=True, slots=True)
class ScoreColumn:
    """A PREDICT column.

    Parameters
    ----------
    site : its place in `PredictQuery.sites`
    index : its place in the outermost list
    marker : the upstream column's name; the client is told `name`
    inputs : for each feature, in the model's order, the index of its hidden column; None is imputed
    output : what the client gets; "label" in the type `type_sql`, else float8
    class_index : of PREDICT_PROBA, into `signature.classes`; None is the most probable class
    """

    site: int
    index: int
    marker: str
    name: str
    signature: ModelSignature
    output: Output
    type_sql: str
    class_index: int | None
    inputs: tuple[int | None, ...]


@dataclass(frozen=True, slots=True)
class StageStep:
    """A query that runs before the statement, whose rows are scored for it.

    Its first column is the key of a row's inputs, int8, and the others are the inputs.

    Parameters
    ----------
    site : the call's place in `PredictQuery.sites`
    output, class_index, hidden, inputs : as in `ScoreColumn` and `Splice`
    bounds, scores : numbers of the parameters that take the scores
    """

    edited: EditedText
    signature: ModelSignature
    site: int
    output: Output
    class_index: int | None
    hidden: tuple[HiddenColumn, ...]
    inputs: tuple[int | None, ...]
    bounds: int
    scores: int

    @property
    def sql(self) -> str:
        """The query's text."""
        return self.edited.text


@dataclass(frozen=True, slots=True)
class CallPlan:
    """How one call is computed."""

    strategy: Strategy
    signature: ModelSignature
    type_sql: str


@dataclass(frozen=True, slots=True)
class Splice:
    """What the upstream is asked, and what its rows hold.

    Its rows have the visible columns, the scores among them as NULL under their markers, and then
    the hidden columns. Without scores they are the client's as they come. With a `ranking` the last
    of the scores is what they are sorted by; it stands in no column if its `index` is -1. Of an
    EXPLAIN that runs a SELECT, `explained_sql` is that by itself.
    """

    sql: str
    calls: tuple[CallPlan, ...]
    scores: tuple[ScoreColumn, ...]
    hidden: tuple[HiddenColumn, ...]
    visible_count: int | None
    notices: tuple[str, ...]
    edits: tuple[Edit, ...] = field(repr=False)
    edited: EditedText = field(repr=False)
    planned_at: PlannedAt | None = "bind"
    stages: tuple[StageStep, ...] = ()
    is_only_explained: bool = False
    ranking: Ranking | None = None
    explained: str | None = None
    explained_sql: str | None = None

    @property
    def jit_off_at(self) -> PlannedAt | None:
        """When the upstream plans a score that it computes; None: it computes none."""
        is_pushed = any(call.strategy is Strategy.PUSH_DOWN for call in self.calls)
        return self.planned_at if is_pushed else None

    def original_position(self, position: int) -> int:
        """Map a 1-based character position in `sql` to the client's text."""
        return self.edited.original_position(position)

    def sql_with(self, arrays: Mapping[int, str]) -> str:
        """Return the text with constants for the parameters of its own, by their number."""
        written = []
        for piece in self.edited.pieces:
            text = piece.text
            if not piece.verbatim:
                for number, array in arrays.items():
                    text = text.replace(f"${number}::", f"'{array}'::")
            written.append(text)
        return "".join(written)


Plan = Passthrough | Command | PredictQuery
