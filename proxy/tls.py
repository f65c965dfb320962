"""TLS on both sides: contexts from settings, and what SCRAM needs to know of a certificate.

Owns the meaning of the TLS modes: PgBouncer's `client_tls_sslmode` towards clients, libpq's
`sslmode` towards the upstream. Leaves to server and upstream: the SSLRequest dance, the fallback
between plain and encrypted, and when `start_tls` is called. A wrong file is a SettingsError that
names it. `cryptography` is heavy and is imported when it is needed.
"""

from __future__ import annotations

import base64
import contextlib
import ipaddress
import os
import ssl
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Final, NoReturn

from proxy.errors import RemoteProtocolError, SettingsError

if TYPE_CHECKING:
    from cryptography.x509 import GeneralName

ALPN_PROTOCOL: Final = "postgresql"
"""IANA's name of the protocol; PostgreSQL 17 demands it of direct TLS connections."""

SYSTEM_ROOTS: Final = "system"
"""libpq's `sslrootcert=system`: the operating system's certificate authorities."""

_WEAK_HASHES: Final = frozenset({"md5", "sha1"})


class TlsMode(StrEnum):
    """libpq's and PgBouncer's words, from the weakest to the strictest."""

    DISABLE = "disable"
    ALLOW = "allow"
    PREFER = "prefer"
    REQUIRE = "require"
    VERIFY_CA = "verify-ca"
    VERIFY_FULL = "verify-full"

    @classmethod
    def parse(cls, text: str) -> TlsMode:
        """Read a mode.

        Raises
        ------
        SettingsError
            There is no such mode; the message lists those that there are.
        """
        try:
            return cls(text)
        except ValueError:
            accepted = ", ".join(cls)
            raise SettingsError(f'TLS mode "{text}" is none of {accepted}') from None

    @property
    def is_required(self) -> bool:
        """Whether a plain connection is refused."""
        return self in {TlsMode.REQUIRE, TlsMode.VERIFY_CA, TlsMode.VERIFY_FULL}

    @property
    def verifies(self) -> bool:
        """Whether the peer's certificate must be there and lead to a known authority."""
        return self in {TlsMode.VERIFY_CA, TlsMode.VERIFY_FULL}

    @property
    def upstream_attempts(self) -> tuple[bool, ...]:
        """With TLS or without, in the order in which libpq tries to connect."""
        if self.is_required:
            return (True,)
        match self:
            case TlsMode.PREFER:
                return (True, False)
            case TlsMode.ALLOW:
                return (False, True)
            case _:
                return (False,)


@dataclass(frozen=True, slots=True)
class TlsOptions:
    """One side's settings; files in PEM.

    Towards clients `cert_file` and `key_file` are ours and `ca_file` signs the clients'; towards
    the upstream they are our client certificate, and `ca_file` (or "system") signs the server's.
    """

    mode: str = TlsMode.PREFER
    ca_file: str | Path | None = None
    cert_file: str | Path | None = None
    key_file: str | Path | None = None


def client_context(options: TlsOptions) -> ssl.SSLContext | None:
    """Return the context for our clients' connections, or None: answer their SSLRequest with 'N'.

    PgBouncer's modes: allow and prefer are the same and take plain connections too, require
    refuses those; none of the three asks for a client certificate. verify-ca and verify-full are
    the same and do. `TlsMode.is_required` says whether plain is refused.

    Raises
    ------
    SettingsError
        A file is missing, unreadable or wrong, or a mode lacks the files that it needs.
    """
    mode = TlsMode.parse(options.mode)
    if mode is TlsMode.DISABLE:
        return None
    if options.cert_file is None or options.key_file is None:
        raise SettingsError(
            f"TLS for clients (mode {mode}) needs a certificate and a key",
            hint="Set client_tls_cert_file and client_tls_key_file, "
            "or client_tls_sslmode = disable.",
        )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    _harden(context)
    # As PostgreSQL does: a session of ours is never resumed, so tickets would be wasted bytes.
    context.options |= ssl.OP_NO_TICKET | ssl.OP_CIPHER_SERVER_PREFERENCE
    context.num_tickets = 0
    context.set_alpn_protocols([ALPN_PROTOCOL])
    _load_chain(context, options)
    if mode.verifies:
        if options.ca_file is None:
            raise SettingsError(
                f"TLS for clients (mode {mode}) needs the authority of their certificates",
                hint="Set client_tls_ca_file.",
            )
        _load_authorities(context, options.ca_file)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def upstream_context(options: TlsOptions, *, alpn: bool = True) -> ssl.SSLContext | None:
    """Return the context for connections to the upstream, or None: plain only.

    libpq's modes: disable, allow, prefer and require trust any certificate, but where a root CA
    is named the chain is checked all the same; verify-ca checks the chain, verify-full the host
    name too. Pass the host's name as `server_hostname` in every mode: it is sent as SNI.
    `TlsMode.upstream_attempts` gives the order of connection attempts.

    Parameters
    ----------
    alpn : whether to offer "postgresql", as libpq does since version 17

    Raises
    ------
    SettingsError
        A file is missing, unreadable or wrong, or a mode lacks the files that it needs.
    """
    mode = TlsMode.parse(options.mode)
    if mode is TlsMode.DISABLE:
        return None
    if options.ca_file == SYSTEM_ROOTS and mode is not TlsMode.VERIFY_FULL:
        # libpq's rule: anybody can have a certificate of a public authority, for another name.
        raise SettingsError(
            f'TLS mode "{mode}" is too weak for the system\'s certificate authorities',
            hint="Use verify-full.",
        )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    _harden(context)
    context.check_hostname = mode is TlsMode.VERIFY_FULL
    if options.ca_file is not None:
        context.verify_mode = ssl.CERT_REQUIRED
        _load_authorities(context, options.ca_file)
    elif mode.verifies:
        raise SettingsError(
            f"TLS to the upstream (mode {mode}) needs a root certificate",
            hint=f'Name the file of the certificate authority, or "{SYSTEM_ROOTS}".',
        )
    else:
        context.verify_mode = ssl.CERT_NONE
    if alpn:
        context.set_alpn_protocols([ALPN_PROTOCOL])
    if options.cert_file is not None:
        _load_chain(context, options)
    return context


def check_direct_alpn(connection: ssl.SSLObject | ssl.SSLSocket) -> None:
    """Demand ALPN of a connection that began with TLS and without SSLRequest.

    Else another protocol's client could be made to speak to us (ALPACA, CVE-2021-3618).

    Raises
    ------
    RemoteProtocolError
        "postgresql" was not agreed upon.
    """
    if connection.selected_alpn_protocol() != ALPN_PROTOCOL:
        raise RemoteProtocolError(
            "received direct SSL connection request without ALPN protocol negotiation extension"
        )


def leaf_certificate(pem_file: str | Path) -> bytes:
    """Return the first certificate of a PEM file as DER: the one that a peer is shown.

    Raises
    ------
    SettingsError
        The file cannot be read or has no certificate.
    """
    with _naming(pem_file):
        text = Path(pem_file).read_text(encoding="utf-8", errors="replace")
        _, begin, rest = text.partition(ssl.PEM_HEADER)
        inner, end, _ = rest.partition(ssl.PEM_FOOTER)
        # ssl.PEM_cert_to_DER_cert passes over what is no base64
        der = base64.b64decode("".join(inner.split()), validate=True)
        if not begin or not end or not der:
            raise SettingsError(f"{pem_file}: there is no certificate in this file")
        return der


def same_certificate(der: bytes | None, pem_file: str | Path | None) -> bool:
    """Say whether the upstream's certificate is the one that our clients see.

    Parameters
    ----------
    der : `getpeercert(binary_form=True)` of the upstream's connection
    pem_file : `client_tls_cert_file`

    Raises
    ------
    SettingsError
        As `leaf_certificate`.
    """
    return bool(der) and pem_file is not None and leaf_certificate(pem_file) == der


def certificate_hash(der: bytes) -> bytes:
    """Return the channel binding data of `tls-server-end-point` for a certificate.

    The hash is that of the certificate's own signature, SHA-256 in place of MD5 and SHA-1.

    Raises
    ------
    SettingsError
        The signature has no hash of its own (Ed25519, Ed448) or an unknown one, so the RFC defines
        no binding: offer no SCRAM-SHA-256-PLUS. An empty binding would bind nothing
        (CVE-2025-49146).

    References
    ----------
    RFC 5929, section 4.1.
    """
    from cryptography import x509  # noqa: PLC0415  (heavy)
    from cryptography.exceptions import UnsupportedAlgorithm  # noqa: PLC0415
    from cryptography.hazmat.primitives import hashes  # noqa: PLC0415

    try:
        certificate = x509.load_der_x509_certificate(der)
        algorithm = certificate.signature_hash_algorithm
    except (ValueError, UnsupportedAlgorithm) as error:
        raise SettingsError(f"certificate for channel binding: {error}") from error
    if algorithm is None:
        raise SettingsError(
            "could not determine server certificate signature algorithm",
            detail="An Ed25519 or Ed448 signature names no hash, so RFC 5929 gives no "
            "channel binding for the certificate.",
            hint="Use an ECDSA or RSA certificate.",
        )
    return certificate.fingerprint(hashes.SHA256() if algorithm.name in _WEAK_HASHES else algorithm)


@dataclass(frozen=True, slots=True)
class SelfSigned:
    """A certificate and its private key, both PEM."""

    certificate: bytes
    key: bytes

    def write(self, folder: str | Path) -> tuple[Path, Path]:
        """Write `server.crt` and `server.key` (mode 0600) into a folder; return their paths."""
        cert_file, key_file = Path(folder, "server.crt"), Path(folder, "server.key")
        cert_file.write_bytes(self.certificate)
        key_file.unlink(missing_ok=True)
        # O_EXCL with the mode: there is no moment in which others may read it.
        descriptor = os.open(key_file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(self.key)
        return cert_file, key_file


def self_signed(
    names: Sequence[str] = ("localhost", "127.0.0.1", "::1"), *, valid_days: int = 365
) -> SelfSigned:
    """Make a certificate for development: ECDSA P-256 with SHA-256, its own authority.

    Parameters
    ----------
    names : host names and IP addresses; the first is the common name
    valid_days : from yesterday on, for clocks that are behind
    """
    from cryptography import x509  # noqa: PLC0415  (heavy)
    from cryptography.hazmat.primitives import hashes, serialization  # noqa: PLC0415
    from cryptography.hazmat.primitives.asymmetric import ec  # noqa: PLC0415
    from cryptography.x509.oid import NameOID  # noqa: PLC0415

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0])])
    now = datetime.now(UTC)
    key_identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=valid_days))
        .add_extension(x509.SubjectAlternativeName(map(_general_name, names)), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(key_identifier, critical=False)
        .sign(key, hashes.SHA256())
    )
    return SelfSigned(
        certificate.public_bytes(serialization.Encoding.PEM),
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        ),
    )


def _general_name(name: str) -> GeneralName:
    from cryptography import x509  # noqa: PLC0415  (heavy)

    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _harden(context: ssl.SSLContext) -> None:
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION


def _load_chain(context: ssl.SSLContext, options: TlsOptions) -> None:
    if options.cert_file is None or options.key_file is None:
        raise SettingsError(f"certificate {options.cert_file} has no key file beside it")
    for file in (options.cert_file, options.key_file):
        _check_readable(file)
    with _naming(f"{options.cert_file}, {options.key_file}"):
        context.load_cert_chain(options.cert_file, options.key_file, _refuse_passphrase)


def _load_authorities(context: ssl.SSLContext, ca_file: str | Path) -> None:
    if ca_file == SYSTEM_ROOTS:
        context.load_default_certs(ssl.Purpose.SERVER_AUTH)
        return
    with _naming(ca_file):
        context.load_verify_locations(cafile=ca_file)


def _check_readable(file: str | Path) -> None:
    """OpenSSL does not say which of its files is missing."""
    with _naming(file), Path(file).open("rb"):
        pass


def _refuse_passphrase() -> NoReturn:
    # Without this OpenSSL asks at the terminal, and a service would wait for ever.
    raise SettingsError("the private key is encrypted", hint="Use a key without a passphrase.")


@contextlib.contextmanager
def _naming(files: str | Path) -> Iterator[None]:
    """Turn what the system or OpenSSL says of a file into a SettingsError that names it."""
    try:
        yield
    except ssl.SSLError as error:  # an OSError, but its strerror has the line of a C file
        raise SettingsError(f"{files}: {error.reason or 'not a usable PEM file'}") from error
    except OSError as error:
        raise SettingsError(f"{files}: {error.strerror}") from error
    except ValueError as error:
        raise SettingsError(f"{files}: {error}") from error
