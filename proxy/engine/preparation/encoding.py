"""A preprocessor as a program: rows of any layout become rows of the design, in one call.

Owns the program that the kernel `encoding` runs. Does what `Preprocessor.transform` does, for rows
of values whose columns need not be those of the raw matrix.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from proxy.engine.arrays import Matrix, Vector
from proxy.engine.preparation.encoders import CategoryEncoder, DroppedEncoder, NumberEncoder
from proxy.engine.preparation.preprocessing import Preprocessor
from proxy.kernels import encoding as kernel


class RowEncoder:
    """Makes design rows of rows of values.

    Parameters
    ----------
    sources : for each raw column the column of the values, or `kernels.encoding.NOT_GIVEN`
    recodings : for each raw column None, or the raw code for each code of a category's values; its
        last is that of values that they do not know
    """

    def __init__(
        self,
        preprocessor: Preprocessor,
        sources: Sequence[int],
        recodings: Sequence[Vector | None],
    ) -> None:
        self.n_design = preprocessor.n_design_
        self._program, self._weights = _compiled(preprocessor, sources, recodings)

    def encode(self, values: Matrix) -> Matrix:
        """Return the (n, n_design) design of the C-contiguous (n, width) values."""
        design = np.empty((len(values), self.n_design))
        kernel.encode_rows(values, self._program, self._weights, design)
        return design


def _compiled(
    preprocessor: Preprocessor, sources: Sequence[int], recodings: Sequence[Vector | None]
) -> tuple[NDArray[np.int64], Vector]:
    shift, inverse = preprocessor.shift_, preprocessor.inverse_scale_
    numbers: list[int] = []
    number_weights: list[float] = []
    tables: list[tuple[list[int], Vector, bool]] = []
    for j, (encoder, column) in enumerate(
        zip(preprocessor.encoders_, preprocessor.offsets(), strict=True)
    ):
        columns = slice(column, column + encoder.n_columns)
        if isinstance(encoder, DroppedEncoder):
            continue
        if isinstance(encoder, NumberEncoder):
            numbers += [sources[j], column, encoder.has_indicator]
            number_weights += [encoder.imputed, encoder.minimum, encoder.maximum]
            number_weights += [shift[column], inverse[column]]
            flag = column + encoder.has_indicator
            number_weights += [(value - shift[flag]) * inverse[flag] for value in (0.0, 1.0)]
            continue
        if isinstance(encoder, CategoryEncoder):
            rows = _recoded(np.array(encoder.slot_table()), recodings[j])
            off, on = ((value - shift[columns]) * inverse[columns] for value in (0.0, 1.0))
            weights = np.concatenate([off, on, rows])
        else:
            rows = _recoded(encoder.table(), recodings[j])
            weights = ((rows - shift[columns]) * inverse[columns]).ravel()
        head = [sources[j], column, len(rows) - 3, encoder.n_columns]
        tables.append((head, weights, isinstance(encoder, CategoryEncoder)))
    words = [len(numbers) // kernel.NUMBER_SIZE, len(tables), *numbers]
    parts = [np.array(number_weights)]
    size = len(number_weights)
    for head, weights, is_one_hot in tables:
        words += [*head, size, is_one_hot]
        parts.append(weights)
        size += weights.size
    return np.array(words, np.int64), np.concatenate(parts)


def _recoded(table: NDArray[Any], codes: Vector | None) -> NDArray[Any]:
    """Return a table by the codes of the values: codes[i] is the model's for their code i."""
    if codes is None:
        return table
    places = codes.astype(np.int64) + 1
    return table[[places[-1], *places, len(table) - 1]]
