"""How a network's parameters follow their gradient: plain descent, momentum, Adam.

Owns the steps' constants, which are scikit-learn's, and what an optimizer remembers between steps.
The loops over parameters are in `kernels.network_training`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

import numpy as np

from proxy.engine.networks.activations import Floats
from proxy.kernels import network_training as kernel

MOMENTUM = 0.9
FIRST_DECAY, SECOND_DECAY, EPSILON = 0.9, 0.999, 1e-8  # Kingma & Ba (2015), Algorithm 1
CACHE_LINE_BYTES = 64


class Optimizer(Protocol):
    """Moves parameters against their gradient.

    Attributes
    ----------
    learning_rate : may be changed between steps
    """

    learning_rate: float

    def step(self, parameters: Floats, gradient: Floats, *, scale: float, decay: float) -> None:
        """Change the parameters in place.

        Parameters
        ----------
        gradient : of the loss alone
        scale : what the gradient is multiplied by
        decay : of the first parameters, the weights; it times a weight is added to its gradient
        """

    def forget(self) -> None:
        """Be as before the first step, but for the learning rate."""


def aligned(*shape: int) -> Floats:
    """Return zeros that begin where a line of the cache does.

    With AVX-512 a vector that lies across two lines costs a load more: Adam's step takes 2.8 times
    as long on arrays as numpy aligns them (110 k parameters).
    """
    size = int(np.prod(shape, dtype=np.int64))
    raw = np.zeros(4 * size + CACHE_LINE_BYTES, np.uint8)
    first = -raw.ctypes.data % CACHE_LINE_BYTES
    return raw[first : first + 4 * size].view(np.float32).reshape(shape)


class Descent:
    """Plain stochastic gradient descent."""

    def __init__(self, n_weights: int, n_parameters: int, learning_rate: float) -> None:
        self.learning_rate = learning_rate
        self._parts = _parts(n_weights, n_parameters)

    def step(self, parameters: Floats, gradient: Floats, *, scale: float, decay: float) -> None:
        """Subtract the learning rate times the gradient."""
        for part, l2 in zip(self._parts, (decay, 0.0), strict=True):
            kernel.descend(parameters[part], gradient[part], scale, l2, self.learning_rate)

    def forget(self) -> None:
        """Do nothing: nothing is remembered."""


class Momentum:
    """Descent with Nesterov's momentum of 0.9."""

    def __init__(self, n_weights: int, n_parameters: int, learning_rate: float) -> None:
        self.learning_rate = learning_rate
        self.velocity = aligned(n_parameters)
        self._parts = _parts(n_weights, n_parameters)

    def step(self, parameters: Floats, gradient: Floats, *, scale: float, decay: float) -> None:
        """Add the velocity, looking one step ahead."""
        rate = self.learning_rate
        for part, l2 in zip(self._parts, (decay, 0.0), strict=True):
            velocity = self.velocity[part]
            kernel.roll(parameters[part], gradient[part], velocity, scale, l2, rate, MOMENTUM)

    def forget(self) -> None:
        """Stand still."""
        self.velocity.fill(0.0)


class Adam:
    """Adaptive moments: each parameter's step is about the learning rate, whatever its gradient."""

    def __init__(self, n_weights: int, n_parameters: int, learning_rate: float) -> None:
        self.learning_rate = learning_rate
        self.n_steps = 0
        self.first = aligned(n_parameters)
        self.second = aligned(n_parameters)
        self._parts = _parts(n_weights, n_parameters)

    def step(self, parameters: Floats, gradient: Floats, *, scale: float, decay: float) -> None:
        """Subtract the first moment over the root of the second, both corrected for their start."""
        self.n_steps += 1
        correction = (1.0 - SECOND_DECAY**self.n_steps) ** 0.5 / (1.0 - FIRST_DECAY**self.n_steps)
        rate = self.learning_rate * correction
        for part, l2 in zip(self._parts, (decay, 0.0), strict=True):
            kernel.adapt(
                parameters[part],
                gradient[part],
                self.first[part],
                self.second[part],
                scale,
                l2,
                rate,
                FIRST_DECAY,
                SECOND_DECAY,
                EPSILON,
            )

    def forget(self) -> None:
        """Begin the moments anew."""
        self.n_steps = 0
        self.first.fill(0.0)
        self.second.fill(0.0)


OPTIMIZERS: Mapping[str, Callable[[int, int, float], Optimizer]] = {
    "sgd": Descent,
    "momentum": Momentum,
    "adam": Adam,
}
"""Each is made of the number of weights, that of all parameters, and the learning rate."""


def _parts(n_weights: int, n_parameters: int) -> tuple[slice, slice]:
    """Return where the weights are, which decay, and the biases behind them, which do not."""
    return slice(0, n_weights), slice(n_weights, n_parameters)
