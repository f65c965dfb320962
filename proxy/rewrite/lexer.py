"""PostgreSQL's lexical rules, with the offset of every token.

Owns where a token begins and ends (scan.l of PostgreSQL 18, held to it by property tests) and where
one statement of a string ends and the next begins. Leaves the values of literals and names to
`literals`, and every word's meaning to `parser` and `planner`.

Whitespace and comments yield no token. Text that PostgreSQL's lexer would refuse is either an ERROR
token, always the last one (a quote, comment or dollar quote that does not end), or is cut in the
way older versions cut it (`123abc` is a number and a name).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum, auto
from typing import NamedTuple


class TokenKind(Enum):
    """What a token is, before anyone asks what it means."""

    IDENTIFIER = auto()
    QUOTED_IDENTIFIER = auto()
    UNICODE_IDENTIFIER = auto()
    STRING = auto()
    ESCAPE_STRING = auto()
    UNICODE_STRING = auto()
    BIT_STRING = auto()
    DOLLAR_STRING = auto()
    NUMBER = auto()
    PARAMETER = auto()
    OPERATOR = auto()
    PUNCTUATION = auto()
    ERROR = auto()


class Token(NamedTuple):
    """One token: `sql[start:end]`, offsets in characters.

    A named tuple, not a dataclass like the other values: it is made by the ten thousand, in half
    the time.
    """

    kind: TokenKind
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Statement:
    """One statement of a string: `sql[start:end]`, comments around it included, `;` not."""

    start: int
    end: int
    tokens: tuple[Token, ...]


# Every repetition below is possessive where two alternatives could share characters: a text made to
# hurt must cost linear time. Before Python 3.11.5 a possessive group whose last turn fails halfway
# keeps what that turn had read (gh-106052), so groups that can do so are atomic ones instead.
_SPACE = r"[ \t\n\r\f\v]"
_COMMENT = r"--[^\n\r]*+"
_LETTER = r"A-Za-z_\x80-\U0010ffff"
# "quotecontinue": a string goes on after whitespace that holds a newline.
CONTINUATION = (
    rf"(?:[ \t\f\v]|{_COMMENT})*+[\n\r](?>(?:{_SPACE}++|{_COMMENT}[\n\r])*)'"  # to the next quote
)
STANDARD_BODY = r"(?:[^']++|'')*+'"
ESCAPE_BODY = r"(?:[^'\\]++|''|\\.)*+'"
_BIT_BODY = r"[^']*+'"
# A "_" is looked at with what follows it before it is read: for gh-106052, too.
_DIGITS = r"[0-9](?:[0-9]|(?=_[0-9])_)*+"
_RADIX = (
    r"0[xX](?:[0-9a-fA-F]|(?=_[0-9a-fA-F])_)++"
    r"|0[oO](?:[0-7]|(?=_[0-7])_)++"
    r"|0[bB](?:[01]|(?=_[01])_)++"
)
_TAG = rf"(?:[{_LETTER}][{_LETTER}0-9]*+)?"


def _quoted(body: str) -> str:
    return f"'{body}(?>(?:{CONTINUATION}{body})*)"


def _pattern(*, standard_conforming_strings: bool) -> re.Pattern[str]:
    escape = rf"[eE]{_quoted(ESCAPE_BODY)}"
    plain = _quoted(STANDARD_BODY)
    if not standard_conforming_strings:
        escape, plain = rf"[eE]?{_quoted(ESCAPE_BODY)}", r"(?!)"
    kinds = (
        ("ESCAPE_STRING", escape),
        ("STRING", plain),
        ("BIT_STRING", rf"[bBxX]{_quoted(_BIT_BODY)}"),
        ("UNICODE_STRING", rf"[uU]&{_quoted(STANDARD_BODY)}"),
        ("UNICODE_IDENTIFIER", r'[uU]&"(?:[^"]++|"")*+"'),
        ("QUOTED_IDENTIFIER", r'"(?:[^"]++|"")*+"'),
        # An opening quote that none of the above could close, with its prefix.
        ("ERROR", r"""(?:[eEbBxX]|[uU]&)?'|(?:[uU]&)?\""""),
        ("IDENTIFIER", rf"[{_LETTER}][{_LETTER}0-9$]*+"),
        # "numericfail": in 1..2 the dots are one token.
        (
            "NUMBER",
            rf"{_RADIX}|(?:{_DIGITS}(?:\.(?!\.)(?:{_DIGITS})?)?|\.{_DIGITS})(?:[eE][+-]?{_DIGITS})?",
        ),
        ("PARAMETER", r"\$[0-9]+"),
        ("dollar", rf"\${_TAG}\$"),
        ("comment", r"/\*"),
        ("OPERATOR", r"[~!@#^&|`?+\-*/%<>=]++"),
        ("PUNCTUATION", r"::|:=|\.\.|."),
        ("finish", r"\Z"),
    )
    token = "|".join(f"(?P<{name}>{pattern})" for name, pattern in kinds)
    return re.compile(rf"(?:{_SPACE}++|{_COMMENT})*+(?:{token})", re.DOTALL)


_PATTERNS = {setting: _pattern(standard_conforming_strings=setting) for setting in (True, False)}
_COMMENT_MARK = re.compile(r"/\*|\*/")
_OPERATOR_STOP = re.compile(r"/\*|--")
# "an operator can't end in + or - unless it has one of these" (SQL wants `a=-1` to be three tokens)
_UNUSUAL = frozenset("~!@#^&|`?%")


def tokenize(sql: str, *, standard_conforming_strings: bool = True) -> tuple[Token, ...]:
    """Return the tokens of a text, without whitespace and comments.

    Parameters
    ----------
    sql : any text
    standard_conforming_strings : the session's setting; when off, a backslash escapes in '...'
    """
    return tuple(_tokens(sql, _PATTERNS[standard_conforming_strings]))


def _tokens(sql: str, pattern: re.Pattern[str]) -> Iterator[Token]:
    position = 0
    while True:
        found = pattern.match(sql, position)
        assert found is not None, "the last alternatives match any character and the end"
        name = found.lastgroup or ""
        start, position = found.span(name)
        if name == "OPERATOR":
            if position - start > 1:
                position = _operator_end(sql, start, position)
        elif name in ("comment", "dollar"):
            closed = (_comment_end if name == "comment" else _dollar_end)(sql, start, position)
            if closed is None:
                name = "ERROR"
            else:
                position = closed
                if name == "comment":
                    continue
                name = "DOLLAR_STRING"
        elif name == "finish":
            return
        if name == "ERROR":
            yield Token(TokenKind.ERROR, start, len(sql))
            return
        yield Token(TokenKind[name], start, position)


def _comment_end(sql: str, _start: int, position: int) -> int | None:
    """Return the offset after a nested comment whose `/*` ends at `position`."""
    depth = 1
    for mark in _COMMENT_MARK.finditer(sql, position):
        depth += 1 if mark.group() == "/*" else -1
        if depth == 0:
            return mark.end()
    return None


def _dollar_end(sql: str, start: int, position: int) -> int | None:
    """Return the offset after the dollar quote whose opening tag is `sql[start:position]`."""
    tag = sql[start:position]
    closing = sql.find(tag, position)
    return None if closing < 0 else closing + len(tag)


def _operator_end(sql: str, start: int, end: int) -> int:
    """Cut a run of operator characters as scan.l does: before a comment, and before + or -."""
    stop = _OPERATOR_STOP.search(sql, start + 1, end)
    if stop:
        end = stop.start()
    if sql[end - 1] in "+-" and _UNUSUAL.isdisjoint(sql[start:end]):
        while end - start > 1 and sql[end - 1] in "+-":
            end -= 1
    return end


def split_statements(sql: str, tokens: tuple[Token, ...]) -> tuple[Statement, ...]:
    """Cut a string at the semicolons that end a statement.

    A semicolon within parentheses, or within the `BEGIN ATOMIC ... END` body of a function, ends
    nothing; both are found by psql's rules. Empty statements are left out, as the server answers
    them with nothing; an empty result is what it calls an empty query.
    """
    statements = []
    start, first = 0, 0
    block = _FunctionBody()
    parentheses = 0
    for index, token in enumerate(tokens):
        if token.kind is TokenKind.IDENTIFIER:
            if parentheses == 0:
                block.see(sql[token.start : token.end].lower())
        elif token.kind is TokenKind.PUNCTUATION:
            character = sql[token.start]
            if character == "(":
                parentheses += 1
            elif character == ")":
                parentheses = max(parentheses - 1, 0)
            elif character == ";" and parentheses == 0 and block.depth == 0:
                if index > first:
                    statements.append(Statement(start, token.start, tokens[first:index]))
                start, first = token.end, index + 1
                block = _FunctionBody()
    if len(tokens) > first:
        statements.append(Statement(start, len(sql), tokens[first:]))
    return tuple(statements)


class _FunctionBody:
    """How deep in BEGIN ... END and CASE ... END of a function's body we are."""

    __slots__ = ("_words", "depth")

    def __init__(self) -> None:
        self._words: list[str] = []
        self.depth = 0

    def see(self, word: str) -> None:
        if len(self._words) < 4:
            self._words.append(word)
        if not self._creates_function():
            return
        if word == "begin" or (word == "case" and self.depth):
            self.depth += 1
        elif word == "end" and self.depth:
            self.depth -= 1

    def _creates_function(self) -> bool:
        words = self._words
        if words[:1] != ["create"]:
            return False
        kind = words[3:4] if words[1:3] == ["or", "replace"] else words[1:2]
        return kind in (["function"], ["procedure"])
