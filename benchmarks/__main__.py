"""`python -m benchmarks`: measure, print the table, keep it in RESULTS.md.

Only a complete run at full scale replaces RESULTS.md, unless `--results` names a file.
"""

from __future__ import annotations

import argparse
import datetime as dt
import resource
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from benchmarks import machine, report
from benchmarks.algorithms import ALGORITHM_FIGURES
from benchmarks.anywhere import anywhere
from benchmarks.comparison import NotMeasured, Outcome
from benchmarks.figures import FIGURES as PROXY_FIGURES
from benchmarks.figures import Figure
from benchmarks.laboratory import FULL, QUICK, Laboratory, Scale
from benchmarks.processes import find_pgbouncer

FIGURES = (*PROXY_FIGURES, *anywhere(), *ALGORITHM_FIGURES)
RESULTS = Path(__file__).with_name("RESULTS.md")


def main() -> int:
    """Run what the command line asks for; 1 if a figure failed to be measured."""
    options = _options()
    if options.list:
        print("\n".join(figure.name for figure in FIGURES))
        return 0
    figures = [figure for figure in FIGURES if _is_wanted(figure.name, options.only)]
    if not figures:
        print(f"no figure is named {' or '.join(options.only)}; see --list", file=sys.stderr)
        return 2
    scale = QUICK if options.quick else FULL
    scale = replace(scale, rounds=options.rounds or scale.rounds, rows=options.rows or scale.rows)
    _prepare_process()
    before = time.monotonic()
    with Laboratory(scale, options.bin_dir) as laboratory:
        described = machine.describe(_postgres_version(laboratory), find_pgbouncer())
        outcomes = [_measured(figure, laboratory) for figure in figures]
    drawn = report.table(
        report.line(row.work, row.against, row.goal, outcome)
        for figure, found in zip(figures, outcomes, strict=True)
        for row, outcome in zip(figure.rows, found, strict=True)
    )
    print(f"\n{drawn}")
    path = options.results or (RESULTS if scale == FULL and not options.only else None)
    if path is not None:
        conditions = _conditions(scale, time.monotonic() - before)
        text = report.results(dt.date.today().isoformat(), described, conditions, drawn)  # noqa: DTZ011
        path.write_text(text, encoding="utf-8")
        print(f"\nkept in {path}")
    return int(any(_has_failed(outcome) for found in outcomes for outcome in found))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__.partition("\n")[0]
    )
    parser.add_argument("--quick", action="store_true", help="little work: a smoke test")
    parser.add_argument(
        "--only",
        metavar="NAME",
        action="append",
        default=[],
        help="only figures whose names begin so; may be repeated",
    )
    parser.add_argument("--list", action="store_true", help="name the figures and stop")
    parser.add_argument("--rounds", type=int, help="rounds of each figure, 5 by default")
    parser.add_argument("--rows", type=int, help="rows of each table, 1,000,000 by default")
    parser.add_argument("--bin-dir", type=Path, help="PostgreSQL's programs")
    parser.add_argument("--results", type=Path, help="keep the report in this file")
    return parser.parse_args()


def _is_wanted(name: str, beginnings: Sequence[str]) -> bool:
    return not beginnings or name.startswith(tuple(beginnings))


def _prepare_process() -> None:
    """Allow the sockets of many idle clients, and end properly when killed."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))


def _postgres_version(laboratory: Laboratory) -> str:
    with laboratory.connect(laboratory.direct_dsn) as connection:
        row = connection.execute("SHOW server_version").fetchone()
    assert row is not None
    return str(row[0])


def _measured(figure: Figure, laboratory: Laboratory) -> tuple[Outcome, ...]:
    """Measure one figure; whatever goes wrong is its outcome, and the others are measured."""
    print(f"{figure.name} ...", file=sys.stderr, end=" ", flush=True)
    before = time.monotonic()
    try:
        outcomes = figure.measure(laboratory)
    except Exception as error:
        outcomes = tuple(NotMeasured(_first_line(error), has_failed=True) for _ in figure.rows)
        print(f"failed: {error}", file=sys.stderr)
    else:
        print(f"{time.monotonic() - before:.0f} s", file=sys.stderr)
    return outcomes


def _has_failed(outcome: Outcome) -> bool:
    return isinstance(outcome, NotMeasured) and outcome.has_failed


def _first_line(error: Exception) -> str:
    said = str(error).strip().partition("\n")[0]
    return f"{type(error).__name__}: {said}" if said else type(error).__name__


def _conditions(scale: Scale, seconds: float) -> str:
    few, many = scale.idle_connections
    return (
        f"Tables have {scale.rows:,} rows, each figure {scale.rounds} rounds, pgbench runs for"
        f" {scale.seconds:g} s, memory is compared between {few} and {many} idle connections;"
        f" all in all {seconds / 60:.0f} min."
    )


if __name__ == "__main__":
    sys.exit(main())
