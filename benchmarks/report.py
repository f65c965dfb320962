"""What is shown: the table, and RESULTS.md around it.

One Markdown table serves both: its columns are padded, so that it reads well in a terminal.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from benchmarks.comparison import Goal, Measurement, NotMeasured, Outcome

HEADINGS = (
    *("work", "against", "must", "aim", "measured", "least - most", "pgseer", "other", "met"),
)
VERDICTS = {"aim": "yes, aim too", "must": "yes", "missed": "NO"}


def line(work: str, against: str, goal: Goal | None, outcome: Outcome) -> tuple[str, ...]:
    """Return the cells of one line of the table."""
    return (work, against, *_goal_cells(goal), *_outcome_cells(goal, outcome))


def table(lines: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table, its columns padded."""
    cells = [HEADINGS, *lines]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    rows = [
        "| " + " | ".join(map(str.ljust, row, widths)) + " |"
        for row in ([*cells[:1], ["-" * width for width in widths], *cells[1:]])
    ]
    return "\n".join(rows)


def results(date: str, machine: Mapping[str, str], conditions: str, drawn: str) -> str:
    """Return RESULTS.md."""
    described = "\n".join(f"- {name}: {value}" for name, value in machine.items())
    return f"""# Results of `make bench`

{date}, on this machine:

{described}

{conditions}

{drawn}

Every figure is a ratio of two things measured in the same run: each is done once unmeasured, then all
in turn (A B A B ...), and "measured" is the median of the ratios pair by pair; "least - most" are the
extremes. "pgseer" and "other" are the medians of both sides, for orientation only. Times are those of
a client that throws the rows away as fast as they come, the same on both sides; only psycopg's side
makes objects of them, because that is what is compared. "Stricter" and other lines without a goal are
not judged.

To repeat it: `make bench` (about ten minutes; `.venv/bin/python -m benchmarks --quick` for a glance,
`--only NAME` for some figures, `--list` for their names). PgBouncer must be installed to be compared
with. Leave the machine alone meanwhile.
"""


def _goal_cells(goal: Goal | None) -> tuple[str, str]:
    if goal is None:
        return "", ""
    unit = "" if goal.unit == "x" else f" {goal.unit}"
    return f"{goal.sign} {goal.must:g}{unit}", f"{goal.sign} {goal.aim:g}{unit}"


def _outcome_cells(goal: Goal | None, outcome: Outcome) -> tuple[str, ...]:
    if isinstance(outcome, NotMeasured):
        return f"not measured: {outcome.reason}", "", "", "", "" if goal is None else "?"
    unit = "" if goal is None or goal.unit == "x" else f" {goal.unit}"
    least, most = outcome.extremes
    return (
        f"{_number(outcome.median)}{unit}",
        f"{_number(least)} - {_number(most)}",
        outcome.ours,
        outcome.theirs,
        "" if goal is None else VERDICTS[goal.verdict(outcome.median)],
    )


def _number(value: float) -> str:
    return f"{value:.2f}" if value < 10 else f"{value:.1f}"


__all__ = ["Measurement", "line", "results", "table"]
