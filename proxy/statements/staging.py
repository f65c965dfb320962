"""Scores that a statement looks up: its rows' inputs read in the session, and scored by a thread.

Owns the reading beforehand, the upstream's pause while the thread is behind, and the parameters
that the statement gets. What is read is `rewrite.gathering`'s to say, how it is looked up
`rewrite.lookup`'s.
"""

from __future__ import annotations

import asyncio
import struct
import time
from collections.abc import Sequence
from dataclasses import dataclass
from threading import Lock

import numpy as np

from proxy.errors import TooLargeError
from proxy.protocol import message_types as t
from proxy.protocol import oids
from proxy.protocol.messages import (
    NO_PARAMETERS,
    PORTAL,
    STATEMENT,
    Bind,
    Execute,
    Parse,
    close,
    row_values,
)
from proxy.protocol.replies import SilentReply
from proxy.protocol.wire import int16, int32, uint16, uint32
from proxy.rewrite.lookup import Keys, Scores, array_binary, bounded, unique_scores
from proxy.rewrite.plan import PredictQuery, StageStep
from proxy.rewrite.row_decoder import RowDecoder
from proxy.session.questions import PositionMap, private_name, private_query
from proxy.session.session import Session
from proxy.statements.explaining import ScoringRun
from proxy.statements.scoring import ScoredStatement
from proxy.statements.threaded_rows import PART_BYTES, ThreadedRows

MOST_ROWS = 1 << 23
"""Different rows that are scored for one statement, all its steps together.

A gigabyte and a half while the arrays are made; they are 400 MB on their way, and PostgreSQL takes
a message of one gigabyte.
"""

_COMPACTED_ROWS = 1 << 20
_NULL = int32(-1)
# Not SET TRANSACTION, which warns where the transaction is an implicit one.
_REPEATABLE = b"SET transaction_isolation = 'repeatable read'"
_KEY = slice(11, 19)
"""Of a DataRow: its header and the length of its first value are before."""


@dataclass(frozen=True, slots=True)
class ClientParameters:
    """What the client binds: its values, and the types that the statement has for them.

    Attributes
    ----------
    values : as in `Bind.parameters`
    types : OIDs, one for each of the client's parameters
    """

    values: bytes = NO_PARAMETERS
    types: tuple[int, ...] = ()


def parameter_count(values: bytes) -> int:
    """Return how many values a Bind has."""
    start = 2 + 2 * int.from_bytes(values[:2], "big")
    return int.from_bytes(values[start : start + 2], "big")


def bound_parameters(values: bytes, arrays: Sequence[bytes | None]) -> bytes:
    """Return `Bind.parameters` with arrays in binary format behind the client's values."""
    n_formats = int.from_bytes(values[:2], "big")
    rest = values[2 + 2 * n_formats :]
    n_values = int.from_bytes(rest[:2], "big")
    formats = values[2 : 2 + 2 * n_formats]
    if n_formats == 0:
        formats = int16(0) * n_values
    elif n_formats == 1:
        formats *= n_values
    formats += int16(1) * len(arrays)
    sized = [_NULL if each is None else int32(len(each)) + each for each in arrays]
    count = n_values + len(arrays)
    return b"".join([uint16(count), formats, uint16(count), rest[2:], *sized])


def with_array_types(types: Sequence[int], n_steps: int) -> bytes:
    """Return a Parse's parameter types: the client's, and two arrays for each step."""
    every = [*types, *(oids.INT8_ARRAY, oids.FLOAT8_ARRAY) * n_steps]
    return uint16(len(every)) + b"".join(map(uint32, every))


async def keep_one_snapshot(session: Session, query: PredictQuery) -> None:
    """Let what is read beforehand and the statement see the same rows, where that costs nothing.

    Outside a transaction a statement that only reads is a transaction of its own: a repeatable one
    is the same to its client.

    Raises
    ------
    AlreadyAnswered
        The upstream is gone.
    """
    if not (query.only_reads and session.is_between_batches and session.status == t.IDLE):
        return
    # SHOW takes no snapshot; after a query it would be too late.
    question = await session.ask(private_query(b"SHOW transaction_isolation"))
    if row_values(question.bodies(t.DATA_ROW)[0])[0] in (b"read committed", b"read uncommitted"):
        for message in private_query(_REPEATABLE):
            session.send(message, SilentReply(message[0]))


def constants(arrays: Sequence[bytes], first: int) -> dict[int, str]:
    """Return the arrays as PostgreSQL writes them, by the number of their parameter."""
    return {first + place: _text(array) for place, array in enumerate(arrays)}


def _text(array: bytes) -> str:
    dimensions, _, element = struct.unpack_from("!3I", array)
    kind = ">i8" if element == oids.INT8 else ">f8"
    pairs = np.dtype([("size", ">i4"), ("value", kind)])
    values = np.frombuffer(array, pairs, offset=20 if dimensions else len(array))["value"]
    return "{" + ",".join(map(repr, values.tolist())) + "}"


async def stage(
    session: Session,
    statement: ScoredStatement,
    parameters: ClientParameters,
    offset: int = 0,
    runs: dict[int, ScoringRun] | None = None,
) -> list[bytes]:
    """Score what a statement will look up; return the arrays, two for each step.

    Parameters
    ----------
    offset : of the statement in the client's text
    runs : gets what was scored, by the call's place in the statement

    Raises
    ------
    TooLargeError
        54000: more than MOST_ROWS different rows.
    QueryCanceledError
        The client asked to stop.
    AlreadyAnswered
        The upstream refused a query, or ended it.
    """
    steps = statement.splice.stages
    if statement.splice.is_only_explained:
        return no_scores(len(steps))
    arrays: list[bytes | None] = [None] * (2 * len(steps))
    allowed = MOST_ROWS
    n_client = len(parameters.types)
    types = with_array_types(parameters.types, len(steps))
    for number, step in enumerate(steps):
        name = private_name()
        text = step.sql.encode(session.codec)
        rows = StagedRows(session, statement, number, allowed)
        values = bound_parameters(parameters.values, arrays)
        messages = [
            Parse(name, text, types).encode(),
            Bind(name, name, values, (1,)).encode(),
            Execute(name).encode(),
            close(PORTAL, name),
            close(STATEMENT, name),
        ]
        await rows.run(session.ask(messages, position_map=_shifted(step, offset), rows=rows))
        bounds, scores = await asyncio.to_thread(rows.arrays)
        allowed -= rows.n_kept
        rows.count()
        if runs is not None:
            runs[step.site] = ScoringRun(rows.n_rows, rows.seconds)
        arrays[step.bounds - n_client - 1] = bounds
        arrays[step.scores - n_client - 1] = scores
    return [each for each in arrays if each is not None]


def no_scores(n_steps: int) -> list[bytes]:
    """Return the arrays of a statement that will not run, but must be bound."""
    bounds = array_binary(np.empty(0, np.int64), oids.INT8)
    scores = array_binary(np.empty(0, np.float64), oids.FLOAT8)
    return [bounds, scores] * n_steps


def _shifted(step: StageStep, offset: int) -> PositionMap:
    return lambda position: step.edited.original_position(position) + offset


class StagedRows(ThreadedRows[tuple[Keys, Scores]]):
    """Scores the rows of one step; of each different one the key and the score are kept.

    Attributes
    ----------
    n_rows, seconds : rows that were scored, and how long that took, of all threads
    """

    __slots__ = (
        "_allowed",
        "_decoder",
        "_filled",
        "_lock",
        "_n_kept",
        "_part",
        "_score",
        "_scored",
        "n_rows",
        "seconds",
    )

    def __init__(
        self, session: Session, statement: ScoredStatement, number: int, allowed: int
    ) -> None:
        super().__init__(session)
        self._allowed = allowed
        self._score, columns = statement.stage_score(number)
        self._decoder = RowDecoder(1, columns)
        self._part: list[tuple[Keys, Scores]] = []
        self._filled = 0
        self._lock = Lock()
        self._scored: list[tuple[Keys, Scores]] = []
        self._n_kept = 0
        self.n_rows = 0
        self.seconds = 0.0

    def take(self, data: bytes, start: int, stop: int) -> int:
        """Decode the inputs and the keys."""
        while True:
            decoded = self._decoder.decode(data, start, stop)
            if not decoded.n_rows:
                return start
            starts = decoded.frame_starts[: decoded.n_rows]
            places = starts[:, None] + np.arange(_KEY.start, _KEY.stop)
            keys = np.frombuffer(data, np.uint8)[places].view(">i8")[:, 0].astype(np.int64)
            self._part.append((keys, decoded.values.copy()))
            self._filled += keys.nbytes + decoded.values.nbytes
            start = decoded.next_offset
            part = self.last_part() if self._filled >= PART_BYTES else None
            if part is not None:
                self.hand_over(part)

    def last_part(self) -> tuple[Keys, Scores] | None:
        """Return the rows that were not handed over yet."""
        if not self._part:
            return None
        keys = np.concatenate([keys for keys, _ in self._part])
        values = np.concatenate([values for _, values in self._part])
        self._part.clear()
        self._filled = 0
        return keys, values

    def work_on(self, part: tuple[Keys, Scores]) -> None:
        """Score the rows of a part.

        Raises
        ------
        TooLargeError
            54000: there are more than MOST_ROWS different rows.
        """
        keys, values = part
        start = time.perf_counter()
        scores = self._score.scorer.scores(values)
        seconds = time.perf_counter() - start
        scored = unique_scores(keys, scores)
        with self._lock:
            self.n_rows += len(keys)
            self.seconds += seconds
            self._scored.append(scored)
            self._n_kept += len(scored[0])
            most = _COMPACTED_ROWS + 2 * len(self._scored[0][0])
            if self._n_kept > min(most, self._allowed):
                self._compact()
            if self._n_kept > self._allowed:
                raise TooLargeError(
                    f"PREDICT would have to be known for more than {MOST_ROWS} different rows"
                    " before the statement runs",
                    hint="Call it as a column of the outermost select list, or on fewer rows.",
                )

    def _compact(self) -> None:
        """Keep every key once; those of different parts may be the same."""
        keys = np.concatenate([keys for keys, _ in self._scored])
        scores = np.concatenate([scores for _, scores in self._scored])
        self._scored = [unique_scores(keys, scores)]
        self._n_kept = len(self._scored[0][0])

    def count(self) -> None:
        """Count the rows, on the event loop: threads would lose some."""
        self._score.rows_scored.add(self.n_rows)

    @property
    def n_kept(self) -> int:
        """How many different rows are known."""
        return self._n_kept

    def arrays(self) -> tuple[bytes, bytes]:
        """Return the bounds and the scores, as the statement takes them."""
        if not self._scored:
            self._scored.append((np.empty(0, np.int64), np.empty(0, np.float64)))
        self._compact()
        bounds, scores = bounded(*self._scored[0])
        return array_binary(bounds, oids.INT8), array_binary(scores, oids.FLOAT8)
