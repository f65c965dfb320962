"""Learning on from a model that is there: `warm_start`.

Owns what must agree between the earlier model and the new rows, and what an estimator is told of
the earlier one. The preprocessing stays the earlier model's: its columns are what the coefficients,
centres and weights belong to.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from proxy.engine.columns import Column, Dataset, FeatureKind, InputFeature
from proxy.engine.linear.coefficients import Coefficients
from proxy.engine.linear.linear import LinearRegression
from proxy.engine.linear.logistic import LogisticRegression
from proxy.engine.linear.remembered import Curvature, Statistics
from proxy.engine.memory import Allocate
from proxy.engine.model import Model
from proxy.engine.preparation.time_text import as_time
from proxy.errors import (
    ArtifactError,
    DatatypeMismatchError,
    InvalidParameterError,
    UndefinedColumnError,
)

CONTINUED_BY: Mapping[str, dict[str, Any]] = {"kmeans": {"mini_batch": True}}
"""Parameters that learning on implies: only mini-batches weigh new rows against those before."""


def check_algorithm(earlier: Model, algorithm: str) -> None:
    """Refuse a model of another algorithm.

    Raises
    ------
    InvalidParameterError
        22023
    """
    if earlier.algorithm != algorithm:
        raise InvalidParameterError(
            f'parameter "warm_start" names a model of {earlier.algorithm}, not of {algorithm}',
            hint=f"Use {earlier.algorithm}, or leave warm_start out.",
        )


def aligned(
    dataset: Dataset, features: tuple[InputFeature, ...], allocate: Allocate = np.empty
) -> Dataset:
    """Return the dataset with the earlier model's features, in its order.

    Raises
    ------
    UndefinedColumnError
        42703: a feature is missing.
    DatatypeMismatchError
        42804: one is of another kind.
    InvalidParameterError
        22023: there is one that the model does not have.
    """
    given = {column.name: column for column in dataset.features}
    columns = []
    for feature in features:
        column = given.pop(feature.name, None)
        if column is None:
            raise UndefinedColumnError(
                f'the training query has no column "{feature.name}", which the model of '
                "warm_start learned from"
            )
        columns.append(_of_kind(column, feature, allocate))
    if given:
        raise InvalidParameterError(
            f'the model of warm_start has no feature "{next(iter(given))}"',
            detail=f"Its features are {', '.join(feature.name for feature in features)}.",
            hint="Leave the column out, or train a new model.",
        )
    return replace(dataset, features=tuple(columns))


def _of_kind(column: Column, feature: InputFeature, allocate: Allocate) -> Column:
    if feature.kind is FeatureKind.TIME and column.kind is FeatureKind.CATEGORY:
        return as_time(column, allocate)
    if column.kind is not feature.kind or column.width != feature.width:
        raise DatatypeMismatchError(
            f'column "{column.name}" is of type {column.sql_type}, but the model of warm_start '
            f"learned from {feature.sql_type}"
            + (f" of {feature.width} elements" if feature.width > 1 else "")
        )
    return column


def told_of(earlier: Model, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return what `fit` is told to go on from the earlier model."""
    predictor = earlier.predictor
    if not isinstance(predictor, Coefficients):
        return {"start": predictor}
    fit_intercept = bool(parameters["fit_intercept"])
    if earlier.parameters["fit_intercept"] != fit_intercept:
        raise InvalidParameterError(
            'parameter "fit_intercept" must be that of the model of warm_start',
            hint=f"It is {str(not fit_intercept).lower()} there.",
        )
    try:
        start = _estimator(predictor, fit_intercept=fit_intercept)
    except (KeyError, ValueError) as error:
        raise ArtifactError(
            "what the model of warm_start remembers of its rows is damaged",
            hint="Restore the registry from a backup, or train the model again.",
        ) from error
    return {"start": start, "continues": True}


def _estimator(
    predictor: Coefficients, *, fit_intercept: bool
) -> LinearRegression | LogisticRegression:
    """Return an estimator as it was after the earlier fit."""
    memory, width = predictor.memory, predictor.n_features_in
    if predictor.is_classifier:
        logistic = LogisticRegression(fit_intercept=fit_intercept)
        logistic.coef_, logistic.intercept_ = predictor.coef, predictor.intercept
        logistic.n_features_in_ = width
        if memory:
            n_classes = 2 if predictor.n_outputs == 1 else predictor.n_outputs
            logistic.curvature_ = Curvature.from_tensors(
                memory, n_features_in=width, n_classes=n_classes, fit_intercept=fit_intercept
            )
        return logistic
    linear = LinearRegression(fit_intercept=fit_intercept)
    linear.coef_, linear.intercept_ = predictor.coef[0], float(predictor.intercept[0])
    linear.n_features_in_ = width
    if memory:
        linear.statistics_ = Statistics.from_tensors(
            memory, n_features_in=width, fit_intercept=fit_intercept
        )
    return linear
