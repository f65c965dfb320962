"""Query blocks: where each begins and ends, what is around it, and its clauses."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.rewrite.blocks import Block, cut_blocks, innermost, split_at_commas
from proxy.rewrite.lexer import Token, tokenize


def text(sql: str, tokens: tuple[Token, ...], place: tuple[int, int]) -> str:
    first, stop = place
    return sql[tokens[first].start : tokens[stop - 1].end] if stop > first else ""


def cut(sql: str) -> list[tuple[str, dict[str, str]]]:
    """Return the kind and the clauses of each block of a statement."""
    tokens = tokenize(sql)
    return [
        (block.kind, {name: text(sql, tokens, place) for name, place in block.clauses.items()})
        for block in cut_blocks(sql, tokens)
    ]


SELECT = {"list": "a", "from": "t"}


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("SELECT a", [("select", {"list": "a"})]),
        ("SELECT", [("select", {"list": ""})]),
        (
            ("SELECT a, b FROM t WHERE c GROUP BY d HAVING e WINDOW w AS (f) ORDER BY g LIMIT h"
            " OFFSET i FOR UPDATE OF t;"),
            [("select", {"list": "a, b", "from": "t", "where": "c", "group by": "d",
                         "having": "e", "window": "w AS (f)", "order by": "g",
                         "limit": "h OFFSET i", "for": "UPDATE OF t"})],
        ),
        ("SELECT a FETCH FIRST 2 ROWS ONLY",
         [("select", {"list": "a", "limit": "FIRST 2 ROWS ONLY"})]),
        ("SELECT DISTINCT a FROM t", [("select", SELECT)]),
        ("SELECT ALL a FROM t", [("select", SELECT)]),
        ("SELECT DISTINCT ON (f(b), c) a FROM t", [("select", SELECT)]),
        ("select a INTO TEMP x From t", [("select", {"list": "a", "into": "TEMP x", "from": "t"})]),
        ("SELECT a IS NOT DISTINCT FROM b FROM t",
         [("select", {"list": "a IS NOT DISTINCT FROM b", "from": "t"})]),
        ('SELECT extract(year FROM d) AS from, t.where, "order" AS limit FROM t',
         [("select", {"list": 'extract(year FROM d) AS from, t.where, "order" AS limit',
                      "from": "t"})]),
        ("SELECT 'FROM x', $$ WHERE $$ /* FROM */ FROM t -- WHERE",
         [("select", {"list": "'FROM x', $$ WHERE $$", "from": "t"})]),
        ("(SELECT a FROM t) ORDER BY 1", [("select", SELECT)]),
        ("TABLE t", [("table", {"from": "t"})]),
        ("VALUES (1, 2), (3, 4) ORDER BY 1 LIMIT 2",
         [("values", {"values": "(1, 2), (3, 4)", "order by": "1", "limit": "2"})]),
        ("SELECT a FROM t UNION ALL SELECT b FROM u ORDER BY 1",
         [("select", SELECT), ("select", {"list": "b", "from": "u", "order by": "1"})]),
        ("SELECT a FROM t EXCEPT (TABLE u) INTERSECT VALUES (1)",
         [("select", SELECT), ("table", {"from": "u"}), ("values", {"values": "(1)"})]),
        ("SELECT a FROM t WHERE b IN (SELECT c FROM u WHERE d)",
         [("select", {**SELECT, "where": "b IN (SELECT c FROM u WHERE d)"}),
          ("select", {"list": "c", "from": "u", "where": "d"})]),
        ("WITH x AS (SELECT a FROM t) SELECT b FROM x",
         [("select", SELECT), ("select", {"list": "b", "from": "x"})]),
        ("INSERT INTO s.t (a, b) SELECT a FROM t RETURNING c",
         [("insert", {"target": "s.t (a, b)", "query": "", "returning": "c"}),
          ("select", SELECT)]),
        (("INSERT INTO t AS u (a) VALUES (1), (DEFAULT) ON CONFLICT (a) DO UPDATE SET a = 2"
         " WHERE b RETURNING *, c"),
         [("insert", {"target": "t AS u (a)", "values": "(1), (DEFAULT)",
                      "on conflict": "(a) DO UPDATE SET a = 2 WHERE b", "returning": "*, c"})]),
        ("INSERT INTO t DEFAULT VALUES", [("insert", {"target": "t DEFAULT", "values": ""})]),
        ("INSERT INTO t SELECT a FROM t ON CONFLICT DO NOTHING",
         [("insert", {"target": "t", "query": "", "on conflict": "DO NOTHING"}),
          ("select", SELECT)]),
        ("UPDATE ONLY t AS u SET a = 1, (b, c) = (SELECT 2) FROM v, w WHERE d RETURNING u.*",
         [("update", {"target": "ONLY t AS u", "set": "a = 1, (b, c) = (SELECT 2)",
                      "from": "v, w", "where": "d", "returning": "u.*"}),
          ("select", {"list": "2"})]),
        ("DELETE FROM t USING u WHERE a RETURNING b",
         [("delete", {"target": "t", "from": "u", "where": "a", "returning": "b"})]),
        ("UPDATE t SET a = 1 RETURNING WITH (OLD AS o, NEW AS n) o.a, n.a",
         [("update", {"target": "t", "set": "a = 1", "returning": "o.a, n.a"})]),
        (("MERGE INTO t AS u USING s ON u.a = s.a WHEN MATCHED AND b THEN UPDATE SET c = 1"
         " WHEN NOT MATCHED THEN INSERT (a) VALUES (2) RETURNING merge_action(), a"),
         [("merge", {"target": "t AS u", "from": "s", "on": "u.a = s.a",
                     "when": "MATCHED AND b THEN UPDATE SET c = 1"
                     " WHEN NOT MATCHED THEN INSERT (a) VALUES (2)",
                     "returning": "merge_action(), a"})]),
        ("CREATE TABLE x AS SELECT a FROM t WITH NO DATA", [("select", SELECT)]),
        ("CREATE TABLE x (b) WITH (fillfactor = 10) AS SELECT a FROM t WITH DATA",
         [("select", SELECT)]),
        ("CREATE VIEW x AS SELECT a FROM t WITH CHECK OPTION", [("select", SELECT)]),
        ("EXPLAIN (ANALYZE) SELECT a FROM t", [("select", SELECT)]),
        ("PREPARE x (int) AS SELECT a FROM t", [("select", SELECT)]),
        ("DECLARE c CURSOR WITH HOLD FOR SELECT a FROM t", [("select", SELECT)]),
        ("COPY (SELECT a FROM t) TO STDOUT WITH (FORMAT csv)", [("select", SELECT)]),
        ("COPY (DELETE FROM t RETURNING a) TO STDOUT",
         [("delete", {"target": "t", "returning": "a"})]),
    ],
)  # fmt: skip
def test_clauses(sql: str, expected: list[tuple[str, dict[str, str]]]) -> None:
    """Each block has its clauses, without the words that begin them."""
    assert cut(sql) == expected


def blocks_of(sql: str) -> tuple[Block, ...]:
    return cut_blocks(sql, tokenize(sql))


@pytest.mark.parametrize(
    ("sql", "parents"),
    [
        ("SELECT (SELECT 1) FROM t", [None, (0, "list")]),
        ("SELECT 1 FROM (SELECT 2) x", [None, (0, "from")]),
        ("SELECT 1 WHERE a IN (SELECT 2) AND b > ALL (VALUES (3))",
         [None, (0, "where"), (0, "where")]),
        ("SELECT f(g((SELECT (SELECT 1))))", [None, (0, "list"), (1, "list")]),
        ("SELECT 1 UNION (SELECT 2 UNION SELECT 3)", [None, None, None]),
        ("INSERT INTO t SELECT 1 RETURNING (SELECT 2)", [None, (0, "query"), (0, "returning")]),
        ("INSERT INTO t VALUES ((SELECT 1))", [None, (0, "values")]),
        ("UPDATE t SET a = (SELECT 1) WHERE (SELECT true)", [None, (0, "set"), (0, "where")]),
        ("MERGE INTO t USING (SELECT 1) s ON (SELECT true) WHEN MATCHED THEN DELETE",
         [None, (0, "from"), (0, "on")]),
        ("WITH a AS (SELECT 1) SELECT 2", [None, None]),
        ("SELECT 1 WHERE a = (WITH b AS (SELECT 2) SELECT 3)",
         [None, (0, "where"), (0, "where")]),
        ("SELECT 1 ORDER BY (SELECT 2) LIMIT (SELECT 3)", [None, (0, "order by"), (0, "limit")]),
    ],
)  # fmt: skip
def test_parents(sql: str, parents: list[tuple[int, str] | None]) -> None:
    """A block knows the block around it, and the clause there; the queries of a WITH have none."""
    blocks = blocks_of(sql)
    found = [
        None if block.parent is None else (blocks.index(block.parent), block.parent_clause)
        for block in blocks
    ]
    assert found == parents


def test_with_queries() -> None:
    """A WITH belongs to the block behind it, and each of its queries knows its place."""
    sql = (
        "WITH RECURSIVE a (x, y) AS (SELECT 1 UNION ALL SELECT 2 FROM a), b AS MATERIALIZED"
        " (DELETE FROM t RETURNING id) SELECT * FROM a, b WHERE z IN (SELECT 3)"
    )
    tokens = tokenize(sql)
    first, second, delete, outer, inner = cut_blocks(sql, tokens)
    common = outer.with_clause
    assert common is not None
    assert common.is_recursive
    assert common.inside is None
    assert [text(sql, tokens, place) for place in common.queries] == [
        "a (x, y) AS (SELECT 1 UNION ALL SELECT 2 FROM a)",
        "b AS MATERIALIZED (DELETE FROM t RETURNING id)",
    ]
    assert first.inside == second.inside == (common, 0)
    assert delete.inside == (common, 1)
    assert outer.inside is inner.inside is None
    assert all(block.with_clause is None for block in (first, second, delete, inner))


def test_a_with_within_a_with() -> None:
    """A WITH in a query of another knows which query that is."""
    sql = "WITH a AS (SELECT 1), b AS (WITH c AS (SELECT 2) SELECT 3 FROM c) SELECT 4 FROM b"
    first, second, third, fourth = blocks_of(sql)
    outer, inner = fourth.with_clause, third.with_clause
    assert outer is not None
    assert inner is not None
    assert inner.inside == (outer, 1)
    assert first.inside == (outer, 0)
    assert second.inside == (inner, 0)
    assert third.inside == (outer, 1)


def test_a_with_before_each_kind() -> None:
    """What changes rows has its WITH, too, and so have all arms of a UNION."""
    for sql in (
        "WITH a AS (SELECT 1) INSERT INTO t SELECT 2 FROM a",
        "WITH a AS (SELECT 1) UPDATE t SET b = 2 FROM a",
        "WITH a AS (SELECT 1) DELETE FROM t USING a",
        "WITH a AS (SELECT 1) MERGE INTO t USING a ON true WHEN MATCHED THEN DELETE",
        "EXPLAIN WITH a AS (SELECT 1) SELECT 2 FROM a",
        "CREATE TABLE x AS WITH a AS (SELECT 1) VALUES (2)",
    ):
        _, block, *_ = blocks_of(sql)
        assert block.with_clause is not None, sql
    _, first, second = blocks_of("WITH a AS (SELECT 1) SELECT 2 FROM a UNION SELECT 3 FROM a")
    assert first.with_clause is not None
    assert first.with_clause is second.with_clause


@pytest.mark.parametrize(
    ("sql", "arms", "distinct"),
    [
        ("SELECT 1", [False], [False]),
        ("SELECT 1 UNION SELECT DISTINCT 2", [True, True], [False, True]),
        ("SELECT DISTINCT ON (a) (SELECT 1) FROM t", [False, False], [True, False]),
        ("SELECT 1 EXCEPT (SELECT 2) INTERSECT SELECT 3", [True, False, True], [False] * 3),
        ("SELECT * FROM (SELECT 1 UNION SELECT 2) x", [False, True, True], [False] * 3),
        ("INSERT INTO t SELECT 1 UNION SELECT 2", [False, True, True], [False] * 3),
    ],
)
def test_arms_and_distinct(sql: str, arms: list[bool], distinct: list[bool]) -> None:
    """An arm of a set operation, and a SELECT DISTINCT, are marked."""
    blocks = blocks_of(sql)
    assert [block.is_arm for block in blocks] == arms
    assert [block.has_distinct for block in blocks] == distinct


def test_where_a_token_stands() -> None:
    """The innermost block of a token, and its clause there, are found."""
    sql = "SELECT a FROM t WHERE b IN (SELECT c FROM u WHERE d = e.f) AND g"
    tokens = tokenize(sql)
    blocks = cut_blocks(sql, tokens)
    places = {}
    for index, token in enumerate(tokens):
        block = innermost(blocks, index)
        assert block is not None
        places[text(sql, tokens, (index, index + 1))] = (
            blocks.index(block),
            block.clause_of(index),
        )
        assert token.start >= tokens[block.first].start
    assert places["a"] == (0, "list")
    assert places["t"] == (0, "from")
    assert places["b"] == (0, "where")
    assert places["c"] == (1, "list")
    assert places["u"] == (1, "from")
    assert places["d"] == places["f"] == (1, "where")
    assert places["g"] == (0, "where")
    assert innermost(blocks_of("CREATE TABLE x AS SELECT 1"), 0) is None


def test_commas() -> None:
    """A list is cut at its own commas, not at those in parentheses or brackets."""
    sql = "a, f(b, c), ARRAY[d, e], (g, h) AS i, 'j, k'"
    tokens = tokenize(sql)
    parts = split_at_commas(sql, tokens, 0, len(tokens))
    assert [text(sql, tokens, (part.start, part.stop)) for part in parts] == [
        "a",
        "f(b, c)",
        "ARRAY[d, e]",
        "(g, h) AS i",
        "'j, k'",
    ]
    assert split_at_commas(sql, tokens, 0, 0) == []


WORDS = st.sampled_from(
    ["SELECT", "FROM", "WHERE", "WITH", "a", "AS", "(", ")", ",", ";", "UNION", "INSERT INTO",
     "VALUES", "ON CONFLICT", "RETURNING", "UPDATE", "SET", "DISTINCT", "ON", "GROUP BY", ".",
     "MERGE INTO", "USING", "WHEN", "DELETE FROM", "ORDER BY", "TABLE", "RECURSIVE", "DATA"]
)  # fmt: skip


@given(st.lists(WORDS, max_size=24).map(" ".join))
def test_any_words_are_cut(sql: str) -> None:
    """Whatever the words, blocks lie within the text and clauses within their blocks."""
    tokens = tokenize(sql)
    blocks = cut_blocks(sql, tokens)
    assert [block.first for block in blocks] == sorted(block.first for block in blocks)
    for block in blocks:
        assert 0 <= block.first <= block.stop <= len(tokens)
        for first, stop in block.clauses.values():
            assert block.first <= first
            assert stop <= block.stop
        if block.parent is not None:
            assert block.parent in blocks
