"""The target column: values to regress on, or classes in order.

Owns which rows have a usable target, how classes are told apart, ordered and spelled. Numbers and
booleans are ordered by value, text by code point.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from proxy.engine.arrays import Codes, Flags, Rows, Vector
from proxy.engine.columns import NULL_CODE, Column, FeatureKind
from proxy.engine.memory import Allocate
from proxy.engine.model import Target
from proxy.engine.preparation.encoders import LARGEST_MAGNITUDE
from proxy.engine.preparation.preprocessing import NUMERIC_VALUE_OUT_OF_RANGE
from proxy.engine.row_blocks import chosen_blocks, distinct_values, rows_where, take
from proxy.errors import (
    DatatypeMismatchError,
    InvalidParameterError,
    NoTrainingRowsError,
    SingleClassError,
)

MOST_CLASSES = 1000
REAL_TYPES = frozenset({"real", "float4"})
FLOAT_TYPES = frozenset({"real", "float4", "double precision", "float8"})
WHOLE_DIGITS = {
    True: 6,
    False: 15,
}  # FLT_DIG, DBL_DIG: from there float4out, float8out use an exponent


@dataclass(frozen=True, slots=True)
class Values:
    """A regression's target: the values of the rows that have one."""

    target: Target
    y: Vector
    rows: Rows


@dataclass(frozen=True, slots=True)
class Labels:
    """A classifier's target: the class numbers of the rows that have one."""

    target: Target
    codes: Codes
    rows: Rows


def regression_target(
    column: Column, algorithm: str = "linear_regression", allocate: Allocate = np.empty
) -> Values:
    """Return the numbers to regress on: the column's own where all rows have one.

    Raises
    ------
    DatatypeMismatchError
        42804: the column is not of numbers.
    NoTrainingRowsError
        ML001: it is NULL in every row.
    InvalidParameterError
        22003: it is infinite somewhere, or beyond 1e150.
    """
    if column.kind not in {FeatureKind.NUMBER, FeatureKind.BOOLEAN}:
        raise DatatypeMismatchError(
            f'{algorithm} cannot predict column "{column.name}" of type {column.sql_type}',
            detail="A regression's target is a number.",
            hint=_regression_hint(column.kind),
        )
    rows = rows_with(column, allocate)
    y = take(column.values, rows, allocate)
    _check_magnitude(column, y)
    return Values(Target(column.name, column.kind, column.sql_type), y, rows)


def _regression_hint(kind: FeatureKind) -> str:
    if kind is FeatureKind.TIME:
        return "Turn it into a number: extract(epoch FROM ...)."
    if kind is FeatureKind.ARRAY:
        return "Choose one element of the array."
    return "Use logistic_regression to predict a label."


def _check_magnitude(column: Column, y: Vector) -> None:
    largest = max(float(y.max()), -float(y.min()))
    if largest <= LARGEST_MAGNITUDE:
        return
    what = "infinite values" if np.isinf(largest) else "values too large to learn from"
    raise InvalidParameterError(
        f'target column "{column.name}" has {what}',
        detail=f"The magnitude of a target may be {LARGEST_MAGNITUDE:g} at most.",
        hint="Leave such rows out of the training query.",
        sqlstate=NUMERIC_VALUE_OUT_OF_RANGE,
    )


def classification_target(
    column: Column, algorithm: str = "logistic_regression", allocate: Allocate = np.empty
) -> Labels:
    """Return the classes and which row is of which.

    Raises
    ------
    DatatypeMismatchError
        42804: times and arrays are no classes, nor are more than a thousand values.
    NoTrainingRowsError
        ML001: the column is NULL in every row.
    SingleClassError
        ML002: there is one class only.
    """
    if column.kind is FeatureKind.CATEGORY:
        labels = _text_classes(column, allocate)
    elif column.kind in {FeatureKind.NUMBER, FeatureKind.BOOLEAN}:
        labels = _number_classes(column, allocate)
    else:
        raise DatatypeMismatchError(
            f'{algorithm} cannot predict column "{column.name}" of type {column.sql_type}',
            detail="A classifier's target is text, a boolean or a number with few values.",
        )
    if len(labels.target.classes) == 1:
        raise SingleClassError(
            f'target column "{column.name}" has a single class',
            detail=f"Every training row has the value {labels.target.classes[0]!r}.",
            hint="Check the training query's WHERE clause; a classifier needs two classes.",
        )
    return labels


def _text_classes(column: Column, allocate: Allocate) -> Labels:
    rows = rows_with(column, allocate)
    counts = np.zeros(len(column.categories), dtype=np.int64)
    for _, words in chosen_blocks(column.values, rows):
        if words.min() < 0:
            raise _too_many_classes(column)
        counts += np.bincount(words, minlength=len(counts))
    present = np.flatnonzero(counts)
    if len(present) > MOST_CLASSES:
        raise _too_many_classes(column)
    ordered = sorted(present.tolist(), key=lambda code: column.categories[code])
    number_of = np.zeros(len(column.categories), dtype=np.int64)
    number_of[ordered] = np.arange(len(ordered))
    codes = allocate(len(column.values) if rows is None else len(rows), np.int64)
    for block, words in chosen_blocks(column.values, rows):
        codes[block] = number_of[words]
    classes = tuple(column.categories[code] for code in ordered)
    return Labels(Target(column.name, column.kind, column.sql_type, classes), codes, rows)


def _number_classes(column: Column, allocate: Allocate) -> Labels:
    rows = rows_with(column, allocate)
    distinct = distinct_values((own for _, own in chosen_blocks(column.values, rows)), MOST_CLASSES)
    if len(distinct) > MOST_CLASSES:
        raise _too_many_classes(column)
    codes = allocate(len(column.values) if rows is None else len(rows), np.int64)
    for block, values in chosen_blocks(column.values, rows):
        codes[block] = _places(values, distinct)
    classes = tuple(_spell(float(value), column) for value in distinct)
    return Labels(Target(column.name, column.kind, column.sql_type, classes), codes, rows)


def _places(values: Vector, distinct: Vector) -> Codes | Flags:
    """Return the place of each value among the distinct ones; of two by one comparison."""
    if len(distinct) == 2:
        return np.asarray(values == distinct[1])
    return np.asarray(np.searchsorted(distinct, values))


def _spell(value: float, column: Column) -> str:
    """Return a value as PostgreSQL prints it in the column's type."""
    if column.kind is FeatureKind.BOOLEAN:
        return "true" if value else "false"
    if np.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    if column.sql_type not in FLOAT_TYPES:
        return str(np.format_float_positional(value + 0.0, trim="-"))
    is_real = column.sql_type in REAL_TYPES
    digits = (str(np.float32(value)) if is_real else repr(value + 0.0)).removesuffix(".0")
    if abs(value) >= 10 ** WHOLE_DIGITS[is_real] and "e" not in digits:
        return _with_exponent(digits)
    return digits


def _with_exponent(digits: str) -> str:
    """Return '1200000000000000.5' as PostgreSQL writes it: '1.2000000000000005e+15'."""
    sign = "-" if digits.startswith("-") else ""
    whole, _, fraction = digits.removeprefix("-").partition(".")
    mantissa = f"{whole[0]}.{whole[1:]}{fraction}".rstrip("0").rstrip(".")
    return f"{sign}{mantissa}e+{len(whole) - 1:02d}"


def rows_with(column: Column, allocate: Allocate = np.empty) -> Rows:
    """Return the rows that have a target, None if all do.

    Raises
    ------
    NoTrainingRowsError
        ML001: none has.
    """
    values = column.values

    def has_value(block: slice) -> Flags:
        if column.kind is FeatureKind.CATEGORY:
            return np.asarray(values[block] != NULL_CODE)
        return np.asarray(~np.isnan(values[block]))

    rows = rows_where(has_value, len(values), allocate)
    if not len(values) or (rows is not None and not len(rows)):
        raise NoTrainingRowsError(
            "the training query returned no row with a target",
            detail=f'Column "{column.name}" is NULL in every row, or there are no rows.',
        )
    return rows


def _too_many_classes(column: Column) -> DatatypeMismatchError:
    hint = "Group the rare labels, or leave them out."
    if column.kind is FeatureKind.NUMBER:
        hint = "Use linear_regression to predict a number."
    return DatatypeMismatchError(
        f'target column "{column.name}" has more than {MOST_CLASSES} classes', hint=hint
    )
