"""Whether what was read some time ago still holds, for one who must not ask: two words of memory.

Owns the words and their meaning; the registry writes them, the compiled thread reads them. Both
only ever compare, so no lock is needed: the thread looks after it has received a message, and what
happened before that message was sent was written before.
"""

from __future__ import annotations

import time
from typing import Final

import numpy as np
from numpy.typing import NDArray

CHANGES: Final = 0
GOOD_UNTIL_NS: Final = 1
WORDS: Final = 2


class Freshness:
    """How often something has changed, and until when no change can have been missed."""

    def __init__(self) -> None:
        self._words: NDArray[np.int64] = np.zeros(WORDS, np.int64)

    @property
    def changes(self) -> int:
        """Changes so far."""
        return int(self._words[CHANGES])

    @property
    def is_good(self) -> bool:
        """Whether a change would be known by now."""
        return time.monotonic_ns() < int(self._words[GOOD_UNTIL_NS])

    @property
    def address(self) -> int:
        """Where the words are; valid as long as this object."""
        return int(self._words.ctypes.data)

    def changed(self) -> None:
        """Count a change."""
        self._words[CHANGES] += 1

    def is_good_for(self, duration_s: float) -> None:
        """Vouch for `changes` for some time from now."""
        self._words[GOOD_UNTIL_NS] = time.monotonic_ns() + int(duration_s * 1e9)

    def lost(self) -> None:
        """Vouch for nothing: changes may go by unseen."""
        self._words[GOOD_UNTIL_NS] = 0
