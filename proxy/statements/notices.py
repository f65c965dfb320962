"""Notices of the proxy's own; the session's client_min_messages holds for them too."""

from __future__ import annotations

from collections.abc import Sequence

from proxy.protocol import message_types as t
from proxy.protocol.messages import row_values
from proxy.session.questions import private_query
from proxy.session.session import Session

_QUERY = b"SELECT pg_catalog.current_setting('client_min_messages')"
_HIDES_NOTICES = frozenset((b"warning", b"error", b"fatal", b"panic"))


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
