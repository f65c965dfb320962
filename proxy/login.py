"""One login: the startup packet goes upstream, and the authentication crosses back and forth.

Owns the two ways to log in. `relay`: every message crosses, and the proxy knows no secret. `scram`:
the client proves itself to the proxy by the upstream's own verifier, and the key that its proof
gives away logs in upstream; so TLS, and channel binding, may end here. A wrong password is refused
by the upstream all the same: in its words, in its log, after its delays. Leaves what may cross to
`protocol.authentication` and the mathematics to `protocol.scram`.
"""

from __future__ import annotations

import asyncio
import secrets
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from proxy.errors import (
    AuthenticationError,
    RemoteProtocolError,
    SettingsError,
    UpstreamError,
    UpstreamRefusedError,
)
from proxy.logs import get_logger
from proxy.peer import Peer, PeerLost
from proxy.protocol import message_types as t
from proxy.protocol.authentication import (
    LoginRelay,
    SASLInitialResponse,
    decode_mechanisms,
    encode_mechanisms,
)
from proxy.protocol.messages import StartupMessage
from proxy.protocol.scram.client import ScramClient
from proxy.protocol.scram.credentials import RecoveredKey
from proxy.protocol.scram.keys import KEY_BYTES, ScramKeys, Verifier
from proxy.protocol.scram.server import ScramServer
from proxy.protocol.wire import frame, int32
from proxy.session.session import LoggedIn
from proxy.tls import certificate_hash
from proxy.upstream import Connector

_MESSAGE_LIMIT = 64 * 1024
_UPSTREAM_MESSAGE_LIMIT = 1 << 20
_WRONG_PASSWORD = "28P01"  # noqa: S105 - an SQLSTATE
_NO_ANSWER_WANTED = frozenset((t.AUTHENTICATION_OK, t.AUTHENTICATION_SASL_FINAL))

VerifierOf = Callable[[str], Awaitable[Verifier]]
"""The upstream's SCRAM verifier of a user; a mock one for a user without."""


class LoginRefused(Exception):  # noqa: N818 - the client has its ErrorResponse already
    """The upstream refused the login and the client was told in the upstream's own words."""


@dataclass(frozen=True, slots=True)
class LoginPolicy:
    """What does not change from login to login.

    Parameters
    ----------
    connector : to the upstream
    verifier_of : for `auth = scram`; None relays
    certificate : our own as DER, what clients see; None without TLS
    """

    connector: Connector
    verifier_of: VerifierOf | None
    certificate: bytes | None


async def log_in(
    client: Peer, startup: StartupMessage, policy: LoginPolicy, *, client_tls: bool
) -> LoggedIn:
    """Take one client through its login; return the session's upstream.

    Raises
    ------
    LoginRefused
        The upstream said no; the client was told.
    PeerLost
        The client went away.
    ProxyError
        To be told to the client.
    """
    attempts = policy.connector.attempts()
    for number, tls in enumerate(attempts):
        is_last = number == len(attempts) - 1
        upstream, is_encrypted = await _connect(policy.connector, tls=tls, is_last=is_last)
        if upstream is None:
            continue
        client.on_lost = upstream.abort
        try:
            login = Login(client, upstream, startup, policy, (client_tls, is_encrypted))
            done = await login.run(may_retry=not is_last)
        except BaseException:
            upstream.abort()
            raise
        if done is not None:
            return done
        upstream.abort()
    raise UpstreamRefusedError("no way to connect to the upstream server was accepted")


async def _connect(connector: Connector, *, tls: bool, is_last: bool) -> tuple[Peer | None, bool]:
    try:
        return await connector.connect(tls=tls)
    except UpstreamRefusedError:
        if is_last:
            raise
        return None, False


class Login:
    """One attempt."""

    def __init__(
        self,
        client: Peer,
        upstream: Peer,
        startup: StartupMessage,
        policy: LoginPolicy,
        encrypted: tuple[bool, bool],
    ) -> None:
        self._client = client
        self._upstream = upstream
        self._startup = startup
        self._policy = policy
        self._client_tls, self._upstream_tls = encrypted
        certificate = _peer_certificate(upstream)
        self._relay = LoginRelay(
            client_tls=self._client_tls,
            upstream_tls=self._upstream_tls,
            same_certificate=certificate is not None and certificate == policy.certificate,
        )
        parameters = startup.parameters
        user = parameters.get(b"user", b"").decode("utf-8", "replace")
        self._result = LoggedIn(
            upstream=upstream,
            database=parameters.get(b"database", b"").decode("utf-8", "replace") or user,
            user=user,
            cancel_key=b"",
            status=t.IDLE,
            is_replication=_is_true(parameters.get(b"replication", b"")),
            upstream_tls=self._upstream_tls,
        )

    async def run(self, *, may_retry: bool) -> LoggedIn | None:
        """Log in; None if the upstream refused this kind of connection and another may be tried."""
        self._upstream.write(self._startup.packet)
        held = b""
        while True:
            kind, body = await self._from_upstream()
            if kind == t.NEGOTIATE_PROTOCOL_VERSION and may_retry:
                held += frame(kind, body)  # says nothing yet of this kind of connection
                continue
            if kind == t.ERROR_RESPONSE:
                if may_retry:
                    return None
                self._client.write(held + frame(kind, body))
                raise LoginRefused
            may_retry = False
            if held:
                self._client.write(held)
                held = b""
            if kind == t.AUTHENTICATION:
                await self._authenticate(body)
                continue
            self._client.write(frame(kind, body))
            if kind == t.READY_FOR_QUERY:
                self._result.status = body[0] if body else t.IDLE
                return self._result
            self._note(kind, body)

    def _note(self, kind: int, body: bytes) -> None:
        if kind == t.BACKEND_KEY_DATA:
            self._result.cancel_key = body
        elif kind == t.PARAMETER_STATUS:
            name, _, value = body.partition(b"\0")
            key = name.decode("ascii", "replace")
            self._result.parameters[key] = value.rstrip(b"\0").decode("utf-8", "replace")
        elif kind not in t.BACKEND_TYPES:
            raise RemoteProtocolError("upstream broke the protocol during login")

    async def _authenticate(self, body: bytes) -> None:
        if len(body) < 4:
            raise RemoteProtocolError("upstream broke the protocol during login")
        request = int.from_bytes(body[:4], "big")
        if request == t.AUTHENTICATION_SASL and self._policy.verifier_of is not None:
            await self._check_by_verifier(decode_mechanisms(body[4:]), self._policy.verifier_of)
            return
        rest = self._relay.from_upstream(request, body[4:])
        self._client.write(frame(t.AUTHENTICATION, body[:4] + rest))
        if request not in _NO_ANSWER_WANTED:
            answer = self._relay.from_client(await self._from_client())
            self._upstream.write(frame(t.PASSWORD_MESSAGE, answer))

    async def _check_by_verifier(self, offered: tuple[bytes, ...], verifier_of: VerifierOf) -> None:
        """Be the SCRAM server towards the client, then the SCRAM client towards the upstream."""
        verifier = await verifier_of(self._result.user)
        server = ScramServer(
            self._result.user,
            verifier,
            channel_binding=_binding(self._policy.certificate if self._client_tls else None),
        )
        names = encode_mechanisms([name.encode() for name in server.mechanisms])
        self._ask_client(t.AUTHENTICATION_SASL, names)
        choice = SASLInitialResponse.decode(await self._from_client())
        first = server.server_first(choice.mechanism.decode("latin-1"), choice.response)
        self._ask_client(t.AUTHENTICATION_SASL_CONTINUE, first)
        if choice.response is None:
            first = server.server_first(
                choice.mechanism.decode("latin-1"), await self._from_client()
            )
            self._ask_client(t.AUTHENTICATION_SASL_CONTINUE, first)
        final = b""
        try:
            final = server.server_final(await self._from_client())
        except AuthenticationError as error:
            if error.sqlstate != _WRONG_PASSWORD:
                raise
        await self._log_in_upstream(offered, _Proof(verifier, server.client_key))
        self._ask_client(t.AUTHENTICATION_SASL_FINAL, final)

    async def _log_in_upstream(self, offered: tuple[bytes, ...], proof: _Proof) -> None:
        scram = ScramClient(
            self._result.user, proof, channel_binding=_binding(_peer_certificate(self._upstream))
        )
        mechanism, first = scram.client_first([name.decode("latin-1") for name in offered])
        initial = SASLInitialResponse(mechanism.encode(), first)
        self._upstream.write(frame(t.PASSWORD_MESSAGE, initial.encode()))
        challenge = await self._sasl(t.AUTHENTICATION_SASL_CONTINUE)
        self._upstream.write(frame(t.PASSWORD_MESSAGE, scram.client_final(challenge)))
        scram.check_server_final(await self._sasl(t.AUTHENTICATION_SASL_FINAL))

    async def _sasl(self, wanted: int) -> bytes:
        kind, body = await self._from_upstream()
        if kind == t.ERROR_RESPONSE:
            self._client.write(frame(kind, body))
            raise LoginRefused
        if kind != t.AUTHENTICATION or int.from_bytes(body[:4], "big") != wanted:
            raise RemoteProtocolError("upstream broke the protocol during login")
        return body[4:]

    def _ask_client(self, request: int, body: bytes) -> None:
        self._client.write(frame(t.AUTHENTICATION, int32(request) + body))

    async def _from_client(self) -> bytes:
        """Return the client's answer, unless the upstream gives up the login first."""
        answer = asyncio.ensure_future(self._read_answer())
        spoke = asyncio.ensure_future(self._upstream.readable())
        try:
            await asyncio.wait((answer, spoke), return_when=asyncio.FIRST_COMPLETED)
            if answer.done():
                return answer.result()
            kind, body = await self._from_upstream()
        finally:
            for waiting in (answer, spoke):
                waiting.cancel()
            await asyncio.gather(answer, spoke, return_exceptions=True)
        if kind == t.ERROR_RESPONSE:
            self._client.write(frame(kind, body))
            raise LoginRefused
        raise RemoteProtocolError("upstream broke the protocol during login")

    async def _read_answer(self) -> bytes:
        (kind,) = await self._client.read_exactly(1)
        if kind != t.PASSWORD_MESSAGE:
            # Also a second StartupMessage, which begins with a zero byte (CVE-2026-107350): what
            # would be read as its length is none, so nobody waits for as many bytes.
            raise RemoteProtocolError(f"expected password response, got message type {kind}")
        length = int.from_bytes(await self._client.read_exactly(4), "big") - 4
        if not 0 <= length <= _MESSAGE_LIMIT:
            raise RemoteProtocolError("invalid password packet size")
        return await self._client.read_exactly(length)

    async def _from_upstream(self) -> tuple[int, bytes]:
        try:
            return await self._upstream.read_message(_UPSTREAM_MESSAGE_LIMIT)
        except PeerLost:
            if self._client.is_lost:
                raise
            raise UpstreamError("the upstream server closed the connection during login") from None


@dataclass(frozen=True, slots=True)
class _Proof:
    """What goes upstream for a client: its key, or one that does not fit, to be refused there.

    The latter for a wrong password, and where the upstream salts otherwise than the verifier: its
    password has expired, or was changed this moment.
    """

    verifier: Verifier
    client_key: bytes | None = field(repr=False)

    def keys(self, salt: bytes, iterations: int) -> ScramKeys:
        """Return the keys for the upstream's salt."""
        if self.client_key is not None:
            try:
                return RecoveredKey(self.verifier, self.client_key).keys(salt, iterations)
            except AuthenticationError as error:
                get_logger(__name__).info(
                    "the login will be refused", reason=error.message, hint=error.hint
                )
        return ScramKeys(secrets.token_bytes(KEY_BYTES), secrets.token_bytes(KEY_BYTES))


def _peer_certificate(upstream: Peer) -> bytes | None:
    connection: ssl.SSLObject | None = upstream.transport.get_extra_info("ssl_object")
    return None if connection is None else connection.getpeercert(binary_form=True)


def _binding(certificate: bytes | None) -> bytes | None:
    if certificate is None:
        return None
    try:
        return certificate_hash(certificate)
    except SettingsError:
        return None  # RFC 5929 gives such a certificate no binding: PLUS is not offered


def _is_true(value: bytes) -> bool:
    """Read the replication parameter: a boolean, or "database"."""
    text = value.lower()
    if text in (b"database", b"1", b"on"):
        return True
    return bool(text) and (b"true".startswith(text) or b"yes".startswith(text))  # as parse_bool
