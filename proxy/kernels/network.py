"""Score rows by a feed-forward network: products in tiles, activations, what the last layer means.

Owns the order of a row's additions, which depends on nothing but the network: each output's sum
starts with its bias and runs over the inputs one by one, so that a row has the same outputs, bit
for bit, alone and in any batch. Outputs are summed side by side, LANES at a time, and rows ROWS at
a time; neither adds two numbers in another order. Leaves the packing of weights, and their check,
to `proxy.engine.networks.network_predictor`.

Packed weights are one flat float32 array: layer by layer, and within a layer tile by tile of LANES
outputs, the tile's biases and then its weights of each input. A layer's last tile is filled up with
zeros. Nothing here can overflow: inputs are clipped to ±LARGEST_INPUT, activations to
±LARGEST_ACTIVATION, and weights may be ±LARGEST_WEIGHT at most.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic
from numpy.typing import NDArray

from proxy.kernels.activations import RELU, SIGMOID, TANH, gelu, sigmoid, tanh
from proxy.kernels.compilation import INT64, VOID, inner, kernel

LANES = 16
"""Outputs side by side: one vector of AVX-512, two of AVX2, four of NEON."""
ROWS = 4
"""Rows for which a weight is read once: with them the sums of a tile still fit the registers."""
ROWS_PER_PASS = 32
"""Rows that go through all layers together, while their activations are in the cache."""

LARGEST_INPUT = 1e6
"""In standard deviations; a training set of less than 1e12 rows has none so far out."""
LARGEST_ACTIVATION = 1e15
LARGEST_WEIGHT = 1e15
"""Products of the two, a hundred million of them, add up to less than the largest float32."""

_FLOAT32_LIST = types.Array(types.float32, 1, "C", readonly=True)
_WRITABLE_FLOAT32_LIST = types.Array(types.float32, 1, "C")
_INT64_LIST = types.Array(types.int64, 1, "C", readonly=True)
_ROWS = types.Array(types.float64, 2, "C", readonly=True)
_WRITABLE_ROWS = types.Array(types.float64, 2, "C")

# numba's own hints describe an intrinsic as it is written, not as it is called.
_intrinsic: Any = intrinsic
_cgutils: Any = cgutils

_WORD = ir.IntType(64)
_VECTOR = ir.VectorType(ir.FloatType(), LANES)


def _element(context: Any, builder: Any, array_type: Any, array: Any, position: Any) -> Any:
    data = context.make_array(array_type)(context, builder, array).data
    return builder.gep(data, [position])


def _lanes_at(builder: Any, pointer: Any) -> Any:
    return builder.bitcast(pointer, _VECTOR.as_pointer())


def _everywhere(builder: Any, value: Any) -> Any:
    """Return a vector with the value in every lane."""
    undefined = ir.Constant(_VECTOR, ir.Undefined)
    single = builder.insert_element(undefined, value, ir.Constant(ir.IntType(32), 0))
    pattern = ir.Constant(ir.VectorType(ir.IntType(32), LANES), None)
    return builder.shuffle_vector(single, undefined, pattern)


def _tile(n_rows: int) -> Callable[..., Any]:
    """Make the sums of one tile for `n_rows` rows.

    (sources, at, step, weights, at, n_inputs, targets, at, step): rows begin `step` apart. An
    intrinsic, because LLVM would keep the sums of a loop over an array in memory.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> None:
        sources, source_at, source_step, weights, weights_at, n_inputs = arguments[:6]
        targets, target_at, target_step = arguments[6:]
        row_numbers = [ir.Constant(_WORD, row) for row in range(n_rows)]
        rows = [
            _element(
                context,
                builder,
                signature.args[0],
                sources,
                builder.add(source_at, builder.mul(row, source_step)),
            )
            for row in row_numbers
        ]
        tile = _element(context, builder, signature.args[3], weights, weights_at)
        biases = builder.load(_lanes_at(builder, tile), align=4)
        sums = [_cgutils.alloca_once_value(builder, biases) for _ in rows]
        with _cgutils.for_range(builder, n_inputs, intp=_WORD) as loop:
            place = builder.mul(builder.add(loop.index, _WORD(1)), _WORD(LANES))
            own = builder.load(_lanes_at(builder, builder.gep(tile, [place])), align=4)
            for row, total in zip(rows, sums, strict=True):
                value = _everywhere(builder, builder.load(builder.gep(row, [loop.index])))
                # Not fused: a processor without such an instruction would take ages for the bits.
                builder.store(builder.fadd(builder.load(total), builder.fmul(value, own)), total)
        for row, total in zip(row_numbers, sums, strict=True):
            place = builder.add(target_at, builder.mul(row, target_step))
            pointer = _element(context, builder, signature.args[6], targets, place)
            builder.store(builder.load(total), _lanes_at(builder, pointer), align=4)

    def tile(
        _typing: Any,
        sources: Any,
        _source_at: Any,
        _source_step: Any,
        weights: Any,
        _weights_at: Any,
        _n_inputs: Any,
        targets: Any,
        _target_at: Any,
        _target_step: Any,
    ) -> Any:
        def typed(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            generate(context, builder, signature, arguments)
            return context.get_dummy_value()

        word = types.int64
        return types.void(sources, word, word, weights, word, word, targets, word, word), typed

    wrapped: Callable[..., Any] = _intrinsic(tile)
    return wrapped


_sum_rows = _tile(ROWS)
_sum_row = _tile(1)


@inner
def _padded(width: int) -> int:
    return (width + LANES - 1) // LANES * LANES


@inner
def _widest(sizes: NDArray[np.int64]) -> int:
    widest = 0
    for layer in range(sizes.size):
        widest = max(widest, _padded(sizes[layer]))
    return widest


@inner
def _read_row(X: NDArray[np.float64], row: int, scratch: NDArray[np.float32], first: int) -> None:
    """Put a row into the scratch, clipped. NaN, which the contract forbids, reads as 0."""
    for j in range(X.shape[1]):
        value = X[row, j]
        value = value if value == value else 0.0
        scratch[first + j] = np.float32(min(max(value, -LARGEST_INPUT), LARGEST_INPUT))


@inner
def _activate(scratch: NDArray[np.float32], first: int, width: int, activation: int) -> None:
    """Replace the sums of one row by their activations; a loop for each, to be of vectors."""
    none, most = np.float32(0.0), np.float32(LARGEST_ACTIVATION)
    # Unsigned, because of a signed place numba asks whether it counts from the end, each time.
    begin, end = np.uint64(first), np.uint64(first + width)
    if activation == RELU:
        for j in range(begin, end):
            scratch[j] = min(max(scratch[j], none), most)
    elif activation == TANH:
        for j in range(begin, end):
            scratch[j] = tanh(scratch[j])
    elif activation == SIGMOID:
        for j in range(begin, end):
            scratch[j] = sigmoid(scratch[j])
    else:
        for j in range(begin, end):
            scratch[j] = gelu(min(max(scratch[j], -most), most))


@kernel(
    VOID(
        _ROWS,
        _INT64_LIST,
        INT64,
        _FLOAT32_LIST,
        types.float64,
        types.float64,
        _WRITABLE_FLOAT32_LIST,
        _WRITABLE_ROWS,
    )
)
def score_rows(
    X: NDArray[np.float64],
    sizes: NDArray[np.int64],
    activation: int,
    weights: NDArray[np.float32],
    scale: float,
    offset: float,
    scratch: NDArray[np.float32],
    out: NDArray[np.float64],
) -> None:
    """Write the (n_outputs, n_rows) outputs of (n_rows, n_inputs) rows.

    Parameters
    ----------
    sizes : of the inputs, each hidden layer and the outputs
    weights : packed, see the module
    scale, offset : what is done to the last layer's sums
    scratch : for each row that may go through the layers together, twice the widest layer, each
        filled up to whole tiles; room for one row at least
    """
    widest = _widest(sizes)
    together = scratch.size // (2 * widest)
    for first in range(0, X.shape[0], together):
        count = min(together, X.shape[0] - first)
        source, target = 0, together * widest
        for row in range(count):
            _read_row(X, first + row, scratch, row * widest)
        at = 0
        for layer in range(1, sizes.size):
            n_inputs, n_outputs = sizes[layer - 1], sizes[layer]
            for place in range(target, target + n_outputs, LANES):
                row = 0
                while row + ROWS <= count:
                    here, there = source + row * widest, place + row * widest
                    _sum_rows(scratch, here, widest, weights, at, n_inputs, scratch, there, widest)
                    row += ROWS
                while row < count:
                    here, there = source + row * widest, place + row * widest
                    _sum_row(scratch, here, widest, weights, at, n_inputs, scratch, there, widest)
                    row += 1
                at += LANES * (n_inputs + 1)
            if layer < sizes.size - 1:
                for row in range(count):
                    _activate(scratch, target + row * widest, n_outputs, activation)
            source, target = target, source
        for output in range(out.shape[0]):
            for row in range(count):
                out[output, first + row] = scratch[source + row * widest + output] * scale + offset
