"""What a result depends on beside the code: the machine, and the versions of everything else."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

from proxy import __version__

LIBRARIES = ("numpy", "numba", "scikit-learn", "pandas", "psycopg", "uvloop")


def describe(postgres: str, pgbouncer: str | None) -> dict[str, str]:
    """Return what to name in a report, in its order.

    Parameters
    ----------
    postgres : the server's version, as it says it
    pgbouncer : the program's path, None if there is none
    """
    return {
        "CPU": f"{_cpu_model()}, {os.cpu_count()} cores",
        "memory": f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.1f} GiB",
        "kernel": f"{platform.system()} {platform.release()}",
        "load at the start": f"{os.getloadavg()[0]:.2f}",
        "pgseer": __version__,
        "Python": platform.python_version(),
        "PostgreSQL": postgres,
        "PgBouncer": pgbouncer_version(pgbouncer) if pgbouncer else "none",
        **{name: version(name) for name in LIBRARIES},
    }


def pgbouncer_version(program: str) -> str:
    """Return the version that PgBouncer says it has."""
    said = subprocess.check_output([program, "--version"], encoding="utf-8")
    return said.splitlines()[0].removeprefix("PgBouncer ")


def private_bytes(pid: int) -> int:
    """Return the memory that would come back if this process ended.

    What it shares with others (libraries) is theirs too, and says nothing of connections.

    Raises
    ------
    FileNotFoundError
        There is no such process, or this is not Linux.
    """
    return sum(_private_sizes(Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii")))


def _private_sizes(report: str) -> Iterator[int]:
    for line in report.splitlines():
        name, _, size = line.partition(":")
        if name in {"Private_Clean", "Private_Dirty"}:
            yield int(size.removesuffix("kB")) * 1024


def _cpu_model() -> str:
    known = Path("/proc/cpuinfo")
    for line in known.read_text(encoding="utf-8").splitlines() if known.exists() else ():
        name, _, value = line.partition(":")
        if name.strip() == "model name":
            return value.strip()
    return platform.machine()
