"""What must hold of every algorithm, as scikit-learn's `estimator_checks`: a function for a claim.

`test_estimators.py` runs each check over each case; a new algorithm is checked by being in the
table of algorithms.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pytest

from proxy.engine.algorithms import ALGORITHMS
from proxy.engine.artifact import dump, load
from proxy.engine.columns import Column, Dataset, FeatureKind
from proxy.engine.model import Model
from proxy.engine.training import Progress, TrainingResult, train
from proxy.errors import InvalidParameterError, QueryCanceledError, SingleClassError
from proxy.kernels.linear import NOT_GIVEN
from tests.engine.maps import backwards

# What keeps a case short; quality is not what these checks are about.
QUICK: dict[str, dict[str, object]] = {
    "random_forest": {"n_trees": 7, "max_depth": 6},
    "gradient_boosting": {"n_trees": 7},
    "kmeans": {"k": 4},
    "dbscan": {"eps": 40.0},
    "neural_network": {"epochs": 4, "hidden_layers": [9]},
}


@dataclass(frozen=True)
class Case:
    """An algorithm with a task: `n_classes` is 0 for a regression, -1 for clustering."""

    name: str
    n_classes: int

    @property
    def parameters(self) -> dict[str, object]:
        """Return what makes it quick and says the task."""
        parameters = dict(QUICK.get(self.name, {}))
        if ALGORITHMS[self.name].task == "either":
            parameters["task"] = "classification" if self.n_classes else "regression"
        return parameters

    def __str__(self) -> str:
        return f"{self.name}-{self.n_classes}"


def _cases() -> list[Case]:
    numbers = {
        "regression": (0,),
        "classification": (2, 4),
        "either": (0, 2, 4),
        "clustering": (-1,),
    }
    return [Case(name, n) for name, spec in ALGORITHMS.items() for n in numbers[spec.task]]


CASES = _cases()
Check = Callable[[Case], None]


def silent(progress: object) -> None:
    """Report to nobody."""


def as_case(name: str | Case, n_classes: int = 0) -> Case:
    """Return a case; of a name, with so many classes."""
    return name if isinstance(name, Case) else Case(name, n_classes)


def target_column(case: Case, signal: np.ndarray) -> Column | None:
    """Return a target that the algorithm can learn: the signal, or `n_classes` bands of it."""
    if case.n_classes < 0:
        return None
    if case.n_classes == 0 or ALGORITHMS[case.name].task == "regression":
        return Column("target", FeatureKind.NUMBER, "double precision", signal)
    edges = np.quantile(signal, np.linspace(0, 1, case.n_classes + 1)[1:-1])
    codes = np.searchsorted(edges, signal).astype(np.int32)
    labels = tuple(f"class {k}" for k in range(case.n_classes))
    return Column("target", FeatureKind.CATEGORY, "text", codes, labels)


def mixed_dataset(
    name: str | Case, n_classes: int = 0, n_samples: int = 300, seed: int = 0
) -> Dataset:
    """Return numbers, booleans, text, times and an array, with NULLs, and a noisy signal."""
    case = as_case(name, n_classes)
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
    return Dataset(features, target_column(case, signal), n_samples)


def fit(name: str | Case, dataset: Dataset, **parameters: object) -> TrainingResult:
    """Train with default parameters but for those of the case, and those given."""
    case = as_case(name)
    chosen = case.parameters if isinstance(name, Case) else {}
    return train(case.name, chosen | parameters, dataset, silent)  # type: ignore[arg-type]


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


def columns_of(dataset: Dataset) -> list[Column]:
    return [*dataset.features, *([dataset.target] if dataset.target else [])]


def check_fitting_twice_is_fitting_once(case: Case) -> None:
    dataset = mixed_dataset(case)
    first, second = fit(case, dataset), fit(case, dataset)
    assert dump(first.model) == dump(second.model)
    assert first.metrics == second.metrics
    assert first.importances == second.importances


def check_any_number_of_workers_learns_the_same(case: Case) -> None:
    dataset = mixed_dataset(case)
    parameters = case.parameters
    alone = train(case.name, parameters, dataset, silent)
    shuffled = train(case.name, parameters, dataset, silent, backwards)
    assert dump(alone.model) == dump(shuffled.model)
    assert alone.metrics == shuffled.metrics


def check_training_leaves_its_input_alone(case: Case) -> None:
    dataset = mixed_dataset(case)
    before = [column.values.copy() for column in columns_of(dataset)]
    fit(case, dataset)
    for column, values in zip(columns_of(dataset), before, strict=True):
        np.testing.assert_array_equal(column.values, values)


def check_a_batch_scores_as_its_rows_do(case: Case) -> None:
    model = fit(case, mixed_dataset(case)).model
    raw = random_rows(model, 200)
    whole = model.predict(raw)
    alone = np.array([model.predict(raw[i : i + 1])[0] for i in range(len(raw))])
    np.testing.assert_array_equal(whole, alone)
    halves = np.concatenate([model.predict(raw[:77]), model.predict(raw[77:])])
    np.testing.assert_array_equal(whole, halves)
    if case.n_classes > 0:
        proba = model.predict_proba(raw)
        rows = np.vstack([model.predict_proba(raw[i : i + 1]) for i in range(len(raw))])
        np.testing.assert_array_equal(proba, rows)


def check_a_scorer_of_other_columns_scores_the_same(case: Case) -> None:
    model = fit(case, mixed_dataset(case)).model
    raw = random_rows(model, 100)
    order = np.random.default_rng(2).permutation(model.input_width)
    values = np.ascontiguousarray(np.column_stack([np.zeros(100), raw[:, order]]))
    sources = [int(np.flatnonzero(order == j)[0]) + 1 for j in range(model.input_width)]
    output = {0: "value", -1: "label", 2: "probability"}.get(case.n_classes, "label")
    scorer = model.scorer(sources, [None] * model.input_width, output, 1)
    np.testing.assert_array_equal(scorer.scores(values), model.predict(raw))


def check_an_input_not_given_is_missing(case: Case) -> None:
    model = fit(case, mixed_dataset(case)).model
    raw = random_rows(model, 100)
    sources = list(range(model.input_width))
    sources[0], raw[:, 0] = NOT_GIVEN, np.nan
    output = {0: "value", -1: "label", 2: "probability"}.get(case.n_classes, "label")
    scorer = model.scorer(sources, [None] * model.input_width, output, 1)
    np.testing.assert_array_equal(scorer.scores(raw), model.predict(raw))


def check_wild_rows_have_defined_scores(case: Case) -> None:
    model = fit(case, mixed_dataset(case)).model
    raw = random_rows(model, 500)
    assert not np.isnan(model.predict(raw)).any()
    if not model.classes:
        return
    classes = model.predict_class(raw)
    assert classes.min() >= 0
    assert classes.max() < len(model.classes)
    if case.n_classes > 0:
        proba = model.predict_proba(raw)
        assert ((proba >= 0) & (proba <= 1)).all()
        np.testing.assert_allclose(proba.sum(axis=1), 1.0, rtol=1e-9)


def check_the_artifact_brings_the_same_model_back(case: Case) -> None:
    model = fit(case, mixed_dataset(case)).model
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


def check_a_constant_column_is_left_out_and_mentioned(case: Case) -> None:
    dataset = mixed_dataset(case)
    constant = Column("constant", FeatureKind.NUMBER, "integer", np.full(dataset.n_samples, 0.1))
    wider = Dataset((*dataset.features, constant), dataset.target, dataset.n_samples)
    model, result = fit(case, dataset).model, fit(case, wider)
    wide = result.model
    assert any('"constant"' in notice for notice in result.notices)
    assert wide.preprocessor.n_design_ == model.preprocessor.n_design_
    raw = random_rows(model, 50)
    wide_raw = np.ascontiguousarray(np.column_stack([raw, np.full(50, 0.1)]))
    np.testing.assert_array_equal(wide.predict(wide_raw), model.predict(raw))


def check_a_repeated_column_is_left_out_and_mentioned(case: Case) -> None:
    dataset = mixed_dataset(case)
    twin = replace(dataset.features[0], name="twin")
    doubled = Dataset((*dataset.features, twin), dataset.target, dataset.n_samples)
    result = fit(case, doubled)
    is_mentioned = any("repeats" in notice for notice in result.notices)
    assert is_mentioned == (case.n_classes >= 0)  # in distances it counts twice, and is kept


def check_a_column_of_nulls_is_survived(case: Case) -> None:
    dataset = mixed_dataset(case)
    empty = Column("empty", FeatureKind.NUMBER, "integer", np.full(dataset.n_samples, np.nan))
    none = Column("none", FeatureKind.CATEGORY, "text", np.full(dataset.n_samples, -1, np.int32))
    wider = Dataset((empty, none, *dataset.features), dataset.target, dataset.n_samples)
    result = fit(case, wider)
    assert any('"empty"' in warning for warning in result.warnings)
    assert not np.isnan(result.model.predict(random_rows(result.model, 50))).any()


def check_few_rows_are_enough_for_a_model(case: Case) -> None:
    n_rows = max(case.n_classes, 1)
    values = np.arange(n_rows, dtype=np.float64)
    target = Column("target", FeatureKind.NUMBER, "integer", values + 7.0)
    dataset = Dataset(
        (Column("x", FeatureKind.NUMBER, "integer", values),),
        None if case.n_classes < 0 else target,
        n_rows,
    )
    result = fit(case, dataset)
    assert result.n_holdout == 0
    assert case.n_classes < 0 or any("too few rows" in warning for warning in result.warnings)
    predicted = result.model.predict(np.array([[0.0], [1e9]]))
    assert np.isfinite(predicted).all()
    if case.n_classes == 0:
        np.testing.assert_allclose(predicted, 7.0)


def check_a_single_class_is_refused(case: Case) -> None:
    if case.n_classes <= 0:
        return
    dataset = mixed_dataset(case)
    codes = np.zeros(dataset.n_samples, np.int32)
    target = Column("target", FeatureKind.CATEGORY, "text", codes, ("only",))
    with pytest.raises(SingleClassError):
        fit(case, Dataset(dataset.features, target, dataset.n_samples))


def check_enormous_values_are_refused(case: Case) -> None:
    dataset = mixed_dataset(case)
    values = dataset.features[0].values.copy()
    values[3] = 1e308
    features = (replace(dataset.features[0], values=values), *dataset.features[1:])
    with pytest.raises(InvalidParameterError) as caught:
        fit(case, Dataset(features, dataset.target, dataset.n_samples))
    assert caught.value.sqlstate == "22003"


def without_nulls(dataset: Dataset) -> Dataset:
    """Return it with 0 for every NULL: what stands for one is the mean of rows, not of weights."""
    features = tuple(
        replace(column, values=np.where(column.values == -1, 0, column.values).astype(np.int32))
        if column.kind is FeatureKind.CATEGORY
        else replace(column, values=np.nan_to_num(column.values))
        for column in dataset.features
    )
    return replace(dataset, features=features)


def check_a_weight_of_two_is_the_row_twice(case: Case) -> None:
    """Where nothing is drawn at random from the rows, nor measured on them beforehand."""
    if case.name not in {"linear_regression", "logistic_regression", "decision_tree", "dbscan"}:
        return
    dataset = without_nulls(mixed_dataset(case, n_samples=120))
    weights = np.random.default_rng(3).integers(1, 3, dataset.n_samples).astype(np.float64)
    rows = np.repeat(np.arange(dataset.n_samples), weights.astype(np.int64))
    twice = [replace(column, values=column.values[rows]) for column in columns_of(dataset)]
    target = twice.pop() if dataset.target else None
    weight = Column("weight", FeatureKind.NUMBER, "double precision", weights)
    whole = {"test_size": 0} if case.n_classes >= 0 else {}
    weighted = fit(case, replace(dataset, sample_weight=weight), **whole).model
    doubled = fit(case, Dataset(tuple(twice), target, len(rows)), **whole).model
    raw = np.column_stack([column.values for column in dataset.features])
    np.testing.assert_allclose(weighted.predict(raw), doubled.predict(raw), rtol=1e-6, atol=1e-6)


def check_a_weight_that_is_none_is_refused(case: Case) -> None:
    dataset = mixed_dataset(case)
    for wrong, sqlstate in ((np.nan, "22004"), (-1.0, "22023"), (np.inf, "22023")):
        values = np.ones(dataset.n_samples)
        values[5] = wrong
        weight = Column("weight", FeatureKind.NUMBER, "double precision", values)
        with pytest.raises(InvalidParameterError, match='"weight"') as caught:
            fit(case, replace(dataset, sample_weight=weight))
        assert caught.value.sqlstate == sqlstate


def check_progress_is_reported_and_may_stop_it(case: Case) -> None:
    dataset = mixed_dataset(case)
    seen: list[Progress] = []
    train(case.name, case.parameters, dataset, seen.append)
    phases = list(dict.fromkeys(progress.phase for progress in seen))
    supervised = ["preprocessing", "holdout fit", "evaluation", "fit"]
    assert phases == (supervised if case.n_classes >= 0 else ["preprocessing", "fit"])
    assert all(p.iterations_done <= p.iterations_total for p in seen)

    for wanted in phases:

        def stop(progress: Progress, wanted: str = wanted) -> None:
            if progress.phase == wanted:
                raise QueryCanceledError("canceling statement due to user request")

        with pytest.raises(QueryCanceledError):
            train(case.name, case.parameters, dataset, stop)


CHECKS: tuple[Check, ...] = tuple(
    function for name, function in list(globals().items()) if name.startswith("check_")
)
