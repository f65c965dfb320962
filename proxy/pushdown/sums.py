"""Linear and logistic models as SQL: a sum of products and of what tables say.

Owns the sum. What it means for classes is in `outcomes`.

A sum is made twice: once as it is, for rows whose numbers are all there, and once with a case for
each number, which PostgreSQL computes only where the first is NULL, NaN or infinite, as a missing
or infinite number makes it. A finite number so large, or so small, that a product leaves the range
of float8 is PostgreSQL's error 22003, where the engine goes on.
"""

from __future__ import annotations

from collections.abc import Sequence

from proxy.engine.linear.coefficients import Coefficients
from proxy.engine.preparation.encoders import CategoryEncoder, NumberEncoder, TargetEncoder
from proxy.pushdown import outcomes
from proxy.pushdown.constants import number
from proxy.pushdown.inputs import InputColumn, chosen, looked_up
from proxy.pushdown.template import Parts

MOST_IN_TOURNAMENT = 4
"""Classes that are compared in pairs. K classes take 2^(K-1) - 1 comparisons as text, of which a
row makes K - 1: of three classes in half of the time that a subquery of their sums takes."""


def linear_sum(columns: Sequence[InputColumn], weights: Sequence[float], intercept: float) -> Parts:
    """Return intercept + the weighted sum of the design's columns; never NULL or NaN.

    Raises
    ------
    ConstantError
        A constant of it is not finite.
    """
    fast: Parts = []
    careful: Parts = []
    tables: Parts = []
    is_always_finite = True
    at = 0
    for column in columns:
        encoder = column.encoder
        own = weights[at : at + encoder.n_columns]
        at += len(own)
        if isinstance(encoder, NumberEncoder):
            slope = own[0]
            missing = slope * encoder.imputed + (own[1] if encoder.has_indicator else 0.0)
            if column.sql is None:
                intercept += missing
            elif slope != 0.0 or missing != 0.0:  # 0 * NULL is NULL: the careful sum sees it too
                scale = number(slope) + "*"
                fast += ("+" + scale, *column.sql)
                ends = (slope * encoder.minimum, slope * encoder.maximum)
                careful += ("+", *chosen(column, scale, ends, number(missing)))
                is_always_finite = is_always_finite and column.is_always_finite
        elif isinstance(encoder, CategoryEncoder | TargetEncoder):
            values = _table(encoder, own)
            if column.sql is None:
                intercept += values[-1]
            elif any(values):
                tables += ("+", *looked_up(column, encoder.categories, values))
    constant = number(intercept)
    if not fast:
        return [constant, *tables]
    sound: Parts = [constant, *fast]
    if not is_always_finite:
        sound = ["NULLIF(NULLIF(NULLIF(", *sound, ",'NaN'),'Infinity'),'-Infinity')"]
    return ["COALESCE(", *sound, ",", constant, *careful, ")", *tables]


def _table(encoder: CategoryEncoder | TargetEncoder, own: Sequence[float]) -> list[float]:
    """Return what each known category adds, then any other, then NULL."""
    if isinstance(encoder, CategoryEncoder):
        padded = [*own, 0.0]  # slot -1 weighs nothing
        return [padded[slot] for slot in encoder.slot_table()[1:]]
    values: list[float] = (encoder.values @ own).tolist()
    return values


def value(columns: Sequence[InputColumn], predictor: Coefficients) -> Parts:
    """Return a regression's value."""
    return _sum(columns, predictor, 0)


def label(
    columns: Sequence[InputColumn], predictor: Coefficients, labels: Sequence[str]
) -> tuple[Parts, bool]:
    """Return the likeliest class's label, and whether it holds a subquery."""
    if predictor.n_outputs == 1:
        return outcomes.label_of_two(_sum(columns, predictor, 0), labels), False
    if predictor.n_outputs <= MOST_IN_TOURNAMENT:
        return _winner(columns, predictor, labels, 0, 1), False
    return outcomes.likeliest(_sums(columns, predictor), labels), True


def _winner(
    columns: Sequence[InputColumn],
    predictor: Coefficients,
    labels: Sequence[str],
    best: int,
    rival: int,
) -> Parts:
    """Return the likeliest of class `best`, the likeliest before `rival`, and all from there."""
    if rival == predictor.n_outputs:
        return [labels[best]]
    return [
        "CASE WHEN ",
        *_difference(columns, predictor, best, rival),
        f">={number(0.0)} THEN ",
        *_winner(columns, predictor, labels, best, rival + 1),
        " ELSE ",
        *_winner(columns, predictor, labels, rival, rival + 1),
        " END",
    ]


def probability(
    columns: Sequence[InputColumn], predictor: Coefficients, class_index: int | None
) -> tuple[Parts, bool]:
    """Return a class's probability, None: the likeliest's; and whether it holds a subquery."""
    if predictor.n_outputs == 1:
        negated = linear_sum(columns, (-predictor.coef[0]).tolist(), -float(predictor.intercept[0]))
        return outcomes.probability_of_two(negated, class_index), False
    if class_index is None:
        return outcomes.largest_share(_sums(columns, predictor)), True
    others = [k for k in range(predictor.n_outputs) if k != class_index]
    return outcomes.share([_difference(columns, predictor, k, class_index) for k in others]), False


def comparison(
    columns: Sequence[InputColumn], predictor: Coefficients, operator: str, bound: float
) -> Parts:
    """Return how the log-odds of class 1 compare with a bound."""
    return [*_sum(columns, predictor, 0), operator, number(bound)]


def _sum(columns: Sequence[InputColumn], predictor: Coefficients, k: int) -> Parts:
    return linear_sum(columns, predictor.coef[k].tolist(), float(predictor.intercept[k]))


def _difference(
    columns: Sequence[InputColumn], predictor: Coefficients, k: int, other: int
) -> Parts:
    """Return a class's sum less another's, which is a sum: neither is computed twice."""
    weights = (predictor.coef[k] - predictor.coef[other]).tolist()
    return linear_sum(columns, weights, float(predictor.intercept[k] - predictor.intercept[other]))


def _sums(columns: Sequence[InputColumn], predictor: Coefficients) -> list[Parts]:
    return [_sum(columns, predictor, k) for k in range(predictor.n_outputs)]
