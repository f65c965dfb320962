"""The kinds of predictors, by the names that artefacts call them.

Owns the table. A name, once written into an artefact, means the same for ever.
"""

from __future__ import annotations

from collections.abc import Mapping

from proxy.engine.clusters.dbscan_predictor import DBSCANPredictor
from proxy.engine.clusters.kmeans_predictor import KMeansPredictor
from proxy.engine.linear.coefficients import Coefficients
from proxy.engine.linear.polynomial_predictor import PolynomialPredictor
from proxy.engine.networks.network_predictor import NetworkPredictor
from proxy.engine.predictors import Predictor
from proxy.engine.trees.tree_predictor import TreePredictor

KINDS: Mapping[str, type[Predictor]] = {
    "coefficients": Coefficients,
    "polynomial": PolynomialPredictor,
    "trees": TreePredictor,
    "kmeans": KMeansPredictor,
    "dbscan": DBSCANPredictor,
    "network": NetworkPredictor,
}


def kind_of(predictor: Predictor) -> str:
    """Return the name of a predictor's kind."""
    return next(name for name, kind in KINDS.items() if type(predictor) is kind)


def cluster_labels(predictor: Predictor) -> tuple[str, ...]:
    """Return what each place that a clustering predictor gives is called; none for others."""
    if isinstance(predictor, KMeansPredictor):
        return tuple(map(str, range(predictor.n_clusters)))
    if isinstance(predictor, DBSCANPredictor):
        return ("-1", *map(str, range(predictor.n_clusters)))
    return ()
