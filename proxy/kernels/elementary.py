"""Exponentials, logarithms and quotients that become vector instructions where a loop allows it.

Owns polynomials without a branch, good to a few units in the last place; the library's functions
are calls, one for each number (measured: a pass with one of each takes five times as long). Every
step is rounded as written, so the bits are the same whatever vectors a processor has.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from proxy.kernels.compilation import inner

LARGEST_EXPONENT = 700.0
"""`exp` takes no argument beyond it, or below its negative."""

_LOG2_E = 1.4426950408889634
_LN2_HIGH, _LN2_LOW = 6.93147180369123816490e-01, 1.90821492927058770002e-10
_ROUNDER = 6755399441055744.0  # 1.5 * 2^52: adding it leaves a whole number in the low bits

_intrinsic: Any = intrinsic


@_intrinsic
def _power_of_two(_typing: Any, _rounded: Any) -> Any:
    """Return 2^n for n + _ROUNDER, n from -1022 to 1023."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        word = ir.IntType(64)
        bits = builder.bitcast(arguments[0], word)
        # The rounder's own low bits are 0, so that n is all that is left of them.
        biased = builder.add(bits, ir.Constant(word, 1023))
        return builder.bitcast(builder.shl(biased, ir.Constant(word, 52)), ir.DoubleType())

    return types.float64(types.float64), generate


@_intrinsic
def quotient(_typing: Any, _dividend: Any, _divisor: Any) -> Any:
    """Return dividend / divisor; Python's own division asks for 0 first, in a branch."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.fdiv(*arguments)

    return types.float64(types.float64, types.float64), generate


@inner
def exp(x: float) -> float:
    """Return e^x, x from -700 to 700: 2^n times a Taylor polynomial on what is left."""
    rounded = x * _LOG2_E + _ROUNDER
    n = rounded - _ROUNDER
    r = (x - n * _LN2_HIGH) - n * _LN2_LOW
    p = 1.6059043836821613e-10
    p = p * r + 2.08767569878681e-09
    p = p * r + 2.505210838544172e-08
    p = p * r + 2.755731922398589e-07
    p = p * r + 2.7557319223985893e-06
    p = p * r + 2.48015873015873e-05
    p = p * r + 0.0001984126984126984
    p = p * r + 0.001388888888888889
    p = p * r + 0.008333333333333333
    p = p * r + 0.041666666666666664
    p = p * r + 0.16666666666666666
    p = p * r + 0.5
    p = p * r + 1.0
    p = p * r + 1.0
    return float(p * _power_of_two(rounded))


@inner
def log1p(e: float) -> float:
    """Return log(1 + e), e from 0 to 1: the series of 2 artanh(e / (2 + e)), up to 1e-14."""
    s = quotient(e, 2.0 + e)
    square = s * s
    p = 1.0 / 27.0
    p = p * square + 1.0 / 25.0
    p = p * square + 1.0 / 23.0
    p = p * square + 1.0 / 21.0
    p = p * square + 1.0 / 19.0
    p = p * square + 1.0 / 17.0
    p = p * square + 1.0 / 15.0
    p = p * square + 1.0 / 13.0
    p = p * square + 1.0 / 11.0
    p = p * square + 1.0 / 9.0
    p = p * square + 1.0 / 7.0
    p = p * square + 1.0 / 5.0
    p = p * square + 1.0 / 3.0
    return float(2.0 * s * (p * square + 1.0))
