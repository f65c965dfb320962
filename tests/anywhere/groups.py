"""PREDICT in GROUP BY and in aggregates, aggregates in PREDICT, and in UNION and its like."""

from __future__ import annotations

from tests.anywhere.shape import (
    ALL_NUMBERS,
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
    shape("GROUP BY call", f"SELECT {P} AS s, count(*) FROM points GROUP BY {P}", models=EVERY),
    *shapes(
        "GROUP BY",
        {
            "alias": f"SELECT {P} AS s, count(*), min(id) FROM points GROUP BY s ORDER BY s",
            "position": f"SELECT {P}, max(a) FROM points GROUP BY 1 ORDER BY 1 DESC",
            "its own name": f"SELECT {P}, count(*) FROM points GROUP BY predict",
            "comparison": f"SELECT {P} > {{cut}} AS high, count(*), avg(a) FROM points GROUP BY 1",
            "two keys": f"SELECT word, {P} AS s, count(*) FROM points GROUP BY word, s",
            "not selected": f"SELECT count(*) AS n FROM points GROUP BY {P}",
            "CASE": f"SELECT CASE WHEN {P} > {{cut}} THEN 'high' ELSE 'low' END AS tier, count(*)"
            " FROM points GROUP BY tier ORDER BY tier",
            "lateral alias": f"SELECT {P} AS s, count(*) FROM points GROUP BY {P} HAVING {P}"
            " > {cut}",
            "ROLLUP": f"SELECT word, {P} > {{cut}} AS high, count(*) FROM points GROUP BY"
            " ROLLUP (1, 2)",
            "CUBE": f"SELECT {P} AS s, b, count(*) FROM points GROUP BY CUBE (s, b)",
            "GROUPING SETS": f"SELECT word, {P} AS s, count(*), grouping({P}) FROM points"
            f" GROUP BY GROUPING SETS (({P}), (word), ())",
            "of the model's inputs": f"SELECT a, b, word, {P} AS s, count(*) FROM points"
            " GROUP BY a, b, word HAVING count(*) > 1",
            "inputs, sorted": f"SELECT word, a, b, count(*) FROM points GROUP BY a, b, word"
            f" ORDER BY {P}, 4, 1, 2, 3",
            "DISTINCT": f"SELECT DISTINCT {P} AS s, count(*) FROM points GROUP BY word, {P}",
            "HAVING": f"SELECT {P} AS s FROM points GROUP BY s HAVING count(*) > 3",
        },
        models=ANY,
    ),
    shape(
        "GROUP BY, ungrouped argument",
        f"SELECT word, {P}, count(*) FROM points GROUP BY word",
        models=FEW,
        fails=("42803",),
    ),
    shape(
        "aggregate in WHERE",
        "SELECT id FROM points WHERE PREDICT({m}, avg(a), b, word) > {cut}",
        models=FEW,
        fails=("42803",),
    ),
    # --- aggregates of it
    *shapes(
        "aggregate",
        {
            "avg": f"SELECT avg({P}) FROM points",
            "sum, min, max": f"SELECT sum({P}), min({P}), max({P}) FROM samples",
            "avg by group": f"SELECT word, avg({P}) AS s FROM points GROUP BY word ORDER BY s DESC",
            "avg of an expression": f"SELECT avg({P} * 2 - a) AS s, stddev({P}) FROM points",
            "percentile_cont": f"SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY {P}) FROM"
            " points",
            "percentile_cont of two": "SELECT word, percentile_cont(ARRAY[0.25, 0.75])"
            " WITHIN GROUP"
            f" (ORDER BY {P}) AS q FROM points GROUP BY word",
            "corr": f"SELECT corr({P}, value) AS c, regr_slope({P}, a) FROM points",
            "mean absolute error": f"SELECT word, avg(abs({P} - value)) AS mae FROM points"
            " GROUP BY word",
        },
        models=ALL_NUMBERS,
    ),
    *shapes(
        "aggregate",
        {
            "count": f"SELECT count({P}) FROM points",
            "count of hits": f"SELECT count(*) FILTER (WHERE {P} > {{cut}}) FROM points",
            "array_agg": f"SELECT word, array_agg({P} ORDER BY id) AS all FROM points GROUP"
            " BY word",
            "ordered by it": f"SELECT array_agg(id ORDER BY {P}, id) AS ids FROM points",
            "string_agg": f"SELECT string_agg(id::text, ',' ORDER BY {P} DESC, id) FROM points",
            "bool_or": f"SELECT word, bool_or({P} > {{cut}}), bool_and({P} > {{low}}) FROM points"
            " GROUP BY word",
            "mode": f"SELECT mode() WITHIN GROUP (ORDER BY {P} > {{cut}}) AS m FROM points",
            "beside a plain one": f"SELECT count(*), max(a), min({P}) FROM points WHERE b > 2",
            "no row": f"SELECT count({P}), max({P}) FROM nothing",
            "window over a group": f"SELECT word, rank() OVER (ORDER BY max({P}), word) FROM points"
            " GROUP BY word",
        },
        models=FEW,
    ),
    # --- aggregates in it
    *shapes(
        "of aggregates",
        {
            "compared": "SELECT word, PREDICT({m}, avg(a), max(b), word) > {cut} AS high FROM"
            " points"
            " GROUP BY word",
            "sorted": "SELECT word FROM points GROUP BY word ORDER BY PREDICT({m}, avg(a),"
            " max(b), word),"
            " word",
            "without GROUP BY": "SELECT PREDICT({m}, avg(a), count(*), min(word)) < {high} AS"
            " c FROM points",
            "of a filtered one": "SELECT b, PREDICT({m}, max(a) FILTER (WHERE id > 50), b,"
            " 'elm') AS s"
            " FROM points GROUP BY b ORDER BY s, b",
            "both ways": "SELECT word, PREDICT({m}, avg(a), max(b), word) AS s,"
            f" max({P}) AS most FROM points GROUP BY word",
            "of its own aggregate": "SELECT word, PREDICT({linear}, max(PREDICT({tree},"
            " a, b, word)),"
            " 2, word) AS s FROM points GROUP BY word HAVING PREDICT({m}, min(a), 1, word) <"
            " {high}",
        },
        models=FEW,
    ),
    # --- UNION and its like
    *shapes(
        "set operation",
        {
            "UNION ALL": f"SELECT id, {P} AS s FROM points WHERE id < 50 UNION ALL"
            " SELECT id, PREDICT({m}, *) FROM samples WHERE id < 50",
            "UNION": f"SELECT {P} FROM points UNION SELECT {P} FROM points",
            "INTERSECT": f"SELECT {P} AS s FROM points WHERE id < 200 INTERSECT"
            f" SELECT {P} FROM points WHERE id > 150",
            "EXCEPT": f"SELECT {P} AS s FROM points EXCEPT SELECT {P} FROM points"
            f" WHERE {P} > {{cut}}",
            "with a plain SELECT": f"SELECT id FROM points WHERE {P} > {{cut}} UNION ALL SELECT 0",
            "NULL first": f"SELECT NULL AS s UNION ALL SELECT {P} FROM points",
            "sorted": f"SELECT id, {P} AS s FROM points WHERE id < 30 UNION ALL"
            f" SELECT -id, {P} FROM points WHERE id < 30 ORDER BY s, id LIMIT 40",
            "sorted by position": f"(SELECT {P} AS s, id FROM points WHERE id < 9) UNION"
            f" (SELECT {P}, -id FROM points WHERE id < 9) ORDER BY 1 DESC, 2",
            "inner LIMIT": f"(SELECT id, {P} AS s FROM points ORDER BY s DESC, id LIMIT 5)"
            " UNION ALL"
            f" (SELECT id, {P} FROM points ORDER BY 2, 1 LIMIT 5)",
            "of three": f"SELECT {P} FROM points WHERE b = 1 UNION (SELECT {P} FROM points"
            " WHERE b = 2"
            f" EXCEPT SELECT {P} FROM points WHERE b = 3)",
            "only in the second": f"SELECT id, NULL AS s FROM points WHERE id < 9 UNION ALL"
            f" SELECT id, {P} FROM points WHERE id < 9",
            "in FROM": f"SELECT count(*), count(DISTINCT s) FROM (SELECT {P} AS s FROM points"
            " UNION ALL"
            f" SELECT {P} FROM points) AS u",
            "in a condition": "SELECT id FROM points WHERE id IN (SELECT id FROM points"
            f" WHERE {P} > {{cut}}"
            " EXCEPT SELECT 5)",
        },
        models=ANY,
    ),
    shape(
        "set operation, with a number",
        f"SELECT {P} AS s FROM points WHERE id < 9 UNION ALL SELECT 1 UNION ALL SELECT 2.5",
        models=NUMBERS,
    ),
    shape(
        "set operation, with a literal",
        f"SELECT {P} AS s FROM points WHERE id < 9 UNION ALL SELECT 'other'",
        models=LABELS,
    ),
    shape(
        "set operation, of another type",
        f"SELECT {P} AS s FROM points UNION ALL SELECT DATE '2024-01-01'",
        models=FEW,
        fails=("42804",),
    ),
    # --- VALUES
    *shapes(
        "VALUES",
        {
            "alone": "VALUES (1, PREDICT({m}, 1.5, 2, 'oak')), (2, PREDICT({m}, 4, NULL, 'elm'))",
            "in FROM": "SELECT n, s FROM (VALUES (1, PREDICT({m}, 1.5, 2, 'oak')),"
            " (2, PREDICT({m}, 4, NULL, 'elm'))) AS v (n, s) ORDER BY s",
            "its rows' scores": "SELECT x, PREDICT({m}, x, y, w) > {cut} AS high"
            " FROM (VALUES (1.5, 2, 'oak'), (4, NULL, 'elm')) AS v (x, y, w)",
            "sorted": "VALUES (PREDICT({m}, 1.5, 2, 'oak')), (PREDICT({m}, 5, 0, 'oak'))"
            " ORDER BY 1 DESC",
        },
        models=ANY,
    ),
    shape(
        "VALUES, parameters",
        "VALUES (PREDICT({m}, $1, 2, 'oak')), (PREDICT({m}, 1, $2, $3))",
        models=ONE_OF_EACH,
        parameters=(2.5, 3, "ash"),
    ),
]
