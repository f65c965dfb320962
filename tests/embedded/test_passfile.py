from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from psycopg import pq

from proxy.embedded.passfile import read_password, write_password

TEXT = st.text(
    st.characters(blacklist_categories=["Cs", "Cc", "Zl", "Zp"], blacklist_characters="\x85"),
    min_size=1,
    max_size=40,
)


@given(password=TEXT, host=TEXT.map("h".__add__))
def test_what_is_written_is_read(tmp_path_factory, password, host):
    """Any password and host survive the format's colons and backslashes."""
    path = tmp_path_factory.mktemp("passfile") / "pgpass"
    write_password(path, [host, "localhost"], "postgres", password)
    assert read_password(path, "postgres") == password
    assert read_password(path, "somebody") is None


def test_nobody_else_may_read_it(tmp_path: Path):
    """The file is 0600 even when a careless one stood there before."""
    path = tmp_path / "pgpass"
    path.write_text("old")
    path.chmod(0o644)
    write_password(path, ["localhost"], "postgres", "secret")
    assert path.stat().st_mode & 0o777 == 0o600
    assert [each.name for each in tmp_path.iterdir()] == ["pgpass"]


def test_libpq_reads_it(tmp_path: Path):
    """The library finds the same password for a host with colons in its name."""
    path = tmp_path / "pgpass"
    write_password(path, ["127.0.0.1", "::1"], "postgres", r"a:b\c d")
    # Nothing listens on port 1: libpq looks the password up before it connects.
    connection = pq.PGconn.connect_start(f"host=::1 port=1 user=postgres passfile={path}".encode())
    try:
        assert connection.password == rb"a:b\c d"
    finally:
        connection.finish()
