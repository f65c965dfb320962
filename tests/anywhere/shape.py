"""What an entry of the corpus is: SQL in which PREDICT stands somewhere, and what to compare.

Owns the words of an entry and the groups of models that shapes are asked of.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from zlib import crc32

from tests.anywhere.answers import FORMS, Form
from tests.anywhere.world import MODELS

# By what they return; PUSHED and STAGED by how it may be computed.
NUMBERS = ("linear", "logistic", "tree", "forest")
ALL_NUMBERS = ("linear", "polynomial", "logistic", "tree", "forest", "boosting", "network")
LABELS = ("segments", "kinds")
ALL_LABELS = ("segments", "grades", "moods", "kinds", "heaps", "dense")
# One of each line, by turns: what is written as SQL, a tree, what is computed aside, a text.
ANY = ("any",)
TURNS = (
    ("linear", "logistic", "linear", "polynomial"),
    ("tree",),
    ("forest", "network", "forest", "boosting"),
    LABELS,
)
FEW = ("linear", "forest", "segments")
ONE_OF_EACH = ("linear", "forest")
PUSHED = ("linear", "logistic", "tree", "segments", "heaps")
STAGED = ("forest", "kinds", "network")
EVERY = tuple(MODELS)


@dataclass(frozen=True, slots=True)
class Shape:
    """One way to write PREDICT.

    Attributes
    ----------
    steps : templates, sent one by one; all that they answer is compared
    models : of whom it is asked; a template without `{m}` needs one only
    parameters : of the step that has `$1`
    setup : statements of the proxy's road alone, before the steps
    after : a query of what the steps have left behind
    direct : the direct road's steps where PostgreSQL has no such words; of as many results
    ordered : the order of rows is total
    with_rows : rows are compared, not their columns only
    undo : within BEGIN and ROLLBACK; else what is left behind is `cleaning`'s to take away
    forms : how it is sent
    since : the server's first version that has the words, such as 170000
    fails : SQLSTATEs of which each road gives one
    refused : models for which 0A000 is an answer that will do, beside the right one
    refusals : 0A000, or the other SQLSTATEs that will do for those
    """

    name: str
    steps: tuple[str, ...]
    models: tuple[str, ...]
    parameters: tuple[Any, ...] = ()
    setup: tuple[str, ...] = ()
    after: str | None = None
    direct: tuple[str, ...] = ()
    ordered: bool = False
    with_rows: bool = True
    undo: bool = True
    cleaning: tuple[str, ...] = ()
    forms: tuple[Form, ...] = FORMS
    since: int = 0
    fails: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()
    refusals: tuple[str, ...] = ("0A000",)

    def forms_for(self, model: str) -> tuple[Form, ...]:
        """Return how it is sent: both ways for its first model, one of them by turns for others."""
        place = self.models.index(model)
        return self.forms if not place else (self.forms[place % len(self.forms)],)


def shape(name: str, *steps: str, models: Sequence[str] = ANY, **options: Any) -> Shape:
    """Return an entry; `direct` may be one text."""
    direct = options.pop("direct", ())
    direct = (direct,) if isinstance(direct, str) else direct
    if tuple(models) == ANY:
        turn = crc32(name.encode())
        models = [line[turn % len(line)] for line in TURNS]
    return Shape(name, steps, tuple(models), direct=direct, **options)


def shapes(prefix: str, templates: dict[str, str], **options: Any) -> list[Shape]:
    """Return entries that differ in nothing but their text."""
    return [shape(f"{prefix}, {name}", text, **options) for name, text in templates.items()]
