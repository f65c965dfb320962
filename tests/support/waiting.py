"""Waiting for what another process does, without guessing how long it takes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

WAIT_LIMIT_S = 30.0
PAUSE_S = 0.02


async def until_true(condition: Callable[[], Awaitable[bool]]) -> None:
    """Ask again and again until a condition holds; raise TimeoutError after a while."""
    async with asyncio.timeout(WAIT_LIMIT_S):
        while not await condition():  # noqa: ASYNC110  the condition is elsewhere
            await asyncio.sleep(PAUSE_S)
