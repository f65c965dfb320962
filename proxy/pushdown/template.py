"""An SQL expression with places for a model's inputs.

Owns the value, and how texts and places are joined into it. Which texts they are is left to
`expressions`, what stands in the places to whoever has a statement.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Self, TypeAlias

Part: TypeAlias = str | int
"""Text, or the place of a feature."""
Parts: TypeAlias = list[Part]


@dataclass(frozen=True, slots=True)
class Template:
    """An SQL expression with places for a model's inputs, in parentheses.

    Attributes
    ----------
    parts : text, or the place in `Model.features` of the feature whose input stands here
    uses : how often the input of each feature stands in it; 0 for one that is not given
    has_subquery : an input stands within a scalar subquery without FROM. There its names mean what
        they mean outside, but neither a window function nor an aggregate may be there.
    """

    parts: tuple[Part, ...]
    uses: tuple[int, ...]
    has_subquery: bool = False

    @classmethod
    def of(cls, parts: Iterable[Part], n_features: int, *, has_subquery: bool = False) -> Self:
        """Return the expression that the parts spell, in parentheses."""
        joined: Parts = []
        text = "("
        uses = [0] * n_features
        for part in parts:
            if isinstance(part, str):
                text += part
            else:
                joined += (text, part)
                text = ""
                uses[part] += 1
        joined.append(text + ")")
        return cls(tuple(joined), tuple(uses), has_subquery)

    def sql(self, inputs: Sequence[str | None]) -> str:
        """Return the expression of inputs.

        Parameters
        ----------
        inputs : for each feature the SQL of its input, already of the type that the engine reads
            (a number, boolean or time as float8, a category as text, an array as float8[]), which
            binds no less than a cast does; None for one that was not given
        """
        return "".join(
            [part if isinstance(part, str) else _given(inputs[part]) for part in self.parts]
        )


def _given(sql: str | None) -> str:
    if sql is None:
        raise ValueError("the template uses an input that is not given")
    return sql


def separated(separator: str, items: Iterable[Sequence[Part]]) -> Parts:
    """Return the parts of all items, with text between each two."""
    joined: Parts = []
    for item in items:
        joined += item
        joined.append(separator)
    return joined[:-1]


def subquery(result: Iterable[Part], alias: str, columns: Iterable[Sequence[Part]]) -> Parts:
    """Return a scalar subquery: `result`, which may name `alias.c0` and so on, each computed once.

    The columns stand in a SELECT without FROM, so a name in them is looked up outside.
    """
    named = [[*column, f" AS c{k}"] for k, column in enumerate(columns)]
    return ["(SELECT ", *result, " FROM ", *computed_once(separated(", ", named), alias), ")"]


def computed_once(targets: Iterable[Part], alias: str, source: Iterable[Part] = ()) -> Parts:
    """Return a FROM item whose targets are computed once, however often they are used."""
    # OFFSET 0 keeps PostgreSQL from putting each target's expression where it is named.
    return ["(SELECT ", *targets, *source, " OFFSET 0) AS ", alias]
