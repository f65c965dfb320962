"""Text that is a time: `2025-01`, `2025-01-31`, `2025-01-31 12:00`, as many tables keep it.

Owns which text is one and which moment it means, in seconds since 1970. `ml.text_seconds` in the
migrations does the same to the arguments of PREDICT.
"""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np

from proxy.engine.columns import Column, Dataset, FeatureKind
from proxy.engine.memory import Allocate
from proxy.engine.row_blocks import row_blocks

TIME_TEXT = re.compile(
    r" *([0-9]{4})-(0[1-9]|1[0-2])(?:-(0[1-9]|[12][0-9]|3[01])"
    r"(?:[ T]([01][0-9]|2[0-3]):([0-5][0-9])(?::([0-5][0-9])(?:[.][0-9]+)?)?)?)? *"
)
DAY_S = 86_400


def text_seconds(text: str) -> float:
    """Return the seconds from 1970 to what the text says, in UTC; NaN where it is no time.

    A month is its first day. Days count on from it: February 30 is March 2.
    """
    match = TIME_TEXT.fullmatch(text)
    if match is None or match[1] == "0000":  # PostgreSQL's calendar has no year 0
        return np.nan
    month = np.datetime64(f"{match[1]}-{match[2]}-01", "D")
    days = int((month - np.datetime64("1970-01-01", "D")).astype(np.int64))
    days += int(match[3] or 1) - 1
    seconds = (int(match[4] or 0) * 60 + int(match[5] or 0)) * 60 + int(match[6] or 0)
    return float(days * DAY_S + seconds)


def with_times(dataset: Dataset, allocate: Allocate = np.empty) -> Dataset:
    """Return the dataset with every column of such text as a TIME."""
    features = tuple(
        as_time(column, allocate) if _is_time(column) else column for column in dataset.features
    )
    return replace(dataset, features=features)


def _is_time(column: Column) -> bool:
    if column.kind is not FeatureKind.CATEGORY or not column.categories:
        return False
    # One word that is no time decides for most columns, before the others are read.
    return not any(np.isnan(text_seconds(category)) for category in column.categories)


def as_time(column: Column, allocate: Allocate = np.empty) -> Column:
    """Return a CATEGORY as a TIME; a text that is none is NULL."""
    seconds = [text_seconds(category) for category in column.categories]
    # -1 is NULL and -2 beyond the dictionary: numpy counts them from the end.
    table = np.array([*seconds, np.nan, np.nan])
    values = allocate(len(column.values), np.float64)
    for block in row_blocks(len(values)):
        values[block] = table[column.values[block]]
    return Column(column.name, FeatureKind.TIME, column.sql_type, values)
