"""Class labels in the target's own type: the bytes of each, as the upstream would send them.

Owns the binary forms of the types that a label commonly has. A type outside the table (an enum, a
domain over text) has the text itself as its binary form.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

_STRUCTS = {
    "smallint": struct.Struct("!h"),
    "integer": struct.Struct("!i"),
    "bigint": struct.Struct("!q"),
    "oid": struct.Struct("!I"),
    "real": struct.Struct("!f"),
    "double precision": struct.Struct("!d"),
}


# NUMERIC_PINF and NUMERIC_NINF in the sign's place; their scale is whatever numeric_send makes it.
_INFINITE_NUMERICS = {
    "Infinity": struct.pack("!hhHh", 0, 0, 0xD000, 0x20),
    "-Infinity": struct.pack("!hhHh", 0, 0, 0xF000, 0x20),
}


def label_values(
    classes: Sequence[str], sql_type: str, format_code: int, codec: str
) -> tuple[bytes, ...]:
    """Return the value of each class in one format: 0 is text, 1 is binary."""
    encode = _binary if format_code else _text
    return tuple(encode(label, sql_type, codec) for label in classes)


def _text(label: str, sql_type: str, codec: str) -> bytes:
    if sql_type == "boolean":
        return label[:1].encode()
    return label.encode(codec, "replace")


def _binary(label: str, sql_type: str, codec: str) -> bytes:
    if sql_type == "boolean":
        return bytes([label.startswith("t")])
    if sql_type in ("real", "double precision"):
        return _STRUCTS[sql_type].pack(float(label))
    if sql_type in _STRUCTS:
        return _STRUCTS[sql_type].pack(int(label))
    if sql_type == "numeric":
        return numeric_binary(label)
    if sql_type == "uuid":
        return bytes.fromhex(label.replace("-", ""))
    return label.encode(codec, "replace")


def numeric_binary(text: str) -> bytes:
    """Return the binary form of a decimal number, as numeric_send writes it.

    Int16(digits) Int16(weight) Int16(sign) Int16(display scale) Int16(base-10000 digit)*
    """
    if text in _INFINITE_NUMERICS:
        return _INFINITE_NUMERICS[text]
    sign = 0x4000 if text.startswith("-") else 0
    whole, _, fraction = text.lstrip("+-").partition(".")
    scale = len(fraction)
    whole = whole.lstrip("0")
    whole = whole.rjust(-(-len(whole) // 4) * 4, "0")
    fraction = fraction.ljust(-(-len(fraction) // 4) * 4, "0")
    digits = [int((whole + fraction)[i : i + 4]) for i in range(0, len(whole + fraction), 4)]
    weight = len(whole) // 4 - 1
    while digits and digits[0] == 0:
        digits.pop(0)
        weight -= 1
    while digits and digits[-1] == 0:
        digits.pop()
    if not digits:
        sign = weight = 0
    return struct.pack(f"!hhHh{len(digits)}h", len(digits), weight, sign, scale, *digits)
