"""The table of algorithms: the name in SQL, the task, the parameters.

Owns what CREATE MODEL ... USING accepts. Fitting is left to `training`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from proxy.engine.parameters import Parameter, Value, check_values, nearest_hint
from proxy.errors import UnknownModelError

COMMON = (
    Parameter(
        "test_size",
        "number",
        0.2,
        "Share of the rows held out to measure quality on; 0 for none.",
        minimum=0.0,
        maximum=1.0,
        excludes_maximum=True,
    ),
    Parameter(
        "random_state",
        "integer",
        0,
        "Seed of the choice of held-out rows.",
        minimum=0,
        maximum=2**63 - 1,
    ),
    Parameter(
        "max_categories",
        "integer",
        100,
        "One-hot columns of a text feature; the rarest categories share the last.",
        minimum=2,
        maximum=10_000,
    ),
)
FIT_INTERCEPT = Parameter("fit_intercept", "boolean", True, "Whether to fit a constant term.")
L1 = Parameter(
    "l1", "number", 0.0, "Penalty on absolute coefficients.", minimum=0.0, is_planned=True
)


@dataclass(frozen=True, slots=True)
class AlgorithmSpec:
    """An algorithm that CREATE MODEL may name."""

    name: str
    task: Literal["regression", "classification"]
    summary: str
    parameters: Mapping[str, Parameter]


def _spec(
    name: str,
    task: Literal["regression", "classification"],
    summary: str,
    *parameters: Parameter,
) -> AlgorithmSpec:
    return AlgorithmSpec(name, task, summary, {p.name: p for p in (*parameters, *COMMON)})


LINEAR_REGRESSION = _spec(
    "linear_regression",
    "regression",
    "Ordinary least squares; ridge regression with l2.",
    Parameter("l2", "number", 0.0, "Penalty on squared coefficients; 0 for none.", minimum=0.0),
    L1,
    FIT_INTERCEPT,
)
LOGISTIC_REGRESSION = _spec(
    "logistic_regression",
    "classification",
    "Class probabilities from a linear score; softmax for more than two classes.",
    Parameter("l2", "number", 1.0, "Penalty on squared coefficients; 1/C.", minimum=0.0),
    L1,
    FIT_INTERCEPT,
    Parameter(
        "max_iterations",
        "integer",
        100,
        "Iterations before giving up on the tolerance.",
        minimum=1,
        maximum=100_000,
    ),
    Parameter(
        "tol",
        "number",
        1e-8,
        "Largest element of the gradient, per row, to stop at.",
        minimum=0.0,
        maximum=1.0,
    ),
    Parameter(
        "class_weight",
        "choice",
        None,
        "'balanced' weighs each class by the inverse of its share.",
        choices=(None, "balanced"),
    ),
)
ALGORITHMS: Mapping[str, AlgorithmSpec] = {
    spec.name: spec for spec in (LINEAR_REGRESSION, LOGISTIC_REGRESSION)
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
    UnsupportedError
        0A000: a parameter that is known and not built yet.
    """
    return check_values(name, find_algorithm(name).parameters, given)
