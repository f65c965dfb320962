"""The cases of `fixtures/*.sql`: a title, a statement, and the statements that come of it.

Owns cutting the files. A case begins with `-- title:`, and its statements end with semicolons.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from proxy.rewrite.lexer import split_statements, tokenize

FIXTURES = Path(__file__).parent / "fixtures"
RULES = (
    "column_name",
    "lateral_alias",
    "push_down",
    "rank",
    "splice",
    "stage",
    "subquery_alias",
    "threshold",
)


@dataclass(frozen=True, slots=True)
class Case:
    """One case; `sql` is the client's text, `expected` the statement's, then those before it."""

    rule: str
    title: str
    sql: str
    expected: tuple[str, ...]


def cases(rule: str) -> list[Case]:
    """Return the cases of one rule."""
    text = (FIXTURES / f"{rule}.sql").read_text()
    found = []
    for case in re.split(r"^-- title: ", text, flags=re.MULTILINE)[1:]:
        title, body = case.split("\n", 1)
        sql, *expected = (
            body[statement.start : statement.end].lstrip("\n")
            for statement in split_statements(body, tokenize(body))
        )
        found.append(Case(rule, title, sql, tuple(expected)))
    return found


ALL = [case for rule in RULES for case in cases(rule)]
