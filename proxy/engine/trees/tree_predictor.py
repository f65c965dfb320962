"""Scores of trees: one, the mean of a forest, or the sum of boosting.

Owns the predictor that every tree ensemble leaves behind. Its two halves are the cuts, in
`packed_trees`, and what leaves are worth, in `tree_quantization`; the walks are
`proxy.kernels.trees`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from proxy.engine.arrays import Matrix, Vector
from proxy.engine.predictors import LOG_ODDS, PROBABILITY, VALUE, Link, Tensors
from proxy.engine.row_blocks import row_blocks
from proxy.engine.trees.packed_trees import Cuts, PackedTrees
from proxy.engine.trees.tree import LevelTree, Tree
from proxy.engine.trees.tree_quantization import LeafValues, Precision
from proxy.errors import TooLargeError
from proxy.kernels import trees as kernel
from proxy.kernels.ranks import CHUNK_ROWS

BLOCK_BYTES = 1 << 19
"""Of ranks. A block goes through all trees, each of which it pulls into the cache: measured on 100
trees of 6000 nodes, blocks of 1000 rows take four times as long as those of 16 000."""


class TreePredictor:
    """base + the sum, or the mean, of what trees say.

    Parameters
    ----------
    trees : with one value in each leaf, and then tree t is for output t % n_outputs; or with
        n_outputs values
    averages : the mean of the trees, and not their sum
    base : (n_outputs,)

    Raises
    ------
    TooLargeError
        54000: more nodes in a tree, or features, than words have room for.

    Notes
    -----
    Missing values, NaN, go where each cut sends them. A row's sum is made in the order of the
    trees, alone and in any batch.
    """

    def __init__(
        self,
        trees: Iterable[Tree | LevelTree],
        *,
        link: Link,
        n_features_in: int,
        n_outputs: int,
        averages: bool,
        base: Vector,
    ) -> None:
        cuts, values = Cuts.from_trees(trees, n_features_in)
        try:
            cuts.check()
            packed = PackedTrees.from_cuts(cuts)
        except ValueError as error:
            raise TooLargeError(
                "the trees are too large to be packed",
                detail=f"They have {len(cuts.is_cut)} nodes, on {n_features_in} columns.",
                hint="Set max_depth or max_leaf_nodes, or a lower max_categories.",
            ) from error
        leaves = LeafValues.of(values, are_shares=link == PROBABILITY)
        self._assemble(packed, leaves, link, averages=averages, base=base)

    def _assemble(
        self, packed: PackedTrees, leaves: LeafValues, link: Link, *, averages: bool, base: Vector
    ) -> None:
        """Set the attributes.

        Raises
        ------
        ValueError
            The parts are not those of one model, or its scores might overflow.
        """
        self.link: Link = link
        self.n_features_in = len(packed.threshold_counts)
        self.n_outputs = len(base)
        self.n_trees = len(packed.roots)
        self.averages = averages
        self.base = np.ascontiguousarray(base, np.float64)
        self.leaves = leaves
        self._packed = packed
        n_sums = self.n_outputs // leaves.n_values
        if leaves.n_values not in {1, self.n_outputs} or self.n_trees % n_sums:
            raise ValueError(f"{self.n_trees} trees of {leaves.n_values} values, {len(base)} sums")
        self._check_magnitude()
        self._block_rows = BLOCK_BYTES // (2 * packed.n_slots * CHUNK_ROWS)
        self._block_rows = max(self._block_rows, 1) * CHUNK_ROWS
        self._n_slots = packed.n_slots
        self._model = (
            packed.words,
            packed.roots,
            _row_of_node(packed, leaves),
            leaves.decoded(),
            packed.searches,
            packed.tables,
            self.base,
            float(max(self.n_trees // n_sums, 1)) if averages else 1.0,
        )

    def _check_magnitude(self) -> None:
        """Refuse values whose sum might be infinite: then no score is NaN."""
        leaf_counts = (self._packed.tree_sizes + 1) // 2
        if self.leaves.n_leaves != int(leaf_counts.sum()):
            raise ValueError(f"{self.leaves.n_leaves} leaves have values, not {leaf_counts.sum()}")
        sizes = self.leaves.magnitudes()
        with np.errstate(over="ignore"):
            total = np.abs(self.base).max(initial=0.0)
            if len(sizes):
                total += np.maximum.reduceat(sizes, np.cumsum(leaf_counts) - leaf_counts).sum()
        if not np.isfinite(total):
            raise ValueError("the sum of the leaves' values may overflow")

    def outputs(self, X: Matrix) -> Matrix:
        """Return (n_outputs, n) for a C-contiguous X (n, n_features_in); NaN is missing.

        Raises
        ------
        ValueError
            X has another width.
        """
        n_rows, width = X.shape
        if width != self.n_features_in:
            raise ValueError(f"X has {width} columns, not {self.n_features_in}")
        out = np.empty((self.n_outputs, n_rows))
        if n_rows < kernel.LANES:
            kernel.score_few(X, *self._model, np.empty(self._n_slots, np.uint16), out)
            return out
        kernel.score_many(
            X,
            *self._model,
            np.empty(min(self._block_rows, n_rows) * self._n_slots, np.uint16),
            self._n_slots,
            np.empty(CHUNK_ROWS),
            np.empty(CHUNK_ROWS, np.uint64),
            out,
        )
        return out

    def cuts(self) -> Cuts:
        """Return the cuts of the trees, in level order; the leaves' values are `leaves`."""
        return self._packed.cuts()

    def tensors(self) -> dict[str, NDArray[Any]]:
        """Return the arrays that `from_tensors` rebuilds it of."""
        return {
            **self.cuts().tensors(),
            **self.leaves.tensors(),
            "base": self.base,
            "averages": np.array([self.averages], np.uint8),
        }

    @classmethod
    def from_tensors(cls, tensors: Tensors, *, n_features_in: int, n_classes: int) -> Self:
        """Rebuild it of arrays that anybody may have made.

        Trees of classes that are averaged hold probabilities, others log-odds.

        Raises
        ------
        ValueError, KeyError
            They are not those of trees on so many columns, for so many classes.
        """
        averages = tensors["averages"]
        if averages.dtype != np.uint8 or averages.shape != (1,) or averages[0] > 1:
            raise ValueError("averages is neither 0 nor 1")
        link: Link = VALUE
        n_outputs = 1
        if n_classes:
            link = PROBABILITY if averages[0] else LOG_ODDS
            n_outputs = n_classes if averages[0] or n_classes > 2 else 1
        base = tensors["base"]
        if base.dtype != np.float64 or base.shape != (n_outputs,):
            raise ValueError(f"base is {base.dtype} {base.shape}, not ({n_outputs},)")
        if not np.isfinite(base).all() or (link == PROBABILITY and base.any()):
            raise ValueError("base is not finite, or added to probabilities")
        leaves = LeafValues.from_tensors(tensors, are_shares=link == PROBABILITY)
        if leaves.n_values not in {1 if link != PROBABILITY else n_outputs, n_outputs}:
            raise ValueError(f"leaves have {leaves.n_values} values, not {n_outputs}")
        if link == PROBABILITY and not len(tensors["tree_sizes"]):
            raise ValueError("no tree says what is probable")
        packed = PackedTrees.from_cuts(Cuts.from_tensors(tensors, n_features_in))
        return cls._of_parts(packed, leaves, link, averages=bool(averages[0]), base=base)

    def with_leaves(self, leaves: LeafValues) -> Self:
        """Return the same cuts with other values in the leaves."""
        return self._of_parts(
            self._packed, leaves, self.link, averages=self.averages, base=self.base
        )

    @classmethod
    def _of_parts(
        cls, packed: PackedTrees, leaves: LeafValues, link: Link, *, averages: bool, base: Vector
    ) -> Self:
        predictor = cls.__new__(cls)
        predictor._assemble(packed, leaves, link, averages=averages, base=base)  # noqa: SLF001 - ours
        return predictor


def quantized(predictor: TreePredictor, precision: Precision) -> TreePredictor:
    """Return the predictor with leaf values rounded to "float16" or "int8": stored smaller.

    Cuts stay whole, so every row comes to the leaf that it came to: of a threshold only its place
    in its feature's table is stored, in a byte or two. A leaf's value is off by at most 2^-12 of
    the range of all values as float16, by 1/510 of it as int8; a share of K classes by up to K
    times as much. The mean of many trees, whose errors differ, is off by less, the sum of n trees
    by up to n times as much. Values that were rounded before keep that error.
    """
    is_shares = predictor.link == PROBABILITY
    values = predictor.leaves.of_leaves()
    return predictor.with_leaves(LeafValues.of(values, precision, are_shares=is_shares))


def _row_of_node(packed: PackedTrees, leaves: LeafValues) -> NDArray[np.uint32]:
    """Return for each node that is a leaf the row of its values, else 0."""
    is_cut, index = packed.is_cut, leaves.index
    rows = np.zeros(len(is_cut), np.uint32)
    end = 0
    for nodes in row_blocks(len(is_cut)):
        own = np.flatnonzero(~is_cut[nodes])
        start, end = end, end + len(own)
        rows[nodes][own] = np.arange(start, end) if index is None else index[start:end]
    return rows
