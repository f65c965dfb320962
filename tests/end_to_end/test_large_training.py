"""Training sets larger than the memory they may take: the same model, by way of a file on disk."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psycopg
import pytest

from tests.conftest import Endpoint, is_direct
from tests.support.postgres import Cluster
from tests.support.proxy import running_proxy
from tests.support.waiting import until_true
from tests.support.wire import Frontend, errors, query, send_cancel

pytestmark = pytest.mark.skipif(is_direct(), reason="PostgreSQL itself has no models")

N_ROWS = 40_000
# 8 bytes for each number, 4 for a text: 24 MB in all, of which 1 MB may be in memory.
ROWS = f"""
    SELECT sin(i) AS a, CASE WHEN i % 11 > 0 THEN cos(i) END AS b, 'city ' || i % 7 AS city,
        CASE WHEN i > 20000 THEN array_fill(i % 13, ARRAY[70]) END AS pixels,
        3 * sin(i) - 2 * coalesce(cos(i), 0) + i % 7 AS target
    FROM generate_series(1, {N_ROWS}) AS i"""


@pytest.fixture(scope="module")
def small(
    cluster: Cluster, database: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Endpoint]:
    """Serve the database with little memory for training rows, and some disk."""
    directory = tmp_path_factory.mktemp("training")
    changes = {
        "ml.max_training_memory": 1 << 20,
        "ml.max_training_disk": 40 << 20,
        "ml.training_directory": str(directory),
    }
    with running_proxy(cluster.dsn(), changes) as proxy:
        yield Endpoint(proxy.address, database)


def open_files() -> list[str]:
    """Return the rows' files that this process, in which the proxy runs, has open."""
    links = []
    for entry in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):  # another thread closed it
            links.append(str(entry.readlink()))
    return [link for link in links if "pgseer-" in link]


async def all_closed() -> bool:
    """Say whether the files are gone; a thread that still wrote to one closes it a moment later."""
    return open_files() == []


@pytest.fixture(scope="module")
def numbers(direct: Endpoint) -> str:
    """The rows as a table, for both proxies read it in the same order."""
    with psycopg.connect(direct.dsn, autocommit=True) as connection:
        connection.execute(f"CREATE TABLE numbers AS {ROWS} ORDER BY i")
    return "SELECT * FROM numbers"


def fingerprint(endpoint: Endpoint, statement: str, name: str) -> str:
    """Train, and return the digest of the artefact."""
    with psycopg.connect(endpoint.dsn, autocommit=True) as connection:
        connection.execute(statement)
        row = connection.execute(
            "SELECT artefact_sha256 FROM ml_models WHERE model_name = %s", (name,)
        ).fetchone()
    assert row is not None
    return str(row[0])


@pytest.mark.parametrize(
    ("algorithm", "columns"),
    [
        ("linear_regression", "*"),
        ("polynomial_regression(degree: 2)", "a, b, city, pixels[1:5] AS pixels, target"),
        ("logistic_regression(max_iterations: 5)", "a, b, pixels, city AS target"),
    ],
)
def test_the_model_is_that_of_rows_in_memory(
    small: Endpoint, endpoint: Endpoint, numbers: str, algorithm: str, columns: str
) -> None:
    """Where the rows are changes no bit of the artefact; no file is left open."""
    statement = f"CREATE OR REPLACE MODEL large USING {algorithm} AS SELECT {columns} FROM numbers"
    assert fingerprint(small, statement, "large") == fingerprint(endpoint, statement, "large")
    assert open_files() == []


@pytest.mark.parametrize(
    ("algorithm", "columns"),
    [
        ("neural_network", "*"),  # certain while rows are read
        ("random_forest(max_depth: 4)", "*"),
        ("kmeans(max_categories: 20)", "a, b, i % 20 || 'x' AS word"),  # with one-hot columns only
    ],
)
def test_an_algorithm_that_needs_more_memory_is_refused(
    small: Endpoint, numbers: str, algorithm: str, columns: str
) -> None:
    """53200 says how many rows would fit, and names the parameters that help."""
    with psycopg.connect(small.dsn, autocommit=True) as connection:
        with pytest.raises(psycopg.errors.OutOfMemory, match="max_training_memory") as caught:
            connection.execute(
                f"CREATE MODEL needy USING {algorithm} AS SELECT {columns} FROM"
                f" (SELECT *, row_number() OVER () AS i FROM numbers) AS numbered"
            )
        assert "the limit is 1 MB" in str(caught.value.diag.message_detail)
        assert connection.execute("SELECT 1").fetchone() == (1,)
    asyncio.run(until_true(all_closed))


def test_a_model_is_measured_on_as_many_rows(
    small: Endpoint, endpoint: Endpoint, numbers: str
) -> None:
    """EVALUATE MODEL has the same numbers either way."""
    statement = f"CREATE OR REPLACE MODEL measured USING linear_regression AS {numbers}"
    fingerprint(small, statement, "measured")
    answers = []
    for place in (small, endpoint):
        with psycopg.connect(place.dsn) as connection:
            found = connection.execute(f"EVALUATE MODEL measured AS {numbers}").fetchall()
            answers.append(found)
    assert answers[0] == answers[1]
    assert answers[0][0][:2] == ("rows", float(N_ROWS))


def test_more_rows_than_the_disk_may_take(small: Endpoint, numbers: str) -> None:
    """53200 names the limit and how many rows fit; the session goes on, and no file is left."""
    with psycopg.connect(small.dsn, autocommit=True) as connection:
        with pytest.raises(psycopg.errors.OutOfMemory, match="max_training_disk") as caught:
            connection.execute(
                "CREATE MODEL huge USING linear_regression AS"
                " SELECT n.* FROM numbers AS n, generate_series(1, 3)"
            )
        assert "rows of these columns would fit" in str(caught.value.diag.message_detail)
        assert connection.execute("SELECT 1").fetchone() == (1,)
    asyncio.run(until_true(all_closed))


@pytest.mark.asyncio
async def test_a_cancel_leaves_no_file(small: Endpoint, numbers: str) -> None:
    """While rows go to disk a cancel is 57014, within the same session."""
    async with await Frontend.login(small.address, **small.login) as client:
        await client.send(
            query(
                "CREATE MODEL stopped USING linear_regression AS"
                " SELECT n.*, pg_sleep(0.001) IS NULL AS slow FROM numbers AS n"
                " WHERE pixels IS NOT NULL"
            )
        )

        async def is_on_disk() -> bool:
            return any("pgseer-rows" in link for link in open_files())

        await until_true(is_on_disk)
        await send_cancel(small.address, client.pid, client.secret)
        assert [error["C"] for error in errors(await client.until("Z"))] == ["57014"]
        await until_true(all_closed)
        stopped = "SELECT count(*) FROM ml_models WHERE model_name = 'stopped'"
        assert await client.value(stopped) == "0"


@pytest.mark.asyncio
async def test_a_client_that_goes_leaves_no_file(small: Endpoint, numbers: str) -> None:
    """Nor does one that is lost in the middle."""
    async with await Frontend.login(small.address, **small.login) as client:
        await client.send(
            query(
                "CREATE MODEL lost USING linear_regression AS"
                " SELECT n.*, pg_sleep(0.001) IS NULL AS slow FROM numbers AS n"
                " WHERE pixels IS NOT NULL"
            )
        )

        async def is_on_disk() -> bool:
            return any("pgseer-rows" in link for link in open_files())

        await until_true(is_on_disk)

    await until_true(all_closed)
