"""Which products of columns a polynomial has, and in which order they are made.

Owns the list of monomials and its length; their values are `kernels.polynomial`'s. Products that
say nothing are left out: powers of a column with two values, 0 and 1, which are that column, and
products of two columns of one group, of which one is 0 in every row.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Monomial: TypeAlias = tuple[int, ...]
"""Columns in ascending order, each as often as its power."""

NO_GROUP = -1


@dataclass(frozen=True, slots=True)
class Factors:
    """The columns that are multiplied, and what is known of them.

    Attributes
    ----------
    is_single : for each column, whether it may stand in a product once at most
    group : for each column its group's number, or NO_GROUP; a product has one of a group at most,
        and that once
    """

    is_single: tuple[bool, ...]
    group: tuple[int, ...]

    def may_follow(self, monomial: Monomial, column: int) -> bool:
        """Say whether the product of an allowed monomial and a column not before its last is."""
        if column == monomial[-1]:
            return not self.is_single[column]
        own = self.group[column]
        return own == NO_GROUP or all(self.group[factor] != own for factor in monomial)


def count_monomials(factors: Factors, degree: int) -> int:
    """Return how many monomials there are, without making them; the constant is not counted.

    The product of one polynomial for each column or group, whose coefficients count its monomials
    by degree.
    """
    grouped: dict[int, int] = {}
    counts = [1] + [0] * degree
    for is_single, group in zip(factors.is_single, factors.group, strict=True):
        if group != NO_GROUP:
            grouped[group] = grouped.get(group, 0) + 1
        elif is_single:
            counts = _times(counts, [1, 1])
        else:
            counts = _times(counts, [1] * (degree + 1))
    for size in grouped.values():
        counts = _times(counts, [1, size])
    return sum(counts) - 1


def _times(counts: list[int], other: list[int]) -> list[int]:
    """Return the product of two polynomials, without what is beyond the first one's degree."""
    return [
        sum(counts[i - j] * other[j] for j in range(min(i + 1, len(other))))
        for i in range(len(counts))
    ]


def list_monomials(factors: Factors, degree: int) -> list[Monomial]:
    """Return the monomials by degree, and within it in lexicographic order, as scikit-learn's."""
    level: list[Monomial] = [(column,) for column in range(len(factors.group))]
    monomials = list(level)
    for _ in range(degree - 1):
        level = [
            (*monomial, column)
            for monomial in level
            for column in range(monomial[-1], len(factors.group))
            if factors.may_follow(monomial, column)
        ]
        monomials += level
    return monomials


def program_of(monomials: Sequence[Monomial]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return parent and column of each monomial; of a single column -1 and its own place."""
    place = {monomial: k for k, monomial in enumerate(monomials)}
    parent = [place[monomial[:-1]] if len(monomial) > 1 else -1 for monomial in monomials]
    column = [monomial[-1] for monomial in monomials]
    return np.array(parent, np.int64), np.array(column, np.int64)


def powers_of(monomial: Monomial) -> tuple[tuple[int, int], ...]:
    """Return (column, power) of each factor, in ascending order of the columns."""
    return tuple((column, monomial.count(column)) for column in dict.fromkeys(monomial))


def null_pairs(
    monomials: Sequence[Monomial], factors: Factors, degree: int, *, fit_intercept: bool
) -> list[dict[int, float]]:
    """Return combinations of monomials that are constant because a group's columns add up to 1.

    A monomial times the sum of a group is the monomial: for each of less than full degree that has
    no column of the group. Each combination is weights by place.
    """
    place = {monomial: k for k, monomial in enumerate(monomials)}
    members: dict[int, list[int]] = {}
    for column, group in enumerate(factors.group):
        if group != NO_GROUP:
            members.setdefault(group, []).append(column)
    sums = [dict.fromkeys(columns, 1.0) for columns in members.values()]
    found = sums if fit_intercept else [_difference(*both) for both in pairwise(sums)]
    for columns in members.values():
        for k, monomial in enumerate(monomials):
            if len(monomial) < degree and not set(columns) & set(monomial):
                products = [tuple(sorted((*monomial, column))) for column in columns]
                if all(product in place for product in products):
                    found.append({**{place[product]: 1.0 for product in products}, k: -1.0})
    return found


def _difference(left: dict[int, float], right: dict[int, float]) -> dict[int, float]:
    return {**left, **{place: -weight for place, weight in right.items()}}
