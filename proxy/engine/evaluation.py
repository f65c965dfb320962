"""How good predictions are: the metrics that are recorded with a model.

Owns the measures, named and defined as in scikit-learn; undefined ones are None. Which rows to
measure on is `model_selection`'s. A label that is none of the model's classes has a code below 0:
whatever is predicted is wrong there.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from proxy.engine.arrays import Codes, Flags, Matrix, Vector
from proxy.engine.memory import Allocate
from proxy.engine.parallel import InOrderMap, collect, one_by_one
from proxy.engine.row_blocks import row_blocks

LARGEST_REPORTED_CLASSES = 100
"""Beyond it no confusion matrix or AUC: they would outweigh the model and cost a sort per class."""


def regression_metrics(y: Vector, predicted: Vector) -> dict[str, Any]:
    """Return r2, rmse and mae of (n,) predictions."""
    squares = absolutes = 0.0
    with np.errstate(over="ignore"):  # what is infinite is undefined, and no accident
        for rows in row_blocks(len(y)):
            errors = y[rows] - predicted[rows]
            absolutes += float(np.abs(errors).sum())
            squares += float(np.square(errors).sum())
        return {
            "r2": _defined(_explained(y, squares)),
            "rmse": _defined(math.sqrt(squares / len(y))),
            "mae": _defined(absolutes / len(y)),
        }


def r2_score(y: Vector, predicted: Vector) -> float:
    """Return the share of the variance explained; NaN where y has none."""
    with np.errstate(over="ignore"):
        blocks = row_blocks(len(y))
        residual = sum(float(np.square(y[rows] - predicted[rows]).sum()) for rows in blocks)
        return _explained(y, residual)


def _explained(y: Vector, residual: float) -> float:
    mean = y.mean()
    total = sum(float(np.square(y[rows] - mean).sum()) for rows in row_blocks(len(y)))
    return 1.0 - residual / total if total > 0 else math.nan


def classification_metrics(
    codes: Codes,
    probability: Matrix,
    parallel: InOrderMap = one_by_one,
    allocate: Allocate = np.empty,
) -> dict[str, Any]:
    """Return the measures of a classifier on n rows.

    Parameters
    ----------
    codes : (n,) the true classes' numbers; a row whose code is below 0 is a false alarm for the
        class that is predicted, has the probability 0 and is among the others in every class's
        ROC curve; the confusion matrix leaves it out
    probability : (n, n_classes); with two classes precision, recall, f1 and auc are those of
        class 1, with more they are means over classes
    parallel : how to measure several classes at a time
    allocate : for the scores of a class, to be sorted
    """
    n_classes = probability.shape[1]
    counts = confusion_counts(codes, probability)
    confusion = counts[:n_classes]
    precision, recall, f1 = (
        float(values[1] if n_classes == 2 else values.mean())
        for values in precision_recall_f1(counts)
    )
    metrics: dict[str, Any] = {
        "accuracy": _defined(float(np.trace(confusion)) / len(codes)),
        "precision": _defined(precision),
        "recall": _defined(recall),
        "f1": _defined(f1),
        "log_loss": _defined(log_loss(codes, probability)),
    }
    if n_classes <= LARGEST_REPORTED_CLASSES:
        metrics["auc"] = _defined(_auc(codes, probability, parallel, allocate))
        metrics["confusion_matrix"] = confusion.tolist()
    return metrics


def accuracy_score(codes: Codes, probability: Matrix) -> float:
    """Return the share of rows whose likeliest class is the true one."""
    hits = sum(
        int(np.count_nonzero(codes[rows] == probability[rows].argmax(axis=1)))
        for rows in row_blocks(len(codes))
    )
    return hits / len(codes)


def confusion_counts(codes: Codes, probability: Matrix) -> NDArray[np.int64]:
    """Return (n_classes + 1, n_classes) counts: rows are true classes, columns predicted ones.

    The last row is of the codes below 0.
    """
    n_classes = probability.shape[1]
    counts = np.zeros((n_classes + 1) * n_classes, dtype=np.int64)
    for rows in row_blocks(len(codes)):
        true = np.where(codes[rows] < 0, n_classes, codes[rows])
        flat = true * n_classes + probability[rows].argmax(axis=1)
        counts += np.bincount(flat, minlength=len(counts))
    return counts.reshape(n_classes + 1, n_classes)


def precision_recall_f1(counts: NDArray[np.int64]) -> tuple[Vector, Vector, Vector]:
    """Return the three measures of each class, 0 where their denominator is."""
    hits = np.diagonal(counts).astype(np.float64)
    predicted, actual = counts.sum(axis=0), counts[:-1].sum(axis=1)
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
    """Return the mean of -log p(true class); p is kept an ulp of 1 away from 0 and 1.

    Of a code below 0 it is 0.
    """
    eps = np.finfo(np.float64).eps
    total = 0.0
    for rows in row_blocks(len(codes)):
        own = codes[rows]
        of_class = probability[rows][np.arange(len(own)), own]
        of_class[own < 0] = 0.0
        total += float(np.log(np.clip(of_class, eps, 1.0 - eps)).sum())
    return -total / len(codes)


def _auc(codes: Codes, probability: Matrix, parallel: InOrderMap, allocate: Allocate) -> float:
    def area(k: int) -> float:
        positive = np.equal(codes, k, out=allocate(len(codes), np.bool_))
        return roc_auc_score(positive, probability[:, k], allocate)

    n_classes = probability.shape[1]
    return area(1) if n_classes == 2 else float(np.mean(collect(parallel, area, range(n_classes))))


def roc_auc_score(positive: Flags, scores: Vector, allocate: Allocate = np.empty) -> float:
    """Return the chance that a positive row scores above a negative one, ties counting half.

    Both kinds are sorted, and the fewer looked up among the others: O(n log n). NaN where there is
    one kind of row only.
    """
    n_positive = int(np.count_nonzero(positive))
    n_negative = len(positive) - n_positive
    if n_positive == 0 or n_negative == 0:
        return math.nan
    few_are_positive = n_positive <= n_negative
    few, many = (
        _sorted(scores, positive, kind, allocate)
        for kind in (few_are_positive, not few_are_positive)
    )
    # The pairs in which the one of few is above count twice, those where both are equal once.
    above = 0
    for rows in row_blocks(len(few)):
        above += int(many.searchsorted(few[rows], "left").sum())
        above += int(many.searchsorted(few[rows], "right").sum())
    pairs = 2 * n_positive * n_negative
    return (above if few_are_positive else pairs - above) / pairs


def _sorted(scores: Vector, positive: Flags, kind: object, allocate: Allocate) -> Vector:
    """Return the scores of the rows of one kind, ascending."""
    n_positive = int(np.count_nonzero(positive))
    chosen = allocate(n_positive if kind else len(positive) - n_positive, np.float64)
    end = 0
    for rows in row_blocks(len(scores)):
        own = scores[rows][positive[rows] == kind]
        chosen[end : end + len(own)] = own
        end += len(own)
    chosen.sort()
    return chosen


def _defined(value: float) -> float | None:
    return value if math.isfinite(value) else None
