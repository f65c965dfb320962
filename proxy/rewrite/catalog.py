"""What the planner asks about models.

Owns the questions and the form of the answers; `registry` gives them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from proxy.rewrite.statements import ModelReference

FeatureKind = Literal["number", "boolean", "category", "time", "array"]
PredictKind = Literal["value", "probability", "label"]


@dataclass(frozen=True, slots=True)
class FeatureSignature:
    """One feature, as the training query's column was.

    `width` is the count of float64 inputs (1 but for an array); `categories` are in code order.
    """

    name: str
    kind: FeatureKind
    sql_type: str
    width: int = 1
    categories: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ModelSignature:
    """What a version takes and what PREDICT of it returns.

    `target_type_sql` is written into the upstream's SQL as it stands, so it must be the name of a
    type in full (`pg_catalog.text`). `classes` are the labels' SQL texts, empty for a regression.
    """

    name: str
    version: str
    features: tuple[FeatureSignature, ...]
    predict_kind: PredictKind
    classes: tuple[str, ...]
    target_type_sql: str
    task: str


class ScoreExpression(Protocol):
    """An SQL expression with places for a model's inputs.

    Attributes
    ----------
    parts : text, or the place of a feature whose input stands there
    uses : how often each feature's input stands in it
    has_subquery : inputs stand in a subquery of it
    """

    @property
    def parts(self) -> tuple[str | int, ...]: ...  # noqa: D102

    @property
    def uses(self) -> tuple[int, ...]: ...  # noqa: D102

    @property
    def has_subquery(self) -> bool: ...  # noqa: D102


class ModelCatalog(Protocol):
    """Where models are looked up."""

    def resolve(self, name: str, version: str | None) -> ModelSignature:
        """Return a version's signature, the default's for None.

        Raises
        ------
        UnknownModelError
            There is none of that name or version.
        """
        ...

    def score_expression(
        self,
        model: ModelReference,
        given: Sequence[bool],
        output: Literal["value", "probability", "label"],
        class_index: int | None,
        type_sql: str,
    ) -> ScoreExpression | None:
        """Return the model as an SQL expression; None where it is too large for one.

        Parameters
        ----------
        given : which features have an input; the others are imputed
        output, class_index : what the expression is worth, as in `plan.ScoreColumn`
        type_sql : its type
        """
        ...

    def threshold_expression(
        self,
        model: ModelReference,
        given: Sequence[bool],
        class_index: int | None,
        operator: str,
        bound: float,
    ) -> ScoreExpression | None:
        """Return `probability operator bound` as an SQL condition without the probability."""
        ...
