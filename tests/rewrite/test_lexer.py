"""The lexer against PostgreSQL's own (libpg_query's scan), and statements against psql's rules."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pglast.parser import ParseError, scan

from proxy.rewrite.lexer import Token, TokenKind, split_statements, tokenize

CORPUS = [
    "SELECT a, b FROM t WHERE x <= -1 AND y>=+2 OR z<>-3 AND q!=-w",
    "select 'it''s' 'x', 'a'\n'b', 'a' -- c\n  'b', 'a' /* c */ 'b'",
    "select E'\\'' E'a\\\\', e'x\\nb'\n 'c\\'d', n'x', N'y', b'01', X'1F', U&'\\0041', u&\"q\" x",
    'select "a""b", "é" , U&"d\\0061t" uescape \'!\'',
    "$$a$$ $x$ $$ $y$ $x$ $_é1$ $ $_é1$ $1 $23 a$1 a$$b$$ $ab c",
    "1 1.5 .5 1. 1..2 1...2 .5.5 1e5 1.5E-3 1.e+2 0x1F 0o17 0b101 1_000 1_0.2_5 5.e1_0",
    "a.b.c t.* a . b (x)[1:2] x::int::text f(a=>1, b:=2) a..b :x",
    "@- <-> *- -+ +- @@@ ~* !~~* #>> ->> -> ?| ?& ^ % & | ` =- =>- <=- ~- !+ /-*+",
    "1--x\n2/*a*/3/*a/*b*/c*/4 /**/ /***/ /*/ */*/ -- end",
    "+/*a*/- +--a\n- */**/2 /-/*a*/",
    "é èa áb ＡＢ table$1 _x x$ \u00a0 \u2028x 🙂",
    "a\x0bb\x0cc\td\re",
    "'a'\r'b' 'a' \f\n\n--x\n--y\n 'b' 'a' --x\r'b'",
    "{}[]\\;,:() $",
    "B'0''1' x'a'\n'b' e'' '' \"x\"",
]
LETTERS = st.sampled_from(
    ["a", "E", "u", "U&", "N", "b", "x", "$", "$$", "$a$", "'", "''", '"', "\\", "\n", "\r", " ",
     "\t", "\x0b", "-", "--", "/*", "*/", "*", "/", "+", "@", "<", ">", "=", ":", "::", ".", "..",
     "1", "0x", "1e", "_", ";", "(", ")", "é", "🙂", "\u00a0", "~", "%", "?", "|", "!", "#"]
)  # fmt: skip


def boundaries(sql: str) -> list[tuple[int, int]]:
    return [
        (token.start, token.end + 1)
        for token in scan(sql)
        if token.name not in ("C_COMMENT", "SQL_COMMENT")
    ]


def ours(sql: str) -> list[tuple[int, int]]:
    return [(token.start, token.end) for token in tokenize(sql)]


@pytest.mark.parametrize("sql", CORPUS)
def test_corpus_has_postgresqls_boundaries(sql: str) -> None:
    """Every construct of scan.l is cut where PostgreSQL cuts it."""
    assert ours(sql) == boundaries(sql)


@given(st.lists(LETTERS, max_size=25).map("".join))
@settings(max_examples=1500, deadline=None)
@example("$1$a$ $a$")
@example("/*/ */ */ 1")
def test_any_text_has_postgresqls_boundaries(sql: str) -> None:
    """Whatever PostgreSQL can scan is cut at the same offsets."""
    try:
        expected = boundaries(sql)
    except ParseError:
        tokenize(sql)  # refused there; here it must only come to an end
        return
    assert ours(sql) == expected


@given(st.text(alphabet="ab'\\\n \u00e9-", max_size=20))
def test_backslash_escapes_when_strings_do_not_conform(body: str) -> None:
    """With standard_conforming_strings off, '...' is cut exactly as E'...' is."""
    plain = tokenize("'" + body, standard_conforming_strings=False)[0]
    escape = tokenize("E'" + body, standard_conforming_strings=False)[0]
    assert (plain.kind, plain.end) == (escape.kind, escape.end - 1)


@given(st.text(max_size=60))
def test_tokens_are_ordered_and_within_the_text(sql: str) -> None:
    """Any text gives tokens in order, without overlap, and an ERROR only as the last."""
    position = 0
    tokens = tokenize(sql)
    for token in tokens:
        assert position <= token.start < token.end <= len(sql)
        position = token.end
    assert all(token.kind is not TokenKind.ERROR for token in tokens[:-1])


@pytest.mark.parametrize(
    "sql", ["select 'a", 'select "a', "select /* a /* b */", "select $a$ b $b$", "x E'\\'", 'U&"a']
)
def test_what_does_not_end_is_an_error_token(sql: str) -> None:
    """An unterminated construct is one final ERROR token that reaches to the end."""
    last = tokenize(sql)[-1]
    assert (last.kind, last.end) == (TokenKind.ERROR, len(sql))


@pytest.mark.parametrize("opening", ["--" + " -" * 20_000, "'a' " + "-- -" * 20_000, "/*" * 50_000])
def test_text_made_to_hurt_takes_linear_time(opening: str) -> None:
    """A hostile text comes to an end: the test's own timeout is the claim."""
    assert len(tokenize(opening)) <= 2


def texts(sql: str) -> list[str]:
    return [sql[part.start : part.end] for part in split_statements(sql, tokenize(sql))]


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("", []),
        (" ; -- a\n ;; /* b */", []),
        ("a; b ;c", ["a", " b ", "c"]),
        ("/* hint */ a;\n-- no\n", ["/* hint */ a"]),
        ("select ';', \";\", $$;$$ -- ;\n; b", ["select ';', \";\", $$;$$ -- ;\n", " b"]),
        ("create rule r as do (a; b); c", ["create rule r as do (a; b)", " c"]),
        (
            "create function f() begin atomic select case when a then b end; select 1; end; x",
            ["create function f() begin atomic select case when a then b end; select 1; end", " x"],
        ),
        (
            "CREATE OR REPLACE PROCEDURE p() BEGIN ATOMIC; END; BEGIN; END",
            ["CREATE OR REPLACE PROCEDURE p() BEGIN ATOMIC; END", " BEGIN", " END"],
        ),
        ("begin; select 1; end", ["begin", " select 1", " end"]),
    ],
)
def test_statements_end_where_psql_ends_them(sql: str, expected: list[str]) -> None:
    """Semicolons in quotes, parentheses and function bodies end nothing; empty ones are dropped."""
    assert texts(sql) == expected


def test_a_token_is_a_slice_of_the_text() -> None:
    """Offsets count characters, not bytes."""
    sql = "é🙂 + 'ö'"
    assert tokenize(sql) == (
        Token(TokenKind.IDENTIFIER, 0, 2),
        Token(TokenKind.OPERATOR, 3, 4),
        Token(TokenKind.STRING, 5, 8),
    )
