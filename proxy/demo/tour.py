"""The demonstration's client: it connects as any client would, and shows each statement it runs.

Run as `python -m proxy.demo.tour HOST PORT` with PGPASSFILE set, in a process of its own, so that
what it measures is a client and a proxy and not the two sharing one thread. It uses asyncpg and
nothing of the proxy's.
"""

from __future__ import annotations

import asyncio
import signal
import sys
import time
from collections.abc import Sequence
from textwrap import indent

import asyncpg

from proxy.demo.table import format_table

PROMPT = "postgres=> "
MOST_AT_RISK = 10
COPIES = 142  # 7,043 customers 142 times over: just above a million rows

CREATE_MODEL = """\
CREATE MODEL churn_prediction
USING logistic_regression
AS SELECT
    tenure_months, monthly_charges, total_charges,
    contract_type, payment_method, internet_service, online_security, tech_support,
    paperless_billing, senior_citizen,
    churned AS target
FROM customers;"""

SHOW_QUALITY = """\
SELECT version, algorithm, training_rows, accuracy, auc
FROM ml_models
WHERE model_name = 'churn_prediction';"""

SCORE = """\
SELECT customer_id, contract_type, tenure_months, monthly_charges,
       PREDICT(churn_prediction, *) AS churn_probability
FROM customers;"""

SCORE_MANY = f"""\
SELECT customer_id, PREDICT(churn_prediction, c.*) AS churn_probability
FROM customers c CROSS JOIN generate_series(1, {COPIES});"""

READ_MANY = f"""\
SELECT customer_id, monthly_charges
FROM customers c CROSS JOIN generate_series(1, {COPIES});"""


async def tour(host: str, port: int) -> None:
    """Train, look at the model's quality, find who is at risk, score a million rows."""
    connection = await asyncpg.connect(
        host=host, port=port, user="postgres", database="postgres", ssl=False
    )
    connection.add_log_listener(_show_notice)
    try:
        _say("How many customers are there, and how many left?")
        await _show(
            connection, "SELECT count(*) AS customers, sum(churned) AS left_us FROM customers;"
        )
        _say("Train a model. What happens inside CREATE MODEL happens in the proxy.")
        await _train(connection)
        _say("How good is it? Measured on a fifth of the rows that it was not fitted to:")
        await _show(connection, SHOW_QUALITY)
        _say("Who is about to leave?")
        await _show_most_at_risk(connection)
        _say("A million rows: first read, then read and scored.")
        await _race(connection)
    finally:
        await connection.close()


async def _train(connection: asyncpg.Connection) -> None:
    _echo(CREATE_MODEL)
    began = time.perf_counter()
    tag = await connection.execute(CREATE_MODEL)
    _print(f"{tag}\nTime: {(time.perf_counter() - began) * 1000:.0f} ms\n")


async def _show(connection: asyncpg.Connection, query: str) -> None:
    _echo(query)
    rows = await connection.fetch(query)
    _show_rows(rows, f"({len(rows)} row{'s' * (len(rows) != 1)})")


async def _show_most_at_risk(connection: asyncpg.Connection) -> None:
    _echo(SCORE)
    rows = await connection.fetch(SCORE)
    worst = sorted(rows, key=lambda row: row["churn_probability"], reverse=True)[:MOST_AT_RISK]
    _show_rows(
        worst, f"(the {len(worst)} most at risk of {len(rows):,} rows, sorted by the client)"
    )


async def _race(connection: asyncpg.Connection) -> None:
    """Time both statements; `execute` reads every row off the wire and keeps none."""
    plain = await _timed(connection, READ_MANY)
    scored = await _timed(connection, SCORE_MANY)
    _print(f"Scoring took {scored / plain:.2f} times as long as reading.\n")


async def _timed(connection: asyncpg.Connection, query: str) -> float:
    _echo(query)
    began = time.perf_counter()
    tag = await connection.execute(query)
    taken_s = time.perf_counter() - began
    n_rows = int(tag.split()[-1])
    _print(f"{n_rows:,} rows in {taken_s:.2f} s: {n_rows / taken_s:,.0f} rows/s\n")
    return taken_s


# ---- what is seen


def _show_notice(_connection: object, message: asyncpg.PostgresLogMessage) -> None:
    _print(f"{message.severity}:  {message.message}")


def _show_rows(rows: Sequence[asyncpg.Record], footer: str) -> None:
    names = list(rows[0].keys()) if rows else []
    _print(f"{format_table(names, [tuple(row) for row in rows])}\n{footer}\n")


def _echo(query: str) -> None:
    _print(PROMPT + indent(query, " " * len(PROMPT)).lstrip())


def _say(text: str) -> None:
    _print(f"-- {text}")


def _print(text: str) -> None:
    print(text, flush=True)


def main(host: str, port: str) -> None:
    """Run the tour; end without a word when interrupted."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal's; our parent ends us
    try:
        asyncio.run(tour(host, int(port)))
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
        sys.exit(f"the demonstration failed: {error}")


if __name__ == "__main__":
    main(*sys.argv[1:])
