"""The arithmetic behind the table of figures."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.comparison import Goal, Measurement, amount, interleaved, ratio, speedup

positive = st.floats(min_value=1e-3, max_value=1e6)
pairs = st.lists(st.tuples(positive, positive), min_size=1, max_size=9)


def test_works_take_turns_after_one_round_that_is_not_counted() -> None:
    """Each work is done once first, then all in turn; only the turns are returned."""
    calls: list[str] = []

    def work(name: str) -> float:
        calls.append(name)
        return float(len(calls))

    a, b = interleaved(3, lambda: work("a"), lambda: work("b"))
    assert "".join(calls) == "ab" + "ababab"
    assert list(a) == [3, 5, 7]
    assert list(b) == [4, 6, 8]


def test_the_figure_is_the_median_of_the_ratios_not_the_ratio_of_the_medians() -> None:
    """Pairs are divided before the median is taken."""
    ours, theirs = (1.0, 4.0, 9.0), (1.0, 8.0, 3.0)
    figure = ratio(ours, theirs, "s")
    assert figure.values == (1.0, 0.5, 3.0)
    assert figure.median == 1.0  # of the medians it would be 4/3
    assert figure.extremes == (0.5, 3.0)
    assert (figure.ours, figure.theirs) == ("4 s", "3 s")


@given(pairs)
def test_a_speedup_is_the_inverse_of_a_ratio(series: list[tuple[float, float]]) -> None:
    """Being twice as fast is taking half the time."""
    ours, theirs = (tuple(side) for side in zip(*series, strict=True))
    for fast, slow in zip(
        speedup(ours, theirs, "s").values, ratio(ours, theirs, "s").values, strict=True
    ):
        assert math.isclose(fast * slow, 1, rel_tol=1e-12)


@given(st.lists(positive, min_size=1, max_size=9))
def test_the_median_lies_between_the_extremes(values: list[float]) -> None:
    """Half of the rounds are not above the figure, half not below."""
    figure = Measurement(tuple(values))
    least, most = figure.extremes
    assert least <= figure.median <= most
    assert 2 * sum(value <= figure.median for value in values) >= len(values)
    assert 2 * sum(value >= figure.median for value in values) >= len(values)


@pytest.mark.parametrize(
    ("goal", "value", "verdict"),
    [
        (Goal(">=", 0.9, 1.0), 1.0, "aim"),
        (Goal(">=", 0.9, 1.0), 0.9, "must"),
        (Goal(">=", 0.9, 1.0), 0.8999, "missed"),
        (Goal("<=", 1.15, 1.0), 0.7, "aim"),
        (Goal("<=", 1.15, 1.0), 1.15, "must"),
        (Goal("<=", 1.15, 1.0), 1.1501, "missed"),
    ],
)
def test_a_goal_is_reached_at_its_bound(goal: Goal, value: float, verdict: str) -> None:
    """The bounds themselves are good enough, on the right side of either sign."""
    assert goal.verdict(value) == verdict


def test_an_aim_that_asks_for_less_than_the_must_is_refused() -> None:
    """The table of figures cannot hold two numbers the wrong way round."""
    with pytest.raises(ValueError, match="weaker"):
        Goal("<=", 1.0, 1.15)
    with pytest.raises(ValueError, match="weaker"):
        Goal(">=", 4, 3)


def test_amounts_keep_three_digits() -> None:
    """Small amounts have three significant digits, large ones are whole."""
    assert amount([0.0123456], "s") == "0.0123 s"
    assert amount([1.0, 2.5, 3.0], "ms") == "2.5 ms"
    assert amount([24463.7], "tps") == "24,464 tps"
