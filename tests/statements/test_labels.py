"""Labels: the bytes of a class are those that PostgreSQL itself sends for that value."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import psycopg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from psycopg import sql

from proxy.statements.labels import label_values, numeric_binary
from tests.support.postgres import Cluster, temporary_database

LABELS: dict[str, Sequence[str]] = {
    "smallint": ("-32768", "-1", "0", "7", "32767"),
    "integer": ("-2147483648", "-1", "0", "10", "2147483647"),
    "bigint": ("-9223372036854775808", "-1", "0", "9223372036854775807"),
    "oid": ("0", "1", "4294967295"),
    "real": ("-1.5", "0", "0.1", "1e+06", "1.6777216e+07", "Infinity", "-Infinity", "1e-05"),
    "double precision": (
        "-2.5",
        "0",
        "0.1",
        "1e+15",
        "1.2345678901234565e+15",
        "1e-05",
        "1e+300",
        "Infinity",
        "-Infinity",
    ),
    "numeric": (
        "0",
        "-1",
        "1",
        "10",
        "9999",
        "10000",
        "100000000",
        "123456789",
        "-10000.0001",
        "0.5",
        "0.00005",
        "0.0001",
        "0.10",
        "1.0000",
        "12345.678",
        "-99999999.99999999",
        "100000000000000000000",
        "12345678901234567890123456789.123456789",
        "0.000000000000000000001",
        "Infinity",
        "-Infinity",
    ),
    "boolean": ("false", "true"),
    "text": ("", "yes", "no", "it's", "naïve 😀", "a\\b"),
    "character varying": ("basic", "pro"),
    "character": ("a", "b"),
    "name": ("rome", "Köln"),
    '"char"': ("a", "Z"),
    "uuid": ("00000000-0000-0000-0000-000000000000", "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"),
    "mood": ("happy", "très triste"),
}
# What the training says of a type that is none of its table.
TRAINED_AS = {"mood": "text"}


@pytest.fixture(scope="module")
def server(cluster: Cluster) -> Iterator[psycopg.Connection]:
    """A connection to a database with an enum."""
    with (
        temporary_database(cluster, "labels") as name,
        psycopg.connect(cluster.dsn(name), autocommit=True) as connection,
    ):
        connection.execute("CREATE TYPE mood AS ENUM ('happy', 'très triste')")
        yield connection


def sent_by(server: psycopg.Connection, label: str, sql_type: str, *, binary: bool) -> bytes | None:
    """Return the bytes of a value on the wire."""
    cursor = server.cursor(binary=binary)
    cursor.execute(
        sql.SQL("SELECT {}::pg_catalog.text::{}").format(sql.Literal(label), sql.SQL(sql_type))
    )
    assert cursor.pgresult is not None
    return cursor.pgresult.get_value(0, 0)


@pytest.mark.parametrize("sql_type", LABELS)
@pytest.mark.parametrize("format_code", [0, 1])
def test_labels_are_the_servers(
    server: psycopg.Connection, sql_type: str, format_code: int
) -> None:
    """Text and binary are byte for byte what the server sends."""
    labels = LABELS[sql_type]
    trained_as = TRAINED_AS.get(sql_type, sql_type)
    values = label_values(labels, trained_as, format_code, "utf-8")
    for label, value in zip(labels, values, strict=True):
        assert value == sent_by(server, label, sql_type, binary=bool(format_code)), label


@pytest.mark.parametrize("format_code", [0, 1])
@pytest.mark.parametrize(("encoding", "codec"), [("LATIN1", "latin-1"), ("SJIS", "cp932")])
def test_labels_in_another_encoding(
    server: psycopg.Connection, encoding: str, codec: str, format_code: int
) -> None:
    """A text is in the client's encoding, in either format."""
    label = {"LATIN1": "naïve", "SJIS": "表示"}[encoding]
    server.execute(f"SET client_encoding TO {encoding}")
    try:
        sent = sent_by(server, label, "text", binary=bool(format_code))
    finally:
        server.execute("SET client_encoding TO UTF8")
    assert label_values([label], "text", format_code, codec) == (sent,)


decimals = st.decimals(
    min_value=-(10**30), max_value=10**30, allow_nan=False, allow_infinity=False, places=None
).map(lambda value: format(value, "f"))


@settings(max_examples=100, deadline=None)
@given(texts=st.lists(decimals, min_size=20, max_size=20))
def test_any_numeric(server: psycopg.Connection, texts: list[str]) -> None:
    """A decimal number of any size, sign and scale is written as numeric_send writes it."""
    rows = server.execute(
        "SELECT numeric_send(text::numeric) FROM unnest(%s::text[]) WITH ORDINALITY AS t(text, i)"
        " ORDER BY i",
        [texts],
    ).fetchall()
    assert [numeric_binary(text) for text in texts] == [bytes(sent) for (sent,) in rows]
