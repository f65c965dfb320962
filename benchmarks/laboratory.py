"""What is measured on: one PostgreSQL, the proxy and PgBouncer before it, the tables.

Everything is made at its first use, lies in one private folder and is gone in the end. Roles log in
by SCRAM everywhere; the password of the run is in the environment, where libpq looks for it.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psycopg

from benchmarks import tables
from benchmarks.pgbench import Pgbench
from benchmarks.processes import Listener, find_pgbouncer, running_pgbouncer, running_pgseer
from proxy.embedded import EmbeddedPostgres, fresh_directory

USER = "postgres"
DEBIAN = Path("/usr/lib/postgresql")
SERVER_OPTIONS = {
    "shared_buffers": "512MB",  # all tables fit: disks are not what is compared
    "max_connections": "700",
    "max_wal_size": "4GB",
    "autovacuum": "off",
    "log_min_messages": "warning",
}


@dataclass(frozen=True, slots=True)
class Scale:
    """How much work a run does.

    Parameters
    ----------
    rows : of each table
    rounds : of each figure, after one that is not counted
    seconds : of each run of pgbench
    accounts : of pgbench's own tables, in 100,000
    idle_connections : (few, many), between which memory is compared
    """

    rows: int
    rounds: int
    seconds: float
    accounts: int
    idle_connections: tuple[int, int]


FULL = Scale(rows=1_000_000, rounds=5, seconds=5, accounts=10, idle_connections=(10, 500))
QUICK = Scale(rows=50_000, rounds=3, seconds=1, accounts=1, idle_connections=(10, 60))


class Laboratory:
    """A place to measure in; a context manager.

    Parameters
    ----------
    scale : how much work
    bin_dir : PostgreSQL's programs; None takes Debian's newest, else the wheel's
    """

    def __init__(self, scale: Scale, bin_dir: Path | None = None) -> None:
        self.scale = scale
        self._bin_dir = bin_dir or installed_postgres()
        self._stack = contextlib.ExitStack()
        self._made: set[str] = set()

    def __enter__(self) -> Self:
        self.folder = fresh_directory("pgseer-bench-")
        self._stack.callback(shutil.rmtree, self.folder, ignore_errors=True)
        self.folder.chmod(0o711)  # the server and PgBouncer are not root and must pass through
        self._password = os.environ["PGPASSWORD"] = secrets.token_urlsafe(24)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self._stack.close()

    # ---- the servers

    @cached_property
    def database(self) -> EmbeddedPostgres:
        """The PostgreSQL that everything stands before."""
        return self._stack.enter_context(
            EmbeddedPostgres(
                self.folder / "database",
                bin_dir=self._bin_dir,
                tcp=True,
                durable=False,
                options=SERVER_OPTIONS,
            )
        )

    @cached_property
    def pgseer(self) -> Listener:
        """The proxy that all figures but the memory's share."""
        return self._stack.enter_context(self.fresh_pgseer())

    def fresh_pgseer(self) -> contextlib.AbstractContextManager[Listener]:
        """Return a proxy that has served nobody yet."""
        return running_pgseer(self.database.port, USER, self.folder / "pgseer.log")

    @cached_property
    def pgbouncer(self) -> Listener | None:
        """The peer; None where it is not installed."""
        program = find_pgbouncer()
        if program is None:
            return None
        return self._stack.enter_context(
            running_pgbouncer(
                program, self.database.port, USER, self._password, self.folder / "pgbouncer"
            )
        )

    # ---- ways to them

    @property
    def direct_dsn(self) -> str:
        """To PostgreSQL itself."""
        return dsn(self.database.port)

    @property
    def pgseer_dsn(self) -> str:
        """Through the proxy."""
        return dsn(self.pgseer.port)

    @property
    def pgbouncer_dsn(self) -> str | None:
        """Through PgBouncer; None where it is not installed."""
        return None if self.pgbouncer is None else dsn(self.pgbouncer.port)

    def pgbench(self, target: str) -> Pgbench:
        """Return pgbench, pointed at a connection string."""
        return Pgbench(self.database.binaries.program("pgbench"), target)

    def connect(self, target: str) -> psycopg.Connection[Any]:
        """Return a psycopg connection in autocommit mode; who asks closes it."""
        return psycopg.connect(target, autocommit=True)

    # ---- what is in the database

    def need_accounts(self) -> None:
        """Make pgbench's tables unless they are there."""
        scale = self.scale.accounts
        self._once("accounts", lambda: self.pgbench(self.direct_dsn).initialise(scale))

    def need_readings(self) -> None:
        """Make the table that is scored unless it is there."""
        statements = tables.readings(self.scale.rows)
        self._once("readings", lambda: self._execute(self.direct_dsn, *statements))

    def need_scorer(self) -> None:
        """Train the model that scores unless it is there."""
        self.need_readings()
        self._once("scorer", lambda: self._execute(self.pgseer_dsn, tables.TRAIN_SCORER))

    def need_lessons(self) -> None:
        """Make the table that is trained on unless it is there."""
        statements = tables.lessons(self.scale.rows)
        self._once("lessons", lambda: self._execute(self.direct_dsn, *statements))

    def _once(self, name: str, make: Callable[[], None]) -> None:
        if name not in self._made:
            make()
            self._made.add(name)

    def _execute(self, target: str, *statements: str) -> None:
        with self.connect(target) as connection:
            for statement in statements:
                connection.execute(statement)


def dsn(port: int) -> str:
    """Return the connection string to a port of 127.0.0.1, without the password."""
    return f"host=127.0.0.1 port={port} dbname=postgres user={USER} sslmode=disable"


def installed_postgres() -> Path | None:
    """Return the programs of Debian's newest PostgreSQL server; None where there is none."""
    found = [path.parent for path in DEBIAN.glob("*/bin/postgres")]
    complete = [path for path in found if (path / "pgbench").exists()]
    return max(complete, key=lambda path: float(path.parent.name), default=None)
