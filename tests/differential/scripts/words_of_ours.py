"""Ordinary SQL that holds the words of the dialect: none of it is the proxy's."""

from __future__ import annotations

from tests.differential.messages import (
    group,
    usual,
)
from tests.support.script import (
    Script,
    send,
    simple,
    until,
)
from tests.support.wire import (
    bind,
    copy_data,
    copy_done,
    execute,
    parse,
    query,
)

scripts = [
    Script(
        "our words where they mean nothing",
        simple(
            "SELECT 'PREDICT(m, a)', 'CREATE MODEL m' -- PREDICT(m, a)",
            'SELECT "PREDICT", model FROM "select" /* CREATE MODEL x */',
            "SELECT $$ DROP MODEL m $$ AS predict, $q$ SHOW MODELS $q$ AS models",
            "SELECT E'\\'PREDICT(m, a)', U&'PREDICT(m)', B'101', X'1F'",
            "SELECT 1 AS predict, 2 AS predict_class, 3 AS model",
            "SELECT model.predict FROM (SELECT 4 AS predict) AS model",
            "CREATE TEMP TABLE model (predict int); INSERT INTO model VALUES (1)",
            "SELECT predict FROM model",
            "DROP TABLE model",
            "COMMENT ON TABLE points IS 'CREATE MODEL'; COMMENT ON TABLE points IS NULL",
            "SELECT predict(1",
        ),
    ),
    Script(
        "our words in a prepared statement",
        (
            *usual("SELECT 'PREDICT(m)' AS predict, $1::text AS model", values=["PREDICT(m, *)"]),
            *group(parse("SELECT 'CREATE MODEL'", "model"), bind(statement="model"), execute()),
        ),
    ),
    Script(
        "our words in data",
        (
            *simple("CREATE TEMP TABLE t (a text)"),
            send(
                query("COPY t FROM STDIN"),
                copy_data("PREDICT(m, *)\nCREATE MODEL x\n"),
                copy_done(),
            ),
            until("Z"),
            *simple("SELECT * FROM t"),
        ),
    ),
]
