"""A dataset's passage through shared memory."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy

from proxy.engine.columns import Column, Dataset, FeatureKind
from proxy.workers.buffers import ALIGNMENT, attach, share

N_SAMPLES = st.integers(1, 200)


@st.composite
def datasets(draw: st.DrawFn) -> Dataset:
    """Draw columns of every kind, and a target or none."""
    n_samples = draw(N_SAMPLES)
    widths = draw(st.lists(st.integers(0, 3), min_size=1, max_size=4))
    columns = [_column(draw, n_samples, i, width) for i, width in enumerate(widths)]
    target = columns.pop() if draw(st.booleans()) else None
    return Dataset(tuple(columns), target, n_samples)


def _column(draw: st.DrawFn, n_samples: int, number: int, width: int) -> Column:
    name = draw(st.text(max_size=5)).encode("utf-8", "ignore").decode() + str(number)
    if width == 0:
        codes = draw(st_numpy.arrays(np.int32, n_samples, elements=st.integers(-2, 2)))
        return Column(name, FeatureKind.CATEGORY, "text", codes, ("a", "é", ""))
    if width == 1:
        values = draw(st_numpy.arrays(np.float64, n_samples))
        return Column(name, FeatureKind.NUMBER, "numeric", values)
    rows = draw(st_numpy.arrays(np.float64, (n_samples, width)))
    # Columns first in memory: what is shared must be what is meant, not how it lay.
    return Column(name, FeatureKind.ARRAY, "real[]", np.asfortranarray(rows))


@given(datasets())
def test_what_is_attached_is_what_was_shared(original: Dataset) -> None:
    """Names, kinds, dictionaries and every bit of every value survive; arrays are aligned."""
    shared = share(original)
    try:
        copy = attach(shared.descriptor, shared.size_bytes, shared.description, shared.extents)
    finally:
        shared.close()
    pairs = list(zip(copy.features, original.features, strict=True))
    assert (copy.target is None) == (original.target is None)
    if copy.target is not None and original.target is not None:
        pairs.append((copy.target, original.target))
    for left, right in pairs:
        assert (left.name, left.kind, left.sql_type) == (right.name, right.kind, right.sql_type)
        assert left.categories == right.categories
        assert left.values.shape == right.values.shape
        assert left.values.tobytes() == right.values.tobytes()
    assert all(offset % ALIGNMENT == 0 for offset, _ in shared.extents)


def test_the_child_cannot_write() -> None:
    """What training reads stays as it was read."""
    values = np.arange(4.0)
    shared = share(Dataset((Column("x", FeatureKind.NUMBER, "real", values),), None, 4))
    copy = attach(shared.descriptor, shared.size_bytes, shared.description, shared.extents)
    shared.close()
    with pytest.raises(ValueError, match="read-only"):
        copy.features[0].values[:] = -1.0
    assert copy.features[0].values.tolist() == [0.0, 1.0, 2.0, 3.0]


def test_empty_columns_need_no_memory() -> None:
    """No rows at all are shared and attached like any."""
    nothing = Column("x", FeatureKind.NUMBER, "real", np.empty(0))
    shared = share(Dataset((nothing,), None, 0))
    copy = attach(shared.descriptor, shared.size_bytes, shared.description, shared.extents)
    shared.close()
    assert copy.n_samples == 0


def test_file_has_no_name_where_memory_files_are_missing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """On other systems the data lie in a file that nobody can open by name."""
    monkeypatch.delattr(os, "memfd_create")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    shared = share(Dataset((Column("x", FeatureKind.NUMBER, "real", np.ones(3)),), None, 3))
    assert list(tmp_path.iterdir()) == []
    copy = attach(shared.descriptor, shared.size_bytes, shared.description, shared.extents)
    shared.close()
    assert copy.features[0].values.tolist() == [1.0, 1.0, 1.0]
