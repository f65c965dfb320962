"""Cuts wherever they may be: at and beyond the training range, of categories, of indicators."""

from __future__ import annotations

import numpy as np
import psycopg
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from proxy.engine.predictors import PROBABILITY, VALUE
from proxy.engine.preparation.encoders import (
    CategoryEncoder,
    DroppedEncoder,
    NumberEncoder,
    TargetEncoder,
)
from proxy.engine.trees.tree import LevelTree
from proxy.engine.trees.tree_predictor import TreePredictor
from proxy.pushdown.expressions import score_template
from tests.pushdown.made import CATEGORIES, assert_alike, model_of

few = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
thresholds = st.sampled_from([-31.0, -5.0, -2.5, -1.0, -0.5, 0.0, 0.5, 1.0, 2.0, 5.0, 99.0])


def full_tree(data: st.DataObject, n_design: int, depth: int, n_values: int = 1) -> LevelTree:
    """Return a tree whose every way has so many cuts."""
    n_cuts = 2**depth - 1
    draw = data.draw
    feature = draw(st.lists(st.integers(0, n_design - 1), min_size=n_cuts, max_size=n_cuts))
    threshold = draw(st.lists(thresholds, min_size=n_cuts, max_size=n_cuts))
    missing = draw(st.lists(st.booleans(), min_size=n_cuts, max_size=n_cuts))
    value = np.array(
        draw(st.lists(st.integers(0, 3), min_size=n_cuts + 1, max_size=n_cuts + 1)), np.float64
    )[:, None]
    if n_values > 1:
        value = np.hstack([value, 4.0 - value, np.ones_like(value)])
        value /= value.sum(axis=1, keepdims=True)
    return LevelTree(
        is_cut=np.arange(2 * n_cuts + 1) < n_cuts,
        feature=np.array(feature, np.int32),
        threshold=np.array(threshold),
        missing_left=np.array(missing),
        value=value,
    )


@few
@given(st.data())
def test_any_tree_is_the_engines(session: psycopg.Connection, data: st.DataObject) -> None:
    """Infinities count as the ends of training, NULL and NaN go where the cut says."""
    draw = data.draw
    imputed = draw(st.sampled_from([np.nan, np.nan, 0.5]))
    number = NumberEncoder(imputed, -1.0, draw(st.sampled_from([-1.0, 2.0])), draw(st.booleans()))
    category = CategoryEncoder(CATEGORIES, draw(st.booleans()), draw(st.booleans()))
    table = np.array(draw(st.lists(thresholds, min_size=10, max_size=10))).reshape(5, 2)
    encoders = [
        number,
        draw(st.sampled_from([category, TargetEncoder(CATEGORIES, table), DroppedEncoder()])),
    ]
    n_design = sum(encoder.n_columns for encoder in encoders)
    n_trees = draw(st.integers(1, 3))
    trees = [full_tree(data, n_design, 3) for _ in range(n_trees)]
    predictor = TreePredictor(
        trees,
        link=VALUE,
        n_features_in=n_design,
        n_outputs=1,
        averages=draw(st.booleans()),
        base=np.array([draw(st.sampled_from([0.0, 7.5]))]),
    )
    model = model_of(encoders, predictor)
    for is_given in ([True, True], [draw(st.booleans()), draw(st.booleans())]):
        assert_alike(session, model, is_given)


@few
@given(st.data())
def test_equal_shares_give_the_first_class(
    session: psycopg.Connection, data: st.DataObject
) -> None:
    """Of one tree and of the mean of two."""
    encoders = [NumberEncoder(np.nan, -3.0, 3.0, has_indicator=False)]
    trees = [full_tree(data, 1, 2, 3) for _ in range(data.draw(st.integers(1, 2)))]
    predictor = TreePredictor(
        trees, link=PROBABILITY, n_features_in=1, n_outputs=3, averages=True, base=np.zeros(3)
    )
    model = model_of(encoders, predictor, ("a", "b", "c"))
    assert_alike(session, model, [True], output="label")
    for class_index in (None, 0, 2):
        assert_alike(session, model, [True], output="probability", class_index=class_index)


def chain(depth: int) -> LevelTree:
    """Return a tree whose every cut has a leaf to its left, and different values everywhere."""
    is_cut = [True, *[False, True] * (depth - 1), False, False]
    return LevelTree(
        is_cut=np.array(is_cut),
        feature=np.zeros(depth, np.int32),
        threshold=np.arange(depth) - depth / 2.0,
        missing_left=np.arange(depth) % 2 == 1,
        value=np.arange(depth + 1.0)[:, None],
    )


def test_the_deepest_tree_is_parsed(session: psycopg.Connection) -> None:
    """64 cuts below one another are no trouble to the parser; 65 are no template."""
    encoders = [NumberEncoder(np.nan, -99.0, 99.0, has_indicator=False)]
    for depth in (64, 65):
        predictor = TreePredictor(
            [chain(depth)],
            link=VALUE,
            n_features_in=1,
            n_outputs=1,
            averages=True,
            base=np.zeros(1),
        )
        model = model_of(encoders, predictor)
        if depth == 64:
            assert_alike(session, model, [True])
        else:
            assert score_template(model, [True], "value", None, "text") is None


def test_cuts_that_decide_nothing_are_left_out() -> None:
    """A label that both ways end in, or an input that is not given, is not asked for."""
    encoders = [NumberEncoder(np.nan, -99.0, 99.0, has_indicator=False)]
    tree = chain(3)
    predictor = TreePredictor(
        [tree], link=VALUE, n_features_in=1, n_outputs=1, averages=True, base=np.zeros(1)
    )
    model = model_of(encoders, predictor)
    template = score_template(model, [False], "value", None, "text")
    assert template is not None
    assert template.parts == ("('1.0'::float)",)
    shares = LevelTree(
        tree.is_cut,
        tree.feature,
        tree.threshold,
        tree.missing_left,
        np.array([[0.1, 0.9], [0.2, 0.8], [0.3, 0.7], [0.9, 0.1]]),
    )
    classifier = TreePredictor(
        [shares], link=PROBABILITY, n_features_in=1, n_outputs=2, averages=True, base=np.zeros(2)
    )
    template = score_template(
        model_of(encoders, classifier, ("a", "b")), [True], "label", None, "text"
    )
    assert template is not None
    assert template.sql(["x"]).count("CASE") == 3
