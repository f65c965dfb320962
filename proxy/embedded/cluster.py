"""The making of a data directory, once, by `initdb`.

Passwords are SCRAM-SHA-256 for every connection, local ones too: the proxy relays its clients'
logins, so a trusted socket would let every client in. The directory takes its final name only when
complete, so a killed `initdb` leaves nothing that looks like a database.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from proxy.embedded.account import Account, initialising_account
from proxy.embedded.binaries import Binaries
from proxy.errors import UpstreamRefusedError

SUPERUSER = "postgres"
# PostgreSQL's processes get these and nothing else of ours: no PG* variable, no password.
INHERITED = ("PATH", "TZ", "TMPDIR", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")


def server_environment() -> dict[str, str]:
    """Return the environment of PostgreSQL's programs."""
    kept = {name: os.environ[name] for name in INHERITED if name in os.environ}
    return kept | {"LC_ALL": "C"}


def create_cluster(
    data: Path, binaries: Binaries, account: Account | None, password: str, *, durable: bool
) -> None:
    """Make the data directory `data`, owned by `account`, with superuser `postgres`.

    Raises
    ------
    UpstreamRefusedError
        initdb failed; its words are the DETAIL.
    """
    initialiser = initialising_account()
    nursery = data.with_name(data.name + ".new")
    shutil.rmtree(nursery, ignore_errors=True)
    nursery.mkdir(mode=0o700)
    passwords = nursery / "password"
    passwords.touch(mode=0o600)
    passwords.write_text(password + "\n", encoding="utf-8")
    if initialiser is not None:
        initialiser.take(nursery)
    _run_initdb(nursery / "data", passwords, binaries, initialiser, durable=durable)
    if account is not None:
        account.take(nursery / "data")
    (nursery / "data").rename(data)
    shutil.rmtree(nursery)


def _run_initdb(
    data: Path, passwords: Path, binaries: Binaries, account: Account | None, *, durable: bool
) -> None:
    command = [
        binaries.program("initdb"),
        f"--pgdata={data}",
        f"--username={SUPERUSER}",
        f"--pwfile={passwords}",
        "--auth=scram-sha-256",
        "--encoding=UTF8",
        *_locale_options(binaries),
        *([] if durable else ["--no-sync"]),
    ]
    result = subprocess.run(  # noqa: S603  # a found program, no shell
        command,
        check=False,
        capture_output=True,
        stdin=subprocess.DEVNULL,
        encoding="utf-8",
        errors="replace",
        cwd="/",
        env=server_environment(),
        user=None if account is None else account.uid,
        group=None if account is None else account.gid,
        extra_groups=None if account is None else [],
    )
    if result.returncode != 0:
        raise UpstreamRefusedError(
            "the embedded PostgreSQL could not be initialised", detail=result.stderr.strip()
        )


def _locale_options(binaries: Binaries) -> list[str]:
    """Return the locale: Unicode by code point, the same on every machine.

    From 17 on PostgreSQL brings it itself; before, the operating system must have C.UTF-8.
    """
    if binaries.major_version() >= 17:
        return ["--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
    return ["--locale=C.UTF-8", "--lc-messages=C"]
