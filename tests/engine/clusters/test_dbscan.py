"""DBSCAN, with scikit-learn and brute force as oracles."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import cluster
from sklearn.datasets import make_moons

from proxy.engine.arrays import Matrix
from proxy.engine.clusters import dbscan as module
from proxy.engine.clusters.dbscan import DBSCAN
from proxy.engine.clusters.dbscan_predictor import DBSCANPredictor
from proxy.engine.clusters.neighbours import METRICS, Metric
from proxy.errors import TooLargeError
from proxy.workers.threads import ThreadedMap
from tests.engine.maps import backwards


def assert_same(ours: DBSCAN, oracle: cluster.DBSCAN) -> None:
    """Check that labels, to the number, and core points are those of scikit-learn."""
    np.testing.assert_array_equal(ours.labels_, oracle.labels_)
    np.testing.assert_array_equal(ours.core_sample_indices_, oracle.core_sample_indices_)
    np.testing.assert_array_equal(
        ours.components_, oracle.components_.reshape(-1, ours.n_features_in_)
    )


def lumps(n_rows: int, n_columns: int, seed: int = 0) -> Matrix:
    """Return rows around places, some of them close, and some rows anywhere."""
    rng = np.random.default_rng(seed)
    places = rng.uniform(0, 6, (12, n_columns))
    points = places[rng.integers(0, 12, n_rows)] + rng.normal(size=(n_rows, n_columns)) * 0.3
    points[::9] = rng.uniform(0, 6, (len(points[::9]), n_columns))
    return points


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize(
    ("n_columns", "eps"), [(1, 0.01), (2, 0.15), (3, 0.4), (5, 0.9), (20, 2.5)]
)
@pytest.mark.parametrize("min_samples", [1, 4, 12])
def test_labels_are_scikit_learns(
    n_columns: int, eps: float, min_samples: int, metric: Metric
) -> None:
    """Clusters, noise and border points are numbered as scikit-learn numbers them."""
    X = lumps(1200, n_columns)
    eps = eps * n_columns**0.5 if metric == "manhattan" else eps
    ours = DBSCAN(eps=eps, min_samples=min_samples, metric=metric).fit(X)
    oracle = cluster.DBSCAN(
        eps=eps, min_samples=min_samples, metric=metric, algorithm="kd_tree"
    ).fit(X)
    assert_same(ours, oracle)


@given(st.integers(0, 100_000), st.sampled_from(METRICS), st.integers(1, 8))
@settings(deadline=None)
def test_border_points_on_a_lattice_are_scikit_learns(
    seed: int, metric: Metric, min_samples: int
) -> None:
    """Where distances equal eps and border points are everywhere, the labels are the same."""
    rng = np.random.default_rng(seed)
    X = rng.integers(0, 12, (150, 2)).astype(np.float64)
    settings_ = {"eps": 1.0, "min_samples": min_samples, "metric": metric}
    assert_same(DBSCAN(**settings_).fit(X), cluster.DBSCAN(**settings_, algorithm="kd_tree").fit(X))


@pytest.mark.parametrize("seed", range(4))
def test_weights_are_scikit_learns(seed: int) -> None:
    """The weights of neighbours, 0 included, are added up as there."""
    X = lumps(600, 2, seed)
    weight = np.random.default_rng(seed).integers(0, 4, 600) * 0.5
    ours = DBSCAN(eps=0.2, min_samples=5).fit(X, sample_weight=weight)
    assert_same(ours, cluster.DBSCAN(eps=0.2, min_samples=5).fit(X, sample_weight=weight))


def test_clusters_of_any_shape_are_found() -> None:
    """Two moons are two clusters."""
    X, moon = make_moons(600, noise=0.05, random_state=0)
    ours = DBSCAN(eps=0.2).fit(X)
    assert ours.n_clusters_ == 2
    agreement = np.mean((ours.labels_ == moon)[ours.labels_ >= 0])
    assert max(agreement, 1 - agreement) == 1.0


@pytest.mark.parametrize("spread", [0.0, 1e-3, 0.3])
def test_many_rows_in_one_place_are_one_cluster(spread: float) -> None:
    """A hundred thousand rows within each other's reach, and a few elsewhere, take no n^2."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(100_000, 3)) * spread
    X[:20] += 50.0
    ours = DBSCAN(eps=1.0, min_samples=10).fit(X)
    assert ours.n_clusters_ == 2
    assert (ours.labels_[:20] == ours.labels_[0]).all()
    assert len(set(ours.labels_[20:]) - {-1}) == 1


@pytest.mark.parametrize("n_columns", [0, 2])
@pytest.mark.parametrize("min_samples", [1, 3, 4])
def test_few_equal_rows_are_a_cluster_if_they_are_enough(n_columns: int, min_samples: int) -> None:
    """Three equal rows, with or without columns, are one cluster or noise."""
    X = np.ones((3, n_columns))
    ours = DBSCAN(min_samples=min_samples).fit(X)
    expected = 0 if min_samples <= 3 else -1
    assert ours.labels_.tolist() == [expected] * 3
    assert ours.predict(X).tolist() == [expected] * 3
    assert ours.n_clusters_ == expected + 1


def test_one_row_is_a_cluster_of_its_own_or_noise() -> None:
    """It depends on min_samples alone."""
    assert DBSCAN(min_samples=1).fit(np.ones((1, 2))).labels_.tolist() == [0]
    assert DBSCAN(min_samples=2).fit(np.ones((1, 2))).labels_.tolist() == [-1]


def test_nothing_but_noise_is_warned_of() -> None:
    """A model without a cluster says so, and calls every row noise."""
    ours = DBSCAN(eps=1e-3).fit(lumps(50, 3))
    assert "all are noise" in ours.warnings_[0]
    assert (ours.predict(lumps(50, 3)) == -1).all()
    assert DBSCAN(eps=5.0).fit(lumps(50, 3)).warnings_ == ()


@pytest.mark.parametrize("unit", [1e-200, 1e150])
def test_units_do_not_matter(unit: float) -> None:
    """Enormous and tiny columns, with eps in their units, give the same clusters."""
    X = lumps(500, 2) / 10.0
    plain, scaled = DBSCAN(eps=0.02).fit(X), DBSCAN(eps=0.02 * unit).fit(X * unit)
    np.testing.assert_array_equal(scaled.labels_, plain.labels_)
    np.testing.assert_array_equal(scaled.predict(X * unit), plain.predict(X))


def test_core_points_are_predicted_as_they_were_labelled() -> None:
    """Every core point gets its own cluster, every noise row none."""
    X = lumps(1500, 3)
    ours = DBSCAN(eps=0.3).fit(X)
    core = ours.core_sample_indices_
    predicted = ours.predict(X)
    np.testing.assert_array_equal(predicted[core], ours.labels_[core])
    np.testing.assert_array_equal(predicted == -1, ours.labels_ == -1)


@pytest.mark.parametrize("metric", METRICS)
def test_new_rows_get_the_nearest_core_points_cluster(metric: Metric) -> None:
    """Predictions are those of brute force; rows are scored alike alone."""
    X, new = lumps(900, 2), lumps(300, 2, seed=1)
    ours = DBSCAN(eps=0.3, metric=metric).fit(X)
    order = {"euclidean": 2, "manhattan": 1, "chebyshev": np.inf}[metric]
    distances = np.linalg.norm(new[:, None] - ours.components_, ord=order, axis=2)
    nearest = ours.labels_[ours.core_sample_indices_][distances.argmin(axis=1)]
    expected = np.where(distances.min(axis=1) <= 0.3, nearest, -1)
    np.testing.assert_array_equal(ours.predict(new), expected)
    places = ours.predictor_.outputs(new)
    np.testing.assert_array_equal(places[0], expected + 1.0)
    alone = [ours.predictor_.outputs(new[i : i + 1])[0, 0] for i in range(len(new))]
    np.testing.assert_array_equal(alone, places[0])


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=2, max_size=2))
@settings(deadline=None)
def test_any_row_gets_a_label(row: list[float]) -> None:
    """Whatever the numbers, the place is one of the labels'."""
    predictor = DBSCAN(eps=0.3).fit(lumps(200, 2)).predictor_
    assert predictor.outputs(np.array([row]))[0, 0] in range(predictor.n_clusters + 1)


def test_stages_are_reported() -> None:
    """Three stages, with the share of noise."""
    told = []
    ours = DBSCAN(eps=0.3).fit(lumps(500, 3), report=lambda *each: told.append(each))
    assert [step for step, _ in told] == [1, 2, ours.iterations_total]
    assert told[-1][1] == np.mean(ours.labels_ == -1)


def test_the_same_with_any_number_of_threads() -> None:
    """Threads and the order of work change nothing."""
    X = lumps(4000, 3)
    fits = [DBSCAN(eps=0.2).fit(X), DBSCAN(eps=0.2).fit(X, parallel=backwards)]
    with ThreadedMap(3) as parallel:
        fits.append(DBSCAN(eps=0.2).fit(X, parallel=parallel))
    for other in fits[1:]:
        assert other.labels_.tobytes() == fits[0].labels_.tobytes()
        for name, tensor in other.predictor_.tensors().items():
            assert tensor.tobytes() == fits[0].predictor_.tensors()[name].tobytes()


def test_a_model_beyond_reason_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """More core points than a model may keep are an error that says what to do."""
    monkeypatch.setattr(module, "LARGEST_MODEL_BYTES", 1000)
    with pytest.raises(TooLargeError, match="MiB") as raised:
        DBSCAN(eps=1.0).fit(lumps(500, 3))
    assert "core points" in str(raised.value.detail)


def test_tensors_rebuild_the_predictor() -> None:
    """There and back, arrays and scores are the same; without core points too."""
    X = lumps(500, 3)
    for eps in (0.3, 1e-6):
        predictor = DBSCAN(eps=eps, metric="manhattan").fit(X).predictor_
        again = DBSCANPredictor.from_tensors(predictor.tensors(), n_features_in=3, n_classes=0)
        for name, tensor in predictor.tensors().items():
            assert again.tensors()[name].tobytes() == tensor.tobytes()
        np.testing.assert_array_equal(again.outputs(X), predictor.outputs(X))
        assert again.n_clusters == predictor.n_clusters


@pytest.mark.parametrize("eps", [5e-324, 1e-310, 1.7e308])
def test_a_reach_of_any_size_can_be_loaded(eps: float) -> None:
    """A model whose eps is as small or large as a number can be finds its own core points."""
    for components in (np.array([[0.0, 1e-3]]), np.array([[-1.7e308, 1.7e308]])):
        predictor = DBSCANPredictor(components, np.zeros(1, np.int32), eps=eps)
        assert predictor.outputs(components)[0, 0] == 1.0


GOOD = {
    "components": np.zeros((4, 2)),
    "component_labels": np.array([0, 1, 0, 0], np.int32),
    "eps": np.array([0.5]),
    "metric": np.array([0]),
}


@pytest.mark.parametrize(
    "change",
    [
        {"components": np.zeros((4, 3))},
        {"components": np.zeros((5, 2))},
        {"components": np.zeros((4, 2), np.float32)},
        {"components": np.zeros(4)},
        {"components": np.full((4, 2), np.nan)},
        {"components": np.full((4, 2), np.inf)},
        {"component_labels": np.array([0, 1, 0, -1], np.int32)},
        {"component_labels": np.array([0, 1, 0, 4], np.int32)},
        {"component_labels": np.array([0, 1, 0, 0])},
        {"component_labels": np.zeros((4, 1), np.int32)},
        {"component_labels": np.zeros((), np.int32)},
        {"components": np.zeros(())},
        {"eps": np.array([0.0])},
        {"eps": np.array([np.nan])},
        {"eps": np.array([np.inf])},
        {"eps": np.array([-1.0])},
        {"eps": np.array([1.0, 2.0])},
        {"eps": np.array([1])},
        {"metric": np.array([3])},
        {"metric": np.array([-1])},
        {"metric": np.array([0.0])},
    ],
)
def test_tensors_of_no_such_predictor_are_refused(change: dict[str, np.ndarray]) -> None:
    """Wrong types, shapes and values are errors."""
    with pytest.raises(ValueError):
        DBSCANPredictor.from_tensors({**GOOD, **change}, n_features_in=2, n_classes=0)


@pytest.mark.parametrize("missing", list(GOOD))
def test_missing_tensors_are_refused(missing: str) -> None:
    """Each array is needed."""
    tensors = {name: tensor for name, tensor in GOOD.items() if name != missing}
    with pytest.raises(KeyError):
        DBSCANPredictor.from_tensors(tensors, n_features_in=2, n_classes=0)
