"""Who gets in, by which proof, and in whose words everybody else is refused."""

from __future__ import annotations

import asyncio
import os
import struct
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import psycopg
import pytest
from scramp import ScramClient

from tests.support import postgres, tls
from tests.support.postgres import Cluster
from tests.support.proxy import Address, proxy_process, running_proxy
from tests.support.tls import KeyPair, connect
from tests.support.wire import Frontend, LoginError, Message, errors, frame, query, startup, text

pytest_plugins = ("tests.support.tls_fixtures",)

methods = {
    "trust": postgres.TRUST_USER,
    "password": postgres.PASSWORD_USER,
    "md5": postgres.MD5_USER,
    "scram-sha-256": postgres.SCRAM_USER,
}
by_password = [method for method in methods if method != "trust"]
WHO_AM_I = """
    SELECT session_user::text, ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()
"""


@dataclass(frozen=True, slots=True)
class Front:
    """A proxy before the TLS cluster.

    Parameters
    ----------
    auth : relay or scram
    upstream : plain, or TLS with which certificate as seen from the proxy's clients
    """

    address: Address
    auth: str
    upstream: str

    @property
    def binds(self) -> bool:
        """Whether SCRAM-SHA-256-PLUS is there for a client with TLS."""
        return self.auth == "scram" or self.upstream == "TLS, same certificate"


fronts = [
    (auth, upstream)
    for auth in ("relay", "scram")
    for upstream in ("plain", "TLS, other certificate", "TLS, same certificate")
]


@pytest.fixture(
    scope="module", params=fronts, ids=[f"{auth}: upstream {kind}" for auth, kind in fronts]
)
def front(
    request: pytest.FixtureRequest,
    secure_cluster: Cluster,
    server_pair: KeyPair,
    proxy_pair: KeyPair,
) -> Iterator[Front]:
    """Every way in which a proxy may stand between two kinds of connections."""
    auth, upstream = request.param
    shown = server_pair if upstream == "TLS, same certificate" else proxy_pair
    changes = {
        "pgseer.auth": auth,
        "pgseer.server_tls_sslmode": "disable" if upstream == "plain" else "require",
        **tls.shows(shown),
    }
    with running_proxy(secure_cluster.dsn(), changes) as running:
        yield Front(running.address, auth, upstream)


@pytest.fixture(scope="module")
def scram(secure_cluster: Cluster, proxy_pair: KeyPair) -> Iterator[Address]:
    """A proxy with `auth = scram`, TLS on both sides, and a certificate of its own."""
    changes = {"pgseer.auth": "scram", "pgseer.server_tls_sslmode": "require"}
    with running_proxy(secure_cluster.dsn(), {**changes, **tls.shows(proxy_pair)}) as running:
        yield running.address


# --- the table ------------------------------------------------------------------------------------


def complaint(front: Front, client: str, binding: str, method: str) -> str | None:
    """Return in which words a right password fails, or None: the table of the documentation."""
    if binding == "require" and method == "trust":
        return "channel binding required, but server authenticated client without channel binding"
    if binding == "require" and method != "scram-sha-256":
        return "channel binding required but not supported by server's authentication request"
    if binding == "require" and client == "plain":
        return "channel binding required, but SSL not in use"
    if binding == "require" and not front.binds:
        return "server did not offer an authentication method that supports channel binding"
    impossible = ("relay", "TLS, other certificate", "TLS", "prefer", "scram-sha-256")
    if (front.auth, front.upstream, client, binding, method) == impossible:
        return "channel binding cannot cross this proxy"
    return None


@pytest.mark.parametrize("method", methods)
@pytest.mark.parametrize("binding", ["disable", "prefer", "require"])
@pytest.mark.parametrize("client", ["plain", "TLS"])
def test_right_password(front: Front, client: str, binding: str, method: str) -> None:
    """A client of libpq logs in, or fails, as the table of `protocol.authentication` says."""
    arguments = {
        "user": methods[method],
        "password": postgres.SECRET,
        "channel_binding": binding,
        "sslmode": "require" if client == "TLS" else "disable",
    }
    expected = complaint(front, client, binding, method)
    if expected is not None:
        with pytest.raises(psycopg.OperationalError, match=expected):
            connect(front.address, **arguments)
        return
    with connect(front.address, **arguments) as connection:
        row = connection.execute(WHO_AM_I).fetchone()
        assert row == (methods[method], front.upstream != "plain")
        assert connection.pgconn.ssl_in_use == (client == "TLS")


@pytest.mark.parametrize("binding", ["disable", "prefer", "require"])
@pytest.mark.parametrize("client", ["plain", "TLS"])
def test_wrong_password_by_libpq(front: Front, client: str, binding: str) -> None:
    """A wrong password never logs in; where it is sent at all PostgreSQL's words come back."""
    expected = complaint(front, client, binding, "scram-sha-256")
    with pytest.raises(
        psycopg.OperationalError,
        match=expected or 'password authentication failed for user "scram_user"',
    ):
        connect(
            front.address,
            user=postgres.SCRAM_USER,
            password="wrong",
            channel_binding=binding,
            sslmode="require" if client == "TLS" else "disable",
        )


async def refusal(
    address: Address, user: str, secret: str, *, encrypted: bool = False, **options: str
) -> dict[str, str]:
    """Return the fields of the one error by which a login is refused."""
    async with await Frontend.connect(address) as frontend:
        if encrypted:
            await frontend.start_tls(tls.context())
        with pytest.raises(LoginError) as caught:
            await frontend.authenticate(user=user, database="postgres", secret=secret, **options)
    (fields,) = errors(caught.value.messages)
    return fields


@pytest.mark.asyncio
@pytest.mark.parametrize("method", by_password)
@pytest.mark.parametrize("client", ["plain", "TLS"])
async def test_wrong_password(
    front: Front, secure_cluster: Cluster, client: str, method: str
) -> None:
    """A wrong password is refused by the very fields that PostgreSQL itself sends."""
    user = methods[method]
    fields = await refusal(front.address, user, "wrong", encrypted=client == "TLS")
    assert fields == await refusal(secure_cluster.address, user, "wrong")
    assert fields["C"] == "28P01"


@pytest.mark.asyncio
@pytest.mark.parametrize("role", ["nobody at all", "", "rejected_user", "unknown_user"])
async def test_refused_user(front: Front, secure_cluster: Cluster, role: str) -> None:
    """A role that may not log in is refused by the fields that PostgreSQL sends."""
    through, direct = [
        await refusal(address, role, postgres.SECRET)
        for address in (front.address, secure_cluster.address)
    ]
    if role == "rejected_user":  # PostgreSQL says which kind of connection it rejected
        upstream = "no encryption" if front.upstream == "plain" else "SSL encryption"
        through["M"] = through["M"].replace(upstream, "no encryption")
    assert through == direct


# --- auth = scram ---------------------------------------------------------------------------------


@pytest.fixture
def late_user(secure_cluster: Cluster) -> Iterator[str]:
    """A role that is made when the proxy runs already; its password is 'first'."""
    secure_cluster.execute("CREATE ROLE late_user LOGIN PASSWORD 'first'")
    yield "late_user"
    secure_cluster.execute("DROP ROLE late_user")


def log_in(address: Address, user: str, password: str) -> str:
    """Log in with all of libpq's defaults but TLS, and return who one is then."""
    with connect(address, user=user, password=password, sslmode="require") as connection:
        row = connection.execute("SELECT session_user::text").fetchone()
    assert row is not None
    return str(row[0])


def test_new_user(scram: Address, late_user: str) -> None:
    """A user made after the start of the proxy logs in: there is no list of users."""
    assert log_in(scram, late_user, "first") == late_user


def test_changed_password(scram: Address, late_user: str, secure_cluster: Cluster) -> None:
    """A changed password counts at once, and the old one no longer."""
    assert log_in(scram, late_user, "first") == late_user
    secure_cluster.execute(f"ALTER ROLE {late_user} PASSWORD 'second'")
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        log_in(scram, late_user, "first")
    assert log_in(scram, late_user, "second") == late_user


changes = {
    "an expired password": ("VALID UNTIL '2001-01-01'", "28P01"),
    "no password": ("PASSWORD NULL", "28P01"),
    "NOLOGIN": ("NOLOGIN", "28000"),
    "no connections left": ("CONNECTION LIMIT 0", "53300"),
}


@pytest.mark.asyncio
@pytest.mark.parametrize("change", changes)
async def test_right_password_is_not_enough(
    scram: Address, late_user: str, secure_cluster: Cluster, change: str
) -> None:
    """What forbids a role to log in is PostgreSQL's to say, and it says it in its own words."""
    clause, sqlstate = changes[change]
    secure_cluster.execute(f"ALTER ROLE {late_user} {clause}")
    fields = await refusal(scram, late_user, "first", encrypted=True)
    direct = await refusal(secure_cluster.address, late_user, "first", encrypted=True)
    assert fields == direct
    assert fields["C"] == sqlstate


@pytest.mark.asyncio
async def test_unknown_user_is_not_told_apart(scram: Address, late_user: str) -> None:
    """An unknown user is refused as a known one with a wrong password is, but for the name."""
    known = await refusal(scram, late_user, "wrong", encrypted=True)
    unknown = await refusal(scram, "none_a", "wrong", encrypted=True)
    assert {**known, "M": known["M"].replace(late_user, "none_a")} == unknown


async def challenge(address: Address, user: str) -> tuple[list[bytes], list[str]]:
    """Return the mechanisms that a user is offered, and the parts of the challenge."""
    async with await Frontend.connect(address) as frontend:
        await frontend.start_tls(tls.context())
        await frontend.send(startup(user=user, database="postgres"))
        (offer,) = await frontend.until("R")
        await frontend.send(initial_response(b"n,,n=,r=abcdefgh"))
        (answer,) = await frontend.until("R")
        await frontend.send(b"X\0\0\0\4")
    return offer.body[4:-1].split(b"\0")[:-1], answer.body[4:].decode().split(",")


def initial_response(response: bytes, mechanism: str = "SCRAM-SHA-256") -> bytes:
    """Return a SASLInitialResponse."""
    return frame("p", text(mechanism) + struct.pack("!i", len(response)) + response)


@pytest.mark.asyncio
async def test_unknown_user_is_challenged(scram: Address, late_user: str) -> None:
    """An unknown user gets a challenge of the same shape, and always the same salt."""
    known, first, second, third = [
        await challenge(scram, user) for user in (late_user, "none_a", "none_a", "none_b")
    ]
    assert known[0] == first[0] == [b"SCRAM-SHA-256-PLUS", b"SCRAM-SHA-256"]
    assert [len(part) for part in known[1]] == [len(part) for part in first[1]]
    assert first[1][1:] == second[1][1:]
    assert first[1][1] != third[1][1]
    assert first[1][2] == known[1][2]


@pytest.mark.asyncio
async def test_downgrade(scram: Address) -> None:
    """A client that believes that there is no channel binding, where there is, is refused."""
    fields = await answer_to_initial(scram, initial_response(b"y,,n=,r=abcdefgh"), encrypted=True)
    assert fields["C"] == "28000"
    assert fields["M"] == "SCRAM channel binding negotiation error"


@pytest.mark.asyncio
async def test_foreign_certificate(scram: Address) -> None:
    """A client that is bound to another certificate than the proxy's is refused."""
    client = ScramClient(
        ["SCRAM-SHA-256-PLUS"],
        postgres.SCRAM_USER,
        postgres.SECRET,
        channel_binding=("tls-server-end-point", b"the hash of another certificate"),
    )
    async with await Frontend.connect(scram) as frontend:
        await frontend.start_tls(tls.context())
        await frontend.send(startup(user=postgres.SCRAM_USER, database="postgres"))
        await frontend.until("R")
        first = client.get_client_first().encode()
        await frontend.send(initial_response(first, "SCRAM-SHA-256-PLUS"))
        client.set_server_first((await frontend.until("R"))[0].body[4:].decode())
        await frontend.send(frame("p", client.get_client_final().encode()))
        fields = only_error(await frontend.until_end())
    assert fields["C"] == "28000"
    assert fields["M"] == "SCRAM channel binding check failed"


@pytest.mark.asyncio
async def test_binding_without_tls(scram: Address) -> None:
    """A client without TLS cannot choose channel binding: it was not offered."""
    sent = initial_response(b"p=tls-server-end-point,,n=,r=abcdefgh", "SCRAM-SHA-256-PLUS")
    assert (await answer_to_initial(scram, sent))["C"] == "08P01"


@pytest.mark.asyncio
async def test_asyncpg(scram: Address) -> None:
    """asyncpg, which knows no channel binding, logs in over TLS."""
    connection = await asyncpg.connect(
        host=scram[0],
        port=scram[1],
        user=postgres.SCRAM_USER,
        password=postgres.SECRET,
        database="postgres",
        ssl=tls.context(),
    )
    assert await connection.fetchval("SELECT session_user::text") == postgres.SCRAM_USER
    await connection.close()


def test_psql(scram: Address) -> None:
    """psql, by another libpq perhaps, logs in with its defaults and with channel binding."""
    bin_dir = tls.binaries()
    assert bin_dir is not None
    for binding in ("", " channel_binding=require"):
        where = f"host={scram[0]} port={scram[1]} user={postgres.SCRAM_USER} dbname=postgres"
        done = subprocess.run(
            [bin_dir / "psql", "-XAt", where + " sslmode=require" + binding, "-c", WHO_AM_I],
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
            env={**os.environ, "PGPASSWORD": postgres.SECRET, "PGCLIENTENCODING": "UTF8"},
        )
        assert (done.stdout, done.stderr) == (f"{postgres.SCRAM_USER}|t\n", "")


@pytest.mark.asyncio
async def test_many_at_once(scram: Address) -> None:
    """Logins that run at the same time do not disturb each other."""

    async def one(secret: str) -> str:
        try:
            async with await Frontend.login(
                scram, user=postgres.SCRAM_USER, database="postgres", secret=secret
            ) as client:
                return await client.value("SELECT session_user") or ""
        except LoginError as error:
            return error.sqlstate

    secrets = [postgres.SECRET, "wrong"] * 10
    outcomes = await asyncio.gather(*map(one, secrets))
    assert outcomes == [postgres.SCRAM_USER, "28P01"] * 10


# --- the service user -----------------------------------------------------------------------------


async def refusal_by_service(cluster: Cluster, user: str, secret: str) -> dict[str, str]:
    """Return the error of a good login where the proxy has certain service credentials."""
    changes = {"pgseer.auth": "scram", "pgseer.server_tls_sslmode": "disable"}
    with running_proxy(cluster.dsn(user=user, secret=secret), changes) as running:
        return await refusal(running.address, postgres.SCRAM_USER, postgres.SECRET)


@pytest.mark.asyncio
async def test_service_user_without_privilege(secure_cluster: Cluster) -> None:
    """Where the service user may not read pg_authid the client is told so, and what helps."""
    fields = await refusal_by_service(secure_cluster, postgres.TRUST_USER, "")
    assert (fields["S"], fields["C"]) == ("FATAL", "28000")
    assert fields["M"] == "the service user of the proxy may not read SCRAM verifiers"
    assert "pg_authid" in fields["H"]


@pytest.mark.asyncio
@pytest.mark.parametrize("secret", ["wrong", ""])
async def test_service_user_without_password(secure_cluster: Cluster, secret: str) -> None:
    """Where the service user itself cannot log in the client is told so."""
    fields = await refusal_by_service(secure_cluster, postgres.PASSWORD_USER, secret)
    assert (fields["S"], fields["C"]) == ("FATAL", "08001")
    assert fields["M"] == "cannot read SCRAM verifiers from the upstream server"
    assert "password" in fields["D"]


@pytest.mark.asyncio
async def test_service_user_who_may_read(secure_cluster: Cluster) -> None:
    """The service user need not be a superuser: the right to read pg_authid is enough."""
    secure_cluster.execute("CREATE ROLE reader LOGIN")
    secure_cluster.execute("GRANT SELECT ON pg_authid TO reader")
    changes = {"pgseer.auth": "scram", "pgseer.server_tls_sslmode": "disable"}
    with running_proxy(secure_cluster.dsn(user="reader"), changes) as running:
        async with await Frontend.login(
            running.address,
            user=postgres.SCRAM_USER,
            database="postgres",
            secret=postgres.SECRET,
        ) as client:
            assert await client.value("SELECT session_user") == postgres.SCRAM_USER


@pytest.mark.asyncio
async def test_scram_before_a_server_without_tls(cluster: Cluster) -> None:
    """`auth = scram` works by default before a server that offers no TLS."""
    with running_proxy(cluster.dsn(), {"pgseer.auth": "scram"}) as running:
        async with await Frontend.login(
            running.address,
            user=postgres.SCRAM_USER,
            database="postgres",
            secret=postgres.SECRET,
        ) as client:
            assert await client.value("SELECT session_user") == postgres.SCRAM_USER


@pytest.mark.asyncio
async def test_nothing_secret_is_logged(
    secure_cluster: Cluster, late_user: str, tmp_path: Path
) -> None:
    """At the most talkative level the log has no password, no verifier and no part of one."""
    settings = tmp_path / "pgseer.toml"
    settings.write_text('[pgseer]\nhttp_port = 0\nauth = "scram"\nlog_level = "debug"\n')
    stored = secure_cluster.rows("SELECT rolpassword FROM pg_authid WHERE rolname = 'late_user'")
    with proxy_process(secure_cluster.dsn(), tmp_path, "--config", str(settings)) as running:
        for user, secret in ((late_user, "first"), (postgres.PASSWORD_USER, postgres.SECRET)):
            async with await Frontend.login(
                running.address, user=user, database="postgres", secret=secret
            ) as client:
                assert await client.value("SELECT 1") == "1"
            await refusal(running.address, user, "a wrong guess")
        secure_cluster.execute(f"ALTER ROLE {late_user} VALID UNTIL '2001-01-01'")
        await refusal(running.address, late_user, "first")
    log = running.log.read_text()
    assert "the login will be refused" in log
    secrets = ["a wrong guess", postgres.SECRET, postgres.SUPERUSER_SECRET]
    secrets += str(stored[0][0]).replace("$", ":").split(":")[2:]
    assert [secret for secret in secrets if secret in log] == []


# --- what is no login -----------------------------------------------------------------------------


def only_error(messages: list[Message]) -> dict[str, str]:
    """Return the fields of the one error, which is fatal and the last message."""
    (fields,) = errors(messages)
    assert messages[-1].code == "E"
    assert fields["S"] == "FATAL"
    return fields


async def answer_to_initial(
    address: Address, sent: bytes, *, encrypted: bool = False
) -> dict[str, str]:
    """Return the error that ends the connection when `sent` answers AuthenticationSASL."""
    async with await Frontend.connect(address) as frontend:
        if encrypted:
            await frontend.start_tls(tls.context())
        await frontend.send(startup(user=postgres.SCRAM_USER, database="postgres"))
        await frontend.until("R")
        await frontend.send(sent)
        return only_error(await frontend.until_end())


intruders = {
    "of another user": startup(user=postgres.TRUST_USER, database="postgres"),
    "of an unknown database": startup(user=postgres.TRUST_USER, database="nowhere"),
    "with many options": startup(user=postgres.TRUST_USER, database="postgres", options="x" * 900),
}


@pytest.mark.asyncio
@pytest.mark.parametrize("stage", ["first", "second"])
@pytest.mark.parametrize("intruder", intruders)
async def test_second_startup_message(front: Front, intruder: str, stage: str) -> None:
    """A second StartupMessage within SCRAM ends the connection and starts no session.

    CVE-2026-107350: a pooler took it, and its sender became another user.
    """
    async with await Frontend.connect(front.address) as frontend:
        await frontend.send(startup(user=postgres.SCRAM_USER, database="postgres"))
        await frontend.until("R")
        if stage == "second":
            await frontend.send(initial_response(b"n,,n=,r=abcdefgh"))
            await frontend.until("R")
        await frontend.send(intruders[intruder], query("SELECT 1"))
        assert only_error(await frontend.until_end())["C"] == "08P01"


malformed = {
    "an inner length of -2": frame("p", text("SCRAM-SHA-256") + struct.pack("!i", -2)),
    "an inner length of 2^31-1": frame("p", text("SCRAM-SHA-256") + struct.pack("!i", 2**31 - 1)),
    "an inner length too long": frame("p", text("SCRAM-SHA-256") + struct.pack("!i", 5) + b"n,,n"),
    "bytes behind it": frame("p", text("SCRAM-SHA-256") + struct.pack("!i", 3) + b"n,,n"),
    "no end of the name": frame("p", b"SCRAM-SHA-256"),
    "an empty message": frame("p"),
    "a length of 3": b"p\0\0\0\3",
    "a length of 2^31-1": b"p\x7f\xff\xff\xff",
    "a length of -1": b"p\xff\xff\xff\xff",
    "a query": query("SELECT 1"),
    "an unknown mechanism": initial_response(b"n,,n=,r=abc", "SCRAM-MD4"),
    "an authorisation identity": initial_response(b"n,a=root,n=,r=abcdefgh"),
    "a mandatory extension": initial_response(b"n,,m=x,n=,r=abcdefgh"),
    "no nonce": initial_response(b"n,,n="),
    "a nonce with a comma": initial_response(b"n,,n=,r=ab\x01c"),
    "not UTF-8": initial_response(b"\xff\xfe,,n=,r=abc"),
    "too long": initial_response(b"n,,n=,r=" + b"a" * 5000),
    "much too long": initial_response(b"n,,n=,r=" + b"a" * 1_000_000),
}
unlike_others = {
    "an authorisation identity": ("0A000",),
    "a mandatory extension": ("0A000",),
    "too long": ("08P01", "28P01"),  # the latter is what PostgreSQL says
}


@pytest.mark.asyncio
@pytest.mark.parametrize("fault", malformed)
async def test_malformed_response(front: Front, fault: str) -> None:
    """A malformed message in place of the proof ends the connection by one FATAL error."""
    fields = await answer_to_initial(front.address, malformed[fault])
    assert fields["C"] in unlike_others.get(fault, ("08P01",))


@pytest.mark.asyncio
async def test_password_that_nobody_asked_for(front: Front) -> None:
    """A message behind a login that needs no password is not taken for a password."""
    async with await Frontend.connect(front.address) as frontend:
        await frontend.send(
            startup(user=postgres.TRUST_USER, database="postgres"), frame("p", text("x"))
        )
        assert only_error(await frontend.until_end())["C"] == "08P01"
