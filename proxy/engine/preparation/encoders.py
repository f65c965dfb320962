"""One input column each: a raw value becomes the columns of the design matrix.

Owns the arithmetic of imputation, one-hot and target coding and indicators, and the statistics that
these are learned from. `preprocessing` decides which encoder a column gets.

A raw value is a float64. For a number NaN is missing; for a category it is a code `0..k-1` into the
known categories, `k` for any other category and NaN for NULL.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from proxy.engine.arrays import Codes, Matrix, Vector
from proxy.engine.columns import BEYOND_DICTIONARY_CODE

LARGEST_MAGNITUDE = 1e150
"""Training values beyond it are refused: their squares, summed, would overflow float64."""

SMALLEST_SCALE = 1e-150


@dataclass(frozen=True, slots=True)
class NumberEncoder:
    """A number: the mean where it is missing, and a column that says so if training had any.

    Where `imputed` is NaN, missing stays missing: trees know what to do with it.
    """

    imputed: float
    minimum: float
    maximum: float
    has_indicator: bool

    @property
    def n_columns(self) -> int:
        """Return how many design columns it fills."""
        return 2 if self.has_indicator else 1

    def terms(self) -> tuple[str, ...]:
        """Return the names of its design columns."""
        return ("value", "missing") if self.has_indicator else ("value",)

    def encode(self, raw: Vector, out: Matrix) -> None:
        """Write the (n_columns, m) design of the (m,) raw values into `out`."""
        np.copyto(out[0], raw)
        if self.has_indicator:
            out[1] = np.isnan(raw)
        if not np.isfinite(raw).all():
            repair_numbers(out[0], self.imputed, self.minimum, self.maximum)


@dataclass(frozen=True, slots=True)
class CategoryEncoder:
    """A category: a column for each known one, then `infrequent` and `missing` if training had any.

    A category never seen counts as an infrequent one; without that column it is all zeros.
    """

    categories: tuple[str, ...]
    has_infrequent: bool
    has_indicator: bool

    @property
    def n_columns(self) -> int:
        """Return how many design columns it fills."""
        return len(self.categories) + self.has_infrequent + self.has_indicator

    def terms(self) -> tuple[str, ...]:
        """Return the names of its design columns."""
        infrequent = ("infrequent",) if self.has_infrequent else ()
        missing = ("missing",) if self.has_indicator else ()
        return (*self.categories, *infrequent, *missing)

    def encode(self, raw: Vector, out: Matrix) -> None:
        """Write the (n_columns, m) design of the (m,) raw codes into `out`."""
        out.fill(0.0)
        slots = np.array(self.slot_table(), dtype=np.int64)[table_index(raw, len(self.categories))]
        hot = np.flatnonzero(slots >= 0)
        out[slots[hot], hot] = 1.0

    def slot_table(self) -> list[int]:
        """Return the design column of each place of `table_index`, -1 for none."""
        k = len(self.categories)
        unseen = k if self.has_infrequent else -1
        missing = k + self.has_infrequent if self.has_indicator else -1
        return [unseen, *range(k), unseen, missing]


@dataclass(frozen=True, slots=True, eq=False)
class TargetEncoder:
    """A category of many values: for each, what the target was where it occurred.

    Parameters
    ----------
    categories : those known
    values : (len(categories) + 2, n_columns): of each known category, then of any other, then of
        NULL

    References
    ----------
    Micci-Barreca (2001), SIGKDD Explorations 3(1), 27-32.
    """

    categories: tuple[str, ...]
    values: Matrix

    @property
    def n_columns(self) -> int:
        """Return how many design columns it fills."""
        return int(self.values.shape[1])

    def terms(self) -> tuple[str, ...]:
        """Return the names of its design columns."""
        if self.n_columns == 1:
            return ("target mean",)
        return tuple(f"target share {k}" for k in range(self.n_columns))

    def encode(self, raw: Vector, out: Matrix) -> None:
        """Write the (n_columns, m) design of the (m,) raw codes into `out`."""
        np.copyto(out, self.table()[table_index(raw, len(self.categories))].T)

    def table(self) -> Matrix:
        """Return the (len(categories) + 3, n_columns) design of each place of `table_index`."""
        return np.vstack([self.values[-2:-1], self.values])


@dataclass(frozen=True, slots=True)
class DroppedEncoder:
    """A column that says nothing: it keeps its place among the arguments, and no design column."""

    categories: tuple[str, ...] = ()

    @property
    def n_columns(self) -> int:
        """Return how many design columns it fills."""
        return 0

    def terms(self) -> tuple[str, ...]:
        """Return the names of its design columns."""
        return ()

    def encode(self, raw: Vector, out: Matrix) -> None:
        """Write nothing into the (0, m) `out`."""


InputEncoder: TypeAlias = NumberEncoder | CategoryEncoder | TargetEncoder | DroppedEncoder


def table_index(raw: Vector, n_categories: int) -> Codes:
    """Return places in a table laid out as: unseen, each known category, unseen, missing.

    The unseen place stands at both ends so that one clip sends every code out of range there.
    """
    place = np.clip(raw, -1.0, float(n_categories))
    place += 1.0
    np.copyto(place, n_categories + 2.0, where=np.isnan(place))
    return place.astype(np.int64)


def repair_numbers(values: Vector, imputed: float, minimum: float, maximum: float) -> None:
    """Replace NaN by the imputed value and ±inf by the ends of the training range, in place."""
    np.nan_to_num(values, copy=False, nan=imputed, posinf=maximum, neginf=minimum)


class MagnitudeError(ValueError):
    """A training value is beyond LARGEST_MAGNITUDE."""


@dataclass(slots=True)
class NumberSummary:
    """Moments of a column, block after block.

    References
    ----------
    Chan, Golub & LeVeque (1983), American Statistician 37(3), 242-247: the pairwise update.
    """

    n_samples: int = 0
    n_valid: int = 0
    n_infinite: int = 0
    mean: float = 0.0
    squares: float = 0.0
    minimum: float = np.inf
    maximum: float = -np.inf

    def update(self, block: Vector) -> None:
        """Take in a block; ±inf counts as missing.

        Raises
        ------
        MagnitudeError
        """
        self.n_samples += len(block)
        total = _sum(block)
        if not np.isfinite(total):  # cheaper than to ask of every value
            self.n_infinite += int(np.isinf(block).sum())
            block = block[np.isfinite(block)]
            total = _sum(block)
        if len(block) == 0:
            return
        self.minimum = min(self.minimum, float(block.min()))
        self.maximum = max(self.maximum, float(block.max()))
        if max(self.maximum, -self.minimum) > LARGEST_MAGNITUDE:
            raise MagnitudeError
        self._merge(len(block), total / len(block), block)

    def _merge(self, n: int, mean: float, block: Vector) -> None:
        deviations = block - mean
        total = self.n_valid + n
        delta = mean - self.mean
        np.square(deviations, out=deviations)
        self.squares += float(deviations.sum())
        self.squares += delta * delta * (self.n_valid / total) * n
        self.mean += delta * (n / total)
        self.n_valid = total

    @property
    def n_missing(self) -> int:
        """Return how many values are NULL, NaN or ±inf."""
        return self.n_samples - self.n_valid

    def encoder(self) -> NumberEncoder:
        """Return the encoder learned; a column without any value is a constant 0."""
        if self.n_valid == 0:
            return NumberEncoder(0.0, 0.0, 0.0, has_indicator=self.n_missing > 0)
        # Rounding may carry the mean of a constant column an ulp beyond it.
        mean = min(max(self.mean, self.minimum), self.maximum)
        return NumberEncoder(mean, self.minimum, self.maximum, has_indicator=self.n_missing > 0)

    def moments(self) -> list[tuple[float, float]]:
        """Return the mean and standard deviation of each design column."""
        encoder = self.encoder()
        moments = [(encoder.imputed, self._deviation(encoder))]
        if encoder.has_indicator:
            moments.append(_share_moments(self.n_missing, self.n_samples))
        return moments

    def _deviation(self, encoder: NumberEncoder) -> float:
        if encoder.minimum == encoder.maximum:
            return 0.0
        deviation = float(np.sqrt(self.squares / self.n_samples))
        magnitude = max(abs(encoder.minimum), abs(encoder.maximum))
        noise = max(8 * np.finfo(np.float64).eps * magnitude, SMALLEST_SCALE)
        return deviation if deviation > noise else 0.0


def _sum(block: Vector) -> float:
    """Return the sum: not finite where a value is not, or where some are far too large to learn."""
    with np.errstate(over="ignore", invalid="ignore"):
        return float(block.sum())


@dataclass(slots=True)
class CategorySummary:
    """How often each code of a dictionary occurs; NULL and 'beyond the dictionary' apart."""

    dictionary: tuple[str, ...]
    counts: Codes

    @classmethod
    def of(cls, dictionary: tuple[str, ...], blocks: Iterable[NDArray[Any]]) -> CategorySummary:
        """Count the codes of all blocks."""
        width = len(dictionary) - BEYOND_DICTIONARY_CODE
        counts = np.zeros(width, dtype=np.int64)
        for block in blocks:
            counts += np.bincount(block - BEYOND_DICTIONARY_CODE, minlength=width)
        return cls(dictionary, counts)

    @property
    def n_present(self) -> int:
        """Return how many categories occur."""
        return int(np.count_nonzero(self.counts[-BEYOND_DICTIONARY_CODE:]))

    def encoder(self, max_categories: int) -> CategoryEncoder:
        """Return the encoder learned: the most frequent categories, in the order of their text.

        As in scikit-learn's OneHotEncoder `max_categories` counts the infrequent column too, but
        where there are just so many categories, each keeps its own and there is none.
        """
        present = [code for code in range(len(self.dictionary)) if self.counts[code + 2] > 0]
        has_infrequent = bool(self.counts[0] > 0) or len(present) > max_categories
        if has_infrequent:
            present.sort(key=lambda code: (-int(self.counts[code + 2]), self.dictionary[code]))
            present = present[: max_categories - 1]
        names = tuple(sorted(self.dictionary[code] for code in present))
        return CategoryEncoder(names, has_infrequent, has_indicator=bool(self.counts[1] > 0))

    def moments(self, encoder: CategoryEncoder) -> list[tuple[float, float]]:
        """Return the mean and standard deviation of each design column."""
        n_samples = int(self.counts.sum())
        code_of = {name: code for code, name in enumerate(self.dictionary)}
        counts = [int(self.counts[code_of[name] + 2]) for name in encoder.categories]
        n_missing = int(self.counts[1])
        if encoder.has_infrequent:
            counts.append(n_samples - n_missing - sum(counts))
        if encoder.has_indicator:
            counts.append(n_missing)
        return [_share_moments(count, n_samples) for count in counts]


def _share_moments(count: int, n_samples: int) -> tuple[float, float]:
    share = count / n_samples
    return share, float(np.sqrt(share * (1.0 - share)))
