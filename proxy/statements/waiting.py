"""Work in another process for a statement, while the statement's backend waits.

Owns that whatever stops a statement stops the work too: a backend that waits can be cancelled, runs
into statement_timeout and is seen in pg_stat_activity as any other, and its error reaches the
client by the usual way. The work itself is the caller's.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Coroutine
from typing import Any, TypeVar

from proxy.errors import QueryCanceledError
from proxy.registry.postgres_store import Registry
from proxy.registry.vigil import Vigil
from proxy.session.questions import AlreadyAnswered, private_query
from proxy.session.session import Session
from proxy.statements.reading import CANCELED

Result = TypeVar("Result")

_VIGIL_AFTER_S = 0.1
"""Work shorter than this is over before anybody could stop it."""


async def wait_for(
    session: Session,
    registry: Registry,
    errand: Coroutine[Any, Any, Result],
    lock_timeout: str,
) -> Result:
    """Return what the errand returns; end it when the statement is stopped.

    Parameters
    ----------
    lock_timeout : the session's setting, as it is to be again afterwards

    Raises
    ------
    QueryCanceledError
        The client asked to stop.
    AlreadyAnswered
        The backend was stopped.
    """
    work = asyncio.ensure_future(errand)

    def stop() -> None:
        work.cancel()

    session.on_cancel = stop
    try:
        await asyncio.wait((work,), timeout=_VIGIL_AFTER_S)
        if not work.done():
            await _keep_vigil(session, registry, work, lock_timeout)
        return await work
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise  # the session itself ends
        raise QueryCanceledError(CANCELED) from None
    finally:
        session.on_cancel = None
        if not work.done():
            work.cancel()
        with contextlib.suppress(BaseException):
            await work


async def _keep_vigil(
    session: Session, registry: Registry, work: asyncio.Future[Result], lock_timeout: str
) -> None:
    """Let the backend wait for a lock that the proxy holds until the work is done."""
    async with Vigil(registry) as vigil:
        wait = asyncio.ensure_future(session.ask(private_query(vigil.wait_sql.encode())))
        try:
            await asyncio.wait((work, wait), return_when=asyncio.FIRST_COMPLETED)
            if wait.done():
                wait.result()
                await asyncio.wait((work,))
        finally:
            await vigil.end()
            if not wait.done():
                with contextlib.suppress(AlreadyAnswered):
                    await wait
        wait.result()
    await session.ask(private_query(vigil.leave_sql(lock_timeout).encode()))
