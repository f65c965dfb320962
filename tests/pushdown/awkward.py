"""Rows of every sort, as arrays for the engine and as a table of PostgreSQL's.

Owns a training set, rows to score that are worse, and how both are asked for a model's scores.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import psycopg
from psycopg import sql

from proxy.engine.columns import Column, Dataset, FeatureKind
from proxy.engine.model import Model, PredictKind
from proxy.engine.training import train
from proxy.kernels.linear import NOT_GIVEN
from proxy.pushdown.template import Template

TRAINED, SCORED = 500, 700
WORDS = ("plain", "it's", "back\\slash", "Zürich", "", "日本", "𝄞 clef", "'", "\\'", "tab\there")
UNSEEN = ("never", "Zurich", "plain ", "E'", "\\", "ﬁ")
CODES = tuple(f"c{code}'\\é" for code in range(130))
GIVEN = (True,) * 8
TABLE = "rows_to_score"

columns_of_table = {
    "place": "int4",
    "amount": "float8",
    "count": "float8",
    "flag": "boolean",
    "word": "text",
    "code": "text",
    "seen": "float8",
    "vec": "float8[]",
    "constant": "float8",
}
inputs = (
    '"amount"',
    '("count")::pg_catalog.float8',
    "(flag\n)::pg_catalog.bool::pg_catalog.int4::pg_catalog.float8",
    "(word\n)::pg_catalog.text",
    "(code\n)::pg_catalog.text",
    "seen",
    "vec",
    "constant",
)
kinds = (
    FeatureKind.NUMBER,
    FeatureKind.NUMBER,
    FeatureKind.BOOLEAN,
    FeatureKind.CATEGORY,
    FeatureKind.CATEGORY,
    FeatureKind.TIME,
    FeatureKind.ARRAY,
    FeatureKind.NUMBER,
)
sql_types = (
    "double precision",
    "integer",
    "boolean",
    "text",
    "text",
    "timestamp without time zone",
    "double precision[]",
    "double precision",
)
names = tuple(columns_of_table)[1:]


@dataclass(frozen=True)
class Rows:
    """Values of every feature: floats with NaN for NULL, texts with None."""

    values: tuple[np.ndarray, ...]
    is_nan: np.ndarray
    """Of numbers, (n,): what is missing is NaN, and not NULL."""

    def __len__(self) -> int:
        return len(self.is_nan)


def make_rows(n_rows: int, seed: int, *, wild: bool) -> Rows:
    """Return rows; wild ones hold infinities and what training has not seen."""
    rng = np.random.default_rng(seed)
    words = rng.choice(np.array(WORDS, object), n_rows)
    codes = rng.choice(np.array(CODES, object), n_rows)
    numbers = [
        rng.normal(3.0, 2.0, n_rows),
        rng.integers(0, 9, n_rows).astype(np.float64),
        rng.integers(0, 2, n_rows).astype(np.float64),
        1.7e9 + rng.integers(0, 10**7, n_rows).astype(np.float64),
    ]
    vector = rng.normal(0.0, 1.0, (n_rows, 3))
    if wild:
        numbers[0] *= rng.choice([1.0, 1.0, 1.0, 40.0, -1e6], n_rows)
        for texts in (words, codes):
            is_unseen = rng.random(n_rows) < 0.1
            texts[is_unseen] = rng.choice(np.array(UNSEEN, object), int(is_unseen.sum()))
        for values in (numbers[0], numbers[1], numbers[3], vector):
            is_infinite = rng.random(values.shape) < 0.06
            values[is_infinite] = rng.choice([np.inf, -np.inf], int(is_infinite.sum()))
        vector[rng.random(n_rows) < 0.05] = np.nan
    share = 0.12 if wild else 0.06
    for values in (numbers[0], numbers[1], numbers[2], vector):
        values[rng.random(values.shape) < share] = np.nan
    for texts in (words, codes):
        texts[rng.random(n_rows) < share] = None
    amount, count, flag, seen = numbers
    constant = np.full(n_rows, 5.0)
    values = (amount, count, flag, words, codes, seen, vector, constant)
    return Rows(values, rng.random(n_rows) < 0.5)


def dataset(rows: Rows, target: Column | None) -> Dataset:
    """Return rows to learn from."""
    features = []
    for name, kind, sql_type, values in zip(names, kinds, sql_types, rows.values, strict=True):
        categories: tuple[str, ...] = ()
        if kind is FeatureKind.CATEGORY:
            categories = tuple(sorted({text for text in values if text is not None}))
            values = coded(values, categories, unseen=-2, missing=-1).astype(np.int32)
        features.append(Column(name, kind, sql_type, values, categories))
    return Dataset(tuple(features), target, len(rows))


def coded(
    texts: np.ndarray, categories: Sequence[str], unseen: float, missing: float
) -> np.ndarray:
    """Return each text's place in the categories."""
    places: dict[str | None, float] = {text: code for code, text in enumerate(categories)}
    return np.array([missing if text is None else places.get(text, unseen) for text in texts])


def signal(rows: Rows) -> np.ndarray:
    """Return what there is to be learned."""
    amount, count, flag, words, codes, seen, vector, _ = rows.values
    pull = 0.8 * np.nan_to_num(amount, nan=5.0) - 0.5 * np.nan_to_num(count, nan=-2.0)
    pull += np.nan_to_num(flag, nan=-1.0) + (seen - 1.7e9) / 4e6
    pull += np.nan_to_num(vector, nan=1.0) @ [1.0, -0.7, 0.2]
    pull += np.array([0.0 if word is None else WORDS.index(word) / 4 for word in words])
    pull += np.array([-1.0 if code is None else len(code) - 5.0 for code in codes])
    return pull + np.random.default_rng(9).normal(0.0, 0.5, len(rows))


def learn(algorithm: str, labels: Sequence[str] = (), **parameters: object) -> Model:
    """Return a model: of values, or of as many classes as there are labels."""
    rows = make_rows(TRAINED, 1, wild=False)
    pull = signal(rows)
    target: Column | None = Column("y", FeatureKind.NUMBER, "double precision", pull)
    if algorithm in {"kmeans", "dbscan"}:
        target = None
    elif labels:
        edges = np.quantile(pull, np.linspace(0, 1, len(labels) + 1)[1:-1])
        codes = np.searchsorted(edges, pull).astype(np.int32)
        target = Column("y", FeatureKind.CATEGORY, "text", codes, tuple(labels))
    chosen = {"test_size": 0.0} if target is not None else {}
    return train(algorithm, {**chosen, **parameters}, dataset(rows, target), lambda _: None).model  # type: ignore[dict-item]


def raw_matrix(model: Model, rows: Rows) -> np.ndarray:
    """Return the rows as the model takes them."""
    columns = []
    for feature, values in zip(model.features, rows.values, strict=True):
        if feature.kind is FeatureKind.CATEGORY:
            n_known = float(len(feature.categories))
            values = coded(values, feature.categories, unseen=n_known, missing=np.nan)
        columns.append(np.asarray(values, np.float64).reshape(len(rows), -1))
    return np.ascontiguousarray(np.hstack(columns))


def engine_scores(
    model: Model,
    rows: Rows,
    output: PredictKind,
    class_index: int | None,
    given: Sequence[bool] = GIVEN,
) -> np.ndarray:
    """Return what `Model.scorer` says; a label as its place."""
    is_given = [
        own
        for own, feature in zip(given, model.features, strict=True)
        for _ in range(feature.width)
    ]
    sources = [j if own else NOT_GIVEN for j, own in enumerate(is_given)]
    scorer = model.scorer(sources, (None,) * len(sources), output, class_index)
    return scorer.scores(raw_matrix(model, rows))


def load(connection: psycopg.Connection, rows: Rows, table: str = TABLE) -> None:
    """Make a temporary table of the rows."""
    described = sql.SQL(", ").join(
        sql.SQL("{} " + kind).format(sql.Identifier(name))
        for name, kind in columns_of_table.items()
    )
    connection.execute(
        sql.SQL("CREATE TEMP TABLE {} ({})").format(sql.Identifier(table), described)
    )
    copying = sql.SQL("COPY {} FROM STDIN").format(sql.Identifier(table))
    with connection.cursor().copy(copying) as copy:
        for place in range(len(rows)):
            copy.write_row([place, *_row(rows, place)])


def _row(rows: Rows, place: int) -> list[object]:
    row: list[object] = []
    for kind, values in zip(kinds, rows.values, strict=True):
        value = values[place]
        if kind is FeatureKind.CATEGORY:
            row.append(value)
        elif kind is FeatureKind.ARRAY:
            elements = [_number(each, rows.is_nan[place]) for each in value.tolist()]
            row.append(elements if set(elements) != {None} else None)
        else:
            is_nan = rows.is_nan[place] and kind is FeatureKind.NUMBER
            number = _number(float(value), is_nan)
            row.append(
                bool(number) if kind is FeatureKind.BOOLEAN and number is not None else number
            )
    return row


def _number(value: float, is_nan: bool) -> float | None:
    return None if value != value and not is_nan else value


def sql_scores(
    connection: psycopg.Connection,
    template: Template,
    given: Sequence[bool] = GIVEN,
    table: str = TABLE,
) -> list[object]:
    """Return what PostgreSQL says of each row."""
    texts = [text if own else None for text, own in zip(inputs, given, strict=True)]
    query = f"SELECT {template.sql(texts)} FROM {table} ORDER BY place"
    return [score for (score,) in connection.execute(query.encode()).fetchall()]
