"""Training on more rows than memory has room for: what is held does not grow with them."""

from __future__ import annotations

import hashlib
import json
import mmap
import subprocess
import sys
import tempfile
import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from proxy.engine.artifact import dump
from proxy.engine.columns import Column, Dataset, FeatureKind
from proxy.engine.evaluation_run import evaluate
from proxy.engine.memory import Allocate
from proxy.engine.training import train
from tests.engine.estimator_checks import CASES, Case, columns_of, mixed_dataset, silent

N_ROWS = 2_000_000
FIXED_BYTES = 32 << 20
BYTES_OF_A_ROW = 2
ROOT = Path(__file__).parents[2]


def mapped(directory: Path) -> Allocate:
    """Return a way to make arrays that map files without names."""

    def allocate(shape: int | tuple[int, ...], dtype: object) -> np.ndarray:
        n_bytes = int(np.prod(shape)) * np.dtype(dtype).itemsize  # type: ignore[call-overload]
        if n_bytes == 0:
            return np.empty(shape, dtype)  # type: ignore[call-overload,no-any-return]
        with tempfile.TemporaryFile(dir=directory) as file:
            file.truncate(n_bytes)
            memory = mmap.mmap(file.fileno(), n_bytes)
        return np.frombuffer(memory, dtype).reshape(shape)  # type: ignore[call-overload,no-any-return]

    return allocate


def as_files(dataset: Dataset, directory: Path) -> Dataset:
    """Return the dataset with arrays that map files, and cannot be written to."""

    def as_file(column: Column) -> Column:
        path = directory / f"{column.name}.values"
        column.values.tofile(path)
        values = np.memmap(path, column.values.dtype, "r", shape=column.values.shape)
        return replace(column, values=np.asarray(values))

    features = tuple(as_file(column) for column in dataset.features)
    assert dataset.target is not None
    weight = dataset.sample_weight
    return Dataset(
        features,
        as_file(dataset.target),
        dataset.n_samples,
        None if weight is None else as_file(weight),
    )


def large_dataset(algorithm: str, *, is_awkward: bool) -> Dataset:
    """Return three numbers; if awkward also a category, a serial number, NULLs and weights."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(3, N_ROWS))
    signal = X.sum(axis=0) + rng.normal(size=N_ROWS)
    missing = rng.random(N_ROWS) < (0.1 if is_awkward else 0.0)

    def number(name: str, values: np.ndarray) -> Column:
        return Column(name, FeatureKind.NUMBER, "double precision", values.astype(np.float64))

    features = [number(f"x{j}", values) for j, values in enumerate(X)]
    weight = None
    if is_awkward:
        names = tuple(f"city {k}" for k in range(50))
        city = rng.integers(-1, 50, N_ROWS).astype(np.int32)
        features.append(Column("city", FeatureKind.CATEGORY, "text", city, names))
        features.append(number("serial", rng.permutation(N_ROWS)))
        weight = number("weight", rng.integers(0, 3, N_ROWS))
    target = number("y", np.where(missing, np.nan, signal))
    if algorithm == "logistic_regression":
        codes = np.where(missing, -1, signal > 0).astype(np.int32)
        target = Column("y", FeatureKind.CATEGORY, "text", codes, ("no", "yes"))
    return Dataset(tuple(features), target, N_ROWS, weight)


def measure(algorithm: str, directory: str, *, is_awkward: bool) -> None:
    """Print the most memory that training and evaluation took, and digests of the models."""
    in_memory = large_dataset(algorithm, is_awkward=is_awkward)
    in_files = as_files(in_memory, Path(directory))
    allocate = mapped(Path(directory))
    train(algorithm, {}, mixed_dataset(algorithm, 2), silent)  # what is loaded once, is now
    peaks = []
    tracemalloc.start()
    result = train(algorithm, {}, in_files, silent, allocate=allocate)
    peaks.append(tracemalloc.get_traced_memory()[1])
    tracemalloc.reset_peak()
    found = evaluate(result.model, in_files, allocate=allocate)
    peaks.append(tracemalloc.get_traced_memory()[1])
    tracemalloc.stop()
    plain = train(algorithm, {}, in_memory, silent)
    told = {
        "peaks": peaks,
        "models": [hashlib.sha256(dump(each.model)).hexdigest() for each in (result, plain)],
        "metrics": [result.metrics, plain.metrics],
        "evaluations": [found.metrics, evaluate(plain.model, in_memory).metrics],
    }
    print(json.dumps(told))


@pytest.mark.parametrize(
    ("algorithm", "is_awkward"),
    [
        ("linear_regression", False),
        ("linear_regression", True),
        ("polynomial_regression", False),  # of fifty words it would make a minute of products
        ("logistic_regression", False),
        ("logistic_regression", True),
    ],
)
def test_memory_does_not_grow_with_the_rows(
    algorithm: str, is_awkward: bool, tmp_path: Path
) -> None:
    """Rows in files take some blocks of memory, and the model is the one of rows in memory."""
    script = (
        "from tests.engine.test_row_memory import measure; "
        f"measure({algorithm!r}, {str(tmp_path)!r}, is_awkward={is_awkward})"
    )
    run = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, check=True, capture_output=True, timeout=300
    )
    told = json.loads(run.stdout)
    assert max(told["peaks"]) < FIXED_BYTES + BYTES_OF_A_ROW * N_ROWS
    for one, other in (told["models"], told["metrics"], told["evaluations"]):
        assert one == other


def read_only(dataset: Dataset) -> Dataset:
    """Return the dataset with arrays that cannot be written to."""
    columns = [replace(column, values=column.values.copy()) for column in columns_of(dataset)]
    for column in columns:
        column.values.setflags(write=False)
    target = None if dataset.target is None else columns.pop()
    return Dataset(tuple(columns), target, dataset.n_samples)


@pytest.mark.parametrize("is_weighted", [False, True])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_rows_are_only_read(case: Case, is_weighted: bool) -> None:
    """Every algorithm learns the same from arrays that cannot be written to."""
    dataset = mixed_dataset(case)
    frozen = read_only(dataset)
    if is_weighted:
        weights = np.random.default_rng(0).uniform(0.5, 2.0, dataset.n_samples)
        column = Column("weight", FeatureKind.NUMBER, "double precision", weights)
        dataset = replace(dataset, sample_weight=column)
        weights = weights.copy()
        weights.setflags(write=False)
        frozen = replace(frozen, sample_weight=replace(column, values=weights))
    expected = train(case.name, case.parameters, dataset, silent)
    found = train(case.name, case.parameters, frozen, silent)
    assert dump(found.model) == dump(expected.model)
    assert found.metrics == expected.metrics
    assert evaluate(found.model, frozen) == evaluate(expected.model, dataset)
