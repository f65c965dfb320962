"""K-means, with scikit-learn, brute force and exact arithmetic as oracles."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.cluster import KMeans as Oracle
from sklearn.metrics import adjusted_rand_score

from proxy.engine.arrays import Matrix
from proxy.engine.clusters.kmeans import KMeans
from proxy.engine.clusters.kmeans_init import Draws, initial_centers
from proxy.engine.clusters.kmeans_points import BLOCK_ROWS, UNWEIGHTED, Points
from proxy.engine.clusters.kmeans_predictor import KMeansPredictor
from proxy.engine.preparation.design import MatrixDesign
from proxy.engine.preparation.matrix import design_matrix
from proxy.errors import TooLargeError
from proxy.workers.threads import ThreadedMap
from tests.engine.maps import backwards


def blobs(n_rows: int, n_columns: int = 4, n_places: int = 5, seed: int = 0) -> Matrix:
    """Return rows around some places that are well apart."""
    rng = np.random.default_rng(seed)
    places = rng.normal(size=(n_places, n_columns)) * 10
    return places[np.arange(n_rows) % n_places] + rng.normal(size=(n_rows, n_columns))


def uniform(n_rows: int, n_columns: int = 4, seed: int = 0) -> Matrix:
    """Return rows without any structure."""
    return np.random.default_rng(seed).uniform(size=(n_rows, n_columns))


def nearest(X: Matrix, centers: Matrix) -> np.ndarray:
    """Return the first nearest centre of each row, by brute force."""
    return np.square(X[:, None] - centers).sum(axis=2).argmin(axis=1)


def inertia(X: Matrix, centers: Matrix) -> float:
    """Return the sum of squared distances, by brute force."""
    return float(np.square(X[:, None] - centers).sum(axis=2).min(axis=1).sum())


@pytest.mark.parametrize("seed", range(3))
def test_clear_clusters_are_found(seed: int) -> None:
    """Centres, inertia and partition of separate clusters are scikit-learn's."""
    X = blobs(700, seed=seed)
    ours = KMeans(k=5, n_init=4, random_state=seed).fit(X)
    oracle = Oracle(5, n_init=4, random_state=seed).fit(X)
    assert ours.inertia_ == pytest.approx(oracle.inertia_, rel=1e-9)
    assert adjusted_rand_score(ours.labels_, oracle.labels_) == 1.0
    assert sorted(ours.counts_) == sorted(np.bincount(oracle.labels_))
    assert ours.warnings_ == ()


def test_from_the_same_centres_the_iterations_are_scikit_learns() -> None:
    """Started from given centres, every centre ends where scikit-learn's ends."""
    X = uniform(900)
    begin = np.ascontiguousarray(X[:7])
    ours = KMeans(k=7, tol=0.0).fit(X, start=KMeansPredictor(begin))
    oracle = Oracle(7, init=begin, n_init=1, tol=0.0, algorithm="lloyd").fit(X)
    np.testing.assert_allclose(ours.cluster_centers_, oracle.cluster_centers_, rtol=1e-10)
    np.testing.assert_array_equal(ours.labels_, oracle.labels_)
    assert ours.inertia_ == pytest.approx(oracle.inertia_, rel=1e-10)
    assert ours.n_iter_ == oracle.n_iter_


def test_the_tolerance_is_scikit_learns() -> None:
    """With a coarse tolerance it stops after as many iterations."""
    X = uniform(2000) * [1.0, 10.0, 0.1, 3.0]
    begin = np.ascontiguousarray(X[:9])
    for tol in (1e-1, 1e-2, 1e-3):
        ours = KMeans(k=9, tol=tol).fit(X, start=KMeansPredictor(begin))
        assert ours.n_iter_ == Oracle(9, init=begin, n_init=1, tol=tol).fit(X).n_iter_


def test_inertia_without_structure_is_as_good_as_scikit_learns() -> None:
    """Over seeds, the mean inertia on rows without clusters is within one percent."""
    X = uniform(1500)
    ours = [KMeans(k=8, random_state=seed).fit(X).inertia_ for seed in range(8)]
    oracle = [Oracle(8, random_state=seed).fit(X).inertia_ for seed in range(8)]
    assert np.mean(ours) < 1.01 * np.mean(oracle)


def test_more_fits_are_never_worse() -> None:
    """The first of several fits is the only one of n_init 1, and the best is kept."""
    X = uniform(300)
    values = [KMeans(k=12, n_init=n).fit(X).inertia_ for n in (1, 2, 4, 8)]
    assert values == sorted(values, reverse=True)
    assert KMeans(k=12).fit(X).inertia_ == values[0]
    assert values[-1] < values[0]


def test_labels_are_what_is_predicted() -> None:
    """The labels, counts and inertia are the predictor's of the training rows."""
    X = uniform(1000)
    ours = KMeans(k=6).fit(X)
    np.testing.assert_array_equal(ours.labels_, ours.predict(X))
    np.testing.assert_array_equal(ours.labels_, nearest(X, ours.cluster_centers_))
    np.testing.assert_array_equal(ours.counts_, np.bincount(ours.labels_))
    assert ours.inertia_ == pytest.approx(inertia(X, ours.cluster_centers_), rel=1e-12)
    np.testing.assert_array_equal(ours.predictor_.centers, ours.cluster_centers_)


def test_whole_weights_are_repeated_rows() -> None:
    """From the same centres, a row of weight 3 counts as three, and one of 0 not at all."""
    X, rng = uniform(400), np.random.default_rng(1)
    weight = rng.integers(0, 4, len(X)).astype(np.float64)
    start = KMeansPredictor(np.ascontiguousarray(X[:5]))
    ours = KMeans(k=5, tol=0.0).fit(X, sample_weight=weight, start=start)
    repeated = KMeans(k=5, tol=0.0).fit(np.repeat(X, weight.astype(int), axis=0), start=start)
    np.testing.assert_allclose(ours.cluster_centers_, repeated.cluster_centers_, rtol=1e-10)
    np.testing.assert_array_equal(ours.counts_, repeated.counts_)
    assert ours.inertia_ == pytest.approx(repeated.inertia_, rel=1e-10)


def test_rows_without_weight_are_no_clusters() -> None:
    """A far row of weight 0 draws no centre."""
    X = blobs(200, n_places=3)
    X[50] = 1e6
    weight = np.ones(200)
    weight[50] = 0.0
    ours = KMeans(k=3, n_init=3).fit(X, sample_weight=weight)
    assert np.abs(ours.cluster_centers_).max() < 1e3
    assert ours.counts_.sum() == 199


def test_greedy_seeding_is_better_than_chance() -> None:
    """Of 20 far places nearly all get a first centre; rows drawn alike would find 13 of them."""
    X = blobs(600, n_columns=6, n_places=20)
    points = Points.of_design(MatrixDesign(X), None, backwards)
    for seed in range(5):
        centers = points.to_design_units(initial_centers(points, 20, Draws(seed)))
        assert len(set(nearest(centers, X[:20]))) >= 18


def test_empty_clusters_are_filled_again() -> None:
    """Centres that no row is near are moved to the farthest rows, as in scikit-learn."""
    X = blobs(300, n_places=4)
    begin = np.ascontiguousarray(np.vstack([X[:2], X[:1] + 1e4, X[:1] - 1e4]))
    ours = KMeans(k=4).fit(X, start=KMeansPredictor(begin))
    oracle = Oracle(4, init=begin, n_init=1).fit(X)
    assert (ours.counts_ > 0).all()
    assert ours.inertia_ == pytest.approx(oracle.inertia_, rel=1e-9)


@pytest.mark.parametrize("mini_batch", [False, True])
def test_fewer_distinct_rows_than_clusters_are_as_many_clusters(mini_batch: bool) -> None:
    """Three different rows, each many times, are three clusters, and a warning says so."""
    X = np.repeat([[0.0, 1.0], [5.0, 5.0], [9.0, 0.0]], 20, axis=0)
    ours = KMeans(k=8, mini_batch=mini_batch).fit(X)
    centers = np.unique(ours.cluster_centers_.round(9), axis=0)
    np.testing.assert_array_equal(centers, np.unique(X, axis=0))
    assert ours.inertia_ == pytest.approx(0.0, abs=1e-25)
    assert ours.warnings_ == ("only 3 distinct rows were found: there are 3 clusters, not 8",)


@pytest.mark.parametrize("mini_batch", [False, True])
@pytest.mark.parametrize(
    "X",
    [
        np.array([[3.0, 4.0]]),
        np.full((30, 2), 0.1),
        np.full((30, 2), 1e150),
        np.zeros((30, 0)),
        np.zeros((30, 3)),
    ],
    ids=["one row", "equal", "enormous", "no column", "zeros"],
)
def test_rows_that_do_not_differ_are_one_cluster(X: Matrix, mini_batch: bool) -> None:
    """One cluster, whose centre is the row, whatever it is."""
    ours = KMeans(k=4, mini_batch=mini_batch).fit(X)
    np.testing.assert_allclose(ours.cluster_centers_, X[:1], rtol=1e-15)
    assert (ours.labels_ == 0).all()
    assert (ours.predict(X) == 0).all()
    assert ours.counts_.tolist() == [len(X)]


def test_no_weight_at_all_is_one_cluster_without_rows() -> None:
    """If every weight is 0 there is nothing to learn, and nothing fails."""
    ours = KMeans(k=3).fit(uniform(20), sample_weight=np.zeros(20))
    assert ours.counts_.tolist() == [0.0]
    assert ours.inertia_ == 0.0
    assert np.isfinite(ours.cluster_centers_).all()


@pytest.mark.parametrize("unit", [1e-200, 1e-100, 1e100, 1e149])
def test_units_do_not_matter(unit: float) -> None:
    """In enormous and in tiny units the clusters are the same."""
    X = blobs(300)
    plain, scaled = KMeans(k=5).fit(X), KMeans(k=5).fit(X / np.abs(X).max() * unit)
    np.testing.assert_array_equal(scaled.labels_, plain.labels_)
    assert np.isfinite(scaled.inertia_)


def test_a_large_offset_costs_no_digits() -> None:
    """Rows far from zero give the centres of the same rows near it."""
    X = np.round(blobs(400) * 1024) / 1024
    near, far = KMeans(k=5).fit(X), KMeans(k=5).fit(X + 2.0**30)
    np.testing.assert_array_equal(near.labels_, far.labels_)
    np.testing.assert_allclose(far.cluster_centers_ - 2.0**30, near.cluster_centers_, atol=1e-6)


def test_iterations_are_reported_with_a_loss_that_falls() -> None:
    """Each iteration of each fit is told, with the mean squared distance of its centres."""
    X, told = uniform(800), []
    ours = KMeans(k=6, n_init=2, max_iterations=40)
    ours.fit(X, report=lambda *each: told.append(each))
    steps = [step for step, _ in told]
    assert steps == sorted(set(steps))
    assert steps[-1] <= ours.iterations_total == 80
    first = [loss for step, loss in told if step <= 40]
    assert first == sorted(first, reverse=True)
    assert first[-1] * len(X) >= ours.inertia_ * (1 - 1e-12)


def test_what_a_report_raises_ends_the_fit() -> None:
    """An error of the report comes out."""

    def cancel(iterations_done: int, loss: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        KMeans(k=3).fit(uniform(50), report=cancel)


def test_too_few_iterations_are_warned_of() -> None:
    """A fit that has not converged says so."""
    ours = KMeans(k=9, max_iterations=2, tol=0.0).fit(uniform(2000))
    assert ours.n_iter_ == 2
    assert ours.warnings_ == ("not converged after 2 iterations: set a higher max_iterations",)


@pytest.mark.parametrize("mini_batch", [False, True])
def test_the_same_bits_with_any_number_of_threads(mini_batch: bool) -> None:
    """Threads and the order of work change nothing, over several blocks of rows."""
    X = blobs(2 * BLOCK_ROWS + 77, n_columns=3)
    weight = np.random.default_rng(0).uniform(size=len(X))
    settings_ = {"k": 4, "max_iterations": 3, "mini_batch": mini_batch}
    fits = [KMeans(**settings_).fit(X, sample_weight=weight)]
    fits.append(KMeans(**settings_).fit(X, sample_weight=weight, parallel=backwards))
    with ThreadedMap(3) as parallel:
        fits.append(KMeans(**settings_).fit(X, sample_weight=weight, parallel=parallel))
    for other in fits[1:]:
        assert other.cluster_centers_.tobytes() == fits[0].cluster_centers_.tobytes()
        assert other.labels_.tobytes() == fits[0].labels_.tobytes()
        assert other.inertia_ == fits[0].inertia_


def test_seeds_make_different_fits() -> None:
    """Another seed draws other centres."""
    X = uniform(500)
    fits = {KMeans(k=6, random_state=seed).fit(X).cluster_centers_.tobytes() for seed in range(4)}
    assert len(fits) == 4


# Mini-batches.


def test_mini_batches_come_close_to_all_rows() -> None:
    """On separate clusters the inertia is within two percent of Lloyd's."""
    X = blobs(5000)
    whole = KMeans(k=5).fit(X)
    batches = KMeans(k=5, mini_batch=True, batch_size=200).fit(X)
    assert batches.inertia_ < 1.02 * whole.inertia_
    np.testing.assert_array_equal(batches.counts_, np.bincount(batches.labels_))


def test_going_on_with_mini_batches_weighs_old_rows() -> None:
    """New rows around the old centres move each to the mean of old and new rows."""
    X = blobs(3000, n_places=3)
    old, new = X[:2400], X[2400:] + 0.5
    first = KMeans(k=3).fit(old)
    second = KMeans(k=3, mini_batch=True, batch_size=50).fit(new, start=first)
    for place in range(3):
        mine = np.vstack([old[first.labels_ == place], new[second.labels_ == place]])
        np.testing.assert_allclose(second.cluster_centers_[place], mine.mean(axis=0), rtol=1e-9)
        assert second.counts_[place] == len(mine)


def test_going_on_keeps_the_number_of_clusters() -> None:
    """An earlier model's clusters are kept, with a warning if another number was asked for."""
    first = KMeans(k=3).fit(blobs(300, n_places=3))
    second = KMeans(k=5).fit(blobs(300, n_places=3), start=first.predictor_)
    assert len(second.cluster_centers_) == 3
    assert "keeps its 3 clusters" in second.warnings_[0]


def test_going_on_with_other_columns_is_refused() -> None:
    """A start of another width is an error."""
    with pytest.raises(ValueError, match="columns"):
        KMeans(k=3).fit(uniform(30, 5), start=KMeansPredictor(np.zeros((3, 4))))


# The predictor.

SOME_FLOAT = st.floats(allow_nan=False, allow_infinity=False)


@given(
    st.lists(st.tuples(SOME_FLOAT, SOME_FLOAT), min_size=1, max_size=5),
    st.lists(st.tuples(SOME_FLOAT, SOME_FLOAT), min_size=1, max_size=40),
)
@settings(deadline=None)
def test_any_row_gets_a_cluster_alike_alone_and_in_a_batch(centers: list, rows: list) -> None:
    """Whatever the numbers, a row has the same valid label alone and among others."""
    predictor = KMeansPredictor(np.array(centers))
    X = np.array(rows)
    whole = predictor.outputs(X)
    assert whole.shape == (1, len(X))
    assert ((whole >= 0) & (whole < len(centers)) & (whole == np.floor(whole))).all()
    for i in range(len(X)):
        np.testing.assert_array_equal(predictor.outputs(X[i : i + 1])[:, 0], whole[:, i])


@pytest.mark.parametrize("width", [1, 2, 3, 4, 7, 16])
def test_distances_in_a_batch_are_those_of_rows(width: int) -> None:
    """Squared distances too are the same, bit for bit, and those of plain arithmetic."""
    rng = np.random.default_rng(width)
    predictor = KMeansPredictor(rng.normal(size=(9, width)))
    X = rng.normal(size=(101, width))
    places, squared = predictor.nearest(X)
    np.testing.assert_array_equal(places[0], nearest(X, predictor.centers))
    expected = np.square(X[:, None] - predictor.centers).sum(axis=2).min(axis=1)
    np.testing.assert_allclose(squared * 4.0**predictor.exponent, expected, rtol=1e-13)
    for i in range(len(X)):
        assert predictor.nearest(X[i : i + 1])[1][0] == squared[i]


def test_of_equally_near_centres_the_first_counts() -> None:
    """A row halfway between two centres gets the lower number."""
    predictor = KMeansPredictor(np.array([[0.0], [2.0], [0.0]]))
    np.testing.assert_array_equal(predictor.outputs(np.array([[1.0], [0.0], [1.5]])), [[0, 0, 1]])


@given(st.integers(0, 10_000), st.integers(40, 1000))
@settings(deadline=None)
def test_far_rows_get_what_exact_arithmetic_says(seed: int, exponent: int) -> None:
    """However far a row is, no centre lies farther in its direction by more than rounding."""
    rng = np.random.default_rng(seed)
    centers = rng.integers(-8, 9, (4, 3)).astype(np.float64)
    row = np.ldexp(rng.integers(-5, 6, 3).astype(np.float64), exponent)
    scores = [
        sum((Fraction(x) - Fraction(c)) ** 2 for x, c in zip(row, center, strict=True))
        for center in centers
    ]
    place = int(KMeansPredictor(centers).outputs(row[None])[0, 0])
    excess = scores[place] - min(scores)
    assert excess <= Fraction(1, 1 << 45) * max(abs(Fraction(x)) for x in row)


def test_tensors_rebuild_the_predictor() -> None:
    """There and back, arrays and scores are the same."""
    X = uniform(200)
    predictor = KMeans(k=4).fit(X).predictor_
    again = KMeansPredictor.from_tensors(predictor.tensors(), n_features_in=4, n_classes=0)
    for name, tensor in predictor.tensors().items():
        assert again.tensors()[name].tobytes() == tensor.tobytes()
    np.testing.assert_array_equal(again.outputs(X), predictor.outputs(X))


GOOD = {"centers": np.zeros((3, 2)), "counts": np.ones(3)}


@pytest.mark.parametrize(
    "change",
    [
        {"centers": np.zeros((3, 3))},
        {"centers": np.zeros((3, 2), np.float32)},
        {"centers": np.zeros(3)},
        {"centers": np.zeros((0, 2)), "counts": np.zeros(0)},
        {"centers": np.full((3, 2), np.nan)},
        {"centers": np.full((3, 2), np.inf)},
        {"counts": np.ones(2)},
        {"counts": np.ones(3, np.int64)},
        {"counts": -np.ones(3)},
        {"counts": np.full(3, np.nan)},
    ],
)
def test_tensors_of_no_such_predictor_are_refused(change: dict[str, np.ndarray]) -> None:
    """Wrong types, shapes and values are errors."""
    with pytest.raises(ValueError):
        KMeansPredictor.from_tensors({**GOOD, **change}, n_features_in=2, n_classes=0)


@pytest.mark.parametrize("missing", ["centers", "counts"])
def test_missing_tensors_are_refused(missing: str) -> None:
    """Each array is needed."""
    tensors = {name: tensor for name, tensor in GOOD.items() if name != missing}
    with pytest.raises(KeyError):
        KMeansPredictor.from_tensors(tensors, n_features_in=2, n_classes=0)


# What is shared.


def test_a_gathered_matrix_is_the_design() -> None:
    """Block by block, in any order of work, the rows are those of the design, less the shift."""
    X = uniform(40_000, 3)
    gathered = design_matrix(MatrixDesign(X), np.float64, backwards)
    np.testing.assert_array_equal(gathered, X)
    assert gathered.flags.c_contiguous
    shift = np.array([1.0, 2.0, 3.0])
    shifted = design_matrix(MatrixDesign(X), np.float32, shift=shift)
    np.testing.assert_array_equal(shifted, (X - shift).astype(np.float32))


class Enormous:
    """A design of more rows than fit in memory."""

    n_samples = 1 << 40
    mean = np.zeros(10)


def test_a_matrix_beyond_reason_is_refused() -> None:
    """Before anything is allocated."""
    with pytest.raises(TooLargeError, match="GiB"):
        design_matrix(Enormous())


def test_potentials_are_sums_of_least_squares() -> None:
    """Those of candidates, and the distances under each of them, are brute force's."""
    X = uniform(100, 5)
    points = Points(X, UNWEIGHTED, shift=np.zeros(5))
    closest, lowered = np.full(100, np.inf), np.empty((3, 100))
    points.potentials(X[3:4], closest, lowered)
    closest = lowered[0].copy()
    sums = points.potentials(X[[7, 8]], closest, lowered).sum(axis=0)
    for place, row in enumerate((7, 8)):
        expected = np.square(X[:, None] - X[[3, row]]).sum(axis=2).min(axis=1)
        np.testing.assert_allclose(lowered[place], expected, rtol=1e-13)
        assert sums[place] == pytest.approx(expected.sum(), rel=1e-12)


def test_drawn_numbers_are_fixed_by_seed_and_stream() -> None:
    """Uniform numbers lie in [0, 1) and differ between streams."""
    values = Draws(1).uniform(1000)
    assert ((values >= 0) & (values < 1)).all()
    np.testing.assert_array_equal(values, Draws(1).uniform(1000))
    assert (values != Draws(1, 1).uniform(1000)).all()
    drawn = Draws(0).integers(3, 300)
    assert set(drawn) == {0, 1, 2}
