import platform
import re
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from proxy import __version__
from proxy.metrics import names
from proxy.metrics.exposition import Exposition
from proxy.metrics.instruments import Instruments

DOCUMENT = Path(__file__).parents[2] / "docs" / "metrics.md"
ROW = re.compile(r"\| `((?:pgseer|process|python)_\w+)` \| (\w+) \|([^|]*)\| ([^|]+) \|")

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def busy() -> Instruments:
    """Instruments on which everything has happened at least once."""
    instruments = Instruments()
    instruments.read_client_connections = lambda: 3
    instruments.read_model_cache_bytes = lambda: 4096
    instruments.clients.add(7)
    instruments.clients_rejected.of(names.TIMEOUT).add()
    instruments.statements.of(names.PREDICT).add(5)
    instruments.predictions.of("churn", "2.0").add(1_000_000)
    instruments.event_loop_lag.observe(0.003)
    instruments.event_loop_lag.observe(60.0)
    with instruments.training("linear_regression"):
        pass
    instruments.training_in_progress = 2
    return instruments


def samples(instruments: Instruments) -> Samples:
    page = Exposition(instruments).page().decode()
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(page)
        for sample in family.samples
    }


def of(values: Samples, name: str, **labels: str) -> float:
    return values[name, frozenset(labels.items())]


def test_what_was_counted_is_read():
    """Every number comes back from the page as it was counted."""
    values = samples(busy())
    assert of(values, "pgseer_client_connections") == 3
    assert of(values, "pgseer_model_cache_bytes") == 4096
    assert of(values, "pgseer_client_connections_total") == 7
    assert of(values, "pgseer_client_connections_rejected_total", reason="timeout") == 1
    assert of(values, "pgseer_client_connections_rejected_total", reason="protocol") == 0
    assert of(values, "pgseer_statements_total", kind="predict") == 5
    assert of(values, "pgseer_predictions_total", model="churn", version="2.0") == 1_000_000
    runs = {"algorithm": "linear_regression", "outcome": "success"}
    assert of(values, "pgseer_training_runs_total", **runs) == 1
    assert of(values, "pgseer_training_in_progress") == 2
    assert of(values, "pgseer_event_loop_lag_seconds_bucket", le="0.0025") == 0
    assert of(values, "pgseer_event_loop_lag_seconds_bucket", le="0.005") == 1
    assert of(values, "pgseer_event_loop_lag_seconds_bucket", le="+Inf") == 2
    assert of(values, "pgseer_event_loop_lag_seconds_count") == 2
    assert of(values, "pgseer_event_loop_lag_seconds_sum") == 60.003
    duration = "pgseer_training_duration_seconds_count"
    assert of(values, duration, algorithm="linear_regression") == 1


def test_the_build_is_named():
    """pgseer_build_info says which pgseer runs on which Python."""
    build = {"version": __version__, "python": platform.python_version()}
    assert of(samples(Instruments()), "pgseer_build_info", **build) == 1


@pytest.mark.parametrize(
    "name", ['a"b', "line\nbreak", "back\\slash", "żółw", "half \udc80 a word"]
)
def test_a_model_may_have_any_name(name):
    """No name of a model's spoils the page; what UTF-8 can hold comes back as it is."""
    instruments = Instruments()
    instruments.predictions.of(name, "1.0").add(2)
    shown = name.replace("\udc80", "\\udc80")
    values = samples(instruments)
    assert of(values, "pgseer_predictions_total", model=shown, version="1.0") == 2


def test_two_proxies_do_not_share_numbers():
    """Each page has its own proxy's numbers only."""
    one, other = Instruments(), Instruments()
    one.clients.add()
    assert of(samples(one), "pgseer_client_connections_total") == 1
    assert of(samples(other), "pgseer_client_connections_total") == 0


def exposed(instruments: Instruments) -> dict[str, tuple[str, frozenset[str]]]:
    """Name to type and labels, as the page's own comments and lines have them."""
    page = Exposition(instruments).page().decode()
    types = dict(re.findall(r"^# TYPE (\w+) (\w+)$", page, re.MULTILINE))
    labels: dict[str, set[str]] = {name: set() for name in types}
    for line in page.splitlines():
        if not line.startswith("#"):
            name = line.partition(" ")[0].partition("{")[0]
            family = name if name in types else re.sub("_(bucket|sum|count)$", "", name)
            labels[family] |= set(re.findall(r'[{,](\w+)="', line)) - {"le"}
    return {name: (kind, frozenset(labels[name])) for name, kind in types.items()}


def type_on_the_page(kind: str) -> str:
    """The text format has no type for information: it is a gauge that is always 1."""
    return "gauge" if kind == "info" else kind


def test_the_page_has_what_the_table_has():
    """The table of names and the page agree on every name, type and label."""
    ours = {name: what for name, what in exposed(busy()).items() if name.startswith("pgseer_")}
    assert ours == {
        each.name: (type_on_the_page(each.type), frozenset(each.labels)) for each in names.METRICS
    }


def test_every_metric_is_documented():
    """docs/metrics.md names every metric on the page with its type and labels, and no other."""
    documented = {
        name: (type_on_the_page(kind), frozenset(re.findall(r"`(\w+)`", labels)))
        for name, kind, labels, _ in ROW.findall(DOCUMENT.read_text(encoding="utf-8"))
    }
    assert documented == exposed(busy())


def test_every_known_label_value_is_documented():
    """docs/metrics.md says what each kind of statement and each reason means, and no other."""
    text = DOCUMENT.read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \| [^|]+ \|$", text, re.MULTILINE)
    headings = ["reason", "kind"]
    values = [*names.REJECTION_REASONS, *names.STATEMENT_KINDS]
    assert sorted(rows) == sorted([*headings, *values])
