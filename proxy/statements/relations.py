"""The proxy's own relations under their short names: `ml_models` is `ml.ml_models`.

Owns the question whether the user has a table of that name: it comes first.
"""

from __future__ import annotations

from collections.abc import Sequence

from proxy.errors import ProxyError
from proxy.protocol import message_types as t
from proxy.protocol.messages import row_values
from proxy.registry.postgres_store import Registry
from proxy.registry.queries import quote_literal
from proxy.session.questions import private_query
from proxy.session.session import Session


async def need_schema(session: Session, registry: Registry, names: Sequence[str]) -> bool:
    """Say whether these names mean the proxy's relations in this session.

    Raises
    ------
    AlreadyAnswered
        The session's transaction has failed.
    """
    if session.status == t.FAILED_TRANSACTION and session.replies.is_empty:
        return False  # whatever it is, the upstream will refuse it in its own words
    try:
        await registry.models()
    except ProxyError:
        return False  # without schema ml the upstream says that there is no such relation
    for name in names:
        regclass = f"pg_catalog.to_regclass({quote_literal(name)})"
        question = await session.ask(private_query(f"SELECT {regclass} IS NULL".encode()))
        if row_values(question.bodies(t.DATA_ROW)[0])[0] != b"t":
            return False
    return True
