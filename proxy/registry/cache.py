"""Parsed artefacts, one per content, within a budget of bytes.

Owns what stays in memory and the proof that bytes are those that were stored. Reading them from
the database is the caller's, parsing them is the engine's. Keys are hashes of the content, so an
entry can never be out of date.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from proxy.engine import artifact
from proxy.engine.model import Model
from proxy.errors import ArtifactError
from proxy.registry.model_version import ModelEntry


@dataclass(frozen=True, slots=True)
class Loaded:
    """A model in memory, and what it counts for in the budget."""

    model: Model
    size_bytes: int


class ArtefactCache:
    """The most recently used models, up to `budget_bytes` of artefacts and at least one."""

    def __init__(self, budget_bytes: int) -> None:
        self._budget_bytes = budget_bytes
        self._held_bytes = 0
        self._loaded: OrderedDict[str, Loaded] = OrderedDict()
        self._loading: dict[str, asyncio.Task[Model]] = {}

    @property
    def held_bytes(self) -> int:
        """Return the size of the artefacts behind all the models held."""
        return self._held_bytes

    def find(self, entry: ModelEntry) -> Model | None:
        """Return the model if it is in memory."""
        loaded = self._loaded.get(entry.artefact_sha256)
        if loaded is None:
            return None
        self._loaded.move_to_end(entry.artefact_sha256)
        return loaded.model

    async def get(self, entry: ModelEntry, read: Callable[[], Awaitable[bytes]]) -> Model:
        """Return the model of `entry`; `read` is called once however many ask at a time.

        A caller that is cancelled leaves the loading to the others.

        Raises
        ------
        ArtifactError
            The bytes are not those that were stored, or hold no model.
        """
        found = self.find(entry)
        if found is not None:
            return found
        task = self._loading.get(entry.artefact_sha256)
        if task is None:
            task = asyncio.create_task(self._load(entry, read))
            self._loading[entry.artefact_sha256] = task
            task.add_done_callback(_retrieve)
        return await asyncio.shield(task)

    async def _load(self, entry: ModelEntry, read: Callable[[], Awaitable[bytes]]) -> Model:
        try:
            artefact = await read()
            # Hashing and parsing 100 MB take a tenth of a second: not on the event loop.
            model = await asyncio.to_thread(parse, entry, artefact)
            self._keep(entry.artefact_sha256, Loaded(model, len(artefact)))
        finally:
            del self._loading[entry.artefact_sha256]
        return model

    def _keep(self, sha256: str, loaded: Loaded) -> None:
        self._loaded[sha256] = loaded
        self._held_bytes += loaded.size_bytes
        while self._held_bytes > self._budget_bytes and len(self._loaded) > 1:
            _, evicted = self._loaded.popitem(last=False)
            self._held_bytes -= evicted.size_bytes


def parse(entry: ModelEntry, artefact: bytes) -> Model:
    """Return the model that `artefact` holds, after proving that it is the one of `entry`.

    Raises
    ------
    ArtifactError
        The sha256 differs, or the bytes hold no model.
    """
    found = hashlib.sha256(artefact).hexdigest()
    if found != entry.artefact_sha256:
        raise ArtifactError(
            f'version {entry.version} of model "{entry.model_name}" is damaged',
            detail=f"The sha256 of its artefact is {found}, where {entry.artefact_sha256} was "
            "stored.",
            hint="Restore it from a backup, or train it again.",
        )
    return artifact.load(artefact)


def _retrieve(task: asyncio.Task[Model]) -> None:
    """Count a failure as seen: every caller that waited for it may have been cancelled."""
    if not task.cancelled():
        task.exception()
