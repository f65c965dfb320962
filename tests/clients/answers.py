"""What the model must say, by another road: its coefficients and PostgreSQL's own rows.

Owns reading both and computing the scores from them.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from typing import Any

import psycopg
import pytest

LEVEL = re.compile(r"contract_type = '(.*)'")


def close(value: float) -> Any:
    """Return what equals a float that is the same but for its last digits."""
    return pytest.approx(value, rel=1e-9)


@dataclass(frozen=True, slots=True)
class Answers:
    """Model `churn` as DESCRIBE MODEL tells it, and the rows that it is asked about."""

    intercept: float
    tenure_months: float
    monthly_charges: float
    contracts: dict[str, float]
    customers: dict[int, tuple[int, float, str]] = field(repr=False)

    def score(self, months: float, charges: float, contract: str) -> float:
        """Return the probability for one row of features."""
        pull = self.intercept + self.tenure_months * months + self.monthly_charges * charges
        return 1 / (1 + math.exp(-pull - self.contracts[contract]))

    def risk(self, customer: int) -> float:
        """Return the probability for one customer."""
        return self.score(*self.customers[customer])

    def first(self, count: int) -> list[tuple[int, Any]]:
        """Return (customer_id, probability) of the first customers."""
        return [(i, close(self.risk(i))) for i in sorted(self.customers)[:count]]

    def formula(self, months: str, charges: str, contract: str) -> str:
        """Return an SQL expression for the probability, from expressions for the features."""
        cases = " ".join(f"WHEN '{name}' THEN {pull}" for name, pull in self.contracts.items())
        pull = f"{self.intercept} + {self.tenure_months} * ({months})::float8"
        pull += f" + {self.monthly_charges} * ({charges})::float8"
        return f"(1 / (1 + exp(-({pull} + CASE ({contract})::text {cases} END)::float8)))"


def read_answers(through: psycopg.Connection, direct: psycopg.Connection) -> Answers:
    """Return the answers; through pgseer only the coefficients are read."""
    rows = through.execute("DESCRIBE MODEL churn").fetchall()
    coefficients = {name: float(value) for kind, name, value, _ in rows if kind == "coefficient"}
    contracts = {
        found[1]: value for name, value in coefficients.items() if (found := LEVEL.fullmatch(name))
    }
    customers = direct.execute(
        "SELECT customer_id, tenure_months, monthly_charges, contract_type FROM customers"
    )
    return Answers(
        coefficients["intercept"],
        coefficients["tenure_months"],
        coefficients["monthly_charges"],
        contracts,
        {i: (months, charges, contract) for i, months, charges, contract in customers},
    )
