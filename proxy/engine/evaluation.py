"""How good predictions are: the metrics that are recorded with a model.

Owns the measures, named and defined as in scikit-learn; undefined ones are None. Which rows to
measure on is `model_selection`'s.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from proxy.engine.arrays import Codes, Matrix, Vector
from proxy.engine.parallel import InOrderMap, collect, one_by_one

LARGEST_REPORTED_CLASSES = 100
"""Beyond it no confusion matrix or AUC: they would outweigh the model and cost a sort per class."""


def regression_metrics(y: Vector, predicted: Vector) -> dict[str, Any]:
    """Return r2, rmse and mae of (n,) predictions."""
    with np.errstate(over="ignore"):  # what is infinite is undefined, and no accident
        return {
            "r2": _defined(r2_score(y, predicted)),
            "rmse": _defined(float(np.sqrt(np.mean(np.square(y - predicted))))),
            "mae": _defined(float(np.mean(np.abs(y - predicted)))),
        }


def r2_score(y: Vector, predicted: Vector) -> float:
    """Return the share of the variance explained; NaN where y has none."""
    with np.errstate(over="ignore"):
        total = float(np.sum(np.square(y - y.mean())))
        residual = float(np.sum(np.square(y - predicted)))
    return 1.0 - residual / total if total > 0 else math.nan


def classification_metrics(
    codes: Codes, probability: Matrix, parallel: InOrderMap = one_by_one
) -> dict[str, Any]:
    """Return the measures of a classifier on n rows.

    Parameters
    ----------
    codes : (n,) the true classes' numbers
    probability : (n, n_classes); with two classes precision, recall, f1 and auc are those of
        class 1, with more they are means over classes
    parallel : how to measure several classes at a time
    """
    n_classes = probability.shape[1]
    predicted = probability.argmax(axis=1)
    confusion = confusion_matrix(codes, predicted, n_classes)
    precision, recall, f1 = precision_recall_f1(confusion)
    is_binary = n_classes == 2
    metrics: dict[str, Any] = {
        "accuracy": _defined(float(np.mean(codes == predicted))),
        "precision": _defined(float(precision[1] if is_binary else precision.mean())),
        "recall": _defined(float(recall[1] if is_binary else recall.mean())),
        "f1": _defined(float(f1[1] if is_binary else f1.mean())),
        "log_loss": _defined(log_loss(codes, probability)),
    }
    if n_classes <= LARGEST_REPORTED_CLASSES:
        metrics["auc"] = _defined(_auc(codes, probability, parallel))
        metrics["confusion_matrix"] = confusion.tolist()
    return metrics


def accuracy_score(codes: Codes, probability: Matrix) -> float:
    """Return the share of rows whose likeliest class is the true one."""
    return float(np.mean(codes == probability.argmax(axis=1)))


def confusion_matrix(codes: Codes, predicted: Codes, n_classes: int) -> NDArray[np.int64]:
    """Return (n_classes, n_classes) counts: rows are true classes, columns predicted ones."""
    flat = np.bincount(codes * n_classes + predicted, minlength=n_classes**2)
    return flat.reshape(n_classes, n_classes).astype(np.int64)


def precision_recall_f1(confusion: NDArray[np.int64]) -> tuple[Vector, Vector, Vector]:
    """Return the three measures of each class, 0 where their denominator is."""
    hits = np.diagonal(confusion).astype(np.float64)
    predicted, actual = confusion.sum(axis=0), confusion.sum(axis=1)
    return (
        _ratio(hits, predicted),
        _ratio(hits, actual),
        _ratio(2.0 * hits, predicted + actual),
    )


def _ratio(numerator: Vector, denominator: NDArray[Any]) -> Vector:
    share = np.zeros_like(numerator)
    np.divide(numerator, denominator, out=share, where=denominator > 0)
    return share


def log_loss(codes: Codes, probability: Matrix) -> float:
    """Return the mean of -log p(true class); p is kept an ulp of 1 away from 0 and 1."""
    eps = np.finfo(np.float64).eps
    own = probability[np.arange(len(codes)), codes]
    return float(-np.mean(np.log(np.clip(own, eps, 1.0 - eps))))


def _auc(codes: Codes, probability: Matrix, parallel: InOrderMap) -> float:
    def area(k: int) -> float:
        return roc_auc_score(codes == k, probability[:, k])

    n_classes = probability.shape[1]
    return area(1) if n_classes == 2 else float(np.mean(collect(parallel, area, range(n_classes))))


def roc_auc_score(positive: NDArray[np.bool_], scores: Vector) -> float:
    """Return the chance that a positive row scores above a negative one, ties counting half.

    By the rank sum of Mann and Whitney, in O(n log n); NaN where there is one kind of row only.
    """
    n_positive = int(positive.sum())
    n_negative = len(positive) - n_positive
    if n_positive == 0 or n_negative == 0:
        return math.nan
    _, group, counts = np.unique(scores, return_inverse=True, return_counts=True)
    last_rank = np.cumsum(counts)
    mean_rank = last_rank - (counts - 1) / 2.0
    rank_sum = float(mean_rank[group[positive]].sum())
    return (rank_sum - n_positive * (n_positive + 1) / 2.0) / (n_positive * n_negative)


def _defined(value: float) -> float | None:
    return value if math.isfinite(value) else None
