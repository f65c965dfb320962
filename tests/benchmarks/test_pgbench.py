"""What pgbench says."""

from __future__ import annotations

import pytest

from benchmarks.pgbench import PgbenchError, read_rate

REPORT = """\
pgbench (15.6)
transaction type: <builtin: select only>
scaling factor: 1
query mode: simple
number of clients: 8
number of threads: 1
duration: 1 s
number of transactions actually processed: 15024
number of failed transactions: 0 (0.000%)
latency average = 0.531 ms
initial connection time = 20.101 ms
tps = 15061.300715 (without initial connection time)
"""


def test_the_rate_is_the_one_without_connecting() -> None:
    """The last line of the report counts."""
    assert read_rate(REPORT) == 15061.300715


@pytest.mark.parametrize(
    "said",
    ["", REPORT.replace("15061.300715", "0.000000"), REPORT.replace("without", "including")],
)
def test_a_report_without_a_rate_is_an_error(said: str) -> None:
    """No rate, a rate of nothing and the rate with connecting are not figures."""
    with pytest.raises(PgbenchError):
        read_rate(said)
