"""The numbers that the rooms above count up: plain integers, read when somebody asks.

Owns their bounds: whatever names clients invent, a metric has at most `LABEL_SETS_LIMIT` lines and
one more for all `other`. Nothing is locked: only the event loop's thread may count and read. Leaves
names to `names` and the page to `exposition`.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator
from typing import Generic, TypeVar

from proxy.metrics import names

LABEL_SETS_LIMIT = 100
OTHER = "other"

# From a tenth of a second, a small table, to an hour.
TRAINING_BOUNDS_S = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0)
# From what uvloop's timers round to, to what a client takes for an outage.
LAG_BOUNDS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)

_QUERY_CANCELED = "57014"

Child = TypeVar("Child")


class Count:
    """A whole number that only grows."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0

    def add(self, n: int = 1) -> None:
        """Count `n` more."""
        self.value += n


class Histogram:
    """How many observations fell at or below each bound.

    Parameters
    ----------
    bounds : ascending; what lies above the last is counted all the same
    """

    __slots__ = ("_bounds", "_counts", "sum")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def observe(self, value: float) -> None:
        """Count one observation."""
        self._counts[bisect_left(self._bounds, value)] += 1
        self.sum += value

    def cumulative(self) -> list[tuple[float, int]]:
        """Return (bound, observations at or below it), infinity last."""
        total = 0
        buckets = []
        for bound, count in zip((*self._bounds, math.inf), self._counts, strict=True):
            total += count
            buckets.append((bound, total))
        return buckets


class Labelled(Generic[Child]):
    """One `Child` for each set of label values.

    Parameters
    ----------
    metric : names the labels
    make : a new child
    known : label sets that are there from the start
    """

    def __init__(
        self,
        metric: names.Metric,
        make: Callable[[], Child],
        known: Iterable[tuple[str, ...]] = (),
    ) -> None:
        self._make = make
        self._overflow = (OTHER,) * len(metric.labels)
        self._children = {labels: make() for labels in known}

    def of(self, *labels: str) -> Child:
        """Return the child of these label values; beyond the limit, the one of all others."""
        child = self._children.get(labels)
        return self._new(labels) if child is None else child

    def items(self) -> Iterable[tuple[tuple[str, ...], Child]]:
        """Return every label set with its child, the oldest first."""
        return self._children.items()

    def _new(self, labels: tuple[str, ...]) -> Child:
        assert len(labels) == len(self._overflow)
        if len(self._children) >= LABEL_SETS_LIMIT:
            labels = self._overflow
        return self._children.setdefault(labels, self._make())


def nothing() -> int:
    """Return 0: what is read of a part that does not run."""
    return 0


class Instruments:
    """Everything that is counted in one process.

    Attributes
    ----------
    settle : called before each reading, for counts that are kept elsewhere; set by `app`
    read_client_connections, read_model_cache_bytes : asked at each reading; set by `app`
    clients : that were given a place
    clients_rejected : by reason
    statements : by kind
    predictions : rows scored, by model and version
    training_runs : by algorithm and outcome
    training_duration : seconds, by algorithm
    training_in_progress : now
    event_loop_lag : seconds
    """

    def __init__(self) -> None:
        self.settle: Callable[[], object] = nothing
        self.read_client_connections: Callable[[], int] = nothing
        self.read_model_cache_bytes: Callable[[], int] = nothing
        self.clients = Count()
        self.clients_rejected = Labelled(
            names.CLIENT_CONNECTIONS_REJECTED, Count, _singles(names.REJECTION_REASONS)
        )
        self.statements = Labelled(names.STATEMENTS, Count, _singles(names.STATEMENT_KINDS))
        self.predictions = Labelled(names.PREDICTIONS, Count)
        self.training_runs = Labelled(names.TRAINING_RUNS, Count)
        self.training_duration = Labelled(
            names.TRAINING_DURATION, lambda: Histogram(TRAINING_BOUNDS_S)
        )
        self.training_in_progress = 0
        self.event_loop_lag = Histogram(LAG_BOUNDS_S)

    @contextlib.contextmanager
    def training(self, algorithm: str) -> Iterator[None]:
        """Count the block as one training: how it ends, and how long it takes if it succeeds."""
        started_s = time.perf_counter()
        outcome = names.SUCCESS
        self.training_in_progress += 1
        try:
            yield
        except BaseException as error:
            outcome = _outcome(error)
            raise
        else:
            duration_s = time.perf_counter() - started_s
            self.training_duration.of(algorithm).observe(duration_s)
        finally:
            self.training_in_progress -= 1
            self.training_runs.of(algorithm, outcome).add()


def _singles(values: Iterable[str]) -> list[tuple[str, ...]]:
    return [(value,) for value in values]


def _outcome(error: BaseException) -> str:
    """Tell a training that somebody stopped from one that failed.

    The exceptions of the rooms above are known by their `sqlstate` only.
    """
    was_stopped = getattr(error, "sqlstate", None) == _QUERY_CANCELED
    is_canceled = was_stopped or isinstance(error, asyncio.CancelledError)
    return names.CANCELED if is_canceled else names.ERROR
