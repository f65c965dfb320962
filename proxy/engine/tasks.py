"""What is to be learned: values, classes or clusters; which rows can tell; how quality is measured.

Owns what differs between tasks in a training. Which columns a target may be is in `targets`, the
measures are in `evaluation` and `clustering_metrics`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np

from proxy.engine.arrays import Codes, Matrix, Rows, Vector
from proxy.engine.clusters.clustering_metrics import silhouette_score
from proxy.engine.clusters.kmeans import KMeans
from proxy.engine.columns import Column, Dataset, FeatureKind
from proxy.engine.evaluation import (
    accuracy_score,
    classification_metrics,
    r2_score,
    regression_metrics,
)
from proxy.engine.memory import Allocate
from proxy.engine.model import Model, Target
from proxy.engine.parallel import InOrderMap
from proxy.engine.preparation.design import EncodedDesign
from proxy.engine.preparation.target_coding import TargetMatrix
from proxy.engine.row_blocks import chosen_blocks, count_where, distinct_values, take
from proxy.engine.targets import (
    Labels,
    classification_target,
    regression_target,
    rows_with,
)
from proxy.engine.unseen_labels import class_codes
from proxy.errors import InvalidParameterError, UndefinedColumnError

MOST_WHOLE_CLASSES = 20
FEWEST_ROWS_PER_CLASS = 5
WHOLE_TYPES = frozenset({"smallint", "integer", "bigint", "oid", "int2", "int4", "int8"})


class Task(Protocol):
    """What differs between tasks. Places count the usable rows, from 0.

    Attributes
    ----------
    target : as it is known before the fit
    rows : those with a target
    codes : (n_samples,) the classes' numbers, of a classification
    headline : the metric that a permutation of a feature's values lessens
    """

    target: Target
    rows: Rows
    codes: Codes | None
    n_samples: int
    headline: str

    def answers(self, places: Rows) -> Vector | Codes | None:
        """Return what `fit` is told of the rows at `places`."""

    def coding(self, answers: Any) -> TargetMatrix | None:
        """Return what categories are target coded by, of rows with these answers."""

    def predict(self, model: Model, raw: Matrix) -> Vector | Matrix:
        """Return what `measure` wants to know of a model's predictions for raw rows."""

    def measure(
        self, predicted: Vector | Matrix, places: Codes, parallel: InOrderMap
    ) -> dict[str, Any]:
        """Return the metrics of predictions for the rows at `places`."""

    def score(self, predicted: Vector | Matrix, places: Codes) -> float:
        """Return the headline metric alone."""

    def measure_fit(
        self, estimator: Any, design: EncodedDesign, parallel: InOrderMap
    ) -> dict[str, Any]:
        """Return what a fit says of its own quality, on the rows that it was made on."""


class Regression:
    """A column of numbers."""

    codes: Codes | None = None
    headline = "r2"

    def __init__(self, column: Column, algorithm: str, allocate: Allocate = np.empty) -> None:
        values = regression_target(column, algorithm, allocate)
        self.target, self.y, self.rows = values.target, values.y, values.rows
        self.n_samples = len(self.y)
        self._allocate = allocate

    def answers(self, places: Rows) -> Vector:
        """Return the values."""
        return take(self.y, places, self._allocate)

    def coding(self, answers: Vector) -> TargetMatrix:
        """Return the values."""
        return TargetMatrix.of_values(answers)

    def predict(self, model: Model, raw: Matrix) -> Vector:
        """Return (n,) values."""
        return model.predict(raw)

    def measure(self, predicted: Vector, places: Codes, parallel: InOrderMap) -> dict[str, Any]:
        """Return r2, rmse and mae."""
        return regression_metrics(self.answers(places), predicted)

    def score(self, predicted: Vector, places: Codes) -> float:
        """Return r2."""
        return r2_score(self.answers(places), predicted)

    def measure_fit(
        self, estimator: Any, design: EncodedDesign, parallel: InOrderMap
    ) -> dict[str, Any]:
        """Return a forest's score of rows by the trees that have not learned from them."""
        return _out_of_bag(estimator)


class Classification:
    """A column of labels."""

    codes: Codes | None
    headline = "accuracy"

    def __init__(self, labels: Labels, allocate: Allocate = np.empty) -> None:
        self.target, self.rows = labels.target, labels.rows
        self.codes = self._codes = labels.codes
        self.n_samples = len(self._codes)
        self._allocate = allocate

    def answers(self, places: Rows) -> Codes:
        """Return the classes' numbers."""
        return take(self._codes, places, self._allocate)

    def coding(self, answers: Codes) -> TargetMatrix | None:
        """Return a column for each class."""
        return TargetMatrix.of_classes(answers)

    def predict(self, model: Model, raw: Matrix) -> Matrix:
        """Return (n, n_classes) probabilities."""
        return model.predict_proba(raw)

    def measure(self, predicted: Matrix, places: Codes, parallel: InOrderMap) -> dict[str, Any]:
        """Return accuracy, precision, recall, f1, log_loss, auc and the confusion matrix."""
        return classification_metrics(self.answers(places), predicted, parallel, self._allocate)

    def score(self, predicted: Matrix, places: Codes) -> float:
        """Return the accuracy."""
        return accuracy_score(self.answers(places), predicted)

    def measure_fit(
        self, estimator: Any, design: EncodedDesign, parallel: InOrderMap
    ) -> dict[str, Any]:
        """Return a forest's score of rows by the trees that have not learned from them."""
        return _out_of_bag(estimator)


class Clustering:
    """No column at all: every row can tell."""

    rows: Rows = None
    codes: Codes | None = None
    headline = ""

    def __init__(self, n_samples: int) -> None:
        self.target = cluster_target(())
        self.n_samples = n_samples

    def answers(self, places: Rows) -> None:
        """Return nothing."""

    def coding(self, answers: None) -> None:
        """Return nothing."""

    def predict(self, model: Model, raw: Matrix) -> Vector:
        """Return (n,) places of clusters."""
        return model.predict(raw)

    def measure(self, predicted: Vector, places: Codes, parallel: InOrderMap) -> dict[str, Any]:
        """Return nothing: no row says which cluster is right."""
        return {}

    def score(self, predicted: Vector, places: Codes) -> float:
        """Return nothing to compare."""
        return 0.0

    def measure_fit(
        self, estimator: Any, design: EncodedDesign, parallel: InOrderMap
    ) -> dict[str, Any]:
        """Return inertia, or clusters and noise, and the silhouette."""
        labels = estimator.labels_
        quality = {"silhouette": silhouette_score(design, labels, parallel=parallel)}
        if isinstance(estimator, KMeans):
            return {"inertia": estimator.inertia_, **quality}
        n_clusters = int(labels.max(initial=-1)) + 1
        return {"clusters": n_clusters, "noise": int((labels < 0).sum()), **quality}


def _out_of_bag(estimator: Any) -> dict[str, Any]:
    score = getattr(estimator, "oob_score_", None)
    return {} if score is None or not np.isfinite(score) else {"oob_score": float(score)}


def cluster_target(labels: tuple[str, ...]) -> Target:
    """Return the target of a clustering model with these clusters."""
    return Target("cluster", FeatureKind.NUMBER, "integer", labels, is_cluster=True)


def choose_task(
    algorithm: str,
    task: str,
    parameters: Mapping[str, Any],
    dataset: Dataset,
    allocate: Allocate = np.empty,
) -> tuple[Task, list[str]]:
    """Return what an algorithm is to learn from a dataset, and what is worth telling of that.

    Parameters
    ----------
    task : of the algorithm
    allocate : for what there is one of for each row

    Raises
    ------
    UndefinedColumnError
        42703: there is no target, or one that clustering has no use for.
    """
    column = dataset.target
    if task == "clustering":
        if column is not None:
            raise UndefinedColumnError(
                f"{algorithm} has no target", hint="Leave the target column out of the query."
            )
        return Clustering(dataset.n_samples), []
    if column is None:
        raise _no_target()
    wanted = parameters.get("task") or task
    notices: list[str] = []
    if wanted == "either":
        wanted, notices = _told_by(column)
    _check_criterion(parameters, wanted)
    if wanted == "regression":
        return Regression(column, algorithm, allocate), notices
    labels = classification_target(column, algorithm, allocate)
    return Classification(labels, allocate), notices


def same_task(
    earlier: Model,
    parameters: Mapping[str, Any],
    dataset: Dataset,
    allocate: Allocate = np.empty,
) -> Task:
    """Return the task of an earlier model, to be learned on from a dataset.

    Raises
    ------
    UndefinedColumnError, NoTrainingRowsError
        As `choose_task`.
    InvalidParameterError
        22023: another task is named; a label is none of the model's classes.
    """
    own = earlier.task if earlier.task in {"regression", "clustering"} else "classification"
    wanted = parameters.get("task") or own
    if wanted != own:
        raise InvalidParameterError(
            f"parameter \"task\" cannot be '{wanted}': the model of warm_start is of {own}",
            hint="Leave it out.",
        )
    if own != "classification":
        return choose_task(earlier.algorithm, own, {}, dataset, allocate)[0]
    if dataset.target is None:
        raise _no_target()
    found = class_codes(earlier.target, dataset.target, allocate)
    if found.unseen:
        raise InvalidParameterError(
            f'the model of warm_start has no class "{found.unseen[0]}"',
            detail=f"Its classes are {', '.join(earlier.classes)}.",
            hint="Leave such rows out, or train a new model.",
        )
    rows = rows_with(dataset.target, allocate)
    return Classification(Labels(earlier.target, take(found.codes, rows, allocate), rows), allocate)


def _no_target() -> UndefinedColumnError:
    return UndefinedColumnError(
        "the training query has no target column", hint="Name one: SELECT ..., price AS target"
    )


def _told_by(column: Column) -> tuple[str, list[str]]:
    """Return the task that a target is for: classes, or numbers that have a size."""
    if column.kind is not FeatureKind.NUMBER:
        return "classification", []
    blocks = (own[np.isfinite(own)] for _, own in chosen_blocks(column.values, None))
    n_classes = len(distinct_values(blocks, MOST_WHOLE_CLASSES))
    if n_classes <= 2:
        return "classification", []
    if column.sql_type not in WHOLE_TYPES:
        return "regression", []
    n_values = count_where(lambda rows: np.isfinite(column.values[rows]), len(column.values))
    if n_classes > min(MOST_WHOLE_CLASSES, n_values // FEWEST_ROWS_PER_CLASS):
        return "regression", []
    notice = (
        f'the whole numbers of column "{column.name}" are taken as {n_classes} classes; '
        "with task: 'regression' they are quantities"
    )
    return "classification", [notice]


def _check_criterion(parameters: Mapping[str, Any], task: str) -> None:
    criterion = parameters.get("criterion")
    if criterion is None:
        return
    is_for_numbers = criterion == "squared_error"
    if is_for_numbers != (task == "regression"):
        kind = "numbers" if is_for_numbers else "classes"
        raise InvalidParameterError(
            f"parameter \"criterion\" cannot be '{criterion}' in a {task}",
            detail=f"'{criterion}' is for {kind}.",
            hint="Leave it out, or say which task is meant: task: 'classification' or "
            "'regression'.",
        )
