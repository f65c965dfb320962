"""Files that are read do not count as memory for long."""

from __future__ import annotations

import mmap
import os
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from proxy.workers.file_memory import FileMemory
from proxy.workers.resident_pages import ResidentPages, resident_file_bytes

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="madvise and /proc are Linux's")

PATIENCE_S = 20
MB = 1 << 20


def until_below(limit: int) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while resident_file_bytes() > limit:
        assert time.monotonic() < deadline, "pages are still there"
        time.sleep(0.01)


def test_pages_go_and_come_back(tmp_path: Path) -> None:
    """What was written or read is dropped from the table, and is there when it is looked at."""
    with ResidentPages(MB) as pages:
        before = resident_file_bytes()
        values = FileMemory(str(tmp_path), pages.watch)(8 * MB, np.float64)
        values[:] = np.arange(len(values))
        until_below(before + 4 * MB)
        assert values[:: 1 << 16].tolist() == list(range(0, len(values), 1 << 16))
        values += 1
        assert float(values.sum()) == len(values) * (len(values) + 1) / 2


def test_a_mapping_that_is_gone_is_forgotten(tmp_path: Path) -> None:
    """Nobody keeps it for the sake of its pages."""
    path = tmp_path / "rows"
    path.write_bytes(bytes(4 * MB))
    descriptor = os.open(path, os.O_RDONLY)
    with ResidentPages(0) as pages:
        mapping = mmap.mmap(descriptor, 4 * MB, access=mmap.ACCESS_READ)
        pages.watch(mapping)
        assert len(pages._mappings) == 1
        os.close(descriptor)
        del mapping
        assert len(pages._mappings) == 0
        pages._drop()
