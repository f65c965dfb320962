"""What a fitted k-means leaves behind: centres, and the nearest of them to a row.

Owns the scaling that lets it take any finite row. How the centres are found is `kmeans`'s.
"""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from proxy.engine.arrays import Matrix, Vector
from proxy.engine.clusters.kmeans_points import scratch
from proxy.engine.predictors import LABEL, Link, Tensors
from proxy.kernels import clusters as kernel

MOST_EXPONENT = 1000


class KMeansPredictor:
    """Give rows the number of the nearest centre, the lowest of several.

    A row so far away that the differences from the centres lose the centres' digits is given to
    the one that lies farthest in its direction, which is the nearest.

    Parameters
    ----------
    centers : (n_clusters, n_features), finite
    counts : (n_clusters,) the weight of the rows that each is the mean of, to learn on from;
        None: 1 each
    """

    link: Link = LABEL
    n_outputs = 1

    def __init__(self, centers: Matrix, counts: Vector | None = None) -> None:
        self.centers = np.ascontiguousarray(centers, dtype=np.float64)
        self.counts = np.ones(len(centers)) if counts is None else np.asarray(counts)
        self.n_features_in = self.centers.shape[1]
        exponent = int(np.frexp(np.abs(self.centers).max(initial=0.0))[1])
        self.exponent = min(max(exponent, -MOST_EXPONENT), MOST_EXPONENT)
        self._scale = 2.0**-self.exponent
        self._scaled = self.centers * self._scale

    @property
    def n_clusters(self) -> int:
        """Return how many clusters there are."""
        return len(self.centers)

    def outputs(self, X: Matrix) -> Matrix:
        """Return the (1, n) numbers of the clusters of a C-contiguous X (n, n_features_in)."""
        return self.nearest(X)[0]

    def nearest(self, X: Matrix) -> tuple[Matrix, Vector]:
        """Return (1, n) numbers of clusters, and (n,) squared distances over 4**exponent."""
        places, squared = np.empty((1, len(X))), np.empty(len(X))
        tile, lines = scratch(self.n_features_in, min(len(X), kernel.TILE_ROWS) or 1)
        kernel.find_nearest_centers(X, self._scale, self._scaled, tile, lines, places, squared)
        return places, squared

    def tensors(self) -> dict[str, NDArray[Any]]:
        """Return the arrays that `from_tensors` rebuilds it of."""
        return {"centers": self.centers, "counts": self.counts}

    @classmethod
    def from_tensors(cls, tensors: Tensors, *, n_features_in: int, n_classes: int) -> Self:
        """Rebuild it of arrays that anybody may have made.

        Raises
        ------
        ValueError, KeyError
            They are not those of such a predictor.
        """
        centers, counts = tensors["centers"], tensors["counts"]
        if n_classes:
            raise ValueError("clusters are not classes")
        if centers.dtype != np.float64 or centers.ndim != 2 or centers.shape[1] != n_features_in:
            raise ValueError(f"centers are {centers.dtype} {centers.shape}")
        if counts.dtype != np.float64 or counts.shape != (len(centers),) or len(centers) == 0:
            raise ValueError(f"counts are {counts.dtype} {counts.shape}")
        if not np.isfinite(centers).all() or not np.isfinite(counts).all() or counts.min() < 0:
            raise ValueError("centers and counts must be finite")
        return cls(centers, counts)
