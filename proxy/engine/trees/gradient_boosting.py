"""Gradient boosting of trees: a regressor and a classifier.

Owns what they take and what they leave behind. The iterations are `boosting_iterations`', losses
`boosting_losses`', scoring is `tree_predictor`'s.

References
----------
Friedman (2001), Greedy Function Approximation, Annals of Statistics 29(5), 1189-1232.
Ke et al. (2017), LightGBM, NeurIPS: histograms of 255 bins, leaf-wise growth.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Self

import numpy as np

from proxy.engine.arrays import (
    Codes,
    Flags,
    IterationReport,
    Matrix,
    Vector,
    ignore_iteration,
)
from proxy.engine.class_weight import class_weights
from proxy.engine.parallel import InOrderMap, one_by_one
from proxy.engine.predictors import LOG_ODDS, VALUE, Link
from proxy.engine.preparation.design import Design
from proxy.engine.scorers import probabilities
from proxy.engine.trees.binning import bin_design
from proxy.engine.trees.boosting_iterations import Iterations
from proxy.engine.trees.boosting_losses import (
    ManyClassLogLoss,
    Objective,
    Sample,
    SquaredError,
    TwoClassLogLoss,
)
from proxy.engine.trees.tree import Tree, total_gains
from proxy.engine.trees.tree_predictor import TreePredictor
from proxy.errors import TooLargeError

LARGEST_FIT_BYTES = 1 << 35
NODE_SIZE_BYTES = 54
LARGEST_WEIGHT = 2.0**60


class _GradientBoosting:
    """What both have in common.

    Parameters
    ----------
    n_trees : iterations; of K > 2 classes each grows K trees
    learning_rate : what part of its Newton step a tree takes
    max_depth, max_leaf_nodes, min_samples_leaf : of each tree; None for no limit
    subsample : the share of rows that an iteration's trees are grown on, drawn anew each time
    l2 : added to the sum of Hessians in a leaf
    early_stopping : hold out `validation_fraction` of the rows, stop when their loss has not
        fallen by `tol` in `n_iter_no_change` iterations, and keep the iterations up to its least.
        Squared errors are taken in units of about the target's variance

    Attributes
    ----------
    n_iter_ : iterations kept
    train_score_, validation_score_ : the mean loss before the first iteration and after each that
        was made; of a regression, squared errors. The latter is empty without early stopping
    feature_importances_ : (n_features_in_,), shares of the total gain of all cuts
    """

    def __init__(
        self,
        *,
        n_trees: int = 100,
        learning_rate: float = 0.1,
        max_depth: int | None = None,
        max_leaf_nodes: int | None = 31,
        min_samples_leaf: int = 20,
        subsample: float = 1.0,
        l2: float = 0.0,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        n_iter_no_change: int = 10,
        tol: float = 1e-7,
        random_state: int = 0,
    ) -> None:
        self.n_trees = n_trees
        self.learning_rate = learning_rate
        self.max_depth = max_depth
        self.max_leaf_nodes = max_leaf_nodes
        self.min_samples_leaf = min_samples_leaf
        self.subsample = subsample
        self.l2 = l2
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.tol = tol
        self.random_state = random_state
        self.n_features_in_ = 0
        self.n_iter_ = 0
        self.train_score_: Vector = np.zeros(0)
        self.validation_score_: Vector = np.zeros(0)
        self.feature_importances_: Vector = np.zeros(0)
        self.warnings_: tuple[str, ...] = ()
        self.predictor_: TreePredictor

    @property
    def iterations_total(self) -> int:
        """Return the number of iterations, if none is saved by early stopping."""
        return self.n_trees

    def _check_size(self, n_samples: int, n_outputs: int) -> None:
        most_leaves = max(n_samples // self.min_samples_leaf, 1)
        if self.max_leaf_nodes is not None:
            most_leaves = min(most_leaves, self.max_leaf_nodes)
        if self.max_depth is not None:
            most_leaves = min(most_leaves, 2 ** min(self.max_depth, 62))
        n_nodes = self.n_trees * n_outputs * (2 * most_leaves - 1)
        size = n_nodes * NODE_SIZE_BYTES + 8 * n_outputs * n_samples
        if size > LARGEST_FIT_BYTES:
            raise TooLargeError(
                "gradient boosting would need too much memory",
                detail=f"{self.n_trees} iterations of {n_outputs} trees with up to {most_leaves} "
                f"leaves, on {n_samples} rows, may take {size >> 30} GiB.",
                hint="Set a lower n_trees, max_leaf_nodes or max_depth.",
            )

    def _fit(
        self,
        X: Design | Matrix,
        y: Vector | Codes,
        weight: Vector | None,
        n_classes: int,
        *,
        report: IterationReport,
        parallel: InOrderMap,
    ) -> None:
        """Learn; without classes `n_classes` is 0."""
        n_outputs = n_classes if n_classes > 2 else 1
        self._check_size(len(y), n_outputs)
        bins = bin_design(X, parallel)
        weight = _tame(weight)
        is_held = self._held_out(y, n_classes, weight)
        warnings = []
        if self.early_stopping and is_held is None:
            warnings.append("there are too few rows to hold some out: no early stopping")
        sample = Sample(len(y), weight, is_held, parallel)
        objective: Objective
        if n_classes > 2:
            objective = ManyClassLogLoss(sample, y.astype(np.int64, copy=False), n_classes)
        elif n_classes:
            objective = TwoClassLogLoss(sample, y.astype(np.int64, copy=False))
        else:
            objective = SquaredError(sample, y.astype(np.float64, copy=False))
        boosting = Iterations(
            self, bins, objective, is_trained_on=sample.is_trained_on, parallel=parallel
        )
        kept = boosting.run(report)
        if not any(tree.left[0] for trees in kept for tree in trees):
            warnings.append("no cut of a column lowers the loss: the model predicts a constant")
        self.n_iter_ = len(kept)
        self.train_score_ = np.array(boosting.training_losses) * objective.unit**2
        self.validation_score_ = np.array(boosting.held_losses) * objective.unit**2
        self.warnings_ = tuple(warnings)
        self._keep(
            [tree for trees in kept for tree in trees], bins.n_features, objective, n_classes
        )

    def _keep(
        self, trees: Sequence[Tree], n_features: int, objective: Objective, n_classes: int
    ) -> None:
        gains = np.zeros(n_features)
        for tree in trees:
            gains += np.maximum(total_gains(tree, n_features), 0.0)
        self.n_features_in_ = n_features
        self.feature_importances_ = gains / (gains.sum() or 1.0)
        link: Link = LOG_ODDS if n_classes else VALUE
        self.predictor_ = TreePredictor(
            [dataclasses.replace(tree, value=tree.value * objective.unit) for tree in trees],
            link=link,
            n_features_in=n_features,
            n_outputs=len(objective.base),
            averages=False,
            base=objective.base * objective.unit,
        )

    def _held_out(
        self, y: Vector | Codes, n_classes: int, weight: Vector | None = None
    ) -> Flags | None:
        """Return which rows are held out, of each class the same share; None where none can be."""
        if not self.early_stopping:
            return None
        keys = np.random.PCG64([self.random_state, 1]).random_raw(len(y))
        is_held = np.zeros(len(y), np.bool_)
        counts = np.ones(len(y), np.bool_) if weight is None else weight > 0
        groups = [np.flatnonzero(counts & (y == k)) for k in range(n_classes)]
        for rows in groups or [np.flatnonzero(counts)]:
            # Of a class with one row that row is trained on.
            n_held = max(min(round(self.validation_fraction * len(rows)), len(rows) - 1), 0)
            is_held[rows[np.argsort(keys[rows], kind="stable")[:n_held]]] = True
        return is_held if is_held.any() else None


class GradientBoostingRegressor(_GradientBoosting):
    """Least squares by gradient boosting, as scikit-learn's HistGradientBoostingRegressor."""

    def fit(
        self,
        X: Design | Matrix,
        y: Vector,
        *,
        sample_weight: Vector | None = None,
        report: IterationReport = ignore_iteration,
        parallel: InOrderMap = one_by_one,
    ) -> Self:
        """Learn from X (n_samples, n_features), NaN for missing, and y (n_samples,).

        Raises
        ------
        TooLargeError
            54000: trees or scores would not fit into memory.
        """
        self._fit(X, y, sample_weight, 0, report=report, parallel=parallel)
        return self

    def predict(self, X: Matrix) -> Vector:
        """Return the (n_samples,) values for X (n_samples, n_features)."""
        return np.asarray(self.predictor_.outputs(np.ascontiguousarray(X))[0])


class GradientBoostingClassifier(_GradientBoosting):
    """Log-loss by gradient boosting, as scikit-learn's HistGradientBoostingClassifier.

    Parameters
    ----------
    class_weight : None, or 'balanced': n_samples / (n_classes * rows of the class), rows counted
        by their weights
    """

    def __init__(
        self,
        *,
        n_trees: int = 100,
        learning_rate: float = 0.1,
        max_depth: int | None = None,
        max_leaf_nodes: int | None = 31,
        min_samples_leaf: int = 20,
        subsample: float = 1.0,
        l2: float = 0.0,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        n_iter_no_change: int = 10,
        tol: float = 1e-7,
        class_weight: str | None = None,
        random_state: int = 0,
    ) -> None:
        super().__init__(
            n_trees=n_trees,
            learning_rate=learning_rate,
            max_depth=max_depth,
            max_leaf_nodes=max_leaf_nodes,
            min_samples_leaf=min_samples_leaf,
            subsample=subsample,
            l2=l2,
            early_stopping=early_stopping,
            validation_fraction=validation_fraction,
            n_iter_no_change=n_iter_no_change,
            tol=tol,
            random_state=random_state,
        )
        self.class_weight = class_weight

    def fit(
        self,
        X: Design | Matrix,
        y: Codes,
        *,
        sample_weight: Vector | None = None,
        report: IterationReport = ignore_iteration,
        parallel: InOrderMap = one_by_one,
    ) -> Self:
        """Learn from X (n_samples, n_features), NaN for missing, and the numbers of the classes.

        Parameters
        ----------
        y : (n_samples,) from 0, each class present

        Raises
        ------
        TooLargeError
            54000: trees or scores would not fit into memory.
        """
        n_classes = max(int(y.max(initial=0)) + 1, 2)
        weight = class_weights(y, n_classes, sample_weight, self.class_weight)
        self._fit(X, y, weight, n_classes, report=report, parallel=parallel)
        return self

    def predict_proba(self, X: Matrix) -> Matrix:
        """Return (n_samples, n_classes) probabilities for X (n_samples, n_features)."""
        outputs = self.predictor_.outputs(np.ascontiguousarray(X))
        return probabilities(outputs, LOG_ODDS, max(len(outputs), 2))

    def predict(self, X: Matrix) -> Codes:
        """Return the (n_samples,) numbers of the likeliest classes."""
        return np.asarray(self.predict_proba(X).argmax(axis=1))


def _tame(weight: Vector | None) -> Vector | None:
    """Return weights whose sums are finite: divided by a power of two if they are enormous.

    Where none is above 0 they say nothing, and None is returned.
    """
    largest = 0.0 if weight is None else float(weight.max(initial=0.0))
    if weight is None or largest == 0.0:
        return None
    if largest <= LARGEST_WEIGHT:
        return weight
    return np.asarray(weight * np.ldexp(1.0, -int(np.frexp(largest)[1])))
