"""The k-d tree, with brute force as the oracle."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse.csgraph import connected_components
from scipy.spatial.distance import cdist

from proxy.engine.arrays import Matrix
from proxy.engine.clusters.neighbours import METRICS, Metric, NeighbourIndex, Reach
from proxy.kernels.kd_tree import MOST_LEAF_POINTS
from proxy.workers.threads import ThreadedMap
from tests.engine.maps import backwards

SCIPY_NAMES = {"euclidean": "sqeuclidean", "manhattan": "cityblock", "chebyshev": "chebyshev"}


@st.composite
def indices(draw: st.DrawFn) -> tuple[Matrix, Reach]:
    """Draw rows with ties, on a lattice or in lumps, and a reach."""
    rng = np.random.default_rng(draw(st.integers(0, 10_000)))
    shape = draw(st.sampled_from([1, 2, 15, 16, 17, 33, 300])), draw(st.integers(1, 6))
    kind = draw(st.sampled_from(["lattice", "lumps", "even"]))
    if kind == "lattice":
        points = rng.integers(-3, 4, shape).astype(np.float64)
    elif kind == "lumps":
        points = rng.normal(size=shape) * 0.1 + rng.integers(0, 3, (len(rng.random(shape)), 1)) * 2
    else:
        points = rng.uniform(0, 4, shape)
    metric: Metric = draw(st.sampled_from(METRICS))
    return np.ascontiguousarray(points), Reach(draw(st.sampled_from([0.3, 1.0, 2.0, 9.0])), metric)


def adjacency(points: Matrix, reach: Reach, others: Matrix | None = None) -> np.ndarray:
    """Return which rows are within reach of which, by brute force."""
    others = points if others is None else others
    return cdist(points, others, SCIPY_NAMES[reach.metric]) <= reach.radius(1.0)


@given(indices(), st.integers(1, 20), st.booleans())
@settings(deadline=None)
def test_dense_rows_are_brute_forces(drawn, enough: int, is_weighted: bool) -> None:
    """A row is dense exactly if the rows within reach weigh enough."""
    points, reach = drawn
    weights = np.ones(len(points))
    if is_weighted:
        weights = np.random.default_rng(0).integers(0, 4, len(points)).astype(np.float64)
    expected = adjacency(points, reach) @ weights >= enough
    dense = NeighbourIndex(points, reach).are_dense(weights, enough)
    np.testing.assert_array_equal(dense, expected)


@given(indices(), st.floats(0, 1))
@settings(deadline=None)
def test_components_are_brute_forces(drawn, share: float) -> None:
    """Rows are joined exactly as a graph's are, and numbered by their first row."""
    points, reach = drawn
    is_in = np.random.default_rng(1).random(len(points)) < share
    found = NeighbourIndex(points, reach).components(is_in)
    assert (found[~is_in] == -1).all()
    n_sets, sets = connected_components(adjacency(points[is_in], reach), directed=False)
    first = [int(np.flatnonzero(sets == number)[0]) for number in range(n_sets)]
    rank = {number: place for place, number in enumerate(np.argsort(first))}
    assert found[is_in].tolist() == [rank[number] for number in sets]


@given(indices(), st.integers(0, 10_000))
@settings(deadline=None)
def test_lowest_labels_are_brute_forces(drawn, seed: int) -> None:
    """A row without a label gets the lowest within reach; those that have one keep it."""
    points, reach = drawn
    labels = np.random.default_rng(seed).integers(-1, 3, len(points))
    found = NeighbourIndex(points, reach).lowest_near(labels)
    for row, near in enumerate(adjacency(points, reach)):
        offered = labels[near & (labels >= 0)]
        expected = offered.min() if len(offered) else -1
        assert found[row] == (labels[row] if labels[row] >= 0 else expected)


@given(indices(), st.integers(0, 10_000))
@settings(deadline=None)
def test_nearest_rows_are_brute_forces(drawn, seed: int) -> None:
    """The nearest row within reach gives its value, of several the lowest; alone as in a batch."""
    points, reach = drawn
    rng = np.random.default_rng(seed)
    values = rng.uniform(1, 2, len(points))
    asked = np.vstack([points[:9], np.round(rng.uniform(-4, 4, (9, points.shape[1])))])
    distances = cdist(asked, points, SCIPY_NAMES[reach.metric])
    index = NeighbourIndex(points, reach)
    found = index.values_of_nearest(asked, values)
    for row, each in enumerate(distances):
        nearest = int(each.argmin())
        # Differences are summed in another order there: a tie may be none.
        ties = values[np.isclose(each, each[nearest], rtol=1e-12, atol=0)]
        if abs(each[nearest] - reach.radius(1.0)) > 1e-12:
            expected = ties if each[nearest] <= reach.radius(1.0) else [0.0]
            assert found[0, row] in expected
        np.testing.assert_array_equal(
            index.values_of_nearest(asked[[row]], values), found[:, [row]]
        )


def test_of_equally_near_rows_the_lowest_counts() -> None:
    """A thousand copies of a row answer with the first one's value."""
    points = np.ones((1000, 2))
    index = NeighbourIndex(points, Reach(1.0))
    found = index.values_of_nearest(np.array([[1.0, 1.0], [1.0, 2.0]]), np.arange(1000) + 5.0)
    np.testing.assert_array_equal(found, [[5.0, 5.0]])


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("unit", [1e-300, 1e-160, 1e140, 1e150, 1e300])
def test_units_do_not_matter(unit: float, metric: Metric) -> None:
    """In enormous and tiny units the same rows are near each other."""
    points = np.random.default_rng(0).uniform(-1, 1, (200, 3))
    plain = NeighbourIndex(points, Reach(0.3, metric))
    scaled = NeighbourIndex(points * unit, Reach(0.3 * unit, metric))
    weights, everybody = np.ones(200), np.ones(200, bool)
    np.testing.assert_array_equal(scaled.are_dense(weights, 3), plain.are_dense(weights, 3))
    np.testing.assert_array_equal(scaled.components(everybody), plain.components(everybody))


@pytest.mark.parametrize("value", [1.7e308, -1.7e308, 1e160, 5e-324])
def test_rows_of_any_size_are_answered(value: float) -> None:
    """Rows far beyond the points find nobody, and none is NaN."""
    points = np.random.default_rng(0).uniform(-1, 1, (50, 3))
    rows = np.full((1, 3), value)
    found = NeighbourIndex(points, Reach(0.5)).values_of_nearest(rows, np.ones(50))
    assert found[0, 0] == float(adjacency(np.clip(rows, -9, 9), Reach(0.5), points).any())


def test_the_order_is_a_permutation_that_keeps_boxes_small() -> None:
    """Rows on a line are in order, in leaves of nearly one size."""
    points = np.random.default_rng(0).permutation(1000.0 * np.arange(1000))[:, None]
    order = NeighbourIndex(points, Reach(1.0)).order
    assert sorted(order) == list(range(1000))
    leaves = np.array_split(points[order, 0], 64)
    assert max(len(leaf) for leaf in leaves) <= MOST_LEAF_POINTS
    largest = [leaf.max() for leaf in leaves]
    assert np.abs(np.diff(largest)).max() <= 1000.0 * 2 * MOST_LEAF_POINTS


def test_the_same_with_any_number_of_threads() -> None:
    """Threads and the order of work change nothing."""
    points = np.random.default_rng(0).uniform(0, 10, (5000, 2))
    answers = []
    with ThreadedMap(3) as threads:
        for parallel in (None, backwards, threads):
            maps = () if parallel is None else (parallel,)
            index = NeighbourIndex(points, Reach(0.2), *maps)
            dense = index.are_dense(np.ones(5000), 7)
            labels = index.components(dense)
            answers.append((index.order, dense, labels, index.lowest_near(labels)))
    for other in answers[1:]:
        for mine, yours in zip(answers[0], other, strict=True):
            assert mine.tobytes() == yours.tobytes()
