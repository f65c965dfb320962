"""The arrays that algorithms are compared on: made from a seed, or read from real data.

The flights are a file that pgseer does not carry: `PGSEER_BENCH_DATA` names the folder that has
nyc_flights_2013.csv.gz; without it that figure is not measured.
"""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.datasets import make_blobs, make_classification

Floats = NDArray[np.float64]
Codes = NDArray[np.int64]

FLIGHTS = "nyc_flights_2013.csv.gz"
DIGITS = "mnist_digits.csv.gz"
BESIDE = Path(__file__).parents[2] / "shared" / "data"
FLIGHT_NUMBERS = (
    "month", "day", "sched_dep_time", "dep_delay", "sched_arr_time",
    "air_time", "distance", "hour", "minute",
)  # fmt: skip
FLIGHT_WORDS = ("carrier", "origin", "dest")


def data_file(name: str) -> Path | None:
    """Return a file of real data; None where it is not to be found."""
    folder = Path(os.environ.get("PGSEER_BENCH_DATA", BESIDE))
    return folder / name if (folder / name).is_file() else None


@cache
def classes(n_samples: int, n_features: int = 10) -> tuple[Floats, Codes]:
    """Return a task of two classes, with noise, half of the columns of use."""
    X, codes = make_classification(
        n_samples,
        n_features,
        n_informative=n_features // 2,
        n_redundant=0,
        flip_y=0.05,
        random_state=0,
    )
    return np.ascontiguousarray(X), codes.astype(np.int64)


@cache
def blobs(n_samples: int, n_features: int, centers: int) -> Floats:
    """Return clouds that touch."""
    X, _ = make_blobs(n_samples, n_features, centers=centers, cluster_std=2.0, random_state=0)
    return np.ascontiguousarray(X)


@cache
def flights(n_samples: int) -> tuple[Floats, Floats] | None:
    """Return what was known of flights, words as numbers, and by how much they were late."""
    path = data_file(FLIGHTS)
    if path is None:
        return None
    frame = pd.read_csv(path).dropna(subset=["arr_delay"])
    frame = frame.sample(min(n_samples + n_samples // 10, len(frame)), random_state=0)
    for word in FLIGHT_WORDS:
        frame[word] = pd.factorize(frame[word], sort=True)[0]
    X = frame[[*FLIGHT_NUMBERS, *FLIGHT_WORDS]].to_numpy(np.float64)
    return np.ascontiguousarray(X), frame["arr_delay"].to_numpy(np.float64)


@cache
def digits() -> tuple[Floats, Codes] | None:
    """Return 10,000 of MNIST's digits, between 0 and 1."""
    path = data_file(DIGITS)
    if path is None:
        return None
    frame = pd.read_csv(path)
    pixels = frame["pixel_values"].str.strip("{}").str.split(",")
    X = np.array(pixels.tolist(), dtype=np.float64) / 255.0
    return X, frame["digit_label"].to_numpy(np.int64)
