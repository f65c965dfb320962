"""What is shown: the table, and RESULTS.md around it.

One Markdown table serves both: its columns are padded, so that it reads well in a terminal.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from benchmarks.comparison import Goal, NotMeasured, Outcome

HEADINGS = ("work", "against", "must", "aim", "measured", "range", "pgseer", "other", "met")
VERDICTS = {"aim": "yes, aim too", "must": "yes", "missed": "NO"}


def line(work: str, against: str, goal: Goal | None, outcome: Outcome) -> tuple[str, ...]:
    """Return the cells of one line of the table."""
    cells = (work, against, *_goal_cells(goal), *_outcome_cells(goal, outcome))
    return tuple(cell.replace("|", "/") for cell in cells)


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

Every figure is a ratio of two things measured in the same run. Each is done once unmeasured, then
all in turn (A B A B ...); "measured" is the median of the ratios pair by pair, "range" has the
smallest and the largest. "pgseer" and "other" are the medians of both sides, for orientation only.
Lines without a goal are not judged: they say what else could have been compared.

Rows are read, on both sides alike, by a client that throws them away as fast as they come, so that
the client is not what is measured; only psycopg makes objects of them, because that is compared.
Everything runs on this machine, over TCP without TLS, and all tables are in PostgreSQL's memory.
Training by pgseer includes its evaluation on held-out rows, a second fit; scikit-learn fits once.

To repeat it: `make bench`, about twenty minutes, on a machine that does nothing else. PgBouncer
must be installed to be compared with, and `PGSEER_BENCH_DATA` names the folder of real data.
`.venv/bin/python -m benchmarks --quick` is a smoke test, `--only NAME` measures some figures,
`--list` names them.
"""


def _goal_cells(goal: Goal | None) -> tuple[str, str]:
    if goal is None:
        return "", ""
    unit = "" if goal.unit == "x" else f" {goal.unit}"
    return f"{goal.sign} {goal.must:g}{unit}", f"{goal.sign} {goal.aim:g}{unit}"


def _outcome_cells(goal: Goal | None, outcome: Outcome) -> tuple[str, ...]:
    if isinstance(outcome, NotMeasured):
        what = "failed" if outcome.has_failed else "not measured"
        return f"{what}: {outcome.reason}", "", "", "", ""
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
    """Return enough digits that nobody wonders on which side of a goal it lies."""
    return f"{value:.3f}" if value < 10 else f"{value:.1f}"
