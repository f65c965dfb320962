"""The query of an EVALUATE MODEL: which of its columns are features of the model.

Owns the binding by name: a column that the model does not know is not even fetched, a feature that
no column gives is imputed. Values are cast as PREDICT casts its arguments. The text that fetches
the rows is in `fetched_query`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from proxy.engine.columns import FeatureKind
from proxy.errors import UndefinedColumnError
from proxy.rewrite.catalog import FeatureSignature, ModelSignature
from proxy.rewrite.edits import EditedText
from proxy.rewrite.inputs import cast_around
from proxy.statements.fetched_columns import FetchedColumn
from proxy.statements.fetched_query import FetchedQuery
from proxy.statements.training_query import find_target


@dataclass(frozen=True, slots=True)
class EvaluationQuery:
    """A query, and the names of the features that it does not give."""

    fetched: FetchedQuery
    missing: tuple[str, ...]


def evaluation_query(
    signature: ModelSignature,
    columns: Sequence[FetchedColumn],
    query: EditedText,
    query_start: int,
) -> EvaluationQuery:
    """Bind the query's columns to the model's features by name, and find the target.

    Parameters
    ----------
    columns : the query's, in order
    query_start : where the query begins in the statement, from 0

    Raises
    ------
    UndefinedColumnError
        No column is a feature; two are the same one; or, but for a clustering, none is called
        target.
    DatatypeMismatchError
        The target is an array or a time.
    """
    position = query_start + 1
    target = None if signature.task == "clustering" else find_target(columns, position)
    features = {feature.name: feature for feature in signature.features}
    places = [
        place for place, column in enumerate(columns) if column.name in features and place != target
    ]
    names = [columns[place].name for place in places]
    _check(signature, names, position)
    fetched = [_as_feature(columns[place], features[columns[place].name]) for place in places]
    if target is not None:
        places.append(target)
        fetched.append(columns[target])
    return EvaluationQuery(
        FetchedQuery(
            tuple(fetched),
            tuple(places),
            len(columns),
            query,
            query_start,
            None if target is None else len(fetched) - 1,
        ),
        tuple(name for name in features if name not in names),
    )


def _check(signature: ModelSignature, names: Sequence[str], position: int) -> None:
    if not names:
        known = ", ".join(feature.name for feature in signature.features)
        raise UndefinedColumnError(
            f'no column of the query is a feature of model "{signature.name}"',
            hint=f"Its features are: {known}.",
            position=position,
        )
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise UndefinedColumnError(
            f'the query has more than one column named "{twice[0]}"',
            position=position,
            sqlstate="42702",
        )


def _as_feature(column: FetchedColumn, feature: FeatureSignature) -> FetchedColumn:
    """Return the column, cast as PREDICT casts an argument for the feature."""
    before, after = cast_around(feature, text_as_utf8=False)
    return FetchedColumn(
        column.name,
        FeatureKind(feature.kind),
        feature.sql_type,
        f"{before}{{}}{after}",
        column.type_oid,
    )
