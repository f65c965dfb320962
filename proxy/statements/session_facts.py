"""What a statement that works for long must know of its session, asked in one go."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

FACTS_SQL = (
    b"SELECT pg_catalog.current_setting('client_min_messages'),"
    b" pg_catalog.current_setting('lock_timeout'),"
    b" pg_catalog.pg_backend_pid()"
)


@dataclass(frozen=True, slots=True)
class SessionFacts:
    """The answer to FACTS_SQL.

    Attributes
    ----------
    client_min_messages, lock_timeout : the settings
    pid : of the backend; a pooler in between may have told the client another one
    """

    client_min_messages: bytes
    lock_timeout: str
    pid: int

    @classmethod
    def of(cls, row: Sequence[bytes | None]) -> Self:
        """Read the row."""
        client_min_messages, lock_timeout, pid = (value or b"0" for value in row)
        return cls(client_min_messages, lock_timeout.decode(), int(pid))
