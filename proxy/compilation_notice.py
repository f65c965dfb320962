"""What the person at the terminal reads while the inner loops are compiled, once.

Owns the line. numba says when it compiles; what it compiles, and that it does so before anybody is
served, is up to `kernels`.
"""

from __future__ import annotations

import sys
import time
from typing import Any, Self, TextIO

from numba.core import event

COMPILING = "numba:compile"


# numba takes no other kind of listener; its hints say nothing of the class.
_events: Any = event
_Listener: Any = event.Listener


class CompilationNotice(_Listener):  # type: ignore[misc]
    """Tells of the first compilation, and on a terminal of each; a `with` block.

    Parameters
    ----------
    stream : where to; None is stderr
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stderr
        self._depth = 0
        self._n_compiled = 0
        self._started_s = 0.0

    def __enter__(self) -> Self:
        _events.register(COMPILING, self)
        return self

    def __exit__(self, *_: object) -> None:
        _events.unregister(COMPILING, self)
        if self._n_compiled:
            seconds = time.monotonic() - self._started_s
            self._say(f"pgseer: {self._n_compiled} loops compiled in {seconds:.0f} s", "\n")

    def on_start(self, _: Any) -> None:
        """Take the beginning of a compilation; loops within a loop are not counted."""
        if self._n_compiled == 0 and self._depth == 0:
            self._started_s = time.monotonic()
            self._say("pgseer: compiling its inner loops; once, for about a minute", "\n")
        self._depth += 1

    def on_end(self, _: Any) -> None:
        """Take its end."""
        self._depth -= 1
        if self._depth == 0:
            self._n_compiled += 1
            if self._stream.isatty():
                self._say(f"pgseer: {self._n_compiled} loops compiled", "\r")

    def _say(self, text: str, end: str) -> None:
        print(text, end=end, file=self._stream, flush=True)
