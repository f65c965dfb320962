"""What classifiers minimise: penalised log-loss of two classes, or of many.

Owns value, gradient and Hessian, summed over blocks of rows. Everything is divided by the number of
samples, so that a tolerance means the same for any of them.
"""

from __future__ import annotations

import numpy as np

from proxy.engine.arrays import Codes, Matrix, Vector
from proxy.engine.design import StandardisedDesign
from proxy.engine.solvers import Evaluation, Objective


class BinaryLogLoss:
    """Log-loss of the probability of class 1, plus `penalty @ parameters**2 / 2`.

    Parameters
    ----------
    codes : (n_samples,) of 0 and 1
    sample_weight : (n_samples,), or None for ones
    penalty : (n_parameters,)
    """

    def __init__(
        self,
        design: StandardisedDesign,
        codes: Codes,
        sample_weight: Vector | None,
        penalty: Vector,
    ) -> None:
        self.design = design
        self.labels = codes.astype(np.float64)
        self.sample_weight = sample_weight
        self.penalty = penalty

    def evaluate(self, parameters: Vector, *, with_hessian: bool) -> Evaluation:
        """Return value and derivatives at the (n_parameters,) point."""
        size = self.design.n_parameters
        loss, gradient = 0.0, np.zeros(size)
        hessian = np.zeros((size, size)) if with_hessian else None
        for rows, block in self.design.blocks():
            weight = None if self.sample_weight is None else self.sample_weight[rows]
            z = parameters @ block
            losses, residual, curvature = _binary_terms(z, self.labels[rows])
            if weight is not None:
                residual *= weight
                curvature *= weight
            loss += float(losses.sum() if weight is None else losses @ weight)
            gradient += block @ residual
            if hessian is not None:
                block *= np.sqrt(curvature)
                hessian += block @ block.T
        sums = Evaluation(loss, gradient, hessian)
        return _penalised(sums, parameters, self.penalty, self.design.n_samples)


def _binary_terms(z: Vector, labels: Vector) -> tuple[Vector, Vector, Vector]:
    """Return loss, its first and its second derivative by z, for each sample.

    All from exp(-|z|), which neither overflows nor loses p(1-p) when p is near 1.
    """
    decay = np.exp(-np.abs(z))
    larger = 1.0 / (1.0 + decay)  # the probability of the likelier class
    smaller = decay * larger
    losses = np.maximum(z, 0.0)
    losses -= labels * z
    losses -= np.log(larger)
    probability = np.where(z >= 0, larger, smaller)
    probability -= labels
    smaller *= larger
    return losses, probability, smaller


class MultinomialLogLoss:
    """Cross-entropy of the softmax of one score per class, plus the same penalty on every class.

    Parameters are (n_classes, n_parameters) laid flat. Adding the same vector to every class
    changes no probability: that direction is flat, and the minimum with scores centred over
    classes is the one meant. The Hessian is given a curvature there that moves nothing, because
    the gradient has no part in it at a centred point, and every step stays centred.
    """

    def __init__(
        self,
        design: StandardisedDesign,
        codes: Codes,
        n_classes: int,
        sample_weight: Vector | None,
        penalty: Vector,
    ) -> None:
        self.design = design
        self.codes = codes
        self.n_classes = n_classes
        self.sample_weight = sample_weight
        self.penalty = np.tile(penalty, n_classes)

    def evaluate(self, parameters: Vector, *, with_hessian: bool) -> Evaluation:
        """Return value and derivatives at the (n_classes * n_parameters,) point."""
        n_classes, size = self.n_classes, self.design.n_parameters
        theta = parameters.reshape(n_classes, size)
        loss, gradient = 0.0, np.zeros((n_classes, size))
        hessian = np.zeros((len(parameters), len(parameters))) if with_hessian else None
        for rows, block in self.design.blocks():
            weight = None if self.sample_weight is None else self.sample_weight[rows]
            losses, probability = _softmax_terms(theta @ block, self.codes[rows])
            loss += float(losses.sum() if weight is None else losses @ weight)
            residual = probability.copy()
            residual[self.codes[rows], np.arange(block.shape[1])] -= 1.0
            if weight is not None:
                residual *= weight
            gradient += residual @ block.T
            if hessian is not None:
                _add_softmax_hessian(hessian, block, probability, weight)
        if hessian is not None:
            _curve_flat_direction(hessian, n_classes)
        sums = Evaluation(loss, gradient.ravel(), hessian)
        return _penalised(sums, parameters, self.penalty, self.design.n_samples)


def _softmax_terms(scores: Matrix, codes: Codes) -> tuple[Vector, Matrix]:
    """Return the (m,) losses and (n_classes, m) probabilities of (n_classes, m) scores."""
    own = scores[codes, np.arange(scores.shape[1])]
    largest = scores.max(axis=0)
    scores -= largest
    np.exp(scores, out=scores)
    total = scores.sum(axis=0)
    scores /= total
    return np.log(total) + largest - own, scores


def _add_softmax_hessian(
    hessian: Matrix, block: Matrix, probability: Matrix, weight: Vector | None
) -> None:
    """Add sum_i w_i (diag(p_i) - p_i p_i') kron x_i x_i' to the Hessian."""
    n_classes, size = len(probability), len(block)
    if weight is not None:
        # The root on the block: p(1-p) is linear in w, and so are both products below.
        block = block * np.sqrt(weight)
    spread = probability[:, None, :] * block[None, :, :]
    flat = spread.reshape(n_classes * size, -1)
    hessian -= flat @ flat.T
    for k in range(n_classes):
        own = slice(k * size, (k + 1) * size)
        hessian[own, own] += spread[k] @ block.T


def _curve_flat_direction(hessian: Matrix, n_classes: int) -> None:
    """Give each parameter's shift common to all classes the curvature of its average class."""
    size = len(hessian) // n_classes
    tensor = hessian.reshape(n_classes, size, n_classes, size)
    for j in range(size):
        tensor[:, j, :, j] += np.trace(tensor[:, j, :, j]) / n_classes**2


def _penalised(sums: Evaluation, parameters: Vector, penalty: Vector, n_samples: int) -> Evaluation:
    """Return sums over samples with the penalty added, per sample."""
    loss = sums.loss + 0.5 * float(penalty @ np.square(parameters))
    gradient = sums.gradient + penalty * parameters
    hessian = sums.hessian
    if hessian is not None:
        hessian[np.diag_indices_from(hessian)] += penalty
        hessian /= n_samples
    return Evaluation(loss / n_samples, gradient / n_samples, hessian)


class Rescaled:
    """An objective in other units: parameters times `units`."""

    def __init__(self, objective: Objective, units: Vector) -> None:
        self.objective = objective
        self.units = units

    def evaluate(self, parameters: Vector, *, with_hessian: bool) -> Evaluation:
        """Return value and gradient at the point given in the new units."""
        there = self.objective.evaluate(parameters / self.units, with_hessian=with_hessian)
        return Evaluation(there.loss, there.gradient / self.units)
