"""Work on many pieces, perhaps several at a time, without knowing what a thread is.

Owns the type of the map that training is handed, and the one that takes piece after piece. Whoever
adds up what it yields adds in the order of the pieces, so that no sum depends on how many were
worked on at a time. The threads are the caller's: `workers.threads`.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import closing
from typing import Protocol, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


class InOrderMap(Protocol):
    """As `map`, but several calls may run at a time.

    Results come in the order of the items, however long each takes, and no more than a few are
    ahead of the one that is awaited. What a call raises comes out in its place, or what the first
    of several raises; then, or when the generator is closed, no call is running any more.
    """

    def __call__(
        self, function: Callable[[Item], Result], items: Iterable[Item], /
    ) -> Generator[Result, None, None]:
        """Yield `function` of each item."""


def one_by_one(
    function: Callable[[Item], Result], items: Iterable[Item], /
) -> Generator[Result, None, None]:
    """Yield `function` of each item, each when it is asked for."""
    for item in items:
        yield function(item)


def collect(
    parallel: InOrderMap, function: Callable[[Item], Result], items: Sequence[Item]
) -> list[Result]:
    """Return `function` of all items, in their order."""
    chosen = parallel if len(items) > 1 else one_by_one
    with closing(chosen(function, items)) as results:
        return list(results)
