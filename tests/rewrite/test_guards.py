"""What must be so for a call to be computed: the CASE and the COALESCE around it."""

from __future__ import annotations

import pytest

from proxy.rewrite.guards import guards_of
from proxy.rewrite.lexer import tokenize


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("HERE", []),
        ("f(a, HERE)", []),
        ("CASE WHEN a THEN HERE END", ["a IS TRUE"]),
        ("CASE WHEN a THEN 1 WHEN b THEN HERE END", ["a IS NOT TRUE", "b IS TRUE"]),
        ("CASE WHEN a THEN 1 WHEN b THEN 2 ELSE HERE END", ["a IS NOT TRUE", "b IS NOT TRUE"]),
        ("CASE WHEN HERE THEN 1 END", []),
        ("CASE WHEN a THEN 1 WHEN HERE THEN 2 END", ["a IS NOT TRUE"]),
        ("CASE WHEN a THEN 1 END + HERE", []),
        ("(CASE WHEN a THEN 1 END, HERE)", []),
        ("CASE a WHEN b THEN HERE END", []),
        ("CASE WHEN a AND f(b, c) THEN g(HERE) END", ["a AND f(b, c) IS TRUE"]),
        (
            "CASE WHEN a THEN CASE WHEN b THEN 1 ELSE HERE END END",
            ["a IS TRUE", "b IS NOT TRUE"],
        ),
        ("CASE WHEN CASE WHEN a THEN b END THEN HERE END", ["CASE WHEN a THEN b END IS TRUE"]),
        ("coalesce(HERE, a)", []),
        ("COALESCE(a, f(b, c), HERE, d)", ["a IS NULL", "f(b, c) IS NULL"]),
        ("coalesce(a, CASE WHEN b THEN HERE END)", ["a IS NULL", "b IS TRUE"]),
        ("ARRAY[coalesce(a, b), HERE]", []),
        ("CASE WHEN 'END' = \"when\" THEN HERE END", ["'END' = \"when\" IS TRUE"]),
    ],
)
def test_guards(expression: str, expected: list[str]) -> None:
    """Only where each of the conditions holds is the call computed."""
    sql = f"SELECT {expression} FROM t"
    tokens = tokenize(sql)
    place = next(i for i, token in enumerate(tokens) if sql[token.start : token.end] == "HERE")
    found = [
        f"{sql[tokens[guard.first].start : tokens[guard.stop - 1].end]} {guard.test}"
        for guard in guards_of(sql, tokens, 1, place)
    ]
    assert found == expected
