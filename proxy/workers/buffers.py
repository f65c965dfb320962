"""A dataset in memory that parent and child both map.

Owns the layout and the file behind it, which has no name: an anonymous memory file on Linux, an
unlinked temporary file elsewhere. /dev/shm is not used, as containers give it 64 MB. Rows that come
one after another, and those that are too many for memory, are `spool`'s.
"""

from __future__ import annotations

import mmap
import os
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from proxy.engine.columns import Dataset
from proxy.errors import OutOfMemoryError, TooLargeError

# A cache line: no array shares one with its neighbour, and vector loads are aligned.
ALIGNMENT = 64
DISK_FULL = "53100"


def nothing() -> None:
    """Do nothing."""


@dataclass(frozen=True, slots=True)
class SharedDataset:
    """A dataset in a file descriptor, which the owner of this value closes.

    Attributes
    ----------
    size_bytes : of the file
    description : what `Dataset.to_buffers` returned
    extents : (offset, length) in bytes of each of its arrays
    directory : where files may be made of what there is one of for each row; empty where the rows
        are few enough for memory
    on_close : is called when it is closed
    """

    descriptor: int
    size_bytes: int
    description: dict[str, Any]
    extents: list[tuple[int, int]]
    directory: str = ""
    on_close: Callable[[], None] = nothing

    @property
    def n_samples(self) -> int:
        """Return the number of rows."""
        return int(self.description["n_samples"])

    def close(self) -> None:
        """Give the memory back, once no process maps it."""
        os.close(self.descriptor)
        self.on_close()


def leave(_: mmap.mmap) -> None:
    """Leave a mapping to itself."""


def share(dataset: Dataset) -> SharedDataset:
    """Copy `dataset` once, into memory that a child can map. Takes time: not for the event loop.

    Raises
    ------
    TooLargeError
        53200: there is not that much memory (53100: disk, where a file stands for it).
    """
    description, arrays = dataset.to_buffers()
    extents, size_bytes = _lay_out(arrays)
    descriptor = anonymous_file()
    try:
        reserve(descriptor, size_bytes, in_memory=hasattr(os, "memfd_create"))
        with mmap.mmap(descriptor, size_bytes) as memory:
            for array, (offset, length) in zip(arrays, extents, strict=True):
                target = np.frombuffer(memory, np.uint8, length, offset)
                target[:] = array.reshape(-1).view(np.uint8)
                del target  # a mapping cannot be closed under a view of it
    except BaseException:
        os.close(descriptor)
        raise
    return SharedDataset(descriptor, size_bytes, description, extents)


def attach(
    descriptor: int,
    size_bytes: int,
    description: dict[str, Any],
    extents: Sequence[tuple[int, int]],
    watch: Callable[[mmap.mmap], None] = leave,
) -> Dataset:
    """Return the dataset that `share` laid out; its arrays are views that keep the mapping.

    Parameters
    ----------
    watch : is shown the mapping
    """
    # To be read only: a private copy of a file larger than memory would have to be promised some.
    mapping = mmap.mmap(descriptor, size_bytes, access=mmap.ACCESS_READ)
    watch(mapping)
    memory = memoryview(mapping)
    buffers = [memory[offset : offset + length] for offset, length in extents]
    return Dataset.from_buffers(description, buffers)


def _lay_out(arrays: Sequence[NDArray[Any]]) -> tuple[list[tuple[int, int]], int]:
    extents = []
    end = 0
    for array in arrays:
        offset = -(-end // ALIGNMENT) * ALIGNMENT
        extents.append((offset, array.nbytes))
        end = offset + array.nbytes
    return extents, max(end, 1)  # nothing cannot be mapped


def anonymous_file() -> int:
    """Return the descriptor of an empty file that has no name."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create("pgseer-dataset", os.MFD_CLOEXEC)
    descriptor, path = tempfile.mkstemp(prefix="pgseer-dataset-")
    os.unlink(path)  # noqa: PTH108  # a descriptor's business, not a path's
    return descriptor


def reserve(descriptor: int, size_bytes: int, *, in_memory: bool) -> None:
    """Take the space now: writing to a hole later would end in SIGBUS where there is none.

    Raises
    ------
    TooLargeError
        53200, or 53100 of a disk: there is none.
    """
    try:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(descriptor, 0, size_bytes)
        else:
            os.ftruncate(descriptor, size_bytes)
    except OSError as error:
        raise no_space("the training data", size_bytes, error, in_memory=in_memory) from error


def no_space(
    what: str, size_bytes: int | None, error: OSError, *, in_memory: bool
) -> TooLargeError:
    """Return the error for what could not be written: 53200, or 53100 of a disk."""
    needed = "" if size_bytes is None else f"{size_bytes} bytes are needed: "
    kind = OutOfMemoryError if in_memory else TooLargeError
    return kind(
        f"there is not enough {'memory' if in_memory else 'disk space'} for {what}",
        detail=f"{needed}{error.strerror}.",
        hint="Select fewer rows or columns.",
        sqlstate=None if in_memory else DISK_FULL,
    )
