"""PREDICT: which text is ours, where it may stand, what it binds to and what the upstream gets."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pglast.parser import parse_sql_json

from proxy.errors import ModelSyntaxError, ProxyError, UnknownModelError, UnsupportedError
from proxy.rewrite.catalog import FeatureSignature, ModelSignature
from proxy.rewrite.lexer import split_statements, tokenize
from proxy.rewrite.plan import Command, Passthrough, PredictQuery, Splice
from proxy.rewrite.planner import INSPECTED_MAX, analyse, plan
from proxy.rewrite.relations import qualify_state_relations
from proxy.rewrite.tree import decode_deep, parse_tree, shape

FIXTURE = (Path(__file__).parent / "fixtures" / "splice.sql").read_text()


def features(*columns: tuple[str, str, str]) -> tuple[FeatureSignature, ...]:
    return tuple(
        FeatureSignature(name, kind, sql_type)  # type: ignore[arg-type]
        for name, kind, sql_type in columns
    )


CHURN = features(
    ("tenure", "number", "int4"), ("charges", "number", "numeric"), ("contract", "category", "text")
)
MODELS = {
    "churn": ("probability", ("no", "yes"), "pg_catalog.text", "binary", CHURN),
    "price": ("value", (), "pg_catalog.float8", "regression", CHURN),
    "species": ("label", ("a", "b", "c"), "pg_catalog.text", "multiclass", CHURN),
    "segments": ("label", ("0", "1"), "pg_catalog.int4", "clustering", CHURN),
    "kinds": (
        "label", ("1", "2", "3"), "pg_catalog.int4", "multiclass",
        features(
            ("flag", "boolean", "bool"), ("d", "time", "date"), ("ts", "time", "timestamptz"),
            ("span", "time", "interval"), ("pixels", "array", "float8[]"),
            ("cost", "number", "money"), ("c", "category", "text"),
        ),
    ),
}  # fmt: skip
COLUMNS = ("id", "contract", "charges", "tenure", "other")
STARS = {"*": COLUMNS, "c.*": COLUMNS, "t.*": ("tenure",)}


class Catalog:
    def resolve(self, name: str, version: str | None) -> ModelSignature:
        if name not in MODELS or version not in (None, "1.0", "2.0"):
            raise UnknownModelError(f'model "{name}" does not exist')
        kind, classes, target, task, columns = MODELS[name]
        return ModelSignature(name, version or "2.0", columns, kind, classes, target, task)  # type: ignore[arg-type]


def query(sql: str) -> PredictQuery:
    found = analyse(sql)
    assert isinstance(found, PredictQuery)
    return found


def splice(sql: str, **settings: bool) -> Splice:
    return plan(query(sql), Catalog(), STARS, **settings)


def fixtures() -> list[tuple[str, str, str]]:
    cases = []
    for case in re.split(r"^-- title: ", FIXTURE, flags=re.MULTILINE)[1:]:
        title, body = case.split("\n", 1)
        given, expected = split_statements(body, tokenize(body))
        cases.append(
            (title, body[given.start : given.end], body[expected.start : expected.end].lstrip("\n"))
        )
    return cases


@pytest.mark.parametrize(("sql", "expected"), [pytest.param(*case[1:], id=case[0])
                                               for case in fixtures()])  # fmt: skip
def test_what_the_upstream_is_asked(sql: str, expected: str) -> None:
    """Each fixture's statement becomes the text beside it, which PostgreSQL's grammar accepts."""
    found = splice(sql)
    assert found.sql == expected
    parse_sql_json(found.sql)


@pytest.mark.parametrize("sql", [case[1] for case in fixtures()])
def test_every_token_outside_the_edits_is_the_clients(sql: str) -> None:
    """Rewriting moves the tokens around its edits and changes none."""
    found = splice(sql)
    kept = [
        token
        for token in tokenize(sql)
        if not any(edit.start <= token.start < edit.end for edit in found.edits)
    ]
    rewritten = tokenize(found.sql)
    for token in kept:
        added = sum(
            len("".join(piece.text for piece in edit.pieces)) - (edit.end - edit.start)
            for edit in found.edits
            if edit.end <= token.start
        )
        assert token._replace(start=token.start + added, end=token.end + added) in rewritten


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
        ("SELECT a FROM t WHERE ^PREDICT(churn, a) > 0.5", "WHERE"),
        ("SELECT a FROM t GROUP BY a HAVING ^PREDICT(churn, *) > 0.5", "HAVING"),
        ("SELECT a FROM t ORDER BY ^PREDICT(churn, a)", "ORDER BY"),
        ("SELECT a FROM t GROUP BY ^PREDICT(churn, a)", "GROUP BY"),
        ("SELECT a FROM t LIMIT ^PREDICT(churn, a)", "LIMIT"),
        ("SELECT ^PREDICT(churn, a) + 1 FROM t", "an expression"),
        ("SELECT ^PREDICT(churn, a)::int FROM t", "an expression"),
        ("SELECT 1, CASE WHEN ^PREDICT(churn, *) > 1 THEN 2 END FROM t", "an expression"),
        ("SELECT avg(^PREDICT(churn, a)) FROM t", "an expression"),
        ("SELECT (SELECT ^PREDICT(churn, a)) FROM t", "a subquery"),
        ("SELECT p FROM (SELECT ^PREDICT(churn, *) AS p FROM t) WHERE p > 0.5", "a subquery"),
        ("SELECT a FROM t JOIN u ON ^PREDICT(churn, a) > 1", "a JOIN condition"),
        ("SELECT a FROM ^PREDICT(churn, a) AS x", "FROM"),
        ("WITH s AS (SELECT ^PREDICT(churn, *) AS p FROM t) SELECT p FROM s", "a WITH query"),
        ("SELECT ^PREDICT(churn, a) FROM t UNION SELECT 1", "UNION, INTERSECT or EXCEPT"),
        ("SELECT DISTINCT ^PREDICT(churn, a) FROM t", "SELECT DISTINCT"),
        ("SELECT DISTINCT ON (a) ^PREDICT(churn, a) FROM t", "SELECT DISTINCT"),
        ("SELECT ^PREDICT(churn, a) INTO x FROM t", "SELECT INTO"),
        ("VALUES (^PREDICT(churn, a))", "VALUES"),
        ("INSERT INTO p SELECT id, ^PREDICT(churn, *) FROM t", "INSERT"),
        ("UPDATE t SET p = ^PREDICT(churn, a)", "UPDATE"),
        ("DELETE FROM t WHERE ^PREDICT(churn, a) > 1", "DELETE"),
        ("CREATE TABLE x AS SELECT ^PREDICT(churn, *) FROM t", "CREATE TABLE AS"),
        ("CREATE VIEW x AS SELECT ^PREDICT(churn, *) FROM t", "CREATE VIEW"),
        ("EXPLAIN SELECT ^PREDICT(churn, *) FROM t", "EXPLAIN"),
        ("PREPARE x AS SELECT ^PREDICT(churn, *) FROM t", "PREPARE"),
        ("DECLARE c CURSOR FOR SELECT ^PREDICT(churn, *) FROM t", "DECLARE CURSOR"),
        ("COPY (SELECT ^PREDICT(churn, *) FROM t) TO STDOUT", "COPY"),
        ("CREATE INDEX ON t (^PREDICT(churn, a))", "CREATE INDEX"),
        ("CREATE TABLE x (a int CHECK (^PREDICT(churn, a) > 1))", "CREATE TABLE"),
        ("SELECT PREDICT(churn, ^PREDICT(price, *)) FROM t", "an argument of PREDICT"),
        ("SELECT ^PREDICT(churn, a) AS p FROM t ORDER BY p", "ORDER BY"),
        ("SELECT ^PREDICT(churn, a) FROM t ORDER BY a, predict DESC", "ORDER BY"),
        ("SELECT a, ^PREDICT(churn, a) AS p FROM t GROUP BY a, p", "GROUP BY"),
        ("SELECT a, ^PREDICT(churn, a) FROM t ORDER BY 2", "ORDER BY"),
        ("SELECT a, ^PREDICT(churn, a) FROM t GROUP BY ROLLUP (1, 2)", "GROUP BY"),
        ("SELECT *, ^PREDICT(churn, *) FROM t ORDER BY 3", "over a star"),
        ("SELECT 'é', a FROM t WHERE ^PREDICT(churn:2.0, a) > 0.5", "WHERE"),
        ("SELECT 1; SELECT ^PREDICT(churn, *) FROM t", "several statements"),
        ("SELECT ^PREDICT(churn, a) OVER () FROM t", "no OVER"),
        ("SELECT ^PREDICT(churn, a ORDER BY b) FROM t", "no OVER"),
        ("SELECT ^PREDICT_EXPLAIN(churn, *) FROM t", "PREDICT_EXPLAIN"),
    ],
)
def test_other_places_are_refused(sql: str, where: str) -> None:
    """Wherever else a call stands, the error is 0A000, names the place and points at the call."""
    position = sql.index("^") + 1
    with pytest.raises(UnsupportedError) as caught:
        analyse(sql.replace("^", ""))
    assert where in caught.value.message
    assert caught.value.position == position


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT a, *, PREDICT(churn, *) AS p FROM t ORDER BY 1",
        "SELECT a, b, PREDICT(churn, a) AS p FROM t ORDER BY 2, a DESC NULLS LAST",
        "SELECT a AS predict, PREDICT(churn, a) AS p FROM t ORDER BY predict",
        "SELECT PREDICT(churn, a) AS p FROM t ORDER BY t.p",
    ],
)
def test_order_by_other_columns_is_served(sql: str) -> None:
    """ORDER BY is refused only where it means the score or cannot be told."""
    assert isinstance(analyse(sql), PredictQuery)


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
        plan(query("SELECT PREDICT(churn, *) FROM t, u"), Catalog(), {"*": columns})
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


def test_probes_tell_what_stars_stand_for() -> None:
    """A probe is the statement with NULL for each call and the star after the mark."""
    sql = (
        "SELECT upper(a) AS a, PREDICT(churn, *, $1 + 1) AS p, PREDICT(price, c . *) FROM t c"
        " WHERE x = $2 ORDER BY a, b LIMIT 3"
    )
    first, second = query(sql).probes
    body = 'SELECT upper(a) AS a, NULL, NULL, ($1 + 1\n), NULL AS "pgseer.mark", '
    assert (first.star, first.sql) == ("*", body + "* FROM t c WHERE x = $2  LIMIT 3")
    assert (second.star, second.sql) == ("c.*", body + "c . * FROM t c WHERE x = $2  LIMIT 3")
    parse_sql_json(first.sql)
    assert query("SELECT PREDICT(churn, tenure) FROM t ORDER BY 'x'").probes == ()


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("(SELECT PREDICT(churn, *) FROM t) ORDER BY id;", " FROM t) ;"),
        ("SELECT PREDICT(churn, *) FROM t ORDER BY f(a, b) FOR UPDATE", " FROM t  FOR UPDATE"),
        ("SELECT PREDICT(churn, *) FROM (TABLE t ORDER BY 1)", " FROM (TABLE t ORDER BY 1)"),
        ("SELECT PREDICT(churn, *) FROM t", " FROM t"),
    ],
)
def test_probes_are_not_sorted(sql: str, expected: str) -> None:
    """The outer ORDER BY, whose names the star could make ambiguous, is left out of a probe."""
    (probe,) = query(sql).probes
    assert probe.sql == 'SELECT NULL, NULL AS "pgseer.mark", *'.join(
        ["(" if sql.startswith("(") else "", expected]
    )


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
    for sql in (f"SELECT PREDICT(churn, {a}) {b}", f"SELECT PREDICT({a}, *), {b} FROM t"):
        try:
            found = analyse(sql)
            if isinstance(found, PredictQuery):
                plan(found, Catalog(), {probe.star: COLUMNS for probe in found.probes})
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


def test_deep_json_decodes_as_shallow_json_does() -> None:
    """The decoder for trees too deep for the json module agrees with it on any tree."""
    for title, sql, _ in fixtures():
        text = parse_sql_json(splice(sql).sql)
        assert decode_deep(text) == json.loads(text), title
