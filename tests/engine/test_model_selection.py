"""The held-out rows."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

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
