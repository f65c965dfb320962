"""psycopg 2: its cursors and helpers, on queries with PREDICT."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import psycopg2
import psycopg2.extensions
import psycopg2.extras
import pytest

from tests.clients.answers import Answers, close
from tests.clients.conftest import Login

FIRST = (
    "SELECT customer_id, PREDICT(churn, *) AS risk FROM customers"
    " WHERE customer_id <= %s ORDER BY 1"
)
GUESS = "SELECT PREDICT(churn, %s, %s, %s)"


@pytest.fixture
def connection(login: Login) -> Iterator[Any]:
    opened = psycopg2.connect(login.dsn)
    yield opened
    opened.close()


@pytest.mark.parametrize("autocommit", [False, True], ids=["transaction", "autocommit"])
def test_cursor(connection: Any, answers: Answers, autocommit: bool) -> None:
    """Rows, the description and parameters are as of any query."""
    connection.autocommit = autocommit
    with connection.cursor() as cursor:
        cursor.execute(FIRST, [5])
        assert [column.name for column in cursor.description] == ["customer_id", "risk"]
        assert cursor.description[1].type_code == psycopg2.extensions.FLOAT.values[0]
        assert cursor.rowcount == 5
        assert cursor.fetchall() == answers.first(5)
        cursor.execute(GUESS, [6, 79.99, "One year"])
        assert cursor.fetchone() == (close(answers.score(6, 79.99, "One year")),)


def test_cursor_factories(connection: Any, answers: Answers) -> None:
    """A score is an entry of a dict, an attribute."""
    with connection.cursor(cursor_factory=psycopg2.extras.RealDictCursor) as cursor:
        cursor.execute(FIRST, [1])
        assert cursor.fetchall() == [{"customer_id": 1, "risk": close(answers.risk(1))}]
    with connection.cursor(cursor_factory=psycopg2.extras.NamedTupleCursor) as cursor:
        cursor.execute(FIRST, [1])
        assert cursor.fetchone().risk == close(answers.risk(1))


def test_helpers(connection: Any, answers: Answers) -> None:
    """execute_values scores rows of the client's own; execute_batch sends several statements."""
    guesses = [(i, i * 7, 20.0 + i, "Two year") for i in range(250)]
    with connection.cursor() as cursor:
        got = psycopg2.extras.execute_values(
            cursor,
            "SELECT number, PREDICT(churn, months, charges, contract)"
            " FROM (VALUES %s) AS given (number, months, charges, contract) ORDER BY number",
            guesses,
            page_size=100,
            fetch=True,
        )
        assert got == [(i, close(answers.score(*features))) for i, *features in guesses]
        psycopg2.extras.execute_batch(cursor, GUESS, [each[1:] for each in guesses], page_size=50)
        assert cursor.fetchone() == (close(answers.score(*guesses[-1][1:])),)


def test_the_model_may_be_a_parameter(connection: Any, answers: Answers) -> None:
    """Parameters are written into the text: a name arrives as a string, which is a name."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT PREDICT(%s, 6, 79.99, 'One year')", ["churn:1.0"])
        assert cursor.fetchone() == (close(answers.score(6, 79.99, "One year")),)


def test_copy_and_named_cursor(connection: Any, answers: Answers) -> None:
    """Both work on queries without PREDICT, and scores between."""
    with connection.cursor("portions") as portions, connection.cursor() as cursor:
        portions.itersize = 1000
        portions.execute("SELECT customer_id FROM customers ORDER BY 1")
        cursor.execute(FIRST, [1])
        assert cursor.fetchall() == answers.first(1)
        text = io.StringIO()
        cursor.copy_expert("COPY (SELECT customer_id FROM customers ORDER BY 1) TO STDOUT", text)
        numbers = [row[0] for row in portions]
    assert numbers == sorted(answers.customers) == [int(line) for line in text.getvalue().split()]


def test_create_model(connection: Any) -> None:
    """A model is made in the transaction, by parameters written in, and heard of in notices."""
    with connection.cursor() as cursor:
        cursor.execute(
            "CREATE MODEL by_psycopg2 USING logistic_regression(l2: %s)"
            " AS SELECT tenure_months, churned AS target FROM customers WHERE tenure_months < %s",
            [0.5, 60],
        )
        assert cursor.statusmessage == "CREATE MODEL"
        assert 'model "by_psycopg2" version 1.0: 5' in connection.notices[-1]
        connection.rollback()
        with pytest.raises(psycopg2.errors.UndefinedObject):
            cursor.execute("SELECT PREDICT(by_psycopg2, 1)")


def test_error(connection: Any, answers: Answers) -> None:
    """A model that is not there is an UndefinedObject; after rollback the session goes on."""
    with connection.cursor() as cursor:
        with pytest.raises(psycopg2.errors.UndefinedObject) as caught:
            cursor.execute("SELECT PREDICT(chrun, *) FROM customers")
        assert caught.value.pgcode == "42704"
        assert caught.value.diag.message_hint == 'Perhaps you mean "churn".'
        with pytest.raises(psycopg2.errors.InFailedSqlTransaction):
            cursor.execute(FIRST, [1])
        connection.rollback()
        cursor.execute(FIRST, [1])
        assert cursor.fetchall() == answers.first(1)


def test_copy_of_scores(connection: Any, answers: Answers) -> None:
    """copy_expert writes scores to a file."""
    text = io.StringIO()
    with connection.cursor() as cursor:
        cursor.copy_expert(f"COPY ({FIRST % 100}) TO STDOUT (FORMAT csv)", text)
    pairs = (line.split(",") for line in text.getvalue().splitlines())
    assert [(int(key), float(value)) for key, value in pairs] == answers.first(100)


def test_named_cursor(connection: Any, answers: Answers) -> None:
    """A named cursor of scores fetches in portions."""
    with connection.cursor("scores") as cursor:
        cursor.itersize = 1000
        cursor.execute(FIRST, [len(answers.customers)])
        assert list(cursor) == answers.first(len(answers.customers))
