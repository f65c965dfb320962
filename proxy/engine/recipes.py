"""How each algorithm is fitted: what it wants of its columns, which estimator, which parameters.

Owns the table from SQL names to estimators. What an algorithm may be told is in `algorithms`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from proxy.engine.clusters.dbscan import DBSCAN
from proxy.engine.clusters.kmeans import KMeans
from proxy.engine.linear.coefficients import Coefficients
from proxy.engine.linear.linear import LinearRegression
from proxy.engine.linear.logistic import LogisticRegression
from proxy.engine.linear.polynomial import PolynomialRegression
from proxy.engine.networks.network_predictor import quantized as quantized_network
from proxy.engine.networks.network_size import check_layers
from proxy.engine.networks.neural_network import MLPClassifier, MLPRegressor
from proxy.engine.predictors import Predictor
from proxy.engine.preparation.preprocessing import Preparation
from proxy.engine.preparation.screening import Screening
from proxy.engine.trees.decision_tree import DecisionTreeClassifier, DecisionTreeRegressor
from proxy.engine.trees.gradient_boosting import (
    GradientBoostingClassifier,
    GradientBoostingRegressor,
)
from proxy.engine.trees.random_forest import RandomForestClassifier, RandomForestRegressor
from proxy.engine.trees.tree_predictor import quantized as quantized_trees
from proxy.errors import InvalidParameterError

Estimator: TypeAlias = Any
"""As scikit-learn's: `fit(design, answers, sample_weight=..., report=..., parallel=...)`, then
`predictor_` and `warnings_`."""

MOST_ONE_HOT_OF_TREES = 8
"""Trees split a target coded category as well as its one-hot columns, at the cost of one."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """How one algorithm is fitted.

    Attributes
    ----------
    preparation : what it wants of the design, given its parameters
    regressor, classifier, clusterer : the estimator for each task; None where it has none
    arguments : the parameters that the estimator takes
    class_arguments : those that only the classifier takes
    quantized : makes a predictor of fewer bits; None where there is no such parameter
    begins_at_previous : the solution does not depend on where the fit begins, and one fitted on
        like rows is a good beginning
    watches_memory : how much is needed shows in the fit only; the estimator has a `memory_limit`
    """

    preparation: Callable[[Mapping[str, Any]], Preparation]
    arguments: tuple[str, ...]
    regressor: Callable[..., Estimator] | None = None
    classifier: Callable[..., Estimator] | None = None
    clusterer: Callable[..., Estimator] | None = None
    class_arguments: tuple[str, ...] = ()
    quantized: Callable[[Any, Any], Predictor] | None = None
    begins_at_previous: bool = False
    watches_memory: bool = False

    def estimator(self, parameters: Mapping[str, Any], task: str) -> Estimator:
        """Return an estimator that is not fitted yet.

        Parameters
        ----------
        task : "regression", "binary", "multiclass" or "clustering"
        """
        names = self.arguments
        made = {"regression": self.regressor, "clustering": self.clusterer}.get(
            task, self.classifier
        )
        if task in {"binary", "multiclass"}:
            names += self.class_arguments
        assert made is not None
        return made(**{name: parameters[name] for name in names if _is_given(name, parameters)})


def _linear(parameters: Mapping[str, Any]) -> Preparation:
    # Without an intercept a constant column is one.
    return Preparation(drops=Screening(constant=bool(parameters["fit_intercept"])))


def _distances(parameters: Mapping[str, Any]) -> Preparation:
    # A column that repeats another counts twice in a distance: that is for the user to decide.
    return Preparation(
        standardises=bool(parameters["standardize"]), drops=Screening(repeated=False)
    )


TREES = Preparation(imputes=False, most_one_hot=MOST_ONE_HOT_OF_TREES)
NETWORK = Preparation(standardises=True)


TREE_ARGUMENTS = ("max_depth", "max_leaf_nodes", "min_samples_leaf")
CART_ARGUMENTS = (*TREE_ARGUMENTS, "min_samples_split", "criterion")
VALIDATION = ("early_stopping", "validation_fraction", "n_iter_no_change", "tol", "random_state")
WEIGHTED = ("class_weight",)
NETWORK_ARGUMENTS = (
    "hidden_layers",
    "activation",
    "optimizer",
    "learning_rate",
    "epochs",
    "batch_size",
    "dropout",
    "l2",
    "parallel_workers",
    *VALIDATION,
)
KMEANS_ARGUMENTS = ("k", "max_iterations", "n_init", "tol", "mini_batch", "batch_size")
RECIPES: Mapping[str, Recipe] = {
    "linear_regression": Recipe(_linear, ("l1", "l2", "fit_intercept"), regressor=LinearRegression),
    "polynomial_regression": Recipe(
        _linear,
        ("degree", "interaction_only", "l2", "fit_intercept"),
        regressor=PolynomialRegression,
    ),
    "logistic_regression": Recipe(
        _linear,
        ("l1", "l2", "fit_intercept", "max_iterations", "tol", "class_weight"),
        classifier=LogisticRegression,
        begins_at_previous=True,
    ),
    "decision_tree": Recipe(
        lambda _: TREES,
        (*CART_ARGUMENTS, "random_state"),
        regressor=DecisionTreeRegressor,
        classifier=DecisionTreeClassifier,
        class_arguments=WEIGHTED,
    ),
    "random_forest": Recipe(
        lambda _: TREES,
        (*CART_ARGUMENTS, "n_trees", "max_features", "bootstrap", "random_state"),
        regressor=RandomForestRegressor,
        classifier=RandomForestClassifier,
        class_arguments=WEIGHTED,
        quantized=quantized_trees,
        watches_memory=True,
    ),
    "gradient_boosting": Recipe(
        lambda _: TREES,
        (*TREE_ARGUMENTS, "n_trees", "learning_rate", "subsample", "l2", *VALIDATION),
        regressor=GradientBoostingRegressor,
        classifier=GradientBoostingClassifier,
        class_arguments=WEIGHTED,
    ),
    "kmeans": Recipe(_distances, (*KMEANS_ARGUMENTS, "random_state"), clusterer=KMeans),
    "dbscan": Recipe(_distances, ("eps", "min_samples", "metric"), clusterer=DBSCAN),
    "neural_network": Recipe(
        lambda _: NETWORK,
        NETWORK_ARGUMENTS,
        regressor=MLPRegressor,
        classifier=MLPClassifier,
        class_arguments=WEIGHTED,
        quantized=quantized_network,
    ),
}


def with_hidden_layers(
    parameters: Mapping[str, Any], n_inputs: int, n_classes: int
) -> Mapping[str, Any]:
    """Return the parameters with the ends of `layers` checked and its middle as `hidden_layers`.

    Raises
    ------
    InvalidParameterError
        22023: `layers` does not fit the data, or `hidden_layers` is given beside it.
    """
    layers = parameters.get("layers")
    if layers is None:
        return parameters
    if parameters["hidden_layers"] is not None:
        raise InvalidParameterError(
            'parameters "layers" and "hidden_layers" exclude each other',
            hint="Give one of them.",
        )
    hidden = check_layers(layers, n_inputs, max(n_classes, 1))
    return {**parameters, "hidden_layers": list(hidden)}


def _is_given(name: str, parameters: Mapping[str, Any]) -> bool:
    """Say whether an estimator is told of a parameter, or left with its own default.

    Null is "the usual", but for the columns that a split tries: there it is "all".
    """
    value = parameters[name]
    return value != "auto" and (value is not None or name == "max_features")


def predictor_of(estimator: Estimator) -> Predictor:
    """Return what a fitted estimator scores with, and may be continued from."""
    predictor: Predictor = estimator.predictor_
    if not isinstance(predictor, Coefficients):
        return predictor
    remembered = getattr(estimator, "statistics_", None) or getattr(estimator, "curvature_", None)
    memory = remembered.tensors() if remembered is not None else {}
    return Coefficients(predictor.coef, predictor.intercept, predictor.link, memory)
