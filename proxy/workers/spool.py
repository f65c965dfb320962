"""The rows of a training as they arrive: columns in a file, part by part, for a child to map.

Owns the file and where each column is in it. Up to a limit the file is memory without a name;
beyond it the rows move to an unlinked file on disk, up to another limit. Both are sparse: every
column has room for as many rows as there may ever be, and takes what was written.
"""

from __future__ import annotations

import errno
import mmap
import os
import shutil
import tempfile
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from proxy.engine.columns import Dataset
from proxy.errors import OutOfMemoryError, ProxyError
from proxy.workers.buffers import SharedDataset, anonymous_file, no_space

PART_SIZE_BYTES = 1 << 24
"""What is gathered before it is written: a few milliseconds of a thread's work."""
LEAST_PART_SIZE_BYTES = 1 << 16
COPY_SIZE_BYTES = 1 << 23
IO_ERROR = "58030"
NO_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.ENOMEM})


@dataclass(frozen=True, slots=True)
class RowLimits:
    """How many bytes of rows a training may have, and where.

    Attributes
    ----------
    memory, disk : bytes in memory; if they are more, bytes in a file instead; 0: no file is made
    directory : of the file; empty: `default_directory`
    """

    memory: int
    disk: int = 0
    directory: str = ""

    @property
    def part_size(self) -> int:
        """Bytes of rows that are gathered before they are written."""
        return min(PART_SIZE_BYTES, max(self.memory // 4, LEAST_PART_SIZE_BYTES))

    @property
    def most(self) -> int:
        """Bytes of rows, wherever they are."""
        return max(self.memory, self.disk)

    @property
    def place(self) -> str:
        """The folder of the file."""
        return self.directory or default_directory()


def default_directory() -> str:
    """Return where large temporary files go: /tmp may be memory, /var/tmp is not meant to be."""
    if "TMPDIR" not in os.environ and os.access("/var/tmp", os.W_OK | os.X_OK):  # noqa: S108
        return "/var/tmp"  # noqa: S108
    return tempfile.gettempdir()


class MemoryAccount:
    """The bytes of memory that the rows of all trainings together may have; for any thread.

    Parameters
    ----------
    limit : of them; None: any number
    """

    def __init__(self, limit: int | None = None) -> None:
        self._limit = limit
        self._lock = threading.Lock()
        self.taken = 0

    def take(self, size: int) -> bool:
        """Take so many bytes, if they are there."""
        with self._lock:
            if self._limit is not None and self.taken + size > self._limit:
                return False
            self.taken += size
            return True

    def give_back(self, size: int) -> None:
        """Leave so many bytes to others."""
        with self._lock:
            self.taken -= size


class Spool:
    """Columns in a file.

    Parameters
    ----------
    item_sizes : bytes of one value in each column
    account : what is in memory is taken from it
    """

    def __init__(
        self, item_sizes: Sequence[int], limits: RowLimits, account: MemoryAccount | None = None
    ) -> None:
        self._limits = limits
        self._account = account or MemoryAccount()
        self._taken = 0
        self._item_sizes = tuple(item_sizes)
        self._widths = [-1] * len(item_sizes)
        self._offsets = [0] * len(item_sizes)
        self._end = 0
        self._descriptor = anonymous_file()
        self.n_rows = 0
        self.is_on_disk = False

    @cached_property
    def _most(self) -> int:
        """The bytes that may be written at most; found out where waiting for a disk is allowed.

        No file has offsets far beyond its disk's size.
        """
        limits = self._limits
        if limits.disk <= limits.memory:
            return limits.memory
        with suppress(OSError):  # told when the file is made
            return max(limits.memory, min(limits.disk, shutil.disk_usage(limits.place).free))
        return limits.most

    def close(self) -> None:
        """Give the file back."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
            self._give_memory_back()

    def _give_memory_back(self) -> None:
        self._account.give_back(self._taken)
        self._taken = 0

    def append(self, n_rows: int, values: Sequence[NDArray[Any]], widths: Sequence[int]) -> None:
        """Write rows behind those that are there. Takes time: not for the event loop.

        Parameters
        ----------
        values : of each column its first n_rows * width values
        widths : values of a row; -1 where that is not known yet, as all have been missing

        Raises
        ------
        OutOfMemoryError
            They are more than the limits allow.
        TooLargeError
            53100: there is no space for them.
        ProxyError
            58030: they cannot be written.
        """
        row_size = sum(
            max(width, 0) * size for width, size in zip(widths, self._item_sizes, strict=True)
        )
        self._make_room((self.n_rows + n_rows) * row_size, row_size)
        try:
            for j, (width, part) in enumerate(zip(widths, values, strict=True)):
                if width > 0 and self._widths[j] < 0:
                    self._place(j, width, row_size)
                if width > 0:
                    size = width * self._item_sizes[j]
                    self._write(part[: n_rows * width], self._offsets[j] + self.n_rows * size)
        except OSError as error:
            raise self._failure(error) from error
        self.n_rows += n_rows

    def share(self, arranged: Callable[[list[NDArray[Any]]], Dataset]) -> SharedDataset:
        """Hand the file over, after the last rows.

        Parameters
        ----------
        arranged : makes the dataset of the columns: (n_rows,), or (n_rows, width) of the arrays
        """
        try:
            os.ftruncate(self._descriptor, max(self._end, 1))
            memory = mmap.mmap(self._descriptor, max(self._end, 1), access=mmap.ACCESS_READ)
        except OSError as error:
            raise self._failure(error) from error
        flat = np.frombuffer(memory, np.uint8)
        description, arrays = arranged(
            [self._column(j, flat) for j in range(len(self._widths))]
        ).to_buffers()
        first = flat.ctypes.data
        extents = [
            (array.ctypes.data - first if array.nbytes else 0, array.nbytes) for array in arrays
        ]
        shared = SharedDataset(
            self._descriptor,
            max(self._end, 1),
            description,
            extents,
            self._directory,
            self._give_memory_back,
        )
        self._descriptor = -1
        return shared

    @property
    def _directory(self) -> str:
        """Where the child may have files of its own: nowhere, unless the rows are too many."""
        return self._limits.place if self.is_on_disk else ""

    def _column(self, j: int, flat: NDArray[np.uint8]) -> NDArray[Any]:
        width, size = max(self._widths[j], 0), self._item_sizes[j]
        values = flat[self._offsets[j] :][: self.n_rows * width * size]
        return values.view(np.int32 if size == 4 else np.float64)

    def _make_room(self, size: int, row_size: int) -> None:
        """Move to disk if the rows are now too many for memory, or refuse them."""
        limits = self._limits
        if size > limits.most:
            raise _too_large(limits, size // row_size, size)
        if size > self._most:
            full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            raise no_space("the training rows", size, full, in_memory=False)
        if self.is_on_disk:
            return
        if size <= limits.memory and self._account.take(size - self._taken):
            self._taken = size
            return
        if size > limits.disk:
            raise _others_have_it(size)
        self._move_to_disk()
        self._give_memory_back()

    def _place(self, j: int, width: int, row_size: int) -> None:
        """Give a column its room; the rows that were written before have no value in it."""
        size = width * self._item_sizes[j]
        self._widths[j], self._offsets[j] = width, self._end
        most_rows = self._most // row_size
        self._end += -(-most_rows * size // mmap.PAGESIZE) * mmap.PAGESIZE
        n_at_a_time = min(max(COPY_SIZE_BYTES // size, 1), self.n_rows)
        missing = np.full(n_at_a_time * width, np.nan)
        for row in range(0, self.n_rows, n_at_a_time or 1):
            n_rows = min(n_at_a_time, self.n_rows - row)
            self._write(missing[: n_rows * width], self._offsets[j] + row * size)

    def _write(self, values: NDArray[Any], offset: int) -> None:
        self._write_bytes(memoryview(values.view(np.uint8).data), offset)

    def _write_bytes(self, rest: memoryview, offset: int) -> None:
        while rest:
            written = os.pwrite(self._descriptor, rest, offset)
            rest, offset = rest[written:], offset + written

    def _move_to_disk(self) -> None:
        memory = self._descriptor
        try:
            self._descriptor = _unlinked_file(self._limits.place)
        except OSError as error:
            raise ProxyError(
                f"there is no place for the training rows: {error.strerror}",
                detail="They are more than memory has room for, and go to a file.",
                hint="Set [ml] training_directory, or max_training_disk to 0.",
                sqlstate=IO_ERROR,
            ) from error
        self.is_on_disk = True
        try:
            for offset, width, size in zip(
                self._offsets, self._widths, self._item_sizes, strict=True
            ):
                self._copy(memory, offset, self.n_rows * max(width, 0) * size)
        except OSError as error:
            raise self._failure(error) from error
        finally:
            os.close(memory)

    def _copy(self, source: int, offset: int, size: int) -> None:
        end = offset + size
        while offset < end:
            part = os.pread(source, min(end - offset, COPY_SIZE_BYTES), offset)
            self._write_bytes(memoryview(part), offset)
            offset += len(part)

    def _failure(self, error: OSError) -> ProxyError:
        if error.errno in NO_SPACE:
            return no_space("the training rows", None, error, in_memory=not self.is_on_disk)
        return ProxyError(f"the training rows cannot be kept: {error.strerror}", sqlstate=IO_ERROR)


def _unlinked_file(directory: str) -> int:
    descriptor, path = tempfile.mkstemp(prefix="pgseer-rows-", dir=directory)
    Path(path).unlink()
    return descriptor


def _others_have_it(size: int) -> OutOfMemoryError:
    return OutOfMemoryError(
        "other trainings have the memory that the training rows need",
        detail=f"{size} bytes are needed so far.",
        hint="Try again later, or raise [ml] max_training_disk: what has no room in memory then "
        "goes to a file.",
    )


def _too_large(limits: RowLimits, n_rows: int, size: int) -> OutOfMemoryError:
    setting = "max_training_disk" if limits.disk > limits.memory else "max_training_memory"
    fitting = int(n_rows * limits.most / size) // 1000 * 1000
    return OutOfMemoryError(
        f"the training set is larger than {setting}",
        detail=f"After {n_rows} rows it takes {size} bytes; the limit is {limits.most}. "
        f"About {fitting} rows of these columns would fit.",
        hint=f"Select fewer rows or columns, raise [ml] {setting}, or learn on from part to part "
        "by warm_start.",
    )
