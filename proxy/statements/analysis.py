"""What a query string is to us, statement by statement; remembered, as clients repeat theirs.

Owns the memory (bounded in bytes) and the choice of a thread for long texts. Leaves the meaning to
`rewrite.planner`.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from dataclasses import dataclass

from proxy.errors import ModelSyntaxError, ProxyError
from proxy.rewrite.edits import EditedText
from proxy.rewrite.executions import Execution, executions
from proxy.rewrite.lexer import TokenKind, split_statements, tokenize
from proxy.rewrite.plan import Passthrough, Plan
from proxy.rewrite.planner import analyse
from proxy.rewrite.relations import qualify_state_relations

_LONG = 8 * 1024
"""Characters from which a text is read in a thread: tens of milliseconds would stop everybody."""
_REMEMBERED_BYTES = 16 << 20
_PART_BYTES = 512
_BYTES_PER_CHARACTER = 80
"""Of a statement of ours: its tree takes some 70, measured; any other is kept as its text twice."""


@dataclass(frozen=True, slots=True)
class Part:
    """One statement of a query string.

    `qualified` is its text with the schema before the proxy's own relations, where it names some;
    `relations` are their names. `executions` are what it runs by name.
    """

    sql: str
    start: int
    plan: Plan
    qualified: EditedText | None = None
    relations: tuple[str, ...] = ()
    executions: tuple[Execution, ...] = ()

    @property
    def is_edited(self) -> bool:
        """Whether more than its text is kept."""
        return self.qualified is not None or not isinstance(self.plan, Passthrough)


@dataclass(frozen=True, slots=True)
class Analysis:
    """A query string and its statements."""

    sql: str
    parts: tuple[Part, ...]

    @property
    def is_ours(self) -> bool:
        """Whether some statement is the proxy's own."""
        return any(not isinstance(part.plan, Passthrough) for part in self.parts)

    @property
    def relations(self) -> tuple[str, ...]:
        """Names of the proxy's relations that are used without their schema."""
        return tuple(sorted({name for part in self.parts for name in part.relations}))

    @property
    def size_bytes(self) -> int:
        """Return about how much memory it takes."""
        return 8 * len(self.sql) + sum(
            _PART_BYTES
            + (_BYTES_PER_CHARACTER * len(part.sql) if part.is_edited else 8 * len(part.sql))
            for part in self.parts
        )


class Analyses:
    """The analyses of the newest texts, for all sessions."""

    def __init__(self) -> None:
        self._known: OrderedDict[tuple[str, bool], Analysis] = OrderedDict()
        self._size = 0

    async def of(self, sql: str, *, standard_conforming_strings: bool) -> Analysis:
        """Return a query string's analysis.

        Raises
        ------
        ProxyError
            A statement of ours is wrong; its position counts in `sql`.
        """
        key = (sql, standard_conforming_strings)
        known = self._known.get(key)
        if known is not None:
            self._known.move_to_end(key)
            return known
        if len(sql) > _LONG:
            analysis = await asyncio.to_thread(_analyse, *key)
        else:
            analysis = _analyse(*key)
        self._remember(key, analysis)
        return analysis

    def _remember(self, key: tuple[str, bool], analysis: Analysis) -> None:
        size = _PART_BYTES + analysis.size_bytes
        if key in self._known or size > _REMEMBERED_BYTES // 8:
            return
        self._known[key] = analysis
        self._size += size
        while self._size > _REMEMBERED_BYTES:
            _, forgotten = self._known.popitem(last=False)
            self._size -= _PART_BYTES + forgotten.size_bytes


def _analyse(sql: str, standard_conforming_strings: bool) -> Analysis:  # noqa: FBT001
    tokens = tokenize(sql, standard_conforming_strings=standard_conforming_strings)
    parts = []
    for statement in split_statements(sql, tokens):
        text = sql[statement.start : statement.end]
        try:
            plan = analyse(text, standard_conforming_strings=standard_conforming_strings)
        except ProxyError as error:
            if error.position is not None:
                error.position += statement.start
            raise
        part = Part(text, statement.start, plan)
        if isinstance(plan, Passthrough):
            inner = tokenize(text, standard_conforming_strings=standard_conforming_strings)
            found = qualify_state_relations(text, inner)
            run = executions(text, inner)
            if found is not None:
                part = Part(text, statement.start, plan, found.edited, found.names, run)
            elif run:
                part = Part(text, statement.start, plan, executions=run)
        parts.append(part)
    analysis = Analysis(sql, tuple(parts))
    if analysis.is_ours and tokens[-1].kind is TokenKind.ERROR:
        # PostgreSQL reads a whole string before it runs the first statement of it.
        raise ModelSyntaxError(
            "unterminated quoted string, identifier or comment", position=tokens[-1].start + 1
        )
    return analysis
