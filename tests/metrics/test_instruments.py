import asyncio
import bisect
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.errors import (
    AuthenticationError,
    ProxyError,
    QueryCanceledError,
    RemoteProtocolError,
    SingleClassError,
    TooManyClientsError,
    UpstreamRefusedError,
)
from proxy.metrics import names
from proxy.metrics.instruments import (
    LABEL_SETS_LIMIT,
    OTHER,
    Count,
    Histogram,
    Instruments,
    Labelled,
)


def counted(labelled: Labelled[Count]) -> dict[tuple[str, ...], int]:
    return {labels: count.value for labels, count in labelled.items()}


@given(st.lists(st.floats(0, 10)))
def test_a_bucket_holds_everything_up_to_its_bound(values):
    """A histogram's buckets are those counted by sorting, and its sum is the sum."""
    bounds = (0.5, 1.0, 5.0)
    histogram = Histogram(bounds)
    for value in values:
        histogram.observe(value)
    ranked = sorted(values)
    expected = [(bound, bisect.bisect_right(ranked, bound)) for bound in (*bounds, math.inf)]
    assert histogram.cumulative() == expected
    assert histogram.sum == pytest.approx(sum(values))


def test_a_value_on_a_bound_is_below_it():
    """Prometheus's buckets are `le`: less or equal."""
    histogram = Histogram((1.0,))
    histogram.observe(1.0)
    assert histogram.cumulative() == [(1.0, 1), (math.inf, 1)]


@given(st.lists(st.tuples(st.integers(0, 150), st.integers(1, 9)), max_size=400))
def test_labels_are_bounded_and_nothing_is_lost(batches):
    """However many models there are, lines are bounded, the first keep theirs, rows add up."""
    predictions = Labelled(names.PREDICTIONS, Count)
    for model, n_rows in batches:
        predictions.of(f"m{model}", "1.0").add(n_rows)
    lines = counted(predictions)
    first = list(dict.fromkeys(model for model, _ in batches))[:LABEL_SETS_LIMIT]
    own = {
        (f"m{model}", "1.0"): sum(n for other, n in batches if other == model) for model in first
    }
    assert {labels: n for labels, n in lines.items() if labels != (OTHER, OTHER)} == own
    assert sum(lines.values()) == sum(n for _, n in batches)


def test_a_new_name_beyond_the_limit_is_other():
    """The model after the last one with a line of its own shares one with all later ones."""
    predictions = Labelled(names.PREDICTIONS, Count)
    for model in range(LABEL_SETS_LIMIT + 2):
        predictions.of(f"m{model}", "1.0").add()
    lines = counted(predictions)
    assert len(lines) == LABEL_SETS_LIMIT + 1
    assert lines[OTHER, OTHER] == 2
    assert predictions.of("m0", "1.0").value == 1


def test_known_labels_are_there_from_the_start():
    """A rate over a kind of statement needs its zero before the first one."""
    instruments = Instruments()
    assert counted(instruments.statements) == {(kind,): 0 for kind in names.STATEMENT_KINDS}
    assert counted(instruments.clients_rejected) == {
        (reason,): 0 for reason in names.REJECTION_REASONS
    }


class AnsweredError(Exception):
    """An exception of a room above, known by its SQLSTATE only."""

    def __init__(self, sqlstate: str) -> None:
        self.sqlstate = sqlstate


@pytest.mark.parametrize(
    ("failure", "outcome"),
    [
        (SingleClassError("the target has one class"), "error"),
        (ZeroDivisionError(), "error"),
        (AnsweredError("22012"), "error"),
        (AnsweredError("57014"), "canceled"),
        (QueryCanceledError("canceling statement due to user request"), "canceled"),
        (asyncio.CancelledError(), "canceled"),
    ],
)
def test_a_training_that_fails_is_told_from_one_that_is_stopped(failure, outcome):
    """The block's exception decides the outcome, goes on its way, and leaves no duration."""
    instruments = Instruments()
    with pytest.raises(type(failure)) as raised, instruments.training("linear_regression"):
        raise failure
    assert raised.value is failure
    assert counted(instruments.training_runs) == {("linear_regression", outcome): 1}
    assert instruments.training_in_progress == 0
    assert list(instruments.training_duration.items()) == []


def test_a_training_is_in_progress_until_it_ends():
    """Two at a time are two, and each that succeeds leaves its duration."""
    instruments = Instruments()
    with instruments.training("a"), instruments.training("b"):
        assert instruments.training_in_progress == 2
    assert instruments.training_in_progress == 0
    assert counted(instruments.training_runs) == {("a", "success"): 1, ("b", "success"): 1}
    durations = dict(instruments.training_duration.items())
    assert {labels: each.cumulative()[-1] for labels, each in durations.items()} == {
        ("a",): (math.inf, 1),
        ("b",): (math.inf, 1),
    }


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (TooManyClientsError("x"), names.TOO_MANY_CLIENTS),
        (AuthenticationError("x"), names.AUTHENTICATION),
        (AuthenticationError("x", sqlstate="28P01"), names.AUTHENTICATION),
        (RemoteProtocolError("x"), names.PROTOCOL),
        (UpstreamRefusedError("x"), names.UPSTREAM_UNREACHABLE),
        (ProxyError("x"), names.ERROR),
    ],
)
def test_a_client_is_rejected_for_a_reason(error, reason):
    """The error that a client is sent away with is its reason, and that is a known one."""
    assert names.rejection_reason(error) == reason
    assert reason in names.REJECTION_REASONS
