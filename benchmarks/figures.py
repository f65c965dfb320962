"""The figures: what each one is, what it must reach, and how it is measured.

`FIGURES`, at the end, is the whole list. A figure is one function of the laboratory that returns
one outcome for each of its rows. Rows without a goal are there for the reader: they say what else
could have been compared.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from sklearn.linear_model import LogisticRegression

from benchmarks import by_hand, tables
from benchmarks.comparison import (
    Goal,
    Measurement,
    NotMeasured,
    Outcome,
    Work,
    interleaved,
    ratio,
    speedup,
)
from benchmarks.laboratory import Laboratory, dsn
from benchmarks.machine import private_bytes
from benchmarks.wire import DiscardingClient

POINT_CLIENTS = 8
SETTLING_S = 1.0
# scikit-learn's own solver stops early (tol 1e-4); ours goes on to the minimum.
SCORE_TOLERANCE = 1e-3


class WrongAnswerError(Exception):
    """What was measured did not compute what it should have."""


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table; without a goal it is not judged."""

    work: str
    against: str
    goal: Goal | None = None


@dataclass(frozen=True, slots=True)
class Figure:
    """Rows that are measured together."""

    name: str
    rows: tuple[Row, ...]
    measure: Callable[[Laboratory], tuple[Outcome, ...]]


# ---- ordinary SQL


def point_selects(protocol: str, laboratory: Laboratory) -> tuple[Outcome, ...]:
    """Measure `pgbench -S` with 8 clients: the proxy, PostgreSQL, PgBouncer if there is one."""
    laboratory.need_accounts()
    targets = [laboratory.pgseer_dsn, laboratory.direct_dsn, laboratory.pgbouncer_dsn]
    rates = interleaved(
        laboratory.scale.rounds,
        *(_point_selects(laboratory, target, protocol) for target in targets if target),
    )
    ours, direct, *pgbouncer = rates
    return (
        ratio(ours, pgbouncer[0], "tps") if pgbouncer else NotMeasured("no PgBouncer installed"),
        ratio(ours, direct, "tps"),
    )


def _point_selects(laboratory: Laboratory, target: str, protocol: str) -> Work:
    return lambda: laboratory.pgbench(target).transactions_per_second(
        ("--select-only", f"--protocol={protocol}"),
        clients=POINT_CLIENTS,
        seconds=laboratory.scale.seconds,
    )


def passthrough(statement: str, verb: str, laboratory: Laboratory) -> tuple[Outcome, ...]:
    """Measure a statement that returns every row, through the proxy and direct."""
    laboratory.need_readings()
    tag = f"{verb} {laboratory.scale.rows}"
    with _discarding(laboratory) as (through, direct):
        ours, theirs = interleaved(
            laboratory.scale.rounds,
            lambda: through.time_query(statement, tag),
            lambda: direct.time_query(statement, tag),
        )
    return (ratio(ours, theirs, "s"),)


def copy_in(laboratory: Laboratory) -> tuple[Outcome, ...]:
    """Measure COPY FROM STDIN, into an empty table each time."""
    laboratory.need_readings()
    tag = f"COPY {laboratory.scale.rows}"

    def work(client: DiscardingClient) -> float:
        client.time_query("TRUNCATE copied", "TRUNCATE TABLE")
        return client.time_copy_in(tables.COPY_IN, frames, tag)

    with _discarding(laboratory) as (through, direct):
        frames = direct.copy_out(tables.COPY_OUT, tag)
        ours, theirs = interleaved(
            laboratory.scale.rounds, lambda: work(through), lambda: work(direct)
        )
    return (ratio(ours, theirs, "s"),)


# ---- PREDICT


def scoring(laboratory: Laboratory, *, binary: bool) -> tuple[Outcome, ...]:
    """Measure PREDICT beside two columns against two readings of "the plain SELECT"."""
    laboratory.need_scorer()
    tag = f"SELECT {laboratory.scale.rows}"
    with _discarding(laboratory) as (through, direct):
        ours, touched, returned = interleaved(
            laboratory.scale.rounds,
            lambda: through.time_query(tables.PREDICTED, tag, binary=binary),
            lambda: direct.time_query(tables.TOUCHED_COLUMNS, tag, binary=binary),
            lambda: direct.time_query(tables.RETURNED_COLUMNS, tag, binary=binary),
        )
    return ratio(ours, touched, "s"), ratio(ours, returned, "s")


def scoring_by_hand(laboratory: Laboratory) -> tuple[Outcome, ...]:
    """Measure the same scores computed by hand, in text and in binary."""
    laboratory.need_scorer()
    features = tables.SCORING_FEATURES
    tag = f"SELECT {laboratory.scale.rows}"
    with (
        _discarding(laboratory) as (through, _),
        laboratory.connect(laboratory.direct_dsn) as direct,
        laboratory.connect(laboratory.pgseer_dsn) as fetching,
    ):
        model = by_hand.fit(by_hand.fetch(direct, tables.ALL_COLUMNS), features, "outcome")
        _check_scores(laboratory, model)
        ours, ours_binary, ours_framed, theirs, theirs_in_text = interleaved(
            laboratory.scale.rounds,
            lambda: through.time_query(tables.PREDICTED, tag),
            lambda: through.time_query(tables.PREDICTED, tag, binary=True),
            lambda: by_hand.time_fetch(fetching, tables.PREDICTED),
            lambda: by_hand.time_scoring(direct, tables.TOUCHED_COLUMNS, model, features),
            lambda: by_hand.time_scoring(
                direct, tables.TOUCHED_COLUMNS, model, features, binary=False
            ),
        )
    return (
        speedup(ours, theirs_in_text, "s"),
        speedup(ours, theirs, "s"),
        speedup(ours_binary, theirs, "s"),
        speedup(ours_framed, theirs, "s"),
    )


def _check_scores(laboratory: Laboratory, model: LogisticRegression) -> None:
    """Compare a thousand scores of the proxy's with scikit-learn's: speed alone proves nothing."""
    few = " WHERE id <= 1000 ORDER BY id"
    with (
        laboratory.connect(laboratory.direct_dsn) as direct,
        laboratory.connect(laboratory.pgseer_dsn) as through,
    ):
        frame = by_hand.fetch(direct, tables.TOUCHED_COLUMNS + few)
        scores = by_hand.fetch(through, tables.PREDICTED + few).iloc[:, -1].to_numpy()
    wanted = model.predict_proba(frame[list(tables.SCORING_FEATURES)])[:, 1]
    worst = float(np.abs(scores - wanted).max())
    if not worst <= SCORE_TOLERANCE:
        raise WrongAnswerError(f"PREDICT differs from scikit-learn by {worst}")


def one_row(laboratory: Laboratory) -> tuple[Outcome, ...]:
    """Measure one client's latency of a PREDICT by key against a plain read by key."""
    laboratory.need_scorer()
    ours, theirs = interleaved(
        laboratory.scale.rounds,
        _one_row(laboratory, laboratory.folder / "predict.sql", is_predicted=True),
        _one_row(laboratory, laboratory.folder / "plain.sql", is_predicted=False),
    )
    return (ratio(ours, theirs, "ms"),)


def _one_row(laboratory: Laboratory, script: Path, *, is_predicted: bool) -> Work:
    text = tables.point_script(laboratory.scale.rows, is_predicted=is_predicted)
    script.write_text(text, encoding="utf-8")
    return lambda: laboratory.pgbench(laboratory.pgseer_dsn).latency_ms(
        ("--protocol=prepared", f"--file={script}"), seconds=laboratory.scale.seconds
    )


# ---- training and memory


def training(laboratory: Laboratory) -> tuple[Outcome, ...]:
    """Measure CREATE MODEL, its evaluation on held-out rows included, against fetch and fit."""
    laboratory.need_lessons()
    with (
        _discarding(laboratory) as (through, _),
        laboratory.connect(laboratory.direct_dsn) as direct,
    ):
        ours, theirs, theirs_in_binary = interleaved(
            laboratory.scale.rounds,
            lambda: through.time_query(tables.TRAIN_LESSONS, "CREATE MODEL"),
            lambda: by_hand.time_training(
                direct, tables.LESSONS, tables.TRAINING_FEATURES, "passed", binary=False
            ),
            lambda: by_hand.time_training(
                direct, tables.LESSONS, tables.TRAINING_FEATURES, "passed", binary=True
            ),
        )
    return (speedup(ours, theirs, "s"), speedup(ours, theirs_in_binary, "s"))


def idle_memory(laboratory: Laboratory) -> tuple[Outcome, ...]:
    """Measure the proxy's growth between few and many idle connections, a fresh one each round.

    Each has had one statement: a connection that never spoke is not what idles in a pool.
    """
    if not Path("/proc/self/smaps_rollup").exists():
        return (NotMeasured("this system does not tell a process's private memory"),)
    sizes = [_idle_kilobytes(laboratory) for _ in range(laboratory.scale.rounds)]
    return (Measurement(tuple(sizes)),)


def _idle_kilobytes(laboratory: Laboratory) -> float:
    few, many = laboratory.scale.idle_connections
    with laboratory.fresh_pgseer() as pgseer, contextlib.ExitStack() as connections:
        sizes = []
        for count in (few, many - few):
            for _ in range(count):
                client = connections.enter_context(laboratory.connect(dsn(pgseer.port)))
                client.execute("SELECT 1")
            time.sleep(SETTLING_S)
            sizes.append(private_bytes(pgseer.pid))
    return (sizes[1] - sizes[0]) / (many - few) / 1024


@contextlib.contextmanager
def _discarding(laboratory: Laboratory) -> Iterator[tuple[DiscardingClient, DiscardingClient]]:
    """Connect twice: through the proxy, and direct."""
    with (
        DiscardingClient(laboratory.pgseer_dsn) as through,
        DiscardingClient(laboratory.direct_dsn) as direct,
    ):
        yield through, direct


# ---- the list

PLAIN = "plain SELECT of the 2 columns and the 4 features, direct"
STRICTER = "stricter: plain SELECT of the 2 columns and a stored float8, direct"
BY_HAND = "psycopg fetch + pandas + scikit-learn predict_proba"
IN_BINARY = "the same, fetched in binary (not psycopg's default)"


def _point_figure(protocol: str) -> Figure:
    work = f"pgbench -S -c {POINT_CLIENTS}, {protocol}"
    rows = (Row(work, "PgBouncer, session mode", Goal(">=", 0.9, 1.0)), Row(work, "direct"))
    return Figure(f"point-{protocol}", rows, partial(point_selects, protocol))


def _passthrough_figure(
    name: str, work: str, measure: Callable[[Laboratory], tuple[Outcome, ...]]
) -> Figure:
    return Figure(name, (Row(work, "direct", Goal("<=", 1.15, 1.0)),), measure)


FIGURES = (
    *map(_point_figure, ("simple", "extended", "prepared")),
    _passthrough_figure(
        "select", "SELECT of a table", partial(passthrough, tables.ALL_COLUMNS, "SELECT")
    ),
    _passthrough_figure(
        "copy-out", "COPY TO STDOUT of a table", partial(passthrough, tables.COPY_OUT, "COPY")
    ),
    _passthrough_figure("copy-in", "COPY FROM STDIN of a table", copy_in),
    Figure(
        "predict",
        (
            Row("logistic PREDICT beside 2 columns, 4 features", PLAIN, Goal("<=", 1.5, 1.15)),
            Row("the same", STRICTER),
        ),
        partial(scoring, binary=False),
    ),
    Figure(
        "predict-binary",
        (Row("the same, binary results", PLAIN), Row("the same, binary results", STRICTER)),
        partial(scoring, binary=True),
    ),
    Figure(
        "by-hand",
        (
            Row("logistic PREDICT beside 2 columns", BY_HAND, Goal(">=", 4, 8)),
            Row("the same", IN_BINARY),
            Row("the same, binary results", IN_BINARY),
            Row("the same, fetched by psycopg into pandas too", IN_BINARY),
        ),
        scoring_by_hand,
    ),
    Figure(
        "one-row",
        (
            Row(
                "one-row PREDICT by key, prepared, 1 client",
                "plain point query through the proxy",
                Goal("<=", 2.0, 1.3),
            ),
        ),
        one_row,
    ),
    Figure(
        "training",
        (
            Row(
                "CREATE MODEL, logistic, 10 features",
                "psycopg fetch + scikit-learn fit",
                Goal(">=", 3, 6),
            ),
            Row("the same", IN_BINARY),
        ),
        training,
    ),
    Figure(
        "memory",
        (Row("memory per idle connection", "", Goal("<=", 60, 30, "KB")),),
        idle_memory,
    ),
)
