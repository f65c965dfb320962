"""Tables for the tests of models: one of awkward types, one whose answer is known exactly.

Owns their rows, made by a seeded generator, and their DDL.
"""

from __future__ import annotations

import datetime as dt
import random
from collections.abc import Sequence
from decimal import Decimal

import psycopg
from psycopg import sql

customer_columns = {
    "customer_id": "int PRIMARY KEY",
    "tenure": "int",
    "charges": "numeric(8, 2)",
    "usage": "float8",
    "contract": "text",
    "city": "text",
    "is_senior": "boolean",
    "joined": "date",
    "last_seen": "timestamp",
    "signals": "float8[]",
    "churned": "int NOT NULL",
    "spend": "float8 NOT NULL",
    "segment": "text NOT NULL",
}
cities = ("Zürich", "Genève", "Bern", "Ascona")
CUSTOMERS = 600


def customers() -> list[tuple[object, ...]]:
    """Return the rows of `customers`, in the order of `customer_columns`."""
    chooser = random.Random(20)

    def perhaps(value: object, share_of_nulls: float) -> object:
        return None if chooser.random() < share_of_nulls else value

    rows: list[tuple[object, ...]] = []
    for i in range(CUSTOMERS):
        tenure, charges = chooser.randrange(72), Decimal(chooser.randrange(2000, 12000)) / 100
        usage, senior = chooser.gauss(3, 1.5), chooser.random() < 0.3
        contract, city = chooser.choice(("monthly", "yearly", "two years")), chooser.choice(cities)
        joined = dt.date(2019, 1, 1) + dt.timedelta(days=chooser.randrange(1800))
        seen = dt.datetime(2024, 1, 1) + dt.timedelta(seconds=chooser.randrange(10**7))  # noqa: DTZ001
        signals = [chooser.gauss(0, 1) for _ in range(3)]
        pull = 1.5 - tenure / 20 + float(charges) / 60 - 0.3 * usage + signals[0] + 0.4 * senior
        pull += {"monthly": 0.8, "yearly": 0.0, "two years": -0.8}[contract]
        churned = int(pull + chooser.gauss(0, 1) > 0)
        spend = 20 + 3 * tenure + float(charges) + 5 * signals[1] + chooser.gauss(0, 2)
        level = pull + 2 * signals[2] + chooser.gauss(0, 1)
        segment = "gold" if level > 1.5 else "silver" if level > -0.5 else "bronze"
        rows.append(
            (
                i,
                perhaps(tenure, 0.05),
                charges,
                perhaps(usage, 0.1),
                perhaps(contract, 0.08),
                city,
                perhaps(senior, 0.05),
                joined,
                seen,
                signals,
                churned,
                spend,
                segment,
            )
        )
    return rows


def load(
    connection: psycopg.Connection,
    table: str,
    columns: dict[str, str],
    rows: Sequence[Sequence[object]],
) -> None:
    """Create a table and copy rows into it."""
    described = sql.SQL(", ").join(
        sql.SQL("{} " + kind).format(sql.Identifier(name)) for name, kind in columns.items()
    )
    connection.execute(sql.SQL("CREATE TABLE {} ({})").format(sql.Identifier(table), described))
    copying = sql.SQL("COPY {} FROM STDIN").format(sql.Identifier(table))
    with connection.cursor().copy(copying) as copy:
        for row in rows:
            copy.write_row(row)


# price is 3 + 2 a - b / 2, to the last bit: every value is a multiple of 1/16.
homes = """
CREATE TABLE homes AS
SELECT i AS id, (i % 97) / 16.0::float8 AS a, i % 13 AS b, 'home ' || i AS label,
       3 + 2 * ((i % 97) / 16.0::float8) - (i % 13) / 2.0::float8 AS price
FROM generate_series(1, 10000) AS i
"""


def home_price(number: int) -> float:
    """Return the price of the home of a number."""
    return 3 + 2 * (number % 97) / 16 - (number % 13) / 2
