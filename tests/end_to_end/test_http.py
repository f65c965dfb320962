"""What the HTTP door tells of a proxy at work."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from prometheus_client.parser import text_string_to_metric_families

from proxy.api.http import HttpDoor
from tests.conftest import Endpoint, is_direct
from tests.support.http_client import Answer, request
from tests.support.postgres import Cluster, free_port
from tests.support.proxy import proxy_process, root, running_proxy
from tests.support.waiting import until_true
from tests.support.wire import Frontend, query, send_cancel

pytestmark = pytest.mark.skipif(is_direct(), reason="PostgreSQL itself has no HTTP")

Labels = frozenset[tuple[str, str]]
LONG = (
    "CREATE MODEL endless USING logistic_regression(max_iterations: 100000, tol: 0) AS"
    " SELECT random() AS a, random() AS b, random() AS c, (random() < 0.5) AS target"
    " FROM generate_series(1, {rows})"
)


def get(port: int, path: str) -> Answer:
    return asyncio.run(request(("127.0.0.1", port), path))


class Metrics:
    """What /metrics has counted since this was made, or said so last."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._before = self.now()

    def now(self) -> dict[tuple[str, Labels], float]:
        page = get(self._port, "/metrics").body.decode()
        return {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in text_string_to_metric_families(page)
            for sample in family.samples
        }

    def since(self, prefix: str) -> dict[tuple[str, ...], float]:
        """Return what has grown: the values of its labels, in the order of their names."""
        now, before = self.now(), self._before
        grown = {
            tuple(value for _, value in sorted(labels)): value - before.get((name, labels), 0)
            for (name, labels), value in now.items()
            if name == prefix
        }
        return {labels: growth for labels, growth in grown.items() if growth}

    def value(self, name: str) -> float:
        return self.now()[name, frozenset()]


@pytest.fixture(scope="module")
def http_port() -> int:
    return free_port()


@pytest.fixture(scope="module")
def endpoint(cluster: Cluster, database: str, http_port: int) -> Iterator[Endpoint]:
    """The module's database through a proxy of its own, with HTTP."""
    changes = {"pgseer.http_port": http_port, "pgseer.max_client_conn": 5}
    with running_proxy(cluster.dsn(), changes) as running:
        yield Endpoint(running.address, database)


@pytest.fixture
def client(endpoint: Endpoint) -> Iterator[psycopg.Connection]:
    with psycopg.connect(endpoint.dsn, autocommit=True) as opened:
        yield opened


@pytest.fixture(scope="module")
def line(endpoint: Endpoint) -> str:
    """A model, trained through the proxy; returns its name."""
    with psycopg.connect(endpoint.dsn, autocommit=True) as connection:
        connection.execute(
            "CREATE MODEL line USING linear_regression AS"
            " SELECT x::float8, 2.0 * x AS target FROM generate_series(1, 100) AS x"
        )
    return "line"


@pytest.fixture
def metrics(endpoint: Endpoint, line: str, http_port: int) -> Metrics:
    return Metrics(http_port)


# ---- health


def test_a_proxy_before_a_database_is_ready(endpoint: Endpoint, http_port: int) -> None:
    """Both probes are 200 as soon as clients can come."""
    assert get(http_port, "/healthz").status == 200
    assert get(http_port, "/readyz").body == b"ready\n"


def test_a_proxy_before_nothing_is_not(tmp_path: Path) -> None:
    """Without a database the proxy lives, and is not ready."""
    port = free_port()
    upstream = f"host=127.0.0.1 port={free_port()}"
    with proxy_process(upstream, tmp_path, "--http", f"127.0.0.1:{port}"):
        assert get(port, "/healthz").status == 200
        answer = get(port, "/readyz")
    assert (answer.status, answer.body) == (
        503,
        b"the upstream server does not accept connections\n",
    )


@pytest.mark.asyncio
async def test_a_proxy_that_stops_says_so(cluster: Cluster, database: str) -> None:
    """While a last statement runs, the process is healthy and not ready; then it is gone."""
    port = free_port()
    with running_proxy(cluster.dsn(), {"pgseer.http_port": port}) as running:
        endpoint = Endpoint(running.address, database)
        async with await Frontend.login(endpoint.address, **endpoint.login) as client:
            await client.send(query("SELECT pg_sleep(60)"))
            stopping = asyncio.run_coroutine_threadsafe(running.application.stop(), running.loop)

            async def is_stopping() -> bool:
                return (await request(("127.0.0.1", port), "/readyz")).body == b"stopping\n"

            await until_true(is_stopping)
            assert (await request(("127.0.0.1", port), "/healthz")).status == 200
            assert await send_cancel_directly(cluster, client.pid)
            await asyncio.wrap_future(stopping)
            with pytest.raises(ConnectionRefusedError):
                await request(("127.0.0.1", port), "/healthz")


async def send_cancel_directly(cluster: Cluster, pid: int) -> bool:
    """Cancel a backend's statement by another connection; the proxy takes none any more."""
    rows = await asyncio.to_thread(cluster.rows, f"SELECT pg_cancel_backend({pid})")
    return rows == [(True,)]


# ---- the switch and the address


def test_port_0_is_no_door(
    cluster: Cluster, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """http_port = 0 turns HTTP off, and the proxy serves all the same."""
    opened = []

    async def listen(door: HttpDoor, host: str, port: int) -> tuple[str, int]:
        opened.append((host, port))
        return host, port

    monkeypatch.setattr(HttpDoor, "listen", listen)
    with (
        running_proxy(cluster.dsn(), {"pgseer.http_port": 0}) as running,
        psycopg.connect(Endpoint(running.address, database).dsn) as connection,
    ):
        assert connection.execute("SELECT 1").fetchall() == [(1,)]
        assert opened == []


def test_a_busy_http_port_ends_serve() -> None:
    """`pgseer serve` says which address is taken and what to do, and exits 1."""
    with socket.create_server(("127.0.0.1", 0)) as busy:
        address = f"127.0.0.1:{busy.getsockname()[1]}"
        result = subprocess.run(
            [
                *(sys.executable, "-m", "proxy", "serve", "--listen", "127.0.0.1:0"),
                *("--upstream", "host=127.0.0.1 port=1", "--http", address),
            ],
            cwd=root,
            capture_output=True,
            text=True,
            check=False,
        )
    assert result.returncode == 1
    first, hint = result.stderr.strip().splitlines()
    assert first.lower() == (f"pgseer: cannot listen for http on {address}: address already in use")
    assert hint.startswith("HINT:  ")
    assert "--http HOST:PORT" in hint


# ---- statements


def test_a_simple_query_counts_each_statement(client: psycopg.Connection, metrics: Metrics) -> None:
    """Statements of ours are counted by kind, and ordinary ones are not."""
    client.execute("SELECT 1; SHOW MODELS; SELECT PREDICT(line, 1.0::float8); DESCRIBE MODEL line")
    client.execute("DROP MODEL IF EXISTS nothing")
    client.execute("SELECT 2")
    grown = metrics.since("pgseer_statements_total")
    assert grown == {("show",): 1, ("predict",): 1, ("describe",): 1, ("drop_model",): 1}


def test_a_prepared_predict_counts_each_time(client: psycopg.Connection, metrics: Metrics) -> None:
    """One Parse and three Binds are three statements, and every row scored is counted."""
    sql = "SELECT PREDICT(line, x::float8) FROM generate_series(1, %s) AS x"
    for n in (10, 20, 30):
        assert len(client.execute(sql, (n,), prepare=True).fetchall()) == n
    assert metrics.since("pgseer_statements_total") == {("predict",): 3}
    assert metrics.since("pgseer_predictions_total") == {("line", "1.0"): 60}


def test_a_prepared_command_counts_too(client: psycopg.Connection, metrics: Metrics) -> None:
    """CREATE and DROP over the extended protocol are counted where they are executed."""
    sql = (
        "CREATE MODEL brief USING linear_regression AS"
        " SELECT x, x AS target FROM generate_series(1, 50) AS x"
    )
    client.execute(sql, prepare=True)
    client.execute("SHOW MODEL brief", prepare=True)
    client.execute("DROP MODEL brief", prepare=True)
    grown = metrics.since("pgseer_statements_total")
    assert grown == {("create_model",): 1, ("show",): 1, ("drop_model",): 1}


def test_two_predicts_of_a_row_are_two(client: psycopg.Connection, metrics: Metrics) -> None:
    """Every PREDICT scores every row; rows in many buffers are all counted."""
    sql = (
        "SELECT PREDICT(line, x::float8), PREDICT(line, -x::float8)"
        " FROM generate_series(1, 50000) AS x"
    )
    assert len(client.execute(sql).fetchall()) == 50_000
    assert metrics.since("pgseer_predictions_total") == {("line", "1.0"): 100_000}
    assert metrics.value("pgseer_model_cache_bytes") > 0


# ---- training


def test_a_training_that_ends_well(client: psycopg.Connection, metrics: Metrics) -> None:
    """It is one success with one duration, and then none is in progress."""
    client.execute(
        "CREATE MODEL short USING linear_regression AS"
        " SELECT x, x AS target FROM generate_series(1, 50) AS x"
    )
    assert metrics.since("pgseer_training_runs_total") == {("linear_regression", "success"): 1}
    durations = metrics.since("pgseer_training_duration_seconds_count")
    assert durations == {("linear_regression",): 1}
    assert metrics.value("pgseer_training_in_progress") == 0


@pytest.mark.parametrize(
    "source",
    [
        "SELECT x, 1 / (x - 40) AS target FROM generate_series(1, 50) AS x",  # the database fails
        "SELECT x, true AS target FROM generate_series(1, 50) AS x",  # the engine does
    ],
)
def test_a_training_that_fails(client: psycopg.Connection, metrics: Metrics, source: str) -> None:
    """An error in reading, or in fitting, is one error and no duration."""
    with pytest.raises(psycopg.Error):
        client.execute(f"CREATE MODEL broken USING logistic_regression AS {source}")
    assert metrics.since("pgseer_training_runs_total") == {("logistic_regression", "error"): 1}
    assert metrics.since("pgseer_training_duration_seconds_count") == {}


def test_what_is_refused_beforehand_is_no_training(
    client: psycopg.Connection, metrics: Metrics
) -> None:
    """A name that is taken, or an unknown algorithm, never began."""
    source = "AS SELECT 1 AS x, 2 AS target"
    client.execute(f"CREATE MODEL IF NOT EXISTS line USING linear_regression {source}")
    with pytest.raises(psycopg.errors.UndefinedObject):
        client.execute(f"CREATE MODEL other USING crystal_ball {source}")
    assert metrics.since("pgseer_statements_total") == {("create_model",): 2}
    assert metrics.since("pgseer_training_runs_total") == {}


@pytest.mark.parametrize("phase", ["reading", "fitting"])
@pytest.mark.asyncio
async def test_a_training_that_is_stopped(
    endpoint: Endpoint, direct: Endpoint, line: str, http_port: int, phase: str
) -> None:
    """A CancelRequest makes it canceled, be it in reading or in fitting; until then it shows."""
    metrics = await asyncio.to_thread(Metrics, http_port)
    rows, condition = {
        "reading": (3_000_000, "state = 'active' AND query ILIKE '%COPY%'"),
        "fitting": (50_000, "wait_event = 'advisory'"),
    }[phase]
    async with (
        await Frontend.login(endpoint.address, **endpoint.login) as client,
        await Frontend.login(direct.address, **direct.login) as other,
    ):
        sql = f"SELECT count(*) FROM pg_stat_activity WHERE pid = {client.pid} AND {condition}"

        async def is_there() -> bool:
            return await other.value(sql) == "1"

        await client.send(query(LONG.format(rows=rows)))
        await until_true(is_there)
        assert await asyncio.to_thread(metrics.value, "pgseer_training_in_progress") == 1
        await send_cancel(endpoint.address, client.pid, client.secret)
        await client.until("Z")
    grown = await asyncio.to_thread(metrics.since, "pgseer_training_runs_total")
    assert grown == {("logistic_regression", "canceled"): 1}
    assert await asyncio.to_thread(metrics.value, "pgseer_training_in_progress") == 0


# ---- clients


async def is_deserted(metrics: Metrics) -> bool:
    """Whether the clients of the tests before are gone, for the proxy too."""
    return await asyncio.to_thread(metrics.value, "pgseer_client_connections") == 0


def test_clients_are_counted(endpoint: Endpoint, metrics: Metrics) -> None:
    """The gauge is those who are there, the counter those who came."""
    asyncio.run(until_true(lambda: is_deserted(metrics)))
    with psycopg.connect(endpoint.dsn), psycopg.connect(endpoint.dsn):
        assert metrics.value("pgseer_client_connections") == 2
    asyncio.run(until_true(lambda: is_deserted(metrics)))
    assert metrics.since("pgseer_client_connections_total") == {(): 2}
    assert metrics.since("pgseer_client_connections_rejected_total") == {}


def test_a_client_that_is_refused_has_a_reason(endpoint: Endpoint, metrics: Metrics) -> None:
    """No such database is the upstream's own refusal; too many clients is ours."""
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(endpoint.dsn, dbname="no_such_database")
    rejected = "pgseer_client_connections_rejected_total"
    assert metrics.since(rejected) == {("upstream_refused",): 1}
    asyncio.run(until_true(lambda: is_deserted(metrics)))
    opened = [psycopg.connect(endpoint.dsn) for _ in range(5)]
    try:
        with pytest.raises(psycopg.OperationalError, match="too many clients"):
            psycopg.connect(endpoint.dsn)
    finally:
        for connection in opened:
            connection.close()
    assert metrics.since(rejected) == {("upstream_refused",): 1, ("too_many_clients",): 1}


def test_what_is_no_postgres_is_a_protocol_error(endpoint: Endpoint, metrics: Metrics) -> None:
    """A startup packet of protocol 2.0 is counted as such."""
    with socket.create_connection(endpoint.address, 30) as client:
        client.sendall((8).to_bytes(4, "big") + (2 << 16).to_bytes(4, "big"))
        while client.recv(4096):
            pass
    assert metrics.since("pgseer_client_connections_rejected_total") == {("protocol",): 1}
