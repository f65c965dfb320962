"""How much memory a fit is said to take: what it depends on, what is refused, and what is true."""

import math
import re
import tracemalloc
from typing import Any

import numpy as np
import pytest

from proxy.engine.algorithms import ALGORITHMS, check_parameters
from proxy.engine.preparation.design import MatrixDesign
from proxy.engine.recipes import RECIPES
from proxy.engine.working_memory import (
    ESTIMATES,
    OWN_ADVICE,
    UNLIMITED,
    MemoryBudget,
    check_working_memory,
    working_memory,
)
from proxy.errors import TooLargeError

MB = 1 << 20
LINEAR = ("linear_regression", "polynomial_regression", "logistic_regression")
OTHERS = tuple(name for name in ALGORITHMS if name not in LINEAR)
GIVEN: dict[str, dict[str, Any]] = {
    "random_forest": {"n_trees": 10, "max_depth": 12},
    "kmeans": {"k": 5},
}


def estimate(algorithm: str, given: dict[str, Any] | None = None, **shape: int) -> int:
    arguments = check_parameters(algorithm, GIVEN.get(algorithm, {}) if given is None else given)
    shape = {"n_rows": 1_000_000, "n_columns": 10, "n_outputs": 2, "n_threads": 2} | shape
    return working_memory(algorithm, arguments, **shape)


def test_every_algorithm_has_an_estimate_and_advice() -> None:
    """Nothing can be trained whose memory nobody has thought of."""
    assert set(ESTIMATES) == set(OWN_ADVICE) == set(ALGORITHMS)


@pytest.mark.parametrize("n_outputs", [0, 3])
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_an_estimate_never_falls_with_rows_columns_or_threads(
    algorithm: str, n_outputs: int
) -> None:
    """So the number of rows that fit can be found by halving."""
    rows = [1, 2, 7, 200, 1023, 10_000, 199_999, 200_000, 200_001, 400_001, 10**6, 10**8, 10**10]
    by_rows = [estimate(algorithm, n_rows=n, n_outputs=n_outputs) for n in rows]
    assert by_rows == sorted(by_rows)
    assert by_rows[0] > 0
    by_columns = [estimate(algorithm, n_columns=n, n_outputs=n_outputs) for n in (1, 2, 10, 100)]
    assert by_columns == sorted(by_columns)
    assert by_columns[0] < by_columns[-1]
    by_threads = [estimate(algorithm, n_threads=n, n_outputs=n_outputs) for n in (1, 2, 16)]
    assert by_threads == sorted(by_threads)


@pytest.mark.parametrize("algorithm", OTHERS)
def test_an_estimate_grows_in_proportion_to_many_rows(algorithm: str) -> None:
    """Twice the rows take twice the memory, but for what does not grow with them."""
    once, twice, four_times = (estimate(algorithm, n_rows=n * 10**8) for n in (1, 2, 4))
    assert twice == pytest.approx(2 * once, rel=0.1)
    assert four_times == pytest.approx(2 * twice, rel=0.05)


@pytest.mark.parametrize("algorithm", LINEAR)
def test_a_linear_model_holds_nothing_for_each_row(algorithm: str) -> None:
    """Its rows go by in blocks."""
    assert estimate(algorithm, n_rows=10**6) == estimate(algorithm, n_rows=10**9)


def test_trees_take_a_byte_for_each_value_more() -> None:
    """Columns are binned, and the sample of them does not grow with the rows."""
    for algorithm in ("decision_tree", "random_forest", "gradient_boosting"):
        narrow, wide = (estimate(algorithm, n_rows=10**8, n_columns=n) for n in (20, 40))
        assert (wide - narrow) / (20 * 10**8) == pytest.approx(1.0, abs=0.2)


def test_what_a_parameter_costs_is_counted() -> None:
    """Each raises the estimate by what it makes the fit hold."""
    costs = [
        ("gradient_boosting", {"n_trees": 10}, {"n_trees": 10, "class_weight": "balanced"}),
        ("gradient_boosting", {}, {"early_stopping": True}),
        ("random_forest", {"max_depth": 10}, {"max_depth": 20}),
        ("random_forest", {"max_depth": 10, "n_trees": 10}, {"max_depth": 10, "n_trees": 1000}),
        ("decision_tree", {"max_leaf_nodes": 31}, {}),
        ("neural_network", {"optimizer": "sgd"}, {"optimizer": "adam"}),
        ("neural_network", {}, {"hidden_layers": [4000, 4000]}),
        ("neural_network", {}, {"layers": [10, 4000, 4000, 2]}),
        ("kmeans", {"mini_batch": True}, {}),
    ]
    for algorithm, cheap, dear in costs:
        assert estimate(algorithm, cheap) < estimate(algorithm, dear), (algorithm, dear)


def test_one_hot_columns_are_not_multiplied_with_each_other() -> None:
    """A category of a hundred columns makes a hundred products of degree 2, and not 5050."""
    arguments = check_parameters("polynomial_regression", {})
    shape = {"n_rows": 10**6, "n_columns": 107, "n_outputs": 0, "n_threads": 2}
    blind = working_memory("polynomial_regression", arguments, **shape)
    told = working_memory(
        "polynomial_regression", arguments, one_hot_groups=[slice(0, 100)], **shape
    )
    assert told < blind / 10


@pytest.mark.parametrize("n_outputs", [0, 2, 5])
@pytest.mark.parametrize("algorithm", OTHERS)
def test_the_rows_that_a_refusal_names_would_fit(algorithm: str, n_outputs: int) -> None:
    """And half as many more would not."""
    arguments = check_parameters(algorithm, GIVEN.get(algorithm, {}))
    shape = {"n_columns": 10, "n_outputs": n_outputs}
    limit = 512 * MB
    budget = MemoryBudget(limit, 2)
    with pytest.raises(TooLargeError) as caught:
        check_working_memory(algorithm, arguments, budget, n_rows=50_000_000, **shape)
    error = caught.value
    assert error.sqlstate == "53200"
    assert error.detail is not None
    assert error.hint is not None
    assert "50000000 rows of 10 columns" in error.detail
    assert "512 MB" in error.detail
    assert "max_training_memory" in error.hint
    found = re.search(r"About (\d+) rows of these columns would fit\.", error.detail)
    assert found is not None
    n_fitting = int(found[1])
    assert re.fullmatch(r"\d\d0*", found[1])
    assert estimate(algorithm, n_rows=n_fitting, n_threads=2, **shape) <= limit
    too_many = math.ceil(1.5 * n_fitting)
    assert estimate(algorithm, n_rows=too_many, n_threads=2, **shape) > limit
    check_working_memory(algorithm, arguments, budget, n_rows=n_fitting, **shape)


def test_a_refusal_says_when_fewer_rows_would_not_help() -> None:
    """What a network's weights take alone is more than the limit."""
    arguments = check_parameters("neural_network", {"hidden_layers": [5000, 5000]})
    with pytest.raises(TooLargeError, match="more memory than max_training_memory") as caught:
        check_working_memory(
            "neural_network",
            arguments,
            MemoryBudget(64 * MB),
            n_rows=1000,
            n_columns=4,
            n_outputs=0,
        )
    assert caught.value.detail is not None
    assert "No number of rows of these columns would fit." in caught.value.detail


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_before_the_task_is_known_the_least_is_told(algorithm: str) -> None:
    """Nothing is refused whose target turns out to need less."""
    told = [estimate(algorithm, n_outputs=n_outputs) for n_outputs in (0, 2)]
    arguments = check_parameters(algorithm, GIVEN.get(algorithm, {}))
    shape = {"n_rows": 1_000_000, "n_columns": 10, "n_threads": 2}
    assert working_memory(algorithm, arguments, n_outputs=None, **shape) == min(told)


def test_a_few_buffers_are_not_refused() -> None:
    """What is the same for any number of rows may be more than a very low limit."""
    arguments = check_parameters("linear_regression", {})
    shape = {"n_columns": 10, "n_outputs": 0}
    assert estimate("linear_regression", n_columns=10) > MB
    check_working_memory("linear_regression", arguments, MemoryBudget(MB), n_rows=10**12, **shape)
    wide = shape | {"n_columns": 8000}
    with pytest.raises(TooLargeError):
        check_working_memory("linear_regression", arguments, MemoryBudget(MB), n_rows=10, **wide)


def test_without_a_limit_nothing_is_refused() -> None:
    """As where the engine is used without a server."""
    arguments = check_parameters("dbscan", {})
    check_working_memory("dbscan", arguments, UNLIMITED, n_rows=10**12, n_columns=100, n_outputs=0)


MEASURED = [
    ("gradient_boosting", {"n_trees": 3}, 20, 3),
    ("kmeans", {"k": 5, "max_iterations": 3}, 10, 0),
    ("neural_network", {"epochs": 1, "batch_size": 2000}, 40, 0),
    ("dbscan", {"eps": 0.2}, 2, 0),
]


@pytest.mark.parametrize(("algorithm", "given", "n_columns", "n_classes"), MEASURED)
def test_a_fit_takes_about_what_was_said(
    algorithm: str, given: dict[str, Any], n_columns: int, n_classes: int
) -> None:
    """Numpy tells tracemalloc of its arrays; large ones are rounded up in address space."""
    rng = np.random.default_rng(0)
    n_rows = 200_000
    X = rng.normal(size=(n_rows, n_columns))
    answers: tuple[np.ndarray, ...] = ()
    task = "clustering"
    if n_classes:
        answers, task = (rng.integers(0, n_classes, n_rows),), "multiclass"
    elif ALGORITHMS[algorithm].task != "clustering":
        answers, task = (X[:, 0] + rng.normal(size=n_rows),), "regression"
    arguments = check_parameters(algorithm, given)
    said = working_memory(
        algorithm, arguments, n_rows=n_rows, n_columns=n_columns, n_outputs=n_classes, n_threads=1
    )
    design = MatrixDesign(X)
    assert design.scale.all()  # measured before, as a preprocessor has
    estimator = RECIPES[algorithm].estimator(arguments, task)
    tracemalloc.start()
    try:
        estimator.fit(design, *answers)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert said / 4 < peak < said + 16 * MB
