"""The map that takes piece after piece, and lists of what a map yields."""

from __future__ import annotations

import pytest

from proxy.engine.parallel import InOrderMap, collect, one_by_one
from tests.engine.maps import backwards


def test_one_by_one_works_when_it_is_asked() -> None:
    """No item is worked on before its result is wanted."""
    done: list[int] = []
    results = one_by_one(done.append, range(3))
    assert done == []
    next(results)
    assert done == [0]


@pytest.mark.parametrize("parallel", [one_by_one, backwards])
@pytest.mark.parametrize("n_items", [0, 1, 2, 7])
def test_results_are_in_the_order_of_the_items(parallel: InOrderMap, n_items: int) -> None:
    """Whatever the order of the work."""
    assert collect(parallel, lambda item: item**2, range(n_items)) == [
        item**2 for item in range(n_items)
    ]
