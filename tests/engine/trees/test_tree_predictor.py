"""Scores of trees against a plain walk; tensors that anybody may have made; rounded leaves."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.engine.predictors import LOG_ODDS, PROBABILITY, VALUE, Link
from proxy.engine.trees.tree import Tree
from proxy.engine.trees.tree_predictor import TreePredictor, quantized
from proxy.errors import TooLargeError
from tests.engine.trees.grown_trees import random_rows, random_tree, summed, walk

# link, outputs, values of a leaf, averages, classes
SHAPES: list[tuple[Link, int, int, bool, int]] = [
    (VALUE, 1, 1, False, 0),
    (VALUE, 1, 1, True, 0),
    (LOG_ODDS, 1, 1, False, 2),
    (LOG_ODDS, 3, 1, False, 3),
    (PROBABILITY, 2, 2, True, 2),
    (PROBABILITY, 5, 5, True, 5),
]


def make(
    shape: tuple[Link, int, int, bool, int],
    *,
    n_rounds: int = 5,
    n_leaves: int = 20,
    n_features: int = 4,
    seed: int = 0,
) -> tuple[list[Tree], TreePredictor]:
    link, n_outputs, n_values, averages, _ = shape
    rng = np.random.default_rng(seed)
    count = n_rounds * (n_outputs // n_values)
    trees = [
        random_tree(
            rng,
            int(rng.integers(1, n_leaves + 1)),
            n_features,
            n_values,
            shares=link == PROBABILITY,
        )
        for _ in range(count)
    ]
    base = np.zeros(n_outputs) if link == PROBABILITY else rng.normal(size=n_outputs)
    predictor = TreePredictor(
        trees,
        link=link,
        n_features_in=n_features,
        n_outputs=n_outputs,
        averages=averages,
        base=base,
    )
    return trees, predictor


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("n_rounds", [1, 5, 23])
def test_scores_are_those_of_a_plain_walk(
    shape: tuple[Link, int, int, bool, int], n_rounds: int
) -> None:
    """Every row comes to its leaf, with values on thresholds, missing and enormous ones."""
    trees, predictor = make(shape, n_rounds=n_rounds)
    X = random_rows(np.random.default_rng(1), 150, 4)
    expected = summed(trees, X, predictor.base, averages=predictor.averages)
    np.testing.assert_array_equal(predictor.outputs(X), expected)
    assert (predictor.link, predictor.n_outputs, predictor.n_features_in) == (*shape[:2], 4)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_row_scores_alike_alone_and_in_any_batch(
    shape: tuple[Link, int, int, bool, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bit for bit: alone, in batches of any size, and when batches are cut into blocks."""
    monkeypatch.setattr("proxy.engine.trees.tree_predictor.BLOCK_BYTES", 1)
    _, predictor = make(shape, n_rounds=9)
    X = random_rows(np.random.default_rng(2), 200, 4)
    whole = predictor.outputs(X)
    for size in (0, 1, 2, 7, 8, 9, 63, 64, 65, 131):
        np.testing.assert_array_equal(predictor.outputs(X[:size]), whole[:, :size])
    for i in range(0, 200, 17):
        np.testing.assert_array_equal(predictor.outputs(X[i : i + 1]), whole[:, i : i + 1])


def test_missing_values_go_where_each_cut_sends_them() -> None:
    """Two cuts of the same column send NaN to different sides."""
    tree = Tree(
        feature=np.array([0, 0, -1, -1, -1], np.int32),
        threshold=np.array([0.0, -1.0, 0.0, 0.0, 0.0]),
        missing_left=np.array([1, 0, 0, 0, 0], np.uint8),
        left=np.array([1, 3, 0, 0, 0], np.int32),
        value=np.array([[0.0], [0.0], [1.0], [2.0], [3.0]]),
        weight=np.ones(5),
        gain=np.zeros(5),
        bin=np.zeros(5, np.uint8),
    )
    predictor = TreePredictor(
        [tree], link=VALUE, n_features_in=1, n_outputs=1, averages=False, base=np.zeros(1)
    )
    X = np.array([[np.nan], [1.0], [-1.0], [-0.5], [0.0]])
    assert predictor.outputs(X)[0].tolist() == [3.0, 1.0, 2.0, 3.0, 3.0]


@given(st.floats(allow_nan=False, allow_infinity=False), st.integers(0, 1000))
@settings(deadline=None)
def test_any_value_is_on_its_side_of_any_threshold(threshold: float, seed: int) -> None:
    """Next to a threshold on either side, and on it, x <= threshold decides."""
    rng = np.random.default_rng(seed)
    tree = random_tree(rng, 6, 1, 1)
    tree.threshold[0] = threshold
    predictor = TreePredictor(
        [tree], link=VALUE, n_features_in=1, n_outputs=1, averages=True, base=np.zeros(1)
    )
    near = [threshold, math.nextafter(threshold, -math.inf), math.nextafter(threshold, math.inf)]
    X = np.array([[x] for x in [*near, *rng.normal(size=7)] if np.isfinite(x)])
    expected = [walk(tree, row)[0] for row in X]
    assert predictor.outputs(X)[0].tolist() == expected


@pytest.mark.parametrize("n_thresholds", [254, 255, 256, 257, 1000])
def test_a_feature_may_have_many_thresholds(n_thresholds: int) -> None:
    """Around powers of two, and beyond a byte: each interval has its own leaf."""
    # A chain: each cut's right child is the next cut.
    n_nodes = 2 * n_thresholds + 1
    chain = np.arange(0, n_nodes - 1, 2)
    left, feature = np.zeros(n_nodes, np.int32), np.full(n_nodes, -1, np.int32)
    cuts = np.concatenate([[0], chain[1:]])
    left[cuts] = cuts + 1
    feature[cuts] = 0
    threshold = np.zeros(n_nodes)
    threshold[cuts] = np.arange(n_thresholds)
    tree = Tree(
        feature,
        threshold,
        np.zeros(n_nodes, np.uint8),
        left,
        np.arange(n_nodes, dtype=float)[:, None],
        np.ones(n_nodes),
        np.zeros(n_nodes),
        np.zeros(n_nodes, np.uint8),
    )
    predictor = TreePredictor(
        [tree], link=VALUE, n_features_in=1, n_outputs=1, averages=False, base=np.zeros(1)
    )
    X = np.arange(-0.5, n_thresholds + 1.0, 0.5)[:, None]
    expected = [walk(tree, row)[0] for row in X]
    assert predictor.outputs(np.append(X, [[np.nan]], axis=0))[0].tolist() == [
        *expected,
        n_nodes - 1,
    ]


def test_without_a_tree_the_base_is_left() -> None:
    """No tree, and trees without a cut, are models like others."""
    nothing = TreePredictor(
        [], link=LOG_ODDS, n_features_in=2, n_outputs=3, averages=False, base=np.arange(3.0)
    )
    assert nothing.outputs(np.zeros((2, 2))).tolist() == [[0, 0], [1, 1], [2, 2]]
    restored = TreePredictor.from_tensors(nothing.tensors(), n_features_in=2, n_classes=3)
    assert restored.outputs(np.zeros((9, 2)))[:, 8].tolist() == [0, 1, 2]
    stump = random_tree(np.random.default_rng(0), 1, 1, 1)
    one = TreePredictor(
        [stump], link=VALUE, n_features_in=0, n_outputs=1, averages=True, base=np.ones(1)
    )
    expected = 1.0 + stump.value[0, 0]
    assert one.outputs(np.zeros((9, 0)))[0].tolist() == [expected] * 9


def test_rows_of_another_width_are_refused() -> None:
    """A matrix that does not fit is an error before anything is read."""
    _, predictor = make(SHAPES[0])
    with pytest.raises(ValueError, match="5 columns, not 4"):
        predictor.outputs(np.zeros((3, 5)))


def test_too_many_thresholds_are_an_error_for_the_trainer() -> None:
    """More thresholds of a feature than words have room for."""
    rng = np.random.default_rng(0)
    trees = [random_tree(rng, 1000, 1, 1) for _ in range(70)]
    for tree in trees:
        tree.threshold[:] = rng.normal(size=len(tree.threshold))
    with pytest.raises(TooLargeError):
        TreePredictor(
            trees, link=VALUE, n_features_in=1, n_outputs=1, averages=True, base=np.zeros(1)
        )


@pytest.mark.parametrize("precision", ["float64", "float16", "int8"])
@pytest.mark.parametrize("shape", SHAPES)
def test_a_stored_predictor_comes_back_as_it_was(
    shape: tuple[Link, int, int, bool, int], precision
) -> None:
    """Tensors to predictor to tensors is the identity, and scores keep their bits."""
    predictor = quantized(make(shape)[1], precision)
    tensors = predictor.tensors()
    restored = TreePredictor.from_tensors(tensors, n_features_in=4, n_classes=shape[-1])
    again = restored.tensors()
    assert tensors.keys() == again.keys()
    for name, array in tensors.items():
        assert array.dtype == again[name].dtype
        np.testing.assert_array_equal(array, again[name])
    X = random_rows(np.random.default_rng(3), 100, 4)
    np.testing.assert_array_equal(restored.outputs(X), predictor.outputs(X))
    assert restored.link == predictor.link


def test_values_that_repeat_are_stored_once() -> None:
    """A forest of pure leaves takes a byte for each leaf, and scores as before."""
    rng = np.random.default_rng(0)
    trees = [random_tree(rng, 200, 3, 4, shares=True) for _ in range(10)]
    for tree in trees:
        tree.value[:] = np.eye(4)[rng.integers(0, 4, len(tree.value))]
    predictor = TreePredictor(
        trees, link=PROBABILITY, n_features_in=3, n_outputs=4, averages=True, base=np.zeros(4)
    )
    tensors = predictor.tensors()
    assert tensors["values"].shape == (4, 4)
    assert tensors["value_index"].dtype == np.uint8
    X = random_rows(rng, 60, 3)
    expected = summed(trees, X, np.zeros(4), averages=True)
    np.testing.assert_array_equal(predictor.outputs(X), expected)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("precision", "share"), [("float16", 2.0**-12), ("int8", 1 / 510)])
def test_rounded_leaves_are_near_and_smaller(
    shape: tuple[Link, int, int, bool, int], precision, share: float
) -> None:
    """Leaf values are off by no more than is promised; probabilities still add up to 1."""
    _, predictor = make(shape, n_rounds=20, n_leaves=60)
    rounded = quantized(predictor, precision)
    values, near = predictor.leaves.of_leaves(), rounded.leaves.of_leaves()
    width = 1.0 * shape[2] if shape[0] == PROBABILITY else np.ptp(values)
    assert np.abs(values - near).max() <= 1.001 * share * width
    assert (values != near).any()
    X = random_rows(np.random.default_rng(4), 80, 4)
    if shape[0] == PROBABILITY:
        np.testing.assert_allclose(rounded.outputs(X).sum(axis=0), 1.0, rtol=1e-12)
    sizes = [sum(a.nbytes for a in p.tensors().values()) for p in (rounded, predictor)]
    assert sizes[0] < sizes[1]


@pytest.mark.parametrize("precision", ["float16", "int8"])
def test_values_of_any_size_can_be_rounded(precision) -> None:
    """Enormous values, values far from 0, and equal ones stay finite and near."""
    for low, high in [(-1e150, 1e150), (1e9, 1e9 + 1), (3.5, 3.5), (0.0, 5e-324)]:
        rng = np.random.default_rng(0)
        tree = random_tree(rng, 50, 2, 1)
        tree.value[:, 0] = low + (high - low) * rng.random(len(tree.value))
        predictor = TreePredictor(
            [tree], link=VALUE, n_features_in=2, n_outputs=1, averages=True, base=np.zeros(1)
        )
        near = quantized(predictor, precision).leaves.of_leaves()
        away = np.abs(near - predictor.leaves.of_leaves()).max()
        assert away <= (high - low) / 500 + 1e-6 * (high - low > 0)


CORRUPTIONS = {
    "gone": lambda a: None,
    "another type": lambda a: a.astype(np.float32 if a.dtype != np.float32 else np.int8),
    "signed": lambda a: a.astype(np.int64),
    "flat": lambda a: a.reshape(-1)[:, None, None],
    "shorter": lambda a: a[:-1],
    "longer": lambda a: np.concatenate([a, a[:1]]),
    "empty": lambda a: a[:0],
    "backwards": lambda a: np.ascontiguousarray(a[::-1]),
    "all zero": np.zeros_like,
    "all largest": lambda a: np.full_like(
        a, np.finfo(a.dtype).max if a.dtype.kind == "f" else np.iinfo(a.dtype).max
    ),
    "not a number": lambda a: np.full_like(a, np.nan) if a.dtype.kind == "f" else None,
    "infinite": lambda a: np.full_like(a, np.inf) if a.dtype.kind == "f" else None,
}


def survives(tensors: dict[str, np.ndarray], n_classes: int) -> bool:
    """Say whether a predictor was made, after it has scored; anything else must be refused."""
    try:
        predictor = TreePredictor.from_tensors(tensors, n_features_in=4, n_classes=n_classes)
    except (ValueError, KeyError):
        return False
    X = random_rows(np.random.default_rng(5), 70, 4)
    for rows in (X, X[:3]):
        assert not np.isnan(predictor.outputs(rows)).any()
    return True


@pytest.mark.parametrize("precision", ["float64", "int8"])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("corruption", CORRUPTIONS)
def test_corrupted_tensors_are_refused_or_harmless(
    shape: tuple[Link, int, int, bool, int], corruption: str, precision
) -> None:
    """Each array replaced by one that is wrong in one way: ValueError, KeyError, or some score."""
    tensors = quantized(make(shape)[1], precision).tensors()
    for name, array in tensors.items():
        wrong = {**tensors}
        replaced = CORRUPTIONS[corruption](array)
        if replaced is None:
            wrong.pop(name)
        else:
            wrong[name] = replaced
        is_accepted = survives(wrong, shape[-1])
        if corruption in {"gone", "signed", "flat", "shorter", "empty"}:
            assert not is_accepted


@given(st.data())
@settings(deadline=None, max_examples=300)
def test_any_other_bytes_are_refused_or_harmless(data: st.DataObject) -> None:
    """One byte of one array is changed."""
    shape = data.draw(st.sampled_from(SHAPES))
    precision = data.draw(st.sampled_from(["float64", "float16", "int8"]))
    tensors = quantized(make(shape, n_rounds=2, n_leaves=6)[1], precision).tensors()
    name = data.draw(st.sampled_from(sorted(name for name in tensors if tensors[name].size)))
    raw = bytearray(tensors[name].tobytes())
    raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    changed = np.frombuffer(bytes(raw), tensors[name].dtype).reshape(tensors[name].shape)
    survives({**tensors, name: changed}, shape[-1])


def test_a_tree_that_loops_cannot_be_written_down() -> None:
    """Bits by which a child would not be behind its parent are refused."""
    _, predictor = make(SHAPES[0], n_rounds=1)
    tensors = predictor.tensors()
    size = int(tensors["tree_sizes"][0])
    bits = np.zeros(size, np.uint8)
    bits[-(size // 2) :] = 1  # leaves first: nobody leads to the cuts
    with pytest.raises(ValueError, match="is_cut"):
        TreePredictor.from_tensors(
            {**tensors, "is_cut": np.packbits(bits)}, n_features_in=4, n_classes=0
        )


def test_sums_that_might_overflow_are_refused() -> None:
    """Values each of which is finite, and whose sum is not."""
    _, predictor = make(SHAPES[0])
    tensors = predictor.tensors()
    enormous = np.full_like(tensors["values"], 1e308)
    with pytest.raises(ValueError, match="overflow"):
        TreePredictor.from_tensors({**tensors, "values": enormous}, n_features_in=4, n_classes=0)


def test_probabilities_come_from_trees_and_add_up_to_one() -> None:
    """Shares whose sum is not 1 are refused, and so is a mean of no trees."""
    tensors = make(SHAPES[4])[1].tensors()
    for values in (tensors["values"] * 0.5, np.zeros_like(tensors["values"])):
        with pytest.raises(ValueError, match="add up"):
            TreePredictor.from_tensors({**tensors, "values": values}, n_features_in=4, n_classes=2)
    nothing = TreePredictor(
        [], link=VALUE, n_features_in=4, n_outputs=1, averages=True, base=np.zeros(1)
    ).tensors()
    none = {**nothing, "values": np.zeros((0, 2)), "base": np.zeros(2)}
    with pytest.raises(ValueError, match="no tree"):
        TreePredictor.from_tensors(none, n_features_in=4, n_classes=2)


def test_a_classifier_is_no_regressor() -> None:
    """The tensors of one kind of model are not those of another."""
    tensors = make(SHAPES[4])[1].tensors()
    for n_classes in (0, 3):
        with pytest.raises(ValueError):
            TreePredictor.from_tensors(tensors, n_features_in=4, n_classes=n_classes)
    with pytest.raises(ValueError):
        TreePredictor.from_tensors(tensors, n_features_in=3, n_classes=2)
