"""What PREDICT has to answer: the stored artefacts, scored by the engine on rows read directly.

Owns the way from a table's values to the engine's matrix. No line of the rewriting, of the reading
of rows on the wire, of staging or of models as SQL takes part.
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

import numpy as np
import psycopg
from psycopg.rows import dict_row

from proxy.engine import artifact
from proxy.engine.columns import FeatureKind, InputFeature
from proxy.engine.model import Model

Values = Mapping[str, Any]


def stored_models(connection: psycopg.Connection) -> dict[str, Model]:
    """Return every version of every model, as `name:version`; a superuser's connection."""
    stored = connection.execute(
        "SELECT model_name || ':' || version, artefact FROM ml.model_versions"
    )
    return {reference: artifact.load(bytes(stored_bytes)) for reference, stored_bytes in stored}


def rows_of(connection: psycopg.Connection, query: str) -> list[dict[str, Any]]:
    """Return the rows of a query, each a value by column."""
    with connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(query.encode()).fetchall()


def scores(model: Model, rows: Sequence[Values]) -> list[float | int]:
    """Return what PREDICT is of each row; a feature that a row does not have is missing.

    Labels must be of type integer.
    """
    raw = np.array([_raw(row, model.features) for row in rows], dtype=np.float64)
    raw = np.ascontiguousarray(raw.reshape(len(rows), model.input_width))
    if model.predict_kind == "label":
        return [int(model.classes[place]) for place in model.predict_class(raw).tolist()]
    return model.predict(raw).tolist()


def _raw(row: Values, features: Sequence[InputFeature]) -> list[float]:
    columns: list[float] = []
    for feature in features:
        value = row.get(feature.name)
        if value is None:
            columns += [math.nan] * feature.width
        elif feature.kind is FeatureKind.ARRAY:
            assert isinstance(value, list)
            columns += value
        elif feature.kind is FeatureKind.CATEGORY:
            known = feature.categories
            columns.append(float(known.index(value) if value in known else len(known)))
        elif feature.kind is FeatureKind.TIME:
            # The document's only times are text of months.
            moment = dt.datetime.strptime(str(value), "%Y-%m").replace(tzinfo=dt.UTC)
            columns.append(moment.timestamp())
        else:
            assert isinstance(value, int | float | Decimal)
            columns.append(float(value))
    return columns
