"""SCRAM's server: it checks one client's proof, and learns the ClientKey from it.

Owns which messages a client may send, in which order, and the negotiation of channel binding.
Leaves to the caller the verifier and the SASL messages around these bytes.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Sequence
from enum import Enum, auto

from proxy.errors import AuthenticationError, LocalProtocolError
from proxy.protocol.scram.grammar import (
    CHANNEL_BINDING_TYPE,
    MAX_CLIENT_MESSAGE_BYTES,
    SCRAM_SHA_256,
    SCRAM_SHA_256_PLUS,
    check_extensions,
    encode_base64,
    is_printable,
    malformed,
    new_nonce,
    read_attribute,
    read_value,
    shown,
    split_message,
    unsupported_extension,
    violation,
)
from proxy.protocol.scram.keys import Verifier, derive_stored_key, read_key, sign, xor


class _Stage(Enum):
    FIRST = auto()
    FINAL = auto()
    OVER = auto()


class ScramServer:
    """Checks one client's proof.

    Parameters
    ----------
    user : the StartupMessage's user; the name inside SCRAM is ignored, as PostgreSQL ignores it
    verifier : that user's, or `Verifier.mock`
    channel_binding : the hash of the certificate that the client sees, or None: PLUS is not offered
    nonce : the source of our part of the nonce
    """

    def __init__(
        self,
        user: str,
        verifier: Verifier,
        *,
        channel_binding: bytes | None = None,
        nonce: Callable[[], str] = new_nonce,
    ) -> None:
        self._user = user
        self._verifier = verifier
        self._channel_binding = channel_binding
        self._new_nonce = nonce
        self._stage = _Stage.FIRST
        self._nonce = b""
        self._first_messages = b""
        self._cbind_input = b""
        self._client_key: bytes | None = None

    @property
    def mechanisms(self) -> tuple[str, ...]:
        """What AuthenticationSASL may offer, the stronger first."""
        if self._channel_binding is None:
            return (SCRAM_SHA_256,)
        return (SCRAM_SHA_256_PLUS, SCRAM_SHA_256)

    @property
    def client_key(self) -> bytes | None:
        """The client's key (32 bytes), once `server_final` has accepted its proof."""
        return self._client_key

    def server_first(self, mechanism: str, client_first: bytes | None) -> bytes:
        """Answer a SASLInitialResponse.

        None is a client that sends no initial response: it gets an empty challenge, and its
        client-first message comes by a second call.

        Raises
        ------
        AuthenticationError
            08P01 malformed, 0A000 an extension or an authorization identity, 28000 a client that
            believes us without channel binding while we offer it (RFC 5802, section 6: somebody
            between us may have taken it from the list).
        """
        self._enter(_Stage.FIRST)
        if mechanism not in self.mechanisms:
            raise violation("client selected an invalid SASL authentication mechanism")
        if client_first is None:
            self._stage = _Stage.FIRST
            return b""
        parts = split_message(client_first, MAX_CLIENT_MESSAGE_BYTES)
        self._cbind_input = self._read_gs2_header(parts, plus=mechanism == SCRAM_SHA_256_PLUS)
        bare = parts[2:]
        if bare and bare[0].startswith(b"m="):
            raise unsupported_extension()
        read_value(bare, 0, "n")
        client_nonce = read_value(bare, 1, "r")
        if not is_printable(client_nonce):
            raise violation("non-printable characters in SCRAM nonce")
        check_extensions(bare[2:])

        self._nonce = client_nonce + self._new_nonce().encode()
        message = b"r=%b,s=%b,i=%d" % (
            self._nonce,
            encode_base64(self._verifier.salt),
            self._verifier.iterations,
        )
        self._first_messages = b",".join(bare) + b"," + message
        self._stage = _Stage.FINAL
        return message

    def server_final(self, client_final: bytes) -> bytes:
        """Check a SASLResponse and return the server's own proof, for AuthenticationSASLFinal.

        Raises
        ------
        AuthenticationError
            28P01 wrong password, 28000 the client sees another certificate than ours, 08P01
            malformed.
        """
        self._enter(_Stage.FINAL)
        parts = split_message(client_final, MAX_CLIENT_MESSAGE_BYTES)
        binding = read_value(parts, 0, "c")
        nonce = read_value(parts, 1, "r")
        proof = _read_proof(parts)
        self._check_channel_binding(binding)
        if not hmac.compare_digest(nonce, self._nonce):
            raise violation("invalid SCRAM response", "Nonce does not match.")

        auth_message = self._first_messages + b"," + b",".join(parts[:-1])
        # RFC 5802: ClientKey = ClientProof XOR ClientSignature, StoredKey = H(ClientKey)
        client_key = xor(proof, sign(self._verifier.stored_key, auth_message))
        stored_key = derive_stored_key(client_key)
        if not hmac.compare_digest(stored_key, self._verifier.stored_key):
            raise AuthenticationError(
                f'password authentication failed for user "{self._user}"', sqlstate="28P01"
            )
        self._client_key = client_key
        return b"v=" + encode_base64(sign(self._verifier.server_key, auth_message))

    def _enter(self, stage: _Stage) -> None:
        entered, self._stage = self._stage, _Stage.OVER
        if entered is not stage:  # a failure leaves it at OVER: there is no second try
            raise LocalProtocolError("invalid SCRAM exchange state")

    def _read_gs2_header(self, parts: Sequence[bytes], *, plus: bool) -> bytes:
        """Return the cbind-input that `c=` must repeat: the header and the binding data."""
        flag = parts[0]
        if flag in (b"n", b"y"):
            if plus:
                raise malformed(
                    "The client selected SCRAM-SHA-256-PLUS, but the SCRAM message does not "
                    "include channel binding data."
                )
            if flag == b"y" and self._channel_binding is not None:
                raise AuthenticationError(
                    "SCRAM channel binding negotiation error",
                    detail="The client supports SCRAM channel binding but thinks the server does "
                    "not.  However, this server does support channel binding.",
                )
        elif flag.startswith(b"p="):
            if not plus:
                raise malformed(
                    "The client selected SCRAM-SHA-256 without channel binding, but the SCRAM "
                    "message includes channel binding data."
                )
            if flag[2:] != CHANNEL_BINDING_TYPE:
                raise violation(f'unsupported SCRAM channel-binding type "{shown(flag[2:])}"')
        else:
            raise malformed(f'Unexpected channel-binding flag "{shown(flag[:1])}".')
        if len(parts) < 2:
            raise malformed("Attribute expected, but found end of string.")
        if parts[1].startswith(b"a="):
            raise AuthenticationError(
                "client uses authorization identity, but it is not supported", sqlstate="0A000"
            )
        if parts[1]:
            raise malformed(
                f'Unexpected attribute "{shown(parts[1][:1])}" in client-first-message.'
            )
        return flag + b",," + (self._channel_binding or b"" if plus else b"")

    def _check_channel_binding(self, binding: bytes) -> None:
        if hmac.compare_digest(binding, encode_base64(self._cbind_input)):
            return
        if self._cbind_input.startswith(b"p="):
            raise AuthenticationError("SCRAM channel binding check failed")
        raise violation("unexpected SCRAM channel-binding attribute in client-final-message")


def _read_proof(parts: Sequence[bytes]) -> bytes:
    """Return the proof (32 bytes) of a client-final message; it is the last attribute."""
    for index, part in enumerate(parts[2:], start=3):
        letter, value = read_attribute(part)
        if letter == "m":
            raise unsupported_extension()
        if letter == "p":
            if index != len(parts):
                raise malformed("Garbage found at the end of client-final-message.")
            return read_key(value, "Malformed proof in client-final-message.")
    raise malformed("Attribute expected, but found end of string.")
