"""PREDICT where a condition stands: WHERE, HAVING, CASE, FILTER; and what it is compared to."""

from __future__ import annotations

from tests.anywhere.shape import (
    ALL_LABELS,
    ANY,
    EVERY,
    FEW,
    LABELS,
    NUMBERS,
    ONE_OF_EACH,
    shape,
    shapes,
)

P = "PREDICT({m}, a, b, word)"

SHAPES = [
    shape("WHERE greater", f"SELECT id, a FROM points WHERE {P} > {{cut}}", models=EVERY),
    shape("WHERE equal", f"SELECT id, word FROM points WHERE {P} = {{cut}}", models=ALL_LABELS),
    shape(
        "WHERE and the column",
        f"SELECT id, {P} AS s FROM points WHERE {P} < {{high}}",
        models=EVERY,
    ),
    *shapes(
        "WHERE",
        {
            "less or equal": f"SELECT id FROM samples WHERE {P} <= {{low}}",
            "the other way round": f"SELECT id FROM points WHERE {{cut}} < {P}",
            "unequal": f"SELECT count(*) FROM points WHERE {P} <> {{cut}}",
            "BETWEEN": f"SELECT id FROM points WHERE {P} BETWEEN {{low}} AND {{high}}",
            "NOT BETWEEN": f"SELECT id FROM points WHERE {P} NOT BETWEEN {{low}} AND {{high}}",
            "IN": f"SELECT id FROM points WHERE {P} IN ({{low}},"
            " PREDICT({m}, 2.5, 3, 'oak'), {high})",
            "NOT IN": f"SELECT id FROM points WHERE {P} NOT IN ({{low}}, {{cut}}) AND id < 50",
            "NOT": f"SELECT id FROM points WHERE NOT {P} > {{cut}}",
            "AND": f"SELECT id FROM points WHERE a > 2 AND {P} > {{cut}} AND word = 'oak'",
            "OR": f"SELECT id FROM points WHERE b = 1 OR {P} > {{high}} OR word IS NULL",
            "AND, OR and NOT": f"SELECT id FROM points WHERE (b > 2 OR NOT ({P} > {{cut}}))"
            " AND id > 9",
            "IS NOT NULL": f"SELECT count(*) FROM points WHERE {P} IS NOT NULL",
            "IS DISTINCT FROM": f"SELECT id FROM points WHERE {P} IS DISTINCT FROM {{cut}}",
            "twice": f"SELECT id FROM points WHERE {P} > {{low}} AND {P} <= {{high}}",
            "ANY of an array": f"SELECT id FROM points WHERE {P} >= ANY (ARRAY[{{cut}}, {{high}}])",
            "CASE": f"SELECT id FROM points WHERE CASE WHEN b > 2 THEN {P} > {{cut}} ELSE a >"
            " 3 END",
            "between two calls": "SELECT id FROM points"
            " WHERE PREDICT({m}, a, b, word) > PREDICT({m}, a - 1, b + 1, word)",
            "star": "SELECT id FROM points WHERE PREDICT({m}, *) > {cut}",
            "table star": "SELECT p.id FROM points AS p WHERE PREDICT({m}, p.*) > {cut}",
            "named arguments": "SELECT id FROM points"
            " WHERE PREDICT({m}, word => word, a => a * 2, b => 3) > {cut}",
            "two arguments of three": "SELECT id FROM points WHERE PREDICT({m}, a, b) > {cut}",
            "constants": "SELECT id FROM points WHERE PREDICT({m}, 2.5, 3, 'oak') > {low} AND"
            " id < 9",
            "subquery's argument": "SELECT id FROM points"
            " WHERE PREDICT({m}, (SELECT avg(a) FROM samples), b, word) > {cut}",
            "no row": f"SELECT id FROM nothing WHERE {P} > {{cut}}",
            "never true": f"SELECT id FROM points WHERE {P} > {{cut}} AND false",
            "and FOR UPDATE": f"SELECT id FROM points WHERE {P} > {{high}} FOR UPDATE",
            "a set-returning list": f"SELECT generate_series(1, b), id FROM points WHERE {P}"
            " > {high}",
        },
    ),
    *shapes(
        "label",
        {
            "LIKE": f"SELECT id FROM points WHERE {P} LIKE '%ol%'",
            "length": f"SELECT id, length({P}) FROM points WHERE length({P}) > 4",
            "concatenated": f"SELECT id, {P} || '/' || coalesce(word, '-') AS t FROM points",
            "upper": f"SELECT upper({P}), count(*) FROM points GROUP BY upper({P})",
            "equal to a column": f"SELECT id, segment FROM points WHERE {P} = segment",
            "ANY of a subquery": f"SELECT id FROM points WHERE {P} = ANY (SELECT segment"
            " FROM points WHERE id < 3)",
            "format": f"SELECT format('%s is %s', id, {P}) AS f FROM points",
            "COLLATE": f'SELECT id FROM points ORDER BY {P} COLLATE "C" DESC, id LIMIT 30',
        },
        models=LABELS,
    ),
    shape(
        "label as a CASE's operand",
        f"SELECT id, CASE {P} WHEN {{low}} THEN 1 WHEN {{cut}} THEN 2 ELSE 3 END AS c FROM points",
        models=ALL_LABELS,
    ),
    shape(
        "PREDICT_CLASS in WHERE",
        "SELECT id FROM points WHERE PREDICT_CLASS({m}, a, b, word) = 1",
        models=("logistic", "forest", "network", "heaps"),
    ),
    shape(
        "PREDICT_PROBA in WHERE",
        "SELECT id FROM points WHERE PREDICT_PROBA({m}, *) > 0.612345",
        models=("logistic", "forest", "segments", "kinds", "grades", "moods"),
    ),
    shape(
        "PREDICT_PROBA of a class",
        "SELECT id, round(PREDICT_PROBA({m}, a, b, word, class => 'gold')::numeric, 5) AS g"
        " FROM points WHERE PREDICT_PROBA({m}, a, b, word, class => 'bronze') < 0.312345",
        models=LABELS,
    ),
    shape(
        "all three functions",
        "SELECT id, PREDICT({m}, *) AS p, PREDICT_CLASS({m}, *), PREDICT_PROBA({m}, *)"
        " FROM points WHERE PREDICT_PROBA({m}, *) > 0.4123 ORDER BY PREDICT_CLASS({m}, *), id",
        models=("logistic", "forest", "segments", "kinds"),
        ordered=True,
    ),
    # --- HAVING, FILTER
    shape(
        "HAVING, an aggregate of it",
        f"SELECT word, count(*) FROM points GROUP BY word HAVING max({P}) > {{cut}}",
        models=ANY,
    ),
    shape(
        "HAVING, of aggregates",
        "SELECT word, count(*) FROM points GROUP BY word"
        " HAVING PREDICT({m}, avg(a) + 0.7, 2, word) > {cut}",
    ),
    shape(
        "HAVING without GROUP BY",
        "SELECT count(*) FROM points HAVING PREDICT({m}, avg(a), min(b), 'elm') > {low}",
    ),
    shape(
        "FILTER",
        f"SELECT word, count(*) FILTER (WHERE {P} > {{cut}}) AS n, count(*) FROM points GROUP"
        " BY word",
        models=EVERY,
    ),
    # --- parameters
    shape(
        "parameter beside it",
        f"SELECT id FROM points WHERE {P} > $1 AND id > $2",
        models=NUMBERS,
        parameters=(0.5123, 40),
    ),
    shape(
        "parameter inside it",
        "SELECT id FROM points WHERE PREDICT({m}, $1, b, $2) > {cut}",
        parameters=(5.25, "oak"),
    ),
    shape(
        "parameter inside, beside and NULL",
        "SELECT id, PREDICT({m}, a, $1, word) AS s FROM points"
        " WHERE PREDICT({m}, a, $1, word) IS NOT NULL AND word = $2 ORDER BY s, id LIMIT $3",
        parameters=(None, "oak", 20),
        ordered=True,
    ),
    shape(
        "parameter is a label",
        f"SELECT id FROM points WHERE {P} = $1",
        models=LABELS,
        parameters=("gold",),
    ),
    shape(
        "parameters only",
        "SELECT 1 AS one WHERE PREDICT({m}, $1, $2, $3) > {low}",
        parameters=(9.5, 1, "oak"),
    ),
    # --- what must not be evaluated
    shape(
        "guarded argument in CASE",
        "SELECT id, CASE WHEN b <> 0 THEN PREDICT({m}, a / b, b, word) END AS s FROM points",
        models=ANY,
    ),
    shape(
        "guarded argument in COALESCE",
        "SELECT id, coalesce(b::text, PREDICT({m}, (1 / coalesce(b, 1))::float8, 2, word)::text)"
        " AS s FROM points",
        models=ONE_OF_EACH + LABELS,
    ),
    shape(
        "guarded by a subquery",
        "SELECT id FROM (SELECT * FROM points WHERE b > 0 OFFSET 0) AS q"
        " WHERE PREDICT({m}, a / b, b, word) > {cut}",
        models=FEW,
    ),
    shape(
        "failing argument",
        "SELECT id FROM points WHERE PREDICT({m}, a / (b - b), b, word) > {cut}",
        models=FEW,
        fails=("22012",),
    ),
    shape(
        "argument that cannot be cast",
        "SELECT id FROM points WHERE PREDICT({m}, word, b, a) > {cut} AND"
        " PREDICT({m}, 'x' || id, b, word) > {cut}",
        models=FEW,
        fails=("22P02", "42846"),
    ),
    shape(
        "compared to another type",
        f"SELECT id FROM points WHERE {P} > 'x'",
        models=ONE_OF_EACH,
        fails=("22P02",),
    ),
    shape(
        "compared to a type without an operator",
        f"SELECT id FROM points WHERE {P} = DATE '2024-01-01'",
        models=FEW,
        fails=("42883",),
    ),
    shape(
        "volatile argument once for each row",
        "CREATE TEMP SEQUENCE counted",
        "SELECT n FROM generate_series(1, 9) AS n"
        " WHERE PREDICT({m}, nextval('counted')::float8 / 2, 2, 'oak') > {cut}",
        models=FEW,
        after="SELECT last_value FROM counted",
    ),
    shape(
        "volatile argument once in an expression",
        "CREATE TEMP SEQUENCE counted",
        "SELECT n, PREDICT({m}, nextval('counted'), 2, 'oak')::text < 'b' AS s"
        " FROM generate_series(1, 9) AS n",
        models=FEW,
        after="SELECT last_value FROM counted",
    ),
]
