"""Which points nearness joins: the components of the graph of points within a radius.

Owns a union-find over the points of a k-d tree, and what keeps it from comparing all points of one
place with one another. The tree is `kd_tree`'s.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from proxy.kernels.compilation import INT64, OFFSETS, VOID, inner, kernel
from proxy.kernels.kd_tree import (
    FIXED_TABLE,
    FLOAT64,
    NO_COMPONENT,
    POINTS,
    SEVERAL_COMPONENTS,
    distance_between,
    farthest_gap,
    gap_from_point,
    nearest_gap,
    push_children,
)


@inner
def _root(parents: NDArray[np.int64], point: int) -> int:
    """Return the representative of a point's component, and shorten the way to it."""
    while parents[point] != point:
        parents[point] = parents[parents[point]]
        point = parents[point]
    return point


@inner
def _unite(parents: NDArray[np.int64], a: int, b: int) -> None:
    """Make the components of two points one, with the lower representative."""
    a, b = _root(parents, a), _root(parents, b)
    parents[max(a, b)] = min(a, b)


@inner
def _unite_leaves(
    columns: NDArray[np.float64],
    bounds: NDArray[np.int64],
    boxes: NDArray[np.float64],
    a: int,
    b: int,
    radius: float,
    metric: int,
    parents: NDArray[np.int64],
    components: NDArray[np.int64],
) -> None:
    """Unite the points of a leaf with those of a later one, or its own, within the radius."""
    is_one_pair = components[a] >= 0 and components[b] >= 0
    for p in range(bounds[a, 0], bounds[a, 1]):
        if parents[p] < 0 or gap_from_point(boxes, b, columns, p, metric) > radius:
            continue
        own = _root(parents, p)
        for q in range(max(bounds[b, 0], p + 1), bounds[b, 1]):
            if parents[q] < 0:
                continue
            other = _root(parents, q)
            if own != other and distance_between(columns, p, columns, q, metric) <= radius:
                parents[max(own, other)] = min(own, other)
                own = min(own, other)
                if is_one_pair:
                    return


@inner
def _unite_all(
    bounds: NDArray[np.int64],
    a: int,
    b: int,
    parents: NDArray[np.int64],
    components: NDArray[np.int64],
) -> None:
    """Unite all points of two nodes; each of one is within the radius of each of the other."""
    one = NO_COMPONENT
    for node in (a, b):
        start, stop = bounds[node, 0], bounds[node, 1]
        if components[node] >= 0:  # its points are united, one will do
            start, stop = components[node], components[node] + 1
        for p in range(start, stop):
            if parents[p] >= 0:
                _unite(parents, p if one < 0 else one, p)
                one = p
    components[a] = components[b] = one


@inner
def _refresh(
    bounds: NDArray[np.int64],
    node: int,
    parents: NDArray[np.int64],
    components: NDArray[np.int64],
) -> None:
    """See whether a node of several components has become one of a single component."""
    if components[node] != SEVERAL_COMPONENTS:
        return
    if node >= bounds.shape[0] // 2:
        one = NO_COMPONENT
        for p in range(bounds[node, 0], bounds[node, 1]):
            if parents[p] < 0:
                continue
            if one >= 0 and _root(parents, one) != _root(parents, p):
                return
            one = p
        components[node] = one
        return
    left, right = components[2 * node + 1], components[2 * node + 2]
    if left == SEVERAL_COMPONENTS or right == SEVERAL_COMPONENTS:
        return
    if left >= 0 and right >= 0 and _root(parents, left) != _root(parents, right):
        return
    components[node] = max(left, right)


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
        OFFSETS,
    )
)
def unite_neighbours(
    columns: NDArray[np.float64],
    bounds: NDArray[np.int64],
    boxes: NDArray[np.float64],
    first: int,
    last: int,
    radius: float,
    metric: int,
    stack: NDArray[np.int64],
    parents: NDArray[np.int64],
    components: NDArray[np.int64],
) -> None:
    """Unite each point of the leaves first..last with those behind it within the radius.

    Once all points of a node are known to be one component, nobody looks into it who belongs there:
    that is what keeps many points in one place from being compared with one another.

    Parameters
    ----------
    stack : (DEEPEST_STACK,), to be overwritten
    parents : (n,) a forest (union-find) of the points that take part, -1 for the others
    components : (n_nodes,) a point of the node if all that take part are one component;
        SEVERAL_COMPONENTS if they are not, or not known to be; NO_COMPONENT if there are none
    """
    first_leaf = bounds.shape[0] // 2
    for leaf in range(first, last):
        if components[leaf] == NO_COMPONENT:
            continue
        stack[0], stack[1], size = 0, leaf, 2
        while size > 0:
            size -= 1
            node = stack[size]
            # The nodes before the leaf have looked at it in their turn.
            is_before = bounds[node, 1] <= bounds[leaf, 1] and node != leaf
            if components[node] == NO_COMPONENT or is_before:
                continue
            for either in (leaf, node):
                _refresh(bounds, either, parents, components)
            own, other = components[leaf], components[node]
            if own >= 0 and other >= 0 and _root(parents, own) == _root(parents, other):
                continue
            if nearest_gap(boxes, leaf, node, metric) > radius:
                continue
            is_above = bounds[node, 0] <= bounds[leaf, 0]
            if not is_above and farthest_gap(boxes, leaf, node, metric) <= radius:
                _unite_all(bounds, leaf, node, parents, components)
            elif node >= first_leaf:
                _unite_leaves(
                    columns, bounds, boxes, leaf, node, radius, metric, parents, components
                )
            else:
                size = push_children(stack, size, node)
        node = 2 * leaf + 1
        while node > 0:
            node = (node - 1) // 2
            _refresh(bounds, node, parents, components)
