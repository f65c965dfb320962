"""Small trees as SQL: a CASE within a CASE for each cut, and the sum of a few trees.

Owns the walk from the arrays to the text. A cut that sends all rows the same way is left out, and
so is one whose two ways end alike: of labels there are few. What one cut asks is in `cuts`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from proxy.engine.arrays import Matrix, Vector
from proxy.engine.model import Model, PredictKind
from proxy.engine.predictors import LOG_ODDS, PROBABILITY
from proxy.engine.trees.tree_predictor import TreePredictor
from proxy.kernels import linear as kernel
from proxy.pushdown import outcomes
from proxy.pushdown.constants import number
from proxy.pushdown.cuts import LEFT, RIGHT, Condition, DesignColumn, Way, design_columns
from proxy.pushdown.inputs import InputColumn
from proxy.pushdown.template import Parts, separated

MOST_NODES = 2047
"""Of all trees. A tree of depth 10 that is full."""
MOST_COMPARISONS = 64
"""On the longest ways of a row through all its trees; it takes PostgreSQL about a microsecond."""
MOST_CATEGORIES = 4096
"""Constants of all cuts of categories."""

_MEANINGS = {"value": kernel.VALUE, "label": kernel.LABEL, "probability": kernel.PROBABILITY}


@dataclass(frozen=True, slots=True)
class Grown:
    """One tree.

    Attributes
    ----------
    ways : for each node its cut as SQL, or None of a leaf
    left : for each node the place of its left child; the right one is behind it
    leaf : for each node that is a leaf its place among the leaves of all trees
    depth : cuts on the longest way
    n_categories : of all its conditions
    """

    ways: Sequence[Way | None]
    left: Sequence[int]
    leaf: Sequence[int]
    depth: int
    n_categories: int


def expression(
    model: Model,
    columns: Sequence[InputColumn],
    output: PredictKind,
    class_index: int | None,
    labels: Sequence[str],
) -> tuple[Parts, bool] | None:
    """Return what the trees say and whether it holds a subquery; None if they are too large."""
    predictor = model.predictor
    assert isinstance(predictor, TreePredictor)
    if 2 * predictor.leaves.n_leaves - predictor.n_trees > MOST_NODES:
        return None
    if predictor.n_trees == 0 or model.preprocessor.preparation.standardises:
        return None
    trees = _grown(predictor, design_columns(columns))
    if sum(tree.n_categories for tree in trees) > MOST_CATEGORIES:
        return None
    if predictor.n_trees == 1:
        if trees[0].depth > MOST_COMPARISONS:
            return None
        texts = _leaf_texts(predictor, output, class_index, labels)
        return _nested(trees[0], texts), False
    sums = _wanted(predictor, output, class_index)
    n_walks = len(sums) if predictor.leaves.n_values > 1 else 1
    if n_walks * sum(tree.depth for tree in trees) > MOST_COMPARISONS:
        return None
    return _meaning(
        predictor, [_total(predictor, trees, k) for k in sums], (output, class_index), labels
    )


def _wanted(predictor: TreePredictor, output: PredictKind, class_index: int | None) -> list[int]:
    """Return which outputs a score needs."""
    if predictor.link == PROBABILITY and output == "probability" and class_index is not None:
        return [class_index]
    return list(range(predictor.n_outputs))


def _meaning(
    predictor: TreePredictor,
    sums: list[Parts],
    wanted: tuple[PredictKind, int | None],
    labels: Sequence[str],
) -> tuple[Parts, bool]:
    """Return what the sums of several trees mean, and whether it holds a subquery."""
    output, class_index = wanted
    if output == "value":
        return sums[0], False
    if predictor.link != LOG_ODDS:
        if output == "label":
            return outcomes.likeliest(sums, labels), True
        return ["GREATEST(", *separated(",", sums), ")"], False
    if predictor.n_outputs == 1:
        if output == "label":
            return outcomes.label_of_two(sums[0], labels), False
        return outcomes.probability_of_two(["-(", *sums[0], ")"], class_index), False
    if output == "label":
        return outcomes.likeliest(sums, labels), True
    if class_index is None:
        return outcomes.largest_share(sums), True
    return outcomes.share_of(sums, class_index), True


def _total(predictor: TreePredictor, trees: Sequence[Grown], output: int) -> Parts:
    """Return base + the sum of the trees, or their mean, added up in their order."""
    values = predictor.leaves.of_leaves()
    has_own = values.shape[1] == 1
    own = trees[output :: predictor.n_outputs] if has_own else trees
    texts = [number(value) for value in values[:, 0 if has_own else output].tolist()]
    total = separated("+", [_nested(tree, texts) for tree in own])
    if predictor.averages and len(own) > 1:
        total = ["(", *total, f")/{number(float(len(own)))}"]
    base = float(predictor.base[output])
    return total if base == 0.0 else [f"{number(base)}+", *total]


def _leaf_texts(
    predictor: TreePredictor,
    output: PredictKind,
    class_index: int | None,
    labels: Sequence[str],
) -> list[str]:
    """Return what a single tree says in each leaf: all that is computed of it is computed here."""
    outputs = np.ascontiguousarray((predictor.base + predictor.leaves.of_leaves()).T)
    scores = _scores(predictor.link, outputs, output, class_index).tolist()
    if output == "label":
        return [labels[int(score)] for score in scores]
    return [number(score) for score in scores]


def _scores(link: str, outputs: Matrix, output: PredictKind, class_index: int | None) -> Vector:
    if link == LOG_ODDS:
        meaning = _MEANINGS[output]
        if output == "probability" and class_index is None:
            meaning = kernel.LARGEST_PROBABILITY
        scores = np.empty(outputs.shape[1])
        kernel.finish_rows(outputs, meaning, -1 if class_index is None else class_index, scores)
        return scores
    if link != PROBABILITY:
        return np.asarray(outputs[0])
    if output == "label":
        return np.asarray(outputs.argmax(axis=0), np.float64)
    return np.asarray(outputs.max(axis=0) if class_index is None else outputs[class_index])


def _grown(predictor: TreePredictor, design: Sequence[DesignColumn]) -> list[Grown]:
    cuts = predictor.cuts()
    starts = np.cumsum(cuts.threshold_counts) - cuts.threshold_counts
    thresholds = cuts.thresholds[starts[cuts.feature] + cuts.threshold_index].tolist()
    conditions = iter(
        [
            design[feature].way(threshold, missing_left)
            for feature, threshold, missing_left in zip(
                cuts.feature.tolist(), thresholds, cuts.missing_left.tolist(), strict=True
            )
        ]
    )
    is_cut = cuts.is_cut.tolist()
    trees = []
    start = n_leaves = 0
    for size in cuts.tree_sizes.tolist():
        ways: list[Way | None] = []
        left, leaf, depth, n_categories = [0] * size, [0] * size, [0] * size, 0
        child = 1
        for node in range(size):
            if not is_cut[start + node]:
                ways.append(None)
                leaf[node] = n_leaves
                n_leaves += 1
                continue
            way = next(conditions)
            ways.append(way)
            left[node] = child
            depth[child] = depth[child + 1] = depth[node] + 1
            child += 2
            n_categories += way.n_categories if isinstance(way, Condition) else 0
        trees.append(Grown(ways, left, leaf, max(depth), n_categories))
        start += size
    return trees


def _nested(tree: Grown, texts: Sequence[str]) -> Parts:
    """Return a tree as CASE expressions; `texts` is what each leaf says."""
    size = len(tree.ways)
    # For each node the one that stands for it, and what it says if that is always the same.
    stands: list[int] = list(range(size))
    says: list[str | None] = [None] * size
    for node in range(size - 1, -1, -1):
        way = tree.ways[node]
        if way is None:
            says[node] = texts[tree.leaf[node]]
            continue
        left, right = (stands[tree.left[node] + side] for side in (LEFT, RIGHT))
        if isinstance(way, int):
            stands[node] = (left, right)[way]
        elif says[left] is not None and says[left] == says[right]:
            stands[node] = left
    parts: Parts = []
    waiting: list[int | str] = [stands[0]]
    while waiting:
        node_or_text = waiting.pop()
        if isinstance(node_or_text, str):
            parts.append(node_or_text)
            continue
        said, way = says[node_or_text], tree.ways[node_or_text]
        if said is not None:
            parts.append(said)
            continue
        assert isinstance(way, Condition)
        left = tree.left[node_or_text]
        true, false = (stands[left + (way.where_true ^ side)] for side in (0, 1))
        parts += ("CASE WHEN ", *way.sql, " THEN ")
        waiting += (" END", false, " ELSE ", true)
    return parts
