"""From file, environment and command line to `Settings`, each overriding the one before.

A mistake is named by its key, with the nearest key that exists; nothing is ignored and nothing is
guessed. The service password is looked up here (PGPASSWORD, password file) and never shown.
"""

from __future__ import annotations

import os
import re
import sys
import tomllib
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import msgspec

from proxy.errors import SettingsError
from proxy.settings.dsn import parse_dsn
from proxy.settings.passfile import password_for
from proxy.settings.schema import Listener, Settings, Upstream

ENVIRONMENT_PREFIX = "PGSEER__"
SIZE = re.compile(r"(\d+)\s*(B|kB|MB|GB|TB)", re.IGNORECASE)
SIZE_UNITS = {"b": 1, "kb": 1024, "mb": 1024**2, "gb": 1024**3, "tb": 1024**4}
# What a connection string says beside the address, and the keys that say the same.
DSN_KEYWORDS = {
    "sslmode": "server_tls_sslmode",
    "sslrootcert": "server_tls_ca_file",
    "sslcert": "server_tls_cert_file",
    "sslkey": "server_tls_key_file",
    "connect_timeout": "server_connect_timeout",
}
VIOLATION = re.compile(r"(?P<complaint>.*) - at `\$\.(?P<key>[\w.]+)`", re.DOTALL)

Section = dict[str, Any]
FIELDS = {
    section.name: {field.name: field.type for field in msgspec.structs.fields(section.type)}
    for section in msgspec.structs.fields(Settings)
}


def load_settings(
    path: Path | None = None,
    overrides: Mapping[str, object] | None = None,
    environment: Mapping[str, str] | None = None,
) -> Settings:
    """Return the settings that a file, the environment and the command line make together.

    Parameters
    ----------
    path : a TOML file, or None for the defaults
    overrides : `section.key` to value; they win
    environment : in place of this process's; `PGSEER__SECTION__KEY` overrides the file

    Raises
    ------
    SettingsError
        With the key at fault, and for an unknown one the nearest known key.
    """
    environment = os.environ if environment is None else environment
    raw = _read(path) if path is not None else {}
    _check_names(raw)
    for name, text in _from_environment(environment).items():
        _override(raw, name, _coerced(name, text))
    for name, value in (overrides or {}).items():
        _override(raw, name, value)
    _resolve_sizes(raw)
    _resolve_dsn(raw)
    _resolve_client_tls(raw)
    settings = _convert(raw)
    _check_tls(settings.pgseer)
    return msgspec.structs.replace(
        settings, upstream=_resolve_upstream(settings.upstream, environment)
    )


def default_data_directory() -> Path:
    """Return where the embedded database lives when nobody says: the user's data folder.

    Root's own would be under /root, which the unprivileged database may not enter.
    """
    if os.geteuid() == 0:
        return Path("/var/lib/pgseer")
    if sys.platform == "darwin":
        return Path("~/Library/Application Support/pgseer").expanduser()
    return Path(os.environ.get("XDG_DATA_HOME") or "~/.local/share").expanduser() / "pgseer"


# ---- the three sources


def _read(path: Path) -> dict[str, Section]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"cannot read {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"not TOML: {error}") from error


def _from_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Return `section.key` to text of every variable with our prefix."""
    return {
        name.removeprefix(ENVIRONMENT_PREFIX).lower().replace("__", ".", 1): text
        for name, text in environment.items()
        if name.startswith(ENVIRONMENT_PREFIX)
    }


def _coerced(name: str, text: str) -> object:
    """Read an environment variable's text as its key's type; what cannot be read stays text."""
    section, _, key = name.partition(".")
    kind = FIELDS.get(section, {}).get(key, str)
    try:
        return msgspec.convert(text, kind, strict=False)
    except msgspec.ValidationError:
        return text  # the conversion of the whole will complain, in its words


def _override(raw: dict[str, Section], name: str, value: object) -> None:
    section, _, key = name.partition(".")
    if key not in FIELDS.get(section, {}):
        raise _unknown(name)
    raw.setdefault(section, {})[key] = value


# ---- names


def _check_names(raw: Mapping[str, Any]) -> None:
    for section, keys in raw.items():
        if section not in FIELDS:
            raise _unknown(section)
        if not isinstance(keys, dict):
            raise SettingsError(f"{section} is a section: write [{section}] on a line of its own")
        for key in keys:
            if key not in FIELDS[section]:
                raise _unknown(f"{section}.{key}")


def _unknown(name: str) -> SettingsError:
    section, _, key = name.partition(".")
    everywhere = [f"{each}.{known}" for each, keys in FIELDS.items() for known in keys]
    if not key and (sections := get_close_matches(section, FIELDS, n=1)):
        return SettingsError(f"unknown section {name}; the nearest known section is {sections[0]}")
    neighbours = get_close_matches(key, FIELDS.get(section, ()), n=1, cutoff=0.7)
    nearest = (
        f"{section}.{neighbours[0]}"
        if neighbours
        else get_close_matches(name, everywhere, n=1, cutoff=0.0)[0]
    )
    return SettingsError(f"unknown key {name}; the nearest known key is {nearest}")


# ---- values


def _resolve_sizes(raw: dict[str, Section]) -> None:
    """Replace "64MB" by bytes wherever the key is a size."""
    for section, keys in raw.items():
        for key, value in keys.items():
            meta = getattr(FIELDS[section][key], "__metadata__", ())
            is_size = any((each.extra or {}).get("unit") == "bytes" for each in meta)
            if is_size and isinstance(value, str):
                match = SIZE.fullmatch(value.strip())
                if match is None:
                    raise SettingsError(
                        f"{section}.{key}: expected a size, bytes or like '64MB', not {value!r}"
                    )
                keys[key] = int(match[1]) * SIZE_UNITS[match[2].lower()]


def _resolve_dsn(raw: dict[str, Section]) -> None:
    """Spread a connection string over the keys that it stands for; it wins over them."""
    upstream = raw.get("upstream", {})
    dsn = upstream.pop("dsn", "")
    if not isinstance(dsn, str):
        raise SettingsError("upstream.dsn: expected a string")
    if not dsn:
        return
    parts = {"host": upstream.get("host") or "localhost"} | parse_dsn(dsn)
    for keyword, text in parts.items():
        name = (
            f"pgseer.{DSN_KEYWORDS[keyword]}" if keyword in DSN_KEYWORDS else f"upstream.{keyword}"
        )
        _override(raw, name, _coerced(name, text))


def _resolve_client_tls(raw: dict[str, Section]) -> None:
    """Offer TLS to clients as soon as there is a certificate, unless the file says otherwise."""
    listener = raw.get("pgseer", {})
    if listener.get("client_tls_cert_file"):
        listener.setdefault("client_tls_sslmode", "prefer")


def _convert(raw: dict[str, Section]) -> Settings:
    try:
        return msgspec.convert(raw, Settings)
    except msgspec.ValidationError as error:
        raise SettingsError(_in_our_words(str(error), raw)) from None


def _in_our_words(text: str, raw: dict[str, Section]) -> str:
    """Turn msgspec's message into one that begins with the key and ends with the value."""
    match = VIOLATION.fullmatch(text)
    if match is None:
        return text
    section, _, key = match["key"].partition(".")
    complaint = match["complaint"].replace("`", "").replace("Expected", "expected")
    if complaint.startswith("Invalid enum value"):
        allowed = FIELDS[section][key].__args__
        complaint = f"expected one of {', '.join(allowed)}"
    secret = section == "upstream"
    value = raw[section][key]
    return f"{match['key']}: {complaint.split(', got')[0]}" + ("" if secret else f", not {value!r}")


def _check_tls(listener: Listener) -> None:
    """Refuse a TLS mode that lacks its files, before a client finds out."""
    if bool(listener.client_tls_cert_file) != bool(listener.client_tls_key_file):
        raise SettingsError(
            "pgseer.client_tls_cert_file and pgseer.client_tls_key_file go together"
        )
    needs = [
        ("client_tls_sslmode", listener.client_tls_sslmode != "disable", "client_tls_cert_file"),
        ("client_tls_sslmode", "verify" in listener.client_tls_sslmode, "client_tls_ca_file"),
        ("server_tls_sslmode", "verify" in listener.server_tls_sslmode, "server_tls_ca_file"),
    ]
    for mode, is_needed, file in needs:
        if is_needed and not getattr(listener, file):
            raise SettingsError(f"pgseer.{mode} = {getattr(listener, mode)!r} needs pgseer.{file}")
    for field in FIELDS["pgseer"]:
        path = getattr(listener, field) if field.endswith("_file") else ""
        if path and not Path(path).is_file():
            raise SettingsError(f"pgseer.{field}: no file {path}")


# ---- the database


def _resolve_upstream(upstream: Upstream, environment: Mapping[str, str]) -> Upstream:
    """Settle on one database, and find the service password."""
    if upstream.host and upstream.embedded:
        raise SettingsError("upstream.embedded excludes upstream.host and upstream.dsn")
    if not upstream.host:
        folder = upstream.embedded or str(default_data_directory())
        return msgspec.structs.replace(upstream, embedded=folder)
    if upstream.password:
        return upstream
    password = environment.get("PGPASSWORD") or _from_passfile(upstream, environment) or ""
    return msgspec.structs.replace(upstream, password=password)


def _from_passfile(upstream: Upstream, environment: Mapping[str, str]) -> str | None:
    named = upstream.passfile or environment.get("PGPASSFILE")
    path = Path(named or "~/.pgpass").expanduser()
    if not path.is_file():
        if upstream.passfile:
            raise SettingsError(f"upstream.passfile: no file {path}")
        return None
    return password_for(path, upstream.address)
