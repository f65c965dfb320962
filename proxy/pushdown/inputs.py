"""A model's inputs as SQL: what stands for a missing value, an infinity, a category.

Owns the SQL of what `proxy.engine.preparation.encoders` does to one column of the raw matrix. What
is made of the columns is left to the files of the models.

NULL and NaN are missing. PostgreSQL's NaN equals itself and is greater than every other number.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from proxy.engine.columns import FeatureKind
from proxy.engine.model import Model
from proxy.engine.preparation.encoders import (
    CategoryEncoder,
    DroppedEncoder,
    InputEncoder,
    NumberEncoder,
)
from proxy.pushdown.constants import number, text
from proxy.pushdown.template import Part, Parts

COLLATION = ' COLLATE pg_catalog."C"'
"""Categories are told apart by their bytes, whatever the column's own collation says."""


@dataclass(frozen=True, slots=True)
class InputColumn:
    """A column of the raw matrix.

    Attributes
    ----------
    sql : its value; None where the feature is not given: then it is missing in every row
    is_always_finite : no value is NaN or infinite; it may be NULL
    """

    sql: Sequence[Part] | None
    encoder: InputEncoder
    is_always_finite: bool


def input_columns(model: Model, given: Sequence[bool]) -> list[InputColumn]:
    """Return the columns of a model's raw matrix, in their order."""
    encoders = iter(model.preprocessor.encoders_)
    columns = []
    for place, feature in enumerate(model.features):
        is_array = feature.kind is FeatureKind.ARRAY
        is_boolean = feature.kind is FeatureKind.BOOLEAN
        for element in range(1, feature.width + 1):
            sql: Sequence[Part] | None = None
            if given[place]:
                sql = ("(", place, f")[{element}]") if is_array else (place,)
            columns.append(InputColumn(sql, next(encoders), is_boolean))
    return columns


def is_missing(sql: Sequence[Part], *, is_always_finite: bool) -> Parts:
    """Return whether a number is NULL or NaN."""
    if is_always_finite:
        return [*sql, " IS NULL"]
    return ["NULLIF(", *sql, ",'NaN') IS NULL"]


def chosen(
    column: InputColumn, scale: str, ends: tuple[float, float], missing: str
) -> Sequence[Part]:
    """Return a number, or what stands for it where it is infinite or missing.

    Parameters
    ----------
    scale : what stands before the number where it is there: nothing, or a factor
    ends : what stands for -inf and inf
    """
    x = column.sql
    if x is None:
        return [missing]
    if column.is_always_finite:
        return [f"COALESCE({scale}", *x, f",{missing})"]
    low, high = map(number, ends)
    cases = f" WHEN 'Infinity' THEN {high} WHEN '-Infinity' THEN {low} WHEN 'NaN' THEN {missing}"
    return ["CASE ", *x, f"{cases} ELSE COALESCE({scale}", *x, f",{missing}) END"]


def looked_up(column: InputColumn, categories: Sequence[str], values: Sequence[float]) -> Parts:
    """Return what a table says of a category.

    Parameters
    ----------
    values : of each known category, then of any other, then of NULL
    """
    unseen, missing = number(values[-2]), number(values[-1])
    if column.sql is None:
        return [missing]
    otherwise: Parts = [unseen]
    if missing != unseen:
        otherwise = ["CASE WHEN ", *column.sql, f" IS NULL THEN {missing} ELSE {unseen} END"]
    cases = [
        f" WHEN {text(category)} THEN {number(value)}"
        for category, value in zip(categories, values, strict=False)
        if value != values[-2]
    ]
    if not cases:
        return otherwise
    return ["CASE ", *column.sql, COLLATION, *cases, " ELSE ", *otherwise, " END"]


def design_columns(model: Model, columns: Sequence[InputColumn]) -> list[Sequence[Part]]:
    """Return each column of the design.

    Raises
    ------
    ConstantError
        A missing number stays missing there.
    """
    shift = model.preprocessor.shift_.tolist()
    inverse = model.preprocessor.inverse_scale_.tolist()
    design: list[Sequence[Part]] = []

    def standardised(value: float, at: int) -> float:
        return float((value - shift[at]) * inverse[at])

    for column in columns:
        encoder, at = column.encoder, len(design)
        if isinstance(encoder, DroppedEncoder):
            continue
        if isinstance(encoder, NumberEncoder):
            ends = (encoder.minimum, encoder.maximum)
            value = chosen(column, "", ends, number(encoder.imputed))
            design.append(_standardised(value, shift[at], inverse[at]))
            if encoder.has_indicator:
                flags = [number(standardised(flag, at + 1)) for flag in (1.0, 0.0)]
                design.append(_flag(column, *flags))
            continue
        for k, values in enumerate(category_values(encoder)):
            scaled = [standardised(value, at + k) for value in values]
            design.append(looked_up(column, encoder.categories, scaled))
    return design


def category_values(encoder: InputEncoder) -> list[list[float]]:
    """Return for each design column of a category its value for each category, unseen and NULL."""
    if isinstance(encoder, CategoryEncoder):
        slots = encoder.slot_table()[1:]
        return [[float(slot == k) for slot in slots] for k in range(encoder.n_columns)]
    if isinstance(encoder, NumberEncoder | DroppedEncoder):
        return []
    values: list[list[float]] = encoder.values.T.tolist()
    return values


def _flag(column: InputColumn, missing: str, present: str) -> Parts:
    if column.sql is None:
        return [missing]
    condition = is_missing(column.sql, is_always_finite=column.is_always_finite)
    return ["CASE WHEN ", *condition, f" THEN {missing} ELSE {present} END"]


def _standardised(value: Sequence[Part], shift: float, inverse: float) -> Sequence[Part]:
    # The same operations as the engine's: a row that is as near to two centres is so here.
    if shift == 0.0 and inverse == 1.0:
        return value
    return ["(", *value, f"-{number(shift)})*{number(inverse)}"]
