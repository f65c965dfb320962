"""Bins of a design, against a search in the edges and against what each value should get."""

from __future__ import annotations

import numpy as np
import pytest

from proxy.engine.arrays import Matrix
from proxy.engine.preparation.design import MatrixDesign
from proxy.engine.trees import binning
from proxy.engine.trees.binning import MISSING_BIN, BinnedMatrix, bin_design
from proxy.errors import TooLargeError
from tests.engine.maps import backwards

RNG = np.random.default_rng(0)
CONTINUOUS = np.round(RNG.normal(size=(3000, 3)), 6)


def searched(binned: BinnedMatrix, X: Matrix) -> np.ndarray:
    """Return the bins by numpy's search in the edges."""
    found = [np.searchsorted(e, x) for e, x in zip(binned.edges, X.T, strict=True)]
    return np.where(np.isnan(X.T), MISSING_BIN, np.array(found))


def test_few_values_have_a_bin_each_and_edges_in_the_middle() -> None:
    """Three values make three bins, parted half way between neighbours."""
    binned = bin_design(np.array([[4.0], [1.0], [4.0], [2.0], [np.nan]]))
    assert binned.bins.tolist() == [[2, 0, 2, 1, MISSING_BIN]]
    assert binned.edges[0, :3].tolist() == [1.5, 3.0, np.inf]
    assert binned.values[0, :3].tolist() == [1.0, 2.0, 4.0]
    assert (binned.n_bins.tolist(), binned.is_exact.tolist()) == ([3], [1])
    assert binned.has_missing.tolist() == [True]


@pytest.mark.parametrize("n_values", [1, 2, 255, 256, 300])
def test_up_to_255_values_are_told_apart(n_values: int) -> None:
    """255 values have 255 bins; of more some share one, and no more than 255 bins are made."""
    X = np.arange(float(n_values))[:, None].repeat(3, axis=0)
    binned = bin_design(X)
    assert binned.n_bins[0] == len(np.unique(binned.bins)) == min(n_values, 255)
    assert binned.is_exact[0] == (n_values <= 255)
    assert (binned.bins == searched(binned, X)).all()


def test_bins_are_those_of_a_search_in_the_edges() -> None:
    """Every value is in the bin whose edges it lies between; NaN is in the last."""
    X = CONTINUOUS.copy()
    X[RNG.random(X.shape) < 0.1] = np.nan
    binned = bin_design(X)
    assert (binned.bins == searched(binned, X)).all()
    assert (binned.n_bins > 240).all()


def test_quantiles_hold_about_as_many_rows_each() -> None:
    """Of many values no bin has more than twice its share."""
    counts = np.bincount(bin_design(CONTINUOUS).bins[0])
    assert counts.max() <= 2 * len(CONTINUOUS) / 255


def test_a_heap_of_zeros_leaves_the_other_bins_to_the_other_values() -> None:
    """With nine tenths zeros the rest still has more than 200 bins."""
    X = CONTINUOUS[:, :1].repeat(10, axis=1).reshape(-1, 1).copy()
    X[RNG.random(len(X)) < 0.9] = 0.0
    assert bin_design(X).n_bins[0] > 200


def test_blocks_and_their_order_change_no_bin(monkeypatch: pytest.MonkeyPatch) -> None:
    """A matrix at once, a design in small blocks and blocks out of order have the same bins."""
    whole = bin_design(CONTINUOUS)
    monkeypatch.setattr("proxy.engine.preparation.design.BLOCK_SIZE_BYTES", 1)
    for X in (CONTINUOUS, MatrixDesign(CONTINUOUS)):
        binned = bin_design(X, backwards)
        assert (binned.bins == whole.bins).all()
        assert (binned.edges == whole.edges).all()


@pytest.mark.parametrize("X", [CONTINUOUS, MatrixDesign(CONTINUOUS)])
def test_edges_may_come_of_a_sample(
    monkeypatch: pytest.MonkeyPatch, X: Matrix | MatrixDesign
) -> None:
    """Of a sample no column is exact, as other rows may hold other values; bins follow edges."""
    monkeypatch.setattr(binning, "SAMPLE_ROWS", 100)
    binned = bin_design(X)
    assert binned.n_bins.tolist() == [100, 100, 100]
    assert not binned.is_exact.any()
    assert (binned.bins == searched(binned, CONTINUOUS)).all()


def test_the_largest_and_the_smallest_numbers_are_told_apart() -> None:
    """Neighbours at both ends of float64 have an edge between them."""
    tiny = np.nextafter(0.0, 1.0)
    values = np.array([-1.7e308, -tiny, 0.0, tiny, 2 * tiny, 1.0, 1.0 + 2.3e-16, 1.7e308])
    binned = bin_design(values[:, None])
    assert binned.bins[0].tolist() == list(range(8))
    assert np.isfinite(binned.edges[0, :7]).all()


def test_rows_of_weight_0_make_no_edges() -> None:
    """The edges are those of the other rows alone."""
    weight = (np.arange(len(CONTINUOUS)) % 3 > 0).astype(float)
    binned = bin_design(CONTINUOUS, sample_weight=weight)
    assert (binned.edges == bin_design(CONTINUOUS[weight > 0]).edges).all()


def test_a_column_without_values_has_one_bin() -> None:
    """All missing: no edge, and every row in the last bin."""
    binned = bin_design(np.full((4, 1), np.nan))
    assert binned.n_bins.tolist() == [1]
    assert (binned.bins == MISSING_BIN).all()


def test_too_many_rows_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows beyond what 32 bits count are an error, before anything is read."""
    monkeypatch.setattr(binning, "MOST_ROWS", 10)
    with pytest.raises(TooLargeError) as caught:
        bin_design(CONTINUOUS)
    assert caught.value.sqlstate == "54000"
