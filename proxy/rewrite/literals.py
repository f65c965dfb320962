"""What a literal or a name is worth once its quotes are off.

Owns the value of strings (all five spellings), numbers and identifiers, and the way back: how a
name is written so that PostgreSQL reads it unchanged. Leaves token boundaries to `lexer`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable

from proxy.errors import InvalidParameterError, ModelSyntaxError
from proxy.rewrite.lexer import CONTINUATION, ESCAPE_BODY, STANDARD_BODY, Token, TokenKind

NAME_BYTES_MAX = 63  # NAMEDATALEN - 1
_DIGITS_MAX = 400  # float8 ends at 309 digits; int() itself refuses 4300

_ASCII_LOWER = str.maketrans("ABCDEFGHIJKLMNOPQRSTUVWXYZ", "abcdefghijklmnopqrstuvwxyz")
_ESCAPE = re.compile(
    r"\\(?:([0-7]{1,3})|x([0-9a-fA-F]{1,2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|(.))", re.DOTALL
)
_UNICODE_ESCAPE = re.compile(r"\\(?:\+([0-9a-fA-F]{6})|([0-9a-fA-F]{4})|(\\))|\\")
_ESCAPES = re.compile(r"\\.|''", re.DOTALL)
_LETTERS = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}

NAME_KINDS = frozenset(
    {TokenKind.IDENTIFIER, TokenKind.QUOTED_IDENTIFIER, TokenKind.UNICODE_IDENTIFIER}
)
STRING_KINDS = frozenset(
    {
        TokenKind.STRING,
        TokenKind.ESCAPE_STRING,
        TokenKind.UNICODE_STRING,
        TokenKind.DOLLAR_STRING,
    }
)


def fold(name: str) -> str:
    """Lower an unquoted name as PostgreSQL does in a UTF8 database: ASCII letters only."""
    return name.translate(_ASCII_LOWER)


def quote_identifier(name: str) -> str:
    """Write a name so that it is read unchanged, whatever it holds."""
    return '"' + name.replace('"', '""') + '"'


def quote_text(value: str) -> str:
    """Write a string constant so that it is read unchanged, in any session.

    Only ASCII: what it says does not depend on client_encoding. With a backslash or another
    character it is an E'' string, which standard_conforming_strings does not change.
    """
    quoted = value.replace("'", "''")
    if value.isascii() and "\\" not in value:
        return f"'{quoted}'"
    return "E'" + "".join([_ascii(character) for character in quoted]) + "'"


def _ascii(character: str) -> str:
    code = ord(character)
    if character == "\\":
        return "\\\\"
    if code < 0x80:
        return character
    return f"\\u{code:04X}" if code < 0x10000 else f"\\U{code:08X}"


def name_of(sql: str, token: Token) -> str:
    """Return the name that an identifier token stands for.

    Raises
    ------
    ModelSyntaxError
        The name is empty, or its Unicode escapes are wrong.
    """
    text = sql[token.start : token.end]
    if token.kind is TokenKind.IDENTIFIER:
        return fold(text)
    body = text[text.index('"') + 1 : -1].replace('""', '"')
    if token.kind is TokenKind.UNICODE_IDENTIFIER:
        body = _unicode(body, token)
    if not body:
        raise ModelSyntaxError("zero-length delimited identifier", position=token.start + 1)
    return body


def without_backslashes(sql: str, tokens: tuple[Token, ...]) -> str:
    """Return a text of the same length and places whose plain strings escape nothing.

    For PostgreSQL's parser, which does not know that standard_conforming_strings is off.
    """
    parts, position = [], 0
    for token in tokens:
        if token.kind is TokenKind.ESCAPE_STRING and sql[token.start] == "'":
            body = sql[token.start + 1 : token.end - 1]
            parts += [sql[position : token.start], "'", _ESCAPES.sub(_filled, body), "'"]
            position = token.end
    return "".join([*parts, sql[position:]])


def _filled(found: re.Match[str]) -> str:
    return "x" * len(found.group().encode()) if found.group().isascii() else "x" + found.group()[1:]


def string_of(sql: str, token: Token) -> str:
    """Return the value of a string constant in any of its spellings.

    Raises
    ------
    ModelSyntaxError
        An escape in it is not one.
    """
    text = sql[token.start : token.end]
    if token.kind is TokenKind.DOLLAR_STRING:
        tag = text.index("$", 1) + 1
        return text[tag:-tag]
    if token.kind is TokenKind.ESCAPE_STRING:
        return _escaped("".join(_segments(text, _ESCAPE_SEGMENT)), token)
    body = "".join(_segments(text, _STANDARD_SEGMENT)).replace("''", "'")
    return _unicode(body, token) if token.kind is TokenKind.UNICODE_STRING else body


def number_of(sql: str, token: Token, sign: int = 1) -> int | float:
    """Return a number constant's value: an int where it is written as one.

    Raises
    ------
    InvalidParameterError
        It is beyond float8.
    """
    text = sql[token.start : token.end].replace("_", "").lower()
    if text.startswith(("0x", "0o", "0b")) and len(text) < _DIGITS_MAX:
        return sign * int(text, 0)
    if text.isdecimal() and len(text) < _DIGITS_MAX:
        return sign * int(text)
    value = math.inf if text.startswith(("0x", "0o", "0b")) else float(text)
    if math.isinf(value):
        raise InvalidParameterError("number is out of range", position=token.start + 1)
    return sign * value


_STANDARD_SEGMENT = re.compile(STANDARD_BODY, re.DOTALL)
_ESCAPE_SEGMENT = re.compile(ESCAPE_BODY, re.DOTALL)
_CONTINUATION = re.compile(CONTINUATION)


def _segments(text: str, segment: re.Pattern[str]) -> list[str]:
    """Return what stands between the quotes of each part of a continued string."""
    parts = []
    position = text.index("'") + 1
    while found := segment.match(text, position):
        parts.append(found.group()[:-1])
        onward = _CONTINUATION.match(text, found.end())
        if onward is None:
            break
        position = onward.end()
    return parts


def _escaped(body: str, token: Token) -> str:
    """Undo backslash escapes; octal and hex ones are bytes of UTF-8."""
    value = bytearray()
    position = 0
    for found in _ESCAPE.finditer(body):
        value += _plain(body[position : found.start()])
        octal, hexadecimal, short, long, other = found.groups()
        if octal or hexadecimal:
            value.append((int(octal, 8) if octal else int(hexadecimal, 16)) & 0xFF)
        elif short or long:
            value += _code_point(int(short or long, 16), token).encode("utf-8", "surrogatepass")
        else:
            value += _plain(_LETTERS.get(other, other))
        position = found.end()
    value += _plain(body[position:])
    return _checked(lambda: value.decode("utf-8", "surrogatepass"), token)


def _plain(text: str) -> bytes:
    return text.replace("''", "'").encode("utf-8", "surrogatepass")


def _unicode(body: str, token: Token) -> str:
    def value(found: re.Match[str]) -> str:
        long, short, backslash = found.groups()
        if backslash:
            return "\\"
        if not (long or short):
            raise ModelSyntaxError("invalid Unicode escape", position=token.start + 1)
        return _code_point(int(long or short, 16), token)

    decoded = _UNICODE_ESCAPE.sub(value, body)
    return _checked(lambda: decoded, token)


def _code_point(number: int, token: Token) -> str:
    if not 0 < number <= 0x10FFFF:
        raise ModelSyntaxError("invalid Unicode escape value", position=token.start + 1)
    return chr(number)


def _checked(decode: Callable[[], str], token: Token) -> str:
    """Join surrogate pairs; refuse bytes that are no text, NUL included."""
    try:
        text = decode().encode("utf-16-le", "surrogatepass").decode("utf-16-le")
    except UnicodeError:
        text = "\0"
    if "\0" in text:
        raise ModelSyntaxError(
            "invalid escape sequence in a string constant", position=token.start + 1
        )
    return text
