"""Measures of clusters, with scikit-learn as the oracle."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import silhouette_score as oracle

from proxy.engine.clusters.clustering_metrics import silhouette_score
from tests.engine.maps import backwards


def clusters(n_rows: int, n_columns: int = 3, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return rows around four places, and the number of each row's place."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 4, n_rows)
    places = rng.normal(size=(4, n_columns)) * 3
    return places[labels] + rng.normal(size=(n_rows, n_columns)), labels


@pytest.mark.parametrize(("n_rows", "n_columns"), [(5, 1), (37, 3), (600, 11)])
def test_it_is_scikit_learns(n_rows: int, n_columns: int) -> None:
    """On rows that are all compared the score is scikit-learn's."""
    X, labels = clusters(n_rows, n_columns)
    assert silhouette_score(X, labels) == pytest.approx(oracle(X, labels), abs=1e-12)


def test_gaps_in_the_numbers_and_rows_alone_are_as_in_scikit_learn() -> None:
    """A cluster of one row counts 0, and an unused number is no cluster."""
    X, labels = clusters(50)
    labels = np.where(labels == 1, 17, labels)
    labels[3] = 9
    assert silhouette_score(X, labels) == pytest.approx(oracle(X, labels), abs=1e-12)


def test_noise_is_left_out() -> None:
    """The score is that of the rows in clusters."""
    X, labels = clusters(200)
    labels[::7] = -1
    kept = labels >= 0
    expected = oracle(X[kept], labels[kept])
    assert silhouette_score(X, labels) == pytest.approx(expected, abs=1e-12)


def test_a_sample_is_evenly_spaced() -> None:
    """Of more rows than the sample's size the score is that of every so many."""
    X, labels = clusters(6000)
    expected = oracle(X[::10], labels[::10])
    assert silhouette_score(X, labels, sample_size=600) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("labels", [[0, 0, 0], [-1, -1, -1], [2, -1, 2], [0, 1, 2]])
def test_it_is_undefined_with_one_cluster_or_only_rows_alone(labels: list[int]) -> None:
    """It is None where scikit-learn raises."""
    X = np.array([[0.0], [1.0], [5.0]])
    assert silhouette_score(X, np.array(labels)) is None


def test_equal_rows_in_two_clusters_score_nothing() -> None:
    """Where all distances are 0, so is the score."""
    assert silhouette_score(np.ones((4, 2)), np.array([0, 0, 1, 1])) == 0.0


@pytest.mark.parametrize("unit", [1e-160, 1e150])
def test_units_do_not_matter(unit: float) -> None:
    """Enormous and tiny columns score as ordinary ones do."""
    X, labels = clusters(100)
    X -= X.mean(axis=0)
    X /= np.abs(X).max()
    expected = silhouette_score(X, labels)
    assert silhouette_score(X * unit, labels) == pytest.approx(expected, abs=1e-9)


def test_it_is_the_same_however_many_work_on_it() -> None:
    """Bit for bit, under a map that works backwards."""
    X, labels = clusters(500)
    assert silhouette_score(X, labels, parallel=backwards) == silhouette_score(X, labels)
