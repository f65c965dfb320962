"""Numbers in, a model out: estimators with scikit-learn's names, and what CREATE MODEL does.

    >>> from proxy.engine import RandomForestClassifier
    >>> RandomForestClassifier(n_trees=50).fit(X, codes).predict_proba(X)

Estimators take arrays: X (n_samples, n_features) in float64, values, or class numbers from 0. Their
parameters are those of CREATE MODEL. `train` takes a `Dataset` of named columns, as the proxy
reads them from a query, and does all that CREATE MODEL does. Each name is imported when it is first
asked for; the modules of this room import one another directly.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_MODULES = {
    "Column": "columns",
    "DBSCAN": "clusters.dbscan",
    "Dataset": "columns",
    "DecisionTreeClassifier": "trees.decision_tree",
    "DecisionTreeRegressor": "trees.decision_tree",
    "FeatureKind": "columns",
    "GradientBoostingClassifier": "trees.gradient_boosting",
    "GradientBoostingRegressor": "trees.gradient_boosting",
    "KMeans": "clusters.kmeans",
    "LinearRegression": "linear.linear",
    "LogisticRegression": "linear.logistic",
    "MLPClassifier": "networks.neural_network",
    "MLPRegressor": "networks.neural_network",
    "Model": "model",
    "PolynomialRegression": "linear.polynomial",
    "RandomForestClassifier": "trees.random_forest",
    "RandomForestRegressor": "trees.random_forest",
    "dump": "artifact",
    "load": "artifact",
    "silhouette_score": "clusters.clustering_metrics",
    "train": "training",
}
__all__ = sorted(_MODULES)  # noqa: PLE0605  # a list of names, made of the table


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"proxy.engine.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_MODULES])
