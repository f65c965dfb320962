"""The dataset's passage through shared memory."""

from __future__ import annotations

import json

import numpy as np
import pytest

from proxy.engine.columns import Column, Dataset, FeatureKind
from tests.engine.estimator_checks import mixed_dataset


def assert_same(left: Dataset, right: Dataset) -> None:
    assert left.n_samples == right.n_samples
    pairs = zip((*left.features, left.target), (*right.features, right.target), strict=True)
    for a, b in pairs:
        assert (a.name, a.kind, a.sql_type, a.categories) == (
            b.name,
            b.kind,
            b.sql_type,
            b.categories,
        )
        np.testing.assert_array_equal(a.values, b.values)


def test_buffers_rebuild_the_dataset() -> None:
    """Description through JSON and values through bytes give the same dataset back."""
    dataset = mixed_dataset("logistic_regression", 3)
    meta, buffers = dataset.to_buffers()
    copies = [bytearray(buffer.tobytes()) for buffer in buffers]
    assert_same(Dataset.from_buffers(json.loads(json.dumps(meta)), copies), dataset)


def test_buffers_may_be_longer_than_their_column() -> None:
    """A shared-memory block rounded up to a page is read no further than the column."""
    dataset = mixed_dataset("linear_regression", 2, n_samples=7)
    meta, buffers = dataset.to_buffers()
    padded = [buffer.tobytes() + b"\xff" * 4096 for buffer in buffers]
    assert_same(Dataset.from_buffers(meta, padded), dataset)


def test_arrays_are_views_of_their_buffers() -> None:
    """Rebuilding copies no values."""
    meta, buffers = mixed_dataset("linear_regression", 2).to_buffers()
    rebuilt = Dataset.from_buffers(meta, buffers)
    assert all(
        np.shares_memory(column.values, buffer)
        for column, buffer in zip(rebuilt.features, buffers, strict=False)
    )


def test_a_dataset_may_have_no_target_and_no_rows() -> None:
    """Nothing is also a dataset."""
    column = Column("x", FeatureKind.ARRAY, "real[]", np.zeros((0, 4)))
    meta, buffers = Dataset((column,), None, 0).to_buffers()
    rebuilt = Dataset.from_buffers(meta, buffers)
    assert rebuilt.target is None
    assert rebuilt.features[0].values.shape == (0, 4)


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        (FeatureKind.NUMBER, np.zeros(3, np.int32)),
        (FeatureKind.NUMBER, np.zeros((3, 1))),
        (FeatureKind.CATEGORY, np.zeros(3)),
        (FeatureKind.ARRAY, np.zeros(3)),
    ],
)
def test_values_must_fit_their_kind(kind: FeatureKind, values: np.ndarray) -> None:
    """A column of the wrong layout is refused where it is made."""
    with pytest.raises(ValueError, match="'x'"):
        Column("x", kind, "some type", values)


def test_columns_must_have_one_length() -> None:
    """A short column is refused where the dataset is made."""
    with pytest.raises(ValueError, match="'x' is not 4 rows long"):
        Dataset((Column("x", FeatureKind.NUMBER, "integer", np.zeros(3)),), None, 4)
