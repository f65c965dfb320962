"""Minimise a convex quadratic under an L1 penalty, one coordinate at a time.

Owns the sweeps. Leaves the making of the quadratic, and the decision when its minimum is good
enough, to `proxy.engine.linear.coordinate_descent`.
"""

from __future__ import annotations

import numpy as np
from numba import types
from numpy.typing import NDArray

from proxy.kernels.compilation import FLOATS, INT64, WRITABLE_FLOATS, inner, kernel

_SYMMETRIC = types.Array(types.float64, 2, "C", readonly=True)
_FLOAT64 = types.float64

ACTIVE_SWEEPS = 50
"""Of the coordinates that are not 0, at most, before all are looked at again."""


@inner
def _shrunk(value: float, threshold: float) -> float:
    if value > threshold:
        return value - threshold
    if value < -threshold:
        return value + threshold
    return 0.0


@inner
def _sweep(
    A: NDArray[np.float64],
    l1: NDArray[np.float64],
    point: NDArray[np.float64],
    residual: NDArray[np.float64],
    least: float,
    active_only: bool,
) -> float:
    """Minimise along each coordinate in turn; return the largest change of a gradient."""
    largest = 0.0
    for j in range(point.size):
        curvature = A[j, j]
        before = point[j]
        if active_only and before == 0.0:
            continue
        if curvature <= least:  # then its row is 0 too: only the penalty, if it has one, pulls
            if abs(residual[j]) < l1[j]:
                point[j] = 0.0
            continue
        after = _shrunk(residual[j] + curvature * before, l1[j]) / curvature
        step = after - before
        if step != 0.0:
            point[j] = after
            for i in range(point.size):
                residual[i] -= step * A[j, i]
            largest = max(largest, abs(step) * curvature)
    return largest


@kernel(INT64(_SYMMETRIC, FLOATS, WRITABLE_FLOATS, WRITABLE_FLOATS, _FLOAT64, _FLOAT64, INT64))
def descend(
    A: NDArray[np.float64],
    l1: NDArray[np.float64],
    point: NDArray[np.float64],
    residual: NDArray[np.float64],
    least: float,
    tol: float,
    most_sweeps: int,
) -> int:
    """Move `point` towards the minimum of x'Ax/2 - b'x + l1'|x|; return the sweeps it took.

    Parameters
    ----------
    A : (p, p), symmetric, positive semi-definite; a coordinate without curvature is 0 if it has a
        penalty, and else stays as it is
    l1 : (p,), >= 0
    point : (p,), changed in place; what is 0 at the minimum is 0.0
    residual : (p,), b - A point, kept true
    least : a curvature, >= 0, that counts as none
    tol : changes of a coordinate times its curvature that are small enough to stop at
    """
    active_only = False
    n_active = 0
    for sweep in range(most_sweeps):
        largest = _sweep(A, l1, point, residual, least, active_only)
        n_active = n_active + 1 if active_only else 0
        if not active_only and largest <= tol:
            return sweep + 1
        active_only = largest > tol and n_active < ACTIVE_SWEEPS
    return most_sweeps
