"""The trained thing, ready to score.

Owns the meaning of a model's scores: values, probabilities, labels. How it was trained is in
`training`, how it becomes bytes in `artifact`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, TypeAlias

import numpy as np

from proxy.engine.arrays import Codes, Matrix, Vector
from proxy.engine.columns import FeatureKind, InputFeature
from proxy.engine.linear.coefficients import Coefficients
from proxy.engine.linear.linear_predictor import LinearPredictor, LinearScorer
from proxy.engine.linear.polynomial_predictor import PolynomialPredictor
from proxy.engine.parameters import Value
from proxy.engine.predictors import Predictor
from proxy.engine.preparation.encoders import NumberEncoder
from proxy.engine.preparation.preprocessing import Preprocessor
from proxy.engine.scorers import EncodedScorer, Scorer, probabilities
from proxy.kernels import linear as kernel

__all__ = ["Importance", "InputFeature", "Model", "ModelTerm", "PredictKind", "Target", "Task"]

Task: TypeAlias = Literal["regression", "binary", "multiclass", "clustering"]
PredictKind: TypeAlias = Literal["value", "probability", "label"]


@dataclass(frozen=True, slots=True)
class Target:
    """What a model predicts.

    Attributes
    ----------
    sql_type : PostgreSQL's name of the target's type
    classes : the labels as SQL text, in class order; the clusters' numbers; empty for a regression
    is_cluster : nobody has said what is right: there was no such column in training
    """

    name: str
    kind: FeatureKind
    sql_type: str
    classes: tuple[str, ...] = ()
    is_cluster: bool = False

    @property
    def task(self) -> Task:
        """Return what kind of prediction this is."""
        if self.is_cluster:
            return "clustering"
        if not self.classes:
            return "regression"
        return "binary" if len(self.classes) == 2 else "multiclass"

    @property
    def predict_kind(self) -> PredictKind:
        """Return what PREDICT returns.

        A number for two classes that are numbers or booleans, where "the probability of the greater
        one" reads by itself; the label for any others.
        """
        if self.task == "regression":
            return "value"
        is_two_valued = self.task == "binary" and self.kind is not FeatureKind.CATEGORY
        return "probability" if is_two_valued else "label"


@dataclass(frozen=True, slots=True)
class ModelTerm:
    """One coefficient, for DESCRIBE MODEL.

    Attributes
    ----------
    feature : the input's name; None for the intercept
    term : 'intercept', 'value', 'missing', a category, 'infrequent', or an array's '[i]', from 1
    class_label : the class whose log-odds it adds to; None in a regression
    imputed : what stands in for a missing value; None where nothing does
    """

    feature: str | None
    kind: str | None
    sql_type: str | None
    term: str
    class_label: str | None
    coefficient: float
    imputed: float | None


@dataclass(frozen=True, slots=True)
class Importance:
    """How much a feature matters to a model.

    Attributes
    ----------
    impurity : its share of what all splits of the trees gained; None for other algorithms
    permutation : what the headline metric loses on held-out rows when the feature's values are
        shuffled; None where nothing was held out
    """

    feature: str
    impurity: float | None
    permutation: float | None


class Model:
    """A fitted preprocessor and what scores its columns.

    Parameters
    ----------
    algorithm, parameters : as in CREATE MODEL, defaults filled in
    predictor : takes the preprocessor's design

    Notes
    -----
    A raw matrix is float64 (n, input_width), C-contiguous: a number, a boolean or a time as its
    value, NaN for missing and ±inf for the end of the training range; a category as its place in
    `InputFeature.categories`, their count for any other, NaN for NULL. A row is scored alike, bit
    for bit, alone and in any batch; no score is NaN.
    """

    def __init__(
        self,
        *,
        algorithm: str,
        parameters: Mapping[str, Value],
        preprocessor: Preprocessor,
        predictor: Predictor,
        target: Target,
    ) -> None:
        self.algorithm = algorithm
        self.parameters = dict(parameters)
        self.preprocessor = preprocessor
        self.predictor = predictor
        self.target = target
        self.features = preprocessor.features_
        self.input_width = preprocessor.input_width_
        self.task: Task = target.task
        self.predict_kind: PredictKind = target.predict_kind
        self.classes = target.classes
        self.target_name = None if target.is_cluster else target.name
        self.target_type = target.sql_type
        self._linear: LinearPredictor | None = None
        if isinstance(predictor, Coefficients):
            self._linear = LinearPredictor(
                preprocessor.encoders_, predictor.coef, predictor.intercept
            )
        self._scorers: dict[PredictKind, Scorer] = {}

    @cached_property
    def _whole(self) -> EncodedScorer:
        """Return what scores rows of the raw matrix; a linear model has no use for it."""
        return EncodedScorer(self.preprocessor, self.predictor, range(self.input_width))

    def predict(self, raw: Matrix) -> Vector:
        """Return (n,): the value; of two classes the probability of classes[1]; else the class."""
        output: PredictKind = {
            "regression": "value",
            "binary": "probability",
            "multiclass": "label",
            "clustering": "label",
        }[self.task]  # type: ignore[assignment]
        return self._scored(raw, output, 1)

    def predict_class(self, raw: Matrix) -> Codes:
        """Return (n,) places in `classes`, of the likeliest."""
        return self._scored(raw, "label", None).astype(np.int64)

    def predict_proba(self, raw: Matrix) -> Matrix:
        """Return (n, n_classes) probabilities."""
        raw = self._checked(raw)
        outputs = self._whole.outputs(raw) if self._linear is None else self._linear.scores(raw)
        return probabilities(outputs, self.predictor.link, len(self.classes))

    def scorer(
        self,
        sources: Sequence[int],
        recodings: Sequence[Vector | None],
        output: PredictKind,
        class_index: int | None,
    ) -> Scorer:
        """Return what scores rows of values that are not laid out as the raw matrix.

        Parameters
        ----------
        sources : for each raw column the column of the values, or `kernels.linear.NOT_GIVEN`
        recodings : for each raw column None, or the raw code for each code of a category's values
        output : "label" as a place in `classes`
        class_index : of a probability, into `classes`; None is the most probable class
        """
        meaning = {
            "value": kernel.VALUE,
            "label": kernel.LABEL,
            "probability": kernel.PROBABILITY,
        }[output]
        if output == "probability" and class_index is None:
            meaning = kernel.LARGEST_PROBABILITY
        if self._linear is not None:
            return LinearScorer(self._linear, sources, recodings, meaning, class_index)
        return EncodedScorer(
            self.preprocessor,
            self.predictor,
            sources,
            recodings,
            meaning=meaning,
            class_index=class_index,
        )

    def _scored(self, raw: Matrix, output: PredictKind, class_index: int | None) -> Vector:
        scorer = self._scorers.get(output)
        if scorer is None:
            columns = range(self.input_width)
            scorer = self.scorer(columns, (None,) * self.input_width, output, class_index)
            self._scorers[output] = scorer
        return scorer.scores(self._checked(raw))

    def _checked(self, raw: Matrix) -> Matrix:
        if raw.ndim != 2 or raw.shape[1] != self.input_width:
            raise ValueError(f"raw is {raw.shape}, not (n, {self.input_width})")
        return raw

    def describe(self) -> list[ModelTerm]:
        """Return every coefficient, class by class: the intercept, then the features' in order.

        A polynomial's are of its monomials, in columns as standard deviations from their means.
        Other models have none.
        """
        if isinstance(self.predictor, PolynomialPredictor):
            return self._monomials(self.predictor)
        if not isinstance(self.predictor, Coefficients):
            return []
        labels: tuple[str | None, ...] = (None,)
        if self.classes:
            labels = self.classes[1:] if self.task == "binary" else self.classes
        coefficients = self.predictor
        return [
            term for k, label in enumerate(labels) for term in self._terms(coefficients, k, label)
        ]

    def _monomials(self, polynomial: PolynomialPredictor) -> list[ModelTerm]:
        names = self._column_names()
        terms = [ModelTerm(None, None, None, "intercept", None, polynomial.intercept, None)]
        for powers, weight in zip(polynomial.powers(), polynomial.coef.tolist(), strict=True):
            factors = [names[j] if power == 1 else f"{names[j]}^{power}" for j, power in powers]
            terms.append(ModelTerm(None, None, None, " * ".join(factors), None, weight, None))
        return terms

    def _column_names(self) -> list[str]:
        """Return what each column of the design is called in a product."""
        names: list[str] = []
        encoders = iter(self.preprocessor.encoders_)
        for feature in self.features:
            for i in range(feature.width):
                element = f"[{i + 1}]" if feature.kind is FeatureKind.ARRAY else ""
                for term in next(encoders).terms():
                    about = "" if term == "value" else f" is {term}"
                    names.append(f"{feature.name}{element}{about}")
        return names

    def _terms(self, coefficients: Coefficients, k: int, label: str | None) -> list[ModelTerm]:
        intercept = float(coefficients.intercept[k])
        terms = [ModelTerm(None, None, None, "intercept", label, intercept, None)]
        column = iter(coefficients.coef[k].tolist())
        encoders = iter(self.preprocessor.encoders_)
        for feature in self.features:
            for i in range(feature.width):
                encoder = next(encoders)
                imputed = encoder.imputed if isinstance(encoder, NumberEncoder) else None
                element = f"[{i + 1}]" if feature.kind is FeatureKind.ARRAY else ""
                terms.extend(
                    ModelTerm(
                        feature.name,
                        feature.kind.value,
                        feature.sql_type,
                        _term_name(element, term),
                        label,
                        next(column),
                        imputed,
                    )
                    for term in encoder.terms()
                )
        return terms


def _term_name(element: str, term: str) -> str:
    if not element:
        return term
    return element if term == "value" else f"{element} {term}"
