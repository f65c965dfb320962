"""PREDICT in joins, subqueries, WITH queries, LATERAL and functions of FROM."""

from __future__ import annotations

from tests.anywhere.shape import ALL_LABELS, ANY, EVERY, FEW, ONE_OF_EACH, STAGED, shape, shapes

P = "PREDICT({m}, a, b, word)"
OF_P = "PREDICT({m}, p.a, p.b, p.word)"
BOTH = "PREDICT({m}, p.a, d.b, d.word)"

SHAPES = [
    # --- joins
    *shapes(
        "join",
        {
            "ON, of one side": "SELECT p.id, d.district FROM points AS p JOIN districts AS d"
            f" ON d.word = p.word AND {OF_P} > {{cut}}",
            "ON, of the other": "SELECT p.id, d.district FROM points AS p JOIN districts AS d"
            " ON d.b = p.b AND PREDICT({m}, d.height, d.b, d.word) > {cut}",
            "ON, of both": "SELECT p.id, d.district FROM points AS p JOIN districts AS d"
            f" ON d.b = p.b AND {BOTH} > {{cut}}",
            "ON, nothing else": "SELECT p.id, d.district FROM points AS p JOIN districts AS d"
            f" ON {BOTH} > {{high}} WHERE p.id < 60",
            "WHERE, of both": "SELECT p.id, d.district FROM points AS p, districts AS d"
            f" WHERE d.word = p.word AND {BOTH} > {{cut}}",
            "list, of both": f"SELECT p.id, d.district, {BOTH} AS s FROM points AS p CROSS"
            " JOIN districts"
            " AS d WHERE p.id < 40 ORDER BY s, 1, 2",
            "LEFT, ON": "SELECT p.id, d.district FROM points AS p LEFT JOIN districts AS d"
            f" ON d.b = p.b AND {OF_P} > {{cut}}",
            "LEFT, of the nullable side": "SELECT p.id, PREDICT({m}, d.height, d.b, d.word) AS s"
            " FROM points AS p LEFT JOIN districts AS d ON d.point_id = p.id ORDER BY s, id"
            " LIMIT 50",
            "LEFT, WHERE": "SELECT p.id, d.district FROM points AS p LEFT JOIN districts AS d"
            f" ON d.point_id = p.id WHERE {BOTH} > {{cut}}",
            "RIGHT": "SELECT p.id, d.district FROM points AS p RIGHT JOIN districts AS d"
            f" ON d.point_id = p.id AND {OF_P} > {{low}}",
            "FULL": "SELECT p.id, d.district, PREDICT({m}, p.a, d.b, p.word) > {cut} AS s"
            " FROM (SELECT * FROM points WHERE id < 99) AS p FULL JOIN districts AS d ON"
            " d.point_id = p.id",
            "USING": f"SELECT id, c FROM points JOIN extra USING (id) WHERE {P} > {{cut}}",
            "USING, star": "SELECT id, c, PREDICT({m}, *) > {cut} AS s FROM points JOIN extra"
            " USING (id)",
            "NATURAL, star": "SELECT id FROM points NATURAL JOIN extra WHERE PREDICT({m}, *)"
            " > {cut}",
            "NATURAL, everything": "SELECT *, PREDICT({m}, *) AS s FROM samples NATURAL JOIN extra"
            " ORDER BY s, id",
            "with itself": "SELECT p.id, q.id AS other FROM points AS p JOIN points AS q"
            f" ON q.id = p.id + 1 AND {OF_P} > PREDICT({{m}}, q.a, q.b, q.word)",
            "table star": "SELECT p.id, d.district FROM points AS p JOIN districts AS d"
            " ON d.point_id = p.id WHERE PREDICT({m}, p.*) > {low}",
            "two table stars": "SELECT p.id, PREDICT({m}, p.*) > PREDICT({m}, q.*) AS more"
            " FROM points AS p JOIN points AS q ON q.id = p.id + 7",
            "alias of the join": "SELECT j.id FROM (points JOIN extra USING (id)) AS j"
            " WHERE PREDICT({m}, j.a, j.b, j.word) > {cut}",
            "three tables": "SELECT p.id, x.c, d.district FROM points AS p JOIN extra AS x"
            " USING (id)"
            f" LEFT JOIN districts AS d ON d.b = p.b AND {BOTH} < {{high}} WHERE {OF_P} > {{cut}}",
            "column aliases": "SELECT r.n FROM points AS r (n, x, y, w) WHERE PREDICT({m}, x,"
            " y, w) > {cut}",
        },
        models=ANY,
    ),
    shape(
        "join, equal scores",
        f"SELECT p.id, d.district FROM points AS p JOIN districts AS d ON {OF_P}"
        " = PREDICT({m}, d.height, d.b, d.word)",
        models=ALL_LABELS,
    ),
    shape(
        "join, an ambiguous star",
        "SELECT p.id FROM points AS p JOIN districts AS d ON true WHERE PREDICT({m}, *) > {cut}",
        models=FEW,
        fails=("42702",),
    ),
    # --- subqueries in FROM
    shape(
        "FROM subquery, filtered",
        f"SELECT id, s FROM (SELECT id, {P} AS s FROM points) AS q WHERE s > {{cut}} ORDER BY"
        " s DESC, id",
        models=EVERY,
        ordered=True,
    ),
    shape(
        "FROM subquery without an alias",
        "SELECT id, s FROM (SELECT id, PREDICT({m}, *) AS s FROM points) WHERE s > {cut}"
        " ORDER BY s DESC, id",
        direct="SELECT id, s FROM (SELECT id, PREDICT({m}, *) AS s FROM points) AS q WHERE"
        " s > {cut}"
        " ORDER BY s DESC, id",
        models=EVERY,
        ordered=True,
    ),
    *shapes(
        "FROM subquery",
        {
            "star": f"SELECT * FROM (SELECT id, {P} AS s FROM points) AS q",
            "unnamed column": f"SELECT q.predict FROM (SELECT {P} FROM points) AS q",
            "renamed columns": f"SELECT n, x FROM (SELECT id, {P} FROM points) AS q (n, x)"
            " WHERE x > {cut}",
            "aggregated": f"SELECT w, count(*), max(s) FROM (SELECT word AS w, {P} AS s FROM"
            " points) AS q"
            " GROUP BY w",
            "LIMIT inside": f"SELECT id FROM (SELECT id FROM points ORDER BY {P} DESC, id"
            " LIMIT 12) AS q"
            " WHERE id % 2 = 0",
            "its score as an argument": "SELECT id, PREDICT({linear}, s, b, 'elm') AS t"
            " FROM (SELECT id, b,"
            " PREDICT({tree}, a, b, word) AS s FROM points) AS q WHERE PREDICT({m}, s, b,"
            " 'oak') > {low}",
            "two levels": f"SELECT s FROM (SELECT s FROM (SELECT {P} AS s FROM points) AS q"
            " WHERE s > {low}) AS r WHERE s <= {high}",
            "two subqueries": f"SELECT q.id, r.s FROM (SELECT id, {P} AS s FROM points WHERE"
            " id < 80) AS q"
            f" JOIN (SELECT id, {P} AS s FROM samples) AS r ON r.id = q.id AND r.s > q.s",
            "outer alone": "SELECT PREDICT({m}, q.*) AS s FROM (SELECT b, word, a * 2 AS a"
            " FROM points) AS q"
            " ORDER BY s LIMIT 25",
            "both levels": f"SELECT id, {P} AS s, t FROM (SELECT *, PREDICT({{m}}, a + 1, b,"
            " word) AS t"
            " FROM points) AS q WHERE t > {cut}",
            "DISTINCT inside": f"SELECT count(*) FROM (SELECT DISTINCT {P} AS s FROM points) AS q",
            "window outside": f"SELECT id, rank() OVER (ORDER BY s) AS r FROM (SELECT id, {P} AS s"
            " FROM points) AS q",
        },
        models=ANY,
    ),
    # --- LATERAL and functions
    *shapes(
        "LATERAL",
        {
            "a score": "SELECT p.id, l.s FROM points AS p, LATERAL (SELECT PREDICT({m}, p.a,"
            " p.b, p.word)"
            " AS s) AS l WHERE l.s > {cut}",
            "CROSS JOIN": "SELECT p.id, l.s FROM points AS p CROSS JOIN LATERAL"
            " (SELECT PREDICT({m}, p.*) AS s) AS l ORDER BY l.s, p.id",
            "inner rows": "SELECT d.district, l.id FROM districts AS d, LATERAL (SELECT p.id"
            " FROM points AS p"
            f" WHERE p.b = d.b ORDER BY {OF_P} DESC, p.id LIMIT 2) AS l",
            "both": "SELECT d.district, l.id FROM districts AS d LEFT JOIN LATERAL (SELECT"
            " p.id FROM points"
            f" AS p WHERE p.b = d.b AND {BOTH} > {{cut}}) AS l ON true",
            "outer only": "SELECT d.district, l.n FROM districts AS d, LATERAL (SELECT"
            " count(*) AS n FROM"
            " points AS p WHERE p.b = d.b AND PREDICT({m}, d.height, d.b, d.word) > {cut}) AS l",
        },
        models=ANY,
    ),
    shape(
        "function of FROM",
        "SELECT * FROM PREDICT({m}, 2.5, 3, 'oak') AS s",
        models=FEW,
        refused=EVERY,
    ),
    shape(
        "function of FROM, lateral",
        "SELECT p.id, s FROM points AS p, PREDICT({m}, p.a, p.b, p.word) AS s WHERE s > {cut}",
        models=FEW,
        refused=EVERY,
    ),
    shape(
        "argument of a function of FROM",
        "SELECT n FROM generate_series(1, abs(PREDICT({m}, 5, 1, 'oak'))::int + 2) AS n",
        models=ONE_OF_EACH,
    ),
    # --- subqueries in expressions
    *shapes(
        "subquery",
        {
            "EXISTS": f"SELECT district FROM districts AS d WHERE EXISTS (SELECT FROM points AS p"
            f" WHERE p.b = d.b AND {OF_P} > {{high}})",
            "NOT EXISTS": "SELECT district FROM districts AS d WHERE NOT EXISTS (SELECT 1"
            " FROM points AS p"
            f" WHERE p.id = d.point_id AND {OF_P} > {{cut}})",
            "IN": "SELECT district FROM districts WHERE point_id IN (SELECT id FROM points"
            f" WHERE {P} > {{low}})",
            "NOT IN": f"SELECT id FROM extra WHERE id NOT IN (SELECT id FROM points WHERE {P}"
            " > {low})",
            "IN, selected": "SELECT id, b FROM samples WHERE (b, true) IN"
            f" (SELECT b, {P} > {{cut}} FROM points WHERE id < 40)",
            "left of IN": f"SELECT id FROM points WHERE {P} IN (SELECT {P} FROM points WHERE"
            " id < 20)",
            "ALL": f"SELECT id FROM points WHERE {P} >= ALL (SELECT {P} FROM points)",
            "correlated, inner": "SELECT d.district, (SELECT count(*) FROM points AS p WHERE"
            " p.b = d.b"
            f" AND {OF_P} > {{cut}}) AS n FROM districts AS d",
            "correlated, outer": "SELECT p.id, (SELECT max(d.district) FROM districts AS d"
            f" WHERE {OF_P} > {{cut}} AND d.b = p.b) AS n FROM points AS p",
            "correlated, both": "SELECT p.id, (SELECT count(*) FROM districts AS d WHERE d.b = p.b"
            f" AND {BOTH} > {{cut}}) AS n FROM points AS p WHERE p.id < 150",
            "scalar": f"SELECT id, (SELECT max({P}) FROM samples) AS top FROM extra WHERE id < 30",
            "scalar, compared": f"SELECT id FROM points WHERE {P} > (SELECT min({P}) FROM"
            " points WHERE a > 3)",
            "scalar, of the outer row": "SELECT h.id, (SELECT PREDICT({m}, h.*)) AS s FROM"
            " points AS h",
            "scalar, named": "SELECT id, (SELECT PREDICT({m}, a, b, word)) FROM points",
            "ARRAY": f"SELECT ARRAY(SELECT {P} FROM points WHERE id < 30 ORDER BY id) AS a",
            "in ORDER BY": "SELECT id FROM points AS p ORDER BY (SELECT PREDICT({m}, p.a,"
            " p.b, p.word)), id",
            "in an argument": "SELECT id, PREDICT({m}, (SELECT PREDICT({tree}, p.a, 1,"
            " 'oak')), b, word)"
            " AS s FROM points AS p",
            "in a JOIN condition": "SELECT p.id FROM points AS p JOIN extra AS x ON x.id ="
            " p.id AND EXISTS"
            f" (SELECT FROM districts AS d WHERE d.b = p.b AND {BOTH} > {{cut}})",
            "row of two": f"SELECT id FROM points WHERE (word, {P}) IN (SELECT word, {P} FROM"
            " points"
            " WHERE id < 30)",
            "two deep": "SELECT d.district FROM districts AS d WHERE d.point_id IN (SELECT"
            " p.id FROM points"
            " AS p WHERE EXISTS (SELECT FROM extra AS x WHERE x.id = p.id"
            " AND PREDICT({m}, x.c, d.b, p.word) > {low}))",
        },
        models=ANY,
    ),
    shape(
        "subquery, parameters",
        "SELECT p.id FROM points AS p WHERE p.id IN (SELECT q.id FROM points AS q"
        " WHERE PREDICT({m}, q.a + $1, q.b, q.word) > {cut} AND q.word = $2)",
        models=ANY,
        parameters=(0.5, "oak"),
    ),
    # --- WITH
    *shapes(
        "WITH",
        {
            "once": f"WITH q AS (SELECT id, {P} AS s FROM points) SELECT * FROM q WHERE s >"
            " {cut}",
            "twice": f"WITH q AS (SELECT id, {P} AS s FROM points) SELECT count(*) FROM q"
            " WHERE s > (SELECT min(s) FROM q) AND id > 7",
            "MATERIALIZED": f"WITH q AS MATERIALIZED (SELECT id, {P} AS s FROM points)"
            " SELECT id FROM q ORDER BY s, id LIMIT 9",
            "NOT MATERIALIZED": f"WITH q AS NOT MATERIALIZED (SELECT id, word, {P} AS s FROM"
            " points)"
            " SELECT id FROM q WHERE word = 'elm' AND s < {high}",
            "column names": f"WITH q (n, x) AS (SELECT id, {P} FROM points) SELECT n, x FROM"
            " q WHERE x > {cut}",
            "two of them": f"WITH q AS (SELECT id, {P} AS s FROM points), r AS (SELECT * FROM"
            " q WHERE s > {cut})"
            " SELECT count(*) FROM r",
            "inner and outer": f"WITH q AS (SELECT *, {P} AS s FROM points) SELECT id FROM q"
            f" WHERE s > {{low}} AND {P} <= {{high}}",
            "outer only": "WITH q AS (SELECT a + 1 AS a, b, word, id FROM points)"
            " SELECT id FROM q WHERE PREDICT({m}, *) > {cut}",
            "not used": f"WITH q AS (SELECT {P} AS s FROM points) SELECT 1 AS one",
            "in a subquery": f"SELECT id FROM extra WHERE id IN (WITH q AS (SELECT id, {P} AS"
            " s FROM points)"
            " SELECT id FROM q WHERE s > {cut})",
            "hides a table": "WITH samples AS (SELECT id, a + 2 AS a, b, word FROM points"
            " WHERE id < 60)"
            " SELECT id, PREDICT({m}, samples.*) > {cut} AS s FROM samples",
            "DELETE RETURNING": "WITH gone AS (DELETE FROM points WHERE id < 40 RETURNING *)"
            f" SELECT id, {P} AS s FROM gone WHERE {P} > {{low}}",
            "INSERT RETURNING, inside": "WITH kept AS (INSERT INTO results (id, {target})"
            " SELECT id + 1000,"
            f" {P} FROM points WHERE id < 40 RETURNING id, {{target}}) SELECT * FROM kept"
            " WHERE id > 1010",
            "UPDATE RETURNING, inside": f"WITH done AS (UPDATE points SET {{target}} = {P}"
            " WHERE id < 40"
            " RETURNING id, {target} AS s) SELECT count(*), max(s) FROM done",
        },
        models=ANY,
        after="SELECT id, score, label FROM points UNION ALL SELECT id, score, label FROM results",
    ),
    shape(
        "WITH RECURSIVE, the first term",
        f"WITH RECURSIVE q (id, s, n) AS (SELECT id, {P}, 1 FROM points WHERE id < 9 UNION ALL"
        " SELECT id, s, n + 1 FROM q WHERE n < 3) SELECT * FROM q",
        models=FEW,
        refused=STAGED,
    ),
    shape(
        "WITH RECURSIVE, the recursive term",
        "WITH RECURSIVE q (n, x) AS (SELECT 1, 1.5::float8 UNION ALL"
        " SELECT n + 1, x + (PREDICT({m}, x, n, 'oak') > {low})::int FROM q WHERE n < 5)"
        " SELECT * FROM q",
        models=FEW,
        refused=STAGED,
    ),
    shape(
        "WITH RECURSIVE, the rows of it",
        "WITH RECURSIVE q (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM q WHERE n < 9)"
        " SELECT n FROM q WHERE PREDICT({m}, n / 2.0, n % 3, 'oak') > {cut}",
        models=FEW,
    ),
]
