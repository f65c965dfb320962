"""pg8000: its native interface and the DB-API's, on queries with PREDICT."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import pg8000.dbapi
import pg8000.native
import pytest

from tests.clients.answers import Answers, close
from tests.clients.conftest import Login

FIRST = (
    "SELECT customer_id, PREDICT(churn, *) AS risk FROM customers"
    " WHERE customer_id <= {} ORDER BY 1"
)
NATIVE_FIRST, DBAPI_FIRST = FIRST.format(":last"), FIRST.format("%s")
FLOAT8 = 701


def rows(got: Any) -> list[tuple[Any, ...]]:
    return [tuple(row) for row in got]


# --- native ---------------------------------------------------------------------------------------


@pytest.fixture
def native(login: Login) -> Iterator[Any]:
    opened = pg8000.native.Connection(**login.arguments)
    yield opened
    opened.close()


def test_run(native: Any, answers: Answers) -> None:
    """Rows and columns come with parameters (extended protocol) and without (simple)."""
    assert rows(native.run(NATIVE_FIRST, last=5)) == answers.first(5)
    assert [(column["name"], column["type_oid"]) for column in native.columns] == [
        ("customer_id", 23),
        ("risk", FLOAT8),
    ]
    assert rows(native.run(FIRST.format(5))) == answers.first(5)
    assert native.row_count == 5


def test_arguments(native: Any, answers: Answers) -> None:
    """Parameters may be features, by position and by name; without any a version is as it is."""
    expected = [(close(answers.score(6, 79.99, "One year")),)]
    features = {"months": 6, "charges": 79.99, "contract": "One year"}
    for call in (
        "PREDICT(churn, :months, :charges, :contract)",
        "PREDICT('churn:1.0', :months, contract_type => :contract, monthly_charges => :charges)",
    ):
        assert rows(native.run(f"SELECT {call}", **features)) == expected
    assert rows(native.run("SELECT PREDICT(churn:1.0, 6, 79.99, 'One year')")) == expected


def test_prepared(native: Any, answers: Answers) -> None:
    """A prepared statement runs many times, and others between."""
    guess = native.prepare("SELECT PREDICT(churn, :months, :charges, :contract)")
    first = native.prepare(NATIVE_FIRST)
    for months in range(10):
        got = guess.run(months=months, charges=50.0, contract="Two year")
        assert rows(got) == [(close(answers.score(months, 50, "Two year")),)]
        assert rows(first.run(last=months)) == answers.first(months)
    guess.close()
    first.close()


def test_copy(native: Any) -> None:
    """COPY of a query goes to a stream."""
    out = io.BytesIO()
    native.run(
        "COPY (SELECT customer_id FROM customers WHERE customer_id < 4) TO STDOUT", stream=out
    )
    assert sorted(out.getvalue().split()) == [b"1", b"2", b"3"]


def test_create_model(native: Any) -> None:
    """CREATE MODEL and its notice."""
    training = "SELECT tenure_months, churned AS target FROM customers"
    native.run(f"CREATE MODEL by_pg8000 USING logistic_regression(l2: 0.5) AS {training}")
    assert native.notices[-1][b"M"].startswith(b'model "by_pg8000" version 1.0: 7043 rows')
    assert native.run("SELECT count(*) FROM ml_models WHERE model_name = 'by_pg8000'") == [[1]]
    native.run("DROP MODEL by_pg8000")


@pytest.mark.parametrize("arguments", [{}, {"months": 6}], ids=["plain", "parameters"])
def test_error(native: Any, answers: Answers, arguments: dict[str, int]) -> None:
    """A model that is not there is a DatabaseError with all its fields; the session goes on."""
    with pytest.raises(pg8000.native.DatabaseError) as caught:
        native.run(
            f"SELECT PREDICT(chrun, {':months' if arguments else '*'}) FROM customers", **arguments
        )
    fields = caught.value.args[0]
    assert (fields["C"], fields["P"], fields["H"]) == ("42704", "16", 'Perhaps you mean "churn".')
    assert rows(native.run(NATIVE_FIRST, last=1)) == answers.first(1)


# --- DB-API ---------------------------------------------------------------------------------------


@pytest.fixture
def dbapi(login: Login) -> Iterator[Any]:
    opened = pg8000.dbapi.connect(**login.arguments)
    yield opened
    opened.close()


def test_cursor(dbapi: Any, answers: Answers) -> None:
    """execute, fetchmany, description and executemany."""
    cursor = dbapi.cursor()
    cursor.execute(DBAPI_FIRST, (5,))
    assert [column[:2] for column in cursor.description] == [("customer_id", 23), ("risk", FLOAT8)]
    assert rows(cursor.fetchmany(2)) == answers.first(2)
    assert rows(cursor.fetchall()) == answers.first(5)[2:]
    cursor.executemany(
        "SELECT PREDICT(churn, %s, %s, %s)", [(months, 50.0, "One year") for months in range(3)]
    )
    assert rows(cursor.fetchall()) == [(close(answers.score(2, 50, "One year")),)]


def test_dbapi_error(dbapi: Any, answers: Answers) -> None:
    """A failed transaction goes on after rollback."""
    cursor = dbapi.cursor()
    with pytest.raises(pg8000.dbapi.DatabaseError) as caught:
        cursor.execute("SELECT PREDICT(chrun, *) FROM customers")
    assert caught.value.args[0]["C"] == "42704"
    dbapi.rollback()
    cursor.execute(DBAPI_FIRST, (1,))
    assert rows(cursor.fetchall()) == answers.first(1)


def test_copy_of_scores(native: Any, answers: Answers) -> None:
    """COPY of scores goes to a stream."""
    out = io.BytesIO()
    native.run(f"COPY ({FIRST.format(100)}) TO STDOUT (FORMAT csv)", stream=out)
    pairs = (line.split(",") for line in out.getvalue().decode().splitlines())
    assert [(int(key), float(value)) for key, value in pairs] == answers.first(100)
