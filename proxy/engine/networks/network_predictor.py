"""A trained network that scores rows and can be stored.

Owns the passage from layers to the packed weights that `kernels.network` runs, and the check of
layers that anybody may have made. Training is left to `network_training`, the forms in which
weights are stored to `network_quantization`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import count, pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from proxy.engine.arrays import Matrix
from proxy.engine.networks.activations import ACTIVATIONS, Floats
from proxy.engine.networks.network_quantization import Layer, Storage, stored_as
from proxy.engine.predictors import LOG_ODDS, VALUE, Link, Tensors
from proxy.kernels.network import LANES, LARGEST_WEIGHT, ROWS_PER_PASS, score_rows

MOST_WEIGHTS = 100_000_000
"""Of a network, each layer's outputs filled up to whole vectors: 400 MB."""
MOST_LAYERS = 100
LARGEST_SCRATCH = 1 << 22
"""In float32, 16 MiB: fewer rows go through very wide layers together."""


def packed_size(sizes: Sequence[int]) -> int:
    """Return how many float32 the packed weights of a network are."""
    return sum((inputs + 1) * _filled_up(outputs) for inputs, outputs in pairwise(sizes))


def _filled_up(width: int) -> int:
    return -(-width // LANES) * LANES


class NetworkPredictor:
    """Score rows with a feed-forward network, in float32.

    Parameters
    ----------
    layers : from the inputs' to the outputs'; each takes as many inputs as the one before has
        outputs
    activation : between the layers: 'relu', 'tanh', 'sigmoid' or 'gelu'
    link : VALUE or LOG_ODDS
    scale, offset : of a VALUE, what brings the last layer's sum into the target's units

    Attributes
    ----------
    sizes : of the inputs, each hidden layer and the outputs

    Notes
    -----
    Inputs are standardised columns; those beyond ±1e6 standard deviations count as ±1e6, and
    activations beyond ±1e15 as ±1e15, so that no sum can overflow and no score is NaN.
    """

    def __init__(
        self,
        layers: Sequence[Layer],
        activation: str,
        link: Link,
        scale: float = 1.0,
        offset: float = 0.0,
    ) -> None:
        self.layers = tuple(layers)
        self.activation = activation
        self.link: Link = link
        self.scale, self.offset = scale, offset
        self.sizes = (
            self.layers[0].stored.shape[0],
            *(layer.stored.shape[1] for layer in self.layers),
        )
        self.n_features_in = self.sizes[0]
        self.n_outputs = self.sizes[-1]
        self._sizes = np.array(self.sizes, np.int64)
        self._code = ACTIVATIONS[activation].code
        self._packed = np.concatenate([_packed(layer) for layer in self.layers])
        self._scratch_per_row = 2 * max(map(_filled_up, self.sizes))
        self._together = max(1, min(ROWS_PER_PASS, LARGEST_SCRATCH // self._scratch_per_row))

    def outputs(self, X: Matrix) -> Matrix:
        """Return (n_outputs, n) for a C-contiguous X (n, n_features_in).

        Raises
        ------
        ValueError
            X has another number of columns.
        """
        n_rows, n_columns = X.shape
        if n_columns != self.n_features_in:
            raise ValueError(f"X has {n_columns} columns, not {self.n_features_in}")
        out = np.empty((self.n_outputs, n_rows))
        together = min(max(n_rows, 1), self._together)
        scratch = np.empty(together * self._scratch_per_row, np.float32)
        score_rows(X, self._sizes, self._code, self._packed, self.scale, self.offset, scratch, out)
        return out

    def tensors(self) -> dict[str, NDArray[Any]]:
        """Return the layers in order, the activation's number, and scale and offset."""
        tensors: dict[str, NDArray[Any]] = {}
        for i, layer in enumerate(self.layers):
            tensors[f"weights_{i}"] = layer.stored
            if layer.scales is not None:
                tensors[f"scales_{i}"] = layer.scales
            tensors[f"bias_{i}"] = layer.bias
        tensors["activation"] = np.array([self._code], np.int64)
        tensors["output"] = np.array([self.scale, self.offset])
        return tensors

    @classmethod
    def from_tensors(
        cls, tensors: Tensors, *, n_features_in: int, n_classes: int
    ) -> NetworkPredictor:
        """Rebuild a predictor of arrays that anybody may have made.

        Parameters
        ----------
        n_classes : of a classifier; 0 for a regression

        Raises
        ------
        ValueError, KeyError
            They are not those of a network with so many inputs and classes.
        """
        n_outputs = n_classes if n_classes > 2 else 1
        _check_sizes(tensors, n_features_in, n_outputs)
        layers = list(_layers(tensors))
        names = {code.code: name for name, code in ACTIVATIONS.items()}
        code = _exactly(tensors["activation"], np.int64, (1,))
        scale, offset = _exactly(tensors["output"], np.float64, (2,)).tolist()
        if not (scale >= 0.0 and (n_classes == 0 or (scale, offset) == (1.0, 0.0))):
            raise ValueError("the outputs of the network cannot be scaled so")
        if int(code[0]) not in names:
            raise ValueError("the network has no known activation")
        link = LOG_ODDS if n_classes else VALUE
        predictor = cls(layers, names[int(code[0])], link, scale, offset)
        if set(tensors) != set(predictor.tensors()):
            raise ValueError("there are arrays that are no part of a network")
        return predictor


def quantized(predictor: NetworkPredictor, storage: Storage) -> NetworkPredictor:
    """Return the predictor with its weights stored as 'float32', 'float16' or 'int8'.

    It scores with what is stored, and so does the one that is rebuilt of its tensors.
    """
    return NetworkPredictor(
        [stored_as(layer, storage) for layer in predictor.layers],
        predictor.activation,
        predictor.link,
        predictor.scale,
        predictor.offset,
    )


def _packed(layer: Layer) -> Floats:
    """Return a layer's weights tile by tile, as laid out in `kernels.network`."""
    n_inputs, n_outputs = layer.stored.shape
    filled = np.zeros((n_inputs + 1, _filled_up(n_outputs)), np.float32)
    filled[0, :n_outputs] = layer.bias
    filled[1:, :n_outputs] = layer.weights
    return filled.reshape(n_inputs + 1, -1, LANES).transpose(1, 0, 2).ravel()


def _check_sizes(tensors: Tensors, n_features_in: int, n_outputs: int) -> None:
    """Check how large the layers are, before anything is made of them."""
    sizes = [n_features_in]
    for i in range(_n_layers(tensors)):
        shape = tensors[f"weights_{i}"].shape
        if len(shape) != 2 or shape[0] != sizes[-1] or shape[1] < 1:
            raise ValueError(f"layer {i} of the network does not fit the one before")
        sizes.append(shape[1])
    if len(sizes) < 2 or sizes[-1] != n_outputs or n_features_in < 1:
        raise ValueError("the network has not as many layers or outputs as it should")
    if packed_size(sizes) > MOST_WEIGHTS:
        raise ValueError("the network has too many weights")


def _n_layers(tensors: Tensors) -> int:
    n_layers = next(i for i in count() if f"weights_{i}" not in tensors)
    if n_layers > MOST_LAYERS:
        raise ValueError("the network has too many layers")
    return n_layers


def _layers(tensors: Tensors) -> Iterator[Layer]:
    """Yield the layers, whose shapes are known to be right, and check every number."""
    for i in range(_n_layers(tensors)):
        stored = tensors[f"weights_{i}"]
        n_outputs = stored.shape[1]
        if stored.dtype not in (np.float32, np.float16, np.int8):
            raise ValueError(f"the weights of layer {i} are {stored.dtype}")
        scales = None
        if stored.dtype == np.int8:
            scales = _exactly(tensors[f"scales_{i}"], np.float32, (n_outputs,))
        bias = _exactly(tensors[f"bias_{i}"], np.float32, (n_outputs,))
        layer = Layer(np.ascontiguousarray(stored), bias, scales)
        for values in (layer.weights, bias):
            # NaN compares as false, and so does what overflowed.
            if not (np.abs(values) <= LARGEST_WEIGHT).all():
                raise ValueError(f"layer {i} of the network has a weight that is not a number")
        yield layer


def _exactly(tensor: NDArray[Any], dtype: Any, shape: tuple[int, ...]) -> NDArray[Any]:
    """Return the tensor, contiguous, if it is of that type and shape and finite."""
    if tensor.dtype != dtype or tensor.shape != shape or not np.isfinite(tensor).all():
        raise ValueError(f"a tensor of the network is {tensor.dtype} {tensor.shape}")
    return np.ascontiguousarray(tensor)
