"""The numbers that training a network changes, and those that it draws.

Owns the layout of weights and biases in one array, the weights that training begins with, and
random numbers that no version of numpy changes. What changes the numbers is in `network_training`.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from proxy.engine.networks.activations import Floats
from proxy.engine.networks.network_predictor import NetworkPredictor
from proxy.engine.networks.optimizers import aligned
from proxy.errors import InvalidParameterError


class Parameters:
    """The weights and biases of a network, in one flat array with views of its parts.

    Attributes
    ----------
    flat : (n_parameters,), every weight, layer by layer, then every bias
    weights : for each layer (n_inputs, n_outputs)
    biases : for each layer (n_outputs,)
    """

    def __init__(self, sizes: Sequence[int]) -> None:
        self.sizes = tuple(sizes)
        self.n_weights = sum(inputs * outputs for inputs, outputs in pairwise(sizes))
        self.flat = aligned(self.n_weights + sum(sizes[1:]))
        self.weights: list[Floats] = []
        self.biases: list[Floats] = []
        first, first_bias = 0, self.n_weights
        for inputs, outputs in pairwise(sizes):
            last, last_bias = first + inputs * outputs, first_bias + outputs
            self.weights.append(self.flat[first:last].reshape(inputs, outputs))
            self.biases.append(self.flat[first_bias:last_bias])
            first, first_bias = last, last_bias

    def begin(self, random: RandomStream, spread: float) -> None:
        """Draw weights and biases as scikit-learn does: uniform, by the size of the layer."""
        for weights, bias in zip(self.weights, self.biases, strict=True):
            bound = (spread / sum(weights.shape)) ** 0.5
            weights[...] = random.uniform(weights.size, bound).reshape(weights.shape)
            bias[...] = random.uniform(bias.size, bound)

    def continue_from(
        self, other: NetworkPredictor, activation: str, scale: float, offset: float
    ) -> None:
        """Copy another network's weights, its last layer's for outputs in other units.

        Parameters
        ----------
        activation : of this network
        scale, offset : what its outputs are multiplied by, and what is added

        Raises
        ------
        InvalidParameterError
            22023: it has other layers, or another activation.
        """
        if (other.sizes, other.activation) != (self.sizes, activation):
            raise InvalidParameterError(
                "the network to begin from is another",
                detail=f"It has layers {list(other.sizes)} and activation '{other.activation}'; "
                f"this one has layers {list(self.sizes)} and '{activation}'.",
            )
        for layer, weights, bias in zip(other.layers, self.weights, self.biases, strict=True):
            weights[...] = layer.weights
            bias[...] = layer.bias
        if scale > 0.0 and (other.scale, other.offset) != (scale, offset):
            self.weights[-1] *= other.scale / scale
            self.biases[-1] *= other.scale / scale
            self.biases[-1] += (other.offset - offset) / scale


class RandomStream:
    """Random numbers that are the same for a seed under every version of numpy."""

    def __init__(self, seed: int) -> None:
        self._bits = np.random.PCG64(seed)

    def uniform(self, size: int, bound: float) -> Floats:
        """Return (size,) float32, uniform within ±bound."""
        words = self._bits.random_raw(size) >> np.uint64(11)
        return ((words * 2.0**-52 - 1.0) * bound).astype(np.float32)

    def key(self) -> int:
        """Return a key for the hashes of the kernels."""
        return int(self._bits.random_raw()) >> 1
