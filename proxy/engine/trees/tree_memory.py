"""The memory in which trees are grown: how much a tree may need, and where it begins.

Owns the sizes, and the root's place in the table of nodes. What the arrays mean is said by
`proxy.kernels.tree_growth`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from proxy.engine.arrays import Vector
from proxy.engine.memory import passing
from proxy.kernels import histograms as words
from proxy.kernels import tree_nodes as table

RowNumbers: TypeAlias = NDArray[np.int32]
Words: TypeAlias = NDArray[np.int64]

NO_LIMIT = 2**31 - 1
SLOTS_SIZE_BYTES = 1 << 26
"""Of histograms kept for subtraction, for each tree that is grown at a time."""
LEVEL_BYTES, LEVEL_VALUE_BYTES = 7.5, 4
PACKING_BYTES, PACKING_VALUE_BYTES = 20, 6
"""Of a node, and of each value of one: of a `LevelTree`, and more while trees become words."""
PENDING_DEPTH = 64
"""Slots of a tree of any depth; deeper, nodes are small and need none."""


@dataclass(frozen=True, slots=True)
class GrowthSize:
    """What decides how much memory a tree takes.

    Attributes
    ----------
    n_channels : words for each bin
    searches_all : whether every cut looks at all columns
    """

    n_samples: int
    n_features: int
    n_channels: int
    of_classes: bool
    max_depth: int
    max_leaves: int
    min_samples_leaf: int
    is_best_first: bool
    searches_all: bool

    def most_leaves(self, n_rows: int) -> int:
        """Return how many leaves a tree of so many rows can have."""
        return min(self._most_by_limits, max(n_rows // self.min_samples_leaf, 1))

    def limits_leaves(self, n_rows: int) -> bool:
        """Return whether depth or number of leaves limit a tree of so many rows."""
        return self._most_by_limits < n_rows // self.min_samples_leaf

    @property
    def _most_by_limits(self) -> int:
        by_depth = 2**self.max_depth if self.max_depth < 31 else NO_LIMIT
        return min(by_depth, self.max_leaves)

    def n_slots(self, n_rows: int) -> int:
        """Return how many nodes may keep their histograms at a time."""
        if not self.searches_all or n_rows < table.DENSE_BINS * self.n_channels:
            return 0
        slot_size = 8 * words.N_BINS * self.n_channels * max(self.n_features, 1)
        pending = min(self.max_depth, PENDING_DEPTH) + 2
        if self.is_best_first:
            pending = self.max_leaves + 1
        return min(pending, SLOTS_SIZE_BYTES // slot_size)

    def with_spare_rows(self, n_rows: int) -> int:
        """Return for how many rows to make room: draws of rows differ in number."""
        return min(n_rows + n_rows // 32, self.n_samples)

    def scratch_bytes(self, n_rows: int, n_leaves: int) -> int:
        """Return what a tree of so many rows and leaves is grown in; see `Scratch`."""
        per_row = 8 + (8 + 2 if self.of_classes else 2 * 8)
        n_slots = self.n_slots(n_rows)
        n_words = words.N_BINS * self.n_channels * (1 + n_slots * self.n_features)
        per_node = 8 + 4 * (table.NODE_FIELDS + 1)
        return n_rows * per_row + 8 * n_words + (2 * n_leaves - 1) * per_node + 4 * n_slots


def kept_bytes(n_nodes: int, n_values: int) -> int:
    """Return what `LevelTree`s of so many nodes take: half are cuts, half leaves with values."""
    return int(n_nodes * (LEVEL_BYTES + LEVEL_VALUE_BYTES * n_values))


def packing_bytes(n_nodes: int, n_values: int) -> int:
    """Return what so many nodes take while they are packed for scoring, beside what is kept."""
    return n_nodes * (PACKING_BYTES + PACKING_VALUE_BYTES * n_values)


class Scratch:
    """The memory of one tree, for one thread; it is used again for the next of the same kind.

    Attributes
    ----------
    chosen : (m,), the rows of the tree in work; see `proxy.kernels.tree_growth` for the others
    """

    def __init__(self, size: GrowthSize) -> None:
        self._size = size
        self._rows: RowNumbers = np.empty(0, np.int32)
        self.chosen = self._rows
        self.occupied = np.zeros(4, np.uint64)
        self.totals: Words = np.zeros(2 * size.n_channels, np.int64)
        self.state: Words = np.zeros(table.STATE_SIZE, np.int64)
        self.order: RowNumbers = np.empty(size.n_features, np.int32)
        self._allocate(0)

    def begin(self, rows: RowNumbers) -> None:
        """Make room for a tree of these rows, and put down its root."""
        if len(self._rows) < len(rows):
            self._allocate(len(rows))
        self.chosen = self._rows[: len(rows)]
        np.copyto(self.chosen, rows)
        self.free[:] = np.arange(len(self.free))
        self.order[:] = np.arange(len(self.order))
        self.nodes[0] = 0
        self.nodes[0, table.STOP] = len(rows)
        self.nodes[0, table.FEATURE] = table.NO_FEATURE
        self.nodes[0, table.SLOT] = table.NO_SLOT
        self.state[:] = 0
        self.state[[table.N_NODES, table.N_LEAVES]] = 1
        self.state[table.N_FREE] = len(self.free)
        self.state[table.PARENT] = -1
        self.state[table.PHASE] = table.BEGIN

    def _allocate(self, n_rows: int) -> None:
        """Make room for so many rows, and a few more."""
        size = self._size
        n_rows = size.with_spare_rows(n_rows)
        n_leaves = size.most_leaves(n_rows)
        n_nodes = 2 * n_leaves - 1
        n_slots = size.n_slots(n_rows)
        per_row = 1 if size.of_classes else 2
        one_histogram = words.N_BINS * size.n_channels
        n_codes = n_rows if size.of_classes else 0
        n_words = one_histogram * (1 + n_slots * size.n_features)
        # In one piece, which goes back to the system as a whole.
        memory = _Memory(size.scratch_bytes(n_rows, n_leaves))
        self.node_words: Words = memory.take(n_rows * per_row, np.int64)
        self.histograms: Words = memory.take(n_words, np.int64)
        self.histograms[:] = 0
        self.gains: Vector = memory.take(n_nodes, np.float64)
        self._rows = memory.take(n_rows, np.int32)
        self.spare: RowNumbers = memory.take(n_rows, np.int32)
        nodes: RowNumbers = memory.take(n_nodes * table.NODE_FIELDS, np.int32)
        self.nodes = nodes.reshape(n_nodes, table.NODE_FIELDS)
        self.waiting: RowNumbers = memory.take(n_nodes, np.int32)
        self.free: RowNumbers = memory.take(n_slots, np.int32)
        self.node_codes = memory.take(n_codes, np.uint16)

    def grown_nodes(self) -> RowNumbers:
        """Return the table of the nodes that were made."""
        return self.nodes[: int(self.state[table.N_NODES])]


class _Memory:
    """A piece of memory that arrays are taken of, those of larger elements first."""

    def __init__(self, size_bytes: int) -> None:
        self._bytes = passing(size_bytes, np.uint8)
        self._taken = 0

    def take(self, count: int, dtype: type[np.generic]) -> NDArray[Any]:
        """Return the next `count` elements, as they are."""
        start = self._taken
        self._taken += count * np.dtype(dtype).itemsize
        return self._bytes[start : self._taken].view(dtype)
