"""What a SCRAM client logs in with: a password, or a key that a login through the proxy showed.

Owns whether a credential fits a server's salt. Leaves the mathematics to `keys`.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass, field
from typing import Protocol

from proxy.errors import AuthenticationError
from proxy.protocol.scram.keys import ScramKeys, Verifier


class Credential(Protocol):
    """What a client logs in with."""

    def keys(self, salt: bytes, iterations: int) -> ScramKeys:
        """Return the keys for the server's salt and iterations; may be slow, may refuse."""


@dataclass(frozen=True, slots=True)
class Password:
    """A password: PBKDF2 runs at every login."""

    text: str = field(repr=False)

    def keys(self, salt: bytes, iterations: int) -> ScramKeys:
        """Derive the keys; as slow as `salted_password`."""
        return ScramKeys.from_password(self.text, salt, iterations)


@dataclass(frozen=True, slots=True)
class RecoveredKey:
    """A ClientKey from `ScramServer.client_key`, with the verifier that it was checked by."""

    verifier: Verifier
    client_key: bytes = field(repr=False)

    def keys(self, salt: bytes, iterations: int) -> ScramKeys:
        """Return the keys, if the server salts as the verifier does; at once.

        Raises
        ------
        AuthenticationError
            28000: another salt or iteration count, so the key is worth nothing there.
        """
        same_salt = hmac.compare_digest(salt, self.verifier.salt)
        if not same_salt or iterations != self.verifier.iterations:
            raise AuthenticationError(
                "the upstream's SCRAM verifier is not the one that the client was checked by",
                hint="Let the proxy read the verifier of the upstream that it connects to; "
                "it changes whenever the password is set.",
            )
        return ScramKeys(self.client_key, self.verifier.server_key)
