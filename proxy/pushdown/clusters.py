"""k-means as SQL: the number of the nearest centre.

Owns the distances. They are made by the engine's operations in the engine's order, so that a row
that is as near to two centres goes to the same one. A row whose squared distances leave the range
of float8 is PostgreSQL's error 22003, where the engine goes on.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from proxy.engine.clusters.kmeans_predictor import KMeansPredictor
from proxy.engine.model import Model
from proxy.kernels.clusters import FAR
from proxy.pushdown.constants import ConstantError, number
from proxy.pushdown.inputs import InputColumn, design_columns
from proxy.pushdown.outcomes import first_equal
from proxy.pushdown.template import Part, Parts, computed_once, separated

LARGEST_EXPONENT = 400
"""Centres beyond 2^400 have squares too large to be told apart."""


def label(
    model: Model,
    columns: Sequence[InputColumn],
    predictor: KMeansPredictor,
    labels: Sequence[str],
) -> tuple[Parts, bool]:
    """Return the nearest centre's label, the first of equally near ones; has it a subquery.

    Raises
    ------
    ConstantError
        A constant of it is not finite, or a centre is too far away.
    """
    if predictor.exponent > LARGEST_EXPONENT:
        raise ConstantError("the centres are too far away")
    if predictor.n_clusters == 1 or predictor.n_features_in == 0:
        return [labels[0]], False
    centers: list[list[float]] = predictor.centers.tolist()
    names = [f"c{j}" for j in range(predictor.n_features_in)]
    columns_sql = [
        [*column, f" AS {name}"]
        for name, column in zip(names, design_columns(model, columns), strict=True)
    ]
    squares = [f"{_square(names, center)} AS q{k}" for k, center in enumerate(centers)]
    inner = computed_once(separated(", ", columns_sql), "x")
    measured = computed_once([", ".join([*names, *squares]), " FROM "], "z", inner)
    distances = [f"z.q{k}" for k in range(len(centers))]
    near = first_equal("LEAST", distances, labels)
    bound = number(math.ldexp(FAR, 2 * predictor.exponent))
    is_near = f"LEAST({', '.join(distances)})<{bound}"
    result = f"CASE WHEN {is_near} THEN {near} ELSE {_in_direction(centers, labels)} END"
    return ["(SELECT ", result, " FROM ", *measured, ")"], True


def _square(names: Sequence[str], center: Sequence[float]) -> str:
    differences = [f"({name}-{number(c)})" for name, c in zip(names, center, strict=True)]
    return "+".join(f"{difference}*{difference}" for difference in differences)


def _in_direction(centers: Sequence[Sequence[float]], labels: Sequence[str]) -> str:
    """Return the nearest centre of a row from which the centres look as one: see `FAR`."""
    scores = [
        "+".join(
            [
                number(-0.5 * sum(c * c for c in center)),
                *(f"z.c{j}*{number(c)}" for j, c in enumerate(center)),
            ]
        )
        for center in centers
    ]
    targets: Sequence[Part] = [", ".join(f"{score} AS s{k}" for k, score in enumerate(scores))]
    nearest = first_equal("GREATEST", [f"y.s{k}" for k in range(len(centers))], labels)
    return "".join(map(str, ["(SELECT ", nearest, " FROM ", *computed_once(targets, "y"), ")"]))
