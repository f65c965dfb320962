"""Trees grown on binned columns: the one way in which every tree estimator makes its trees.

Owns the settings of a growth, and the sharing of large nodes' work. The loops are the kernels
`tree_growth` and `tree_leaves`; what rows count as is `tree_statistics`'.

References
----------
Breiman, Friedman, Olshen & Stone (1984), Classification and Regression Trees.
Ke et al. (2017), LightGBM, NeurIPS: histograms, subtraction, best-first growth.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from proxy.engine.arrays import Vector
from proxy.engine.parallel import InOrderMap, collect, one_by_one
from proxy.engine.trees.binning import BinnedMatrix
from proxy.engine.trees.tree import Tree
from proxy.engine.trees.tree_memory import NO_LIMIT, GrowthSize, RowNumbers, Scratch
from proxy.engine.trees.tree_statistics import ClassCodes, Counts, Statistics, Units
from proxy.kernels import cuts
from proxy.kernels import histograms as words
from proxy.kernels import tree_leaves as leaves
from proxy.kernels import tree_nodes as table
from proxy.kernels.tree_growth import grow

Criterion: TypeAlias = Literal["squared_error", "newton", "gini", "entropy", "log_loss"]

CRITERIA = {
    "squared_error": cuts.SQUARED_ERROR,
    "newton": cuts.NEWTON,
    "gini": cuts.GINI,
    "entropy": cuts.ENTROPY,
    "log_loss": cuts.ENTROPY,
}
OF_CLASSES = frozenset({"gini", "entropy", "log_loss"})
SHARED_WORK = 200_000
"""Values to be counted for one node before threads pay, measured on two: a call costs 30 us."""
VALUES_PER_CALL = 100_000
NEVER = 2**62


@dataclass(frozen=True, slots=True)
class GrownTree:
    """A tree, and where the rows that it was grown on are in it.

    Attributes
    ----------
    leaf_of_row : (n_samples,) int32, -1 for rows that it was not grown on
    variance : of the values of its rows, of "squared_error"
    """

    tree: Tree
    leaf_of_row: RowNumbers
    variance: float


class TreeGrower:
    """Grow trees on the same bins, several at a time if need be.

    Parameters
    ----------
    criterion : "squared_error", of weight * y and weight; "newton", of gradient and hessian;
        "gini", "entropy" or "log_loss", of class codes (uint16) and weight
    max_depth, max_leaf_nodes : None for no limit; with the latter the best cut is made first
    min_samples_split, min_samples_leaf : rows, whatever they weigh
    max_features : columns looked at for one cut, drawn anew each time; None for all. As in
        scikit-learn the draw goes on until one is not constant
    l2 : added to a sum of hessians
    min_hessian : the least sum of hessians on either side of a cut
    min_gain : of "newton": what a cut has to gain more than, G^2 / (H + l2) of both sides less
        that of the node
    n_classes : of the criteria of classes
    parallel : shares the work on large nodes; results are the same without
    """

    def __init__(
        self,
        bins: BinnedMatrix,
        *,
        criterion: Criterion,
        max_depth: int | None = None,
        min_samples_split: int = 2,
        min_samples_leaf: int = 1,
        max_leaf_nodes: int | None = None,
        max_features: int | None = None,
        l2: float = 0.0,
        min_hessian: float = 1e-3,
        min_gain: float = 0.0,
        n_classes: int = 0,
        parallel: InOrderMap = one_by_one,
    ) -> None:
        self.bins = bins
        self.criterion = criterion
        self.of_classes = criterion in OF_CLASSES
        self.l2 = l2
        self.min_hessian = min_hessian
        self.min_gain = min_gain
        self.parallel = parallel
        self.n_channels = n_classes if self.of_classes else 2
        self._size = size = GrowthSize(
            n_samples=bins.n_samples,
            n_features=bins.n_features,
            n_channels=self.n_channels,
            of_classes=self.of_classes,
            max_depth=NO_LIMIT if max_depth is None else max_depth,
            max_leaves=NO_LIMIT if max_leaf_nodes is None else max_leaf_nodes,
            min_samples_leaf=min_samples_leaf,
            is_best_first=max_leaf_nodes is not None,
            searches_all=max_features is None or max_features >= bins.n_features,
        )
        self._settings = np.zeros(table.N_SETTINGS, np.int64)
        chosen = {
            table.N_ROWS: bins.n_samples,
            table.N_FEATURES: bins.n_features,
            table.N_CHANNELS: self.n_channels,
            table.MODE: words.CLASSES if self.of_classes else words.MOMENTS,
            table.CRITERION: CRITERIA[criterion],
            table.MAX_DEPTH: size.max_depth,
            table.MIN_SAMPLES_SPLIT: min_samples_split,
            table.MIN_SAMPLES_LEAF: min_samples_leaf,
            table.MAX_LEAVES: size.max_leaves,
            table.MAX_FEATURES: bins.n_features if max_features is None else max_features,
            table.IS_BEST_FIRST: max_leaf_nodes is not None,
            table.SHARED_WORK: NEVER if parallel is one_by_one else SHARED_WORK,
        }
        for place, setting in chosen.items():
            self._settings[place] = setting
        self._scratch: list[Scratch] = []

    def grow(
        self,
        first: Vector | ClassCodes,
        second: Vector,
        rows: RowNumbers | None = None,
        seed: int = 0,
        *,
        counts: Counts | None = None,
        locate: bool = True,
    ) -> GrownTree:
        """Return a tree grown on some rows, or on all.

        Parameters
        ----------
        first : (n_samples,), gradients, or weight * y, or uint16 class codes
        second : (n_samples,), hessians or weights, >= 0
        rows : ascending row numbers, without those of weight 0; None for all that weigh something
        seed : of the draws of features
        counts : (n_samples,), how often each row was drawn; None: once
        locate : whether `leaf_of_row` is asked for; else it is empty
        """
        chosen = self._rows(second) if rows is None else rows
        statistics = Statistics.of(first, second, counts, of_classes=self.of_classes)
        scratch = self._borrow()
        scratch.begin(chosen)
        units = statistics.units(chosen, is_centred=self.criterion == "squared_error")
        settings, limits = self._settings.copy(), self._limits(units)
        settings[table.SHIFT] = units.shift
        scratch.state[table.RANDOM] = as_int64(seed)
        self._run(scratch, statistics, settings, limits)
        tree = self._finish(scratch, statistics, units)
        located = np.full(self.bins.n_samples if locate else 0, -1, np.int32)
        if locate:
            leaves.locate_rows(scratch.chosen, scratch.grown_nodes(), located)
        self._scratch.append(scratch)
        return GrownTree(tree, located, units.variance)

    def _rows(self, second: Vector) -> RowNumbers:
        if self.criterion != "newton" and not second.min(initial=np.inf) > 0:
            return np.flatnonzero(second > 0).astype(np.int32)
        return np.arange(self.bins.n_samples, dtype=np.int32)

    def _borrow(self) -> Scratch:
        """Return scratch that nobody uses; `list.pop` gives none to two threads."""
        try:
            return self._scratch.pop()
        except IndexError:
            return Scratch(self._size)

    def _limits(self, units: Units) -> Vector:
        limits = np.zeros(table.N_LIMITS)
        limits[[table.MEAN, table.SCALE, table.WEIGHT_SCALE]] = (
            units.mean,
            units.scale,
            units.weight,
        )
        limits[table.MIN_WEIGHT] = 1.0
        if self.criterion == "newton":
            limits[table.L2] = self.l2 * units.weight
            limits[table.MIN_WEIGHT] = max(self.min_hessian * units.weight, 1.0)
            limits[table.MIN_GAIN] = self.min_gain / units.gain
        return limits

    def _run(
        self,
        scratch: Scratch,
        statistics: Statistics,
        settings: NDArray[np.int64],
        limits: Vector,
    ) -> None:
        flat = self.bins.bins.reshape(-1)
        while True:
            node = grow(
                flat,
                scratch.chosen,
                scratch.spare,
                statistics.codes,
                scratch.node_words,
                scratch.node_codes,
                scratch.histograms,
                scratch.nodes,
                scratch.gains,
                scratch.waiting,
                scratch.free,
                scratch.order,
                scratch.occupied,
                scratch.totals,
                statistics.first,
                statistics.second,
                statistics.counts,
                settings,
                limits,
                scratch.state,
            )
            if node == table.DONE:
                return
            self._fill(scratch, scratch.nodes[node])

    def _fill(self, scratch: Scratch, node: RowNumbers) -> None:
        """Fill a node's slot, several features at a time."""
        n_features = self.bins.n_features
        start, stop = int(node[table.START]), int(node[table.STOP])
        size = words.N_BINS * self.n_channels
        base = size * (1 + int(node[table.SLOT]) * n_features)
        step = max(VALUES_PER_CALL // (stop - start), 1)

        def fill(feature: int) -> None:
            words.fill_histograms(
                self.bins.bins.reshape(-1),
                self.bins.n_samples,
                scratch.chosen,
                start,
                stop,
                scratch.node_words,
                scratch.node_codes,
                words.CLASSES if self.of_classes else words.MOMENTS,
                self.n_channels,
                scratch.histograms,
                base,
                feature,
                min(feature + step, n_features),
            )

        collect(self.parallel, fill, range(0, n_features, step))

    def _finish(self, scratch: Scratch, statistics: Statistics, units: Units) -> Tree:
        nodes = scratch.grown_nodes()
        n_nodes = len(nodes)
        tree = Tree(
            feature=np.empty(n_nodes, np.int32),
            threshold=np.empty(n_nodes),
            missing_left=np.empty(n_nodes, np.uint8),
            left=np.empty(n_nodes, np.int32),
            value=np.empty((n_nodes, self.n_channels if self.of_classes else 1)),
            weight=np.empty(n_nodes),
            gain=np.empty(n_nodes),
            bin=np.empty(n_nodes, np.uint8),
        )
        leaves.finish_tree(
            scratch.chosen,
            nodes,
            scratch.gains,
            units.gain,
            self.bins.edges,
            self.bins.values,
            self.bins.is_exact,
            words.CLASSES if self.of_classes else words.MOMENTS,
            CRITERIA[self.criterion],
            self.l2,
            statistics.first,
            statistics.second,
            statistics.counts,
            statistics.codes,
            tree.feature,
            tree.threshold,
            tree.bin,
            tree.missing_left,
            tree.left,
            tree.value,
            tree.weight,
            tree.gain,
        )
        return tree


def leaves_of(bins: BinnedMatrix, tree: Tree, rows: RowNumbers, leaf_of_row: RowNumbers) -> None:
    """Write the leaf that each of the rows comes to into the (n_samples,) `leaf_of_row`."""
    leaf_of_row[rows] = walk(bins, tree, rows)


def walk(bins: BinnedMatrix, tree: Tree, rows: RowNumbers) -> RowNumbers:
    """Return the leaf that each of the (m,) rows comes to."""
    leaf = np.empty(len(rows), np.int32)
    leaves.walk_rows(
        bins.bins.reshape(-1),
        bins.n_samples,
        rows,
        tree.feature,
        tree.bin,
        tree.missing_left,
        tree.left,
        leaf,
    )
    return leaf


def as_int64(seed: int) -> int:
    """Return the signed number of the same lowest 64 bits."""
    return (seed + 2**63) % 2**64 - 2**63
