"""One row scored in process, by a trained model of each algorithm and by scikit-learn's own."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from functools import partial
from statistics import median
from typing import Any

import numpy as np
from sklearn.cluster import KMeans
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import PolynomialFeatures
from sklearn.tree import DecisionTreeClassifier

from benchmarks import samples
from benchmarks.comparison import Goal, Outcome, interleaved, speedup
from benchmarks.figures import Figure, Row
from benchmarks.laboratory import Laboratory
from proxy.engine.columns import Column, Dataset, FeatureKind
from proxy.engine.training import train

ROWS, CALLS = 5000, 300
RIVALS: dict[str, tuple[Callable[[], Any], dict[str, Any]]] = {
    "linear_regression": (LinearRegression, {}),
    "polynomial_regression": (
        lambda: make_pipeline(PolynomialFeatures(2), LinearRegression()),
        {"degree": 2},
    ),
    "logistic_regression": (LogisticRegression, {}),
    "decision_tree": (lambda: DecisionTreeClassifier(max_depth=10), {"max_depth": 10}),
    "random_forest": (
        lambda: RandomForestClassifier(100, max_depth=15),
        {"n_trees": 100, "max_depth": 15},
    ),
    "gradient_boosting": (HistGradientBoostingClassifier, {}),
    "kmeans": (lambda: KMeans(5, n_init=1), {"k": 5}),
    "neural_network": (lambda: MLPClassifier((100,), max_iter=20), {"epochs": 20}),
}
"""DBSCAN has none: scikit-learn's cannot predict."""


def one_row() -> tuple[Figure, ...]:
    """Return a figure for each algorithm."""
    goal = Goal(">=", 10, 100)
    return tuple(
        Figure(
            f"one-row-{name.replace('_', '-')}",
            (Row(f"one row by {name}, in process", "scikit-learn predict_proba", goal),),
            partial(_measure, name),
        )
        for name in RIVALS
    )


def _measure(name: str, laboratory: Laboratory) -> tuple[Outcome, ...]:
    make, parameters = RIVALS[name]
    X, codes = samples.classes(ROWS)
    rival = make()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # twenty epochs do not converge
        rival.fit(X, codes)
    ask = rival.predict_proba if hasattr(rival, "predict_proba") else rival.predict
    is_cluster = name == "kmeans"
    model = train(
        name, parameters, _dataset(X, None if is_cluster else codes), lambda _: None
    ).model
    output: Any = "label" if is_cluster else "probability" if model.classes else "value"
    scorer = model.scorer(range(X.shape[1]), [None] * X.shape[1], output, 1)
    row = np.ascontiguousarray(X[7:8])
    ours, theirs = interleaved(
        laboratory.scale.rounds,
        lambda: _microseconds(lambda: scorer.scores(row)),
        lambda: _microseconds(lambda: ask(row)),
    )
    return (speedup(ours, theirs, "us"),)


def _microseconds(call: Callable[[], object]) -> float:
    seconds = []
    for _ in range(CALLS):
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
    return 1e6 * median(seconds)


def _dataset(X: samples.Floats, codes: samples.Codes | None) -> Dataset:
    features = tuple(
        Column(f"x{j}", FeatureKind.NUMBER, "double precision", np.ascontiguousarray(column))
        for j, column in enumerate(X.T)
    )
    target = None
    if codes is not None:
        target = Column("y", FeatureKind.NUMBER, "integer", codes.astype(np.float64))
    return Dataset(features, target, len(X))
