"""First packets, authentication, and options."""

from __future__ import annotations

import struct

from tests.differential.messages import DATABASE
from tests.support import postgres
from tests.support.script import (
    Script,
    Step,
    authenticate,
    byte,
    half_close,
    send,
    simple,
    until,
)
from tests.support.wire import (
    PROTOCOL_3_2,
    PROTOCOL_3_9999,
    Message,
    frame,
    query,
    ssl_request,
    startup,
    startup_packet,
)


def auth(user: str, secret: str = postgres.SECRET) -> dict[str, object]:
    return {"user": user, "secret": secret}


def first(*packets: bytes, user: str = postgres.TRUST_USER) -> tuple[Step, ...]:
    return (send(*packets), authenticate(user))


def without_values(message: Message) -> Message:
    """Leave of a row its shape: positions in the log differ."""
    return Message("D", message.body[:2]) if message.code == "D" else message


plain_startup = {"user": postgres.TRUST_USER, "database": DATABASE}

scripts = [
    Script("password in clear", simple("SELECT 1"), login=auth(postgres.PASSWORD_USER)),
    Script("md5", simple("SELECT 1"), login=auth(postgres.MD5_USER)),
    Script("SCRAM-SHA-256", simple("SELECT 1"), login=auth(postgres.SCRAM_USER)),
    Script("wrong password in clear", login=auth(postgres.PASSWORD_USER, "wrong")),
    Script("wrong password by md5", login=auth(postgres.MD5_USER, "wrong")),
    Script("wrong password by SCRAM", login=auth(postgres.SCRAM_USER, "wrong")),
    Script("empty password", login=auth(postgres.PASSWORD_USER, "")),
    Script("unknown role", login={"user": "nobody at all"}),
    Script("rejected role", login={"user": "rejected_user"}),
    Script("unknown database", login={"database": "nowhere"}),
    Script("no database: the user's name", login={"database": ""}),
    Script(
        "options",
        simple("SHOW work_mem", "SHOW statement_timeout"),
        login={"options": "-c work_mem=1234kB --statement-timeout=7s"},
    ),
    Script(
        "options with backslashes",
        simple("SHOW search_path", "RESET search_path", "SHOW search_path"),
        login={"options": r"-c search_path=a\ b\\c"},
    ),
    Script("bad options", login={"options": "-c work_mem"}),
    Script("unknown option letter", login={"options": "-Q"}),
    Script(
        "search_path",
        simple("SHOW search_path", "SELECT current_schemas(true)"),
        login={"search_path": "pg_catalog,public"},
    ),
    Script(
        "application_name",
        simple("SHOW application_name", "RESET application_name", "SHOW application_name"),
        login={"application_name": "an äpplication"},
    ),
    Script(
        "DateStyle is the session's default",
        simple("SET datestyle = ISO", "RESET datestyle", "SHOW datestyle"),
        login={"datestyle": "German"},
    ),
    Script(
        "extra_float_digits and TimeZone",
        simple("SELECT 0.1::float8 + 0.2", "SHOW timezone"),
        login={"extra_float_digits": "-3", "TimeZone": "Asia/Tokyo"},
    ),
    Script("unknown parameter", login={"no_such_parameter": "1"}),
    Script("parameter of bad value", login={"work_mem": "lots"}),
    Script("parameter that cannot be set", login={"max_connections": "7"}),
    Script("a setting of an extension", simple("SHOW my.own"), login={"my.own": "x"}),
    Script("protocol 3.2", simple("SELECT 1"), login={"protocol": PROTOCOL_3_2}),
    Script(
        "protocol 3.9999 and an unknown option",
        simple("SELECT 1"),
        login={"protocol": PROTOCOL_3_9999, "_pq_.test_protocol_negotiation": "", "_pq_.x": "1"},
    ),
    Script("protocol 3.0 and an unknown option", simple("SELECT 1"), login={"_pq_.x": "1"}),
    Script(
        "protocol 4.0", (send(startup(protocol=0x40000, **plain_startup)),), raw=True, ends=True
    ),
    Script("no user", (send(startup(database=DATABASE)),), raw=True, ends=True),
    Script("no terminator", (send(startup_packet(0x30000, b"user\0x\0")),), raw=True, ends=True),
    Script(
        "an odd parameter",
        (send(startup_packet(0x30000, b"user\0x\0database\0\0")),),
        raw=True,
        ends=True,
    ),
    Script(
        "a first packet too short", (send(struct.pack("!ii", 7, 0x30000)),), raw=True, ends=True
    ),
    Script(
        "a first packet too long", (send(struct.pack("!ii", 10_005, 0x30000)),), raw=True, ends=True
    ),
    Script("nothing at all", (half_close(),), raw=True, ends=True),
    Script(
        "half a first packet",
        (send(startup(**plain_startup)[:9]), half_close()),
        raw=True,
        ends=True,
    ),
    Script(
        "SSLRequest",
        (send(ssl_request()), byte(), *first(startup(**plain_startup)), *simple("SELECT 1")),
        raw=True,
    ),
    Script(
        "the first query is sent with the login",
        (
            send(startup(**plain_startup), query("SELECT 1")),
            authenticate(postgres.TRUST_USER),
            until("Z"),
        ),
        raw=True,
    ),
    Script(
        "end of stream within the login",
        (send(startup(user=postgres.SCRAM_USER, database=DATABASE)), until("R"), half_close()),
        raw=True,
        ends=True,
    ),
    Script(
        "a query instead of a password",
        (
            send(startup(user=postgres.SCRAM_USER, database=DATABASE)),
            until("R"),
            send(query("SELECT 1")),
        ),
        ours=True,
        raw=True,
        ends=True,
    ),
    Script(
        "an unknown SASL mechanism",
        (
            send(startup(user=postgres.SCRAM_USER, database=DATABASE)),
            until("R"),
            send(frame("p", b"SCRAM-MD4\0" + struct.pack("!i", 4) + b"n,,n")),
        ),
        raw=True,
        ends=True,
    ),
    Script(
        "replication",
        simple("IDENTIFY_SYSTEM", "SHOW wal_level"),
        login={"user": postgres.REPLICATION_USER, "replication": "true"},
        erase=without_values,
    ),
    Script(
        "logical replication",
        simple("IDENTIFY_SYSTEM", "SELECT 1"),
        login={"user": postgres.REPLICATION_USER, "replication": "database"},
        erase=without_values,
    ),
    Script("replication without the privilege", login={"replication": "database"}),
]
