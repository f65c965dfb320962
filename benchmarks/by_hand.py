"""What one does without pgseer: fetch with psycopg, make a DataFrame, call scikit-learn.

psycopg's quickest way is results in binary, `fetchall`, one DataFrame of the tuples: on these
tables about 1.8 times as fast as with results in text, which are its default, and 1.3 times as fast
as COPY with `pandas.read_csv`.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import pandas as pd
import psycopg
from sklearn.linear_model import LogisticRegression


def fetch(connection: psycopg.Connection[Any], query: str, *, binary: bool = True) -> pd.DataFrame:
    """Return the rows of a query."""
    cursor = connection.execute(query, binary=binary)
    assert cursor.description is not None
    return pd.DataFrame(cursor.fetchall(), columns=[column.name for column in cursor.description])


def fit(frame: pd.DataFrame, features: Sequence[str], target: str) -> LogisticRegression:
    """Return a logistic regression with scikit-learn's own parameters."""
    return LogisticRegression().fit(frame[list(features)], frame[target])


def time_fetch(connection: psycopg.Connection[Any], query: str) -> float:
    """Return the seconds from the query to the frame."""
    start = time.perf_counter()
    fetch(connection, query)
    return time.perf_counter() - start


def time_scoring(
    connection: psycopg.Connection[Any],
    query: str,
    model: LogisticRegression,
    features: Sequence[str],
    *,
    binary: bool = True,
) -> float:
    """Return the seconds from the query to the frame with a score beside the query's columns."""
    start = time.perf_counter()
    frame = fetch(connection, query, binary=binary)
    frame["score"] = model.predict_proba(frame[list(features)])[:, 1]
    return time.perf_counter() - start


def time_training(
    connection: psycopg.Connection[Any],
    query: str,
    features: Sequence[str],
    target: str,
    *,
    binary: bool,
) -> float:
    """Return the seconds from the query to the fitted model."""
    start = time.perf_counter()
    fit(fetch(connection, query, binary=binary), features, target)
    return time.perf_counter() - start
