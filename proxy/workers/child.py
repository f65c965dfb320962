"""The process that trains: one job after the other, until the proxy is gone.

Started by `process.TrainingProcess`. Reads jobs from one socket and nothing else; the engine does
the work, on the threads that it is handed. Dies with its parent, and is the one whom the kernel
should pick when memory runs out.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import resource
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path

import numpy as np

from proxy.engine import artifact, evaluation_run, training
from proxy.engine.columns import Dataset
from proxy.engine.memory import Allocate
from proxy.engine.working_memory import MemoryBudget
from proxy.errors import OutOfMemoryError, ProxyError
from proxy.workers.buffers import attach
from proxy.workers.file_memory import FileMemory
from proxy.workers.frames import (
    LENGTH,
    Evaluated,
    Evaluation,
    Failed,
    Job,
    ModelDescription,
    Progress,
    Ready,
    SharedRows,
    Trained,
    Training,
    decode_job,
    encode,
)
from proxy.workers.resident_pages import ResidentPages
from proxy.workers.threads import ThreadedMap, thread_count

PR_SET_PDEATHSIG = 1  # linux/prctl.h
# Ordinary traffic is served first; a training takes the rest of the machine.
NICENESS = 5
# Of -1000..1000, proc(5): above everything that the database and the proxy are.
OOM_SCORE = "500"
PROGRESS_INTERVAL_S = 0.05

Report = Callable[[Progress], None]
Train = Callable[[Training, int, Report, bytes], tuple[ModelDescription, bytes]]


def main(descriptor: str, parent: str) -> None:
    """Run the child."""
    _settle_in(int(parent))
    with socket.socket(fileno=int(descriptor)) as connection:
        serve(connection, train)


def serve(connection: socket.socket, work: Train) -> None:
    """Answer jobs until the parent closes the connection."""
    connection.sendall(encode(Ready()))
    with suppress(ConnectionError):
        while (received := _receive(connection)) is not None:
            job, shared = received
            try:
                _answer(connection, work, job, shared)
            finally:
                os.close(shared)


def train(
    job: Training, shared: int, report: Report, earlier: bytes
) -> tuple[ModelDescription, bytes]:
    """Have the engine train on the dataset in the descriptor `shared`.

    Parameters
    ----------
    earlier : the artefact of the model to learn on from; empty for none
    """
    n_threads = thread_count(job.parameters.get("parallel_workers"))
    with _opened(job.rows, shared) as (dataset, allocate), ThreadedMap(n_threads) as parallel:
        result = training.train(
            job.algorithm,
            job.parameters,
            dataset,
            lambda progress: report(
                Progress(
                    phase=progress.phase,
                    iterations_done=progress.iterations_done,
                    iterations_total=progress.iterations_total,
                    loss=progress.loss,
                )
            ),
            parallel,
            earlier=artifact.load(earlier) if earlier else None,
            allocate=allocate,
            budget=MemoryBudget(job.memory_limit, n_threads),
        )
    model = result.model
    artefact = artifact.dump(model)
    description = ModelDescription(
        algorithm=model.algorithm,
        parameters=dict(model.parameters),
        task=model.task,
        predict_kind=model.predict_kind,
        classes=list(model.classes),
        features=[asdict(feature) for feature in model.features],
        target=model.target_name,
        target_type=model.target_type,
        terms=[asdict(term) for term in model.describe()],
        importances=[asdict(importance) for importance in result.importances],
        metrics=dict(result.metrics),
        n_samples=result.n_samples,
        n_train=result.n_train,
        n_holdout=result.n_holdout,
        notices=list(result.notices),
        warnings=list(result.warnings),
        format_version=artifact.FORMAT_VERSION,
        artefact_sha256=hashlib.sha256(artefact).hexdigest(),
    )
    return description, artefact


def evaluate(artefact: bytes, rows: SharedRows, shared: int) -> Evaluated:
    """Have the engine measure a model on the dataset in the descriptor `shared`."""
    model = artifact.load(artefact)
    with _opened(rows, shared) as (dataset, allocate), ThreadedMap(thread_count()) as parallel:
        result = evaluation_run.evaluate(model, dataset, parallel, allocate)
    return Evaluated(metrics=result.metrics, notices=list(result.notices))


@contextmanager
def _opened(rows: SharedRows, shared: int) -> Iterator[tuple[Dataset, Allocate]]:
    """Yield the dataset in a descriptor, and what makes arrays of one element for each row.

    Where the rows are in a file on disk, so are those.
    """
    place = (shared, rows.size_bytes, rows.description, rows.extents)
    if not rows.directory:
        yield attach(*place), np.empty
        return
    with ResidentPages() as pages:
        yield attach(*place, pages.watch), FileMemory(rows.directory, pages.watch)


def _answer(connection: socket.socket, work: Train, job: Job, shared: int) -> None:
    """Do the job; an error is an answer too."""
    # It follows, whatever becomes of the job.
    payload = _receive_exactly(connection, job.payload_size_bytes)
    artefact = b""
    answer: Evaluated | Trained | Failed
    try:
        if isinstance(job, Evaluation):
            answer = evaluate(payload, job.rows, shared)
        else:
            description, artefact = work(job, shared, Reporter(connection), payload)
            answer = Trained(description=description, payload_size_bytes=len(artefact))
    except ProxyError as error:
        answer = _failed(error)
    except MemoryError:
        answer = Failed(sqlstate=OutOfMemoryError.sqlstate, message="out of memory in training")
    except ConnectionError:
        raise  # the parent is gone
    except Exception as error:  # noqa: BLE001  # whatever it is, the client hears of it
        traceback.print_exc()
        detail = f"{type(error).__name__}: {error}"
        answer = Failed(sqlstate="XX000", message="training failed", detail=detail)
    connection.sendall(encode(answer))
    connection.sendall(artefact)


def _failed(error: ProxyError) -> Failed:
    return Failed(
        sqlstate=error.sqlstate, message=error.message, detail=error.detail, hint=error.hint
    )


class Reporter:
    """Sends progress: each new phase, and within one at most twenty times a second."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._phase = ""
        self._sent_at_s = 0.0

    def __call__(self, progress: Progress) -> None:
        """Send `progress`, or leave it out."""
        now_s = time.monotonic()
        if progress.phase == self._phase and now_s - self._sent_at_s < PROGRESS_INTERVAL_S:
            return
        self._phase = progress.phase
        self._sent_at_s = now_s
        self._connection.sendall(encode(progress))


def _receive(connection: socket.socket) -> tuple[Job, int] | None:
    """Return the next job and its descriptor, or None when the parent is gone."""
    first, descriptors, _, _ = socket.recv_fds(connection, LENGTH.size, 1)
    if not first:
        return None
    (length,) = LENGTH.unpack(first + _receive_exactly(connection, LENGTH.size - len(first)))
    return decode_job(_receive_exactly(connection, length)), descriptors[0]


def _receive_exactly(connection: socket.socket, size_bytes: int) -> bytes:
    received = bytearray()
    while len(received) < size_bytes:
        chunk = connection.recv(size_bytes - len(received))
        if not chunk:
            raise ConnectionResetError
        received += chunk
    return bytes(received)


def _settle_in(parent: int) -> None:
    """Arrange the end with the parent, and good behaviour until then."""
    # Ctrl-C at the terminal goes to the whole group; ending is the parent's decision.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:  # it died before the wish was made
            sys.exit(1)
        with suppress(OSError):  # a sandbox may have no /proc
            Path("/proc/self/oom_score_adj").write_text(OOM_SCORE, "ascii")
    os.nice(NICENESS)
    # A core file would hold the training data.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
