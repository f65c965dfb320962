"""Settings, encodings and notifications: messages that come unasked."""

from __future__ import annotations

from tests.support import postgres
from tests.support.script import (
    Script,
    elsewhere,
    simple,
    until,
)

scripts = [
    Script(
        "ParameterStatus after SET",
        simple(
            "SET application_name = 'näme'",
            "SET DateStyle = 'SQL, DMY'",
            "SET TimeZone = 'Asia/Kathmandu'",
            "SET IntervalStyle = 'iso_8601'",
            "SET standard_conforming_strings = off",
            "SELECT 'a\\'b'",
            "SELECT DATE '2024-02-29', TIMESTAMPTZ '2024-02-29 00:00+00', INTERVAL '1 day'",
            "RESET ALL",
        ),
    ),
    Script(
        "ParameterStatus at ROLLBACK",
        simple("BEGIN", "SET application_name = 'inside'", "ROLLBACK", "SHOW application_name"),
    ),
    Script(
        "SET LOCAL and set_config",
        simple(
            "BEGIN; SET LOCAL TimeZone = 'Asia/Tokyo';"
            " SELECT set_config('DateStyle', 'German', true)",
            "COMMIT",
        ),
    ),
    Script(
        "client_encoding LATIN1",
        simple(
            "SET client_encoding = 'LATIN1'",
            b"SELECT '\xe9t\xe9' AS \xe0",
            "SELECT '\\20ac'",
            "SELECT U&'\\20ac'",
        ),
    ),
    Script(
        "client_encoding SJIS",
        simple(
            "SET client_encoding = 'SJIS'",
            "SELECT '予\u8868ソ'".encode("shift_jis"),
            b"SELECT '\x81'",
        ),
    ),
    Script(
        "client_encoding at startup", simple(b"SELECT '\xe9'"), login={"client_encoding": "LATIN1"}
    ),
    Script("SET ROLE", simple(f"SET ROLE {postgres.SCRAM_USER}", "SELECT current_user")),
    Script(
        "LISTEN and NOTIFY",
        simple("LISTEN c", "NOTIFY c, 'from me'", "SELECT pg_notify('c', 'again')", "UNLISTEN *"),
    ),
    Script(
        "NOTIFY at COMMIT",
        simple("LISTEN c", "BEGIN", "NOTIFY c", "NOTIFY c", "NOTIFY c, 'x'", "COMMIT"),
    ),
    Script(
        "NOTIFY while idle",
        (*simple("LISTEN c"), elsewhere("NOTIFY c, 'from elsewhere'"), until("A")),
    ),
    Script(
        "NOTIFY within a transaction comes after it",
        (
            *simple("LISTEN c", "BEGIN"),
            elsewhere("NOTIFY c, 'later'"),
            *simple("SELECT 1", "COMMIT"),
        ),
    ),
]
