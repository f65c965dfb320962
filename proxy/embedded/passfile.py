"""The password file of an embedded database: libpq's `pgpass` format, mode 0600.

Holds the superuser's password, and so lets `psql` and pgseer itself in. Nobody else may read it.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from proxy.settings.passfile import passfile_entries


def read_password(path: Path, user: str) -> str | None:
    """Return the password of the first line for `user`, or None."""
    if not path.exists():
        return None
    return next((entry[4] for entry in passfile_entries(path) if entry[3] == user), None)


def write_password(path: Path, hosts: Sequence[str], user: str, password: str) -> None:
    """Write one line for each host, any port and database, in place of the old file.

    The new file is complete before it takes the name, and never readable by others.
    """
    lines = [":".join((escape(host), "*", "*", escape(user), escape(password))) for host in hosts]
    fresh = path.with_name(path.name + ".new")
    fresh.unlink(missing_ok=True)
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write("\n".join(lines) + "\n")
    fresh.replace(path)


def escape(field: str) -> str:
    r"""Write `field` so that its `:` and `\` are its own (libpq, "The Password File")."""
    return field.replace("\\", "\\\\").replace(":", "\\:")
