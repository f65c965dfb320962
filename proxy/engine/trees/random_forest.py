"""Random forests: many trees, each grown on its own draw of the rows, averaged.

Owns the draws, the score on rows that were not drawn, and the bound on memory. Growing is
`tree_growth`'s, scoring `tree_predictor`'s.
"""

from __future__ import annotations

import math
from contextlib import closing
from typing import Self

import numpy as np

from proxy.engine.arrays import Codes, IterationReport, Matrix, Vector, ignore_iteration
from proxy.engine.class_weight import class_weights
from proxy.engine.parallel import InOrderMap, one_by_one
from proxy.engine.predictors import PROBABILITY, VALUE
from proxy.engine.preparation.design import Design
from proxy.engine.trees.bagging import Bagging, Votes
from proxy.engine.trees.binning import BinnedMatrix, bin_design
from proxy.engine.trees.decision_tree import TreeEnsemble, impurity_of
from proxy.engine.trees.tree import LevelTree
from proxy.engine.trees.tree_growth import Criterion, TreeGrower
from proxy.engine.trees.tree_memory import kept_bytes, packing_bytes
from proxy.engine.trees.tree_statistics import ClassCodes, even_weights
from proxy.errors import OutOfMemoryError, TooLargeError

LARGEST_FOREST_BYTES = 1 << 32
NEVER_LEFT_OUT_WARNING = (
    "some rows were drawn for every tree: oob_score_ leaves them out; raise n_trees"
)


class _RandomForest(TreeEnsemble):
    """Trees on draws of the rows, with columns drawn for each cut.

    Attributes
    ----------
    oob_score_ : accuracy, or R^2, of each row's scores by the trees that it was not drawn for;
        None without bootstrap, or where no row was left out
    memory_limit : bytes that the trees may take, to be set before `fit`; None: any number
    """

    memory_limit: int | None = None

    def __init__(
        self,
        *,
        n_trees: int,
        max_depth: int | None,
        max_features: float | str | None,
        min_samples_split: int,
        min_samples_leaf: int,
        max_leaf_nodes: int | None,
        criterion: Criterion,
        bootstrap: bool,
        random_state: int,
    ) -> None:
        super().__init__()
        self.n_trees = n_trees
        self.max_depth = max_depth
        self.max_features = max_features
        self.min_samples_split = min_samples_split
        self.min_samples_leaf = min_samples_leaf
        self.max_leaf_nodes = max_leaf_nodes
        self.criterion = criterion
        self.bootstrap = bootstrap
        self.random_state = random_state
        self.oob_score_: float | None = None

    @property
    def iterations_total(self) -> int:
        """Return how many trees are grown."""
        return self.n_trees

    def _grow(
        self,
        bins: BinnedMatrix,
        target: Vector | ClassCodes,
        weight: Vector,
        report: IterationReport,
        parallel: InOrderMap,
    ) -> None:
        """Grow the trees on y, or on class codes, and keep what they say."""
        self.warnings_, self.oob_score_ = (), None
        trees = self._grow_trees(bins, target, weight, report, parallel)
        trees.reverse()
        n_features = bins.n_features
        del bins, target, weight  # of no use to what follows, which needs memory
        self._keep((trees.pop() for _ in range(len(trees))), n_features)  # each is dropped in turn

    def _grow_trees(
        self,
        bins: BinnedMatrix,
        target: Vector | ClassCodes,
        weight: Vector,
        report: IterationReport,
        parallel: InOrderMap,
    ) -> list[LevelTree]:
        """Return the trees, grown several at a time."""
        report(0, impurity_of(target, weight, self.n_classes_, self.criterion))
        bagging = Bagging(self._grower(bins), target, weight, bootstrap=self.bootstrap)
        seeds = np.random.PCG64(self.random_state).random_raw(self.n_trees).tolist()
        votes = Votes(bins.n_samples, max(self.n_classes_, 1)) if self.bootstrap else None
        trees: list[LevelTree] = []
        loss, shares = 0.0, np.zeros(bins.n_features)
        with closing(parallel(bagging.grow, seeds)) as grown:
            for bagged in grown:
                trees.append(bagged.tree)
                self._check_size(trees)
                shares += bagged.importances
                if votes is not None:
                    votes.add(bagged)
                loss += bagged.loss
                report(len(trees), loss / len(trees))
        total = shares.sum()
        self.feature_importances_ = shares / total if total > 0 else shares
        if votes is not None:
            self.oob_score_ = votes.score(target, weight)
            if votes.misses_rows(weight):
                self.warnings_ = (NEVER_LEFT_OUT_WARNING,)
        return trees

    def _grower(self, bins: BinnedMatrix) -> TreeGrower:
        return TreeGrower(
            bins,
            criterion=self.criterion,
            max_depth=self.max_depth,
            min_samples_split=self.min_samples_split,
            min_samples_leaf=self.min_samples_leaf,
            max_leaf_nodes=self.max_leaf_nodes,
            max_features=n_features_drawn(self.max_features, bins.n_features),
            n_classes=self.n_classes_,
        )

    def _check_size(self, trees: list[LevelTree]) -> None:
        """Refuse a forest that would be too large if the other trees were as the ones so far.

        How large trees become depends on how well columns tell rows apart: the most that is
        possible is often ten times as much.
        """
        n_values = max(self.n_classes_, 1)
        n_nodes = sum(len(tree.is_cut) for tree in trees) * self.n_trees // len(trees)
        kept = kept_bytes(n_nodes, n_values)
        if kept > LARGEST_FOREST_BYTES:
            raise self._refusal(TooLargeError, n_nodes, kept, LARGEST_FOREST_BYTES)
        needed = kept + packing_bytes(n_nodes, n_values)
        if self.memory_limit is not None and needed > self.memory_limit:
            raise self._refusal(OutOfMemoryError, n_nodes, needed, self.memory_limit)

    def _refusal(
        self, kind: type[TooLargeError], n_nodes: int, size: int, limit: int
    ) -> TooLargeError:
        return kind(
            f"a forest of {self.n_trees} such trees would be too large",
            detail=f"It would have {n_nodes} nodes in {size / 2**20:.0f} MB of memory; the limit "
            f"is {limit / 2**20:.0f} MB. About {int(self.n_trees * limit / size)} trees would fit.",
            hint="Set max_depth or max_leaf_nodes, raise min_samples_leaf, or lower n_trees.",
        )


class RandomForestRegressor(_RandomForest):
    """The mean of trees, each on as many rows as there are, drawn with replacement.

    Trees are as `DecisionTreeRegressor`'s.

    Parameters
    ----------
    max_features : columns looked at for each cut, drawn anew: a number, a share (a float), "sqrt"
        or "log2" of the columns, or None for all; the draw goes on until one is not constant
    bootstrap : whether rows are drawn; else all trees are grown on all rows

    References
    ----------
    Breiman (2001), Machine Learning 45(1), 5-32.
    """

    link = VALUE

    def __init__(
        self,
        *,
        n_trees: int = 100,
        max_depth: int | None = None,
        max_features: float | str | None = 1.0,
        min_samples_split: int = 2,
        min_samples_leaf: int = 1,
        max_leaf_nodes: int | None = None,
        criterion: Criterion = "squared_error",
        bootstrap: bool = True,
        random_state: int = 0,
    ) -> None:
        super().__init__(
            n_trees=n_trees,
            max_depth=max_depth,
            max_features=max_features,
            min_samples_split=min_samples_split,
            min_samples_leaf=min_samples_leaf,
            max_leaf_nodes=max_leaf_nodes,
            criterion=criterion,
            bootstrap=bootstrap,
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
        report : called after each tree with the mean over trees of the mean squared error on
            their own rows

        Raises
        ------
        TooLargeError
            54000: by the trees so far, the forest would take more than 4 GiB.
        """
        weight = even_weights(len(y)) if sample_weight is None else sample_weight
        self._grow(
            bin_design(X, parallel, sample_weight=sample_weight), y, weight, report, parallel
        )
        return self

    def predict(self, X: Matrix) -> Vector:
        """Return the (n_samples,) values for X (n_samples, n_features)."""
        return np.asarray(self.predictor_.outputs(np.ascontiguousarray(X))[0])


class RandomForestClassifier(_RandomForest):
    """The mean of trees' shares of classes; otherwise as `RandomForestRegressor`.

    Parameters
    ----------
    criterion : "gini", or "entropy", which is also called "log_loss"
    class_weight : None, or 'balanced': n_samples / (n_classes * rows of the class), of all rows
        and not of a draw, counted by their weights
    """

    link = PROBABILITY

    def __init__(
        self,
        *,
        n_trees: int = 100,
        max_depth: int | None = None,
        max_features: float | str | None = "sqrt",
        min_samples_split: int = 2,
        min_samples_leaf: int = 1,
        max_leaf_nodes: int | None = None,
        criterion: Criterion = "gini",
        bootstrap: bool = True,
        class_weight: str | None = None,
        random_state: int = 0,
    ) -> None:
        super().__init__(
            n_trees=n_trees,
            max_depth=max_depth,
            max_features=max_features,
            min_samples_split=min_samples_split,
            min_samples_leaf=min_samples_leaf,
            max_leaf_nodes=max_leaf_nodes,
            criterion=criterion,
            bootstrap=bootstrap,
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
        report : called after each tree with the mean over trees of the impurity of their own rows

        Raises
        ------
        TooLargeError
            54000: by the trees so far, the forest would take more than 4 GiB.
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


def n_features_drawn(max_features: float | str | None, n_features: int) -> int:
    """Return how many of the columns are looked at for each cut, as scikit-learn counts them."""
    if max_features is None:
        wanted = n_features
    elif max_features == "sqrt":
        wanted = math.isqrt(n_features)
    elif max_features == "log2":
        wanted = max(n_features, 1).bit_length() - 1
    elif isinstance(max_features, int):
        wanted = max_features
    else:
        wanted = int(float(max_features) * n_features)
    return min(max(wanted, 1), n_features)
