"""Fixtures for the tests of models: the tables, a model, a connection that sees both."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

from tests.conftest import Endpoint
from tests.support import datasets


@pytest.fixture
def client(endpoint: Endpoint) -> Iterator[psycopg.Connection]:
    """A psycopg connection, each statement a transaction of its own."""
    with psycopg.connect(endpoint.dsn, autocommit=True) as opened:
        yield opened


@pytest.fixture(scope="module")
def customers(direct: Endpoint) -> list[tuple[object, ...]]:
    """The table `customers`; returns its rows."""
    rows = datasets.customers()
    with psycopg.connect(direct.dsn, autocommit=True) as connection:
        datasets.load(connection, "customers", datasets.customer_columns, rows)
    return rows


@pytest.fixture(scope="module")
def homes(direct: Endpoint) -> None:
    """The table `homes`."""
    with psycopg.connect(direct.dsn, autocommit=True) as connection:
        connection.execute(datasets.homes)


@pytest.fixture(scope="module")
def price(endpoint: Endpoint, homes: None) -> str:
    """A linear model of `homes`, which is right to the last digits; returns its name."""
    with psycopg.connect(endpoint.dsn, autocommit=True) as connection:
        connection.execute(
            "CREATE MODEL price USING linear_regression AS"
            " SELECT a, b, price AS target FROM homes WHERE id <= 2000"
        )
    return "price"
