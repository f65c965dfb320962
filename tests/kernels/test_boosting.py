"""Derivatives and losses against numpy; and the draw of a part of the rows."""

from __future__ import annotations

import numpy as np
import pytest

from proxy.kernels import boosting as kernel

NONE = np.zeros(0)
SIZES = [1, 63, 64, 65, 300]


def scratch() -> np.ndarray:
    return np.empty(kernel.WORK_SIZE + 2 * kernel.CHUNK)


def rows(n_rows: int) -> tuple[np.random.Generator, np.ndarray, np.ndarray, np.ndarray]:
    """Return log-odds up to certainty, weights, and which rows are held out."""
    rng = np.random.default_rng(n_rows)
    raw = rng.normal(size=n_rows) * rng.choice([0.1, 5.0, 50.0, 2000.0], n_rows)
    return rng, raw, rng.uniform(0.5, 2.0, n_rows), rng.integers(0, 2, n_rows).astype(float)


@pytest.mark.parametrize("n_rows", SIZES)
@pytest.mark.parametrize("is_weighted", [False, True])
def test_log_loss_of_two_classes(n_rows: int, is_weighted: bool) -> None:
    """Loss, gradient and Hessian after a step are numpy's, to the last digits."""
    rng, raw, weight, held = rows(n_rows)
    codes, steps = rng.integers(0, 2, n_rows), rng.normal(size=5)
    leaf = rng.integers(0, 5, n_rows).astype(np.int32)
    moved, sign = raw + steps[leaf], np.where(codes == 1, -1.0, 1.0)
    w = weight if is_weighted else np.ones(n_rows)
    gradient, hessian, sums = np.empty(n_rows), np.empty(n_rows), np.zeros(4)
    kernel.step_log_loss(
        raw,
        leaf,
        steps,
        sign,
        weight if is_weighted else NONE,
        held if is_weighted else NONE,
        0,
        n_rows,
        gradient,
        hessian,
        scratch(),
        sums,
        1,
    )
    np.testing.assert_array_equal(raw, moved)
    losses = w * np.logaddexp(0.0, sign * moved)
    expected = [0.0, 0.0, losses.sum(), (losses * held).sum() if is_weighted else 0.0]
    np.testing.assert_allclose(sums, expected, rtol=1e-13)
    small = np.exp(-np.minimum(np.abs(moved), 700.0))
    wrong = np.where(sign * moved >= 0, 1.0, small) / (1.0 + small)
    np.testing.assert_allclose(gradient, w * sign * wrong, rtol=1e-14)
    curvature = np.maximum(small / (1.0 + small) ** 2, kernel.LEAST_HESSIAN)
    np.testing.assert_allclose(hessian, w * curvature, rtol=1e-14)


@pytest.mark.parametrize("n_rows", SIZES)
@pytest.mark.parametrize("is_weighted", [False, True])
def test_squared_error(n_rows: int, is_weighted: bool) -> None:
    """Residuals move by a step; gradients are residuals times weights."""
    rng, residual, weight, held = rows(n_rows)
    steps, leaf = rng.normal(size=3), rng.integers(0, 3, n_rows).astype(np.int32)
    moved = residual + steps[leaf]
    w = weight if is_weighted else np.ones(n_rows)
    gradient, sums = np.empty(n_rows), np.zeros(2)
    kernel.step_squared_error(
        residual,
        leaf,
        steps,
        weight if is_weighted else NONE,
        held,
        0,
        n_rows,
        gradient,
        scratch(),
        sums,
        0,
    )
    np.testing.assert_array_equal(residual, moved)
    np.testing.assert_array_equal(gradient, moved * w)
    squares = w * moved**2
    np.testing.assert_allclose(sums, [squares.sum(), (squares * held).sum()], rtol=1e-13)


@pytest.mark.parametrize("n_rows", SIZES)
@pytest.mark.parametrize("is_weighted", [False, True])
def test_log_loss_of_many_classes(n_rows: int, is_weighted: bool) -> None:
    """Normaliser, loss and each class's derivatives are those of numpy's softmax."""
    rng, one, weight, held = rows(n_rows)
    raw = np.stack([one, one[::-1], rng.normal(size=n_rows)])
    codes = rng.integers(0, 3, n_rows)
    given = weight if is_weighted else NONE
    w = weight if is_weighted else np.ones(n_rows)
    total, sums = np.empty(n_rows), np.zeros(2)
    kernel.normalise(raw, codes, given, held, 0, n_rows, total, scratch(), sums, 0)
    expected = np.logaddexp.reduce(raw, axis=0)
    np.testing.assert_allclose(total, expected, rtol=1e-14, atol=1e-14)
    losses = w * (expected - raw[codes, np.arange(n_rows)])
    np.testing.assert_allclose(sums, [losses.sum(), (losses * held).sum()], rtol=1e-12, atol=1e-12)
    for k in range(3):
        gradient, hessian = np.empty((2, n_rows))
        kernel.differentiate_class(raw, total, codes, given, k, gradient, hessian, scratch())
        p = np.exp(np.maximum(raw[k] - total, -700.0))
        np.testing.assert_allclose(gradient, w * (p - (codes == k)), rtol=1e-12, atol=1e-15)
        curvature = np.maximum(p * (1.0 - p), kernel.LEAST_HESSIAN)
        np.testing.assert_allclose(hessian, w * curvature, rtol=1e-12, atol=1e-15)


def test_steps_are_added_to_one_output() -> None:
    """Only the rows asked for, of the output asked for."""
    raw = np.zeros((2, 4))
    leaf = np.array([0, 1, 1, 0], np.int32)
    kernel.add_steps(raw.reshape(-1), 4, 1, 4, leaf, np.array([1.0, 2.0]))
    assert raw.tolist() == [[0, 0, 0, 0], [0, 2, 2, 1]]


def test_the_draw_is_fair() -> None:
    """As many as asked for, in their order; each row equally often, and each pair."""
    among = np.array([2, 3, 5, 7, 11], np.int32)
    counts: dict[tuple[int, ...], int] = {}
    for seed in range(5000):
        chosen, others = np.empty(2, np.int32), np.empty(3, np.int32)
        kernel.choose(among, np.array([seed * 7919]), 2, chosen, others)
        assert sorted([*chosen, *others]) == among.tolist()
        assert sorted(chosen) == chosen.tolist()
        assert sorted(others) == others.tolist()
        pair = tuple(chosen.tolist())
        counts[pair] = counts.get(pair, 0) + 1
    assert len(counts) == 10
    # 500 of each are expected; six standard deviations are 127.
    assert max(abs(count - 500) for count in counts.values()) < 127
