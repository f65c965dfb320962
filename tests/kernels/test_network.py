"""The kernels of networks: scores, activations, losses, random numbers; scipy is the oracle."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import erf, expit, log_softmax, softmax

from proxy.kernels import activations, network_training
from proxy.kernels.network import LANES, score_rows

Z = np.linspace(-30.0, 30.0, 60_001)
BELOW = 0.5 * (1.0 + erf(Z / math.sqrt(2.0)))
DENSITY = np.exp(-0.5 * Z**2) / math.sqrt(2.0 * math.pi)
VALUES = {
    "relu": (np.maximum(Z, 0.0), (Z > 0).astype(float)),
    "tanh": (np.tanh(Z), 1.0 - np.tanh(Z) ** 2),
    "sigmoid": (expit(Z), expit(Z) * expit(-Z)),
    "gelu": (Z * BELOW, BELOW + Z * DENSITY),
}
CODES = {
    "relu": activations.RELU,
    "tanh": activations.TANH,
    "sigmoid": activations.SIGMOID,
    "gelu": activations.GELU,
}


@pytest.mark.parametrize("name", VALUES)
def test_activations_and_slopes_are_scipys(name: str) -> None:
    """Training's activations have float32's digits, and so have their derivatives."""
    half = (Z / 2).astype(np.float32)  # the sums and the bias, to be added
    sums, slopes = half[None, :].copy(), np.empty((1, len(Z)), np.float32)
    getattr(network_training, name)(sums, half, slopes)
    value, slope = VALUES[name]
    np.testing.assert_allclose(sums[0], value, atol=4e-7, rtol=4e-7)
    is_kink = (name == "relu") & (np.abs(Z) < 1e-6)
    np.testing.assert_allclose(slopes[0][~is_kink], slope[~is_kink], atol=4e-7)


@pytest.mark.parametrize("name", VALUES)
def test_scoring_applies_the_same_activations(name: str) -> None:
    """A network of one input, one hidden unit and weights of 1 scores the activation itself."""
    weights = np.zeros(4 * LANES, np.float32)
    weights[LANES] = weights[3 * LANES] = 1.0
    out = np.empty((1, len(Z)))
    sizes, scratch = np.array([1, 1, 1]), np.empty(2 * LANES * 3, np.float32)
    X = np.ascontiguousarray(Z[:, None])
    score_rows(X, sizes, CODES[name], weights, 1.0, 0.0, scratch, out)
    np.testing.assert_allclose(out[0], VALUES[name][0], atol=4e-7, rtol=4e-7)


@pytest.mark.parametrize("name", VALUES)
def test_a_number_has_one_activation_wherever_it_stands(name: str) -> None:
    """In a vector and in the rest of a row: the same bits."""
    numbers = np.random.default_rng(0).normal(size=37).astype(np.float32)
    together, slopes = numbers[None, :].copy(), np.empty((1, 37), np.float32)
    getattr(network_training, name)(together, np.zeros(37, np.float32), slopes)
    for place in range(37):
        alone, slope = numbers[None, place : place + 1].copy(), np.empty((1, 1), np.float32)
        getattr(network_training, name)(alone, np.zeros(1, np.float32), slope)
        assert (alone[0, 0], slope[0, 0]) == (together[0, place], slopes[0, place])


def test_scale_and_offset_are_applied_in_float64() -> None:
    """Outputs in units far beyond float32 keep its digits."""
    weights = np.zeros(2 * LANES, np.float32)
    weights[LANES] = 1.0
    out, scratch = np.empty((1, 1)), np.empty(2 * LANES, np.float32)
    score_rows(np.array([[0.5]]), np.array([1, 1]), 0, weights, 1e120, 1e119, scratch, out)
    assert out[0, 0] == 0.5 * 1e120 + 1e119


def losses_by_scipy(kind: str, sums, targets, weights):
    """Return the sum of the losses and the derivatives by the sums, in float64."""
    if kind == "softmax":
        one_hot = np.eye(sums.shape[1])[targets]
        return -(weights * (log_softmax(sums, axis=1) * one_hot).sum(axis=1)).sum(), (
            weights[:, None] * (softmax(sums, axis=1) - one_hot)
        )
    if kind == "logistic":
        loss = np.logaddexp(0.0, sums[:, 0]) - targets * sums[:, 0]
        return weights @ loss, (weights * (expit(sums[:, 0]) - targets))[:, None]
    return 0.5 * weights @ (sums[:, 0] - targets) ** 2, (weights * (sums[:, 0] - targets))[:, None]


@pytest.mark.parametrize("kind", ["softmax", "logistic", "squared"])
@given(seed=st.integers(0, 10_000), size=st.sampled_from([0.1, 3.0, 80.0]))
@settings(deadline=None, max_examples=30)
def test_losses_and_derivatives_are_scipys(kind: str, seed: int, size: float) -> None:
    """Weighted losses of small, usual and saturated sums."""
    rng = np.random.default_rng(seed)
    width = 4 if kind == "softmax" else 1
    sums = (size * rng.normal(size=(9, width))).astype(np.float32)
    bias, weights = rng.normal(size=width).astype(np.float32), rng.random(9).astype(np.float32)
    targets = rng.integers(0, max(width, 2), 9)
    if kind == "squared":
        targets = rng.normal(size=9).astype(np.float32)
    expected, slopes = losses_by_scipy(kind, (sums + bias).astype(float), targets, weights)
    totals = np.empty(2)
    getattr(network_training, f"{kind}_loss")(sums, bias, targets, weights, totals)
    np.testing.assert_allclose(totals, [expected, weights.sum(dtype=float)], rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(sums, slopes, rtol=2e-6, atol=1e-6)


def test_a_shuffle_is_a_permutation_and_every_place_is_reached() -> None:
    """Each number comes to each place about as often: 6 sigma of a binomial."""
    n, n_keys = 5, 4000
    counts = np.zeros((n, n))
    for key in range(n_keys):
        order = np.arange(n)
        network_training.shuffle(order, key)
        assert sorted(order) == list(range(n))
        counts[np.arange(n), order] += 1
    sigma = math.sqrt(n_keys * (1 / n) * (1 - 1 / n))
    assert np.abs(counts - n_keys / n).max() < 6 * sigma


def test_a_mask_keeps_its_share_and_parts_draw_as_the_whole() -> None:
    """About a quarter is dropped, and rows 3 to 9 are the same when drawn by themselves."""
    whole, part = np.empty((1000, 40), np.float32), np.empty((6, 40), np.float32)
    network_training.draw_mask(whole, 77, 0, int(0.75 * 2**32), 4.0)
    network_training.draw_mask(part, 77, 3, int(0.75 * 2**32), 4.0)
    np.testing.assert_array_equal(part, whole[3:9])
    assert set(np.unique(whole)) == {0.0, 4.0}
    kept = (whole > 0).mean(axis=0)
    assert np.abs(kept - 0.75).max() < 6 * math.sqrt(0.75 * 0.25 / 1000)
