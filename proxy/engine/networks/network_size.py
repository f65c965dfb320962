"""How large a network may be, and whether the layers that somebody names fit the data.

Owns the bounds of training and the words for a network beyond them. The bound of a stored network
is `network_predictor`'s.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from proxy.engine.networks.network_predictor import MOST_LAYERS, MOST_WEIGHTS, packed_size
from proxy.engine.networks.network_training import shard_count
from proxy.errors import InvalidParameterError, TooLargeError

MOST_TRAINING_BYTES = 1 << 33
"""8 GiB: of rows, weights, the optimizer's state and a minibatch's activations."""


def check_layers(layers: Sequence[int], n_inputs: int, n_outputs: int) -> tuple[int, ...]:
    """Return the sizes of the hidden layers of `layers`, which names the two ends as well.

    Parameters
    ----------
    layers : the inputs, each hidden layer, the outputs
    n_inputs : of the data, an array's elements each; how they are encoded is not asked
    n_outputs : 1 for a regression, else the number of classes; two may be given one output or two

    Raises
    ------
    InvalidParameterError
        22023: an end is not what the data have, or there are not two of them.
    """
    hidden = tuple(layers[1:-1])
    right = f"[{', '.join(map(str, (n_inputs, *hidden, n_outputs)))}]"
    hint = (
        f"Write layers: {right}, or hidden_layers: {list(hidden)}, which leaves both ends to the "
        "data."
    )
    if len(layers) < 2:
        raise InvalidParameterError(
            f"layers has {len(layers)} of the two numbers that it needs",
            detail="It names the input columns, the size of each hidden layer, and the outputs.",
            hint=hint,
        )
    if layers[0] != n_inputs:
        raise InvalidParameterError(
            f"layers begins with {layers[0]}, but the data has {plural(n_inputs, 'input')}",
            detail="A number, a boolean, a time or a text is one input, an array as many as it has "
            "elements.",
            hint=hint,
        )
    if layers[-1] != n_outputs and (n_outputs, layers[-1]) != (2, 1):
        target = "a regression has 1 output"
        if n_outputs > 1:
            target = f"the target has {n_outputs} classes"
        raise InvalidParameterError(f"layers ends with {layers[-1]}, but {target}", hint=hint)
    return hidden


def estimate_weights(sizes: Sequence[int]) -> int:
    """Return the number of weights and biases of a network with layers of these sizes."""
    return sum((inputs + 1) * outputs for inputs, outputs in pairwise(sizes))


def estimate_training_bytes(
    sizes: Sequence[int], n_samples: int, batch_size: int, *, moments: int = 2, per_unit: int = 3
) -> int:
    """Return the memory that training takes: what grows with rows, weights, a minibatch.

    Parameters
    ----------
    moments, per_unit : numbers that the optimizer keeps of each weight, and a minibatch of a row in
        each hidden unit; by default the most
    """
    # Itself, the best, the one before and that of the model, once more packed; gradients, two more
    # for a last minibatch of another size.
    copies = 6 + moments + 2 * shard_count(batch_size)
    batches = 2 * batch_size * floats_of_a_row(sizes, per_unit)
    return 4 * (n_samples * sizes[0] + copies * estimate_weights(sizes) + batches)


def floats_of_a_row(sizes: Sequence[int], per_unit: int) -> int:
    """Return the numbers that a minibatch holds of a row: inputs, hidden units, outputs."""
    return sizes[0] + per_unit * sum(sizes[1:-1]) + sizes[-1] + 4


def check_size(sizes: Sequence[int], n_samples: int, batch_size: int) -> None:
    """Refuse a network that is too large to hold or to train.

    Parameters
    ----------
    sizes : of the inputs, each hidden layer and the outputs
    n_samples, batch_size : what it is to be trained on

    Raises
    ------
    TooLargeError
        54000: it has more than 100 M weights or 100 layers, or training takes more than 8 GiB.
    """
    n_weights = estimate_weights(sizes)
    size_bytes = estimate_training_bytes(sizes, n_samples, batch_size)
    is_small = packed_size(sizes) <= MOST_WEIGHTS and size_bytes <= MOST_TRAINING_BYTES
    if is_small and len(sizes) <= MOST_LAYERS + 1:
        return
    raise TooLargeError(
        f"the network would have {n_weights:,} weights in {plural(len(sizes) - 1, 'layer')}",
        detail=f"Training on {n_samples:,} rows would take {size_bytes / 2**30:.1f} GiB, the "
        f"optimizer's state included. A network may have {MOST_WEIGHTS:,} weights, {MOST_LAYERS} "
        f"layers and {MOST_TRAINING_BYTES >> 30} GiB at most.",
        hint="Choose smaller hidden_layers or a smaller batch_size, or train on fewer rows or "
        "columns.",
    )


def plural(count: int, noun: str) -> str:
    """Return a count of things in words."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
