"""What classifiers minimise: penalised log-loss of two classes, or of many.

Owns value, gradient and Hessian, summed over blocks of rows. Everything is divided by the number of
samples, so that a tolerance means the same for any of them.
"""

from __future__ import annotations

import numpy as np

from proxy.engine.arrays import Codes, Flags, Matrix, Vector
from proxy.engine.linear.row_weights import RowWeights
from proxy.engine.linear.solvers import Evaluation, Objective
from proxy.engine.preparation.design import StandardisedDesign

LARGEST_ARGUMENT = 700.0  # exp of it is finite
NARROW = 24
PIECE_ROWS = 512


class BinaryLogLoss:
    """Log-loss of the probability of class 1, plus `penalty @ parameters**2 / 2`.

    Parameters
    ----------
    codes : (n_samples,) of 0 and 1
    sample_weight : of each row, or None for ones
    penalty : (n_parameters,)
    """

    N_TERMS = 4

    def __init__(
        self,
        design: StandardisedDesign,
        codes: Codes,
        sample_weight: Vector | RowWeights | None,
        penalty: Vector,
    ) -> None:
        self.design = design
        self.codes = codes
        self.sample_weight = sample_weight
        self.penalty = penalty

    def evaluate(self, parameters: Vector, *, with_hessian: bool) -> Evaluation:
        """Return value and derivatives at the (n_parameters,) point."""
        size = self.design.n_parameters
        n_sums = _n_sums(size, with_hessian=with_hessian)

        def sums_of(rows: slice, block: Matrix, scratch: Matrix) -> Vector:
            sums = np.empty(n_sums)
            part = _views(sums, size)
            weight = None if self.sample_weight is None else self.sample_weight[rows]
            argument, losses, residual, curvature = scratch[: self.N_TERMS]
            wrong_sign = 1.0 - 2.0 * self.codes[rows]
            np.matmul(parameters, block, out=argument)
            argument *= wrong_sign
            _binary_terms(argument, losses, residual, curvature)
            residual *= wrong_sign
            if weight is not None:
                residual *= weight
                curvature *= weight
            sums[0] = losses.sum() if weight is None else losses @ weight
            np.matmul(block, residual, out=part.gradient)
            if part.hessian is not None:
                _weighted_gram(block, curvature, scratch[self.N_TERMS :], part.hessian)
            return sums

        sums = self.design.sum_over_blocks(
            sums_of, n_sums=n_sums, n_scratch=self.N_TERMS + with_hessian * size
        )
        return _penalised(_views(sums, size), parameters, self.penalty, self.design.n_samples)


def _n_sums(n_parameters: int, *, with_hessian: bool) -> int:
    return 1 + n_parameters + with_hessian * n_parameters**2


def _views(sums: Vector, size: int) -> Evaluation:
    """Return the parts of sums laid flat: a loss, a gradient and, where there is one, a Hessian."""
    hessian = sums[1 + size :].reshape(size, size) if len(sums) > 1 + size else None
    return Evaluation(float(sums[0]), sums[1 : 1 + size], hessian)


def _binary_terms(argument: Vector, losses: Vector, first: Vector, second: Vector) -> None:
    """Write log(1 + exp(t)) for t, the argument, with its first and its second derivative.

    t is the score of class 1 against class 0, or its negative: that of the wrong class. The first
    derivative is the wrong class's probability, the second that times the right one's. All from
    exp(t): nothing overflows, or loses digits where a probability is near 0.
    """
    odds, right = first, second
    np.minimum(argument, LARGEST_ARGUMENT, out=odds)
    np.exp(odds, out=odds)
    np.log1p(odds, out=losses)
    np.maximum(losses, argument, out=losses)  # the same, beyond LARGEST_ARGUMENT
    np.add(odds, 1.0, out=right)
    np.divide(1.0, right, out=right)
    np.multiply(odds, right, out=first)
    np.multiply(first, right, out=second)


def _weighted_gram(block: Matrix, weight: Vector, scratch: Matrix, out: Matrix) -> None:
    """Write block @ diag(weight) @ block.T; `scratch` is as large as the block."""
    if len(block) <= NARROW:
        np.multiply(block, weight, out=scratch)
        _multiply(block, scratch, out)
    else:  # the root on both sides: BLAS computes one triangle of a matrix times itself
        np.multiply(block, np.sqrt(weight), out=scratch)
        np.matmul(scratch, scratch.T, out=out)


def _multiply(left: Matrix, right: Matrix, out: Matrix) -> None:
    """Write left @ right.T, of long rows, in pieces where there are few of them.

    With AVX-512 OpenBLAS has kernels for small matrices. Measured against a whole matrix times
    itself, of which it computes one triangle: on 11 rows half the time, on 24 two thirds. On AVX2
    it is a tenth to a third more.
    """
    n_rows, width = left.shape
    whole = width - width % PIECE_ROWS if n_rows <= NARROW else 0
    np.matmul(left[:, whole:], right[:, whole:].T, out=out)
    if whole:
        pieces = (n_rows, -1, PIECE_ROWS)
        left_pieces = left[:, :whole].reshape(pieces).transpose(1, 0, 2)
        right_pieces = right[:, :whole].reshape(pieces).transpose(1, 2, 0)
        out += np.matmul(left_pieces, right_pieces).sum(axis=0)


class MultinomialLogLoss:
    """Cross-entropy of the softmax of one score per class, plus the same penalty on every class.

    Parameters are (n_classes, n_parameters) laid flat. Adding the same vector to every class
    changes no probability: that direction is flat, and the minimum with scores centred over
    classes is the one meant. The Hessian is given a curvature there that moves nothing, because
    the gradient has no part in it at a centred point, and every step stays centred.

    Parameters
    ----------
    is_centred : (n_parameters,), which of them are meant so; None: all. Those under an L1 penalty
        are not: it is least elsewhere.
    """

    def __init__(
        self,
        design: StandardisedDesign,
        codes: Codes,
        n_classes: int,
        sample_weight: Vector | RowWeights | None,
        penalty: Vector,
        *,
        is_centred: Flags | None = None,
    ) -> None:
        self.design = design
        self.codes = codes
        self.n_classes = n_classes
        self.sample_weight = sample_weight
        self.penalty = np.tile(penalty, n_classes)
        self.is_centred = np.ones(len(penalty), bool) if is_centred is None else is_centred

    def evaluate(self, parameters: Vector, *, with_hessian: bool) -> Evaluation:
        """Return value and derivatives at the (n_classes * n_parameters,) point."""
        theta = parameters.reshape(self.n_classes, self.design.n_parameters)
        n_sums = _n_sums(len(parameters), with_hessian=with_hessian)

        def sums_of(rows: slice, block: Matrix, scratch: Matrix) -> Vector:
            sums = np.empty(n_sums)
            part = _views(sums, len(parameters))
            weight = None if self.sample_weight is None else self.sample_weight[rows]
            own = self.codes[rows], np.arange(block.shape[1])
            scores, rest = scratch[: self.n_classes], scratch[self.n_classes :]
            np.matmul(theta, block, out=scores)
            losses = _softmax_terms(scores, own)
            sums[0] = losses.sum() if weight is None else losses @ weight
            if part.hessian is not None:
                _softmax_hessian(block, scores, weight, rest, part.hessian)
            residual = scores
            residual[own] -= 1.0
            if weight is not None:
                residual *= weight
            np.matmul(residual, block.T, out=part.gradient.reshape(theta.shape))
            return sums

        flat = self.design.sum_over_blocks(
            sums_of,
            n_sums=n_sums,
            n_scratch=self.n_classes + with_hessian * (len(parameters) + self.design.n_parameters),
        )
        sums = _views(flat, len(parameters))
        if sums.hessian is not None:
            _curve_flat_direction(sums.hessian, self.n_classes, self.is_centred)
        return _penalised(sums, parameters, self.penalty, self.design.n_samples)


def _softmax_terms(scores: Matrix, own: tuple[Codes, Codes]) -> Vector:
    """Turn (n_classes, m) scores into probabilities; return the (m,) losses.

    `own` is the place of each sample's own class.
    """
    largest = scores.max(axis=0)
    scores -= largest
    own_score = scores[own]
    np.exp(scores, out=scores)
    total = scores.sum(axis=0)
    scores /= total
    return np.asarray(np.log(total) - own_score)


def _softmax_hessian(
    block: Matrix, probability: Matrix, weight: Vector | None, scratch: Matrix, out: Matrix
) -> None:
    """Write sum_i w_i (diag(p_i) - p_i p_i') kron x_i x_i'.

    `scratch` has as many rows as the result and the block together.
    """
    n_classes, size = len(probability), len(block)
    flat, weighted = scratch[: n_classes * size], scratch[n_classes * size :]
    if weight is not None:
        # The root on the block: p(1-p) is linear in w, and so are both products below.
        block = np.multiply(block, np.sqrt(weight), out=weighted)
    spread = flat.reshape(n_classes, size, -1)
    np.multiply(probability[:, None, :], block[None, :, :], out=spread)
    np.matmul(flat, flat.T, out=out)
    np.negative(out, out=out)
    product = np.empty((size, size))
    for k in range(n_classes):
        own = slice(k * size, (k + 1) * size)
        _multiply(spread[k], block, product)
        out[own, own] += product


def _curve_flat_direction(hessian: Matrix, n_classes: int, is_centred: Flags) -> None:
    """Give each parameter's shift common to all classes the curvature of its average class."""
    size = len(hessian) // n_classes
    tensor = hessian.reshape(n_classes, size, n_classes, size)
    for j in np.flatnonzero(is_centred):
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


class Remembering:
    """An objective of new rows, with a quadratic that stands for the rows before them.

    Parameters
    ----------
    point, slope, hessian : slope' d + d' hessian d / 2 is added, for d from `point`, per sample
    """

    def __init__(self, objective: Objective, point: Vector, slope: Vector, hessian: Matrix) -> None:
        self.objective = objective
        self.point = point
        self.slope = slope
        self.hessian = hessian

    def evaluate(self, parameters: Vector, *, with_hessian: bool) -> Evaluation:
        """Return value and derivatives at the (n_parameters,) point."""
        there = self.objective.evaluate(parameters, with_hessian=with_hessian)
        step = parameters - self.point
        pull = self.hessian @ step
        loss = there.loss + float(self.slope @ step) + 0.5 * float(pull @ step)
        hessian = None if there.hessian is None else there.hessian + self.hessian
        return Evaluation(loss, there.gradient + self.slope + pull, hessian)


class Rescaled:
    """An objective in other units: parameters times `units`."""

    def __init__(self, objective: Objective, units: Vector) -> None:
        self.objective = objective
        self.units = units

    def evaluate(self, parameters: Vector, *, with_hessian: bool) -> Evaluation:
        """Return value and gradient at the point given in the new units."""
        there = self.objective.evaluate(parameters / self.units, with_hessian=with_hessian)
        return Evaluation(there.loss, there.gradient / self.units)
