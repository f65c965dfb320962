"""Fixtures that every room's tests may use: a real PostgreSQL, a database, the proxy before it.

$PGSEER_TEST_TARGET=direct points `endpoint` at PostgreSQL itself, which proves the tests of
ordinary SQL against the real thing; tests of ML statements skip then.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg.conninfo
import pytest

from tests.support import postgres
from tests.support.postgres import Cluster
from tests.support.proxy import ThreadedProxy, running_proxy


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a client connects, and as whom: a role that needs no password and owns its database."""

    address: tuple[str, int]
    database: str
    user: str = postgres.TRUST_USER

    @property
    def dsn(self) -> str:
        """The connection string for libpq's kind of clients."""
        host, port = self.address
        return psycopg.conninfo.make_conninfo(
            host=host, port=port, dbname=self.database, user=self.user, sslmode="prefer"
        )

    @property
    def url(self) -> str:
        """The same as a URL."""
        host, port = self.address
        return f"postgresql://{self.user}@{host}:{port}/{self.database}"

    @property
    def login(self) -> dict[str, str]:
        """The arguments of `Frontend.login`, beside the address."""
        return {"user": self.user, "database": self.database}


def is_direct() -> bool:
    return os.environ.get("PGSEER_TEST_TARGET") == "direct"


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """A PostgreSQL without TLS."""
    with postgres.running_cluster() as running:
        yield running


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """A private authority and a certificate of it for localhost and 127.0.0.1."""
    return make_certificates(tmp_path_factory.mktemp("certificates"))


@dataclass(frozen=True, slots=True)
class Certificates:
    """PEM files."""

    authority: Path
    chain: Path
    key: Path


def make_certificates(directory: Path) -> Certificates:
    """Write a new authority and a server certificate."""
    import trustme

    authority = trustme.CA()
    server = authority.issue_cert("localhost", "127.0.0.1")
    files = Certificates(directory / "ca.pem", directory / "chain.pem", directory / "key.pem")
    authority.cert_pem.write_to_path(files.authority)
    server.private_key_pem.write_to_path(files.key)
    for blob in server.cert_chain_pems:
        blob.write_to_path(files.chain, append=True)
    files.key.chmod(0o600)
    return files


@pytest.fixture(scope="session")
def tls_cluster(certificates: Certificates) -> Iterator[Cluster]:
    """A PostgreSQL that offers TLS; skips where the binaries have none."""
    directory = postgres.binaries()
    if not postgres.has_tls(directory):
        pytest.skip(f"the server in {directory} is built without TLS: set PGSEER_TEST_BIN_DIR")
    with postgres.running_cluster(tls_files=(certificates.chain, certificates.key)) as running:
        yield running


@pytest.fixture(scope="module")
def database(cluster: Cluster, request: pytest.FixtureRequest) -> Iterator[str]:
    """A fresh database for the module, dropped afterwards."""
    name = re.sub(r"\W", "_", request.module.__name__.rpartition(".")[2])
    with postgres.temporary_database(cluster, name) as created:
        yield created


@pytest.fixture(scope="session")
def proxy(cluster: Cluster) -> Iterator[ThreadedProxy]:
    """The proxy before `cluster`, shared by the whole session."""
    with running_proxy(cluster.dsn()) as running:
        yield running


@pytest.fixture(scope="module")
def direct(cluster: Cluster, database: str) -> Endpoint:
    """The module's database, without the proxy."""
    return Endpoint(cluster.address, database)


@pytest.fixture(scope="module")
def endpoint(request: pytest.FixtureRequest, direct: Endpoint) -> Endpoint:
    """The module's database as a client sees it: through the proxy."""
    if is_direct():
        return direct
    running: ThreadedProxy = request.getfixturevalue("proxy")
    return Endpoint(running.address, direct.database)
