"""Every kind of model, every output: PostgreSQL's scores are the engine's."""

from __future__ import annotations

import numpy as np
import psycopg
import pytest

from proxy.engine.artifact import dump, load
from proxy.engine.model import Model, PredictKind
from proxy.engine.trees.tree_predictor import TreePredictor, quantized
from proxy.pushdown.expressions import score_template, threshold_template
from tests.pushdown import awkward
from tests.pushdown.awkward import GIVEN, Rows

TEXT = "pg_catalog.text"
TWO = ("no", "it's \\ é")
THREE = ("a", "b'", "ü")
FIVE = ("a", "b", "c", "d", "e")
FEW = (True, False, True, False, True, False, True, False)
NONE = (False,) * 8

MODELS: dict[str, tuple[str, tuple[str, ...], dict[str, object]]] = {
    "linear": ("linear_regression", (), {}),
    "lasso": ("linear_regression", (), {"l1": 0.2}),
    "linear through the origin": ("linear_regression", (), {"fit_intercept": False}),
    "linear, few categories": ("linear_regression", (), {"max_categories": 4}),
    "logistic of two": ("logistic_regression", TWO, {}),
    "logistic of three": ("logistic_regression", THREE, {}),
    "logistic of five, sparse": ("logistic_regression", FIVE, {"l1": 1.0}),
    "line": ("polynomial_regression", (), {"degree": 1, "max_categories": 5}),
    "parabola": ("polynomial_regression", (), {"degree": 2, "max_categories": 5, "l2": 1.0}),
    "k-means": ("kmeans", (), {"k": 5, "max_categories": 3}),
    "k-means, standardised": ("kmeans", (), {"k": 4, "standardize": True, "max_categories": 5}),
    "one cluster": ("kmeans", (), {"k": 1}),
    "tree of values": ("decision_tree", (), {"min_samples_leaf": 3}),
    "tree of two": ("decision_tree", TWO, {"max_depth": 7}),
    "tree of three": ("decision_tree", THREE, {}),
    "tree, few categories": ("decision_tree", THREE, {"max_categories": 6}),
    "boosting of values": ("gradient_boosting", (), {"n_trees": 6, "max_depth": 4}),
    "boosting of two": ("gradient_boosting", TWO, {"n_trees": 5, "max_depth": 4}),
    "boosting of two, one tree": ("gradient_boosting", TWO, {"n_trees": 1}),
    "boosting of three": ("gradient_boosting", THREE, {"n_trees": 3, "max_depth": 4}),
    "forest of values": ("random_forest", (), {"n_trees": 5, "max_depth": 5}),
    "forest of two": ("random_forest", TWO, {"n_trees": 4, "max_depth": 4}),
    "forest of three": ("random_forest", THREE, {"n_trees": 3, "max_depth": 5}),
    "one tree of a forest": ("random_forest", THREE, {"n_trees": 1, "max_depth": 5}),
}


@pytest.fixture(scope="module", params=MODELS, ids=lambda name: name.replace(" ", "-"))
def model(request: pytest.FixtureRequest) -> Model:
    algorithm, labels, parameters = MODELS[request.param]
    return awkward.learn(algorithm, labels, **parameters)


def outputs_of(model: Model) -> list[tuple[PredictKind, int | None]]:
    """Return every output that a model has."""
    if model.task == "regression":
        return [("value", None)]
    outputs: list[tuple[PredictKind, int | None]] = [("label", None)]
    if model.task != "clustering":
        outputs += [("probability", k) for k in (None, *range(len(model.classes)))]
    return outputs


def check(
    session: psycopg.Connection, model: Model, rows: Rows, given: tuple[bool, ...] = GIVEN
) -> None:
    """Compare all scores."""
    for output, class_index in outputs_of(model):
        template = score_template(model, given, output, class_index, TEXT)
        assert template is not None
        found = awkward.sql_scores(session, template, given)
        expected = awkward.engine_scores(model, rows, output, class_index, given)
        if output == "label":
            assert found == [model.classes[int(code)] for code in expected]
        else:
            # Of a probability near 1 the difference from 1 has fewer digits, in the engine too.
            atol = 1e-14 * np.abs(expected).max(initial=0.0)
            np.testing.assert_allclose(np.array(found, np.float64), expected, rtol=1e-9, atol=atol)


def test_scores_are_the_engines(session: psycopg.Connection, model: Model, rows: Rows) -> None:
    """To 1e-9, labels exactly: of numbers, NULL, NaN, infinities, known and other categories."""
    check(session, model, rows)


@pytest.mark.parametrize("given", [FEW, NONE], ids=["few", "none"])
def test_a_feature_not_given_is_missing(
    session: psycopg.Connection, model: Model, rows: Rows, given: tuple[bool, ...]
) -> None:
    """A template without some inputs, or any, scores as the engine without them."""
    check(session, model, rows, given)


def test_uses_count_the_inputs(model: Model) -> None:
    """`uses` says how often an input stands in the SQL, and none that is not given does."""
    output, class_index = outputs_of(model)[-1]
    template = score_template(model, FEW, output, class_index, TEXT)
    assert template is not None
    spelled = template.sql([f"«{i}»" if own else None for i, own in enumerate(FEW)])
    assert template.uses == tuple(spelled.count(f"«{i}»") for i in range(len(FEW)))
    assert template.has_subquery == ("SELECT" in spelled)


def test_a_stored_model_has_the_same_sql(model: Model) -> None:
    """What is stored is all that the SQL is made of."""
    again = load(dump(model))
    for output, class_index in outputs_of(model):
        template = score_template(model, GIVEN, output, class_index, TEXT)
        assert template == score_template(again, GIVEN, output, class_index, TEXT)


def test_the_session_has_no_say(session: psycopg.Connection, model: Model, rows: Rows) -> None:
    """Neither standard_conforming_strings, client_encoding nor a search_path changes a score."""
    with session.transaction(force_rollback=True):
        session.execute("SET LOCAL standard_conforming_strings = off")
        session.execute("SET LOCAL escape_string_warning = on")
        session.execute("CREATE SCHEMA hostile")
        for name in ("exp", "abs"):
            session.execute(
                f"CREATE FUNCTION hostile.{name}(float8) RETURNS float8 IMMUTABLE"
                " RETURN 0.5::float8"
            )
        session.execute("CREATE DOMAIN hostile.float8 AS text; CREATE DOMAIN hostile.text AS int")
        session.execute("SET LOCAL search_path = hostile, pg_catalog, pg_temp")
        check(session, model, rows)


def test_names_mean_what_they_mean_outside(session: psycopg.Connection, model: Model) -> None:
    """A table called as the expression's own subqueries are, with columns called so, is no harm."""
    rows = awkward.make_rows(40, 3, wild=True)
    template = score_template(model, GIVEN, *outputs_of(model)[0], TEXT)
    assert template is not None
    with session.transaction(force_rollback=True):
        awkward.load(session, rows, "z")
        plain = awkward.sql_scores(session, template, table="z")
        renamed = [f"c{k}" for k in range(8)]
        casts = ["", "", "::int4::float8", "", "", "", "", ""]
        for alias in ("x", "y", "z"):
            inputs = [f"({alias}.c{k}){cast}" for k, cast in enumerate(casts)]
            query = (
                f"SELECT {template.sql(inputs)} FROM z AS {alias}(place, {', '.join(renamed)})"
                " ORDER BY place"
            )
            assert [score for (score,) in session.execute(query.encode())] == plain


def test_it_stands_in_every_clause(session: psycopg.Connection, model: Model) -> None:
    """WHERE, GROUP BY beside the same expression in the list, ORDER BY, SET, an aggregate."""
    output, class_index = outputs_of(model)[0]
    template = score_template(model, GIVEN, output, class_index, TEXT)
    assert template is not None
    score = template.sql(awkward.inputs)
    kind = "text" if output == "label" else "float8"
    with session.transaction(force_rollback=True):
        session.execute(f"ALTER TABLE {awkward.TABLE} ADD score {kind}")
        session.execute(f"UPDATE {awkward.TABLE} SET score = {score}".encode())
        grouped = (
            f"SELECT {score} AS s, count(*) AS n FROM {awkward.TABLE}"
            f" GROUP BY {score} ORDER BY {score}"
        )
        for query in (
            f"SELECT count(*) FROM {awkward.TABLE} WHERE score = {score}",
            f"SELECT sum(n) FROM ({grouped}) AS g",
            f"SELECT sum(n) FROM (SELECT max({score}), count(*) AS n FROM {awkward.TABLE}) AS g",
        ):
            (count,) = session.execute(query.encode()).fetchone() or (None,)
            assert count == awkward.SCORED


@pytest.mark.parametrize("precision", ["float16", "int8"])
def test_leaves_may_be_rounded(session: psycopg.Connection, rows: Rows, precision: str) -> None:
    """A quantised forest scores as the engine's does."""
    for labels in ((), THREE):
        model = awkward.learn("random_forest", labels, n_trees=3, max_depth=5)
        assert isinstance(model.predictor, TreePredictor)
        rounded = Model(
            algorithm=model.algorithm,
            parameters=model.parameters,
            preprocessor=model.preprocessor,
            predictor=quantized(model.predictor, precision),  # type: ignore[arg-type]
            target=model.target,
        )
        check(session, rounded, rows)


@pytest.mark.parametrize(
    ("algorithm", "labels", "parameters"),
    [
        ("random_forest", TWO, {"n_trees": 40}),
        ("gradient_boosting", (), {"n_trees": 60}),
        ("decision_tree", (), {}),
        ("neural_network", TWO, {"epochs": 1, "hidden_layers": [3]}),
        ("dbscan", (), {"eps": 3.0, "standardize": True}),
        ("polynomial_regression", (), {"degree": 3, "max_categories": 20, "l2": 1.0}),
        ("kmeans", (), {"k": 200, "max_categories": 20}),
    ],
)
def test_what_is_large_or_slow_is_left_to_the_engine(
    algorithm: str,
    labels: tuple[str, ...],
    parameters: dict[str, object],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A big forest, a network, a clustering that compares with all rows: no template."""
    monkeypatch.setattr("proxy.pushdown.trees.MOST_NODES", 600)
    model = awkward.learn(algorithm, labels, **parameters)
    for output, class_index in outputs_of(model):
        assert score_template(model, GIVEN, output, class_index, TEXT) is None


def test_a_deep_tree_is_left_to_the_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    """So are one whose longest way is long, and one with many constants."""
    model = awkward.learn("decision_tree", TWO, max_depth=6)
    for name, limit in (("MOST_COMPARISONS", 5), ("MOST_CATEGORIES", 3)):
        with monkeypatch.context() as patch:
            patch.setattr(f"proxy.pushdown.trees.{name}", limit)
            assert score_template(model, GIVEN, "label", None, TEXT) is None
    assert score_template(model, GIVEN, "label", None, TEXT) is not None


@pytest.mark.parametrize(
    ("algorithm", "labels", "output"),
    [
        ("linear_regression", (), "label"),
        ("linear_regression", (), "probability"),
        ("logistic_regression", TWO, "value"),
        ("decision_tree", (), "label"),
        ("kmeans", (), "value"),
        ("kmeans", (), "probability"),
    ],
)
def test_an_output_that_a_model_has_not(
    algorithm: str, labels: tuple[str, ...], output: PredictKind
) -> None:
    """There is no template for it."""
    model = awkward.learn(algorithm, labels)
    assert score_template(model, GIVEN, output, None, TEXT) is None


@pytest.mark.parametrize(
    ("labels", "type_sql", "found"),
    [
        (("1", "2"), "pg_catalog.int4", {1, 2}),
        (("f", "t"), "pg_catalog.bool", {True, False}),
        (("-1.5", "2"), "pg_catalog.float8", {-1.5, 2.0}),
    ],
)
@pytest.mark.parametrize("algorithm", ["logistic_regression", "decision_tree"])
def test_labels_have_their_type(
    session: psycopg.Connection,
    algorithm: str,
    labels: tuple[str, ...],
    type_sql: str,
    found: set[object],
) -> None:
    """A label is a constant of the type that was asked for."""
    template = score_template(awkward.learn(algorithm, labels), GIVEN, "label", None, type_sql)
    assert template is not None
    assert set(awkward.sql_scores(session, template)) == found


@pytest.mark.parametrize("class_index", [None, 0, 1])
@pytest.mark.parametrize("operator", ["<", "<=", ">", ">="])
@pytest.mark.parametrize("bound", [1e-6, 0.3, 0.5, 0.97])
def test_a_threshold_is_a_comparison_of_the_probability(
    session: psycopg.Connection, rows: Rows, bound: float, operator: str, class_index: int | None
) -> None:
    """For both classes and every operator, NULL in no row."""
    model = awkward.learn("logistic_regression", TWO)
    for given in (GIVEN, FEW):
        template = threshold_template(model, given, class_index, operator, bound)  # type: ignore[arg-type]
        assert template is not None
        assert not template.has_subquery
        found = np.array(awkward.sql_scores(session, template, given))
        index = 1 if class_index is None else class_index
        scores = awkward.engine_scores(model, rows, "probability", index, given)
        compare = {
            "<": np.less,
            "<=": np.less_equal,
            ">": np.greater,
            ">=": np.greater_equal,
        }[operator]
        is_clear = np.abs(scores - bound) > 1e-12
        assert is_clear.sum() > 600
        assert found.dtype == np.bool_
        assert (found == compare(scores, bound))[is_clear].all()


def test_no_threshold_of_other_models() -> None:
    """Only two classes' log-odds are one sum, and only bounds within (0, 1) have a logit."""
    logistic = awkward.learn("logistic_regression", TWO)
    for bound in (0.0, 1.0, -1.0, 2.0, float("nan"), float("inf")):
        assert threshold_template(logistic, GIVEN, 1, ">", bound) is None
    for algorithm, labels in (
        ("logistic_regression", THREE),
        ("linear_regression", ()),
        ("decision_tree", TWO),
        ("gradient_boosting", TWO),
    ):
        model = awkward.learn(algorithm, labels)
        assert threshold_template(model, GIVEN, 1, ">", 0.5) is None
