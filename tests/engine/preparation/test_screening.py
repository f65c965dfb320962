"""Columns that say nothing, or too much."""

from __future__ import annotations

import numpy as np
import pytest

from proxy.engine.columns import Column, Dataset, FeatureKind
from proxy.engine.preparation.preprocessing import Preparation, Preprocessor
from proxy.engine.preparation.screening import Screening, suspicious_notices

RNG = np.random.default_rng(0)
N = 200


def number(name: str, values: np.ndarray, sql_type: str = "double precision") -> Column:
    return Column(name, FeatureKind.NUMBER, sql_type, np.asarray(values, dtype=np.float64))


def words(name: str, codes: np.ndarray, n_words: int) -> Column:
    names = tuple(f"w{k:04d}" for k in range(n_words))
    return Column(name, FeatureKind.CATEGORY, "text", codes.astype(np.int32), names)


def fitted(*columns: Column, **drops: bool) -> Preprocessor:
    preparation = Preparation(drops=Screening(**drops))
    n_samples = len(columns[0].values)
    return Preprocessor(100, preparation).fit(Dataset(columns, None, n_samples))


def test_constant_and_repeated_columns_keep_their_place_and_no_design() -> None:
    """They stay arguments of the model; each is mentioned once."""
    x = RNG.normal(size=N)
    holes = np.where(RNG.random(N) < 0.2, np.nan, 1.0)
    preprocessor = fitted(
        number("x", x), number("same", np.ones(N)), number("twin", x), number("holes", holes)
    )
    assert [feature.name for feature in preprocessor.features_] == ["x", "same", "twin", "holes"]
    assert [encoder.n_columns for encoder in preprocessor.encoders_] == [1, 0, 0, 2]
    assert preprocessor.notices_ == (
        'column "same" is the same in every row and is left out',
        'column "twin" repeats column "x" and is left out',
    )
    raw = np.array([[1.0, 99.0, -5.0, np.nan]])
    assert preprocessor.transform(raw).tolist() == [[1.0, 1.0, 1.0]]


def test_columns_of_equal_moments_are_not_taken_for_equal() -> None:
    """Only values that agree row by row make a twin."""
    x = RNG.permutation(np.arange(N, dtype=np.float64))
    assert fitted(number("x", x), number("y", x[::-1].copy())).n_design_ == 2


def test_words_are_screened_as_numbers_are() -> None:
    """A single category is constant, the same categories row by row are repeated."""
    codes = RNG.integers(0, 3, N)
    one = words("one", np.zeros(N), 1)
    preprocessor = fitted(words("w", codes, 3), one, words("again", codes, 3))
    assert [encoder.n_columns for encoder in preprocessor.encoders_] == [3, 0, 0]


def test_what_is_not_wanted_is_not_left_out() -> None:
    """Distances count a column twice if the user gave it twice."""
    x = RNG.normal(size=N)
    columns = (number("x", x), number("twin", x), number("same", np.ones(N)))
    assert fitted(*columns, repeated=False).n_design_ == 2
    assert fitted(*columns, constant=False).n_design_ == 2


def test_if_nothing_were_left_nothing_is_left_out() -> None:
    """A table of constants can still be fitted on."""
    preprocessor = fitted(number("a", np.ones(N)), number("b", np.ones(N)))
    assert preprocessor.n_design_ == 2
    assert preprocessor.notices_ == ()


def test_elements_of_an_array_are_counted_in_one_sentence() -> None:
    """MNIST's black corners are mentioned once."""
    values = RNG.normal(size=(N, 5))
    values[:, 1] = 0.0
    values[:, 4] = values[:, 0]
    column = Column("pixels", FeatureKind.ARRAY, "integer[]", values)
    preprocessor = fitted(column)
    assert preprocessor.n_design_ == 3
    (notice,) = preprocessor.notices_
    assert notice.startswith('2 of the 5 elements of column "pixels"')


@pytest.mark.parametrize(
    ("column", "is_suspicious"),
    [
        (number("id", RNG.permutation(N) + 1000.0, "integer"), True),
        (number("id", 2.0 * RNG.permutation(N), "integer"), True),
        (number("price", RNG.permutation(N) * 1000.0), False),
        (number("x", RNG.normal(size=N)), False),
        (number("count", RNG.integers(0, N, N)), False),
        (words("name", RNG.permutation(N), N), True),
        (words("city", RNG.integers(0, 50, N), 50), False),
    ],
)
def test_a_key_is_mentioned(column: Column, is_suspicious: bool) -> None:
    """Serial numbers and names that nearly every row has for itself, and nothing else."""
    y = RNG.normal(size=N)
    notices = suspicious_notices([column], None, y, is_class=False)
    assert bool(notices) == is_suspicious
    assert all(f'"{column.name}" looks like a key' in notice for notice in notices)


def test_what_gives_the_target_away_is_mentioned() -> None:
    """A copy of the target in other units, or a word for each class; noise is let be."""
    y = RNG.normal(size=N)
    leak, close = number("leak", 3.0 - 2.0 * y), number("close", y + RNG.normal(size=N))
    (notice,) = suspicious_notices([leak, close], None, y, is_class=False)
    assert '"leak" alone gives the target away' in notice
    classes = RNG.integers(0, 3, N)
    columns = [
        words("word", classes, 3),
        number("split", classes * 10.0 + RNG.random(N)),
        words("noise", RNG.integers(0, 3, N), 3),
        number("near", classes * 10.0 + 20.0 * RNG.random(N)),
    ]
    notices = suspicious_notices(columns, None, classes, is_class=True)
    assert [notice.split('"')[1] for notice in notices] == ["word", "split"]


def test_only_rows_with_a_target_are_looked_at() -> None:
    """NULL targets hide nothing: the rows given are the rows judged."""
    y = RNG.normal(size=N)
    values = np.concatenate([5.0 * y, RNG.normal(size=N)])
    rows = np.arange(N)
    assert suspicious_notices([number("leak", values)], rows, y, is_class=False)
