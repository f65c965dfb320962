"""One cut of a tree as a condition: which of its two ways a row goes.

Owns the SQL of a comparison of a design column with a threshold, and where NULL, NaN and the
infinities go. Which cuts there are is left to `trees`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

from proxy.engine.preparation.encoders import (
    CategoryEncoder,
    NumberEncoder,
    TargetEncoder,
)
from proxy.pushdown.constants import number, text
from proxy.pushdown.inputs import COLLATION, InputColumn, category_values, is_missing
from proxy.pushdown.template import Part

LEFT, RIGHT = 0, 1


@dataclass(frozen=True, slots=True)
class Condition:
    """What a row is asked.

    Attributes
    ----------
    sql : true of the rows that go to the child `where_true`; false or NULL of the others
    n_categories : how many constants a category is compared with
    """

    sql: Sequence[Part]
    where_true: int
    n_categories: int = 0


Way: TypeAlias = Condition | int
"""A condition; or, where all rows go the same way, that way."""


@dataclass(frozen=True, slots=True)
class DesignColumn:
    """A column of a design that is not standardised.

    Attributes
    ----------
    part : which of the encoder's columns it is
    values : of a category, for each known one, any other, and NULL
    """

    column: InputColumn
    part: int
    values: Sequence[float] = ()

    def way(self, threshold: float, missing_left: bool) -> Way:  # noqa: FBT001 - as in Cuts
        """Return where a cut sends rows; values up to the threshold go to the left."""
        encoder = self.column.encoder
        if isinstance(encoder, CategoryEncoder | TargetEncoder):
            return self._of_category(encoder, threshold)
        assert isinstance(encoder, NumberEncoder)
        if self.part == 1:
            return self._of_indicator(threshold)
        return self._of_number(encoder, threshold, missing_left)

    def _of_number(self, encoder: NumberEncoder, threshold: float, missing_left: bool) -> Way:  # noqa: FBT001
        if encoder.imputed == encoder.imputed:
            missing_left = encoder.imputed <= threshold
        x = self.column.sql
        if x is None:
            return LEFT if missing_left else RIGHT
        bound = number(threshold)
        # What is infinite counts as the end of the training range.
        low_goes_right, high_goes_left = encoder.minimum > threshold, encoder.maximum <= threshold
        if self.column.is_always_finite:
            return Condition([*x, f"{'>' if missing_left else '<='}{bound}"], int(missing_left))
        if missing_left:
            # To PostgreSQL NaN is beyond every number.
            below = "<'Infinity'" if high_goes_left else "<'NaN'"
            condition = [*x, f">{bound} AND ", *x, below]
            if low_goes_right:
                condition += [" OR ", *x, "='-Infinity'"]
            return Condition(condition, RIGHT)
        condition = [*x, f"<={bound}"]
        if low_goes_right:
            condition += [" AND ", *x, ">'-Infinity'"]
        if high_goes_left:
            condition += [" OR ", *x, "='Infinity'"]
        return Condition(condition, LEFT)

    def _of_indicator(self, threshold: float) -> Way:
        absent, present = int(threshold < 0.0), int(threshold < 1.0)
        x = self.column.sql
        if x is None or absent == present:
            return present
        finite = self.column.is_always_finite
        return Condition(is_missing(x, is_always_finite=finite), present)

    def _of_category(self, encoder: CategoryEncoder | TargetEncoder, threshold: float) -> Way:
        *known, unseen, missing = [int(value > threshold) for value in self.values]
        x = self.column.sql
        if x is None:
            return missing
        named = [
            text(category)
            for category, way in zip(encoder.categories, known, strict=True)
            if way != unseen
        ]
        is_null = [*x, " IS NULL"] if missing != unseen else []
        other = 1 - unseen
        if not named:
            return Condition(is_null, other) if is_null else unseen
        condition = [*x, f"{COLLATION} IN ({','.join(named)})"]
        if is_null:
            condition += [" OR ", *is_null]
        return Condition(condition, other, len(named))


def design_columns(columns: Sequence[InputColumn]) -> list[DesignColumn]:
    """Return the columns of a design that is not standardised."""
    design: list[DesignColumn] = []
    for column in columns:
        values = category_values(column.encoder)
        design += [
            DesignColumn(column, part, values[part] if values else ())
            for part in range(column.encoder.n_columns)
        ]
    return design
