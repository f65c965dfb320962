"""A Plan: one value that says both the way out and the way back.

Owns the forms a plan can take. Passthrough: the client's bytes go up as they came. Command: a
statement of ours, carried out by `commands`. PredictQuery: a SELECT with PREDICT in it, understood
but not yet bound to models; with a catalog `planner.plan` makes it a Splice, which says what the
upstream is asked and how each of its rows becomes one of the client's. Leaves making them to
`planner`, the rows to `columns` and `splice`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from proxy.rewrite.catalog import FeatureKind, ModelSignature
from proxy.rewrite.edits import Edit, EditedText
from proxy.rewrite.placement import PredictTarget
from proxy.rewrite.statements import MLStatement, ModelReference

Output = Literal["value", "probability", "label"]

MARK = "pgseer.mark"
"""The name of the column of a probe's answer after which the star's columns stand."""


@dataclass(frozen=True, slots=True)
class Passthrough:
    """Nothing of ours: the client's own bytes go up."""


@dataclass(frozen=True, slots=True)
class Command:
    """A statement that `commands` carries out."""

    statement: MLStatement


@dataclass(frozen=True, slots=True)
class Probe:
    """A statement to describe, never to execute: the columns after MARK are the star's.

    `star` is the star's text without spaces, `*` or `t.*`: the key that `plan` expects.
    """

    star: str
    edited: EditedText

    @property
    def sql(self) -> str:
        """The statement's text."""
        return self.edited.text


@dataclass(frozen=True, slots=True)
class PredictQuery:
    """A SELECT with PREDICT among the columns of its outermost list.

    `list_end` is where hidden columns are put; `visible_count` is None where a star in the list
    hides how many columns the client sees. `rest` and `others` are shapes of the tree, to check the
    rewritten text against.
    """

    sql: str
    targets: tuple[PredictTarget, ...]
    models: tuple[ModelReference, ...]
    probes: tuple[Probe, ...]
    list_end: int
    visible_count: int | None
    rest: tuple[Any, ...] = field(repr=False)
    others: tuple[tuple[Any, ...] | None, ...] = field(repr=False)  # None: a PREDICT target


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
    marker : the upstream column's name; the client is told `name`
    inputs : for each feature, in the model's order, the index of its hidden column; None is imputed
    output : what the client gets; "label" in the type `type_sql`, else float8
    class_index : of PREDICT_PROBA, into `signature.classes`; None is the most probable class
    """

    marker: str
    name: str
    signature: ModelSignature
    output: Output
    type_sql: str
    class_index: int | None
    inputs: tuple[int | None, ...]


@dataclass(frozen=True, slots=True)
class Splice:
    """What the upstream is asked, and what its rows hold.

    Its rows have the visible columns, the scores among them as NULL under their markers, and then
    the hidden columns.
    """

    sql: str
    scores: tuple[ScoreColumn, ...]
    hidden: tuple[HiddenColumn, ...]
    visible_count: int | None
    notices: tuple[str, ...]
    edits: tuple[Edit, ...] = field(repr=False)
    edited: EditedText = field(repr=False)

    def original_position(self, position: int) -> int:
        """Map a 1-based character position in `sql` to the client's text."""
        return self.edited.original_position(position)


Plan = Passthrough | Command | PredictQuery
