"""What is near whom: the weight of the points within a radius, and the lowest of their labels.

Owns the walks over a k-d tree that answer for a leaf's points together. The tree is `kd_tree`'s,
how nearness joins points is `components`'s.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from proxy.kernels.compilation import (
    FLOATS,
    INT64,
    OFFSETS,
    VOID,
    WRITABLE_BYTES,
    WRITABLE_FLOATS,
    inner,
    kernel,
)
from proxy.kernels.kd_tree import (
    EUCLIDEAN,
    FIXED_INT64S,
    FIXED_TABLE,
    FLOAT64,
    MANHATTAN,
    NO_COMPONENT,
    POINTS,
    distance_between,
    farthest_gap,
    gap_from_point,
    nearest_gap,
    push_children,
)


@inner
def _count_leaf(
    columns: NDArray[np.float64],
    weights: NDArray[np.float64],
    point: int,
    start: int,
    stop: int,
    radius: float,
    metric: int,
    distances: NDArray[np.float64],
) -> float:
    """Return the weight of the points of a leaf within the radius of a point."""
    size = np.uint64(stop - start)
    for t in range(size):
        distances[t] = 0.0
    for j in range(np.uint64(columns.shape[0])):
        value = columns[j, np.uint64(point)]
        # The metric is asked for outside the loop, so that the loop becomes vectors.
        if metric == EUCLIDEAN:
            for t in range(size):
                gap = columns[j, np.uint64(start) + t] - value
                distances[t] += gap * gap
        elif metric == MANHATTAN:
            for t in range(size):
                distances[t] += abs(columns[j, np.uint64(start) + t] - value)
        else:
            for t in range(size):
                distances[t] = max(distances[t], abs(columns[j, np.uint64(start) + t] - value))
    count = 0.0
    for t in range(size):
        if distances[t] <= radius:
            count += weights[np.uint64(start) + t]
    return count


@inner
def _add_node(
    weights: NDArray[np.float64], start: int, stop: int, count: float, enough: float
) -> float:
    """Return the count with the weights of a node's points, or some of them if that is enough."""
    for place in range(start, stop):
        count += weights[place]
        if count >= enough:
            break
    return count


@kernel(
    VOID(
        POINTS,
        FIXED_TABLE,
        POINTS,
        FLOATS,
        INT64,
        INT64,
        FLOAT64,
        INT64,
        FLOAT64,
        OFFSETS,
        OFFSETS,
        WRITABLE_FLOATS,
        WRITABLE_BYTES,
    )
)
def mark_dense(
    columns: NDArray[np.float64],
    bounds: NDArray[np.int64],
    boxes: NDArray[np.float64],
    weights: NDArray[np.float64],
    first: int,
    last: int,
    radius: float,
    metric: int,
    enough: float,
    stack: NDArray[np.int64],
    near: NDArray[np.int64],
    distances: NDArray[np.float64],
    is_dense: NDArray[np.uint8],
) -> None:
    """Mark the points of the leaves first..last that have enough weight within the radius.

    A box that lies within the radius of a whole leaf is not looked into, and nobody counts on
    beyond enough: many points in one place cost no more than few.

    Parameters
    ----------
    weights : (n,), each at least 0
    stack : (DEEPEST_STACK,), near : (n_leaves,), distances : (MOST_LEAF_POINTS,): to be overwritten
    is_dense : (n,), set to 0 or 1
    """
    first_leaf = bounds.shape[0] // 2
    for leaf in range(first, last):
        start, stop = bounds[leaf, 0], bounds[leaf, 1]
        common, n_near, size = 0.0, 0, 1
        if farthest_gap(boxes, leaf, leaf, metric) <= radius:
            common = _add_node(weights, start, stop, common, enough)
        else:
            near[0], n_near = leaf, 1
        stack[0] = 0
        while size > 0 and common < enough:
            size -= 1
            node = stack[size]
            if node == leaf or nearest_gap(boxes, leaf, node, metric) > radius:
                continue
            # What holds the leaf itself would count it twice.
            is_above = bounds[node, 0] <= start and stop <= bounds[node, 1]
            if not is_above and farthest_gap(boxes, leaf, node, metric) <= radius:
                common = _add_node(weights, bounds[node, 0], bounds[node, 1], common, enough)
            elif node >= first_leaf:
                near[n_near] = node
                n_near += 1
            else:
                size = push_children(stack, size, node)
        for point in range(start, stop):
            count, place = common, 0
            while place < n_near and count < enough:
                other = near[place]
                place += 1
                if gap_from_point(boxes, other, columns, point, metric) <= radius:
                    count += _count_leaf(
                        columns,
                        weights,
                        point,
                        bounds[other, 0],
                        bounds[other, 1],
                        radius,
                        metric,
                        distances,
                    )
            is_dense[point] = 1 if count >= enough else 0


@kernel(
    VOID(
        POINTS,
        FIXED_TABLE,
        POINTS,
        INT64,
        INT64,
        FLOAT64,
        INT64,
        OFFSETS,
        OFFSETS,
        FIXED_INT64S,
        FIXED_INT64S,
        OFFSETS,
    )
)
def lowest_label_near(
    columns: NDArray[np.float64],
    bounds: NDArray[np.int64],
    boxes: NDArray[np.float64],
    first: int,
    last: int,
    radius: float,
    metric: int,
    stack: NDArray[np.int64],
    near: NDArray[np.int64],
    components: NDArray[np.int64],
    labels: NDArray[np.int64],
    lowest: NDArray[np.int64],
) -> None:
    """Give the points of the leaves first..last that have no label the lowest within the radius.

    Parameters
    ----------
    stack : (DEEPEST_STACK,), near : (n_leaves,): to be overwritten
    components : as in `unite_neighbours`, of the points with a label
    labels : (n,), -1: none
    lowest : (n,) labels, replaced where there were none; -1 where none is near
    """
    first_leaf = bounds.shape[0] // 2
    for leaf in range(first, last):
        n_near, n_unlabelled = 0, 0
        for point in range(bounds[leaf, 0], bounds[leaf, 1]):
            n_unlabelled += 1 if labels[point] < 0 else 0
        stack[0], size = 0, 1 if n_unlabelled > 0 else 0
        while size > 0:
            size -= 1
            node = stack[size]
            if components[node] == NO_COMPONENT:
                continue
            if nearest_gap(boxes, leaf, node, metric) > radius:
                continue
            if node >= first_leaf:
                near[n_near] = node
                n_near += 1
            else:
                size = push_children(stack, size, node)
        for point in range(bounds[leaf, 0], bounds[leaf, 1]):
            if labels[point] >= 0:
                continue
            best = -1
            for place in range(n_near):
                other = near[place]
                if gap_from_point(boxes, other, columns, point, metric) > radius:
                    continue
                for q in range(bounds[other, 0], bounds[other, 1]):
                    if labels[q] < 0 or (best >= 0 and labels[q] >= best):
                        continue
                    if distance_between(columns, point, columns, q, metric) <= radius:
                        best = labels[q]
            lowest[point] = best
