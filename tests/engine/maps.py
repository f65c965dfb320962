"""In-order maps without threads, to hold the engine to what a threaded one may do."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from itertools import islice
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def backwards(
    function: Callable[[Item], Result], items: Iterable[Item], /
) -> Generator[Result, None, None]:
    """Yield in order, but work on three items at a time, the last one first."""
    remaining = iter(items)
    while batch := list(islice(remaining, 3)):
        yield from reversed([function(item) for item in reversed(batch)])
