"""The names that the engine gives to its arrays, so that signatures say shapes and not dtypes.

Owns type aliases and nothing else. A `Vector` is (n,), a `Matrix` (rows, columns), both float64;
`Rows` are ascending row numbers, or None for every row.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Vector: TypeAlias = NDArray[np.float64]
Matrix: TypeAlias = NDArray[np.float64]
Codes: TypeAlias = NDArray[np.int64]
Rows: TypeAlias = NDArray[np.int64] | None
Flags: TypeAlias = NDArray[np.bool_]

IterationReport: TypeAlias = Callable[[int, float], None]
"""Called with the iterations done and the loss per sample; it may raise, which ends the fit."""


def ignore_iteration(iterations_done: int, loss: float) -> None:
    """Report to nobody."""
