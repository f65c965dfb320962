"""The database that the corpus asks about: its tables, and a model of every algorithm.

Owns what they hold. All models of `MODELS` have the features a, b and word, so that one template
serves them all; those of `OTHERS` have awkward ones. What each predicts is the oracle's.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

import psycopg

READER = "anywhere_reader"

# --- the models -----------------------------------------------------------------------------------

FROM_POINTS = "SELECT a, b, word, {} AS target FROM points ORDER BY id"
UNLABELLED = "SELECT a, b, word FROM points ORDER BY id"

MODELS = {
    "linear": f"linear_regression AS {FROM_POINTS.format('value')}",
    "polynomial": f"polynomial_regression(degree: 2) AS {FROM_POINTS.format('value')}",
    "logistic": f"logistic_regression AS {FROM_POINTS.format('flag')}",
    "segments": f"logistic_regression AS {FROM_POINTS.format('segment')}",
    "grades": f"logistic_regression AS {FROM_POINTS.format('grade')}",
    "tree": f"decision_tree(max_depth: 5) AS {FROM_POINTS.format('value')}",
    "moods": f"decision_tree(max_depth: 4) AS {FROM_POINTS.format('mood')}",
    "forest": f"random_forest(n_trees: 12, max_depth: 6) AS {FROM_POINTS.format('flag')}",
    "kinds": f"random_forest(n_trees: 12, max_depth: 6) AS {FROM_POINTS.format('segment')}",
    "boosting": f"gradient_boosting(n_trees: 12) AS {FROM_POINTS.format('value')}",
    "network": f"neural_network(epochs: 4, hidden_layers: [6]) AS {FROM_POINTS.format('flag')}",
    "heaps": f"kmeans(k: 4) AS {UNLABELLED}",
    "dense": f"dbscan(eps: 0.6, min_samples: 4) AS {UNLABELLED}",
}
# Names that need quotes, features of other kinds, and a model with two versions.
OTHERS = {
    "Odd Model": 'linear_regression AS SELECT "Amount due", "Word", value AS target FROM "Odd'
    ' Table"',
    "wide": "logistic_regression AS SELECT tall, born, seen, signals, city, flag AS target"
    " FROM wide",
    "wide_forest": "random_forest(n_trees: 8, max_depth: 5) AS"
    " SELECT tall, born, seen, signals, city, flag AS target FROM wide",
}
VERSIONED = (
    "linear_regression AS SELECT a, b, word, -value AS target FROM points",
    "linear_regression AS SELECT a, b, word, 2 * value AS target FROM points",
)

# --- the tables -----------------------------------------------------------------------------------

POINTS, SAMPLES, WIDE = 400, 300, 120

TABLES = f"""
CREATE TYPE mood AS ENUM ('sad', 'calm', 'merry');
CREATE TABLE points (
    id int PRIMARY KEY, a float8 NOT NULL, b int, word text, value float8 NOT NULL,
    flag int NOT NULL, segment text NOT NULL, grade int NOT NULL, mood mood NOT NULL,
    score float8, label text, number int, feeling mood);
CREATE TABLE samples (id int PRIMARY KEY, a float8, b int, word text, stamp date NOT NULL);
CREATE TABLE districts (
    district int PRIMARY KEY, word text, b int, height float8 NOT NULL, point_id int);
CREATE TABLE extra (id int PRIMARY KEY, c float8 NOT NULL);
CREATE TABLE results (
    id int PRIMARY KEY, score float8, label text, number int, feeling mood, note text);
CREATE TABLE nothing (id int, a float8, b int, word text);
CREATE TABLE "Odd Table" ("Id" int, "Amount due" float8, "Word" text, value float8);
CREATE TABLE wide (
    id int, tall boolean, born date, seen timestamp, signals float8[], city text, flag int);
CREATE SCHEMA shop;
CREATE TABLE shop.orders (id int, a float8, b int, word varchar(10), total numeric(10, 2));
CREATE SCHEMA own;
CREATE FUNCTION own.predict(int) RETURNS int LANGUAGE sql AS 'SELECT $1 * 7';
CREATE FUNCTION own.plus(float8, float8) RETURNS float8 LANGUAGE sql IMMUTABLE
    AS 'SELECT -1e9::float8';
CREATE OPERATOR own.+ (FUNCTION = own.plus, LEFTARG = float8, RIGHTARG = float8);
CREATE OPERATOR own.* (FUNCTION = own.plus, LEFTARG = float8, RIGHTARG = float8);
CREATE FUNCTION own.exp(float8) RETURNS float8 LANGUAGE sql IMMUTABLE AS 'SELECT -1e9::float8';
CREATE TABLE guarded (id int, a float8, b int, word text);
CREATE POLICY half ON guarded TO {READER} USING (id % 2 = 0);
ALTER TABLE guarded ENABLE ROW LEVEL SECURITY;
GRANT SELECT ON guarded TO {READER};
"""

FILLING = """
INSERT INTO guarded SELECT id, a, b, word FROM points WHERE id <= 100;
INSERT INTO extra SELECT id, a * 3 FROM points WHERE id % 3 = 0;
INSERT INTO shop.orders SELECT id, a, b, word, id * 1.5 FROM points WHERE id BETWEEN 20 AND 90;
INSERT INTO results (id, score, label, number, note)
SELECT id, -1, 'none', -7, 'old ' || id FROM points WHERE id % 10 = 0;
INSERT INTO "Odd Table" SELECT id, a * 10, word, value FROM points WHERE id <= 150;
ANALYZE;
"""

WORDS = ("ash", "elm", "oak")
MOODS = ("sad", "calm", "merry")


def build(connection: psycopg.Connection) -> None:
    """Create and fill the tables."""
    connection.execute(TABLES)
    chooser = random.Random(34)
    _copy(
        connection, "points", "id, a, b, word, value, flag, segment, grade, mood", _points(chooser)
    )
    _copy(connection, "samples", "id, a, b, word, stamp", _samples(chooser))
    _copy(connection, "districts", "district, word, b, height, point_id", _districts(chooser))
    _copy(connection, "wide", "id, tall, born, seen, signals, city, flag", _wide(chooser))
    connection.execute(FILLING)


def train(connection: psycopg.Connection) -> None:
    """Create the models, through the proxy."""
    for name, definition in (MODELS | OTHERS).items():
        connection.execute(f'CREATE MODEL "{name}" USING {definition}'.encode())
    for definition in VERSIONED:
        connection.execute(f"CREATE MODEL versioned USING {definition}".encode())


Row = tuple[object, ...]


def _copy(connection: psycopg.Connection, table: str, columns: str, rows: list[Row]) -> None:
    with connection.cursor().copy(f"COPY {table} ({columns}) FROM STDIN".encode()) as copy:
        for row in rows:
            copy.write_row(row)


def _points(chooser: random.Random) -> list[Row]:
    """Few values of each column: many rows are alike, and so are their scores."""
    rows: list[Row] = []
    for number in range(1, POINTS + 1):
        a = chooser.randrange(12) / 2
        b = None if chooser.random() < 0.07 else chooser.randrange(6)
        word = None if chooser.random() < 0.07 else chooser.choice(WORDS)
        pull = a - 0.8 * (2.5 if b is None else b) + {"ash": -1.0, "oak": 1.3}.get(word or "", 0.0)
        value = 3 * pull + a * a / 4 + chooser.gauss(0, 1)
        level = pull + chooser.gauss(0, 0.8)
        rank = (level > 0) + (level > 2)
        segment = ("bronze", "gold", "silver")[rank]
        flag = int(pull + chooser.gauss(0, 1) > 1)
        rows.append((number, a, b, word, value, flag, segment, 10 * rank, MOODS[rank]))
    return rows


def _samples(chooser: random.Random) -> list[Row]:
    """Rows that are all different, with words and numbers that training has not seen."""
    words = (*WORDS, None, "yew", "")
    return [
        (
            number,
            None if number % 50 == 0 else chooser.gauss(3, 2),
            None if number % 17 == 0 else chooser.randrange(-2, 9),
            chooser.choice(words),
            f"2024-{1 + number % 12:02}-{1 + number % 28:02}",
        )
        for number in range(1, SAMPLES + 1)
    ]


def _districts(chooser: random.Random) -> list[Row]:
    return [
        (
            number,
            WORDS[number % 3] if number != 7 else None,
            number % 6 if number != 8 else None,
            chooser.randrange(12) / 2,
            number * 31 if number % 4 else None,
        )
        for number in range(1, 13)
    ]


def _wide(chooser: random.Random) -> list[Row]:
    rows: list[Row] = []
    for number in range(1, WIDE + 1):
        tall = chooser.random() < 0.5 if number % 9 else None
        signals = [chooser.gauss(0, 1) for _ in range(3)]
        day = chooser.randrange(28)
        pull = signals[0] + bool(tall) + day / 14 - 1.5 + chooser.gauss(0, 0.5)
        born, seen = f"1990-02-{1 + day:02}", f"2024-05-{28 - day:02} 12:{number % 60:02}:30.25"
        city = chooser.choice(("Zürich", "Genève", "Bern"))
        rows.append((number, tall, born, seen, signals, city, int(pull > 0)))
    return rows


# --- what a template may say of a model -----------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Facts:
    """The words that stand for a model in a template.

    Attributes
    ----------
    type_name : of what PREDICT returns
    target : the column of `points` and `results` that may hold it
    low, cut, high : SQL literals among its scores, between scores where they are numbers
    """

    type_name: str
    target: str
    low: str
    cut: str
    high: str


# Whose rows the oracle knows before it is asked; the facts are of these.
ROWS = dict.fromkeys(MODELS, "points") | {"wide": "wide", "wide_forest": "wide"}
