"""Fixtures for the tests of clients: a role with a password, the demo's customers, their model."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass

import psycopg
import psycopg.conninfo
import pytest

from proxy.demo.customers import CREATE_TABLE, read_customers
from tests.clients import snippets
from tests.clients.answers import Answers, read_answers
from tests.conftest import Endpoint, is_direct
from tests.support import postgres


@dataclass(frozen=True, slots=True)
class Login:
    """Where a client connects, and as whom: a role whose password has no easy letters."""

    host: str
    port: int
    database: str
    user: str = postgres.SCRAM_USER
    password: str = postgres.SECRET

    @property
    def environment(self) -> dict[str, str]:
        """The variables that docs/clients.md names; a locale in which Java reads them."""
        return {
            "PGHOST": self.host,
            "PGPORT": str(self.port),
            "PGUSER": self.user,
            "PGPASSWORD": self.password,
            "PGDATABASE": self.database,
            "LC_ALL": "C.UTF-8",
        }

    @property
    def dsn(self) -> str:
        """The connection string for libpq's kind of clients."""
        return psycopg.conninfo.make_conninfo(
            host=self.host,
            port=self.port,
            dbname=self.database,
            user=self.user,
            password=self.password,
        )

    @property
    def arguments(self) -> dict[str, str | int]:
        """The arguments that drivers of Python have in common."""
        return {
            "host": self.host,
            "port": self.port,
            "database": self.database,
            "user": self.user,
            "password": self.password,
        }


@pytest.fixture(scope="module")
def upstream(direct: Endpoint) -> Login:
    """PostgreSQL itself, with table `customers`."""
    login = Login(*direct.address, direct.database)
    names, rows = read_customers()
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    with psycopg.connect(login.dsn, autocommit=True) as connection:
        connection.execute(CREATE_TABLE)
        copying = f"COPY customers ({', '.join(names)}) FROM STDIN (FORMAT csv)"
        with connection.cursor().copy(copying) as copy:
            copy.write(text.getvalue())
    return login


@pytest.fixture(scope="module")
def login(upstream: Login, endpoint: Endpoint) -> Login:
    """Return the same through pgseer, with model `churn` of docs/clients.md."""
    if is_direct():
        pytest.skip("PostgreSQL itself has no models")
    through = Login(*endpoint.address, endpoint.database)
    with psycopg.connect(through.dsn, autocommit=True) as connection:
        connection.execute(snippets.training())
    return through


@pytest.fixture(scope="module")
def answers(login: Login, upstream: Login) -> Iterator[Answers]:
    """What the model must say."""
    with psycopg.connect(login.dsn) as through, psycopg.connect(upstream.dsn) as direct:
        yield read_answers(through, direct)


@pytest.fixture
def environment(login: Login, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The variables of docs/clients.md, set for this process too."""
    for name, value in login.environment.items():
        monkeypatch.setenv(name, value)
    return login.environment
