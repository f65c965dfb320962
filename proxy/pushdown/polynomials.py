"""Polynomial models as SQL: each column once, then Horner's scheme over the monomials.

Owns the nesting: a monomial is its parent times a column, so what all products of a parent share is
multiplied once. A column so far from its centre that a power of it leaves the range of float8 is
PostgreSQL's error 22003, where the engine holds the column back.
"""

from __future__ import annotations

from collections.abc import Sequence

from proxy.engine.linear.polynomial_predictor import PolynomialPredictor
from proxy.engine.model import Model
from proxy.pushdown.constants import number
from proxy.pushdown.inputs import InputColumn, design_columns
from proxy.pushdown.template import Part, Parts, subquery


def value(model: Model, columns: Sequence[InputColumn], predictor: PolynomialPredictor) -> Parts:
    """Return the value, as a subquery.

    Raises
    ------
    ConstantError
        A constant of it is not finite.
    """
    design = design_columns(model, columns)
    bases: list[Sequence[Part]] = [
        ["(", *design[place], f"-{number(centre)})/{number(scale)}"]
        for place, centre, scale in zip(
            predictor.columns.tolist(),
            predictor.centre.tolist(),
            predictor.scale.tolist(),
            strict=True,
        )
    ]
    total = number(predictor.intercept)
    if not bases:
        return [total]
    return subquery([total, *_horner(predictor)], "z", bases)


def _horner(predictor: PolynomialPredictor) -> list[str]:
    """Return the monomials that are columns, each times what its products add."""
    weights, factors = predictor.coef.tolist(), predictor.column.tolist()
    n_base = len(predictor.columns)
    terms: list[list[str]] = [[] for _ in weights]
    sums: list[str] = []
    # From the last, as every product comes behind its parent.
    for k in range(len(weights) - 1, -1, -1):
        own = [] if weights[k] == 0.0 else [number(weights[k])]
        inner = "+".join([*own, *reversed(terms[k])])
        if not inner:
            continue
        term = f"z.c{factors[k]}*({inner})" if terms[k] else f"z.c{factors[k]}*{inner}"
        if k < n_base:
            sums.append("+" + term)
        else:
            terms[int(predictor.parent[k])].append(term)
    return sums[::-1]
