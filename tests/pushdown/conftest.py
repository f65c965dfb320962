"""Fixtures: rows of every sort, and a session that has them as a table."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

from tests.conftest import Endpoint
from tests.pushdown import awkward


@pytest.fixture(scope="session")
def rows() -> awkward.Rows:
    """Rows to score."""
    return awkward.make_rows(awkward.SCORED, 2, wild=True)


@pytest.fixture(scope="module")
def session(direct: Endpoint, rows: awkward.Rows) -> Iterator[psycopg.Connection]:
    """A session of PostgreSQL's with the rows in a temporary table."""
    with psycopg.connect(direct.dsn, autocommit=True) as opened:
        awkward.load(opened, rows)
        yield opened
