"""How much each row counts, its class considered.

Owns 'balanced': every class counts as much as any other. Rows are counted by their weights, so that
a row of weight 2 is the row twice.
"""

from __future__ import annotations

import numpy as np

from proxy.engine.arrays import Codes, Vector


def class_weights(
    codes: Codes, n_classes: int, sample_weight: Vector | None, class_weight: str | None
) -> Vector | None:
    """Return the (n_samples,) weights of rows, with those of their classes; None: each counts 1.

    Parameters
    ----------
    class_weight : None, or 'balanced': total weight / (n_classes * weight of the class); a class
        without any has none
    """
    if class_weight != "balanced":
        return sample_weight
    own = np.asarray(class_shares(codes, n_classes, sample_weight)[codes])
    return own if sample_weight is None else np.asarray(own * sample_weight)


def class_shares(codes: Codes, n_classes: int, sample_weight: Vector | None) -> Vector:
    """Return the (n_classes,) weights that make every class count as much as any other."""
    counts = np.bincount(codes, sample_weight, n_classes)
    even = np.full(n_classes, counts.sum() / n_classes)
    return np.asarray(np.divide(even, counts, out=np.zeros(n_classes), where=counts > 0))
