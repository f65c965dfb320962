"""The relayed login: what may cross the proxy as it is, what is edited, what cannot work.

Owns the rules of channel binding between two connections, and the bodies of AuthenticationSASL and
SASLInitialResponse. Leaves to the session: reading, writing, and the end of the login. No
password, proof or verifier is kept or looked into here.

SCRAM's messages are signed end to end, so a relay cannot alter them. Channel binding signs the
hash of the certificate that the client sees (RFC 5929, tls-server-end-point), and the upstream
compares it with its own: SCRAM-SHA-256-PLUS crosses only if the client sees the upstream's own
certificate. Else PLUS is taken from the list of mechanisms, and the client's gs2 flag, signed too,
says what the client makes of that:

    'n'   it does not want channel binding, or has no TLS: fine;
    'y'   it could, and believes that the upstream cannot: an upstream that did offer PLUS takes
          this for the downgrade attack that it is, so we say so first and name the ways out;
    'p='  it binds: only where PLUS was offered.

The whole table, for libpq's `channel_binding`. "refuses" is the client, before it sends anything:

    client    upstream          disable     prefer (default)       require
    --------  ----------------  ----------  ---------------------  ----------------
    plain     plain             n: passes   n: passes              refuses: no TLS
    plain     TLS               n: passes   n: passes              refuses: no TLS
    TLS       plain             n: passes   y: passes, no PLUS     refuses: no PLUS
    TLS       TLS, same cert    n: passes   p: passes, bound       p: passes, bound
    TLS       TLS, other cert   n: passes   y: AuthenticationError refuses: no PLUS

The lower right corner cannot work; `prefer` there is libpq's default, hence the hint. (With
`sslmode=prefer`, its default too, libpq then tries once more without TLS and gets in, if plain
connections are taken.) An upstream with TLS and without PLUS, a pooler most often, takes 'y' as a
plain one does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from proxy.errors import AuthenticationError, RemoteProtocolError
from proxy.protocol import message_types as t
from proxy.protocol.wire import Reader, cstring, int32

PLUS_SUFFIX: Final = b"-PLUS"
"""RFC 5802, section 4: a mechanism with channel binding is named so, whatever its hash."""

_WANTS_NO_ANSWER: Final = frozenset({t.AUTHENTICATION_OK, t.AUTHENTICATION_SASL_FINAL})


@dataclass(frozen=True, slots=True)
class SASLInitialResponse:
    """The client's choice of mechanism.  (F)  String(mechanism) Int32(length or -1) Byte*."""

    mechanism: bytes
    response: bytes | None

    @classmethod
    def decode(cls, body: bytes) -> SASLInitialResponse:
        """Read the body of a SASLInitialResponse.

        Raises
        ------
        RemoteProtocolError
            No end of the name, a length that is negative (other than -1) or not that of the rest.
        """
        reader = Reader(body)
        message = cls(reader.cstring(), reader.value())
        reader.end()
        return message

    def encode(self) -> bytes:
        """Write the body."""
        if self.response is None:
            return cstring(self.mechanism) + int32(-1)
        return cstring(self.mechanism) + int32(len(self.response)) + self.response


def decode_mechanisms(body: bytes) -> tuple[bytes, ...]:
    """Read an AuthenticationSASL after its Int32(10).  (B)  String* Byte1(0).

    Raises
    ------
    RemoteProtocolError
        A name or the list has no end.
    """
    reader = Reader(body)
    mechanisms = []
    while name := reader.cstring():
        mechanisms.append(name)
    reader.end()
    return tuple(mechanisms)


def encode_mechanisms(mechanisms: Sequence[bytes]) -> bytes:
    """Write what `decode_mechanisms` reads."""
    return b"".join(map(cstring, mechanisms)) + b"\0"


class LoginRelay:
    """Mediates one login between a client and its upstream.

    Parameters
    ----------
    client_tls, upstream_tls : whether that connection is encrypted
    same_certificate : the client's TLS shows the upstream's own certificate (`tls`)
    """

    def __init__(self, *, client_tls: bool, upstream_tls: bool, same_certificate: bool) -> None:
        self._binding_crosses = client_tls and upstream_tls and same_certificate
        self._plus_was_removed = False
        self._request: int | None = None

    def from_upstream(self, auth_type: int, body: bytes) -> bytes:
        """Return what to send to the client for an AuthenticationRequest.

        Parameters
        ----------
        auth_type : the message's leading Int32
        body : what follows it; the answer is the same object where nothing is edited

        Raises
        ------
        AuthenticationError
            The upstream takes only logins with channel binding, which cannot cross.
        RemoteProtocolError
            The list of mechanisms is malformed.
        """
        self._request = auth_type
        if auth_type != t.AUTHENTICATION_SASL or self._binding_crosses:
            return body
        return self._without_plus(body)

    def from_client(self, body: bytes) -> bytes:
        """Return what to send upstream for a client's 'p' message: the body itself, checked.

        Raises
        ------
        AuthenticationError
            The client's gs2 flag is 'y' and the upstream would take that for an attack.
        RemoteProtocolError
            Nothing was asked, or a SASLInitialResponse's inner length is wrong.
        """
        request, self._request = self._request, None
        if request is None or request in _WANTS_NO_ANSWER:
            raise RemoteProtocolError(
                "unexpected password message",
                detail="The server has not asked for one, or has its answer already.",
            )
        if request == t.AUTHENTICATION_SASL:
            self._check_initial_response(SASLInitialResponse.decode(body))
        return body

    def _without_plus(self, body: bytes) -> bytes:
        offered = decode_mechanisms(body)
        kept = [name for name in offered if not name.endswith(PLUS_SUFFIX)]
        if len(kept) == len(offered):
            return body
        if not kept:
            raise AuthenticationError(
                "the upstream accepts only logins with channel binding, which cannot cross "
                "this proxy",
                hint="Set auth = scram, or let client_tls_cert_file be the upstream's own "
                "certificate and connect with TLS, or let the upstream offer SCRAM-SHA-256 too.",
            )
        self._plus_was_removed = True
        return encode_mechanisms(kept)

    def _check_initial_response(self, message: SASLInitialResponse) -> None:
        # An upstream that did not offer PLUS takes 'y', so only our own edit makes it wrong. Other
        # mechanisms with a gs2 header (OAUTHBEARER) are not refused for it.
        is_scram = message.mechanism.startswith(b"SCRAM-")
        believes_us = message.response is not None and message.response.startswith(b"y,")
        if self._plus_was_removed and is_scram and believes_us:
            raise AuthenticationError(
                "channel binding cannot cross this proxy",
                detail="The client supports SCRAM channel binding, and so does the upstream, but "
                "the certificate that the client sees is not the upstream's.",
                hint="Set auth = scram, or let client_tls_cert_file be the upstream's own "
                "certificate, or connect with channel_binding=disable.",
            )
