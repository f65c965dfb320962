import asyncio
import math
import time

import pytest

from proxy.metrics.event_loop import watch_lag
from proxy.metrics.instruments import Histogram


@pytest.mark.asyncio
async def test_a_blocked_loop_is_late():
    """What holds the event loop up shows as a lag of as long, less the sleep that it fell into."""
    lag = Histogram((0.15,))
    watching = asyncio.create_task(watch_lag(lag, interval_s=0.01))
    asyncio.get_running_loop().call_later(0.03, time.sleep, 0.2)
    await asyncio.sleep(0.3)  # due after the watcher's, so it has seen it
    watching.cancel()
    (_, at_or_below), (bound, everything) = lag.cumulative()
    assert bound == math.inf
    assert everything > at_or_below
    assert lag.sum > 0.15
