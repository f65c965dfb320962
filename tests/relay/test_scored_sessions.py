"""Prepared statements with PREDICT on the express lane answer as they do off it.

Every conversation is held with two proxies before one database, one of them without a lane; the
replies must be equal to the byte. The riding side must really ride when a conversation begins.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import psycopg
import pytest

from proxy.metrics import names
from proxy.metrics.exposition import Exposition
from proxy.session.boarding import CALM
from tests.conftest import Endpoint
from tests.relay.depot import LOOPS, NEEDS_LANE, Depot, only_value, train
from tests.support import wire
from tests.support.postgres import Cluster
from tests.support.proxy import running_proxy
from tests.support.wire import (
    Frontend,
    Message,
    bind,
    codes,
    describe_portal,
    describe_statement,
    errors,
    execute,
    flush,
    normalise,
    parse,
    query,
    rows,
    sync,
)

pytestmark = NEEDS_LANE

INT4, FLOAT8, TEXT = 23, 701, 25
TABLE = """
DROP TABLE IF EXISTS flats;
CREATE TABLE flats AS SELECT i AS id, i % 7 AS rooms, (i % 13)::numeric / 2 AS size,
    (ARRAY['north', 'south', 'été', NULL])[i % 4 + 1] AS side,
    ARRAY[i % 3, i % 5]::float8[] AS plan, i % 7 + (i % 13) / 2.0 AS rent, (i % 7 > 3)::int AS dear,
    (ARRAY['low', 'middle', 'high'])[i % 3 + 1] AS class
    FROM generate_series(1, 400) AS i;
INSERT INTO flats (id, rooms, size, side, plan) VALUES
    (401, NULL, 'NaN', 'unseen', NULL), (402, 5, 'Infinity', NULL, ARRAY[NULL, 1e308]),
    (1000, 1, 1e300, 'south', ARRAY[-1e308, 1e308])
"""
MODELS = {
    "rent": "linear_regression AS SELECT rooms, size, side, rent AS target FROM flats",
    "dear": "logistic_regression AS SELECT rooms, size, side, dear AS target FROM flats",
    "class": "logistic_regression AS SELECT rooms, plan, class AS target FROM flats",
    "steep": "linear_regression(l2: 0) AS SELECT x, 1e9 * x AS target"
    " FROM (VALUES (1), (2), (3), (4), (5), (7)) AS v(x)",
}
STATEMENTS = {
    "value": ("SELECT id, PREDICT(rent, rooms, size, side) AS p FROM flats WHERE id = $1", [INT4]),
    "star": ("SELECT PREDICT(dear, *), * FROM flats WHERE id = $1", [INT4]),
    "label": ("SELECT PREDICT(class, rooms, plan), side FROM flats WHERE id = $1", [INT4]),
    "several": (
        """SELECT PREDICT(rent, size => size) AS a, side, PREDICT_CLASS(dear, rooms, size, side),
                  PREDICT_PROBA(class, rooms, plan) AS c, PREDICT_PROBA(class, *, class => 'high')
           FROM flats WHERE id BETWEEN $1 AND $1 + 30 ORDER BY id""",
        [INT4],
    ),
    "given": ("SELECT PREDICT(rent, $1, 2, $2)", [FLOAT8, TEXT]),
    "steep": ("SELECT PREDICT(steep, $1)", [FLOAT8]),
    "none": ("SELECT PREDICT(rent, rooms) FROM flats WHERE false AND id = $1", [INT4]),
}


@dataclass(frozen=True, slots=True)
class Pair:
    """The same database with a lane and without."""

    riding: Depot
    plain: Depot

    @asynccontextmanager
    async def clients(self) -> AsyncIterator[tuple[Frontend, Frontend]]:
        """Log in at both, and prepare and run each statement once."""
        async with await self.riding.login() as rider, await self.plain.login() as other:
            for client in (rider, other):
                for name, (sql, types) in STATEMENTS.items():
                    await client.send(parse(sql, name, types), sync())
                    assert not errors(await client.until("Z"))
            yield rider, other

    async def get_on(self, client: Frontend, *messages: bytes) -> None:
        """Say the same, which must be answered at once, until the session rides."""
        count = b"".join(messages).count(sync())
        session = self.riding.find(client)
        assert session is not None
        # Short rides are what these tests are about.
        session._boarding.disturbed()
        session._boarding._patience = CALM
        for _ in range(100):
            await client.send(*messages)
            await client.until("Z", count)
            await asyncio.sleep(0.01)
            if self.riding.rides(client):
                return
        raise AssertionError("it does not get on")


@pytest.fixture(scope="module", params=LOOPS, ids=["asyncio", "uvloop"])
def pair(request: pytest.FixtureRequest, cluster: Cluster, direct: Endpoint) -> Iterator[Pair]:
    """A proxy with a lane, one without, and the models."""
    with (
        running_proxy(cluster.dsn(), loop_factory=request.param) as riding,
        running_proxy(cluster.dsn(), {"pgseer.express_lane": False}) as plain,
    ):
        pair = Pair(Depot(riding, direct), Depot(plain, direct))
        with psycopg.connect(direct.dsn, autocommit=True) as connection:
            connection.execute(TABLE)
        host, port = riding.address
        with psycopg.connect(
            direct.dsn, host=host, port=port, autocommit=True, sslmode="disable"
        ) as connection:
            for name, rest in MODELS.items():
                connection.execute(f"CREATE OR REPLACE MODEL {name} USING {rest}")
        yield pair


def same(ours: list[Message], theirs: list[Message]) -> None:
    assert normalise(ours, {}) == normalise(theirs, {})


def batch(
    name: str, *values: str | None, results: tuple[int, ...] = (), is_described: bool = True
) -> bytes:
    """Return the batch in which libpq runs a prepared statement."""
    described = describe_portal() if is_described else b""
    return bind(list(values), statement=name, results=results) + described + execute() + sync()


async def both(
    clients: tuple[Frontend, Frontend], *messages: bytes, count: int = 1
) -> list[Message]:
    """Send the same to both; return the reply, which must be the same."""
    replies = []
    for client in clients:
        await client.send(*messages)
        replies.append(await client.until("Z", count))
    same(*replies)
    return replies[0]


FORMATS: list[tuple[int, ...]] = [(), (0,), (1,)]
IDENTITIES = ["1", "2", "3", "4", "77", "401", "402", "9999"]


@pytest.mark.asyncio
@pytest.mark.parametrize("is_described", [True, False])
@pytest.mark.parametrize("name", ["value", "star", "label", "several", "none"])
async def test_rows(pair: Pair, name: str, is_described: bool) -> None:
    """Any statement, NULL and NaN and unseen words among the rows, in text and in binary."""
    async with pair.clients() as clients:
        for results in FORMATS:
            await pair.get_on(
                clients[0], batch(name, "5", results=results, is_described=is_described)
            )
            for identity in IDENTITIES:
                ours = batch(name, identity, results=results, is_described=is_described)
                await both(clients, ours)
                assert pair.riding.rides(clients[0])
            # Its sums overflow in some of the models.
            await both(clients, batch(name, "1000", results=results, is_described=is_described))


@pytest.mark.asyncio
async def test_parameters(pair: Pair) -> None:
    """Parameters that are features, of any length and NULL, in a rewritten Bind."""
    async with pair.clients() as clients:
        await pair.get_on(clients[0], batch("given", "1", "south"))
        for number in ("0", "-1.5", "NaN", "Infinity", "-Infinity", None):
            for word in ("north", "été", "", "x" * 2000, None):
                await both(clients, batch("given", number, word))
        assert pair.riding.rides(clients[0])
        await both(clients, batch("given", "1", "x" * 200_000))


@pytest.mark.asyncio
async def test_a_sum_that_overflows(pair: Pair) -> None:
    """A score that the lane's arithmetic cannot reach takes the session off, and is right."""
    async with pair.clients() as clients:
        for number in ("1e300", "-1e305", "1.7e308"):
            await pair.get_on(clients[0], batch("steep", "1"))
            reply = await both(clients, batch("steep", "2"), batch("steep", number), count=2)
            assert float(str(rows(reply)[0][0])) == pytest.approx(2e9)
            assert abs(float(str(rows(reply)[1][0]))) >= 1e308 or number == "1e300"


@pytest.mark.asyncio
async def test_pipelines(pair: Pair) -> None:
    """Batches of ours and of others in one write, and several portals in one batch."""
    async with pair.clients() as clients:
        await both(clients, parse("SELECT $1::int + 1", "plain", [INT4]), sync())
        for name in ("value", "label", "star"):
            await pair.get_on(
                clients[0], batch("value", "1"), batch(name, "2"), batch("plain", "1")
            )
            reply = await both(
                clients,
                batch("value", "3"),
                batch("plain", "4"),
                bind(["5"], statement=name) + describe_portal() + execute(),
                bind(["6"], statement="plain") + describe_portal() + execute(),
                bind(["7"], statement="value") + describe_portal() + execute() + sync(),
                query("SELECT 8"),
                batch(name, "9"),
                count=5,
            )
            assert not errors(reply)
        assert pair.riding.rides(clients[0])


@pytest.mark.asyncio
async def test_row_limits_in_a_transaction(pair: Pair) -> None:
    """A portal that is suspended is scored on, also when its session left or entered the lane."""
    async with pair.clients() as clients:
        await pair.get_on(clients[0], batch("several", "1"))
        await both(clients, query("BEGIN"))
        await both(clients, bind(["1"], statement="several"), execute("", 4), sync())
        assert pair.riding.rides(clients[0])
        await both(clients, execute("", 3), sync())
        assert pair.riding.rides(clients[0])
        await both(clients, execute("", 2), describe_portal(), execute("", 2), sync())
        # Off: it begins a statement of ours; then on again with the portal still open.
        await both(clients, parse("SELECT PREDICT(rent, 1)", "other"), sync())
        assert not pair.riding.rides(clients[0])
        await both(clients, execute("", 3), sync())
        await both(clients, execute("", 0), sync())
        await both(clients, query("COMMIT"))
        # The portal is gone, and no transaction is there.
        reply = await both(clients, execute(), sync())
        assert errors(reply)[0]["C"] == "34000"
        await both(clients, batch("several", "2"))


@pytest.mark.asyncio
async def test_the_next_bind_before_the_last_answer(pair: Pair) -> None:
    """A portal bound before the answer to the batch before it is not forgotten with that one."""
    async with pair.clients() as clients:
        for portal in ("", "named"):
            for client in clients:
                begun = bind(["3"], portal=portal, statement="value")
                await client.send(batch("value", "2"), begun, flush())
                assert codes(await client.until("Z")) == "2TDCZ"
                await client.until("2")
            reply = await both(clients, describe_portal(portal), execute(portal), sync())
            assert [column.name for column in reply[0].columns] == ["id", "p"]
            assert len(rows(reply)[0]) == 2


@pytest.mark.asyncio
async def test_what_is_not_for_the_lane(pair: Pair) -> None:
    """Named portals, other formats, Describe, Close, Parse and errors: all answered as off it."""
    async with pair.clients() as clients:
        conversations = [
            bind(["1"], portal="p", statement="value") + execute("p") + sync(),
            bind(["1"], portal="p", statement="value")
            + bind(["2"], statement="label")
            + describe_portal("p")
            + execute("p")
            + execute()
            + sync(),
            batch("value", "1", results=(1, 0)),
            batch("value", "1", results=(0, 1, 1)),
            batch("value", "no number"),
            bind([], statement="value") + execute() + sync(),
            bind(["1"], statement="unknown") + execute() + sync(),
            describe_statement("value") + sync(),
            wire.frame("B", b"\0value\0\0\1") + sync(),
            parse("SELECT 1", "value") + sync(),
            parse("SELECT PREDICT(nothing, 1)", "value") + sync(),
            batch("value", "1") + batch("value", "x") + batch("value", "2"),
            query("SELECT 1; SELECT PREDICT(rent, 1)"),
            wire.frame("C", b"Ssteep\0") + sync() + batch("steep", "1"),
        ]
        for messages in conversations:
            await pair.get_on(clients[0], batch("value", "5"))
            n_syncs = messages.count(sync()) + messages.startswith(b"Q")
            await both(clients, messages, count=n_syncs)
            await both(clients, query("SELECT 1"))


@pytest.mark.asyncio
async def test_execute_by_sql(pair: Pair) -> None:
    """EXECUTE of what the protocol prepared would show hidden columns: 0A000, with the place."""
    async with pair.clients() as clients:
        texts = [
            "EXECUTE value(1)",
            'SELECT 1; /* é */ EXECUTE "value" (1)',
            "EXPLAIN ANALYZE EXECUTE star(1)",
            "CREATE TEMP TABLE t AS EXECUTE label(1)",
            "SELECT PREDICT(rent, 1); EXECUTE Several(1)",
        ]
        for text in texts:
            place = text.lower().index("execute ") + len("execute ") + 1
            await pair.get_on(clients[0], batch("value", "5"))
            reply = await both(clients, query(text))
            assert (errors(reply)[0]["C"], errors(reply)[0]["P"]) == ("0A000", str(place))
            await pair.get_on(clients[0], batch("value", "5"))
            reply = await both(clients, parse(text.rpartition("; ")[2]), sync())
            assert codes(reply) == "EZ"
        for text in (
            "EXECUTE mine(1)",
            "SELECT 'EXECUTE value(1)'",
            "SELECT execute value",
            "EXECUTE",
        ):
            await pair.get_on(clients[0], batch("value", "5"))
            if text.endswith("mine(1)"):
                await both(clients, query("PREPARE mine(int) AS SELECT $1"))
            reply = await both(clients, query(text))
            assert [error["C"] for error in errors(reply)] in ([], ["42601"], ["42703"])


@pytest.mark.asyncio
async def test_fetch_by_sql(pair: Pair) -> None:
    """FETCH from a portal of ours would show hidden columns too; from any other it goes on."""
    async with pair.clients() as clients:
        await both(clients, query("BEGIN"))
        begun = bind(["1"], portal="p", statement="several") + execute("p", 2)
        await both(clients, begun, sync())
        reply = await both(clients, query("SAVEPOINT s"))
        reply = await both(clients, query("FETCH 2 FROM p"))
        assert (errors(reply)[0]["C"], errors(reply)[0]["P"]) == ("0A000", "14")
        await both(clients, query("ROLLBACK TO s"))
        assert len(rows(await both(clients, execute("p", 3), sync()))) == 3
        await both(clients, query("DECLARE c CURSOR FOR SELECT 1"))
        assert rows(await both(clients, query("FETCH ALL FROM c"))) == [("1",)]
        await both(clients, query("COMMIT"))


@pytest.mark.asyncio
async def test_cut_anywhere(pair: Pair) -> None:
    """Bytes that come one by one, or in any two pieces, are answered the same."""
    async with pair.clients() as clients:
        whole = batch("star", "5", results=(1,))
        await pair.get_on(clients[0], whole)
        expected = await both(clients, whole)
        for at in range(1, len(whole)):
            await pair.get_on(clients[0], whole)
            for part in (whole[:at], whole[at:]):
                await clients[0].send(part)
                await asyncio.sleep(0)
            same(await clients[0].until("Z"), expected)
        clients[0].cutter = wire.byte_cuts
        for _ in range(3):
            await both(clients, whole)


@pytest.mark.asyncio
async def test_many_rows(pair: Pair) -> None:
    """An answer of several chunks is scored partly here and partly there, each row right."""
    async with pair.clients() as clients:
        sql = (
            "SELECT i, repeat('x', 90), PREDICT(rent, i % 7, $1::int, 'south')"
            " FROM generate_series(1, 20000) AS i"
        )
        await both(clients, parse(sql, "many"), sync())
        await pair.get_on(clients[0], bind(["1"], statement="many"), execute("", 50), sync())
        assert len(rows(await both(clients, batch("many", "2")))) == 20_000


@pytest.mark.asyncio
async def test_encodings(pair: Pair) -> None:
    """After another client_encoding the texts are read in that one."""
    async with pair.clients() as clients:
        await pair.get_on(clients[0], batch("given", "1", "été"))
        expected = rows(await both(clients, batch("given", "1", "été")))
        await both(clients, query("SET client_encoding = LATIN1"))
        for _ in range(6):
            raw = bind(["1", "été".encode("latin-1")], statement="given") + execute() + sync()
            assert rows(await both(clients, raw)) == expected
        assert pair.riding.rides(clients[0])


# --- models that change ---------------------------------------------------------------------------


@pytest.mark.asyncio
@pytest.mark.parametrize("where", ["the same session", "another session", "another proxy"])
async def test_a_new_version(pair: Pair, where: str) -> None:
    """The next Bind after a new version's commit has that version."""
    async with pair.clients() as clients, await pair.riding.login() as neighbour:
        await train(clients[0], "changing", 2)
        await clients[0].send(parse("SELECT PREDICT(changing, $1::int)", "c"), sync())
        assert not errors(await clients[0].until("Z"))
        trainer = {
            "the same session": clients[0],
            "another session": neighbour,
            "another proxy": clients[1],
        }[where]
        for factor in (3, 4, 5):
            await pair.get_on(clients[0], batch("c", "1"))
            await train(trainer, "changing", factor)
            value = 0.0
            for _ in range(100):
                await clients[0].send(batch("c", "10"))
                value = only_value(await clients[0].until("Z"))
                # Through one proxy at once; from another when its NOTIFY is here.
                if where != "another proxy" or value == pytest.approx(10 * factor):
                    break
                await asyncio.sleep(0.02)
            assert value == pytest.approx(10 * factor)
        await pair.get_on(clients[0], batch("c", "1"))
        await trainer.query("DROP MODEL changing")
        if where != "another proxy":
            await clients[0].send(batch("c", "10"))
            assert errors(await clients[0].until("Z"))[0]["C"] == "42704"


@pytest.mark.asyncio
async def test_within_a_transaction(pair: Pair) -> None:
    """A transaction that has made a version sees it; after ROLLBACK it is the old one."""
    async with pair.clients() as clients:
        rider = clients[0]
        await train(rider, "undone", 2)
        await rider.send(parse("SELECT PREDICT(undone, $1::int)", "u"), sync())
        await rider.until("Z")
        await pair.get_on(rider, batch("u", "1"))
        await rider.query("BEGIN")
        for factor, end in ((9, "ROLLBACK"), (8, "COMMIT")):
            await train(rider, "undone", factor)
            for _ in range(6):
                await rider.send(batch("u", "1"))
                assert only_value(await rider.until("Z")) == pytest.approx(factor)
            await rider.query(end)
            kept = 2 if end == "ROLLBACK" else factor
            await pair.get_on(rider, batch("u", "1"))
            await rider.send(batch("u", "1"))
            assert only_value(await rider.until("Z")) == pytest.approx(kept)
            await rider.query("BEGIN")


@pytest.mark.asyncio
async def test_trust_runs_out(pair: Pair) -> None:
    """Where nobody has vouched for the catalogue lately, the session comes back to ask."""
    async with pair.clients() as clients:
        await pair.get_on(clients[0], batch("value", "1"))
        session = pair.riding.find(clients[0])
        assert session is not None
        services = pair.riding.proxy.application._services
        services.registries.registry(session.database).freshness.lost()
        await both(clients, batch("value", "2"))
        assert not pair.riding.rides(clients[0])
        await pair.get_on(clients[0], batch("value", "1"))


# --- what is counted ------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_counts(pair: Pair) -> None:
    """Statements and scored rows of a riding session are in the metrics, read while it rides."""
    application = pair.riding.proxy.application
    counted = application._services.instruments

    def read() -> tuple[int, int]:
        counted.settle()
        versions = {labels: count.value for labels, count in counted.predictions.items()}
        n_rows = sum(count for (model, _), count in versions.items() if model == "dear")
        return counted.statements.of(names.PREDICT).value, n_rows

    async with pair.clients() as clients:
        await pair.get_on(clients[0], batch("star", "1"))
        before = read()
        for _ in range(10):
            await both(clients, batch("star", "7"))
        await both(clients, batch("star", "8888"))
        assert pair.riding.rides(clients[0])
        during = read()
        assert (during[0] - before[0], during[1] - before[1]) == (11, 10)
        page = Exposition(counted).page().decode()
        lines = [line for line in page.splitlines() if 'predictions_total{model="dear"' in line]
        assert sum(float(line.split()[-1]) for line in lines) == during[1]
        await both(clients, query("SELECT 1; SELECT PREDICT(rent, 1)"))
        assert not pair.riding.rides(clients[0])
        assert read()[1] == during[1]
