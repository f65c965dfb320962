"""The query of a CREATE MODEL: which of its columns is the target, which the weight of a row.

Owns what is refused because of a column's name or type before a row is read. The types themselves
are in `fetched_columns`, the text that fetches the rows is in `fetched_query`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from proxy.engine.columns import FeatureKind
from proxy.engine.parameters import nearest_hint
from proxy.errors import (
    DatatypeMismatchError,
    InvalidParameterError,
    ModelSyntaxError,
    UndefinedColumnError,
)
from proxy.protocol import oids
from proxy.rewrite.edits import EditedText
from proxy.statements.fetched_columns import TEXTS, FetchedColumn
from proxy.statements.fetched_query import FetchedQuery

TARGET = "target"

_FIRST_USER_OID = 16384  # FirstNormalObjectId of access/transam.h


@dataclass(frozen=True, slots=True)
class SampleWeight:
    """The column that `sample_weight` names; `position` is that of the name, 1-based."""

    column: str
    position: int


def training_query(
    columns: Sequence[FetchedColumn],
    query: EditedText,
    query_start: int,
    *,
    sample_weight: SampleWeight | None = None,
) -> FetchedQuery:
    """Find the target and the weight among the columns; the others are the features.

    Parameters
    ----------
    columns : the query's, in order
    query_start : where the query begins in the statement, from 0

    Raises
    ------
    UndefinedColumnError
        No column, or more than one, is called target; there is none of the weight's name; or
        nothing is left to learn from.
    DatatypeMismatchError
        The target is an array or a time, or the weight no number.
    InvalidParameterError
        The weight is the target.
    """
    start = query_start + 1
    target = find_target(columns, start)
    weight = None if sample_weight is None else _find_weight(columns, sample_weight)
    _check_features(columns, (target, weight), start)
    made = list(columns)
    made[target] = _as_target(columns[target])
    return _whole(made, query, query_start, target, weight)


def clustering_query(
    model: str,
    columns: Sequence[FetchedColumn],
    query: EditedText,
    query_start: int,
    *,
    sample_weight: SampleWeight | None = None,
) -> FetchedQuery:
    """Find the weight among the columns; the others are the features, and none is a target.

    Raises
    ------
    ModelSyntaxError
        A column is called target.
    UndefinedColumnError, DatatypeMismatchError
        As in `training_query`.
    """
    start = query_start + 1
    if any(column.name == TARGET for column in columns):
        raise ModelSyntaxError(
            f'model "{model}" is a clustering, which has no target',
            hint="Leave the column target out, or give it another name to make it a feature.",
            position=start,
        )
    weight = None if sample_weight is None else _find_weight(columns, sample_weight)
    _check_features(columns, (weight,), start)
    return _whole(columns, query, query_start, None, weight)


def find_target(columns: Sequence[FetchedColumn], position: int) -> int:
    """Return the number of the column that is called target.

    Raises
    ------
    UndefinedColumnError
        There is none, or more than one.
    DatatypeMismatchError
        It is an array or a time.
    """
    places = [index for index, column in enumerate(columns) if column.name == TARGET]
    if not places:
        raise UndefinedColumnError(
            "the query has no column named target",
            hint="Name the column to predict: SELECT ..., churned AS target FROM ...",
            position=position,
        )
    if len(places) > 1:
        raise UndefinedColumnError(
            "the query has more than one column named target",
            position=position,
            sqlstate="42702",
        )
    target = columns[places[0]]
    if target.kind in (FeatureKind.ARRAY, FeatureKind.TIME):
        raise DatatypeMismatchError(
            f"column target is of type {target.sql_type}, which cannot be predicted",
            hint="A target is a number, a boolean or a label.",
            position=position,
        )
    return places[0]


def _find_weight(columns: Sequence[FetchedColumn], weight: SampleWeight) -> int:
    names = [column.name for column in columns]
    if weight.column == TARGET and TARGET in names:
        raise InvalidParameterError(
            "the target cannot be the weight of its own rows", position=weight.position
        )
    if weight.column not in names:
        raise UndefinedColumnError(
            f'the query has no column "{weight.column}" for sample_weight',
            hint=nearest_hint(
                weight.column, dict.fromkeys(name for name in names if name != TARGET)
            ),
            position=weight.position,
        )
    place = names.index(weight.column)
    if columns[place].kind is not FeatureKind.NUMBER:
        raise DatatypeMismatchError(
            f'column "{weight.column}" for sample_weight is of type {columns[place].sql_type}',
            detail="The weight of a row is a number, at least 0.",
            position=weight.position,
        )
    return place


def _check_features(
    columns: Sequence[FetchedColumn], apart: Sequence[int | None], position: int
) -> None:
    """Refuse a query that leaves no feature, or two of one name."""
    names = [column.name for column in columns]
    if len(set(range(len(columns))) - set(apart)) == 0:
        taken = " and ".join(names[place] for place in apart if place is not None)
        raise UndefinedColumnError(
            f"the training query has no feature column{f' beside {taken}' if taken else ''}",
            position=position,
        )
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise UndefinedColumnError(
            f'the training query has more than one column named "{twice[0]}"',
            hint="Give each feature a name of its own.",
            position=position,
            sqlstate="42702",
        )


def _as_target(column: FetchedColumn) -> FetchedColumn:
    """Return the target in the type of its labels: one whose every form `labels` can write.

    An enum is, as are a user's own types that are text underneath.
    """
    if column.type_oid == oids.MONEY:
        return replace(column, sql_type="numeric", type_oid=oids.NUMERIC)
    is_other = column.kind is FeatureKind.CATEGORY and column.type_oid not in TEXTS
    if is_other and column.type_oid < _FIRST_USER_OID:
        return replace(column, type_oid=oids.TEXT)
    return column


def _whole(
    columns: Sequence[FetchedColumn],
    query: EditedText,
    query_start: int,
    target: int | None,
    sample_weight: int | None,
) -> FetchedQuery:
    places = tuple(range(len(columns)))
    return FetchedQuery(
        tuple(columns), places, len(places), query, query_start, target, sample_weight
    )
