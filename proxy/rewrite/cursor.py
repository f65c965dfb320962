"""A place in a statement's tokens, for recursive descent.

Owns looking ahead, stepping on and the words of a syntax error. Leaves the grammar to `parser` and
`calls`.
"""

from __future__ import annotations

import re
from typing import NoReturn

from proxy.errors import ModelSyntaxError, ProxyError
from proxy.rewrite.lexer import Token, TokenKind
from proxy.rewrite.literals import (
    NAME_BYTES_MAX,
    NAME_KINDS,
    STRING_KINDS,
    fold,
    name_of,
    string_of,
)
from proxy.rewrite.statements import ModelReference

# Like a name given to regclass: folded unless it is quoted within the string.
_REFERENCE = re.compile(
    r"\s*(?:\"(?P<quoted>(?:[^\"]|\"\")+)\"|(?P<plain>[A-Za-z_\x80-\U0010ffff][\w$]*))"
    r"\s*(?::\s*(?P<version>\w[\w.]*)\s*)?"
)


class Cursor:
    """Tokens `[index:stop]` of a text."""

    __slots__ = ("index", "sql", "stop", "tokens")

    def __init__(
        self, sql: str, tokens: tuple[Token, ...], index: int = 0, stop: int | None = None
    ) -> None:
        self.sql = sql
        self.tokens = tokens
        self.index = index
        self.stop = len(tokens) if stop is None else stop

    def token(self, ahead: int = 0) -> Token | None:
        """Return the token that stands `ahead` of this one, or None beyond the end."""
        index = self.index + ahead
        return self.tokens[index] if index < self.stop else None

    def text(self, ahead: int = 0) -> str:
        """Return that token's text, or nothing beyond the end."""
        token = self.token(ahead)
        return self.sql[token.start : token.end] if token else ""

    def word(self, ahead: int = 0) -> str:
        """Return an unquoted word in lower case, or nothing where none stands."""
        token = self.token(ahead)
        if token is None or token.kind is not TokenKind.IDENTIFIER:
            return ""
        return fold(self.sql[token.start : token.end])

    def at(self, *words: str) -> bool:
        """Tell whether these words stand here."""
        return all(self.word(ahead) == word for ahead, word in enumerate(words))

    def skip(self, *words: str) -> bool:
        """Step over these words if they stand here, and tell whether they did."""
        if not self.at(*words):
            return False
        self.index += len(words)
        return True

    def skip_mark(self, *marks: str) -> bool:
        """Step over one of these marks (punctuation or operators) if it stands here."""
        token = self.token()
        if token is None or token.kind not in (TokenKind.PUNCTUATION, TokenKind.OPERATOR):
            return False
        if self.text() not in marks:
            return False
        self.index += 1
        return True

    @property
    def position(self) -> int:
        """The 1-based position of this token, or of the text's end."""
        token = self.token()
        if token:
            return token.start + 1
        return (self.tokens[self.stop - 1].end if self.stop else len(self.sql)) + 1

    def fail(self, expected: str, hint: str | None = None) -> NoReturn:
        """Refuse what stands here."""
        text = self.text()
        token = self.token()
        where = f'at or near "{text}"' if text else "at end of input"
        if token and token.kind is TokenKind.ERROR:
            raise ModelSyntaxError(
                f"unterminated quote or comment {where}", hint=hint, position=self.position
            )
        raise ModelSyntaxError(
            f"syntax error {where}",
            detail=f"Expected {expected}.",
            hint=hint,
            position=self.position,
        )

    def name(self, expected: str, hint: str | None = None) -> str:
        """Step over a name and return it, folded unless it is quoted.

        Raises
        ------
        ProxyError
            42622: longer than PostgreSQL's names.
        """
        token = self.token()
        if token is None or token.kind not in NAME_KINDS:
            self.fail(expected, hint)
        name = name_of(self.sql, token)
        _check_length(name, self.position)
        self.index += 1
        return name

    def model_reference(self) -> ModelReference | None:
        """Step over `name`, `name:2.0` or a string that says either; None: it is neither."""
        token = self.token()
        if token is None:
            return None
        if token.kind in STRING_KINDS:
            return self._string_reference(token)
        if token.kind not in NAME_KINDS:
            return None
        position = self.position
        name = self.name("a model's name")
        version = None
        number = self.token(1)
        if self.text() == ":" and number and number.kind is TokenKind.NUMBER:
            version = _version(self.text(1))
            self.index += 2
        return ModelReference(name, version, position)

    def _string_reference(self, token: Token) -> ModelReference | None:
        found = reference_in(string_of(self.sql, token), self.position)
        if found is not None:
            self.index += 1
        return found


def reference_in(text: str, position: int) -> ModelReference | None:
    """Return the model that a string says, `name` or `name:2.0`; None where it says none.

    Parameters
    ----------
    position : of the string, for errors
    """
    found = _REFERENCE.fullmatch(text)
    if not found:
        return None
    quoted, plain, version = found.group("quoted", "plain", "version")
    name = quoted.replace('""', '"') if quoted else fold(plain)
    _check_length(name, position)
    return ModelReference(name, _version(version) if version else None, position)


def _version(text: str) -> str:
    """Write version 2 as the registry does: 2.0."""
    return f"{text}.0" if text.isdecimal() else text


def _check_length(name: str, position: int) -> None:
    if len(name.encode("utf-8", "replace")) > NAME_BYTES_MAX:
        raise ProxyError(
            f'name "{name}" is too long',
            detail=f"A name has at most {NAME_BYTES_MAX} bytes.",
            position=position,
            sqlstate="42622",
        )
