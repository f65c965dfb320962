"""A proxy whose sessions a test can watch, on the express lane and off it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest
import uvloop

from proxy.relay.lane import ExpressLane
from proxy.session.session import Session
from tests.conftest import Endpoint, is_direct
from tests.support.proxy import ThreadedProxy
from tests.support.waiting import WAIT_LIMIT_S
from tests.support.wire import Frontend, Message, codes, errors, rows

NEEDS_LANE = [
    pytest.mark.skipif(is_direct(), reason="is about the proxy itself"),
    pytest.mark.skipif(not ExpressLane.is_supported(), reason="needs epoll"),
]
LOOPS = [asyncio.new_event_loop, uvloop.new_event_loop]
MODEL = (
    "CREATE OR REPLACE MODEL {name} USING linear_regression AS"
    " SELECT x, {factor} * x AS target FROM generate_series(1, 100) AS x"
)


@dataclass(frozen=True, slots=True)
class Depot:
    """A proxy whose sessions a test can watch.

    Attributes
    ----------
    direct : the same database without it
    """

    proxy: ThreadedProxy
    direct: Endpoint

    async def login(self) -> Frontend:
        return await Frontend.login(
            self.proxy.address, user=self.direct.user, database=self.direct.database
        )

    async def login_directly(self) -> Frontend:
        """Log another client in, without the proxy."""
        return await Frontend.login(
            self.direct.address, user=self.direct.user, database=self.direct.database
        )

    def find(self, client: Frontend) -> Session | None:
        """Return the proxy's session of a client, None before it is there (ReadyForQuery is)."""
        key = client.pid.to_bytes(4) + client.secret
        sessions: tuple[Session, ...] = tuple(self.proxy.application._sessions)
        return next((session for session in sessions if session.cancel_key == key), None)

    def rides(self, client: Frontend) -> bool:
        session = self.find(client)
        return session is not None and session._boarding.place is not None

    async def get_on(self, client: Frontend) -> None:
        """Talk about nothing until the session rides."""
        async with asyncio.timeout(WAIT_LIMIT_S):
            while not self.rides(client):
                assert codes(await client.query("SELECT 'calm'")) == "TDCZ"
                await asyncio.sleep(0.01)

    @asynccontextmanager
    async def rider(self) -> AsyncIterator[Frontend]:
        """Log a client in and see it onto the lane."""
        async with await self.login() as client:
            await self.get_on(client)
            yield client


async def train(client: Frontend, name: str, factor: int) -> None:
    """Make a model of one number, which it multiplies."""
    assert not errors(await client.query(MODEL.format(name=name, factor=factor)))


def only_value(reply: Sequence[Message]) -> float:
    assert not errors(reply)
    ((value,),) = rows(reply)
    return float(str(value))
