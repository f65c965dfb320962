"""What the planner asks about models.

Owns the questions and the form of the answers; `registry` gives them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

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
