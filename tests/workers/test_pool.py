"""Training processes: what they return, and that nothing is left of those that are killed."""

from __future__ import annotations

import ast
import asyncio
import gc
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from proxy.errors import AdminShutdownError, NoTrainingRowsError, ProxyError
from proxy.workers import process
from proxy.workers.buffers import share
from proxy.workers.frames import Evaluated, Progress
from proxy.workers.pool import TrainedArtifact, TrainingPool
from tests.workers.conftest import dataset

pytestmark = pytest.mark.asyncio

PATIENCE_S = 30
OpenPool = Callable[[int], TrainingPool]


def ignore(_: Progress) -> None:
    pass


async def run(
    pool: TrainingPool,
    work: str,
    parameters: Mapping[str, Any] | None = None,
    on_progress: Callable[[Progress], None] = ignore,
    n_samples: int = 3,
) -> TrainedArtifact:
    with closing(share(dataset(n_samples))) as rows:
        return await pool.train(work, parameters or {}, rows, on_progress)


async def evaluate(pool: TrainingPool, artefact: bytes, n_samples: int = 3) -> Evaluated:
    with closing(share(dataset(n_samples))) as rows:
        return await pool.evaluate(artefact, rows)


async def eventually(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not is_so():  # noqa: ASYNC110  # another process makes it so
            await asyncio.sleep(0.01)


def exists(pid: int) -> bool:
    """Say whether a process is there, as a zombie or in life."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def start_hanging(pool: TrainingPool) -> tuple[asyncio.Task[TrainedArtifact], int]:
    """Return a job that never ends by itself, and the process that has it."""
    started: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    def note(progress: Progress) -> None:
        started.set_result(int(progress.phase))

    task = asyncio.create_task(run(pool, "report_and_hang", on_progress=note))
    return task, await started


def open_descriptors() -> list[str]:
    entries = list(Path("/proc/self/fd").iterdir())
    return sorted(str(entry.readlink()) for entry in entries if entry.is_symlink())


async def test_data_arrives_whole(pool: TrainingPool) -> None:
    """The child sees every value of every column."""
    for n_samples in (1, 3, 100_000):
        trained = await run(pool, "sum_up", n_samples=n_samples)
        assert float(trained.artefact) == n_samples * (n_samples - 1)


async def test_large_artefact_comes_back_whole(pool: TrainingPool) -> None:
    """An artefact larger than any socket buffer arrives at its full length."""
    trained = await run(pool, "large", {"size_bytes": 20_000_000})
    assert len(trained.artefact) == 20_000_000
    assert len(set(trained.artefact)) == 1


async def test_progress_is_heard_and_not_shouted(pool: TrainingPool) -> None:
    """Every phase is reported, in order, and 2000 steps do not make 2000 messages."""
    heard: list[Progress] = []
    await run(pool, "report_often", on_progress=heard.append)
    assert list(dict.fromkeys(progress.phase for progress in heard)) == ["first", "second"]
    assert len(heard) < 200


async def test_error_of_the_engine_arrives_as_it_was_raised(pool: TrainingPool) -> None:
    """Class, SQLSTATE, DETAIL and HINT survive, and the child is used again."""
    first = await run(pool, "who")
    with pytest.raises(NoTrainingRowsError) as caught:
        await run(pool, "raise_ours")
    error = caught.value
    assert (error.sqlstate, error.message) == ("ML001", "no rows")
    assert (error.detail, error.hint) == ("Détail.", "Ask for some.")
    assert pid_of(await run(pool, "who")) == pid_of(first)


@pytest.mark.parametrize(
    ("work", "sqlstate", "text"),
    [
        ("raise_foreign", "XX000", "KeyError"),
        ("run_out_of_memory", "53200", "out of memory"),
        ("leave", "58000", "status 3"),
    ],
)
async def test_other_failures_are_errors_too(
    pool: TrainingPool, work: str, sqlstate: str, text: str
) -> None:
    """Whatever goes wrong in the child is an error with a SQLSTATE, and the next job works."""
    with pytest.raises(ProxyError) as caught:
        await run(pool, work)
    assert caught.value.sqlstate == sqlstate
    assert text in f"{caught.value.message} {caught.value.detail}"
    assert (await run(pool, "sum_up")).artefact == b"6.0"


@pytest.mark.parametrize(
    ("number", "sqlstate"), [(signal.SIGKILL, "53200"), (signal.SIGSEGV, "58000")]
)
async def test_child_that_is_killed_is_reported_and_replaced(
    pool: TrainingPool, number: signal.Signals, sqlstate: str
) -> None:
    """The signal is named in the DETAIL, and another child does the next job."""
    with pytest.raises(ProxyError) as caught:
        await run(pool, "end_by", {"signal": int(number)})
    assert caught.value.sqlstate == sqlstate
    assert number.name in str(caught.value.detail)
    assert (await run(pool, "sum_up")).artefact == b"6.0"


async def test_cancel_kills_at_once(pool: TrainingPool) -> None:
    """A training that never yields is gone after its cancellation, with all that it held."""
    await run(pool, "sum_up")
    gc.collect()
    before = open_descriptors()
    task, pid = await start_hanging(pool)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await eventually(lambda: not exists(pid))
    assert (await run(pool, "sum_up")).artefact == b"6.0"  # the next child is there
    assert [name.partition(":")[0] for name in open_descriptors()] == [
        name.partition(":")[0] for name in before
    ]


async def test_cancel_before_the_start_leaves_nothing(pool: TrainingPool) -> None:
    """Cancelling at any moment of the way to the child loses no slot and no descriptor."""
    await run(pool, "sum_up")
    before = len(open_descriptors())
    for turns in range(8):
        task = asyncio.create_task(run(pool, "sum_up", n_samples=100_000))
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
    assert (await run(pool, "sum_up")).artefact == b"6.0"
    await eventually(lambda: len(open_descriptors()) == before)


async def test_an_artefact_goes_to_the_child_whole(pool: TrainingPool) -> None:
    """An evaluation has the model's bytes and the rows, and its answer comes back."""
    for size in (1, 20_000_000):
        evaluated = await evaluate(pool, b"x" * size, 5)
        assert evaluated.metrics == {"size": size, "sum": 20.0}
        assert evaluated.notices == ["heard"]


async def test_an_evaluation_that_fails_leaves_the_child_as_it_was(pool: TrainingPool) -> None:
    """An error of the engine arrives, and the same child does the next job."""
    first = await run(pool, "who")
    with pytest.raises(NoTrainingRowsError, match="no rows"):
        await evaluate(pool, b"raise")
    assert pid_of(await run(pool, "who")) == pid_of(first)


async def test_an_evaluation_can_be_cancelled(pool: TrainingPool) -> None:
    """The child of a cancelled evaluation is killed, and another does the next job."""
    first = await run(pool, "who")
    task = asyncio.create_task(evaluate(pool, b"hang"))
    await asyncio.sleep(0.1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await eventually(lambda: not exists(pid_of(first)))
    assert (await run(pool, "sum_up")).artefact == b"6.0"


async def test_first_come_first_served(pool: TrainingPool) -> None:
    """With one child, jobs are done in the order in which they were asked for."""
    done: list[int] = []

    async def job(number: int) -> None:
        await run(pool, "sum_up")
        done.append(number)

    await asyncio.gather(*(job(number) for number in range(10)))
    assert done == list(range(10))


async def test_a_waiting_job_is_not_held_up_by_a_cancelled_one(pool: TrainingPool) -> None:
    """Cancelling the job in work lets the next one in."""
    hanging, _ = await start_hanging(pool)
    waiting = asyncio.create_task(run(pool, "sum_up"))
    given_up = asyncio.create_task(run(pool, "sum_up"))
    await asyncio.sleep(0)
    given_up.cancel()
    hanging.cancel()
    assert (await waiting).artefact == b"6.0"
    await asyncio.wait([hanging, given_up])


async def test_there_are_never_more_than_size(open_pool: OpenPool) -> None:
    """Two children serve any number of jobs, and one is ready before the first."""
    pool = open_pool(2)
    pool.warm_up()
    await eventually(lambda: len(pool.pids) == 1)
    answers = await asyncio.gather(*(run(pool, "who") for _ in range(8)))
    assert {pid_of(answer) for answer in answers} <= pool.pids
    assert len(pool.pids) <= 2


async def test_child_that_died_in_its_sleep_is_replaced(pool: TrainingPool) -> None:
    """An idle child that the system killed costs the next job nothing."""
    await run(pool, "sum_up")
    (pid,) = pool.pids
    os.kill(pid, signal.SIGKILL)
    await eventually(lambda: not exists(pid))
    assert (await run(pool, "sum_up")).artefact == b"6.0"
    assert pid not in pool.pids


async def test_close_ends_children_and_jobs(open_pool: OpenPool) -> None:
    """After close no child is left, and jobs get 57P01: the running one and a late one."""
    pool = open_pool(2)
    task, pid = await start_hanging(pool)
    pids = pool.pids
    await pool.close()
    assert not [other for other in pids | {pid} if exists(other)]
    with pytest.raises(AdminShutdownError):
        await task
    with pytest.raises(AdminShutdownError):
        await run(pool, "sum_up")


async def test_close_while_a_child_is_starting(open_pool: OpenPool) -> None:
    """A child that is half started is gone after close too."""
    for turns in range(6):
        pool = open_pool(1)
        pool.warm_up()
        for _ in range(turns):
            await asyncio.sleep(0.002)
        await pool.close()
    assert [line for line in children_of(os.getpid()) if "fake_child" in line] == []


def children_of(pid: int) -> list[str]:
    task_files = Path(f"/proc/{pid}/task").glob("*/children")
    pids = [int(child) for file in task_files for child in file.read_text().split()]
    return [Path(f"/proc/{child}/cmdline").read_text() for child in pids]


async def test_child_that_cannot_start_is_an_error(
    pool: TrainingPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a working interpreter every job fails with 58000, and works when it is back."""
    with monkeypatch.context() as broken:
        broken.setattr(process, "BOOTSTRAP", "raise SystemExit(7)")
        for _ in range(2):
            with pytest.raises(ProxyError) as caught:
                await run(pool, "sum_up")
            assert (caught.value.sqlstate, caught.value.detail) == (
                "58000",
                "It exited with status 7.",
            )
        broken.setattr(sys, "executable", "/nonexistent")
        with pytest.raises(ProxyError, match="no training process"):
            await run(pool, "sum_up")
    assert (await run(pool, "sum_up")).artefact == b"6.0"


def pid_of(answer: TrainedArtifact) -> int:
    return int(ast.literal_eval(answer.artefact.decode())[0])


async def test_child_gets_nothing_but_its_job(
    pool: TrainingPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A child has one socket and one dataset, no libpq variable, and runs behind the proxy."""
    monkeypatch.setenv("PGPASSWORD", "secret")
    leak = os.open("/dev/null", os.O_RDONLY)
    try:
        answer = await run(pool, "who")
    finally:
        os.close(leak)
    _, descriptors, secrets, niceness, ignores_interrupt = ast.literal_eval(
        answer.artefact.decode()
    )
    assert descriptors == ["/memfd", "socket"]
    assert secrets == []
    assert niceness >= os.nice(0)
    assert ignores_interrupt


async def test_children_die_with_their_parent(fake_child: None) -> None:
    """When the proxy is killed, its busy child and its idle child are gone too."""
    script = f"""
import asyncio
from proxy.workers import process
from proxy.workers.buffers import share
from proxy.workers.pool import TrainingPool
from tests.workers.conftest import dataset
process.BOOTSTRAP = {process.BOOTSTRAP!r}
async def main():
    pool = TrainingPool(2)
    def note(progress):
        print("busy", flush=True)
    job = asyncio.create_task(pool.train("report_and_hang", {{}}, share(dataset()), note))
    while len(pool.pids) < 2:
        await asyncio.sleep(0.01)
    print(*pool.pids, flush=True)
    await job
asyncio.run(main())
"""
    parent = subprocess.Popen(  # noqa: ASYNC220  # starting one takes no time
        [sys.executable, "-c", script],
        stdout=subprocess.PIPE,
        cwd=Path(process.PACKAGE_ROOT),
        text=True,
    )
    assert parent.stdout is not None
    lines = [await asyncio.to_thread(parent.stdout.readline) for _ in range(2)]
    (pids,) = ([int(pid) for pid in line.split()] for line in lines if "busy" not in line)
    assert all(exists(pid) for pid in pids)
    parent.kill()
    parent.wait()
    parent.stdout.close()

    def is_running(pid: int) -> bool:
        # Orphans of a killed parent are the init process's to bury; where it does not, a zombie
        # holds nothing any more.
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            return False
        return state != "Z"

    await eventually(lambda: not any(is_running(pid) for pid in pids))


def no_memory(*_: object) -> None:
    raise OSError(28, "No space left on device")


async def test_dataset_that_does_not_fit_is_53200(
    pool: TrainingPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the memory for the shared copy cannot be had, that is the error, with the size."""
    before = len(open_descriptors())
    with monkeypatch.context() as poor:
        poor.setattr(os, "posix_fallocate", no_memory)
        with pytest.raises(ProxyError) as caught:
            await run(pool, "sum_up")
    assert caught.value.sqlstate == "53200"
    assert "bytes are needed" in str(caught.value.detail)
    assert len(open_descriptors()) == before


async def test_uvloop_runs_the_pool_too(fake_child: None) -> None:
    """The event loop that serves in production gives the same answers."""
    uvloop = pytest.importorskip("uvloop")

    async def work() -> tuple[bytes, bool]:
        pool = TrainingPool(1)
        trained = await run(pool, "large", {"size_bytes": 5_000_000})
        task, pid = await start_hanging(pool)
        task.cancel()
        await asyncio.wait([task])
        await eventually(lambda: not exists(pid))
        await pool.close()
        return trained.artefact, task.cancelled()

    def in_uvloop() -> tuple[bytes, bool]:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            result: tuple[bytes, bool] = runner.run(work())
            return result

    artefact, cancelled = await asyncio.to_thread(in_uvloop)
    assert (len(artefact), cancelled) == (5_000_000, True)
