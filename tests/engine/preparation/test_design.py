"""Sums over the blocks of a standardised design."""

from __future__ import annotations

import numpy as np
import pytest

from proxy.engine.parallel import InOrderMap, one_by_one
from proxy.engine.preparation import design
from proxy.engine.preparation.design import (
    EncodedDesign,
    InputColumn,
    MatrixDesign,
    StandardisedDesign,
)
from proxy.engine.preparation.encoders import NumberEncoder
from proxy.engine.preparation.preprocessing import Preprocessor
from tests.engine.estimator_checks import mixed_dataset
from tests.engine.maps import backwards

N_SAMPLES = 100


X = np.random.default_rng(0).normal(size=(N_SAMPLES, 3))


def gram(rows: slice, block: np.ndarray, scratch: np.ndarray) -> np.ndarray:
    """Spoil all that is ours to spoil, and return the products of the block's columns."""
    scratch[:] = np.nan
    return (block @ block.T).ravel()


@pytest.mark.parametrize("parallel", [one_by_one, backwards])
@pytest.mark.parametrize("block_rows", [1, 7, N_SAMPLES, 1000])
def test_sums_are_those_of_all_rows(
    block_rows: int, parallel: InOrderMap, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However rows are cut, and more than once: no call spoils the next one's rows."""
    monkeypatch.setattr(design, "rows_per_block", lambda n_floats: block_rows)
    standardised = StandardisedDesign(MatrixDesign(X), fit_intercept=True, parallel=parallel)
    whole = np.column_stack([(X - X.mean(axis=0)) / X.std(axis=0), np.ones(N_SAMPLES)])
    for n_scratch in (0, 2, 5, 1):
        sums = standardised.sum_over_blocks(gram, n_sums=16, n_scratch=n_scratch)
        np.testing.assert_allclose(sums.reshape(4, 4), whole.T @ whole, atol=1e-10)


def test_the_map_changes_no_bit_of_a_sum(monkeypatch: pytest.MonkeyPatch) -> None:
    """Partial sums are added in the order of the rows."""
    monkeypatch.setattr(design, "rows_per_block", lambda n_floats: 7)
    one, other = (
        StandardisedDesign(MatrixDesign(X), fit_intercept=False, parallel=parallel).sum_over_blocks(
            gram, n_sums=9
        )
        for parallel in (one_by_one, backwards)
    )
    np.testing.assert_array_equal(one, other)


def test_sums_that_are_many_are_made_one_block_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory holds the sums of two blocks then, and not of all that a map has in work."""
    monkeypatch.setattr(design, "rows_per_block", lambda n_floats: 7)
    monkeypatch.setattr(design, "MOST_SHARED_SUMS", 8)
    starts: list[int] = []

    def work(rows: slice, block: np.ndarray, scratch: np.ndarray) -> np.ndarray:
        starts.append(rows.start)
        return gram(rows, block, scratch)

    standardised = StandardisedDesign(MatrixDesign(X), fit_intercept=False, parallel=backwards)
    standardised.sum_over_blocks(work, n_sums=9)
    assert starts == sorted(starts)


def test_an_error_in_a_block_comes_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """As the exception it is."""
    monkeypatch.setattr(design, "rows_per_block", lambda n_floats: 7)

    def work(rows: slice, block: np.ndarray, scratch: np.ndarray) -> np.ndarray:
        if rows.start == 21:
            raise MemoryError
        return np.zeros(1)

    standardised = StandardisedDesign(MatrixDesign(X), fit_intercept=True, parallel=backwards)
    with pytest.raises(MemoryError):
        standardised.sum_over_blocks(work, n_sums=1)


def test_a_small_design_is_filled_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows that are one block are kept from one sum to the next."""
    filled: list[int] = []
    inner = MatrixDesign(X)
    fill = inner.fill
    monkeypatch.setattr(
        inner, "fill", lambda start, stop, out: (filled.append(start), fill(start, stop, out))
    )
    standardised = StandardisedDesign(inner, fit_intercept=True)
    for _ in range(3):
        standardised.sum_over_blocks(gram, n_sums=16, n_scratch=1)
    assert filled == [0]


@pytest.mark.parametrize("rows", [None, np.arange(3, 300, 4)])
def test_rows_to_learn_from_are_encoded_as_rows_to_score(rows: np.ndarray | None) -> None:
    """The short way of numbers, with NULL and infinity among them, leads to the same matrix."""
    dataset = mixed_dataset("linear_regression", 2)
    dataset.features[0].values[7:12] = [np.inf, -np.inf, np.nan, np.inf, np.nan]
    preprocessor = Preprocessor().fit(dataset, rows)
    encoded = EncodedDesign(dataset, preprocessor, rows)
    out = np.empty((preprocessor.n_design_, encoded.n_samples))
    encoded.fill(0, encoded.n_samples, out)
    raw = design.raw_matrix(
        design.input_columns(dataset, preprocessor),
        slice(0, dataset.n_samples) if rows is None else rows,
    )
    np.testing.assert_array_equal(out, preprocessor.transform(raw).T)


@pytest.mark.parametrize("chosen", [slice(1, 4), np.array([0, 2, 5])])
def test_an_elements_column_of_an_array_is_copied(chosen: slice | np.ndarray) -> None:
    """Columns whose values do not lie side by side come out as any others."""
    values = np.arange(12.0).reshape(6, 2)
    out = np.empty(3)
    encoder = NumberEncoder(0.0, 0.0, 0.0, has_indicator=False)
    InputColumn(values[:, 1], None).encode_number(chosen, encoder, out[None])
    np.testing.assert_array_equal(out, values[chosen, 1])
