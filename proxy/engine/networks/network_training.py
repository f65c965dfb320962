"""Fit a network's parameters: minibatches, back-propagation, and when to stop.

Owns the buffers that a minibatch goes through, and the loop over minibatches and epochs. Products
are BLAS's, in float32; what lies between them is `kernels.network_training`'s and `activations`',
the step is `optimizers`'. The meaning of inputs and outputs is `neural_network`'s.

A minibatch of SMALLEST_SPLIT_BATCH rows or more is worked on in shards, whose gradients are added
in their order. How many depends on the batch alone, never on how many are worked on at a time, so
that the same bytes are learned with any number of threads.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from proxy.engine.arrays import Codes, IterationReport, ignore_iteration
from proxy.engine.networks.activations import Activation, Floats
from proxy.engine.networks.network_parameters import Parameters, RandomStream
from proxy.engine.networks.network_problem import Loss, Rows, score
from proxy.engine.networks.optimizers import Optimizer, aligned
from proxy.engine.parallel import InOrderMap, collect, one_by_one
from proxy.kernels import network_training as kernel
from proxy.kernels.network import LARGEST_WEIGHT

SMALLEST_SPLIT_BATCH = 512
SMALLEST_SHARD = 256
MOST_SHARDS = 8
EVALUATION_ROWS = 1024

LARGEST_GRADIENT = 1e3
"""Of its norm, per row; far beyond what standardised data give, and a bound to a wild step."""
DIVERGED = 1e3
"""A loss so many times the first is beyond return."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """How long and in what portions to train; the names are those of `neural_network`."""

    activation: Activation
    epochs: int
    batch_size: int
    dropout: float
    l2: float
    tol: float
    n_iter_no_change: int


class _Buffers:
    """All that a shard of a minibatch needs between its rows and its gradient."""

    def __init__(self, parameters: Parameters, loss: Loss, n_rows: int, *, dropout: float) -> None:
        sizes = parameters.sizes
        self.parameters = parameters
        self.loss = loss
        self.inputs = aligned(n_rows, sizes[0])
        self.sums = [aligned(n_rows, size) for size in sizes[1:]]
        self.slopes = [aligned(n_rows, size) for size in sizes[1:-1]]
        self.masks = [aligned(n_rows, size) for size in sizes[1:-1]] if dropout else []
        self.ones = np.ones(n_rows, np.float32)
        self.weights = self.ones.copy()
        self.targets = np.zeros(n_rows, loss.target_type)
        self.totals = np.zeros(2)

    def read(self, rows: Rows, chosen: Codes) -> None:
        """Copy the chosen rows in."""
        # "raise", the default mode, would copy twice
        rows.X.take(chosen, axis=0, out=self.inputs, mode="clip")
        rows.targets.take(chosen, out=self.targets, mode="clip")
        if rows.weights is not None:
            rows.weights.take(chosen, out=self.weights, mode="clip")

    def forward(self, activation: Activation) -> Floats:
        """Return the (n, n_outputs) sums of the last layer, without its bias."""
        parameters = self.parameters
        values = self.inputs
        for layer, sums in enumerate(self.sums):
            np.matmul(values, parameters.weights[layer], out=sums)
            if layer < len(self.slopes):
                slopes = self.slopes[layer]
                activation.forward(sums, parameters.biases[layer], slopes)
                if self.masks:
                    np.multiply(sums, self.masks[layer], out=sums)
                    np.multiply(slopes, self.masks[layer], out=slopes)
            values = sums
        return values

    def backward(self, gradient: Parameters) -> None:
        """Write the sum of the rows' gradients, after `forward`; keeps the loss in `totals`."""
        delta = self.sums[-1]
        self.loss.differentiate(
            delta, self.parameters.biases[-1], self.targets, self.weights, self.totals
        )
        for layer in range(len(self.sums) - 1, -1, -1):
            values = self.sums[layer - 1] if layer else self.inputs
            np.matmul(values.T, delta, out=gradient.weights[layer])
            np.matmul(self.ones, delta, out=gradient.biases[layer])
            if layer:  # the activations below have done their duty: their place is their delta's
                np.matmul(delta, self.parameters.weights[layer].T, out=values)
                np.multiply(values, self.slopes[layer - 1], out=values)
                delta = values


class _Shard:
    """A part of every minibatch of one size."""

    def __init__(self, training: NetworkTraining, place: slice) -> None:
        self.place = place
        self.gradient = Parameters(training.parameters.sizes)
        self.buffers = _Buffers(
            training.parameters,
            training.loss,
            place.stop - place.start,
            dropout=training.schedule.dropout,
        )

    def draw(self, keys: Sequence[int], first_row: int, dropout: float) -> None:
        """Choose what this minibatch, which begins at a row of the epoch, drops out."""
        first = first_row + self.place.start
        for mask, key in zip(self.buffers.masks, keys, strict=True):
            kernel.draw_mask(
                mask, key, first, round((1.0 - dropout) * 2**32), 1.0 / (1.0 - dropout)
            )


class NetworkTraining:
    """One fit.

    Parameters
    ----------
    parameters : where to begin; changed in place
    rows : to learn from and to stop by
    learned : places of those to learn from
    held_out : places of those to stop by, or None to stop by the loss
    parallel : how to work on several shards at a time

    Attributes
    ----------
    loss_curve : of each epoch, per row, with the penalty
    validation_scores : of each epoch: accuracy or R2 of the held-out rows
    best_loss, best_score : of them
    n_diverged : epochs that were taken back
    """

    def __init__(
        self,
        parameters: Parameters,
        rows: Rows,
        learned: Codes,
        loss: Loss,
        schedule: Schedule,
        *,
        optimizer: Optimizer,
        held_out: Codes | None = None,
        parallel: InOrderMap = one_by_one,
    ) -> None:
        self.parameters = parameters
        self.rows = rows
        self.learned = learned
        self.loss = loss
        self.schedule = schedule
        self.optimizer = optimizer
        self.held_out = held_out
        self.parallel = parallel
        self.loss_curve: list[float] = []
        self.validation_scores: list[float] = []
        self.best_loss = np.inf
        self.best_score = -np.inf
        self.n_diverged = 0
        self._first_loss: float | None = None
        self._n_unchanged = 0
        self._shards: dict[int, list[_Shard]] = {}
        self._best = parameters.flat.copy()
        self._evaluation: dict[int, _Buffers] = {}

    def run(self, random: RandomStream, report: IterationReport = ignore_iteration) -> None:
        """Train until nothing gets better, or for as many epochs as there are.

        An epoch whose loss explodes is taken back, and the learning rate halved.
        """
        order = self.learned.copy()
        before = self.parameters.flat.copy()
        for epoch in range(self.schedule.epochs):
            before[:] = self.parameters.flat
            kernel.shuffle(order, random.key())
            hidden = self.parameters.sizes[1:-1] if self.schedule.dropout else ()
            keys = [random.key() for _ in hidden]
            with np.errstate(all="ignore"):
                loss = self._pass_over(order, keys)
            if not self._is_sane(loss):
                self._take_back(before)
                loss = self.loss_curve[-1] if self.loss_curve else self._first_loss or 0.0
            else:
                self._keep_the_best(loss)
            self.loss_curve.append(loss)
            report(epoch + 1, loss)
            if self._n_unchanged > self.schedule.n_iter_no_change:
                break
        if self.held_out is not None:
            self.parameters.flat[:] = self._best

    def _is_sane(self, loss: float) -> bool:
        first = self._first_loss or 0.0
        largest = float(np.abs(self.parameters.flat).max(initial=0.0))
        # Comparisons with NaN are false.
        return loss <= DIVERGED * (1.0 + first) and largest <= LARGEST_WEIGHT

    def _take_back(self, before: Floats) -> None:
        self.parameters.flat[:] = before
        self.optimizer.learning_rate *= 0.5
        self.optimizer.forget()
        self.n_diverged += 1

    def _pass_over(self, order: Codes, keys: Sequence[int]) -> float:
        """Take a step for each minibatch; return the mean loss, which is NaN once it was lost."""
        total_loss, total_weight = 0.0, 0.0
        for first in range(0, len(order), self.schedule.batch_size):
            chosen = order[first : first + self.schedule.batch_size]
            loss, weight = self._step(chosen, first, keys)
            total_loss += loss
            total_weight += weight
            if not np.isfinite(total_loss):
                return np.nan
        return total_loss / (total_weight or 1.0)

    def _step(self, chosen: Codes, first_row: int, keys: Sequence[int]) -> tuple[float, float]:
        """Return the sums of a minibatch's losses and weights, and follow its gradient."""
        shards = self._shards_of(len(chosen))

        def differentiate(shard: _Shard) -> None:
            with np.errstate(all="ignore"):
                shard.draw(keys, first_row, self.schedule.dropout)
                shard.buffers.read(self.rows, chosen[shard.place])
                shard.buffers.forward(self.schedule.activation)
                shard.buffers.backward(shard.gradient)

        if len(shards) == 1:
            differentiate(shards[0])
        else:
            collect(self.parallel, differentiate, shards)
        gradient = shards[0].gradient.flat
        for shard in shards[1:]:
            np.add(gradient, shard.gradient.flat, out=gradient)
        loss = sum(float(shard.buffers.totals[0]) for shard in shards)
        weight = sum(float(shard.buffers.totals[1]) for shard in shards)
        if self._first_loss is None and weight > 0:
            self._first_loss = loss / weight
        if weight > 0:
            loss += self._follow(gradient, weight)
        return loss, weight

    def _follow(self, gradient: Floats, weight: float) -> float:
        """Take a step; return the penalty that there was before, NaN for a gradient of no size."""
        parameters, l2 = self.parameters, self.schedule.l2
        weights = parameters.flat[: parameters.n_weights]
        penalty = 0.5 * l2 * float(np.dot(weights, weights))
        norm = float(np.dot(gradient, gradient)) ** 0.5 / weight
        if not np.isfinite(norm):
            return np.nan
        scale = min(1.0, LARGEST_GRADIENT / max(norm, 1.0)) / weight
        self.optimizer.step(parameters.flat, gradient, scale=scale, decay=l2 / weight)
        return penalty

    def _shards_of(self, n_rows: int) -> list[_Shard]:
        """Return the shards of a minibatch of so many rows, made at the first."""
        if n_rows not in self._shards:
            self._shards[n_rows] = [_Shard(self, place) for place in shard_places(n_rows)]
        return self._shards[n_rows]

    def _keep_the_best(self, loss: float) -> None:
        """Count the epochs without progress, of the loss or of the held-out rows' score."""
        improvement = self.best_loss - loss
        self.best_loss = min(self.best_loss, loss)
        if self.held_out is not None:
            sums = self._sums_of(self.held_out)
            value = score(self.loss, self.rows, self.held_out, sums)
            self.validation_scores.append(value)
            improvement = value - self.best_score
            if value > self.best_score:
                self.best_score = value
                self._best[:] = self.parameters.flat
        is_progress = improvement >= self.schedule.tol
        self._n_unchanged = 0 if is_progress else self._n_unchanged + 1

    def _sums_of(self, places: Codes) -> Floats:
        """Return the (n, n_outputs) outputs for the rows there, nothing dropped out."""
        parts = []
        for first in range(0, len(places), EVALUATION_ROWS):
            chosen = places[first : first + EVALUATION_ROWS]
            if len(chosen) not in self._evaluation:
                self._evaluation[len(chosen)] = _Buffers(
                    self.parameters, self.loss, len(chosen), dropout=0.0
                )
            buffers = self._evaluation[len(chosen)]
            buffers.read(self.rows, chosen)
            parts.append(buffers.forward(self.schedule.activation) + self.parameters.biases[-1])
        return np.concatenate(parts)


def shard_count(n_rows: int) -> int:
    """Return how many shards a minibatch has.

    Below SMALLEST_SPLIT_BATCH two threads wait for each other longer than they work.
    """
    return min(n_rows // SMALLEST_SHARD, MOST_SHARDS) if n_rows >= SMALLEST_SPLIT_BATCH else 1


def shard_places(n_rows: int) -> Iterator[slice]:
    """Yield the shards of a minibatch, by its size alone."""
    n_shards = shard_count(n_rows)
    for shard in range(n_shards):
        yield slice(n_rows * shard // n_shards, n_rows * (shard + 1) // n_shards)
