"""A session's prepared statements and portals that are ours; the upstream keeps all the others.

Pure store: names to values. Every one of them also exists upstream under the same name, so names,
errors about them and their lives are PostgreSQL's own.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from proxy.registry.catalog import Models
from proxy.rewrite.plan import PredictQuery
from proxy.rewrite.statements import CreateModel, DropModel
from proxy.statements.planning import PlannedQuery
from proxy.statements.scoring import ScoredStatement


@dataclass(slots=True)
class PreparedScores:
    """A prepared SELECT with PREDICT.

    Attributes
    ----------
    planned : how it runs with the models of `catalogue`
    codec : the client's encoding that it was planned in
    catalogue : the models that it was last compared with; None: those of an open transaction
    described : type names of the scores as a client may have been told; they must not change
    """

    query: PredictQuery
    parameter_types: bytes
    planned: PlannedQuery
    codec: str
    catalogue: Models | None
    described: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PreparedCommand:
    """A prepared CREATE MODEL or DROP MODEL."""

    statement: CreateModel | DropModel


@dataclass(frozen=True, slots=True)
class BoundScores:
    """A portal whose rows are scored; `formats` are those of the visible columns."""

    statement: ScoredStatement
    formats: tuple[int, ...]


Prepared = PreparedScores | PreparedCommand
Bound = BoundScores | PreparedCommand


@dataclass(slots=True)
class OurStatements:
    """Prepared statements and portals by name."""

    statements: dict[bytes, Prepared] = field(default_factory=dict)
    portals: dict[bytes, Bound] = field(default_factory=dict)

    @property
    def is_empty(self) -> bool:
        """Whether there is none, so that nothing need be looked at."""
        return not self.statements and not self.portals
