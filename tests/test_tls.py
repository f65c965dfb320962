"""TLS contexts by real handshakes over a loopback connection; certificates by trustme."""

from __future__ import annotations

import asyncio
import hashlib
import ssl
import stat
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, padding, rsa
from cryptography.x509.oid import NameOID
from scramp.core import CBindData

from proxy.errors import RemoteProtocolError, SettingsError
from proxy.tls import (
    TlsMode,
    TlsOptions,
    certificate_hash,
    check_direct_alpn,
    client_context,
    leaf_certificate,
    same_certificate,
    self_signed,
    upstream_context,
)

MODES = [mode.value for mode in TlsMode]


@dataclass(frozen=True)
class Files:
    """A certificate, its key and the authority that signed it."""

    ca: Path
    cert: Path
    key: Path

    def options(self, mode: str, ca: Path | None = None) -> TlsOptions:
        return TlsOptions(mode, ca, self.cert, self.key)


def issue(folder: Path, name: str) -> Files:
    folder.mkdir()
    authority = trustme.CA()
    issued = authority.issue_cert(name)
    files = Files(folder / "ca.pem", folder / "cert.pem", folder / "key.pem")
    authority.cert_pem.write_to_path(files.ca)
    issued.private_key_pem.write_to_path(files.key)
    for blob in issued.cert_chain_pems:
        blob.write_to_path(files.cert, append=True)
    return files


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Files:
    return issue(tmp_path_factory.mktemp("tls") / "ours", "db.example")


@pytest.fixture(scope="module")
def theirs(tmp_path_factory: pytest.TempPathFactory) -> Files:
    return issue(tmp_path_factory.mktemp("tls") / "theirs", "somebody.example")


@dataclass(frozen=True)
class Handshake:
    """What one side saw of a connection."""

    alpn: str | None
    version: str | None
    peer: bytes | None
    direct_refused: bool


def seen(writer: asyncio.StreamWriter) -> Handshake:
    connection: ssl.SSLObject = writer.get_extra_info("ssl_object")
    try:
        check_direct_alpn(connection)
        refused = False
    except RemoteProtocolError:
        refused = True
    return Handshake(
        connection.selected_alpn_protocol(),
        connection.version(),
        connection.getpeercert(binary_form=True),
        refused,
    )


async def shake_hands(
    server: ssl.SSLContext | None, client: ssl.SSLContext | None, host: str = "db.example"
) -> tuple[Handshake, Handshake]:
    """Connect over loopback and exchange a byte; return the server's view and the client's."""
    views: asyncio.Queue[Handshake] = asyncio.Queue()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # TLS 1.3 tells a client that its certificate is refused only after its own handshake.
        writer.write(await reader.readexactly(1))
        views.put_nowait(seen(writer))
        writer.close()

    assert server is not None
    assert client is not None
    listener = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=server)
    try:
        port = listener.sockets[0].getsockname()[1]
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", port, ssl=client, server_hostname=host
        )
        try:
            writer.write(b"!")
            assert await reader.readexactly(1) == b"!"
            view = seen(writer)
        finally:
            writer.close()
        return await asyncio.wait_for(views.get(), 10), view
    finally:
        listener.close()


REFUSED = (ssl.SSLError, ConnectionError, asyncio.IncompleteReadError)


class TestHandshake:
    @pytest.mark.asyncio
    async def test_alpn_and_version(self, ours: Files) -> None:
        """Both sides agree on "postgresql" and on TLS 1.3."""
        server = client_context(ours.options("require"))
        client = upstream_context(TlsOptions("verify-full", ours.ca))
        views = await shake_hands(server, client)
        for view in views:
            assert (view.alpn, view.version) == ("postgresql", "TLSv1.3")
            assert not view.direct_refused
        assert views[1].peer == leaf_certificate(ours.cert)

    @pytest.mark.asyncio
    async def test_direct_connection_without_alpn(self, ours: Files) -> None:
        """Without ALPN the handshake works, and a direct connection is told to go."""
        server = client_context(ours.options("require"))
        client = upstream_context(TlsOptions("require"), alpn=False)
        assert all(view.direct_refused for view in await shake_hands(server, client))

    @pytest.mark.asyncio
    async def test_old_versions(self, ours: Files) -> None:
        """TLS 1.2 is taken, TLS 1.1 is not."""
        server = client_context(ours.options("require"))
        client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        client.check_hostname, client.verify_mode = False, ssl.CERT_NONE
        client.maximum_version = ssl.TLSVersion.TLSv1_2
        assert (await shake_hands(server, client))[0].version == "TLSv1.2"
        with pytest.warns(DeprecationWarning, match="TLSv1_1"):
            client.minimum_version = client.maximum_version = ssl.TLSVersion.TLSv1_1
        client.set_ciphers("DEFAULT:@SECLEVEL=0")
        with pytest.raises(REFUSED):
            await shake_hands(server, client)

    @pytest.mark.asyncio
    @pytest.mark.parametrize(
        ("mode", "ca", "host", "accepted"),
        [
            ("allow", None, "db.example", True),
            ("prefer", None, "elsewhere.example", True),
            ("require", None, "elsewhere.example", True),
            ("require", "ours", "elsewhere.example", True),
            ("require", "theirs", "db.example", False),
            ("prefer", "theirs", "db.example", False),
            ("verify-ca", "ours", "elsewhere.example", True),
            ("verify-ca", "theirs", "db.example", False),
            ("verify-full", "ours", "db.example", True),
            ("verify-full", "ours", "elsewhere.example", False),
            ("verify-full", "theirs", "db.example", False),
        ],
    )
    async def test_upstream_modes(
        self, ours: Files, theirs: Files, mode: str, ca: str | None, host: str, accepted: bool
    ) -> None:
        """Towards the upstream each mode checks what libpq's checks; a named root CA always."""
        server = client_context(ours.options("require"))
        root = {"ours": ours.ca, "theirs": theirs.ca, None: None}[ca]
        client = upstream_context(TlsOptions(mode, root))
        if accepted:
            await shake_hands(server, client, host)
        else:
            with pytest.raises(ssl.SSLCertVerificationError):
                await shake_hands(server, client, host)

    @pytest.mark.asyncio
    @pytest.mark.parametrize("presented", [None, "ours", "theirs"])
    @pytest.mark.parametrize("mode", ["allow", "prefer", "require", "verify-ca", "verify-full"])
    async def test_client_modes(
        self, ours: Files, theirs: Files, mode: str, presented: str | None
    ) -> None:
        """Only verify-ca and verify-full ask for a client certificate, and take only a known one.

        The others do not look at one, as in PgBouncer.
        """
        verifies = mode.startswith("verify")
        server = client_context(ours.options(mode, ours.ca if verifies else None))
        files = {"ours": ours, "theirs": theirs, None: None}[presented]
        client = upstream_context(files.options("require") if files else TlsOptions("require"))
        if verifies and presented != "ours":
            with pytest.raises(REFUSED):
                await shake_hands(server, client)
        else:
            view, _ = await shake_hands(server, client)
            assert view.peer == (leaf_certificate(ours.cert) if verifies else None)

    @pytest.mark.asyncio
    @pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
    async def test_self_signed(self, tmp_path: Path, host: str) -> None:
        """The development certificate is its own authority, for names and addresses, strictly."""
        cert, key = self_signed().write(tmp_path)
        server = client_context(TlsOptions("require", None, cert, key))
        client = upstream_context(TlsOptions("verify-full", cert))
        assert client is not None
        client.verify_flags |= ssl.VERIFY_X509_STRICT  # Python 3.13's default
        await shake_hands(server, client, host)
        with pytest.raises(ssl.SSLCertVerificationError):
            await shake_hands(server, client, "elsewhere.example")


class TestModes:
    def test_disable(self, ours: Files) -> None:
        """`disable` needs no file and makes no context."""
        assert client_context(TlsOptions("disable")) is None
        assert upstream_context(TlsOptions("disable")) is None

    @pytest.mark.parametrize("build", [client_context, upstream_context])
    def test_unknown(self, build: Callable[[TlsOptions], object]) -> None:
        """An unknown mode is refused with the list of the known ones."""
        with pytest.raises(SettingsError, match=r"verify_full.*disable, allow, .*verify-full"):
            build(TlsOptions("verify_full"))

    def test_required(self) -> None:
        """The last three refuse a plain connection."""
        assert [mode for mode in MODES if TlsMode.parse(mode).is_required] == MODES[3:]

    def test_upstream_attempts(self) -> None:
        """The order of attempts is libpq's."""
        attempts = [TlsMode.parse(mode).upstream_attempts for mode in MODES]
        only = (True,)
        assert attempts == [(False,), (False, True), (True, False), only, only, only]


class TestSettings:
    @pytest.mark.parametrize("mode", MODES[1:])
    def test_listener_needs_certificate(self, ours: Files, mode: str) -> None:
        """A listener with TLS and without its files is refused, whatever the mode."""
        for options in (
            TlsOptions(mode, ours.ca),
            TlsOptions(mode, ours.ca, ours.cert),
            TlsOptions(mode, ours.ca, None, ours.key),
        ):
            with pytest.raises(SettingsError) as caught:
                client_context(options)
            assert "client_tls_cert_file" in (caught.value.hint or "")

    @pytest.mark.parametrize("mode", ["verify-ca", "verify-full"])
    def test_verification_needs_authority(self, ours: Files, mode: str) -> None:
        """Verification without an authority is refused on both sides, not skipped."""
        with pytest.raises(SettingsError):
            client_context(ours.options(mode))
        with pytest.raises(SettingsError):
            upstream_context(TlsOptions(mode))

    @pytest.mark.parametrize("mode", MODES[1:])
    def test_system_roots(self, mode: str) -> None:
        """The system's authorities go with verify-full only, as in libpq."""
        options = TlsOptions(mode, "system")
        if mode == "verify-full":
            context = upstream_context(options)
            assert context is not None
            assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)
        else:
            with pytest.raises(SettingsError):
                upstream_context(options)

    @pytest.mark.parametrize("broken", ["ca", "cert", "key"])
    @pytest.mark.parametrize("content", [None, b"", b"no PEM", b"\xff\xfe"])
    def test_broken_file(
        self, tmp_path: Path, ours: Files, broken: str, content: bytes | None
    ) -> None:
        """A file that is missing or no PEM is a SettingsError that names it, on both sides."""
        bad = tmp_path / "bad.pem"
        if content is not None:
            bad.write_bytes(content)
        paths: dict[str, Any] = {"ca": ours.ca, "cert": ours.cert, "key": ours.key, broken: bad}
        options = TlsOptions("verify-ca", paths["ca"], paths["cert"], paths["key"])
        for build in (client_context, upstream_context):
            with pytest.raises(SettingsError, match=r"bad\.pem"):
                build(options)

    def test_key_of_another_certificate(self, ours: Files, theirs: Files) -> None:
        """A key that does not belong to the certificate is refused at the start."""
        with pytest.raises(SettingsError, match="KEY_VALUES_MISMATCH"):
            client_context(TlsOptions("require", None, ours.cert, theirs.key))

    def test_client_certificate_without_key(self, ours: Files) -> None:
        """A client certificate needs its key."""
        with pytest.raises(SettingsError, match="no key file"):
            upstream_context(TlsOptions("require", None, ours.cert))

    def test_encrypted_key(self, tmp_path: Path, ours: Files) -> None:
        """An encrypted key is refused, and nobody is asked for a passphrase at the terminal."""
        key = serialization.load_pem_private_key(ours.key.read_bytes(), None)
        locked = tmp_path / "locked.pem"
        locked.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.BestAvailableEncryption(b"secret"),
            )
        )
        with pytest.raises(SettingsError, match="encrypted"):
            client_context(TlsOptions("require", None, ours.cert, locked))


def signed(key: Any, algorithm: Any, **options: Any) -> bytes:
    """Return a self-signed certificate as DER."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "db.example")])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1, now, now + timedelta(days=1))
    return builder.sign(key, algorithm, **options).public_bytes(serialization.Encoding.DER)


@pytest.fixture(scope="module")
def rsa_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 2048)


class TestCertificateHash:
    @pytest.mark.parametrize("algorithm", [hashes.SHA256(), hashes.SHA384(), hashes.SHA512()])
    @pytest.mark.parametrize("kind", ["ecdsa", "rsa", "rsa-pss"])
    def test_hash_of_the_signature(
        self, rsa_key: rsa.RSAPrivateKey, kind: str, algorithm: Any
    ) -> None:
        """The hash is the signature's own, as hashlib computes it and as scramp chooses it."""
        key = ec.generate_private_key(ec.SECP256R1()) if kind == "ecdsa" else rsa_key
        options: dict[str, Any] = {}
        if kind == "rsa-pss":
            options["rsa_padding"] = padding.PSS(padding.MGF1(algorithm), algorithm.digest_size)
        der = signed(key, algorithm, **options)
        assert certificate_hash(der) == hashlib.new(algorithm.name, der).digest()
        assert certificate_hash(der) == bytes(CBindData.from_der(der))

    @pytest.mark.parametrize(
        ("weak", "sha256"),
        [
            # the object identifiers 1.2.840.113549.1.1.{5: sha1, 4: md5, 11: sha256}
            ("2a864886f70d010105", "2a864886f70d01010b"),
            ("2a864886f70d010104", "2a864886f70d01010b"),
        ],
    )
    def test_weak_hash(self, rsa_key: rsa.RSAPrivateKey, weak: str, sha256: str) -> None:
        """MD5 and SHA-1 give way to SHA-256 (RFC 5929, section 4.1)."""
        strong = signed(rsa_key, hashes.SHA256())
        der = strong.replace(bytes.fromhex(sha256), bytes.fromhex(weak))
        assert der != strong
        assert certificate_hash(der) == hashlib.sha256(der).digest()

    @pytest.mark.parametrize("kind", [ed25519.Ed25519PrivateKey, ed448.Ed448PrivateKey])
    def test_no_hash(self, kind: Any) -> None:
        """A signature without a hash is refused: an empty binding would bind nothing."""
        der = signed(kind.generate(), None)
        with pytest.raises(SettingsError, match="could not determine"):
            certificate_hash(der)

    @pytest.mark.parametrize("der", [b"", b"no certificate", b"0\x82\xff\xff"])
    def test_no_certificate(self, der: bytes) -> None:
        """What is no certificate is refused."""
        with pytest.raises(SettingsError):
            certificate_hash(der)

    def test_unknown_signature(self, rsa_key: rsa.RSAPrivateKey) -> None:
        """A signature algorithm that nobody knows is refused."""
        der = signed(rsa_key, hashes.SHA256())
        unknown = der.replace(
            bytes.fromhex("2a864886f70d01010b"), bytes.fromhex("2a864886f70d01017b")
        )
        with pytest.raises(SettingsError):
            certificate_hash(unknown)


class TestSameCertificate:
    def test_same_and_other(self, ours: Files, theirs: Files) -> None:
        """The first certificate of the file counts, and nothing else."""
        der = leaf_certificate(ours.cert)
        expected = x509.load_pem_x509_certificates(ours.cert.read_bytes())[0]
        assert der == expected.public_bytes(serialization.Encoding.DER)
        assert same_certificate(der, ours.cert)
        assert not same_certificate(der, theirs.cert)
        assert not same_certificate(der, ours.ca)

    def test_order_and_text(self, tmp_path: Path, ours: Files) -> None:
        """Text before the certificate is passed over; an authority after it changes nothing."""
        file = tmp_path / "chain.pem"
        file.write_bytes(b"subject: \xe9\n" + ours.cert.read_bytes() + ours.ca.read_bytes())
        assert same_certificate(leaf_certificate(ours.cert), file)
        file.write_bytes(ours.ca.read_bytes() + ours.cert.read_bytes())
        assert not same_certificate(leaf_certificate(ours.cert), file)

    def test_without_tls(self, ours: Files) -> None:
        """A plain upstream has no certificate, a plain listener none either: never the same."""
        assert not same_certificate(None, ours.cert)
        assert not same_certificate(b"", ours.cert)
        assert not same_certificate(leaf_certificate(ours.cert), None)

    @pytest.mark.parametrize(
        "content",
        [
            None,
            b"",
            b"-----BEGIN CERTIFICATE-----\n",
            b"-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n",
        ],
    )
    def test_broken_file(self, tmp_path: Path, content: bytes | None) -> None:
        """A file without a certificate is a SettingsError that names it."""
        bad = tmp_path / "bad.pem"
        if content is not None:
            bad.write_bytes(content)
        with pytest.raises(SettingsError, match=r"bad\.pem"):
            leaf_certificate(bad)


class TestSelfSigned:
    def test_key_is_private(self, tmp_path: Path) -> None:
        """The key can be read by its owner only, also where an older file stood open."""
        (tmp_path / "server.key").write_bytes(b"old")
        (tmp_path / "server.key").chmod(0o666)
        _, key = self_signed().write(tmp_path)
        assert stat.S_IMODE(key.stat().st_mode) == 0o600

    def test_channel_binding(self, tmp_path: Path) -> None:
        """It has a channel binding, and each one is another."""
        cert, _ = self_signed(["db.example"]).write(tmp_path)
        first = certificate_hash(leaf_certificate(cert))
        assert first == hashlib.sha256(leaf_certificate(cert)).digest()
        self_signed(["db.example"]).write(tmp_path)
        assert certificate_hash(leaf_certificate(cert)) != first


def test_cryptography_is_lazy() -> None:
    """A proxy without TLS does not pay for importing cryptography."""
    code = "import sys, proxy.tls; sys.exit('cryptography' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
