"""How the answers to statements of ours go back to the client."""

from __future__ import annotations

from proxy.protocol import message_types as t
from proxy.protocol.messages import command_complete
from proxy.session.questions import MappedReply, PositionMap, without_context
from proxy.statements.scoring import ScoredRows, ScoredStatement


class ScoredDescription(MappedReply):
    """Describes a scored statement: the scores by their names, the hidden columns left out."""

    __slots__ = ("_codec", "_statement")

    def __init__(self, statement: ScoredStatement, codec: str) -> None:
        super().__init__(t.DESCRIBE, statement.splice.original_position)
        self._statement = statement
        self._codec = codec

    def on_message(self, kind: int, body: bytes) -> bytes | None:
        """Describe the rows as the client will see them."""
        if kind == t.ROW_DESCRIPTION:
            return self._statement.describe(body, self._codec)
        return super().on_message(kind, body)


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
