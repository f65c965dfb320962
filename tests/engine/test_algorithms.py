"""The parameters of CREATE MODEL."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.engine.algorithms import ALGORITHMS, check_parameters
from proxy.errors import InvalidParameterError, ProxyError, UnknownModelError, UnsupportedError

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


@pytest.mark.parametrize("name", ALGORITHMS)
def test_planned_parameters_are_refused_unless_idle(name: str) -> None:
    """`l1` is known; a model is never trained as if it had not been given."""
    assert check_parameters(name, {"l1": 0})["l1"] == 0.0
    with pytest.raises(UnsupportedError, match='"l1"') as caught:
        check_parameters(name, {"l1": 0.5})
    assert caught.value.sqlstate == "0A000"


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
