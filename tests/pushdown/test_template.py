"""Texts and places become one expression."""

from __future__ import annotations

import pytest

from proxy.pushdown.template import Template, separated, subquery


def test_inputs_stand_in_their_places() -> None:
    """Text between places is one part; uses are counted feature by feature."""
    template = Template.of(["a", "b", 1, "+", "c", 1, 0, "d"], 4)
    assert template.parts == ("(ab", 1, "+c", 1, "", 0, "d)")
    assert template.uses == (1, 2, 0, 0)
    assert template.sql(["x", "y", None, None]) == "(aby+cyxd)"
    assert not template.has_subquery


def test_an_input_that_stands_in_it_must_be_given() -> None:
    """None is for those that do not."""
    with pytest.raises(ValueError, match="not given"):
        Template.of([0], 1).sql([None])


def test_a_template_without_inputs() -> None:
    """A constant is one too."""
    template = Template.of(["1"], 1, has_subquery=True)
    assert (template.sql([None]), template.uses, template.has_subquery) == ("(1)", (0,), True)


def test_columns_of_a_subquery_are_computed_once() -> None:
    """OFFSET 0 keeps them apart from what uses them."""
    assert separated("+", [["a"], ["b", 0], ["c"]]) == ["a", "+", "b", 0, "+", "c"]
    assert separated("+", []) == []
    parts = subquery(["z.c0+z.c1"], "z", [[0], ["1"]])
    expected = "((SELECT z.c0+z.c1 FROM (SELECT x AS c0, 1 AS c1 OFFSET 0) AS z))"
    assert Template.of(parts, 1).sql(["x"]) == expected
