"""The time from a statement's text to the text that the upstream gets, in this process.

Measured without a database: models are trained by the engine, and stand in a catalogue of their
own. What is remembered between statements is remembered here too: a model's expression, not a text.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from itertools import count
from typing import Literal

import numpy as np

from benchmarks import samples
from benchmarks.comparison import Series
from proxy.engine.columns import Column, Dataset, FeatureKind
from proxy.engine.model import Model
from proxy.engine.training import train
from proxy.pushdown.expressions import score_template, threshold_template
from proxy.pushdown.template import Template
from proxy.rewrite.catalog import FeatureSignature, ModelSignature, PredictKind
from proxy.rewrite.plan import PredictQuery
from proxy.rewrite.planner import analyse, plan
from proxy.rewrite.statements import ModelReference
from proxy.statements.expressions import Expressions

ROWS, STATEMENTS, WARM = 2000, 300, 30
NAMES = tuple(f"x{j}" for j in range(10))
_ARGUMENTS = ", ".join(NAMES)
_STATEMENTS = {
    "splice": "SELECT id, PREDICT(line, {0}) AS score FROM readings WHERE id = {1}",
    "push-down": "SELECT count(*) FROM readings WHERE PREDICT(line, {0}) > 0.7 AND id < {1}",
    "stage": "SELECT count(*) FROM readings WHERE PREDICT(grove, {0}) > 0.7 AND id < {1}",
}


class _Catalog:
    """Two models, and their expressions as `statements` remembers them."""

    def __init__(self) -> None:
        self._models = {
            "line": _trained("logistic_regression", {}),
            "grove": _trained("random_forest", {"n_trees": 100}),
        }
        self._expressions = Expressions()

    def resolve(self, name: str, version: str | None) -> ModelSignature:
        features = tuple(FeatureSignature(each, "number", "double precision") for each in NAMES)
        classes = self._models[name].classes
        return ModelSignature(
            name, version or "1.0", features, "probability", classes, "pg_catalog.int4", "binary"
        )

    def score_expression(
        self,
        model: ModelReference,
        given: Sequence[bool],
        output: PredictKind,
        class_index: int | None,
        type_sql: str,
    ) -> Template | None:
        wanted = (tuple(given), output, class_index, type_sql)
        return self._expressions.of(
            (model.name, *wanted), lambda: score_template(self._models[model.name], *wanted)
        )

    def threshold_expression(
        self,
        model: ModelReference,
        given: Sequence[bool],
        class_index: int | None,
        operator: str,
        bound: float,
    ) -> Template | None:
        sign: Literal["<", "<=", ">", ">="] = operator  # type: ignore[assignment]
        wanted = (tuple(given), class_index, sign, bound)
        return self._expressions.of(
            (model.name, *wanted), lambda: threshold_template(self._models[model.name], *wanted)
        )


def planning_microseconds() -> dict[str, Series]:
    """Return, for each strategy, what each statement took: no text comes twice."""
    catalog = _Catalog()
    numbers = count(1)
    times = {}
    for name, text in _STATEMENTS.items():
        each = [_timed(catalog, text.format(_ARGUMENTS, next(numbers))) for _ in range(STATEMENTS)]
        times[name] = tuple(each[WARM:])
    return times


def _timed(catalog: _Catalog, sql: str) -> float:
    start = time.perf_counter()
    query = analyse(sql)
    assert isinstance(query, PredictQuery)
    plan(query, catalog)
    return 1e6 * (time.perf_counter() - start)


def _trained(algorithm: str, parameters: dict[str, int]) -> Model:
    X, codes = samples.classes(ROWS)
    features = tuple(
        Column(name, FeatureKind.NUMBER, "double precision", np.ascontiguousarray(column))
        for name, column in zip(NAMES, X.T, strict=True)
    )
    target = Column("y", FeatureKind.NUMBER, "integer", codes.astype(np.float64))
    dataset = Dataset(features, target, len(X))
    return train(algorithm, dict(parameters), dataset, lambda _: None).model
