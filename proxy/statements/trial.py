"""A SELECT run for EXPLAIN ANALYZE: its rows are scored, timed and thrown away."""

from __future__ import annotations

import time
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from proxy.protocol.messages import (
    NO_PARAMETER_TYPES,
    PORTAL,
    STATEMENT,
    Bind,
    Execute,
    Parse,
    close,
)
from proxy.rewrite.row_decoder import RowDecoder
from proxy.session.questions import private_name
from proxy.session.session import Session
from proxy.statements.explaining import ScoringRun
from proxy.statements.scoring import ScoredStatement
from proxy.statements.threaded_rows import PART_BYTES, ThreadedRows

Values = list[NDArray[Any]]


class TrialRows(ThreadedRows[Values]):
    """Scores every row for nothing but the time that it takes."""

    __slots__ = ("_decoder", "_filled", "_lock", "_part", "_statement", "n_rows", "seconds")

    def __init__(self, session: Session, statement: ScoredStatement, n_visible: int) -> None:
        super().__init__(session)
        self._statement = statement
        self._decoder = RowDecoder(n_visible, statement.hidden_columns)
        self._part: Values = []
        self._filled = 0
        self._lock = Lock()
        self.n_rows = 0
        self.seconds = [0.0] * len(statement.scores)

    def take(self, data: bytes, start: int, stop: int) -> int:
        """Decode the inputs."""
        while True:
            decoded = self._decoder.decode(data, start, stop)
            if not decoded.n_rows:
                return start
            self._part.append(decoded.values.copy())
            self._filled += decoded.values.nbytes
            start = decoded.next_offset
            part = self.last_part() if self._filled >= PART_BYTES else None
            if part is not None:
                self.hand_over(part)

    def last_part(self) -> Values | None:
        """Return the rows that were not handed over yet."""
        part, self._part, self._filled = self._part, [], 0
        return part or None

    def work_on(self, part: Values) -> None:
        """Score them."""
        values = np.concatenate(part)
        for number, score in enumerate(self._statement.scores):
            start = time.perf_counter()
            score.scorer.scores(values)
            with self._lock:
                self.seconds[number] += time.perf_counter() - start
        with self._lock:
            self.n_rows += len(values)


async def try_out(
    session: Session, statement: ScoredStatement, parameters: bytes, n_visible: int
) -> dict[int, ScoringRun]:
    """Run what an EXPLAIN explains; return what was scored, by the call's place.

    Raises
    ------
    ProxyError, AlreadyAnswered
        As when it is run.
    """
    name = private_name()
    rows = TrialRows(session, statement, n_visible)
    formats = (0,) * n_visible + (1,) * statement.n_hidden
    messages = [
        Parse(
            name, (statement.splice.explained_sql or "").encode(session.codec), NO_PARAMETER_TYPES
        ).encode(),
        Bind(name, name, parameters, formats).encode(),
        Execute(name).encode(),
        close(PORTAL, name),
        close(STATEMENT, name),
    ]
    await rows.run(session.ask(messages, rows=rows))
    return {
        column.site: ScoringRun(rows.n_rows, seconds)
        for column, seconds in zip(statement.splice.scores, rows.seconds, strict=True)
    }
