"""What must hold of every algorithm, as scikit-learn's `estimator_checks`: one function, one claim.

`test_estimators.py` runs each check over each algorithm; a new algorithm is checked by being in the
table.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from proxy.engine.algorithms import ALGORITHMS
from proxy.engine.artifact import dump, load
from proxy.engine.columns import Column, Dataset, FeatureKind
from proxy.engine.model import Model
from proxy.engine.training import TrainingResult, train

Check = Callable[[str, int], None]


def silent(progress: object) -> None:
    """Report to nobody."""


def target_column(name: str, signal: np.ndarray, n_classes: int) -> Column:
    """Return a target that the algorithm can learn: the signal, or `n_classes` bands of it."""
    if ALGORITHMS[name].task == "regression":
        return Column("target", FeatureKind.NUMBER, "double precision", signal)
    edges = np.quantile(signal, np.linspace(0, 1, n_classes + 1)[1:-1])
    codes = np.searchsorted(edges, signal).astype(np.int32)
    labels = tuple(f"class {k}" for k in range(n_classes))
    return Column("target", FeatureKind.CATEGORY, "text", codes, labels)


def mixed_dataset(name: str, n_classes: int, n_samples: int = 300, seed: int = 0) -> Dataset:
    """Return numbers, booleans, text, times and an array, with NULLs, and a noisy signal."""
    rng = np.random.default_rng(seed)
    number = rng.normal(50.0, 10.0, n_samples)
    flag = rng.integers(0, 2, n_samples).astype(np.float64)
    text = rng.integers(0, 4, n_samples).astype(np.int32)
    time = 1.7e9 + rng.uniform(0, 1e7, n_samples)
    array = rng.normal(size=(n_samples, 3))
    signal = number / 10.0 + flag - text + array[:, 0] + rng.normal(size=n_samples)
    number[rng.random(n_samples) < 0.1] = np.nan
    text[rng.random(n_samples) < 0.1] = -1
    features = (
        Column("number", FeatureKind.NUMBER, "double precision", number),
        Column("flag", FeatureKind.BOOLEAN, "boolean", flag),
        Column("text", FeatureKind.CATEGORY, "text", text, ("delta", "alpha", "beta", "gamma")),
        Column("time", FeatureKind.TIME, "timestamp with time zone", time),
        Column("array", FeatureKind.ARRAY, "double precision[]", array),
    )
    return Dataset(features, target_column(name, signal, n_classes), n_samples)


def fit(name: str, dataset: Dataset, **parameters: object) -> TrainingResult:
    """Train with default parameters but for those given."""
    return train(name, parameters, dataset, silent)  # type: ignore[arg-type]


def random_rows(model: Model, n_rows: int, seed: int = 1) -> np.ndarray:
    """Return raw rows of every sort: ordinary, missing, infinite, enormous, unseen."""
    rng = np.random.default_rng(seed)
    raw = rng.normal(0.0, 100.0, (n_rows, model.input_width))
    j = 0
    for feature in model.features:
        if feature.kind is FeatureKind.CATEGORY:
            raw[:, j] = rng.integers(0, len(feature.categories) + 1, n_rows)
            raw[rng.random(n_rows) < 0.2, j] = np.nan
        j += feature.width
    numeric = [
        j
        for j, encoder in enumerate(model.preprocessor.encoders_)
        if not hasattr(encoder, "categories")
    ]
    wild = np.array([np.nan, np.inf, -np.inf, 1e308, -1e308, 5e-324, 0.0])
    for j in numeric:
        hit = rng.random(n_rows) < 0.2
        raw[hit, j] = rng.choice(wild, int(hit.sum()))
    return raw


def check_fitting_twice_is_fitting_once(name: str, n_classes: int) -> None:
    dataset = mixed_dataset(name, n_classes)
    assert dump(fit(name, dataset).model) == dump(fit(name, dataset).model)
    assert fit(name, dataset).metrics == fit(name, dataset).metrics


def check_training_leaves_its_input_alone(name: str, n_classes: int) -> None:
    dataset = mixed_dataset(name, n_classes)
    before = [column.values.copy() for column in (*dataset.features, dataset.target)]
    fit(name, dataset)
    for column, values in zip((*dataset.features, dataset.target), before, strict=True):
        np.testing.assert_array_equal(column.values, values)


def check_a_batch_scores_as_its_rows_do(name: str, n_classes: int) -> None:
    model = fit(name, mixed_dataset(name, n_classes)).model
    raw = random_rows(model, 200)
    whole = model.predict(raw)
    alone = np.array([model.predict(raw[i : i + 1])[0] for i in range(len(raw))])
    np.testing.assert_array_equal(whole, alone)
    halves = np.concatenate([model.predict(raw[:77]), model.predict(raw[77:])])
    np.testing.assert_array_equal(whole, halves)
    if model.classes:
        proba = model.predict_proba(raw)
        rows = np.vstack([model.predict_proba(raw[i : i + 1]) for i in range(len(raw))])
        np.testing.assert_array_equal(proba, rows)


def check_wild_rows_have_defined_scores(name: str, n_classes: int) -> None:
    model = fit(name, mixed_dataset(name, n_classes)).model
    raw = random_rows(model, 500)
    assert not np.isnan(model.predict(raw)).any()
    if not model.classes:
        return
    proba = model.predict_proba(raw)
    assert ((proba >= 0) & (proba <= 1)).all()
    np.testing.assert_allclose(proba.sum(axis=1), 1.0, rtol=1e-12)
    classes = model.predict_class(raw)
    assert classes.min() >= 0
    assert classes.max() < len(model.classes)


def check_the_artifact_brings_the_same_model_back(name: str, n_classes: int) -> None:
    model = fit(name, mixed_dataset(name, n_classes)).model
    artifact = dump(model)
    again = load(artifact)
    assert dump(again) == artifact
    assert (again.features, again.target, again.parameters) == (
        model.features,
        model.target,
        model.parameters,
    )
    raw = random_rows(model, 100)
    np.testing.assert_array_equal(again.predict(raw), model.predict(raw))
    assert again.describe() == model.describe()


def check_a_constant_column_changes_nothing(name: str, n_classes: int) -> None:
    dataset = mixed_dataset(name, n_classes)
    constant = Column("constant", FeatureKind.NUMBER, "integer", np.full(dataset.n_samples, 0.1))
    wider = Dataset((*dataset.features, constant), dataset.target, dataset.n_samples)
    model, wide = fit(name, dataset).model, fit(name, wider).model
    assert wide.coef[:, -1].tolist() == [0.0] * len(wide.coef)
    raw = random_rows(model, 50)
    raw[~np.isfinite(raw) | (abs(raw) > 1e6)] = 0.0
    wide_raw = np.ascontiguousarray(np.column_stack([raw, np.full(50, 0.1)]))
    np.testing.assert_allclose(wide.predict(wide_raw), model.predict(raw), rtol=1e-6, atol=1e-9)


def check_duplicate_columns_share_their_coefficient(name: str, n_classes: int) -> None:
    dataset = mixed_dataset(name, n_classes)
    twin = dataset.features[1]
    doubled = Dataset((twin, twin), dataset.target, dataset.n_samples)
    model = fit(name, doubled).model
    np.testing.assert_allclose(model.coef[:, 0], model.coef[:, 1], rtol=1e-8)
    assert np.isfinite(model.coef).all()


def check_a_column_of_nulls_is_survived(name: str, n_classes: int) -> None:
    dataset = mixed_dataset(name, n_classes)
    empty = Column("empty", FeatureKind.NUMBER, "integer", np.full(dataset.n_samples, np.nan))
    none = Column("none", FeatureKind.CATEGORY, "text", np.full(dataset.n_samples, -1, np.int32))
    wider = Dataset((empty, none, *dataset.features), dataset.target, dataset.n_samples)
    result = fit(name, wider)
    assert any('"empty"' in warning for warning in result.warnings)
    assert not np.isnan(result.model.predict(random_rows(result.model, 50))).any()


def check_few_rows_are_enough_for_a_model(name: str, n_classes: int) -> None:
    is_regression = ALGORITHMS[name].task == "regression"
    n_rows = 1 if is_regression else n_classes
    values = np.arange(n_rows, dtype=np.float64)
    dataset = Dataset(
        (Column("x", FeatureKind.NUMBER, "integer", values),),
        Column("target", FeatureKind.NUMBER, "integer", values + 7.0),
        n_rows,
    )
    result = fit(name, dataset)
    assert (result.n_holdout, result.metrics) == (0, {})
    assert any("too few rows" in warning for warning in result.warnings)
    predicted = result.model.predict(np.array([[0.0], [1e9]]))
    assert np.isfinite(predicted).all()
    if is_regression:
        assert predicted.tolist() == [7.0, 7.0]


CHECKS: tuple[Check, ...] = (
    check_fitting_twice_is_fitting_once,
    check_training_leaves_its_input_alone,
    check_a_batch_scores_as_its_rows_do,
    check_wild_rows_have_defined_scores,
    check_the_artifact_brings_the_same_model_back,
    check_a_constant_column_changes_nothing,
    check_duplicate_columns_share_their_coefficient,
    check_a_column_of_nulls_is_survived,
    check_few_rows_are_enough_for_a_model,
)
