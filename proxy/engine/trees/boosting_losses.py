"""What boosting minimises: squared error, or the log-loss of two classes or of many.

Owns the scores of the rows while trees are added to them, the constant that they start from, and
their losses and derivatives. Trees are grown on these by `gradient_boosting`. The passes over rows
are `proxy.kernels.boosting`; they go in blocks, several at a time, and sums are added in order.

References
----------
Friedman (2001), Greedy Function Approximation, Annals of Statistics 29(5), 1189-1232.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from proxy.engine.arrays import Codes, Flags, Matrix, Vector
from proxy.engine.parallel import InOrderMap, collect
from proxy.engine.trees.tree_statistics import even_weights
from proxy.kernels import boosting as kernel

BLOCK_ROWS = 1 << 15
"""With fewer, threads wait for each other's interpreter: a call takes as long as 5000 rows."""
LARGEST_STEP = 20.0
"""Of log-odds, before the learning rate. A pure leaf of a class with the share p has a Newton step
of 1/p, which would throw its rows from one certainty into the other."""
LEAST_SHARE = 1e-12
NONE: Vector = np.zeros(0)
SCRATCH_SIZE = kernel.WORK_SIZE + 2 * kernel.CHUNK

Leaves: TypeAlias = NDArray[np.int32]
BlockWork: TypeAlias = Callable[[int, int, Vector, Vector, int], None]
"""Called with start, stop, scratch, sums and a block's place in them."""


@dataclass(frozen=True, slots=True)
class Losses:
    """Means, by weight: of the rows that are trained on, and of those held out (NaN: none)."""

    training: float
    held: float


class Sample:
    """What a row counts for, and which are held out.

    Parameters
    ----------
    weight : (n_samples,) >= 0, not all 0, or None for ones
    is_held : (n_samples,), or None

    Attributes
    ----------
    is_trained_on : (n_samples,), neither held out nor without weight
    """

    def __init__(
        self, n_samples: int, weight: Vector | None, is_held: Flags | None, parallel: InOrderMap
    ) -> None:
        self.n_samples = n_samples
        self.weight = NONE if weight is None else weight
        self.held = NONE if is_held is None else is_held.astype(np.float64)
        self.parallel = parallel
        training = self._training()
        self.is_trained_on: Flags = training > 0
        self._total = float(training.sum())
        self._held_total = 0.0
        if is_held is not None:
            total = float(n_samples) if weight is None else float(weight.sum())
            self._held_total = total - self._total

    def _training(self) -> Vector:
        """Return the (n_samples,) weights of the rows that are trained on, 0 of others.

        Made anew, as they are asked for before the first iteration only.
        """
        counted = self.weight if len(self.weight) else np.ones(self.n_samples)
        return counted if not len(self.held) else counted * (self.held == 0.0)

    def mean(self, values: Vector) -> float:
        """Return the mean over the rows that are trained on."""
        return float(self._training() @ values) / self._total

    def weight_of_classes(self, codes: Codes, n_classes: int) -> Vector:
        """Return each class's share of what is trained on, none of them 0."""
        shares = np.bincount(codes, self._training(), n_classes) / self._total
        return np.maximum(shares, LEAST_SHARE)

    def losses(self, work: BlockWork) -> Losses:
        """Return the mean losses that a pass over all blocks adds up."""
        starts = range(0, self.n_samples, BLOCK_ROWS)
        sums = np.zeros(2 * len(starts))

        def run(start: int) -> None:
            stop = min(start + BLOCK_ROWS, self.n_samples)
            work(start, stop, np.empty(SCRATCH_SIZE), sums, start // BLOCK_ROWS)

        collect(self.parallel, run, starts)
        held = float(sums[kernel.SUM_HELD :: 2].sum())
        training = (float(sums[kernel.SUM_ALL :: 2].sum()) - held) / self._total
        return Losses(training, held / self._held_total if self._held_total > 0 else np.nan)


class Objective(Protocol):
    """A loss as a function of one score for each row and output.

    Attributes
    ----------
    base : (n_outputs,), what every score starts from
    unit : scores are to be multiplied by it, losses by its square
    largest_step : of a tree, in a leaf
    """

    base: Vector
    unit: float
    largest_step: float

    def evaluate(self) -> Losses:
        """Take the steps that wait, and return the losses there."""

    def derivatives(self, output: int) -> tuple[Vector, Vector]:
        """Return gradient and Hessian by the scores of one output, each (n_samples,)."""

    def step(self, output: int, leaf_of_row: Leaves, steps: Vector) -> None:
        """Add to each row's score the step of its leaf."""


class SquaredError:
    """(score - y)^2, in units of about a standard deviation: a power of two, so nothing is lost."""

    largest_step = np.inf

    def __init__(self, sample: Sample, y: Vector) -> None:
        self._sample = sample
        centre = sample.mean(y)
        largest = float(np.abs(y - centre).max())
        spread = largest * float(np.sqrt(sample.mean(np.square((y - centre) / (largest or 1.0)))))
        self.unit = float(np.ldexp(1.0, int(np.frexp(spread)[1]))) if spread > 0 else 1.0
        self.base = np.array([centre / self.unit])
        self._residual = (centre - y) / self.unit
        is_weighted = len(sample.weight) > 0
        self._gradient = np.empty_like(self._residual)
        self._hessian = sample.weight if is_weighted else even_weights(len(y))
        self._waiting = _no_step(sample)

    def evaluate(self) -> Losses:
        """Take the step that waits, and return the mean squared errors there."""
        sample, (leaf_of_row, steps) = self._sample, self._waiting

        def work(start: int, stop: int, scratch: Vector, sums: Vector, place: int) -> None:
            kernel.step_squared_error(
                self._residual,
                leaf_of_row,
                steps,
                sample.weight,
                sample.held,
                start,
                stop,
                self._gradient,
                scratch,
                sums,
                place,
            )

        losses = sample.losses(work)
        self._waiting = _no_step(sample)
        return losses

    def derivatives(self, output: int) -> tuple[Vector, Vector]:
        """Return the residuals, and ones; both times the weight."""
        return self._gradient, self._hessian

    def step(self, output: int, leaf_of_row: Leaves, steps: Vector) -> None:
        """Let a step wait for `evaluate`."""
        self._waiting = leaf_of_row, steps


class TwoClassLogLoss:
    """Log-loss of the log-odds of class 1."""

    unit = 1.0
    largest_step = LARGEST_STEP

    def __init__(self, sample: Sample, codes: Codes) -> None:
        self._sample = sample
        negative, positive = sample.weight_of_classes(codes, 2)
        self.base = np.array([np.log(positive / negative)])
        self._raw = np.full(sample.n_samples, self.base[0])
        self._wrong_sign: Vector = np.where(codes == 1, -1.0, 1.0)
        self._gradient = np.empty(sample.n_samples)
        self._hessian = np.empty(sample.n_samples)
        self._waiting = _no_step(sample)

    def evaluate(self) -> Losses:
        """Take the step that waits, and return the mean log-losses there."""
        sample, (leaf_of_row, steps) = self._sample, self._waiting

        def work(start: int, stop: int, scratch: Vector, sums: Vector, place: int) -> None:
            kernel.step_log_loss(
                self._raw,
                leaf_of_row,
                steps,
                self._wrong_sign,
                sample.weight,
                sample.held,
                start,
                stop,
                self._gradient,
                self._hessian,
                scratch,
                sums,
                place,
            )

        losses = sample.losses(work)
        self._waiting = _no_step(sample)
        return losses

    def derivatives(self, output: int) -> tuple[Vector, Vector]:
        """Return p - y and p (1 - p), times the weight."""
        return self._gradient, self._hessian

    def step(self, output: int, leaf_of_row: Leaves, steps: Vector) -> None:
        """Let a step wait for `evaluate`."""
        self._waiting = leaf_of_row, steps


class ManyClassLogLoss:
    """Log-loss of the softmax of one score for each class.

    Derivatives are made anew for each class, as they are asked for, and may be asked for by several
    threads: all classes' at once would take twice the memory of the scores.
    """

    unit = 1.0
    largest_step = LARGEST_STEP

    def __init__(self, sample: Sample, codes: Codes, n_classes: int) -> None:
        self._sample = sample
        self._codes = codes
        self.base = np.log(sample.weight_of_classes(codes, n_classes))
        self._raw: Matrix = np.repeat(self.base[:, None], sample.n_samples, axis=1)
        self._total = np.empty(sample.n_samples)

    def evaluate(self) -> Losses:
        """Return the mean log-losses."""
        sample = self._sample

        def work(start: int, stop: int, scratch: Vector, sums: Vector, place: int) -> None:
            kernel.normalise(
                self._raw,
                self._codes,
                sample.weight,
                sample.held,
                start,
                stop,
                self._total,
                scratch,
                sums,
                place,
            )

        return sample.losses(work)

    def derivatives(self, output: int) -> tuple[Vector, Vector]:
        """Return p - y and p (1 - p), times the weight, of one class."""
        gradient, hessian = np.empty((2, self._sample.n_samples))
        kernel.differentiate_class(
            self._raw,
            self._total,
            self._codes,
            self._sample.weight,
            output,
            gradient,
            hessian,
            np.empty(SCRATCH_SIZE),
        )
        return gradient, hessian

    def step(self, output: int, leaf_of_row: Leaves, steps: Vector) -> None:
        """Add to each row's score of one class the step of its leaf."""
        n_samples = self._sample.n_samples
        first = output * n_samples
        kernel.add_steps(self._raw.reshape(-1), first, 0, n_samples, leaf_of_row, steps)


def _no_step(sample: Sample) -> tuple[Leaves, Vector]:
    return np.zeros(sample.n_samples, np.int32), np.zeros(1)
