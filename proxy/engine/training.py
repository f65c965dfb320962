"""From parameters and a dataset to a model and what is known of its quality.

Owns the order of work: check, drop rows without a target, hold rows out, fit without them, measure
on them, then fit on every row, beginning from the first fit. The clock, the process it runs in and
the registry are the caller's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import numpy as np

from proxy.engine.algorithms import check_parameters, find_algorithm
from proxy.engine.arrays import Codes, IterationReport, Matrix, Rows, Vector
from proxy.engine.columns import Column, Dataset
from proxy.engine.design import (
    Design,
    EncodedDesign,
    input_columns,
    raw_matrix,
    rows_per_block,
)
from proxy.engine.evaluation import classification_metrics, regression_metrics
from proxy.engine.linear import LinearRegression
from proxy.engine.logistic import LogisticRegression
from proxy.engine.model import Model, Target
from proxy.engine.model_selection import Split, split_rows
from proxy.engine.parallel import InOrderMap, collect, one_by_one
from proxy.engine.parameters import Value
from proxy.engine.preprocessing import NUMERIC_VALUE_OUT_OF_RANGE, Preprocessor
from proxy.engine.targets import classification_target, regression_target
from proxy.errors import InvalidParameterError, NoTrainingRowsError, UndefinedColumnError

SCORING_BLOCK_BYTES = 1 << 21


@dataclass(frozen=True, slots=True)
class Progress:
    """How far training is.

    Attributes
    ----------
    phase : 'preprocessing', 'holdout fit', 'evaluation' or 'fit'
    iterations_total : the most there can be; 0 where a phase has none
    loss : per row; None outside a fit
    """

    phase: str
    iterations_done: int = 0
    iterations_total: int = 0
    loss: float | None = None


@dataclass(frozen=True, slots=True)
class TrainingResult:
    """A model fitted on all rows, and the measures of its like fitted without the held-out ones.

    Attributes
    ----------
    metrics : JSON-able, of the held-out rows; empty where none were held out
    n_samples : rows with a target
    n_train, n_holdout : the parts for the metrics; n_holdout is 0 without a holdout
    warnings : for the person who trains
    """

    model: Model
    metrics: dict[str, Any]
    n_samples: int
    n_train: int
    n_holdout: int
    warnings: tuple[str, ...]


Report: TypeAlias = Callable[[Progress], None]


def train(
    algorithm: str,
    parameters: Mapping[str, Value],
    dataset: Dataset,
    report: Report,
    parallel: InOrderMap = one_by_one,
) -> TrainingResult:
    """Train a model.

    Parameters
    ----------
    algorithm : its SQL name
    parameters : as given in CREATE MODEL
    report : called as work goes on; whatever it raises ends the training
    parallel : how to work on several pieces at a time; what is learned does not depend on it

    Raises
    ------
    UnknownModelError, InvalidParameterError, UnsupportedError
        The algorithm or a parameter is wrong.
    UndefinedColumnError, DatatypeMismatchError
        The query has no feature, no target, or a target of the wrong type.
    NoTrainingRowsError, SingleClassError
        The rows give nothing to learn from.
    TooLargeError
        The model would have too many coefficients.
    """
    spec = find_algorithm(algorithm)
    checked = check_parameters(algorithm, parameters)
    if dataset.target is None:
        raise UndefinedColumnError(
            "the training query has no target column", hint="Name one: SELECT ..., price AS target"
        )
    if not any(column.width for column in dataset.features):
        raise UndefinedColumnError("the training query has no feature column")
    if dataset.n_samples == 0:
        raise NoTrainingRowsError("the training query returned no row")
    learner: _Learner
    if spec.task == "regression":
        learner = _Regression(checked, dataset.target, parallel)
    else:
        learner = _Classification(checked, dataset.target, parallel)
    training = _Training(algorithm, checked, dataset, learner, report=report, parallel=parallel)
    return training.run()


@dataclass(frozen=True, slots=True)
class _Fitted:
    """Coefficients on the design's columns, one row for each output."""

    coef: Matrix
    intercept: Vector
    warnings: list[str]


class _Learner(Protocol):
    """What differs between tasks. Places count the rows that have a target, from 0."""

    target: Target
    rows: Rows
    codes: Codes | None
    n_samples: int
    iterations_total: int

    def fit(self, design: Design, places: Rows, report: IterationReport) -> _Fitted:
        """Fit on the design of the rows at `places`."""

    def predict(self, model: Model, raw: Matrix) -> Vector | Matrix:
        """Return what `measure` wants to know of a model's predictions for raw rows."""

    def measure(self, predicted: Vector | Matrix, places: Codes) -> dict[str, Any]:
        """Return the metrics of predictions for the rows at `places`."""


class _Regression:
    """Linear regression on a column of numbers."""

    codes: Codes | None = None
    iterations_total = 1

    def __init__(self, parameters: dict[str, Any], column: Column, parallel: InOrderMap) -> None:
        values = regression_target(column)
        self.target, self.y, self.rows = values.target, values.y, values.rows
        self.n_samples = len(self.y)
        self._arguments = {name: parameters[name] for name in ("l2", "fit_intercept")}
        self._parallel = parallel

    def fit(self, design: Design, places: Rows, report: IterationReport) -> _Fitted:
        """Fit on the design of the rows at `places`."""
        y = self.y if places is None else self.y[places]
        estimator = LinearRegression(**self._arguments)
        estimator.fit(design, y, report=report, parallel=self._parallel)
        warnings = []
        if estimator.rank_deficient_:
            warnings.append(
                "some feature columns are linearly dependent: of the coefficients that fit equally "
                "well, the smallest were chosen"
            )
        return _Fitted(estimator.coef_[None, :], np.array([estimator.intercept_]), warnings)

    def predict(self, model: Model, raw: Matrix) -> Vector:
        """Return (n,) values."""
        return model.predict(raw)

    def measure(self, predicted: Vector, places: Codes) -> dict[str, Any]:
        """Return the metrics of predictions for the rows at `places`."""
        return regression_metrics(self.y[places], predicted)


class _Classification:
    """Logistic regression on a column of labels; each fit begins at the one before."""

    codes: Codes | None

    def __init__(self, parameters: dict[str, Any], column: Column, parallel: InOrderMap) -> None:
        labels = classification_target(column)
        self.target, self.rows = labels.target, labels.rows
        self.codes = self._codes = labels.codes
        self.n_samples = len(self._codes)
        names = ("l2", "fit_intercept", "max_iterations", "tol", "class_weight")
        self._arguments = {name: parameters[name] for name in names}
        self._parallel = parallel
        self.iterations_total = parameters["max_iterations"]
        self._previous: LogisticRegression | None = None

    def fit(self, design: Design, places: Rows, report: IterationReport) -> _Fitted:
        """Fit on the design of the rows at `places`."""
        codes = self._codes if places is None else self._codes[places]
        estimator = LogisticRegression(**self._arguments)
        estimator.fit(design, codes, start=self._previous, report=report, parallel=self._parallel)
        self._previous = estimator
        warnings = []
        if not estimator.converged_:
            warnings.append(
                f"the fit did not reach its tolerance in {estimator.n_iter_} iterations; "
                "raise max_iterations, or l2"
            )
        return _Fitted(estimator.coef_, estimator.intercept_, warnings)

    def predict(self, model: Model, raw: Matrix) -> Matrix:
        """Return (n, n_classes) probabilities."""
        return model.predict_proba(raw)

    def measure(self, predicted: Matrix, places: Codes) -> dict[str, Any]:
        """Return the metrics of predictions for the rows at `places`."""
        return classification_metrics(self._codes[places], predicted, self._parallel)


class _Training:
    """One run of `train`."""

    def __init__(
        self,
        algorithm: str,
        parameters: dict[str, Any],
        dataset: Dataset,
        learner: _Learner,
        *,
        report: Report,
        parallel: InOrderMap,
    ) -> None:
        self.algorithm = algorithm
        self.parameters = parameters
        self.dataset = dataset
        self.learner = learner
        self.report = report
        self.parallel = parallel

    def run(self) -> TrainingResult:
        """Return the model of all rows with the metrics of the held-out ones."""
        warnings = self._dropped_rows()
        split = None
        if self.parameters["test_size"] > 0:
            split = split_rows(
                self.learner.n_samples,
                self.parameters["test_size"],
                self.parameters["random_state"],
                self.learner.codes,
            )
            if split is None:
                warnings.append("too few rows to hold some out: the model has no metrics")
        metrics = {} if split is None else self._hold_out(split)
        model, notes = self._fit("fit", None)
        n_samples = self.learner.n_samples
        n_holdout = 0 if split is None else len(split.holdout)
        return TrainingResult(
            model, metrics, n_samples, n_samples - n_holdout, n_holdout, (*warnings, *notes)
        )

    def _dropped_rows(self) -> list[str]:
        n_dropped = self.dataset.n_samples - self.learner.n_samples
        if n_dropped == 0:
            return []
        rows = "row has" if n_dropped == 1 else "rows have"
        return [f"{n_dropped} {rows} no target and {'is' if n_dropped == 1 else 'are'} left out"]

    def _hold_out(self, split: Split) -> dict[str, Any]:
        model, _ = self._fit("holdout fit", split.train)
        self.report(Progress("evaluation"))
        rows = self._dataset_rows(split.holdout)
        assert rows is not None
        inputs = input_columns(self.dataset, model.preprocessor)
        size = rows_per_block(len(inputs) + len(model.classes), SCORING_BLOCK_BYTES)

        def predict(start: int) -> Vector | Matrix:
            return self.learner.predict(model, raw_matrix(inputs, rows[start : start + size]))

        starts = range(0, len(rows), size)
        predicted = np.concatenate(collect(self.parallel, predict, starts))
        return self.learner.measure(predicted, split.holdout)

    def _dataset_rows(self, places: Rows) -> Rows:
        """Return the dataset's row numbers of places among the rows with a target."""
        if self.learner.rows is None or places is None:
            return self.learner.rows if places is None else places
        return self.learner.rows[places]

    def _fit(self, phase: str, places: Rows) -> tuple[Model, list[str]]:
        self.report(Progress("preprocessing"))
        rows = self._dataset_rows(places)
        preprocessor = Preprocessor(self.parameters["max_categories"])
        preprocessor.fit(self.dataset, rows, parallel=self.parallel)
        design = EncodedDesign(self.dataset, preprocessor, rows)
        total = self.learner.iterations_total

        def report(iterations_done: int, loss: float) -> None:
            self.report(Progress(phase, iterations_done, total, loss))

        fitted = self.learner.fit(design, places, report)
        _check_finite(fitted)
        model = Model(
            algorithm=self.algorithm,
            parameters=self.parameters,
            preprocessor=preprocessor,
            coef=fitted.coef,
            intercept=fitted.intercept,
            target=self.learner.target,
        )
        return model, [*preprocessor.warnings_, *fitted.warnings]


def _check_finite(fitted: _Fitted) -> None:
    if np.isfinite(fitted.coef).all() and np.isfinite(fitted.intercept).all():
        return
    raise InvalidParameterError(
        "the coefficients are out of the range of double precision",
        hint="Scale the feature columns, or the target, to magnitudes nearer to one another.",
        sqlstate=NUMERIC_VALUE_OUT_OF_RANGE,
    )
