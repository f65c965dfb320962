"""SCRAM's client: it logs in to one server, and checks that the server knows the verifier.

Owns the choice of the mechanism, which messages a server may send, in which order, and how much
work it may ask for. Leaves to the caller the SASL messages around these bytes, and the thread.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Callable, Sequence
from enum import Enum, auto
from typing import Final

from proxy.errors import AuthenticationError
from proxy.protocol.scram.credentials import Credential
from proxy.protocol.scram.grammar import (
    CHANNEL_BINDING_TYPE,
    MAX_SERVER_MESSAGE_BYTES,
    SCRAM_SHA_256,
    SCRAM_SHA_256_PLUS,
    decode_base64,
    encode_base64,
    encode_text,
    is_printable,
    malformed,
    new_nonce,
    read_attribute,
    read_value,
    shown,
    split_message,
    violation,
)
from proxy.protocol.scram.keys import derive_stored_key, read_key, sign, xor

MAX_ITERATIONS: Final = 1_000_000
"""More is refused: a hostile upstream may ask for hours of work (CVE-2026-42198)."""

_POSITIVE = re.compile(rb"[1-9][0-9]{0,9}")


class _Stage(Enum):
    FIRST = auto()
    FINAL = auto()
    SERVER_FINAL = auto()
    OVER = auto()


class ScramClient:
    """Logs in to one server, and checks that the server knows the verifier.

    Parameters
    ----------
    user : PostgreSQL goes by the StartupMessage's user, other servers may go by this one
    credential : `Password` or `RecoveredKey`
    channel_binding : the hash of the server's certificate, or None: no TLS, or none is wanted
    nonce : the source of our nonce
    """

    def __init__(
        self,
        user: str,
        credential: Credential,
        *,
        channel_binding: bytes | None = None,
        nonce: Callable[[], str] = new_nonce,
    ) -> None:
        self._user = user
        self._credential = credential
        self._channel_binding = channel_binding
        self._nonce = nonce().encode()
        self._cbind_input = b""
        self._server_signature = b""
        self._stage = _Stage.FIRST
        self._verified = False

    @property
    def verified(self) -> bool:
        """Whether the server has proved itself; AuthenticationOk before that is an imposter's."""
        return self._verified

    def client_first(self, offered: Sequence[str]) -> tuple[str, bytes]:
        """Choose among the mechanisms offered; return the choice and the initial response.

        Raises
        ------
        AuthenticationError
            28000: there is none that we speak.
        """
        self._enter(_Stage.FIRST)
        binding = self._channel_binding
        if binding is not None and SCRAM_SHA_256_PLUS in offered:
            mechanism, header = SCRAM_SHA_256_PLUS, b"p=" + CHANNEL_BINDING_TYPE + b",,"
            self._cbind_input = header + binding
        elif SCRAM_SHA_256 in offered:
            # 'y' is signed: a server that did offer PLUS learns that its list was cut.
            mechanism, header = SCRAM_SHA_256, b"n,," if binding is None else b"y,,"
            self._cbind_input = header
        else:
            raise AuthenticationError(
                "none of the server's SASL authentication mechanisms are supported",
                detail=f"The server offers {', '.join(offered) or 'none'}.",
            )
        self._stage = _Stage.FINAL
        return mechanism, header + self._bare()

    def client_final(self, server_first: bytes) -> bytes:
        """Answer AuthenticationSASLContinue; with a `Password` this is slow: run it in a thread.

        Raises
        ------
        AuthenticationError
            08P01 malformed or a nonce that is not ours, 28000 more than MAX_ITERATIONS, or a key
            that does not fit.
        """
        self._enter(_Stage.FINAL)
        parts = split_message(server_first, MAX_SERVER_MESSAGE_BYTES)
        nonce = read_value(parts, 0, "r")
        encoded_salt = read_value(parts, 1, "s")
        iterations = _read_iterations(read_value(parts, 2, "i"))
        if len(parts) > 3:
            raise malformed("Garbage found at the end of server-first-message.")
        if not _is_extended(nonce, self._nonce):
            raise violation("invalid SCRAM response", "Nonce does not match.")
        salt = decode_base64(encoded_salt, "Invalid salt in server-first-message.")
        if not salt:
            raise malformed("Invalid salt in server-first-message.")

        keys = self._credential.keys(salt, iterations)
        without_proof = b"c=" + encode_base64(self._cbind_input) + b",r=" + nonce
        auth_message = b",".join((self._bare(), server_first, without_proof))
        stored_key = derive_stored_key(keys.client_key)
        proof = xor(keys.client_key, sign(stored_key, auth_message))
        self._server_signature = sign(keys.server_key, auth_message)
        self._stage = _Stage.SERVER_FINAL
        return without_proof + b",p=" + encode_base64(proof)

    def check_server_final(self, server_final: bytes) -> None:
        """Check AuthenticationSASLFinal.

        Raises
        ------
        AuthenticationError
            28000 the server does not know the verifier, 28P01 it reports an error, 08P01 malformed.
        """
        self._enter(_Stage.SERVER_FINAL)
        parts = split_message(server_final, MAX_SERVER_MESSAGE_BYTES)
        letter, value = read_attribute(parts[0])
        if letter == "e":
            raise AuthenticationError(
                f'password authentication failed for user "{self._user}"',
                detail=f"The server says {shown(value)}.",
                sqlstate="28P01",
            )
        signature = read_key(read_value(parts, 0, "v"), "Invalid server signature.")
        if len(parts) > 1:
            raise malformed("Garbage found at the end of server-final-message.")
        if not hmac.compare_digest(signature, self._server_signature):
            raise AuthenticationError("incorrect server signature")
        self._verified = True

    def _bare(self) -> bytes:
        # RFC 5802, section 5.1: a comma and an equals sign in a name are =2C and =3D
        name = encode_text(self._user).replace(b"=", b"=3D").replace(b",", b"=2C")
        return b"n=%b,r=%b" % (name, self._nonce)

    def _enter(self, stage: _Stage) -> None:
        entered, self._stage = self._stage, _Stage.OVER
        if entered is not stage:  # the server sent its messages out of turn
            raise violation("invalid SCRAM exchange state")


def _is_extended(nonce: bytes, ours: bytes) -> bool:
    """Whether the server kept our nonce and added to it; a mere echo would be ours replayed."""
    longer = len(nonce) > len(ours) and is_printable(nonce)
    return longer and hmac.compare_digest(nonce[: len(ours)], ours)


def _read_iterations(value: bytes) -> int:
    if not _POSITIVE.fullmatch(value):
        raise malformed("Invalid iteration count in server-first-message.")
    iterations = int(value)
    if iterations > MAX_ITERATIONS:
        raise AuthenticationError(
            f"the server asks for {iterations} SCRAM iterations",
            detail=f"At most {MAX_ITERATIONS} are accepted.",
        )
    return iterations
