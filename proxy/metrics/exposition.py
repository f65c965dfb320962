"""The page that Prometheus reads, made when it is asked for.

Owns the way from `Instruments` to Prometheus's text format, by a registry of its own: a process may
run several proxies, and prometheus-client's global one would mix them up. Nothing here is on the
way of a statement or a row.

OpenMetrics is not offered: there a counter's family is named without `_total`, so that a gauge
`pgseer_client_connections` beside `pgseer_client_connections_total` would be one family twice.
"""

from __future__ import annotations

import math
import platform
from collections.abc import Iterable, Iterator

from prometheus_client import CollectorRegistry, GCCollector, ProcessCollector, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
)
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.registry import Collector

from proxy import __version__
from proxy.metrics import names
from proxy.metrics.instruments import Count, Histogram, Instruments

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

LabelSets = Iterable[tuple[tuple[str, ...], Count]]


class Exposition:
    """Everything that one proxy tells about itself: its instruments, its process, its collector."""

    def __init__(self, instruments: Instruments) -> None:
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(_InstrumentCollector(instruments))
        ProcessCollector(registry=self._registry)
        GCCollector(registry=self._registry)

    def page(self) -> bytes:
        """Return the page, of type `CONTENT_TYPE`."""
        return generate_latest(self._registry)


class _InstrumentCollector(Collector):
    """Reads the instruments in the order of the table of names."""

    def __init__(self, instruments: Instruments) -> None:
        self._instruments = instruments

    def collect(self) -> Iterator[Family]:
        counted = self._instruments
        counted.settle()
        yield _build_info()
        yield _gauge(names.CLIENT_CONNECTIONS, counted.read_client_connections())
        yield _counter(names.CLIENT_CONNECTIONS_TOTAL, [((), counted.clients)])
        yield _counter(names.CLIENT_CONNECTIONS_REJECTED, counted.clients_rejected.items())
        yield _counter(names.STATEMENTS, counted.statements.items())
        yield _counter(names.PREDICTIONS, counted.predictions.items())
        yield _gauge(names.MODEL_CACHE_BYTES, counted.read_model_cache_bytes())
        yield _counter(names.TRAINING_RUNS, counted.training_runs.items())
        yield _histogram(names.TRAINING_DURATION, counted.training_duration.items())
        yield _gauge(names.TRAINING_IN_PROGRESS, counted.training_in_progress)
        yield _histogram(names.EVENT_LOOP_LAG, [((), counted.event_loop_lag)])


def _build_info() -> Family:
    metric = names.BUILD_INFO
    values = dict(zip(metric.labels, (__version__, platform.python_version()), strict=True))
    return InfoMetricFamily(metric.name.removesuffix("_info"), metric.help, value=values)


def _gauge(metric: names.Metric, value: int) -> Family:
    return GaugeMetricFamily(metric.name, metric.help, value=value)


def _counter(metric: names.Metric, counts: LabelSets) -> Family:
    family = CounterMetricFamily(metric.name, metric.help, labels=metric.labels)
    for labels, count in counts:
        family.add_metric(_encodable(labels), count.value)
    return family


def _histogram(
    metric: names.Metric, histograms: Iterable[tuple[tuple[str, ...], Histogram]]
) -> Family:
    family = HistogramMetricFamily(metric.name, metric.help, labels=metric.labels)
    for labels, histogram in histograms:
        buckets = [(_le(bound), count) for bound, count in histogram.cumulative()]
        family.add_metric(_encodable(labels), buckets, histogram.sum)
    return family


def _le(bound: float) -> str:
    return "+Inf" if bound == math.inf else repr(bound)


def _encodable(labels: tuple[str, ...]) -> list[str]:
    """Return label values that UTF-8 can hold: one that it cannot would take the page away."""
    return [label.encode("utf-8", "backslashreplace").decode("utf-8") for label in labels]
