"""Models put together by hand, of encoders and a predictor: what training would rarely make.

Owns the model, a table of the worst numbers there are, and the comparison.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import psycopg

from proxy.engine.columns import FeatureKind, InputFeature
from proxy.engine.model import Model, Target
from proxy.engine.predictors import Predictor
from proxy.engine.preparation.encoders import InputEncoder, NumberEncoder
from proxy.engine.preparation.preprocessing import Preparation, Preprocessor
from proxy.kernels.linear import NOT_GIVEN
from proxy.pushdown.expressions import score_template

WILD = (-np.inf, -30.0, -5.0, -2.5, -1.0, -0.0, 0.0, 0.5, 1.0, 1.5, 2.5, 5.0, 30.0, np.inf, np.nan)
CATEGORIES = ("a", "b", "c'")
WORDS = (*CATEGORIES, "d", "", None)


def model_of(
    encoders: Sequence[InputEncoder],
    predictor: Predictor,
    classes: tuple[str, ...] = (),
    *,
    standardises: bool = False,
    is_cluster: bool = False,
) -> Model:
    """Return a model of one feature for each encoder: numbers and categories."""
    preprocessor = Preprocessor(preparation=Preparation(standardises=standardises))
    preprocessor.encoders_ = tuple(encoders)
    n_design = preprocessor.n_design_
    preprocessor.mean_, preprocessor.scale_ = np.full(n_design, 0.25), np.full(n_design, 3.0)
    preprocessor.features_ = tuple(
        InputFeature(f"x{j}", FeatureKind.NUMBER, "double precision")
        if isinstance(encoder, NumberEncoder)
        else InputFeature(f"x{j}", FeatureKind.CATEGORY, "text", 1, encoder.categories)
        for j, encoder in enumerate(encoders)
    )
    kind = FeatureKind.CATEGORY if classes else FeatureKind.NUMBER
    return Model(
        algorithm="made",
        parameters={},
        preprocessor=preprocessor,
        predictor=predictor,
        target=Target("y", kind, "text", classes, is_cluster),
    )


def assert_alike(
    session: psycopg.Connection,
    model: Model,
    given: Sequence[bool],
    *,
    output: str = "value",
    class_index: int | None = None,
    atol: float = 1e-12,
) -> None:
    """Compare scores of every combination of two inputs' values."""
    template = score_template(model, given, output, class_index, "pg_catalog.text")  # type: ignore[arg-type]
    assert template is not None
    values, texts = [], []
    for feature in model.features:
        if feature.kind is FeatureKind.NUMBER:
            values.append([*WILD, np.nan])
            texts.append([*(f"'{value!r}'::float8" for value in map(float, WILD)), "NULL::float8"])
        else:
            places: dict[str | None, float] = {word: k for k, word in enumerate(CATEGORIES)}
            places[None] = np.nan
            values.append([places.get(word, float(len(CATEGORIES))) for word in WORDS])
            texts.append(
                [
                    "NULL::text" if w is None else "'" + w.replace("'", "''") + "'::text"
                    for w in WORDS
                ]
            )
    grids = np.meshgrid(*[np.arange(len(own)) for own in values], indexing="ij")
    places_of = [grid.ravel() for grid in grids]
    raw = np.stack([np.array(own)[at] for own, at in zip(values, places_of, strict=True)], axis=1)
    lists = ", ".join(
        f"unnest(ARRAY[{','.join(np.array(own, object)[at])}]) AS x{j}"
        for j, (own, at) in enumerate(zip(texts, places_of, strict=True))
    )
    inputs = [f"t.x{j}" if own else None for j, own in enumerate(given)]
    query = f"SELECT {template.sql(inputs)} FROM (SELECT {lists}) AS t"
    found = [score for (score,) in session.execute(query.encode()).fetchall()]
    sources = [j if own else NOT_GIVEN for j, own in enumerate(given)]
    scorer = model.scorer(sources, (None,) * len(sources), output, class_index)  # type: ignore[arg-type]
    expected = scorer.scores(np.ascontiguousarray(raw))
    if output == "label":
        assert found == [model.classes[int(code)] for code in expected]
    else:
        np.testing.assert_allclose(np.array(found, np.float64), expected, rtol=1e-9, atol=atol)
