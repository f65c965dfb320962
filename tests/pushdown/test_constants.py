"""Constants are read as they are, whatever the session's settings."""

from __future__ import annotations

import struct

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from proxy.pushdown.constants import ConstantError, label, number, text

few = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@few
@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_number_is_read_to_the_last_bit(session: psycopg.Connection, value: float) -> None:
    """Denormal ones and -0 included; it is a float8 when it is parsed."""
    query = f"SELECT {number(value)}, pg_typeof({number(value)})::text"
    (found, kind) = session.execute(query.encode()).fetchone() or ()
    assert struct.pack("d", found) == struct.pack("d", value)
    assert kind == "double precision"


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_a_number_that_is_not_finite_is_none(value: float) -> None:
    """It would not be computed with as the engine does."""
    with pytest.raises(ConstantError):
        number(value)


@few
@given(
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
    | st.text("'\\n\"E$u0 é\n\t", max_size=12),
    st.sampled_from(["on", "off"]),
)
def test_a_text_is_read_unchanged(session: psycopg.Connection, value: str, setting: str) -> None:
    """With standard_conforming_strings or without; in ASCII, for any client_encoding."""
    assert text(value).isascii()
    with session.transaction(force_rollback=True):
        session.execute(f"SET LOCAL standard_conforming_strings = {setting}".encode())
        query = f"SELECT {label(value, 'pg_catalog.text')}"
        assert session.execute(query.encode()).fetchone() == (value,)


@pytest.mark.parametrize("value", ["\0", "é\0", "\ud800", "a\udfff"])
def test_what_is_no_text_has_no_constant(value: str) -> None:
    """NUL, or half of a pair."""
    with pytest.raises(ConstantError):
        text(value)


def test_a_plain_text_is_plain() -> None:
    """E'' only where it is needed."""
    assert text("it's") == "'it''s'"
    assert text("\\é𝄞'") == r"E'\\\u00E9\U0001D11E'''"
