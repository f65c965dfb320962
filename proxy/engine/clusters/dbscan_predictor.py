"""What a fitted DBSCAN leaves behind: core points, and the nearest of them to a row.

Owns what a new row's cluster is. How the core points are found is `dbscan`'s.
"""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from proxy.engine.arrays import Matrix
from proxy.engine.clusters.neighbours import METRICS, Metric, NeighbourIndex, Reach
from proxy.engine.predictors import LABEL, Link, Tensors


class DBSCANPredictor:
    """Give rows the cluster of the nearest core point within eps, of several the lowest row's.

    The output is a place in the list of labels -1, 0, 1...: 0 is noise, c + 1 is cluster c. A core
    point gets its own cluster. A border point may get another than in training, where the cluster
    that was found first counts, and not the nearest.

    Parameters
    ----------
    components : (n_core, n_features) core points, finite
    component_labels : (n_core,) int32, their clusters, from 0
    """

    link: Link = LABEL
    n_outputs = 1

    def __init__(
        self,
        components: Matrix,
        component_labels: NDArray[np.int32],
        *,
        eps: float,
        metric: Metric = "euclidean",
    ) -> None:
        self.components = components
        self.component_labels = component_labels
        self.eps = eps
        self.metric = metric
        self.n_features_in = components.shape[1]
        self._places = component_labels.astype(np.float64) + 1.0
        self._index: NeighbourIndex | None = None
        if components.size:
            self._index = NeighbourIndex(components, Reach(eps, metric))

    @property
    def n_clusters(self) -> int:
        """Return how many clusters there are, noise left out."""
        return int(self.component_labels.max(initial=-1)) + 1

    def outputs(self, X: Matrix) -> Matrix:
        """Return the (1, n) places of the labels of a C-contiguous X (n, n_features_in)."""
        if self._index is None:  # no core point, or no column in which rows could differ
            return np.full((1, len(X)), float(len(self.components) > 0))
        return self._index.values_of_nearest(X, self._places)

    def tensors(self) -> dict[str, NDArray[Any]]:
        """Return the arrays that `from_tensors` rebuilds it of."""
        return {
            "components": self.components,
            "component_labels": self.component_labels,
            "eps": np.array([self.eps]),
            "metric": np.array([METRICS.index(self.metric)], np.int64),
        }

    @classmethod
    def from_tensors(cls, tensors: Tensors, *, n_features_in: int, n_classes: int) -> Self:
        """Rebuild it of arrays that anybody may have made.

        Raises
        ------
        ValueError, KeyError
            They are not those of such a predictor.
        """
        components, labels = tensors["components"], tensors["component_labels"]
        if n_classes:
            raise ValueError("clusters are not classes")
        _check_components(components, labels, n_features_in)
        eps, metric = _only(tensors["eps"], np.float64), _only(tensors["metric"], np.int64)
        if not 0 < eps < np.inf or not 0 <= metric < len(METRICS):
            raise ValueError(f"eps is {eps}, the metric is {metric}")
        return cls(
            np.ascontiguousarray(components),
            np.ascontiguousarray(labels),
            eps=float(eps),
            metric=METRICS[int(metric)],
        )


def _check_components(components: NDArray[Any], labels: NDArray[Any], n_features_in: int) -> None:
    if labels.dtype != np.int32 or labels.ndim != 1 or labels.min(initial=0) < 0:
        raise ValueError(f"component_labels are {labels.dtype} {labels.shape}")
    if labels.max(initial=-1) >= len(labels):
        raise ValueError("there are more clusters than core points")
    if components.dtype != np.float64 or components.shape != (len(labels), n_features_in):
        raise ValueError(f"components are {components.dtype} {components.shape}")
    if not np.isfinite(components).all():
        raise ValueError("components must be finite")


def _only(tensor: NDArray[Any], dtype: type[np.generic]) -> Any:
    """Return the only element of a tensor."""
    if tensor.dtype != dtype or tensor.shape != (1,):
        raise ValueError(f"{tensor.dtype} {tensor.shape} is not one {dtype.__name__}")
    return tensor[0]
