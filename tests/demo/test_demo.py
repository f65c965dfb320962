"""The demonstration from end to end: `pgseer demo` as a person runs it."""

import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
LIMIT_S = 150


@contextmanager
def demo(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Start the demonstration in a process group of its own; kill it if the test fails."""
    process = subprocess.Popen(
        [sys.executable, "-m", "proxy", "demo", *arguments],
        cwd=REPOSITORY,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        env={name: value for name, value in os.environ.items() if not name.startswith("PG")},
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.wait(LIMIT_S)
        assert process.stdout is not None
        process.stdout.close()


def folders() -> set[Path]:
    return set(Path(tempfile.gettempdir()).glob("pgseer-demo-*"))


@pytest.fixture(scope="module")
def output() -> str:
    """What `pgseer demo --once` prints, when its port is taken."""
    before = folders()
    with socket.create_server(("127.0.0.1", 0)) as busy:
        port = busy.getsockname()[1]
        with demo("--once", "--listen", f"127.0.0.1:{port}") as process:
            text, _ = process.communicate(timeout=LIMIT_S)
    assert process.returncode == 0, text
    assert folders() == before
    assert f"port {port} is in use" in text
    return text


def table(output: str, heading: str) -> list[list[str]]:
    """The cells of the first table whose heading line has the word `heading`."""
    lines = output.splitlines()
    start = next(
        number
        for number, line in enumerate(lines)
        if heading in line and set(lines[number + 1]) <= {"-", "+"} and lines[number + 1]
    )
    rows = []
    for line in lines[start + 2 :]:
        if line.startswith("("):
            return rows
        rows.append([cell.strip() for cell in line.split("|")])
    raise AssertionError(f"the table of {heading} does not end")


def test_all_customers_are_loaded(output):
    """The count that the client gets is the published one: 7,043, of whom 1,869 left."""
    assert table(output, "left_us") == [["7043", "1869"]]


def test_the_quality_is_that_of_held_out_rows(output):
    """Accuracy and AUC are in the range that this data is known for, and not the training set's."""
    _, algorithm, rows, accuracy, auc = table(output, "accuracy")[0]
    assert (algorithm, rows) == ("logistic_regression", "7043")
    assert 0.75 < float(accuracy) < 0.85
    assert 0.80 < float(auc) < 0.88


def test_the_ten_most_at_risk_are_shown(output):
    """Ten probabilities, falling, of customers who may leave every month."""
    rows = table(output, "churn_probability")
    risks = [float(row[-1]) for row in rows]
    assert len(rows) == 10
    assert risks == sorted(risks, reverse=True)
    assert 0.7 < risks[-1] <= risks[0] < 1
    assert {row[1] for row in rows} == {"Month-to-month"}


def test_a_million_rows_are_scored(output):
    """Both statements of the race return every row."""
    counts = re.findall(r"^([\d,]+) rows in [\d.]+ s: [\d,]+ rows/s$", output, re.MULTILINE)
    assert counts == ["1,000,106", "1,000,106"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_stays_and_ends_cleanly(number):
    """It waits with a psql line, and a signal to its whole group ends it with status 0."""
    before = folders()
    with demo("--listen", "127.0.0.1:0") as process:
        assert process.stdout is not None
        lines = []
        for line in process.stdout:
            lines.append(line)
            if line.startswith("Ctrl-C"):
                break
        assert any("PGPASSFILE=" in line and "psql" in line for line in lines), "".join(lines)
        os.killpg(process.pid, number)
        assert process.wait(LIMIT_S) == 0
    assert folders() == before


def test_a_named_folder_is_kept_and_found_again():
    """With --dir the database outlives the demonstration, which then finds its data."""
    with tempfile.TemporaryDirectory(prefix="pgseer-test-") as folder:
        for expected in ("loaded 7,043 customers", "table customers is here already"):
            with demo("--once", "--listen", "127.0.0.1:0", "--dir", folder) as process:
                text, _ = process.communicate(timeout=LIMIT_S)
            assert process.returncode == 0, text
            assert expected in text
