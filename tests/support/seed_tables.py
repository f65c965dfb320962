"""The tables that the seed document's statements are about, with something in them to learn.

Owns their columns and rows, made by a seeded generator: the same in every run. What the document
learns is in them (a price that follows the size, a fraud that follows the distance), with noise,
and beside the columns that it names are others that no model knows.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass

import psycopg

Row = tuple[object, ...]

HOUSES, CUSTOMERS, LOANS, TRANSACTIONS, METRICS, DIGITS, BIG = 300, 500, 400, 600, 300, 300, 150
ACTIVE, INCOMING = 200, 300
PIXELS, BIG_FEATURES, CLASSES = 784, 1000, 10

CONTRACTS = ("Month-to-month", "One year", "Two year")
PAYMENTS = ("Bank transfer", "Credit card", "Electronic check", "Mailed check")
MERCHANTS = ("electronics", "fuel", "grocery", "jewellery", "travel")


@dataclass(frozen=True, slots=True)
class Table:
    """One table: its columns in SQL, and what makes its rows."""

    columns: str
    rows: Callable[[random.Random], list[Row]]


def fill(connection: psycopg.Connection) -> None:
    """Create and fill all the tables."""
    for name, table in TABLES.items():
        connection.execute(f"CREATE TABLE {name} ({table.columns})".encode())
        with connection.cursor().copy(f"COPY {name} FROM STDIN".encode()) as copy:
            # A generator for each: a change of one table changes no other.
            for row in table.rows(random.Random(name)):
                copy.write_row(row)


def _happens(chooser: random.Random, log_odds: float) -> int:
    return int(chooser.random() < 1 / (1 + math.exp(-log_odds)))


def _houses(chooser: random.Random) -> list[Row]:
    """Twice as dear in San Francisco: a model of all the rows is another one."""
    rows: list[Row] = []
    for number in range(1, HOUSES + 1):
        city = ("San Francisco", "Oakland", "San Jose")[number % 3]
        bedrooms, bathrooms = chooser.randint(1, 5), chooser.randint(1, 4)
        sqft = 400 + 320 * bedrooms + chooser.randrange(800)
        price = 90_000 + 25_000 * bedrooms + 40_000 * bathrooms + 310 * sqft
        price = (1 + (city == "San Francisco")) * price + chooser.gauss(0, 15_000)
        rows.append((number, city, bedrooms, bathrooms, sqft, round(price, 2)))
    return rows


def _months(first: int, last: int) -> list[str]:
    return [f"{year}-{month:02}" for year in range(first, last) for month in range(1, 13)]


def _sales(chooser: random.Random) -> list[Row]:
    """Four regions' months of five years."""
    rows: list[Row] = []
    for place, month in enumerate(_months(2020, 2025)):
        for region in ("east", "north", "south", "west"):
            spend = chooser.randrange(1000, 9000) / 10
            season = round(1 + 0.3 * math.sin(place * math.pi / 6) + chooser.gauss(0, 0.05), 3)
            units = 200 + 4 * place + 150 * season + 0.4 * spend + chooser.gauss(0, 15)
            revenue = 5000 + 60 * place + 30 * spend - 0.012 * spend**2 + chooser.gauss(0, 300)
            rows.append((month, region, spend, season, round(units), round(revenue, 2)))
    return rows


def _periods(chooser: random.Random) -> list[Row]:
    """Half a year before and a year after the months that are asked for, unordered."""
    rows: list[Row] = [
        (month, round(1 + 0.3 * math.sin(place * math.pi / 6), 3), chooser.randrange(100, 900))
        for place, month in enumerate(_months(2024, 2026))
    ]
    chooser.shuffle(rows)
    return rows


def _subscriber(chooser: random.Random) -> tuple[int, float, float, int, str, str, float]:
    """Return tenure, monthly and total charges, tickets, contract, payment, log odds of leaving."""
    tenure, monthly = chooser.randrange(1, 73), chooser.randrange(2000, 11_000) / 100
    tickets, contract = chooser.randrange(8), chooser.choice(CONTRACTS)
    payment = chooser.choice(PAYMENTS)
    pull = 1.0 - tenure / 10 + monthly / 30 + tickets / 2 - 2.5 * CONTRACTS.index(contract)
    pull += 1.5 * (payment == "Electronic check")
    total = round(tenure * monthly + chooser.gauss(0, 20), 2)
    return tenure, monthly, total, tickets, contract, payment, 1.2 * pull


def _customers(chooser: random.Random) -> list[Row]:
    rows: list[Row] = []
    for number in range(1, CUSTOMERS + 1):
        tenure, monthly, total, tickets, contract, payment, pull = _subscriber(chooser)
        churned = _happens(chooser, pull)
        rank = number % 5  # of the five groups that there are
        annual, spending = 20_000 + 18_000 * rank, (20, 80, 50, 15, 85)[rank]
        annual, spending = annual + chooser.randrange(6000), spending + chooser.randrange(10)
        age = 22 + 9 * rank + chooser.randrange(6)
        revenue = round(0.9 * total + 4 * spending + chooser.gauss(0, 60), 2)
        risk = round(min(max(0.5 + pull / 20, 0.0), 1.0), 3)
        rows.append(
            (
                number,
                f"Customer {number}",
                tenure,
                monthly,
                total,
                tickets,
                contract,
                payment,
                annual,
                spending,
                age,
                annual // 2,
                chooser.randrange(450, 850),
                risk,
                revenue,
                churned,
            )
        )
    return rows


def _active(chooser: random.Random) -> list[Row]:
    """Customers of whom nobody knows yet whether they leave; some with nothing filled in."""
    rows: list[Row] = []
    for number in range(1, ACTIVE + 1):
        tenure, monthly, _, _, contract, payment, _ = _subscriber(chooser)
        known_payment = payment if number % 20 else None
        signed = f"2025-{1 + number % 12:02}-01"
        rows.append((signed, 9000 + number, known_payment, contract, monthly, tenure))
    return rows


def _loans(chooser: random.Random) -> list[Row]:
    rows: list[Row] = []
    for number in range(1, LOANS + 1):
        score, income = chooser.randrange(400, 850), chooser.randrange(18, 150) * 1000
        ratio = round(chooser.random(), 3)
        pull = (620 - score) / 40 + 5 * (ratio - 0.45) - (income - 60_000) / 40_000
        rows.append((number, score, income, ratio, _happens(chooser, 2 * pull)))
    return rows


def _payment(chooser: random.Random) -> tuple[float, str, int, float, float]:
    """Return amount, merchant, hour, distance, log odds of a fraud."""
    amount, hour = round(math.exp(chooser.gauss(4, 1.1)), 2), chooser.randrange(24)
    merchant, distance = chooser.choice(MERCHANTS), round(chooser.expovariate(1 / 60), 1)
    pull = (distance - 70) / 20 + (amount - 120) / 60 + 1.5 * (hour < 6)
    pull += {"jewellery": 2.0, "electronics": 1.0, "grocery": -2.0}.get(merchant, 0.0)
    return amount, merchant, hour, distance, pull


def _transactions(chooser: random.Random) -> list[Row]:
    rows: list[Row] = []
    for number in range(1, TRANSACTIONS + 1):
        amount, merchant, hour, distance, pull = _payment(chooser)
        near = round(max(distance + chooser.gauss(0, 5), 0.0), 1)
        rows.append((number, amount, merchant, hour, near, distance, _happens(chooser, pull)))
    return rows


def _incoming(chooser: random.Random) -> list[Row]:
    """With columns that the model does not know, a merchant never seen before, and none at all."""
    rows: list[Row] = []
    for number in range(1, INCOMING + 1):
        amount, merchant, hour, distance, _ = _payment(chooser)
        seen = None if number % 30 == 0 else "casino" if number % 25 == 0 else merchant
        rows.append((7000 + number, f"card {number % 40}", distance, hour, seen, amount))
    return rows


def _metrics(chooser: random.Random) -> list[Row]:
    """Two modes of working, and some readings far from both."""
    rows: list[Row] = []
    for number in range(1, METRICS + 1):
        if number % 20 == 0:
            cpu, memory, traffic = (chooser.uniform(-9, 9) + 20 for _ in range(3))
        else:
            middle = 1.0 if number % 2 else 3.0
            cpu, memory, traffic = (chooser.gauss(middle, 0.2) for _ in range(3))
        rows.append((number, cpu, memory, traffic))
    return rows


def _digits(chooser: random.Random) -> list[Row]:
    """Each digit lights the pixels of a pattern of its own."""
    patterns = [[chooser.random() < 0.2 for _ in range(PIXELS)] for _ in range(CLASSES)]
    rows: list[Row] = []
    for number in range(1, DIGITS + 1):
        digit = number % CLASSES
        pixels = [
            round(0.7 * lit + 0.3 * chooser.random(), 3) if chooser.random() < 0.8 else 0.0
            for lit in patterns[digit]
        ]
        rows.append((number, pixels, digit))
    return rows


def _big(chooser: random.Random) -> list[Row]:
    """A thousand columns, of which every class has a hundred of its own."""
    rows: list[Row] = []
    for number in range(BIG):
        label = number % CLASSES
        columns = [
            round(chooser.random() + (place % CLASSES == label), 3) for place in range(BIG_FEATURES)
        ]
        rows.append((*columns, label))
    return rows


TABLES = {
    "housing_data": Table(
        "house_id int PRIMARY KEY, city text, bedrooms int, bathrooms int, sqft int,"
        " price numeric(12, 2)",
        _houses,
    ),
    "sales_history": Table(
        "month text, region text, marketing_spend float8, seasonality_factor float8,"
        " units_sold int, revenue numeric(12, 2)",
        _sales,
    ),
    "customers": Table(
        "customer_id int PRIMARY KEY, name text, tenure_months int, monthly_charges numeric(8, 2),"
        " total_charges numeric(10, 2), num_tech_tickets int, contract_type text,"
        " payment_method text, annual_income int, spending_score int, age int, income int,"
        " credit_score int, churn_risk float8, revenue numeric(10, 2), churned int",
        _customers,
    ),
    "loan_applications": Table(
        'loan_id int PRIMARY KEY, credit_score int, income int, debt_ratio float8, "default" int',
        _loans,
    ),
    "transactions": Table(
        "transaction_id int PRIMARY KEY, transaction_amount numeric(10, 2), merchant_category text,"
        " time_of_day int, distance_from_home float8, location_distance float8, is_fraud int",
        _transactions,
    ),
    "system_metrics": Table(
        "reading int PRIMARY KEY, cpu_usage float8, memory_usage float8, network_traffic float8",
        _metrics,
    ),
    "mnist_digits": Table(
        "digit_id int PRIMARY KEY, pixel_values float8[], digit_label int", _digits
    ),
    # The document's query has no `AS target`: the table itself has the column.
    "big_dataset": Table(
        ", ".join(f"x{place} real" for place in range(BIG_FEATURES)) + ", target int", _big
    ),
    "predictions": Table("customer_id int, prediction float8, scored_at timestamptz", lambda _: []),
    "active_customers": Table(
        "signed_up date, customer_id int PRIMARY KEY, payment_method text, contract_type text,"
        " monthly_charges numeric(8, 2), tenure_months int",
        _active,
    ),
    "incoming_transactions": Table(
        "transaction_id int PRIMARY KEY, card text, location_distance float8, time_of_day int,"
        " merchant_category text, transaction_amount numeric(10, 2)",
        _incoming,
    ),
    "future_periods": Table(
        "future_month text, seasonality float8, planned_marketing float8", _periods
    ),
}
