"""EXECUTE is found wherever the grammar has it, and nowhere else."""

from __future__ import annotations

import pytest

from proxy.rewrite.executions import executed_statements, may_execute


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("EXECUTE plan", {"plan": 8}),
        ("execute Plan(1, 2)", {"plan": 8}),
        ('EXECUTE "Plan"', {"Plan": 8}),
        ("/* execute other */ EXECUTE -- x\n plan", {"plan": 34}),
        ("EXPLAIN (ANALYZE) EXECUTE plan(1)", {"plan": 26}),
        ("CREATE TABLE t AS EXECUTE plan", {"plan": 26}),
        ('EXECUTE U&"\\0070lan"', {"plan": 0}),
        ("SELECT 'é', \"execute\" plan", {}),
        ("SELECT 'EXECUTE plan'", {}),
        ("PREPARE plan AS SELECT 1", {}),
        ("EXECUTE", {}),
        ("EXECUTE plan plan", {}),
        ("EXECUTE plan\0", {}),
        ("", {}),
    ],
)
def test_executed_statements(sql: str, expected: dict[str, int]) -> None:
    """Each name that is run, as PostgreSQL reads it, and where it stands."""
    assert executed_statements(sql) == expected


def test_may_execute() -> None:
    """The first question is about bytes, in any case."""
    assert may_execute(b"select 1; ExEcUtE x")
    assert not may_execute(b"select exec, ute")
