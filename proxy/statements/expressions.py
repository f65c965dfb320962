"""Models as SQL expressions, remembered: a tree's takes milliseconds to write.

Owns the memory, bounded in entries and characters. Leaves the writing to `proxy.pushdown`.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

from proxy.pushdown.template import Template

_REMEMBERED = 256
_REMEMBERED_CHARACTERS = 16 << 20

Key = tuple[object, ...]


class Expressions:
    """The newest expressions, for all sessions; that a model has none is remembered too."""

    def __init__(self) -> None:
        self._known: OrderedDict[Key, Template | None] = OrderedDict()
        self._characters = 0

    def of(self, key: Key, write: Callable[[], Template | None]) -> Template | None:
        """Return what `write` made for this key, now or before."""
        if key in self._known:
            self._known.move_to_end(key)
            return self._known[key]
        made = self._known[key] = write()
        self._characters += _length(made)
        while len(self._known) > _REMEMBERED or self._characters > _REMEMBERED_CHARACTERS:
            _, forgotten = self._known.popitem(last=False)
            self._characters -= _length(forgotten)
        return made


def _length(template: Template | None) -> int:
    if template is None:
        return 0
    return sum(len(part) for part in template.parts if isinstance(part, str))
