"""Threads for the engine: order, look-ahead, errors; and that no artefact depends on them."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import numpy as np
import pytest

from proxy.engine import artifact, training
from proxy.engine.columns import Column, Dataset, FeatureKind
from proxy.engine.linear import logistic
from proxy.engine.preparation import design, preprocessing
from proxy.errors import InvalidParameterError, QueryCanceledError
from proxy.workers.threads import LOOK_AHEAD, MOST_THREADS, ThreadedMap, thread_count

N_SAMPLES = 3000


@pytest.fixture
def two_threads() -> Iterator[ThreadedMap]:
    with ThreadedMap(2) as parallel:
        yield parallel


# ---- the map


@pytest.mark.parametrize("n_threads", [1, 2, 5])
def test_results_come_in_the_order_of_the_items(n_threads: int) -> None:
    """The first item's comes first, even where it takes longest."""
    started = threading.Event()

    def work(item: int) -> int:
        if item == 0 and n_threads > 1:
            started.wait(10)
        started.set()
        return item**2

    with ThreadedMap(n_threads) as parallel:
        assert list(parallel(work, range(50))) == [item**2 for item in range(50)]


def test_no_more_than_a_few_items_are_taken_ahead(two_threads: ThreadedMap) -> None:
    """However many there are: what is in work has room."""
    taken: list[int] = []

    def items() -> Iterator[int]:
        for item in range(100):
            taken.append(item)
            yield item

    for n_results, result in enumerate(two_threads(lambda item: item, items())):
        assert result == n_results
        assert len(taken) <= n_results + 2 * LOOK_AHEAD


def test_one_thread_is_the_callers_own() -> None:
    """Where there is one processor nothing is handed over."""
    with ThreadedMap(1) as parallel:
        threads = set(parallel(lambda _: threading.current_thread(), range(3)))
    assert threads == {threading.current_thread()}


def test_after_an_error_nothing_is_at_work(two_threads: ThreadedMap) -> None:
    """The first item's error comes out, when the calls beside it have ended."""
    both = threading.Barrier(2)
    at_work: list[int] = []
    done: list[int] = []

    def work(item: int) -> None:
        at_work.append(item)
        if item < 2:
            both.wait(10)
        if item == 0:
            raise MemoryError
        threading.Event().wait(0.05)
        done.append(item)

    with pytest.raises(MemoryError):
        list(two_threads(work, range(100)))
    finished = list(done)
    assert 1 in finished
    assert len(at_work) == len(finished) + 1
    assert len(at_work) < 2 * LOOK_AHEAD + 1
    assert list(two_threads(str, [1, 2, 3])) == ["1", "2", "3"]  # and it goes on
    assert done == finished


def test_closing_early_ends_the_work(two_threads: ThreadedMap) -> None:
    """Who wants no more results has no thread behind his back."""
    at_work: list[int] = []
    done: list[int] = []

    def work(item: int) -> int:
        at_work.append(item)
        threading.Event().wait(0.01)
        done.append(item)
        return item

    results = two_threads(work, range(100))
    next(results)
    results.close()
    assert sorted(done) == sorted(at_work)


def test_threads_end_with_the_block() -> None:
    """Between trainings a process has none."""
    seen: set[threading.Thread] = set()
    with ThreadedMap(3) as parallel:
        list(parallel(lambda _: seen.add(threading.current_thread()), range(10)))
    assert seen
    assert not any(thread.is_alive() for thread in seen)


def test_there_is_a_thread_for_each_processor() -> None:
    """One at least, and not more than are of use."""
    assert 1 <= thread_count() <= MOST_THREADS


# ---- what is learned


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A dozen blocks, where there would be one."""
    monkeypatch.setattr(design, "BLOCK_SIZE_BYTES", 1)
    monkeypatch.setattr(design, "SCORING_BLOCK_BYTES", 1)
    monkeypatch.setattr(preprocessing, "SUMMARY_BLOCK_ROWS", 500)
    monkeypatch.setattr(preprocessing, "FEWEST_SHARED_ROWS", 0)


def patients(n_classes: int) -> Dataset:
    """Return numbers with and without NULLs, text and an array; 0 classes are a regression."""
    rng = np.random.default_rng(n_classes)
    age, weight = rng.normal(50.0, 10.0, (2, N_SAMPLES))
    city = rng.integers(-1, 6, N_SAMPLES).astype(np.int32)
    array = rng.normal(size=(N_SAMPLES, 2))
    y = age / 10.0 - city + array[:, 1] + rng.normal(size=N_SAMPLES)
    age[rng.random(N_SAMPLES) < 0.1] = np.nan
    if n_classes:
        y = np.digitize(y, np.quantile(y, np.arange(1, n_classes) / n_classes)).astype(np.float64)
    names = ("rome", "oslo", "bern", "cork", "riga", "faro")
    features = (
        Column("age", FeatureKind.NUMBER, "double precision", age),
        Column("weight", FeatureKind.NUMBER, "double precision", weight),
        Column("city", FeatureKind.CATEGORY, "text", city, names),
        Column("array", FeatureKind.ARRAY, "double precision[]", array),
    )
    target = Column("y", FeatureKind.NUMBER, "double precision", y)
    return Dataset(features, target, N_SAMPLES)


CASES = {
    "regression": ("linear_regression", 0, {}),
    "two classes": ("logistic_regression", 2, {}),
    "two classes, balanced": ("logistic_regression", 2, {"class_weight": "balanced"}),
    "two classes, no intercept": ("logistic_regression", 2, {"fit_intercept": False}),
    "four classes": ("logistic_regression", 4, {}),
    "four classes, balanced": ("logistic_regression", 4, {"class_weight": "balanced"}),
}


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("solver", ["newton", "newton from a sample", "l-bfgs"])
@pytest.mark.parametrize("case", CASES)
def test_the_artefact_does_not_depend_on_the_threads(
    case: str, solver: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same bytes and the same metrics from one thread, two and five."""
    algorithm, n_classes, parameters = CASES[case]
    if solver == "newton from a sample":
        monkeypatch.setattr(logistic, "WARM_START_ROWS", 1000)
        monkeypatch.setattr(logistic, "WARM_START_SAMPLE", 1000)
    if solver == "l-bfgs":
        monkeypatch.setattr(logistic, "_is_newton_affordable", lambda *_: False)
    dataset = patients(n_classes)
    alone = training.train(algorithm, parameters, dataset, lambda _: None)
    for n_threads in (2, 5):
        with ThreadedMap(n_threads) as parallel:
            result = training.train(algorithm, parameters, dataset, lambda _: None, parallel)
        assert artifact.dump(result.model) == artifact.dump(alone.model)
        assert (result.metrics, result.warnings) == (alone.metrics, alone.warnings)


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("error", [MemoryError(), InvalidParameterError("no such thing")])
@pytest.mark.parametrize("n_classes", [0, 2, 3])
def test_an_error_in_one_block_ends_the_training(
    n_classes: int, error: Exception, two_threads: ThreadedMap, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It comes out as it is, and no thread writes on."""
    fill = design.EncodedDesign.fill
    writing: list[int] = []
    written: list[int] = []

    def failing(self: design.EncodedDesign, start: int, stop: int, out: np.ndarray) -> None:
        if start >= 1024:
            raise error
        writing.append(start)
        fill(self, start, stop, out)
        written.append(start)

    monkeypatch.setattr(design.EncodedDesign, "fill", failing)
    algorithm = "logistic_regression" if n_classes else "linear_regression"
    with pytest.raises(type(error)) as caught:
        training.train(algorithm, {}, patients(n_classes), lambda _: None, two_threads)
    assert caught.value is error
    assert sorted(writing) == sorted(written)
    assert writing


@pytest.mark.usefixtures("small_blocks")
def test_a_column_that_is_too_large_is_named(two_threads: ThreadedMap) -> None:
    """Of several columns read at a time the first one that is wrong makes the error."""
    dataset = patients(2)
    age, weight, *rest = dataset.features
    wrong = [
        Column(c.name, c.kind, c.sql_type, np.append(c.values[1:], 1e200)) for c in (age, weight)
    ]
    spoiled = Dataset((*rest, *wrong), dataset.target, N_SAMPLES)
    with pytest.raises(InvalidParameterError, match='"age"'):
        training.train("logistic_regression", {}, spoiled, lambda _: None, two_threads)


@pytest.mark.usefixtures("small_blocks")
def test_a_report_that_raises_stops_threads_too(two_threads: ThreadedMap) -> None:
    """Progress is told by the caller's thread, and what it raises comes out in any phase."""
    caller = threading.current_thread()
    for wanted in ("preprocessing", "holdout fit", "evaluation", "fit"):

        def report(progress: training.Progress, wanted: str = wanted) -> None:
            assert threading.current_thread() is caller
            if progress.phase == wanted:
                raise QueryCanceledError("canceling statement due to user request")

        with pytest.raises(QueryCanceledError):
            training.train("logistic_regression", {}, patients(2), report, two_threads)
