"""A layer's weights as they are stored: float32, or smaller and a little coarser.

Owns the three forms and the way from each to the float32 that scores. Nothing is computed in a
small form: it saves room in the database and on the way, not time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from proxy.engine.networks.activations import Floats

Storage: TypeAlias = Literal["float32", "float16", "int8"]

LARGEST_FLOAT16 = float(np.finfo(np.float16).max)
LARGEST_INT8 = 127
"""-128 is left out, so that a weight and its negative are stored alike."""


@dataclass(frozen=True, slots=True)
class Layer:
    """The weights and biases of a layer.

    Attributes
    ----------
    stored : (n_inputs, n_outputs), float32, float16 or int8
    bias : (n_outputs,) float32
    scales : (n_outputs,) float32, what an int8 of each output's column is multiplied by; else None
    """

    stored: NDArray[Any]
    bias: Floats
    scales: Floats | None = None

    @property
    def weights(self) -> Floats:
        """Return the (n_inputs, n_outputs) float32 weights that scoring uses."""
        weights = self.stored.astype(np.float32)
        if self.scales is not None:
            with np.errstate(over="ignore"):  # infinite weights are refused where they are read
                weights *= self.scales
        return weights


def stored_as(layer: Layer, storage: Storage) -> Layer:
    """Return the layer with its weights, as they now score, in another form.

    float16 keeps 11 bits of each weight and cuts those beyond ±65504; int8 has 255 steps between
    the largest weight of an output's column and its negative. Biases stay as they are.
    """
    weights = layer.weights
    if storage == "float32":
        return Layer(weights, layer.bias)
    if storage == "float16":
        clipped = np.clip(weights, -LARGEST_FLOAT16, LARGEST_FLOAT16)
        return Layer(clipped.astype(np.float16), layer.bias)
    scales = np.abs(weights).max(axis=0, initial=0.0) / np.float32(LARGEST_INT8)
    steps = np.divide(weights, scales, out=np.zeros_like(weights), where=scales > 0)
    clipped = np.clip(np.rint(steps), -LARGEST_INT8, LARGEST_INT8)
    return Layer(clipped.astype(np.int8), layer.bias, scales)
