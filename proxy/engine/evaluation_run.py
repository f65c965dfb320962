"""A stored model on new rows: how good it is there.

Owns the order of work: bind the dataset's columns to the model's features by name, drop rows
without a target, score in blocks, measure; and the way from a target's values to the model's
classes. The measures themselves are in `evaluation`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from proxy.engine.arrays import Codes, Matrix, Vector
from proxy.engine.clusters.clustering_metrics import SAMPLE_SIZE, silhouette_score
from proxy.engine.columns import NULL_CODE, Column, Dataset, FeatureKind, InputFeature
from proxy.engine.evaluation import classification_metrics, regression_metrics
from proxy.engine.model import Model
from proxy.engine.parallel import InOrderMap, one_by_one
from proxy.engine.preparation.design import input_columns, over_raw_blocks, raw_matrix
from proxy.engine.preparation.encoding import RowEncoder
from proxy.engine.preparation.preprocessing import NUMERIC_VALUE_OUT_OF_RANGE
from proxy.engine.unseen_labels import UNSEEN, class_codes, metrics_with_unseen
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


def evaluate(model: Model, dataset: Dataset, parallel: InOrderMap = one_by_one) -> EvaluationResult:
    """Measure a model on a dataset.

    Parameters
    ----------
    dataset : its features are found by their names, others are ignored and absent ones imputed;
        its target is ignored by a clustering
    parallel : how to score several blocks at a time; no number depends on it

    Raises
    ------
    NoTrainingRowsError
        ML001: no row has a target.
    UndefinedColumnError, DatatypeMismatchError
        There is no target, or it is nothing that the model predicts.
    InvalidParameterError
        22003: the target of a regression is infinite somewhere.
    """
    features = _aligned(model, dataset)
    if model.task == "clustering":
        return _clustering(model, features, parallel)
    if dataset.target is None:
        raise UndefinedColumnError(
            "the query has no target column", hint="Name one: SELECT ..., price AS target"
        )
    if model.task == "regression":
        return _regression(model, features, dataset.target, parallel)
    return _classification(model, features, dataset.target, parallel)


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


def _regression(
    model: Model, features: Dataset, target: Column, parallel: InOrderMap
) -> EvaluationResult:
    if target.kind not in _NUMBERS:
        raise DatatypeMismatchError(
            f'column "{target.name}" of type {target.sql_type} cannot be compared with what the '
            "model predicts",
            detail="The target of a regression is a number.",
        )
    if np.isinf(target.values).any():
        raise InvalidParameterError(
            f'target column "{target.name}" has infinite values',
            hint="Leave such rows out of the query.",
            sqlstate=NUMERIC_VALUE_OUT_OF_RANGE,
        )
    rows = _with_target(~np.isnan(target.values))
    y = target.values[rows]

    def predict(raw: Matrix) -> Vector:
        return model.predict(raw)

    predicted = _scored(model, features, rows, predict, parallel)
    with np.errstate(over="ignore", invalid="ignore"):  # what is not finite is not defined
        metrics = regression_metrics(y, predicted)
    return EvaluationResult(
        {"rows": len(rows), **metrics}, _dropped(features.n_samples - len(rows))
    )


def _classification(
    model: Model, features: Dataset, target: Column, parallel: InOrderMap
) -> EvaluationResult:
    labels = class_codes(model.target, target)
    rows = _with_target(labels.has_value)
    codes = labels.codes[rows]

    def predict(raw: Matrix) -> Matrix:
        return model.predict_proba(raw)

    probability = _scored(model, features, rows, predict, parallel)
    notices = _dropped(features.n_samples - len(rows))
    n_unseen = int((codes == UNSEEN).sum())
    if n_unseen:
        metrics = metrics_with_unseen(codes, probability, parallel)
        notices = (*notices, _unseen(n_unseen, labels.unseen))
    else:
        metrics = classification_metrics(codes, probability, parallel)
    return EvaluationResult({"rows": len(rows), **metrics}, notices)


def _clustering(model: Model, features: Dataset, parallel: InOrderMap) -> EvaluationResult:
    rows = _with_target(np.ones(features.n_samples, dtype=np.bool_))

    def predict(raw: Matrix) -> Codes:
        return model.predict_class(raw)

    places = _scored(model, features, rows, predict, parallel)
    counts = np.bincount(places, minlength=len(model.classes)).tolist()
    sizes: Mapping[str, int] = dict(zip(model.classes, counts, strict=True))
    metrics = {
        "rows": len(rows),
        "clusters": sum(1 for name, size in sizes.items() if size and name != NOISE),
        "silhouette": _silhouette(model, features, places, parallel),
        "cluster_sizes": dict(sizes),
    }
    return EvaluationResult(metrics, ())


def _silhouette(
    model: Model, features: Dataset, places: Codes, parallel: InOrderMap
) -> float | None:
    """Return the silhouette of the rows in clusters, as the model sees them; of many, of a part."""
    labels = np.array([int(name) for name in model.classes], dtype=np.int64)[places]
    members = np.flatnonzero(labels >= 0)
    if len(members) > SAMPLE_SIZE:  # their design is made whole
        members = members[np.arange(SAMPLE_SIZE) * len(members) // SAMPLE_SIZE]
    raw = raw_matrix(input_columns(features, model.preprocessor), members)
    width = model.input_width
    encoder = RowEncoder(model.preprocessor, range(width), (None,) * width)
    return silhouette_score(encoder.encode(raw), labels[members], parallel=parallel)


def _with_target(has_value: Any) -> Codes:
    rows = np.flatnonzero(has_value)
    if not len(rows):
        raise NoTrainingRowsError(
            "the query returned no row to evaluate the model on",
            detail="There are no rows, or their target is NULL.",
        )
    return rows


def _scored(
    model: Model, features: Dataset, rows: Codes, predict: Any, parallel: InOrderMap
) -> Any:
    """Return what `predict` returns for the raw matrices of all rows, joined."""
    inputs = input_columns(features, model.preprocessor)
    return over_raw_blocks(predict, inputs, rows, n_outputs=len(model.classes), parallel=parallel)


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
