"""Rows as psql lays them out: headings centred, numbers to the right, words to the left."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence


def format_table(names: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return the aligned table of `rows`, without psql's row count."""
    return "\n".join(_lines(names, [list(row) for row in rows]))


def _lines(names: Sequence[str], rows: list[list[object]]) -> Iterator[str]:
    cells = [[_text(value) for value in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(names, *cells, strict=True)]
    is_number = [
        all(isinstance(value, int | float) or value is None for value in column)
        for column in zip(*rows, strict=True)
    ] or [False] * len(names)
    yield " " + " | ".join(map(_centred, names, widths)).rstrip()
    yield "+".join("-" * (width + 2) for width in widths)
    for row in cells:
        aligned = (
            text.rjust(width) if right else text.ljust(width)
            for text, width, right in zip(row, widths, is_number, strict=True)
        )
        yield " " + " | ".join(aligned).rstrip()


def _centred(text: str, width: int) -> str:
    """Centre as psql does: an odd blank goes to the right."""
    left = (width - len(text)) // 2
    return " " * left + text + " " * (width - len(text) - left)


def _text(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.4f}"
    return str(value)
