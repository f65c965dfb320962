"""Models in memory: once per content, within a budget."""

from __future__ import annotations

import asyncio
import hashlib

import pytest

from proxy.errors import ArtifactError
from proxy.registry.cache import ArtefactCache
from proxy.registry.model_version import ModelEntry
from tests.registry import trained

pytestmark = pytest.mark.asyncio


def entry(artefact: bytes) -> ModelEntry:
    return ModelEntry(
        model_name="line",
        version="1.0",
        is_default=True,
        owner="postgres",
        algorithm="linear_regression",
        task="regression",
        target="y",
        target_type="double precision",
        target_type_sql="pg_catalog.float8",
        predict_kind="value",
        classes=(),
        features=(),
        format_version=1,
        artefact_sha256=hashlib.sha256(artefact).hexdigest(),
        artefact_size_bytes=len(artefact),
    )


class Reader:
    """A database that counts how often it is asked, and answers when it may."""

    def __init__(self, artefact: bytes) -> None:
        self.artefact = artefact
        self.calls = 0
        self.may_answer = asyncio.Event()

    async def __call__(self) -> bytes:
        self.calls += 1
        await self.may_answer.wait()
        return self.artefact


async def test_many_that_ask_at_once_read_once() -> None:
    """Fifty clients that meet a cold model share one reading and one model."""
    artefact = trained.line_bytes(2.0)
    cache, read = ArtefactCache(1 << 20), Reader(artefact)
    asking = [asyncio.create_task(cache.get(entry(artefact), read)) for _ in range(50)]
    await asyncio.sleep(0)
    read.may_answer.set()
    models = await asyncio.gather(*asking)
    assert read.calls == 1
    assert all(model is models[0] for model in models)


async def test_cancelling_one_does_not_disturb_the_others() -> None:
    """The first to ask may leave; who came second still gets the model."""
    artefact = trained.line_bytes(2.0)
    cache, read = ArtefactCache(1 << 20), Reader(artefact)
    first, second = (asyncio.create_task(cache.get(entry(artefact), read)) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    read.may_answer.set()
    assert trained.slope(await second) == pytest.approx(2.0)
    assert read.calls == 1


async def test_failure_is_not_kept() -> None:
    """A reading that fails fails those who waited, and the next one tries anew."""
    artefact = trained.line_bytes(2.0)
    cache, read = ArtefactCache(1 << 20), Reader(b"not that model")
    read.may_answer.set()
    with pytest.raises(ArtifactError) as caught:
        await cache.get(entry(artefact), read)
    assert hashlib.sha256(b"not that model").hexdigest() in str(caught.value.detail)
    read.artefact = artefact
    assert trained.slope(await cache.get(entry(artefact), read)) == pytest.approx(2.0)


async def test_budget_is_kept_by_dropping_the_longest_unused() -> None:
    """Of three models where two fit, the one that was not used goes."""
    artefacts = [trained.line_bytes(float(slope)) for slope in range(3)]
    entries = [entry(artefact) for artefact in artefacts]
    cache = ArtefactCache(len(artefacts[0]) + len(artefacts[1]))
    for artefact, one in zip(artefacts[:2], entries[:2], strict=True):
        read = Reader(artefact)
        read.may_answer.set()
        await cache.get(one, read)
    assert cache.find(entries[0]) is not None
    read = Reader(artefacts[2])
    read.may_answer.set()
    await cache.get(entries[2], read)
    assert [cache.find(one) is not None for one in entries] == [True, False, True]
    assert cache.held_bytes == len(artefacts[0]) + len(artefacts[2])


async def test_model_larger_than_the_budget_is_kept_alone() -> None:
    """A model beyond the budget is read once all the same, not once per statement."""
    artefact = trained.line_bytes(2.0)
    cache, read = ArtefactCache(1), Reader(artefact)
    read.may_answer.set()
    await cache.get(entry(artefact), read)
    await cache.get(entry(artefact), read)
    assert read.calls == 1
