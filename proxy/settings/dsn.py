"""libpq's two forms of a connection string, and the address that either names.

    postgresql://user:password@host:port/database?sslmode=require
    host=/var/run/postgresql port=5432 dbname=shop user=proxy

Hosts are one each: a list of hosts is refused, not shortened.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, unquote, urlsplit

from proxy.errors import SettingsError

SCHEMES = ("postgresql://", "postgres://")
# libpq's keywords that mean something here, and what they are called in [upstream].
KEYWORDS = {
    "host": "host",
    "port": "port",
    "dbname": "database",
    "database": "database",
    "user": "user",
    "password": "password",
    "passfile": "passfile",
    "sslmode": "sslmode",
    "sslrootcert": "sslrootcert",
    "sslcert": "sslcert",
    "sslkey": "sslkey",
    "connect_timeout": "connect_timeout",
}
PAIR = re.compile(r"\s*(\w+)\s*=\s*(?:'((?:[^'\\]|\\.)*)'|((?:[^\s'\\]|\\.)*))(?=\s|$)")


@dataclass(frozen=True, slots=True)
class UpstreamAddress:
    """Where the database is, and the service credentials; `host` may be a socket folder."""

    host: str
    port: int
    database: str
    user: str
    password: str = field(default="", repr=False)

    @property
    def is_socket(self) -> bool:
        """Whether `host` names the folder of a Unix socket (an absolute path, as in libpq)."""
        return self.host.startswith("/")

    @property
    def socket_path(self) -> str:
        """The Unix socket itself."""
        return f"{self.host}/.s.PGSQL.{self.port}"


def parse_dsn(text: str) -> dict[str, str]:
    """Return the parts that `text` names, under the names of `KEYWORDS`' values.

    Raises
    ------
    SettingsError
        `text` has neither form, or a keyword that has no meaning here. The message never
        repeats `text`: it may hold a password.
    """
    parts = _parse_uri(text) if text.startswith(SCHEMES) else _parse_pairs(text)
    if "," in parts.get("host", "") or "," in parts.get("port", ""):
        raise SettingsError("upstream.dsn: one host is supported, not a list")
    return parts


def _parse_uri(text: str) -> dict[str, str]:
    try:
        uri = urlsplit(text)
    except ValueError as error:
        raise SettingsError("upstream.dsn: not a valid URI") from error
    credentials, _, location = uri.netloc.rpartition("@")
    host, port = _split_location(location)
    user, _, password = credentials.partition(":")
    found = {
        "user": unquote(user),
        "password": unquote(password),
        "host": unquote(host),
        "port": port,
        "database": unquote(uri.path.removeprefix("/")),
    }
    named = dict(_named(key, value) for key, value in _query_pairs(uri.query))
    return {name: value for name, value in found.items() if value} | named


def _query_pairs(query: str) -> list[tuple[str, str]]:
    try:
        return parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query))
    except ValueError as error:
        raise SettingsError("upstream.dsn: not a valid URI") from error


def _split_location(location: str) -> tuple[str, str]:
    """Split `host:port`, `[v6]:port` or either alone."""
    if location.startswith("["):
        host, _, rest = location[1:].partition("]")
        return host, rest.removeprefix(":")
    host, _, port = location.partition(":")
    return host, port


def _parse_pairs(text: str) -> dict[str, str]:
    parts = {}
    position = 0
    while text[position:].strip():
        match = PAIR.match(text, position)
        if match is None:
            raise SettingsError(
                "upstream.dsn: not a libpq connection string",
                hint="Write postgresql://user@host:port/database or host=... port=... dbname=...",
            )
        value = match[2] if match[2] is not None else match[3]
        name, value = _named(match[1], re.sub(r"\\(.)", r"\1", value))
        parts[name] = value
        position = match.end()
    return parts


def _named(keyword: str, value: str) -> tuple[str, str]:
    if keyword not in KEYWORDS:
        raise SettingsError(
            f"upstream.dsn: unknown keyword {keyword}",
            hint=f"Known are {', '.join(KEYWORDS)}.",
        )
    return KEYWORDS[keyword], value
