"""A slow model of the backend: which messages it sends for which, and which it discards.

Written after PostgresMain, SocketBackend and CopyGetData of PostgreSQL, with their own names
(`ignore_till_sync`, `doing_extended_query_message`), and after nothing in `proxy`. What a statement
does is decided beforehand, by the `Fate` of the message that runs it.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, field

from tests.support.wire import frame, text

ERROR = frame("E", b"SERROR\0VERROR\0C22012\0Mdivision by zero\0\0")
NOTICE = frame("N", b"SNOTICE\0VNOTICE\0C00000\0Mhello\0\0")
NOTIFICATION = frame("A", b"\0\0\0\1" + text("channel") + text(""))
PARAMETER = frame("S", text("application_name") + text("model"))
ASYNCHRONOUS = (NOTICE, NOTIFICATION, PARAMETER)

ROW = frame("D", b"\0\1\0\0\0\1x")
COPY_ROW = frame("d", b"x\n")
DESCRIPTION = frame("T", b"\0\1" + text("x") + b"\0\0\0\0\0\0\0\0\0\x17\0\4\xff\xff\xff\xff\0\0")
COMPLETE = frame("C", text("SELECT 1"))
READY = frame("Z", b"I")
SINGLE_ANSWERS = {
    "P": frame("1"),
    "B": frame("2"),
    "C": frame("3"),
    "F": frame("V", b"\xff\xff\xff\xff"),
}
# A statement without rows, a portal, a statement with rows.
DESCRIBED = (
    (frame("t", b"\0\0"), frame("n")),
    (DESCRIPTION,),
    (frame("t", b"\0\0"), DESCRIPTION),
)

Work = str
"""What a statement does: rows, empty, suspended, copy in, copy out, copy both or fail."""


@dataclass(frozen=True)
class Fate:
    """What becomes of one frontend message.

    Parameters
    ----------
    works : of each statement of a Query, or of the one that an Execute runs
    rows : of a statement that has some
    fails : a Parse, Bind, Describe, Close, Sync or FunctionCall gives an error
    breaks_after : a COPY IN gives an error at so many CopyData; None: it does not
    noise : asynchronous messages that go out before the answer
    """

    works: tuple[Work, ...] = ("rows",)
    rows: int = 1
    fails: bool = False
    breaks_after: int | None = None
    noise: tuple[bytes, ...] = ()


@dataclass(frozen=True)
class Sent:
    """One frontend message."""

    code: str
    fate: Fate = field(default_factory=Fate)


@dataclass(frozen=True)
class Answer:
    """One backend message, and the number of the frontend message that it answers."""

    owner: int
    message: bytes


class StatementError(Exception):
    """ereport(ERROR)."""


class LostSynchronizationError(Exception):
    """The backend ends the session: a message within COPY that cannot be."""


class Backend:
    """PostgresMain: feed it one message after the other.

    Attributes
    ----------
    answers : all that it has sent
    skipped : numbers of the messages that it discarded while it looked for a Sync
    """

    def __init__(self) -> None:
        self.answers: list[Answer] = []
        self.skipped: list[int] = []
        self.ignore_till_sync = False
        self._owner = 0
        self._number = -1
        self._loop = self._main()
        next(self._loop)

    def feed(self, message: Sent) -> None:
        """Receive the next message."""
        self._number += 1
        self._loop.send(message)

    def _send(self, *messages: bytes) -> None:
        self.answers += [Answer(self._owner, message) for message in messages]

    def _main(self) -> Generator[None, Sent, None]:
        while True:
            message = yield
            if message.code in "SX":
                self.ignore_till_sync = False
            if self.ignore_till_sync:
                self.skipped.append(self._number)
                continue
            doing_extended_query_message = message.code in "PBDECH"
            send_ready_for_query = message.code in "QFS"
            if message.code not in "Hdcf":
                self._owner = self._number
                self._send(*message.fate.noise)
            try:
                yield from self._process(message)
            except StatementError:
                self._send(ERROR)
                if doing_extended_query_message:
                    self.ignore_till_sync = True
            if send_ready_for_query:
                self._send(READY)

    def _process(self, message: Sent) -> Generator[None, Sent, None]:
        fate = message.fate
        if message.code == "Q":
            for work in fate.works:
                yield from self._run(work, fate, is_simple=True)
            if not fate.works:
                self._send(frame("I"))
        elif message.code == "E":
            yield from self._run(fate.works[0], fate, is_simple=False)
        elif message.code in "PBDCSF":
            if fate.fails:
                raise StatementError
            if message.code == "D":
                self._send(*DESCRIBED[min(fate.rows, 2)])
            elif message.code in SINGLE_ANSWERS:
                self._send(SINGLE_ANSWERS[message.code])

    def _run(self, work: Work, fate: Fate, *, is_simple: bool) -> Generator[None, Sent, None]:
        if work == "fail":
            raise StatementError
        if work == "empty":
            self._send(frame("I"))
        elif work == "copy in":
            self._send(frame("G", b"\0\0\0"))
            yield from self._copy_in(fate.breaks_after)
            self._send(COMPLETE)
        elif work == "copy both":
            self._send(frame("W", b"\0\0\0"), COPY_ROW)
            yield from self._copy_in(None)
            self._send(frame("c"), COMPLETE)
        elif work == "copy out":
            self._send(frame("H", b"\0\0\0"), *[COPY_ROW] * fate.rows, frame("c"), COMPLETE)
        elif work == "fail late":
            self._send(*[DESCRIPTION] * is_simple, *[ROW] * fate.rows)
            raise StatementError
        elif work == "suspended" and not is_simple:
            self._send(*[ROW] * fate.rows, frame("s"))
        else:
            self._send(*[DESCRIPTION] * is_simple, *[ROW] * fate.rows, COMPLETE)

    def _copy_in(self, breaks_after: int | None) -> Generator[None, Sent, None]:
        """Read as CopyGetData does."""
        seen = 0
        while True:
            message = yield
            if message.code == "c":
                return
            if message.code == "f":
                raise StatementError
            if message.code == "d":
                seen += 1
                if seen == breaks_after:
                    raise StatementError
            elif message.code not in "HS":
                raise LostSynchronizationError
