"""Balanced classes, with scikit-learn as the oracle."""

from __future__ import annotations

import numpy as np
from sklearn.utils.class_weight import compute_class_weight, compute_sample_weight

from proxy.engine.class_weight import class_weights

CODES = np.array([0, 0, 0, 0, 1, 1, 2])
WEIGHT = np.array([1.0, 2.0, 0.0, 1.0, 3.0, 1.0, 5.0])


def test_balanced_is_scikit_learns() -> None:
    """Each class weighs as much as any other; with weights, rows are counted by them."""
    found = class_weights(CODES, 3, None, "balanced")
    np.testing.assert_allclose(found, compute_sample_weight("balanced", CODES))
    own = compute_class_weight("balanced", classes=np.arange(3), y=CODES, sample_weight=WEIGHT)
    found = class_weights(CODES, 3, WEIGHT, "balanced")
    np.testing.assert_allclose(found, own[CODES] * WEIGHT)


def test_a_weight_of_two_is_the_row_twice() -> None:
    """Doubling rows and doubling weights make the same classes."""
    twice = np.repeat(CODES, 2)
    doubled = class_weights(CODES, 3, np.full(7, 2.0), "balanced")
    np.testing.assert_allclose(doubled, 2 * class_weights(twice, 3, None, "balanced")[::2])


def test_without_it_weights_stay_as_they_are() -> None:
    """None is given back as None, and a class without rows has no weight."""
    assert class_weights(CODES, 3, None, None) is None
    assert class_weights(CODES, 3, WEIGHT, None) is WEIGHT
    assert np.isfinite(class_weights(CODES, 9, None, "balanced")).all()
