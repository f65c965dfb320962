"""The conditions under which an expression computes a call: CASE and COALESCE around it.

Owns reading them off the tokens. A call's arguments may fail for the rows that they leave out:
`CASE WHEN b <> 0 THEN PREDICT(m, a / b) END`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from proxy.rewrite.lexer import Token, TokenKind

IS_TRUE, IS_NOT_TRUE, IS_NULL = "IS TRUE", "IS NOT TRUE", "IS NULL"


@dataclass(frozen=True, slots=True)
class Guard:
    """`tokens[first:stop]` must be so: one of the three tests."""

    first: int
    stop: int
    test: str


@dataclass(slots=True)
class _Frame:
    """A CASE or a pair of parentheses that is open."""

    word: str
    start: int
    whens: list[tuple[int, int]] = field(default_factory=list)
    arguments: list[tuple[int, int]] = field(default_factory=list)
    is_chosen: bool = False  # behind THEN: the last of `whens` was true


def guards_of(sql: str, tokens: tuple[Token, ...], first: int, place: int) -> list[Guard]:
    """Return what must be so for the token at `place` to be computed, from `first` on."""
    frames: list[_Frame] = []
    for index in range(first, place):
        word = _word(sql, tokens, index)
        if word in ("(", "["):
            name = "coalesce" if _word(sql, tokens, index - 1) == "coalesce" else "("
            frames.append(_Frame(name, index + 1))
        elif word == "case":
            is_searched = _word(sql, tokens, index + 1) == "when"
            frames.append(_Frame("case" if is_searched else "simple", index + 1))
        elif frames:
            _step(frames, word, index)
    return [guard for frame in frames for guard in _guards(frame)]


def _step(frames: list[_Frame], word: str, index: int) -> None:
    frame = frames[-1]
    if word in (")", "]") or (word == "end" and frame.word in ("case", "simple")):
        frames.pop()
    elif word == "," and frame.word == "coalesce":
        frame.arguments.append((frame.start, index))
        frame.start = index + 1
    elif frame.word == "case" and word == "when":
        frame.start, frame.is_chosen = index + 1, False
    elif frame.word == "case" and word == "then":
        frame.whens.append((frame.start, index))
        frame.is_chosen = True
    elif frame.word == "case" and word == "else":
        frame.is_chosen = False


def _guards(frame: _Frame) -> Iterator[Guard]:
    for number, when in enumerate(frame.whens, 1):
        is_chosen = frame.is_chosen and number == len(frame.whens)
        yield Guard(*when, IS_TRUE if is_chosen else IS_NOT_TRUE)
    for argument in frame.arguments:
        yield Guard(*argument, IS_NULL)


def _word(sql: str, tokens: tuple[Token, ...], index: int) -> str:
    if not 0 <= index < len(tokens):
        return ""
    token = tokens[index]
    if token.kind in (TokenKind.IDENTIFIER, TokenKind.PUNCTUATION):
        return sql[token.start : token.end].lower()
    return "?"
