"""The nearest centre: of equally near ones the first, and of rows far from all."""

from __future__ import annotations

import numpy as np
import psycopg
import pytest

from proxy.engine.clusters.kmeans_predictor import KMeansPredictor
from proxy.engine.model import Model
from proxy.engine.preparation.encoders import CategoryEncoder, NumberEncoder
from proxy.pushdown.expressions import score_template
from tests.pushdown.made import CATEGORIES, assert_alike, model_of

NUMBER = NumberEncoder(0.5, -5.0, 5.0, has_indicator=True)
CATEGORY = CategoryEncoder(CATEGORIES, has_infrequent=True, has_indicator=False)


def clustering(centers: np.ndarray, *, standardises: bool = False) -> Model:
    names = tuple(map(str, range(len(centers))))
    encoders = [NUMBER, CATEGORY] if centers.shape[1] == 6 else [NUMBER, NUMBER]
    return model_of(
        encoders, KMeansPredictor(centers), names, standardises=standardises, is_cluster=True
    )


@pytest.mark.parametrize("standardises", [False, True])
@pytest.mark.parametrize("n_clusters", [1, 2, 7])
def test_of_equally_near_centres_the_first(
    session: psycopg.Connection, n_clusters: int, standardises: bool
) -> None:
    """Centres on a grid, so that many rows lie in the middle: the engine's choice, every time."""
    rng = np.random.default_rng(n_clusters)
    for width in (4, 6):
        centers = rng.integers(-1, 2, (n_clusters, width)).astype(np.float64)
        model = clustering(centers, standardises=standardises)
        assert_alike(session, model, [True, True], output="label")
        assert_alike(session, model, [False, True], output="label")


def test_far_rows_go_by_their_direction(session: psycopg.Connection) -> None:
    """Where the centres look as one from a row, the nearest is still found."""
    centers = np.array([[1.0, 0, 0, 0], [-1.0, 0, 0, 0], [0, 0, 1.0, 0]]) * 1e-17
    assert_alike(session, clustering(centers), [True, True], output="label")


def test_huge_centres_are_left_to_the_engine() -> None:
    """Their squares are beyond float8."""
    model = clustering(np.full((2, 4), 1e140))
    assert score_template(model, [True, True], "label", None, "text") is None
