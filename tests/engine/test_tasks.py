"""What a target is taken for, and the words where that is not clear."""

from __future__ import annotations

import numpy as np
import pytest

from proxy.engine.columns import Column, Dataset, FeatureKind
from proxy.engine.tasks import choose_task
from proxy.errors import DatatypeMismatchError, InvalidParameterError, UndefinedColumnError

RNG = np.random.default_rng(0)
N = 400


def dataset(values: np.ndarray | None, sql_type: str = "integer") -> Dataset:
    feature = Column("x", FeatureKind.NUMBER, "double precision", RNG.normal(size=N))
    target = None
    if values is not None:
        kind = FeatureKind.BOOLEAN if sql_type == "boolean" else FeatureKind.NUMBER
        target = Column("y", kind, sql_type, np.asarray(values, dtype=np.float64))
    return Dataset((feature,), target, N)


@pytest.mark.parametrize(
    ("values", "sql_type", "task"),
    [
        (RNG.integers(0, 2, N), "integer", "binary"),
        (RNG.integers(0, 2, N), "double precision", "binary"),
        (3.5 * RNG.integers(0, 2, N), "numeric", "binary"),
        (RNG.integers(0, 2, N), "boolean", "binary"),
        (RNG.integers(0, 10, N), "smallint", "multiclass"),
        (RNG.integers(0, 10, N), "double precision", "regression"),
        (RNG.integers(0, 200, N), "integer", "regression"),
        (RNG.normal(size=N), "double precision", "regression"),
        (RNG.normal(size=N), "numeric", "regression"),
    ],
)
def test_the_target_tells_the_task(values: np.ndarray, sql_type: str, task: str) -> None:
    """Two values and few whole numbers are classes, other numbers are quantities."""
    chosen, notices = choose_task(
        "decision_tree", "either", {"task": None}, dataset(values, sql_type)
    )
    assert chosen.target.task == task
    assert bool(notices) == (task == "multiclass")
    assert all("task: 'regression'" in notice for notice in notices)


def test_few_rows_of_whole_numbers_are_quantities() -> None:
    """Ten values in ten rows are no classes."""
    values = np.full(N, np.nan)
    values[:10] = np.arange(10)
    chosen, _ = choose_task("decision_tree", "either", {"task": None}, dataset(values))
    assert (chosen.target.task, chosen.n_samples) == ("regression", 10)


def test_the_task_can_be_said() -> None:
    """`task:` overrides what the target looks like, where the type allows it."""
    values = RNG.integers(0, 10, N)
    given = {"task": "regression"}
    assert choose_task("random_forest", "either", given, dataset(values))[0].codes is None
    given = {"task": "classification"}
    halves = dataset(values / 2, "double precision")
    assert choose_task("random_forest", "either", given, halves)[0].codes is not None
    words = Column("y", FeatureKind.CATEGORY, "text", np.zeros(N, np.int32), ("a",))
    text = Dataset(halves.features, words, N)
    with pytest.raises(DatatypeMismatchError, match="random_forest cannot predict"):
        choose_task("random_forest", "either", {"task": "regression"}, text)


@pytest.mark.parametrize(
    ("criterion", "values", "sql_type"),
    [
        ("gini", RNG.normal(size=N), "double precision"),
        ("squared_error", RNG.integers(0, 2, N), "integer"),
    ],
)
def test_a_criterion_of_the_other_task_is_refused(
    criterion: str, values: np.ndarray, sql_type: str
) -> None:
    """By 22023, with what it is for."""
    parameters = {"task": None, "criterion": criterion}
    with pytest.raises(InvalidParameterError, match=criterion) as caught:
        choose_task("decision_tree", "either", parameters, dataset(values, sql_type))
    assert caught.value.sqlstate == "22023"


def test_clustering_has_no_target_and_the_others_need_one() -> None:
    """42703 either way."""
    assert choose_task("kmeans", "clustering", {}, dataset(None))[0].target.task == "clustering"
    with pytest.raises(UndefinedColumnError, match="kmeans has no target"):
        choose_task("kmeans", "clustering", {}, dataset(RNG.normal(size=N)))
    with pytest.raises(UndefinedColumnError, match="no target column"):
        choose_task("decision_tree", "either", {"task": None}, dataset(None))
