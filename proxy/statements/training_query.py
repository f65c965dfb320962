"""The training query as arrays: which columns it has, how each is fetched, what each becomes.

Owns the table of types. The query runs as it was written, inside a COPY that casts each column to
float8, float8[] or text; reading the rows is left to `rewrite.columns`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from proxy.engine.columns import Column, Dataset, FeatureKind
from proxy.errors import DatatypeMismatchError, UndefinedColumnError
from proxy.protocol import oids
from proxy.rewrite.columns import ColumnKind, ColumnValues, InputColumn
from proxy.rewrite.edits import EditedText

TARGET = "target"

_FLOAT8 = "::pg_catalog.float8"
_EPOCH = "pg_catalog.date_part('epoch', {})"
_NUMBERS = {
    oids.INT2: "smallint",
    oids.INT4: "integer",
    oids.INT8: "bigint",
    oids.OID: "oid",
    oids.FLOAT4: "real",
    oids.FLOAT8: "double precision",
    oids.NUMERIC: "numeric",
    oids.MONEY: "money",
}
# Types without a cast to float8 of their own.
_THROUGH = {oids.MONEY: "::pg_catalog.numeric", oids.OID: "::pg_catalog.int8"}
_TIMES = {
    oids.DATE: "date",
    oids.TIME: "time without time zone",
    oids.TIMETZ: "time with time zone",
    oids.TIMESTAMP: "timestamp without time zone",
    oids.TIMESTAMPTZ: "timestamp with time zone",
    oids.INTERVAL: "interval",
}
_ARRAYS = {
    oids.BOOL_ARRAY: "boolean[]",
    oids.INT2_ARRAY: "smallint[]",
    oids.INT4_ARRAY: "integer[]",
    oids.INT8_ARRAY: "bigint[]",
    oids.FLOAT4_ARRAY: "real[]",
    oids.FLOAT8_ARRAY: "double precision[]",
    oids.NUMERIC_ARRAY: "numeric[]",
}
_TEXTS = {
    oids.TEXT: "text",
    oids.VARCHAR: "character varying",
    oids.BPCHAR: "character",
    oids.NAME: "name",
    oids.CHAR: '"char"',
    oids.UUID: "uuid",
}
_FIRST_USER_OID = 16384  # FirstNormalObjectId of access/transam.h


@dataclass(frozen=True, slots=True)
class TrainingColumn:
    """One column of a training query.

    Parameters
    ----------
    name : as the query names it
    kind : what the engine makes of it
    sql_type : PostgreSQL's name of its type
    expression : SQL of the value as it is fetched, `{}` stands for the column
    """

    name: str
    kind: FeatureKind
    sql_type: str
    expression: str
    type_oid: int

    @property
    def input(self) -> InputColumn:
        """How the value travels."""
        kinds = {
            FeatureKind.CATEGORY: ColumnKind.TEXT,
            FeatureKind.ARRAY: ColumnKind.FLOAT8_ARRAY,
        }
        return InputColumn(kinds.get(self.kind, ColumnKind.FLOAT8), self.name)


def training_column(name: str, type_oid: int) -> TrainingColumn:
    """Return how a column of a type is fetched; a type that is none of ours is read as text."""
    if type_oid == oids.BOOL:
        kind, sql_type, cast = FeatureKind.BOOLEAN, "boolean", "{}::pg_catalog.int4" + _FLOAT8
    elif type_oid in _NUMBERS:
        kind, sql_type = FeatureKind.NUMBER, _NUMBERS[type_oid]
        cast = "{}" + _THROUGH.get(type_oid, "") + _FLOAT8
    elif type_oid in _TIMES:
        kind, sql_type, cast = FeatureKind.TIME, _TIMES[type_oid], _EPOCH
    elif type_oid in _ARRAYS:
        through = "::pg_catalog.int4[]" if type_oid == oids.BOOL_ARRAY else ""
        kind, sql_type = FeatureKind.ARRAY, _ARRAYS[type_oid]
        cast = "{}" + through + "::pg_catalog.float8[]"
    else:
        kind, sql_type = FeatureKind.CATEGORY, _TEXTS.get(type_oid, "text")
        cast = "{}::pg_catalog.text"
    return TrainingColumn(name, kind, sql_type, cast, type_oid)


def _as_target(column: TrainingColumn) -> TrainingColumn:
    """Return the target in the type of its labels: one whose every form `labels` can write.

    An enum is, as are a user's own types that are text underneath.
    """
    if column.type_oid == oids.MONEY:
        return replace(column, sql_type="numeric", type_oid=oids.NUMERIC)
    is_other = column.kind is FeatureKind.CATEGORY and column.type_oid not in _TEXTS
    if is_other and column.type_oid < _FIRST_USER_OID:
        return replace(column, type_oid=oids.TEXT)
    return column


@dataclass(frozen=True, slots=True)
class TrainingQuery:
    """The query with its columns, the target among them."""

    columns: tuple[TrainingColumn, ...]
    target: int
    query: EditedText
    query_start: int

    @classmethod
    def of(
        cls, columns: Sequence[TrainingColumn], query: EditedText, query_start: int
    ) -> TrainingQuery:
        """Find the target among the columns.

        Raises
        ------
        UndefinedColumnError
            No column, or more than one, is called target; or nothing is left to learn from.
        DatatypeMismatchError
            The target is an array or a time.
        """
        places = [index for index, column in enumerate(columns) if column.name == TARGET]
        if not places:
            raise UndefinedColumnError(
                "the training query has no column named target",
                hint="Name the column to predict: SELECT ..., churned AS target FROM ...",
                position=query_start + 1,
            )
        if len(places) > 1:
            raise UndefinedColumnError(
                "the training query has more than one column named target",
                position=query_start + 1,
                sqlstate="42702",
            )
        if len(columns) < 2:
            raise UndefinedColumnError(
                "the training query has no feature column beside target", position=query_start + 1
            )
        target = columns[places[0]]
        if target.kind in (FeatureKind.ARRAY, FeatureKind.TIME):
            raise DatatypeMismatchError(
                f"column target is of type {target.sql_type}, which cannot be predicted",
                hint="A target is a number, a boolean or a label.",
                position=query_start + 1,
            )
        names = [column.name for column in columns]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise UndefinedColumnError(
                f'the training query has more than one column named "{twice[0]}"',
                hint="Give each feature a name of its own.",
                position=query_start + 1,
                sqlstate="42702",
            )
        made = (*columns[: places[0]], _as_target(target), *columns[places[0] + 1 :])
        return cls(made, places[0], query, query_start)

    _PREFIX = "COPY (SELECT "

    def copy(self, *, text_as_utf8: bool) -> str:
        """Return the COPY that fetches every column in binary."""
        return f"{self._head(text_as_utf8=text_as_utf8)}{self.query.text}{self._tail()}"

    def _head(self, *, text_as_utf8: bool) -> str:
        values = []
        for index, column in enumerate(self.columns):
            value = column.expression.format(f"pgseer.c{index}")
            if text_as_utf8 and column.kind is FeatureKind.CATEGORY:
                value = f"pg_catalog.convert_to({value}, 'UTF8')"
            values.append(value)
        # The newline before the closing parenthesis ends a comment that the query may end with.
        return f"{self._PREFIX}{', '.join(values)} FROM (\n"

    def _tail(self) -> str:
        names = ", ".join(f"c{index}" for index in range(len(self.columns)))
        return f"\n) AS pgseer ({names})) TO STDOUT (FORMAT binary)"

    def position_map(self, *, text_as_utf8: bool) -> PositionInCopy:
        """Return the way from a position in `copy` back to the client's text."""
        return PositionInCopy(self, len(self._head(text_as_utf8=text_as_utf8)))

    def dataset(self, values: Sequence[ColumnValues], n_samples: int) -> Dataset:
        """Return the rows as the engine takes them."""
        made = [
            _engine_column(column, part) for column, part in zip(self.columns, values, strict=True)
        ]
        target = made.pop(self.target)
        return Dataset(tuple(made), target, n_samples)


@dataclass(frozen=True, slots=True)
class PositionInCopy:
    """Maps a 1-based position in the COPY to one in the client's statement."""

    query: TrainingQuery
    head: int

    def __call__(self, position: int) -> int:
        """Return the position in the client's statement; one in the COPY's head is the first."""
        inside = max(1, min(position - self.head, len(self.query.query.text)))
        return self.query.query.original_position(inside) + self.query.query_start


def _engine_column(column: TrainingColumn, part: ColumnValues) -> Column:
    values: NDArray[np.float64] | NDArray[np.int32] = part.values
    categories = tuple(word.decode("utf-8", "replace") for word in part.categories)
    return Column(column.name, column.kind, column.sql_type, values, categories)
