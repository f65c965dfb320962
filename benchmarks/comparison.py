"""The arithmetic of a benchmark: interleaved rounds, ratios pair by pair, goals.

Owns no clock and starts nothing: whoever calls brings the work as functions that return numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Literal

Work = Callable[[], float]
Series = tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Goal:
    """What a figure must reach, and what it aims at.

    Raises
    ------
    ValueError
        The aim asks for less than the must.
    """

    sign: Literal["<=", ">="]
    must: float
    aim: float
    unit: str = "x"

    def __post_init__(self) -> None:
        if not self._reaches(self.aim, self.must):
            raise ValueError(f"an aim of {self.aim} is weaker than a must of {self.must}")

    def verdict(self, value: float) -> Literal["aim", "must", "missed"]:
        """Return the highest of the two that `value` reaches."""
        if self._reaches(value, self.aim):
            return "aim"
        return "must" if self._reaches(value, self.must) else "missed"

    def _reaches(self, value: float, bound: float) -> bool:
        return value >= bound if self.sign == ">=" else value <= bound


@dataclass(frozen=True, slots=True)
class Measurement:
    """One figure: a value from each round, and what both sides took, for the reader."""

    values: Series
    ours: str = ""
    theirs: str = ""

    @property
    def median(self) -> float:
        """The figure itself."""
        return median(self.values)

    @property
    def extremes(self) -> tuple[float, float]:
        """The smallest and the largest value."""
        return min(self.values), max(self.values)


@dataclass(frozen=True, slots=True)
class NotMeasured:
    """Why there is no figure; `has_failed` if there should be one."""

    reason: str
    has_failed: bool = False


Outcome = Measurement | NotMeasured


def interleaved(rounds: int, *works: Work) -> tuple[Series, ...]:
    """Do each work once unmeasured, then all of them in turn, `rounds` times: A B C A B C ...

    What drifts during the run (a clock that throttles, a neighbour) so reaches all of them alike.

    Returns
    -------
    one series for each work, (rounds,)
    """
    for work in works:
        work()
    turns = [[work() for work in works] for _ in range(rounds)]
    return tuple(zip(*turns, strict=True))


def ratio(ours: Series, theirs: Series, unit: str) -> Measurement:
    """Return ours / theirs of each round."""
    values = tuple(mine / other for mine, other in zip(ours, theirs, strict=True))
    return Measurement(values, amount(ours, unit), amount(theirs, unit))


def speedup(ours: Series, theirs: Series, unit: str) -> Measurement:
    """Return theirs / ours of each round: how many times faster we are."""
    values = tuple(other / mine for mine, other in zip(ours, theirs, strict=True))
    return Measurement(values, amount(ours, unit), amount(theirs, unit))


def amount(series: Sequence[float], unit: str) -> str:
    """Return the median with three significant digits, whole numbers from 100 on, and its unit."""
    middle = median(series)
    return f"{middle:,.0f} {unit}" if abs(middle) >= 100 else f"{middle:.3g} {unit}"
