"""The inner loops of k-means: distances from rows to centres, the nearest, sums of clusters.

Owns the order of every addition. A squared distance is added up column by column, for a tile of
rows side by side, so a row has the same distance, bit for bit, alone and in any batch, and no
reduction keeps the processor's vectors idle. Leaves the iterations, the choice of blocks and the
scaling that keeps squares in range to `proxy.engine.clusters.kmeans`.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import types
from numpy.typing import NDArray

from proxy.kernels.compilation import (
    FLOATS,
    INT64,
    MATRIX,
    VOID,
    WRITABLE_FLOATS,
    inner,
    kernel,
)

_types: Any = types

POINTS = _types.Array(types.float64, 2, "C", readonly=True)
LABELS = _types.Array(types.int32, 1, "C")
READONLY_LABELS = _types.Array(types.int32, 1, "C", readonly=True)
FLOAT64 = types.float64

TILE_ROWS = 64
"""Rows side by side. Measured on ten columns: with 16, a pass takes a third longer."""
DISTANCE, BEST, NEAREST = range(3)
N_LINES = 3
"""Beside a tile: of each row the distance at hand, the least yet, and the centre it is from."""

INERTIA, CHANGED = range(2)
N_STATISTICS = 2

FAR = 2.0**60
"""Of a squared distance, where the largest coordinate of a centre is about 1: the differences have
lost the centres' digits, and the nearest is the one with the largest x.c - |c|^2 / 2."""


@inner
def _fill_tile(
    points: NDArray[np.float64], start: int, n_rows: int, scale: float, tile: NDArray[np.float64]
) -> None:
    # Unsigned places, here and below: numba tests the others for being counted from the end,
    # which keeps LLVM from using vectors.
    for t in range(np.uint64(n_rows)):
        for j in range(np.uint64(points.shape[1])):
            tile[j, t] = points[np.uint64(start) + t, j] * scale


@inner
def _add_squares(
    tile: NDArray[np.float64],
    distances: NDArray[np.float64],
    n_rows: int,
    centers: NDArray[np.float64],
    center: int,
) -> None:
    """Put the squared distances of a tile's rows from a centre in `distances`."""
    n_columns = np.uint64(centers.shape[1])
    whole = n_columns - n_columns % np.uint64(4)
    for t in range(np.uint64(n_rows)):
        distances[t] = 0.0
    # Four columns at a time: the running sum is loaded and stored once for them.
    for j in range(np.uint64(0), whole, np.uint64(4)):
        first, second = centers[center, j], centers[center, j + np.uint64(1)]
        third, fourth = centers[center, j + np.uint64(2)], centers[center, j + np.uint64(3)]
        for t in range(np.uint64(n_rows)):
            a = tile[j, t] - first
            b = tile[j + np.uint64(1), t] - second
            c = tile[j + np.uint64(2), t] - third
            d = tile[j + np.uint64(3), t] - fourth
            distances[t] = (((distances[t] + a * a) + b * b) + c * c) + d * d
    for j in range(whole, n_columns):
        value = centers[center, j]
        for t in range(np.uint64(n_rows)):
            a = tile[j, t] - value
            distances[t] += a * a


@inner
def _find_nearest(
    tile: NDArray[np.float64],
    distances: NDArray[np.float64],
    best: NDArray[np.float64],
    nearest: NDArray[np.float64],
    n_rows: int,
    centers: NDArray[np.float64],
) -> None:
    """Put the least distance of a tile's rows, and the first centre that has it, in place."""
    for t in range(np.uint64(n_rows)):
        best[t] = np.inf
        nearest[t] = 0.0
    for center in range(centers.shape[0]):
        _add_squares(tile, distances, n_rows, centers, center)
        number = float(center)
        for t in range(np.uint64(n_rows)):
            is_nearer = distances[t] < best[t]
            best[t] = distances[t] if is_nearer else best[t]
            nearest[t] = number if is_nearer else nearest[t]


@inner
def _total(values: NDArray[np.float64], count: int) -> float:
    """Return the sum of the first values, made of four, so that no addition waits for another."""
    a, b, c, d = 0.0, 0.0, 0.0, 0.0
    whole = count - count % 4
    for t in range(0, whole, 4):
        a, b, c, d = a + values[t], b + values[t + 1], c + values[t + 2], d + values[t + 3]
    for t in range(whole, count):
        a += values[t]
    return (a + b) + (c + d)


@inner
def _is_all_ones(weights: NDArray[np.float64]) -> bool:
    return weights.size == 0


@kernel(
    VOID(
        POINTS,
        FLOATS,
        INT64,
        INT64,
        POINTS,
        MATRIX,
        MATRIX,
        LABELS,
        MATRIX,
        WRITABLE_FLOATS,
        WRITABLE_FLOATS,
    )
)
def assign_rows(
    points: NDArray[np.float64],
    weights: NDArray[np.float64],
    start: int,
    stop: int,
    centers: NDArray[np.float64],
    tile: NDArray[np.float64],
    lines: NDArray[np.float64],
    labels: NDArray[np.int32],
    sums: NDArray[np.float64],
    counts: NDArray[np.float64],
    statistics: NDArray[np.float64],
) -> None:
    """Give rows start..stop to their nearest centres, and add them up.

    Parameters
    ----------
    weights : (n,), or none at all where every row weighs 1
    tile, lines : (n_columns, rows of a tile) and (N_LINES, rows of a tile), to be overwritten
    labels : (n,), those of the rows are replaced
    sums, counts : (n_centers, n_columns) and (n_centers,), added to: weighted rows, and weights
    statistics : (N_STATISTICS,), added to: weighted squared distances, and labels that changed
    """
    distances, best, nearest = lines[DISTANCE], lines[BEST], lines[NEAREST]
    inertia, n_changed = 0.0, 0.0
    for first in range(start, stop, tile.shape[1]):
        n_rows = min(tile.shape[1], stop - first)
        _fill_tile(points, first, n_rows, 1.0, tile)
        _find_nearest(tile, distances, best, nearest, n_rows, centers)
        for t in range(np.uint64(n_rows)):
            row, label = np.uint64(first) + t, np.uint64(nearest[t])
            weight = 1.0 if _is_all_ones(weights) else weights[row]
            if labels[row] != np.int32(label):
                n_changed += 1.0
                labels[row] = np.int32(label)
            inertia += weight * best[t]
            counts[label] += weight
            for j in range(np.uint64(points.shape[1])):
                sums[label, j] += weight * points[row, j]
    statistics[INERTIA] += inertia
    statistics[CHANGED] += n_changed


@kernel(
    VOID(
        POINTS,
        FLOATS,
        INT64,
        INT64,
        POINTS,
        MATRIX,
        MATRIX,
        FLOATS,
        MATRIX,
        WRITABLE_FLOATS,
    )
)
def add_potentials(
    points: NDArray[np.float64],
    weights: NDArray[np.float64],
    start: int,
    stop: int,
    candidates: NDArray[np.float64],
    tile: NDArray[np.float64],
    lines: NDArray[np.float64],
    closest: NDArray[np.float64],
    lowered: NDArray[np.float64],
    potentials: NDArray[np.float64],
) -> None:
    """Add up what the squared distances of rows start..stop would be with one more centre.

    Parameters
    ----------
    closest : (n,) squared distances from the nearest of the centres chosen yet
    lowered : (at least n_candidates, n), what they would be with each candidate
    potentials : (n_candidates,), added to
    """
    distances = lines[DISTANCE]
    for first in range(start, stop, tile.shape[1]):
        n_rows = min(tile.shape[1], stop - first)
        _fill_tile(points, first, n_rows, 1.0, tile)
        for candidate in range(candidates.shape[0]):
            _add_squares(tile, distances, n_rows, candidates, candidate)
            for t in range(np.uint64(n_rows)):
                row = np.uint64(first) + t
                least = min(closest[row], distances[t])
                lowered[candidate, row] = least
                distances[t] = least
            if not _is_all_ones(weights):
                for t in range(np.uint64(n_rows)):
                    distances[t] *= weights[np.uint64(first) + t]
            potentials[candidate] += _total(distances, n_rows)


@inner
def _in_direction(
    points: NDArray[np.float64], row: int, scale: float, centers: NDArray[np.float64]
) -> int:
    """Return the nearest centre of a row that is far from all of them."""
    largest = 0.0
    for j in range(points.shape[1]):
        largest = max(largest, abs(points[row, j]))
    best, nearest = -np.inf, 0
    for center in range(centers.shape[0]):
        score, half = 0.0, 0.0
        for j in range(points.shape[1]):
            score += points[row, j] / largest * centers[center, j]
            half += centers[center, j] * centers[center, j]
        score -= 0.5 * half / (largest * scale)
        if score > best:
            best, nearest = score, center
    return nearest


@kernel(VOID(POINTS, FLOAT64, POINTS, MATRIX, MATRIX, MATRIX, WRITABLE_FLOATS))
def find_nearest_centers(
    points: NDArray[np.float64],
    scale: float,
    centers: NDArray[np.float64],
    tile: NDArray[np.float64],
    lines: NDArray[np.float64],
    places: NDArray[np.float64],
    squared: NDArray[np.float64],
) -> None:
    """Write the number of each row's nearest centre, the lowest of several.

    Parameters
    ----------
    points : (n, n_columns), any finite numbers
    scale : a power of two
    centers : (n_centers, n_columns), times the scale, which brings the largest of them to about 1
    tile, lines : (n_columns, rows of a tile) and (N_LINES, rows of a tile), to be overwritten
    places : (1, n)
    squared : (n,) squared distances, times the scale's square; they may be infinite
    """
    distances, best, nearest = lines[DISTANCE], lines[BEST], lines[NEAREST]
    for first in range(0, points.shape[0], tile.shape[1]):
        n_rows = min(tile.shape[1], points.shape[0] - first)
        _fill_tile(points, first, n_rows, scale, tile)
        _find_nearest(tile, distances, best, nearest, n_rows, centers)
        for t in range(n_rows):
            squared[first + t] = best[t]
            places[0, first + t] = nearest[t]
            if not best[t] < FAR:
                places[0, first + t] = float(_in_direction(points, first + t, scale, centers))


@kernel(VOID(POINTS, READONLY_LABELS, INT64, INT64, MATRIX, MATRIX, MATRIX))
def add_distances(
    points: NDArray[np.float64],
    labels: NDArray[np.int32],
    start: int,
    stop: int,
    tile: NDArray[np.float64],
    lines: NDArray[np.float64],
    sums: NDArray[np.float64],
) -> None:
    """Add the distances of rows start..stop from all rows, cluster by cluster.

    Parameters
    ----------
    labels : (n,), each at least 0
    tile, lines : (n_columns, rows of a tile) and (N_LINES, rows of a tile), to be overwritten
    sums : (stop - start, n_clusters), added to
    """
    distances = lines[DISTANCE]
    for first in range(0, points.shape[0], tile.shape[1]):
        n_rows = min(tile.shape[1], points.shape[0] - first)
        _fill_tile(points, first, n_rows, 1.0, tile)
        for row in range(start, stop):
            _add_squares(tile, distances, n_rows, points, row)
            for t in range(n_rows):
                sums[row - start, labels[first + t]] += math.sqrt(distances[t])
