"""Arrays that go back to the system."""

from __future__ import annotations

import numpy as np
import pytest

from proxy.engine import memory


@pytest.mark.parametrize("shape", [0, 5, (3, 4), (1000, 1000), (0, 7)])
@pytest.mark.parametrize("dtype", [np.float64, np.uint8])
def test_an_array_is_as_asked_for(shape: int | tuple[int, ...], dtype: type) -> None:
    """Shape, type and order are those of `np.empty`, small or large."""
    wanted, made = np.empty(shape, dtype), memory.passing(shape, dtype)
    assert (made.shape, made.dtype) == (wanted.shape, wanted.dtype)
    assert made.flags.c_contiguous
    made[...] = 1
    assert made.sum() == wanted.size
