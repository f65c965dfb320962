"""A catalog for the tests of the planner, and the steps from a text to its plan.

Owns models of every kind whose expressions show what stands where: `churn_p + tenure`. All but
`forest` have one; that of `species` has each input twice, and that of `wrapped` has them within a
subquery.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from proxy.errors import UnknownModelError
from proxy.rewrite.catalog import FeatureSignature, ModelSignature
from proxy.rewrite.plan import PredictQuery, Splice
from proxy.rewrite.planner import analyse, plan, probes
from proxy.rewrite.statements import ModelReference


def features(*columns: tuple[str, str, str]) -> tuple[FeatureSignature, ...]:
    return tuple(
        FeatureSignature(name, kind, sql_type)  # type: ignore[arg-type]
        for name, kind, sql_type in columns
    )


CHURN = features(
    ("tenure", "number", "int4"), ("charges", "number", "numeric"), ("contract", "category", "text")
)
MODELS = {
    "churn": ("probability", ("no", "yes"), "pg_catalog.text", "binary", CHURN),
    "price": ("value", (), "pg_catalog.float8", "regression", CHURN),
    "species": ("label", ("a", "b", "c"), "pg_catalog.text", "multiclass", CHURN),
    "wrapped": ("value", (), "pg_catalog.float8", "regression", CHURN),
    "forest": ("probability", ("no", "it's"), "pg_catalog.text", "binary", CHURN),
    "segments": ("label", ("0", "1"), "pg_catalog.int4", "clustering", CHURN),
    "kinds": (
        "label", ("1", "2", "3"), "pg_catalog.int4", "multiclass",
        features(
            ("flag", "boolean", "bool"), ("d", "time", "date"), ("ts", "time", "timestamptz"),
            ("span", "time", "interval"), ("pixels", "array", "float8[]"),
            ("cost", "number", "money"), ("c", "category", "text"),
        ),
    ),
}  # fmt: skip
LARGE = frozenset({"forest", "kinds"})
COLUMNS = ("id", "contract", "charges", "tenure", "other")
STARS = {"*": COLUMNS, "c.*": COLUMNS, "t.*": ("tenure",)}


@dataclass(frozen=True)
class Formula:
    """A model's expression that shows what it is made of."""

    parts: tuple[str | int, ...]
    uses: tuple[int, ...]
    has_subquery: bool = False


class Catalog:
    """Models, some of which are small enough for an SQL expression."""

    def score_expression(
        self, model: ModelReference, given: Sequence[bool], output: str, class_index: int | None,
        type_sql: str,
    ) -> Formula | None:  # fmt: skip
        if model.name in LARGE:
            return None
        parts: list[str | int] = [f"{model.name}_{output[0]}"]
        uses = [0] * len(given)
        for index in (index for index, is_given in enumerate(given) if is_given):
            parts += [" + ", index]
            uses[index] = 2 if model.name == "species" else 1
            parts += [" * ", index] if uses[index] > 1 else []
        if model.name == "wrapped":
            parts = ["(SELECT ", *parts, ")"]
        return Formula(tuple(parts), tuple(uses), model.name == "wrapped")

    def threshold_expression(
        self, model: ModelReference, given: Sequence[bool], class_index: int | None,
        operator: str, bound: float,
    ) -> Formula | None:  # fmt: skip
        if model.name != "churn" or not 0 < bound < 1:
            return None
        sum_ = self.score_expression(model, given, "x", class_index, "")
        assert sum_ is not None
        return Formula((*sum_.parts, f" {operator} logit({bound})"), sum_.uses)

    def resolve(self, name: str, version: str | None) -> ModelSignature:
        if name not in MODELS or version not in (None, "1.0", "2.0"):
            raise UnknownModelError(f'model "{name}" does not exist')
        kind, classes, target, task, columns = MODELS[name]
        return ModelSignature(name, version or "2.0", columns, kind, classes, target, task)  # type: ignore[arg-type]


def query(sql: str) -> PredictQuery:
    """Return the query that a text is."""
    found = analyse(sql)
    assert isinstance(found, PredictQuery)
    return found


def splice(sql: str, **settings: bool) -> Splice:
    """Return the plan of a text, its stars answered from `STARS`."""
    found = query(sql)
    stars = {probe.key: STARS[probe.key[1]] for probe in probes(found, Catalog())}
    return plan(found, Catalog(), stars, n_parameters=found.n_parameters, **settings)
