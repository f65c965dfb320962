"""Rows in a file are the rows that were written, wherever the file is; and what is too much."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.engine.columns import Column, Dataset, FeatureKind
from proxy.errors import ProxyError, TooLargeError
from proxy.workers import spool as spool_module
from proxy.workers.buffers import attach
from proxy.workers.file_memory import FileMemory
from proxy.workers.spool import MemoryAccount, RowLimits, Spool, default_directory

WIDTH = 3
ITEM_SIZES = (8, 4, 8)
ROW_SIZE = 8 + 4 + 8 * WIDTH


def block(n_rows: int, first: int = 0) -> list[np.ndarray]:
    """Return a number, a code and an array of each row."""
    rows = np.arange(first, first + n_rows)
    pixels = (rows[:, None] * WIDTH + np.arange(WIDTH)).astype(np.float64)
    return [rows / 4, rows.astype(np.int32), pixels.reshape(-1)]


def dataset(columns: Sequence[np.ndarray], n_rows: int) -> Dataset:
    numbers, codes, pixels = columns
    return Dataset(
        (
            Column("code", FeatureKind.CATEGORY, "text", codes),
            Column("pixels", FeatureKind.ARRAY, "float8[]", pixels.reshape(n_rows, -1)),
        ),
        Column("number", FeatureKind.NUMBER, "real", numbers),  # the first column, at the end
        n_rows,
    )


def written(spool: Spool, n_rows: int) -> Dataset:
    """Return what another process would see of the spool."""
    shared = spool.share(lambda columns: dataset(columns, n_rows))
    with closing(shared):
        return attach(shared.descriptor, shared.size_bytes, shared.description, shared.extents)


def assert_equal(found: Dataset, n_rows: int, n_null: int = 0) -> None:
    numbers, codes, pixels = block(n_rows)
    pixels[: n_null * WIDTH] = np.nan
    assert found.n_samples == n_rows
    assert found.target is not None
    assert found.target.values.tolist() == numbers.tolist()
    assert found.features[0].values.tolist() == codes.tolist()
    np.testing.assert_array_equal(found.features[1].values.reshape(-1), pixels)


@settings(deadline=None, max_examples=40)
@given(
    st.lists(st.integers(1, 400), min_size=1, max_size=8),
    st.integers(0, 8),
    st.sampled_from([1 << 20, 5000]),
)
def test_parts_become_columns(sizes: list[int], n_null_parts: int, memory: int) -> None:
    """Whatever the parts, also where the array's length is not known in the first of them."""
    limits = RowLimits(memory, 1 << 20)
    spool = Spool(ITEM_SIZES, limits)
    n_rows = n_null = 0
    for number, size in enumerate(sizes):
        values, widths = block(size, n_rows), [1, 1, WIDTH]
        if number < min(n_null_parts, len(sizes) - 1):
            values[2], widths[2] = np.empty(0), -1
            n_null += size
        spool.append(size, values, widths)
        n_rows += size
    assert spool.is_on_disk == (n_rows * ROW_SIZE > memory)
    assert_equal(written(spool, n_rows), n_rows, n_null)


def test_an_array_that_is_never_there_has_no_width() -> None:
    """A column of nothing but NULLs takes no room."""
    spool = Spool(ITEM_SIZES, RowLimits(1 << 20))
    for first in (0, 5):
        numbers, codes, _ = block(5, first)
        spool.append(5, [numbers, codes, np.empty(0)], [1, 1, -1])
    assert written(spool, 10).features[1].values.shape == (10, 0)


def test_rows_leave_memory_for_a_file_without_a_name(tmp_path: Path) -> None:
    """Beyond the first limit there is one file, which nobody can open by name."""
    spool = Spool(ITEM_SIZES, RowLimits(10_000, 1 << 20, str(tmp_path)))
    spool.append(200, block(200), [1, 1, WIDTH])
    assert not spool.is_on_disk
    spool.append(2000, block(2000, 200), [1, 1, WIDTH])
    assert spool.is_on_disk
    assert list(tmp_path.iterdir()) == []
    shared = spool.share(lambda columns: dataset(columns, 2200))
    assert shared.directory == str(tmp_path)
    assert str(Path(f"/proc/self/fd/{shared.descriptor}").readlink()).startswith(str(tmp_path))
    assert_equal(
        attach(shared.descriptor, shared.size_bytes, shared.description, shared.extents), 2200
    )
    shared.close()


@pytest.mark.parametrize(
    ("limits", "setting"),
    [
        (RowLimits(10_000, 0), "max_training_memory"),
        (RowLimits(1000, 10_000), "max_training_disk"),
        (RowLimits(10_000, 1000), "max_training_memory"),
    ],
)
def test_too_many_rows(limits: RowLimits, setting: str) -> None:
    """The error says which limit it is, and how many rows are below it."""
    spool = Spool(ITEM_SIZES, limits)
    spool.append(200, block(200), [1, 1, WIDTH])
    with pytest.raises(TooLargeError, match=setting) as caught:
        spool.append(100, block(100, 200), [1, 1, WIDTH])
    assert caught.value.sqlstate == "53200"
    assert f"After 300 rows it takes {300 * ROW_SIZE} bytes" in str(caught.value.detail)
    spool.close()


def test_the_number_of_rows_named_fits() -> None:
    """As many rows as the error names are taken, and a thousand more are not."""
    limits = RowLimits(1 << 20)

    def take(n_rows: int) -> None:
        with closing(Spool(ITEM_SIZES, limits)) as spool:
            spool.append(n_rows, block(n_rows), [1, 1, WIDTH])

    with pytest.raises(TooLargeError) as caught:
        take(50_000)
    named = int(str(caught.value.detail).split("About ")[1].split()[0])
    assert named >= 1000
    take(named)
    with pytest.raises(TooLargeError):
        take(named + 1000)


def test_trainings_share_memory() -> None:
    """Who finds none left goes to disk; what is closed, or moves, is there for others."""
    account = MemoryAccount(3 * 100 * ROW_SIZE)
    limits = RowLimits(200 * ROW_SIZE, 1 << 20)
    first, second, third = (Spool(ITEM_SIZES, limits, account) for _ in range(3))
    for spool in (first, second):
        spool.append(100, block(100), [1, 1, WIDTH])
    first.append(100, block(100, 100), [1, 1, WIDTH])
    assert account.taken == 300 * ROW_SIZE
    second.append(1, block(1, 100), [1, 1, WIDTH])
    assert (first.is_on_disk, second.is_on_disk) == (False, True)
    assert account.taken == 200 * ROW_SIZE
    third.append(100, block(100), [1, 1, WIDTH])
    assert not third.is_on_disk
    shared = first.share(lambda columns: dataset(columns, 200))
    first.close()
    assert account.taken == 300 * ROW_SIZE
    shared.close()
    third.close()
    assert account.taken == 0
    assert_equal(written(second, 101), 101)
    assert account.taken == 0


def test_nowhere_to_go() -> None:
    """Without a disk the last training is refused, and told why."""
    account = MemoryAccount(100 * ROW_SIZE)
    first, second = (Spool(ITEM_SIZES, RowLimits(1 << 20), account) for _ in range(2))
    first.append(100, block(100), [1, 1, WIDTH])
    with pytest.raises(TooLargeError, match="other trainings") as caught:
        second.append(10, block(10), [1, 1, WIDTH])
    assert caught.value.sqlstate == "53200"
    first.close()
    second.append(10, block(10), [1, 1, WIDTH])
    second.close()
    assert account.taken == 0


def refuse(*_: Any) -> int:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize(
    ("memory", "sqlstate", "message"), [(1 << 20, "53200", "memory"), (1000, "53100", "disk space")]
)
def test_no_space(
    monkeypatch: pytest.MonkeyPatch, memory: int, sqlstate: str, message: str
) -> None:
    """A full disk is an error of its own."""
    spool = Spool(ITEM_SIZES, RowLimits(memory, 1 << 20))
    spool.append(20, block(20), [1, 1, WIDTH])
    monkeypatch.setattr(os, "pwrite", refuse)
    with pytest.raises(TooLargeError, match=message) as caught:
        spool.append(100, block(100, 20), [1, 1, WIDTH])
    assert caught.value.sqlstate == sqlstate
    spool.close()
    spool.close()  # once more does no harm


def test_another_failure_is_told_as_what_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """A broken disk is not a full one."""

    def fail(*_: Any) -> int:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "pwrite", fail)
    spool = Spool(ITEM_SIZES, RowLimits(1 << 20))
    with pytest.raises(ProxyError, match="Input/output error") as caught:
        spool.append(10, block(10), [1, 1, WIDTH])
    assert caught.value.sqlstate == "58030"
    spool.close()


def test_a_disk_that_is_smaller_than_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is free bounds the rows, too, and is told as that."""
    usage = shutil.disk_usage("/")._replace(free=5000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    spool = Spool(ITEM_SIZES, RowLimits(1000, 1 << 62))
    spool.append(100, block(100), [1, 1, WIDTH])
    with pytest.raises(TooLargeError, match="disk space") as caught:
        spool.append(100, block(100, 100), [1, 1, WIDTH])
    assert caught.value.sqlstate == "53100"
    spool.close()


def test_a_directory_that_is_not_there(tmp_path: Path) -> None:
    """The error names what to set, before anything is lost."""
    spool = Spool(ITEM_SIZES, RowLimits(1000, 1 << 20, str(tmp_path / "missing")))
    spool.append(20, block(20), [1, 1, WIDTH])
    with pytest.raises(ProxyError, match="no place") as caught:
        spool.append(100, block(100, 20), [1, 1, WIDTH])
    assert caught.value.sqlstate == "58030"
    assert "training_directory" in str(caught.value.hint)
    spool.close()


def test_the_directory_is_on_a_disk(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """TMPDIR wins; else it is /var/tmp, as /tmp may be memory."""
    monkeypatch.delenv("TMPDIR", raising=False)
    assert default_directory() == "/var/tmp"
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    assert default_directory() == str(tmp_path)


def test_parts_are_small_enough_for_the_limit() -> None:
    """Rows that were gathered and not yet written are a quarter of the limit at most."""
    assert RowLimits(1 << 40).part_size == spool_module.PART_SIZE_BYTES
    assert RowLimits(1 << 20).part_size == 1 << 18


class TestFileMemory:
    """Arrays that are files."""

    @pytest.mark.parametrize("shape", [1000, (100, 10), (0,), 0])
    def test_an_array_is_as_any_other(self, tmp_path: Path, shape: Any) -> None:
        """It can be written and read, and has no name."""
        made = FileMemory(str(tmp_path), smallest=1)(shape, np.int64)
        wanted = np.empty(shape, np.int64)
        assert (made.shape, made.dtype) == (wanted.shape, wanted.dtype)
        made[...] = 7
        assert made.sum() == 7 * wanted.size
        assert list(tmp_path.iterdir()) == []

    def test_small_arrays_are_in_memory(self, tmp_path: Path) -> None:
        """A file for each of them would be slower than what it spares is worth."""
        assert FileMemory(str(tmp_path / "missing"))(1000, np.float64).shape == (1000,)

    def test_a_full_disk_is_found_before_it_is_written(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Else the process would die of SIGBUS."""
        monkeypatch.setattr(os, "posix_fallocate", refuse)
        with pytest.raises(TooLargeError) as caught:
            FileMemory(str(tmp_path), smallest=1)(1000, np.float64)
        assert caught.value.sqlstate == "53100"
