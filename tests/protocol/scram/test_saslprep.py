"""SASLprep against scramp's, an implementation not ours."""

from __future__ import annotations

import stringprep

import scramp
from hypothesis import given
from hypothesis import strategies as st
from scramp.utils import saslprep as scramp_saslprep

from proxy.protocol.scram.saslprep import saslprep


@given(st.text())
def test_saslprep(password: str) -> None:
    """SASLprep is scramp's, but what it refuses is kept as PostgreSQL keeps it."""
    if any(map(stringprep.in_table_a1, password)):
        return  # PostgreSQL normalises by a newer Unicode than RFC 3454's 3.2, and so do we
    try:
        expected = scramp_saslprep(password) or password
    except scramp.ScramException:
        expected = password
    assert saslprep(password) == expected
