"""float8 text is PostgreSQL's: shortest inside the rounding interval, float8out's layout."""

from __future__ import annotations

import math
import struct
from decimal import Decimal
from fractions import Fraction
from itertools import pairwise

import numpy as np
import psycopg
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from proxy.kernels import floats
from proxy.kernels.floats import MAX_FLOAT8_SIZE, format_float8
from tests.support.postgres import Cluster


def texts(values: list[float]) -> list[str]:
    arena, offsets = format_float8(np.array(values, np.float64))
    joined = arena.tobytes().decode("ascii")
    return [joined[start:stop] for start, stop in pairwise(offsets)]


def shortest(value: float) -> tuple[int, int]:
    """Return (digits, exponent) by exact fractions: fewest digits, then closest to the value."""
    exact = Fraction(value)
    lower = (exact + Fraction(math.nextafter(value, 0))) / 2
    above = math.nextafter(value, math.inf)
    # The interval above the largest number is as wide as the one below it.
    upper = (exact + Fraction(above)) / 2 if math.isfinite(above) else 2 * exact - lower
    scale = Decimal(value).adjusted()
    for count in range(1, 18):
        unit = Fraction(10) ** (scale - count + 1)
        floor = exact // unit
        inside = [n for n in (floor, floor + 1) if lower < n * unit < upper]
        if inside:
            digits = min(inside, key=lambda n: (abs(n * unit - exact), n % 2))
            return digits, scale - count + 1
    raise AssertionError(value)


def layout(digits: int, exponent: int) -> str:
    """Write digits * 10**exponent as C's %g would, at full precision."""
    mantissa = str(digits).rstrip("0")
    exponent += len(str(digits)) - len(mantissa)
    power = len(mantissa) + exponent - 1
    if not -4 <= power < 15:
        point = f".{mantissa[1:]}" if len(mantissa) > 1 else ""
        return f"{mantissa[0]}{point}e{power:+03d}"
    return format(Decimal(mantissa).scaleb(exponent), "f")


def expected(value: float) -> str:
    sign = "-" if math.copysign(1, value) < 0 else ""
    return sign + ("0" if value == 0 else layout(*shortest(abs(value))))


SPECIAL = [
    (0.0, "0"),
    (-0.0, "-0"),
    (1.0, "1"),
    (-1.5, "-1.5"),
    (0.1, "0.1"),
    (100.0, "100"),
    (0.0001, "0.0001"),
    (0.00001, "1e-05"),
    (123456789012345.0, "123456789012345"),
    (1e14, "100000000000000"),
    (1e15, "1e+15"),
    (999999999999999.9, "999999999999999.9"),
    (1234567890123456.0, "1.234567890123456e+15"),
    (1.5e300, "1.5e+300"),
    (5e-324, "5e-324"),
    (2.2250738585072014e-308, "2.2250738585072014e-308"),
    (1.7976931348623157e308, "1.7976931348623157e+308"),
    (-1.2345678901234567e-308, "-1.2345678901234567e-308"),
    (1e23, "9.999999999999999e+22"),
    (2.0**-44, "5.684341886080802e-14"),
    (9007199254740993.0, "9.007199254740992e+15"),
]


@pytest.mark.parametrize(("value", "text"), SPECIAL)
def test_texts_that_postgresql_prints(value: float, text: str) -> None:
    """What SELECT x::float8::text of PostgreSQL 15 answers."""
    assert texts([value]) == [text]


def test_numbers_that_are_none() -> None:
    """NaN and the infinities have PostgreSQL's names."""
    assert texts([math.nan, math.inf, -math.inf]) == ["NaN", "Infinity", "-Infinity"]


def test_every_power_of_two_and_of_ten() -> None:
    """The ends of binades, where the interval is lopsided, and of decades are right."""
    centres = [2.0**e for e in range(-1074, 1024)] + [float(f"1e{e}") for e in range(-323, 309)]
    values = [
        value
        for centre in centres
        for value in (math.nextafter(centre, 0), centre, math.nextafter(centre, math.inf))
        if value != 0
    ]
    assert texts(values) == [expected(value) for value in values]


@settings(deadline=None)
@given(st.integers(0, 2**64 - 1))
def test_any_bits(bits: int) -> None:
    """Every double is written as exact arithmetic says."""
    (value,) = struct.unpack(">d", bits.to_bytes(8, "big"))
    assume(math.isfinite(value))
    (text,) = texts([value])
    assert text == expected(value)
    assert len(text) <= MAX_FLOAT8_SIZE
    assert struct.pack(">d", float(text)) == bits.to_bytes(8, "big")


@settings(deadline=None)
@given(st.floats(1e-6, 1e6), st.integers(0, 17))
def test_short_decimals(value: float, places: int) -> None:
    """Numbers with few digits, and probabilities, come back as they were written."""
    value = round(value, places)
    assert texts([value]) == [expected(value)]


@settings(deadline=None)
@given(st.floats(allow_nan=False, allow_infinity=False))
def test_digits_are_those_of_repr(value: float) -> None:
    """Away from the ends of the interval, which PostgreSQL leaves out, Python agrees."""
    assume(value != 0)
    digits, exponent = shortest(abs(value))
    assume(len(str(digits)) == len(Decimal(repr(abs(value))).normalize().as_tuple().digits))
    assert Decimal(texts([value])[0]) == Decimal(repr(value))
    assert Decimal(digits).scaleb(exponent) == Decimal(repr(abs(value)))


def test_postgresql_agrees(cluster: Cluster) -> None:
    """The server's own float8out writes the same, over all magnitudes and near round numbers."""
    rng = np.random.default_rng(0)
    values = np.concatenate(
        [
            rng.integers(0, 2**64, 10_000, dtype=np.uint64).view(np.float64),
            rng.random(5_000),
            rng.integers(0, 2**63, 5_000).astype(np.float64),
            rng.integers(-(10**6), 10**6, 5_000) / 1000,
        ]
    )
    query = "SELECT x::text FROM unnest(%b::float8[]) WITH ORDINALITY AS t(x, i) ORDER BY i"
    with psycopg.connect(cluster.dsn()) as connection:
        rows = connection.execute(query, [values.tolist()]).fetchall()
    assert texts(values.tolist()) == [text for (text,) in rows]


def test_the_integer_logarithms_are_exact() -> None:
    """The fixed-point logarithms are right wherever a double can ask for them."""
    log10, log2 = floats._floor_log10.py_func, floats._floor_log2.py_func  # type: ignore[attr-defined]
    for q in range(-1074, 972):
        for numerator in (4, 3):
            power = log10(q, numerator == 3)
            assert Fraction(10) ** power <= Fraction(numerator, 4) * Fraction(2) ** q
            assert Fraction(numerator, 4) * Fraction(2) ** q < Fraction(10) ** (power + 1)
    for exponent in range(-292, 325):
        power = log2(exponent)
        assert Fraction(2) ** power <= Fraction(10) ** exponent < Fraction(2) ** (power + 1)
