"""The figures: what each one is, what it must reach, and how it is measured.

`FIGURES`, at the end, is the whole list. A figure is one function of the laboratory that returns one
outcome for each of its rows. Rows without a goal are there for the reader: they say what else a
figure could have been held against.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

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
# scikit-learn stops at its own tolerance, and both sides print what they score.
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


def scoring_by_hand(laboratory: Laboratory, *, binary: bool) -> tuple[Outcome, ...]:
    """Measure the same scores by hand; then with a DataFrame as the end on both sides."""
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
        ours, framed, theirs = interleaved(
            laboratory.scale.rounds,
            lambda: through.time_query(tables.PREDICTED, tag, binary=binary),
            lambda: by_hand.time_fetch(fetching, tables.PREDICTED, binary=binary),
            lambda: by_hand.time_scoring(
                direct, tables.TOUCHED_COLUMNS, model, features, binary=binary
            ),
        )
    return speedup(ours, theirs, "s"), speedup(framed, theirs, "s")


def _check_scores(laboratory: Laboratory, model: by_hand.LogisticRegression) -> None:
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
        ours, theirs = interleaved(
            laboratory.scale.rounds,
            lambda: through.time_query(tables.TRAIN_LESSONS, "CREATE MODEL"),
            lambda: by_hand.time_training(
                direct, tables.LESSONS, tables.TRAINING_FEATURES, "passed"
            ),
        )
    return (speedup(ours, theirs, "s"),)


def idle_memory(laboratory: Laboratory) -> tuple[Outcome, ...]:
    """Measure the proxy's growth between few and many idle connections, a fresh one each round."""
    sizes = [_idle_kilobytes(laboratory) for _ in range(laboratory.scale.rounds)]
    return (Measurement(tuple(sizes)),)


def _idle_kilobytes(laboratory: Laboratory) -> float:
    few, many = laboratory.scale.idle_connections
    with laboratory.fresh_pgseer() as pgseer, contextlib.ExitStack() as connections:
        sizes = []
        for count in (few, many - few):
            for _ in range(count):
                connections.enter_context(laboratory.connect(dsn(pgseer.port)))
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


def _point_figure(protocol: str) -> Figure:
    work = f"pgbench -S -c {POINT_CLIENTS}, {protocol}"
    rows = (Row(work, "PgBouncer, session mode", Goal(">=", 0.9, 1.0)), Row(work, "direct"))
    return Figure(f"point-{protocol}", rows, partial(point_selects, protocol))


def _passthrough_row(work: str) -> tuple[Row]:
    return (Row(work, "direct", Goal("<=", 1.15, 1.0)),)


FIGURES = (
    *map(_point_figure, ("simple", "extended", "prepared")),
    Figure(
        "select", _passthrough_row("SELECT"), partial(passthrough, tables.ALL_COLUMNS, "SELECT")
    ),
    Figure(
        "copy-out",
        _passthrough_row("COPY TO STDOUT"),
        partial(passthrough, tables.COPY_OUT, "COPY"),
    ),
    Figure("copy-in", _passthrough_row("COPY FROM STDIN"), copy_in),
    Figure(
        "predict",
        (
            Row(
                "PREDICT beside 2 columns, 4 features",
                "plain SELECT of the 2 columns and the 4 features, direct",
                Goal("<=", 1.5, 1.15),
            ),
            Row(
                "the same",
                "stricter: plain SELECT of the 2 columns and a stored float8, direct",
            ),
        ),
        partial(scoring, binary=False),
    ),
    Figure(
        "predict-binary",
        (
            Row(
                "the same, binary results",
                "plain SELECT of the 2 columns and the 4 features, direct",
            ),
            Row(
                "the same, binary results",
                "stricter: plain SELECT of the 2 columns and a stored float8, direct",
            ),
        ),
        partial(scoring, binary=True),
    ),
    Figure(
        "by-hand",
        (
            Row(
                "PREDICT as above",
                "psycopg fetch + pandas + scikit-learn predict_proba",
                Goal(">=", 4, 8),
            ),
            Row("PREDICT, fetched into pandas too", "the same"),
        ),
        partial(scoring_by_hand, binary=False),
    ),
    Figure(
        "by-hand-binary",
        (
            Row("PREDICT, binary results", "the same, fetched in binary"),
            Row("PREDICT, binary, fetched into pandas too", "the same"),
        ),
        partial(scoring_by_hand, binary=True),
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
        ),
        training,
    ),
    Figure(
        "memory",
        (Row("memory per idle connection", "", Goal("<=", 60, 30, "KB")),),
        idle_memory,
    ),
)
