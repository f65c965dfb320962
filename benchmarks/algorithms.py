"""The engine's figures: fitting and scoring against scikit-learn and LightGBM, in one process.

Both sides get the same arrays, the same parameters and every core: ours in threads, as the training
process has them, the rivals by `n_jobs`. Where speed could be bought with quality, the quality on
rows of neither's training is compared too, and a worse one fails the figure.
"""

from __future__ import annotations

import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from lightgbm import LGBMRegressor
from sklearn import cluster, ensemble, neural_network, tree

from benchmarks import samples
from benchmarks.comparison import (
    Goal,
    NotMeasured,
    Outcome,
    Work,
    interleaved,
    ratio,
    speedup,
)
from benchmarks.figures import Figure, Row, WrongAnswerError
from benchmarks.laboratory import Laboratory
from benchmarks.one_row import one_row
from benchmarks.wire_scoring import over_the_wire
from proxy.engine.clusters.dbscan import DBSCAN
from proxy.engine.clusters.kmeans import KMeans
from proxy.engine.networks.neural_network import MLPClassifier
from proxy.engine.trees.decision_tree import DecisionTreeClassifier
from proxy.engine.trees.gradient_boosting import GradientBoostingRegressor
from proxy.engine.trees.random_forest import RandomForestClassifier
from proxy.workers.threads import ThreadedMap, thread_count

WORST_LOSS = 0.01
"""Of quality, relative: more than that is another model and not a faster one."""
PREDICTED_ROWS = 100_000


def _timed(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def _fitting(make: Callable[[], Any], *data: Any) -> Work:
    """Return a work that fits a new estimator of ours with every core."""

    def work() -> float:
        with ThreadedMap(thread_count()) as parallel:
            return _timed(lambda: make().fit(*data, parallel=parallel))

    return work


def _their_fitting(make: Callable[[], Any], *data: Any) -> Work:
    return lambda: _timed(lambda: make().fit(*data))


def _check(ours: float, theirs: float, what: str) -> None:
    if ours < theirs - WORST_LOSS * abs(theirs):
        raise WrongAnswerError(f"{what} is {ours:.4f}, scikit-learn's {theirs:.4f}")


def _outputs(predictor: Any, X: samples.Floats, parallel: ThreadedMap) -> samples.Floats:
    size = -(-len(X) // (4 * thread_count()))
    pieces = [X[start : start + size] for start in range(0, len(X), size)]
    return np.concatenate(list(parallel(predictor.outputs, pieces)), axis=1)


# ---- trees


def _their_forest() -> Any:
    return ensemble.RandomForestClassifier(100, max_depth=15, n_jobs=-1, random_state=0)


@cache
def _forests(rows: int) -> tuple[Any, Any]:

    X, codes = samples.classes(rows + rows // 5)
    with ThreadedMap(thread_count()) as parallel:
        ours = RandomForestClassifier(n_trees=100, max_depth=15).fit(
            X[:rows], codes[:rows], parallel=parallel
        )
    theirs = ensemble.RandomForestClassifier(100, max_depth=15, n_jobs=-1, random_state=0).fit(
        X[:rows], codes[:rows]
    )
    held_out = X[rows:], codes[rows:]
    share = np.asarray(ours.predictor_.outputs(held_out[0])).argmax(axis=0)
    _check(float(np.mean(share == held_out[1])), theirs.score(*held_out), "accuracy")
    return ours, theirs


def forest_fit(laboratory: Laboratory) -> tuple[Outcome, ...]:
    """Measure a forest's fit."""
    rows = laboratory.scale.rows // 10
    _forests(rows)
    X, codes = samples.classes(rows + rows // 5)
    data = X[:rows], codes[:rows]
    ours, theirs = interleaved(
        min(laboratory.scale.rounds, 3),
        _fitting(lambda: RandomForestClassifier(n_trees=100, max_depth=15), *data),
        _their_fitting(
            lambda: ensemble.RandomForestClassifier(100, max_depth=15, n_jobs=-1, random_state=0),
            *data,
        ),
    )
    return (speedup(ours, theirs, "s"),)


def forest_score(laboratory: Laboratory) -> tuple[Outcome, ...]:
    """Measure the same forest's probabilities."""
    rows = laboratory.scale.rows // 10
    forest, theirs = _forests(rows)
    X = samples.classes(rows + rows // 5)[0][:PREDICTED_ROWS]
    with ThreadedMap(thread_count()) as parallel:
        ours, others = interleaved(
            laboratory.scale.rounds,
            lambda: _timed(lambda: _outputs(forest.predictor_, X, parallel)),
            lambda: _timed(lambda: theirs.predict_proba(X)),
        )
    return (speedup(ours, others, "s"),)


def forest_memory(laboratory: Laboratory) -> tuple[Outcome, ...]:
    """Measure the growth of a process that fits a forest, beyond the process that has the data."""
    rows = laboratory.scale.rows
    ours, theirs = (_peak("ours", rows),), (_peak("theirs", rows),)
    return (ratio(ours, theirs, "MB"),)


def _peak(which: str, rows: int) -> float:
    program = (sys.executable, "-m", "benchmarks.forest_memory", which, str(rows))
    return float(subprocess.run(program, check=True, capture_output=True, text=True).stdout)


def tree_fit(laboratory: Laboratory) -> tuple[Outcome, ...]:
    """Measure one tree's fit."""
    rows = laboratory.scale.rows
    X, codes = samples.classes(rows + rows // 5)
    data = X[:rows], codes[:rows]
    mine = DecisionTreeClassifier(max_depth=10).fit(*data)
    other = tree.DecisionTreeClassifier(max_depth=10, random_state=0).fit(*data)
    found = mine.predictor_.outputs(np.ascontiguousarray(X[rows:])).argmax(axis=0)
    _check(float(np.mean(found == codes[rows:])), other.score(X[rows:], codes[rows:]), "accuracy")
    ours, theirs = interleaved(
        min(laboratory.scale.rounds, 3),
        _fitting(lambda: DecisionTreeClassifier(max_depth=10), *data),
        _their_fitting(lambda: tree.DecisionTreeClassifier(max_depth=10, random_state=0), *data),
    )
    return (speedup(ours, theirs, "s"),)


def boosting_fit(laboratory: Laboratory) -> tuple[Outcome, ...]:
    """Measure gradient boosting's fit of the flights' delays."""
    rows = 3 * laboratory.scale.rows // 10
    found = samples.flights(rows)
    if found is None:
        return (NotMeasured(f"PGSEER_BENCH_DATA names no folder with {samples.FLIGHTS}"),)
    X, y = found
    data = X[:rows], y[:rows]

    def rival() -> Any:
        return LGBMRegressor(n_estimators=100, num_leaves=31, n_jobs=-1, verbose=-1)

    mine, other = GradientBoostingRegressor(n_trees=100).fit(*data), rival().fit(*data)
    rest = np.ascontiguousarray(X[rows:])
    error = float(np.sqrt(np.mean((mine.predictor_.outputs(rest)[0] - y[rows:]) ** 2)))
    their_error = float(np.sqrt(np.mean((other.predict(rest) - y[rows:]) ** 2)))
    _check(-error, -their_error, "minus the RMSE")
    ours, theirs = interleaved(
        laboratory.scale.rounds,
        _fitting(lambda: GradientBoostingRegressor(n_trees=100), *data),
        _their_fitting(rival, *data),
    )
    return (ratio(ours, theirs, "s"),)


# ---- clusters


def kmeans_fit(laboratory: Laboratory) -> tuple[Outcome, ...]:
    """Measure k-means: the same number of rounds from beginnings of each side's own."""
    X = samples.blobs(laboratory.scale.rows, 10, 5)
    n_rounds = 10

    def mine() -> KMeans:
        return KMeans(k=5, n_init=1, max_iterations=n_rounds, tol=0.0)

    def other() -> Any:
        return cluster.KMeans(5, n_init=1, max_iter=n_rounds, tol=0.0, random_state=0)

    fitted, their_fitted = mine().fit(X), other().fit(X)
    each = fitted.n_iter_, their_fitted.n_iter_
    ours, theirs = interleaved(laboratory.scale.rounds, _fitting(mine, X), _their_fitting(other, X))
    return (
        speedup(
            tuple(seconds / each[0] for seconds in ours),
            tuple(seconds / each[1] for seconds in theirs),
            "s a round",
        ),
    )


def dbscan_fit(laboratory: Laboratory) -> tuple[Outcome, ...]:
    """Measure DBSCAN; the clusters must be the same."""
    X = samples.blobs(laboratory.scale.rows // 10, 3, 20)
    mine = DBSCAN(eps=0.5, min_samples=5).fit(X)
    other = cluster.DBSCAN(eps=0.5, min_samples=5, n_jobs=-1).fit(X)
    if not np.array_equal(mine.labels_, other.labels_):
        raise WrongAnswerError("the clusters are not scikit-learn's")
    ours, theirs = interleaved(
        min(laboratory.scale.rounds, 3),
        _fitting(lambda: DBSCAN(eps=0.5, min_samples=5), X),
        _their_fitting(lambda: cluster.DBSCAN(eps=0.5, min_samples=5, n_jobs=-1), X),
    )
    return (speedup(ours, theirs, "s"),)


# ---- networks


def network_fit(laboratory: Laboratory) -> tuple[Outcome, ...]:
    """Measure one epoch over MNIST's digits."""
    found = samples.digits()
    if found is None:
        return (NotMeasured(f"PGSEER_BENCH_DATA names no folder with {samples.DIGITS}"),)

    def mine() -> MLPClassifier:
        return MLPClassifier(hidden_layers=[128, 64], batch_size=32, epochs=1)

    def rival() -> Any:
        return neural_network.MLPClassifier((128, 64), batch_size=32, max_iter=1, random_state=0)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # one epoch does not converge, and is not meant to
        ours, theirs = interleaved(
            laboratory.scale.rounds,
            _fitting(
                lambda: MLPClassifier(hidden_layers=[128, 64], batch_size=32, epochs=1), *found
            ),
            _their_fitting(rival, *found),
        )
    return (speedup(ours, theirs, "s"),)


def _row(work: str, against: str, sign: Any, must: float, aim: float) -> tuple[Row, ...]:
    return (Row(work, against, Goal(sign, must, aim)),)


CORES = "scikit-learn, all cores"
ALGORITHM_FIGURES = (
    Figure(
        "forest-fit",
        _row("forest of 100, depth 15, 100 k x 10", CORES, ">=", 8, 20),
        forest_fit,
    ),
    Figure("forest-score", _row("the same, scoring", CORES, ">=", 2, 5), forest_score),
    Figure(
        "forest-memory",
        _row("peak memory of a forest's fit, 1 M x 20, 50 trees", "scikit-learn", "<=", 0.5, 0.2),
        forest_memory,
    ),
    Figure("tree-fit", _row("decision_tree(10), 1 M x 10", "scikit-learn", ">=", 5, 20), tree_fit),
    Figure(
        "boosting-fit",
        _row("gradient_boosting(100), 300 k flights", "LightGBM, same leaves", "<=", 2, 1),
        boosting_fit,
    ),
    Figure("kmeans-fit", _row("kmeans(5), 1 M x 10", "scikit-learn", ">=", 1, 2), kmeans_fit),
    Figure("dbscan-fit", _row("dbscan, 100 k x 3", "scikit-learn", ">=", 1, 3), dbscan_fit),
    Figure(
        "network-fit",
        _row("neural_network on MNIST, one epoch", "scikit-learn MLPClassifier", ">=", 1, 2),
        network_fit,
    ),
    *one_row(),
    *over_the_wire(),
)
