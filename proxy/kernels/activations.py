"""The smooth activations of networks in float32, for use inside the other kernels.

Owns an exponential of additions and products alone, and what is made of it. LLVM turns a loop over
it into vectors, which it cannot do with a call of the C library for each number: a tenth of the
time. Each number goes through the same operations at any place of a vector, so the bits are the
same. Errors are a few units of the last place of 1, as float32's own.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from proxy.kernels.compilation import inner

Float32: TypeAlias = Any
"""numba's; numpy's hints make a float64 of its sums."""

RELU, TANH, SIGMOID, GELU = range(4)

# numba's own hints describe an intrinsic as it is written, not as it is called.
_intrinsic: Any = intrinsic

ZERO, HALF, ONE, TWO = (np.float32(value) for value in (0.0, 0.5, 1.0, 2.0))
LOWEST, HIGHEST = np.float32(-87.0), np.float32(88.0)
"""Between them the exponential is a normal float32."""
PER_LOG_2 = np.float32(1.0 / np.log(2.0))
LOG_2_HIGH = np.float32(0.693359375)  # 355/512: its product with an exponent is exact
LOG_2_LOW = np.float32(np.log(2.0) - 0.693359375)
ROUNDING = np.float32(1.5 * 2.0**23)
"""Added to a small number, it leaves the nearest integer in the lowest bits."""
T2, T3, T4, T5, T6, T7 = (np.float32(1.0 / k) for k in (2, 6, 24, 120, 720, 5040))

ROOT_HALF = np.float32(0.5**0.5)
NORMAL_DENSITY = np.float32((2.0 * np.pi) ** -0.5)
# Abramowitz & Stegun (1964), 7.1.26: erf to 1.5e-7.
P = np.float32(0.3275911)
A1, A2, A3, A4, A5 = (
    np.float32(value)
    for value in (0.254829592, -0.284496736, 1.421413741, -1.453152027, 1.061405429)
)


@_intrinsic
def _power_of_two(_typing: Any, _rounded: Any) -> Any:
    """Return 2**n for the float32 ROUNDING + n."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        word = ir.IntType(32)
        bits = builder.bitcast(arguments[0], word)
        # The shift leaves n + 127 in the exponent's place and pushes ROUNDING's bits out.
        exponent = builder.shl(builder.add(bits, ir.Constant(word, 127)), ir.Constant(word, 23))
        return builder.bitcast(exponent, ir.FloatType())

    return types.float32(types.float32), generate


@inner
def exponential(value: Float32) -> Float32:
    """Return exp of a float32, which is cut to LOWEST..HIGHEST."""
    value = min(max(value, LOWEST), HIGHEST)
    rounded = value * PER_LOG_2 + ROUNDING
    exponent = rounded - ROUNDING
    rest = (value - exponent * LOG_2_HIGH) - exponent * LOG_2_LOW
    # Taylor's series; |rest| is log(2)/2 at most, and the next term 5e-9.
    series = ((((T7 * rest + T6) * rest + T5) * rest + T4) * rest + T3) * rest + T2
    return (ONE + rest + series * rest * rest) * _power_of_two(rounded)


@inner
def tanh(value: Float32) -> Float32:
    """Return the hyperbolic tangent of a float32."""
    shrunk = exponential(-TWO * abs(value))
    # np.divide, because `/` looks for a zero first, which keeps LLVM from using vectors.
    size = np.divide(ONE - shrunk, ONE + shrunk)
    return size if value >= ZERO else -size


@inner
def sigmoid(value: Float32) -> Float32:
    """Return 1 / (1 + exp(-value)) of a float32."""
    return np.divide(ONE, ONE + exponential(-value))


@inner
def _upper_tail(value: Float32, bell: Float32) -> Float32:
    """Return the normal distribution's probability beyond |value|; `bell` is exp(-value**2 / 2)."""
    t = np.divide(ONE, ONE + P * (abs(value) * ROOT_HALF))
    return HALF * bell * t * ((((A5 * t + A4) * t + A3) * t + A2) * t + A1)


@inner
def gelu(value: Float32) -> Float32:
    """Return a float32 times the normal distribution's probability below it."""
    tail = _upper_tail(value, exponential(-HALF * value * value))
    return value * (ONE - tail if value >= ZERO else tail)


@inner
def gelu_slope(value: Float32) -> Float32:
    """Return the derivative of `gelu`."""
    bell = exponential(-HALF * value * value)
    tail = _upper_tail(value, bell)
    return (ONE - tail if value >= ZERO else tail) + value * NORMAL_DENSITY * bell
