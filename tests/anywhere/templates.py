"""One template, two texts: what the proxy is asked, and what PostgreSQL itself is asked.

Owns the notation. `PREDICT({m}, a, b, word)` is a call of the model under test, `{tree}` in its
place one of that model; what merely reads like a call has no braces and stays as it is. On the
direct road a call becomes one of the oracle's plain function of the same name, its arguments bound
here, a second time, by the rules of docs/sql.md and cast as they say. Leaves the functions to
`oracle`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from tests.anywhere.world import Facts

SCHEMA = "oracle"
# Parameter types of the oracle's functions, by the kind that the registry says a feature has.
CASTS = {
    "number": "float8",
    "boolean": "boolean",
    "category": "text",
    "time": "timestamp",
    "array": "float8[]",
}

_call = re.compile(
    r"\bPREDICT(?:_CLASS|_PROBA)?\s*\(\s*('?)\{([\w ]+)\}(:\d+\.\d+)?\1\s*", re.IGNORECASE
)
_word = re.compile(r"\{([\w ]+)\}")
_star = re.compile(r"((?:(?:\w+|\"[^\"]+\")\s*\.\s*)*)\*")
_named = re.compile(r"(\w+|\"[^\"]+\")\s*=>\s*(.*)", re.DOTALL)
_column = re.compile(r"(?:(?:\w+|\"[^\"]+\")\.)*(\w+|\"[^\"]+\")")


@dataclass(frozen=True, slots=True)
class Feature:
    """An argument of a model, as the registry lists it."""

    name: str
    kind: str


Signatures = Mapping[str, Sequence[Feature]]


def proxied(template: str, model: str, facts: Facts) -> str:
    """Return what the proxy is asked."""
    return _filled(template, model, facts)


def direct(template: str, model: str, facts: Facts, signatures: Signatures) -> str:
    """Return what PostgreSQL itself is asked.

    Parameters
    ----------
    signatures : the features of every model; of a version, under `name:version`
    """
    return _filled(_translated(template, model, signatures), model, facts)


def type_of(reference: str) -> str:
    """Return the type whose one value names a model: the function is found by it."""
    return f'{SCHEMA}."{reference}"'


def parameter(name: str) -> str:
    """Return a feature's name as the parameter of a function."""
    return '"' + name + '"'


def _filled(text: str, model: str, facts: Facts) -> str:
    words = {
        "m": quoted(model),
        "type": facts.type_name,
        "target": facts.target,
        "low": facts.low,
        "cut": facts.cut,
        "high": facts.high,
    }
    return _word.sub(lambda found: words.get(found[1]) or quoted(found[1]), text)


def quoted(name: str) -> str:
    """Return a model's name as SQL writes it."""
    return name if re.fullmatch(r"[a-z_]\w*", name) else f'"{name}"'


def _translated(text: str, model: str, signatures: Signatures) -> str:
    parts, done = [], 0
    while found := _call.search(text, done):
        parts.append(text[done : found.start()])
        pieces, done = _arguments(text, found.end())
        reference = (model if found[2] == "m" else found[2]) + (found[3] or "")
        function = found[0].partition("(")[0].strip().lower()
        inner = [_translated(piece, model, signatures) for piece in pieces]
        first = f"'{reference}'::{type_of(reference)}"
        bound = ", ".join([first, *_bound(inner, signatures[reference])])
        parts.append(f"{SCHEMA}.{function}({bound})")
    return "".join(parts) + text[done:]


def _arguments(text: str, start: int) -> tuple[list[str], int]:
    """Cut at the commas of a call's own level; return the arguments and where the call ends."""
    depth, pieces, begin = 0, list[str](), start
    for place, character in _code(text, start):
        if character in "([":
            depth += 1
        elif depth and character in ")]":
            depth -= 1
        elif not depth and character in ",)":
            pieces.append(text[begin:place].strip())
            begin = place + 1
            if character == ")":
                return [piece for piece in pieces if piece], begin
    raise AssertionError(f"a call without an end: {text[start:]}")


def _code(text: str, start: int) -> Iterator[tuple[int, str]]:
    """Yield what is neither in quotes nor in a comment."""
    skipped = re.compile(r"'(?:[^']|'')*'|\"[^\"]*\"|--[^\n]*|/\*.*?\*/", re.DOTALL)
    place = start
    while place < len(text):
        if found := skipped.match(text, place):
            place = found.end()
        else:
            yield place, text[place]
            place += 1


def _bound(arguments: Sequence[str], features: Sequence[Feature]) -> list[str]:
    """Return the arguments by name, each with its cast."""
    names = [feature.name for feature in features]
    bound: dict[str, str] = {}
    stars, rest, extra = list[str](), list[tuple[int, str]](), list[str]()
    order = 0
    for argument in arguments:
        if star := _star.fullmatch(argument):
            stars.append(star[1])
        elif named := _named.fullmatch(argument):
            name = named[1].strip('"')
            if name in names:
                bound[name] = named[2]
            elif name == "class":
                extra.append(f'"class" => {named[2]}')
        else:
            column = _column.fullmatch(argument)
            if column and column[1].strip('"') in names:
                bound[column[1].strip('"')] = argument
            else:
                rest.append((order, argument))
            order += 1
    for qualifier in stars:
        bound |= {name: f'{qualifier}"{name}"' for name in names if name not in bound}
    for order, argument in rest:
        at_its_place = not stars and order < len(names) and names[order] not in bound
        place = order if at_its_place else next(i for i, n in enumerate(names) if n not in bound)
        bound[names[place]] = argument
    return [
        f"{parameter(feature.name)} => CAST({bound[feature.name]}\n AS {CASTS[feature.kind]})"
        for feature in features
        if feature.name in bound
    ] + extra
