"""JIT off while the upstream plans one statement with a score in it, and for nothing else.

Measured: compiling a tree's expression made it 2 to 21 times slower. The upstream decides when it
plans, so the setting is off for just that message. Outside a transaction it is set for the implicit
one, which ends with the statement; within one it is put back at once.
"""

from __future__ import annotations

from proxy.protocol import message_types as t
from proxy.protocol.messages import row_values
from proxy.protocol.replies import SilentReply, kind_of
from proxy.session.questions import private_query
from proxy.session.session import Session

_RUN_NOTHING = (t.PARSE, t.DESCRIBE, t.CLOSE)
_IS_ON = b"SELECT pg_catalog.current_setting('jit')"
_OFF = b"SELECT pg_catalog.set_config('jit', 'off', true)"
_ON = b"SELECT pg_catalog.set_config('jit', 'on', true)"


def is_alone(session: Session) -> bool:
    """Tell whether nothing has run yet in the transaction, which ends with the message in hand."""
    return session.status == t.IDLE and all(
        kind_of(entry) in _RUN_NOTHING for entry in session.replies.queue
    )


class WithoutJit:
    """The setting around one message.

    Parameters
    ----------
    is_on : whether it is on in the session; where it is off there is nothing to do
    is_restored : it must be put back
    """

    def __init__(self, session: Session, *, is_on: bool, is_restored: bool) -> None:
        self._session = session
        self._is_on = is_on
        self._is_restored = is_restored

    @classmethod
    async def ask(cls, session: Session) -> WithoutJit:
        """Learn what is to be put back.

        Raises
        ------
        AlreadyAnswered
            The session's transaction has failed.
        """
        if is_alone(session):
            return cls.alone(session)
        question = await session.ask(private_query(_IS_ON))
        is_on = row_values(question.bodies(t.DATA_ROW)[0])[0] == b"on"
        return cls(session, is_on=is_on, is_restored=True)

    @classmethod
    def alone(cls, session: Session) -> WithoutJit:
        """Return it for a message that is its own transaction."""
        return cls(session, is_on=True, is_restored=False)

    def __enter__(self) -> None:
        if self._is_on:
            _send(self._session, _OFF)

    def __exit__(self, *_: object) -> None:
        if self._is_on and self._is_restored:
            _send(self._session, _ON)


def _send(session: Session, text: bytes) -> None:
    for message in private_query(text):
        session.send(message, SilentReply(message[0]))
