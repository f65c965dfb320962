"""How good clusters are: the measures that are recorded with a clustering model.

Owns the measures, defined as in scikit-learn; undefined ones are None. The inertia is known to the
fit: `KMeans.inertia_`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from proxy.engine.arrays import Matrix, Vector
from proxy.engine.clusters.kmeans_points import (
    largest_coordinate,
    scaling_exponent,
    scratch,
)
from proxy.engine.parallel import InOrderMap, collect, one_by_one
from proxy.engine.preparation.design import Design, MatrixDesign
from proxy.kernels import clusters as kernel

SAMPLE_SIZE = 2000
CHUNK_ROWS = 64
READ_ROWS = 4096


def silhouette_score(
    X: Design | Matrix,
    labels: NDArray[np.signedinteger],
    *,
    sample_size: int = SAMPLE_SIZE,
    parallel: InOrderMap = one_by_one,
) -> float | None:
    """Return the mean of (b - a) / max(a, b): 1 is best, 0 says that clusters overlap.

    a is a row's mean distance from the others of its cluster, b that from the rows of the nearest
    other cluster; a row that is alone in its cluster counts 0. O(sample_size^2) time.

    Parameters
    ----------
    X : (n, n_features)
    labels : (n,) numbers of clusters; rows below 0, noise, are left out
    sample_size : beyond it only so many rows, evenly spaced, are compared with one another

    Returns
    -------
    None if fewer than two clusters are among the rows, or no two rows share a cluster.

    References
    ----------
    Rousseeuw (1987), "Silhouettes: a Graphical Aid to the Interpretation and Validation of Cluster
    Analysis".
    """
    members = np.flatnonzero(labels >= 0)
    if len(members) > sample_size:
        members = members[np.arange(sample_size) * len(members) // sample_size]
    _, compact = np.unique(labels[members], return_inverse=True)
    sizes = np.bincount(compact)
    if not 2 <= len(sizes) < len(members):
        return None
    design = MatrixDesign(X) if isinstance(X, np.ndarray) else X
    points = _rows_of(design, members)
    means = _distance_sums(points, compact.astype(np.int32), len(sizes), parallel)
    return float(_silhouettes(means, compact, sizes).mean())


def _rows_of(design: Design, rows: NDArray[np.int64]) -> Matrix:
    """Return some rows of a design, centred, in units that keep squares in range."""
    points = np.empty((len(rows), len(design.mean)))
    block = np.empty((points.shape[1], READ_ROWS))
    for start in range(0, design.n_samples, READ_ROWS):
        stop = min(start + READ_ROWS, design.n_samples)
        first, last = np.searchsorted(rows, [start, stop])
        if first < last:
            read = np.ascontiguousarray(block[:, : stop - start])
            design.fill(start, stop, read)
            points[first:last] = read[:, rows[first:last] - start].T
    points -= design.mean
    return np.ldexp(points, -scaling_exponent(largest_coordinate(points)))


def _distance_sums(
    points: Matrix, labels: NDArray[np.int32], n_clusters: int, parallel: InOrderMap
) -> Matrix:
    """Return (n, n_clusters): the distances of each row from each cluster's, added up."""

    def work(rows: slice) -> Matrix:
        sums = np.zeros((rows.stop - rows.start, n_clusters))
        tile, lines = scratch(points.shape[1])
        kernel.add_distances(points, labels, rows.start, rows.stop, tile, lines, sums)
        return sums

    starts = range(0, len(points), CHUNK_ROWS)
    ranges = [slice(start, min(start + CHUNK_ROWS, len(points))) for start in starts]
    return np.concatenate(collect(parallel, work, ranges))


def _silhouettes(sums: Matrix, labels: NDArray[np.int64], sizes: NDArray[np.int64]) -> Vector:
    """Return the (n,) silhouettes of rows from the (n, n_clusters) sums of their distances."""
    every = np.arange(len(sums))
    n_others = sizes[labels] - 1
    within = sums[every, labels] / np.maximum(n_others, 1)
    between = sums / sizes
    between[every, labels] = np.inf
    nearest = between.min(axis=1)
    larger = np.maximum(within, nearest)
    is_defined = (n_others > 0) & (larger > 0)
    scores: Vector = np.zeros(len(sums))
    np.divide(nearest - within, larger, out=scores, where=is_defined)
    return scores
