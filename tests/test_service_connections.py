"""Service connections: TLS as sessions have it, which is as libpq has it."""

from __future__ import annotations

import asyncio

import asyncpg
import psycopg
import psycopg.conninfo
import pytest

from proxy.app import Application
from proxy.service_connections import FAILURES, ServiceConnector
from proxy.settings.dsn import UpstreamAddress
from tests.support import postgres, tls
from tests.support.postgres import Cluster
from tests.support.proxy import settings_for
from tests.support.tls import Authority, KeyPair

pytest_plugins = ("tests.support.tls_fixtures",)
# One loop for all: a TLS connection that the server refuses needs a moment after the test to close.
pytestmark = pytest.mark.asyncio(loop_scope="module")

IS_ENCRYPTED = "SELECT ssl FROM pg_catalog.pg_stat_ssl WHERE pid = pg_catalog.pg_backend_pid()"
ANYBODY = postgres.TRUST_USER
WAYS = (tls.context(), None)

# sslmode, whose certificate authority, whose client certificate, user, outcome.
# The server takes two users by one kind of connection only, and one by TLS and a certificate.
attempts = [
    ("disable", None, "right", ANYBODY, "plain"),
    ("disable", None, "right", tls.TLS_ONLY_USER, "refused"),
    ("allow", None, None, ANYBODY, "plain"),
    ("allow", None, None, tls.TLS_ONLY_USER, "TLS"),
    ("allow", "right", None, tls.TLS_ONLY_USER, "TLS"),
    ("allow", "wrong", None, tls.TLS_ONLY_USER, "refused"),
    ("allow", None, "right", tls.CERTIFICATE_USER, "TLS"),
    ("allow", None, "wrong", tls.CERTIFICATE_USER, "refused"),
    ("allow", None, None, tls.CERTIFICATE_USER, "refused"),
    ("prefer", None, None, ANYBODY, "TLS"),
    ("prefer", None, None, tls.PLAIN_ONLY_USER, "plain"),
    ("prefer", "right", "right", ANYBODY, "TLS"),
    ("prefer", "wrong", None, ANYBODY, "plain"),
    ("prefer", "wrong", None, tls.TLS_ONLY_USER, "refused"),
    ("prefer", None, "right", tls.CERTIFICATE_USER, "TLS"),
    ("prefer", "right", "right", tls.CERTIFICATE_USER, "TLS"),
    ("prefer", "wrong", "right", tls.CERTIFICATE_USER, "refused"),
    ("prefer", None, "wrong", tls.CERTIFICATE_USER, "refused"),
    ("prefer", None, "wrong", tls.PLAIN_ONLY_USER, "refused"),
    ("prefer", None, None, tls.CERTIFICATE_USER, "refused"),
    ("require", None, "right", tls.CERTIFICATE_USER, "TLS"),
    ("require", None, None, tls.PLAIN_ONLY_USER, "refused"),
    ("require", "wrong", "right", tls.CERTIFICATE_USER, "refused"),
    ("verify-full", "right", "right", tls.CERTIFICATE_USER, "TLS"),
    ("verify-full", "wrong", "right", tls.CERTIFICATE_USER, "refused"),
]


def by_libpq(dsn: str, parameters: dict[str, str]) -> str:
    """Connect by libpq; return whether the server saw TLS, or that it was not to be."""
    try:
        with psycopg.connect(dsn, gssencmode="disable", **parameters) as connection:
            return "TLS" if connection.execute(IS_ENCRYPTED).fetchone() == (True,) else "plain"
    except psycopg.OperationalError:
        return "refused"


async def by_service(dsn: str, parameters: dict[str, str]) -> str:
    """Connect as the proxy does for itself under the settings of the same meaning."""
    application = Application(settings_for(psycopg.conninfo.make_conninfo(dsn, **parameters), {}))
    connector = application._service_connector(application._connector())
    try:
        connection = await connector.connect()
    except FAILURES:
        return "refused"
    try:
        return "TLS" if await connection.fetchval(IS_ENCRYPTED) else "plain"
    finally:
        await connection.close()


@pytest.mark.parametrize(("mode", "vouching", "shown", "user", "expected"), attempts)
async def test_tls(
    secure_cluster: Cluster,
    authority: Authority,
    stranger: Authority,
    mode: str,
    vouching: str | None,
    shown: str | None,
    user: str,
    expected: str,
) -> None:
    """A service connection has TLS or not, and is believed or not, as libpq's by that sslmode."""
    authorities = {"right": authority, "wrong": stranger}
    parameters = {"sslmode": mode}
    if vouching is not None:
        parameters["sslrootcert"] = str(authorities[vouching].file)
    if shown is not None:
        pair = client_pair(authorities[shown])
        parameters |= {"sslcert": str(pair.chain), "sslkey": str(pair.key)}
    dsn = psycopg.conninfo.make_conninfo(secure_cluster.dsn(user=user), host="localhost")
    assert by_libpq(dsn, parameters) == expected
    assert await by_service(dsn, parameters) == expected


def client_pair(authority: Authority) -> KeyPair:
    return authority.issue("client.example", common_name=tls.CERTIFICATE_USER)


@pytest.mark.parametrize("mode", ["allow", "prefer"])
async def test_server_without_tls(cluster: Cluster, mode: str) -> None:
    """Where the server has no TLS the modes that can do without it do."""
    assert await by_service(cluster.dsn(user=ANYBODY), {"sslmode": mode}) == "plain"


def service_address(cluster: Cluster, user: str, password: str = "") -> UpstreamAddress:
    return UpstreamAddress(*cluster.address, "postgres", user, password)


async def test_wrong_password_is_sent_once(
    secure_cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A password that is refused over TLS is not shown again in clear."""
    used = []
    connect = asyncpg.connect

    async def counted(**arguments: object) -> asyncpg.Connection:
        used.append(arguments["ssl"])
        return await connect(**arguments)

    monkeypatch.setattr(asyncpg, "connect", counted)
    address = service_address(secure_cluster, postgres.PASSWORD_USER, "wrong")
    with pytest.raises(asyncpg.InvalidPasswordError):
        await ServiceConnector(address, WAYS).connect()
    assert used == [WAYS[0]]


async def test_silent_server() -> None:
    """The timeout is of all attempts together."""
    opened: list[asyncio.StreamWriter] = []

    async def say_nothing(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        opened.append(writer)

    async with await asyncio.start_server(say_nothing, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        address = UpstreamAddress("127.0.0.1", port, "postgres", ANYBODY)
        with pytest.raises(TimeoutError):
            await ServiceConnector(address, WAYS, timeout_s=0.5).connect()
        assert len(opened) == 1
        for writer in opened:
            writer.close()


async def test_no_timeout(cluster: Cluster) -> None:
    """A timeout of 0 is none."""
    address = service_address(cluster, ANYBODY)
    connection = await ServiceConnector(address, timeout_s=0).connect({"application_name": "me"})
    assert await connection.fetchval("SHOW application_name") == "me"
    await connection.close()


async def test_other_database(cluster: Cluster) -> None:
    """Another database is reached in the same ways."""
    connector = ServiceConnector(service_address(cluster, ANYBODY), WAYS, 3.0)
    other = connector.to_database("other")
    assert (other.address.database, other.address.user) == ("other", ANYBODY)
    assert (other.ways, other.timeout_s) == (WAYS, 3.0)
