"""What the engine learns from: named columns of one length, as arrays.

Owns the `Dataset` handed to training and its passage through shared memory. How rows become these
arrays is left to `rewrite.training_reader`, how they become numbers to fit on to `preprocessing`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

NULL_CODE = -1
BEYOND_DICTIONARY_CODE = -2


class FeatureKind(StrEnum):
    """How a column's values are to be understood."""

    NUMBER = "number"
    BOOLEAN = "boolean"
    CATEGORY = "category"
    TIME = "time"
    ARRAY = "array"


@dataclass(frozen=True, slots=True)
class Column:
    """One column of the training query.

    Attributes
    ----------
    name : as the query names it
    kind : decides the layout of `values`
    sql_type : PostgreSQL's name of the type, as `format_type` prints it
    values : by kind:
        NUMBER, BOOLEAN, TIME: float64 (n,), NaN is NULL; TIME in seconds since 1970, may be ±inf.
        CATEGORY: int32 (n,), codes into `categories`, -1 is NULL, -2 beyond the dictionary's cap.
        ARRAY: float64 (n, width), NaN is NULL.
    categories : the dictionary of a CATEGORY, in code order
    """

    name: str
    kind: FeatureKind
    sql_type: str
    values: NDArray[Any]
    categories: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        dimensions = 2 if self.kind is FeatureKind.ARRAY else 1
        if self.values.ndim != dimensions:
            raise ValueError(f"column {self.name!r}: {self.kind} takes {dimensions}-d values")
        expected = np.int32 if self.kind is FeatureKind.CATEGORY else np.float64
        if self.values.dtype != expected:
            raise ValueError(f"column {self.name!r}: {self.kind} takes {expected.__name__} values")

    @property
    def width(self) -> int:
        """Return how many input columns it is to a model: an array's elements, else 1."""
        return int(self.values.shape[1]) if self.kind is FeatureKind.ARRAY else 1


@dataclass(frozen=True, slots=True)
class InputFeature:
    """One argument of a trained model.

    Attributes
    ----------
    width : how many columns of the raw matrix it takes
    categories : of a CATEGORY, those that the encoder knows; the code of a category is its place
    """

    name: str
    kind: FeatureKind
    sql_type: str
    width: int = 1
    categories: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Dataset:
    """The rows of a training query, column by column.

    Attributes
    ----------
    target : what is to be predicted; None for clustering
    sample_weight : a NUMBER, how much each row counts; None: every row counts 1
    """

    features: tuple[Column, ...]
    target: Column | None
    n_samples: int
    sample_weight: Column | None = None

    def __post_init__(self) -> None:
        for column in self._columns():
            if len(column.values) != self.n_samples:
                raise ValueError(f"column {column.name!r} is not {self.n_samples} rows long")

    def _columns(self) -> tuple[Column, ...]:
        others = (self.target, self.sample_weight)
        return (*self.features, *(column for column in others if column is not None))

    def to_buffers(self) -> tuple[dict[str, Any], list[NDArray[Any]]]:
        """Return the JSON-able description and the contiguous arrays that rebuild this value."""
        columns = self._columns()
        meta = {
            "n_samples": self.n_samples,
            "has_target": self.target is not None,
            "has_sample_weight": self.sample_weight is not None,
            "columns": [
                {
                    "name": column.name,
                    "kind": column.kind.value,
                    "sql_type": column.sql_type,
                    "categories": list(column.categories),
                    "shape": list(column.values.shape),
                }
                for column in columns
            ],
        }
        return meta, [np.ascontiguousarray(column.values) for column in columns]

    @classmethod
    def from_buffers(cls, meta: Mapping[str, Any], buffers: Sequence[Any]) -> Dataset:
        """Rebuild what `to_buffers` took apart; arrays are views of the buffers, not copies.

        Parameters
        ----------
        meta : the first value that `to_buffers` returned
        buffers : as many objects with the buffer protocol (arrays, memoryviews)
        """
        columns = [
            _column_from_buffer(entry, buffer)
            for entry, buffer in zip(meta["columns"], buffers, strict=True)
        ]
        sample_weight = columns.pop() if meta["has_sample_weight"] else None
        target = columns.pop() if meta["has_target"] else None
        return cls(tuple(columns), target, int(meta["n_samples"]), sample_weight)


def _column_from_buffer(entry: Mapping[str, Any], buffer: Any) -> Column:
    kind = FeatureKind(entry["kind"])
    dtype = np.int32 if kind is FeatureKind.CATEGORY else np.float64
    shape = tuple(entry["shape"])
    # A shared-memory block is rounded up to a page, so the count says where the column ends.
    flat = np.frombuffer(buffer, dtype=dtype, count=int(np.prod(shape, dtype=np.int64)))
    return Column(
        name=entry["name"],
        kind=kind,
        sql_type=entry["sql_type"],
        values=flat.reshape(shape),
        categories=tuple(entry["categories"]),
    )
