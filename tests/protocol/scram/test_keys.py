"""Verifiers: PostgreSQL's own, made-up ones, and what is none."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.protocol.scram.client import MAX_ITERATIONS
from proxy.protocol.scram.credentials import Password, RecoveredKey
from proxy.protocol.scram.keys import ScramKeys, Verifier
from proxy.protocol.scram.server import ScramServer
from tests.protocol.scram.example import KNOWN, RFC_SALT, failure, log_in, rfc_client


@pytest.mark.parametrize(
    ("password", "written"),
    [
        (
            "pencil",
            (
                "SCRAM-SHA-256$4096:poA9LdWEQa4WYQ8sXEyxEA=="
                "$geFw3NI0d4327HANtvVyGOUmW6EXh+gPdBk71OfOotk="
                ":JnaBH2IwYBCRAxTgvFyk9k7CRzLXmJHk5+zpg7TqbMM="
            ),
        ),
        (
            "Pa\u00ad\u2168ss=,\u00a0w\u00f6rd",
            (
                "SCRAM-SHA-256$4096:pCJI5o9RZcVd61I3O/cEPA=="
                "$MOlkCq8iNzBnYBbK4lkukEuZYAS+9rHcie1/kqKzkak="
                ":TmyQCfs/Zr8wz0cZ8k3dLTGN3aOLIe0+GoTjSU7BAuM="
            ),
        ),
        (
            "be\x07ll",
            (
                "SCRAM-SHA-256$4096:sS5bDVuEEBdE5b2NwN8v3g=="
                "$dBaESHtpAbZtjauJ0YgJrXiZtl9dLR/KVFPlX5iHJaI="
                ":VKzksDlb1solhB/7ixMblKXFuBBm7a009T9nXWcJddo="
            ),
        ),
    ],
)
def test_made_by_postgresql(password: str, written: str) -> None:
    """What PostgreSQL 15 wrote into pg_authid for a password is what we derive from it."""
    salt = Verifier.parse(written).salt
    assert Verifier.from_password(password, salt=salt).format() == written


@given(
    st.integers(1, MAX_ITERATIONS),
    st.binary(min_size=1, max_size=40),
    st.binary(min_size=32, max_size=32),
    st.binary(min_size=32, max_size=32),
)
def test_round_trip(iterations: int, salt: bytes, stored: bytes, server: bytes) -> None:
    """What format writes, parse reads."""
    verifier = Verifier(iterations, salt, stored, server)
    assert Verifier.parse(verifier.format()) == verifier


@pytest.mark.parametrize(
    "text",
    [
        "",
        "pencil",
        "md5a3d9f7a2c2ab5bd5dd0a6ac8b14ed8c6",
        KNOWN.format().replace("4096", "0"),
        KNOWN.format().replace("4096", "-1"),
        KNOWN.format().replace("4096", "9" * 5000),
        KNOWN.format()[:-4],
        KNOWN.format() + "\n",
        KNOWN.format().replace("SHA-256", "SHA-1"),
        KNOWN.format().replace("==", "="),
        "SCRAM-SHA-256$4096:salt$é:é",
    ],
)
def test_refused(text: str) -> None:
    """Anything else is refused, and never quoted: it may be a password."""
    sqlstate, message, detail = failure(lambda: Verifier.parse(text))
    assert sqlstate == "28000"
    assert not text or text not in f"{message}{detail}"


def test_repr_keeps_secrets() -> None:
    """No repr shows a key, a salt or a password."""
    keys = ScramKeys.from_password("pencil", RFC_SALT, 1)
    shown = repr([KNOWN, keys, Password("pencil"), RecoveredKey(KNOWN, keys.client_key)])
    assert "pencil" not in shown
    for secret in (KNOWN.stored_key, KNOWN.server_key, KNOWN.salt, keys.client_key):
        assert repr(secret)[2:-1] not in shown


def test_mock() -> None:
    """An unknown user has the same salt each time, another than his neighbour and elsewhere."""
    mock = Verifier.mock("nobody", b"secret")
    assert mock == Verifier.mock("nobody", b"secret")
    assert (len(mock.salt), mock.iterations) == (16, 4096)
    others = [Verifier.mock("nobody2", b"secret"), Verifier.mock("nobody", b"another")]
    assert mock.salt not in [other.salt for other in others]


def test_mock_logs_in_nobody() -> None:
    """Against a mock verifier a login goes the whole way and then fails as a wrong password."""
    server = ScramServer("nobody", Verifier.mock("nobody", b"secret"))
    assert failure(lambda: log_in(rfc_client(), server))[:2] == (
        "28P01",
        'password authentication failed for user "nobody"',
    )
