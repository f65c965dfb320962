"""A target's values as classes of a model that was trained on other rows.

Owns the comparison, by value where both are numbers and by text else.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from proxy.engine.arrays import Codes, Flags, Vector
from proxy.engine.columns import BEYOND_DICTIONARY_CODE, NULL_CODE, Column, FeatureKind
from proxy.engine.memory import Allocate
from proxy.engine.model import Target
from proxy.engine.row_blocks import row_blocks
from proxy.engine.targets import REAL_TYPES

UNSEEN = -1
MOST_UNSEEN = 100
"""Numbers that the model does not know, of which there may be one in each row."""
BEYOND = "(a label beyond the first 65536)"

_BOOLEANS = {"false": 0.0, "true": 1.0}


@dataclass(frozen=True, slots=True)
class ClassCodes:
    """The classes of the rows of a target.

    Attributes
    ----------
    codes : (n,) places in the model's classes, UNSEEN for a label that is none of them
    has_value : (n,), False where the target is NULL
    unseen : the labels that the model does not know, each once; of numbers the first hundred
    """

    codes: Codes
    has_value: Flags
    unseen: tuple[str, ...]


def class_codes(target: Target, column: Column, allocate: Allocate = np.empty) -> ClassCodes:
    """Find each value of a column among the classes of a model.

    Parameters
    ----------
    target : the model's
    column : a number, a boolean or a category
    allocate : for codes and flags
    """
    n = len(column.values)
    codes, has_value = allocate(n, np.int64), allocate(n, np.bool_)
    find = _find_texts if column.kind is FeatureKind.CATEGORY else _find_numbers
    return ClassCodes(codes, has_value, find(target, column, codes, has_value))


def _find_texts(target: Target, column: Column, codes: Codes, has_value: Flags) -> tuple[str, ...]:
    """Write codes, and whether there is a value; return the labels that are unseen."""
    places = {label: place for place, label in enumerate(target.classes)}
    known = [places.get(word, UNSEEN) for word in column.categories]
    # The codes -2 and -1 reach the last two places as numpy's indices from the end.
    table = np.array([*known, UNSEEN, UNSEEN], dtype=np.int64)
    counts = np.zeros(len(table), dtype=np.int64)
    for rows in row_blocks(len(codes)):
        words = column.values[rows]
        codes[rows] = table[words]
        np.not_equal(words, NULL_CODE, out=has_value[rows])
        counts += np.bincount(words - BEYOND_DICTIONARY_CODE, minlength=len(counts))
    unseen = [
        word
        for word, place, count in zip(column.categories, known, counts[2:], strict=True)
        if place == UNSEEN and count
    ]
    return (*unseen, *([BEYOND] if counts[0] else []))


def _find_numbers(
    target: Target, column: Column, codes: Codes, has_value: Flags
) -> tuple[str, ...]:
    """Write codes, and whether there is a value; return the labels that are unseen."""
    places = _places_of_numbers(target, column)
    # The NaN, which equals nothing, is for what is greater than all.
    known = np.array([*sorted(value for value in places if not math.isnan(value)), np.nan])
    table = np.array([*(places[value] for value in known[:-1].tolist()), UNSEEN], dtype=np.int64)
    unseen: Vector = np.zeros(0)
    for rows in row_blocks(len(codes)):
        values = column.values[rows]
        nearest = np.searchsorted(known[:-1], values)
        is_known = known[nearest] == values
        codes[rows] = np.where(is_known, table[nearest], UNSEEN)
        np.logical_not(np.isnan(values), out=has_value[rows])
        others = values[~is_known & has_value[rows]]
        if len(others):
            unseen = np.union1d(unseen, others)[:MOST_UNSEEN]
    return tuple(_spell(value, column.kind) for value in unseen.tolist())


def _places_of_numbers(target: Target, column: Column) -> dict[float, int]:
    """Return the place of each class whose label is a number or a boolean, by its value."""
    is_real = target.sql_type in REAL_TYPES or column.sql_type in REAL_TYPES
    places: dict[float, int] = {}
    for place, label in enumerate(target.classes):
        value = _number(label)
        if value is None:
            continue
        places[value] = place
        if is_real:  # 0.1 as float4 is another number than 0.1 as float8
            with np.errstate(over="ignore"):
                places[float(np.float32(value))] = place
    return places


def _number(label: str) -> float | None:
    if label in _BOOLEANS:
        return _BOOLEANS[label]
    try:
        return float(label)
    except ValueError:
        return None


def _spell(value: float, kind: FeatureKind) -> str:
    if kind is FeatureKind.BOOLEAN:
        return "true" if value else "false"
    return repr(value).removesuffix(".0")
