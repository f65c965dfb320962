"""What a network learns: rows in float32, the loss of each task, and how well rows are predicted.

Owns the passage of a design into float32, the choice of the held-out rows of early stopping, and
the score of those. The loop that learns is `network_training`'s.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from proxy.engine.arrays import Codes, Matrix, Vector
from proxy.engine.networks.activations import Floats
from proxy.engine.networks.optimizers import aligned
from proxy.engine.preparation.design import Design, rows_per_block
from proxy.errors import NoTrainingRowsError
from proxy.kernels import network_training as kernel
from proxy.kernels.network import LARGEST_INPUT

Differentiate: TypeAlias = Callable[[Floats, Floats, NDArray[Any], Floats, Vector], None]


@dataclass(frozen=True, slots=True)
class Loss:
    """What is minimised.

    Attributes
    ----------
    differentiate : (sums, bias, targets, weights, totals): replaces (n, n_outputs) sums by the
        derivatives of the loss, writes the sums of weighted losses and of weights into totals
    target_type : of the targets
    """

    differentiate: Differentiate
    target_type: type[np.int64 | np.float32]


SOFTMAX = Loss(kernel.softmax_loss, np.int64)
LOGISTIC = Loss(kernel.logistic_loss, np.int64)
SQUARED = Loss(kernel.squared_loss, np.float32)


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows to learn from, or to be measured on.

    Attributes
    ----------
    X : (n, n_inputs)
    targets : (n,), classes as int64 or values as float32
    weights : (n,), or None for ones
    """

    X: Floats
    targets: NDArray[Any]
    weights: Floats | None


def narrowed(X: Design | Matrix) -> Floats:
    """Return all rows (n_samples, n_columns) as float32, clipped as scoring clips them."""
    if isinstance(X, np.ndarray):
        out = aligned(*X.shape)
        np.clip(X, -LARGEST_INPUT, LARGEST_INPUT, out=out, casting="same_kind")
        return out
    n_rows, n_columns = X.n_samples, len(X.mean)
    out = aligned(n_rows, n_columns)
    size = min(rows_per_block(max(n_columns, 1)), n_rows)
    buffer = np.empty(n_columns * size)
    for start in range(0, n_rows, size):
        stop = min(start + size, n_rows)
        block = buffer[: n_columns * (stop - start)].reshape(n_columns, stop - start)
        X.fill(start, stop, block)
        np.clip(block, -LARGEST_INPUT, LARGEST_INPUT, out=block)
        out[start:stop] = block.T
    return out


def relative(weights: Vector | None) -> Floats | None:
    """Return weights with a mean of 1; None for None.

    Raises
    ------
    NoTrainingRowsError
        ML001: all are 0.
    """
    if weights is None:
        return None
    largest = float(weights.max(initial=0.0))
    if largest <= 0.0:
        raise NoTrainingRowsError("every row has a weight of 0")
    shares = weights / largest
    return np.asarray((shares / shares.mean()).astype(np.float32))


def held_out_places(
    n_samples: int, codes: Codes | None, share: float, key: int
) -> tuple[Codes, Codes]:
    """Return the places of the rows to learn from and of those held out, both ascending.

    Rows are shuffled, ordered by class, and taken at equal distances: each class has its share. One
    row at least is held out, and one kept, of two rows or more.
    """
    order = np.arange(n_samples)
    kernel.shuffle(order, key)
    if codes is not None:
        order = order[np.argsort(codes[order], kind="stable")]
    n_held = min(max(round(share * n_samples), 1), n_samples - 1)
    is_held = np.zeros(n_samples, np.bool_)
    middles = (2 * np.arange(n_held) + 1) * n_samples // (2 * max(n_held, 1))
    is_held[order[middles]] = True
    return np.flatnonzero(~is_held), np.flatnonzero(is_held)


def score(loss: Loss, rows: Rows, places: Codes, sums: Floats) -> float:
    """Return the accuracy, or the R2 of values, of (n, n_outputs) outputs for the rows there."""
    weights = np.ones(len(sums))
    if rows.weights is not None:
        weights = rows.weights[places].astype(np.float64)
    targets = rows.targets[places]
    total = max(float(weights.sum()), 1e-300)
    if loss is SQUARED:
        targets = targets.astype(np.float64)
        mean = float(weights @ targets) / total
        residual = float(weights @ np.square(targets - sums[:, 0]))
        spread = float(weights @ np.square(targets - mean))
        return 1.0 - residual / spread if spread > 0 else -residual / total
    predicted = sums[:, 0] > 0 if loss is LOGISTIC else sums.argmax(axis=1)
    return float(weights @ (predicted == targets)) / total
