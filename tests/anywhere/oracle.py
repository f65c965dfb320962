"""The independent road: the stored artefacts scored in Python, and looked up by plain functions.

Owns the functions `oracle.predict`, `predict_class` and `predict_proba` of the direct connection,
and the tables behind them. A function that is asked about arguments without a score says so in a
NOTICE and gives NULL; `Oracle.learn_unknown` scores what the notices name, and the question is
asked again. No line of the rewriting, of the reading of rows or of models as SQL takes part.
"""

from __future__ import annotations

import datetime as dt
import json
import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import psycopg

from proxy.engine import artifact
from proxy.engine.columns import FeatureKind, InputFeature
from proxy.engine.model import Model
from tests.anywhere.templates import CASTS, SCHEMA, Feature, parameter, type_of
from tests.anywhere.world import MOODS, Facts

UNKNOWN = "oracle: unknown "

Arguments = list[Any]

COLUMNS_OF_SCORES = "key text PRIMARY KEY, value float8, label text, probabilities float8[]"

# The column of `points` and `results` that takes a label of a type.
COLUMNS = {"int": "number", "text": "label"}


class Oracle:
    """The scores of every model, for PostgreSQL to look up.

    Parameters
    ----------
    connection : a superuser's, in autocommit mode
    """

    def __init__(self, connection: psycopg.Connection) -> None:
        self._connection = connection
        self.models: dict[str, Model] = {}
        self.signatures: dict[str, list[Feature]] = {}
        self._target_types: dict[str, str] = {}
        self._known: dict[str, set[str]] = {}
        connection.execute(f"CREATE SCHEMA {SCHEMA}")
        connection.execute(f"GRANT USAGE ON SCHEMA {SCHEMA} TO PUBLIC")
        stored = connection.execute(
            "SELECT model_name, version::text, artefact, coalesce(target_type_sql, 'integer')"
            " FROM ml.model_versions ORDER BY model_name, model_versions.version"
        )
        for name, version, stored_model, target_type in stored.fetchall():
            # The newest comes last and is the default.
            self._add(name, artifact.load(stored_model), target_type)
            self._add(f"{name}:{version}", artifact.load(stored_model), target_type)

    def _add(self, reference: str, model: Model, target_type: str) -> None:
        is_new = reference not in self.models
        self.models[reference] = model
        self._target_types[reference] = target_type
        self._known[reference] = set()
        self.signatures[reference] = [Feature(f.name, f.kind.value) for f in model.features]
        if is_new:
            for statement in _functions(reference, model, target_type):
                self._connection.execute(statement.encode())

    def learn(self, reference: str, keys: Iterable[str]) -> None:
        """Score rows of arguments, each a JSON array, and keep the scores for the functions."""
        known = self._known[reference]
        fresh = [key for key in dict.fromkeys(keys) if key not in known]
        if not fresh:
            return
        known.update(fresh)
        model = self.models[reference]
        raw = np.array([_raw(json.loads(key), model.features) for key in fresh], dtype=np.float64)
        raw = np.ascontiguousarray(raw.reshape(len(fresh), model.input_width))
        values: Sequence[float | None] = [None] * len(fresh)
        labels: Sequence[str | None] = [None] * len(fresh)
        chances: Sequence[list[float] | None] = [None] * len(fresh)
        if model.task == "regression":
            values = model.predict(raw).tolist()
        else:
            labels = [model.classes[place] for place in model.predict_class(raw).tolist()]
        if model.task in ("binary", "multiclass"):
            chances = model.predict_proba(raw).tolist()
        with (
            self._connection.cursor() as cursor,
            cursor.copy(f"COPY {_scores(reference)} FROM STDIN".encode()) as copy,
        ):
            for row in zip(fresh, values, labels, chances, strict=True):
                copy.write_row(row)

    def learn_unknown(self, notices: Iterable[str]) -> bool:
        """Learn what notices name; return whether there was anything."""
        missed: dict[str, list[str]] = {}
        for notice in notices:
            if notice.startswith(UNKNOWN):
                said = json.loads(notice.removeprefix(UNKNOWN))
                missed.setdefault(said["model"], []).append(said["key"])
        for reference, keys in missed.items():
            self.learn(reference, keys)
        return bool(missed)

    def facts(self, reference: str) -> Facts:
        """Return what templates say of a model, from the scores that it has so far."""
        model = self.models[reference]
        is_label = model.predict_kind == "label"
        type_name = self._target_types[reference] if is_label else "double precision"
        column = next((c for kind, c in COLUMNS.items() if kind in type_name), "feeling")
        if is_label:
            labels = sorted(set(_column(self._connection, reference, "label")), key=_rank)
            # Something is greater than each.
            chosen = (labels[0], labels[(len(labels) - 1) // 2], labels[-2])
            literals = [value if column == "number" else f"'{value}'" for value in chosen]
            return Facts(type_name, column, *literals)
        source = "value" if model.predict_kind == "value" else "probabilities[2]"
        scores = sorted({float(v) for v in _column(self._connection, reference, source)})
        cuts = [_gap(scores, share) for share in (0.25, 0.55, 0.8)]
        return Facts(type_name, "score", *(repr(cut) for cut in cuts))


def _rank(label: str) -> tuple[float, str]:
    """Order labels as their type does."""
    if label in MOODS:
        return (MOODS.index(label), label)
    return (int(label) if label.lstrip("-").isdigit() else 0, label)


def _gap(scores: Sequence[float], share: float) -> float:
    """Return the middle of the widest gap near a quantile, so that no rounding crosses it."""
    middle = int(len(scores) * share)
    width = max(len(scores) // 12, 1)
    near = range(max(middle - width, 0), min(middle + width, len(scores) - 1))
    place = max(near, key=lambda i: scores[i + 1] - scores[i])
    return round((scores[place] + scores[place + 1]) / 2, 6)


def _column(connection: psycopg.Connection, reference: str, source: str) -> list[str]:
    query = f"SELECT {source} FROM {_scores(reference)}"
    return [str(row[0]) for row in connection.execute(query.encode())]


# --- a row of arguments ---------------------------------------------------------------------------


def _raw(row: Arguments, features: Sequence[InputFeature]) -> list[float]:
    """Lay a row out as the engine's raw matrix has it."""
    columns: list[float] = []
    for value, feature in zip(row, features, strict=True):
        if feature.kind is FeatureKind.ARRAY:
            columns += [math.nan] * feature.width if value is None else map(_number, value)
        elif value is None:
            columns.append(math.nan)
        elif feature.kind is FeatureKind.CATEGORY:
            known = feature.categories
            columns.append(float(known.index(value) if value in known else len(known)))
        elif feature.kind is FeatureKind.TIME:
            moment = dt.datetime.fromisoformat(value).replace(tzinfo=dt.UTC)
            columns.append(moment.timestamp())
        else:
            columns.append(_number(value))
    return columns


def _number(value: float | str | None) -> float:
    # JSON has no NaN and no infinity: PostgreSQL writes them as strings, which float reads.
    return math.nan if value is None else float(value)


# --- the functions --------------------------------------------------------------------------------


def _scores(reference: str) -> str:
    return f'{SCHEMA}."{reference} scores"'


def _functions(reference: str, model: Model, label_type: str) -> list[str]:
    """Return what makes a model's type, table and functions."""
    label = f"entry.label::text::{label_type}"
    proba = "CASE WHEN cardinality(entry.probabilities) = 2 THEN entry.probabilities[2] ELSE"
    proba += " (SELECT max(p) FROM unnest(entry.probabilities) AS p) END"
    classes = "ARRAY[" + ", ".join(f"'{name}'" for name in model.classes) + "]::text[]"
    of_class = f'entry.probabilities[array_position({classes}, "class")]'
    statements = [
        f"CREATE TYPE {type_of(reference)} AS ENUM ('{reference}')",
        f"CREATE TABLE {_scores(reference)} ({COLUMNS_OF_SCORES})",
    ]
    match model.predict_kind:
        case "value":
            statements.append(_function("predict", reference, model, "float8", "entry.value"))
        case "probability":
            statements.append(_function("predict", reference, model, "float8", proba))
        case "label":
            statements.append(_function("predict", reference, model, label_type, label))
    if model.task != "regression":
        statements.append(_function("predict_class", reference, model, label_type, label))
    if model.task in ("binary", "multiclass"):
        wanted = f'CASE WHEN "class" IS NULL THEN {proba} ELSE {of_class} END'
        statements.append(
            _function("predict_proba", reference, model, "float8", wanted, ', "class" text = NULL')
        )
    return statements


def _function(
    name: str, reference: str, model: Model, returned: str, expression: str, extra: str = ""
) -> str:
    given = "".join(
        f", {parameter(feature.name)} {CASTS[feature.kind.value]} = NULL"
        for feature in model.features
    )
    values = ", ".join(parameter(feature.name) for feature in model.features)
    return f"""
        CREATE FUNCTION {SCHEMA}.{name}(model {type_of(reference)}{given}{extra}) RETURNS {returned}
        LANGUAGE plpgsql STABLE SECURITY DEFINER SET extra_float_digits = 1
        SET search_path = pg_catalog, public, pg_temp AS $body$
        #variable_conflict use_variable
        DECLARE
            wanted text := json_build_array({values})::text;
            entry {_scores(reference)};
        BEGIN
            SELECT * INTO entry FROM {_scores(reference)} AS s WHERE s.key = wanted;
            IF NOT FOUND THEN
                RAISE NOTICE '{UNKNOWN}%',
                    json_build_object('model', '{reference}', 'key', wanted);
                RETURN NULL;
            END IF;
            RETURN {expression};
        END $body$"""
