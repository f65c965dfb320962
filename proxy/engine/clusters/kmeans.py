"""K-means clustering.

Owns the estimator and what it keeps of a fit. The first centres are `kmeans_init`'s, how they move
`kmeans_iterations`'s, the passes over the rows `kmeans_points`'s, the scoring of rows
`kmeans_predictor`'s.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, Self

import numpy as np
from numpy.typing import NDArray

from proxy.engine.arrays import Codes, IterationReport, Matrix, Vector, ignore_iteration
from proxy.engine.clusters.kmeans_iterations import Fit, Plan, Run
from proxy.engine.clusters.kmeans_points import Points, unscaled
from proxy.engine.clusters.kmeans_predictor import KMeansPredictor
from proxy.engine.parallel import InOrderMap, collect, one_by_one
from proxy.engine.preparation.design import Design, MatrixDesign
from proxy.engine.preparation.matrix import filled_block, row_ranges


class KMeans:
    """Find k centres that minimise the weighted squared distances of rows from the nearest.

    Empty clusters are filled again with the farthest rows. Where fewer than k rows differ there are
    as many clusters as they, and a warning. The numbers of the clusters have no meaning; the same
    rows, order and seed give the same ones.

    Parameters
    ----------
    n_init : fits from different centres, of which the best is kept; 'auto' is 1
    tol : squared movement of all centres to stop at, in units of the columns' mean variance
    mini_batch : move the centres after every `batch_size` rows, drawn at random, for at most
        `max_iterations` passes over the rows
    random_state : seed of the first centres and of the batches

    Attributes
    ----------
    cluster_centers_ : (n_clusters, n_features)
    labels_ : (n,) int32, what the predictor says of the training rows
    inertia_ : weighted sum of squared distances
    counts_ : (n_clusters,) weights of the clusters' rows; those of `start` included with mini_batch
    n_iter_ : iterations of the fit that was kept, or passes over the rows

    References
    ----------
    Lloyd (1982), "Least squares quantization in PCM"; Sculley (2010), "Web-scale k-means
    clustering".
    """

    def __init__(
        self,
        *,
        k: int = 8,
        max_iterations: int = 300,
        n_init: Literal["auto"] | int = "auto",
        tol: float = 1e-4,
        mini_batch: bool = False,
        batch_size: int = 1024,
        random_state: int = 0,
    ) -> None:
        self.k = k
        self.max_iterations = max_iterations
        self.n_init = n_init
        self.tol = tol
        self.mini_batch = mini_batch
        self.batch_size = batch_size
        self.random_state = random_state
        self.cluster_centers_: Matrix = np.zeros((0, 0))
        self.labels_: NDArray[np.int32] = np.zeros(0, np.int32)
        self.counts_: Vector = np.zeros(0)
        self.inertia_ = 0.0
        self.n_iter_ = 0
        self.n_features_in_ = 0
        self.warnings_: tuple[str, ...] = ()
        self.predictor_ = KMeansPredictor(self.cluster_centers_)

    @property
    def iterations_total(self) -> int:
        """Return how many iterations `report` may be told of."""
        return self._n_runs * self.max_iterations

    @property
    def _n_runs(self) -> int:
        return 1 if self.n_init == "auto" or self.mini_batch else int(self.n_init)

    def fit(
        self,
        X: Design | Matrix,
        y: None = None,
        *,
        sample_weight: Vector | None = None,
        start: KMeans | KMeansPredictor | None = None,
        report: IterationReport = ignore_iteration,
        parallel: InOrderMap = one_by_one,
    ) -> Self:
        """Learn from X (n_samples, n_features).

        Parameters
        ----------
        sample_weight : (n_samples,), at least 0
        start : an earlier fit to go on from, with other rows. Mini-batches move its centres by one
            pass over the rows as if they had come after its own; Lloyd's iterations begin there.
        report : called after every iteration, or pass, with the mean squared distance

        Raises
        ------
        TooLargeError
            54000: the rows would take more than 32 GiB.
        ValueError
            `start` has other columns.
        """
        design = MatrixDesign(X) if isinstance(X, np.ndarray) else X
        earlier = start.predictor_ if isinstance(start, KMeans) else start
        points = Points.of_design(design, sample_weight, parallel)
        fit = Fit(self._plan(design, points), points, report)
        run = fit.best() if earlier is None else fit.continued(earlier)
        self.warnings_ = tuple(self._complaints(run, earlier))
        self.n_iter_ = run.n_iter
        self._keep(points.to_design_units(run.centers), design, points, parallel)
        if self.mini_batch and earlier is not None:
            self.counts_ = self.counts_ + earlier.counts
        self.predictor_ = KMeansPredictor(self.cluster_centers_, self.counts_)
        return self

    def predict(self, X: Matrix) -> Codes:
        """Return the (n,) numbers of the clusters nearest to the rows of X (n, n_features)."""
        X = np.ascontiguousarray(X, dtype=np.float64)
        return np.asarray(self.predictor_.outputs(X)[0], dtype=np.int64)

    def _plan(self, design: Design, points: Points) -> Plan:
        deviations = np.ldexp(design.scale, -points.exponent)
        variance = float(np.square(deviations).mean()) if deviations.size else 0.0
        return Plan(
            k=self.k,
            max_iterations=self.max_iterations,
            tolerance=self.tol * variance,
            n_runs=self._n_runs,
            mini_batch=self.mini_batch,
            batch_size=self.batch_size,
            random_state=self.random_state,
        )

    def _complaints(self, run: Run, earlier: KMeansPredictor | None) -> Iterator[str]:
        found = len(run.centers)
        if earlier is not None and found != self.k:
            yield f"the model keeps its {found} clusters: k = {self.k} is for new models only"
        elif found < self.k:
            yield f"only {found} distinct rows were found: there are {found} clusters, not {self.k}"
        if not run.converged:
            yield f"not converged after {run.n_iter} iterations: set a higher max_iterations"

    def _keep(self, centers: Matrix, design: Design, points: Points, parallel: InOrderMap) -> None:
        """Keep the centres, and what the predictor says of the rows under them."""
        predictor = KMeansPredictor(centers)
        self.labels_ = np.empty(len(points), np.int32)

        def score(rows: slice) -> tuple[Vector, float]:
            block = np.ascontiguousarray(filled_block(design, rows).T)
            places, squared = predictor.nearest(block)
            self.labels_[rows] = places[0]
            weights = points.weights_of(rows)
            counts: Vector = np.zeros(len(centers))
            counts += np.bincount(self.labels_[rows], weights, minlength=len(centers))
            # Not the product: a row without weight may be infinitely far.
            return counts, float(weights @ np.where(weights > 0, squared, 0.0))

        parts = collect(parallel, score, list(row_ranges(len(points), centers.shape[1])))
        self.counts_ = np.zeros(len(centers))
        inertia = 0.0
        for counts, part in parts:
            self.counts_ += counts
            inertia += part
        self.cluster_centers_, self.n_features_in_ = centers, centers.shape[1]
        self.inertia_ = unscaled(inertia, predictor.exponent)
