"""What a session answers to some statements, and whether two answers are the same.

Owns the forms that a statement is sent in (a simple query, or prepared, described and bound, with
a binary result), and what "the same" means: tags, names, types and rows; floats to 1e-9 relative;
rows in any order unless the order is total; of an error its SQLSTATE. Knows nothing of models.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Literal

import psycopg
from psycopg import generators, pq

TOLERANCE = 1e-9
STATEMENT_LIMIT_S = 20

Form = Literal["simple", "prepared"]
FORMS: tuple[Form, ...] = ("simple", "prepared")
Row = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Result:
    """One statement's result; `columns` are names and type OIDs, None where there are no rows."""

    tag: str | None
    columns: tuple[tuple[str, int], ...] | None
    rows: list[Row] | None


@dataclass(frozen=True, slots=True)
class Described:
    """What Describe says before anything runs: the parameters' types, the columns."""

    parameters: tuple[int, ...]
    columns: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class Failure:
    """An error; the statements after it have not been sent."""

    sqlstate: str | None
    message: str


@dataclass(slots=True)
class Answer:
    """Everything that came, in order, and the notices."""

    parts: list[Result | Described | Failure] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)

    def notice(self, diagnostic: psycopg.errors.Diagnostic) -> None:
        """Keep a notice."""
        self.notices.append(diagnostic.message_primary or "")

    @property
    def failure(self) -> Failure | None:
        """The error, if there was one."""
        return next((part for part in self.parts if isinstance(part, Failure)), None)


class Sessions:
    """Sessions at one address: one for questions that leave nothing behind, others for the rest."""

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        self._kept: psycopg.Connection | None = None

    def ask(
        self,
        statements: Sequence[str],
        parameters: Sequence[Any],
        form: Form,
        *,
        undo: bool,
        setup: Sequence[str] = (),
    ) -> Answer:
        """Send statements one by one, until one fails.

        Parameters
        ----------
        parameters : of those statements that have `$1`
        undo : between BEGIN and ROLLBACK; else each is a transaction of its own, in a new session
        setup : statements before them, whose results are no part of the answer
        """
        answer = Answer()
        connection = self._take(undo=undo)
        connection.add_notice_handler(answer.notice)
        try:
            if undo:
                connection.execute("BEGIN")
            try:
                for statement in setup:
                    connection.execute(statement.encode())
                for statement in statements:
                    values = parameters if "$1" in statement else ()
                    _send(connection, statement, values, form, answer)
            except psycopg.Error as error:
                answer.parts.append(Failure(error.sqlstate, str(error)))
            self._check(connection, answer)
        finally:
            connection.remove_notice_handler(answer.notice)
            # A statement of that name, or plans that know a relation of that name.
            words = ("PREPARE", "CREATE", "INTO")
            leaves_something = any(word in text for text in statements for word in words)
            if connection is not self._kept or answer.failure or leaves_something:
                self._close(connection)
        return answer

    def close(self) -> None:
        """End the session that is kept."""
        if self._kept is not None:
            self._close(self._kept)

    def _take(self, *, undo: bool) -> psycopg.Connection:
        if undo and self._kept is not None:
            return self._kept
        # No statement holds a session for ever.
        options = f"-c statement_timeout={STATEMENT_LIMIT_S}s -c lock_timeout=5s"
        connection = psycopg.connect(self._dsn, autocommit=True, options=options)
        if undo:
            self._kept = connection
        return connection

    def _check(self, connection: psycopg.Connection, answer: Answer) -> None:
        """Require that the session goes on, whatever has been said, outside a transaction."""
        try:
            connection.execute("ROLLBACK")
            if connection.execute("SELECT 42").fetchall() != [(42,)]:
                answer.parts.append(Failure(None, "the session answers something else"))
        except psycopg.Error as error:
            answer.parts.append(Failure(None, f"the session does not go on: {error}"))

    def _close(self, connection: psycopg.Connection) -> None:
        connection.close()
        if connection is self._kept:
            self._kept = None


def _send(
    connection: psycopg.Connection,
    statement: str,
    parameters: Sequence[Any],
    form: Form,
    answer: Answer,
) -> None:
    if statement.lstrip().upper().startswith("COPY") and "STDOUT" in statement.upper():
        answer.parts.append(_copied(connection, statement))
        return
    is_prepared = form == "prepared"
    if is_prepared:
        answer.parts.append(_described(connection, statement))
    with psycopg.RawCursor(connection) as cursor:
        cursor.execute(
            statement.encode(), parameters or None, prepare=is_prepared, binary=is_prepared
        )
        while True:
            answer.parts.append(_result(cursor))
            if not cursor.nextset():
                break


def _result(cursor: psycopg.RawCursor[Row]) -> Result:
    if cursor.description is None:
        return Result(cursor.statusmessage, None, None)
    columns = tuple((column.name, column.type_code) for column in cursor.description)
    return Result(cursor.statusmessage, columns, cursor.fetchall())


def _described(connection: psycopg.Connection, statement: str) -> Described:
    """Parse and describe it under no name."""
    link = connection.pgconn
    link.send_prepare(b"", statement.encode())
    _waited(connection)
    link.send_describe_prepared(b"")
    said = _waited(connection)
    types = tuple(said.param_type(place) for place in range(said.nparams))
    columns = tuple(
        ((said.fname(place) or b"").decode(), said.ftype(place)) for place in range(said.nfields)
    )
    return Described(types, columns)


def _waited(connection: psycopg.Connection) -> pq.abc.PGresult:
    """Return the result of what was sent.

    libpq's own waiting keeps the GIL, and the proxy is in this process.
    """
    said: pq.abc.PGresult
    (said,) = connection.wait(generators.execute(connection.pgconn))
    if said.status != pq.ExecStatus.COMMAND_OK:
        raise psycopg.errors.error_from_result(said)
    return said


# --- COPY -----------------------------------------------------------------------------------------


def _copied(connection: psycopg.Connection, statement: str) -> Result:
    with connection.cursor() as cursor:
        with cursor.copy(statement.encode()) as copy:
            data = b"".join(bytes(block) for block in copy)
        rows = _binary_rows(data) if "BINARY" in statement.upper() else _text_rows(data, statement)
        return Result(cursor.statusmessage, None, rows)


def _text_rows(data: bytes, statement: str) -> list[Row]:
    separator = "," if "CSV" in statement.upper() else "\t"
    lines = data.decode().splitlines()
    return [tuple(map(_number_if_any, line.split(separator))) for line in lines]


def _number_if_any(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text


def _binary_rows(data: bytes) -> list[Row]:
    """Take COPY's binary format apart; a field of eight bytes is a float8."""
    assert data.startswith(b"PGCOPY\n\xff\r\n\0"), data[:20]
    (extension,) = struct.unpack_from("!i", data, 15)
    place, rows = 19 + extension, list[Row]()
    while (count := struct.unpack_from("!h", data, place)[0]) >= 0:
        place += 2
        row: list[Any] = []
        for _ in range(count):
            (size,) = struct.unpack_from("!i", data, place)
            raw = data[place + 4 : place + 4 + max(size, 0)]
            row.append(None if size < 0 else struct.unpack("!d", raw)[0] if size == 8 else raw)
            place += 4 + max(size, 0)
        rows.append(tuple(row))
    assert place + 2 == len(data), "bytes after the trailer"
    return rows


# --- the same -------------------------------------------------------------------------------------


def difference(got: Answer, wanted: Answer, *, ordered: bool, with_rows: bool = True) -> str | None:
    """Return the first thing that differs, or None.

    Parameters
    ----------
    ordered : the order of rows counts
    with_rows : else only their columns
    """
    for number, (mine, theirs) in enumerate(zip(got.parts, wanted.parts, strict=False), 1):
        found = _part_difference(mine, theirs, ordered=ordered, with_rows=with_rows)
        if found:
            return f"part {number}: {found}"
    if len(got.parts) != len(wanted.parts):
        return f"{len(got.parts)} parts, not {len(wanted.parts)}: {_short(got.parts[-1])}"
    return None


def _part_difference(mine: Any, theirs: Any, *, ordered: bool, with_rows: bool) -> str | None:
    if isinstance(mine, Failure) and isinstance(theirs, Failure):
        return None if mine.sqlstate == theirs.sqlstate else f"{mine}, not {theirs}"
    if type(mine) is not type(theirs) or isinstance(mine, Failure | Described):
        return None if mine == theirs else f"{_short(mine)}, not {_short(theirs)}"
    if mine.columns != theirs.columns:
        return f"columns {mine.columns}, not {theirs.columns}"
    if not with_rows:
        return None
    if mine.tag != theirs.tag:
        return f"tag {mine.tag}, not {theirs.tag}"
    if (mine.rows is None) != (theirs.rows is None):
        return f"rows {_short(mine.rows)}, not {_short(theirs.rows)}"
    return _row_difference(mine.rows or [], theirs.rows or [], ordered=ordered)


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) < 300 else text[:300] + "..."


def _row_difference(mine: list[Row], theirs: list[Row], *, ordered: bool) -> str | None:
    if len(mine) != len(theirs):
        return f"{len(mine)} rows, not {len(theirs)}"
    if not ordered:
        mine, theirs = sorted(mine, key=_rank), sorted(theirs, key=_rank)
    wrong = [(a, b) for a, b in zip(mine, theirs, strict=True) if not same(a, b)]
    if not ordered:
        # Two floats that are the same to the tolerance may be sorted either way.
        wrong = _unmatched(wrong)
    if not wrong:
        return None
    got, wanted = wrong[0]
    return f"{len(wrong)} of {len(mine)} rows differ: {_short(got)}, not {_short(wanted)}"


def _unmatched(pairs: list[tuple[Row, Row]]) -> list[tuple[Row, Row]]:
    free = [wanted for _, wanted in pairs]
    left = []
    for got, _ in pairs:
        match = next((place for place, wanted in enumerate(free) if same(got, wanted)), None)
        if match is None:
            left.append(got)
        else:
            free.pop(match)
    return list(zip(left, free, strict=True))


def _rank(row: Row) -> tuple[Any, ...]:
    """Order rows by what is no float first."""
    others = tuple(repr(value) for value in row if not isinstance(value, float | Decimal))
    floats = tuple(float(value) for value in row if isinstance(value, float | Decimal))
    return (others, floats)


def same(mine: Any, theirs: Any) -> bool:
    """Compare two values; floats and what holds them to the tolerance."""
    if isinstance(mine, float | Decimal) and isinstance(theirs, float | Decimal):
        a, b = float(mine), float(theirs)
        return type(mine) is type(theirs) and (
            math.isclose(a, b, rel_tol=TOLERANCE, abs_tol=1e-12)
            or (math.isnan(a) and math.isnan(b))
        )
    if isinstance(mine, list | tuple) and isinstance(theirs, list | tuple):
        return len(mine) == len(theirs) and all(map(same, mine, theirs))
    return type(mine) is type(theirs) and bool(mine == theirs)
