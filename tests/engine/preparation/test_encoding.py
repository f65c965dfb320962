"""The compiled encoder, against `Preprocessor.transform`."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from proxy.engine.preparation.encoders import (
    CategoryEncoder,
    DroppedEncoder,
    NumberEncoder,
    TargetEncoder,
)
from proxy.engine.preparation.encoding import RowEncoder
from proxy.engine.preparation.preprocessing import Preparation, Preprocessor
from proxy.kernels.encoding import NOT_GIVEN

WILD = [np.nan, np.inf, -np.inf, 1e308, -1e308, 5e-324, 0.0, -1.0]


@st.composite
def preprocessors(draw: st.DrawFn) -> Preprocessor:
    """Draw any row of encoders, standardising or not."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    encoders = []
    for kind in draw(st.lists(st.sampled_from("nctdm"), min_size=1, max_size=6)):
        names = tuple(f"k{k}" for k in range(rng.integers(1, 5)))
        flags = rng.integers(0, 2, 2).astype(bool)
        if kind == "n":
            encoders.append(NumberEncoder(rng.normal(), -2.0, 3.0, bool(flags[0])))
        elif kind == "m":
            encoders.append(NumberEncoder(np.nan, -2.0, 3.0, has_indicator=False))
        elif kind == "c":
            encoders.append(CategoryEncoder(names, bool(flags[0]), bool(flags[1])))
        elif kind == "t":
            values = rng.normal(size=(len(names) + 2, rng.integers(1, 4)))
            encoders.append(TargetEncoder(names, values))
        else:
            encoders.append(DroppedEncoder())
    standardises = draw(st.booleans()) and "m" not in encoders
    preprocessor = Preprocessor(100, Preparation(standardises=standardises))
    preprocessor.encoders_ = tuple(encoders)
    preprocessor.mean_ = rng.normal(size=preprocessor.n_design_)
    preprocessor.scale_ = rng.choice([0.0, 0.5, 2.0], preprocessor.n_design_)
    return preprocessor


def raw_rows(preprocessor: Preprocessor, n_rows: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    raw = rng.normal(size=(n_rows, preprocessor.input_width_))
    for j, encoder in enumerate(preprocessor.encoders_):
        if hasattr(encoder, "categories"):
            raw[:, j] = rng.integers(-1, len(encoder.categories) + 2, n_rows)
        hit = rng.random(n_rows) < 0.3
        raw[hit, j] = rng.choice(WILD, int(hit.sum()))
    return raw


@given(preprocessors(), st.integers(0, 2**32))
def test_rows_are_encoded_as_by_transform(preprocessor: Preprocessor, seed: int) -> None:
    """The program gives the design that the encoders give, wild values and all."""
    raw = raw_rows(preprocessor, 20, seed)
    width = preprocessor.input_width_
    found = RowEncoder(preprocessor, range(width), [None] * width).encode(raw)
    with np.errstate(over="ignore"):
        expected = preprocessor.transform(raw)
    np.testing.assert_allclose(found, np.clip(expected, -1.7e308, 1.7e308), rtol=1e-12, atol=1e-14)


@given(preprocessors(), st.integers(0, 2**32))
def test_columns_may_lie_anywhere_or_be_missing(preprocessor: Preprocessor, seed: int) -> None:
    """Sources move columns; one that is not given is NULL in every row."""
    raw = raw_rows(preprocessor, 10, seed)
    width = preprocessor.input_width_
    rng = np.random.default_rng(seed)
    order = rng.permutation(width)
    missing = int(rng.integers(0, width))
    sources = [int(np.flatnonzero(order == j)[0]) for j in range(width)]
    sources[missing] = NOT_GIVEN
    values = np.ascontiguousarray(raw[:, order])
    found = RowEncoder(preprocessor, sources, [None] * width).encode(values)
    raw[:, missing] = np.nan
    straight = RowEncoder(preprocessor, range(width), [None] * width).encode(raw)
    np.testing.assert_array_equal(found, straight)


def test_a_wide_category_takes_no_square_of_memory() -> None:
    """The program of 5,000 one-hot columns is a few numbers for each, not a table of 25 million."""
    names = tuple(f"c{k:04d}" for k in range(5000))
    preprocessor = Preprocessor(10_000, Preparation(standardises=True))
    preprocessor.encoders_ = (CategoryEncoder(names, has_infrequent=False, has_indicator=True),)
    preprocessor.mean_, preprocessor.scale_ = np.full(5001, 0.5), np.full(5001, 2.0)
    encoder = RowEncoder(preprocessor, [0], [None])
    assert encoder._weights.size < 4 * 5001
    values = np.array([[4321.0], [np.nan], [5000.0]])
    np.testing.assert_array_equal(encoder.encode(values), preprocessor.transform(values))


def test_codes_of_other_dictionaries_are_translated() -> None:
    """A query that knows other categories than the model has its codes turned into the model's."""
    preprocessor = Preprocessor()
    preprocessor.encoders_ = (CategoryEncoder(("a", "b"), has_infrequent=True, has_indicator=True),)
    # The query's dictionary: b, x, a; then whatever it does not know.
    recoding = np.array([1.0, 2.0, 0.0, 2.0])
    values = np.array([[0.0], [1.0], [2.0], [3.0], [np.nan]])
    found = RowEncoder(preprocessor, [0], [recoding]).encode(values)
    expected = [[0, 1, 0, 0], [0, 0, 1, 0], [1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]
    assert found.tolist() == expected
