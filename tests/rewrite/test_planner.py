"""PREDICT: which text is ours, where it may stand, what it binds to and what the upstream gets."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pglast.parser import parse_sql_json

from proxy.errors import ModelSyntaxError, ProxyError, TooLargeError, UnsupportedError
from proxy.rewrite.lexer import tokenize
from proxy.rewrite.plan import Command, Passthrough, PredictQuery, Probe, Strategy
from proxy.rewrite.planner import CALLS_MAX, INSPECTED_MAX, analyse, may_stage, plan, probes
from proxy.rewrite.relations import qualify_state_relations
from proxy.rewrite.tree import parse_tree, shape
from tests.rewrite.models import COLUMNS, Catalog, query, splice

NOT_OURS = [
    "SELECT predict(1, a) FROM t",
    "SELECT predict($1, a) FROM t",
    "SELECT predict() FROM t",
    "SELECT predict(*) FROM t",
    "SELECT predict(t.*) FROM t",
    "SELECT predict(a + 1) FROM t",
    "SELECT predict(NULL, a), predict(current_date)",
    "SELECT predict('two words', a) FROM t",
    "SELECT predict(DISTINCT a) FROM t",
    "SELECT public.predict(m, a) FROM t",
    'SELECT "predict"(m, a) FROM t',
    "SELECT predictor(m, a) FROM t",
    "SELECT predict, model FROM t",
    "SELECT 'predict(m, *)', E'predict(m, \\'*)', $$predict(m, *)$$, U&'predict(m, *)' FROM t",
    "SELECT 1 /* predict(m, *) /* predict(m, *) */ */ -- predict(m, *)",
    "CREATE FUNCTION predict(m text, a int) RETURNS int LANGUAGE sql AS 'select 1'",
    "CREATE FUNCTION predict(text, int) RETURNS int LANGUAGE sql AS 'select 1'",
    "DROP FUNCTION predict(text, int)",
    "ALTER FUNCTION predict(text) OWNER TO bob",
    "COMMENT ON FUNCTION predict(text) IS 'x'",
    "GRANT EXECUTE ON FUNCTION predict(text) TO bob",
    "INSERT INTO predict (m, a) VALUES (1, 2)",
    "INSERT INTO t (predict) VALUES (1)",
    "CREATE INDEX ON predict (m, a)",
    "CREATE TABLE predict (m int)",
    "CREATE TABLE x (a int REFERENCES predict (m))",
    "CREATE VIEW predict (m, a) AS SELECT 1, 2",
    "COPY predict (m, a) FROM STDIN",
    "WITH predict (m, a) AS (SELECT 1, 2) SELECT * FROM predict",
    "SELECT * FROM t AS predict (m, a)",
    "SELECT * FROM t predict (m, a)",
    "SELECT predict(m, a \0) FROM t",
    "SELECT predict(m, a",
    "SELECT 1; SELECT 2",
    "CREATE TABLE model (a int)",
    "",
]


@pytest.mark.parametrize("sql", NOT_OURS)
def test_what_is_not_ours_passes(sql: str) -> None:
    """Somebody else's function, or text that only holds the words, is not touched."""
    assert analyse(sql) == Passthrough()


LIES = st.sampled_from(
    ["predict(churn, *)", "PREDICT(m, a)", "create model m", "'", '"', "é", "\n", "--", "\\", ";"]
)
LIE = st.lists(LIES, max_size=6).map("".join)


@given(LIE, LIE, LIE, LIE)
def test_text_that_lies_is_never_touched(a: str, b: str, c: str, d: str) -> None:
    """PREDICT in strings, quoted names, comments and dollar quotes is only text."""
    quoted, name = a.replace("'", "''"), b.replace('"', '""') + "x"
    line = c.replace("\n", " ")
    sql = f"SELECT '{quoted}', \"{name}\", $q$ {d} $q$, t.predict -- {line}\n FROM t /* {line} */"
    assert analyse(sql) == Passthrough()


@given(LIE, LIE)
def test_lies_beside_a_call_are_kept(a: str, b: str) -> None:
    """A real call is found among the lies, and they go up as they are."""
    before = f"SELECT '{a.replace(chr(39), chr(39) * 2)}', "
    after = f', $q${b}$q$ AS "x" FROM t'
    found = splice(before + "PREDICT(churn, tenure)" + after)
    assert len(found.scores) == 1
    assert found.sql.startswith(before + "NULL::pg_catalog.float8 AS ")
    assert f"$q${b}$q$" in found.sql


@pytest.mark.parametrize(
    ("sql", "where"),
    [
        ("CREATE INDEX ON t (^PREDICT(churn, a))", "CREATE INDEX"),
        ("CREATE TABLE x (a int CHECK (^PREDICT(churn, a) > 1))", "CREATE TABLE"),
        ("ALTER TABLE t ADD CHECK (^PREDICT(churn, a) > 1)", "ALTER TABLE"),
        ("CREATE POLICY p ON t USING (^PREDICT(churn, a) > 1)", "CREATE POLICY"),
        ("CREATE RULE r AS ON INSERT TO t DO SELECT ^PREDICT(churn, new.a)", "CREATE RULE"),
        ("CREATE STATISTICS s ON a, (^PREDICT(churn, a)) FROM t", "CREATE STATISTICS"),
        ("CREATE FUNCTION f() RETURNS float8 RETURN ^PREDICT(churn, 1)", "a function's body"),
        ("CALL p(^PREDICT(churn, 1))", "CALL"),
        ("EXECUTE s (^PREDICT(churn, 1))", "EXECUTE"),
        ("SELECT 1; SELECT ^PREDICT(churn, *) FROM t", "several statements"),
        ("SELECT ^PREDICT(churn, a) OVER () FROM t", "no OVER"),
        ("SELECT ^PREDICT(churn, a) FILTER (WHERE a > 1) FROM t", "FILTER"),
        ("SELECT ^PREDICT(churn, a ORDER BY b) FROM t", "no OVER"),
        ("SELECT 'é', id FROM t WHERE ^PREDICT_EXPLAIN(churn, *) > 1", "PREDICT_EXPLAIN"),
    ],
)
def test_places_that_are_refused(sql: str, where: str) -> None:
    """Where no call can stand, the error is 0A000, names the place and points at the call."""
    position = sql.index("^") + 1
    with pytest.raises(UnsupportedError) as caught:
        analyse(sql.replace("^", ""))
    assert where in caught.value.message
    assert caught.value.position == position


FOREST = "^PREDICT(forest, tenure, charges, contract)"


@pytest.mark.parametrize(
    ("sql", "where"),
    [
        (f"UPDATE t SET a = 1 RETURNING {FOREST} + 1", "an expression of RETURNING"),
        (f"INSERT INTO t VALUES (1) RETURNING id, round({FOREST})", "an expression of RETURNING"),
        (
            f"INSERT INTO t VALUES (1) ON CONFLICT (id) DO UPDATE SET p = {FOREST}",
            "ON CONFLICT",
        ),
        (
            f"MERGE INTO t USING u ON t.id = u.id AND {FOREST} > 0 WHEN MATCHED THEN DELETE",
            "the condition of MERGE",
        ),
        (
            (
                "WITH RECURSIVE r AS (SELECT 1.0::float8 AS x UNION ALL"
                " SELECT ^PREDICT(forest, x, 1, 'a') FROM r) SELECT * FROM r"
            ),
            "a recursive WITH query",
        ),
        (f"CREATE VIEW v AS SELECT 'é', {FOREST} FROM t", "a statement that is kept"),
        (f"CREATE MATERIALIZED VIEW v AS SELECT {FOREST} FROM t", "a statement that is kept"),
        (f"PREPARE x AS SELECT {FOREST} FROM t WHERE id = $1", "a statement that is kept"),
        (f"UPDATE t SET p = {FOREST} WHERE CURRENT OF c", "a cursor's current row"),
        ("SELECT ^PREDICT(forest, random(), 1, 'a') + 1 FROM t", "different each time"),
        (
            f"WITH d AS (DELETE FROM t RETURNING id) SELECT {FOREST} > 0.5 FROM u",
            "a WITH query that changes rows",
        ),
    ],
)
def test_places_that_are_refused_of_a_large_model(sql: str, where: str) -> None:
    """Where the rows of a call cannot be known beforehand, 0A000 names the place and the model."""
    position = sql.index("^") + 1
    with pytest.raises(UnsupportedError) as caught:
        splice(sql.replace("^", ""))
    assert where in caught.value.message
    assert '"forest"' in caught.value.message
    assert "too large" in (caught.value.detail or "")
    assert caught.value.position == position
    small = sql.replace("^", "").replace("forest", "price")
    assert {call.strategy for call in splice(small).calls} == {Strategy.PUSH_DOWN}


def test_a_star_without_a_query_is_refused() -> None:
    """A star where nothing is selected from is an error at the star; a column is served there."""
    with pytest.raises(UnsupportedError) as caught:
        analyse("COPY t FROM 'f' WHERE PREDICT(churn, *) > 0")
    assert (caught.value.position, "star" in caught.value.message) == (38, True)
    assert " WHERE (price_v + (a\n)::" in splice("COPY t FROM 'f' WHERE PREDICT(price, a) > 0").sql


def test_more_calls_than_can_be_planned_are_refused() -> None:
    """A text with very many calls is 54000 before any of it is parsed."""
    calls = ", ".join(["PREDICT(churn, a)"] * (CALLS_MAX + 1))
    with pytest.raises(TooLargeError) as caught:
        analyse(f"SELECT {calls} FROM t")
    assert caught.value.sqlstate == "54000"
    assert isinstance(analyse(f"SELECT {calls[len('PREDICT(churn, a), ') :]} FROM t"), PredictQuery)


@pytest.mark.parametrize(
    ("sql", "planned_at", "only_reads", "is_kept"),
    [
        ("SELECT PREDICT(churn, a) FROM t", "bind", True, False),
        ("UPDATE t SET p = PREDICT(churn, a)", "bind", False, False),
        ("INSERT INTO p SELECT PREDICT(churn, a) FROM t", "bind", False, False),
        ("SELECT PREDICT(churn, a) INTO x FROM t", "execute", True, False),
        ("CREATE TABLE x AS SELECT PREDICT(churn, a) FROM t", "execute", False, False),
        ("EXPLAIN SELECT PREDICT(churn, a) FROM t", "execute", True, False),
        ("EXPLAIN ANALYZE SELECT PREDICT(churn, a) FROM t", "execute", True, False),
        ("DECLARE c CURSOR FOR SELECT PREDICT(churn, a) FROM t", "execute", False, False),
        ("COPY (SELECT PREDICT(churn, a) FROM t) TO STDOUT", "execute", True, False),
        ("PREPARE x AS SELECT PREDICT(churn, a) FROM t", None, False, True),
        ("CREATE VIEW x AS SELECT PREDICT(churn, a) FROM t", None, False, True),
        ("CREATE MATERIALIZED VIEW x AS SELECT PREDICT(churn, a) FROM t", None, False, True),
    ],
)
def test_when_a_statement_is_planned(
    sql: str, planned_at: str | None, only_reads: bool, is_kept: bool
) -> None:
    """The kind of a statement says when it is planned, and whether it is kept."""
    found = query(sql)
    assert (found.planned_at, found.only_reads, found.is_kept) == (planned_at, only_reads, is_kept)
    is_explained = sql.startswith("EXPLAIN SELECT")
    assert splice(sql).is_only_explained == found.is_only_explained == is_explained


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("SELECT PREDICT(forest, a) FROM t", False),
        ("SELECT PREDICT(churn, a) + 1 FROM t", False),
        ("SELECT PREDICT(forest, a) + 1 FROM t", True),
        ("SELECT PREDICT(forest, a) AS p, p + 1 FROM t", True),
        ("SELECT id FROM t WHERE PREDICT(churn, a) > PREDICT(forest, a)", True),
        ("CREATE VIEW v AS SELECT PREDICT(forest, a) FROM t", False),
    ],
)
def test_whether_something_may_be_staged(sql: str, expected: bool) -> None:
    """A statement says before it is planned whether a score may have to be known first."""
    assert may_stage(query(sql), Catalog()) == expected


def test_jit_is_off_only_where_the_upstream_computes_a_score() -> None:
    """A spliced or staged score leaves JIT as it is."""
    assert splice("SELECT PREDICT(churn, tenure) FROM t").jit_off_at is None
    assert splice("SELECT PREDICT(forest, tenure) + 1 FROM t").jit_off_at is None
    assert splice("SELECT PREDICT(churn, tenure) + 1 FROM t").jit_off_at == "bind"
    assert splice("COPY (SELECT PREDICT(churn, tenure) FROM t) TO STDOUT").jit_off_at == "execute"
    assert splice("PREPARE x AS SELECT PREDICT(churn, tenure) FROM t").jit_off_at is None


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT a, *, PREDICT(churn, *) AS p FROM t ORDER BY 1",
        "SELECT a, b, PREDICT(churn, a) AS p FROM t ORDER BY 2, a DESC NULLS LAST",
        "SELECT a AS predict, PREDICT(churn, a) AS p FROM t ORDER BY predict",
        "SELECT PREDICT(churn, a) AS p FROM t ORDER BY t.p",
    ],
)
def test_order_by_other_columns_lets_a_score_be_spliced(sql: str) -> None:
    """A score is computed by the upstream only where ORDER BY means it, or it cannot be told."""
    assert query(sql).spliced == {0}


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT PREDICT(churn, a) AS p FROM t ORDER BY p",
        "SELECT PREDICT(churn, a) FROM t ORDER BY a, predict DESC",
        "SELECT a, PREDICT(churn, a) AS p FROM t GROUP BY a, p",
        "SELECT a, PREDICT(churn, a) FROM t ORDER BY 2",
        "SELECT a, PREDICT(churn, a) FROM t GROUP BY ROLLUP (1, 2)",
        "SELECT *, PREDICT(churn, a) FROM t ORDER BY 3",
        "SELECT DISTINCT PREDICT(churn, a) FROM t",
        "SELECT DISTINCT ON (a) PREDICT(churn, a) FROM t",
        "SELECT PREDICT(churn, a) FROM t UNION SELECT 1",
        "SELECT PREDICT(churn, a) INTO x FROM t",
        "SELECT PREDICT(churn, a) FROM t GROUP BY PREDICT(churn, a)",
    ],
)
def test_scores_that_the_upstream_must_know_are_not_spliced(sql: str) -> None:
    """What is sorted, grouped, made distinct or kept is no NULL in the upstream's text."""
    assert query(sql).spliced == frozenset()
    assert "NULL" not in splice(sql).sql


def test_a_position_beyond_the_list_is_postgresqls_error() -> None:
    """ORDER BY 3 of two columns is 42P10 and never counts the hidden ones in."""
    sql = "SELECT 'é', PREDICT(churn, a) FROM t ORDER BY 3"
    with pytest.raises(ProxyError) as caught:
        analyse(sql)
    assert (caught.value.sqlstate, caught.value.position) == ("42P10", len(sql))


@pytest.mark.parametrize(
    ("sql", "sqlstate"),
    [
        ("SELECT PREDICT(churn, *) FROM ^WHERE", "42601"),
        ("SELECT PREDICT(churn, *, a ^b c) FROM t", "42601"),
        ("SELECT PREDICT(churn, *^, , a) FROM t", "42601"),
        ("SELECT PREDICT(churn, *, a^) b c FROM t", "42601"),
        ("SELECT PREDICT(churn, *) FROM t WHERE a = ^'x", "42601"),
    ],
)
def test_syntax_errors_around_a_call(sql: str, sqlstate: str) -> None:
    """Text with a call that PostgreSQL's grammar refuses is 42601."""
    with pytest.raises(ModelSyntaxError) as caught:
        analyse(sql.replace("^", ""))
    assert caught.value.sqlstate == sqlstate
    assert caught.value.position is not None


def inputs(sql: str) -> list[str | None]:
    """Return the text that each feature of the first call is computed from."""
    found = splice(sql)
    texts = re.findall(r"\((.*)\n\)::", found.sql)
    return [None if index is None else texts[index] for index in found.scores[0].inputs]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ("a, b, c", ["a", "b", "c"]),
        ("contract, charges, tenure", ["tenure", "charges", "contract"]),
        ("t.Tenure, x.y.z.contract", ["t.Tenure", None, "x.y.z.contract"]),
        ('"Tenure", "charges"', ['"Tenure"', '"charges"', None]),
        ("a", ["a", None, None]),
        ("tenure, b * 2", ["tenure", "b * 2", None]),
        ("charges, b * 2", ["b * 2", "charges", None]),
        ("contract, b * 2", [None, "b * 2", "contract"]),
        ("upper(contract), tenure", ["tenure", "upper(contract)", None]),
        ("contract => 'x', 1, 2", ["1", "2", "'x'"]),
        ("contract := 'x', key => id, 1", ["1", None, "'x'"]),
        ("*", ['"tenure"', '"charges"', '"contract"']),
        ("t.*", ['t."tenure"', None, None]),
        ("t.*, 7", ['t."tenure"', "7", None]),
        ("t.*, charges", ['t."tenure"', "charges", None]),
        ("*, tenure", ["tenure", '"charges"', '"contract"']),
        ("NULL, true, f(a, ARRAY[1, 2])", ["NULL", "true", "f(a, ARRAY[1, 2])"]),
        ("", [None, None, None]),
    ],
)
def test_arguments_bind(arguments: str, expected: list[str | None]) -> None:
    """Names bind first, stars next, the rest by position."""
    comma = ", " if arguments else ""
    assert inputs(f"SELECT PREDICT(churn{comma}{arguments}) FROM t") == expected


@pytest.mark.parametrize(
    ("sql", "sqlstate", "hint"),
    [
        ("SELECT PREDICT(^nonesuch, *) FROM t", "42704", ""),
        ("SELECT PREDICT(^churn:9.0, *) FROM t", "42704", ""),
        ("SELECT PREDICT(churn, a, b, c, ^d) FROM t", "42883", "tenure, charges, contract"),
        ("SELECT PREDICT(churn, *, ^d) FROM t", "42883", "tenure"),
        ("SELECT PREDICT(churn, age => ^1) FROM t", "42883", "tenure"),
        ("SELECT PREDICT(churn, tenure, ^t.tenure) FROM t", "42601", ""),
        ("SELECT PREDICT(churn, tenure, tenure => ^1) FROM t", "42601", ""),
        ("SELECT PREDICT_PROBA(churn, tenure, class => ^'maybe') FROM t", "22023", "no, yes"),
        ("SELECT PREDICT_PROBA(churn, tenure, class => ^a) FROM t", "0A000", ""),
        ("SELECT PREDICT(churn, tenure, class => ^'yes') FROM t", "42883", ""),
        ("SELECT ^PREDICT_PROBA(price, *) FROM t", "42804", "PREDICT"),
        ("SELECT ^PREDICT_CLASS(price, *) FROM t", "42804", "PREDICT"),
        ("SELECT ^PREDICT_PROBA(segments, *) FROM t", "42804", "PREDICT gives its cluster"),
        ("SELECT 'é', PREDICT(churn, *, ^d) FROM t", "42883", ""),
    ],
)
def test_arguments_that_do_not_fit(sql: str, sqlstate: str, hint: str) -> None:
    """A call that does not fit its model is an error that points at the argument."""
    position = sql.index("^") + 1
    with pytest.raises(ProxyError) as caught:
        splice(sql.replace("^", ""))
    assert (caught.value.sqlstate, caught.value.position) == (sqlstate, position)
    assert hint in (caught.value.hint or "")


@pytest.mark.parametrize(
    ("columns", "sqlstate"), [(("tenure", "id", "tenure"), "42702"), (("id", "age"), "42703")]
)
def test_stars_that_cannot_bind(columns: tuple[str, ...], sqlstate: str) -> None:
    """A feature that two columns of a star could be is ambiguous; a star without any is refused."""
    with pytest.raises(ProxyError) as caught:
        plan(query("SELECT PREDICT(churn, *) FROM t, u"), Catalog(), {(0, "*"): columns})
    assert (caught.value.sqlstate, caught.value.position) == (sqlstate, 23)


@pytest.mark.parametrize(
    ("call", "output", "type_sql", "class_index"),
    [
        ("PREDICT(churn, *)", "probability", "pg_catalog.float8", 1),
        ("PREDICT_CLASS(churn, *)", "label", "pg_catalog.text", None),
        ("PREDICT_PROBA(churn, *)", "probability", "pg_catalog.float8", 1),
        ("PREDICT_PROBA(churn, *, class => 'no')", "probability", "pg_catalog.float8", 0),
        ("PREDICT_PROBA(species, *, class => 'b')", "probability", "pg_catalog.float8", 1),
        ("PREDICT_PROBA(species, *)", "probability", "pg_catalog.float8", None),
        ("PREDICT(species, *)", "label", "pg_catalog.text", None),
        ("PREDICT(price, *)", "value", "pg_catalog.float8", None),
        ("PREDICT(segments, *)", "label", "pg_catalog.int4", None),
        ("PREDICT_CLASS(segments, *)", "label", "pg_catalog.int4", None),
    ],
)
def test_what_a_call_returns(
    call: str, output: str, type_sql: str, class_index: int | None
) -> None:
    """The function and the model decide what the column holds, and in which type."""
    (score,) = splice(f"SELECT {call} FROM t").scores
    assert (score.output, score.type_sql, score.class_index) == (output, type_sql, class_index)


@pytest.mark.parametrize(
    ("target", "name"),
    [
        ("PREDICT(churn, *)", "predict"),
        ("Predict_Class(churn, *)", "predict_class"),
        ("PREDICT(churn, *) Score", "score"),
        ('PREDICT(churn, *) AS "Big ""Score"', 'Big "Score'),
        ("PREDICT(churn, *) AS U&\"d!0061t\" UESCAPE '!'", "dat"),
        ("PREDICT(churn, *) AS select", "select"),
    ],
)
def test_the_clients_name_for_the_column(target: str, name: str) -> None:
    """The column is named by its alias, else by the function, as PostgreSQL does."""
    found = splice(f"SELECT a, {target}, b FROM t")
    assert found.scores[0].name == name
    assert re.match(r'SELECT a, NULL::\S+ AS "pgseer.0", b, \(', found.sql)


def test_missing_features_are_noticed_once() -> None:
    """Features that no argument gives are named in one notice for the statement."""
    found = splice("SELECT PREDICT(churn, tenure), PREDICT(churn, contract) FROM t")
    (notice,) = found.notices
    assert "charges" in notice
    assert "churn" in notice
    assert splice("SELECT PREDICT(churn, *) FROM t").notices == ()


@pytest.mark.parametrize(
    ("sql", "count"),
    [
        ("SELECT a, PREDICT(churn, *), b FROM t", 3),
        ("SELECT *, PREDICT(churn, *) FROM t", None),
        ("SELECT t.*, PREDICT(churn, tenure) FROM t", None),
        ("SELECT (r).*, PREDICT(churn, tenure) FROM t", None),
    ],
)
def test_visible_count(sql: str, count: int | None) -> None:
    """The count of visible columns is known where no star stands in the list itself."""
    assert query(sql).visible_count == splice(sql).visible_count == count


def asked(sql: str) -> list[Probe]:
    return probes(query(sql), Catalog())


def test_probes_tell_what_stars_stand_for() -> None:
    """A probe selects a block's star from what the block selects from, and from nothing else."""
    sql = (
        "SELECT upper(a) AS a, PREDICT(churn, *) AS p, PREDICT(price, c . *), PREDICT(price, *)"
        " FROM t c JOIN u USING (id) WHERE x = 2 ORDER BY a, b LIMIT 3"
    )
    found = {probe.key: probe.sql for probe in asked(sql)}
    assert found == {
        (0, "*"): "SELECT * FROM t c JOIN u USING (id)\n",
        (0, "c.*"): "SELECT c . * FROM t c JOIN u USING (id)\n",
    }
    assert asked("SELECT PREDICT(churn, tenure) FROM t ORDER BY 'x'") == []


@pytest.mark.parametrize(
    ("sql", "key", "expected"),
    [
        (
            "WITH a AS (SELECT 1 AS x), b AS (TABLE a) SELECT PREDICT(churn, *) FROM b",
            (2, "*"),
            "WITH a AS (SELECT 1 AS x)\n, b AS (TABLE a) SELECT * FROM b\n",
        ),
        (
            ("WITH a AS (TABLE t), b AS (SELECT PREDICT(churn, *) + 1 FROM a), c AS (TABLE b)"
            " SELECT * FROM c"),
            (1, "*"),
            "WITH a AS (TABLE t) SELECT * FROM a\n",
        ),
        (
            ("WITH RECURSIVE r (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r WHERE n < 3)"
            " SELECT PREDICT(churn, *) FROM r"),
            (2, "*"),
            ("WITH RECURSIVE r (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r WHERE n < 3)"
            " SELECT * FROM r\n"),
        ),
        (
            "SELECT id FROM t WHERE EXISTS (SELECT FROM u WHERE PREDICT(churn, u.*) > t.x)",
            (1, "u.*"),
            ('SELECT "pgseer.within".* FROM t\nCROSS JOIN LATERAL (SELECT u.* FROM u\n\n)'
            ' AS "pgseer.within"'),
        ),
        (
            "SELECT * FROM t, LATERAL (SELECT PREDICT(churn, *) FROM u WHERE u.id = t.id) AS s",
            (1, "*"),
            ('SELECT "pgseer.within".* FROM t\nCROSS JOIN LATERAL (SELECT * FROM u\n\n)'
            ' AS "pgseer.within"'),
        ),
        (
            "SELECT * FROM t, (SELECT PREDICT(churn, *) AS p FROM u) AS s",
            (1, "*"),
            "SELECT * FROM u\n",
        ),
        (
            "UPDATE t AS c SET p = PREDICT(churn, *) FROM u WHERE t.id = u.id",
            (0, "*"),
            "SELECT * FROM t AS c\n, u\n",
        ),
        ("DELETE FROM t USING u WHERE PREDICT(churn, t.*) > 1", (0, "t.*"),
         "SELECT t.* FROM t\n, u\n"),
        ("INSERT INTO p (a, b) SELECT 1, PREDICT(churn, *) FROM t", (1, "*"),
         "SELECT * FROM t\n"),
        ("INSERT INTO p (a, b) VALUES (1, 2) RETURNING PREDICT(churn, *)", (0, "*"),
         "SELECT * FROM p\n"),
        ("SELECT * FROM (SELECT PREDICT(churn, t.*) AS p, p + 1 FROM t) WHERE p > 1", (1, "*"),
         "SELECT * FROM t\n"),
        (
            (
                "WITH a AS (TABLE t) (SELECT PREDICT(churn, 1) FROM a) UNION"
                " (SELECT PREDICT(churn, *) FROM a)"
            ),
            (2, "*"),
            "WITH a AS (TABLE t) SELECT * FROM a\n",
        ),
        ("SELECT PREDICT(churn, *) FROM (SELECT PREDICT(price, 1) AS tenure)", (0, "*"),
         'SELECT * FROM (SELECT NULL::pg_catalog.float8 AS tenure) AS "pgseer.subquery.0"\n'),
    ],
)  # fmt: skip
def test_probes_stand_where_their_block_stands(
    sql: str, key: tuple[int, str], expected: str
) -> None:
    """A probe has the WITH queries before its block, and the blocks that it may refer to around."""
    found = {probe.key: probe.sql for probe in asked(sql)}
    assert found[key] == expected
    parse_sql_json(expected)


def test_parameters_that_a_probe_loses_get_a_type() -> None:
    """Each of the client's parameters is in each probe, for the upstream wants one of each."""
    sql = "SELECT PREDICT(churn, *) FROM f($2) AS t WHERE a = $1 AND b = $3"
    (probe,) = asked(sql)
    assert probe.sql == (
        "SELECT * FROM f($2) AS t\n"
        " WHERE $1::pg_catalog.text IS NULL AND $3::pg_catalog.text IS NULL"
    )


def test_scopes_are_probed_for_large_models_only() -> None:
    """Whether a subquery refers to the outside is asked only where its rows must be read."""
    sql = "SELECT id FROM t WHERE id IN (SELECT id FROM u WHERE PREDICT({}, a) > 1)"
    assert asked(sql.format("churn")) == []
    assert [probe.key for probe in asked(sql.format("forest"))] == [(1, "*")]


def test_places_of_a_probe_are_in_the_clients_text() -> None:
    """An error in a probe points at what the client wrote."""
    sql = "SELECT 'é', PREDICT(churn, *) FROM nonesuch AS t"
    (probe,) = asked(sql)
    position = probe.sql.index("nonesuch") + 1
    assert probe.edited.original_position(position) == sql.index("nonesuch") + 1
    star = probe.sql.index("*") + 1
    assert probe.edited.original_position(star) == sql.index("*") + 1


def test_positions_map_back() -> None:
    """A position in the upstream's text is one in the client's: the argument, or the call."""
    sql = "SELECT é, PREDICT(churn, tenure, wrong_column) AS p, nonesuch FROM t WHERE oops"
    found = splice(sql)
    for word in ("é", "tenure", "wrong_column", "nonesuch", "oops"):
        assert found.original_position(found.sql.index(word) + 1) == sql.index(word) + 1
    assert found.original_position(found.sql.index("float8") + 1) == sql.index("PREDICT") + 1
    assert found.original_position(len(found.sql) + 1) == len(sql) + 1
    star = splice("SELECT PREDICT(churn, *) FROM t")
    assert star.original_position(star.sql.index('"charges"') + 3) == 23


def test_categories_as_utf8() -> None:
    """With text_as_utf8 a category is asked for as bytes, whatever the client's encoding."""
    found = splice("SELECT PREDICT(churn, *) FROM t", text_as_utf8=True)
    assert "pg_catalog.convert_to((\"contract\"\n)::pg_catalog.text, 'UTF8')" in found.sql
    parse_sql_json(found.sql)


def test_models_of_a_query_are_known_before_the_catalog_is_asked() -> None:
    """A query names the models and versions it needs, in order."""
    found = query("SELECT PREDICT(Churn, *), PREDICT('price:1', *), PREDICT(\"A\":3.1, *) FROM t")
    assert [(model.name, model.version) for model in found.models] == [
        ("churn", None),
        ("price", "1.0"),
        ("A", "3.1"),
    ]


@pytest.mark.parametrize("argument", ["a) FROM secret --", "a), (b", "1; DROP TABLE t", "SELECT 1"])
def test_an_argument_cannot_leave_its_place(argument: str) -> None:
    """Text that would mean something else around the hidden columns is refused."""
    with pytest.raises(ProxyError):
        splice(f"SELECT PREDICT(churn, *, {argument}) FROM t")


def test_commands_and_settings() -> None:
    """A statement of ours is a Command; a backslash is what the session says it is."""
    assert isinstance(analyse("/* x */ SHOW MODELS;"), Command)
    sql = r"SELECT '\', PREDICT(churn, a), ' FROM t"
    assert analyse(sql, standard_conforming_strings=False) == Passthrough()
    with pytest.raises(ModelSyntaxError):
        analyse(sql)


def test_long_text_is_looked_into_only_if_it_begins_as_ours() -> None:
    """Beyond the cap a statement passes, but for one that begins with a verb of ours."""
    padding = " " * INSPECTED_MAX
    assert analyse(f"SELECT PREDICT(churn, *) FROM t{padding}") == Passthrough()
    assert isinstance(analyse(f"CREATE MODEL m USING kmeans AS SELECT 1{padding}"), Command)


def test_deep_statements_are_served() -> None:
    """An expression two thousand operators deep beside a call is no more than an expression."""
    found = splice(f"SELECT {'a+' * 2000}a, PREDICT(churn, {'b+' * 2000}b) FROM t")
    assert found.visible_count == 2
    assert len(found.hidden) == 1


@given(st.text(max_size=30), st.text(max_size=30))
def test_any_text_has_an_outcome(a: str, b: str) -> None:
    """Whatever stands around and within a call, the outcome is a plan or one of our errors."""
    for sql in (
        f"SELECT PREDICT(churn, {a}) {b}",
        f"SELECT PREDICT({a}, *), {b} FROM t",
        f"SELECT id FROM t WHERE {a} AND (SELECT PREDICT(forest, tenure) {b}) > 1",
    ):
        try:
            found = analyse(sql)
            if isinstance(found, PredictQuery):
                asked = probes(found, Catalog())
                plan(found, Catalog(), dict.fromkeys((probe.key for probe in asked), COLUMNS))
        except ProxyError as error:
            assert len(error.sqlstate) == 5  # noqa: PT017


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("SELECT * FROM ml_models", "SELECT * FROM ml.ml_models"),
        (
            'SELECT ml_models.version FROM t JOIN ML_models ON true, "ml_models" x',
            'SELECT ml_models.version FROM t JOIN ml.ML_models ON true, ml."ml_models" x',
        ),
        ("TABLE ml_models", "TABLE ml.ml_models"),
        ("SELECT pid FROM ML_training_progress", "SELECT pid FROM ml.ML_training_progress"),
        ("DELETE FROM ONLY ml_models", "DELETE FROM ONLY ml.ml_models"),
        ("UPDATE ml_models SET a = 1", "UPDATE ml.ml_models SET a = 1"),
        ("INSERT INTO ml_models SELECT 1", "INSERT INTO ml.ml_models SELECT 1"),
        ("COPY ml_models TO STDOUT", "COPY ml.ml_models TO STDOUT"),
        (
            "SELECT 'é', m.* FROM ml_models m WHERE a IN (TABLE ml_models) FOR UPDATE OF m",
            "SELECT 'é', m.* FROM ml.ml_models m WHERE a IN (TABLE ml.ml_models) FOR UPDATE OF m",
        ),
        (
            "SELECT PREDICT(churn, *) FROM ml_models FOR UPDATE OF ml_models",
            "SELECT PREDICT(churn, *) FROM ml.ml_models FOR UPDATE OF ml_models",
        ),
        ("CREATE VIEW v AS SELECT * FROM ml_models", "CREATE VIEW v AS SELECT * FROM ml.ml_models"),
    ],
)
def test_state_relations_get_their_schema(sql: str, expected: str) -> None:
    """Each unqualified use of a state relation as a relation is qualified, and nothing else."""
    found = qualify_state_relations(sql, tokenize(sql))
    assert found is not None
    name = "ml_training_progress" if "pid" in sql else "ml_models"
    assert (found.names, found.edited.text) == ((name,), expected)


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM public.ml_models",
        "SELECT ml_models FROM t",
        "SELECT 'ml_models' FROM t -- ml_models",
        "WITH ml_models AS (SELECT 1) SELECT * FROM ml_models",
        "CREATE TABLE ml_models (a int)",
        "DROP TABLE ml_models",
        'SELECT * FROM "ML_MODELS"',
        "SELECT * FROM ml_models WHERE",
        "SELECT 1",
    ],
)
def test_other_relations_are_left(sql: str) -> None:
    """A table of the user's own, a WITH query, a string: none is ours to qualify."""
    assert qualify_state_relations(sql, tokenize(sql)) is None


def test_the_shape_of_a_tree_is_all_but_its_places() -> None:
    """Blanks change no shape; any word, number or parenthesis that means something does."""
    texts = ["SELECT a, b FROM t", "SELECT a b", "SELECT a, 'b' FROM t", "SELECT a, b FROM u",
             "SELECT a, b FROM t LIMIT 1", "SELECT a IN (1, 2)", "SELECT a IN (1, 3)",
             "SELECT (1 + 2) * 3", "SELECT 1 + 2 * 3", "SELECT NULL", "SELECT ''", "SELECT 0",
             "SELECT false", "SELECT ROW(1, 2), 3", "SELECT ROW(1), 2, 3"]  # fmt: skip
    shapes = [shape(parse_tree(text)) for text in texts]
    assert len(set(shapes)) == len(texts)
    spread = [shape(parse_tree(text.replace(" ", "  \n"))) for text in texts]
    assert spread == shapes
