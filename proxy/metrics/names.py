"""Every metric: its name, type, labels and help, in one table.

Names follow Prometheus's practice: one prefix, base units, `_total` for counters. Labels take few
values; what a client can choose is bounded in `instruments`. docs/metrics.md explains each metric
to the person who reads it; tests/metrics/test_exposition.py holds the two together.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from proxy.errors import ProxyError

MetricType = Literal["counter", "gauge", "histogram", "info"]


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric as Prometheus knows it.

    Parameters
    ----------
    name : whole, with the suffix `_total` or `_info`
    help : one sentence
    labels : names; their values come with each number
    """

    name: str
    type: MetricType
    help: str
    labels: tuple[str, ...] = ()


BUILD_INFO = Metric("pgseer_build_info", "info", "What is running.", ("version", "python"))

CLIENT_CONNECTIONS = Metric(
    "pgseer_client_connections", "gauge", "Clients connected now, those in their login included."
)
CLIENT_CONNECTIONS_TOTAL = Metric(
    "pgseer_client_connections_total", "counter", "Clients that were given a place."
)
CLIENT_CONNECTIONS_REJECTED = Metric(
    "pgseer_client_connections_rejected_total",
    "counter",
    "Clients that did not get as far as a session.",
    ("reason",),
)

STATEMENTS = Metric(
    "pgseer_statements_total", "counter", "Statements of pgseer's own that were begun.", ("kind",)
)
PREDICTIONS = Metric("pgseer_predictions_total", "counter", "Rows scored.", ("model", "version"))
MODEL_CACHE_BYTES = Metric(
    "pgseer_model_cache_bytes", "gauge", "Size of the models that are kept ready for scoring."
)

TRAINING_RUNS = Metric(
    "pgseer_training_runs_total", "counter", "Trainings that ended.", ("algorithm", "outcome")
)
TRAINING_DURATION = Metric(
    "pgseer_training_duration_seconds",
    "histogram",
    "Time from asking for a training's rows to its stored model, of those that succeeded.",
    ("algorithm",),
)
TRAINING_IN_PROGRESS = Metric(
    "pgseer_training_in_progress", "gauge", "Trainings begun and not ended, the waiting included."
)

EVENT_LOOP_LAG = Metric(
    "pgseer_event_loop_lag_seconds",
    "histogram",
    "How much later than asked the event loop woke a sleeper, twice a second.",
)

METRICS = (
    BUILD_INFO,
    CLIENT_CONNECTIONS,
    CLIENT_CONNECTIONS_TOTAL,
    CLIENT_CONNECTIONS_REJECTED,
    STATEMENTS,
    PREDICTIONS,
    MODEL_CACHE_BYTES,
    TRAINING_RUNS,
    TRAINING_DURATION,
    TRAINING_IN_PROGRESS,
    EVENT_LOOP_LAG,
)


# ---- label values that are known beforehand; they are shown from the start, as 0

PREDICT = "predict"
CREATE_MODEL = "create_model"
DROP_MODEL = "drop_model"
SHOW = "show"
DESCRIBE = "describe"
EVALUATE_MODEL = "evaluate_model"
STATEMENT_KINDS = (PREDICT, CREATE_MODEL, DROP_MODEL, SHOW, DESCRIBE, EVALUATE_MODEL)

SUCCESS = "success"
ERROR = "error"
CANCELED = "canceled"

TOO_MANY_CLIENTS = "too_many_clients"
TIMEOUT = "timeout"
AUTHENTICATION = "authentication"
PROTOCOL = "protocol"
UPSTREAM_UNREACHABLE = "upstream_unreachable"
UPSTREAM_REFUSED = "upstream_refused"
REJECTION_REASONS = (
    TOO_MANY_CLIENTS,
    TIMEOUT,
    AUTHENTICATION,
    PROTOCOL,
    UPSTREAM_UNREACHABLE,
    UPSTREAM_REFUSED,
    ERROR,
)
_REASONS_BY_SQLSTATE = {
    "53300": TOO_MANY_CLIENTS,
    "28000": AUTHENTICATION,
    "28P01": AUTHENTICATION,
    "08P01": PROTOCOL,
    "0A000": PROTOCOL,
    "08001": UPSTREAM_UNREACHABLE,
    "08006": UPSTREAM_UNREACHABLE,
}


def rejection_reason(error: ProxyError) -> str:
    """Return the label for a client that was sent away with `error`."""
    return _REASONS_BY_SQLSTATE.get(error.sqlstate, ERROR)
