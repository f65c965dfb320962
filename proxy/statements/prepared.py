"""A session's prepared statements and portals that are ours; the upstream keeps all the others.

Pure store: names to values. Every one of them also exists upstream under the same name, so names,
errors about them and their lives are PostgreSQL's own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from proxy.protocol import message_types as t
from proxy.protocol.messages import PORTAL, SYNC_FRAME, Execute, describe
from proxy.protocol.replies import Reply
from proxy.registry.catalog import Models
from proxy.rewrite.plan import PlannedAt, PredictQuery
from proxy.rewrite.statements import CreateModel, DropModel, EvaluateModel
from proxy.session.questions import MappedReply
from proxy.statements.explaining import ExplainedExecution
from proxy.statements.planning import PlannedQuery
from proxy.statements.ranking import RankedPortal
from proxy.statements.replies import BindReply, ScoredDescription, ScoredExecution
from proxy.statements.scoring import ScoredRows, ScoredStatement


@dataclass(slots=True)
class PreparedScores:
    """A prepared statement with PREDICT.

    Attributes
    ----------
    planned : how it runs with the models of `catalogue`
    codec : the client's encoding that it was planned in
    catalogue : the models that it was last compared with; None: those of an open transaction
    described : type names of the scores as a client may have been told; they must not change
    bound : portals made before, by portal name and the result formats of the Bind
    """

    query: PredictQuery
    parameter_types: bytes
    planned: PlannedQuery
    codec: str
    catalogue: Models | None
    described: tuple[str, ...]
    bound: dict[tuple[bytes, tuple[int, ...]], BoundScores] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PreparedCommand:
    """A prepared CREATE MODEL or DROP MODEL."""

    statement: CreateModel | DropModel


@dataclass(frozen=True, slots=True)
class PreparedEvaluation:
    """A prepared EVALUATE MODEL."""

    statement: EvaluateModel


@dataclass(slots=True)
class BoundEvaluation:
    """A portal of an EVALUATE MODEL; once it `is_begun` the upstream has its rows."""

    statement: EvaluateModel
    is_begun: bool = False


@dataclass(frozen=True, slots=True)
class BoundScores:
    """A portal of a statement with PREDICT; the same for every Bind with the same formats.

    Attributes
    ----------
    formats : of all upstream columns
    codec : the client's encoding at Bind
    rows : how its rows are scored; None: they are the client's as they come
    jit_off_at : when the upstream plans a score that it computes
    statement : what they are of
    usual : how the rests of a batch that clients send behind such a Bind are answered
    """

    formats: tuple[int, ...]
    codec: str
    rows: ScoredRows | None
    binding: BindReply
    description: ScoredDescription
    execution: MappedReply
    jit_off_at: PlannedAt | None
    statement: ScoredStatement
    usual: Mapping[bytes, Sequence[Reply | int]]

    @classmethod
    def of(
        cls,
        statement: ScoredStatement,
        formats: tuple[int, ...],
        portal: bytes,
        codec: str,
        binding: BindReply,
    ) -> BoundScores:
        """Make the portal's replies: they have no state, so one of each is enough."""
        description = ScoredDescription(statement, codec)
        position_map = statement.splice.original_position
        rows = None
        execution = MappedReply(t.EXECUTE, position_map)
        is_ranked = statement.splice.ranking is not None
        if statement.splice.explained is not None:
            is_ranked = False
            execution = ExplainedExecution(statement.splice, position_map, codec, {})
        elif statement.is_scored and not is_ranked:
            rows = statement.rows(formats[: statement.n_visible], codec)
            execution = ScoredExecution(rows, position_map)
        described, run = describe(PORTAL, portal), Execute(portal).encode() + SYNC_FRAME
        usual: dict[bytes, Sequence[Reply | int]] = {
            described + run: (description, execution, t.SYNC),
            run: (execution, t.SYNC),
        }
        jit_off_at = statement.splice.jit_off_at
        if jit_off_at == "execute" or is_ranked:
            usual = {}  # more than one message is sent for it
        return cls(
            formats, codec, rows, binding, description, execution, jit_off_at, statement, usual
        )


Prepared = PreparedScores | PreparedCommand | PreparedEvaluation
Bound = BoundScores | PreparedCommand | BoundEvaluation


@dataclass(slots=True)
class OurStatements:
    """Prepared statements and portals by name.

    Attributes
    ----------
    unanswered : by portal, how many Binds of it await their answer
    ranked : what is left of the portals whose rows are sorted here
    """

    ranked: dict[bytes, RankedPortal] = field(default_factory=dict)
    statements: dict[bytes, Prepared] = field(default_factory=dict)
    portals: dict[bytes, Bound] = field(default_factory=dict)
    unanswered: dict[bytes, int] = field(default_factory=dict)

    @property
    def is_empty(self) -> bool:
        """Whether there is none, so that nothing need be looked at."""
        return not self.statements and not self.portals

    def transaction_ended(self) -> None:
        """Forget the portals of the transaction that has ended, and not those of the next one."""
        unanswered = self.unanswered
        self.ranked.clear()
        self.portals = {name: bound for name, bound in self.portals.items() if name in unanswered}
