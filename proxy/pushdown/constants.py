"""Constants as PostgreSQL reads them unchanged, whatever the session's settings are.

Owns how a number, a text and a label are written.
"""

from __future__ import annotations

import math
import re

from proxy.rewrite.literals import quote_text

_NO_TEXT = re.compile("[\0\ud800-\udfff]")


class ConstantError(ValueError):
    """PostgreSQL has no such constant, or would not compute with it as the engine does."""


def number(value: float) -> str:
    """Return a float8.

    A quoted number is read by float8's own input: exactly, and a minus needs no parentheses.
    `float` is a word of the grammar and cannot be anybody's type; its name would be looked up.

    Raises
    ------
    ConstantError
        It is not finite.
    """
    if not math.isfinite(value):
        raise ConstantError(f"{value} is not a finite number")
    return f"'{value!r}'::float"


def text(value: str) -> str:
    """Return a string constant, of a type yet unknown.

    Only ASCII: what it says does not depend on client_encoding. With a backslash or another
    character it is an E'' string, which standard_conforming_strings does not change.

    Raises
    ------
    ConstantError
        It holds NUL or half of a surrogate pair: PostgreSQL has no such text.
    """
    if _NO_TEXT.search(value):
        raise ConstantError("no text holds NUL, or half of a surrogate pair")
    return quote_text(value)


def label(value: str, type_sql: str) -> str:
    """Return a label as a constant of a type."""
    return f"{text(value)}::{type_sql}"
