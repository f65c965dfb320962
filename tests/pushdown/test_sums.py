"""Linear sums of arbitrary weights, and of what is missing."""

from __future__ import annotations

import numpy as np
import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from proxy.engine.columns import FeatureKind, InputFeature
from proxy.engine.linear.coefficients import Coefficients
from proxy.engine.predictors import LOG_ODDS, VALUE
from proxy.engine.preparation.encoders import CategoryEncoder, NumberEncoder, TargetEncoder
from proxy.pushdown.expressions import MOST_INPUTS, score_template
from tests.pushdown.made import CATEGORIES, assert_alike, model_of

weights = st.sampled_from([0.0, 0.0, 1.0, -2.0, 0.3, -1e5, 1e-9])
flags = st.booleans()
few = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@few
@given(st.data())
def test_any_sum_is_the_engines(session: psycopg.Connection, data: st.DataObject) -> None:
    """Slopes of 0 with an indicator that weighs, tables of 0, features that are not given."""
    number = NumberEncoder(0.5, -2.0, 4.0, data.draw(flags))
    category = CategoryEncoder(CATEGORIES, data.draw(flags), data.draw(flags))
    table = np.array(data.draw(st.lists(weights, min_size=5, max_size=5)))[:, None]
    encoders = [number, data.draw(st.sampled_from([category, TargetEncoder(CATEGORIES, table)]))]
    n_design = sum(encoder.n_columns for encoder in encoders)
    coef = data.draw(st.lists(weights, min_size=n_design, max_size=n_design))
    predictor = Coefficients(np.array([coef]), np.array([data.draw(weights)]), VALUE)
    is_given = [data.draw(flags) for _ in encoders]
    assert_alike(session, model_of(encoders, predictor), is_given)


@few
@given(st.integers(2, 6), st.data())
def test_equal_sums_give_the_first_class(
    session: psycopg.Connection, n_classes: int, data: st.DataObject
) -> None:
    """In the comparison of pairs and in the subquery; weights are such that sums are exact."""
    n_outputs = n_classes if n_classes > 2 else 1
    small = st.integers(-1, 1).map(float)
    coef = data.draw(
        st.lists(st.lists(small, min_size=2, max_size=2), min_size=n_outputs, max_size=n_outputs)
    )
    intercept = data.draw(st.lists(small, min_size=n_outputs, max_size=n_outputs))
    encoders = [NumberEncoder(0.5, -2.0, 4.0, has_indicator=False)] * 2
    classes = tuple("abcdef"[:n_classes])
    model = model_of(encoders, Coefficients(np.array(coef), np.array(intercept), LOG_ODDS), classes)
    assert_alike(session, model, [True, True], output="label")


def test_far_log_odds_do_not_raise(session: psycopg.Connection) -> None:
    """Probabilities of sums of ±30,000 are 0 and 1, of two classes and of three."""
    encoders = [NumberEncoder(0.5, -2.0, 4.0, has_indicator=False)]
    for coef, classes in (([[1000.0]], ("a", "b")), ([[1000.0], [-1.0], [0.0]], ("a", "b", "c"))):
        predictor = Coefficients(np.array(coef), np.zeros(len(coef)), LOG_ODDS)
        model = model_of(encoders, predictor, classes)
        for class_index in (None, *range(len(classes))):
            assert_alike(
                session, model, [True], output="probability", class_index=class_index, atol=1e-300
            )


def test_an_input_occurs_three_times() -> None:
    """Once in the sum that rows usually take, twice in the careful one; a table's once or twice."""
    encoders = [
        NumberEncoder(0.5, -2.0, 4.0, has_indicator=False),
        CategoryEncoder(CATEGORIES, has_infrequent=False, has_indicator=False),
        CategoryEncoder(CATEGORIES, has_infrequent=False, has_indicator=True),
        NumberEncoder(0.5, -2.0, 4.0, has_indicator=True),
    ]
    coef = np.array([[1.0, 1.0, 2.0, 3.0, 1.0, 2.0, 3.0, 4.0, 0.0, 0.0]])
    model = model_of(encoders, Coefficients(coef, np.zeros(1), VALUE))
    template = score_template(model, (True,) * 4, "value", None, "text")
    assert template is not None
    assert template.uses == (3, 1, 2, 0)
    assert not template.has_subquery


@pytest.mark.parametrize("n_inputs", [MOST_INPUTS, MOST_INPUTS + 1])
def test_the_widest_sum_is_parsed(session: psycopg.Connection, n_inputs: int) -> None:
    """As many inputs as there may be are no trouble to the parser; one more is no template."""
    encoders = [NumberEncoder(0.5, -2.0, 4.0, has_indicator=False)] * n_inputs
    predictor = Coefficients(np.ones((1, n_inputs)), np.zeros(1), VALUE)
    model = model_of(encoders, predictor)
    model.features = (InputFeature("v", FeatureKind.ARRAY, "float8[]", n_inputs),)
    template = score_template(model, [True], "value", None, "text")
    if n_inputs > MOST_INPUTS:
        assert template is None
        return
    assert template is not None
    values = f"(SELECT array_agg(i::float8) FROM generate_series(1, {n_inputs}) AS i)"
    query = f"SELECT {template.sql(['v'])} FROM (SELECT {values} AS v) AS t"
    assert session.execute(query.encode()).fetchone() == (n_inputs * (n_inputs + 1) / 2,)


def test_a_product_beyond_float8_has_no_constant() -> None:
    """Then the engine computes it."""
    encoders = [NumberEncoder(1e150, -1e150, 1e150, has_indicator=False)]
    model = model_of(encoders, Coefficients(np.array([[1e200]]), np.zeros(1), VALUE))
    assert score_template(model, [True], "value", None, "text") is None
    assert score_template(model, [False], "value", None, "text") is None
