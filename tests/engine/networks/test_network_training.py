"""Back-propagation, steps and stopping, with numpy in float64 and finite differences as oracles."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from scipy.special import erf, expit, log_softmax

from proxy.engine.networks.activations import ACTIVATIONS
from proxy.engine.networks.network_parameters import Parameters, RandomStream
from proxy.engine.networks.network_problem import (
    LOGISTIC,
    SOFTMAX,
    SQUARED,
    Loss,
    Rows,
    held_out_places,
    narrowed,
)
from proxy.engine.networks.network_training import (
    MOST_SHARDS,
    SMALLEST_SPLIT_BATCH,
    NetworkTraining,
    Schedule,
    shard_places,
)
from proxy.engine.networks.optimizers import Adam, Descent

FUNCTIONS = {
    "relu": lambda z: np.maximum(z, 0.0),
    "tanh": np.tanh,
    "sigmoid": expit,
    "gelu": lambda z: z * 0.5 * (1.0 + erf(z / np.sqrt(2.0))),
}
LOSSES = {"softmax": (SOFTMAX, 3), "logistic": (LOGISTIC, 1), "squared": (SQUARED, 1)}


def problem(kind: str, n: int = 12, *, weighted: bool = True) -> Rows:
    rng = np.random.default_rng(0)
    X = narrowed(rng.normal(size=(n, 4)))
    targets = rng.integers(0, max(LOSSES[kind][1], 2), n)
    if kind == "squared":
        targets = rng.normal(size=n).astype(np.float32)
    return Rows(X, targets, rng.random(n).astype(np.float32) + 0.5 if weighted else None)


def mean_loss(flat: np.ndarray, sizes, activation: str, kind: str, rows: Rows, l2: float) -> float:
    """Return the penalised loss per weight, in float64, from the flat parameters."""
    weights = np.ones(len(rows.X)) if rows.weights is None else rows.weights.astype(float)
    values, first = rows.X.astype(float), 0
    first_bias = sum(a * b for a, b in pairwise(sizes))
    n_weights = first_bias
    for layer, (a, b) in enumerate(pairwise(sizes)):
        matrix = flat[first : first + a * b].reshape(a, b)
        values = values @ matrix + flat[first_bias : first_bias + b]
        if layer < len(sizes) - 2:
            values = FUNCTIONS[activation](values)
        first, first_bias = first + a * b, first_bias + b
    y = rows.targets
    losses = {
        "softmax": lambda: -log_softmax(values, axis=1)[np.arange(len(y)), y],
        "logistic": lambda: np.logaddexp(0.0, values[:, 0]) - y * values[:, 0],
        "squared": lambda: 0.5 * (values[:, 0] - y) ** 2,
    }[kind]()
    return float((weights @ losses + 0.5 * l2 * (flat[:n_weights] ** 2).sum()) / weights.sum())


def schedule(activation: str = "tanh", **changes) -> Schedule:
    values = {"epochs": 1, "batch_size": 12, "dropout": 0.0, "l2": 0.0, "tol": 1e-4}
    values |= {"n_iter_no_change": 10, **changes}
    return Schedule(activation=ACTIVATIONS[activation], **values)


def begun(sizes: tuple[int, ...], spread: float = 6.0) -> Parameters:
    parameters = Parameters(sizes)
    parameters.begin(RandomStream(1), spread)
    return parameters


def numerical_gradient(flat: np.ndarray, *arguments) -> np.ndarray:
    gradient = np.empty(len(flat))
    for i in range(len(flat)):
        above, below = flat.copy(), flat.copy()
        above[i] += 1e-5
        below[i] -= 1e-5
        gradient[i] = (mean_loss(above, *arguments) - mean_loss(below, *arguments)) / 2e-5
    return gradient


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("kind", LOSSES)
def test_the_gradient_is_that_of_finite_differences(kind: str, activation: str) -> None:
    """For every loss and activation, weighted and penalised: a step of descent shows it."""
    loss, n_outputs = LOSSES[kind]
    sizes, rows, l2, rate = (4, 5, 3, n_outputs), problem(kind), 0.3, 1.0
    parameters = begun(sizes)
    before = parameters.flat.astype(float)
    optimizer = Descent(parameters.n_weights, len(before), rate)
    training = NetworkTraining(
        parameters, rows, np.arange(12), loss, schedule(activation, l2=l2), optimizer=optimizer
    )
    training.run(RandomStream(0))
    expected = numerical_gradient(before, sizes, activation, kind, rows, l2)
    np.testing.assert_allclose((before - parameters.flat) / rate, expected, rtol=1e-4, atol=2e-6)
    wanted = mean_loss(before, sizes, activation, kind, rows, l2)
    assert training.loss_curve == pytest.approx([wanted], rel=1e-6)


def test_a_step_of_adam_is_numpys() -> None:
    """One minibatch of a whole network, against the formulas of Kingma & Ba."""
    sizes, rows = (4, 6, 1), problem("squared", weighted=False)
    parameters = begun(sizes)
    before = parameters.flat.astype(float)
    optimizer = Adam(parameters.n_weights, len(before), 0.01)
    NetworkTraining(parameters, rows, np.arange(12), SQUARED, schedule(), optimizer=optimizer).run(
        RandomStream(0)
    )
    slope = numerical_gradient(before, sizes, "tanh", "squared", rows, 0.0)
    first, second = 0.1 * slope / (1 - 0.9), 0.001 * slope**2 / (1 - 0.999)
    expected = before - 0.01 * first / (np.sqrt(second) + 1e-8)
    np.testing.assert_allclose(parameters.flat, expected, atol=5e-6)


def test_weights_begin_as_glorot_has_them() -> None:
    """Uniform within the bound of the layer: mean 0, and a variance of bound**2 / 3."""
    parameters = begun((300, 200, 100))
    for weights, bias in zip(parameters.weights, parameters.biases, strict=True):
        bound = np.sqrt(6.0 / sum(weights.shape))
        assert np.abs(weights).max() <= bound * (1 + 1e-6)
        assert np.abs(bias).max() <= bound * (1 + 1e-6)
        assert abs(weights.mean()) < 6 * bound / np.sqrt(3 * weights.size)
        np.testing.assert_allclose(weights.var(), bound**2 / 3, rtol=0.05)


def test_a_batch_is_the_sum_of_its_shards() -> None:
    """Three shards take the step that the whole batch would take."""
    n = SMALLEST_SPLIT_BATCH + 300
    rows = problem("softmax", n)
    assert [*shard_places(n)] == [slice(0, 270), slice(270, 541), slice(541, 812)]
    parameters = begun((4, 5, 3))
    before = parameters.flat.astype(float)
    optimizer = Descent(parameters.n_weights, len(before), 1.0)
    NetworkTraining(
        parameters, rows, np.arange(n), SOFTMAX, schedule(batch_size=n), optimizer=optimizer
    ).run(RandomStream(0))
    expected = numerical_gradient(before, (4, 5, 3), "tanh", "softmax", rows, 0.0)
    np.testing.assert_allclose(before - parameters.flat, expected, rtol=1e-4, atol=2e-6)


@pytest.mark.parametrize("n_rows", [1, 200, 511, 512, 513, 1024, 9999, 10**6])
def test_shards_follow_each_other(n_rows: int) -> None:
    """They cover the batch once, and there are a few of like size."""
    places = [*shard_places(n_rows)]
    assert [row for place in places for row in (place.start, place.stop)][1:-1] == [
        stop for place in places[:-1] for stop in (place.stop, place.stop)
    ]
    assert (places[0].start, places[-1].stop) == (0, n_rows)
    assert len(places) <= MOST_SHARDS
    sizes = [place.stop - place.start for place in places]
    assert max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize(("n", "share", "n_held"), [(2, 0.1, 1), (10, 0.1, 1), (200, 0.25, 50)])
def test_held_out_rows_are_a_share_of_each_class(n: int, share: float, n_held: int) -> None:
    """The parts are disjoint, cover all rows, and hold each class in proportion."""
    codes = np.repeat([0, 1], [n // 2, n - n // 2])
    learned, held = held_out_places(n, codes, share, key=5)
    assert sorted([*learned, *held]) == list(range(n))
    assert len(held) == n_held
    counts = np.bincount(codes[held], minlength=2)
    assert abs(counts[0] - counts[1]) <= 1


class Scripted:
    """A loss whose derivative is a constant, so that training's path is known."""

    def __init__(self, losses: list[float], slope: float = 0.0) -> None:
        self.losses = iter(losses)
        self.slope = slope

    def differentiate(self, sums, bias, targets, weights, totals) -> None:
        sums[:] = self.slope
        totals[:] = next(self.losses) * len(sums), len(sums)


def run_script(losses: list[float], **changes) -> NetworkTraining:
    parameters = begun((4, 1))
    training = NetworkTraining(
        parameters,
        problem("squared"),
        np.arange(12),
        Loss(Scripted(losses).differentiate, np.float32),
        schedule(epochs=len(losses), **changes),
        optimizer=Descent(parameters.n_weights, parameters.flat.size, 0.5),
    )
    training.run(RandomStream(0))
    return training


def test_training_stops_when_the_loss_stands_still() -> None:
    """As in scikit-learn: after more than `n_iter_no_change` epochs that gain less than `tol`."""
    losses = [1.0, 0.5, 0.4999, 0.45, 0.449, 0.4489, 0.4488, 0.1]
    training = run_script(losses, n_iter_no_change=2, tol=0.01)
    assert training.loss_curve == pytest.approx(losses[:7])
    assert training.best_loss == pytest.approx(0.4488)


def test_a_wild_gradient_is_cut_to_a_thousand() -> None:
    """Its direction stays; the length of the step is the rate times 1000."""
    rows, rate = problem("squared", weighted=False), 0.5
    steps = []
    for slope in (1.0, 1e7):
        parameters = begun((4, 1))
        before = parameters.flat.astype(float)
        loss = Loss(Scripted([1.0], slope).differentiate, np.float32)
        optimizer = Descent(parameters.n_weights, len(before), rate)
        NetworkTraining(parameters, rows, np.arange(12), loss, schedule(), optimizer=optimizer).run(
            RandomStream(0)
        )
        steps.append(before - parameters.flat)
    assert np.linalg.norm(steps[1]) == pytest.approx(rate * 1000.0, rel=1e-4)
    direction = steps[0] / np.linalg.norm(steps[0])
    np.testing.assert_allclose(steps[1] / (rate * 1000.0), direction, atol=1e-4)


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e9])
def test_an_epoch_that_explodes_is_taken_back(bad: float) -> None:
    """The loss stays that of the epoch before, and the learning rate is halved."""
    training = run_script([1.0, 0.9, bad, bad, 0.8])
    assert training.loss_curve == pytest.approx([1.0, 0.9, 0.9, 0.9, 0.8])
    assert (training.n_diverged, training.optimizer.learning_rate) == (2, 0.125)
