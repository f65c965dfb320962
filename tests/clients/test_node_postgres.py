"""node-postgres: queries, named queries, cursors and pools, by node/checks.js."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.clients import programs
from tests.clients.answers import Answers, close
from tests.clients.conftest import Login

SCRIPT = Path(__file__).parent / "node" / "checks.js"
FLOAT8 = 701
NO_MODEL = ["DatabaseError", "42704", 'Perhaps you mean "churn".', "16"]


@pytest.fixture(scope="module")
def asked(login: Login) -> dict[str, Any]:
    """What the script was answered, in one run."""
    environment = {**login.environment, **programs.node_environment()}
    done = programs.run([*programs.node(), SCRIPT], environment)
    answered: dict[str, Any] = json.loads(programs.output(done))
    return answered


def pairs(rows: list[list[Any]]) -> list[tuple[Any, ...]]:
    return [tuple(row) for row in rows]


@pytest.mark.parametrize("way", ["parameters", "plain"])
def test_query(asked: dict[str, Any], answers: Answers, way: str) -> None:
    """Rows come with parameters (extended protocol) and without (simple)."""
    assert pairs(asked[way]) == answers.first(5)


def test_rows_and_fields(asked: dict[str, Any], answers: Answers) -> None:
    """A row is an object with a number in it; the fields have names and types."""
    assert asked["objects"] == [{"customer_id": 1, "risk": close(answers.risk(1))}]
    assert asked["fields"] == [["customer_id", 23], ["risk", FLOAT8]]


def test_arguments(asked: dict[str, Any], answers: Answers) -> None:
    """Parameters may be features, once and in a named query that is prepared once."""
    assert asked["guess"] == close(answers.score(6, 79.99, "One year"))
    assert asked["named"] == [close(answers.score(i, 50, "Two year")) for i in range(10)]


def test_several_statements(asked: dict[str, Any], answers: Answers) -> None:
    """A string of statements has a result for each."""
    begin, scores, three, commit = asked["several"]
    assert (begin, three, commit) == (["BEGIN", []], ["SELECT", [[3]]], ["COMMIT", []])
    assert pairs(scores[1]) == answers.first(2)


def test_cursor(asked: dict[str, Any], answers: Answers) -> None:
    """pg-cursor reads a portal in portions, to its end or not."""
    assert [len(portion) for portion in asked["cursor"]] == [3, 3, 1]
    assert pairs([row for portion in asked["cursor"] for row in portion]) == answers.first(7)
    assert pairs(asked["cursor_left_early"]) == answers.first(2)


def test_pool(asked: dict[str, Any], answers: Answers) -> None:
    """A pool's clients serve one after the other."""
    assert [pairs(rows) for rows in asked["pool"]] == [answers.first(i) for i in range(30)]


def test_create_model(asked: dict[str, Any]) -> None:
    """CREATE MODEL and its notice."""
    command, (notice,) = asked["create_model"]
    assert command == "CREATE"
    assert notice.startswith('model "by_node" version 1.0: 7043 rows')


def test_binary(asked: dict[str, Any]) -> None:
    """A score in binary is to the client what any double precision is to it."""
    plain, scored = asked["binary_as_without"]
    assert plain == scored


@pytest.mark.parametrize("way", ["error", "error_with_parameters", "error_of_a_named_query"])
def test_error(asked: dict[str, Any], way: str) -> None:
    """A model that is not there is a DatabaseError with code, hint and position."""
    assert asked[way] == NO_MODEL


def test_the_model_is_no_parameter(asked: dict[str, Any]) -> None:
    """A bound name calls a function of the user's, which is not there."""
    assert asked["model_as_a_parameter"][1] == "42883"


def test_after_an_error(asked: dict[str, Any], answers: Answers) -> None:
    """A savepoint holds, and the session goes on."""
    sqlstate, rows = asked["savepoint"]
    assert sqlstate == "42704"
    assert pairs(rows) == answers.first(1)


def test_where(asked: dict[str, Any], answers: Answers) -> None:
    """A score may choose the rows."""
    assert asked["where"] == sum(answers.risk(i) > 0.5 for i in answers.customers)
