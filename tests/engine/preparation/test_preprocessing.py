"""Imputation, one-hot coding and indicators, with scikit-learn's own as the oracle."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.impute import SimpleImputer
from sklearn.preprocessing import OneHotEncoder

from proxy.engine.columns import Column, Dataset, FeatureKind
from proxy.engine.preparation import design as engine_design
from proxy.engine.preparation.design import (
    EncodedDesign,
    StandardisedDesign,
    input_columns,
    raw_matrix,
)
from proxy.engine.preparation.encoders import CategoryEncoder, NumberSummary, table_index
from proxy.engine.preparation.preprocessing import Preprocessor
from proxy.errors import InvalidParameterError
from tests.engine.estimator_checks import mixed_dataset


def numbers(*values: float) -> Column:
    return Column("x", FeatureKind.NUMBER, "double precision", np.array(values))


def texts(values: list[str | None]) -> Column:
    dictionary = tuple(dict.fromkeys(v for v in values if v is not None))
    codes = [-1 if v is None else dictionary.index(v) for v in values]
    return Column("t", FeatureKind.CATEGORY, "text", np.array(codes, np.int32), dictionary)


def fitted(column: Column, **parameters: int) -> Preprocessor:
    return Preprocessor(**parameters).fit(Dataset((column,), None, len(column.values)))


def design(column: Column, preprocessor: Preprocessor) -> np.ndarray:
    dataset = Dataset((column,), None, len(column.values))
    return preprocessor.transform(
        raw_matrix(input_columns(dataset, preprocessor), slice(0, dataset.n_samples))
    )


def test_numbers_are_imputed_as_by_simple_imputer() -> None:
    """A missing number becomes the mean and sets the indicator."""
    column = numbers(1.0, np.nan, 4.0, 7.5, np.nan)
    oracle = SimpleImputer(add_indicator=True).fit_transform(column.values[:, None])
    np.testing.assert_allclose(design(column, fitted(column)), oracle)


def test_without_nulls_in_training_there_is_no_indicator() -> None:
    """A NULL that comes only at scoring is imputed, and nothing else."""
    preprocessor = fitted(numbers(1.0, 2.0, 6.0))
    assert preprocessor.transform(np.array([[np.nan], [5.0]])).tolist() == [[3.0], [5.0]]


def test_infinity_is_missing_in_training_and_the_end_of_the_range_in_scoring() -> None:
    """±inf teaches nothing, and scores as the largest or smallest value learned."""
    column = numbers(1.0, np.inf, 5.0, -np.inf)
    preprocessor = fitted(column)
    assert design(column, preprocessor).tolist() == [[1, 0], [3, 1], [5, 0], [3, 1]]
    assert preprocessor.transform(np.array([[np.inf], [-np.inf]])).tolist() == [[5, 0], [1, 0]]
    assert preprocessor.warnings_ == ('column "x": 2 infinite values are treated as missing',)


def test_values_whose_squares_overflow_are_refused() -> None:
    """A magnitude beyond 1e150 is an error with its own SQLSTATE that names the column."""
    with pytest.raises(InvalidParameterError, match='"x"') as caught:
        fitted(numbers(1.0, -1e151))
    assert caught.value.sqlstate == "22003"


@given(
    st.lists(st.sampled_from(["ape", "bee", "cat", "dog", "eel", "fox"]), min_size=1, max_size=40),
    st.integers(2, 7),
)
def test_text_is_encoded_as_by_one_hot_encoder(values: list[str], max_categories: int) -> None:
    """Columns, their order and the fate of rare and unseen categories are scikit-learn's.

    Not so which of equally frequent ones is kept, nor that scikit-learn already merges where there
    are just as many categories as columns: the comparison keeps to the other cases.
    """
    counts = sorted((values.count(v) for v in set(values)), reverse=True)
    is_tied = len(counts) > max_categories and len(set(counts[max_categories - 2 :][:2])) == 1
    if is_tied or len(counts) == max_categories:
        return
    column = texts(list(values))
    preprocessor = fitted(column, max_categories=max_categories)
    oracle = OneHotEncoder(
        handle_unknown="infrequent_if_exist", max_categories=max_categories, sparse_output=False
    )
    expected = oracle.fit_transform(np.array(values, dtype=object)[:, None])
    np.testing.assert_array_equal(design(column, preprocessor), expected)
    unseen = np.array([[float(len(preprocessor.features_[0].categories))]])
    np.testing.assert_array_equal(
        preprocessor.transform(unseen), oracle.transform(np.array([["gnu"]], dtype=object))
    )


def test_as_many_categories_as_columns_all_keep_their_own() -> None:
    """`max_categories` merges only what it has no room for."""
    values: list[str | None] = ["a", "b", "b", "c", "c", "c"]
    assert fitted(texts(values), max_categories=3).encoders_[0].terms() == ("a", "b", "c")
    assert fitted(texts(values), max_categories=2).encoders_[0].terms() == ("c", "infrequent")


def test_null_text_has_its_own_column_only_if_training_had_it() -> None:
    """NULL is a category of its own when seen, else no category."""
    with_null = fitted(texts(["a", None, "b"]))
    assert with_null.encoders_[0].terms() == ("a", "b", "missing")
    assert with_null.transform(np.array([[np.nan], [2.0]])).tolist() == [[0, 0, 1], [0, 0, 0]]
    without = fitted(texts(["a", "b"]))
    assert without.transform(np.array([[np.nan]])).tolist() == [[0, 0]]


def test_codes_beyond_the_dictionary_are_infrequent() -> None:
    """What the reader's dictionary had no room for shares a column with the rare ones."""
    column = Column("t", FeatureKind.CATEGORY, "text", np.array([0, -2, 0], np.int32), ("a",))
    preprocessor = fitted(column)
    assert preprocessor.encoders_[0].terms() == ("a", "infrequent")
    assert design(column, preprocessor).tolist() == [[1, 0], [0, 1], [1, 0]]


def test_categories_that_the_chosen_rows_lack_are_not_learned() -> None:
    """The encoder of a part of the rows knows that part's categories only."""
    column = texts(["a", "b", "c", "b"])
    part = Preprocessor().fit(Dataset((column,), None, 4), np.array([1, 3]))
    assert part.features_[0].categories == ("b",)


@given(st.lists(st.floats(allow_nan=True, allow_infinity=True), max_size=20), st.integers(0, 5))
def test_every_float_has_a_place_in_a_table(values: list[float], n_categories: int) -> None:
    """Any code leads to a known category, to unseen or to missing; never out of the table."""
    places = table_index(np.array(values, dtype=np.float64), n_categories)
    for value, place in zip(values, places.tolist(), strict=True):
        if np.isnan(value):
            assert place == n_categories + 2
        elif 0 <= value < n_categories:
            assert place == int(value) + 1
        elif value >= n_categories:
            assert place == n_categories + 1
        else:
            assert place in {0, 1}  # -0.5 truncates to category 0, as any fraction does


@given(
    st.lists(
        st.lists(st.floats(-1e6, 1e6) | st.just(float("nan")), min_size=1, max_size=20),
        min_size=1,
        max_size=6,
    )
)
def test_moments_by_blocks_are_those_of_the_whole(blocks: list[list[float]]) -> None:
    """Chan's update gives numpy's mean and variance, however the column is cut."""
    summary = NumberSummary()
    for block in blocks:
        summary.update(np.array(block))
    whole = np.array([value for block in blocks for value in block])
    valid = whole[~np.isnan(whole)]
    assert (summary.n_samples, summary.n_valid) == (len(whole), len(valid))
    if len(valid):
        np.testing.assert_allclose(summary.mean, valid.mean(), rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(
            summary.squares, ((valid - valid.mean()) ** 2).sum(), rtol=1e-7, atol=1e-4
        )


def test_design_moments_are_those_of_the_design_matrix() -> None:
    """The means and deviations that standardise are the design matrix's own."""
    dataset = mixed_dataset("linear_regression", 2)
    preprocessor = Preprocessor(max_categories=3).fit(dataset)
    matrix = preprocessor.transform(
        raw_matrix(input_columns(dataset, preprocessor), slice(0, dataset.n_samples))
    )
    np.testing.assert_allclose(preprocessor.mean_, matrix.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(preprocessor.scale_, matrix.std(axis=0), rtol=1e-9)


@pytest.mark.parametrize("fit_intercept", [True, False])
def test_blocks_are_the_rows_of_the_standardised_matrix(
    fit_intercept: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Training in blocks of a few rows sees the very matrix that transform builds."""
    monkeypatch.setattr(engine_design, "rows_per_block", lambda n_floats: 7)
    dataset = mixed_dataset("linear_regression", 2)
    rows = np.arange(5, dataset.n_samples, 2)
    preprocessor = Preprocessor().fit(dataset, rows)
    matrix = preprocessor.transform(raw_matrix(input_columns(dataset, preprocessor), rows))
    standardised = StandardisedDesign(
        EncodedDesign(dataset, preprocessor, rows), fit_intercept=fit_intercept
    )
    blocks = np.hstack([block.copy() for _, block in standardised.blocks()]).T
    if fit_intercept:
        expected = (matrix - matrix.mean(axis=0)) / matrix.std(axis=0)
        np.testing.assert_array_equal(blocks[:, -1], 1.0)
        blocks = blocks[:, :-1]
    else:
        expected = matrix / np.sqrt((matrix**2).mean(axis=0))
    np.testing.assert_allclose(blocks, expected, rtol=1e-7, atol=1e-9)


def test_one_hot_groups_add_up_to_one() -> None:
    """In every training row each category has exactly one column set."""
    dataset = mixed_dataset("linear_regression", 2)
    preprocessor = Preprocessor(max_categories=2).fit(dataset)
    matrix = preprocessor.transform(
        raw_matrix(input_columns(dataset, preprocessor), slice(0, dataset.n_samples))
    )
    groups = preprocessor.one_hot_groups()
    assert len(groups) == sum(isinstance(e, CategoryEncoder) for e in preprocessor.encoders_)
    for group in groups:
        np.testing.assert_array_equal(matrix[:, group].sum(axis=1), 1.0)
