"""`warm_start`: learning on, against learning everything at once and against forgetting."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from sklearn.datasets import load_digits

from proxy.engine.artifact import dump, load
from proxy.engine.columns import Column, Dataset, FeatureKind
from proxy.engine.linear.coefficients import Coefficients
from proxy.engine.model import Model
from proxy.engine.training import TrainingResult, train
from proxy.errors import (
    ArtifactError,
    DatatypeMismatchError,
    InvalidParameterError,
    UndefinedColumnError,
)
from tests.engine.estimator_checks import mixed_dataset, without_nulls


def learn(
    algorithm: str, dataset: Dataset, earlier: Model | None = None, **parameters: object
) -> TrainingResult:
    """Train, with the earlier model as it comes out of the store."""
    if earlier is not None:
        parameters["warm_start"] = "earlier"
        earlier = load(dump(earlier))
    return train(algorithm, parameters, dataset, lambda _: None, earlier=earlier)  # type: ignore[arg-type]


def part(dataset: Dataset, rows: np.ndarray) -> Dataset:
    features = tuple(replace(column, values=column.values[rows]) for column in dataset.features)
    target = dataset.target
    if target is not None:
        target = replace(target, values=target.values[rows])
    return Dataset(features, target, len(rows))


def raw_of(dataset: Dataset) -> np.ndarray:
    return np.column_stack([column.values for column in dataset.features])


FIRST, SECOND = np.arange(150), np.arange(150, 300)


def test_two_halves_of_a_line_are_the_whole() -> None:
    """Sufficient statistics lose nothing: the coefficients are those of all rows at once."""
    dataset = without_nulls(mixed_dataset("linear_regression"))
    whole = learn("linear_regression", dataset, l2=0.5).model
    first = learn("linear_regression", part(dataset, FIRST), l2=0.5).model
    both = learn("linear_regression", part(dataset, SECOND), first, l2=0.5).model
    assert both.preprocessor.features_ == whole.preprocessor.features_
    np.testing.assert_allclose(both.predict(raw_of(dataset)), whole.predict(raw_of(dataset)))


def test_a_classifier_goes_on_and_does_not_forget() -> None:
    """After the second half it is nearer to the fit on all rows than the second half alone is."""
    dataset = without_nulls(mixed_dataset("logistic_regression", 2))
    raw = raw_of(dataset)
    whole = learn("logistic_regression", dataset).model.predict_proba(raw)
    first = learn("logistic_regression", part(dataset, FIRST)).model
    both = learn("logistic_regression", part(dataset, SECOND), first).model.predict_proba(raw)
    alone = learn("logistic_regression", part(dataset, SECOND)).model.predict_proba(raw)
    assert np.abs(both - whole).mean() < 0.3 * np.abs(alone - whole).mean()


def test_a_third_part_may_follow() -> None:
    """What was continued can be continued."""
    dataset = without_nulls(mixed_dataset("linear_regression"))
    model = None
    for rows in np.array_split(np.arange(300), 3):
        model = learn("linear_regression", part(dataset, rows), model).model
    assert model is not None
    whole = learn("linear_regression", dataset).model
    np.testing.assert_allclose(model.predict(raw_of(dataset)), whole.predict(raw_of(dataset)))


def test_clusters_move_with_new_rows() -> None:
    """A centre is the mean of old and new rows, each as often as it came."""
    rng = np.random.default_rng(0)
    old, new = rng.normal(size=(200, 2)), rng.normal([1.0, 0.0], size=(100, 2))

    def table(X: np.ndarray) -> Dataset:
        names = ("x", "y")
        return Dataset(
            tuple(
                Column(name, FeatureKind.NUMBER, "double precision", np.ascontiguousarray(column))
                for name, column in zip(names, X.T, strict=True)
            ),
            None,
            len(X),
        )

    first = learn("kmeans", table(old), k=1).model
    both = learn("kmeans", table(new), first, k=1).model
    expected = np.vstack([old, new]).mean(axis=0)
    np.testing.assert_allclose(both.predictor.centers[0], expected, atol=1e-9)


def test_a_network_goes_on_from_its_weights() -> None:
    """Two epochs after ten are better than two epochs from nothing."""
    X, y = load_digits(return_X_y=True)
    column = Column("pixels", FeatureKind.ARRAY, "integer[]", X)
    target = Column("y", FeatureKind.NUMBER, "integer", y.astype(np.float64))
    dataset = Dataset((column,), target, len(y))
    net = {"hidden_layers": [20], "batch_size": 32}
    first = learn("neural_network", dataset, epochs=10, **net).model
    further = learn("neural_network", dataset, first, epochs=2, **net)
    fresh = learn("neural_network", dataset, epochs=2, **net)
    assert further.metrics["log_loss"] < fresh.metrics["log_loss"] / 2


def test_the_columns_must_be_the_models() -> None:
    """A column that is missing, too many or of another kind is named."""
    dataset = mixed_dataset("linear_regression")
    model = learn("linear_regression", dataset).model
    features = dataset.features
    with pytest.raises(UndefinedColumnError, match='no column "number"'):
        learn("linear_regression", replace(dataset, features=features[1:]), model)
    more = Column("more", FeatureKind.NUMBER, "integer", np.zeros(300))
    with pytest.raises(InvalidParameterError, match='no feature "more"'):
        learn("linear_regression", replace(dataset, features=(*features, more)), model)
    other = replace(features[2], name="number")
    with pytest.raises(DatatypeMismatchError, match='"number"'):
        learn("linear_regression", replace(dataset, features=(other, *features[1:])), model)
    shuffled = replace(dataset, features=features[::-1])
    again = learn("linear_regression", shuffled, model).model
    assert again.features == model.features


def test_the_classes_must_be_the_models() -> None:
    """A label that it does not know is refused; one that has no new row stays."""
    dataset = mixed_dataset("logistic_regression", 4)
    assert dataset.target is not None
    model = learn("logistic_regression", dataset).model
    few = np.flatnonzero(dataset.target.values < 3)
    again = learn("logistic_regression", part(dataset, few), model).model
    assert again.classes == model.classes
    stranger = replace(dataset.target, categories=("class 0", "class 1", "class 2", "class 9"))
    with pytest.raises(InvalidParameterError, match='no class "class 9"'):
        learn("logistic_regression", replace(dataset, target=stranger), model)


def test_the_algorithm_must_be_the_models() -> None:
    """By 22023, with its name."""
    dataset = mixed_dataset("linear_regression")
    model = learn("linear_regression", dataset).model
    with pytest.raises(InvalidParameterError, match="a model of linear_regression") as caught:
        learn("neural_network", dataset, model, task="regression")
    assert caught.value.sqlstate == "22023"
    forest_task = {"task": "classification", "hidden_layers": [3], "epochs": 1}
    net = learn("neural_network", dataset, task="regression", hidden_layers=[3], epochs=1).model
    with pytest.raises(InvalidParameterError, match="is of regression"):
        learn("neural_network", dataset, net, **forest_task)
    with pytest.raises(InvalidParameterError, match="fit_intercept"):
        learn("linear_regression", dataset, model, fit_intercept=False)


def test_a_damaged_memory_is_refused() -> None:
    """What anybody may have stored is checked before it is learned on from."""
    dataset = mixed_dataset("linear_regression")
    model = learn("linear_regression", dataset).model
    assert isinstance(model.predictor, Coefficients)
    model.predictor.memory["gram"] = np.zeros((2, 2))
    with pytest.raises(ArtifactError) as caught:
        learn("linear_regression", dataset, model)
    assert caught.value.sqlstate == "XX001"
