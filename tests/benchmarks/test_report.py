"""The table and RESULTS.md."""

from __future__ import annotations

import pytest

from benchmarks import report
from benchmarks.comparison import Goal, Measurement, NotMeasured, Outcome

goal = Goal("<=", 1.15, 1.0)


def cells(outcome: Outcome, judged: Goal | None = goal) -> dict[str, str]:
    return dict(zip(report.HEADINGS, report.line("work", "direct", judged, outcome), strict=True))


@pytest.mark.parametrize(
    ("values", "met"),
    [((0.9, 0.95, 3.0), "yes, aim too"), ((1.0, 1.1, 9.0), "yes"), ((0.1, 1.16, 1.2), "NO")],
)
def test_a_line_judges_the_median(values: tuple[float, ...], met: str) -> None:
    """The middle round decides, whatever the others were."""
    found = cells(Measurement(values, "1 s", "2 s"))
    assert found["met"] == met
    assert float(found["measured"]) == values[1]
    assert found["range"] == f"{values[0]:.3f} - {values[2]:.3f}"
    assert (found["must"], found["aim"]) == ("<= 1.15", "<= 1")
    assert (found["pgseer"], found["other"]) == ("1 s", "2 s")


def test_a_figure_just_beside_its_goal_does_not_look_as_if_it_met_it() -> None:
    """What is printed lies on the same side of the goal as what is judged."""
    found = cells(Measurement((1.154,)))
    assert found["met"] == "NO"
    assert float(found["measured"]) > 1.15


def test_a_line_without_a_goal_is_not_judged() -> None:
    """It has its figure and no verdict."""
    found = cells(Measurement((7.0,)), None)
    assert found["measured"] == "7.000"
    assert found["must"] == found["aim"] == found["met"] == ""


def test_a_unit_stands_beside_goal_and_figure() -> None:
    """Kilobytes are not mistaken for a ratio."""
    found = cells(Measurement((42.0,)), Goal("<=", 60, 30, "KB"))
    assert (found["must"], found["measured"], found["met"]) == ("<= 60 KB", "42.0 KB", "yes")


def test_what_was_not_measured_says_why() -> None:
    """A missing peer and a failure are told apart, and neither is judged."""
    missing = cells(NotMeasured("no PgBouncer installed"))
    failed = cells(NotMeasured("boom", has_failed=True))
    assert missing["measured"] == "not measured: no PgBouncer installed"
    assert failed["measured"] == "failed: boom"
    assert missing["met"] == failed["met"] == ""


def test_the_table_is_markdown_with_one_width_for_each_column() -> None:
    """Every line has the same bars at the same places, even where a text has a bar of its own."""
    drawn = report.table(
        [
            report.line("a | b", "direct", goal, Measurement((1.0,), "1 s", "1 s")),
            report.line("a longer name", "", None, NotMeasured("reason")),
        ]
    )
    lines = drawn.splitlines()
    bars = [[place for place, sign in enumerate(line) if sign == "|"] for line in lines]
    assert len(lines) == 4
    assert all(places == bars[0] for places in bars)
    assert len(bars[0]) == len(report.HEADINGS) + 1
    assert set(lines[1]) == {"|", "-", " "}


def test_the_report_holds_the_machine_and_the_table() -> None:
    """RESULTS.md has the date, every property of the machine, the conditions and the table."""
    written = report.results("2026-01-31", {"CPU": "some", "memory": "much"}, "Few rows.", "| t |")
    for part in ("2026-01-31", "- CPU: some", "- memory: much", "Few rows.", "\n| t |\n"):
        assert part in written
