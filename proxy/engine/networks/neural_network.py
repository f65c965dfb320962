"""Feed-forward neural networks: a classifier and a regressor.

Owns what the parameters mean and the passage between targets and the network's outputs. The loop
that learns is in `network_training`, what it learns from in `network_problem`, the bounds of size
in `network_size`, scoring in `network_predictor`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from proxy.engine.arrays import Codes, IterationReport, Matrix, Vector, ignore_iteration
from proxy.engine.class_weight import class_weights
from proxy.engine.networks.activations import ACTIVATIONS, Floats
from proxy.engine.networks.network_parameters import Parameters, RandomStream
from proxy.engine.networks.network_predictor import NetworkPredictor
from proxy.engine.networks.network_problem import (
    LOGISTIC,
    SOFTMAX,
    SQUARED,
    Loss,
    Rows,
    held_out_places,
    narrowed,
    relative,
)
from proxy.engine.networks.network_quantization import Layer
from proxy.engine.networks.network_size import check_layers, check_size, plural
from proxy.engine.networks.network_training import NetworkTraining, Schedule
from proxy.engine.networks.optimizers import OPTIMIZERS
from proxy.engine.parallel import InOrderMap, one_by_one
from proxy.engine.predictors import LOG_ODDS, VALUE, Link
from proxy.engine.preparation.design import Design
from proxy.errors import InvalidParameterError

DEFAULT_HIDDEN_LAYERS = (100,)
LARGEST_DEFAULT_BATCH = 200


class _MLP(ABC):
    """What a classifier and a regressor share.

    Parameters
    ----------
    layers : [inputs, hidden ..., outputs], or None
    hidden_layers : the hidden ones alone; with neither there is one of 100
    activation : of the hidden layers: 'relu', 'tanh', 'sigmoid' or 'gelu'
    optimizer : 'sgd', 'momentum' (Nesterov's, 0.9) or 'adam'
    epochs : passes over the rows at most
    batch_size : rows of a step; None: 200, or all where there are fewer
    dropout : share of the hidden activations that a step leaves out, below 1
    l2 : penalty l2/2 ||weights||^2 / rows, as scikit-learn's alpha
    early_stopping : hold rows out, stop when their score does not rise, and keep the best weights
    validation_fraction : of the rows, for that
    n_iter_no_change, tol : stop after more epochs than these without an improvement by `tol`, of
        the loss or of the held-out rows' score
    parallel_workers : with more than one, minibatches of 512 rows or more are worked on in parts,
        several at a time; what is learned is the same
    random_state : seed of the first weights, of the order of rows and of what is dropped out

    Attributes
    ----------
    coefs_, intercepts_ : of each layer, (n_inputs, n_outputs) and (n_outputs,) float32
    loss_curve_, best_loss_ : of each epoch, and the least
    validation_scores_, best_validation_score_ : accuracy or R2 of held-out rows, with early
        stopping; else empty, and None
    n_iter_ : epochs done
    n_features_in_, warnings_, predictor_ : as every estimator's
    """

    def __init__(
        self,
        *,
        layers: list[int] | None = None,
        hidden_layers: list[int] | None = None,
        activation: str = "relu",
        optimizer: str = "adam",
        learning_rate: float = 0.001,
        epochs: int = 50,
        batch_size: int | None = None,
        dropout: float = 0.0,
        l2: float = 1e-4,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        n_iter_no_change: int = 10,
        tol: float = 1e-4,
        parallel_workers: int = 1,
        random_state: int = 0,
    ) -> None:
        self.layers = layers
        self.hidden_layers = hidden_layers
        self.activation = activation
        self.optimizer = optimizer
        self.learning_rate = learning_rate
        self.epochs = epochs
        self.batch_size = batch_size
        self.dropout = dropout
        self.l2 = l2
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.tol = tol
        self.parallel_workers = parallel_workers
        self.random_state = random_state
        self.n_features_in_ = 0
        self.n_iter_ = 0
        self.coefs_: list[Floats] = []
        self.intercepts_: list[Floats] = []
        self.loss_curve_: list[float] = []
        self.best_loss_ = np.inf
        self.validation_scores_: list[float] = []
        self.best_validation_score_: float | None = None
        self.warnings_: tuple[str, ...] = ()
        self.predictor_: NetworkPredictor

    @property
    def iterations_total(self) -> int:
        """Return the most epochs that there can be."""
        return self.epochs

    @abstractmethod
    def _classes(self, y: NDArray[Any]) -> int:
        """Return the number of classes; 0 for a regression."""

    def fit(
        self,
        X: Design | Matrix,
        y: NDArray[Any],
        *,
        sample_weight: Vector | None = None,
        start: _MLP | NetworkPredictor | None = None,
        report: IterationReport = ignore_iteration,
        parallel: InOrderMap = one_by_one,
    ) -> Self:
        """Learn from X (n_samples, n_features), standardised, and y (n_samples,).

        Parameters
        ----------
        y : classes' numbers from 0, or values in any unit
        sample_weight : (n_samples,) >= 0; only their proportions count
        start : a network of the same layers and activation to begin from, or None
        report : called after each epoch
        parallel : how to work on several parts of a minibatch at a time

        Raises
        ------
        InvalidParameterError
            22023: `layers` or `start` does not fit the data.
        TooLargeError
            54000: the network, or training it, would take too much memory.
        NoTrainingRowsError
            ML001: every row weighs nothing.
        """
        n_samples, n_inputs = X.shape if isinstance(X, np.ndarray) else (X.n_samples, len(X.mean))
        n_classes = self._classes(y)
        sizes = self._sizes(n_inputs, n_classes)
        batch_size = min(self.batch_size or LARGEST_DEFAULT_BATCH, n_samples)
        check_size(sizes, n_samples, batch_size)
        scale, offset = self._units(y, sample_weight)
        random = RandomStream(self.random_state)
        parameters = Parameters(sizes)
        parameters.begin(random, ACTIVATIONS[self.activation].spread)
        if start is not None:
            other = start if isinstance(start, NetworkPredictor) else start.predictor_
            parameters.continue_from(other, self.activation, scale, offset)
        weights = relative(self._weights(y, sample_weight))
        rows = Rows(narrowed(X), self._targets(y, scale, offset), weights)
        learned, held_out = self._divided(rows, random)
        training = NetworkTraining(
            parameters,
            rows,
            learned,
            self._loss(n_classes),
            self._schedule(min(batch_size, len(learned))),
            optimizer=OPTIMIZERS[self.optimizer](
                parameters.n_weights, parameters.flat.size, self.learning_rate
            ),
            held_out=held_out,
            parallel=parallel if self.parallel_workers > 1 else one_by_one,
        )
        training.run(random, report)
        self._keep(training, VALUE if n_classes == 0 else LOG_ODDS, scale, offset)
        return self

    def _loss(self, n_classes: int) -> Loss:
        if n_classes == 0:
            return SQUARED
        return LOGISTIC if n_classes == 2 else SOFTMAX

    def _sizes(self, n_inputs: int, n_classes: int) -> tuple[int, ...]:
        hidden = tuple(DEFAULT_HIDDEN_LAYERS if self.hidden_layers is None else self.hidden_layers)
        if self.layers is not None:
            if self.hidden_layers is not None:
                raise InvalidParameterError(
                    "layers and hidden_layers are both given",
                    hint="Give one of them: layers begins with the inputs and ends with the "
                    "outputs, hidden_layers has neither.",
                )
            hidden = check_layers(self.layers, n_inputs, n_classes or 1)
        if any(size < 1 for size in hidden):
            raise InvalidParameterError("a hidden layer has no unit", hint="Leave that layer out.")
        return (n_inputs, *hidden, n_classes if n_classes > 2 else 1)

    def _schedule(self, batch_size: int) -> Schedule:
        return Schedule(
            activation=ACTIVATIONS[self.activation],
            epochs=self.epochs,
            batch_size=batch_size,
            dropout=self.dropout,
            l2=self.l2,
            tol=self.tol,
            n_iter_no_change=self.n_iter_no_change,
        )

    def _units(self, y: NDArray[Any], sample_weight: Vector | None) -> tuple[float, float]:
        """Return what outputs are multiplied by, and what is added, to be in the target's units."""
        return 1.0, 0.0

    @abstractmethod
    def _targets(self, y: NDArray[Any], scale: float, offset: float) -> NDArray[Any]:
        """Return the targets as the loss takes them."""

    def _weights(self, y: NDArray[Any], sample_weight: Vector | None) -> Vector | None:
        return sample_weight

    def _divided(self, rows: Rows, random: RandomStream) -> tuple[Codes, Codes | None]:
        """Return the places of the rows to learn from and, with early stopping, to stop by."""
        if not self.early_stopping or len(rows.X) < 2:
            return np.arange(len(rows.X)), None
        codes = rows.targets if rows.targets.dtype == np.int64 else None
        return held_out_places(len(rows.X), codes, self.validation_fraction, random.key())

    def _keep(self, training: NetworkTraining, link: Link, scale: float, offset: float) -> None:
        parameters = training.parameters
        self.coefs_ = [weights.copy() for weights in parameters.weights]
        self.intercepts_ = [bias.copy() for bias in parameters.biases]
        layers = [Layer(*pair) for pair in zip(self.coefs_, self.intercepts_, strict=True)]
        self.predictor_ = NetworkPredictor(layers, self.activation, link, scale, offset)
        self.n_features_in_ = parameters.sizes[0]
        self.loss_curve_ = training.loss_curve
        self.best_loss_ = training.best_loss
        self.n_iter_ = len(training.loss_curve)
        self.validation_scores_ = training.validation_scores
        is_held_out = training.held_out is not None
        self.best_validation_score_ = training.best_score if is_held_out else None
        self.warnings_ = tuple(self._complaints(training))

    def _complaints(self, training: NetworkTraining) -> list[str]:
        complaints = []
        if self.early_stopping and training.held_out is None:
            complaints.append("early_stopping needs two rows: nothing was held out")
        if training.n_diverged:
            epochs = plural(training.n_diverged, "epoch")
            complaints.append(
                f"the loss exploded in {epochs}: each was taken back and the learning rate halved, "
                f"from {self.learning_rate:g} to {training.optimizer.learning_rate:g}"
            )
        return complaints


class MLPClassifier(_MLP):
    """A network whose outputs are the log-odds of two classes, or those of many up to a constant.

    Parameters
    ----------
    class_weight : None, or 'balanced': n_samples / (n_classes * rows of the class), rows counted
        by their weights

    Notes
    -----
    The others are as of `_MLP`. Two classes have one output, even where `layers` ends with 2: the
    softmax of two says the same with twice the weights.
    """

    def __init__(self, *, class_weight: str | None = None, **parameters: Any) -> None:
        super().__init__(**parameters)
        self.class_weight = class_weight
        self.classes_: Codes = np.zeros(0, np.int64)

    def _classes(self, y: NDArray[Any]) -> int:
        if y.min(initial=0) < 0:  # the kernels use them as places, unchecked
            raise ValueError("classes are numbered from 0")
        n_classes = max(int(y.max(initial=0)) + 1, 2)
        self.classes_ = np.arange(n_classes)
        return n_classes

    def _targets(self, y: NDArray[Any], scale: float, offset: float) -> NDArray[Any]:
        return np.ascontiguousarray(y, np.int64)

    def _weights(self, y: NDArray[Any], sample_weight: Vector | None) -> Vector | None:
        return class_weights(y, len(self.classes_), sample_weight, self.class_weight)

    def predict_proba(self, X: Matrix) -> Matrix:
        """Return (n_samples, n_classes) probabilities."""
        scores = self.predictor_.outputs(np.ascontiguousarray(X, np.float64)).T
        if scores.shape[1] == 1:
            scores = np.hstack([np.zeros_like(scores), scores])
        shares = np.exp(scores - scores.max(axis=1, keepdims=True))
        return np.asarray(shares / shares.sum(axis=1, keepdims=True))

    def predict(self, X: Matrix) -> Codes:
        """Return the (n_samples,) numbers of the likeliest classes."""
        return np.asarray(self.predict_proba(X).argmax(axis=1))


class MLPRegressor(_MLP):
    """A network whose output is a number, in the target's units; it learns a standardised target.

    Notes
    -----
    The parameters are as of `_MLP`.
    """

    def _classes(self, y: NDArray[Any]) -> int:
        return 0

    def _units(self, y: NDArray[Any], sample_weight: Vector | None) -> tuple[float, float]:
        """Return standard deviation and mean; of a constant target 0, and its only value."""
        weights = np.ones(len(y)) if sample_weight is None else sample_weight
        largest = float(weights.max(initial=0.0)) or 1.0
        shares = weights / largest
        shares = shares / (float(shares.sum()) or 1.0)
        first = float(y[0])
        distances = y - first  # a constant's are exactly 0
        unit = float(np.abs(distances).max(initial=0.0)) or 1.0
        distances = distances / unit
        mean = float(shares @ distances)
        spread = float(shares @ np.square(distances - mean)) ** 0.5
        return spread * unit, first + mean * unit

    def _targets(self, y: NDArray[Any], scale: float, offset: float) -> NDArray[Any]:
        return ((y - offset) / (scale or 1.0)).astype(np.float32)

    def predict(self, X: Matrix) -> Vector:
        """Return the (n_samples,) values."""
        return np.asarray(self.predictor_.outputs(np.ascontiguousarray(X, np.float64))[0])
