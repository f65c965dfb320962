"""PREDICT in INSERT, UPDATE, DELETE, MERGE, their RETURNING, and in new relations."""

from __future__ import annotations

from tests.anywhere.shape import (
    ANY,
    EVERY,
    FEW,
    NUMBERS,
    ONE_OF_EACH,
    PUSHED,
    STAGED,
    shape,
    shapes,
)

P = "PREDICT({m}, a, b, word)"
POINTS = "SELECT id, a, score, label, number, feeling FROM points"
RESULTS = "SELECT * FROM results"

SHAPES = [
    shape(
        "INSERT SELECT",
        f"INSERT INTO results (id, {{target}}) SELECT id + 1000, {P} FROM points",
        models=EVERY,
        after=RESULTS,
    ),
    *shapes(
        "INSERT",
        {
            "SELECT star": "INSERT INTO results (id, {target}, note) SELECT id + 1000,"
            " PREDICT({m}, *), word"
            " FROM points WHERE b > 1",
            "SELECT, filtered": f"INSERT INTO results (id, note) SELECT id + 1000, word FROM points"
            f" WHERE {P} > {{cut}}",
            "SELECT, an expression": "INSERT INTO results (id, note) SELECT id + 1000,"
            f" {P}::text || 'x' < 'm'"
            " FROM points WHERE id < 30",
            "VALUES": "INSERT INTO results (id, {target}) VALUES (1001, PREDICT({m}, 1.5, 2,"
            " 'oak')),"
            " (1002, PREDICT({m}, 4, NULL, 'elm')), (1003, DEFAULT)",
            "RETURNING its column": "INSERT INTO results (id, {target}) VALUES"
            " (1001, PREDICT({m}, 1.5, 2, 'oak')) RETURNING id, {target} AS s",
            "RETURNING the call": "INSERT INTO results (id, note) VALUES (1001, 'elm'),"
            " (1002, 'oak')"
            " RETURNING id, PREDICT({m}, id / 300.0, 2, note) AS s",
            "WITH": f"WITH q AS (SELECT id + 1000 AS id, {P} AS s FROM points) INSERT INTO results"
            " (id, {target}) SELECT id, s FROM q WHERE s > {cut} RETURNING *",
            "ON CONFLICT DO NOTHING": f"INSERT INTO results (id, {{target}}) SELECT id, {P}"
            " FROM points"
            " WHERE id < 50 ON CONFLICT DO NOTHING",
            "ON CONFLICT DO UPDATE": f"INSERT INTO results (id, {{target}}) SELECT id, {P}"
            " FROM points"
            " WHERE id < 50 ON CONFLICT (id) DO UPDATE SET {target} = EXCLUDED.{target}, note"
            " = 'new'",
            "ON CONFLICT SET the call": "INSERT INTO results AS r (id, score, note) SELECT"
            " id, a, word"
            " FROM points WHERE id < 50 ON CONFLICT (id) DO UPDATE"
            " SET {target} = PREDICT({m}, EXCLUDED.score, r.id / 100, EXCLUDED.note)",
            "ON CONFLICT WHERE": "INSERT INTO results AS r (id, score, note) SELECT id, a,"
            " word FROM points"
            " WHERE id < 90 ON CONFLICT (id) DO UPDATE SET note = 'changed'"
            " WHERE PREDICT({m}, EXCLUDED.score, 2, EXCLUDED.note) > {cut}",
        },
        models=ANY,
        after=RESULTS,
    ),
    shape(
        "INSERT, parameters",
        "INSERT INTO results (id, {target}, note) VALUES ($1, PREDICT({m}, $2, 3, $3), $3)"
        " RETURNING *",
        models=ANY,
        parameters=(1001, 2.5, "oak"),
        after=RESULTS,
    ),
    # --- UPDATE
    shape("UPDATE", f"UPDATE points SET {{target}} = {P}", models=EVERY, after=POINTS),
    *shapes(
        "UPDATE",
        {
            "WHERE": f"UPDATE points SET label = 'high' WHERE {P} > {{cut}}",
            "SET and WHERE": f"UPDATE points SET {{target}} = {P} WHERE {P} > {{cut}} AND b > 1",
            "star": "UPDATE points SET {target} = PREDICT({m}, *) WHERE id < 50",
            "alias": "UPDATE points AS p SET {target} = PREDICT({m}, p.*) WHERE p.word = 'elm'",
            "expression": f"UPDATE points SET label = CASE WHEN {P} > {{cut}} THEN 'high'"
            " ELSE 'low' END",
            "its own input": "UPDATE points SET a = a + 1, {target} = PREDICT({m}, a, b, word)",
            "FROM": "UPDATE points SET {target} = PREDICT({m}, points.a, d.b, d.word) FROM"
            " districts AS d"
            " WHERE d.point_id = points.id",
            "FROM, WHERE": "UPDATE points AS p SET label = 'high' FROM extra AS x WHERE x.id = p.id"
            " AND PREDICT({m}, x.c, p.b, p.word) > {cut}",
            "FROM a scored subquery": "UPDATE points SET {target} = q.s FROM"
            f" (SELECT id, {P} AS s FROM points) AS q WHERE q.id = points.id AND q.s > {{cut}}",
            "of several columns": f"UPDATE points SET (grade, {{target}}) = (SELECT p.id, {P}"
            " FROM points AS p"
            " WHERE p.id = points.id) WHERE id < 60",
            "ROW of columns": f"UPDATE points SET (grade, {{target}}) = ROW (1, {P}) WHERE id < 60",
            "a scalar subquery": "UPDATE results SET {target} = (SELECT PREDICT({m}, p.a,"
            " p.b, p.word)"
            " FROM points AS p WHERE p.id = results.id)",
            "RETURNING its column": f"UPDATE points SET {{target}} = {P} WHERE id < 30"
            " RETURNING id, {target}",
            "RETURNING the call": "UPDATE points SET a = a * 2 WHERE id < 30 RETURNING id,"
            f" {P} AS s",
            "WITH": f"WITH q AS (SELECT id, {P} AS s FROM points) UPDATE points SET"
            " {target} = q.s FROM q"
            " WHERE q.id = points.id",
            "IN a subquery": "UPDATE results SET note = 'hit' WHERE id IN (SELECT id FROM"
            f" points WHERE {P} > {{cut}})",
        },
        models=ANY,
        after=f"{POINTS} UNION ALL SELECT id, NULL, score, label, number, feeling FROM results",
    ),
    shape(
        "UPDATE, parameters",
        "UPDATE points SET {target} = PREDICT({m}, a + $1, b, word) WHERE id < $2 RETURNING"
        " id, {target}",
        models=ANY,
        parameters=(0.25, 40),
        after=POINTS,
    ),
    # --- DELETE
    shape("DELETE", f"DELETE FROM points WHERE {P} > {{cut}}", models=EVERY, after=POINTS),
    *shapes(
        "DELETE",
        {
            "USING": "DELETE FROM points AS p USING districts AS d WHERE d.b = p.b"
            " AND PREDICT({m}, p.a, d.b, d.word) > {cut}",
            "IN a subquery": "DELETE FROM results WHERE id IN (SELECT id FROM points WHERE"
            f" {P} > {{cut}})",
            "RETURNING": f"DELETE FROM points WHERE id < 30 RETURNING id, {P} AS s, {P} > {{cut}}",
            "both": f"DELETE FROM points WHERE {P} > {{cut}} RETURNING id, PREDICT({{m}}, *) AS s",
            "WITH": f"WITH q AS (SELECT id FROM points ORDER BY {P}, id LIMIT 20) DELETE FROM"
            " points USING q"
            " WHERE q.id = points.id",
        },
        models=ANY,
        after=f"{POINTS} UNION ALL SELECT id, NULL, score, label, number, feeling FROM results",
    ),
    # --- MERGE
    *shapes(
        "MERGE",
        {
            "USING a scored query": f"MERGE INTO results AS r USING (SELECT id, {P} AS s FROM"
            " points WHERE id < 99)"
            " AS q ON r.id = q.id WHEN MATCHED AND q.s > {cut} THEN UPDATE SET {target} = q.s"
            " WHEN MATCHED THEN DELETE WHEN NOT MATCHED THEN INSERT (id, {target}) VALUES"
            " (q.id, q.s)",
            "in WHEN and SET": "MERGE INTO results AS r USING points AS p ON r.id = p.id WHEN"
            " MATCHED AND"
            " PREDICT({m}, p.a, p.b, p.word) > {cut} THEN UPDATE SET"
            " {target} = PREDICT({m}, p.a, p.b, p.word) WHEN NOT MATCHED AND p.id < 50 THEN"
            " INSERT (id, {target}) VALUES (p.id, PREDICT({m}, p.*))",
            "in ON": "MERGE INTO results AS r USING points AS p ON r.id = p.id AND"
            " PREDICT({m}, p.a, p.b, p.word) > {cut} WHEN MATCHED THEN UPDATE SET note = p.word",
        },
        models=ANY,
        after=RESULTS,
    ),
    shape(
        "MERGE RETURNING",
        "MERGE INTO results AS r USING points AS p ON r.id = p.id WHEN MATCHED THEN UPDATE"
        " SET note = 'm'"
        " RETURNING p.id, PREDICT({m}, p.a, p.b, p.word) AS s",
        models=FEW,
        after=RESULTS,
        since=170000,
    ),
    shape(
        "RETURNING old and new",
        "UPDATE points SET a = a + 1 WHERE id < 30 RETURNING id,"
        " PREDICT({m}, old.a, new.b, new.word) AS s",
        models=FEW,
        since=180000,
    ),
    # --- new relations
    shape(
        "CREATE TABLE AS",
        f"CREATE TABLE scored AS SELECT id, {P} AS s FROM points",
        models=EVERY,
        after="SELECT * FROM scored",
    ),
    *shapes(
        "new relation",
        {
            "unnamed column": f"CREATE TEMP TABLE scored AS SELECT id, {P} FROM points",
            "filtered": f"CREATE TEMP TABLE scored AS SELECT id FROM points WHERE {P} > {{cut}}",
            "column names": f"CREATE TABLE scored (n, x) AS SELECT id, {P} FROM points ORDER BY 2",
            "IF NOT EXISTS": f"CREATE TABLE IF NOT EXISTS scored AS SELECT {P} AS s, {P} >"
            " {cut} AS h FROM points",
            "WITH NO DATA": f"CREATE TABLE scored AS SELECT id, {P} AS s FROM points WITH NO DATA",
            "ON COMMIT": f"CREATE TEMP TABLE scored ON COMMIT DROP AS SELECT word, max({P})"
            " AS m FROM points"
            " GROUP BY word",
            "SELECT INTO": f"SELECT id, {P} AS s INTO scored FROM points WHERE {P} > {{low}}",
            "SELECT INTO TEMP": f"SELECT id, {P} INTO TEMP scored FROM points",
        },
        models=ANY,
        after="SELECT * FROM scored",
    ),
    shape(
        "CREATE MATERIALIZED VIEW",
        f"CREATE MATERIALIZED VIEW scored AS SELECT id, {P} AS s FROM points",
        models=ANY,
        refused=STAGED,
        after="SELECT * FROM scored",
    ),
    shape(
        "CREATE VIEW",
        f"CREATE VIEW scored AS SELECT id, {P} AS s FROM points WHERE {P} > {{cut}}",
        models=(*PUSHED, "forest", "kinds"),
        refused=STAGED,
        after="SELECT * FROM scored",
    ),
    shape(
        "CREATE VIEW, rows that come later",
        f"CREATE TEMP VIEW scored AS SELECT id, {P} AS s FROM points",
        "UPDATE points SET a = a + 1",
        models=("linear", "logistic", "segments", "forest"),
        refused=STAGED,
        after="SELECT * FROM scored",
    ),
    # --- what others see in between
    shape(
        "a write and a question after it",
        f"UPDATE points SET a = 0 WHERE {P} > {{cut}}",
        f"SELECT id, {P} AS s FROM points WHERE {P} > {{low}}",
        f"DELETE FROM points WHERE {P} < {{cut}} RETURNING id",
        f"SELECT count(*) FROM points WHERE {P} > {{cut}}",
        models=ANY,
    ),
    shape(
        "writes in autocommit",
        f"CREATE TABLE kept AS SELECT id, {P} AS s, word FROM points WHERE {P} > {{low}}",
        "UPDATE kept SET word = 'x' WHERE s > {cut}",
        "DELETE FROM kept AS k USING points AS p WHERE p.id = k.id"
        " AND PREDICT({m}, p.a, p.b, p.word) > {high}",
        "SELECT * FROM kept",
        models=ANY,
        undo=False,
        cleaning=("DROP TABLE IF EXISTS kept",),
    ),
    shape(
        "a failing write leaves nothing",
        f"INSERT INTO results (id, {{target}}) SELECT id, {P} FROM points",
        models=NUMBERS,
        fails=("23505",),
    ),
    shape(
        "a column of another type",
        f"UPDATE points SET feeling = {P}",
        models=ONE_OF_EACH,
        fails=("42804",),
    ),
]
