"""SQLAlchemy 2, Core and ORM: func.predict, with each of its drivers."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy
import sqlalchemy.ext.asyncio
from sqlalchemy import Engine, func, literal_column, select, text
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, column_property, mapped_column

from tests.clients.answers import Answers, close
from tests.clients.conftest import Login


class Base(DeclarativeBase):
    """The mapped classes of these tests."""


class Customer(Base):
    """A row of `customers`, as far as the model needs it."""

    __tablename__ = "customers"
    customer_id: Mapped[int] = mapped_column(primary_key=True)
    tenure_months: Mapped[int]
    monthly_charges: Mapped[float]
    contract_type: Mapped[str]


FEATURES = (Customer.tenure_months, Customer.monthly_charges, Customer.contract_type)


class ScoredCustomer(Base):
    """The same row, its score an attribute."""

    __table__ = Customer.__table__
    risk = column_property(func.predict(literal_column("churn"), *FEATURES, type_=sqlalchemy.Float))


def predict(model: Any, *features: Any) -> sqlalchemy.Label[float]:
    return func.predict(model, *features, type_=sqlalchemy.Float).label("risk")


def first(count: int, model: Any = literal_column("churn")) -> sqlalchemy.Select[Any]:  # noqa: B008
    """Return the query of the first customers' scores."""
    return (
        select(Customer.customer_id, predict(model, *FEATURES))
        .where(Customer.customer_id <= count)
        .order_by(Customer.customer_id)
    )


def url(login: Login, driver: str) -> sqlalchemy.URL:
    return sqlalchemy.URL.create(
        f"postgresql+{driver}",
        username=login.user,
        password=login.password,
        host=login.host,
        port=login.port,
        database=login.database,
    )


@pytest.fixture(params=["psycopg", "psycopg2", "pg8000"])
def engine(login: Login, request: pytest.FixtureRequest) -> Iterator[Engine]:
    made = sqlalchemy.create_engine(url(login, request.param))
    yield made
    made.dispose()


def rows(got: Any) -> list[tuple[Any, ...]]:
    return [tuple(row) for row in got]


# --- Core -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "model",
    [
        literal_column("churn"),
        text("churn"),
        literal_column("'churn:1.0'"),
        literal_column('"churn"'),
        sqlalchemy.literal("churn", literal_execute=True),
    ],
    ids=["literal_column", "text", "version", "quoted", "literal_execute"],
)
def test_the_models_name(engine: Engine, answers: Answers, model: Any) -> None:
    """The name is rendered into the text."""
    with engine.connect() as connection:
        assert rows(connection.execute(first(5, model))) == answers.first(5)


def test_the_model_is_no_parameter(engine: Engine, answers: Answers) -> None:
    """A plain string is sent as a parameter, but by psycopg2, which writes it into the text."""
    with engine.connect() as connection:
        if engine.driver == "psycopg2":
            assert rows(connection.execute(first(1, "churn"))) == answers.first(1)
            return
        with pytest.raises(sqlalchemy.exc.ProgrammingError, match=r"42883|UndefinedFunction"):
            connection.execute(first(1, "churn"))


def test_arguments(engine: Engine, answers: Answers) -> None:
    """Values become parameters; the same query with others comes out of SQLAlchemy's cache."""
    with engine.connect() as connection:
        for months in range(10):
            query = select(predict(text("churn"), months, 79.99, "One year"))
            expected = close(answers.score(months, 79.99, "One year"))
            assert connection.scalar(query) == expected
        later = predict(text("churn"), FEATURES[0] + 12, FEATURES[1], "Two year")
        query = select(later).where(Customer.customer_id == 4)
        months, charges, _ = answers.customers[4]
        assert connection.scalar(query) == close(answers.score(months + 12, charges, "Two year"))


def test_reflection_and_around(engine: Engine, answers: Answers) -> None:
    """Reflected tables, joins, subqueries and WITH around the score, and text with a star."""
    with engine.connect() as connection:
        table = sqlalchemy.Table("customers", sqlalchemy.MetaData(), autoload_with=connection)
        assert len(table.columns) == 21
        chosen = select(table).where(table.c.customer_id <= 5).cte("chosen")
        other = select(table.c.customer_id, table.c.churned).subquery("other")
        score = predict(
            text("churn"), chosen.c.tenure_months, chosen.c.monthly_charges, chosen.c.contract_type
        )
        query = (
            select(chosen.c.customer_id, score, other.c.churned)
            .join(other, other.c.customer_id == chosen.c.customer_id)
            .order_by(chosen.c.customer_id)
        )
        assert [tuple(row)[:2] for row in connection.execute(query)] == answers.first(5)
        star = text(
            "SELECT customer_id, PREDICT('churn\\:1.0', *) FROM customers"
            " WHERE customer_id <= :last ORDER BY 1"
        )
        assert rows(connection.execute(star, {"last": 3})) == answers.first(3)


def test_create_model(engine: Engine) -> None:
    """CREATE MODEL is part of the transaction."""
    training = "SELECT tenure_months, churned AS target FROM customers"
    with engine.connect() as connection:
        connection.exec_driver_sql(
            f"CREATE MODEL by_sqlalchemy USING logistic_regression(l2: 0.5) AS {training}"
        )
        count = text("SELECT count(*) FROM ml_models WHERE model_name = 'by_sqlalchemy'")
        assert connection.scalar(count) == 1
        connection.rollback()
        assert connection.scalar(count) == 0


def test_error(engine: Engine, answers: Answers) -> None:
    """A model that is not there is a ProgrammingError; a savepoint holds."""
    with engine.connect() as connection:
        with (
            pytest.raises(sqlalchemy.exc.ProgrammingError, match=r"42704|UndefinedObject"),
            connection.begin_nested(),
        ):
            connection.execute(first(1, text("chrun")))
        assert rows(connection.execute(first(1))) == answers.first(1)


def test_asyncpg(login: Login, answers: Answers) -> None:
    """The asynchronous engine, whose driver prepares every statement; it streams by portals."""

    async def main() -> None:
        engine = sqlalchemy.ext.asyncio.create_async_engine(url(login, "asyncpg"))
        async with engine.connect() as connection:
            for last in range(5):
                assert rows(await connection.execute(first(last))) == answers.first(last)
            everyone = len(answers.customers)
            stream = await connection.stream(first(everyone), execution_options={"yield_per": 500})
            assert [tuple(row) async for row in stream] == answers.first(everyone)
            with pytest.raises(sqlalchemy.exc.ProgrammingError, match="chrun") as caught:
                await connection.execute(first(1, text("chrun")))
            assert caught.value.orig is not None
            assert caught.value.orig.sqlstate == "42704"
        await engine.dispose()

    asyncio.run(main())


# --- ORM ------------------------------------------------------------------------------------------


def test_entities_beside_scores(engine: Engine, answers: Answers) -> None:
    """A query may return objects and their scores."""
    query = select(Customer, predict(text("churn"), *FEATURES)).where(Customer.customer_id <= 3)
    with Session(engine) as session:
        got = session.execute(query.order_by(Customer.customer_id)).all()
        assert [(customer.customer_id, risk) for customer, risk in got] == answers.first(3)


def test_column_property(engine: Engine, answers: Answers) -> None:
    """An attribute of a mapped class may be a score; it is read anew when the row has changed."""
    with Session(engine) as session:
        query = select(ScoredCustomer).where(ScoredCustomer.customer_id <= 3)
        customers = session.scalars(query.order_by(ScoredCustomer.customer_id)).all()
        assert [(each.customer_id, each.risk) for each in customers] == answers.first(3)
        customer = session.get_one(ScoredCustomer, 4)
        months, charges, contract = answers.customers[4]
        assert customer.risk == close(answers.risk(4))
        customer.tenure_months = months + 12
        session.flush()
        session.expire(customer)
        assert customer.risk == close(answers.score(months + 12, charges, contract))
        session.rollback()


def test_of_an_object(engine: Engine, answers: Answers) -> None:
    """What an object holds may be scored without its row."""
    with Session(engine) as session:
        customer = session.get_one(Customer, 1)
        query = select(
            predict(
                text("churn"),
                customer.tenure_months,
                customer.monthly_charges,
                customer.contract_type,
            )
        )
        assert session.scalar(query) == close(answers.risk(1))


def test_yield_per(engine: Engine, answers: Answers) -> None:
    """yield_per reads in portions."""
    everyone = len(answers.customers)
    with Session(engine) as session:
        got = session.execute(first(everyone).execution_options(yield_per=500))
        portions = [rows(portion) for portion in got.partitions()]
    assert [len(portion) for portion in portions] == [500] * 14 + [43]
    assert [row for portion in portions for row in portion] == answers.first(everyone)


def test_where_order_and_aggregates(engine: Engine, answers: Answers) -> None:
    """A score may choose, order and be summed up, in the query and around it."""
    score = func.predict(text("churn"), *FEATURES, type_=sqlalchemy.Float)
    risky = {i for i in answers.customers if answers.risk(i) > 0.7}
    mean = sum(answers.risk(i) for i in answers.customers) / len(answers.customers)
    scored = select(Customer.customer_id, score.label("risk")).subquery("scored")
    with Session(engine) as session:
        assert set(session.scalars(select(Customer.customer_id).where(score > 0.7))) == risky
        chosen = select(scored.c.customer_id).where(scored.c.risk > 0.7)
        assert set(session.scalars(chosen)) == risky
        assert session.scalar(select(func.avg(score))) == close(mean)
        highest = first(len(answers.customers)).order_by(None).order_by(sqlalchemy.desc("risk"))
        _, risk = session.execute(highest.limit(1)).one()
        assert risk == close(max(answers.risk(i) for i in answers.customers))


def test_filter_by_a_column_property(engine: Engine, answers: Answers) -> None:
    """An attribute that is a score may choose the objects."""
    with Session(engine) as session:
        query = select(ScoredCustomer.customer_id).where(ScoredCustomer.risk > 0.7)
        assert set(session.scalars(query)) == {
            i for i in answers.customers if answers.risk(i) > 0.7
        }
