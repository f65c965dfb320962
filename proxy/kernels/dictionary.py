"""A hash table from the bytes of a text value to its code, for many columns at once.

Owns hashing, probing and re-hashing; leaves storage, its growth and what a code means to the
callers. Three arrays make a dictionary:

    table    int64 (2**k,)     index of an entry, or EMPTY; open addressing, linear probing
    entries  int64 (n, 4)      HASH, OWNER (column << 32 | code), START and SIZE in the arena
    arena    uint8             the values, one after the other, compared byte by byte

Which code a value has depends on the order of insertion alone, never on the seed, so the seed
may be drawn at random against texts made to collide.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from proxy.kernels.compilation import BYTES, INT64, OFFSETS, TABLE, VOID, inner, kernel
from proxy.kernels.memory import (
    copy_bytes,
    load_uint8,
    load_uint32,
    load_uint64,
    multiply_high,
    signed,
)

EMPTY = -1
HASH, OWNER, START, SIZE = range(4)
ENTRY_FIELDS = 4

# Odd 64-bit constants with half of their bits set: the fractional parts of the golden ratio
# and of the square root of 3.
_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)
_INCREMENT = np.uint64(0xBB67AE8584CAA73B)


@inner
def _mix(state: np.uint64, word: np.uint64) -> np.uint64:
    folded = (state ^ word) * _MULTIPLIER
    return np.uint64(folded ^ multiply_high(state ^ word, _MULTIPLIER) ^ _INCREMENT)


@inner
def _short_word(buffer: NDArray[np.uint8], start: int, size: int) -> np.uint64:
    """Return 0 to 7 bytes as one word; different bytes of one size give different words."""
    if size >= 4:
        high = load_uint32(buffer, start)
        return np.uint64((high << np.uint64(32)) | load_uint32(buffer, start + size - 4))
    word = 0
    for position in range(start, start + size):
        word = (word << 8) | load_uint8(buffer, position)
    return np.uint64(word)


@inner
def hash_value(buffer: NDArray[np.uint8], start: int, size: int, owner: int, seed: int) -> int:
    """Return the hash, as an int64, of the value of one column (`owner`)."""
    state = _mix(np.uint64(seed), np.uint64((owner << 32) ^ size))
    if size < 8:
        state = _mix(state, _short_word(buffer, start, size))
    else:
        last = start + size - 8
        for position in range(start, last, 8):
            state = _mix(state, load_uint64(buffer, position))
        state = _mix(state, load_uint64(buffer, last))
    hashed: int = signed(_mix(state, _MULTIPLIER))
    return hashed


@inner
def _equal(
    buffer: NDArray[np.uint8], start: int, arena: NDArray[np.uint8], other: int, size: int
) -> bool:
    words = size & ~7
    for offset in range(0, words, 8):
        if load_uint64(buffer, start + offset) != load_uint64(arena, other + offset):
            return False
    for offset in range(words, size):
        if load_uint8(buffer, start + offset) != load_uint8(arena, other + offset):
            return False
    return True


@inner
def find(
    buffer: NDArray[np.uint8],
    start: int,
    size: int,
    owner: int,
    hashed: int,
    table: NDArray[np.int64],
    entries: NDArray[np.int64],
    arena: NDArray[np.uint8],
) -> tuple[int, int]:
    """Return (code, slot): the value's code, or EMPTY and the slot where it would be put.

    The table must have at least one empty slot.
    """
    mask = table.size - 1
    slot = hashed & mask
    while True:
        entry = table[slot]
        if entry == EMPTY:
            return EMPTY, slot
        if (
            entries[entry, HASH] == hashed
            and entries[entry, SIZE] == size
            and entries[entry, OWNER] >> 32 == owner
            and _equal(buffer, start, arena, entries[entry, START], size)
        ):
            return entries[entry, OWNER] & 0xFFFFFFFF, slot
        slot = (slot + 1) & mask


@inner
def insert(
    buffer: NDArray[np.uint8],
    start: int,
    size: int,
    owner: int,
    code: int,
    hashed: int,
    slot: int,
    entry: int,
    used: int,
    table: NDArray[np.int64],
    entries: NDArray[np.int64],
    arena: NDArray[np.uint8],
) -> None:
    """Put a new value at the slot that `find` gave; entries, arena and table must have room."""
    copy_bytes(buffer, start, arena, used, size)
    table[slot] = entry
    entries[entry, HASH] = hashed
    entries[entry, OWNER] = (owner << 32) | code
    entries[entry, START] = used
    entries[entry, SIZE] = size


@kernel(VOID(OFFSETS, TABLE, INT64, BYTES, INT64))
def rehash(
    table: NDArray[np.int64],
    entries: NDArray[np.int64],
    n_entries: int,
    arena: NDArray[np.uint8],
    seed: int,
) -> None:
    """Fill an empty table, of more than `n_entries` slots, with the entries.

    OWNER, START and SIZE of the entries are read and HASH is written. Of two equal values of
    one column the first wins.
    """
    table[:] = EMPTY
    for entry in range(n_entries):
        start, size = entries[entry, START], entries[entry, SIZE]
        owner = entries[entry, OWNER] >> 32
        hashed = hash_value(arena, start, size, owner, seed)
        entries[entry, HASH] = hashed
        code, slot = find(arena, start, size, owner, hashed, table, entries, arena)
        if code == EMPTY:
            table[slot] = entry
