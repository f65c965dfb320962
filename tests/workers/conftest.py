"""A pool whose children run `fake_child`, and small datasets."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

import numpy as np
import pytest
import pytest_asyncio

from proxy.engine.columns import Column, Dataset, FeatureKind
from proxy.workers import process
from proxy.workers.pool import TrainingPool


def dataset(n_samples: int = 3) -> Dataset:
    """Return columns whose values sum to n (n - 1)."""
    values = np.arange(n_samples, dtype=np.float64)
    codes = np.arange(n_samples, dtype=np.int32)
    return Dataset(
        (
            Column("número", FeatureKind.NUMBER, "integer", values),
            Column("plan", FeatureKind.CATEGORY, "text", codes, ("a", "b", "ç")),
        ),
        None,
        n_samples,
    )


@pytest.fixture
def fake_child(monkeypatch: pytest.MonkeyPatch) -> None:
    ours = process.BOOTSTRAP.replace("proxy.workers.child", "tests.workers.fake_child")
    assert ours != process.BOOTSTRAP
    monkeypatch.setattr(process, "BOOTSTRAP", ours)


@pytest_asyncio.fixture
async def open_pool(fake_child: None) -> AsyncIterator[Callable[[int], TrainingPool]]:
    opened: list[TrainingPool] = []

    def open_one(size: int) -> TrainingPool:
        opened.append(TrainingPool(size))
        return opened[-1]

    yield open_one
    for one in opened:
        await one.close()


@pytest.fixture
def pool(open_pool: Callable[[int], TrainingPool]) -> TrainingPool:
    return open_pool(1)
