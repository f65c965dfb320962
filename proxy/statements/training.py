"""One training: the rows are read in the client's session, the model is fitted elsewhere.

Owns what is told of it meanwhile: NOTICEs to the client, a row of ml_training_progress to
everybody. Leaves the COPY to `reading`, and what stops a training to `waiting`.
"""

from __future__ import annotations

from typing import Any

from proxy.engine.columns import Dataset
from proxy.registry.postgres_store import Registry
from proxy.registry.progress import TrainingProgress
from proxy.rewrite.statements import CreateModel
from proxy.session.session import Session
from proxy.statements.fetched_query import FetchedQuery
from proxy.statements.notices import Narrator
from proxy.statements.reading import read_rows
from proxy.statements.services import Services
from proxy.statements.session_facts import SessionFacts
from proxy.statements.waiting import wait_for
from proxy.workers.frames import Progress
from proxy.workers.pool import TrainedArtifact


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
            dataset = await read_rows(
                self._session,
                query,
                self._offset,
                limit=self._services.max_training_memory,
                report=self._rows_read,
            )
            self._progress.all_read(dataset.n_samples)
            return await self._fit(parameters, dataset, earlier)

    async def _fit(
        self, parameters: dict[str, Any], dataset: Dataset, earlier: bytes
    ) -> TrainedArtifact:
        errand = self._services.workers.train(
            self._statement.algorithm, parameters, dataset, self._advanced, earlier=earlier
        )
        return await wait_for(self._session, self._registry, errand, self._facts.lock_timeout)

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
