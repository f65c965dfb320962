"""From parameters and a dataset to a model and what is known of its quality.

Owns the order of work: check, drop rows without a target, hold rows out, fit without them, measure
on them, then fit on every row. What differs between tasks is in `tasks`, between algorithms in
`recipes`. The clock, the process it runs in and the registry are the caller's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from proxy.engine.algorithms import check_parameters, find_algorithm
from proxy.engine.arrays import Codes, Matrix, Rows, Vector
from proxy.engine.columns import Dataset
from proxy.engine.continuation import CONTINUED_BY, aligned, check_algorithm, told_of
from proxy.engine.importance import importances, permutation_importances
from proxy.engine.linear.coefficients import Coefficients
from proxy.engine.memory import Allocate
from proxy.engine.model import Importance, Model
from proxy.engine.model_selection import Split, split_rows
from proxy.engine.parallel import InOrderMap, one_by_one
from proxy.engine.parameters import Value
from proxy.engine.predictor_kinds import cluster_labels
from proxy.engine.predictors import Predictor
from proxy.engine.preparation.design import (
    EncodedDesign,
    InputColumn,
    input_columns,
    over_raw_blocks,
)
from proxy.engine.preparation.preprocessing import NUMERIC_VALUE_OUT_OF_RANGE, Preprocessor
from proxy.engine.preparation.screening import suspicious_notices
from proxy.engine.preparation.time_text import with_times
from proxy.engine.recipes import (
    RECIPES,
    Estimator,
    predictor_of,
    with_hidden_layers,
)
from proxy.engine.row_blocks import take
from proxy.engine.tasks import Task, choose_task, cluster_target, same_task
from proxy.engine.working_memory import UNLIMITED, MemoryBudget, check_working_memory
from proxy.errors import InvalidParameterError, NoTrainingRowsError, UndefinedColumnError

NULL_NOT_ALLOWED = "22004"


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
    n_samples : rows with a target; all, of clustering
    n_train, n_holdout : the parts for the metrics; n_holdout is 0 without a holdout
    importances : of each feature, in order; empty where nothing measured them
    notices, warnings : for the person who trains
    """

    model: Model
    metrics: dict[str, Any]
    n_samples: int
    n_train: int
    n_holdout: int
    warnings: tuple[str, ...]
    notices: tuple[str, ...] = ()
    importances: tuple[Importance, ...] = ()


Report: TypeAlias = Callable[[Progress], None]


def train(
    algorithm: str,
    parameters: Mapping[str, Value],
    dataset: Dataset,
    report: Report,
    parallel: InOrderMap = one_by_one,
    *,
    earlier: Model | None = None,
    allocate: Allocate = np.empty,
    budget: MemoryBudget = UNLIMITED,
) -> TrainingResult:
    """Train a model.

    The dataset's arrays are only read, and may map files: linear, polynomial and logistic
    regressions then work on more rows than memory has room for.

    Parameters
    ----------
    algorithm : its SQL name
    parameters : as given in CREATE MODEL
    report : called as work goes on; whatever it raises ends the training
    parallel : how to work on several pieces at a time; what is learned does not depend on it
    earlier : the model that the parameter `warm_start` names, to learn on from
    allocate : for what there is one of for each row beside the dataset
    budget : what fits may hold beside the rows

    Raises
    ------
    UnknownModelError, InvalidParameterError
        The algorithm or a parameter is wrong.
    UndefinedColumnError, DatatypeMismatchError
        The query has no feature, no target, or a target of the wrong type.
    NoTrainingRowsError, SingleClassError
        The rows give nothing to learn from.
    TooLargeError
        54000: the model would have too many coefficients; 53200: a fit would take too much memory.
    """
    spec = find_algorithm(algorithm)
    checked = check_parameters(algorithm, parameters)
    if not any(column.width for column in dataset.features):
        raise UndefinedColumnError("the training query has no feature column")
    if dataset.n_samples == 0:
        raise NoTrainingRowsError("the training query returned no row")
    if earlier is None:
        dataset = with_times(dataset, allocate)
        task, notices = choose_task(algorithm, spec.task, checked, dataset, allocate)
    else:
        check_algorithm(earlier, algorithm)
        dataset = aligned(dataset, earlier.features, allocate)
        task, notices = same_task(earlier, checked, dataset, allocate), []
        checked |= CONTINUED_BY.get(algorithm, {})
    told = with_hidden_layers(
        checked, sum(column.width for column in dataset.features), len(task.target.classes)
    )
    training = _Training(
        _Told(spec.name, checked, told, earlier),
        dataset,
        task,
        report=report,
        parallel=parallel,
        allocate=allocate,
        budget=budget,
    )
    return training.run(notices)


@dataclass(frozen=True, slots=True)
class _Told:
    """What CREATE MODEL says: as it is kept, and as the estimator is told."""

    algorithm: str
    parameters: dict[str, Any]
    arguments: Mapping[str, Any]
    earlier: Model | None

    @property
    def more(self) -> dict[str, Any]:
        """Return what `fit` is told beside the rows."""
        return {} if self.earlier is None else told_of(self.earlier, self.parameters)


@dataclass(frozen=True, slots=True)
class _Fitted:
    """A model with the estimator that it comes from.

    Attributes
    ----------
    metrics : those that the fit itself knows
    whole : the model before it was quantized; the same where it was not
    """

    model: Model
    whole: Model
    estimator: Estimator
    metrics: dict[str, Any]
    warnings: list[str]
    notices: list[str]


class _Training:
    """One run of `train`."""

    def __init__(
        self,
        told: _Told,
        dataset: Dataset,
        task: Task,
        *,
        report: Report,
        parallel: InOrderMap,
        allocate: Allocate,
        budget: MemoryBudget,
    ) -> None:
        self.told = told
        self.recipe = RECIPES[told.algorithm]
        self.parameters = told.parameters
        self.dataset = dataset
        self.task = task
        self.report = report
        self.parallel = parallel
        self.allocate = allocate
        self.budget = budget
        self.weights = _weights(dataset, task.rows, allocate)
        self._previous: Estimator | None = None

    def run(self, notices: list[str]) -> TrainingResult:
        """Return the model of all rows with the metrics of the held-out ones."""
        task = self.task
        warnings = self._dropped_rows()
        notices += suspicious_notices(
            self.dataset.features,
            task.rows,
            task.answers(None),
            is_class=task.codes is not None,
            allocate=self.allocate,
        )
        split = self._split(warnings)
        metrics: dict[str, Any] = {}
        permutation = None
        loss = ""
        if split is not None:
            metrics, permutation, loss = self._hold_out(split)
        fitted = self._fit("fit", None)
        if fitted.whole is not fitted.model:
            notices.append(_quantization_notice(fitted, self.parameters["quantization"], loss))
        metrics |= fitted.metrics
        n_holdout = 0 if split is None else len(split.holdout)
        return TrainingResult(
            fitted.model,
            metrics,
            task.n_samples,
            task.n_samples - n_holdout,
            n_holdout,
            (*warnings, *fitted.warnings),
            (*notices, *fitted.notices),
            importances(
                fitted.model.preprocessor,
                getattr(fitted.estimator, "feature_importances_", None),
                permutation,
            ),
        )

    def _dropped_rows(self) -> list[str]:
        n_dropped = self.dataset.n_samples - self.task.n_samples
        if n_dropped == 0:
            return []
        rows = "row has" if n_dropped == 1 else "rows have"
        return [f"{n_dropped} {rows} no target and {'is' if n_dropped == 1 else 'are'} left out"]

    def _split(self, warnings: list[str]) -> Split | None:
        test_size = self.parameters.get("test_size", 0.0)
        if test_size == 0:
            return None
        split = split_rows(
            self.task.n_samples,
            test_size,
            self.parameters["random_state"],
            self.task.codes,
            self.allocate,
        )
        if split is None:
            warnings.append("too few rows to hold some out: the model has no metrics")
        return split

    def _hold_out(self, split: Split) -> tuple[dict[str, Any], list[float] | None, str]:
        """Return held-out metrics, what each feature is worth there, what quantization cost."""
        fitted = self._fit("holdout fit", split.train)
        model = fitted.model
        self.report(Progress("evaluation"))
        rows = self._dataset_rows(split.holdout)
        assert rows is not None
        inputs = input_columns(self.dataset, model.preprocessor)
        predicted = self._predict(model, inputs, rows)
        metrics = self.task.measure(predicted, split.holdout, self.parallel)
        permutation = permutation_importances(
            model,
            inputs,
            rows,
            split.holdout,
            self.task,
            random_state=self.parameters["random_state"],
            parallel=self.parallel,
        )
        loss = ""
        if fitted.whole is not model:
            whole = self.task.score(self._predict(fitted.whole, inputs, rows), split.holdout)
            loss = f"; held-out {self.task.headline} {metrics[self.task.headline]:.4f}"
            loss += f" instead of {whole:.4f}"
        return metrics, permutation, loss

    def _predict(self, model: Model, inputs: list[InputColumn], rows: Codes) -> Vector | Matrix:
        return over_raw_blocks(
            lambda raw: self.task.predict(model, raw),
            inputs,
            rows,
            n_outputs=len(model.classes),
            parallel=self.parallel,
            allocate=self.allocate,
        )

    def _dataset_rows(self, places: Rows) -> Rows:
        """Return the dataset's row numbers of places among the rows with a target."""
        if self.task.rows is None or places is None:
            return self.task.rows if places is None else places
        return take(self.task.rows, places, self.allocate)

    def _fit(self, phase: str, places: Rows) -> _Fitted:
        self.report(Progress("preprocessing"))
        rows = self._dataset_rows(places)
        answers = self.task.answers(places)
        preprocessor = self._preprocessor(rows, answers)
        estimator = self.recipe.estimator(self.told.arguments, self.task.target.task)
        total = estimator.iterations_total

        def report(iterations_done: int, loss: float) -> None:
            self.report(Progress(phase, iterations_done, total, loss))

        design = EncodedDesign(self.dataset, preprocessor, rows)
        self._check_memory(estimator, design)
        more = self.told.more
        if self.recipe.begins_at_previous and not more:
            more = {"start": self._previous}
        estimator.fit(
            design,
            *(() if answers is None else (answers,)),
            sample_weight=None
            if self.weights is None
            else take(self.weights, places, self.allocate),
            report=report,
            parallel=self.parallel,
            **more,
        )
        if self.recipe.begins_at_previous:
            self._previous = estimator
        metrics: dict[str, Any] = {}
        if places is None:
            metrics = self.task.measure_fit(estimator, design, self.parallel)
        return self._made(estimator, preprocessor, metrics)

    def _check_memory(self, estimator: Estimator, design: EncodedDesign) -> None:
        """Refuse what takes too much memory; with all rows, which the last fit has."""
        check_working_memory(
            self.told.algorithm,
            self.told.arguments,
            self.budget,
            n_rows=self.task.n_samples,
            n_columns=len(design.mean),
            n_outputs=len(self.task.target.classes),
            one_hot_groups=design.one_hot_groups(),
        )
        if self.recipe.watches_memory:
            estimator.memory_limit = self.budget.limit

    def _preprocessor(self, rows: Rows, answers: Vector | Codes | None) -> Preprocessor:
        if self.told.earlier is not None:
            return self.told.earlier.preprocessor
        preprocessor = Preprocessor(
            self.parameters["max_categories"], self.recipe.preparation(self.parameters)
        )
        return preprocessor.fit(
            self.dataset, rows, target=self.task.coding(answers), parallel=self.parallel
        )

    def _made(
        self, estimator: Estimator, preprocessor: Preprocessor, metrics: dict[str, Any]
    ) -> _Fitted:
        predictor = predictor_of(estimator)
        if isinstance(predictor, Coefficients):
            _check_finite(predictor)
        target = self.task.target
        if target.is_cluster:
            target = cluster_target(cluster_labels(predictor))

        def model_of(scoring: Predictor) -> Model:
            return Model(
                algorithm=self.told.algorithm,
                parameters=self.parameters,
                preprocessor=preprocessor,
                predictor=scoring,
                target=target,
            )

        whole = model = model_of(predictor)
        if self.recipe.quantized and self.parameters["quantization"]:
            model = model_of(self.recipe.quantized(predictor, self.parameters["quantization"]))
        warnings = [*preprocessor.warnings_, *estimator.warnings_]
        notices = [*preprocessor.notices_, *getattr(estimator, "notices_", ())]
        return _Fitted(model, whole, estimator, metrics, warnings, notices)


def _weights(dataset: Dataset, rows: Rows, allocate: Allocate) -> Vector | None:
    """Return the weights of the usable rows.

    Raises
    ------
    InvalidParameterError
        22004: a weight is NULL; 22023: one is negative or infinite, or all are 0.
    """
    column = dataset.sample_weight
    if column is None:
        return None
    weights = take(column.values, rows, allocate)
    low, high = float(weights.min()), float(weights.max())  # NaN if one is
    problem = ""
    if np.isnan(low):
        problem = "is NULL somewhere"
    elif low < 0 or np.isinf(high):
        problem = "is negative or infinite somewhere"
    elif high == 0:
        problem = "is 0 everywhere"
    if problem:
        raise InvalidParameterError(
            f'sample_weight column "{column.name}" {problem}',
            detail="A weight is a finite number, 0 or more.",
            hint="Leave such rows out of the training query, or use coalesce().",
            sqlstate=NULL_NOT_ALLOWED if "NULL" in problem else InvalidParameterError.sqlstate,
        )
    return weights


def _quantization_notice(fitted: _Fitted, kind: str, loss: str) -> str:
    before, after = (_size_bytes(model) for model in (fitted.whole, fitted.model))
    return f"quantized to {kind}: {after:,} bytes instead of {before:,}{loss}"


def _size_bytes(model: Model) -> int:
    return sum(array.nbytes for array in model.predictor.tensors().values())


def _check_finite(fitted: Coefficients) -> None:
    if np.isfinite(fitted.coef).all() and np.isfinite(fitted.intercept).all():
        return
    raise InvalidParameterError(
        "the coefficients are out of the range of double precision",
        hint="Scale the feature columns, or the target, to magnitudes nearer to one another.",
        sqlstate=NUMERIC_VALUE_OUT_OF_RANGE,
    )
