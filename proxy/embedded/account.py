"""Under whose uid the database runs, and what that uid may reach.

PostgreSQL refuses to run as root. As root (in containers) the database therefore gets an
unprivileged uid that no user has: nothing is added to /etc/passwd and no parent folder changes its
mode. `initdb` alone looks its own name up, so it is run as an existing unprivileged user, and the
finished data directory is handed over. As anybody else the database simply runs as the invoker.
"""

from __future__ import annotations

import os
import pwd
import tempfile
from dataclasses import dataclass
from pathlib import Path

from proxy.errors import UpstreamRefusedError

# Below 61184, where systemd's dynamic users begin, above what login.defs gives to people.
FIRST_UNUSED_UID = 55432
LAST_UNUSED_UID = 55532
READ = 0o4
ENTER = 0o1


@dataclass(frozen=True, slots=True)
class Account:
    """A uid with its group, and no supplementary groups."""

    uid: int
    gid: int

    def take(self, path: Path) -> None:
        """Give `path`, and all that lies in it, to this account."""
        os.chown(path, self.uid, self.gid, follow_symlinks=False)
        for folder, folders, files in os.walk(path):
            for name in (*folders, *files):
                os.chown(Path(folder) / name, self.uid, self.gid, follow_symlinks=False)

    def barrier_to(self, path: Path) -> Path | None:
        """Return the outermost folder on the way to `path` that this account may not enter.

        Only the mode bits are read; an access-control list is not.
        """
        folders = reversed(path.resolve().parents)
        return next((each for each in folders if not self._may(each, ENTER)), None)

    def can_read(self, path: Path) -> bool:
        """Tell whether this account may open the file `path`."""
        return self.barrier_to(path) is None and self._may(path, READ)

    def _may(self, path: Path, wanted: int) -> bool:
        status = path.stat()
        if status.st_uid == self.uid:
            granted = status.st_mode >> 6
        elif status.st_gid == self.gid:
            granted = status.st_mode >> 3
        else:
            granted = status.st_mode
        return granted & wanted == wanted


def initialising_account() -> Account | None:
    """Return the account that runs `initdb`; None means the invoker's own.

    Raises
    ------
    UpstreamRefusedError
        We are root and there is no user `nobody`.
    """
    if os.geteuid() != 0:
        return None
    try:
        nobody = pwd.getpwnam("nobody")
    except KeyError as error:
        raise UpstreamRefusedError(
            "the embedded PostgreSQL cannot be initialised as root",
            detail="initdb needs an unprivileged user, and there is no user named nobody.",
            hint="Run pgseer as an ordinary user, or name a database with --upstream.",
        ) from error
    return Account(nobody.pw_uid, nobody.pw_gid)


def serving_account(data: Path) -> Account | None:
    """Return the account that runs the database over `data`; None means the invoker's own.

    An existing data directory keeps the owner that it has.
    """
    if os.geteuid() != 0:
        return None
    if data.exists():
        status = data.stat()
        return Account(status.st_uid, status.st_gid)
    uid = _unused_uid()
    return initialising_account() if uid is None else Account(uid, uid)


def fresh_directory(prefix: str) -> Path:
    """Return a new private folder that the database's account can be let into.

    In the temporary folder; where that is closed to others (TMPDIR under /root), in /tmp or
    /var/tmp. Whoever asks removes it.

    Raises
    ------
    UpstreamRefusedError
        None of them will do.
    """
    account = serving_account(Path("/nonexistent"))
    for parent in (Path(tempfile.gettempdir()), Path("/tmp"), Path("/var/tmp")):  # noqa: S108
        if parent.is_dir() and (account is None or account.barrier_to(parent / "new") is None):
            return Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
    raise UpstreamRefusedError(
        "there is no temporary folder that an unprivileged user may enter",
        hint="Set TMPDIR, or name a folder with --dir.",
    )


def _unused_uid() -> int | None:
    """Return a uid that no user has, or None where this user namespace maps none."""
    for uid in range(FIRST_UNUSED_UID, LAST_UNUSED_UID):
        try:
            pwd.getpwuid(uid)
        except KeyError:
            return uid if _is_mapped(uid) else None
    return None


def _is_mapped(uid: int) -> bool:
    """Tell whether `uid` exists in this user namespace (rootless containers map few)."""
    try:
        lines = Path("/proc/self/uid_map").read_text(encoding="ascii").splitlines()
    except OSError:  # not Linux: no namespaces
        return True
    ranges = [[int(field) for field in line.split()] for line in lines]
    return any(first <= uid < first + length for first, _, length in ranges)
