"""Powers and products: Horner's scheme is the engine's sum."""

from __future__ import annotations

import numpy as np
import psycopg
import pytest

from proxy.engine.columns import Column, Dataset, FeatureKind
from proxy.engine.model import Model
from proxy.engine.training import train
from proxy.pushdown.expressions import score_template
from tests.pushdown.made import assert_alike


def fitted(n_columns: int, **parameters: object) -> Model:
    rng = np.random.default_rng(n_columns)
    X = rng.normal(1.0, 2.0, (400, n_columns))
    y = np.sin(X).sum(axis=1) + X.prod(axis=1)
    features = tuple(
        Column(f"x{j}", FeatureKind.NUMBER, "double precision", np.ascontiguousarray(column))
        for j, column in enumerate(X.T)
    )
    target = Column("y", FeatureKind.NUMBER, "double precision", y)
    return train(
        "polynomial_regression",
        parameters,  # type: ignore[arg-type]
        Dataset(features, target, len(X)),
        lambda _: None,
    ).model


@pytest.mark.parametrize(
    ("n_columns", "degree", "more"),
    [
        (1, 10, {}),
        (2, 6, {}),
        (2, 3, {"fit_intercept": False}),
        (2, 2, {"interaction_only": True}),
        (2, 1, {}),
    ],
)
def test_values_are_the_engines(
    session: psycopg.Connection, n_columns: int, degree: int, more: dict[str, object]
) -> None:
    """Of any degree, far beyond the training range too."""
    model = fitted(n_columns, degree=degree, **more)
    assert_alike(session, model, (True,) * n_columns, atol=1e-8)
    assert_alike(session, model, (False,) * n_columns, atol=1e-8)


def test_a_column_is_computed_once() -> None:
    """However many monomials it is in."""
    template = score_template(fitted(4, degree=4), (True,) * 4, "value", None, "text")
    assert template is not None
    assert template.uses == (2, 2, 2, 2)
    assert template.has_subquery
