"""Parse, Bind, Describe, Execute and Close, one pipeline at a time."""

from __future__ import annotations

from tests.differential.messages import (
    FLOAT8,
    group,
    int4,
    usual,
)
from tests.support import postgres
from tests.support.script import (
    Script,
    simple,
)
from tests.support.wire import (
    bind,
    close_portal,
    close_statement,
    describe_portal,
    describe_statement,
    execute,
    parse,
)

scripts = [
    Script(
        "unnamed statement and portal",
        usual("SELECT $1::int + 1 AS n, $2::text", values=["41", None]),
    ),
    Script(
        "named statement used twice",
        (
            *group(parse("SELECT id, label FROM points WHERE id = $1", "by_id")),
            *group(bind(["7"], statement="by_id"), execute()),
            *group(bind(["8"], statement="by_id", portal="p"), describe_portal("p"), execute("p")),
            *group(close_statement("by_id"), bind(["9"], statement="by_id")),
        ),
    ),
    Script(
        "Describe of statements",
        (
            *group(parse("SELECT $1, $2 + x FROM points", "a"), describe_statement("a")),
            *group(parse("SELECT $1", "b", [FLOAT8]), describe_statement("b")),
            *group(parse("INSERT INTO many VALUES ($1, $2)", "c"), describe_statement("c")),
            *group(parse("", "d"), describe_statement("d")),
            *group(parse("SHOW work_mem", "e"), describe_statement("e")),
            *group(parse("INSERT INTO many VALUES ($1) RETURNING *", "f"), describe_statement("f")),
        ),
    ),
    Script(
        "Describe of portals",
        (
            *group(parse("SELECT 1, x FROM points"), bind(results=[0, 1]), describe_portal()),
            *group(parse("SET work_mem = '1MB'"), bind(), describe_portal(), execute()),
            *group(parse(""), bind(), describe_portal(), execute()),
        ),
    ),
    Script(
        "binary parameters and results",
        usual(
            "SELECT $1::int4, $2::float8, 'text', ARRAY[1.5, NULL]::float8[]",
            values=["5", "0.1"],
            results=[1],
        ),
    ),
    Script(
        "mixed formats",
        group(
            parse("SELECT $1::int4, $2::float8, $3::text, $4::bytea"),
            bind([int4(-5), "0.5", "é", b"\0\1"], formats=[1, 0, 0, 1], results=[1, 0, 1, 0]),
            describe_portal(),
            execute(),
        ),
    ),
    Script(
        "one format for all",
        group(
            parse("SELECT $1::int4 + $2::int4, $1"),
            bind([int4(1), int4(2)], formats=[1], results=[1]),
            describe_portal(),
            execute(),
        ),
    ),
    Script(
        "wrong number of formats", group(parse("SELECT 1, 2, 3"), bind(results=[1, 0]), execute())
    ),
    Script("no Describe", group(parse("SELECT * FROM points"), bind(), execute())),
    Script(
        "row limits",
        group(
            parse("SELECT id FROM points ORDER BY id"),
            bind(),
            execute("", 3),
            execute("", 40),
            execute("", 1000),
            execute("", 5),
            execute(),
        ),
    ),
    Script(
        "a row limit that is the number of rows",
        group(parse("SELECT generate_series(1, 4)"), bind(), execute("", 4), execute("", 4)),
    ),
    Script(
        "a negative row limit",
        group(parse("SELECT generate_series(1, 4)"), bind(), execute("", -1)),
    ),
    Script(
        "a portal within a transaction outlives Sync",
        (
            *simple("BEGIN"),
            *group(parse("SELECT id FROM points"), bind(portal="p"), execute("p", 2)),
            *simple("SELECT 'between'"),
            *group(execute("p", 3)),
            *group(describe_portal("p"), execute("p")),
            *simple("COMMIT"),
            *group(execute("p")),
        ),
    ),
    Script(
        "a portal outside a transaction dies at Sync",
        (
            *group(parse("SELECT id FROM points"), bind(portal="p"), execute("p", 2)),
            *group(execute("p", 2)),
        ),
    ),
    Script(
        "two portals by turns",
        group(
            parse("SELECT id FROM points ORDER BY id", "up"),
            parse("SELECT id FROM points ORDER BY id DESC", "down"),
            bind(statement="up", portal="u"),
            bind(statement="down", portal="d"),
            execute("u", 2),
            execute("d", 2),
            execute("u", 1),
            execute("d", 1),
            close_portal("u"),
            execute("u", 1),
        ),
    ),
    Script("portal of a taken name", group(parse("SELECT 1"), bind(portal="p"), bind(portal="p"))),
    Script(
        "Close of unknown names",
        group(close_statement("no"), close_portal("no"), close_statement(), close_portal()),
    ),
    Script(
        "Close of a statement leaves its portal",
        group(
            parse("SELECT 1", "s"),
            bind(statement="s", portal="p"),
            close_statement("s"),
            execute("p"),
            describe_portal("p"),
        ),
    ),
    Script(
        "Parse of a taken name",
        (
            *group(parse("SELECT 1", "s")),
            *group(parse("SELECT 2", "s")),
            *group(bind(statement="s"), execute()),
        ),
    ),
    Script(
        "the unnamed statement is replaced",
        group(
            parse("SELECT 1"),
            bind(portal="p"),
            parse("SELECT 'two'"),
            bind(),
            execute("p"),
            execute(),
        ),
    ),
    Script("unknown statement", (*group(bind(statement="no")), *group(describe_statement("no")))),
    Script("unknown portal", (*group(execute("no")), *group(describe_portal("no")))),
    Script("no unnamed statement", (*simple("SELECT 1"), *group(bind(), execute()))),
    Script(
        "a simple query drops the unnamed statement",
        (*group(parse("SELECT 5")), *simple("SELECT 1"), *group(bind(), execute())),
    ),
    Script(
        "wrong number of parameters", group(parse("SELECT $1::int"), bind(["1", "2"]), execute())
    ),
    Script(
        "bad text parameter",
        (
            *group(parse("SELECT $1::int", "s")),
            *group(bind(["one"], statement="s"), execute()),
            *group(bind(["1"], statement="s"), execute()),
        ),
    ),
    Script(
        "bad binary parameter",
        group(parse("SELECT $1::int"), bind([b"\0\1"], formats=[1]), execute()),
    ),
    Script(
        "unknown format code", group(parse("SELECT $1::int"), bind(["1"], formats=[7]), execute())
    ),
    Script("several statements in Parse", group(parse("SELECT 1; SELECT 2"), bind(), execute())),
    Script("empty statement", (*usual(""), *usual("-- nothing"), *usual(";"))),
    Script("bad parameter type", group(parse("SELECT $1", types=[999999]))),
    Script(
        "300 parameters",
        usual(
            "SELECT " + ", ".join(f"${i}::int" for i in range(1, 301)),
            values=[str(i) for i in range(300)],
        ),
    ),
    Script(
        "a parameter of 3 MB", usual("SELECT length($1::text), $1::text", values=["ü" * 1_500_000])
    ),
    Script(
        "DML with a row limit",
        (
            *simple("CREATE TEMP TABLE t (a int)"),
            *usual("INSERT INTO t SELECT generate_series(1, 5) RETURNING a", limit=2),
            *group(parse("INSERT INTO t VALUES (1)"), bind(), execute(), execute()),
            *simple("SELECT count(*) FROM t"),
        ),
    ),
    Script(
        "DDL by the extended protocol",
        (
            *usual("CREATE TEMP TABLE t (a int)"),
            *usual("DROP TABLE t"),
            *usual("BEGIN"),
            *usual("COMMIT"),
        ),
    ),
    Script(
        "DEALLOCATE ALL",
        (
            *group(parse("SELECT 1", "s")),
            *simple("DEALLOCATE ALL"),
            *group(bind(statement="s"), execute()),
        ),
    ),
    Script(
        "DISCARD ALL in a pipeline",
        (
            *group(parse("SELECT 1", "s")),
            *group(parse("DISCARD ALL"), bind(), execute()),
            *group(bind(statement="s"), execute()),
        ),
    ),
    Script(
        "a cached plan's type changes",
        (
            *simple("CREATE TEMP TABLE t (a int)"),
            *group(parse("SELECT * FROM t", "s"), bind(statement="s"), execute()),
            *simple("ALTER TABLE t ADD b text"),
            *group(bind(statement="s"), execute()),
        ),
    ),
    Script(
        "a statement of another role's table",
        (*simple(f"SET ROLE {postgres.SCRAM_USER}"), *usual("SELECT * FROM points")),
    ),
]
