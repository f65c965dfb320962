"""Write a float64 as PostgreSQL's float8out does with extra_float_digits = 1, its default.

Owns the shortest digits that read back as the same number and their layout; leaves where the
text goes to `splice`.

The digits are found by Schubfach: R. Giulietti, "The Schubfach way to render doubles" (2020),
with powers of ten of 128 bits. As PostgreSQL does (ryu_common.h, STRICTLY_SHORTEST = 0), the ends
of the rounding interval are left out, even where a reader that rounds ties to even would accept
them: 1e23 is written 9.999999999999999e+22.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from proxy.kernels.compilation import FLOATS, OFFSETS, VOID, WRITABLE_BYTES, inner, kernel
from proxy.kernels.memory import float64_bits, multiply_high, signed, store_pair, store_uint8

MAX_FLOAT8_SIZE = 24  # of -1.2345678901234567e-308

# 10**-k for every k that a float64 can need.
_SMALLEST_POWER = -292
_LARGEST_POWER = 324


def _powers_of_ten() -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """Return the upper and lower halves of g(e), the 128 leading bits of 10**e, rounded up.

    g(e) = floor(10**e * 2**-r) + 1 with r such that 2**127 <= g < 2**128; exact powers (0 <= e
    <= 55) are not rounded.
    """
    powers = []
    for exponent in range(_SMALLEST_POWER, _LARGEST_POWER + 1):
        power = 10 ** abs(exponent)
        if exponent >= 0:
            shift = power.bit_length() - 128
            leading = power << -shift if shift <= 0 else (power >> shift) + 1
        else:
            leading = (1 << (127 + power.bit_length())) // power + 1
        powers.append(leading)
    high = np.array([power >> 64 for power in powers], np.uint64)
    low = np.array([power & (2**64 - 1) for power in powers], np.uint64)
    return high, low


_POWER_HIGH, _POWER_LOW = _powers_of_ten()
_PAIRS = np.frombuffer(b"".join(b"%02d" % number for number in range(100)), np.uint16).copy()
_POWERS_UINT64 = np.array([10**exponent for exponent in range(20)], np.uint64)

_FRACTION_BITS = 52
_FRACTION_MASK = np.uint64((1 << 52) - 1)
_HIDDEN_BIT = np.uint64(1 << 52)
_EXPONENT_MASK = 0x7FF
_EXPONENT_BIAS = 1075  # of the integer significand: value = significand * 2**(exponent - 1075)

_ZERO = np.uint64(0)
_ONE = np.uint64(1)
_TWO = np.uint64(2)
_TEN = np.uint64(10)
_FORTY = np.uint64(40)
_HUNDRED = np.uint64(100)
_HUNDRED_MILLION = np.uint64(10**8)


@inner
def _floor_log10(q: int, three_quarters: bool) -> int:
    """Return floor(log10(2**q)), or that of 3/4 * 2**q, for -1074 <= q <= 971."""
    # log10(2) and -log10(3/4), times 2**22.
    return (q * 1262611 - (524031 if three_quarters else 0)) >> 22


@inner
def _floor_log2(exponent: int) -> int:
    """Return floor(log2(10**exponent)) for -292 <= exponent <= 324."""
    # log2(10) times 2**19.
    return (exponent * 1741647) >> 19


@inner
def _round_to_odd(high: np.uint64, low: np.uint64, factor: np.uint64) -> np.uint64:
    """Return the upper 64 bits of the 192-bit product; the lowest is set if bits were lost."""
    middle = high * factor
    total = middle + multiply_high(low, factor)
    carry = _ONE if total < middle else _ZERO
    sticky = _ONE if total > _ONE else _ZERO
    return np.uint64((multiply_high(high, factor) + carry) | sticky)


@inner
def _shortest(bits: np.uint64) -> tuple[np.uint64, int]:
    """Return (digits, exponent), the shortest decimal strictly inside the rounding interval.

    The value is digits * 10**exponent; of several shortest ones the closest. The bits are those
    of a positive finite number. The names are the paper's where it has one: q, k, h, s.
    """
    fraction = bits & _FRACTION_MASK
    biased: int = signed(bits >> np.uint64(_FRACTION_BITS)) & _EXPONENT_MASK
    significand = fraction | _HIDDEN_BIT if biased != 0 else fraction
    q = max(biased, 1) - _EXPONENT_BIAS
    # Below a power of two the neighbours are half as far apart as above it.
    irregular = bool(fraction == _ZERO and biased > 1)
    k = _floor_log10(q, irregular)
    h = q + _floor_log2(-k) + 1
    high = _POWER_HIGH[-k - _SMALLEST_POWER]
    low = _POWER_LOW[-k - _SMALLEST_POWER]
    shift = np.uint64(h)
    centre = significand << _TWO
    middle = _round_to_odd(high, low, centre << shift)
    below = _round_to_odd(high, low, (centre - (_ONE if irregular else _TWO)) << shift)
    above = _round_to_odd(high, low, (centre + _TWO) << shift)
    # The ends themselves are outside, see the head of the module.
    lower = below + _ONE
    upper = above - _ONE
    s = middle >> _TWO
    if s >= _TEN:
        shorter = s // _TEN
        under_inside = lower <= _FORTY * shorter
        over_inside = _FORTY * shorter + _FORTY <= upper
        if under_inside != over_inside:
            return shorter + (_ONE if over_inside else _ZERO), k + 1
    under_inside = lower <= s << _TWO
    over_inside = (s + _ONE) << _TWO <= upper
    if under_inside != over_inside:
        return s + (_ONE if over_inside else _ZERO), k
    halfway = (s << _TWO) + _TWO
    round_up = middle > halfway or (middle == halfway and (s & _ONE) != _ZERO)
    return s + (_ONE if round_up else _ZERO), k


@inner
def _without_trailing_zeros(digits: np.uint64, exponent: int) -> tuple[np.uint64, int]:
    quotient = digits // _HUNDRED_MILLION
    if quotient * _HUNDRED_MILLION == digits:
        digits = quotient
        exponent += 8
    while True:
        quotient = digits // _TEN
        if quotient * _TEN != digits:
            return digits, exponent
        digits = quotient
        exponent += 1


@inner
def _count_digits(digits: np.uint64) -> int:
    count = 17
    while count > 1 and digits < _POWERS_UINT64[count - 1]:
        count -= 1
    return count


@inner
def _write_digits(digits: np.uint64, count: int, out: NDArray[np.uint8], position: int) -> None:
    """Write exactly `count` digits, zeros in front, at the position."""
    end = position + count
    while end - position >= 2:
        quotient = digits // _HUNDRED
        end -= 2
        store_pair(out, end, _PAIRS[digits - quotient * _HUNDRED])
        digits = quotient
    if end > position:
        store_uint8(out, position, signed(digits) + ord("0"))


@inner
def _move_left(out: NDArray[np.uint8], position: int, count: int) -> None:
    """Move `count` bytes one place to the left, to the position, and put a point behind them."""
    for index in range(position, position + count):
        out[index] = out[index + 1]
    store_uint8(out, position + count, ord("."))


@inner
def _write_fixed(
    digits: np.uint64, count: int, exponent: int, out: NDArray[np.uint8], position: int
) -> int:
    """Write digits * 10**exponent without an exponent."""
    if exponent >= 0:
        _write_digits(digits, count, out, position)
        for index in range(position + count, position + count + exponent):
            store_uint8(out, index, ord("0"))
        return position + count + exponent
    before_point = count + exponent
    if before_point > 0:
        _write_digits(digits, count, out, position + 1)
        _move_left(out, position, before_point)
        return position + count + 1
    zeros = 2 - before_point
    for index in range(position, position + zeros):
        store_uint8(out, index, ord("0"))
    store_uint8(out, position + 1, ord("."))
    _write_digits(digits, count, out, position + zeros)
    return position + zeros + count


@inner
def _write_scientific(
    digits: np.uint64, count: int, power: int, out: NDArray[np.uint8], position: int
) -> int:
    """Write d.ddde+dd, whose first digit is worth 10**power."""
    if count == 1:
        _write_digits(digits, count, out, position)
        position += 1
    else:
        _write_digits(digits, count, out, position + 1)
        _move_left(out, position, 1)
        position += count + 1
    store_uint8(out, position, ord("e"))
    store_uint8(out, position + 1, ord("-") if power < 0 else ord("+"))
    magnitude = abs(power)
    size = 3 if magnitude >= 100 else 2
    _write_digits(np.uint64(magnitude), size, out, position + 2)
    return position + 2 + size


@inner
def _write_word(word: bytes, out: NDArray[np.uint8], position: int) -> int:
    for index in range(len(word)):
        store_uint8(out, position + index, word[index])
    return position + len(word)


@inner
def write_float8(value: float, out: NDArray[np.uint8], position: int) -> int:
    """Write the text of a float8 at a position and return the position behind it.

    The caller has made sure of MAX_FLOAT8_SIZE bytes of room.
    """
    if np.isnan(value):
        return _write_word(b"NaN", out, position)
    bits = float64_bits(value)
    if bits >> np.uint64(63) != _ZERO:
        store_uint8(out, position, ord("-"))
        position += 1
    magnitude = bits & np.uint64(0x7FFFFFFFFFFFFFFF)
    if magnitude == _ZERO:
        return _write_word(b"0", out, position)
    if np.isinf(value):
        return _write_word(b"Infinity", out, position)
    digits, exponent = _shortest(magnitude)
    digits, exponent = _without_trailing_zeros(digits, exponent)
    count = _count_digits(digits)
    power = count + exponent - 1
    # to_chars in PostgreSQL's d2s.c: "thresholds ... chosen to match printf defaults".
    if -4 <= power < 15:
        return _write_fixed(digits, count, exponent, out, position)
    return _write_scientific(digits, count, power, out, position)


@kernel(VOID(FLOATS, WRITABLE_BYTES, OFFSETS))
def _format_all(
    values: NDArray[np.float64], arena: NDArray[np.uint8], offsets: NDArray[np.int64]
) -> None:
    position = 0
    for index in range(values.size):
        offsets[index] = position
        position = write_float8(values[index], arena, position)
    offsets[values.size] = position


def format_float8(values: NDArray[np.float64]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Return the texts of the values as (arena, offsets).

    Parameters
    ----------
    values : (n,)

    Returns
    -------
    arena : uint8; text i is arena[offsets[i]:offsets[i + 1]]
    offsets : (n + 1,)
    """
    values = np.ascontiguousarray(values, np.float64).view()
    values.flags.writeable = False
    arena = np.empty(MAX_FLOAT8_SIZE * values.size, np.uint8)
    offsets = np.empty(values.size + 1, np.int64)
    _format_all(values, arena, offsets)
    return arena[: offsets[-1]], offsets
