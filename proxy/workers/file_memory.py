"""Arrays that are mapped files: for what there is one of for each row, where rows are too many.

The operating system writes such an array to disk when it needs the memory for others. The files
have no names, and end with their arrays.
"""

from __future__ import annotations

import math
import mmap
import tempfile
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from proxy.workers.buffers import leave, reserve

SMALLEST_BYTES = 1 << 22
"""Arrays below stay in memory: they are not what takes it."""


class FileMemory:
    """An `engine.memory.Allocate` of files in a directory.

    Parameters
    ----------
    watch : is shown each mapping
    smallest : bytes of an array that is a file
    """

    def __init__(
        self,
        directory: str,
        watch: Callable[[mmap.mmap], None] = leave,
        smallest: int = SMALLEST_BYTES,
    ) -> None:
        self._directory = directory
        self._watch = watch
        self._smallest = smallest

    def __call__(self, shape: int | tuple[int, ...], dtype: DTypeLike, /) -> NDArray[Any]:
        """Return an array as of `np.empty`.

        Raises
        ------
        TooLargeError
            53100: the disk has no space for it.
        """
        itemtype = np.dtype(dtype)
        size = itemtype.itemsize * (math.prod(shape) if isinstance(shape, tuple) else shape)
        if size < self._smallest:
            return np.empty(shape, itemtype)
        with tempfile.TemporaryFile(prefix="pgseer-array-", dir=self._directory) as file:
            reserve(file.fileno(), size, in_memory=False)
            memory = mmap.mmap(file.fileno(), size)
        self._watch(memory)
        return np.frombuffer(memory, itemtype).reshape(shape)
