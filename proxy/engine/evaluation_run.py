"""A stored model on new rows: how good it is there.

Owns the order of work: bind the dataset's columns to the model's features by name, drop rows
without a target, score in blocks, measure; and the way from a target's values to the model's
classes. The measures themselves are in `evaluation`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from proxy.engine.arrays import Codes, Flags, Matrix, Rows
from proxy.engine.clusters.clustering_metrics import SAMPLE_SIZE, silhouette_score
from proxy.engine.columns import NULL_CODE, Column, Dataset, FeatureKind, InputFeature
from proxy.engine.evaluation import classification_metrics, regression_metrics
from proxy.engine.memory import Allocate
from proxy.engine.model import Model
from proxy.engine.parallel import InOrderMap, one_by_one
from proxy.engine.preparation.design import input_columns, over_raw_blocks, raw_matrix
from proxy.engine.preparation.encoding import RowEncoder
from proxy.engine.preparation.preprocessing import NUMERIC_VALUE_OUT_OF_RANGE
from proxy.engine.row_blocks import count_where, row_blocks, rows_where, take
from proxy.engine.unseen_labels import UNSEEN, class_codes
from proxy.errors import (
    DatatypeMismatchError,
    InvalidParameterError,
    NoTrainingRowsError,
    UndefinedColumnError,
)

MOST_NAMES_TOLD = 5
NOISE = "-1"

_NUMBERS = frozenset({FeatureKind.NUMBER, FeatureKind.BOOLEAN})


@dataclass(frozen=True, slots=True)
class EvaluationResult:
    """What `evaluate` found.

    Attributes
    ----------
    metrics : JSON-able, by name, in the order in which they are to be shown; `rows` is the first.
        None: the measure is not defined for these rows
    notices : for the person who asked
    """

    metrics: dict[str, Any]
    notices: tuple[str, ...]


def evaluate(
    model: Model,
    dataset: Dataset,
    parallel: InOrderMap = one_by_one,
    allocate: Allocate = np.empty,
) -> EvaluationResult:
    """Measure a model on a dataset.

    Parameters
    ----------
    dataset : its features are found by their names, others are ignored and absent ones imputed;
        its target is ignored by a clustering
    parallel : how to score several blocks at a time; no number depends on it
    allocate : for what there is one of for each row

    Raises
    ------
    NoTrainingRowsError
        ML001: no row has a target.
    UndefinedColumnError, DatatypeMismatchError
        There is no target, or it is nothing that the model predicts.
    InvalidParameterError
        22003: the target of a regression is infinite somewhere.
    """
    scoring = _Scoring(model, _aligned(model, dataset), parallel, allocate)
    if model.task == "clustering":
        return _clustering(scoring)
    if dataset.target is None:
        raise UndefinedColumnError(
            "the query has no target column", hint="Name one: SELECT ..., price AS target"
        )
    if model.task == "regression":
        return _regression(scoring, dataset.target)
    return _classification(scoring, dataset.target)


def _aligned(model: Model, dataset: Dataset) -> Dataset:
    """Return the model's features in its order; one that is not there is missing in every row."""
    given = {column.name: column for column in dataset.features}
    n = dataset.n_samples
    columns = []
    for feature in model.features:
        column = given.get(feature.name)
        # An array that is NULL in every row came without a width.
        if column is None or (column.width == 0 and feature.width):
            column = _missing(feature, n)
        columns.append(column)
    return Dataset(tuple(columns), None, n)


def _missing(feature: InputFeature, n: int) -> Column:
    values: Any = np.broadcast_to(np.float64(np.nan), (n,))
    if feature.kind is FeatureKind.CATEGORY:
        values = np.broadcast_to(np.int32(NULL_CODE), (n,))
    elif feature.kind is FeatureKind.ARRAY:
        values = np.broadcast_to(np.float64(np.nan), (n, feature.width))
    return Column(feature.name, feature.kind, feature.sql_type, values)


@dataclass(frozen=True, slots=True)
class _Scoring:
    """A model, the rows that it is measured on, and the means."""

    model: Model
    features: Dataset
    parallel: InOrderMap
    allocate: Allocate

    def with_target(self, has_value: Callable[[slice], Flags]) -> tuple[Rows, int]:
        """Return the rows that have a target, None if all do, and how many they are."""
        n = self.features.n_samples
        rows = rows_where(has_value, n, self.allocate)
        n_rows = n if rows is None else len(rows)
        if not n_rows:
            raise NoTrainingRowsError(
                "the query returned no row to evaluate the model on",
                detail="There are no rows, or their target is NULL.",
            )
        return rows, n_rows

    def predict(self, predict: Callable[[Matrix], NDArray[Any]], rows: Rows) -> NDArray[Any]:
        """Return what `predict` returns for the raw matrices of the rows, joined."""
        return over_raw_blocks(
            predict,
            input_columns(self.features, self.model.preprocessor),
            rows,
            n_outputs=len(self.model.classes),
            parallel=self.parallel,
            allocate=self.allocate,
        )


def _regression(scoring: _Scoring, target: Column) -> EvaluationResult:
    if target.kind not in _NUMBERS:
        raise DatatypeMismatchError(
            f'column "{target.name}" of type {target.sql_type} cannot be compared with what the '
            "model predicts",
            detail="The target of a regression is a number.",
        )
    values = target.values
    if any(np.isinf(values[block]).any() for block in row_blocks(len(values))):
        raise InvalidParameterError(
            f'target column "{target.name}" has infinite values',
            hint="Leave such rows out of the query.",
            sqlstate=NUMERIC_VALUE_OUT_OF_RANGE,
        )
    rows, n_rows = scoring.with_target(lambda block: ~np.isnan(values[block]))
    y = take(values, rows, scoring.allocate)
    predicted = scoring.predict(scoring.model.predict, rows)
    with np.errstate(over="ignore", invalid="ignore"):  # what is not finite is not defined
        metrics = regression_metrics(y, predicted)
    n_dropped = scoring.features.n_samples - n_rows
    return EvaluationResult({"rows": n_rows, **metrics}, _dropped(n_dropped))


def _classification(scoring: _Scoring, target: Column) -> EvaluationResult:
    labels = class_codes(scoring.model.target, target, scoring.allocate)
    rows, n_rows = scoring.with_target(lambda block: labels.has_value[block])
    codes = take(labels.codes, rows, scoring.allocate)
    probability = scoring.predict(scoring.model.predict_proba, rows)
    notices = _dropped(scoring.features.n_samples - n_rows)
    n_unseen = count_where(lambda block: codes[block] == UNSEEN, n_rows)
    if n_unseen:
        notices = (*notices, _unseen(n_unseen, labels.unseen))
    metrics = classification_metrics(codes, probability, scoring.parallel, scoring.allocate)
    return EvaluationResult({"rows": n_rows, **metrics}, notices)


def _clustering(scoring: _Scoring) -> EvaluationResult:
    classes, n = scoring.model.classes, scoring.features.n_samples
    scoring.with_target(lambda block: np.ones(block.stop - block.start, dtype=np.bool_))
    places = scoring.predict(scoring.model.predict_class, None)
    counts = np.bincount(places, minlength=len(classes)).tolist()
    sizes: Mapping[str, int] = dict(zip(classes, counts, strict=True))
    metrics = {
        "rows": n,
        "clusters": sum(1 for name, size in sizes.items() if size and name != NOISE),
        "silhouette": _silhouette(scoring, places),
        "cluster_sizes": dict(sizes),
    }
    return EvaluationResult(metrics, ())


def _silhouette(scoring: _Scoring, places: Codes) -> float | None:
    """Return the silhouette of the rows in clusters, as the model sees them; of many, of a part."""
    model, n = scoring.model, len(places)
    labels = np.array([int(name) for name in model.classes], dtype=np.int64)
    members = rows_where(lambda block: labels[places[block]] >= 0, n, scoring.allocate)
    n_members = n if members is None else len(members)
    chosen = np.arange(min(n_members, SAMPLE_SIZE))  # their design is made whole
    chosen = chosen * n_members // max(len(chosen), 1)
    if members is not None:
        chosen = members[chosen]
    raw = raw_matrix(input_columns(scoring.features, model.preprocessor), chosen)
    width = model.input_width
    encoder = RowEncoder(model.preprocessor, range(width), (None,) * width)
    return silhouette_score(encoder.encode(raw), labels[places[chosen]], parallel=scoring.parallel)


def _dropped(n_rows: int) -> tuple[str, ...]:
    if not n_rows:
        return ()
    words = "row has no target and is" if n_rows == 1 else "rows have no target and are"
    return (f"{n_rows} {words} left out",)


def _unseen(n_rows: int, labels: tuple[str, ...]) -> str:
    told = ", ".join(f'"{label}"' for label in labels[:MOST_NAMES_TOLD])
    more = ", ..." if len(labels) > MOST_NAMES_TOLD else ""
    words = "row has a label" if n_rows == 1 else "rows have labels"
    ends = "counts" if n_rows == 1 else "count"
    return f"{n_rows} {words} that the model has never seen and {ends} as wrong: {told}{more}"
