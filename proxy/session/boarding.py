"""When a session rides the express lane: how it gets on, and what it comes back with.

Owns the signs of calm water and the patience after rides that were not worth it. Leaves the ride to
`relay`, what concerns the proxy's own statements to whoever packs for it, and all else to the
session.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

from proxy.peer import Peer
from proxy.relay.lane import ExpressLane, HandedBack, Rider
from proxy.relay.loop import FROM_CLIENT, FROM_UPSTREAM
from proxy.relay.portals import Luggage

CALM = 2
"""Moments in a row with everything answered, and no thought taken, after which it may ride."""
LONGEST_CALM = 64
SHORT_RIDE = 8
"""Chunks of answers. A session that comes back sooner waits twice as long before the next ride."""
_TRIES = 3


class Passenger(Rider, Protocol):
    """A session, as far as this file needs it."""

    client: Peer
    upstream: Peer
    status: int
    pack: Callable[[], Luggage | None]

    @property
    def inspects_extended(self) -> bool:
        """Whether it has statements of the proxy's own."""

    @property
    def is_calm(self) -> bool:
        """Whether nothing is under way."""


class Boarding:
    """One session's way to the lane and back.

    Attributes
    ----------
    place : its place on the lane, None off it
    """

    __slots__ = ("_calm_moments", "_lane", "_patience", "_session", "place")

    def __init__(self, session: Passenger, lane: ExpressLane | None) -> None:
        self._session = session
        self._lane = lane
        self._calm_moments = 0
        self._patience = CALM
        self.place: int | None = None

    def disturbed(self) -> None:
        """Begin to count anew: something came that takes thought."""
        self._calm_moments = 0

    def all_answered(self) -> None:
        """Count a moment in which nothing awaits an answer."""
        if self._lane is None:
            return
        self._calm_moments += 1
        if self._calm_moments == self._patience:
            asyncio.get_running_loop().call_soon(self._board, _TRIES)

    def recall(self) -> bool:
        """Ask the lane to give the session back, if it is there."""
        if self.place is None or self._lane is None:
            return False
        self._lane.recall(self.place)
        return True

    def came_back(self, handed: HandedBack) -> None:
        """Learn from a ride."""
        self.place = None
        self._calm_moments = 0
        was_short = handed.chunks < SHORT_RIDE and handed.what in (FROM_CLIENT, FROM_UPSTREAM)
        self._patience = min(2 * self._patience, LONGEST_CALM) if was_short else CALM

    def _board(self, tries: int) -> None:
        """Get on, if the water is still calm."""
        session = self._session
        if self._lane is None or self.place is not None or not session.is_calm:
            self._calm_moments = 0
            return
        client, upstream = session.client, session.upstream
        if not (client.is_written and upstream.is_written):
            if tries:  # uvloop writes at the end of a turn
                asyncio.get_running_loop().call_soon(self._board, tries - 1)
            else:
                self._calm_moments = 0
            return
        luggage = None
        if session.inspects_extended:
            luggage = session.pack()
            if luggage is None:
                self._calm_moments = 0
                return
        client.hold()
        upstream.hold()
        self.place = self._lane.adopt(
            session, client.descriptor, upstream.descriptor, session.status, luggage
        )
        if self.place is None:
            client.release()
            upstream.release()
