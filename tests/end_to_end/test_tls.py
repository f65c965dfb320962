"""TLS on either side: what is encrypted, who is believed, and what is refused."""

from __future__ import annotations

import hashlib
import ssl
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from tests.support import postgres, tls
from tests.support.postgres import Cluster
from tests.support.proxy import Address, proxy_process, running_proxy
from tests.support.tls import ALPN, Authority, KeyPair, connect
from tests.support.waiting import until_true
from tests.support.wire import (
    PROTOCOL_3_2,
    Frontend,
    LoginError,
    codes,
    errors,
    gssenc_request,
    query,
    send_cancel,
    ssl_request,
    startup,
)

pytest_plugins = ("tests.support.tls_fixtures",)

IS_ENCRYPTED = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"
login = {"user": postgres.TRUST_USER, "database": "postgres"}


@pytest.fixture(scope="module")
def encrypted(secure_cluster: Cluster, proxy_pair: KeyPair) -> Iterator[Address]:
    """A proxy that takes clients with and without TLS, and speaks TLS to the server."""
    changes = {"pgseer.server_tls_sslmode": "require", **tls.shows(proxy_pair)}
    with running_proxy(secure_cluster.dsn(), changes) as running:
        yield running.address


# --- towards the server ---------------------------------------------------------------------------


def outcome(address: Address, **arguments: object) -> str:
    """Log in, run a query, and return whether the server saw TLS; or that it failed."""
    try:
        with connect(address, **arguments) as connection:
            row = connection.execute(IS_ENCRYPTED).fetchone()
            return "TLS" if row == (True,) else "plain"
    except psycopg.OperationalError:
        return "refused"


weak = ("allow", "prefer", "require")
strict = ("verify-ca", "verify-full")
attempts = [
    *[(mode, user, None, "localhost") for mode in ("disable", *weak) for user in (
        postgres.TRUST_USER, tls.TLS_ONLY_USER, tls.PLAIN_ONLY_USER)],
    *[(mode, postgres.TRUST_USER, ca, host) for mode in (*weak, *strict) for ca in (
        "right", "wrong") for host in ("localhost", "127.0.0.1")],
    ("allow", tls.TLS_ONLY_USER, "right", "localhost"),
    ("allow", tls.TLS_ONLY_USER, "wrong", "localhost"),
    ("prefer", tls.TLS_ONLY_USER, "wrong", "localhost"),
    ("verify-full", tls.PLAIN_ONLY_USER, "right", "localhost"),
]


@pytest.mark.parametrize(("mode", "user", "ca", "host"), attempts)
def test_server_tls_sslmode(
    secure_cluster: Cluster,
    authority: Authority,
    stranger: Authority,
    mode: str,
    user: str,
    ca: str | None,
    host: str,
) -> None:
    """The proxy reaches the server, encrypted or not, or fails, just as libpq by that sslmode.

    The server's certificate is for localhost, not for 127.0.0.1; two users get in by one kind of
    connection only.
    """
    files = {"right": authority.file, "wrong": stranger.file}
    root = {} if ca is None else {"sslrootcert": str(files[ca])}
    by_libpq = outcome(secure_cluster.address, host=host, user=user, sslmode=mode, **root)
    dsn = secure_cluster.dsn(host=host)
    changes = {"pgseer.server_tls_sslmode": mode}
    if ca is not None:
        changes["pgseer.server_tls_ca_file"] = str(files[ca])
    with running_proxy(dsn, changes) as running:
        assert outcome(running.address, user=user, sslmode="disable") == by_libpq
    if ca is None:
        expected = {postgres.TRUST_USER: "TLS" if mode in ("prefer", "require") else "plain"}
    else:
        trusted = ca == "right" and (mode != "verify-full" or host == "localhost")
        expected = {postgres.TRUST_USER: by_libpq if mode in ("allow", "prefer") else (
            "TLS" if trusted else "refused")}
    assert by_libpq == expected.get(user, by_libpq)
