"""How the answers to statements of ours go back to the client."""

from __future__ import annotations

from proxy.protocol import message_types as t
from proxy.protocol.messages import command_complete
from proxy.protocol.replies import Reply
from proxy.protocol.wire import frame, uint16
from proxy.session.questions import MappedReply, PositionMap, without_context
from proxy.statements.scoring import ScoredRows, ScoredStatement


class BindReply(Reply):
    """A Bind whose portal is ours: until it is answered, no transaction's end is the portal's.

    Parameters
    ----------
    unanswered : by portal, how many Binds of it await their answer
    """

    __slots__ = ("_portal", "_unanswered")

    def __init__(self, portal: bytes, unanswered: dict[bytes, int]) -> None:
        super().__init__(t.BIND)
        self._portal = portal
        self._unanswered = unanswered

    def sent(self) -> None:
        """Note that the Bind goes upstream."""
        self._unanswered[self._portal] = self._unanswered.get(self._portal, 0) + 1

    def on_message(self, kind: int, body: bytes) -> bytes | None:
        """Note the answer, and let it through."""
        if kind in (t.BIND_COMPLETE, t.ERROR_RESPONSE):
            self.on_skipped()
        return None

    def on_skipped(self) -> None:
        """Note that the Bind is dealt with."""
        left = self._unanswered.pop(self._portal) - 1
        if left:
            self._unanswered[self._portal] = left


class ScoredDescription(MappedReply):
    """Describes a scored statement: the scores by their names, the hidden columns left out.

    Attributes
    ----------
    seen : the last RowDescription, as it came and as it went on; None before the first
    """

    __slots__ = ("_codec", "_statement", "seen")

    def __init__(self, statement: ScoredStatement, codec: str) -> None:
        super().__init__(t.DESCRIBE, statement.splice.original_position)
        self._statement = statement
        self._codec = codec
        self.seen: tuple[bytes, bytes] | None = None

    def on_message(self, kind: int, body: bytes) -> bytes | None:
        """Describe the rows as the client will see them."""
        if kind == t.ROW_DESCRIPTION:
            description = self._statement.describe(body, self._codec)
            self.seen = (frame(kind, body), description)
            return description
        if kind == t.PARAMETER_DESCRIPTION and self._statement.splice.stages:
            return without_arrays(body, len(self._statement.splice.stages))
        return super().on_message(kind, body)


def without_arrays(body: bytes, n_steps: int) -> bytes:
    """Return the ParameterDescription of the client's parameters, for the upstream's (its body)."""
    n_client = int.from_bytes(body[:2], "big") - 2 * n_steps
    return frame(t.PARAMETER_DESCRIPTION, uint16(n_client) + body[2 : 2 + 4 * n_client])


class ScoredExecution(MappedReply):
    """Writes the scores into an Execute's rows."""

    __slots__ = ("_rows",)

    def __init__(self, rows: ScoredRows, position_map: PositionMap | None) -> None:
        super().__init__(t.EXECUTE, position_map)
        self._rows = rows

    def on_rows(self, data: bytes, start: int, stop: int) -> tuple[int, bytes]:
        """Write the scores into all whole rows at once."""
        end, rows = self._rows.write(data, start, stop)
        return end, rows  # type: ignore[return-value]  # joined with bytes, which takes any buffer


class SimpleDescription(MappedReply):
    """Describes a statement of a simple query: rows are announced, their absence is not."""

    __slots__ = ()

    def on_message(self, kind: int, body: bytes) -> bytes | None:
        """Keep NoData back: a simple query never has it."""
        return b"" if kind == t.NO_DATA else super().on_message(kind, body)


class RetaggedExecution(MappedReply):
    """Runs a CALL that stands for a statement of ours: the client sees that statement's tag."""

    __slots__ = ("_tag",)

    def __init__(self, tag: bytes) -> None:
        super().__init__(t.EXECUTE, None)
        self._tag = tag

    def on_message(self, kind: int, body: bytes) -> bytes | None:
        """Put our tag in the place of the CALL's."""
        if kind == t.COMMAND_COMPLETE:
            return command_complete(self._tag)
        return without_context(body) if kind == t.ERROR_RESPONSE else None
