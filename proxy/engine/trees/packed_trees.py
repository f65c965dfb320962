"""The cuts of many trees: how they are stored, and how they are packed for walks.

Owns the passage between trees, tensors and the words of `proxy.kernels.trees`, and every check that
makes a walk over the words safe. What leaves are worth is `tree_quantization`'s.

A stored tree is in level order, so that one bit for each node says where all children are: those of
the tree's i-th cut are its nodes 2i + 1 and 2i + 2. No cycle, and no child outside its tree, can be
written down. Thresholds are stored once for each feature, ascending, and cuts have their places.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from proxy.engine.arrays import Flags, Matrix, Vector
from proxy.engine.predictors import Tensors
from proxy.engine.row_blocks import row_blocks
from proxy.engine.trees.tree import LevelTree, Tree
from proxy.kernels import ranks
from proxy.kernels import trees as kernel

MOST_NODES = 1 << 31
NODES_AT_A_TIME = 1 << 18
MERGED_AT_A_TIME = 64
_UNSIGNED = (np.uint8, np.uint16, np.uint32)
Integers = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Cuts:
    """The cuts of trees in level order.

    Attributes
    ----------
    tree_sizes : (n_trees,), nodes of each
    is_cut : (n_nodes,), False for a leaf
    feature : (n_cuts,)
    threshold_index : (n_cuts,), the place among the feature's thresholds
    missing_left : (n_cuts,)
    threshold_counts : (n_features,)
    thresholds : those of each feature, ascending, one feature's behind the other's
    """

    tree_sizes: Integers
    is_cut: Flags
    feature: Integers | NDArray[np.int32]
    threshold_index: Integers | NDArray[np.int32]
    missing_left: Flags
    threshold_counts: Integers
    thresholds: Vector

    def slot_codes(self, cuts: slice) -> Integers | NDArray[np.int32]:
        """Return what decides the slot of each cut: twice its feature, and where missing go."""
        return 2 * self.feature[cuts] + ~self.missing_left[cuts]

    @property
    def n_leaves(self) -> int:
        """Return the number of leaves of all trees."""
        return len(self.is_cut) - len(self.feature)

    @property
    def leaf_counts(self) -> Integers:
        """Return (n_trees,): half of a tree's nodes, and one, are leaves."""
        return (self.tree_sizes + 1) // 2

    @classmethod
    def from_trees(cls, trees: Iterable[Tree | LevelTree], n_features: int) -> tuple[Self, Matrix]:
        """Return the cuts, and the (n_leaves, n_values) values of the leaves in their order.

        Each array is joined when the trees' own of the one before are gone: forests are large.
        """
        parts = [_parts(tree) for tree in trees]
        sizes = np.array([len(part[0]) for part in parts], np.int64)
        counts, thresholds = _number_thresholds(parts, n_features)
        cuts = cls(
            tree_sizes=sizes,
            is_cut=_taken(parts, 0, np.bool_),
            feature=_taken(parts, 2, np.int32),
            threshold_index=_taken(parts, 3, np.int32),
            missing_left=_taken(parts, 1, np.bool_),
            threshold_counts=counts,
            thresholds=thresholds,
        )
        values = [part[4] for part in parts]
        del parts
        return cuts, np.concatenate(values) if values else np.zeros((0, 1))

    def tensors(self) -> dict[str, NDArray[Any]]:
        """Return the arrays that `from_tensors` rebuilds it of; nothing is lost."""
        return {
            "tree_sizes": self.tree_sizes.astype(np.uint32),
            "is_cut": np.packbits(self.is_cut),
            "feature": _smallest(self.feature),
            "threshold_index": _smallest(self.threshold_index),
            "missing_left": np.packbits(self.missing_left),
            "threshold_counts": _smallest(self.threshold_counts),
            "thresholds": _narrowest(self.thresholds),
        }

    @classmethod
    def from_tensors(cls, tensors: Tensors, n_features: int) -> Self:
        """Rebuild them of arrays that anybody may have made.

        Raises
        ------
        ValueError, KeyError
            They are not such cuts.
        """
        sizes = _integers(tensors["tree_sizes"])
        n_nodes, n_cuts = int(sizes.sum()), int((sizes // 2).sum())
        _require(n_nodes < MOST_NODES and bool((sizes % 2 == 1).all()), "tree_sizes")
        cuts = cls(
            tree_sizes=sizes,
            is_cut=_flags(tensors["is_cut"], n_nodes),
            feature=_integers(tensors["feature"]),
            threshold_index=_integers(tensors["threshold_index"]),
            missing_left=_flags(tensors["missing_left"], n_cuts),
            threshold_counts=_integers(tensors["threshold_counts"]),
            thresholds=_thresholds(tensors["thresholds"]),
        )
        _require(len(cuts.feature) == n_cuts == int(cuts.is_cut.sum()), "feature")
        _require(len(cuts.threshold_index) == n_cuts, "threshold_index")
        _require(len(cuts.threshold_counts) == n_features, "threshold_counts")
        cuts.check()
        return cuts

    def check(self) -> None:
        """Refuse what cannot be walked.

        Raises
        ------
        ValueError
            A child would not be behind its parent or not in its tree, or a number is too large.
        """
        counts = self.threshold_counts
        _require(bool((counts < kernel.LEAF_RANK).all()), "threshold_counts")
        _require(int(counts.sum()) == len(self.thresholds), "thresholds")
        for cuts in row_blocks(len(self.feature)):
            own = self.feature[cuts]
            _require(bool((own < len(counts)).all()), "feature")
            _require(bool((self.threshold_index[cuts] < counts[own]).all()), "threshold_index")
        owner = np.repeat(np.arange(len(counts)), counts)
        ascends = (self.thresholds[1:] > self.thresholds[:-1]) | (owner[1:] > owner[:-1])
        _require(bool(np.isfinite(self.thresholds).all() and ascends.all()), "thresholds")
        for nodes, steps in self.left_steps():
            left = steps[self.is_cut[nodes]]
            _require(bool(((left > 0) & (left < 1 << kernel.DELTA_BITS)).all()), "is_cut")
        starts = np.cumsum(self.tree_sizes) - self.tree_sizes
        if len(starts):
            totals = np.add.reduceat(self.is_cut, starts, dtype=np.int64)
            _require(bool((totals == self.tree_sizes // 2).all()), "is_cut")

    def left_steps(self) -> Iterator[tuple[slice, Integers]]:
        """Yield nodes, of some trees at a time, and how far behind each its left child is.

        That of a leaf means nothing.
        """
        ends = np.cumsum(self.tree_sizes)
        first = 0
        while first < len(ends):
            begin = int(ends[first] - self.tree_sizes[first])
            last = max(int(np.searchsorted(ends, begin + NODES_AT_A_TIME)), first + 1)
            nodes = slice(begin, int(ends[last - 1]))
            yield nodes, _left_steps(self.is_cut[nodes], self.tree_sizes[first:last])
            first = last


@dataclass(frozen=True, slots=True)
class PackedTrees:
    """Cuts as the kernels of `proxy.kernels.trees` take them.

    Attributes
    ----------
    words, roots, searches, tables, n_slots : theirs
    slot_feature, slot_is_low : (n_slots,), of the columns of the ranks
    tree_sizes, threshold_counts, thresholds : as in `Cuts`
    """

    words: NDArray[np.uint64]
    roots: NDArray[np.uint64]
    searches: Integers
    tables: Vector
    slot_feature: Integers
    slot_is_low: Flags
    tree_sizes: Integers
    threshold_counts: Integers
    thresholds: Vector

    @property
    def n_slots(self) -> int:
        """Return the width of a row's ranks; a tree without a cut looks at one, too."""
        return max(len(self.slot_feature), 1)

    @property
    def is_cut(self) -> Flags:
        """Return (n_nodes,): False for a leaf."""
        return np.concatenate([np.zeros(0, np.bool_), *(_is_cut(own) for own in self._blocks())])

    @classmethod
    def from_cuts(cls, cuts: Cuts) -> Self:
        """Pack cuts that have been checked.

        Raises
        ------
        ValueError
            They look at more than a million features.
        """
        is_used = np.zeros(2 * len(cuts.threshold_counts), np.bool_)
        for own in row_blocks(len(cuts.feature)):
            is_used[cuts.slot_codes(own)] = True
        slots = np.flatnonzero(is_used)
        _require(len(slots) < 1 << kernel.SLOT_BITS, "feature")
        slot_of_code = np.cumsum(is_used) - 1
        words = np.full(len(cuts.is_cut), kernel.LEAF_RANK, np.uint64)
        end = 0
        for nodes, steps in cuts.left_steps():  # of forests a temporary would be as large as they
            is_cut = np.flatnonzero(cuts.is_cut[nodes])
            own = slice(end, end + len(is_cut))
            end = own.stop
            word = slot_of_code[cuts.slot_codes(own)] << ranks.RANK_BITS
            word |= cuts.threshold_index[own]
            block = words[nodes]
            block[is_cut] = word.astype(np.uint64)
            block <<= np.uint64(kernel.DELTA_BITS)
            block[is_cut] |= steps[is_cut].astype(np.uint64)
        searches, tables = _searches(slots, cuts)
        return cls(
            words=words,
            roots=(np.cumsum(cuts.tree_sizes) - cuts.tree_sizes).astype(np.uint64),
            searches=searches,
            tables=tables,
            slot_feature=slots // 2,
            slot_is_low=slots % 2 == 0,
            tree_sizes=cuts.tree_sizes,
            threshold_counts=cuts.threshold_counts,
            thresholds=cuts.thresholds,
        )

    def cuts(self) -> Cuts:
        """Return what was packed."""
        is_cut = self.is_cut
        n_cuts = int(np.count_nonzero(is_cut))
        feature, index = np.empty(n_cuts, np.int32), np.empty(n_cuts, np.int32)
        missing_left = np.empty(n_cuts, np.bool_)
        end = 0
        for words in self._blocks():
            words = words[_is_cut(words)] >> np.uint64(kernel.DELTA_BITS)
            own = slice(end, end + len(words))
            end = own.stop
            slot = (words >> np.uint64(ranks.RANK_BITS)).astype(np.int64)
            feature[own], missing_left[own] = self.slot_feature[slot], self.slot_is_low[slot]
            index[own] = words & np.uint64(kernel.LEAF_RANK)
        return Cuts(
            tree_sizes=self.tree_sizes,
            is_cut=is_cut,
            feature=feature,
            threshold_index=index,
            missing_left=missing_left,
            threshold_counts=self.threshold_counts,
            thresholds=self.thresholds,
        )

    def _blocks(self) -> Iterator[NDArray[np.uint64]]:
        for nodes in row_blocks(len(self.words)):
            yield self.words[nodes]


def _searches(slots: Integers, cuts: Cuts) -> tuple[Integers, Vector]:
    """Return the bisections of `proxy.kernels.trees`, and the tables that they go over."""
    searches: list[list[int]] = []
    tables: list[Vector] = []
    slot_of = {int(slot): place for place, slot in enumerate(slots)}
    starts = np.cumsum(cuts.threshold_counts) - cuts.threshold_counts
    table_start = 0
    for feature in np.unique(slots // 2).tolist():
        count = int(cuts.threshold_counts[feature])
        top = 1 << (count.bit_length() - 1)
        table = np.full(2 * top - 1, np.inf)
        table[:count] = cuts.thresholds[starts[feature] : starts[feature] + count]
        low, high = (slot_of.get(2 * feature + i, ranks.NO_SLOT) for i in range(2))
        searches.append([feature, table_start, top, low, high])
        tables.append(table)
        table_start += len(table)
    return (
        np.array(searches, np.int64).reshape(-1, ranks.SEARCH_FIELDS),
        _joined(tables, np.float64),
    )


def levelled(tree: Tree) -> LevelTree:
    """Return a tree in level order."""
    order = np.empty(len(tree.left), np.int64)
    kernel.order_by_level(tree.left, order)
    is_cut = tree.left[order] > 0
    cuts = order[is_cut]
    return LevelTree(
        is_cut,
        tree.feature[cuts],
        tree.threshold[cuts],
        tree.missing_left[cuts].astype(np.bool_),
        tree.value[order[~is_cut]],
    )


def _left_steps(is_cut: Flags, sizes: Integers) -> Integers:
    steps: Integers = np.cumsum(is_cut)
    steps -= is_cut
    steps *= 2  # of the cuts before each, in all trees, until the trees' own starts are taken off
    starts = np.cumsum(sizes) - sizes
    of_trees = 1 + starts - steps[starts]
    steps -= np.arange(len(is_cut))
    steps += np.repeat(of_trees, sizes)
    return steps


def _is_cut(words: NDArray[np.uint64]) -> Flags:
    leaf = np.uint64(kernel.LEAF_RANK << kernel.DELTA_BITS)
    return np.asarray(words & leaf != leaf)


def _number_thresholds(parts: list[list[NDArray[Any]]], n_features: int) -> tuple[Integers, Vector]:
    """Put in each tree the places of thresholds among their feature's for the thresholds.

    Returns
    -------
    how many each feature has, and all of them
    """
    found: list[list[Vector]] = [[] for _ in range(n_features)]
    for part in parts:
        for feature, cuts in _by_feature(part[2]):
            found[feature].append(np.unique(part[3][cuts]))
            if len(found[feature]) == MERGED_AT_A_TIME:  # few are left: they are edges of bins
                found[feature] = [np.unique(np.concatenate(found[feature]))]
    distinct = [np.unique(_joined(own, np.float64)) for own in found]
    for part in parts:
        places = np.empty(len(part[3]), np.int32)
        for feature, cuts in _by_feature(part[2]):
            places[cuts] = distinct[feature].searchsorted(part[3][cuts])
        part[3] = places
    return np.array([len(own) for own in distinct], np.int64), _joined(distinct, np.float64)


def _by_feature(feature: NDArray[np.int32]) -> Iterator[tuple[int, Integers]]:
    """Yield each feature that a tree's cuts look at, and the cuts that do."""
    order = np.argsort(feature, kind="stable")
    ends = np.cumsum(np.bincount(feature))
    starts = ends - np.diff(ends, prepend=0)
    for own in np.flatnonzero(starts < ends).tolist():
        yield own, order[starts[own] : ends[own]]


def _parts(tree: Tree | LevelTree) -> list[NDArray[Any]]:
    level = levelled(tree) if isinstance(tree, Tree) else tree
    return [level.is_cut, level.missing_left, level.feature, level.threshold, level.value]


def _taken(parts: list[list[NDArray[Any]]], place: int, dtype: type[np.generic]) -> NDArray[Any]:
    """Return the arrays at a place, joined, and drop them there."""
    taken = _joined([part[place] for part in parts], dtype)
    for part in parts:
        part[place] = part[place][:0].copy()
    return taken


def _joined(parts: Sequence[NDArray[Any]], dtype: type[np.generic]) -> NDArray[Any]:
    return np.concatenate([np.zeros(0, dtype), *parts]).astype(dtype, copy=False)


def _smallest(numbers: NDArray[Any]) -> NDArray[Any]:
    """Return the numbers, none of them negative, in as few bytes as the largest takes."""
    return numbers.astype(np.min_scalar_type(int(numbers.max(initial=0))))


def _narrowest(numbers: Vector) -> NDArray[Any]:
    """Return them in single precision if that is what they are: so are halves of whole numbers."""
    with np.errstate(over="ignore"):
        single = numbers.astype(np.float32)
    return single if np.array_equal(single, numbers) else numbers


def _require(holds: bool, name: str) -> None:  # noqa: FBT001 - reads as `assert`
    if not holds:
        raise ValueError(f"{name} is not that of trees")


def _integers(array: NDArray[Any]) -> Integers:
    if array.ndim != 1 or array.dtype.type not in _UNSIGNED:
        raise ValueError(f"an array of whole numbers is {array.dtype} {array.shape}")
    return array.astype(np.int64)


def _flags(array: NDArray[Any], count: int) -> Flags:
    if array.dtype != np.uint8 or array.shape != ((count + 7) // 8,):
        raise ValueError(f"an array of bits is {array.dtype} {array.shape}")
    bits = np.unpackbits(array)
    _require(not bits[count:].any(), "an array of bits")
    return bits[:count].astype(np.bool_)


def _thresholds(array: NDArray[Any]) -> Vector:
    if array.ndim != 1 or array.dtype.type not in {np.float32, np.float64}:
        raise ValueError(f"thresholds are {array.dtype} {array.shape}")
    return array.astype(np.float64)
