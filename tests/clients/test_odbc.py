"""ODBC: psqlODBC under pyodbc, with parameters sent and written in."""

from __future__ import annotations

import decimal
from collections.abc import Iterator
from typing import Any

import pytest

from tests.clients import programs
from tests.clients.answers import Answers, close
from tests.clients.conftest import Login

FIRST = (
    "SELECT customer_id, PREDICT(churn, *) AS risk FROM customers WHERE customer_id <= ? ORDER BY 1"
)
GUESS = "SELECT PREDICT(churn, ?, ?, ?)"
# How a failing statement is rolled back: all of the transaction, or that statement.
OPTIONS = {
    "prepared by the server": {"UseServerSidePrepare": 1},
    "parameters written in": {"UseServerSidePrepare": 0},
    "transaction rolled back": {"Protocol": "7.4-1"},
    "statement rolled back": {"Protocol": "7.4-2"},
}


def open_connection(login: Login, **options: str | int) -> Any:
    """Connect through the driver manager."""
    programs.need_odbc()
    import pyodbc

    # A pool of the driver manager's would keep connections of other tests.
    pyodbc.pooling = False
    fields = {
        "DRIVER": "{PostgreSQL Unicode}",
        "SERVER": login.host,
        "PORT": login.port,
        "DATABASE": login.database,
        "UID": login.user,
        "PWD": f"{{{login.password}}}",
        **options,
    }
    return pyodbc.connect(";".join(f"{name}={value}" for name, value in fields.items()))


@pytest.fixture(params=OPTIONS)
def connection(login: Login, request: pytest.FixtureRequest) -> Iterator[Any]:
    opened = open_connection(login, **OPTIONS[request.param])
    yield opened
    opened.close()


def rows(got: Any) -> list[tuple[Any, ...]]:
    return [tuple(row) for row in got]


def test_cursor(connection: Any, answers: Answers) -> None:
    """Rows and their description, with parameters and without."""
    cursor = connection.cursor()
    assert rows(cursor.execute(FIRST, 5)) == answers.first(5)
    assert [column[:2] for column in cursor.description] == [("customer_id", int), ("risk", float)]
    assert rows(cursor.execute(FIRST.replace("?", "5"))) == answers.first(5)
    everyone = len(answers.customers)
    assert rows(cursor.execute(FIRST, everyone)) == answers.first(everyone)


def test_prepared(connection: Any, answers: Answers) -> None:
    """A statement that is executed again is prepared once."""
    cursor = connection.cursor()
    for last in range(10):
        assert rows(cursor.execute(FIRST, last)) == answers.first(last)
    for months in range(10):
        risk = cursor.execute(GUESS, months, 50.0, "Two year").fetchval()
        assert risk == close(answers.score(months, 50, "Two year"))


def test_arguments(connection: Any, answers: Answers) -> None:
    """Features come as what they are, by position and by name; a version may be named."""
    cursor = connection.cursor()
    risk = cursor.execute(GUESS, 6, decimal.Decimal("79.99"), "One year").fetchval()
    assert risk == close(answers.score(6, 79.99, "One year"))
    named = (
        "SELECT PREDICT('churn:1.0', monthly_charges => ?, contract_type => ?, tenure_months => ?)"
    )
    assert cursor.execute(named, 79.99, "One year", 6).fetchval() == risk
    unquoted = "SELECT PREDICT(churn:1.0, 6, 79.99, 'One year')"
    assert cursor.execute(unquoted).fetchval() == close(risk)


def test_create_model(connection: Any) -> None:
    """CREATE MODEL is part of the transaction; its notice is a message of the cursor."""
    cursor = connection.cursor()
    cursor.execute(
        "CREATE MODEL by_odbc USING logistic_regression(l2: 0.5)"
        " AS SELECT tenure_months, churned AS target FROM customers"
    )
    assert 'model "by_odbc" version 1.0: 7043 rows' in cursor.messages[0][1]
    connection.rollback()
    count = "SELECT count(*) FROM ml_models WHERE model_name = ?"
    assert cursor.execute(count, "by_odbc").fetchval() == 0


def test_catalogue(connection: Any) -> None:
    """What the driver asks the catalogue is answered."""
    cursor = connection.cursor()
    assert [row.table_name for row in cursor.tables(table="customers")] == ["customers"]
    columns = [row.column_name for row in cursor.columns(table="customers")]
    assert (len(columns), columns[0]) == (21, "customer_id")
    assert [row.column_name for row in cursor.primaryKeys("customers")] == ["customer_id"]


@pytest.mark.parametrize("arguments", [(), (1,)], ids=["plain", "parameters"])
def test_error(connection: Any, answers: Answers, arguments: tuple[int, ...]) -> None:
    """A model that is not there is a ProgrammingError; after rollback the session goes on."""
    import pyodbc

    statement = "SELECT PREDICT(chrun, *) FROM customers" + " WHERE customer_id = ?" * len(
        arguments
    )
    cursor = connection.cursor()
    with pytest.raises(pyodbc.ProgrammingError) as caught:
        cursor.execute(statement, *arguments)
    assert caught.value.args[0] == "42704"
    assert 'model "chrun" does not exist' in caught.value.args[1]
    connection.rollback()
    assert rows(cursor.execute(FIRST, 1)) == answers.first(1)


def test_the_model_is_no_parameter(login: Login, answers: Answers) -> None:
    """A bound name calls a function of the user's, which is not there; a written one is a name."""
    programs.need_odbc()
    import pyodbc

    statement = "SELECT PREDICT(?, 6, 79.99, 'One year')"
    written = open_connection(login, UseServerSidePrepare=0)
    risk = written.cursor().execute(statement, "churn").fetchval()
    written.close()
    assert risk == close(answers.score(6, 79.99, "One year"))
    bound = open_connection(login, UseServerSidePrepare=1)
    with pytest.raises(pyodbc.ProgrammingError, match="42883"):
        bound.cursor().execute(statement, "churn")
    bound.close()


def test_fetch_by_cursors(login: Login, answers: Answers) -> None:
    """UseDeclareFetch=1 serves queries without PREDICT."""
    connection = open_connection(login, UseDeclareFetch=1, Fetch=1000)
    got = connection.cursor().execute("SELECT customer_id FROM customers ORDER BY 1").fetchall()
    connection.close()
    assert [row[0] for row in got] == sorted(answers.customers)


def test_fetch_of_scores_by_cursors(login: Login, answers: Answers) -> None:
    """UseDeclareFetch=1 makes a cursor of every query, once and prepared."""
    everyone = len(answers.customers)
    for prepare in (0, 1):
        connection = open_connection(
            login, UseDeclareFetch=1, Fetch=1000, UseServerSidePrepare=prepare
        )
        cursor = connection.cursor()
        assert rows(cursor.execute(FIRST, everyone)) == answers.first(everyone)
        assert cursor.execute(GUESS, 6, 79.99, "One year").fetchval() == close(
            answers.score(6, 79.99, "One year")
        )
        connection.close()


def test_where(connection: Any, answers: Answers) -> None:
    """A score may choose the rows, against a parameter."""
    query = (
        "SELECT count(*) FROM customers"
        " WHERE PREDICT(churn, tenure_months, monthly_charges, contract_type) > ?"
    )
    for limit in (0.25, 0.75):
        expected = sum(answers.risk(i) > limit for i in answers.customers)
        assert connection.cursor().execute(query, limit).fetchval() == expected
