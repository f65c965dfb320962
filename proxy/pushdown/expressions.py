"""A trained model as an SQL expression, where it is small enough for PostgreSQL to compute.

Owns which models are, and the way from a model to its expression. The expressions themselves are in
`sums`, `polynomials`, `clusters` and `trees`.

Scores agree with those of `Model.scorer` to 1e-9 of their size, labels exactly; no score is NULL or
NaN. A finite number so large, or so small, that the arithmetic leaves the range of float8 raises
22003 in PostgreSQL, where the engine goes on.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, TypeAlias

from proxy.engine.clusters.kmeans_predictor import KMeansPredictor
from proxy.engine.linear.coefficients import Coefficients
from proxy.engine.linear.polynomial_predictor import PolynomialPredictor
from proxy.engine.model import Model, PredictKind
from proxy.engine.predictors import LOG_ODDS
from proxy.engine.trees.tree_predictor import TreePredictor
from proxy.pushdown import clusters, polynomials, sums, trees
from proxy.pushdown.constants import ConstantError, label
from proxy.pushdown.inputs import input_columns
from proxy.pushdown.template import Parts, Template

Operator: TypeAlias = Literal["<", "<=", ">", ">="]

MOST_INPUTS = 256
"""Columns of the raw matrix."""
MOST_CLASSES = 32
MOST_TERMS = 1024
"""Products, or cases of a table, of all sums: about 10 microseconds of PostgreSQL's."""
MOST_DIFFERENCES = 512
"""Of a row's columns and all centres."""
MOST_COLUMNS = 128
"""Columns of the design that are computed one by one, of a polynomial or for distances."""
MOST_MONOMIALS = 512

_MIRRORED: dict[Operator, Operator] = {"<": ">", "<=": ">=", ">": "<", ">=": "<="}


def score_template(
    model: Model,
    given: Sequence[bool],
    output: PredictKind,
    class_index: int | None,
    label_type_sql: str,
) -> Template | None:
    """Return what `Model.scorer` would compute of a row, as SQL.

    Parameters
    ----------
    given : for each feature, whether the row has it; one that is not given is missing
    output, class_index : as in `Model.scorer`, but a label is the label itself
    label_type_sql : the type of labels as SQL, qualified

    Returns
    -------
    a float8, or a label; None: the model is too large, of a kind that PostgreSQL would compute
    slowly, or has no such output
    """
    if model.input_width > MOST_INPUTS or len(model.classes) > MOST_CLASSES:
        return None
    try:
        labels = [label(each, label_type_sql) for each in model.classes]
        found = _expression(model, given, output, class_index, labels)
    except ConstantError:
        return None
    if found is None:
        return None
    parts, has_subquery = found
    return Template.of(parts, len(model.features), has_subquery=has_subquery)


def threshold_template(
    model: Model,
    given: Sequence[bool],
    class_index: int | None,
    operator: Operator,
    bound: float,
) -> Template | None:
    """Return `probability operator bound` as a comparison of log-odds: no exponential is computed.

    Where the probability rounds to the bound, the comparison may go either way.

    Parameters
    ----------
    given : as in `score_template`
    class_index : whose probability; None is class 1's

    Returns
    -------
    a boolean, never NULL; None: the model is not a logistic one of two classes, or too large, or
    the bound is not between 0 and 1
    """
    predictor = model.predictor
    if not isinstance(predictor, Coefficients) or predictor.link != LOG_ODDS:
        return None
    if predictor.n_outputs != 1 or not 0.0 < bound < 1.0 or not _is_small_sum(model, predictor):
        return None
    log_odds = math.log(bound) - math.log1p(-bound)
    if class_index == 0:
        operator, log_odds = _MIRRORED[operator], -log_odds
    try:
        columns = input_columns(model, given)
        parts = sums.comparison(columns, predictor, operator, log_odds)
    except ConstantError:
        return None
    return Template.of(parts, len(model.features))


def _expression(
    model: Model,
    given: Sequence[bool],
    output: PredictKind,
    class_index: int | None,
    labels: Sequence[str],
) -> tuple[Parts, bool] | None:
    """Return the expression and whether it holds a subquery."""
    predictor = model.predictor
    if not _has(model, output):
        return None
    columns = input_columns(model, given)
    if isinstance(predictor, Coefficients) and _is_small_sum(model, predictor):
        if output == "value":
            return sums.value(columns, predictor), False
        if output == "label":
            return sums.label(columns, predictor, labels)
        return sums.probability(columns, predictor, class_index)
    if isinstance(predictor, PolynomialPredictor) and _is_small_polynomial(model, predictor):
        return polynomials.value(model, columns, predictor), True
    if isinstance(predictor, KMeansPredictor) and _is_small_clustering(model, predictor):
        return clusters.label(model, columns, predictor, labels)
    if isinstance(predictor, TreePredictor):
        return trees.expression(model, columns, output, class_index, labels)
    return None


def _has(model: Model, output: PredictKind) -> bool:
    """Say whether a model has such an output."""
    if model.task == "regression":
        return output == "value"
    return output == "label" or (output == "probability" and model.task != "clustering")


def _is_small_sum(model: Model, predictor: Coefficients) -> bool:
    if model.input_width > MOST_INPUTS or len(model.classes) > MOST_CLASSES:
        return False
    n_terms = model.input_width + _n_categories(model)
    return bool(n_terms * predictor.n_outputs <= MOST_TERMS)


def _is_small_polynomial(model: Model, predictor: PolynomialPredictor) -> bool:
    is_narrow = predictor.n_features_in <= MOST_COLUMNS and _n_categories(model) <= MOST_TERMS
    return is_narrow and len(predictor.coef) <= MOST_MONOMIALS


def _is_small_clustering(model: Model, predictor: KMeansPredictor) -> bool:
    n_columns = predictor.n_features_in
    is_narrow = n_columns <= MOST_COLUMNS and _n_categories(model) <= MOST_TERMS
    return is_narrow and n_columns * predictor.n_clusters <= MOST_DIFFERENCES


def _n_categories(model: Model) -> int:
    return sum(len(feature.categories) for feature in model.features)
