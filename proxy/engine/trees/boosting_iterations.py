"""The iterations of boosting: which rows a tree is grown on, how far its steps go, when to stop.

Owns the trees while they are made. Losses are `boosting_losses`', growing is `tree_growth`'s.

References
----------
Friedman (2002), Stochastic Gradient Boosting, Computational Statistics & Data Analysis 38(4).
"""

from __future__ import annotations

import dataclasses
from typing import Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from proxy.engine.arrays import Flags, IterationReport
from proxy.engine.parallel import InOrderMap, collect, one_by_one
from proxy.engine.trees.binning import BinnedMatrix
from proxy.engine.trees.boosting_losses import Objective
from proxy.engine.trees.tree import Tree
from proxy.engine.trees.tree_growth import TreeGrower, leaves_of
from proxy.kernels import boosting as kernel

RowNumbers: TypeAlias = NDArray[np.int32]

WALK_ROWS = 1 << 15
"""Rows that a thread brings to their leaves at a time."""


class Settings(Protocol):
    """The parameters of an estimator, as in `gradient_boosting`."""

    n_trees: int
    learning_rate: float
    max_depth: int | None
    max_leaf_nodes: int | None
    min_samples_leaf: int
    subsample: float
    l2: float
    n_iter_no_change: int
    tol: float
    random_state: int


class Iterations:
    """One fit's iterations: its trees, and the losses before the first and after each.

    Losses are in the objective's units; of rows held out there are none without such rows.
    """

    def __init__(
        self,
        model: Settings,
        bins: BinnedMatrix,
        objective: Objective,
        *,
        is_trained_on: Flags,
        parallel: InOrderMap,
    ) -> None:
        self.model = model
        self.bins = bins
        self.objective = objective
        self.parallel = parallel
        self.n_outputs = len(objective.base)
        self.training_losses: list[float] = []
        self.held_losses: list[float] = []
        self.rows = np.flatnonzero(is_trained_on).astype(np.int32)
        self.others = np.flatnonzero(~is_trained_on).astype(np.int32)
        # Trees of several classes are grown beside each other, the one tree of two by parts.
        self.is_beside = self.n_outputs > 1
        self.grower = TreeGrower(
            bins,
            criterion="newton",
            max_depth=model.max_depth,
            max_leaf_nodes=model.max_leaf_nodes,
            min_samples_leaf=model.min_samples_leaf,
            l2=model.l2,
            parallel=one_by_one if self.is_beside else parallel,
        )

    def run(self, report: IterationReport) -> list[list[Tree]]:
        """Return the trees of each iteration that is kept."""
        iterations: list[list[Tree]] = []
        self._evaluate()
        for iteration in range(self.model.n_trees):
            rows, others = self._draw(iteration)

            def grow(output: int, rows: RowNumbers = rows, others: RowNumbers = others) -> Tree:
                return self._grow(output, rows, others)

            chosen = self.parallel if self.is_beside else one_by_one
            trees = collect(chosen, grow, range(self.n_outputs))
            loss = self._evaluate()
            report(iteration + 1, loss * self.objective.unit**2)
            if self.model.subsample >= 1.0 and not any(tree.left[0] for tree in trees):
                break  # the next iteration would find no cut either
            iterations.append(trees)
            if self._has_stalled():
                break
        if self.held_losses:
            return iterations[: int(np.argmin(self.held_losses))]
        return iterations

    def _evaluate(self) -> float:
        losses = self.objective.evaluate()
        self.training_losses.append(losses.training)
        if np.isfinite(losses.held):
            self.held_losses.append(losses.held)
        return losses.training

    def _has_stalled(self) -> bool:
        """Say whether the last iterations have not been better than all before them."""
        patience = self.model.n_iter_no_change
        if len(self.held_losses) <= patience:
            return False
        best_before = min(self.held_losses[:-patience])
        return min(self.held_losses[-patience:]) > best_before - self.model.tol

    def _draw(self, iteration: int) -> tuple[RowNumbers, RowNumbers]:
        """Return the rows that this iteration's trees are grown on, and all others."""
        n_chosen = max(round(self.model.subsample * len(self.rows)), 1)
        if n_chosen >= len(self.rows):
            return self.rows, self.others
        seed = np.random.PCG64([self.model.random_state, 2, iteration]).random_raw(1)
        chosen = np.empty(n_chosen, np.int32)
        left_out = np.empty(len(self.rows) - n_chosen, np.int32)
        kernel.choose(self.rows, seed.view(np.int64), n_chosen, chosen, left_out)
        return chosen, np.concatenate([left_out, self.others])

    def _grow(self, output: int, rows: RowNumbers, others: RowNumbers) -> Tree:
        """Return a tree whose values are the steps that it takes, and take them."""
        gradient, hessian = self.objective.derivatives(output)
        grown = self.grower.grow(gradient, hessian, rows)
        largest = self.objective.largest_step
        steps = self.model.learning_rate * np.clip(grown.tree.value, -largest, largest)
        tree = dataclasses.replace(grown.tree, value=steps)
        self._locate(tree, others, grown.leaf_of_row)
        self.objective.step(output, grown.leaf_of_row, np.ascontiguousarray(steps[:, 0]))
        return tree

    def _locate(self, tree: Tree, others: RowNumbers, leaf_of_row: RowNumbers) -> None:
        """Bring the rows that a tree was not grown on to their leaves, too."""

        def walk(start: int) -> None:
            leaves_of(self.bins, tree, others[start : start + WALK_ROWS], leaf_of_row)

        chosen = one_by_one if self.is_beside else self.parallel
        collect(chosen, walk, range(0, len(others), WALK_ROWS))
