"""The corpus: every shape of SQL that PREDICT may stand in, and whom it is asked of.

Owns the list; the entries are beside it, by what they are about.
"""

from __future__ import annotations

from dataclasses import replace

from tests.anywhere import commands, conditions, groups, lists, subqueries, writes
from tests.anywhere.shape import FEW, STAGED, Shape

REFUSED: dict[str, tuple[str, ...]] = {
    # A large model's scores are looked up, and which are needed is not known before:
    "INSERT, ON CONFLICT SET the call": STAGED,
    "INSERT, ON CONFLICT WHERE": STAGED,
    "MERGE, in ON": STAGED,
    "WITH, DELETE RETURNING": STAGED,
    # Its scores are not kept with the text:
    "PREPARE": STAGED,
    "PREPARE, inside and in WHERE": STAGED,
    "PREPARE, a write": STAGED,
    # Each reading would have other values:
    "volatile argument once for each row": FEW,
    "volatile argument once in an expression": FEW,
}
"""What is not served for some models, and answers 0A000; every other shape is, for every model."""

_ENTRIES: tuple[Shape, ...] = (
    *lists.SERVED,
    *lists.SHAPES,
    *conditions.SHAPES,
    *groups.SHAPES,
    *subqueries.SHAPES,
    *writes.SHAPES,
    *commands.SHAPES,
)
SHAPES = tuple(
    replace(entry, refused=entry.refused + REFUSED.get(entry.name, ())) for entry in _ENTRIES
)
SHAPES_BY_NAME = {entry.name: entry for entry in SHAPES}
assert set(REFUSED) <= set(SHAPES_BY_NAME), "no such shape"
assert len(SHAPES_BY_NAME) == len(SHAPES), "two shapes of one name"

CASES = [(entry.name, model) for entry in SHAPES for model in entry.models]
