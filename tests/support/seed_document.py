"""The SQL of the seed document: the project's copy of it, and the document where there is one.

Owns where both lie, and how a text becomes statements: by PostgreSQL's own scanner, so that no line
of the proxy's lexer takes part. What the statements do is `test_seed`'s.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pglast

ROOT = Path(__file__).resolve().parents[2]
COPY = ROOT / "tests" / "end_to_end" / "seed.sql"
DOCUMENT = ROOT.parent / "shared" / "seed" / "rustydb-ml-engine.md"

_COMMENT = re.compile(r"--[^\n]*\n|\s+")
_FENCE = re.compile(r" {0,3}(?P<marks>`{3,}|~{3,})[ \t]*(?P<info>[^`\n]*?)[ \t]*")
_NAMED = re.compile(
    r"(?P<what>CREATE MODEL|CREATE MODEL_DEPLOYMENT|CREATE FUNCTION|INSERT INTO)\s+(?P<name>\w+)"
)


@dataclass(frozen=True, slots=True)
class SeedStatement:
    """One statement, as written: with the comments before it and its semicolon.

    Attributes
    ----------
    number : its place in the document, from 1
    """

    number: int
    text: str

    @property
    def title(self) -> str:
        """What it is, in a word or two: `CREATE MODEL churn_model`, or where a SELECT reads."""
        beginning = self.text
        while comment := _COMMENT.match(beginning):
            beginning = beginning[comment.end() :]
        named = _NAMED.match(beginning)
        if named:
            return f"{named['what']} {named['name']}"
        assert beginning.startswith("SELECT"), beginning
        (source,) = re.findall(r"FROM (\w+)", beginning)
        return f"SELECT FROM {source}"


def sql_blocks(markdown: str) -> list[str]:
    """Return the contents of the fenced blocks whose info string is `sql`, in order.

    Raises
    ------
    ValueError
        A block does not end.
    """
    blocks: list[str] = []
    inside: list[str] = []
    marks = info = ""
    for line in markdown.splitlines():
        fence = _FENCE.fullmatch(line)
        if not marks:
            if fence:
                marks, info, inside = fence["marks"], fence["info"], []
        elif fence and fence["marks"].startswith(marks) and not fence["info"]:
            if info.split()[:1] == ["sql"]:
                blocks.append("\n".join(inside))
            marks = ""
        else:
            inside.append(line)
    if marks:
        raise ValueError("a fenced block does not end")
    return blocks


def one_script(blocks: Iterable[str]) -> str:
    """Return blocks as the copy has them: an empty line between them."""
    return "\n\n".join(blocks) + "\n"


def split(script: str) -> list[SeedStatement]:
    """Return a script's statements, each of which must end with a semicolon."""
    slices = pglast.split(script, with_parser=False, only_slices=True)
    texts = [script[each.start : each.stop + 1] for each in slices]
    assert all(text.endswith(";") for text in texts)
    return [SeedStatement(number, text) for number, text in enumerate(texts, 1)]
