"""The real child, with the engine in it."""

from __future__ import annotations

import hashlib
from contextlib import closing

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression as SklearnLogisticRegression

from proxy.engine import artifact, evaluation_run, training
from proxy.engine.columns import Column, Dataset, FeatureKind
from proxy.errors import ArtifactError, InvalidParameterError
from proxy.workers.buffers import share
from proxy.workers.frames import Progress
from proxy.workers.pool import TrainedArtifact, TrainingPool

pytestmark = pytest.mark.asyncio

N_SAMPLES = 300


def churners() -> Dataset:
    random = np.random.default_rng(7)
    tenure = random.normal(size=N_SAMPLES)
    plan = random.integers(0, 2, N_SAMPLES).astype(np.int32)
    churned = (tenure + plan + random.normal(size=N_SAMPLES) > 0.5).astype(np.float64)
    return Dataset(
        (
            Column("tenure", FeatureKind.NUMBER, "double precision", tenure),
            Column("plan", FeatureKind.CATEGORY, "text", plan, ("básico", "pro")),
        ),
        Column("churned", FeatureKind.BOOLEAN, "boolean", churned),
        N_SAMPLES,
    )


async def train(
    algorithm: str, parameters: dict[str, object], heard: list[Progress]
) -> TrainedArtifact:
    pool = TrainingPool(1)
    try:
        with closing(share(churners())) as rows:
            return await pool.train(algorithm, parameters, rows, heard.append)
    finally:
        await pool.close()


async def test_child_trains_what_scikit_learn_trains() -> None:
    """The artefact is a model with scikit-learn's coefficients, described as the registry needs."""
    heard: list[Progress] = []
    trained = await train("logistic_regression", {"l2": 0.5}, heard)
    tenure, plan = (column.values for column in churners().features)
    target = churners().target
    assert target is not None
    X = np.column_stack([tenure, plan == 0, plan == 1])
    oracle = SklearnLogisticRegression(C=2.0, tol=1e-10, max_iter=1000).fit(X, target.values)
    described = trained.description
    assert [term["coefficient"] for term in described.terms[1:]] == pytest.approx(
        oracle.coef_[0], abs=1e-5
    )
    assert [term["term"] for term in described.terms] == ["intercept", "value", "básico", "pro"]
    assert described.artefact_sha256 == hashlib.sha256(trained.artefact).hexdigest()
    assert (described.n_train, described.n_holdout) == (240, 60)
    assert described.parameters["l2"] == 0.5
    assert described.classes == ["false", "true"]
    raw = np.column_stack([tenure, plan.astype(np.float64)])
    assert artifact.load(trained.artefact).predict(raw) == pytest.approx(
        oracle.predict_proba(X)[:, 1], abs=1e-5
    )
    assert {progress.phase for progress in heard} >= {"holdout fit", "fit"}


async def test_child_gives_the_bytes_that_the_engine_gives() -> None:
    """Neither the process nor the shared memory changes a bit of what is learned."""
    trained = await train("logistic_regression", {}, [])
    here = training.train("logistic_regression", {}, churners(), lambda _: None)
    assert trained.artefact == artifact.dump(here.model)
    assert trained.description.metrics == here.metrics


async def test_child_measures_what_the_engine_measures() -> None:
    """An evaluation in the child has the numbers of one here, and the rows as its first."""
    model = training.train("logistic_regression", {}, churners(), lambda _: None).model
    here = evaluation_run.evaluate(model, churners())
    pool = TrainingPool(1)
    try:
        with closing(share(churners())) as rows:
            there = await pool.evaluate(artifact.dump(model), rows)
            with pytest.raises(ArtifactError):
                await pool.evaluate(b"nonsense", rows)
    finally:
        await pool.close()
    assert there.metrics == here.metrics
    assert list(there.metrics)[:2] == ["rows", "accuracy"]
    assert there.metrics["rows"] == N_SAMPLES


async def test_error_of_a_parameter_comes_back() -> None:
    """A bad parameter is the engine's own error, HINT and all."""
    with pytest.raises(InvalidParameterError) as caught:
        await train("logistic_regression", {"l22": 1.0}, [])
    assert caught.value.sqlstate == "22023"
    assert "l2" in f"{caught.value.hint} {caught.value.detail}"
