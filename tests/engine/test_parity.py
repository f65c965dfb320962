"""Held-out quality against scikit-learn's and LightGBM's, same rows and parameters, five seeds.

Whole trainings, as CREATE MODEL runs them: split, preprocessing, fit, evaluation.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np
import pytest
from lightgbm import LGBMClassifier, LGBMRegressor
from sklearn.cluster import DBSCAN, KMeans
from sklearn.datasets import (
    load_breast_cancer,
    load_diabetes,
    load_digits,
    load_iris,
    load_wine,
    make_blobs,
)
from sklearn.ensemble import (
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.metrics import roc_auc_score
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import PolynomialFeatures, StandardScaler
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor
from threadpoolctl import threadpool_limits

from proxy.engine.columns import Column, Dataset, FeatureKind
from proxy.engine.model_selection import split_rows
from tests.engine.estimator_checks import fit

SEEDS = range(5)
WORSE = 0.01  # relative; what a reader may hold us to
LOADERS = {
    "breast_cancer": load_breast_cancer,
    "diabetes": load_diabetes,
    "digits": load_digits,
    "iris": load_iris,
    "wine": load_wine,
}


@cache
def arrays(name: str) -> tuple[np.ndarray, np.ndarray]:
    X, y = LOADERS[name](return_X_y=True)
    return np.ascontiguousarray(X), y


def dataset(X: np.ndarray, y: np.ndarray | None) -> Dataset:
    features = tuple(
        Column(f"x{j}", FeatureKind.NUMBER, "double precision", np.ascontiguousarray(column))
        for j, column in enumerate(X.T)
    )
    target = None
    if y is not None:
        target = Column("y", FeatureKind.NUMBER, "integer", y.astype(np.float64))
    return Dataset(features, target, len(X))


@dataclass(frozen=True)
class Case:
    algorithm: str
    data: str
    theirs: Callable[[int], Any]
    parameters: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.algorithm}-{self.data}-{type(self.theirs(0)).__name__}"


def scaled(estimator: Any) -> Any:
    return make_pipeline(StandardScaler(), estimator)


NET = {"hidden_layers": [30], "epochs": 200, "batch_size": 32}
THEIR_NET = {"hidden_layer_sizes": (30,), "max_iter": 200, "batch_size": 32}
CASES = [
    Case("linear_regression", "diabetes", lambda s: LinearRegression()),
    Case("linear_regression", "diabetes", lambda s: Ridge(0.1), {"l2": 0.1}),
    Case(
        "polynomial_regression",
        "diabetes",
        lambda s: make_pipeline(StandardScaler(), PolynomialFeatures(2), LinearRegression()),
    ),
    Case("logistic_regression", "breast_cancer", lambda s: LogisticRegression(max_iter=10_000)),
    Case("logistic_regression", "wine", lambda s: LogisticRegression(max_iter=10_000)),
    Case(
        "decision_tree",
        "breast_cancer",
        lambda s: DecisionTreeClassifier(max_depth=4, min_samples_leaf=5, random_state=s),
        {"max_depth": 4, "min_samples_leaf": 5},
    ),
    Case(
        "decision_tree",
        "digits",
        lambda s: DecisionTreeClassifier(max_depth=12, min_samples_leaf=2, random_state=s),
        {"max_depth": 12, "min_samples_leaf": 2},
    ),
    Case(
        "decision_tree",
        "diabetes",
        lambda s: DecisionTreeRegressor(max_depth=3, min_samples_leaf=10, random_state=s),
        {"max_depth": 3, "min_samples_leaf": 10},
    ),
    Case(
        "random_forest",
        "breast_cancer",
        lambda s: RandomForestClassifier(100, random_state=s),
    ),
    Case("random_forest", "digits", lambda s: RandomForestClassifier(100, random_state=s)),
    Case("random_forest", "wine", lambda s: RandomForestClassifier(100, random_state=s)),
    Case(
        "random_forest",
        "diabetes",
        lambda s: RandomForestRegressor(100, min_samples_leaf=3, random_state=s),
        {"min_samples_leaf": 3, "task": "regression"},
    ),
    Case(
        "gradient_boosting",
        "breast_cancer",
        lambda s: HistGradientBoostingClassifier(random_state=s),
    ),
    Case(
        "gradient_boosting",
        "diabetes",
        lambda s: HistGradientBoostingRegressor(max_iter=50, random_state=s),
        {"n_trees": 50},
    ),
    Case(
        "gradient_boosting",
        "breast_cancer",
        lambda s: LGBMClassifier(n_estimators=100, num_leaves=31, n_jobs=1, verbose=-1),
    ),
    Case(
        "gradient_boosting",
        "diabetes",
        lambda s: LGBMRegressor(n_estimators=50, num_leaves=31, n_jobs=1, verbose=-1),
        {"n_trees": 50},
    ),
    Case("neural_network", "breast_cancer", lambda s: scaled(MLPClassifier(**THEIR_NET)), NET),
    Case("neural_network", "wine", lambda s: scaled(MLPClassifier(**THEIR_NET)), NET),
    Case(
        "neural_network",
        "diabetes",
        lambda s: scaled(MLPRegressor(**THEIR_NET, random_state=s)),
        NET | {"task": "regression"},
    ),
]


def quality(case: Case, theirs: Any, X: np.ndarray, y: np.ndarray) -> dict[str, float]:
    """Return the metrics that a rival has on held-out rows, by the names that ours have."""
    found = {"accuracy" if hasattr(theirs, "classes_") else "r2": theirs.score(X, y)}
    if hasattr(theirs, "classes_") and len(theirs.classes_) == 2:
        found["auc"] = roc_auc_score(y, theirs.predict_proba(X)[:, 1])
    return found


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.filterwarnings("ignore:X does not have valid feature names")
@pytest.mark.parametrize("case", CASES, ids=str)
def test_quality_is_not_worse(case: Case) -> None:
    """The mean of each metric over five splits is at most one hundredth below the rival's."""
    X, y = arrays(case.data)
    with threadpool_limits(1):  # OpenMP's threads wait for one another, busily, on a busy machine
        compare(case, X, y)


def compare(case: Case, X: np.ndarray, y: np.ndarray) -> None:
    ours: dict[str, list[float]] = {}
    theirs: dict[str, list[float]] = {}
    for seed in SEEDS:
        result = fit(
            case.algorithm, dataset(X, y), test_size=0.3, random_state=seed, **case.parameters
        )
        is_class = bool(result.model.classes)
        split = split_rows(len(y), 0.3, seed, y.astype(np.int64) if is_class else None)
        rival = case.theirs(seed).fit(X[split.train], y[split.train])
        for name, value in quality(case, rival, X[split.holdout], y[split.holdout]).items():
            theirs.setdefault(name, []).append(value)
            ours.setdefault(name, []).append(result.metrics[name])
    for name, values in theirs.items():
        assert np.mean(ours[name]) >= np.mean(values) * (1 - WORSE), (name, ours[name], values)


@pytest.mark.parametrize("seed", SEEDS)
def test_kmeans_inertia_is_scikit_learns(seed: int) -> None:
    """With ten beginnings each, the sum of squares is within one hundredth of theirs."""
    for X, k in ((arrays("iris")[0], 3), (arrays("wine")[0], 5), (arrays("breast_cancer")[0], 8)):
        result = fit("kmeans", dataset(X, None), k=k, n_init=10, random_state=seed)
        theirs = KMeans(k, n_init=10, random_state=seed).fit(X)
        assert result.metrics["inertia"] <= theirs.inertia_ * 1.01


def test_dbscan_labels_are_scikit_learns() -> None:
    """A core row's PREDICT is its own cluster, numbered as scikit-learn numbers it."""
    X, _ = make_blobs(600, 3, centers=5, cluster_std=0.8, random_state=0)
    theirs = DBSCAN(eps=0.9, min_samples=6).fit(X)
    result = fit("dbscan", dataset(X, None), eps=0.9, min_samples=6)
    labels = np.array([int(result.model.classes[place]) for place in result.model.predict_class(X)])
    core = theirs.core_sample_indices_
    np.testing.assert_array_equal(labels[core], theirs.labels_[core])
    assert result.model.classes == ("-1", *map(str, range(theirs.labels_.max() + 1)))
    noise = theirs.labels_ == -1
    np.testing.assert_array_equal(labels == -1, noise)
