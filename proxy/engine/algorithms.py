"""The table of algorithms: the name in SQL, the task, the parameters.

Owns what CREATE MODEL ... USING accepts. How an algorithm is fitted is in `recipes`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

from proxy.engine.parameters import Parameter, Value, check_values, nearest_hint
from proxy.errors import UnknownModelError

TaskOfAlgorithm: TypeAlias = Literal["regression", "classification", "either", "clustering"]

NODE_BYTES = 40
TYPICAL_LEAVES = 1000
MOST_WIDTH = 65_536


def _tree_cost(count: float) -> str:
    size = _bytes(count * 2 * TYPICAL_LEAVES * NODE_BYTES)
    return f"Trees of a thousand leaves would take {size}."


def _degree_cost(degree: float) -> str:
    columns = math.comb(10 + min(int(degree), 100_000), 10)
    return f"Ten columns would become {columns:.3g} products."


def _category_cost(count: float) -> str:
    return f"A million rows would become a matrix of {_bytes(count * 8e6)}."


def _layer_cost(width: float) -> str:
    return f"Two such layers would have {width * width:.3g} weights, {_bytes(4 * width * width)}."


def _bytes(count: float) -> str:
    """Return so many bytes in words."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} TB"


RANDOM_STATE = Parameter(
    "random_state",
    "integer",
    0,
    "Seed of everything random: the rows held out, bootstraps, first weights.",
    minimum=0,
    maximum=2**63 - 1,
)
TEST_SIZE = Parameter(
    "test_size",
    "number",
    0.2,
    "Share of the rows held out to measure quality on; 0 for none.",
    minimum=0.0,
    maximum=1.0,
    excludes_maximum=True,
)
COMMON = (
    RANDOM_STATE,
    Parameter(
        "max_categories",
        "integer",
        100,
        "One-hot columns of a text feature; one with more categories is target coded.",
        minimum=2,
        maximum=10_000,
        cost=_category_cost,
    ),
    Parameter(
        "sample_weight",
        "text",
        None,
        "A column of the query that says how much each row counts.",
        choices=(None,),
    ),
    Parameter(
        "parallel_workers",
        "integer",
        None,
        "Threads at most; null for one per processor. The model does not depend on it.",
        minimum=1,
        maximum=1024,
        choices=(None,),
    ),
)
SUPERVISED = (TEST_SIZE, *COMMON)
WARM_START = Parameter(
    "warm_start",
    "text",
    None,
    "A model to learn on from, as 'name' or 'name:1.0', with these rows only.",
    choices=(None,),
)
TASK = Parameter(
    "task",
    "choice",
    None,
    "What to learn; null to tell by the target.",
    choices=(None, "classification", "regression"),
)
CLASS_WEIGHT = Parameter(
    "class_weight",
    "choice",
    None,
    "'balanced' weighs each class by the inverse of its share.",
    choices=(None, "balanced"),
)
FIT_INTERCEPT = Parameter("fit_intercept", "boolean", True, "Whether to fit a constant term.")
L1 = Parameter("l1", "number", 0.0, "Penalty on absolute coefficients.", minimum=0.0)
L2 = Parameter("l2", "number", 0.0, "Penalty on squared coefficients; 0 for none.", minimum=0.0)
STANDARDIZE = Parameter(
    "standardize", "boolean", False, "Whether distances are taken in standard deviations."
)


def _count(
    name: str, default: int | None, help_text: str, minimum: int = 1, maximum: float = 2**31 - 1
) -> Parameter:
    choices = (None,) if default is None else ()
    return Parameter(
        name, "integer", default, help_text, minimum=minimum, maximum=maximum, choices=choices
    )


def _trees(default: int) -> Parameter:
    return Parameter(
        "n_trees",
        "integer",
        default,
        "Number of trees; for each class, in boosting.",
        minimum=1,
        maximum=10_000,
        cost=_tree_cost,
    )


MAX_DEPTH = _count("max_depth", None, "Splits on the way to a leaf, at most; null for no limit.")
MIN_SAMPLES_SPLIT = _count("min_samples_split", 2, "Rows that a node needs to be split.", 2)
MIN_SAMPLES_LEAF = _count("min_samples_leaf", 1, "Rows that a leaf needs.")
MAX_LEAF_NODES = _count(
    "max_leaf_nodes", None, "Leaves at most, the best first; null: no limit.", 2
)
CRITERION = Parameter(
    "criterion",
    "choice",
    None,
    "What a split lessens; null: gini for classes, squared_error for numbers.",
    choices=(None, "gini", "entropy", "log_loss", "squared_error"),
)
VALIDATION = (
    Parameter("early_stopping", "boolean", False, "Stop when a validation part gains no more."),
    Parameter(
        "validation_fraction",
        "number",
        0.1,
        "Share of the training rows that early stopping watches.",
        minimum=0.0,
        maximum=1.0,
        excludes_minimum=True,
        excludes_maximum=True,
    ),
    _count("n_iter_no_change", 10, "Iterations without a gain before it stops."),
)


@dataclass(frozen=True, slots=True)
class AlgorithmSpec:
    """An algorithm that CREATE MODEL may name."""

    name: str
    task: TaskOfAlgorithm
    summary: str
    parameters: Mapping[str, Parameter]


def _spec(name: str, task: TaskOfAlgorithm, summary: str, *parameters: Parameter) -> AlgorithmSpec:
    common = COMMON if task == "clustering" else SUPERVISED
    chosen = (*parameters, *((TASK,) if task == "either" else ()), *common)
    return AlgorithmSpec(name, task, summary, {p.name: p for p in chosen})


LINEAR_REGRESSION = _spec(
    "linear_regression",
    "regression",
    "Ordinary least squares; ridge regression with l2, lasso with l1.",
    L1,
    L2,
    FIT_INTERCEPT,
    WARM_START,
)
POLYNOMIAL_REGRESSION = _spec(
    "polynomial_regression",
    "regression",
    "Least squares on the products of the columns.",
    Parameter(
        "degree",
        "integer",
        2,
        "Factors of a product, at most.",
        minimum=1,
        maximum=10,
        cost=_degree_cost,
    ),
    Parameter("interaction_only", "boolean", False, "Only products of different columns."),
    L2,
    FIT_INTERCEPT,
)
LOGISTIC_REGRESSION = _spec(
    "logistic_regression",
    "classification",
    "Class probabilities from a linear score; softmax for more than two classes.",
    L1,
    Parameter("l2", "number", 1.0, "Penalty on squared coefficients; 1/C.", minimum=0.0),
    FIT_INTERCEPT,
    _count("max_iterations", 100, "Iterations before giving up on the tolerance.", 1, 100_000),
    Parameter(
        "tol",
        "number",
        1e-8,
        "Largest element of the gradient, per row, to stop at.",
        minimum=0.0,
        maximum=1.0,
    ),
    CLASS_WEIGHT,
    WARM_START,
)
DECISION_TREE = _spec(
    "decision_tree",
    "either",
    "One tree of yes-or-no questions.",
    MAX_DEPTH,
    MIN_SAMPLES_SPLIT,
    MIN_SAMPLES_LEAF,
    MAX_LEAF_NODES,
    CRITERION,
    CLASS_WEIGHT,
)
RANDOM_FOREST = _spec(
    "random_forest",
    "either",
    "The mean of many trees, each of other rows and columns.",
    _trees(100),
    MAX_DEPTH,
    Parameter(
        "max_features",
        "number",
        "auto",
        "Columns tried at a split: a count, a share below 1, or a rule; auto is sqrt for classes "
        "and all columns for numbers.",
        minimum=0.0,
        excludes_minimum=True,
        choices=("auto", "sqrt", "log2", None),
    ),
    MIN_SAMPLES_SPLIT,
    MIN_SAMPLES_LEAF,
    MAX_LEAF_NODES,
    CRITERION,
    Parameter("bootstrap", "boolean", True, "Whether each tree draws rows with replacement."),
    CLASS_WEIGHT,
    Parameter(
        "quantization",
        "choice",
        None,
        "Store leaves in fewer bits.",
        choices=(None, "int8", "float16"),
    ),
)
GRADIENT_BOOSTING = _spec(
    "gradient_boosting",
    "either",
    "Trees that each mend what those before left over.",
    _trees(100),
    Parameter(
        "learning_rate",
        "number",
        0.1,
        "How much of its correction each tree makes.",
        minimum=0.0,
        maximum=1.0,
        excludes_minimum=True,
    ),
    MAX_DEPTH,
    _count("max_leaf_nodes", 31, "Leaves of a tree, at most.", 2, 65_536),
    _count("min_samples_leaf", 20, "Rows that a leaf needs."),
    Parameter(
        "subsample",
        "number",
        1.0,
        "Share of the rows that each tree sees.",
        minimum=0.0,
        maximum=1.0,
        excludes_minimum=True,
    ),
    Parameter("l2", "number", 0.0, "Penalty on squared leaf values.", minimum=0.0),
    *VALIDATION,
    Parameter("tol", "number", 1e-7, "A gain smaller than this is none.", minimum=0.0),
    CLASS_WEIGHT,
)
KMEANS = _spec(
    "kmeans",
    "clustering",
    "Clusters around k centres.",
    _count("k", 8, "Number of clusters.", 1, 10_000),
    _count("max_iterations", 300, "Rounds of moving the centres, at most.", 1, 100_000),
    Parameter(
        "n_init",
        "integer",
        "auto",
        "Beginnings to choose the best of; auto is 1, as k-means++ begins well.",
        minimum=1,
        maximum=1000,
        choices=("auto",),
    ),
    Parameter("tol", "number", 1e-4, "A movement smaller than this ends it.", minimum=0.0),
    Parameter("mini_batch", "boolean", False, "Whether to learn from batches of rows."),
    _count("batch_size", 1024, "Rows of a mini-batch.", 1, 10_000_000),
    STANDARDIZE,
    WARM_START,
)
DBSCAN = _spec(
    "dbscan",
    "clustering",
    "Clusters of dense regions; what lies in none is noise.",
    Parameter(
        "eps",
        "number",
        0.5,
        "How near neighbours are, in the columns' units.",
        minimum=0.0,
        excludes_minimum=True,
    ),
    _count("min_samples", 5, "Neighbours, itself included, that make a dense region."),
    Parameter(
        "metric",
        "choice",
        "euclidean",
        "What distance is.",
        choices=("euclidean", "manhattan", "chebyshev"),
    ),
    STANDARDIZE,
)
NEURAL_NETWORK = _spec(
    "neural_network",
    "either",
    "Layers of units, each a bent sum of those before.",
    Parameter(
        "layers",
        "integers",
        None,
        "Units of every layer, inputs and outputs included.",
        minimum=1,
        maximum=MOST_WIDTH,
        choices=(None,),
        cost=_layer_cost,
    ),
    Parameter(
        "hidden_layers",
        "integers",
        None,
        "Units of the layers between; null for one of 100.",
        minimum=1,
        maximum=MOST_WIDTH,
        choices=(None,),
        cost=_layer_cost,
    ),
    Parameter(
        "activation",
        "choice",
        "relu",
        "How a unit bends its sum.",
        choices=("relu", "tanh", "sigmoid", "gelu"),
    ),
    Parameter(
        "optimizer",
        "choice",
        "adam",
        "How the weights follow the gradient.",
        choices=("sgd", "momentum", "adam"),
    ),
    Parameter(
        "learning_rate",
        "number",
        0.001,
        "How far a step goes.",
        minimum=0.0,
        maximum=10.0,
        excludes_minimum=True,
    ),
    _count("epochs", 50, "Passes over the rows, at most.", 1, 100_000),
    Parameter(
        "batch_size",
        "integer",
        None,
        "Rows of a step; null for 200.",
        minimum=1,
        maximum=10_000_000,
        choices=(None,),
    ),
    Parameter(
        "dropout",
        "number",
        0.0,
        "Share of hidden units left out of each step.",
        minimum=0.0,
        maximum=1.0,
        excludes_maximum=True,
    ),
    Parameter("l2", "number", 1e-4, "Penalty on squared weights.", minimum=0.0),
    *VALIDATION,
    Parameter("tol", "number", 1e-4, "A gain smaller than this is none.", minimum=0.0),
    CLASS_WEIGHT,
    Parameter(
        "quantization",
        "choice",
        None,
        "Store weights in fewer bits.",
        choices=(None, "int8", "float16"),
    ),
    WARM_START,
)
ALGORITHMS: Mapping[str, AlgorithmSpec] = {
    spec.name: spec
    for spec in (
        LINEAR_REGRESSION,
        POLYNOMIAL_REGRESSION,
        LOGISTIC_REGRESSION,
        DECISION_TREE,
        RANDOM_FOREST,
        GRADIENT_BOOSTING,
        KMEANS,
        DBSCAN,
        NEURAL_NETWORK,
    )
}


def find_algorithm(name: str) -> AlgorithmSpec:
    """Return the algorithm of that name.

    Raises
    ------
    UnknownModelError
        42704: there is none; the HINT has the nearest names.
    """
    spec = ALGORITHMS.get(name)
    if spec is None:
        raise UnknownModelError(
            f'algorithm "{name}" does not exist', hint=nearest_hint(name, ALGORITHMS)
        )
    return spec


def check_parameters(name: str, given: Mapping[str, Value]) -> dict[str, Value]:
    """Return the parameters of an algorithm, checked, with defaults for those not given.

    Raises
    ------
    UnknownModelError
        42704: no such algorithm.
    InvalidParameterError
        22023: an unknown key or a value out of range.
    """
    return check_values(name, find_algorithm(name).parameters, given)
