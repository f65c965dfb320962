"""The parameters of CREATE MODEL."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.engine.algorithms import ALGORITHMS, check_parameters
from proxy.errors import InvalidParameterError, ProxyError, UnknownModelError

EVERY_PARAMETER = [
    (algorithm, parameter)
    for algorithm, spec in ALGORITHMS.items()
    for parameter in spec.parameters
]


@pytest.mark.parametrize("name", ALGORITHMS)
def test_defaults_are_themselves_accepted(name: str) -> None:
    """Nothing given means the defaults, and they pass their own checks."""
    defaults = check_parameters(name, {})
    assert set(defaults) == set(ALGORITHMS[name].parameters)
    assert check_parameters(name, defaults) == defaults


def test_an_integer_is_a_number() -> None:
    """`l2: 3` means 3.0; a whole number in float's clothes is an integer."""
    checked = check_parameters("logistic_regression", {"l2": 3, "max_iterations": 1e3})
    assert (checked["l2"], type(checked["l2"])) == (3.0, float)
    assert (checked["max_iterations"], type(checked["max_iterations"])) == (1000, int)


@pytest.mark.parametrize(
    ("key", "value", "accepted"),
    [
        ("l2", -0.1, "a number, at least 0"),
        ("l2", True, "a number, at least 0"),
        ("l2", math.nan, "a number, at least 0"),
        ("l2", math.inf, "a number, at least 0"),
        ("l2", "0.1", "a number, at least 0"),
        ("test_size", 1, "a number, at least 0 and below 1"),
        ("random_state", -1, "an integer, at least 0"),
        ("max_categories", 1, "an integer, at least 2 and at most 10000"),
        ("max_iterations", 2.5, "an integer, at least 1 and at most 100000"),
        ("max_iterations", [1], "an integer, at least 1 and at most 100000"),
        ("fit_intercept", 1, "true or false"),
        ("fit_intercept", None, "true or false"),
        ("class_weight", "balance", "null or 'balanced'"),
        ("class_weight", True, "null or 'balanced'"),
    ],
)
def test_an_error_names_key_and_range(key: str, value: object, accepted: str) -> None:
    """A value out of range is refused with the key, the value and what is accepted."""
    with pytest.raises(InvalidParameterError, match=f'"{key}"') as caught:
        check_parameters("logistic_regression", {key: value})
    assert accepted in caught.value.detail
    assert caught.value.sqlstate == "22023"


def test_an_unknown_key_names_its_nearest() -> None:
    """A slip of the pen is answered by the right word."""
    with pytest.raises(InvalidParameterError, match='no parameter "max_iteration"') as caught:
        check_parameters("logistic_regression", {"max_iteration": 5})
    assert "max_iterations" in caught.value.hint


def test_an_unknown_algorithm_names_its_nearest() -> None:
    """So is the name of an algorithm, by 42704."""
    with pytest.raises(UnknownModelError, match='"logistic_regresion"') as caught:
        check_parameters("logistic_regresion", {})
    assert "logistic_regression" in caught.value.hint
    assert caught.value.sqlstate == "42704"


@pytest.mark.parametrize(
    ("name", "key", "value", "estimate"),
    [
        ("random_forest", "n_trees", 1e9, "80 TB"),
        ("polynomial_regression", "degree", 50, "7.54e+10 products"),
        ("neural_network", "layers", [1_000_000, 1_000_000], "1e+12 weights, 4 TB"),
        ("logistic_regression", "max_categories", 1_000_000, "8 TB"),
    ],
)
def test_an_absurd_value_is_refused_with_what_it_would_need(
    name: str, key: str, value: object, estimate: str
) -> None:
    """Before a row is read the DETAIL says how much it would be.

    A million columns of a million rows of 8 bytes are 8 TB; C(60, 10) is 7.54e10.
    """
    with pytest.raises(InvalidParameterError, match=f'"{key}"') as caught:
        check_parameters(name, {key: value})
    assert estimate in caught.value.detail


@pytest.mark.parametrize(
    ("value", "is_right"),
    [
        ([784, 128.0, 10], True),
        (None, True),
        ([], False),
        ([0, 3], False),
        ([3, True], False),
        ([3, "4"], False),
        ([2.5], False),
        (7, False),
        ("7", False),
    ],
)
def test_layers_are_a_list_of_whole_numbers(value: object, is_right: bool) -> None:
    """Anything else is refused in the words for a list."""
    if is_right:
        checked = check_parameters("neural_network", {"layers": value})["layers"]
        assert checked == value
        return
    with pytest.raises(InvalidParameterError) as caught:
        check_parameters("neural_network", {"layers": value})
    assert "a list of integers, at least 1 and at most 65536 or null" in caught.value.detail


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2),
    max_leaves=3,
)


@given(st.sampled_from(EVERY_PARAMETER), VALUES)
def test_any_value_is_accepted_or_refused(which: tuple[str, str], value: object) -> None:
    """No value of any type ends in anything but a checked parameter or an error of ours."""
    name, key = which
    try:
        checked = check_parameters(name, {key: value})
    except ProxyError:
        return
    assert check_parameters(name, checked) == checked
