"""Statements that fail, and what the server says beside the rows."""

from __future__ import annotations

from tests.support.script import (
    Script,
    elsewhere,
    send,
    simple,
)
from tests.support.wire import (
    query,
)

scripts = [
    Script("syntax error", simple("SELEC 1", "SELECT 1 +", "SELECT 'unterminated")),
    Script("error with position", simple("SELECT id,\n  nothing FROM points", "SELECT é, nope")),
    Script("error with hint", simple("SELECT labell FROM points", "SELECT abs('a', 1)")),
    Script("unique violation", simple("INSERT INTO points VALUES (1, 0, 'again')")),
    Script("not-null violation", simple("INSERT INTO points VALUES (1000, NULL, '')")),
    Script(
        "check violation", simple("INSERT INTO points VALUES (1000, 1e9, '')", "SELECT 0::positive")
    ),
    Script(
        "every field of an error",
        simple(
            "DO $$ BEGIN RAISE EXCEPTION 'message' USING ERRCODE = 'ML123', DETAIL = 'detail',"
            " HINT = 'hint', COLUMN = 'c', CONSTRAINT = 'k', DATATYPE = 'd', TABLE = 't',"
            " SCHEMA = 's'; END $$"
        ),
    ),
    Script("error with context", simple("DO $$ BEGIN PERFORM 1/0; END $$")),
    Script("error in the middle of rows", simple("SELECT 1 / (5000 - id) FROM many")),
    Script(
        "notices",
        simple(
            "DO $$ BEGIN RAISE NOTICE 'one'; RAISE WARNING 'two' USING HINT = 'h'; END $$",
            "SET client_min_messages = debug5",
            "SELECT 1",
            "RESET client_min_messages",
            "DROP TABLE IF EXISTS never",
        ),
    ),
    Script(
        "failed transaction",
        simple("BEGIN", "SELECT 1/0", "SELECT 1", "SAVEPOINT s", "COMMIT", "SELECT 2"),
    ),
    Script(
        "savepoints",
        simple(
            "BEGIN",
            "SAVEPOINT s",
            "SELECT 1/0",
            "ROLLBACK TO s",
            "SELECT 1",
            "RELEASE s",
            "COMMIT",
            "COMMIT",
        ),
    ),
    Script("BEGIN twice", simple("BEGIN", "BEGIN", "ROLLBACK", "ROLLBACK")),
    Script(
        "statement_timeout", simple("SET statement_timeout = 50", "SELECT pg_sleep(60)", "SELECT 1")
    ),
    Script(
        "idle_in_transaction_session_timeout",
        (*simple("SET idle_in_transaction_session_timeout = 50", "BEGIN"),),
        ends=True,
    ),
    Script(
        "terminating oneself",
        (send(query("SELECT pg_terminate_backend(pg_backend_pid())")),),
        ends=True,
    ),
    Script(
        "terminated while idle",
        (
            *simple("SET application_name = 'the victim'"),
            elsewhere(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE application_name = 'the victim'"
            ),
        ),
        ends=True,
    ),
    Script("invalid bytes for the encoding", simple(b"SELECT '\xe9'", "SELECT 1")),
]
