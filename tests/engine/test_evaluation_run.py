"""A stored model on new rows: columns by name, labels by value, measures as scikit-learn's."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
from sklearn import metrics as sklearn_metrics

from proxy.engine import artifact
from proxy.engine.columns import Column, Dataset, FeatureKind
from proxy.engine.evaluation_run import evaluate
from proxy.engine.model import Model, Target
from proxy.engine.training import train
from proxy.engine.unseen_labels import UNSEEN, class_codes
from proxy.errors import (
    DatatypeMismatchError,
    InvalidParameterError,
    NoTrainingRowsError,
    UndefinedColumnError,
)
from tests.engine.maps import backwards

NUMBER, BOOLEAN = FeatureKind.NUMBER, FeatureKind.BOOLEAN
CATEGORY, ARRAY = FeatureKind.CATEGORY, FeatureKind.ARRAY
N = 400
NAN = math.nan
WORDS = ("red", "green", "blue")


def number(name: str, values: Sequence[float], sql_type: str = "double precision") -> Column:
    return Column(name, NUMBER, sql_type, np.array(values, np.float64))


def text(name: str, values: Sequence[str | None], extra: Sequence[str] = ()) -> Column:
    words = (*extra, *dict.fromkeys(word for word in values if word is not None))
    codes = [-1 if word is None else words.index(word) for word in values]
    return Column(name, CATEGORY, "text", np.array(codes, np.int32), words)


def rows_of(seed: int, n: int = N) -> tuple[Dataset, list[str], list[float]]:
    """Return features, a label and a number that follow from them with some noise."""
    random = np.random.default_rng(seed)
    x, pixels = random.normal(size=n), random.normal(size=(n, 2))
    color = random.choice(WORDS, n)
    pull = x + pixels[:, 0] - (color == "red") + random.normal(size=n)
    labels = np.where(pull > 0.7, "high", np.where(pull > -0.7, "mid", "low"))
    features = (
        number("x", x.tolist()),
        text("color", color.tolist()),
        Column("pixels", ARRAY, "real[]", pixels),
    )
    return Dataset(features, None, n), labels.tolist(), (3 * pull + 1).tolist()


def with_target(dataset: Dataset, target: Column) -> Dataset:
    return Dataset(dataset.features, target, dataset.n_samples)


@pytest.fixture(scope="module")
def classifier() -> Model:
    dataset, labels, _ = rows_of(1)
    data = with_target(dataset, text("target", labels))
    return train("logistic_regression", {}, data, lambda _: None).model


@pytest.fixture(scope="module")
def regressor() -> Model:
    dataset, _, values = rows_of(1)
    data = with_target(dataset, number("target", values))
    return train("linear_regression", {}, data, lambda _: None).model


def raw_of(dataset: Dataset) -> np.ndarray:
    x, color, pixels = dataset.features
    places = [("blue", "green", "red").index(color.categories[code]) for code in color.values]
    return np.ascontiguousarray(np.column_stack([x.values, places, pixels.values]))


def test_a_classifier_is_measured_as_scikit_learn_measures_it(classifier: Model) -> None:
    """Every measure of three classes, from the probabilities of the rows one by one."""
    assert classifier.features[1].categories == ("blue", "green", "red")
    dataset, labels, _ = rows_of(2)
    result = evaluate(classifier, with_target(dataset, text("target", labels)))
    probability = np.vstack([classifier.predict_proba(row[None, :]) for row in raw_of(dataset)])
    predicted = np.array(classifier.classes)[probability.argmax(axis=1)]
    macro = {"average": "macro", "labels": list(classifier.classes)}
    wanted = {
        "rows": N,
        "accuracy": sklearn_metrics.accuracy_score(labels, predicted),
        "precision": sklearn_metrics.precision_score(labels, predicted, **macro),
        "recall": sklearn_metrics.recall_score(labels, predicted, **macro),
        "f1": sklearn_metrics.f1_score(labels, predicted, **macro),
        "log_loss": sklearn_metrics.log_loss(labels, probability),
        "auc": sklearn_metrics.roc_auc_score(labels, probability, multi_class="ovr"),
    }
    assert list(result.metrics) == [*wanted, "confusion_matrix"]
    for name, value in wanted.items():
        assert result.metrics[name] == pytest.approx(value, rel=1e-12)
    confusion = sklearn_metrics.confusion_matrix(labels, predicted)
    assert result.metrics["confusion_matrix"] == confusion.tolist()
    assert result.notices == ()


def test_a_regression_is_measured_as_scikit_learn_measures_it(regressor: Model) -> None:
    """r2, rmse and mae of the predictions of the rows one by one."""
    dataset, _, values = rows_of(2)
    result = evaluate(regressor, with_target(dataset, number("target", values)))
    predicted = [float(regressor.predict(row[None, :])[0]) for row in raw_of(dataset)]
    assert result.metrics == {
        "rows": N,
        "r2": pytest.approx(sklearn_metrics.r2_score(values, predicted)),
        "rmse": pytest.approx(sklearn_metrics.root_mean_squared_error(values, predicted)),
        "mae": pytest.approx(sklearn_metrics.mean_absolute_error(values, predicted)),
    }


def test_the_stored_model_measures_the_same(classifier: Model) -> None:
    """Neither the artefact nor the order of threads changes a number."""
    dataset, labels, _ = rows_of(3, 40_000)
    data = with_target(dataset, text("target", labels))
    stored = artifact.load(artifact.dump(classifier))
    assert evaluate(stored, data, backwards) == evaluate(classifier, data)


def test_order_and_other_columns_do_not_matter(classifier: Model) -> None:
    """Features are found by their names."""
    dataset, labels, _ = rows_of(2)
    target = text("target", labels)
    x, color, pixels = dataset.features
    mixed = Dataset((pixels, number("id", range(N)), color, x), target, N)
    assert evaluate(classifier, mixed) == evaluate(classifier, with_target(dataset, target))


@pytest.mark.parametrize("absent", ["x", "color", "pixels"])
def test_an_absent_feature_is_missing_in_every_row(classifier: Model, absent: str) -> None:
    """Leaving a column out is as giving NULL in every row."""
    dataset, labels, _ = rows_of(2)
    target = text("target", labels)
    nulls = {
        "x": number("x", [NAN] * N),
        "color": text("color", [None] * N, WORDS),
        "pixels": Column("pixels", ARRAY, "real[]", np.full((N, 0), NAN)),
    }
    others = [column for column in dataset.features if column.name != absent]
    left_out = Dataset(tuple(others), target, N)
    given = Dataset((*others, nulls[absent]), target, N)
    assert evaluate(classifier, left_out) == evaluate(classifier, given)
    assert evaluate(classifier, left_out) != evaluate(classifier, with_target(dataset, target))


def test_rows_without_a_target_are_left_out(classifier: Model, regressor: Model) -> None:
    """As if they had not been there, and told of."""
    dataset, labels, values = rows_of(2)
    half = N // 2
    kept = Dataset(
        tuple(
            Column(c.name, c.kind, c.sql_type, c.values[:half], c.categories)
            for c in dataset.features
        ),
        None,
        half,
    )
    some_labels = text("target", [*labels[:half], *[None] * half])
    some_values = number("target", [*values[:half], *[NAN] * half])
    for model, some, first in (
        (classifier, some_labels, text("target", labels[:half])),
        (regressor, some_values, number("target", values[:half])),
    ):
        result = evaluate(model, with_target(dataset, some))
        assert result.notices == (f"{half} rows have no target and are left out",)
        assert result.metrics == evaluate(model, with_target(kept, first)).metrics


def test_labels_never_seen_count_as_wrong(classifier: Model) -> None:
    """Against scikit-learn with the label among the classes, and probability 0."""
    dataset, labels, _ = rows_of(2)
    changed = ["odd" if i % 10 == 0 else label for i, label in enumerate(labels)]
    result = evaluate(classifier, with_target(dataset, text("target", changed)))
    (notice,) = result.notices
    assert notice == ('40 rows have labels that the model has never seen and count as wrong: "odd"')
    probability = classifier.predict_proba(raw_of(dataset))
    predicted = np.array(classifier.classes)[probability.argmax(axis=1)]
    known = list(classifier.classes)
    scores = {
        name: function(changed, predicted, average="macro", labels=known)
        for name, function in {
            "precision": sklearn_metrics.precision_score,
            "recall": sklearn_metrics.recall_score,
            "f1": sklearn_metrics.f1_score,
        }.items()
    }
    for name, value in scores.items():
        assert result.metrics[name] == pytest.approx(value)
    right = np.array(changed) == predicted
    assert result.metrics["accuracy"] == pytest.approx(right.mean())
    areas = [
        sklearn_metrics.roc_auc_score(np.array(changed) == label, probability[:, k])
        for k, label in enumerate(known)
    ]
    assert result.metrics["auc"] == pytest.approx(np.mean(areas))
    matrix = sklearn_metrics.confusion_matrix(changed, predicted, labels=known)
    assert result.metrics["confusion_matrix"] == matrix.tolist()
    own = [
        probability[i, known.index(label)] if label in known else np.finfo(float).eps
        for i, label in enumerate(changed)
    ]
    assert result.metrics["log_loss"] == pytest.approx(-np.mean(np.log(own)))


def heaps(n: int, seed: int) -> Dataset:
    """Return n rows in three overlapping heaps, some values missing."""
    random = np.random.default_rng(seed)
    heap = random.integers(0, 3, n)
    x, y = random.normal(4 * heap, 1.0), random.normal(heap % 2, 1.0)
    x[::50] = NAN
    return Dataset((number("x", x.tolist()), number("y", y.tolist())), None, n)


@pytest.mark.parametrize("standardize", [False, True])
def test_clusters_are_counted_and_compared(standardize: bool) -> None:
    """Sizes are those of PREDICT, the silhouette is scikit-learn's in the model's own columns."""
    parameters = {"k": 3, "standardize": standardize}
    model = train("kmeans", parameters, heaps(N, 1), lambda _: None).model
    dataset = heaps(N, 2)
    result = evaluate(model, with_target(dataset, number("target", [NAN] * N)))
    raw = np.column_stack([column.values for column in dataset.features])
    places = model.predict_class(raw)
    design = model.preprocessor.transform(raw)
    assert result.metrics == {
        "rows": N,
        "clusters": 3,
        "silhouette": pytest.approx(sklearn_metrics.silhouette_score(design, places)),
        "cluster_sizes": {str(k): int((places == k).sum()) for k in range(3)},
    }
    assert result.notices == ()


def test_noise_is_no_cluster() -> None:
    """Rows near no cluster are counted apart, and compared with nobody."""
    parameters = {"eps": 1.0, "min_samples": 5}
    model = train("dbscan", parameters, heaps(N, 1), lambda _: None).model
    far = Dataset((number("x", [1e6] * 3), number("y", [0.0] * 3)), None, 3)
    result = evaluate(model, far)
    assert result.metrics["clusters"] == 0
    assert result.metrics["silhouette"] is None
    assert result.metrics["cluster_sizes"]["-1"] == 3


def test_what_cannot_be_measured_is_refused(classifier: Model, regressor: Model) -> None:
    """No rows, no target and a target of another kind are errors of their own."""
    dataset, labels, _ = rows_of(2)
    with pytest.raises(NoTrainingRowsError):
        evaluate(classifier, with_target(dataset, text("target", [None] * N)))
    with pytest.raises(UndefinedColumnError):
        evaluate(classifier, dataset)
    with pytest.raises(DatatypeMismatchError):
        evaluate(regressor, with_target(dataset, text("target", labels)))
    with pytest.raises(InvalidParameterError, match="infinite"):
        evaluate(regressor, with_target(dataset, number("target", [math.inf] * N)))


def test_huge_targets_do_not_crash(regressor: Model) -> None:
    """Squares that overflow are measures that are not defined."""
    dataset, _, _ = rows_of(2)
    result = evaluate(regressor, with_target(dataset, number("target", [1e300, -1e300] * (N // 2))))
    assert result.metrics["rmse"] is None


@pytest.mark.parametrize(
    ("classes", "kind", "sql_type", "column", "codes"),
    [
        (("0", "1"), NUMBER, "integer", number("t", [1, 0, 2]), [1, 0, UNSEEN]),
        (("false", "true"), BOOLEAN, "boolean", number("t", [1, 0, 2]), [1, 0, UNSEEN]),
        (("0", "1"), NUMBER, "integer", text("t", ["1", "0", "x"]), [1, 0, UNSEEN]),
        (("0", "1", "x"), CATEGORY, "text", number("t", [1, 0, 2]), [1, 0, UNSEEN]),
        (("0.1", "0.2"), NUMBER, "real", number("t", [float(np.float32(0.1)), 0.2, 7]), [0, 1, -1]),
        (
            ("0.1", "0.2"),
            NUMBER,
            "double precision",
            number("t", [float(np.float32(0.2)), 0.1, 7], "real"),
            [1, 0, UNSEEN],
        ),
        (
            ("-Infinity", "1e+20"),
            NUMBER,
            "double precision",
            number("t", [-math.inf, 1e20]),
            [0, 1],
        ),
        (("false", "true"), BOOLEAN, "boolean", text("t", ["true", "false", "t"]), [1, 0, UNSEEN]),
    ],
)
def test_labels_are_the_same_in_every_type(
    classes: tuple[str, ...],
    kind: FeatureKind,
    sql_type: str,
    column: Column,
    codes: list[int],
) -> None:
    """A label of a number is that number, of a boolean 0 or 1, of a text its text."""
    found = class_codes(Target("target", kind, sql_type, classes), column)
    assert found.codes.tolist() == codes
    assert found.has_value.all()
    assert len(found.unseen) == codes.count(UNSEEN)


def test_nulls_and_words_beyond_the_dictionary() -> None:
    """The codes -1 and -2 are NULL and a label that cannot be one of the model's."""
    column = Column("t", CATEGORY, "text", np.array([-1, -2, 0], np.int32), ("a",))
    found = class_codes(Target("target", CATEGORY, "text", ("a", "b")), column)
    assert found.has_value.tolist() == [False, True, True]
    assert found.codes.tolist()[1:] == [UNSEEN, 0]
    assert len(found.unseen) == 1
