"""What a session with statements of ours brings along on the express lane, and what it brings back.

Owns the passage from prepared statements to passages of the lane's: only Binds of the unnamed
portal with formats that were seen before ride, and only of linear models. Everything else of ours
ends the ride.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from proxy.protocol import message_types as t
from proxy.protocol.wire import int16, uint16
from proxy.registry.postgres_store import Registry
from proxy.relay.lane import HandedBack
from proxy.relay.portals import PORTALS, Luggage, Passage
from proxy.statements.prepared import BoundScores, OurStatements, PreparedScores
from proxy.statements.replies import BindReply

UNNAMED = b""

Count = Callable[[int], None]


def pack(
    ours: OurStatements,
    registry: Registry,
    is_current: Callable[[PreparedScores], bool],
    count_statements: Count,
) -> Luggage | None:
    """Return the session's luggage; None: it has more, or other things, than the lane takes.

    Parameters
    ----------
    is_current : whether a statement's models are those of the registry's memory
    count_statements : called with a number of statements run on the lane
    """
    if any(name != UNNAMED for name in ours.portals):
        return None
    passages: list[Passage] = []
    for name, prepared in ours.statements.items():
        own: list[Passage] = []
        if isinstance(prepared, PreparedScores) and is_current(prepared):
            own.extend(_passages(name, prepared, count_statements))
        passages.extend(own or [Passage(name)])
    if len(passages) > PORTALS:
        return None
    unnamed = None
    if UNNAMED in ours.portals:
        bound = ours.portals[UNNAMED]
        unnamed = next((each for each in passages if each.portal is bound), None)
        if unnamed is None:
            return None
    freshness = registry.freshness
    return Luggage(tuple(passages), unnamed, freshness, freshness.changes)


def unpack(ours: OurStatements, handed: HandedBack) -> None:
    """Know again which portal is bound to what, and which Binds await their answer."""
    ours.portals.pop(UNNAMED, None)
    if handed.unnamed is not None:
        assert isinstance(handed.unnamed.portal, BoundScores)
        ours.portals[UNNAMED] = handed.unnamed.portal
    for reply in handed.waiting:
        if isinstance(reply, BindReply):
            reply.sent()


def passage(
    name: bytes,
    wanted: tuple[int, ...],
    bound: BoundScores,
    count_statements: Count,
) -> Passage:
    """Return the passage of the unnamed portal, bound to a statement with the formats `wanted`."""
    rows = bound.rows
    assert rows is not None

    def count(n_binds: int, n_rows: int) -> None:
        count_statements(n_binds)
        rows.count(n_rows)

    return Passage(
        statement=name,
        program=rows.program,
        wanted=_formats(wanted),
        sent=_formats(bound.formats),
        descriptions=bound.description.seen,
        replies={
            t.BIND: bound.binding,
            t.DESCRIBE: bound.description,
            t.EXECUTE: bound.execution,
        },
        portal=bound,
        count=count,
    )


def _passages(name: bytes, prepared: PreparedScores, count_statements: Count) -> Iterator[Passage]:
    for (portal, wanted), bound in prepared.bound.items():
        if portal == UNNAMED and bound.rows is not None and bound.rows.program is not None:
            yield passage(name, wanted, bound, count_statements)


def _formats(codes: tuple[int, ...]) -> bytes:
    """Return result formats as in a Bind."""
    return uint16(len(codes)) + b"".join(map(int16, codes))
