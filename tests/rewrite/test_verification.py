"""The proof that the text's edits are where the grammar has the calls: a wrong place is refused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from proxy.errors import ProxyError
from proxy.rewrite.calls import find_calls, grammatical
from proxy.rewrite.lexer import tokenize
from proxy.rewrite.plan import PredictQuery
from proxy.rewrite.sites import Item, Site, find_sites
from proxy.rewrite.tree import decode, parse_json
from proxy.rewrite.verification import verify_arguments, verify_places
from tests.rewrite.cases import ALL, Case
from tests.rewrite.models import query

PLAIN = "SELECT a, PREDICT(churn, b) AS p, c FROM t"
WHOLE = "SELECT a, PREDICT(churn, b) + 1, c FROM t"


def parsed(sql: str) -> tuple[str, str]:
    """Return the text as PostgreSQL's grammar reads it, and its tree as JSON."""
    return sql, parse_json(grammatical(sql, find_calls(sql, tokenize(sql))))


def verify(found: PredictQuery) -> None:
    verify_places(found, *parsed(found.sql))


def refused(found: PredictQuery) -> bool:
    """Tell whether it is no edit of the client's tree, or no SQL at all."""
    with pytest.raises(ProxyError) as caught:
        verify(found)
    return caught.value.sqlstate in ("0A000", "42601")


def with_site(found: PredictQuery, **changes: Any) -> PredictQuery:
    """Return a query whose first call stands elsewhere."""
    site = replace(found.sites[0], **changes)
    return replace(found, sites=(site, *found.sites[1:]))


def item_of(found: PredictQuery) -> Item:
    item = found.sites[0].item
    assert item is not None
    return item


@pytest.mark.parametrize("case", ALL, ids=lambda case: f"{case.rule}: {case.title}")
def test_every_fixture_is_proven(case: Case) -> None:
    """What is planned has been proven, and can be proven again."""
    verify(query(case.sql))


def test_a_call_that_ends_elsewhere() -> None:
    """A stand-in for more, or less, than the call is no edit of it."""
    found = query(WHOLE)
    call = found.sites[0].call
    for end in (call.end + len(" + 1"), call.end - 1):
        assert refused(with_site(found, call=replace(call, end=end)))


def test_an_item_that_is_elsewhere() -> None:
    """A column that takes a neighbour's place is refused, and so is a name in the wrong place."""
    found = query(PLAIN)
    item = item_of(found)
    verify(found)
    for changes in ({"start": item.start - len("a, ")}, {"end": item.end + len(", c")}):
        assert refused(with_site(found, item=replace(item, **changes)))
    found = query(WHOLE)
    item = item_of(found)
    verify(found)


def test_a_name_that_is_elsewhere() -> None:
    """The name that PostgreSQL would give stands behind its own column, not a neighbour's."""
    found = query(WHOLE)
    item = item_of(found)
    assert refused(with_site(found, item=replace(item, value_end=item.value_end + len(", c"))))


def test_hidden_columns_that_are_elsewhere() -> None:
    """Hidden columns stand behind the last of the outermost list, or nowhere."""
    sql = "SELECT (SELECT a FROM u), PREDICT(churn, b) FROM t"
    found = query(sql)
    assert found.list_end == sql.index(" FROM t")
    for place in ("a FROM u", " FROM u", ", PREDICT"):
        assert refused(replace(found, list_end=sql.index(place)))
    assert refused(replace(found, list_end=len(sql)))


def test_an_alias_that_is_elsewhere() -> None:
    """What is put in for older servers names a subquery, and nothing else."""
    sql = "SELECT PREDICT(churn, b) FROM (SELECT a AS b FROM u)"
    found = query(sql)
    ((offset, text),) = found.insertions
    assert offset == len(sql)
    verify(found)
    for place in (sql.index(" AS b") + len(" AS"), sql.index(" FROM u")):
        assert refused(replace(found, insertions=((place, text),)))


def argument_of(site: Site, text: str) -> Site:
    """Return a call whose one argument is another stretch of text, wherever that is cut from."""
    argument = site.call.arguments[0]
    changed = replace(argument, end=argument.start + len(text))
    return replace(site, call=replace(site.call, arguments=(changed,)))


@pytest.mark.parametrize("text", ["a + b), (c", "a + b) FROM t --"])
def test_an_argument_is_one_expression(text: str) -> None:
    """An argument that would be two columns, or more than a column, is refused."""
    sql = f"SELECT PREDICT(churn, {text}\n) FROM t"
    proper = query("SELECT PREDICT(churn, a + b) FROM t")
    tokens = tokenize(proper.sql)
    calls = find_calls(proper.sql, tokens)
    tree = parse_json(grammatical(proper.sql, calls))
    sites = find_sites(proper.sql, tokens, decode(tree), calls)
    assert sites is not None
    verify_arguments(sites, proper.sql)
    longer = replace(sites, sites=(argument_of(sites.sites[0], text),))
    with pytest.raises(ProxyError) as caught:
        verify_arguments(longer, sql)
    assert caught.value.sqlstate in ("0A000", "42601")
