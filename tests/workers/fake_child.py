"""A child whose training is whatever the job's algorithm names: the tests' own, no engine."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

from proxy.errors import NoTrainingRowsError
from proxy.workers import child
from proxy.workers.buffers import attach
from proxy.workers.frames import Evaluated, ModelDescription, Progress, SharedRows, Training

Report = Callable[[Progress], None]


def sum_up(job: Training, shared: int, report: Report) -> bytes:
    """Answer with the sum of everything that arrived, as text."""
    dataset = attach(shared, job.rows.size_bytes, job.rows.description, job.rows.extents)
    total = sum(float(column.values.sum()) for column in dataset.features)
    return repr(total).encode()


def report_often(job: Training, shared: int, report: Report) -> bytes:
    for phase in ("first", "second"):
        for done in range(1000):
            report(Progress(phase=phase, iterations_done=done, iterations_total=1000))
    return b""


def report_and_hang(job: Training, shared: int, report: Report) -> bytes:
    """Say who this is, then hold the GIL: no Python code of this process runs any more."""
    report(Progress(phase=str(os.getpid()), iterations_done=0, iterations_total=0))
    ctypes.PyDLL(None).sleep(600)
    return b""


def raise_ours(job: Training, shared: int, report: Report) -> bytes:
    raise NoTrainingRowsError("no rows", detail="Détail.", hint="Ask for some.")


def raise_foreign(job: Training, shared: int, report: Report) -> bytes:
    return job.parameters["missing"]  # type: ignore[no-any-return]


def run_out_of_memory(job: Training, shared: int, report: Report) -> bytes:
    raise MemoryError


def end_by(job: Training, shared: int, report: Report) -> bytes:
    os.kill(os.getpid(), int(job.parameters["signal"]))
    time.sleep(600)
    return b""


def leave(job: Training, shared: int, report: Report) -> bytes:
    sys.exit(3)


def large(job: Training, shared: int, report: Report) -> bytes:
    return os.urandom(1) * int(job.parameters["size_bytes"])


def who(job: Training, shared: int, report: Report) -> bytes:
    """Answer with what this process has of its parent: descriptors, PG variables, niceness."""
    held = [entry for entry in Path("/proc/self/fd").iterdir() if int(entry.name) > 2]
    # Listing a folder opens it: that descriptor is closed by now, and its entry is gone.
    names = [str(entry.readlink()) for entry in held if entry.is_symlink()]
    descriptors = sorted(name.partition(":")[0] for name in names)
    secrets = sorted(name for name in os.environ if name.startswith("PG"))
    interrupt = signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    return repr((os.getpid(), descriptors, secrets, os.nice(0), interrupt)).encode()


def train(
    job: Training, shared: int, report: Report, earlier: bytes
) -> tuple[ModelDescription, bytes]:
    artefact = globals()[job.algorithm](job, shared, report) + earlier
    description = ModelDescription(
        algorithm=job.algorithm,
        parameters=job.parameters,
        task="regression",
        predict_kind="value",
        classes=[],
        features=[],
        target=None,
        target_type=None,
        terms=[],
        importances=[],
        metrics={},
        n_samples=0,
        n_train=0,
        n_holdout=0,
        notices=[],
        warnings=[],
        format_version=1,
        artefact_sha256="",
    )
    return description, artefact


def evaluate(artefact: bytes, rows: SharedRows, shared: int) -> Evaluated:
    """Answer with what arrived; an artefact may ask for an error, or for more patience."""
    if artefact == b"raise":
        raise NoTrainingRowsError("no rows")
    if artefact == b"hang":
        time.sleep(600)
    dataset = attach(shared, rows.size_bytes, rows.description, rows.extents)
    total = sum(float(column.values.sum()) for column in dataset.features)
    return Evaluated(metrics={"size": len(artefact), "sum": total}, notices=["heard"])


def main(descriptor: str, parent: str) -> None:
    child.train = train
    child.evaluate = evaluate
    child.main(descriptor, parent)
