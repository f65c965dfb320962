"""The optimizers' steps, against their formulas in float64 and against scikit-learn's."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.neural_network._stochastic_optimizers import AdamOptimizer, SGDOptimizer

from proxy.engine.networks.optimizers import (
    CACHE_LINE_BYTES,
    OPTIMIZERS,
    Adam,
    Descent,
    Momentum,
    aligned,
)

RATE = 0.01


def start(size: int = 50) -> np.ndarray:
    parameters = aligned(size)
    parameters[:] = np.random.default_rng(0).normal(size=size)
    return parameters


def oracle(name: str, parameters: np.ndarray):
    if name == "adam":
        return AdamOptimizer([parameters], RATE)
    momentum = 0.9 if name == "momentum" else 0.0
    return SGDOptimizer([parameters], RATE, momentum=momentum, nesterov=name == "momentum")


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_twenty_steps_are_scikit_learns(name: str) -> None:
    """The same gradients lead to the same parameters, to float32's digits."""
    ours = start()
    theirs = ours.astype(np.float64)
    optimizer, other = OPTIMIZERS[name](50, 50, RATE), oracle(name, theirs)
    rng = np.random.default_rng(1)
    for _ in range(20):
        gradient = rng.normal(size=50).astype(np.float32)
        optimizer.step(ours, gradient, scale=1.0, decay=0.0)
        other.update_params([theirs], [gradient.astype(np.float64)])
    np.testing.assert_allclose(ours, theirs, rtol=2e-5, atol=1e-6)


def test_scale_and_decay_make_the_gradient() -> None:
    """Descent moves by the rate times scale * gradient + decay * weight; biases do not decay."""
    parameters, gradient = start(6), np.arange(6, dtype=np.float32)
    before = parameters.astype(np.float64)
    Descent(4, 6, RATE).step(parameters, gradient, scale=0.25, decay=0.5)
    slope = 0.25 * gradient + 0.5 * before * (np.arange(6) < 4)
    np.testing.assert_allclose(parameters, before - RATE * slope, rtol=1e-6)


def test_adams_first_step_is_the_rate_in_the_gradients_direction() -> None:
    """Both moments are corrected for their start: only signs are left, whatever the size."""
    parameters = start(3)
    before = parameters.copy()
    Adam(3, 3, RATE).step(parameters, np.array([0.1, -5.0, 900.0], np.float32), scale=1, decay=0)
    np.testing.assert_allclose(before - parameters, [RATE, -RATE, RATE], rtol=1e-4)


def test_momentum_adds_up_to_ten_times_the_gradient() -> None:
    """Under a constant gradient the step tends to rate * gradient / (1 - 0.9)."""
    parameters, gradient = np.zeros(1, np.float32), np.ones(1, np.float32)
    optimizer = Momentum(1, 1, RATE)
    for _ in range(200):
        before = float(parameters[0])
        optimizer.step(parameters, gradient, scale=1.0, decay=0.0)
    assert before - float(parameters[0]) == pytest.approx(10 * RATE, rel=1e-3)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_forgetting_is_beginning_anew(name: str) -> None:
    """After `forget` a step is the first step."""
    gradient = np.random.default_rng(2).normal(size=50).astype(np.float32)
    used, fresh = OPTIMIZERS[name](40, 50, RATE), OPTIMIZERS[name](40, 50, RATE)
    used.step(start(), gradient, scale=1.0, decay=0.1)
    used.forget()
    one, other = start(), start()
    used.step(one, -gradient, scale=1.0, decay=0.1)
    fresh.step(other, -gradient, scale=1.0, decay=0.1)
    np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("shape", [(1,), (3, 5), (0, 4), (1000,)])
def test_aligned_arrays_are_zeros_on_a_line_of_the_cache(shape: tuple[int, ...]) -> None:
    """Whatever the shape, the first number lies where a line begins."""
    array = aligned(*shape)
    assert (array.shape, array.dtype, array.any()) == (shape, np.float32, False)
    assert array.ctypes.data % CACHE_LINE_BYTES == 0 or array.size == 0
    assert array.flags.c_contiguous
