"""The flat scoring form, against the design matrix times the coefficients."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.engine.linear.linear_predictor import LinearPredictor, LinearScorer
from proxy.engine.preparation.encoders import CategoryEncoder, InputEncoder, NumberEncoder
from proxy.engine.preparation.preprocessing import Preprocessor
from proxy.kernels import linear as kernel

WIDE = 40
ANY_FLOAT = st.floats(allow_nan=True, allow_infinity=True)


@st.composite
def predictors(draw: st.DrawFn) -> tuple[tuple[InputEncoder, ...], LinearPredictor, np.ndarray]:
    """Draw encoders, narrow or wide, with coefficients of any sign and raw rows of any float."""
    number = st.builds(
        NumberEncoder, st.floats(-5, 5), st.floats(-9, -5), st.floats(5, 9), st.booleans()
    )
    category = st.builds(
        CategoryEncoder,
        st.lists(st.text(), unique=True, max_size=4).map(tuple),
        st.booleans(),
        st.booleans(),
    )
    some = draw(st.lists(number | category, min_size=1, max_size=5))
    encoders = tuple(some * draw(st.sampled_from([1, 1, WIDE // len(some) + 1])))
    n_outputs = draw(st.sampled_from([1, 3]))
    rng = np.random.default_rng(draw(st.integers(0, 10_000)))
    n_design = sum(encoder.n_columns for encoder in encoders)
    coef = rng.normal(size=(n_outputs, n_design)) * 10.0 ** rng.integers(-3, 3, n_design)
    predictor = LinearPredictor(encoders, coef, rng.normal(size=n_outputs))
    rows = draw(st.lists(st.lists(ANY_FLOAT, min_size=5, max_size=5), min_size=1, max_size=6))
    raw = np.resize(np.array(rows), (len(rows), len(encoders)))
    for j, encoder in enumerate(encoders):
        if isinstance(encoder, CategoryEncoder):
            codes = rng.integers(0, len(encoder.categories) + 1, len(raw)).astype(np.float64)
            raw[:, j] = np.where(rng.random(len(raw)) < 0.3, np.nan, codes)
    return encoders, predictor, np.ascontiguousarray(raw), coef


@given(predictors())
@settings(deadline=None)
def test_scores_are_design_times_coefficients(drawn) -> None:
    """Whatever the row holds, its score is the sum over its design columns, and never NaN."""
    encoders, predictor, raw, coef = drawn
    preprocessor = Preprocessor()
    preprocessor.encoders_ = encoders
    scores = predictor.scores(raw)
    assert not np.isnan(scores).any()
    tame = np.abs(np.nan_to_num(raw, posinf=0, neginf=0)).max(axis=1) < 1e200
    expected = preprocessor.transform(raw[tame]) @ coef.T + predictor.constant
    size = np.abs(preprocessor.transform(raw[tame])) @ np.abs(coef.T) + 10.0
    assert (np.abs(scores[:, tame].T - expected) <= 1e-12 * size).all()


@given(predictors())
@settings(deadline=None)
def test_a_row_scores_alike_alone_and_in_any_batch(drawn) -> None:
    """Bit for bit, in a batch and alone."""
    _, predictor, raw, _ = drawn
    whole = predictor.scores(raw)
    for i in range(len(raw)):
        alone = predictor.scores(raw[i : i + 1])
        np.testing.assert_array_equal(alone[:, 0], whole[:, i])


@given(st.lists(st.floats(-1.7e308, 1.7e308), min_size=2, max_size=4), st.integers(0, 1000))
def test_overflowing_terms_that_cancel_do_not_overflow(values: list[float], seed: int) -> None:
    """Sums of enormous terms agree with exact arithmetic, or are ±inf where the sum is as large."""
    rng = np.random.default_rng(seed)
    coef = rng.choice([-8.0, -1.0, 2.0, 16.0], (1, len(values)))
    encoder = NumberEncoder(0.0, -1.0, 1.0, has_indicator=False)
    predictor = LinearPredictor([encoder] * len(values), coef, np.array([1.0]))
    score = predictor.scores(np.array([values]))[0, 0]
    terms = [Fraction(x) * Fraction(w) for x, w in zip(values, coef[0].tolist(), strict=True)]
    exact = sum(terms) + 1
    assert not np.isnan(score)
    if np.isinf(score):
        assert abs(exact) > Fraction(1.7e308)
        assert (score > 0) == (exact > 0)
    else:
        # Where terms overflow those below 1e-20 of them may be lost, as in any sum of floats.
        assert abs(Fraction(float(score)) - exact) <= sum(map(abs, terms)) * Fraction(1e-15) + 1


def test_an_unknown_code_is_an_unseen_category() -> None:
    """Codes out of the contract are read as unseen, never as an index out of the table."""
    encoder = CategoryEncoder(("a", "b"), has_infrequent=True, has_indicator=True)
    coef = np.array([[1.0, 2.0, 30.0, 400.0]])
    predictor = LinearPredictor([encoder], coef, np.zeros(1))
    raw = np.array([[0.0], [1.0], [2.0], [np.nan], [99.0], [np.inf], [-np.inf], [-7.0]])
    assert predictor.scores(raw)[0].tolist() == [1, 2, 30, 400, 30, 30, 30, 30]


@pytest.mark.parametrize("n_rows", [0, 1, 2])
def test_any_number_of_rows_is_scored(n_rows: int) -> None:
    """No row, one row and two give as many scores."""
    encoder = NumberEncoder(0.0, -1.0, 1.0, has_indicator=False)
    predictor = LinearPredictor([encoder], np.array([[2.0]]), np.array([1.0]))
    assert predictor.scores(np.ones((n_rows, 1)))[0].tolist() == [3.0] * n_rows


@given(predictors(), st.data())
@settings(deadline=None)
def test_a_scorer_finds_its_columns(drawn, data) -> None:
    """Columns in any order, beside others, recoded or not given: the score of the raw row."""
    encoders, predictor, raw, _ = drawn
    width = len(encoders)
    order = data.draw(st.permutations(range(width)))
    values = np.full((len(raw), width + 2), 1e308)
    sources, recodings = [], []
    for j, encoder in enumerate(encoders):
        place = order[j] + 1
        sources.append(place)
        values[:, place] = raw[:, j]
        recodings.append(None)
        if data.draw(st.booleans()):
            sources[j] = kernel.NOT_GIVEN
            raw[:, j] = np.nan
        elif isinstance(encoder, CategoryEncoder) and data.draw(st.booleans()):
            # Theirs: one category that the model does not know, then the model's own, backwards.
            count = len(encoder.categories)
            recodings[j] = np.array([count, *reversed(range(count)), count], np.float64)
            theirs = np.where(raw[:, j] == count, 0.0, count - raw[:, j])
            values[:, place] = theirs
    scorer = LinearScorer(predictor, sources, recodings)
    np.testing.assert_array_equal(scorer.sums(values), predictor.scores(raw))
    np.testing.assert_array_equal(scorer.scores(values), predictor.scores(raw)[0])


SUMS = st.lists(st.floats(allow_nan=False), min_size=3, max_size=3)


@given(st.lists(SUMS, min_size=1, max_size=4), st.sampled_from([1, 2, 3]))
def test_what_sums_mean(rows: list[list[float]], n_outputs: int) -> None:
    """Labels and probabilities, against numpy: any sums, one output or several."""
    sums = np.ascontiguousarray(np.array(rows).T[:n_outputs])
    n_classes = max(n_outputs, 2)
    bounded = np.clip(sums, -1e300, 1e300)
    with np.errstate(over="ignore"):
        if n_outputs == 1:
            positive = 1.0 / (1.0 + np.exp(-sums[0]))
            expected = np.stack([1.0 - positive, positive], axis=1)
            labels = (sums[0] > 0).astype(float)
        else:
            shares = np.exp(bounded - bounded.max(axis=0))
            expected = (shares / shares.sum(axis=0)).T
            labels = sums.argmax(axis=0).astype(float)

    def finished(meaning: int, class_index: int = -1) -> np.ndarray:
        scores = np.empty(len(rows))
        kernel.finish_rows(sums, meaning, class_index, scores)
        return scores

    whole = np.empty((len(rows), n_classes))
    kernel.probabilities(sums, whole)
    np.testing.assert_allclose(whole, expected, rtol=1e-13, atol=1e-300)
    for class_index in range(n_classes):
        column = finished(kernel.PROBABILITY, class_index)
        np.testing.assert_array_equal(column, whole[:, class_index])
    np.testing.assert_array_equal(finished(kernel.LARGEST_PROBABILITY), whole.max(axis=1))
    np.testing.assert_array_equal(finished(kernel.LABEL), labels)
    np.testing.assert_array_equal(finished(kernel.VALUE), sums[0])
