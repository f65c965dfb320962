"""Fixtures of the tests about TLS and logins, which name this module in `pytest_plugins`."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.postgres import Cluster
from tests.support.tls import Authority, KeyPair, binaries, running_cluster


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """The authority of the server's, the proxy's and the clients' certificates."""
    return Authority.make(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="session")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """An authority that nobody trusts."""
    return Authority.make(tmp_path_factory.mktemp("stranger"))


@pytest.fixture(scope="session")
def server_pair(authority: Authority) -> KeyPair:
    """What PostgreSQL shows; it is for localhost and not for 127.0.0.1."""
    return authority.issue("localhost")


@pytest.fixture(scope="session")
def proxy_pair(authority: Authority) -> KeyPair:
    """What the proxy shows, where it is not the server's own."""
    return authority.issue("127.0.0.1", "localhost")


@pytest.fixture(scope="session")
def secure_cluster(server_pair: KeyPair, authority: Authority) -> Iterator[Cluster]:
    """A PostgreSQL that offers TLS; skips where no server is built with it."""
    found = binaries()
    if found is None:
        pytest.skip("no PostgreSQL with TLS here (the wheel has none): set PGSEER_TEST_BIN_DIR")
    with running_cluster(found, server_pair, authority) as running:
        yield running
