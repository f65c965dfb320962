"""Simple queries that succeed."""

from __future__ import annotations

from tests.support.script import (
    Script,
    send,
    simple,
    until,
)
from tests.support.wire import (
    query,
)

scripts = [
    Script("constants", simple("SELECT 1 AS one, 'two' AS two, NULL AS three, true")),
    Script("rows of a table", simple("SELECT * FROM points ORDER BY id")),
    Script("no row", simple("SELECT * FROM points WHERE id < 0")),
    Script("no column", simple("SELECT FROM generate_series(1, 3)")),
    Script("equal column names", simple("SELECT 1 AS a, 2 AS a, 3 AS a")),
    Script(
        "types as text",
        simple(
            "SELECT 1::int2, 2::int8, 1.5::float4, 0.1::float8, 'NaN'::numeric, 12.340::numeric,"
            " '\\x00ff'::bytea, ARRAY[1,NULL,3], ARRAY['a b','\"'], '{\"a\": [1]}'::jsonb,"
            " DATE '2024-02-29', TIMESTAMP '2024-02-29 12:34:56.789', INTERVAL '1 day 2 hours',"
            " 'happy'::mood, 7::positive, (1, 'x'), '[1,5)'::int4range, 'a'::\"char\","
            " '1.2.3.4'::inet"
        ),
    ),
    Script("several statements", simple("SELECT 1; SELECT 2, 3; SELECT 'four'")),
    Script("several statements, the second fails", simple("SELECT 1; SELECT 1/0; SELECT 3")),
    Script(
        "several statements are one transaction",
        simple(
            "CREATE TABLE gone (a int); INSERT INTO gone VALUES (1); SELECT 1/0",
            "SELECT to_regclass('gone')",
        ),
    ),
    Script("BEGIN among several statements", simple("SELECT 1; BEGIN; SELECT 2", "ROLLBACK")),
    Script(
        "COMMIT among several statements", simple("BEGIN; SELECT 1; COMMIT; SELECT 1/0", "SELECT 2")
    ),
    Script("empty query", simple("")),
    Script("semicolons", simple(";;;", ";", "; SELECT 1;;")),
    Script("comments alone", simple("-- nothing", "/* nothing /* nested */ */", "  \n\t ")),
    Script(
        "many queries in one write",
        (send(*[query(f"SELECT {i}") for i in range(50)]), until("Z", 50)),
    ),
    Script("many rows", simple("SELECT * FROM many")),
    Script("a value of 5 MB", simple("SELECT repeat('x', 5000000)")),
    Script("a query of 3 MB", simple("SELECT length('" + "é" * 1_500_000 + "')")),
    Script("1600 columns", simple("SELECT " + ", ".join(f"{i} AS c{i}" for i in range(1600)))),
    Script("too many columns", simple("SELECT " + ", ".join(["1"] * 1700))),
    Script(
        "command tags",
        simple(
            "CREATE TEMP TABLE t (a int)",
            "INSERT INTO t SELECT generate_series(1, 5)",
            "UPDATE t SET a = a + 1 WHERE a > 2",
            "DELETE FROM t WHERE a = 1 RETURNING a, a * 2 AS twice",
            "SELECT a INTO TEMP t2 FROM t",
            "TRUNCATE t",
            "CREATE INDEX ON t (a)",
            "ALTER TABLE t ADD b text",
            "COMMENT ON TABLE t IS 'model'",
            "DROP TABLE t, t2",
        ),
    ),
    Script("EXPLAIN", simple("EXPLAIN (COSTS OFF) SELECT * FROM points WHERE id = 3")),
    Script("SHOW", simple("SHOW work_mem", "SHOW server_version", "SHOW ALL")),
    Script("DISCARD ALL", simple("SET work_mem = '1234kB'", "DISCARD ALL", "SHOW work_mem")),
    Script(
        "SQL's PREPARE",
        simple(
            "PREPARE p (int) AS SELECT $1 + 1",
            "EXECUTE p (41)",
            "PREPARE p AS SELECT 1",
            "DEALLOCATE p",
            "EXECUTE p (1)",
        ),
    ),
    Script(
        "SQL's cursors",
        simple(
            "BEGIN",
            "DECLARE c SCROLL CURSOR FOR SELECT id, x FROM points ORDER BY id",
            "FETCH 3 FROM c",
            "MOVE 5 IN c",
            "FETCH BACKWARD 2 FROM c",
            "FETCH ALL FROM c",
            "CLOSE c",
            "FETCH 1 FROM c",
            "ROLLBACK",
        ),
    ),
    Script(
        "a cursor WITH HOLD",
        simple(
            "DECLARE h CURSOR WITH HOLD FOR SELECT id FROM points ORDER BY id",
            "FETCH 2 FROM h",
            "CLOSE h",
        ),
    ),
]
