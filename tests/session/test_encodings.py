"""Encodings: a statement's ASCII is PostgreSQL's, and it is written again as it came or not at all.

The oracle is a real server's own conversion.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterator

import psycopg
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from proxy.errors import UnsupportedError
from proxy.session.encodings import check_exact, codec_of, decode
from tests.support.postgres import Cluster, temporary_database

# Their characters may have a second byte that is an ASCII letter, digit, quote or backslash.
ASCII_TRAILED = ["SJIS", "BIG5", "GBK", "UHC", "JOHAB", "GB18030", "SHIFT_JIS_2004"]
ASCII = bytes(range(1, 128))

# What a character of two bytes is to a server in UTF8; NULL where it is none.
CONVERSION = """
CREATE FUNCTION converted(bytes bytea, encoding name) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    RETURN pg_catalog.convert_from(bytes, encoding);
EXCEPTION WHEN OTHERS THEN
    RETURN NULL;
END $$
"""


@pytest.fixture(scope="module")
def server(cluster: Cluster) -> Iterator[psycopg.Connection]:
    """A connection to a database with the function `converted`."""
    with (
        temporary_database(cluster, "encodings") as name,
        psycopg.connect(cluster.dsn(name), autocommit=True) as connection,
    ):
        connection.execute(CONVERSION)
        yield connection


def names_of(server: psycopg.Connection) -> list[str]:
    """Return every encoding that a client may ask for."""
    rows = server.execute(
        "SELECT pg_encoding_to_char(number) FROM generate_series(0, 100) AS number"
        " WHERE pg_encoding_to_char(number) <> ''"
    )
    return [str(name) for (name,) in rows]


def test_every_encoding_has_a_codec(server: psycopg.Connection) -> None:
    """Each encoding that the server knows has a codec of Python's, found by the server's name."""
    names = names_of(server)
    assert len(names) > 40
    # In these two every byte of a longer character is above 0x7F; SQL_ASCII is bytes.
    without = {"EUC_TW", "MULE_INTERNAL", "SQL_ASCII", "LATIN1"}
    for name in names:
        codec = codecs.lookup(codec_of(name)).name
        assert (codec == "iso8859-1") == (name in without), name


def test_ascii_is_ascii(server: psycopg.Connection) -> None:
    """Every ASCII byte means itself in every encoding: so do quotes, backslashes, operators."""
    for name in names_of(server):
        assert decode(ASCII, codec_of(name)) == ASCII.decode("ascii"), name


def test_single_bytes_are_the_servers(server: psycopg.Connection) -> None:
    """In an encoding of one byte each, what Python reads is what the server reads."""
    for name in names_of(server):
        if not name.startswith(("WIN", "LATIN", "ISO", "KOI")):
            continue
        for value in range(128, 256):
            text = decode(bytes([value]), codec_of(name))
            row = server.execute("SELECT converted(%b, %s)", [bytes([value]), name]).fetchone()
            assert row is not None
            if text is not None and row[0] is not None:
                assert text == row[0], (name, value)


@pytest.mark.parametrize("name", ASCII_TRAILED)
def test_a_second_byte_in_ascii_is_no_letter(server: psycopg.Connection, name: str) -> None:
    """A pair of a high and an ASCII byte has an ASCII character for Python only if it has for us.

    The server is asked about every such pair that Python can read. One that it refuses it refuses
    in a statement too, whatever we make of it.
    """
    codec = codec_of(name)
    pairs = [bytes([high, low]) for high in range(128, 256) for low in range(1, 128)]
    readable = {pair: text for pair in pairs if (text := decode(pair, codec)) is not None}
    assert len(readable) > 100 or name == "GB18030"
    rows = server.execute(
        "SELECT pair, converted(pair, %s) FROM unnest(%s::bytea[]) AS pair", [name, list(readable)]
    ).fetchall()
    wrong = [
        (bytes(pair), text)
        for pair, text in rows
        if text is not None and _ascii_of(text) != _ascii_of(readable[bytes(pair)])
    ]
    assert wrong == []


def _ascii_of(text: str) -> str:
    return "".join(character for character in text if character.isascii())


@pytest.mark.parametrize("name", [*ASCII_TRAILED, "EUC_JP", "EUC_KR", "LATIN1", "WIN1252", "UTF8"])
@settings(deadline=None)
@given(text=st.binary(max_size=12))
@example(text=b"\x87\x90")
@example(text=b"E'\\''")
@example(text=b"~")
@example(text=b"\x83\x5c'")
def test_written_again_as_it_came_or_refused(name: str, text: bytes) -> None:
    """Bytes that pass `check_exact` are written again byte for byte; others are 0A000."""
    codec = codec_of(name)
    decoded = decode(text, codec)
    if decoded is None:
        return
    try:
        check_exact(text, decoded, codec)
    except UnsupportedError as error:
        assert error.sqlstate == "0A000"  # noqa: PT017
        assert decoded.encode(codec, "replace") != text
    else:
        assert decoded.encode(codec) == text


@pytest.mark.parametrize(
    ("codec", "text"),
    [("cp932", b"SELECT '\x87\x90'"), ("shift_jis_2004", b"E'\\n'"), ("shift_jis_2004", b"1 ~ 2")],
)
def test_what_cannot_be_written_again(codec: str, text: bytes) -> None:
    """A statement that has a letter Python writes in another way can be read but not edited."""
    decoded = decode(text, codec)
    assert decoded is not None
    with pytest.raises(UnsupportedError):
        check_exact(text, decoded, codec)


@settings(deadline=None)
@given(st.text(max_size=20), st.text(max_size=20), st.sampled_from(ASCII_TRAILED))
def test_edited_text_is_read_as_it_was_meant(before: str, after: str, name: str) -> None:
    """What is put between two parts of a statement stands between them in the bytes too."""
    codec = codec_of(name)
    left, right = before.encode(codec, "ignore"), after.encode(codec, "ignore")
    decoded = decode(left + b" PREDICT " + right, codec)
    if decoded is None:
        return
    edited = decoded.replace(" PREDICT ", " NULL ", 1).encode(codec, "replace")
    if b" PREDICT " not in left and decoded.encode(codec, "replace") == left + b" PREDICT " + right:
        assert edited == left + b" NULL " + right


@pytest.mark.parametrize("text", [b"\0", b"a\0b"])
def test_nul(text: bytes) -> None:
    """A NUL is for the server to refuse: it would end the statement early."""
    assert decode(text, "utf-8") is None


@pytest.mark.parametrize(
    ("codec", "text"), [("utf-8", b"\xff"), ("cp932", b"\x83"), ("gbk", b"\xff\xff")]
)
def test_bytes_of_no_character(codec: str, text: bytes) -> None:
    """Bytes that are no text go to the server as they came."""
    assert decode(text, codec) is None


def test_unknown_encoding() -> None:
    """An encoding that is yet to come is read as bytes: its ASCII is ASCII."""
    assert codec_of("FUTURE_2030") == "latin-1"
    assert codec_of("sjis") == "cp932"
