"""A client's query as the rows of a dataset: the COPY that fetches them, and the way back.

Owns the text of the COPY, the positions of errors in it, and the columns' passage to the engine.
The query runs as it was written, inside a COPY that casts each wanted column to float8, float8[] or
text. Which columns are wanted is left to `training_query` and `evaluation_query`, reading the rows
to `rewrite.training_reader`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from proxy.engine.columns import Column, Dataset, FeatureKind
from proxy.rewrite.edits import EditedText
from proxy.rewrite.training_reader import ColumnValues
from proxy.statements.fetched_columns import FetchedColumn

_PREFIX = "COPY (SELECT "

Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class FetchedQuery:
    """A query, and those of its columns that are fetched.

    Parameters
    ----------
    columns : what is fetched, in order
    places : of each, its number among the query's columns, from 0
    n_columns : of the query
    query, query_start : its text, and where that begins in the client's statement, from 0
    target, sample_weight : numbers of these two in `columns`; None: there is none
    """

    columns: tuple[FetchedColumn, ...]
    places: tuple[int, ...]
    n_columns: int
    query: EditedText
    query_start: int
    target: int | None = None
    sample_weight: int | None = None

    def copy(self, *, text_as_utf8: bool) -> str:
        """Return the COPY that fetches every column in binary."""
        return f"{self._head(text_as_utf8=text_as_utf8)}{self.query.text}{self._tail()}"

    def _head(self, *, text_as_utf8: bool) -> str:
        values = []
        for place, column in zip(self.places, self.columns, strict=True):
            value = column.expression.format(f"pgseer.c{place}")
            if text_as_utf8 and column.kind is FeatureKind.CATEGORY:
                value = f"pg_catalog.convert_to({value}, 'UTF8')"
            values.append(value)
        # The newline before the closing parenthesis ends a comment that the query may end with.
        return f"{_PREFIX}{', '.join(values)} FROM (\n"

    def _tail(self) -> str:
        names = ", ".join(f"c{place}" for place in range(self.n_columns))
        return f"\n) AS pgseer ({names})) TO STDOUT (FORMAT binary)"

    def position_map(self, *, text_as_utf8: bool) -> PositionInCopy:
        """Return the way from a position in `copy` back to the client's text."""
        return PositionInCopy(self, len(self._head(text_as_utf8=text_as_utf8)))

    def dataset(self, values: Sequence[ColumnValues], n_samples: int) -> Dataset:
        """Return the rows as the engine takes them."""
        made = [
            _engine_column(column, part) for column, part in zip(self.columns, values, strict=True)
        ]
        target, weight = (
            None if number is None else made[number] for number in (self.target, self.sample_weight)
        )
        return Dataset(tuple(self.of_features(made)), target, n_samples, weight)

    def of_features(self, values: Sequence[Value]) -> list[Value]:
        """Return those of one value for each column that belong to features."""
        apart = (self.target, self.sample_weight)
        return [value for number, value in enumerate(values) if number not in apart]


@dataclass(frozen=True, slots=True)
class PositionInCopy:
    """Maps a 1-based position in the COPY to one in the client's statement."""

    query: FetchedQuery
    head: int

    def __call__(self, position: int) -> int:
        """Return the position in the client's statement; one in the COPY's head is the first."""
        inside = max(1, min(position - self.head, len(self.query.query.text)))
        return self.query.query.original_position(inside) + self.query.query_start


def _engine_column(column: FetchedColumn, part: ColumnValues) -> Column:
    values: NDArray[np.float64] | NDArray[np.int32] = part.values
    categories = tuple(word.decode("utf-8", "replace") for word in part.categories)
    return Column(column.name, column.kind, column.sql_type, values, categories)
