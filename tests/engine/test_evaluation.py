"""Metrics, with scikit-learn's as the oracle."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as oracle

from proxy.engine.evaluation import classification_metrics, regression_metrics, roc_auc_score


@pytest.mark.parametrize("n_classes", [2, 3, 7])
@pytest.mark.parametrize("seed", range(5))
def test_classification_metrics_are_scikit_learns(n_classes: int, seed: int) -> None:
    """Every measure of a classifier agrees, with tied scores among them."""
    rng = np.random.default_rng(seed)
    codes = rng.integers(0, n_classes, 60)
    codes[:n_classes] = np.arange(n_classes)
    proba = rng.dirichlet(np.ones(n_classes), 60).round(1) + 1e-3
    proba /= proba.sum(axis=1, keepdims=True)
    predicted = proba.argmax(axis=1)
    average = "binary" if n_classes == 2 else "macro"
    scores = proba[:, 1] if n_classes == 2 else proba
    expected = {
        "accuracy": oracle.accuracy_score(codes, predicted),
        "precision": oracle.precision_score(codes, predicted, average=average, zero_division=0),
        "recall": oracle.recall_score(codes, predicted, average=average),
        "f1": oracle.f1_score(codes, predicted, average=average),
        "log_loss": oracle.log_loss(codes, proba),
        "auc": oracle.roc_auc_score(codes, scores, multi_class="ovr"),
    }
    ours = classification_metrics(codes, proba)
    assert ours.pop("confusion_matrix") == oracle.confusion_matrix(codes, predicted).tolist()
    assert ours == pytest.approx(expected, rel=1e-12)


def test_regression_metrics_are_scikit_learns() -> None:
    """r2, rmse and mae agree."""
    rng = np.random.default_rng(0)
    y, predicted = rng.normal(size=50), rng.normal(size=50)
    assert regression_metrics(y, predicted) == pytest.approx(
        {
            "r2": oracle.r2_score(y, predicted),
            "rmse": oracle.root_mean_squared_error(y, predicted),
            "mae": oracle.mean_absolute_error(y, predicted),
        }
    )


def test_undefined_measures_are_none() -> None:
    """What has no value is null in JSON, not NaN."""
    metrics = regression_metrics(np.array([3.0]), np.array([3.5]))
    assert metrics["r2"] is None
    one_class = classification_metrics(np.array([1, 1]), np.array([[0.2, 0.8], [0.6, 0.4]]))
    assert one_class["auc"] is None
    json.dumps([metrics, one_class], allow_nan=False)


def test_certain_and_wrong_costs_much_and_not_everything() -> None:
    """A probability of 0 for what happened gives a finite log-loss."""
    metrics = classification_metrics(np.array([0, 1]), np.array([[0.0, 1.0], [0.0, 1.0]]))
    assert 10 < metrics["log_loss"] < 40


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 4)), min_size=2, max_size=30))
def test_auc_counts_pairs(rows: list[tuple[bool, int]]) -> None:
    """The rank formula counts, over all pairs, how often the positive one scores higher."""
    positive = [score for is_positive, score in rows if is_positive]
    negative = [score for is_positive, score in rows if not is_positive]
    ours = roc_auc_score(np.array([p for p, _ in rows]), np.array([float(s) for _, s in rows]))
    if not positive or not negative:
        assert np.isnan(ours)
        return
    wins = sum((p > n) + 0.5 * (p == n) for p in positive for n in negative)
    assert ours == pytest.approx(wins / (len(positive) * len(negative)))
