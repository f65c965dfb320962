"""The models of one database at one moment, looked up by name and version.

Owns lookup and the words for what is not found; where the entries come from is the caller's.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from difflib import get_close_matches

from proxy.errors import UnknownModelError
from proxy.registry.model_version import ModelEntry
from proxy.rewrite.catalog import ModelSignature


class Models:
    """The models of a database at one moment; a `rewrite.catalog.ModelCatalog`."""

    def __init__(self, entries: Iterable[ModelEntry] = ()) -> None:
        self._entries: dict[tuple[str, str | None], ModelEntry] = {}
        self._signatures: dict[tuple[str, str], ModelSignature] = {}
        for entry in entries:
            self._entries[entry.model_name, entry.version] = entry
            if entry.is_default:
                self._entries[entry.model_name, None] = entry

    def entry(self, name: str, version: str | None) -> ModelEntry:
        """Return a version, the default one for None; 2 means 2.0.

        Raises
        ------
        UnknownModelError
            There is none of that name or version; the HINT lists those that come close.
        """
        wanted = version if version is None or "." in version else f"{version}.0"
        found = self._entries.get((name, wanted))
        if found is None:
            raise self._unknown(name, version)
        return found

    def resolve(self, name: str, version: str | None) -> ModelSignature:
        """Return what planning needs of a version, the default one for None.

        Raises
        ------
        UnknownModelError
            As `entry` does.
        ArtifactError
            The version's description is damaged.
        """
        entry = self.entry(name, version)
        key = (entry.model_name, entry.version)
        if key not in self._signatures:
            self._signatures[key] = entry.signature()
        return self._signatures[key]

    def __iter__(self) -> Iterator[ModelEntry]:
        return (entry for (_, version), entry in self._entries.items() if version is not None)

    def _unknown(self, name: str, version: str | None) -> UnknownModelError:
        if (name, None) in self._entries:
            known = ", ".join(entry.version for entry in self if entry.model_name == name)
            return UnknownModelError(
                f'version {version} of model "{name}" does not exist',
                hint=f"Known versions: {known}.",
            )
        near = get_close_matches(name, {entry.model_name for entry in self})
        hint = "Perhaps you mean " + " or ".join(f'"{other}"' for other in near) + "."
        return UnknownModelError(f'model "{name}" does not exist', hint=hint if near else None)
