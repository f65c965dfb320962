"""PREDICT in COPY, cursors, PREPARE, EXPLAIN, definitions; names, comments, what is no call."""

from __future__ import annotations

from tests.anywhere.shape import (
    ALL_NUMBERS,
    ANY,
    EVERY,
    FEW,
    NUMBERS,
    ONE_OF_EACH,
    shape,
    shapes,
)
from tests.anywhere.world import MODELS

P = "PREDICT({m}, a, b, word)"
NO_MODEL = ("0A000", "42703", "42704", "42601")

SHAPES = [
    # --- COPY
    *shapes(
        "COPY",
        {
            "text": f"COPY (SELECT id, {P} AS s, word FROM points ORDER BY id) TO STDOUT",
            "csv": f"COPY (SELECT id, {P} AS s FROM points ORDER BY id) TO STDOUT (FORMAT"
            " csv, HEADER)",
            "csv, unnamed": f"COPY (SELECT {P}, id FROM points ORDER BY id) TO STDOUT WITH"
            " CSV HEADER",
            "binary": f"COPY (SELECT id, {P} AS s, word FROM points ORDER BY id) TO STDOUT"
            " (FORMAT binary)",
            "filtered": f"COPY (SELECT id FROM points WHERE {P} > {{cut}} ORDER BY {P}, id)"
            " TO STDOUT",
        },
        models=ANY,
        ordered=True,
        forms=("simple",),
    ),
    shape(
        "COPY, DELETE",
        f"COPY (DELETE FROM points WHERE {P} > {{cut}} RETURNING id) TO STDOUT",
        models=ANY,
        forms=("simple",),
        after="SELECT id FROM points",
    ),
    # --- cursors
    shape(
        "cursor",
        f"DECLARE c CURSOR FOR SELECT id, {P} AS s FROM points ORDER BY id",
        "FETCH 5 FROM c",
        "FETCH NEXT FROM c",
        "MOVE 10 IN c",
        "FETCH FORWARD ALL FROM c",
        "CLOSE c",
        models=EVERY,
        ordered=True,
    ),
    shape(
        "cursor, filtered and sorted",
        f"DECLARE c NO SCROLL CURSOR FOR SELECT id FROM points WHERE {P} > {{cut}} ORDER BY"
        f" {P}, id",
        "FETCH 3 FROM c",
        "FETCH ALL FROM c",
        models=ANY,
        ordered=True,
    ),
    shape(
        "cursor, scrolled",
        f"DECLARE c SCROLL CURSOR FOR SELECT id, {P} AS s FROM points ORDER BY id",
        "FETCH LAST FROM c",
        "FETCH BACKWARD 3 FROM c",
        "FETCH ABSOLUTE 7 FROM c",
        "FETCH RELATIVE -2 FROM c",
        "MOVE FIRST FROM c",
        "FETCH PRIOR FROM c",
        models=ANY,
        ordered=True,
    ),
    shape(
        "cursor, binary",
        f"DECLARE c BINARY CURSOR FOR SELECT {P} > {{cut}} AS h FROM points ORDER BY id",
        "FETCH ALL FROM c",
        models=FEW,
        ordered=True,
        forms=("prepared",),
    ),
    shape(
        "cursor, WITH HOLD",
        f"DECLARE held CURSOR WITH HOLD FOR SELECT id, {P} AS s FROM points ORDER BY id",
        "FETCH 4 FROM held",
        "CLOSE held",
        models=ANY,
        ordered=True,
        undo=False,
    ),
    shape(
        "cursor, insensitive to later writes",
        f"DECLARE c CURSOR FOR SELECT id, {P} AS s FROM points ORDER BY id",
        "UPDATE points SET a = a + 1",
        "FETCH 9 FROM c",
        models=FEW,
        ordered=True,
    ),
    shape(
        "cursor, UPDATE of the current row",
        f"DECLARE c CURSOR FOR SELECT id FROM points WHERE {P} > {{cut}} ORDER BY id FOR UPDATE",
        "FETCH 1 FROM c",
        f"UPDATE points SET {{target}} = {P} WHERE CURRENT OF c",
        models=FEW,
        refused=EVERY,
        after="SELECT id, score, label FROM points WHERE score IS NOT NULL OR label IS NOT NULL",
    ),
    # --- PREPARE and EXECUTE
    shape(
        "PREPARE",
        f"PREPARE q (float8, int) AS SELECT id, {P} AS s FROM points WHERE a > $1 AND id < $2",
        "EXECUTE q (1.5, 90)",
        "EXECUTE q (0.5, 20)",
        "DEALLOCATE q",
        models=ANY,
        forms=("simple",),
    ),
    shape(
        "PREPARE, inside and in WHERE",
        "PREPARE q AS SELECT id FROM points WHERE PREDICT({m}, a + $1, b, word) > {cut} AND"
        " word = $2",
        "EXECUTE q (1.5, 'oak')",
        "EXECUTE q (0, 'elm')",
        models=ANY,
        forms=("simple",),
    ),
    shape(
        "PREPARE, a write",
        f"PREPARE q (int) AS UPDATE points SET {{target}} = {P} WHERE id < $1 RETURNING id,"
        " {target}",
        "EXECUTE q (30)",
        models=ANY,
        forms=("simple",),
    ),
    shape(
        "EXECUTE, as an argument",
        "PREPARE q (float8) AS SELECT id FROM points WHERE a > $1",
        "EXECUTE q (PREDICT({m}, 2, 3, 'oak'))",
        models=ONE_OF_EACH,
        refused=EVERY,
        forms=("simple",),
    ),
    shape(
        "CREATE TABLE AS EXECUTE",
        f"PREPARE q AS SELECT id, {P} AS s FROM points",
        "CREATE TEMP TABLE scored AS EXECUTE q",
        "SELECT * FROM scored",
        models=FEW,
        refused=EVERY,
        forms=("simple",),
    ),
    # --- EXPLAIN
    *[
        shape(f"EXPLAIN, {name}", text, models=FEW, with_rows=False)
        for name, text in {
            "a column": f"EXPLAIN SELECT id, {P} AS s FROM points",
            "WHERE": f"EXPLAIN SELECT id FROM points WHERE {P} > {{cut}}",
            "ANALYZE": f"EXPLAIN (ANALYZE, TIMING off) SELECT id FROM points WHERE {P} > {{cut}}",
            "COSTS off": "EXPLAIN (COSTS off, VERBOSE) SELECT word, avg(a) FROM points GROUP"
            " BY word"
            f" HAVING max({P}) > {{cut}}",
            "UPDATE": f"EXPLAIN UPDATE points SET {{target}} = {P}",
            "json": f"EXPLAIN (FORMAT json) SELECT id FROM points ORDER BY {P}",
        }.items()
    ],
    shape(
        "EXPLAIN changes nothing",
        f"EXPLAIN UPDATE points SET {{target}} = {P}",
        models=FEW,
        with_rows=False,
        after="SELECT count(score), count(label) FROM points",
    ),
    # --- definitions: a model is no part of the schema
    *[
        shape(f"definition, {name}", text, models=ONE_OF_EACH, fails=NO_MODEL, undo=True)
        for name, text in {
            "DO": "DO $$ BEGIN PERFORM PREDICT({m}, 1, 2, 'oak'); END $$",
            "CREATE FUNCTION": "CREATE FUNCTION scored() RETURNS float8 LANGUAGE sql"
            " AS 'SELECT PREDICT({m}, 1, 2, ''oak'')'",
            "CREATE FUNCTION in dollars": "CREATE FUNCTION scored() RETURNS float8 LANGUAGE sql"
            " AS $$ SELECT PREDICT({m}, 1, 2, 'oak') $$",
            "CREATE FUNCTION RETURN": "CREATE FUNCTION scored() RETURNS float8 LANGUAGE sql"
            " RETURN PREDICT({m}, 1, 2, 'oak')",
            "CHECK": "CREATE TABLE scored (a float8 CHECK (PREDICT({m}, a, 2, 'oak') > 1))",
            "DEFAULT": "CREATE TABLE scored (a float8 DEFAULT PREDICT({m}, 1, 2, 'oak'))",
            "GENERATED": "CREATE TABLE scored (a float8, s float8 GENERATED ALWAYS AS"
            " (PREDICT({m}, a, 2, 'oak')) STORED)",
            "INDEX": "CREATE INDEX scored ON points ((PREDICT({m}, a, b, word)))",
            "POLICY": "CREATE POLICY scored ON points USING (PREDICT({m}, a, b, word) > 0.5)",
            "RULE": "CREATE RULE scored AS ON UPDATE TO points WHERE PREDICT({m}, new.a, 2,"
            " 'oak') > 1"
            " DO INSTEAD NOTHING",
            "ALTER TABLE USING": "ALTER TABLE points ALTER a TYPE int USING PREDICT({m}, a,"
            " b, word)::int",
        }.items()
    ],
    # --- several statements in one string
    shape(
        "several statements",
        f"SELECT 1 AS one; SELECT id FROM points WHERE {P} > {{cut}}; SELECT count({P}) FROM"
        " points",
        models=ANY,
        forms=("simple",),
        refused=EVERY,
    ),
    shape(
        "several statements, a transaction in them",
        f"BEGIN; UPDATE points SET {{target}} = {P}; SELECT count(*) FROM points WHERE {P} >"
        " {cut};"
        " ROLLBACK; SELECT count(score), count(label) FROM points",
        models=FEW,
        forms=("simple",),
        refused=EVERY,
        undo=False,
    ),
    # --- names and text
    *shapes(
        "text",
        {
            "a semicolon": f"SELECT id FROM points WHERE {P} > {{cut}};",
            "small letters": "select id from points where predict({m}, a, b, word) > {cut}",
            "line ends": "SELECT id\r\nFROM points\r\nWHERE PREDICT({m},\r\n  a,\tb,\nword) >"
            " {cut} -- end",
            "comments": "SELECT id /* PREDICT(x, 1) */ FROM points -- PREDICT(y, 2)\n"
            "WHERE PREDICT({m}, a /* , ) */, b, -- ( ,\n word) > {cut}",
            "strings": "SELECT id, 'PREDICT(x, 1)' AS predict, $$PREDICT(y)$$ AS t,"
            " E'\\'PREDICT(z' AS e"
            f" FROM points WHERE {P} > {{cut}} AND word <> 'PREDICT({{'",
            "other letters": f"SELECT id, 'größer, 世界 😀' AS \"grün\", {P} > {{cut}} AS"
            ' "größer" FROM points'
            f" WHERE 'é' <> 'è' AND {P} > {{low}}",
            "names in quotes": 'SELECT "id" FROM "points" WHERE PREDICT({m}, "a", "b",'
            ' "word") > {cut}',
            "a table called predict": "SELECT predict.id FROM points AS predict"
            " WHERE PREDICT({m}, predict.a, predict.b, predict.word) > {cut}",
            "a column called predict": f"SELECT predict FROM (SELECT {P} AS predict FROM"
            " points) AS q"
            " WHERE predict > {cut}",
            "a column called as the model": "SELECT id, 7 AS linear, 8 AS forest FROM points"
            f" WHERE {P} > {{cut}}",
            "schema of the table": "SELECT p.id FROM public.points AS p"
            " WHERE PREDICT({m}, p.a, p.b, p.word) > {cut}",
            "table as a qualifier": "SELECT id FROM shop.orders"
            " WHERE PREDICT({m}, orders.a, shop.orders.b, word) > {cut} ORDER BY total DESC",
            "schema as a qualifier": "SELECT id FROM shop.orders WHERE PREDICT({m},"
            " shop.orders.*) > {cut}",
            "version": "SELECT id FROM points WHERE PREDICT('{m}:1.0', a, b, word) > {cut}",
            "in a string": "SELECT id FROM points WHERE PREDICT('{m}', a, b, word) > {cut}",
            "many parentheses": f"SELECT id FROM points WHERE ((({P}))) > (({{cut}})) AND"
            " ((a) > (1))",
            "key": "SELECT id FROM points WHERE PREDICT({m}, *, key => id) > {cut}",
        },
        models=ANY,
    ),
    shape(
        "odd names",
        'SELECT "Id", PREDICT({Odd Model}, "Amount due", "Word") AS "The Score" FROM "Odd'
        ' Table" AS "T"'
        ' WHERE PREDICT({Odd Model}, "T".*) > 1.234 ORDER BY PREDICT({Odd Model}, *), "Id"',
        models=("linear",),
        ordered=True,
    ),
    shape(
        "a function of one's own beside it",
        f"SELECT id, own.predict(id) AS o FROM points WHERE {P} > {{cut}} AND own.predict(1) = 7",
        models=FEW,
    ),
    shape(
        "only a function of one's own",
        "SELECT own.predict(id), own.predict(2) AS two FROM points WHERE own.predict(3) = 21",
        models=("linear",),
    ),
    # --- features of other kinds
    *shapes(
        "other kinds",
        {
            "WHERE": "SELECT id FROM wide WHERE PREDICT({m}, *) > {cut}",
            "sorted": "SELECT id, PREDICT({m}, tall, born, seen, signals, city) AS s FROM"
            " wide ORDER BY s, id",
            "grouped": "SELECT city, count(*) FILTER (WHERE PREDICT({m}, *) > {cut}) AS n"
            " FROM wide GROUP BY city",
            "of expressions": "SELECT id FROM wide WHERE PREDICT({m}, NOT tall, born + 1,"
            " seen - INTERVAL '1 hour', ARRAY[0.5, signals[2], NULL], upper(city)) > {cut}",
            "NULLs": "SELECT id FROM wide WHERE PREDICT({m}, NULL, NULL, NULL, NULL, NULL) <"
            " PREDICT({m}, *)",
            "UPDATE": "UPDATE wide SET flag = (PREDICT({m}, *) > {cut})::int RETURNING id, flag",
        },
        models=("wide", "wide_forest"),
    ),
    shape(
        "other kinds, an array of another length",
        "SELECT id FROM wide WHERE PREDICT({m}, tall, born, seen, ARRAY[1.0], city) > {cut}",
        models=("wide", "wide_forest"),
        direct="SELECT ml.vector(ARRAY[1.0], 3)",
        fails=("2202E",),
    ),
    # --- the session
    *[
        shape(f"session, {name}", *steps, models=ANY)
        for name, steps in {
            "a role that sees half": (
                "SET LOCAL ROLE anywhere_reader",
                "SELECT id, PREDICT({m}, *) AS s FROM guarded",
                "SELECT count(*) FROM guarded WHERE PREDICT({m}, *) > {cut}",
                "SELECT max(PREDICT({m}, a, b, word)) FROM guarded",
            ),
            "search_path": (
                "SET LOCAL search_path = shop",
                f"SELECT id FROM orders WHERE {P} > {{cut}}",
            ),
            "REPEATABLE READ": (
                "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ",
                f"SELECT id FROM points WHERE {P} > {{cut}}",
                f"SELECT word, max({P}) FROM points GROUP BY word",
            ),
            "READ ONLY": (
                "SET TRANSACTION READ ONLY",
                f"SELECT id, {P} AS s FROM points WHERE {P} > {{cut}}",
                f"SELECT {P} AS s, count(*) FROM points GROUP BY s",
                f"WITH q AS (SELECT {P} AS s FROM points) SELECT max(s) FROM q",
            ),
            "SERIALIZABLE": (
                "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE, READ ONLY, DEFERRABLE",
                f"SELECT id FROM points WHERE {P} > {{cut}}",
            ),
            "a savepoint": (
                "SAVEPOINT s",
                f"DELETE FROM points WHERE {P} > {{cut}}",
                "ROLLBACK TO s",
                f"SELECT count(*) FROM points WHERE {P} > {{cut}}",
            ),
            "a temporary table": (
                "CREATE TEMP TABLE points AS SELECT id, a + 1 AS a, b, word FROM public.points",
                f"SELECT id FROM points WHERE {P} > {{cut}}",
            ),
            "settings of the output": (
                "SET LOCAL DateStyle = 'German'",
                "SET LOCAL IntervalStyle = 'sql_standard'",
                "SET LOCAL bytea_output = 'escape'",
                f"SELECT id, {P} > {{cut}} AS h, {P} AS s FROM points WHERE {P} > {{low}}",
            ),
        }.items()
    ],
    shape(
        # Pushed down, the operators of a schema before pg_catalog would count: docs/sql.md says so.
        "session, operators of one's own",
        "SET LOCAL search_path = own, public, pg_catalog",
        f"SELECT id, {P} AS s FROM points",
        f"SELECT id FROM points WHERE {P} > {{cut}}",
        models=("forest", "kinds"),
    ),
    shape(
        "session, extra_float_digits",
        "SET LOCAL extra_float_digits = -9",
        f"SELECT id FROM points WHERE {P} > {{cut}}",
        f"SELECT count(DISTINCT {P}) FROM points",
        models=NUMBERS,
    ),
    shape(
        "session, strings with backslashes",
        "SET LOCAL standard_conforming_strings = off",
        f"SELECT id, 'it\\'s PREDICT(' AS t FROM points WHERE {P} > {{cut}}",
        models=FEW,
    ),
    shape(
        "session, autocommit and READ ONLY",
        "SET default_transaction_read_only = on",
        f"SELECT id FROM points WHERE {P} > {{cut}}",
        f"SELECT {P} AS s, count(*) FROM points GROUP BY s",
        models=ANY,
        undo=False,
    ),
    shape(
        "session, autocommit",
        f"SELECT id FROM points WHERE {P} > {{cut}}",
        f"SELECT word, avg({P}) FROM points GROUP BY word",
        f"SELECT id, {P} AS s FROM points ORDER BY s, id",
        models=ALL_NUMBERS,
        undo=False,
    ),
    shape(
        "session, a model of this transaction",
        "SELECT id FROM points WHERE PREDICT(fresh, a, b, word) > {cut}",
        models=("linear",),
        setup=(f"CREATE MODEL fresh USING {MODELS['linear']}",),
        direct="SELECT id FROM points WHERE PREDICT({linear}, a, b, word) > {cut}",
    ),
    shape(
        "no such model",
        "SELECT id FROM points WHERE PREDICT(unheard_of, a, b, word) > 1",
        models=("linear",),
        direct="SELECT id FROM points WHERE a > 'unheard_of'::regclass::oid::int",
        fails=("42704", "42P01"),
    ),
    shape(
        "a misuse, OVER",
        f"SELECT {P} OVER (ORDER BY id) FROM points",
        models=FEW,
        fails=("42809", "0A000"),
    ),
    shape(
        "a misuse, FILTER",
        f"SELECT {P} FILTER (WHERE a > 1) FROM points",
        models=FEW,
        fails=("42809", "0A000"),
    ),
]
