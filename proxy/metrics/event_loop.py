"""How late the event loop is: the one number that tells whether something blocks it."""

from __future__ import annotations

import asyncio
import time

from proxy.metrics.instruments import Histogram

INTERVAL_S = 0.5


async def watch_lag(lag: Histogram, interval_s: float = INTERVAL_S) -> None:
    """Sleep again and again, and observe by how much each sleep was too long; never returns."""
    while True:
        # Not loop.time(): uvloop's stands still while one turn of the loop lasts.
        due_s = time.perf_counter() + interval_s
        await asyncio.sleep(interval_s)
        lag.observe(max(0.0, time.perf_counter() - due_s))
