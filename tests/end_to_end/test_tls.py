"""TLS on either side: what is encrypted, who is believed, and who is refused."""

from __future__ import annotations

import asyncio
import hashlib
import signal
import ssl
from collections.abc import Iterator
from pathlib import Path

import psycopg
import psycopg.conninfo
import pytest

from tests.support import postgres, tls
from tests.support.postgres import Cluster
from tests.support.proxy import Address, proxy_process, running_proxy
from tests.support.tls import ALPN, Authority, KeyPair, connect
from tests.support.waiting import until_true
from tests.support.wire import (
    Frontend,
    LoginError,
    codes,
    errors,
    frame,
    gssenc_request,
    query,
    rows,
    send_cancel,
    ssl_request,
    startup,
    startup_packet,
)

pytest_plugins = ("tests.support.tls_fixtures",)

IS_ENCRYPTED = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"
login = {"user": postgres.TRUST_USER, "database": "postgres"}


@pytest.fixture(scope="module")
def front(secure_cluster: Cluster, proxy_pair: KeyPair) -> Iterator[Address]:
    """A proxy that takes clients with and without TLS, and speaks TLS to the server."""
    changes = {"pgseer.server_tls_sslmode": "require", **tls.shows(proxy_pair)}
    with running_proxy(secure_cluster.dsn(), changes) as running:
        yield running.address


# --- towards the server ---------------------------------------------------------------------------


def outcome(address: Address, **arguments: object) -> str:
    """Log in and run a query; return whether the server saw TLS, or that it was not to be."""
    try:
        with connect(address, **arguments) as connection:
            row = connection.execute(IS_ENCRYPTED).fetchone()
            return "TLS" if row == (True,) else "plain"
    except psycopg.OperationalError:
        return "refused"


ANYBODY = postgres.TRUST_USER
# sslmode, whose certificate authority, the server's name, user, outcome.
# The server's certificate is for localhost; it takes two users by one kind of connection only.
attempts = [
    ("disable", None, "localhost", ANYBODY, "plain"),
    ("disable", None, "localhost", tls.TLS_ONLY_USER, "refused"),
    ("allow", None, "localhost", ANYBODY, "plain"),
    ("allow", None, "localhost", tls.TLS_ONLY_USER, "TLS"),
    ("allow", "right", "localhost", tls.TLS_ONLY_USER, "TLS"),
    ("allow", "wrong", "localhost", tls.TLS_ONLY_USER, "refused"),
    ("prefer", None, "localhost", ANYBODY, "TLS"),
    ("prefer", None, "localhost", tls.TLS_ONLY_USER, "TLS"),
    ("prefer", None, "localhost", tls.PLAIN_ONLY_USER, "plain"),
    ("prefer", "wrong", "localhost", ANYBODY, "plain"),
    ("prefer", "wrong", "localhost", tls.TLS_ONLY_USER, "refused"),
    ("require", None, "127.0.0.1", ANYBODY, "TLS"),
    ("require", None, "localhost", tls.PLAIN_ONLY_USER, "refused"),
    ("require", "right", "127.0.0.1", ANYBODY, "TLS"),
    ("require", "wrong", "localhost", ANYBODY, "refused"),
    ("verify-ca", "right", "127.0.0.1", ANYBODY, "TLS"),
    ("verify-ca", "wrong", "localhost", ANYBODY, "refused"),
    ("verify-ca", "right", "localhost", tls.PLAIN_ONLY_USER, "refused"),
    ("verify-full", "right", "localhost", ANYBODY, "TLS"),
    ("verify-full", "right", "127.0.0.1", ANYBODY, "refused"),
    ("verify-full", "wrong", "localhost", ANYBODY, "refused"),
    ("verify-full", "right", "localhost", tls.PLAIN_ONLY_USER, "refused"),
]


@pytest.mark.parametrize(("mode", "authorities", "host", "user", "expected"), attempts)
def test_server_tls_sslmode(
    secure_cluster: Cluster,
    authority: Authority,
    stranger: Authority,
    mode: str,
    authorities: str | None,
    host: str,
    user: str,
    expected: str,
) -> None:
    """The proxy reaches the server with TLS, without, or not at all: as libpq by that sslmode."""
    files = {"right": str(authority.file), "wrong": str(stranger.file), None: ""}
    root = files[authorities]
    by_libpq = {"host": host, "sslmode": mode, **({"sslrootcert": root} if root else {})}
    assert outcome(secure_cluster.address, user=user, **by_libpq) == expected

    dsn = psycopg.conninfo.make_conninfo(secure_cluster.dsn(), host=host)
    changes = {"pgseer.server_tls_sslmode": mode, "pgseer.server_tls_ca_file": root}
    with running_proxy(dsn, changes) as running:
        assert outcome(running.address, user=user, sslmode="disable") == expected


async def refusal(address: Address, user: str = ANYBODY) -> dict[str, str]:
    """Return the fields of the one error by which a login is refused."""
    with pytest.raises(LoginError) as caught:
        await Frontend.login(address, user=user, database="postgres")
    (fields,) = errors(caught.value.messages)
    return fields


@pytest.mark.asyncio
async def test_server_is_not_believed(secure_cluster: Cluster, stranger: Authority) -> None:
    """A server whose certificate nobody vouches for: FATAL 08001 that says so."""
    changes = {
        "pgseer.server_tls_sslmode": "verify-ca",
        "pgseer.server_tls_ca_file": str(stranger.file),
    }
    with running_proxy(secure_cluster.dsn(), changes) as running:
        fields = await refusal(running.address)
    assert (fields["S"], fields["C"]) == ("FATAL", "08001")
    assert "TLS" in fields["M"]
    assert "CERTIFICATE_VERIFY_FAILED" in fields["D"]


@pytest.mark.asyncio
async def test_server_without_tls(cluster: Cluster) -> None:
    """Before a server without TLS `require` fails by FATAL 08001, and `prefer` does without."""
    with running_proxy(cluster.dsn(), {"pgseer.server_tls_sslmode": "require"}) as running:
        fields = await refusal(running.address)
        assert (fields["S"], fields["C"]) == ("FATAL", "08001")
        assert fields["M"].endswith("does not support TLS")
        assert fields["H"] == "server_tls_sslmode is require."
    with running_proxy(cluster.dsn(), {"pgseer.server_tls_sslmode": "prefer"}) as running:
        assert outcome(running.address, sslmode="disable") == "plain"


@pytest.mark.asyncio
async def test_rejected_in_the_servers_words(front: Address, secure_cluster: Cluster) -> None:
    """What pg_hba.conf says of an encrypted connection reaches the client field by field."""
    direct = await Frontend.connect(secure_cluster.address)
    async with direct:
        await direct.start_tls(tls.context())
        with pytest.raises(LoginError) as caught:
            await direct.authenticate(user=tls.PLAIN_ONLY_USER, database="postgres")
    assert [await refusal(front, tls.PLAIN_ONLY_USER)] == errors(caught.value.messages)


def test_certificate_towards_the_server(secure_cluster: Cluster, authority: Authority) -> None:
    """The proxy shows the server its certificate, and a user of that name gets in by it."""
    pair = authority.issue("client.example", common_name=tls.CERTIFICATE_USER)
    shown = {
        "pgseer.server_tls_cert_file": str(pair.chain),
        "pgseer.server_tls_key_file": str(pair.key),
    }
    for changes, expected in ((shown, "TLS"), ({}, "refused")):
        required = {"pgseer.server_tls_sslmode": "require", **changes}
        with running_proxy(secure_cluster.dsn(), required) as running:
            assert outcome(running.address, user=tls.CERTIFICATE_USER) == expected


@pytest.mark.parametrize("mode", ["allow", "prefer", "require"])
def test_service_user_by_certificate(
    secure_cluster: Cluster, authority: Authority, mode: str
) -> None:
    """The proxy's own connections show its certificate too: for verifiers, and for models."""
    pair = authority.issue("client.example", common_name=tls.CERTIFICATE_USER)
    changes = {
        "pgseer.auth": "scram",
        "pgseer.server_tls_sslmode": mode,
        "pgseer.server_tls_cert_file": str(pair.chain),
        "pgseer.server_tls_key_file": str(pair.key),
    }
    user = tls.CERTIFICATE_USER
    with postgres.temporary_database(secure_cluster, "by_certificate") as database:
        secure_cluster.execute(f"GRANT CREATE ON DATABASE {database} TO {user}")
        secure_cluster.execute(f"GRANT SELECT ON pg_authid TO {user}", database)
        with (
            running_proxy(secure_cluster.dsn(database, user=user), changes) as running,
            connect(
                running.address,
                dbname=database,
                user=postgres.SCRAM_USER,
                password=postgres.SECRET,
                sslmode="disable",
            ) as connection,
        ):
            assert connection.execute("SHOW MODELS").fetchall() == []


# --- towards clients ------------------------------------------------------------------------------


def client_sees(address: Address, **arguments: object) -> str:
    """Log in and run a query; return whether this side is encrypted, or why it was not to be."""
    try:
        with connect(address, **arguments) as connection:
            assert connection.execute("SELECT 1").fetchone() == (1,)
            return "TLS" if connection.pgconn.ssl_in_use else "plain"
    except psycopg.OperationalError as error:
        return str(error)


@pytest.mark.parametrize("mode", ["disable", "allow", "prefer", "require"])
@pytest.mark.parametrize("wish", ["disable", "prefer", "require"])
def test_client_tls_sslmode(
    secure_cluster: Cluster, proxy_pair: KeyPair, mode: str, wish: str
) -> None:
    """Clients get TLS, or not, as both sides wish; else they are told why."""
    with running_proxy(secure_cluster.dsn(), tls.shows(proxy_pair, mode)) as running:
        seen = client_sees(running.address, sslmode=wish)
    match mode, wish:
        case "disable", "require":
            assert "server does not support SSL, but SSL was required" in seen
        case "require", "disable":
            assert "FATAL:  TLS is required" in seen
            assert "sslmode=require" in seen
        case _, "disable":
            assert seen == "plain"
        case "disable", _:
            assert seen == "plain"
        case _:
            assert seen == "TLS"


@pytest.mark.asyncio
async def test_plain_is_refused(secure_cluster: Cluster, proxy_pair: KeyPair) -> None:
    """Where TLS is required a plain StartupMessage is answered by FATAL 28000, and by no login."""
    with running_proxy(secure_cluster.dsn(), tls.shows(proxy_pair, "require")) as running:
        fields = await refusal(running.address)
    assert (fields["S"], fields["C"]) == ("FATAL", "28000")


@pytest.mark.parametrize("mode", ["verify-ca", "verify-full"])
def test_client_certificates(
    secure_cluster: Cluster,
    authority: Authority,
    stranger: Authority,
    proxy_pair: KeyPair,
    mode: str,
) -> None:
    """A client must show a certificate of the authority; another one, or none, is refused."""
    changes = {
        **tls.shows(proxy_pair, mode),
        "pgseer.client_tls_ca_file": str(authority.file),
    }
    ours, another = (
        each.issue("client.example", common_name="c") for each in (authority, stranger)
    )
    with running_proxy(secure_cluster.dsn(), changes) as running:

        def seen(pair: KeyPair | None) -> str:
            files = {"sslcert": str(pair.chain), "sslkey": str(pair.key)} if pair else {}
            return client_sees(running.address, sslmode="require", **files)

        assert seen(ours) == "TLS"
        # With TLS 1.3 libpq has sent its StartupMessage by then, and the close may overtake the
        # alert that says why; PostgreSQL's own refusal has the same two faces.
        for refused in (another, None):
            answer = seen(refused)
            assert "SSL error" in answer or "server closed the connection unexpectedly" in answer
        assert "TLS is required" in client_sees(running.address, sslmode="disable")
        assert seen(ours) == "TLS"


def test_client_checks_the_proxy(front: Address, authority: Authority, stranger: Authority) -> None:
    """By verify-full a client believes the proxy's certificate, and no other authority's."""
    sees = client_sees(front, sslmode="verify-full", sslrootcert=str(authority.file))
    assert sees == "TLS"
    sees = client_sees(front, sslmode="verify-full", sslrootcert=str(stranger.file))
    assert "certificate verify failed" in sees


def test_defaults_fall_back_to_plain(front: Address) -> None:
    """Where channel binding cannot cross libpq's defaults still get in, the second time in clear.

    The documentation of `protocol.authentication` promises it.
    """
    arguments = {"user": postgres.SCRAM_USER, "password": postgres.SECRET}
    assert client_sees(front, sslmode="prefer", **arguments) == "plain"
    assert "channel binding cannot cross" in client_sees(front, sslmode="require", **arguments)


@pytest.mark.parametrize("version", ["TLSv1.1", "TLSv1.2", "TLSv1.3"])
def test_versions(front: Address, version: str) -> None:
    """TLS 1.2 and 1.3 are spoken, and nothing older."""
    sees = client_sees(
        front,
        sslmode="require",
        ssl_min_protocol_version=version if version != "TLSv1.1" else "TLSv1",
        ssl_max_protocol_version=version,
    )
    assert (sees == "TLS") == (version != "TLSv1.1")


@pytest.mark.asyncio
async def test_renewed_certificate(
    secure_cluster: Cluster, authority: Authority, proxy_pair: KeyPair, tmp_path: Path
) -> None:
    """After SIGHUP new clients see the renewed certificate; sessions that are there go on."""
    pair = KeyPair(tmp_path / "shown.pem", tmp_path / "shown.key")
    settings = tmp_path / "pgseer.toml"
    settings.write_text(
        f'[pgseer]\nhttp_port = 0\nclient_tls_cert_file = "{pair.chain}"\n'
        f'client_tls_key_file = "{pair.key}"\n'
    )

    def show(shown: KeyPair) -> None:
        pair.chain.write_bytes(shown.chain.read_bytes())
        pair.key.write_bytes(shown.key.read_bytes())

    show(proxy_pair)
    with proxy_process(secure_cluster.dsn(), tmp_path, "--config", str(settings)) as running:
        before = await Frontend.connect(running.address)
        async with before:
            await before.start_tls(tls.context())
            await before.authenticate(**login)
            old = certificate(before)
            show(authority.issue("renewed.example", "localhost"))
            running.signal(signal.SIGHUP)

            async def is_renewed() -> bool:
                async with await Frontend.connect(running.address) as client:
                    await client.start_tls(tls.context(authority.file))
                    await client.authenticate(**login)
                    return certificate(client) != old

            await until_true(is_renewed)
            assert await before.value("SELECT 1") == "1"


def certificate(client: Frontend) -> bytes | None:
    """Return the certificate that a client sees."""
    connection: ssl.SSLObject = client.writer.get_extra_info("ssl_object")
    return connection.getpeercert(binary_form=True)


# --- direct TLS -----------------------------------------------------------------------------------


@pytest.mark.skipif(psycopg.pq.version() < 170000, reason="libpq knows it since version 17")
@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_direct_by_libpq(secure_cluster: Cluster, proxy_pair: KeyPair, loop: str) -> None:
    """sslnegotiation=direct logs in, on either event loop, to a server older than that, too."""
    with tls.on_loop(loop, secure_cluster.dsn(), tls.shows(proxy_pair)) as address:
        assert client_sees(address, sslmode="require", sslnegotiation="direct") == "TLS"


@pytest.mark.asyncio
@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
@pytest.mark.parametrize("protocol", [None, "http/1.1", "postgresql2"])
async def test_direct_without_alpn(
    secure_cluster: Cluster, proxy_pair: KeyPair, loop: str, protocol: str | None
) -> None:
    """Without ALPN postgresql a connection that begins with TLS is closed without a word."""
    with tls.on_loop(loop, secure_cluster.dsn(), tls.shows(proxy_pair)) as address:
        try:
            client = await tls.direct_frontend(address, tls.context(alpn=protocol))
        except (ssl.SSLError, ConnectionError):
            return  # the handshake itself ended it, which is as good
        async with client:
            await client.send(startup(**login))
            assert await client.until_end() == []


@pytest.mark.asyncio
async def test_direct_by_the_protocols_name(front: Address) -> None:
    """A connection that begins with TLS and ALPN postgresql is served."""
    async with await tls.direct_frontend(front, tls.context(alpn=ALPN)) as client:
        await client.authenticate(**login)
        assert client.writer.get_extra_info("ssl_object").selected_alpn_protocol() == ALPN
        assert await client.value(IS_ENCRYPTED) == "t"


@pytest.mark.asyncio
async def test_direct_where_there_is_none(cluster: Cluster) -> None:
    """Where TLS is not offered a connection that begins with it is closed; others are served."""
    with running_proxy(cluster.dsn()) as running:
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await tls.direct_frontend(running.address, tls.context(alpn=ALPN))
        assert client_sees(running.address, sslmode="prefer") == "plain"


@pytest.mark.asyncio
@pytest.mark.parametrize("packet", [ssl_request(), gssenc_request()], ids=["SSL", "GSSENC"])
@pytest.mark.parametrize("way", ["direct", "asked for"])
async def test_encryption_within_encryption(front: Address, packet: bytes, way: str) -> None:
    """A request for encryption within TLS is refused as PostgreSQL does: an unknown protocol."""
    if way == "direct":
        client = await tls.direct_frontend(front, tls.context(alpn=ALPN))
    else:
        client = await Frontend.connect(front)
        await client.start_tls(tls.context())
    async with client:
        await client.send(packet, startup(**login))
        (fields,) = errors(await client.until_end())
    assert (fields["S"], fields["C"]) == ("FATAL", "0A000")
    assert fields["M"].startswith("unsupported frontend protocol 1234.56")


# --- the negotiation ------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_gssenc_then_ssl(front: Address) -> None:
    """GSSENCRequest is answered N, and an SSLRequest after it is served."""
    async with await Frontend.connect(front) as client:
        await client.send(gssenc_request())
        assert await client.receive_byte() == b"N"
        await client.start_tls(tls.context())
        await client.authenticate(**login)
        assert await client.value("SELECT 1") == "1"


@pytest.mark.asyncio
async def test_bytes_behind_gssenc_request(front: Address) -> None:
    """After N what comes is plain: a StartupMessage sent with the GSSENCRequest is served."""
    async with await Frontend.connect(front) as client:
        await client.send(gssenc_request(), startup(**login))
        assert await client.receive_byte() == b"N"
        await client.answer_authentication(ANYBODY, "")
        assert await client.value("SELECT 1") == "1"


@pytest.mark.asyncio
@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
async def test_injected_query(secure_cluster: Cluster, proxy_pair: KeyPair, loop: str) -> None:
    """Clear bytes behind an SSLRequest are refused: they never become part of the session."""
    with tls.on_loop(loop, secure_cluster.dsn(), tls.shows(proxy_pair)) as address:
        async with await Frontend.connect(address) as client:
            await client.send(ssl_request(), startup(**login), query("CREATE TABLE injected ()"))
            (fields,) = errors(await client.until_end())
            assert (fields["S"], fields["C"]) == ("FATAL", "08P01")
            assert fields["M"] == "received unencrypted data after SSL request"
        assert client_sees(address, sslmode="require") == "TLS"
    assert secure_cluster.rows("SELECT to_regclass('injected') IS NULL") == [(True,)]


@pytest.mark.asyncio
@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
@pytest.mark.parametrize("pause_s", [0.0, 0.05])
async def test_injected_before_the_handshake(
    secure_cluster: Cluster, proxy_pair: KeyPair, loop: str, pause_s: float
) -> None:
    """Clear bytes between the S and the handshake break it, and no session begins."""
    with tls.on_loop(loop, secure_cluster.dsn(), tls.shows(proxy_pair)) as address:
        async with await Frontend.connect(address) as client:
            await client.send(ssl_request())
            assert await client.receive_byte() == b"S"
            await client.send(startup(**login))
            await asyncio.sleep(pause_s)
            with pytest.raises((ssl.SSLError, ConnectionError)):
                await client.writer.start_tls(tls.context(), server_hostname="localhost")
        assert client_sees(address, sslmode="require") == "TLS"


@pytest.mark.asyncio
@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
@pytest.mark.parametrize("answer", ["S and an error", "S and a login", "neither S nor N"])
async def test_lying_server(loop: str, answer: str) -> None:
    """Clear bytes that come with a server's S are not believed: the login fails by 08001.

    CVE-2021-23222: whoever sits between the two could answer for the server.
    """
    ready = frame("R", bytes(4)) + frame("Z", b"I")
    lies = {
        "S and an error": b"S" + frame("E", b"SFATAL\0VFATAL\0C28P01\0Mlies\0\0"),
        "S and a login": b"S" + ready,
        "neither S nor N": ready,
    }

    async def lie(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(8)
        writer.write(lies[answer])
        await reader.read()
        writer.close()

    server = await asyncio.start_server(lie, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        dsn = f"host=127.0.0.1 port={port} user=postgres dbname=postgres"
        with tls.on_loop(loop, dsn, {"pgseer.server_tls_sslmode": "require"}) as address:
            fields = await refusal(address)
    assert (fields["S"], fields["C"]) == ("FATAL", "08001")


# --- the session ----------------------------------------------------------------------------------


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_much_data(secure_cluster: Cluster, proxy_pair: KeyPair, loop: str) -> None:
    """Megabytes cross both encrypted connections in both directions, to the last byte."""
    changes = {"pgseer.server_tls_sslmode": "require", **tls.shows(proxy_pair)}
    rows_sent = [f"{number}\t{number * 7919:0>200}\n".encode() for number in range(60_000)]
    with (
        tls.on_loop(loop, secure_cluster.dsn(), changes) as address,
        connect(address, sslmode="require") as connection,
    ):
        cursor = connection.cursor()
        cursor.execute("CREATE TEMP TABLE much (number int, filler text)")
        with cursor.copy("COPY much FROM STDIN") as copy:
            for row in rows_sent:
                copy.write(row)
        with cursor.copy("COPY (TABLE much ORDER BY number) TO STDOUT") as copy:
            received = b"".join(map(bytes, copy))
    assert hashlib.sha256(received).digest() == hashlib.sha256(b"".join(rows_sent)).digest()


@pytest.mark.asyncio
async def test_slow_reader(front: Address) -> None:
    """A client that reads late gets everything, also when both connections had to wait."""
    async with await Frontend.connect(front) as client:
        await client.start_tls(tls.context())
        await client.authenticate(**login)
        await client.send(
            query("SELECT repeat('x', 1000) FROM generate_series(1, 30000)"),
            query("SELECT 'next'"),
        )
        await asyncio.sleep(0.5)
        reply = await client.until("Z")
        assert len(rows(reply)) == 30_000
        assert {len(value or "") for (value,) in rows(reply)} == {1000}
        assert rows(await client.until("Z")) == [("next",)]


@pytest.mark.asyncio
async def test_terminated(front: Address, secure_cluster: Cluster) -> None:
    """The end of a backend reaches the client through TLS: its FATAL error, then a clean end."""
    async with await Frontend.connect(front) as client:
        await client.start_tls(tls.context())
        await client.authenticate(**login)
        secure_cluster.execute(f"SELECT pg_terminate_backend({client.pid})")
        rest = await client.until_end()
        assert codes(rest) == "E"
        assert rest[0].sqlstate == "57P01"


@pytest.mark.asyncio
@pytest.mark.parametrize("way", ["close", "reset"])
async def test_client_leaves(front: Address, secure_cluster: Cluster, way: str) -> None:
    """However a client leaves its TLS connection, its backend ends."""
    client = await Frontend.connect(front)
    await client.start_tls(tls.context())
    await client.authenticate(**login)
    if way == "reset":
        client.reset()
    await client.close()

    async def is_gone() -> bool:
        here = f"SELECT count(*) FROM pg_stat_activity WHERE pid = {client.pid}"
        return await asyncio.to_thread(secure_cluster.rows, here) == [(0,)]

    await until_true(is_gone)


# --- cancelling -----------------------------------------------------------------------------------


async def sleeping(address: Address) -> Frontend:
    """Return a client, connected by TLS, whose backend sleeps."""
    client = await Frontend.connect(address)
    await client.start_tls(tls.context())
    await client.authenticate(**login)
    await client.send(query("SELECT pg_sleep(60)"))
    return client


@pytest.mark.asyncio
@pytest.mark.parametrize("way", ["TLS", "plain", "direct TLS"])
async def test_cancel(front: Address, secure_cluster: Cluster, way: str) -> None:
    """A CancelRequest works in clear and by TLS, and is answered by nothing but the end."""
    async with await sleeping(front) as client:
        await until_asleep(secure_cluster, client.pid)
        if way == "plain":
            assert await send_cancel(front, client.pid, client.secret) == b""
        else:
            key = client.pid.to_bytes(4) + client.secret
            if way == "TLS":
                other = await Frontend.connect(front)
                await other.start_tls(tls.context())
            else:
                other = await tls.direct_frontend(front, tls.context(alpn=ALPN))
            async with other:
                await other.send(startup_packet(80877102, key))
                assert await other.until_end() == []
        (fields,) = errors(await client.until("Z"))
        assert fields["C"] == "57014"


async def until_asleep(cluster: Cluster, pid: int) -> None:
    """Wait until a backend runs pg_sleep."""
    sleeps = f"SELECT wait_event = 'PgSleep' FROM pg_stat_activity WHERE pid = {pid}"

    async def is_asleep() -> bool:
        return await asyncio.to_thread(cluster.rows, sleeps) == [(True,)]

    await until_true(is_asleep)


@pytest.mark.asyncio
@pytest.mark.skipif(psycopg.pq.version() < 170000, reason="libpq encrypts it since version 17")
async def test_cancel_by_libpq(secure_cluster: Cluster, proxy_pair: KeyPair) -> None:
    """libpq cancels a query over TLS where the proxy takes nothing else."""
    with running_proxy(secure_cluster.dsn(), tls.shows(proxy_pair, "require")) as running:
        arguments = {"host": "localhost", "hostaddr": running.address[0], "sslmode": "require"}
        connection = await psycopg.AsyncConnection.connect(
            port=running.address[1], user=ANYBODY, dbname="postgres", **arguments
        )
        async with connection:
            running_query = asyncio.create_task(connection.execute("SELECT pg_sleep(60)"))
            await until_asleep(secure_cluster, connection.info.backend_pid)
            await connection.cancel_safe(timeout=20)
            with pytest.raises(psycopg.errors.QueryCanceled):
                await running_query


@pytest.mark.asyncio
@pytest.mark.parametrize("mode", ["allow", "prefer", "require", "verify-full"])
async def test_cancel_reaches_the_server(
    secure_cluster: Cluster, authority: Authority, mode: str
) -> None:
    """By every sslmode a CancelRequest reaches the server as the session did."""
    dsn = psycopg.conninfo.make_conninfo(secure_cluster.dsn(), host="localhost")
    changes = {
        "pgseer.server_tls_sslmode": mode,
        "pgseer.server_tls_ca_file": str(authority.file),
    }
    with running_proxy(dsn, changes) as running:
        async with await Frontend.login(running.address, **login) as client:
            await client.send(query("SELECT pg_sleep(60)"))
            await until_asleep(secure_cluster, client.pid)
            await send_cancel(running.address, client.pid, client.secret)
            (fields,) = errors(await client.until("Z"))
            assert fields["C"] == "57014"
