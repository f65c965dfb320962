"""How much memory a network is trained in, told before it is.

Owns the sum over what a fit holds at a time, beside the rows that it reads. The bound of any
network is `network_size`'s.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from proxy.engine.fit_shape import FitShape
from proxy.engine.networks.network_size import estimate_training_bytes, floats_of_a_row
from proxy.engine.networks.network_training import EVALUATION_ROWS
from proxy.engine.networks.neural_network import DEFAULT_HIDDEN_LAYERS, LARGEST_DEFAULT_BATCH
from proxy.engine.preparation.design import BLOCK_SIZE_BYTES, SMALLEST_BLOCK_ROWS

MOMENTS = {"sgd": 0, "momentum": 1, "adam": 2}
"""Numbers that an optimizer remembers of each weight."""


def neural_network_memory(arguments: Mapping[str, Any], shape: FitShape) -> int:
    """Return the bytes that training a network holds at its peak."""
    n_rows, n_columns = shape.n_rows, shape.n_columns
    sizes = (n_columns, *_hidden(arguments), shape.n_classes if shape.n_classes > 2 else 1)
    batch_size = min(int(arguments["batch_size"] or LARGEST_DEFAULT_BATCH), n_rows)
    per_unit = 3 if arguments["dropout"] else 2  # sums, slopes, what is dropped out
    training = estimate_training_bytes(
        sizes, n_rows, batch_size, moments=MOMENTS[arguments["optimizer"]], per_unit=per_unit
    )
    per_row = 2 * 8  # places, and their order
    if not shape.n_classes:
        per_row += 4
    if arguments.get("sample_weight") is not None or arguments.get("class_weight") is not None:
        per_row += 4 + 8 * (shape.n_classes > 0)
    n_held = 0
    if arguments["early_stopping"]:
        n_held = round(arguments["validation_fraction"] * n_rows)
    scoring = 4 * 2 * min(EVALUATION_ROWS, n_held) * floats_of_a_row(sizes, per_unit)
    scoring += n_held * (2 * 4 * sizes[-1] + 6 * 8)
    # The target's mean and spread are measured before there is a matrix.
    measuring = 0 if shape.n_classes else n_rows * (4 * 8 - 4 * n_columns)
    block = max(BLOCK_SIZE_BYTES, 8 * n_columns * SMALLEST_BLOCK_ROWS)
    block = min(block, 8 * n_columns * n_rows)
    return training + max(n_rows * per_row + scoring, measuring) + block


def _hidden(arguments: Mapping[str, Any]) -> tuple[int, ...]:
    """Return the sizes of the hidden layers, by whichever of two parameters they are given."""
    if arguments.get("hidden_layers") is not None:
        return tuple(arguments["hidden_layers"])
    if arguments.get("layers") is not None:
        return tuple(arguments["layers"][1:-1])
    return DEFAULT_HIDDEN_LAYERS
