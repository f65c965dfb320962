"""The data: 7,043 customers of a telephone company, one in four of whom left (IBM Telco churn).

Shipped compressed; loaded as table `customers` under names that speak for themselves.
"""

from __future__ import annotations

import csv
import gzip
import io
from importlib.resources import files
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncpg

FILE_NAME = "telco_churn.csv.gz"
CREATE_TABLE = """
CREATE TABLE customers (
    customer_id       integer PRIMARY KEY,
    female            boolean NOT NULL,
    senior_citizen    boolean NOT NULL,
    partner           boolean NOT NULL,
    dependents        boolean NOT NULL,
    tenure_months     integer NOT NULL,
    phone_service     boolean NOT NULL,
    multiple_lines    text NOT NULL,
    internet_service  text NOT NULL,
    online_security   text NOT NULL,
    online_backup     text NOT NULL,
    device_protection text NOT NULL,
    tech_support      text NOT NULL,
    streaming_tv      text NOT NULL,
    streaming_movies  text NOT NULL,
    contract_type     text NOT NULL,
    paperless_billing boolean NOT NULL,
    payment_method    text NOT NULL,
    monthly_charges   double precision NOT NULL,
    total_charges     double precision,
    churned           integer NOT NULL CHECK (churned IN (0, 1))
)
"""
# The file's names, where the table's differ.
RENAMED = {"tenure": "tenure_months", "contract": "contract_type", "churn": "churned"}
CHURNED = {"Yes": "1", "No": "0"}


async def load_customers(connection: asyncpg.Connection) -> int:
    """Create and fill table `customers`; return its number of rows."""
    names, rows = read_customers()
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    async with connection.transaction():
        await connection.execute(CREATE_TABLE)
        await connection.copy_to_table(
            "customers", source=io.BytesIO(text.getvalue().encode()), columns=names, format="csv"
        )
    await connection.execute("VACUUM (ANALYZE) customers")
    return len(rows)


def read_customers() -> tuple[list[str], list[list[str]]]:
    """Return the table's column names, and the rows as COPY's csv fields (empty: NULL).

    `customer_id` is the line's number: the published file has no other.
    """
    packed = files("proxy.demo").joinpath(FILE_NAME).read_bytes()
    lines = csv.reader(io.StringIO(gzip.decompress(packed).decode("utf-8")))
    names = [RENAMED.get(name, name) for name in next(lines)]
    churned = names.index("churned")
    rows = []
    for number, line in enumerate(lines, start=1):
        line[churned] = CHURNED[line[churned]]
        rows.append([str(number), *line])
    return ["customer_id", *names], rows
