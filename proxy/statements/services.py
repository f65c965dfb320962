"""What all sessions share: analyses, registries, training processes."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field

from proxy.metrics.instruments import Instruments
from proxy.registry.postgres_store import Registries
from proxy.statements.analysis import Analyses
from proxy.statements.expressions import Expressions
from proxy.statements.scoring import ScoredStatement
from proxy.workers.pool import TrainingPool
from proxy.workers.spool import MemoryAccount, RowLimits

_REMEMBERED_PLANS = 256

PlanKey = tuple[object, ...]


class PlanCache:
    """The newest plans that hold for every session: those whose text has no star."""

    def __init__(self) -> None:
        self._plans: OrderedDict[PlanKey, ScoredStatement] = OrderedDict()

    def find(self, key: PlanKey) -> ScoredStatement | None:
        """Return a plan made before."""
        found = self._plans.get(key)
        if found is not None:
            self._plans.move_to_end(key)
        return found

    def keep(self, key: PlanKey, statement: ScoredStatement) -> None:
        """Remember a plan."""
        self._plans[key] = statement
        if len(self._plans) > _REMEMBERED_PLANS:
            self._plans.popitem(last=False)


@dataclass(frozen=True, slots=True)
class Services:
    """Everything that a session's statements use and do not own.

    Parameters
    ----------
    row_limits : of one training, or one evaluation
    row_memory : of all of them together
    """

    registries: Registries
    workers: TrainingPool
    row_limits: RowLimits
    row_memory: MemoryAccount
    instruments: Instruments
    analyses: Analyses = field(default_factory=Analyses)
    plans: PlanCache = field(default_factory=PlanCache)
    expressions: Expressions = field(default_factory=Expressions)
