"""A target's values as classes of a model that was trained on other rows.

Owns the comparison, by value where both are numbers and by text else, and the measures where some
label is none of the model's: such a row counts as wrong, whatever is predicted.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from proxy.engine.arrays import Codes, Flags, Matrix, Vector
from proxy.engine.columns import BEYOND_DICTIONARY_CODE, NULL_CODE, Column, FeatureKind
from proxy.engine.evaluation import (
    LARGEST_REPORTED_CLASSES,
    confusion_matrix,
    log_loss,
    precision_recall_f1,
    roc_auc_score,
)
from proxy.engine.model import Target
from proxy.engine.parallel import InOrderMap, collect, one_by_one
from proxy.engine.targets import REAL_TYPES

UNSEEN = -1
BEYOND = "(a label beyond the first 65536)"

_BOOLEANS = {"false": 0.0, "true": 1.0}


@dataclass(frozen=True, slots=True)
class ClassCodes:
    """The classes of the rows of a target.

    Attributes
    ----------
    codes : (n,) places in the model's classes, UNSEEN for a label that is none of them
    has_value : (n,), False where the target is NULL
    unseen : the labels that the model does not know, each once
    """

    codes: Codes
    has_value: Flags
    unseen: tuple[str, ...]


def class_codes(target: Target, column: Column) -> ClassCodes:
    """Find each value of a column among the classes of a model.

    Parameters
    ----------
    target : the model's
    column : a number, a boolean or a category
    """
    if column.kind is FeatureKind.CATEGORY:
        return _of_texts(target, column)
    return _of_numbers(target, column)


def _of_texts(target: Target, column: Column) -> ClassCodes:
    places = {label: place for place, label in enumerate(target.classes)}
    known = [places.get(word, UNSEEN) for word in column.categories]
    # The codes -2 and -1 reach the last two places as numpy's indices from the end.
    codes = np.array([*known, UNSEEN, UNSEEN], dtype=np.int64)[column.values]
    present = np.flatnonzero(np.bincount(column.values[column.values >= 0]))
    unseen = [column.categories[k] for k in present.tolist() if known[k] == UNSEEN]
    if (column.values == BEYOND_DICTIONARY_CODE).any():
        unseen.append(BEYOND)
    return ClassCodes(codes, column.values != NULL_CODE, tuple(unseen))


def _of_numbers(target: Target, column: Column) -> ClassCodes:
    has_value = ~np.isnan(column.values)
    distinct = np.unique(column.values[has_value])
    places = _places_of_numbers(target, column)
    known = [places.get(value, UNSEEN) for value in distinct.tolist()]
    codes = np.full(len(column.values), UNSEEN, dtype=np.int64)
    found = np.array([*known, UNSEEN], dtype=np.int64)
    codes[has_value] = found[np.searchsorted(distinct, column.values[has_value])]
    unseen = [
        _spell(value, column.kind)
        for value, place in zip(distinct.tolist(), known, strict=True)
        if place == UNSEEN
    ]
    return ClassCodes(codes, has_value, tuple(unseen))


def _places_of_numbers(target: Target, column: Column) -> dict[float, int]:
    """Return the place of each class whose label is a number or a boolean, by its value."""
    is_real = target.sql_type in REAL_TYPES or column.sql_type in REAL_TYPES
    places: dict[float, int] = {}
    for place, label in enumerate(target.classes):
        value = _number(label)
        if value is None:
            continue
        places[value] = place
        if is_real:  # 0.1 as float4 is another number than 0.1 as float8
            with np.errstate(over="ignore"):
                places[float(np.float32(value))] = place
    return places


def _number(label: str) -> float | None:
    if label in _BOOLEANS:
        return _BOOLEANS[label]
    try:
        return float(label)
    except ValueError:
        return None


def _spell(value: float, kind: FeatureKind) -> str:
    if kind is FeatureKind.BOOLEAN:
        return "true" if value else "false"
    return repr(value).removesuffix(".0")


def metrics_with_unseen(
    codes: Codes, probability: Matrix, parallel: InOrderMap = one_by_one
) -> dict[str, Any]:
    """Return the measures of `evaluation.classification_metrics` where some codes are UNSEEN.

    Such a row is a miss for accuracy, a false alarm for the class that is predicted, has the
    probability 0 and is among the others in every class's ROC curve. The confusion matrix leaves
    it out.
    """
    n_classes = probability.shape[1]
    true = np.where(codes == UNSEEN, n_classes, codes)
    predicted = probability.argmax(axis=1)
    confusion = confusion_matrix(true, predicted, n_classes + 1)
    measures = [values[:n_classes] for values in precision_recall_f1(confusion)]
    precision, recall, f1 = (_of_classes(values) for values in measures)
    padded = np.hstack([probability, np.zeros((len(codes), 1))])
    metrics: dict[str, Any] = {
        "accuracy": float(np.mean(codes == predicted)),
        "precision": precision,
        "recall": recall,
        "f1": f1,
        "log_loss": log_loss(true, padded),
    }
    if n_classes <= LARGEST_REPORTED_CLASSES:
        metrics["auc"] = _auc(codes, probability, parallel)
        metrics["confusion_matrix"] = confusion[:n_classes, :n_classes].tolist()
    return metrics


def _of_classes(values: Vector) -> float:
    return float(values[1] if len(values) == 2 else values.mean())


def _auc(codes: Codes, probability: Matrix, parallel: InOrderMap) -> float | None:
    def area(k: int) -> float:
        return roc_auc_score(codes == k, probability[:, k])

    n_classes = probability.shape[1]
    mean = area(1) if n_classes == 2 else np.mean(collect(parallel, area, range(n_classes)))
    return float(mean) if math.isfinite(mean) else None
