"""Rows of values in, scores out, for any model: what statements hold on to.

Owns the way from a predictor's outputs to what PREDICT means by them. A linear model has a way of
its own, `linear_predictor.LinearScorer`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from proxy.engine.arrays import Matrix, Vector
from proxy.engine.predictors import LOG_ODDS, PROBABILITY, Predictor
from proxy.engine.preparation.encoding import RowEncoder
from proxy.engine.preparation.preprocessing import Preprocessor
from proxy.kernels import encoding
from proxy.kernels import linear as kernel

BLOCK_BYTES = 1 << 21
"""Of a design at a time: it stays in the cache, and a large batch takes no large matrix."""


class Scorer(Protocol):
    """Scores rows of values whose columns need not be those of the raw matrix."""

    def scores(self, values: Matrix) -> Vector:
        """Return (n,): the score of each row; a label as its place in the classes."""


class EncodedScorer:
    """Scores by a predictor on design rows.

    Parameters
    ----------
    sources, recodings : as in `encoding.RowEncoder`
    meaning, class_index : as in `kernels.linear`
    """

    def __init__(
        self,
        preprocessor: Preprocessor,
        predictor: Predictor,
        sources: Sequence[int],
        recodings: Sequence[Vector | None] = (),
        *,
        meaning: int = kernel.VALUE,
        class_index: int | None = None,
    ) -> None:
        self._predictor = predictor
        self._encoder = RowEncoder(
            preprocessor, sources, tuple(recodings) or (None,) * len(sources)
        )
        self._meaning = meaning
        self._class_index = -1 if class_index is None else class_index
        self._block_rows = max(BLOCK_BYTES // (8 * max(self._encoder.n_design, 1)), 256)

    def scores(self, values: Matrix) -> Vector:
        """Return (n,): the score of each row; a label as its place in the classes."""
        scores = np.empty(len(values))
        for start in range(0, len(values), self._block_rows):
            block = slice(start, start + self._block_rows)
            self._finish(self.outputs(values[block]), scores[block])
        return scores

    def outputs(self, values: Matrix) -> Matrix:
        """Return the predictor's (n_outputs, n) outputs of a block of values."""
        return self._predictor.outputs(self._encoder.encode(values))

    def _finish(self, outputs: Matrix, scores: Vector) -> None:
        link = self._predictor.link
        if link == LOG_ODDS:
            kernel.finish_rows(outputs, self._meaning, self._class_index, scores)
        elif link != PROBABILITY:
            np.copyto(scores, outputs[0])
        elif self._meaning == kernel.LABEL:
            encoding.likeliest(outputs, scores)
        elif self._meaning == kernel.LARGEST_PROBABILITY:
            outputs.max(axis=0, out=scores)
        else:
            np.copyto(scores, outputs[self._class_index])


def probabilities(outputs: Matrix, link: str, n_classes: int) -> Matrix:
    """Return the (n, n_classes) probabilities that a classifier's (n_outputs, n) outputs mean."""
    if link == PROBABILITY:
        return np.ascontiguousarray(outputs.T)
    probability = np.empty((outputs.shape[1], n_classes))
    kernel.probabilities(outputs, probability)
    return probability
