"""Notices of the proxy's own; the session's client_min_messages holds for them too.

Owns what may be told, and how often while a statement works.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from proxy.protocol import message_types as t
from proxy.protocol.messages import row_values
from proxy.session.questions import private_query
from proxy.session.session import Session

_QUERY = b"SELECT pg_catalog.current_setting('client_min_messages')"
_HIDES_NOTICES = frozenset((b"warning", b"error", b"fatal", b"panic"))
_HIDES_WARNINGS = frozenset((b"error", b"fatal", b"panic"))
_INTERVAL_S = 2.0


def shows_notices(client_min_messages: bytes | None) -> bool:
    """Say whether a client with this setting wants a NOTICE."""
    return client_min_messages not in _HIDES_NOTICES


async def tell_notices(session: Session, texts: Sequence[str]) -> None:
    """Send NoticeResponses, if the session's client_min_messages lets them through."""
    if not texts:
        return
    question = await session.ask(private_query(_QUERY))
    value = row_values(question.bodies(t.DATA_ROW)[0])[0]
    if shows_notices(value):
        for text in texts:
            session.notice(text)


class Narrator:
    """Tells one statement's client what happens, and of its progress every two seconds.

    Parameters
    ----------
    client_min_messages : the session's setting
    """

    def __init__(self, session: Session, client_min_messages: bytes | None) -> None:
        self._session = session
        self._shows_notices = shows_notices(client_min_messages)
        self._shows_warnings = client_min_messages not in _HIDES_WARNINGS
        self._told_at_s = time.monotonic()

    def notice(self, text: str) -> None:
        """Tell a NOTICE."""
        if self._shows_notices:
            self._session.notice(text)

    def warning(self, text: str) -> None:
        """Tell a WARNING."""
        if self._shows_warnings:
            self._session.notice(text, severity="WARNING")

    def may_report(self) -> bool:
        """Say whether the last word on the progress was long enough ago; if so, this is one."""
        now = time.monotonic()
        if now - self._told_at_s < _INTERVAL_S:
            return False
        self._told_at_s = now
        return True
