"""A tiny language for conversations: a test is a list of messages and of waits.

    Script("two statements", send(query("SELECT 1; SELECT 2")), until("Z"))

Owns the steps and how one script is played at one address.  Comparing is the test's.
"""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

from tests.support.waiting import until_true
from tests.support.wire import (
    Address,
    Cutter,
    Frontend,
    LoginError,
    Message,
    normalise,
    query,
    send_cancel,
    sync,
)


@dataclass(slots=True)
class Session:
    """One play of a script: the connection, and what the server has said so far."""

    address: Address
    frontend: Frontend
    elsewhere: Frontend
    transcript: list[Message] = field(default_factory=list)


Step = Callable[[Session], Awaitable[None]]


@dataclass(frozen=True)
class Script:
    """A conversation.

    Parameters
    ----------
    name : says what it shows
    steps : what to do after the login, or instead of it where `raw` is set
    login : arguments of `Frontend.authenticate` that differ from the usual, or further options
    raw : the steps begin with the first packet
    ends : the server closes the connection; the transcript goes up to there
    ours : the proxy may refuse it itself, by a FATAL of class 08 in its own words where PostgreSQL
        has others or just closes the connection
    whole : never cut what is sent: the server may close, and reset, before it has seen all
    erase : takes out of a message what differs between two runs of this very script
    """

    name: str
    steps: tuple[Step, ...] = ()
    login: Mapping[str, object] = field(default_factory=dict)
    raw: bool = False
    ends: bool = False
    ours: bool = False
    whole: bool = False
    erase: Callable[[Message], Message] = lambda message: message

    def __str__(self) -> str:
        return self.name


def send(*messages: bytes) -> Step:
    """Send messages in one write."""

    async def step(session: Session) -> None:
        # A server that has closed the connection already says why in what is read next.
        with contextlib.suppress(ConnectionError):
            await session.frontend.send(*messages)

    return step


def until(code: str, count: int = 1) -> Step:
    """Read up to the count-th message of a type."""

    async def step(session: Session) -> None:
        session.transcript += await session.frontend.until(code, count)

    return step


def silence(seconds: float = 0.15) -> Step:
    """Require that the server says nothing yet."""

    async def step(session: Session) -> None:
        assert await session.frontend.is_silent(seconds)

    return step


def byte() -> Step:
    """Read one untyped byte, as the answer to SSLRequest is."""

    async def step(session: Session) -> None:
        answer = await session.frontend.receive_byte()
        session.transcript.append(Message("byte", answer))

    return step


def half_close() -> Step:
    """Close our direction of the stream and keep reading."""

    async def step(session: Session) -> None:
        session.frontend.writer.write_eof()

    return step


def authenticate(user: str, secret: str = "") -> Step:
    """Go through a login whose first packet is sent."""

    async def step(session: Session) -> None:
        try:
            session.transcript += await session.frontend.answer_authentication(user, secret)
        except LoginError as error:
            session.transcript += error.messages

    return step


def elsewhere(sql: str) -> Step:
    """Run a query in another session, directly at PostgreSQL."""

    async def step(session: Session) -> None:
        reply = await session.elsewhere.query(sql)
        assert all(message.code != "E" for message in reply), reply

    return step


def until_waiting(event: str) -> Step:
    """Wait until the session's backend waits for an event, such as PgSleep."""

    async def step(session: Session) -> None:
        sql = f"SELECT wait_event FROM pg_stat_activity WHERE pid = {session.frontend.pid}"

        async def is_waiting() -> bool:
            return await session.elsewhere.value(sql) == event

        await until_true(is_waiting)

    return step


def cancel(secret: bytes | None = None) -> Step:
    """Send a CancelRequest with the session's key, or with a wrong secret."""

    async def step(session: Session) -> None:
        key = session.frontend.secret if secret is None else secret
        answer = await send_cancel(session.address, session.frontend.pid, key)
        assert answer == b"", answer

    return step


def simple(*statements: str | bytes) -> tuple[Step, ...]:
    """Send simple queries, each after the reply to the one before."""
    steps: list[Step] = []
    for statement in statements:
        steps += [send(query(statement)), until("Z")]
    return tuple(steps)


async def play(
    script: Script,
    address: Address,
    usual: Mapping[str, str],
    server: Address,
    cutter: Cutter | None = None,
) -> list[Message]:
    """Return the normalised transcript of a script, from the login to the end of the stream.

    Parameters
    ----------
    address : where the script is played
    usual : the usual arguments of a login
    server : PostgreSQL itself, for what happens in other sessions
    cutter : cuts all that is sent into pieces
    """
    other = await Frontend.login(server, user=usual["user"], database=usual["database"])
    async with other, await Frontend.connect(address, None if script.whole else cutter) as frontend:
        session = Session(address, frontend, other)
        if not script.raw and not await _log_in(session, {**usual, **script.login}):
            return _finished(script, session)
        for step in script.steps:
            await step(session)
        if not script.ends:
            # Whatever one reply too many or too few there was shows here.
            await frontend.send(sync(), query("SELECT 'in step'"))
            session.transcript += await frontend.until("Z", 2)
            await frontend.send(b"X\0\0\0\4")
        session.transcript += await frontend.until_end()
        return _finished(script, session)


async def _log_in(session: Session, arguments: Mapping[str, object]) -> bool:
    try:
        session.transcript += await session.frontend.authenticate(**arguments)  # type: ignore[arg-type]
    except LoginError as error:
        session.transcript += error.messages
        return False
    return True


def _finished(script: Script, session: Session) -> list[Message]:
    names = {session.frontend.pid: b"self", session.elsewhere.pid: b"else"}
    transcript = [script.erase(message) for message in normalise(session.transcript, names)]
    if script.ours and transcript and _is_fatal_of_ours(transcript[-1]):
        transcript.pop()
    return transcript


def _is_fatal_of_ours(message: Message) -> bool:
    if message.code != "E":
        return False
    fields = message.error_fields
    return fields["V"] == "FATAL" and fields["C"][:2] == "08"
