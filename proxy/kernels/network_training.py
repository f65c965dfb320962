"""The parts of training a network that are not matrix products: fused, and without a temporary.

Owns activations with their derivatives, losses with theirs, the optimizers' steps, and the random
numbers of shuffling and dropout, which are a hash of a key and a place (splitmix64: Steele, Lea &
Flood 2014, OOPSLA), so that they do not depend on the order in which they are asked for. Leaves
products to BLAS, and the order of everything to `proxy.engine.networks.network_training`.
"""

from __future__ import annotations

import math

import numpy as np
from numba import types
from numpy.typing import NDArray

from proxy.kernels import activations
from proxy.kernels.compilation import INT64, VOID, inner, kernel

_FLOAT64 = types.float64
_LIST = types.Array(types.float32, 1, "C", readonly=True)
_WRITABLE_LIST = types.Array(types.float32, 1, "C")
_WRITABLE_TABLE = types.Array(types.float32, 2, "C")
_CODES = types.Array(types.int64, 1, "C", readonly=True)
_WRITABLE_ORDER = types.Array(types.int64, 1, "C")
_TOTALS = types.Array(types.float64, 1, "C")

GOLDEN = np.uint64(0x9E3779B97F4A7C15)
FIRST_MIX = np.uint64(0xBF58476D1CE4E5B9)
SECOND_MIX = np.uint64(0x94D049BB133111EB)
_30, _27, _31, _32 = np.uint64(30), np.uint64(27), np.uint64(31), np.uint64(32)


@inner
def _hash(key: int, place: int) -> np.uint64:
    """Return 64 random bits, the `place`-th of the key's."""
    word = np.uint64(key) + (np.uint64(place) + np.uint64(1)) * GOLDEN
    word = (word ^ (word >> _30)) * FIRST_MIX
    word = (word ^ (word >> _27)) * SECOND_MIX
    return word ^ (word >> _31)


@kernel(VOID(_WRITABLE_ORDER, INT64))
def shuffle(order: NDArray[np.int64], key: int) -> None:
    """Shuffle less than 2**32 numbers in place (Durstenfeld 1964, Algorithm 235)."""
    for i in range(order.size - 1, 0, -1):
        j = np.int64(((_hash(key, i) >> _32) * np.uint64(i + 1)) >> _32)
        order[i], order[j] = order[j], order[i]


@kernel(VOID(_WRITABLE_TABLE, INT64, INT64, INT64, _FLOAT64))
def draw_mask(mask: NDArray[np.float32], key: int, first_row: int, kept: int, scale: float) -> None:
    """Fill a mask with `scale` for a share kept / 2**32 of its places, 0 for the others.

    Parameters
    ----------
    first_row : of the minibatch, so that the parts of one draw what the whole would
    """
    n_columns = mask.shape[1]
    limit, value, none = np.uint64(kept), np.float32(scale), np.float32(0.0)
    for row in range(mask.shape[0]):
        first = (first_row + row) * n_columns
        for j in range(n_columns):
            mask[row, j] = value if (_hash(key, first + j) >> _32) < limit else none


@kernel(VOID(_WRITABLE_TABLE, _LIST, _WRITABLE_TABLE))
def relu(sums: NDArray[np.float32], bias: NDArray[np.float32], slopes: NDArray[np.float32]) -> None:
    """Replace (n, width) sums by the activations of sums + bias; write the derivatives."""
    none, one = np.float32(0.0), np.float32(1.0)
    for row in range(sums.shape[0]):
        for j in range(bias.size):
            value = sums[row, j] + bias[j]
            sums[row, j] = max(value, none)
            slopes[row, j] = one if value > none else none


@kernel(VOID(_WRITABLE_TABLE, _LIST, _WRITABLE_TABLE))
def tanh(sums: NDArray[np.float32], bias: NDArray[np.float32], slopes: NDArray[np.float32]) -> None:
    """Do as `relu` for the hyperbolic tangent."""
    for row in range(sums.shape[0]):
        for j in range(bias.size):
            value = activations.tanh(sums[row, j] + bias[j])
            sums[row, j] = value
            slopes[row, j] = activations.ONE - value * value


@kernel(VOID(_WRITABLE_TABLE, _LIST, _WRITABLE_TABLE))
def sigmoid(
    sums: NDArray[np.float32], bias: NDArray[np.float32], slopes: NDArray[np.float32]
) -> None:
    """Do as `relu` for 1 / (1 + exp(-z))."""
    for row in range(sums.shape[0]):
        for j in range(bias.size):
            value = activations.sigmoid(sums[row, j] + bias[j])
            sums[row, j] = value
            slopes[row, j] = value * (activations.ONE - value)


@kernel(VOID(_WRITABLE_TABLE, _LIST, _WRITABLE_TABLE))
def gelu(sums: NDArray[np.float32], bias: NDArray[np.float32], slopes: NDArray[np.float32]) -> None:
    """Do as `relu` for z times the normal distribution's probability below z."""
    for row in range(sums.shape[0]):
        for j in range(bias.size):
            value = sums[row, j] + bias[j]
            sums[row, j] = activations.gelu(value)
            slopes[row, j] = activations.gelu_slope(value)


@kernel(VOID(_WRITABLE_TABLE, _LIST, _CODES, _LIST, _TOTALS))
def softmax_loss(
    sums: NDArray[np.float32],
    bias: NDArray[np.float32],
    codes: NDArray[np.int64],
    weights: NDArray[np.float32],
    totals: NDArray[np.float64],
) -> None:
    """Replace (n, n_classes) sums by the derivatives of the log-loss of the softmax of sums + bias.

    Parameters
    ----------
    codes : (n,) classes, each in 0..n_classes - 1
    weights : (n,)
    totals : (2,), out: the sum of the rows' losses times their weights, and the sum of the weights
    """
    loss, weight_sum = 0.0, 0.0
    n_classes = bias.size
    for row in range(sums.shape[0]):
        largest = -np.inf
        for k in range(n_classes):
            sums[row, k] += bias[k]
            largest = max(largest, float(sums[row, k]))
        total = 0.0
        for k in range(n_classes):
            total += math.exp(sums[row, k] - largest)
        weight = float(weights[row])
        own = codes[row]
        loss += weight * (math.log(total) + largest - sums[row, own])
        weight_sum += weight
        for k in range(n_classes):
            share = math.exp(sums[row, k] - largest) / total
            target = 1.0 if k == own else 0.0
            sums[row, k] = np.float32(weight * (share - target))
    totals[0], totals[1] = loss, weight_sum


@kernel(VOID(_WRITABLE_TABLE, _LIST, _CODES, _LIST, _TOTALS))
def logistic_loss(
    sums: NDArray[np.float32],
    bias: NDArray[np.float32],
    codes: NDArray[np.int64],
    weights: NDArray[np.float32],
    totals: NDArray[np.float64],
) -> None:
    """Do as `softmax_loss` for two classes and (n, 1) sums, the log-odds of class 1."""
    loss, weight_sum = 0.0, 0.0
    for row in range(sums.shape[0]):
        score = float(sums[row, 0] + bias[0])
        weight, target = float(weights[row]), float(codes[row])
        smaller = math.exp(-abs(score))  # never overflows
        loss += weight * (math.log1p(smaller) + max(score, 0.0) - target * score)
        weight_sum += weight
        share = (1.0 if score >= 0.0 else smaller) / (1.0 + smaller)
        sums[row, 0] = np.float32(weight * (share - target))
    totals[0], totals[1] = loss, weight_sum


@kernel(VOID(_WRITABLE_TABLE, _LIST, _LIST, _LIST, _TOTALS))
def squared_loss(
    sums: NDArray[np.float32],
    bias: NDArray[np.float32],
    targets: NDArray[np.float32],
    weights: NDArray[np.float32],
    totals: NDArray[np.float64],
) -> None:
    """Do as `softmax_loss` for half the squared error of (n, 1) sums against (n,) targets."""
    loss, weight_sum = 0.0, 0.0
    for row in range(sums.shape[0]):
        error = float(sums[row, 0] + bias[0]) - float(targets[row])
        weight = float(weights[row])
        loss += 0.5 * weight * error * error
        weight_sum += weight
        sums[row, 0] = np.float32(weight * error)
    totals[0], totals[1] = loss, weight_sum


@kernel(VOID(_WRITABLE_LIST, _LIST, _FLOAT64, _FLOAT64, _FLOAT64))
def descend(
    parameters: NDArray[np.float32],
    gradient: NDArray[np.float32],
    scale: float,
    l2: float,
    rate: float,
) -> None:
    """Step down the gradient: `scale` times it, plus `l2` times the parameters."""
    scale_, l2_, rate_ = np.float32(scale), np.float32(l2), np.float32(rate)
    for i in range(parameters.size):
        slope = scale_ * gradient[i] + l2_ * parameters[i]
        parameters[i] -= rate_ * slope


@kernel(VOID(_WRITABLE_LIST, _LIST, _WRITABLE_LIST, _FLOAT64, _FLOAT64, _FLOAT64, _FLOAT64))
def roll(
    parameters: NDArray[np.float32],
    gradient: NDArray[np.float32],
    velocity: NDArray[np.float32],
    scale: float,
    l2: float,
    rate: float,
    momentum: float,
) -> None:
    """Step by Nesterov's momentum (Sutskever et al. 2013, ICML, as scikit-learn rearranges it)."""
    scale_, l2_, rate_ = np.float32(scale), np.float32(l2), np.float32(rate)
    momentum_ = np.float32(momentum)
    for i in range(parameters.size):
        step = rate_ * (scale_ * gradient[i] + l2_ * parameters[i])
        velocity[i] = momentum_ * velocity[i] - step
        parameters[i] += momentum_ * velocity[i] - step


@kernel(
    VOID(
        _WRITABLE_LIST,
        _LIST,
        _WRITABLE_LIST,
        _WRITABLE_LIST,
        _FLOAT64,
        _FLOAT64,
        _FLOAT64,
        _FLOAT64,
        _FLOAT64,
        _FLOAT64,
    )
)
def adapt(
    parameters: NDArray[np.float32],
    gradient: NDArray[np.float32],
    first: NDArray[np.float32],
    second: NDArray[np.float32],
    scale: float,
    l2: float,
    rate: float,
    first_decay: float,
    second_decay: float,
    epsilon: float,
) -> None:
    """Step by Adam (Kingma & Ba 2015, ICLR); the rate has the correction of the moments' bias."""
    scale_, l2_, rate_ = np.float32(scale), np.float32(l2), np.float32(rate)
    keep_first, keep_second = np.float32(first_decay), np.float32(second_decay)
    add_first, add_second = np.float32(1.0 - first_decay), np.float32(1.0 - second_decay)
    epsilon_ = np.float32(epsilon)
    for i in range(parameters.size):
        slope = scale_ * gradient[i] + l2_ * parameters[i]
        first[i] = keep_first * first[i] + add_first * slope
        second[i] = keep_second * second[i] + add_second * slope * slope
        # np.divide, because `/` looks for a zero first, which keeps LLVM from using vectors.
        parameters[i] -= np.divide(rate_ * first[i], math.sqrt(second[i]) + epsilon_)
