"""Classes: their order, their spelling, and columns that are none."""

from __future__ import annotations

import numpy as np
import pytest

from proxy.engine.columns import Column, FeatureKind
from proxy.engine.targets import MOST_CLASSES, classification_target, regression_target
from proxy.errors import (
    DatatypeMismatchError,
    InvalidParameterError,
    NoTrainingRowsError,
    SingleClassError,
)


def numbers(sql_type: str, *values: float) -> Column:
    return Column("y", FeatureKind.NUMBER, sql_type, np.array(values, dtype=np.float64))


@pytest.mark.parametrize(
    ("sql_type", "values", "classes"),
    [
        ("integer", (10.0, 9.0, -1.0), ("-1", "9", "10")),
        ("numeric", (2.5, 1e-7, 1e20), ("0.0000001", "2.5", "100000000000000000000")),
        ("double precision", (2.5, 0.1, 3.0), ("0.1", "2.5", "3")),
        ("double precision", (999999999999999.0, 1e15), ("999999999999999", "1e+15")),
        ("double precision", (1e-5, 1e-4, 1e300), ("1e-05", "0.0001", "1e+300")),
        (
            "double precision",
            (1234567890123456.5, -1200000000000000.0),
            ("-1.2e+15", "1.2345678901234565e+15"),
        ),
        ("double precision", (np.inf, -np.inf, 0.0), ("-Infinity", "0", "Infinity")),
        ("real", (float(np.float32(0.1)), 1e6, 16777216.0), ("0.1", "1e+06", "1.6777216e+07")),
        ("real", (100000.0, 1.0), ("1", "100000")),
    ],
)
def test_numbers_are_ordered_by_value_and_spelled_by_postgres(
    sql_type: str, values: tuple[float, ...], classes: tuple[str, ...]
) -> None:
    """A label reads as float8out, float4out or numeric_out print it."""
    labels = classification_target(numbers(sql_type, *values))
    assert labels.target.classes == classes
    order = sorted(values)
    assert labels.codes.tolist() == [order.index(value) for value in values]


def test_booleans_are_false_then_true() -> None:
    """The positive class of a boolean is true."""
    column = Column("y", FeatureKind.BOOLEAN, "boolean", np.array([1.0, 0.0, np.nan, 1.0]))
    labels = classification_target(column)
    assert labels.target.classes == ("false", "true")
    assert labels.codes.tolist() == [1, 0, 1]
    assert labels.rows.tolist() == [0, 1, 3]


def test_text_is_ordered_by_code_point_and_absent_categories_are_dropped() -> None:
    """Only labels of rows are classes; capitals come before small letters."""
    codes = np.array([0, 3, -1, 1, 0], np.int32)
    column = Column("y", FeatureKind.CATEGORY, "text", codes, ("b", "Z", "never", "a"))
    labels = classification_target(column)
    assert labels.target.classes == ("Z", "a", "b")
    assert labels.codes.tolist() == [2, 1, 0, 2]
    assert labels.rows.tolist() == [0, 1, 3, 4]


@pytest.mark.parametrize(
    ("column", "task", "predict_kind"),
    [
        (numbers("integer", 0, 1), "binary", "probability"),
        (numbers("integer", 3, 7), "binary", "probability"),
        (numbers("integer", 0, 1, 2), "multiclass", "label"),
        (
            Column("y", FeatureKind.BOOLEAN, "boolean", np.array([0.0, 1.0])),
            "binary",
            "probability",
        ),
        (
            Column("y", FeatureKind.CATEGORY, "text", np.array([0, 1], np.int32), ("n", "y")),
            "binary",
            "label",
        ),
    ],
)
def test_what_predict_returns(column: Column, task: str, predict_kind: str) -> None:
    """A probability for two numbers or booleans, the label for anything else."""
    target = classification_target(column).target
    assert (target.task, target.predict_kind) == (task, predict_kind)


def test_one_class_is_not_enough() -> None:
    """ML002 when every row has the same label, NULLs aside."""
    with pytest.raises(SingleClassError) as caught:
        classification_target(numbers("integer", 1, np.nan, 1))
    assert caught.value.sqlstate == "ML002"


def test_nulls_only_are_no_rows() -> None:
    """ML001 when no row has a target, whatever its type."""
    nulls = Column("y", FeatureKind.CATEGORY, "text", np.full(3, -1, np.int32))
    for attempt in (
        lambda: classification_target(nulls),
        lambda: classification_target(numbers("integer", np.nan)),
        lambda: regression_target(numbers("integer", np.nan)),
    ):
        with pytest.raises(NoTrainingRowsError):
            attempt()


def test_a_thousand_values_are_labels_and_more_are_not() -> None:
    """Beyond it the error points to a regression."""
    few, many = np.arange(float(MOST_CLASSES)), np.arange(float(MOST_CLASSES + 1))
    assert len(classification_target(numbers("integer", *few)).target.classes) == MOST_CLASSES
    with pytest.raises(DatatypeMismatchError) as caught:
        classification_target(numbers("integer", *many))
    assert "linear_regression" in caught.value.hint


def test_a_dictionary_that_overflowed_is_too_many_classes() -> None:
    """Labels that the reader could not keep apart are not learned as one."""
    column = Column("y", FeatureKind.CATEGORY, "text", np.array([0, -2], np.int32), ("a",))
    with pytest.raises(DatatypeMismatchError):
        classification_target(column)


def test_a_regression_needs_numbers() -> None:
    """Text, times and arrays are refused with what to do instead."""
    text = Column("y", FeatureKind.CATEGORY, "text", np.zeros(2, np.int32), ("a",))
    time = Column("y", FeatureKind.TIME, "date", np.zeros(2))
    for column, hint in ((text, "logistic_regression"), (time, "epoch")):
        with pytest.raises(DatatypeMismatchError) as caught:
            regression_target(column)
        assert hint in caught.value.hint


@pytest.mark.parametrize("value", [np.inf, -np.inf, 1e200])
def test_a_regression_needs_finite_numbers(value: float) -> None:
    """An infinite or enormous target is 22003, not a model of NaN."""
    with pytest.raises(InvalidParameterError) as caught:
        regression_target(numbers("double precision", 1.0, value))
    assert caught.value.sqlstate == "22003"
