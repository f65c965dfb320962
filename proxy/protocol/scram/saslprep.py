"""SASLprep, as PostgreSQL applies it to passwords (RFC 4013, and RFC 3454 below it).

Owns the mapping and what it prohibits. Leaves the encoding of the result to `keys`.
"""

from __future__ import annotations

import stringprep
import unicodedata
from collections.abc import Callable
from typing import Final

_PROHIBITED_TABLES: Final[tuple[Callable[[str], bool], ...]] = (
    stringprep.in_table_a1,
    stringprep.in_table_c12,
    stringprep.in_table_c21_c22,
    stringprep.in_table_c3,
    stringprep.in_table_c4,
    stringprep.in_table_c5,
    stringprep.in_table_c6,
    stringprep.in_table_c7,
    stringprep.in_table_c8,
    stringprep.in_table_c9,
)


def saslprep(password: str) -> str:
    """Normalise a password by SASLprep (RFC 4013), or return it as it is where that refuses it.

    PostgreSQL does both, the latter because it cannot know that a password is text in UTF-8.
    """
    if password.isascii() and password.isprintable():
        return password
    spaced = "".join(" " if stringprep.in_table_c12(c) else c for c in password)
    mapped = "".join(c for c in spaced if not stringprep.in_table_b1(c))
    prepared = unicodedata.normalize("NFKC", mapped)
    if not prepared or any(map(_is_prohibited, prepared)) or not _is_bidi_sound(prepared):
        return password
    return prepared


def _is_prohibited(character: str) -> bool:
    return any(in_table(character) for in_table in _PROHIBITED_TABLES)


def _is_bidi_sound(text: str) -> bool:
    """RFC 3454, section 6: right-to-left text has no LCat, and begins and ends with RandALCat."""
    if not any(map(stringprep.in_table_d1, text)):
        return True
    if any(map(stringprep.in_table_d2, text)):
        return False
    return stringprep.in_table_d1(text[0]) and stringprep.in_table_d1(text[-1])
