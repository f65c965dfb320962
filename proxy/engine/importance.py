"""How much each feature matters to a model.

Owns the two measures: what trees gained by it, and what the model loses without it.

References
----------
Breiman (2001), Machine Learning 45(1), 5-32, section 10: permutation.
Breiman, Friedman, Olshen & Stone (1984), Classification and Regression Trees: impurity.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from proxy.engine.arrays import Codes, Vector
from proxy.engine.model import Importance, Model
from proxy.engine.parallel import InOrderMap, collect
from proxy.engine.preparation.design import InputColumn, raw_matrix
from proxy.engine.preparation.preprocessing import Preprocessor
from proxy.engine.tasks import Task

MOST_ROWS = 2000
MOST_VALUES = 4_000_000
"""Rows times input columns of the sample that is scored again for each feature."""
MOST_FEATURES = 1000
"""With more of them there is no permutation importance: each is a scoring of its own."""


def importances(
    preprocessor: Preprocessor, of_columns: Vector | None, permutation: Sequence[float] | None
) -> tuple[Importance, ...]:
    """Return what is known of each feature; nothing where neither measure is.

    Parameters
    ----------
    of_columns : (n_design,) shares of the design's columns in what the splits gained, or None
    permutation : for each feature, or None
    """
    features = preprocessor.features_
    if of_columns is None and permutation is None:
        return ()
    shares = _by_feature(preprocessor, of_columns) if of_columns is not None else None
    return tuple(
        Importance(
            feature.name,
            None if shares is None else shares[i],
            None if permutation is None else permutation[i],
        )
        for i, feature in enumerate(features)
    )


def _by_feature(preprocessor: Preprocessor, of_columns: Vector) -> list[float]:
    encoders, first, shares = iter(preprocessor.encoders_), 0, []
    for feature in preprocessor.features_:
        last = first + sum(next(encoders).n_columns for _ in range(feature.width))
        shares.append(float(of_columns[first:last].sum()))
        first = last
    return shares


def permutation_importances(
    model: Model,
    inputs: list[InputColumn],
    rows: Codes,
    places: Codes,
    task: Task,
    *,
    random_state: int,
    parallel: InOrderMap,
) -> list[float] | None:
    """Return what the headline metric loses when each feature's values change places.

    Parameters
    ----------
    inputs : columns of the raw matrix
    rows, places : of the held-out rows, in the dataset and among the usable rows
    """
    if len(model.features) > MOST_FEATURES or len(rows) < 2:
        return None
    n_rows = min(len(rows), MOST_ROWS, max(MOST_VALUES // max(len(inputs), 1), 100))
    chosen = np.linspace(0, len(rows) - 1, n_rows).astype(np.int64)
    rows, places = rows[chosen], places[chosen]
    raw = raw_matrix(inputs, rows)
    before = task.score(task.predict(model, raw), places)
    order = np.argsort(np.random.PCG64(random_state).random_raw(n_rows), kind="stable")
    firsts = np.cumsum([0, *(feature.width for feature in model.features)])

    def lost(i: int) -> float:
        columns = slice(firsts[i], firsts[i + 1])
        shuffled = raw.copy()
        shuffled[:, columns] = raw[order, columns]
        return before - task.score(task.predict(model, shuffled), places)

    values = collect(parallel, lost, range(len(model.features)))
    return [value if np.isfinite(value) else 0.0 for value in values]
