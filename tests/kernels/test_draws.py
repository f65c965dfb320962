"""Draws with replacement: how often each row was drawn, and who was not."""

from __future__ import annotations

import numpy as np
import pytest

from proxy.kernels.draws import draw_rows, list_rows


@pytest.mark.parametrize("n_rows", [1, 2, 63, 1000])
def test_a_draw_is_as_many_rows_as_there_are(n_rows: int) -> None:
    """Counts add up; the two lists part the rows, ascending; rows that take no part are left."""
    rows = np.arange(0, 2 * n_rows, 2, dtype=np.int32)
    counts = np.zeros(2 * n_rows, np.uint16)
    n_drawn = draw_rows(rows, n_rows, counts)
    assert counts.sum() == n_rows
    assert not counts[1::2].any()
    drawn, others = np.empty(n_drawn, np.int32), np.empty(n_rows - n_drawn, np.int32)
    list_rows(rows, counts, True, drawn)
    list_rows(rows, counts, False, others)
    assert drawn.tolist() == np.flatnonzero(counts).tolist()
    assert sorted([*drawn, *others]) == rows.tolist()


def test_draws_are_even() -> None:
    """A row is left out as often as (1 - 1/n)^n says, within four standard deviations."""
    rows = np.arange(100, dtype=np.int32)
    left_out = np.zeros(100)
    n_draws = 20_000
    for seed in range(n_draws):
        counts = np.zeros(100, np.uint16)
        draw_rows(rows, seed, counts)
        left_out += counts == 0
    share = 0.99**100
    assert np.abs(left_out / n_draws - share).max() < 4.5 * np.sqrt(share * (1 - share) / n_draws)
