"""EXECUTE and FETCH are found wherever the grammar has them, and nowhere else."""

from __future__ import annotations

import pytest

from proxy.rewrite.executions import Execution, executions, may_execute
from proxy.rewrite.lexer import tokenize


@pytest.mark.parametrize(
    ("sql", "word", "name", "place"),
    [
        ("EXECUTE plan", "EXECUTE", "plan", 8),
        ("execute Plan(1, 2)", "EXECUTE", "plan", 8),
        ('EXECUTE "Plan"', "EXECUTE", "Plan", 8),
        ("/* execute other */ EXECUTE -- x\n plan", "EXECUTE", "plan", 34),
        ("EXPLAIN (ANALYZE) EXECUTE plan(1)", "EXECUTE", "plan", 26),
        ("CREATE TABLE t AS EXECUTE plan", "EXECUTE", "plan", 26),
        ('EXECUTE U&"\\0070lan"', "EXECUTE", "plan", 0),
        ("FETCH ALL FROM c", "FETCH", "c", 15),
        ('fetch forward 5 in "C"', "FETCH", "C", 19),
        ("FETCH next", "FETCH", "next", 6),
        ("FETCH c", "FETCH", "c", 6),
    ],
)
def test_found(sql: str, word: str, name: str, place: int) -> None:
    """The name that is run, as PostgreSQL reads it, and where it stands."""
    expected = Execution(word, name, place)  # type: ignore[arg-type]
    assert executions(sql, tokenize(sql)) == (expected,)


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT 'é', \"execute\" plan",
        "SELECT 'EXECUTE plan; FETCH c'",
        "PREPARE plan AS SELECT 1",
        "SELECT 1 FETCH FIRST ROW ONLY",
        "MOVE ALL FROM c; -- fetch",
        "EXECUTE",
        "EXECUTE plan plan",
        "EXECUTE plan\0",
        "",
    ],
)
def test_not_found(sql: str) -> None:
    """Other texts run nothing by name."""
    assert executions(sql, tokenize(sql)) == ()


def test_may_execute() -> None:
    """The first question is about bytes, in any case."""
    assert may_execute(b"select 1; ExEcUtE x")
    assert may_execute(b"FETCH c")
    assert not may_execute(b"select exec, ute, fe, tch")
