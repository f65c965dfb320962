"""Every setting: its name, type, range and default.

Where PgBouncer has the setting the name is PgBouncer's. Times are in seconds, sizes in bytes.
`config/pgseer.toml` explains each one; tests/test_settings.py holds the two together.
"""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

from proxy.settings.dsn import UpstreamAddress

TlsMode = Literal["disable", "allow", "prefer", "require", "verify-ca", "verify-full"]
Port = Annotated[int, Meta(ge=0, le=65535)]
Seconds = Annotated[float, Meta(ge=0, le=86400 * 365)]
Count = Annotated[int, Meta(ge=0, le=2**31 - 1)]
Positive = Annotated[int, Meta(ge=1, le=2**31 - 1)]
# In the file also as text with a unit: "64MB".
Size = Annotated[int, Meta(ge=0, le=2**63 - 1, extra={"unit": "bytes"})]


class Listener(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Section [pgseer]: how the proxy is reached, its limits and its log."""

    listen_addr: str = "127.0.0.1"
    listen_port: Port = 6432
    http_addr: str = "127.0.0.1"
    http_port: Port = 8080  # 0: no HTTP

    client_tls_sslmode: TlsMode = "disable"
    client_tls_cert_file: str = ""
    client_tls_key_file: str = ""
    client_tls_ca_file: str = ""
    server_tls_sslmode: TlsMode = "prefer"
    server_tls_ca_file: str = ""
    server_tls_cert_file: str = ""
    server_tls_key_file: str = ""

    auth: Literal["relay", "scram"] = "relay"

    max_client_conn: Positive = 1000
    client_login_timeout: Seconds = 60.0
    server_connect_timeout: Seconds = 15.0
    shutdown_timeout: Seconds = 30.0
    tcp_keepalive: bool = True
    tcp_keepidle: Count = 0
    tcp_keepintvl: Count = 0
    tcp_keepcnt: Count = 0
    express_lane: bool = True
    max_inspected_statement_bytes: Size = 1024 * 1024

    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["logfmt", "json", "console"] = "logfmt"


class Upstream(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Section [upstream]: the database, named by a string, in parts, or embedded."""

    dsn: str = ""
    host: str = ""
    port: Port = 5432
    database: str = "postgres"
    user: str = "postgres"
    password: str = ""
    passfile: str = ""
    embedded: str = ""

    @property
    def is_embedded(self) -> bool:
        """Whether the database is pgseer's own: no other is named."""
        return not self.host

    @property
    def address(self) -> UpstreamAddress:
        """The database that `host` names, with the service credentials."""
        return UpstreamAddress(self.host, self.port, self.database, self.user, self.password)

    def __repr__(self) -> str:
        """Show everything but the secrets."""
        shown = (
            f"{name}={'***' if name in {'dsn', 'password'} and value else value!r}"
            for name, value in ((name, getattr(self, name)) for name in self.__struct_fields__)
        )
        return f"Upstream({', '.join(shown)})"


class MachineLearning(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Section [ml]: what training and scoring may use."""

    training_workers: Positive = 1
    max_training_memory: Size = 2 * 1024**3
    max_training_disk: Size = 20 * 1024**3
    training_directory: str = ""
    model_cache_size: Size = 256 * 1024**2


class Settings(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The whole configuration."""

    pgseer: Listener = Listener()
    upstream: Upstream = Upstream()
    ml: MachineLearning = MachineLearning()
