"""Where large arrays come from: memory that goes back to the system, or what the caller hands in.

Of the C library's allocators glibc's gives pieces above 32 MiB back at once
(DEFAULT_MMAP_THRESHOLD_MAX of its malloc). A smaller one that is freed first makes it keep all that
follow of that size, for whoever comes next in the same thread.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import DTypeLike, NDArray

Allocate: TypeAlias = Callable[[int | tuple[int, ...], DTypeLike], NDArray[Any]]
"""Returns an array as of `np.empty`, given shape and dtype. It makes what there is one of for each
row: where rows are more than memory has room for, its arrays map files."""

WORTH_GIVING_BACK = 1 << 22
GIVEN_BACK = (1 << 25) + 4096


def passing(shape: int | tuple[int, ...], dtype: DTypeLike = np.float64) -> NDArray[Any]:
    """Return an array as of `np.empty`; what of it is never touched takes no memory."""
    itemtype = np.dtype(dtype)
    size = math.prod(shape) if isinstance(shape, tuple) else shape
    n_bytes = size * itemtype.itemsize
    if n_bytes <= WORTH_GIVING_BACK:
        return np.empty(shape, itemtype)
    memory = np.empty(max(n_bytes, GIVEN_BACK), np.uint8)
    return memory[:n_bytes].view(itemtype).reshape(shape)
