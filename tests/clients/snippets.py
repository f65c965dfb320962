"""The snippets of docs/clients.md: where they stand and what they are.

Owns reading them out of the document.  What runs them, and what they must print, is left to
test_documentation.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

DOCUMENT = Path(__file__).parents[2] / "docs" / "clients.md"
PIECE = re.compile(
    r"^## (?P<heading>[^\n]+)$|^```(?P<language>\w*)\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL
)


@dataclass(frozen=True, slots=True)
class Snippet:
    """One fenced block.

    Parameters
    ----------
    heading : of its section; empty above the first one
    number : counted from 1 within the section
    """

    heading: str
    number: int
    language: str
    code: str

    def __str__(self) -> str:
        return f"{self.heading or 'introduction'} {self.number}"


def snippets() -> list[Snippet]:
    """Return all blocks of the document, in order."""
    found: list[Snippet] = []
    heading, number = "", 0
    for piece in PIECE.finditer(DOCUMENT.read_text(encoding="utf-8")):
        if piece["heading"]:
            heading, number = piece["heading"], 0
        else:
            number += 1
            found.append(Snippet(heading, number, piece["language"], piece["code"]))
    return found


def snippet(heading: str, number: int = 1) -> Snippet:
    """Return one block."""
    (found,) = [each for each in snippets() if (each.heading, each.number) == (heading, number)]
    return found


def training() -> str:
    """Return the statement of the introduction that makes model `churn`."""
    (found,) = [each for each in snippets() if not each.heading and each.language == "sql"]
    return found.code
