"""libpq's password file, read: `host:port:database:user:password`, `*` standing for any.

Like libpq, it is not trusted when others may read it.
"""

from __future__ import annotations

import re
import stat
from collections.abc import Iterator
from pathlib import Path

from proxy.errors import SettingsError
from proxy.settings.dsn import UpstreamAddress

FIELD = re.compile(r"((?:\\.|[^:\\])*)(:|$)")


def password_for(path: Path, address: UpstreamAddress) -> str | None:
    """Return the password of the first line that fits `address`, or None.

    Raises
    ------
    SettingsError
        The file is open to its group or to all.
    """
    if path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise SettingsError(
            f"{path} may be read by others, so it is not used",
            hint=f"chmod 600 {path}",
        )
    wanted = (address.host, str(address.port), address.database, address.user)
    for *fields, password in passfile_entries(path):
        if all(given in {"*", value} for given, value in zip(fields, wanted, strict=True)):
            return password
    return None


def passfile_entries(path: Path) -> Iterator[tuple[str, str, str, str, str]]:
    """Yield (host, port, database, user, password) of every well-formed line."""
    for line in path.read_text(encoding="utf-8").splitlines():
        fields = [] if line.startswith("#") else _split(line)
        if len(fields) >= 5:  # libpq ends the password at a bare colon
            host, port, database, user, password = fields[:5]
            yield host, port, database, user, password


def _split(line: str) -> list[str]:
    r"""Split at bare colons; `\:` and `\\` stand for themselves."""
    found = []
    for match in FIELD.finditer(line):
        found.append(re.sub(r"\\(.)", r"\1", match[1]))
        if not match[2]:
            break
    return found
