"""One training: the rows are read in the client's session, the model is fitted elsewhere.

Owns what is told of it meanwhile: NOTICEs to the client, a row of ml_training_progress to
everybody. Leaves the COPY to `reading`, and what stops a training to `waiting`.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from typing import Any

from proxy.engine.working_memory import MemoryBudget, check_working_memory
from proxy.registry.postgres_store import Registry
from proxy.registry.progress import TrainingProgress
from proxy.rewrite.statements import CreateModel
from proxy.session.session import Session
from proxy.statements.fetched_query import FetchedQuery
from proxy.statements.notices import Narrator
from proxy.statements.reading import RowCheck, read_rows
from proxy.statements.services import Services
from proxy.statements.session_facts import SessionFacts
from proxy.statements.waiting import wait_for
from proxy.workers.buffers import SharedDataset
from proxy.workers.frames import Progress
from proxy.workers.pool import TrainedArtifact
from proxy.workers.threads import thread_count


class Training:
    """The long part of a CREATE MODEL.

    Parameters
    ----------
    offset : of the statement in the client's text, for positions
    """

    def __init__(
        self,
        session: Session,
        services: Services,
        registry: Registry,
        statement: CreateModel,
        offset: int,
        *,
        facts: SessionFacts,
    ) -> None:
        self._session = session
        self._services = services
        self._registry = registry
        self._statement = statement
        self._offset = offset
        self._facts = facts
        self._progress = TrainingProgress(facts.pid, statement.name)
        self.narrator = Narrator(session, facts.client_min_messages)

    async def run(
        self, query: FetchedQuery, parameters: dict[str, Any], earlier: bytes
    ) -> TrainedArtifact:
        """Read the rows and train.

        Parameters
        ----------
        earlier : the artefact of the model to learn on from; empty for none

        Raises
        ------
        ProxyError
            It cannot be done, or was stopped.
        AlreadyAnswered
            The upstream refused the query, or the backend was stopped.
        """
        async with self._registry.progress.shown(self._progress):
            rows = await read_rows(
                self._session,
                query,
                self._offset,
                services=self._services,
                report=self._rows_read,
                check=self._memory_check(query, parameters),
            )
            with closing(rows):
                self._progress.all_read(rows.n_samples)
                return await self._fit(parameters, rows, earlier)

    async def _fit(
        self, parameters: dict[str, Any], rows: SharedDataset, earlier: bytes
    ) -> TrainedArtifact:
        errand = self._services.workers.train(
            self._statement.algorithm,
            parameters,
            rows,
            self._advanced,
            earlier=earlier,
            memory_limit=self._services.row_limits.memory,
        )
        return await wait_for(self._session, self._registry, errand, self._facts.lock_timeout)

    def _memory_check(self, query: FetchedQuery, parameters: dict[str, Any]) -> RowCheck:
        """Return what refuses rows as soon as they are certain to be too many for the algorithm.

        Each column counts as one here; when all are read, what they have become is known.
        """
        n_threads = thread_count(parameters.get("parallel_workers"))
        budget = MemoryBudget(self._services.row_limits.memory, n_threads)

        def check(n_rows: int, widths: Sequence[int]) -> None:
            check_working_memory(
                self._statement.algorithm,
                parameters,
                budget,
                n_rows=n_rows,
                n_columns=sum(max(width, 0) for width in query.of_features(widths)),
                n_outputs=None,
            )

        return check

    def _rows_read(self, n_rows: int) -> None:
        self._progress.rows_read = n_rows
        if self.narrator.may_report():
            self.narrator.notice(f"read {n_rows} rows")

    def _advanced(self, progress: Progress) -> None:
        self._progress.advance(
            progress.phase, progress.iterations_done, progress.iterations_total, progress.loss
        )
        if not self.narrator.may_report():
            return
        text = progress.phase
        if progress.iterations_total:
            text += f": iteration {progress.iterations_done}"
        if progress.loss is not None:
            text += f", loss {progress.loss:.6g}"
        self.narrator.notice(text)
