"""The store of what is prepared: names to values, and nothing to look at when it is empty."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from proxy.rewrite.statements import DropModel, ModelReference
from proxy.session.questions import MappedReply
from proxy.statements.explaining import ExplainedExecution
from proxy.statements.prepared import BoundScores, OurStatements, PreparedCommand
from proxy.statements.replies import BindReply
from proxy.statements.services import PlanCache

DROP = PreparedCommand(DropModel((ModelReference("m", None, 1),), if_exists=False, cascade=False))


def test_is_empty() -> None:
    """It is empty until a statement or a portal is ours, and again when both are gone."""
    ours = OurStatements()
    assert ours.is_empty
    ours.statements[b""] = DROP
    assert not ours.is_empty
    ours.portals[b"p"] = DROP
    del ours.statements[b""]
    assert not ours.is_empty
    ours.portals.clear()
    assert ours.is_empty


def test_two_sessions() -> None:
    """What one session prepares is not another's (S13)."""
    mine, yours = OurStatements(), OurStatements()
    mine.statements[b"s"] = DROP
    assert yours.is_empty


def test_values() -> None:
    """Commands are values: equal if their parts are."""
    assert PreparedCommand(DROP.statement) == DROP


def test_portals_end_with_their_transaction() -> None:
    """A portal ends with its transaction, unless its name is bound again by then, unanswered."""
    ours = OurStatements()
    for name in (b"", b"old"):
        ours.portals[name] = DROP
    first, again = BindReply(b"", ours.unanswered), BindReply(b"", ours.unanswered)
    first.sent()
    again.sent()
    first.on_message(ord("2"), b"")
    ours.transaction_ended()
    assert list(ours.portals) == [b""]
    again.on_skipped()
    assert ours.unanswered == {}
    ours.transaction_ended()
    assert ours.is_empty


class Statement:
    """As much of a ScoredStatement as its portals ask for."""

    n_visible = 2

    def __init__(
        self,
        *,
        jit_off_at: str | None = None,
        is_scored: bool = True,
        ranking: object = None,
        explained: str | None = None,
    ) -> None:
        self.splice = SimpleNamespace(
            original_position=int, jit_off_at=jit_off_at, ranking=ranking, explained=explained
        )
        self.is_scored = is_scored

    def rows(self, formats: tuple[int, ...], codec: str) -> tuple[object, ...]:
        return (formats, codec)


def bound_to(statement: Statement) -> BoundScores:
    binding = BindReply(b"p", {})
    return BoundScores.of(cast("Any", statement), (0, 1, 1), b"p", "utf-8", binding)


@pytest.mark.parametrize("jit_off_at", [None, "bind"])
def test_usual_rests(jit_off_at: str | None) -> None:
    """Behind a Bind the usual rests of a batch are known, each message with its reply."""
    bound = bound_to(Statement(jit_off_at=jit_off_at))
    execute = b"E\x00\x00\x00\x0ap\x00\x00\x00\x00\x00"
    sync = b"S\x00\x00\x00\x04"
    described = b"D\x00\x00\x00\x07Pp\x00"
    assert bound.usual == {
        described + execute + sync: (bound.description, bound.execution, ord("S")),
        execute + sync: (bound.execution, ord("S")),
    }


def test_no_usual_rest_where_execute_takes_more_messages() -> None:
    """Where JIT is off for an Execute, or rows are sorted here, nothing goes up as it came."""
    assert bound_to(Statement(jit_off_at="execute", is_scored=False)).usual == {}
    ranked = bound_to(Statement(ranking=object()))
    assert ranked.usual == {}
    assert ranked.rows is None


def test_rows_without_scores_go_on_as_they_come() -> None:
    """A portal without spliced scores has nothing that reads its rows; errors get their place."""
    assert bound_to(Statement()).rows == ((0, 1), "utf-8")
    bound = bound_to(Statement(is_scored=False))
    assert bound.rows is None
    assert type(bound.execution) is MappedReply


def test_an_explained_statement_has_rows_of_its_own() -> None:
    """The rows of an EXPLAIN are its plan: nothing is scored, and a line is added."""
    bound = bound_to(Statement(explained="text"))
    assert bound.rows is None
    assert isinstance(bound.execution, ExplainedExecution)


class TestPlanCache:
    def test_newest_stay(self) -> None:
        """Of many plans the newest stay, and those asked for count as new."""
        cache = PlanCache()
        plans = [cast("Any", object()) for _ in range(1000)]
        for number, plan in enumerate(plans):
            cache.keep((number,), plan)
            assert cache.find((0,)) is plans[0]
        kept = [number for number in range(1000) if cache.find((number,)) is not None]
        assert kept[0] == 0
        assert kept[1:] == list(range(1000 - len(kept) + 1, 1000))
        assert 100 <= len(kept) <= 1000

    def test_unknown(self) -> None:
        """A plan that was never made is not there."""
        assert PlanCache().find(("SELECT",)) is None
