"""Decision trees, for values and for classes: one tree, grown on all rows.

Owns what the two have in common with forests: statistics of a target, what is left of its impurity,
and the weights of classes. Growing is `tree_growth`'s, scoring `tree_predictor`'s.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Self

import numpy as np

from proxy.engine.arrays import Codes, IterationReport, Matrix, Vector, ignore_iteration
from proxy.engine.class_weight import class_weights
from proxy.engine.parallel import InOrderMap, one_by_one
from proxy.engine.predictors import PROBABILITY, VALUE, Link
from proxy.engine.preparation.design import Design
from proxy.engine.trees.binning import BinnedMatrix, bin_design
from proxy.engine.trees.tree import LevelTree, Tree, importances
from proxy.engine.trees.tree_growth import Criterion, TreeGrower
from proxy.engine.trees.tree_predictor import TreePredictor
from proxy.engine.trees.tree_statistics import ClassCodes, even_weights


class TreeEnsemble:
    """What decision trees and forests share: attributes after a fit, and scores.

    Attributes
    ----------
    feature_importances_ : (n_features,), shares of what the cuts of each column gain, of each tree
        and then averaged; they add up to 1, or are 0 without a cut
    predictor_ : the trees' mean
    warnings_ : sentences for the person who trains
    """

    link: Link
    predictor_: TreePredictor

    def __init__(self) -> None:
        self.n_features_in_ = 0
        self.n_classes_ = 0
        self.feature_importances_: Vector = np.zeros(0)
        self.warnings_: tuple[str, ...] = ()

    def _keep(self, trees: Iterable[Tree | LevelTree], n_features: int) -> None:
        self.n_features_in_ = n_features
        n_outputs = max(self.n_classes_, 1)
        self.predictor_ = TreePredictor(
            trees,
            link=self.link,
            n_features_in=n_features,
            n_outputs=n_outputs,
            averages=True,
            base=np.zeros(n_outputs),
        )


class _DecisionTree(TreeEnsemble):
    """One tree.

    Attributes
    ----------
    n_leaves_, depth_ : leaves, and cuts on the longest way to one
    tree_ : the tree itself
    """

    tree_: Tree

    def __init__(
        self,
        *,
        max_depth: int | None,
        min_samples_split: int,
        min_samples_leaf: int,
        max_leaf_nodes: int | None,
        criterion: Criterion,
        random_state: int,
    ) -> None:
        super().__init__()
        self.max_depth = max_depth
        self.min_samples_split = min_samples_split
        self.min_samples_leaf = min_samples_leaf
        self.max_leaf_nodes = max_leaf_nodes
        self.criterion = criterion
        self.random_state = random_state
        self.n_leaves_ = 0
        self.depth_ = 0

    @property
    def iterations_total(self) -> int:
        """Return how many trees are grown."""
        return 1

    def _grow(
        self,
        bins: BinnedMatrix,
        target: Vector | ClassCodes,
        weight: Vector,
        report: IterationReport,
        parallel: InOrderMap,
    ) -> None:
        """Grow the tree on y, or on class codes."""
        impurity = impurity_of(target, weight, self.n_classes_, self.criterion)
        report(0, impurity)
        grower = TreeGrower(
            bins,
            criterion=self.criterion,
            max_depth=self.max_depth,
            min_samples_split=self.min_samples_split,
            min_samples_leaf=self.min_samples_leaf,
            max_leaf_nodes=self.max_leaf_nodes,
            n_classes=self.n_classes_,
            parallel=parallel,
        )
        first = target if self.n_classes_ or weight.strides == (0,) else target * weight
        tree = grower.grow(first, weight, seed=self.random_state, locate=False).tree
        n_features = bins.n_features
        del bins, target, weight, grower, first  # of no use to what follows, which needs memory
        report(1, impurity - mean_gain(tree))
        self.tree_ = tree
        self.n_leaves_, self.depth_ = tree.n_leaves, tree.depth
        self.feature_importances_ = importances(tree, n_features)
        self._keep([tree], n_features)


class DecisionTreeRegressor(_DecisionTree):
    """Cut the rows where it lowers the sum of squared errors most; a leaf says its rows' mean.

    Missing values, NaN, go to the side where they are better, or else to the larger one. Of equally
    good cuts the first column's is made, and the lowest. Columns of more than 255 distinct values
    are cut at quantiles.

    Parameters
    ----------
    max_depth, max_leaf_nodes : None for no limit; with the latter the best cut is made first
    min_samples_split, min_samples_leaf : rows, whatever they weigh
    random_state : taken and not used: there is nothing to draw

    References
    ----------
    Breiman, Friedman, Olshen & Stone (1984), Classification and Regression Trees.
    """

    link = VALUE

    def __init__(
        self,
        *,
        max_depth: int | None = None,
        min_samples_split: int = 2,
        min_samples_leaf: int = 1,
        max_leaf_nodes: int | None = None,
        criterion: Criterion = "squared_error",
        random_state: int = 0,
    ) -> None:
        super().__init__(
            max_depth=max_depth,
            min_samples_split=min_samples_split,
            min_samples_leaf=min_samples_leaf,
            max_leaf_nodes=max_leaf_nodes,
            criterion=criterion,
            random_state=random_state,
        )

    def fit(
        self,
        X: Design | Matrix,
        y: Vector,
        *,
        sample_weight: Vector | None = None,
        report: IterationReport = ignore_iteration,
        parallel: InOrderMap = one_by_one,
    ) -> Self:
        """Learn from X (n_samples, n_features), with NaN for missing, and y (n_samples,).

        Parameters
        ----------
        sample_weight : (n_samples,), >= 0; rows of weight 0 are as absent
        report : called before and after, with the mean squared error
        """
        weight = even_weights(len(y)) if sample_weight is None else sample_weight
        self._grow(
            bin_design(X, parallel, sample_weight=sample_weight), y, weight, report, parallel
        )
        return self

    def predict(self, X: Matrix) -> Vector:
        """Return the (n_samples,) values for X (n_samples, n_features)."""
        return np.asarray(self.predictor_.outputs(np.ascontiguousarray(X))[0])


class DecisionTreeClassifier(_DecisionTree):
    """Cut the rows where it lowers the impurity most; a leaf says the shares of the classes.

    Otherwise as `DecisionTreeRegressor`.

    Parameters
    ----------
    criterion : "gini", or "entropy", which is also called "log_loss"
    class_weight : None, or 'balanced': n_samples / (n_classes * rows of the class), rows counted
        by their weights
    """

    link = PROBABILITY

    def __init__(
        self,
        *,
        max_depth: int | None = None,
        min_samples_split: int = 2,
        min_samples_leaf: int = 1,
        max_leaf_nodes: int | None = None,
        criterion: Criterion = "gini",
        class_weight: str | None = None,
        random_state: int = 0,
    ) -> None:
        super().__init__(
            max_depth=max_depth,
            min_samples_split=min_samples_split,
            min_samples_leaf=min_samples_leaf,
            max_leaf_nodes=max_leaf_nodes,
            criterion=criterion,
            random_state=random_state,
        )
        self.class_weight = class_weight

    def fit(
        self,
        X: Design | Matrix,
        codes: Codes,
        *,
        sample_weight: Vector | None = None,
        report: IterationReport = ignore_iteration,
        parallel: InOrderMap = one_by_one,
    ) -> Self:
        """Learn from X (n_samples, n_features) and the class numbers 0..K-1, (n_samples,).

        Parameters
        ----------
        sample_weight : (n_samples,), >= 0; rows of weight 0 are as absent
        report : called before and after, with the mean impurity
        """
        self.n_classes_ = int(codes.max()) + 1
        weight = class_weights(codes, self.n_classes_, sample_weight, self.class_weight)
        self._grow(
            bin_design(X, parallel, sample_weight=sample_weight),
            codes.astype(np.uint16),
            even_weights(len(codes)) if weight is None else weight,
            report,
            parallel,
        )
        return self

    def predict_proba(self, X: Matrix) -> Matrix:
        """Return (n_samples, n_classes) probabilities for X (n_samples, n_features)."""
        return np.ascontiguousarray(self.predictor_.outputs(np.ascontiguousarray(X)).T)

    def predict(self, X: Matrix) -> Codes:
        """Return the (n_samples,) class numbers."""
        return np.asarray(self.predictor_.outputs(np.ascontiguousarray(X)).argmax(axis=0))


def impurity_of(
    target: Vector | ClassCodes, weight: Vector, n_classes: int, criterion: Criterion
) -> float:
    """Return the impurity of all rows as one leaf: a variance, or that of the classes' shares."""
    total = float(weight.sum())
    if total <= 0:
        return 0.0
    if not n_classes:
        mean = float(weight @ target) / total
        return float(weight @ np.square(target - mean)) / total
    return impurity_of_shares(np.bincount(target, weight, n_classes) / total, criterion)


def impurity_of_shares(shares: Vector, criterion: str) -> float:
    """Return the impurity of a leaf with these shares of the classes."""
    if criterion == "gini":
        return 1.0 - float(shares @ shares)
    seen = shares[shares > 0]
    return -float(seen @ np.log2(seen))


def mean_gain(tree: Tree) -> float:
    """Return by how much the tree lowers the impurity of the rows that it was grown on."""
    weight = float(tree.weight[0])
    return float(tree.gain.sum()) / weight if weight > 0 else 0.0
