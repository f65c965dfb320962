"""Edits of the client's text, and the way from the edited text back to it.

Owns replacing stretches of a text and saying where any character of the result came from, so that
an error's position from the upstream points into what the client wrote. Leaves what to replace to
`planner` and `parser`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Piece:
    """A stretch of edited text.

    `source` is the offset in the original. A verbatim piece is the text that stands there; every
    character of another piece comes from that one offset.
    """

    text: str
    source: int
    verbatim: bool = False


@dataclass(frozen=True, slots=True)
class Edit:
    """Put `pieces` where `original[start:end]` stands; `start == end` inserts."""

    start: int
    end: int
    pieces: tuple[Piece, ...]


@dataclass(frozen=True, slots=True)
class EditedText:
    """A text after its edits."""

    text: str
    pieces: tuple[Piece, ...]
    original_length: int

    def original_position(self, position: int) -> int:
        """Map a 1-based character position in `text` to the original's."""
        offset = position - 1
        for piece in self.pieces:
            if offset < len(piece.text):
                return piece.source + (offset if piece.verbatim else 0) + 1
            offset -= len(piece.text)
        return self.original_length + 1


def edited(original: str, edits: Iterable[Edit]) -> EditedText:
    """Apply edits, given in order and not overlapping."""
    pieces: list[Piece] = []
    position = 0
    for edit in edits:
        assert edit.start >= position, "edits overlap or are out of order"
        pieces.append(Piece(original[position : edit.start], position, verbatim=True))
        pieces.extend(edit.pieces)
        position = edit.end
    pieces.append(Piece(original[position:], position, verbatim=True))
    kept = tuple(piece for piece in pieces if piece.text)
    return EditedText("".join(piece.text for piece in kept), kept, len(original))
