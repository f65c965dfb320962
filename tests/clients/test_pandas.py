"""pandas: read_sql of queries with PREDICT, by SQLAlchemy and by the DB-API."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd
import pytest
import sqlalchemy

from tests.clients.answers import Answers, close
from tests.clients.conftest import Login

EVERYONE = "SELECT customer_id, PREDICT(churn, *) AS risk FROM customers ORDER BY customer_id"


@pytest.fixture(params=["psycopg", "psycopg2"])
def engine(
    login: Login, environment: dict[str, str], request: pytest.FixtureRequest
) -> Iterator[sqlalchemy.Engine]:
    made = sqlalchemy.create_engine(f"postgresql+{request.param}://")
    yield made
    made.dispose()


def risks(answers: Answers) -> list[float]:
    return [answers.risk(i) for i in sorted(answers.customers)]


def test_frame(engine: sqlalchemy.Engine, answers: Answers) -> None:
    """A score is a column of float64."""
    frame = pd.read_sql(EVERYONE, engine, index_col="customer_id")
    assert frame["risk"].dtype == np.float64
    assert list(frame.index) == sorted(answers.customers)
    np.testing.assert_allclose(frame["risk"], risks(answers), rtol=1e-9)


def test_chunks(engine: sqlalchemy.Engine, answers: Answers) -> None:
    """chunksize hands over frames, without a cursor made by SQL."""
    chunks = list(pd.read_sql_query(EVERYONE, engine, chunksize=1000))
    assert [len(chunk) for chunk in chunks] == [1000] * 7 + [43]
    np.testing.assert_allclose(pd.concat(chunks)["risk"], risks(answers), rtol=1e-9)


def test_parameters(engine: sqlalchemy.Engine, answers: Answers) -> None:
    """Parameters go by name, into the features and the rest of the query."""
    query = sqlalchemy.text(
        "SELECT customer_id, PREDICT(churn, tenure_months + :months, monthly_charges, :contract)"
        " AS risk FROM customers WHERE customer_id <= :last ORDER BY 1"
    )
    given = {"months": 12, "contract": "Two year", "last": 3}
    frame = pd.read_sql(query, engine, params=given)
    assert list(frame["risk"]) == [
        close(answers.score(months + 12, charges, "Two year"))
        for months, charges, _ in (answers.customers[i] for i in (1, 2, 3))
    ]


def test_table(engine: sqlalchemy.Engine, answers: Answers) -> None:
    """A frame that pandas has written as a table is scored like any other."""
    asked = pd.DataFrame(
        {
            "number": range(20),
            "tenure_months": range(20),
            "monthly_charges": [50.0] * 20,
            "contract_type": ["One year"] * 20,
        }
    )
    assert asked.to_sql("asked", engine, index=False, if_exists="replace") is not None
    query = "SELECT PREDICT(churn, *) AS risk FROM asked ORDER BY number"
    got = pd.read_sql(query, engine)
    assert list(got["risk"]) == [close(answers.score(i, 50, "One year")) for i in range(20)]
    assert len(pd.read_sql_table("asked", engine)) == 20


def test_error(engine: sqlalchemy.Engine, answers: Answers) -> None:
    """A model that is not there is the driver's error, wrapped; the engine goes on."""
    with pytest.raises(pd.errors.DatabaseError, match='model "chrun" does not exist') as caught:
        pd.read_sql("SELECT PREDICT(chrun, *) FROM customers", engine)
    assert isinstance(caught.value.__cause__, sqlalchemy.exc.ProgrammingError)
    assert len(pd.read_sql(EVERYONE, engine)) == len(answers.customers)


def test_chunks_of_a_stream(engine: sqlalchemy.Engine, answers: Answers) -> None:
    """stream_results hands over frames while the rows come."""
    with engine.connect().execution_options(stream_results=True) as connection:
        chunks = list(pd.read_sql_query(EVERYONE, connection, chunksize=1000))
    assert [len(chunk) for chunk in chunks] == [1000] * 7 + [43]
    np.testing.assert_allclose(pd.concat(chunks)["risk"], risks(answers), rtol=1e-9)


def test_where(engine: sqlalchemy.Engine, answers: Answers) -> None:
    """A score may choose the rows."""
    query = sqlalchemy.text(
        "SELECT customer_id FROM customers"
        " WHERE PREDICT(churn, tenure_months, monthly_charges, contract_type) > :limit"
    )
    frame = pd.read_sql(query, engine, params={"limit": 0.7})
    assert set(frame["customer_id"]) == {i for i in answers.customers if answers.risk(i) > 0.7}
