"""Rows a second that PREDICT gives over the wire, against what the dialect's source promises."""

from __future__ import annotations

from functools import partial

from benchmarks import tables
from benchmarks.comparison import Goal, Measurement, Outcome, amount, interleaved
from benchmarks.figures import Figure, Row
from benchmarks.laboratory import Laboratory
from benchmarks.wire import DiscardingClient

# The seed's benchmark, in predictions a second; what it does not name has the next of kin's.
PROMISED = {
    "linear_regression": ("linear regression", 100_000),
    "polynomial_regression": ("linear regression", 100_000),
    "logistic_regression": ("linear regression", 100_000),
    "kmeans": ("linear regression", 100_000),
    "decision_tree": ("decision tree", 50_000),
    "neural_network": ("neural network", 10_000),
    "random_forest": ("random forest", 5_000),
    "gradient_boosting": ("random forest", 5_000),
    "dbscan": ("decision tree", 50_000),
}
PARAMETERS = {
    "decision_tree": "(max_depth: 10)",
    "random_forest": "(n_trees: 100, max_depth: 15)",
    "neural_network": "(epochs: 5, hidden_layers: [100])",
    "kmeans": "(k: 5)",
    "dbscan": "(eps: 0.3)",
}
LEARNED_ROWS = 20_000


def over_the_wire() -> tuple[Figure, ...]:
    """Return a figure for each algorithm."""
    goal = Goal(">=", 10, 50)
    return tuple(
        Figure(
            f"wire-{name.replace('_', '-')}",
            (Row(f"PREDICT by {name}, 4 features, rows/s", f"the seed's {kin}", goal),),
            partial(_measure, name),
        )
        for name, (kin, _) in PROMISED.items()
    )


def _measure(name: str, laboratory: Laboratory) -> tuple[Outcome, ...]:
    laboratory.need_readings()
    features = ", ".join(tables.SCORING_FEATURES)
    target = "" if name in {"kmeans", "dbscan"} else ", outcome AS target"
    promised = PROMISED[name][1]
    rows = laboratory.scale.rows // 2
    statement = f"SELECT id, PREDICT(wire, {features}) FROM readings WHERE id <= {rows}"
    with DiscardingClient(laboratory.pgseer_dsn) as client:
        client.time_query(
            f"CREATE OR REPLACE MODEL wire USING {name}{PARAMETERS.get(name, '')} AS "
            f"SELECT {features}{target} FROM readings WHERE id <= {LEARNED_ROWS}",
            "CREATE MODEL",
        )
        (seconds,) = interleaved(
            min(laboratory.scale.rounds, 3), lambda: client.time_query(statement, f"SELECT {rows}")
        )
    rates = tuple(rows / each for each in seconds)
    return (
        Measurement(
            tuple(rate / promised for rate in rates),
            amount(rates, "rows/s"),
            f"{promised:,} rows/s",
        ),
    )
