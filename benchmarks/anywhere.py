"""PREDICT where the database needs its value: to filter, to sort, to update, to insert.

The peers are what one does without: the inequality written by hand, or fetch, scikit-learn and
pandas, with COPY and UPDATE to bring scores back.
"""

from __future__ import annotations

import io
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import psycopg
from sklearn.ensemble import RandomForestClassifier

from benchmarks import by_hand, tables
from benchmarks.comparison import Goal, Measurement, Outcome, amount, interleaved, ratio, speedup
from benchmarks.figures import Figure, Row, WrongAnswerError
from benchmarks.laboratory import Laboratory
from benchmarks.planning import planning_microseconds
from benchmarks.wire import DiscardingClient

FEATURES = ", ".join(tables.SCORING_FEATURES)
LEARNED_ROWS = 100_000
TREES, DEPTH = 100, 15
MOST_ROUNDS = 3

_CALL = f"PREDICT(grove, {FEATURES})"
_LEARNED = f"SELECT {FEATURES}, outcome AS target FROM readings WHERE id <= {LEARNED_ROWS}"
GROVE = (
    f"CREATE OR REPLACE MODEL grove USING random_forest(n_trees: {TREES}, max_depth: {DEPTH})"
    f" AS {_LEARNED}"
)
SHRUB = f"CREATE OR REPLACE MODEL shrub USING decision_tree(max_depth: 10) AS {_LEARNED}"
FRESH = (
    "DROP TABLE IF EXISTS scored",
    f"CREATE UNLOGGED TABLE scored AS SELECT id, {FEATURES}, NULL::float8 AS score FROM readings",
    "VACUUM (FREEZE, ANALYZE) scored",
)


def filtering(laboratory: Laboratory) -> tuple[Outcome, ...]:
    """Measure a threshold on a logistic model against its linear inequality, written by hand."""
    laboratory.need_scorer()
    counted = "SELECT count(*) FROM readings WHERE "
    with (
        laboratory.connect(laboratory.pgseer_dsn) as connection,
        DiscardingClient(laboratory.pgseer_dsn) as through,
        DiscardingClient(laboratory.direct_dsn) as direct,
    ):
        rows = connection.execute(f"DESCRIBE MODEL {tables.MODEL}").fetchall()
        terms = {row[1]: float(row[2]) for row in rows if row[0] == "coefficient"}
        ours = f"{counted}PREDICT({tables.MODEL}, {FEATURES}) > 0.7"
        by_hand_sql = counted + _inequality(terms, 0.7)
        found = [connection.execute(text).fetchone() for text in (ours, by_hand_sql)]
        if found[0] != found[1]:
            raise WrongAnswerError(f"{found[0]} rows, and {found[1]} by hand")
        mine, other = interleaved(
            laboratory.scale.rounds,
            lambda: through.time_query(ours, "SELECT 1"),
            lambda: direct.time_query(by_hand_sql, "SELECT 1"),
        )
    return (ratio(mine, other, "s"),)


def _inequality(weights: dict[str, float], probability: float) -> str:
    """Write what `probability` means for the sum of a logistic model's terms."""
    summed = " + ".join(f"({weights[name]!r})::float8 * {name}" for name in tables.SCORING_FEATURES)
    bound = float(np.log(probability / (1 - probability))) - weights["intercept"]
    return f"{summed} > ({bound!r})::float8"


def sorting(laboratory: Laboratory) -> tuple[Outcome, ...]:
    """Measure the ten best of a forest against fetch, scikit-learn and nlargest."""
    forest = _forest(laboratory)
    statement = f"SELECT id, label, {FEATURES} FROM readings ORDER BY {_CALL} DESC LIMIT 10"
    with (
        DiscardingClient(laboratory.pgseer_dsn) as through,
        laboratory.connect(laboratory.direct_dsn) as direct,
    ):

        def theirs() -> float:
            start = time.perf_counter()
            frame = by_hand.fetch(direct, tables.TOUCHED_COLUMNS)
            frame["score"] = _scores(forest, frame)
            frame.nlargest(10, "score")
            return time.perf_counter() - start

        mine, other = interleaved(
            _rounds(laboratory), lambda: through.time_query(statement, "SELECT 10"), theirs
        )
    return (speedup(mine, other, "s"),)


def updating(laboratory: Laboratory) -> tuple[Outcome, ...]:
    """Measure UPDATE ... SET against fetch, scikit-learn, COPY back and UPDATE ... FROM."""
    forest = _forest(laboratory)
    tag = f"UPDATE {laboratory.scale.rows}"
    with (
        DiscardingClient(laboratory.pgseer_dsn) as through,
        laboratory.connect(laboratory.direct_dsn) as direct,
    ):

        def ours() -> float:
            _execute(direct, *FRESH)
            return through.time_query(f"UPDATE scored SET score = {_CALL}", tag)

        def theirs() -> float:
            _execute(direct, *FRESH)
            start = time.perf_counter()
            frame = by_hand.fetch(direct, f"SELECT id, {FEATURES} FROM scored")
            frame["score"] = _scores(forest, frame)
            _update_by_copy(direct, frame)
            return time.perf_counter() - start

        mine, other = interleaved(_rounds(laboratory), ours, theirs)
    return (speedup(mine, other, "s"),)


def _update_by_copy(connection: psycopg.Connection[Any], frame: pd.DataFrame) -> None:
    text = io.StringIO()
    frame[["id", "score"]].to_csv(text, header=False, index=False)
    with connection.transaction(), connection.cursor() as cursor:
        cursor.execute("CREATE TEMP TABLE brought (id int, score float8) ON COMMIT DROP")
        with cursor.copy("COPY brought FROM STDIN (FORMAT csv)") as copy:
            copy.write(text.getvalue())
        cursor.execute("ANALYZE brought")
        cursor.execute("UPDATE scored SET score = b.score FROM brought b WHERE b.id = scored.id")


def inserting(laboratory: Laboratory) -> tuple[Outcome, ...]:
    """Measure INSERT ... SELECT with a tree's score against one of stored columns."""
    laboratory.need_readings()
    tag = f"INSERT 0 {laboratory.scale.rows}"
    into = f"INSERT INTO copied (id, label, {FEATURES}, score, outcome) "
    plain = f"{into}SELECT id, label, {FEATURES}, score, outcome FROM readings"
    scored = (
        f"{into}SELECT id, label, {FEATURES}, PREDICT(shrub, {FEATURES}), outcome FROM readings"
    )
    with (
        DiscardingClient(laboratory.pgseer_dsn) as through,
        DiscardingClient(laboratory.direct_dsn) as direct,
    ):
        through.time_query(SHRUB, "CREATE MODEL")

        def timed(client: DiscardingClient, statement: str) -> Callable[[], float]:
            def work() -> float:
                direct.time_query("TRUNCATE copied", "TRUNCATE TABLE")
                return client.time_query(statement, tag)

            return work

        mine, other = interleaved(
            laboratory.scale.rounds, timed(through, scored), timed(direct, plain)
        )
    return (ratio(mine, other, "s"),)


def planning(_: Laboratory) -> tuple[Outcome, ...]:
    """Measure a statement's way from its text to the upstream's, parsed and proved."""
    times = planning_microseconds()
    return tuple(
        Measurement(each, amount(each, "us"), f"median of {len(each)}") for each in times.values()
    )


def _forest(laboratory: Laboratory) -> RandomForestClassifier:
    """Train a forest on both sides; return scikit-learn's."""
    laboratory.need_readings()
    with (
        laboratory.connect(laboratory.direct_dsn) as direct,
        DiscardingClient(laboratory.pgseer_dsn) as through,
    ):
        through.time_query(GROVE, "CREATE MODEL")
        frame = by_hand.fetch(
            direct, f"SELECT {FEATURES}, outcome FROM readings WHERE id <= {LEARNED_ROWS}"
        )
    forest = RandomForestClassifier(n_estimators=TREES, max_depth=DEPTH, n_jobs=-1, random_state=0)
    return forest.fit(frame[list(tables.SCORING_FEATURES)], frame["outcome"])


def _scores(forest: RandomForestClassifier, frame: pd.DataFrame) -> np.ndarray[Any, Any]:
    probabilities: np.ndarray[Any, Any] = forest.predict_proba(frame[list(tables.SCORING_FEATURES)])
    return probabilities[:, 1]


def _execute(connection: psycopg.Connection[Any], *statements: str) -> None:
    for statement in statements:
        connection.execute(statement)


def _rounds(laboratory: Laboratory) -> int:
    return min(laboratory.scale.rounds, MOST_ROUNDS)


def anywhere() -> tuple[Figure, ...]:
    """Return the figures of PREDICT outside the select list."""
    return (
        Figure(
            "where",
            (
                Row(
                    "count(*) WHERE PREDICT(logistic) > 0.7, 4 features",
                    "the linear inequality written by hand, direct",
                    Goal("<=", 1.3, 1.0),
                ),
            ),
            filtering,
        ),
        Figure(
            "order-by",
            (
                Row(
                    f"ORDER BY PREDICT(forest of {TREES}) DESC LIMIT 10",
                    "psycopg fetch + scikit-learn + nlargest",
                    Goal(">=", 3, 6),
                ),
            ),
            sorting,
        ),
        Figure(
            "update",
            (
                Row(
                    f"UPDATE SET score = PREDICT(forest of {TREES})",
                    "fetch + scikit-learn + COPY back + UPDATE ... FROM",
                    Goal(">=", 1.5, 3),
                ),
            ),
            updating,
        ),
        Figure(
            "insert-select",
            (
                Row(
                    "INSERT ... SELECT with a tree of depth 10",
                    "INSERT ... SELECT of plain columns, direct",
                    Goal("<=", 2, 1.3),
                ),
            ),
            inserting,
        ),
        Figure(
            "planning",
            tuple(
                Row(f"planning {name}", "", Goal("<=", 300, 100, "us"))
                for name in ("a spliced PREDICT", "a pushed-down PREDICT", "a staged PREDICT")
            ),
            planning,
        ),
    )
