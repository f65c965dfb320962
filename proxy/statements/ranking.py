"""The first few rows by a score: every row is scored by a thread, the best are kept.

Owns keeping them, and telling them to the client once the last row has passed. What a row of theirs
looks like is `rewrite.splice`'s.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from threading import Lock

import numpy as np
from numpy.typing import NDArray

from proxy.errors import TooLargeError
from proxy.protocol import message_types as t
from proxy.protocol.messages import command_complete
from proxy.protocol.wire import frame
from proxy.rewrite.plan import Ranking
from proxy.rewrite.row_decoder import DecodedRows, RowDecoder
from proxy.rewrite.splice import Splicer
from proxy.session.session import Session
from proxy.statements.scoring import ScoredStatement
from proxy.statements.threaded_rows import PART_BYTES, ThreadedRows

MOST_BYTES = 1 << 28
"""Of the rows that are kept for one statement."""

_SPARE_ROWS = 1024

Chunk = tuple[bytes, DecodedRows]


@dataclass(slots=True)
class RankedPortal:
    """What is left of a portal's rows; `rows` are whole DataRows."""

    rows: list[bytes] = field(default_factory=list)

    def next_messages(self, row_limit: int) -> bytes:
        """Return an Execute's answer; a limit of 0 is none."""
        count = min(row_limit or len(self.rows), len(self.rows))
        sent, self.rows = self.rows[:count], self.rows[count:]
        end = frame(t.PORTAL_SUSPENDED, b"")
        if not (row_limit and count == row_limit):
            end = command_complete(b"SELECT %d" % count)
        return b"".join([*sent, end])


class RankedRows(ThreadedRows[list[Chunk]]):
    """Takes every row of a ranked statement and keeps the best.

    Parameters
    ----------
    formats : of the visible columns
    """

    __slots__ = (
        "_decoder",
        "_filled",
        "_kept",
        "_lock",
        "_n_rows",
        "_part",
        "_ranking",
        "_statement",
        "_visible",
        "_worst",
    )

    def __init__(
        self,
        session: Session,
        statement: ScoredStatement,
        ranking: Ranking,
        formats: tuple[int, ...],
    ) -> None:
        super().__init__(session)
        self._statement = statement
        self._ranking = ranking
        self._decoder = RowDecoder(statement.n_visible, statement.hidden_columns)
        self._visible = statement.slots(formats, session.codec)
        self._part: list[Chunk] = []
        self._filled = 0
        self._n_rows = 0
        self._lock = Lock()
        self._kept: list[tuple[float, bytes]] = []
        self._worst = np.inf

    def take(self, data: bytes, start: int, stop: int) -> int:
        """Decode the inputs, and keep the rows' bytes until they are scored."""
        while True:
            decoded = self._decoder.decode(data, start, stop)
            if not decoded.n_rows:
                return start
            rows = slice(decoded.n_rows)
            chunk = bytes(data[start : decoded.next_offset])
            own = decoded._replace(
                next_offset=len(chunk),
                values=decoded.values.copy(),
                frame_starts=decoded.frame_starts[rows] - start,
                hidden_starts=decoded.hidden_starts[rows] - start,
            )
            self._part.append((chunk, own))
            self._filled += len(chunk) + own.values.nbytes
            self._n_rows += decoded.n_rows
            start = decoded.next_offset
            part = self.last_part() if self._filled >= PART_BYTES else None
            if part is not None:
                self.hand_over(part)

    def last_part(self) -> list[Chunk] | None:
        """Return the rows that were not handed over yet."""
        part, self._part, self._filled = self._part, [], 0
        return part or None

    def work_on(self, part: list[Chunk]) -> None:
        """Keep the rows of a part that may be among the first.

        Raises
        ------
        TooLargeError
            53200: the rows that are kept are larger than MOST_BYTES.
        """
        *_, last = self._statement.scores
        # At once: trees are four times as slow on blocks of a thousand rows.
        every = last.scorer.scores(np.concatenate([decoded.values for _, decoded in part]))
        start = 0
        for chunk, decoded in part:
            scores = every[start : start + decoded.n_rows]
            start += decoded.n_rows
            ranks = -scores if self._ranking.is_descending else scores
            places = np.flatnonzero(ranks < self._worst)
            if len(places):
                rows = self._written(chunk, decoded, places, scores)
                self._keep(list(zip(ranks[places].tolist(), rows, strict=True)))

    def _written(
        self,
        chunk: bytes,
        decoded: DecodedRows,
        places: NDArray[np.int64],
        ranked: NDArray[np.float64],
    ) -> list[bytes]:
        """Return some rows of a chunk, with their scores in them."""
        few = decoded._replace(
            n_rows=len(places),
            values=np.ascontiguousarray(decoded.values[places]),
            frame_starts=decoded.frame_starts[places],
            hidden_starts=decoded.hidden_starts[places],
        )
        scores = [
            ranked[places]
            if score is self._statement.scores[-1]
            else score.scorer.scores(few.values)
            for score in self._statement.visible_scores
        ]
        written = bytes(
            Splicer(self._statement.n_visible, self._visible).splice(chunk, few, scores)
        )
        rows, start = [], 0
        while start < len(written):
            end = start + 1 + int.from_bytes(written[start + 1 : start + 5], "big")
            rows.append(written[start:end])
            start = end
        return rows

    def _keep(self, rows: list[tuple[float, bytes]]) -> None:
        with self._lock:
            self._kept += rows
            most = self._ranking.n_skipped + self._ranking.n_wanted
            if len(self._kept) > 2 * most + _SPARE_ROWS:
                self._compact(most)

    def _compact(self, most: int) -> None:
        self._kept.sort(key=lambda row: row[0])
        del self._kept[most:]
        if len(self._kept) == most:
            self._worst = self._kept[-1][0] if self._kept else -np.inf
        if sum(len(row) for _, row in self._kept) > MOST_BYTES:
            raise TooLargeError(
                f"the first {most} rows take more than {MOST_BYTES >> 20} MB",
                hint="Ask for fewer rows or columns.",
                sqlstate="53200",
            )

    def portal(self) -> RankedPortal:
        """Return the rows, after the last."""
        self._statement.scores[-1].rows_scored.add(self._n_rows)
        self._compact(self._ranking.n_skipped + self._ranking.n_wanted)
        return RankedPortal([row for _, row in self._kept[self._ranking.n_skipped :]])
