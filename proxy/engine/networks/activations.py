"""The functions between a network's layers.

Owns their names, their numbers in a stored model, how wide weights begin for each, and how training
applies them: value and derivative in one go, into buffers that are there. How scoring applies them
is `kernels.network`'s.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from proxy.kernels import activations as kernel
from proxy.kernels import network_training

Floats: TypeAlias = NDArray[np.float32]
"""float32 of any shape: what a network is trained in."""

Forward: TypeAlias = Callable[[Floats, Floats, Floats], None]
"""(sums, bias, slopes): replaces (n, width) sums by the activations of sums + bias, (width,), and
writes the activations' derivatives by the sums."""


@dataclass(frozen=True, slots=True)
class Activation:
    """One of them.

    Attributes
    ----------
    code : its number in `kernels.network` and in a stored model
    spread : weights begin uniform within ±sqrt(spread / (inputs + outputs)); 6 keeps the variance
        of activations and gradients alike over layers (Glorot & Bengio 2010, AISTATS), 2 is what
        scikit-learn has for the sigmoid
    """

    name: str
    code: int
    spread: float
    forward: Forward


ACTIVATIONS: Mapping[str, Activation] = {
    each.name: each
    for each in (
        Activation("relu", kernel.RELU, 6.0, network_training.relu),
        Activation("tanh", kernel.TANH, 6.0, network_training.tanh),
        Activation("sigmoid", kernel.SIGMOID, 2.0, network_training.sigmoid),
        Activation("gelu", kernel.GELU, 6.0, network_training.gelu),
    )
}
