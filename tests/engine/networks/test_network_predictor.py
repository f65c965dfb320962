"""Scores and storage of networks, with numpy in float64 as the oracle."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import erf, expit

from proxy.engine.networks.network_predictor import (
    MOST_LAYERS,
    NetworkPredictor,
    packed_size,
    quantized,
)
from proxy.engine.networks.network_quantization import Layer
from proxy.engine.predictors import LOG_ODDS, VALUE

FUNCTIONS = {
    "relu": lambda z: np.maximum(z, 0.0),
    "tanh": np.tanh,
    "sigmoid": expit,
    "gelu": lambda z: z * 0.5 * (1.0 + erf(z / np.sqrt(2.0))),
}


def network(
    sizes: tuple[int, ...], activation: str = "relu", seed: int = 0, **output: float
) -> NetworkPredictor:
    rng = np.random.default_rng(seed)
    layers = [
        Layer(
            (rng.normal(size=(a, b)) / np.sqrt(a)).astype(np.float32),
            rng.normal(size=b).astype(np.float32),
        )
        for a, b in pairwise(sizes)
    ]
    return NetworkPredictor(layers, activation, VALUE if output else LOG_ODDS, **output)


def by_numpy(predictor: NetworkPredictor, X: np.ndarray) -> np.ndarray:
    values = np.clip(X, -1e6, 1e6)
    for i, layer in enumerate(predictor.layers):
        values = values @ layer.weights.astype(float) + layer.bias
        if i < len(predictor.layers) - 1:
            values = FUNCTIONS[predictor.activation](values)
    return values.T * predictor.scale + predictor.offset


@pytest.mark.parametrize("activation", FUNCTIONS)
@pytest.mark.parametrize("sizes", [(3, 1), (1, 1, 1), (5, 16, 3), (33, 17, 47, 64, 4)])
def test_scores_are_numpys(sizes: tuple[int, ...], activation: str) -> None:
    """Layers of widths that fill vectors and that do not."""
    predictor = network(sizes, activation)
    X = np.random.default_rng(1).normal(size=(75, sizes[0]))
    expected = by_numpy(predictor, X)
    np.testing.assert_allclose(predictor.outputs(X), expected, rtol=1e-5, atol=1e-5)
    assert (predictor.n_features_in, predictor.n_outputs) == (sizes[0], sizes[-1])


def test_a_value_is_scaled_and_shifted() -> None:
    """The outputs of a regression are in the target's units."""
    predictor = network((4, 8, 1), scale=250.0, offset=-3e6)
    X = np.random.default_rng(1).normal(size=(10, 4))
    np.testing.assert_allclose(predictor.outputs(X), by_numpy(predictor, X), rtol=1e-9)


WILD = st.sampled_from([1e308, -1e308, 5e-324, -0.0, 1.0, -7.5, 1e6, -1e15])


@given(
    rows=st.lists(st.lists(WILD, min_size=7, max_size=7), min_size=1, max_size=80),
    activation=st.sampled_from(sorted(FUNCTIONS)),
    seed=st.integers(0, 99),
)
@settings(deadline=None, max_examples=60)
def test_a_row_scores_alike_alone_and_in_any_batch(rows, activation: str, seed: int) -> None:
    """Bit for bit, and no score is NaN or infinite."""
    predictor = network((7, 30, 9, 3), activation, seed)
    X = np.array(rows)
    whole = predictor.outputs(X)
    assert np.isfinite(whole).all()
    for i in range(len(X)):
        np.testing.assert_array_equal(predictor.outputs(X[i : i + 1])[:, 0], whole[:, i])
    cut = len(X) // 3
    parts = [predictor.outputs(X[:cut]), predictor.outputs(X[cut:])]
    np.testing.assert_array_equal(np.concatenate(parts, axis=1), whole)


def test_the_largest_weights_do_not_overflow() -> None:
    """Weights at the bound, through three layers: finite scores."""
    layers = [
        Layer(np.full((a, b), sign * 1e15, np.float32), np.full(b, -sign * 1e15, np.float32))
        for a, b, sign in ((40, 30, 1), (30, 20, -1), (20, 1, 1))
    ]
    X = np.array([[1e308] * 40, [-1e308] * 40, [1.0, -1.0] * 20])
    for activation in FUNCTIONS:
        assert np.isfinite(NetworkPredictor(layers, activation, VALUE).outputs(X)).all()


@pytest.mark.parametrize("n_rows", [0, 1, 2, 33])
def test_any_number_of_rows_is_scored(n_rows: int) -> None:
    """No row gives no score; a read-only array is as good as another."""
    X = np.ones((n_rows, 5))
    X.flags.writeable = False
    assert network((5, 8, 3)).outputs(X).shape == (3, n_rows)


def test_another_width_is_refused() -> None:
    """A matrix of other columns never reaches the kernel."""
    with pytest.raises(ValueError, match="5 columns"):
        network((4, 3, 1)).outputs(np.zeros((2, 5)))


@pytest.mark.parametrize("storage", ["float32", "float16", "int8"])
@pytest.mark.parametrize(("n_classes", "n_outputs"), [(0, 1), (2, 1), (5, 5)])
def test_storage_brings_the_same_network_back(storage, n_classes: int, n_outputs: int) -> None:
    """Tensors, network, tensors is the identity, and scores are equal to the bit."""
    output = {"scale": 3.0, "offset": 1.5} if n_classes == 0 else {}
    predictor = quantized(network((6, 20, n_outputs), "gelu", **output), storage)
    tensors = predictor.tensors()
    again = NetworkPredictor.from_tensors(tensors, n_features_in=6, n_classes=n_classes)
    assert list(again.tensors()) == list(tensors)
    for name, tensor in again.tensors().items():
        assert tensor.dtype == tensors[name].dtype
        np.testing.assert_array_equal(tensor, tensors[name])
    X = np.random.default_rng(3).normal(size=(40, 6))
    np.testing.assert_array_equal(again.outputs(X), predictor.outputs(X))
    assert (again.link, again.activation) == (predictor.link, "gelu")


@pytest.mark.parametrize(("storage", "bound"), [("float16", 2**-11), ("int8", 0.5 / 127)])
def test_quantised_weights_are_off_by_half_a_step_at_most(storage, bound: float) -> None:
    """float16: half a unit of 11 bits; int8: half of a column's largest weight over 127."""
    predictor = network((50, 30, 4))
    for layer, small in zip(predictor.layers, quantized(predictor, storage).layers, strict=True):
        unit = np.abs(layer.weights)
        if storage == "int8":
            unit = np.broadcast_to(unit.max(axis=0), unit.shape)
        error = np.abs(layer.weights - small.weights)
        assert (error <= bound * unit * (1 + 1e-6) + 1e-7).all()
        assert small.stored.nbytes * {"float16": 2, "int8": 4}[storage] == layer.stored.nbytes


def test_quantising_survives_zeros_and_giants() -> None:
    """A column of zeros stays one; what float16 cannot hold becomes its largest number."""
    weights = np.array([[0.0, 1e9], [0.0, -1e9]], np.float32)
    predictor = NetworkPredictor([Layer(weights, np.zeros(2, np.float32))], "relu", LOG_ODDS)
    np.testing.assert_array_equal(
        quantized(predictor, "float16").layers[0].weights, [[0, 65504], [0, -65504]]
    )
    np.testing.assert_allclose(quantized(predictor, "int8").layers[0].weights, weights, rtol=1e-6)


def hostile() -> dict[str, dict[str, object]]:
    """Return changes to the tensors of a network of 6, 20 and 5, each of which must be refused."""
    nan = np.zeros((6, 20), np.float32)
    nan[3, 4] = np.nan
    return {
        "a weight is NaN": {"weights_0": nan},
        "a weight is huge": {"weights_0": np.full((6, 20), 2e15, np.float32)},
        "a bias is infinite": {"bias_1": np.full(5, np.inf, np.float32)},
        "float64": {"weights_0": np.zeros((6, 20))},
        "big endian": {"weights_0": np.zeros((6, 20), ">f4")},
        "objects": {"weights_0": np.full((6, 20), None)},
        "int8 without scales": {"weights_0": np.zeros((6, 20), np.int8)},
        "scales of the wrong length": {
            "weights_0": np.zeros((6, 20), np.int8),
            "scales_0": np.ones(19, np.float32),
        },
        "an infinite scale": {
            "weights_0": np.ones((6, 20), np.int8),
            "scales_0": np.full(20, 3e38, np.float32),
        },
        "infinite float16": {"weights_0": np.full((6, 20), np.inf, np.float16)},
        "another input": {"weights_0": np.zeros((7, 20), np.float32)},
        "a broken chain": {"weights_1": np.zeros((19, 5), np.float32)},
        "another output": {
            "weights_1": np.zeros((20, 4), np.float32),
            "bias_1": np.zeros(4, np.float32),
        },
        "a layer of nothing": {
            "weights_0": np.zeros((6, 0), np.float32),
            "bias_0": np.zeros(0, np.float32),
            "weights_1": np.zeros((0, 5), np.float32),
        },
        "one dimension": {"weights_0": np.zeros(6, np.float32)},
        "a short bias": {"bias_0": np.zeros(19, np.float32)},
        "no bias": {"bias_0": None},
        "no first layer": {"weights_0": None},
        "a gap": {"weights_3": np.zeros((5, 5), np.float32)},
        "something else": {"extra": np.zeros(1)},
        "scales of float32": {"scales_0": np.ones(20, np.float32)},
        "no activation": {"activation": None},
        "an unknown activation": {"activation": np.array([4])},
        "a negative activation": {"activation": np.array([-1])},
        "two activations": {"activation": np.array([0, 1])},
        "a scaled classifier": {"output": np.array([2.0, 0.0])},
        "an infinite offset": {"output": np.array([1.0, np.inf])},
        "three numbers of output": {"output": np.array([1.0, 0.0, 0.0])},
    }


@pytest.mark.parametrize("case", hostile())
def test_tensors_that_are_no_network_are_refused(case: str) -> None:
    """A wrong type, shape, number or name is an error, never a network."""
    tensors = network((6, 20, 5)).tensors()
    NetworkPredictor.from_tensors(tensors, n_features_in=6, n_classes=5)
    for name, tensor in hostile()[case].items():
        tensors[name] = tensor
        if tensor is None:
            del tensors[name]
    with pytest.raises((ValueError, KeyError)):
        NetworkPredictor.from_tensors(tensors, n_features_in=6, n_classes=5)


def test_a_regression_takes_any_scale_but_a_negative_one() -> None:
    """The scale of a regression is a standard deviation; 0 is that of a constant."""
    tensors = network((3, 1)).tensors()
    tensors["output"] = np.array([0.0, 7.0])
    constant = NetworkPredictor.from_tensors(tensors, n_features_in=3, n_classes=0)
    assert constant.outputs(np.full((2, 3), 1e300)).tolist() == [[7.0, 7.0]]
    tensors["output"] = np.array([-1.0, 7.0])
    with pytest.raises(ValueError, match="scaled"):
        NetworkPredictor.from_tensors(tensors, n_features_in=3, n_classes=0)


def test_a_network_beyond_the_bounds_is_refused_before_it_is_packed() -> None:
    """Too many layers, and a thin last layer that packing would blow up."""
    square, bias = np.zeros((1, 1), np.float32), np.zeros(1, np.float32)
    deep = {f"weights_{i}": square for i in range(MOST_LAYERS + 1)}
    deep |= {f"bias_{i}": bias for i in range(MOST_LAYERS + 1)}
    with pytest.raises(ValueError, match="too many layers"):
        NetworkPredictor.from_tensors(deep, n_features_in=1, n_classes=0)
    n_inputs = 7_000_000
    thin = {"weights_0": np.broadcast_to(bias, (n_inputs, 1)), "bias_0": bias}
    with pytest.raises(ValueError, match="too many weights"):
        NetworkPredictor.from_tensors(thin, n_features_in=n_inputs, n_classes=0)


def test_packing_fills_outputs_up_to_whole_vectors() -> None:
    """17 outputs take the room of 32, with a bias for each."""
    assert packed_size((3, 17, 1)) == 4 * 32 + 18 * 16
