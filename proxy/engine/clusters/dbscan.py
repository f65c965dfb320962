"""DBSCAN: clusters as places where rows lie close, of any shape, and noise between them.

Owns what core points, border points and clusters are. Who is near whom is `neighbours`'s, the
scoring of new rows `dbscan_predictor`'s.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Self

import numpy as np
from numpy.typing import NDArray

from proxy.engine.arrays import Codes, IterationReport, Matrix, Vector, ignore_iteration
from proxy.engine.clusters.dbscan_predictor import DBSCANPredictor
from proxy.engine.clusters.neighbours import Metric, NeighbourIndex, Reach
from proxy.engine.parallel import InOrderMap, one_by_one
from proxy.engine.preparation.design import Design, MatrixDesign
from proxy.engine.preparation.matrix import design_matrix
from proxy.errors import TooLargeError

LARGEST_MODEL_BYTES = 1 << 30

NOISE = -1


class DBSCAN:
    """Join rows that lie close to others where they are dense; the labels are scikit-learn's.

    A core point has rows that weigh `min_samples` within eps of it, itself included. Core points
    within eps of each other are one cluster; clusters are numbered by their first core point. A row
    that is no core point belongs to the lowest-numbered cluster that has one within eps, or is
    noise.

    Parameters
    ----------
    eps : the largest distance of neighbours, in units of the columns
    min_samples : rows, or the sum of their weights
    random_state : not used, there is no chance in it

    Attributes
    ----------
    labels_ : (n,) int64, -1 is noise
    core_sample_indices_ : (n_core,) rows, ascending
    components_ : (n_core, n_features), copies of them
    n_clusters_ : noise left out

    References
    ----------
    Ester, Kriegel, Sander & Xu (1996), "A Density-Based Algorithm for Discovering Clusters in Large
    Spatial Databases with Noise", KDD.
    """

    iterations_total = 3

    def __init__(
        self,
        *,
        eps: float = 0.5,
        min_samples: int = 5,
        metric: Metric = "euclidean",
        random_state: int = 0,
    ) -> None:
        self.eps = eps
        self.min_samples = min_samples
        self.metric = metric
        self.random_state = random_state
        self.labels_: Codes = np.zeros(0, np.int64)
        self.core_sample_indices_: NDArray[np.int64] = np.zeros(0, np.int64)
        self.components_: Matrix = np.zeros((0, 0))
        self.n_clusters_ = 0
        self.n_features_in_ = 0
        self.warnings_: tuple[str, ...] = ()

    def fit(
        self,
        X: Design | Matrix,
        y: None = None,
        *,
        sample_weight: Vector | None = None,
        report: IterationReport = ignore_iteration,
        parallel: InOrderMap = one_by_one,
    ) -> Self:
        """Learn from X (n_samples, n_features).

        O(n log n) time for rows that have few neighbours, or very many; in many columns, where no
        tree helps, O(n^2). O(n) space.

        Parameters
        ----------
        sample_weight : (n_samples,), at least 0
        report : called after each of three stages, with the share of rows that are noise if no more
            is found

        Raises
        ------
        TooLargeError
            54000: the rows would take more than 32 GiB, or the core points, which the model keeps,
            more than 1 GiB.
        """
        design = MatrixDesign(X) if isinstance(X, np.ndarray) else X
        points = design_matrix(design, np.float64, parallel)
        weights = np.ones(len(points)) if sample_weight is None else sample_weight
        if points.size:
            self._cluster(points, weights, report, parallel)
        else:  # no column in which rows could differ
            is_core = np.full(len(points), float(weights.sum()) >= self.min_samples)
            self._keep(points, is_core, np.where(is_core, 0, NOISE))
        return self

    def _cluster(
        self, points: Matrix, weights: Vector, report: IterationReport, parallel: InOrderMap
    ) -> None:
        index = NeighbourIndex(points, Reach(self.eps, self.metric), parallel)
        is_core = index.are_dense(weights, float(self.min_samples))
        _check_size(int(is_core.sum()), points.shape[1])
        report(1, 1.0 - float(is_core.mean()))
        clusters = index.components(is_core)
        report(2, 1.0 - float(is_core.mean()))
        labels = index.lowest_near(clusters)
        del index, clusters  # of no use to what follows, which needs memory
        report(3, float(np.mean(labels == NOISE)))
        self._keep(points, is_core, labels)

    def _keep(self, points: Matrix, is_core: NDArray[np.bool_], labels: Codes) -> None:
        self.n_features_in_ = points.shape[1]
        self.labels_ = labels
        self.n_clusters_ = int(labels.max(initial=NOISE)) + 1
        self.core_sample_indices_ = np.flatnonzero(is_core)
        self.components_ = points[self.core_sample_indices_]
        self.warnings_ = tuple(self._complaints())
        self.predictor_ = DBSCANPredictor(
            self.components_,
            labels[self.core_sample_indices_].astype(np.int32),
            eps=self.eps,
            metric=self.metric,
        )

    def _complaints(self) -> Iterator[str]:
        if self.n_clusters_ == 0:
            yield (
                f"no row has {self.min_samples} within eps = {self.eps:g}, itself included: all are"
                " noise; set a higher eps or a lower min_samples"
            )

    def predict(self, X: Matrix) -> Codes:
        """Return the (n,) clusters of the core points nearest to the rows of X, or -1."""
        X = np.ascontiguousarray(X, dtype=np.float64)
        return np.asarray(self.predictor_.outputs(X)[0], dtype=np.int64) - 1


def _check_size(n_core: int, n_columns: int) -> None:
    size = n_core * (8 * n_columns + 4)
    if size > LARGEST_MODEL_BYTES:
        raise TooLargeError(
            f"the model would take {size >> 20} MiB",
            detail=f"It keeps its {n_core} core points of {n_columns} columns;"
            f" {LARGEST_MODEL_BYTES >> 20} MiB are the most.",
            hint="Train on a sample of the rows, or set a lower eps or a higher min_samples.",
        )
