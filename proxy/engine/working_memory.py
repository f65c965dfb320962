"""How much memory a fit will take beside the rows that it reads, and whether that is allowed.

Owns the table from SQL names to estimates, the check against a limit, and the words of a refusal.
What an algorithm holds is added up in its own room. Rows, answers and weights live in a file
mapping, which the system may drop and read again: they are not counted.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias

from proxy.engine.clusters.cluster_working_memory import dbscan_memory, kmeans_memory
from proxy.engine.fit_shape import FitShape
from proxy.engine.linear.linear_working_memory import (
    linear_regression_memory,
    logistic_regression_memory,
    polynomial_regression_memory,
)
from proxy.engine.networks.network_working_memory import neural_network_memory
from proxy.engine.trees.tree_working_memory import (
    decision_tree_memory,
    gradient_boosting_memory,
    random_forest_memory,
)
from proxy.errors import OutOfMemoryError

Estimate: TypeAlias = Callable[[Mapping[str, Any], FitShape], int]

ESTIMATES: Mapping[str, Estimate] = {
    "linear_regression": linear_regression_memory,
    "polynomial_regression": polynomial_regression_memory,
    "logistic_regression": logistic_regression_memory,
    "decision_tree": decision_tree_memory,
    "random_forest": random_forest_memory,
    "gradient_boosting": gradient_boosting_memory,
    "kmeans": kmeans_memory,
    "dbscan": dbscan_memory,
    "neural_network": neural_network_memory,
}
ANY_NUMBER_OF_ROWS = 1 << 40
NOT_WORTH_REFUSING = 1 << 26
"""64 MiB, for any number of rows: buffers for the block that is worked on."""
FEWER = "Train on a sample of the rows or on fewer columns"
FEWER_CATEGORIES = f"{FEWER}, set a lower max_categories"
OWN_ADVICE: Mapping[str, str] = {
    "linear_regression": "Train on fewer columns, set a lower max_categories",
    "polynomial_regression": "Lower degree, set interaction_only, train on fewer columns",
    "logistic_regression": "Train on fewer columns, set a lower max_categories",
    "decision_tree": f"{FEWER}, set max_depth or raise min_samples_leaf",
    "random_forest": f"{FEWER}, set max_depth or lower n_trees",
    "gradient_boosting": f"{FEWER}, lower n_trees",
    "kmeans": f"{FEWER_CATEGORIES}, learn on from part to part by warm_start with mini_batch",
    "dbscan": FEWER_CATEGORIES,
    "neural_network": f"{FEWER_CATEGORIES}, choose smaller hidden_layers, learn on from part to "
    "part by warm_start",
}


@dataclass(frozen=True, slots=True)
class MemoryBudget:
    """What a fit may hold beside the rows.

    Attributes
    ----------
    limit : bytes; None: any number
    n_threads : that work at a time, each with memory of its own
    """

    limit: int | None = None
    n_threads: int = 1


UNLIMITED = MemoryBudget()


def working_memory(
    algorithm: str,
    arguments: Mapping[str, Any],
    *,
    n_rows: int,
    n_columns: int,
    n_outputs: int | None,
    n_threads: int,
    one_hot_groups: Sequence[slice] = (),
) -> int:
    """Return the bytes that a fit holds at its peak beside the rows that it reads: an estimate.

    It never falls with more rows, but where logistic regression goes without second derivatives
    then. Where it depends on what is in the rows, as the leaves of a tree without a limit do, it is
    nearer to the most than to the least.

    Parameters
    ----------
    algorithm : its SQL name
    arguments : all its parameters, checked
    n_columns : of the design matrix, after one-hot coding
    n_outputs : classes; 0 or 1 for a regression or a clustering; None: not known yet, the least of
        what it may be
    n_threads : that work at a time
    one_hot_groups : as of the design; of a polynomial's columns it says which are not multiplied
    """
    estimate = _estimate(algorithm, one_hot_groups)
    return min(
        estimate(arguments, FitShape(n_rows, n_columns, n_classes, n_threads))
        for n_classes in _class_counts(n_outputs)
    )


def check_working_memory(
    algorithm: str,
    arguments: Mapping[str, Any],
    budget: MemoryBudget,
    *,
    n_rows: int,
    n_columns: int,
    n_outputs: int | None,
    one_hot_groups: Sequence[slice] = (),
) -> None:
    """Refuse a fit that would take more than is allowed.

    Other parameters are those of `working_memory`.

    Raises
    ------
    OutOfMemoryError
        It would; the DETAIL says how many rows would fit.
    """
    limit = budget.limit
    if limit is None:
        return

    def memory_of(n_rows: int) -> int:
        return working_memory(
            algorithm,
            arguments,
            n_rows=n_rows,
            n_columns=n_columns,
            n_outputs=n_outputs,
            n_threads=budget.n_threads,
            one_hot_groups=one_hot_groups,
        )

    needed = memory_of(n_rows)
    if needed <= limit or memory_of(ANY_NUMBER_OF_ROWS) <= NOT_WORTH_REFUSING:
        return
    n_fitting = _rounded_down(_most_rows(memory_of, limit, n_rows))
    fitting = "No number of rows of these columns would fit."
    if n_fitting:
        fitting = f"About {n_fitting} rows of these columns would fit."
    raise OutOfMemoryError(
        "training would take more memory than max_training_memory",
        detail=f"{algorithm} on {n_rows} rows of {n_columns} columns, after one-hot coding, would "
        f"take about {_megabytes(needed)}; the limit is {_megabytes(limit)}. {fitting}",
        hint=f"{OWN_ADVICE[algorithm]}, or raise [ml] max_training_memory.",
    )


def _estimate(algorithm: str, one_hot_groups: Sequence[slice]) -> Estimate:
    if algorithm == "polynomial_regression":
        return partial(polynomial_regression_memory, one_hot_groups=one_hot_groups)
    return ESTIMATES[algorithm]


def _class_counts(n_outputs: int | None) -> tuple[int, ...]:
    if n_outputs is None:
        return (0, 2)
    return (n_outputs if n_outputs > 1 else 0,)


def _most_rows(memory_of: Callable[[int], int], limit: int, too_many: int) -> int:
    """Return how many rows take no more than the limit, 0 if one takes more."""
    enough = 0
    while too_many - enough > 1:
        middle = (enough + too_many) // 2
        if memory_of(middle) <= limit:
            enough = middle
        else:
            too_many = middle
    return enough


def _rounded_down(count: int) -> int:
    """Return the number with two digits, and zeros behind them."""
    unit: int = 10 ** max(len(str(count)) - 2, 0)
    return count // unit * unit


def _megabytes(size_bytes: int) -> str:
    """Return a size in the units of the setting, in which 1 MB is 1024 * 1024 bytes."""
    return f"{size_bytes / 2**20:.0f} MB"
