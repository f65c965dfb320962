"""Each rule of the planner: what becomes of a statement, word for word, in `fixtures`."""

from __future__ import annotations

import json
import re
from collections import Counter

import pytest
from pglast.parser import parse_sql_json

from proxy.rewrite.lexer import tokenize
from proxy.rewrite.plan import Strategy
from proxy.rewrite.tree import decode_deep
from tests.rewrite.cases import ALL, FIXTURES, RULES, Case
from tests.rewrite.models import splice

every_case = pytest.mark.parametrize("case", ALL, ids=lambda case: f"{case.rule}: {case.title}")


@every_case
def test_what_the_upstream_is_asked(case: Case) -> None:
    """Each fixture's statement becomes the texts beside it, which PostgreSQL's grammar accepts."""
    found = splice(case.sql)
    texts = (found.sql, *(step.sql for step in found.stages))
    assert texts == case.expected
    for text in texts:
        parse_sql_json(text)


@every_case
def test_every_token_outside_the_edits_is_the_clients(case: Case) -> None:
    """Rewriting moves the tokens around its edits and changes none."""
    found = splice(case.sql)
    kept = [
        token
        for token in tokenize(case.sql)
        if not any(edit.start <= token.start < edit.end for edit in found.edits)
    ]
    rewritten = set(tokenize(found.sql))
    for token in kept:
        added = sum(
            len("".join(piece.text for piece in edit.pieces)) - (edit.end - edit.start)
            for edit in found.edits
            if edit.end <= token.start
        )
        assert token._replace(start=token.start + added, end=token.end + added) in rewritten


@every_case
def test_every_place_is_in_the_clients_text(case: Case) -> None:
    """A position of an error in any of the texts is one in the client's."""
    found = splice(case.sql)
    for edited in (found.edited, *(step.edited for step in found.stages)):
        last = edited.original_position(len(edited.text) + 1)
        places = [edited.original_position(place + 1) for place in range(len(edited.text))]
        assert all(1 <= place <= len(case.sql) + 1 for place in (*places, last))


@pytest.mark.parametrize(
    ("rule", "strategy"),
    [
        ("splice", Strategy.SPLICE),
        ("rank", Strategy.SPLICE),
        ("push_down", Strategy.PUSH_DOWN),
        ("threshold", Strategy.PUSH_DOWN),
        ("stage", Strategy.STAGE),
    ],
)
def test_the_rule_is_the_fixtures(rule: str, strategy: Strategy) -> None:
    """In each case of a rule's file it has some call."""
    for case in ALL:
        if case.rule == rule:
            assert strategy in {call.strategy for call in splice(case.sql).calls}, case.title


# --- what went wrong once -------------------------------------------------------------------------

FOREST = "PREDICT(forest, {}tenure, {}charges, {}contract)"


def test_a_step_has_the_score_of_an_argument() -> None:
    """A query that runs beforehand has no PREDICT in it, which PostgreSQL would not know."""
    inner = FOREST.replace("{}", "")
    found = splice(f"SELECT id FROM t WHERE PREDICT(forest, {inner}, charges, contract) > 0.5")
    assert len(found.stages) == 2
    assert all("PREDICT" not in step.sql for step in found.stages)


def test_an_outer_joins_pairs_are_not_the_rows_behind_it() -> None:
    """WHERE is about a join's result: of an outer one it says nothing about the pairs."""
    call = FOREST.replace("{}", "b.")
    found = splice(f"SELECT a.id FROM t a LEFT JOIN u b ON {call} > 0.5 WHERE b.id IS NULL")
    (step,) = found.stages
    assert "b.id IS NULL" not in step.sql


def test_a_subquery_that_refers_to_nothing_outside_is_read_by_itself() -> None:
    """Its rows are read once, and not once for each row of the blocks around it."""
    call = FOREST.replace("{}", "c.")
    found = splice(f"SELECT id FROM t WHERE id IN (SELECT id FROM u c WHERE {call} > 0.5)")
    (step,) = found.stages
    assert step.sql.endswith(" FROM u c")


def test_an_alias_alone_keeps_its_name() -> None:
    """A column that is an alias of a call has its name, as any reference to a column has."""
    found = splice("SELECT PREDICT(price, tenure, 1, 'a') AS p, p FROM t")
    assert re.search(r' AS "?p"?, \(tenure', found.sql)


def test_every_fixture_is_read() -> None:
    """No file lies there unread, and no title stands for two cases."""
    assert sorted(path.stem for path in FIXTURES.glob("*.sql") if path.stem != "seed") == [*RULES]
    titles = Counter((case.rule, case.title) for case in ALL)
    assert [title for title, count in titles.items() if count > 1] == []


def test_deep_json_decodes_as_shallow_json_does() -> None:
    """The decoder for trees too deep for the json module agrees with it on any tree."""
    for case in ALL:
        text = parse_sql_json(splice(case.sql).sql)
        assert decode_deep(text) == json.loads(text), case.title
