"""PREDICT in a select list: columns, expressions, DISTINCT, ORDER BY, windows, sets of rows."""

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

# Served before the corpus was written: they hold the oracle to account.
SERVED = [
    *shapes(
        "column",
        {
            "positional": f"SELECT id, {P} FROM points ORDER BY id",
            "star": "SELECT id, PREDICT({m}, *) AS s FROM samples ORDER BY id",
            "table star": "SELECT p.id, PREDICT({m}, p.*) AS s, p.word FROM points AS p ORDER"
            " BY id",
        },
        models=EVERY,
        ordered=True,
    ),
    *shapes(
        "column",
        {
            "expressions": "SELECT id, PREDICT({m}, a + 1, b * 2, upper(word)) FROM points",
            "named": "SELECT id, PREDICT({m}, b => id % 4, word => 'elm') AS s FROM points",
            "of two features": "SELECT id, PREDICT({m}, a, b) AS s FROM points",
            "constants": "SELECT PREDICT({m}, 2.5, 3, 'oak'), PREDICT({m}, NULL, NULL, NULL) AS n",
            "twice": f"SELECT {P}, id, {P} AS again FROM points",
            "of aggregates": "SELECT word, PREDICT({m}, avg(a), max(b), word) AS s, count(*)"
            " FROM points GROUP BY word",
            "over lag": "SELECT id, PREDICT({m}, lag(a) OVER (ORDER BY id), b, word) FROM points",
            "no row": f"SELECT id, {P} AS s FROM nothing",
            "sorted by another": f"SELECT id, {P} AS s FROM points ORDER BY a DESC, id LIMIT"
            " 20 OFFSET 5",
            "from a WITH": f"WITH q AS (SELECT * FROM points WHERE b > 2) SELECT id, {P} FROM q",
            "from a subquery": f"SELECT id, {P} FROM (SELECT id, a, b, word FROM points) AS q",
            "casts of arguments": "SELECT PREDICT({m}, id::numeric, '3', word::varchar(2))"
            " FROM points",
            "parentheses": f"SELECT ({P}) AS s, (({P})) FROM points",
            "unseen words": f"SELECT id, {P} AS s FROM samples WHERE word NOT IN ('ash',"
            " 'elm', 'oak')",
        },
    ),
    shape(
        "column, FOR UPDATE", f"SELECT id, {P} AS s FROM points WHERE id < 9 FOR UPDATE", models=FEW
    ),
    shape("column, parameters", "SELECT PREDICT({m}, $1, $2, $3) AS s", parameters=(1.5, 2, "ash")),
    shape(
        "column, parameters beside",
        "SELECT id, PREDICT({m}, a + $1, b, word) AS s FROM points WHERE id = $2",
        parameters=(0.5, 17),
    ),
]

SHAPES = [
    # --- expressions
    *shapes(
        "expression",
        {
            "sum": f"SELECT id, {P} + 1 AS s FROM points",
            "product": f"SELECT id, 100 * {P} - a AS s FROM points",
            "two calls": f"SELECT id, {P} - PREDICT({{m}}, a, b, 'elm') AS d FROM points",
            "minus": f"SELECT id, -{P} AS s, abs({P}) FROM points",
            "no alias": f"SELECT {P} * 2, round({P}), {P} > {{cut}} FROM points",
            "round": f"SELECT id, round({P}::numeric, 3) AS r FROM points",
            "::numeric": f"SELECT id, {P}::numeric FROM points",
            "CAST AS real": f"SELECT id, CAST({P} AS real) AS r FROM points",
            "::int": f"SELECT id, ({P} * 10)::int AS r FROM points",
            "GREATEST": f"SELECT id, greatest({P}, {{low}}, a - 2), least({P}, 0) AS l FROM points",
            "sqrt and power": f"SELECT id, sqrt(abs({P})) AS q, {P} ^ 2 AS p FROM points",
            "width_bucket": f"SELECT id, width_bucket({P}, -20, 20, 9) AS w FROM points",
            "to_char": f"SELECT id, to_char({P}, 'S990.000') AS t FROM points",
        },
        models=ALL_NUMBERS,
    ),
    *shapes(
        "expression",
        {
            "CASE's condition": f"SELECT id, CASE WHEN {P} > {{cut}} THEN 'x' ELSE 'y' END AS"
            " c FROM points",
            "CASE's result": f"SELECT id, CASE WHEN b > 2 THEN {P} END AS c FROM points",
            "CASE without an alias": f"SELECT id, CASE WHEN b > 2 THEN {P} END FROM points",
            "CASE's last name": "SELECT CASE WHEN b > 2 THEN b ELSE id END, (CASE WHEN a > 1"
            " THEN NULL"
            f" ELSE {P} END) FROM points",
            "COALESCE": f"SELECT id, coalesce(NULL, {P}) FROM points",
            "NULLIF": f"SELECT id, nullif({P}, {{cut}}) AS n FROM points",
            "comparison": f"SELECT id, {P} > {{cut}} AS is_high FROM points",
            "IS NULL": f"SELECT id, {P} IS NULL AS missing FROM points WHERE id < 20",
            "ROW": f"SELECT (ROW(id, {P})).f1 AS f FROM points",
            "ARRAY": f"SELECT id, (ARRAY[{P}, {P}])[2] AS second FROM points",
            "array_length": f"SELECT array_length(ARRAY[{P}], 1) AS one FROM points WHERE id < 5",
            "json": f"SELECT json_build_object('s', {P}) ->> 's' > '' AS j FROM points",
            "pg_typeof": f"SELECT pg_typeof({P})::text AS t FROM points LIMIT 1",
            "star beside it": f"SELECT *, {P} > {{cut}} AS is_high FROM points",
            "of an argument's call": "SELECT id, PREDICT({m}, PREDICT(linear, a, b, word), b, word)"
            " AS s FROM points".replace("linear", "{linear}"),
            "of three levels": "SELECT id, PREDICT({m}, PREDICT({tree}, PREDICT({forest}, a,"
            " b, word),"
            " b, word), b, word) AS s FROM points",
            "label as an argument": "SELECT id, PREDICT({m}, a, b, PREDICT({segments}, a, b, word))"
            " AS s FROM points",
        },
        models=ANY,
    ),
    shape(
        "label's types in CASE",
        f"SELECT id, CASE WHEN a > 2 THEN {P} ELSE {{low}} END AS c, coalesce(NULL, {P}, {{cut}})"
        " FROM points",
        models=("segments", "grades", "moods", "heaps", "kinds"),
    ),
    shape(
        "several models",
        "SELECT id, PREDICT({linear}, *) + PREDICT({tree}, *) AS s, PREDICT({kinds}, *) AS k,"
        " PREDICT({network}, *) * PREDICT({forest}, *) AS p FROM points"
        " WHERE PREDICT({boosting}, *) > 0.1234 OR PREDICT({moods}, *) = 'merry'",
        models=("linear",),
    ),
    shape(
        "two versions",
        "SELECT id, PREDICT('{versioned}:1.0', *) + PREDICT({versioned}, *) AS s,"
        " PREDICT('{versioned}:2.0', *) AS two FROM points WHERE PREDICT({versioned}:1.0, *)"
        " < 0.123",
        models=("linear",),
    ),
    # --- an alias of its own list
    shape(
        "lateral alias in CASE",
        f"SELECT id, {P} AS s, CASE WHEN s > {{cut}} THEN 'x' ELSE 'y' END AS c FROM samples",
        direct=f"SELECT id, {P} AS s, CASE WHEN {P} > {{cut}} THEN 'x' ELSE 'y' END AS c FROM"
        " samples",
        models=EVERY,
    ),
    shape(
        "lateral alias, used twice and sorted",
        f"SELECT id, {P} AS risk, risk > {{cut}} AS high, risk < {{low}} AS low FROM samples"
        " ORDER BY risk, id",
        direct=f"SELECT id, {P} AS risk, {P} > {{cut}} AS high, {P} < {{low}} AS low FROM samples"
        " ORDER BY risk, id",
        ordered=True,
    ),
    shape(
        "lateral alias that is a column's name",
        f"SELECT id, {P} AS value, value > 1 AS own FROM points",
        models=FEW,
    ),
    shape(
        "lateral alias in quotes",
        f'SELECT id, {P} AS "The Risk", "The Risk" > {{cut}} AS high FROM samples',
        direct=f'SELECT id, {P} AS "The Risk", {P} > {{cut}} AS high FROM samples',
        models=FEW,
    ),
    # --- ORDER BY
    *shapes(
        "ORDER BY",
        {
            "call": f"SELECT id FROM points ORDER BY {P}, id",
            "alias": f"SELECT id, {P} AS s FROM points ORDER BY s, id",
            "position": f"SELECT {P} AS s, id FROM samples ORDER BY 1, 2",
            "its own name": f"SELECT id, {P} FROM points ORDER BY predict, id",
            "DESC NULLS LAST": f"SELECT id, {P} AS s FROM points ORDER BY s DESC NULLS LAST,"
            " id LIMIT 30",
            "LIMIT and OFFSET": f"SELECT id FROM samples ORDER BY {P} DESC, id OFFSET 10 LIMIT 15",
            "FETCH FIRST": f"SELECT id FROM points ORDER BY {P} DESC, id FETCH FIRST 7 ROWS ONLY",
            "WITH TIES": f"SELECT {P} AS s FROM points ORDER BY s DESC FETCH FIRST 7 ROWS"
            " WITH TIES",
            "expression": f"SELECT id FROM points ORDER BY {P} > {{cut}} DESC, id",
            "star": f"SELECT * FROM samples ORDER BY {P}, id",
            "star and position": f"SELECT *, {P} FROM samples ORDER BY 6, 1",
            "USING": f"SELECT id, {P} AS s FROM points ORDER BY {P} USING >, id",
        },
        models=ANY,
        ordered=True,
    ),
    shape(
        "ORDER BY, every model",
        f"SELECT id, {P} AS s FROM samples ORDER BY s DESC, id",
        models=EVERY,
        ordered=True,
    ),
    # --- DISTINCT
    *shapes(
        "DISTINCT",
        {
            "of the score": f"SELECT DISTINCT {P} AS s FROM points",
            "beside a column": f"SELECT DISTINCT word, {P} > {{cut}} AS high FROM points",
            "and ORDER BY": f"SELECT DISTINCT b, {P} AS s FROM points ORDER BY s, b",
            "ON the score": f"SELECT DISTINCT ON ({P}) {P} AS s, id FROM points ORDER BY {P}, id",
            "ON a column": f"SELECT DISTINCT ON (word) word, id, {P} AS s FROM points"
            f" ORDER BY word, {P} DESC, id",
            "ON the alias": f"SELECT DISTINCT ON (s) {P} AS s, id FROM points ORDER BY s DESC, id",
            "count": f"SELECT count(DISTINCT {P}) FROM points",
        },
        models=ANY,
    ),
    # --- windows
    *shapes(
        "window",
        {
            "rank": f"SELECT id, rank() OVER (ORDER BY {P}) AS r FROM points",
            "row_number": f"SELECT id, row_number() OVER (PARTITION BY word ORDER BY {P}"
            " DESC, id) AS r"
            " FROM points",
            "PARTITION BY": f"SELECT id, count(*) OVER (PARTITION BY {P} > {{cut}}) AS n FROM"
            " points",
            "named": f"SELECT id, dense_rank() OVER w AS d FROM points WINDOW w AS (ORDER BY {P})",
            "lag of it": f"SELECT id, lag({P}) OVER (ORDER BY id) AS before FROM points",
            "first_value": f"SELECT id, first_value(id) OVER (ORDER BY {P} DESC, id) AS best"
            " FROM points",
            "max of it": f"SELECT id, max({P}) OVER (PARTITION BY word) AS m FROM points",
            "of a window, compared": "SELECT id, PREDICT({m}, lag(a) OVER (ORDER BY id), b, word)"
            " > {cut} AS high FROM points",
            "of a window, sorted": "SELECT id, PREDICT({m}, lag(a) OVER (ORDER BY id), b,"
            " word) AS s"
            " FROM points ORDER BY s, id",
            "ntile and the score": f"SELECT id, {P} AS s, ntile(4) OVER (ORDER BY {P}, id) AS"
            " q FROM points",
            "filtered": f"SELECT id, count(*) FILTER (WHERE {P} > {{cut}}) OVER (ORDER BY id)"
            " AS n FROM points",
        },
        models=ANY,
    ),
    shape(
        "window, running average",
        f"SELECT id, avg({P}) OVER (ORDER BY id ROWS 3 PRECEDING) AS m FROM samples",
        models=ALL_NUMBERS,
    ),
    # --- sets of rows
    shape(
        "set, beside generate_series", f"SELECT {P} AS s, generate_series(1, 2) AS n FROM points"
    ),
    shape(
        "set, sorted",
        f"SELECT {P} AS s, generate_series(1, 2) AS n FROM points ORDER BY s, n",
        ordered=True,
    ),
    shape("set, unnest of it", f"SELECT id, unnest(ARRAY[{P}, {P}]) AS u FROM points", models=FEW),
    shape(
        "set, of generate_series",
        "SELECT n, PREDICT({m}, n / 6.0, n % 4, 'oak') AS s FROM generate_series(1, 30) AS n"
        " WHERE PREDICT({m}, n / 6.0, n % 4, 'oak') > {cut}",
    ),
    shape(
        "set, of unnest",
        "SELECT w, PREDICT({m}, 2, 3, w) AS s FROM unnest(ARRAY['oak', 'elm', NULL]) AS w"
        " ORDER BY PREDICT({m}, 2, 3, w), w",
    ),
    shape(
        "set, its argument returns one",
        "SELECT PREDICT({m}, generate_series(1, 5), 2, 'oak') AS s",
        models=FEW,
        refused=FEW,
    ),
    shape(
        "LIMIT",
        "SELECT id FROM points ORDER BY id LIMIT abs(PREDICT({m}, 5.5, 1, 'oak'))::int + 1",
        models=NUMBERS,
    ),
    shape(
        "OFFSET",
        "SELECT id FROM points ORDER BY id OFFSET length(PREDICT({m}, 5.5, 1, 'oak')) LIMIT 3",
        models=LABELS,
    ),
    shape(
        "TABLESAMPLE",
        f"SELECT id FROM points TABLESAMPLE BERNOULLI (40) REPEATABLE (3) WHERE {P} > {{cut}}",
    ),
    shape(
        "TABLESAMPLE of the select list",
        f"SELECT id, {P} + 0 AS s FROM points TABLESAMPLE SYSTEM (100) REPEATABLE (1)",
        models=ONE_OF_EACH,
    ),
]
