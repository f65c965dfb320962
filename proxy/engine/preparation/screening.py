"""Columns that say nothing, or too much: constant, repeated, like a key, like the target itself.

Owns how such columns are told. What is left out is `preprocessing`'s decision, and here only
mentioned; what looks like a key or like the target is never left out, only mentioned.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from proxy.engine.arrays import Codes, Rows, Vector
from proxy.engine.columns import Column, FeatureKind
from proxy.engine.memory import Allocate
from proxy.engine.preparation.encoders import CategorySummary, NumberSummary
from proxy.engine.row_blocks import chosen_blocks

FEWEST_ROWS = 50
"""With fewer, distinct values and perfect separation are nothing to wonder at."""
MOST_ROWS = 20_000
ALMOST_ALL = 0.9999
KEY_SHARE = 0.95

Summary: TypeAlias = NumberSummary | CategorySummary


@dataclass(frozen=True, slots=True)
class Source:
    """One input column of a dataset: a feature, or element j of an array."""

    column: Column
    j: int
    rows: Rows

    @property
    def values(self) -> NDArray[Any]:
        """Return the values of all the dataset's rows."""
        is_array = self.column.kind is FeatureKind.ARRAY
        return self.column.values[:, self.j] if is_array else self.column.values

    def first(self, n: int) -> NDArray[Any]:
        """Return the values of the first n chosen rows."""
        return self.values[:n] if self.rows is None else self.values[self.rows[:n]]

    def blocks(self) -> Iterator[NDArray[Any]]:
        """Yield the values of the chosen rows."""
        return (block for _, block in chosen_blocks(self.values, self.rows))


@dataclass(frozen=True, slots=True)
class Screening:
    """Which columns are left out."""

    constant: bool = True
    repeated: bool = True


@dataclass(frozen=True, slots=True)
class Redundant:
    """Why a column is left out: it is constant, or repeats the input column `twin`."""

    twin: int | None = None


def screen(
    sources: Sequence[Source], summaries: Sequence[Summary], wanted: Screening
) -> list[Redundant | None]:
    """Return, for each input column, why it is left out; None keeps it."""
    nothing: list[Redundant | None] = [None] * len(sources)
    redundant = nothing.copy()
    alike: dict[object, list[int]] = {}
    for j, summary in enumerate(summaries):
        if _is_empty(summary) or (wanted.constant and _is_constant(summary)):
            redundant[j] = Redundant()
        elif wanted.repeated:
            earlier = alike.setdefault(_likeness(sources[j], summary), [])
            twins = [k for k in earlier if _are_equal(sources[k], sources[j])]
            if twins:
                redundant[j] = Redundant(twins[0])
            else:
                earlier.append(j)
    # Something must be left to fit on.
    return redundant if None in redundant else nothing


def _is_empty(summary: Summary) -> bool:
    """Say whether there is no value at all: the missing ones are then all the same."""
    if isinstance(summary, NumberSummary):
        return summary.n_valid == 0
    return summary.n_present == 0 and not summary.counts[0]


def _is_constant(summary: Summary) -> bool:
    if isinstance(summary, NumberSummary):
        return summary.minimum == summary.maximum and summary.n_missing == 0
    return summary.n_present + bool(summary.counts[0]) == 1 and not summary.counts[1]


def _likeness(source: Source, summary: Summary) -> object:
    """Return what equal columns have equal, without another look at the rows."""
    if isinstance(summary, NumberSummary):
        return (summary.n_valid, summary.mean, summary.squares, summary.minimum, summary.maximum)
    return (source.column.categories, summary.counts.tobytes())


def _are_equal(one: Source, other: Source) -> bool:
    equal_nan = one.column.kind is not FeatureKind.CATEGORY
    return all(
        np.array_equal(own, others, equal_nan=equal_nan)
        for own, others in zip(one.blocks(), other.blocks(), strict=True)
    )


def redundant_notices(
    sources: Sequence[Source], redundant: Sequence[Redundant | None]
) -> list[str]:
    """Return a sentence for each feature that was left out, in whole or in part."""
    notes = []
    constant = Counter(
        source.column.name
        for source, why in zip(sources, redundant, strict=True)
        if why is not None and why.twin is None
    )
    repeated: dict[str, list[int]] = {}
    for source, why in zip(sources, redundant, strict=True):
        if why is not None and why.twin is not None:
            repeated.setdefault(source.column.name, []).append(why.twin)
    for source in sources:
        name, column = source.column.name, source.column
        if source.j:
            continue
        if column.kind is FeatureKind.ARRAY:
            n_left = constant[name] + len(repeated.get(name, []))
            if n_left:
                notes.append(
                    f'{n_left} of the {column.width} elements of column "{name}" are constant or '
                    "repeat another column and are left out"
                )
        elif constant[name]:
            notes.append(f'column "{name}" is the same in every row and is left out')
        elif name in repeated:
            twin = sources[repeated[name][0]]
            notes.append(f'column "{name}" repeats column "{_spell(twin)}" and is left out')
    return notes


def _spell(source: Source) -> str:
    is_array = source.column.kind is FeatureKind.ARRAY
    return f"{source.column.name}[{source.j + 1}]" if is_array else source.column.name


def suspicious_notices(
    features: Sequence[Column],
    rows: Rows,
    y: Vector | Codes | None,
    *,
    is_class: bool,
    allocate: Allocate = np.empty,
) -> list[str]:
    """Return a sentence for each feature that looks like a key, or gives the target away.

    Parameters
    ----------
    rows : those with a target
    y : (n_rows,) the target, or the numbers of the classes; None: there is none
    allocate : for flags of all rows
    """
    notes = []
    for column in features:
        n_rows = len(column.values) if rows is None else len(rows)
        if column.kind is FeatureKind.ARRAY or n_rows < FEWEST_ROWS:
            continue
        if _is_like_a_key(Source(column, 0, rows), n_rows, allocate):
            notes.append(
                f'column "{column.name}" looks like a key: nearly every row has a value of its '
                "own; it tells a model nothing about new rows"
            )
        elif y is not None and _gives_away(column, rows, y, is_class=is_class):
            notes.append(
                f'column "{column.name}" alone gives the target away: is it known when a '
                "prediction is wanted?"
            )
    return notes


def _is_like_a_key(source: Source, n_rows: int, allocate: Allocate) -> bool:
    column = source.column
    if column.kind is FeatureKind.CATEGORY:
        summary = CategorySummary.of(column.categories, source.blocks())
        n_beyond, n_null = (int(count) for count in summary.counts[:2])
        n_given = n_rows - n_null
        return n_given >= FEWEST_ROWS and summary.n_present + n_beyond >= KEY_SHARE * n_given
    return column.kind is FeatureKind.NUMBER and _is_serial(source, n_rows, allocate)


def _is_serial(source: Source, n_rows: int, allocate: Allocate) -> bool:
    """Say whether the values are whole, each there once, and with hardly a gap."""
    first = source.first(MOST_ROWS)
    if not np.isfinite(first).all() or (first != np.floor(first)).any():
        return False
    low, high = np.inf, -np.inf
    for block in source.blocks():  # NaN goes from block to block, and is in no range
        low, high = np.minimum(low, block.min()), np.maximum(high, block.max())
        if not high - low < 2.0 * n_rows:
            return False
    is_taken = allocate(int(high - low) + 1, np.bool_)
    is_taken.fill(False)
    for block in source.blocks():
        places = (block - low).astype(np.int64)
        if is_taken[places].any():
            return False
        is_taken[places] = True
    return int(np.count_nonzero(is_taken)) == n_rows


def _gives_away(column: Column, rows: Rows, y: Vector | Codes, *, is_class: bool) -> bool:
    n_rows = len(column.values) if rows is None else len(rows)
    step = -(-n_rows // MOST_ROWS)
    values = column.values[::step] if rows is None else column.values[rows[::step]]
    y = y[::step]
    if column.kind is FeatureKind.CATEGORY:
        return _explained(values + 2, y, is_class=is_class) > ALMOST_ALL
    known = np.isfinite(values)
    if np.count_nonzero(known) < FEWEST_ROWS:
        return False
    values, y = values[known], y[known]
    if is_class:
        return _separates(values, y.astype(np.int64))
    x, t = values - values.mean(), y - y.mean()
    scale = float(np.abs(x).max()), float(np.abs(t).max())
    if not min(scale) > 0:
        return False
    x, t = x / scale[0], t / scale[1]
    return bool(float(x @ t) ** 2 > ALMOST_ALL * float(x @ x) * float(t @ t))


def _explained(codes: NDArray[Any], y: Vector | Codes, *, is_class: bool) -> float:
    """Return the share of the target that few categories explain; 0 if they are many."""
    n_categories = int(codes.max()) + 1
    counts = np.bincount(codes, minlength=n_categories)
    if np.count_nonzero(counts) * 10 > len(codes):
        return 0.0
    if is_class:
        pairs = np.bincount(codes * (int(y.max()) + 1) + y)
        own = np.zeros(n_categories)
        np.maximum.at(own, np.arange(len(pairs)) // (int(y.max()) + 1), pairs)
        return float(own.sum() / len(codes))
    deviations = y - y.mean()
    sums = np.bincount(codes, weights=deviations, minlength=n_categories)
    between = float((np.square(sums) / np.maximum(counts, 1)).sum())
    total = float(deviations @ deviations)
    return between / total if total > 0 else 0.0


def _separates(values: Vector, codes: Codes) -> bool:
    """Say whether the values of each class lie apart from those of every other."""
    n_classes = int(codes.max()) + 1
    low, high = np.full(n_classes, np.inf), np.full(n_classes, -np.inf)
    np.minimum.at(low, codes, values)
    np.maximum.at(high, codes, values)
    present = low <= high
    order = np.argsort(low[present], kind="stable")
    low, high = low[present][order], high[present][order]
    return bool(len(low) > 1 and (high[:-1] < low[1:]).all())
