"""The ML statements: what parses, to what, and where what does not goes wrong."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.errors import ModelSyntaxError, ProxyError, UnsupportedError
from proxy.rewrite.lexer import split_statements, tokenize
from proxy.rewrite.parser import parse_statement
from proxy.rewrite.prefilter import may_concern_us
from proxy.rewrite.statements import (
    CreateModel,
    DescribeModel,
    DropModel,
    EvaluateModel,
    MLStatement,
    ModelReference,
    Parameter,
    ShowModel,
    ShowModels,
)

SEED = (Path(__file__).parent / "fixtures" / "seed.sql").read_text()


def parse(sql: str) -> MLStatement | None:
    return parse_statement(sql, tokenize(sql))


def create(using: str, query: str = "SELECT 1") -> CreateModel:
    statement = parse(f"CREATE MODEL m USING {using} AS {query}")
    assert isinstance(statement, CreateModel)
    return statement


def values(using: str) -> dict[str, object]:
    return {parameter.name: parameter.value for parameter in create(using).parameters}


def seed_models() -> list[CreateModel]:
    models = []
    for part in split_statements(SEED, tokenize(SEED)):
        statement = parse_statement(SEED, part.tokens)
        assert isinstance(statement, CreateModel)
        models.append(statement)
    return models


def test_every_model_of_the_seed_parses() -> None:
    """The fifteen CREATE MODEL statements of the seed document parse as written."""
    models = {(model.name, model.algorithm): model for model in seed_models()}
    assert len(seed_models()) == 15
    network = models["image_classifier", "neural_network"]
    assert [(parameter.name, parameter.value) for parameter in network.parameters] == [
        ("layers", (784, 128, 64, 10)),
        ("activation", "relu"),
        ("optimizer", "adam"),
        ("learning_rate", 0.001),
        ("epochs", 50),
        ("batch_size", 32),
    ]
    automl = models["best_churn_model", "automl"]
    assert automl.parameters[2].value == (
        "logistic_regression",
        "decision_tree",
        "random_forest",
        "neural_network",
    )
    for model in models.values():
        assert SEED[model.query_start :].startswith(model.query)
        assert model.query.startswith("SELECT")


def test_default_is_quoted_where_it_is_a_column() -> None:
    """The seed's `default AS target` becomes a column's name, and nothing else changes."""
    (model,) = (model for model in seed_models() if model.name == "credit_risk")
    assert model.query_rewritten.text == model.query.replace("default", '"default"')
    others = [model for model in seed_models() if model.name != "credit_risk"]
    assert all(model.query_rewritten.text == model.query for model in others)


@pytest.mark.parametrize(
    ("query", "rewritten"),
    [
        ("SELECT default, a FROM t", 'SELECT "default", a FROM t'),
        ("SELECT a, DEFAULT target FROM t", 'SELECT a, "default" target FROM t'),
        ("SELECT a AS default FROM t", "SELECT a AS default FROM t"),
        ("SELECT t.default FROM t", "SELECT t.default FROM t"),
        ("SELECT 'default', \"default\" FROM t", "SELECT 'default', \"default\" FROM t"),
        ("SELECT a FROM t WHERE default = 1", 'SELECT a FROM t WHERE "default" = 1'),
        ("SELECT 1 + default FROM t", 'SELECT 1 + "default" FROM t'),
    ],
)
def test_default_in_other_places(query: str, rewritten: str) -> None:
    """DEFAULT is quoted where an expression begins, and only there."""
    assert create("kmeans", query).query_rewritten.text == rewritten


def test_a_position_in_the_rewritten_query_finds_the_clients_text() -> None:
    """An error's position after a quoted `default` points into what the client wrote."""
    model = create("kmeans", "SELECT default AS target, nonesuch FROM t")
    position = model.query_rewritten.text.index("nonesuch") + 1
    assert model.query_rewritten.original_position(position) == model.query.index("nonesuch") + 1


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("(a: 1, b = -2, c => +.5, d := 1e3)", {"a": 1, "b": -2, "c": 0.5, "d": 1000.0}),
        ("(a:-1,b=-1,c=>-1)", {"a": -1, "b": -1, "c": -1}),
        ("(a: 0x1F, b: 1_000)", {"a": 31, "b": 1000}),
        ("(a: 'it''s', b: E'x\\ty\\u00e9', c: $$z$$, d: $q$'$q$)",
         {"a": "it's", "b": "x\tyé", "c": "z", "d": "'"}),
        ("(a: 'x'\n 'y', b: U&'\\0041')", {"a": "xy", "b": "A"}),
        ("(a: true, b: FALSE, c: null, d: Relu)", {"a": True, "b": False, "c": None, "d": "relu"}),
        ("(a: [], b: [1, [2.5, 'x']], c: [true])", {"a": (), "b": (1, (2.5, "x")), "c": (True,)}),
        ('(Max_Depth: 1, "Max_Depth": 2)', {"max_depth": 1, "Max_Depth": 2}),
        ("()", {}),
        ("", {}),
    ],
)  # fmt: skip
def test_parameter_values(text: str, expected: dict[str, object]) -> None:
    """Every form of a value has the value that PostgreSQL or JSON would give it."""
    found = values("kmeans" + text)
    assert found == expected
    assert [type(value) for value in found.values()] == [type(v) for v in expected.values()]


@given(st.text(st.characters(exclude_characters="\0", codec="utf-8")))
def test_any_string_survives_its_quotes(value: str) -> None:
    """A string parameter has the value that was quoted, in all three spellings."""
    plain = "'" + value.replace("'", "''") + "'"
    escape = "E'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"
    dollar = f"$_x_${value}$_x_$" if "$_x_$" not in value + "$_x_" else plain
    assert values(f"a(p: {plain}, q: {escape}, r: {dollar})") == dict.fromkeys("pqr", value)


def test_names_and_options() -> None:
    """Names fold unless quoted, and the options are read."""
    model = parse('create or replace model "Big One" using Random_Forest as table t;')
    assert isinstance(model, CreateModel)
    assert (model.name, model.algorithm, model.or_replace) == ("Big One", "random_forest", True)
    assert model.query == "table t"
    model = parse("CREATE MODEL IF NOT EXISTS Ä1 USING kmeans AS (SELECT 1)")
    assert isinstance(model, CreateModel)
    assert (model.name, model.if_not_exists, model.or_replace) == ("Ä1", True, False)


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("SHOW MODELS", ShowModels()),
        ("show models;", ShowModels()),
        ("SHOW MODEL churn", ShowModel(ModelReference("churn", None, 12))),
        ("DESCRIBE MODEL Churn:2.0", DescribeModel(ModelReference("churn", "2.0", 16))),
        ("DESCRIBE MODEL 'churn:2'", DescribeModel(ModelReference("churn", "2.0", 16))),
        ("DROP MODEL churn", DropModel((ModelReference("churn", None, 12),), False, False)),
        (
            'DROP MODEL IF EXISTS "A b" : 3, \'"C""d"\' CASCADE',
            DropModel(
                (ModelReference("A b", "3.0", 22), ModelReference('C"d', None, 33)), True, True
            ),
        ),
        ("DROP MODEL m RESTRICT", DropModel((ModelReference("m", None, 12),), False, False)),
    ],
)
def test_short_statements(sql: str, expected: MLStatement) -> None:
    """DROP, SHOW and DESCRIBE say which model and version."""
    assert parse(sql) == expected


@pytest.mark.parametrize(
    "sql",
    [
        "",
        "SELECT 1",
        "CREATE TABLE model (a int)",
        "CREATE INDEX ON model (a)",
        "CREATE OR REPLACE VIEW model AS SELECT 1",
        'CREATE "model" x',
        "DROP TABLE model",
        "SHOW model.threshold",
        "SHOW server_version",
        "GRANT SELECT ON model TO bob",
        "GRANT SELECT ON model, t FROM bob",
        "REVOKE ALL ON model FROM bob",
        "COMMENT ON TABLE model IS 'x'",
        "ALTER TABLE model ADD a int",
        "CREATE MODEL_x y",
        "DESCRIBE model_x",
        "EVALUATE model_x",
        "TABLE model",
        "-- CREATE MODEL x\nSELECT 1",
    ],
)
def test_ordinary_sql_is_not_ours(sql: str) -> None:
    """What merely looks alike is left to PostgreSQL."""
    assert parse(sql) is None


@pytest.mark.parametrize(
    ("sql", "at"),
    [
        ("CREATE MODEL", ""),
        ("CREATE MODEL USING kmeans AS SELECT 1", "kmeans"),
        ("CREATE MODEL 1m USING kmeans AS SELECT 1", "1m"),
        ("CREATE MODEL public.m USING kmeans AS SELECT 1", ".m"),
        ("CREATE MODEL m:2.0 USING kmeans AS SELECT 1", ":2.0"),
        ("CREATE MODEL m AS SELECT 1", "AS"),
        ("CREATE MODEL m USING kmeans SELECT 1", "SELECT"),
        ("CREATE MODEL m USING kmeans AS", ""),
        ("CREATE MODEL m USING kmeans AS ;", " ;"),
        ("CREATE MODEL m USING kmeans() AS DELETE FROM t", "DELETE"),
        ("CREATE MODEL m USING kmeans() AS SELECT 1 INTO x", "SELECT"),
        ("CREATE MODEL m USING kmeans(k 5) AS SELECT 1", "5)"),
        ("CREATE MODEL m USING kmeans(k: ) AS SELECT 1", ") AS"),
        ("CREATE MODEL m USING kmeans(k: 5, ) AS SELECT 1", ") AS"),
        ("CREATE MODEL m USING kmeans(k: 5 l: 6) AS SELECT 1", "l: 6"),
        ("CREATE MODEL m USING kmeans(k: 5, K: 6) AS SELECT 1", "K: 6"),
        ("CREATE MODEL m USING kmeans(k: 10px) AS SELECT 1", "px"),
        ("CREATE MODEL m USING kmeans(k: - x) AS SELECT 1", "x)"),
        ("CREATE MODEL m USING kmeans(k: [1, 2) AS SELECT 1", ") AS"),
        ("CREATE MODEL m USING kmeans(k: 'x) AS SELECT 1", "'x)"),
        ("CREATE MODEL m USING kmeans(k: {) AS SELECT 1", "{"),
        ('CREATE MODEL "" USING kmeans AS SELECT 1', '""'),
        ("CREATE OR REPLACE MODEL IF NOT EXISTS m USING kmeans AS SELECT 1", "IF"),
        ("DROP MODEL", ""),
        ("DROP MODEL m, ", ""),
        ("DROP MODEL m m2", "m2"),
        ("DROP MODEL 'a b'", "'a b'"),
        ("SHOW MODELS please", "please"),
        ("SHOW MODEL", ""),
        ("DESCRIBE MODEL m:x", ":x"),
        ("EVALUATE MODEL", ""),
        ("EVALUATE MODEL m", ""),
        ("EVALUATE MODEL m SELECT 1", "SELECT"),
        ("EVALUATE MODEL m:2.0 AS", ""),
        ("EVALUATE MODEL m AS DELETE FROM t", "DELETE"),
        ("EVALUATE MODEL m(k: 1) AS SELECT 1", "(k"),
    ],
)
def test_wrong_statements_say_where(sql: str, at: str) -> None:
    """A statement that begins as ours and goes wrong is an error that points at the fault."""
    with pytest.raises(ModelSyntaxError) as caught:
        parse(sql)
    position = caught.value.position
    assert position is not None
    expected = sql.index(at) + 1 if at else len(sql.rstrip()) + 1
    assert position == expected


def test_names_are_as_long_as_postgresqls() -> None:
    """63 bytes are a name; one more is 42622, counted in bytes."""
    model = parse(f"CREATE MODEL {'é' * 31}a USING kmeans AS SELECT 1")
    assert isinstance(model, CreateModel)
    with pytest.raises(ProxyError) as caught:
        parse(f"CREATE MODEL {'é' * 32} USING kmeans AS SELECT 1")
    assert (caught.value.sqlstate, caught.value.position) == ("42622", 14)


@pytest.mark.parametrize("value", ["1e999", "9" * 5000, "0x" + "f" * 5000])
def test_numbers_beyond_float8_are_refused(value: str) -> None:
    """A number that no float8 holds is 22023, not a crash and not infinity."""
    with pytest.raises(ProxyError) as caught:
        create(f"kmeans(k: {value})")
    assert (caught.value.sqlstate, caught.value.position) == ("22023", 32)


def test_nesting_has_a_limit() -> None:
    """Lists a hundred deep parse, a million deep are a clean error."""
    assert values(f"a(k: {'[' * 100}{']' * 100})")["k"] is not None
    with pytest.raises(ModelSyntaxError):
        create(f"a(k: {'[' * 1_000_000}")


@pytest.mark.parametrize(
    "sql",
    [
        "ALTER MODEL m RENAME TO n",
        "COMMENT ON MODEL m IS 'x'",
        "GRANT USAGE ON MODEL m TO bob",
        "revoke usage on model 'm' from bob",
        "CREATE MODEL_DEPLOYMENT d WITH (a: 'm:1.0')",
        "DROP MODEL_DEPLOYMENT IF EXISTS d",
        "SHOW MODEL_DEPLOYMENTS",
    ],
)
def test_verbs_to_come_are_refused(sql: str) -> None:
    """A statement of the dialect that is not served yet is 0A000, never passed on."""
    with pytest.raises(UnsupportedError) as caught:
        parse(sql)
    assert caught.value.position == 1


@pytest.mark.parametrize("verb", ["CREATE MODEL m USING kmeans", "EVALUATE MODEL m"])
def test_predict_in_a_query_that_is_read_is_refused(verb: str) -> None:
    """The error points at the call."""
    sql = f"{verb} AS SELECT PREDICT(other, *) FROM t"
    with pytest.raises(UnsupportedError) as caught:
        parse(sql)
    assert caught.value.position == sql.index("PREDICT") + 1


def test_a_query_that_postgresql_refuses_is_left_to_it() -> None:
    """A syntax error within the query is the upstream's to report."""
    assert create("kmeans", "SELECT FROM WHERE").query == "SELECT FROM WHERE"


def test_deep_queries_do_not_crash() -> None:
    """A query twenty thousand operators deep is an answer or an error, not a dead process."""
    assert create("kmeans", "SELECT " + "1+" * 20_000 + "1").query.endswith("+1")


def test_parameters_know_their_place() -> None:
    """A parameter has the positions of its key and of its value."""
    sql = "CREATE MODEL m USING kmeans(k: 5, seed: 1) AS SELECT 1"
    statement = parse(sql)
    assert isinstance(statement, CreateModel)
    place = sql.index("seed") + 1
    assert statement.parameters[1] == Parameter("seed", 1, place, place + 6)


@pytest.mark.parametrize(
    ("model", "reference"),
    [
        ("Churn", ModelReference("churn", None, 16)),
        ("churn:2", ModelReference("churn", "2.0", 16)),
        ("'churn:2.0'", ModelReference("churn", "2.0", 16)),
        ('"A b" : 3', ModelReference("A b", "3.0", 16)),
    ],
)
def test_evaluate_names_a_model_and_a_query(model: str, reference: ModelReference) -> None:
    """EVALUATE says which version, and where its query is, `default` quoted."""
    sql = f"EVALUATE MODEL {model} AS SELECT a, default AS target FROM t;"
    statement = parse(sql)
    assert isinstance(statement, EvaluateModel)
    assert statement.model == reference
    assert statement.query_start == sql.index("SELECT")
    assert statement.query_rewritten.text == 'SELECT a, "default" AS target FROM t'


@given(st.text(max_size=40))
def test_any_text_is_a_statement_an_error_or_not_ours(text: str) -> None:
    """Whatever follows CREATE MODEL, the outcome is a value or one of our errors."""
    for beginning in ("", "CREATE MODEL m USING kmeans(", "CREATE MODEL m USING k AS "):
        with suppress(ProxyError):
            parse(beginning + text)


@given(st.sampled_from(["predict", "PREDICT", "Model", "ML_models", "prediction_log"]), st.binary())
def test_the_prefilter_never_misses(word: str, noise: bytes) -> None:
    """A text with one of our words in it, in any case, is looked at."""
    assert may_concern_us(noise + word.encode() + noise)
    assert may_concern_us(memoryview(noise + word.encode()))


def test_the_prefilter_passes_ordinary_sql() -> None:
    """Ordinary statements are not."""
    assert not may_concern_us(b"SELECT id, name FROM customers WHERE tenure_months < 12")
