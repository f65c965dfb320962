"""How much memory clusters are found in, told before they are.

Owns the sums over what the fits of this room hold at a time, beside the rows that they read.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from proxy.engine.clusters.kmeans_init import trial_count
from proxy.engine.clusters.kmeans_iterations import first_sample_size
from proxy.engine.clusters.kmeans_points import BLOCK_ROWS
from proxy.engine.fit_shape import FitShape
from proxy.engine.preparation.matrix import BLOCK_SIZE_BYTES
from proxy.kernels import kd_tree


def kmeans_memory(arguments: Mapping[str, Any], shape: FitShape) -> int:
    """Return the bytes that k-means holds at its peak."""
    n_rows, n_columns, k = shape.n_rows, shape.n_columns, int(arguments["k"])
    n_drawn_from, batch = n_rows, 0
    if arguments["mini_batch"]:
        batch = min(int(arguments["batch_size"]), n_rows)
        n_drawn_from = min(first_sample_size(k, arguments["batch_size"]), n_rows)
    drawing = 8 * n_drawn_from * (1 + trial_count(k))  # distances, and those with each candidate
    if n_drawn_from < n_rows:
        drawing += 8 * n_drawn_from * n_columns
    n_waiting = min(2 * shape.n_threads, -(-n_rows // BLOCK_ROWS))
    fixed = 8 * k * (n_columns + 1) * (n_waiting + 4)  # sums of blocks; centres
    fixed += shape.n_threads * BLOCK_SIZE_BYTES
    moving = 4 * n_rows + batch * (8 * n_columns + 12)  # labels
    return 8 * n_rows * n_columns + max(drawing, moving) + fixed


def dbscan_memory(_arguments: Mapping[str, Any], shape: FitShape) -> int:
    """Return the bytes that DBSCAN holds at its peak, if all rows are core points."""
    n_rows, n_columns = shape.n_rows, shape.n_columns
    n_levels = max(math.ceil(math.log2(max(n_rows, 1) / kd_tree.MOST_LEAF_POINTS)), 0)
    nodes = 2 * (1 << n_levels) * (2 * 8 + 2 * 8 * n_columns + 8)  # stretches, boxes, components
    # Points as rows and by column; order, weights, flags, components while they are numbered.
    joining = 2 * 8 * n_columns + 2 * 8 + 2 + 8 * 8
    # Points, those of the model and its own by column; labels, order, keys, places and flags.
    keeping = 3 * 8 * n_columns + 4 * 8 + 4 + 1
    blocks = shape.n_threads * BLOCK_SIZE_BYTES
    return n_rows * max(joining, keeping) + nodes + blocks
