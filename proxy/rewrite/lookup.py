"""Scores by the keys of their inputs, as the two arrays that `rules.stage` looks them up in.

Owns sorting them, telling two inputs with one key, and PostgreSQL's binary form of an array.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from proxy.errors import ProxyError

Keys = NDArray[np.int64]
Scores = NDArray[np.float64]

_LARGEST = np.iinfo(np.int64).max


def unique_scores(keys: Keys, scores: Scores) -> tuple[Keys, Scores]:
    """Return the keys in order, each once, and their scores.

    Raises
    ------
    ProxyError
        Two scores have one key: of a million different inputs one time in thirty million.
    """
    order = np.argsort(keys, kind="stable")
    keys, scores = keys[order], scores[order]
    is_first = np.empty(len(keys), bool)
    is_first[:1] = True
    np.not_equal(keys[1:], keys[:-1], out=is_first[1:])
    same = ~is_first[1:]
    if (scores[1:][same] != scores[:-1][same]).any():
        raise ProxyError(
            "two rows of different scores have the same key",
            hint="Call PREDICT as a column of the outermost select list, or on fewer rows.",
            sqlstate="54000",
        )
    return keys[is_first], scores[is_first]


def bounded(keys: Keys, scores: Scores) -> tuple[Keys, Scores]:
    """Return bounds, and the score of each stretch that begins at one: NaN where there is no key.

    Parameters
    ----------
    keys : (n,), ascending, each once
    scores : (n,)
    """
    following = np.minimum(keys, _LARGEST - 1) + 1
    ends = np.ones(len(keys), bool)
    if len(keys):
        np.not_equal(keys[1:], following[:-1], out=ends[:-1])
        ends[-1] = keys[-1] < _LARGEST
    bounds = np.empty(2 * len(keys), np.int64)
    bounds[0::2], bounds[1::2] = keys, following
    values = np.full(2 * len(keys), np.nan)
    values[0::2] = scores
    kept = np.ones(2 * len(keys), bool)
    kept[1::2] = ends
    return bounds[kept], values[kept]


def array_binary(values: Keys | Scores, element_oid: int) -> bytes:
    """Return an array's binary form: of int8 or float8, one dimension, no NULL.

    Int32(dimensions) Int32(has NULL) Int32(element type) Int32(length) Int32(lower bound)
    {Int32(8) Byte8}*
    """
    kind = ">i8" if values.dtype == np.int64 else ">f8"
    if not len(values):
        return np.array([0, 0, element_oid], ">i4").tobytes()
    header = np.array([1, 0, element_oid, len(values), 1], ">i4").tobytes()
    elements = np.empty(len(values), np.dtype([("size", ">i4"), ("value", kind)]))
    elements["size"] = 8
    elements["value"] = values
    return header + elements.tobytes()
