"""pgbench: how it is called, and what it says."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass

TPS = re.compile(r"^tps = ([\d.]+) \(without initial connection time\)$", re.MULTILINE)


class PgbenchError(Exception):
    """pgbench failed; the message is what it said."""


@dataclass(frozen=True, slots=True)
class Pgbench:
    """The program, and the database that it is pointed at."""

    program: str
    dsn: str

    def initialise(self, scale: int) -> None:
        """Make pgbench's own tables: `scale` times 100,000 accounts."""
        self._run(["-i", "-q", "--unlogged-tables", f"--scale={scale}"])

    def transactions_per_second(
        self, options: Sequence[str], *, clients: int, seconds: float
    ) -> float:
        """Return the rate, the time for connecting left out."""
        said = self._run(["-n", *options, f"--client={clients}", f"--time={seconds:.0f}"])
        return read_rate(said)

    def latency_ms(self, options: Sequence[str], *, seconds: float) -> float:
        """Return one client's mean time for a transaction, in milliseconds.

        From the rate, because pgbench prints the latency with three digits only.
        """
        return 1000 / self.transactions_per_second(options, clients=1, seconds=seconds)

    def _run(self, arguments: Sequence[str]) -> str:
        done = subprocess.run(
            [self.program, *arguments, self.dsn],
            check=False,
            capture_output=True,
            encoding="utf-8",
            stdin=subprocess.DEVNULL,
        )
        # A client that is thrown out is only a warning to pgbench: "Run was aborted".
        if done.returncode or "aborted" in done.stderr:
            raise PgbenchError(done.stderr.strip())
        return done.stdout


def read_rate(said: str) -> float:
    """Return the transactions per second from pgbench's report.

    Raises
    ------
    PgbenchError
        There is none: an older pgbench, or no transaction at all.
    """
    found = TPS.search(said)
    if found is None or not float(found[1]):
        raise PgbenchError(f"no rate in pgbench's report:\n{said}")
    return float(found[1])
