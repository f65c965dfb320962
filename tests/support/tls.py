"""TLS for the tests: authorities, certificates, and a PostgreSQL that offers it and asks for it.

The wheel's server is built without OpenSSL, so another one is looked for.
"""

from __future__ import annotations

import asyncio
import shutil
import ssl
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import psycopg
import trustme
import uvloop

from tests.support import postgres
from tests.support.postgres import Cluster
from tests.support.proxy import Address, running_proxy
from tests.support.wire import Frontend

ALPN = "postgresql"
RELOAD_LIMIT_S = 20
# Roles that pg_hba.conf takes by one kind of connection only, and one that logs in by certificate.
TLS_ONLY_USER = "tls_only_user"
PLAIN_ONLY_USER = "plain_only_user"
CERTIFICATE_USER = "certificate_user"

hba = f"""
hostnossl all {TLS_ONLY_USER} 127.0.0.1/32 reject
hostssl all {PLAIN_ONLY_USER} 127.0.0.1/32 reject
hostssl all {CERTIFICATE_USER} 127.0.0.1/32 cert
hostnossl all {CERTIFICATE_USER} 127.0.0.1/32 reject
host all late_user,none_a,none_b 127.0.0.1/32 scram-sha-256
{postgres.hba}
"""


# --- certificates ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class KeyPair:
    """A certificate with its chain, and its private key; PEM files."""

    chain: Path
    key: Path


@dataclass(frozen=True, slots=True)
class Authority:
    """A certificate authority and the folder of what it issues."""

    directory: Path
    authority: trustme.CA

    @classmethod
    def make(cls, directory: Path) -> Self:
        """Make a new authority."""
        made = cls(directory, trustme.CA())
        made.authority.cert_pem.write_to_path(made.file)
        return made

    @property
    def file(self) -> Path:
        """Its own certificate."""
        return self.directory / "authority.pem"

    def issue(self, *names: str, common_name: str | None = None) -> KeyPair:
        """Issue a certificate for host names, or for a client of a common name."""
        issued = self.authority.issue_cert(*names, common_name=common_name)
        label = common_name or names[0]
        pair = KeyPair(self.directory / f"{label}.pem", self.directory / f"{label}.key")
        pair.chain.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
        pair.key.touch(mode=0o600)
        pair.key.write_bytes(issued.private_key_pem.bytes())
        return pair


def context(authority: Path | None = None, *, alpn: str | None = None) -> ssl.SSLContext:
    """Return a client's context; without an authority any certificate will do."""
    made = ssl.create_default_context(cafile=authority)
    if authority is None:
        made.check_hostname = False
        made.verify_mode = ssl.CERT_NONE
    if alpn is not None:
        made.set_alpn_protocols([alpn])
    return made


# --- the server -----------------------------------------------------------------------------------


def binaries() -> Path | None:
    """Return the programs of a server with TLS: those under test, or those of the system."""
    named = [postgres.binaries()]
    if (pg_config := shutil.which("pg_config")) is not None:
        found = subprocess.run([pg_config, "--bindir"], capture_output=True, text=True, check=False)
        named.append(Path(found.stdout.strip()))
    named += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)  # Debian's
    for directory in named:
        if (directory / "initdb").exists() and postgres.has_tls(directory):
            return directory
    return None


@contextmanager
def running_cluster(bin_dir: Path, pair: KeyPair, clients: Authority) -> Iterator[Cluster]:
    """Run a server that offers TLS.

    Parameters
    ----------
    pair : what it shows
    clients : the authority of its clients' certificates
    """
    directory = Path(tempfile.mkdtemp(prefix="pgseer-test-"))
    try:
        cluster = postgres.start_cluster(directory, bin_dir, (pair.chain, pair.key))
        try:
            postgres.create_roles(cluster)
            for role in (TLS_ONLY_USER, PLAIN_ONLY_USER, CERTIFICATE_USER):
                cluster.execute(f"CREATE ROLE {role} LOGIN")
            data = directory / "data"
            shutil.copyfile(clients.file, data / "clients.pem")
            (data / "pg_hba.conf").write_text(hba)
            cluster.execute("ALTER SYSTEM SET ssl_ca_file = 'clients.pem'")
            cluster.execute("SELECT pg_reload_conf()")
            _wait_until_reloaded(cluster)
            yield cluster
        finally:
            cluster.stop()
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _wait_until_reloaded(cluster: Cluster) -> None:
    """Wait until the postmaster has read all of its files again; it reads them in one go."""
    limit = time.monotonic() + RELOAD_LIMIT_S
    while cluster.rows("SHOW ssl_ca_file") != [("clients.pem",)]:
        assert time.monotonic() < limit
        time.sleep(0.02)


def shows(pair: KeyPair, sslmode: str = "prefer") -> dict[str, str]:
    """Return the settings of a proxy that shows a certificate to its clients."""
    return {
        "pgseer.client_tls_sslmode": sslmode,
        "pgseer.client_tls_cert_file": str(pair.chain),
        "pgseer.client_tls_key_file": str(pair.key),
    }


@contextmanager
def on_loop(kind: str, upstream: str, changes: Mapping[str, object]) -> Iterator[Address]:
    """Run a proxy on an event loop of a kind, asyncio's or uvloop's."""
    factory = asyncio.new_event_loop if kind == "asyncio" else uvloop.new_event_loop
    with running_proxy(upstream, changes, factory) as running:
        yield running.address


# --- clients --------------------------------------------------------------------------------------


def connect(address: Address, **arguments: object) -> psycopg.Connection:
    """Connect by libpq, to 127.0.0.1 under the name of localhost."""
    usual = {
        "host": "localhost",
        "hostaddr": address[0],
        "port": address[1],
        "dbname": "postgres",
        "user": postgres.TRUST_USER,
        "gssencmode": "disable",
        "connect_timeout": 20,
    }
    return psycopg.connect(autocommit=True, **{**usual, **arguments})


async def direct_frontend(address: Address, tls: ssl.SSLContext) -> Frontend:
    """Connect with TLS from the first byte on."""
    frontend = await Frontend.connect(address)
    await frontend.writer.start_tls(tls, server_hostname="localhost")
    return frontend
