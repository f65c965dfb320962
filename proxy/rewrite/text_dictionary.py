"""The distinct texts of columns, and their codes: the arrays of `kernels.dictionary`.

Owns their storage and its growth.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from proxy.kernels import dictionary
from proxy.kernels.memory import view_bytes

SEED = secrets.randbits(63)
"""Of every dictionary: against texts made to collide. A code depends on the order alone."""


class TextDictionary:
    """A hash table from texts to codes, each column's by itself.

    Attributes
    ----------
    table, entries, arena : as in `kernels.dictionary`
    """

    __slots__ = ("arena", "entries", "table")

    def __init__(
        self, table: NDArray[np.int64], entries: NDArray[np.int64], arena: NDArray[np.uint8]
    ) -> None:
        self.table = table
        self.entries = entries
        self.arena = arena

    @classmethod
    def empty(cls) -> TextDictionary:
        """Return a dictionary that can grow."""
        entries = np.zeros((256, dictionary.ENTRY_FIELDS), np.int64)
        return cls(np.full(512, dictionary.EMPTY, np.int64), entries, np.empty(4096, np.uint8))

    @classmethod
    def of(cls, columns: Sequence[Sequence[bytes]]) -> TextDictionary:
        """Return a dictionary that cannot grow, of the categories of each column."""
        words = [
            (owner << 32 | code, word)
            for owner, categories in enumerate(columns)
            for code, word in enumerate(categories)
        ]
        sizes = np.array([len(word) for _, word in words], np.int64)
        entries = np.zeros((len(words), dictionary.ENTRY_FIELDS), np.int64)
        entries[:, dictionary.OWNER] = [owner for owner, _ in words]
        entries[:, dictionary.SIZE] = sizes
        entries[:, dictionary.START] = np.cumsum(sizes) - sizes
        arena = view_bytes(b"".join(word for _, word in words))
        table = np.empty(1 << (2 * len(words) + 1).bit_length(), np.int64)
        dictionary.rehash(table, entries, len(words), arena, SEED)
        return cls(table, entries, arena)

    def double_entries(self) -> None:
        """Make room for as many values again; the table stays at most half full."""
        n_entries = len(self.entries)
        entries = np.zeros((2 * n_entries, dictionary.ENTRY_FIELDS), np.int64)
        entries[:n_entries] = self.entries
        table = np.empty(4 * n_entries, np.int64)
        dictionary.rehash(table, entries, n_entries, view_bytes(self.arena.data), SEED)
        self.table, self.entries = table, entries

    def grow_arena(self, needed: int, limit: int) -> None:
        """Make room for the bytes of one more value."""
        size = min(max(2 * self.arena.size, self.arena.size + needed), limit)
        self.arena.resize(size, refcheck=False)

    def values(self, n_columns: int, n_entries: int) -> list[list[bytes]]:
        """Return the values of each column in the order of their codes."""
        result: list[list[bytes]] = [[] for _ in range(n_columns)]
        arena = self.arena.data
        for _, owner, start, size in self.entries[:n_entries].tolist():
            result[owner >> 32].append(bytes(arena[start : start + size]))
        return result
