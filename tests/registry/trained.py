"""A model small enough to train in a test, and its bytes."""

from __future__ import annotations

import numpy as np

from proxy.engine import artifact, training
from proxy.engine.columns import Column, Dataset, FeatureKind
from proxy.engine.model import Model


def line(slope: float) -> Model:
    """Return the regression of y = slope * x + 1, learned from ten points of it."""
    x = np.arange(10.0)
    dataset = Dataset(
        (Column("x", FeatureKind.NUMBER, "integer", x),),
        Column("y", FeatureKind.NUMBER, "double precision", slope * x + 1),
        10,
    )
    return training.train("linear_regression", {}, dataset, lambda _: None).model


def line_bytes(slope: float) -> bytes:
    """Return that model's artefact."""
    return artifact.dump(line(slope))


def slope(model: Model) -> float:
    """Return what a model says of a step from 0 to 1."""
    at_zero, at_one = model.predict(np.array([[0.0], [1.0]]))
    return float(at_one - at_zero)
