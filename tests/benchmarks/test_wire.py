"""The client that discards: it must find the end of an answer, and only the end."""

from __future__ import annotations

from itertools import pairwise

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.wire import DiscardingClient, UnexpectedAnswerError, drain, ending
from tests.conftest import Endpoint

ANSWER = b"T\0\0\0\x06\0\0" + 3 * b"D\0\0\0\x0b\0\1\0\0\0\1x" + ending("SELECT 3")


class Packets:
    """A connection on which these packets come, one by one."""

    def __init__(self, *packets: bytes) -> None:
        self.left = list(packets)

    def recv_into(self, buffer: memoryview) -> int:
        packet = self.left.pop(0) if self.left else b""
        buffer[: len(packet)] = packet
        return len(packet)


def drained(packets: Packets) -> int:
    return drain(packets, memoryview(bytearray(4096)), ending("SELECT 3"))


@given(st.sets(st.integers(1, len(ANSWER) - 1)))
def test_the_end_is_found_however_the_answer_is_cut(cuts: set[int]) -> None:
    """Packets of any sizes are read to the last one, and nothing behind it."""
    places = [0, *sorted(cuts), len(ANSWER)]
    cut = (ANSWER[start:stop] for start, stop in pairwise(places))
    packets = Packets(*cut, b"the next answer")
    assert drained(packets) == len(ANSWER)
    assert packets.left == [b"the next answer"]


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (b"E\0\0\0\x10SERROR\0Mno\0\0" + ending("")[-6:], "Mno"),
        (ending("SELECT 2"), "SELECT 2"),
        (ending("SELECT 3")[:-1] + b"T", "SELECT 3"),
        (ANSWER[:-3], "closed"),
    ],
)
def test_another_end_is_an_error(answer: bytes, told: str) -> None:
    """An error, another number of rows, an open transaction, a lost connection: no success."""
    with pytest.raises(UnexpectedAnswerError, match=told):
        drained(Packets(answer))


def test_every_kind_of_statement_against_postgresql(direct: Endpoint) -> None:
    """Queries in both formats, and a table copied out and in again, are as PostgreSQL has them."""
    with (
        psycopg.connect(direct.dsn, autocommit=True) as connection,
        DiscardingClient(direct.dsn) as client,
    ):
        connection.execute(
            "CREATE TABLE origin AS SELECT i, 'row ' || i FROM generate_series(1, 5000) i"
        )
        connection.execute("CREATE TABLE target (LIKE origin)")
        for binary in (False, True):
            assert client.time_query("TABLE origin", "SELECT 5000", binary=binary) > 0
        frames = client.copy_out("COPY origin TO STDOUT", "COPY 5000")
        assert client.time_copy_in("COPY target FROM STDIN", frames, "COPY 5000") > 0
        different = "SELECT count(*) FROM (TABLE origin EXCEPT TABLE target) AS d"
        assert connection.execute(different).fetchone() == (0,)
        assert connection.execute("SELECT count(*) FROM target").fetchone() == (5000,)
        with pytest.raises(UnexpectedAnswerError, match="nowhere"):
            client.time_query("TABLE nowhere", "SELECT 1")
