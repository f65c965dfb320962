"""How much of mapped files counts as memory of this process.

A page of a file that was looked at stays in the process's table, and in every figure of what it
takes, until the system needs the memory; so a training that reads a file of 100 GB would seem to
take 100 GB. Pages are dropped from the table instead, as soon as they are many: they stay in the
system's cache, and come back when they are looked at again.
"""

from __future__ import annotations

import mmap
import os
import threading
import weakref
from pathlib import Path
from types import TracebackType
from typing import Self

MOST_BYTES = 1 << 27
INTERVAL_S = 0.02
STATUS = Path("/proc/self/statm")
SHARED_PAGES = 2
"""The field of pages that are of files, proc(5); with those of libraries."""


class ResidentPages:
    """Drops pages of the mappings that it is shown, in a thread, for as long as the `with` block.

    Parameters
    ----------
    most : bytes of files that may be resident beyond those at the beginning
    """

    def __init__(self, most: int = MOST_BYTES) -> None:
        self._most = most
        self._mappings: weakref.WeakSet[mmap.mmap] = weakref.WeakSet()
        self._lock = threading.Lock()
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="resident pages", daemon=True)

    def watch(self, mapping: mmap.mmap) -> None:
        """Drop pages of this shared mapping too, until it is gone."""
        with self._lock:
            self._mappings.add(mapping)

    def __enter__(self) -> Self:
        if hasattr(mmap, "MADV_DONTNEED") and STATUS.exists():
            self._thread.start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._is_over.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        allowed = resident_file_bytes() + self._most
        while not self._is_over.wait(INTERVAL_S):
            if resident_file_bytes() > allowed:
                self._drop()

    def _drop(self) -> None:
        with self._lock:
            mappings = list(self._mappings)
        for mapping in mappings:
            mapping.madvise(mmap.MADV_DONTNEED)


def resident_file_bytes() -> int:
    """Return how much of files is in this process's memory."""
    fields = STATUS.read_text(encoding="ascii").split()
    return int(fields[SHARED_PAGES]) * os.sysconf("SC_PAGESIZE")
