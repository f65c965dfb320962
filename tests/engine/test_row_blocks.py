"""Rows in blocks: what is done to a column a part at a time is done to all of it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.engine import model_selection, row_blocks
from proxy.engine.columns import Column, Dataset, FeatureKind
from proxy.engine.evaluation import regression_metrics, roc_auc_score
from proxy.engine.evaluation_run import evaluate
from proxy.engine.preparation.encoders import CategorySummary
from proxy.engine.preparation.target_coding import TargetMatrix, learn_target_codes
from proxy.engine.row_blocks import distinct_values, rows_where, take
from proxy.engine.training import train
from tests.engine.estimator_checks import mixed_dataset, silent

LINEAR = [("linear_regression", 0), ("logistic_regression", 2), ("logistic_regression", 4)]


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of seven rows."""
    monkeypatch.setattr(row_blocks, "BLOCK_ROWS", 7)
    monkeypatch.setattr(model_selection, "BLOCK_ROWS", 7)


@pytest.mark.usefixtures("small_blocks")
def test_rows_are_chosen_as_by_numpy() -> None:
    """Ascending, of every block, and None where all are."""
    for share in (0.0, 0.5, 1.0):
        holds = np.random.default_rng(0).random(30) < share
        rows = rows_where(lambda block, holds=holds: holds[block], len(holds))
        if holds.all():
            assert rows is None
        else:
            assert rows.tolist() == np.flatnonzero(holds).tolist()


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("dtype", [np.float64, np.int64, np.int32])
def test_values_are_taken_as_by_indexing(dtype: type) -> None:
    """From a contiguous array and from a column of a matrix, into an array that is asked for."""
    matrix = np.random.default_rng(0).integers(0, 99, (40, 3)).astype(dtype)
    rows = np.flatnonzero(np.arange(40) % 3)
    made = []

    def allocate(shape: object, dtype: object) -> np.ndarray:
        made.append(np.empty(shape, dtype))  # type: ignore[arg-type]
        return made[-1]

    for values in (np.ascontiguousarray(matrix[:, 1]), matrix[:, 1]):
        taken = take(values, rows, allocate)
        assert taken is made[-1]
        assert taken.dtype == dtype
        assert taken.tolist() == values[rows].tolist()
    assert take(matrix[:, 0], None).base is matrix


@given(st.lists(st.lists(st.integers(-3, 3).map(float), max_size=6), max_size=6))
def test_distinct_values_are_those_of_the_whole(blocks: list[list[float]]) -> None:
    """Or more than the most that are asked for."""
    whole = np.unique(np.array([value for block in blocks for value in block]))
    for most in (2, 20):
        found = distinct_values((np.array(block) for block in blocks), most)
        assert found.tolist() == whole.tolist() or (len(found) > most and len(whole) > most)


@pytest.mark.usefixtures("small_blocks")
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 4)), min_size=2, max_size=60))
def test_auc_is_the_sum_of_ranks(rows: list[tuple[bool, int]]) -> None:
    """The formula of Mann and Whitney, with the mean rank of equal scores."""
    positive = np.array([is_positive for is_positive, _ in rows])
    scores = np.array([float(score) for _, score in rows])
    n_positive, n_negative = int(positive.sum()), int((~positive).sum())
    ours = roc_auc_score(positive, scores)
    if not n_positive or not n_negative:
        assert np.isnan(ours)
        return
    _, group, counts = np.unique(scores, return_inverse=True, return_counts=True)
    rank = (np.cumsum(counts) - (counts - 1) / 2.0)[group]
    pairs = n_positive * n_negative
    expected = (rank[positive].sum() - n_positive * (n_positive + 1) / 2.0) / pairs
    assert ours == pytest.approx(expected)


def test_metrics_of_blocks_are_those_of_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """The sums are the same but for rounding."""
    y, predicted = np.random.default_rng(0).normal(5.0, 2.0, (2, 100))
    whole = regression_metrics(y, predicted)
    monkeypatch.setattr(row_blocks, "BLOCK_ROWS", 7)
    assert regression_metrics(y, predicted) == pytest.approx(whole, rel=1e-13)


def test_target_codes_of_blocks_are_those_of_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of values and of classes, of all rows and of some."""
    rng = np.random.default_rng(0)
    codes, names = rng.integers(-2, 4, 90).astype(np.int32), ("a", "b", "c", "d")
    for rows in (None, np.flatnonzero(rng.random(90) < 0.6)):
        n = 90 if rows is None else len(rows)
        summary = CategorySummary.of(names, [codes if rows is None else codes[rows]])
        for target in (
            TargetMatrix.of_values(rng.normal(size=n)),
            TargetMatrix.of_classes(rng.integers(0, 3, n)),
        ):
            assert target is not None
            with monkeypatch.context() as patch:
                whole, folded = learn_target_codes(summary, codes, rows, target)
                patch.setattr(row_blocks, "BLOCK_ROWS", 7)
                parts, folded_parts = learn_target_codes(summary, codes, rows, target)
            np.testing.assert_allclose(parts.values, whole.values, rtol=1e-12)
            np.testing.assert_allclose(folded_parts.values, folded.values, rtol=1e-12)


def awkward(name: str, n_classes: int) -> Dataset:
    """Return rows with NULL targets, weights, times as text, a twin, a key and a rare word."""
    dataset = mixed_dataset(name, n_classes, 400)
    rng = np.random.default_rng(3)
    n = dataset.n_samples
    target = dataset.target
    assert target is not None
    is_category = target.kind is FeatureKind.CATEGORY
    missing = rng.random(n) < 0.1
    target = replace(target, values=np.where(missing, -1 if is_category else np.nan, target.values))
    if is_category:
        target = replace(target, values=target.values.astype(np.int32))
    words = tuple(f"word {k}" for k in range(n))
    months = tuple(f"2025-{month:02d}" for month in range(1, 13))

    def texts(name: str, codes: np.ndarray, names: tuple[str, ...]) -> Column:
        return Column(name, FeatureKind.CATEGORY, "text", codes.astype(np.int32), names)

    def number(name: str, values: np.ndarray) -> Column:
        return Column(name, FeatureKind.NUMBER, "double precision", values.astype(np.float64))

    features = (
        *dataset.features,
        replace(dataset.features[0], name="twin"),
        number("serial", rng.permutation(n)),
        texts("key", rng.permutation(n), words),
        texts("month", rng.integers(-1, 12, n), months),
        texts("many", rng.integers(-2, 60, n), words[:60]),
    )
    return Dataset(features, target, n, number("weight", rng.integers(0, 3, n)))


@pytest.mark.parametrize(("name", "n_classes"), LINEAR)
def test_a_training_in_small_blocks_is_the_same(
    name: str, n_classes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Notices, warnings and parts are equal, metrics and predictions but for rounding."""
    dataset = awkward(name, n_classes)
    parameters = {"max_categories": 20, "l2": 1.0}
    whole = train(name, parameters, dataset, silent)
    told = " ".join(whole.notices)
    assert told.count("looks like a key") == 2
    assert 'column "twin" repeats column "number"' in told
    known = evaluate_numbers(whole.model, dataset)
    monkeypatch.setattr(row_blocks, "BLOCK_ROWS", 7)
    monkeypatch.setattr(model_selection, "BLOCK_ROWS", 7)
    parts = train(name, parameters, dataset, silent)
    assert (parts.notices, parts.warnings) == (whole.notices, whole.warnings)
    assert (parts.n_train, parts.n_holdout) == (whole.n_train, whole.n_holdout)
    assert numbers(parts.metrics) == pytest.approx(numbers(whole.metrics), rel=1e-6)
    assert evaluate_numbers(whole.model, dataset) == pytest.approx(known, rel=1e-12)


def evaluate_numbers(model: object, dataset: Dataset) -> dict[str, float]:
    features = tuple(column for column in dataset.features if column.name != "month")
    return numbers(evaluate(model, replace(dataset, features=features)).metrics)  # type: ignore[arg-type]


def numbers(metrics: dict[str, object]) -> dict[str, float]:
    return {name: value for name, value in metrics.items() if isinstance(value, int | float)}
