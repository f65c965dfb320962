"""The held-out rows."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.engine import model_selection
from proxy.engine.model_selection import split_rows


@given(st.integers(5, 300), st.floats(0.05, 0.9), st.integers(0, 2**63 - 1))
def test_every_row_is_in_one_part(n_samples: int, test_size: float, seed: int) -> None:
    """The parts are disjoint, whole, ascending and of the size asked for."""
    split = split_rows(n_samples, test_size, seed)
    if split is None:
        assert min(round(test_size * n_samples), n_samples - round(test_size * n_samples)) <= 1
        return
    together = np.concatenate([split.train, split.holdout])
    np.testing.assert_array_equal(np.sort(together), np.arange(n_samples))
    assert (np.diff(split.train) > 0).all()
    assert (np.diff(split.holdout) > 0).all()
    assert abs(len(split.holdout) - test_size * n_samples) <= 0.5 + 1e-9


def test_each_class_is_split_alike() -> None:
    """Both parts have every class in its own share."""
    codes = np.repeat([0, 1, 2], [1000, 100, 10])
    np.random.default_rng(0).shuffle(codes)
    split = split_rows(len(codes), 0.2, 0, codes)
    assert np.bincount(codes[split.holdout]).tolist() == [200, 20, 2]
    assert np.bincount(codes[split.train]).tolist() == [800, 80, 8]


def test_the_seed_decides() -> None:
    """The same seed gives the same rows, another seed others, and neither the first ones."""
    first, again, other = (split_rows(100, 0.2, seed).holdout.tolist() for seed in (1, 1, 2))
    assert first == again
    assert first != other
    assert first != list(range(20))


def test_the_choice_is_fixed_for_good() -> None:
    """Recorded metrics stay reproducible: PCG64's raw stream is part of numpy's promise."""
    keys = np.random.PCG64(0).random_raw(10)
    assert split_rows(10, 0.3, 0).holdout.tolist() == sorted(np.argsort(keys)[:3].tolist())


@pytest.mark.parametrize(
    ("n_samples", "codes"), [(4, None), (10, [0] * 9 + [1]), (12, [0] * 6 + [1] * 6)]
)
def test_too_few_rows_are_not_split(n_samples: int, codes: list[int] | None) -> None:
    """Less than five rows, or two of a class in either part, give no holdout."""
    chosen = None if codes is None else np.array(codes)
    assert split_rows(n_samples, 0.2, 0, chosen) is None


def plain_split(
    n_samples: int, test_size: float, seed: int, codes: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """Return the parts by all keys at once, each class's ordered."""
    keys = np.random.PCG64(seed).random_raw(n_samples)
    is_held_out = np.zeros(n_samples, bool)
    own = np.zeros(n_samples, int) if codes is None else codes
    for code in np.unique(own):
        rows = np.flatnonzero(own == code)
        n_held_out = int(test_size * len(rows) + 0.5)
        is_held_out[rows[np.argsort(keys[rows])[:n_held_out]]] = True
    return np.flatnonzero(~is_held_out), np.flatnonzero(is_held_out)


def smallest_parts(n_samples: int, codes: np.ndarray | None, holdout: np.ndarray) -> list[int]:
    """Return how many rows of each class that has any the smaller part has."""
    own = np.zeros(n_samples, int) if codes is None else codes
    counts = np.bincount(own)
    held_out = np.bincount(own[holdout], minlength=len(counts))
    return np.minimum(held_out, counts - held_out)[counts > 0].tolist()


@pytest.mark.parametrize("block_rows", [7, 100, 1 << 17])
@pytest.mark.parametrize("most_bins", [4, 1 << 16])
@pytest.mark.parametrize("n_classes", [0, 2, 30])
@pytest.mark.parametrize("n_samples", [5, 99, 100, 101, 1000, 4321])
def test_blocks_of_keys_give_the_parts_of_all_keys(
    n_samples: int,
    n_classes: int,
    most_bins: int,
    block_rows: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """However many rows a block has, and keys a bin: the split is the one by a sort."""
    monkeypatch.setattr(model_selection, "BLOCK_ROWS", block_rows)
    monkeypatch.setattr(model_selection, "MOST_BINS", most_bins)
    rng = np.random.default_rng(n_samples)
    for test_size in (0.1, 0.2, 0.37, 0.9):
        codes = rng.integers(0, n_classes, n_samples) if n_classes else None
        if codes is not None and n_classes > 2:
            codes[codes == 3] = 4  # a class of an earlier model's without a row
        split = split_rows(n_samples, test_size, 11, codes)
        train, holdout = plain_split(n_samples, test_size, 11, codes)
        if split is None:
            assert min(smallest_parts(n_samples, codes, holdout)) < (1 if codes is None else 2)
            continue
        assert split.train.tolist() == train.tolist()
        assert split.holdout.tolist() == holdout.tolist()


def test_many_rows_are_split_as_by_a_sort() -> None:
    """Several blocks of the size that there is."""
    codes = np.random.default_rng(0).integers(0, 3, 700_000)
    for classes in (None, codes):
        split = split_rows(len(codes), 0.2, 5, classes)
        train, holdout = plain_split(len(codes), 0.2, 5, classes)
        np.testing.assert_array_equal(split.train, train)
        np.testing.assert_array_equal(split.holdout, holdout)
