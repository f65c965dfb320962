"""The tables that are scored and trained on, and the statements that are measured.

Values have three decimals, as measured data do: PostgreSQL writes them quicker than arbitrary
doubles, so the plain SELECT that PREDICT is held against is not made slow. The probability is an
arbitrary double on both sides.
"""

from __future__ import annotations

SCORING_FEATURES = ("a", "b", "c", "d")
TRAINING_FEATURES = tuple(f"x{i}" for i in range(10))

_NORMAL = "round((random() + random() + random() + random() - 2)::numeric, 3)::float8"
"""About normal, mean 0, variance 1/3."""


def readings(rows: int) -> tuple[str, ...]:
    """Return the statements that make `readings`: two columns to show, four features, a score."""
    features = ", ".join(f"{_NORMAL} AS {name}" for name in SCORING_FEATURES)
    return (
        "SELECT setseed(0.25)",
        f"""CREATE UNLOGGED TABLE readings AS
        SELECT id, label, a, b, c, d, score, (random() < score)::int AS outcome
        FROM (SELECT *, 1 / (1 + exp(0.5 - 2 * a + b - 0.3 * c - 1.5 * d)) AS score
              FROM (SELECT i AS id, 'reading ' || i AS label, {features}
                    FROM generate_series(1, {rows}) AS i) AS raw) AS scored""",
        "ALTER TABLE readings ADD PRIMARY KEY (id)",
        "VACUUM (FREEZE, ANALYZE) readings",
        "CREATE UNLOGGED TABLE copied (LIKE readings)",
    )


def lessons(rows: int) -> tuple[str, ...]:
    """Return the statements that make `lessons`: ten features and a 0/1 target."""
    features = ", ".join(f"{_NORMAL} AS {name}" for name in TRAINING_FEATURES)
    pull = " + ".join(f"{0.3 * i - 1:.1f} * {name}" for i, name in enumerate(TRAINING_FEATURES))
    return (
        "SELECT setseed(0.75)",
        f"""CREATE UNLOGGED TABLE lessons AS
        SELECT *, (random() < 1 / (1 + exp(-({pull}))))::int AS passed
        FROM (SELECT {features} FROM generate_series(1, {rows})) AS raw""",
        "VACUUM (FREEZE, ANALYZE) lessons",
    )


MODEL = "outcomes"
TRAIN_SCORER = f"""CREATE OR REPLACE MODEL {MODEL} USING logistic_regression
    AS SELECT {", ".join(SCORING_FEATURES)}, outcome AS target FROM readings"""

ALL_COLUMNS = "SELECT * FROM readings"
PREDICTED = f"SELECT id, label, PREDICT({MODEL}, {', '.join(SCORING_FEATURES)}) FROM readings"
TOUCHED_COLUMNS = f"SELECT id, label, {', '.join(SCORING_FEATURES)} FROM readings"
RETURNED_COLUMNS = "SELECT id, label, score FROM readings"
COPY_OUT = "COPY readings TO STDOUT"
COPY_IN = "COPY copied FROM STDIN"

LESSONS = f"SELECT {', '.join(TRAINING_FEATURES)}, passed FROM lessons"
TRAIN_LESSONS = f"""CREATE OR REPLACE MODEL passes USING logistic_regression
    AS SELECT {", ".join(TRAINING_FEATURES)}, passed AS target FROM lessons"""


def point_script(rows: int, *, is_predicted: bool) -> str:
    """Return pgbench's script that reads one row by its key."""
    score = f"PREDICT({MODEL}, {', '.join(SCORING_FEATURES)})" if is_predicted else "score"
    return f"\\set id random(1, {rows})\nSELECT id, {score} FROM readings WHERE id = :id;\n"
