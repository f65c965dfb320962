"""CREATE MODEL, its versions and their end, by every client."""

from __future__ import annotations

import asyncio
import subprocess

import asyncpg
import psycopg
import pytest
import sqlalchemy

from tests.conftest import Endpoint, is_direct
from tests.support import postgres
from tests.support.datasets import home_price
from tests.support.proxy import running_proxy

pytestmark = pytest.mark.skipif(is_direct(), reason="PostgreSQL itself has no models")

TRAINING = "SELECT a, b, price AS target FROM homes WHERE id <= 500"


def create(name: str, training: str = TRAINING, *, how: str = "CREATE MODEL") -> str:
    """Return the statement that trains a linear model."""
    return f"{how} {name} USING linear_regression AS {training}"


def versions(client: psycopg.Connection, name: str) -> list[str]:
    """Return the versions of a model, oldest first."""
    rows = client.execute(
        "SELECT version::text FROM ml_models WHERE model_name = %s ORDER BY version", [name]
    )
    return [row[0] for row in rows]


def heard(client: psycopg.Connection) -> list[str]:
    """Return a list that every notice to come is added to."""
    notices: list[str] = []
    client.add_notice_handler(lambda diag: notices.append(diag.message_primary or ""))
    return notices


def first_score(client: psycopg.Connection, model: str) -> float:
    """Return the score of the first home."""
    row = client.execute(f"SELECT PREDICT({model}, a, b) FROM homes WHERE id = 1").fetchone()
    assert row is not None
    return float(row[0])


# --- every client ---------------------------------------------------------------------------------


def test_psql(endpoint: Endpoint, homes: None) -> None:
    """A script for psql trains and scores."""
    done = subprocess.run(
        [str(postgres.binaries() / "psql"), "-X", "-At", "-v", "ON_ERROR_STOP=1", endpoint.dsn],
        input=f"{create('by_psql')};\nSELECT id, PREDICT(by_psql, *) AS p FROM homes WHERE id = 5;",
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    tag, row = done.stdout.splitlines()
    assert tag == "CREATE MODEL"
    assert float(row.removeprefix("5|")) == pytest.approx(home_price(5), rel=1e-9)


@pytest.mark.parametrize("binary", [False, True], ids=["text", "binary"])
@pytest.mark.parametrize("prepare", [False, True], ids=["once", "prepared"])
def test_psycopg(client: psycopg.Connection, homes: None, binary: bool, prepare: bool) -> None:
    """With psycopg a model is trained and used, in both formats."""
    name = f"by_psycopg_{int(binary)}{int(prepare)}"
    assert client.execute(create(name), prepare=prepare).statusmessage == "CREATE MODEL"
    row = client.execute(
        f"SELECT id, PREDICT({name}, a, b) FROM homes WHERE id = %s",
        [7],
        binary=binary,
        prepare=prepare,
    ).fetchone()
    assert row == (7, pytest.approx(home_price(7), rel=1e-9))


@pytest.mark.asyncio
async def test_psycopg_async(endpoint: Endpoint, homes: None) -> None:
    """With psycopg's asynchronous connection too."""
    async with await psycopg.AsyncConnection.connect(endpoint.dsn) as connection:
        await connection.execute(create("by_async_psycopg"))
        cursor = await connection.execute("SELECT PREDICT(by_async_psycopg, 1.0, 2)")
        assert await cursor.fetchone() == (pytest.approx(4.0, rel=1e-9),)


@pytest.mark.asyncio
async def test_asyncpg(endpoint: Endpoint, homes: None) -> None:
    """With asyncpg, simple and prepared."""
    connection = await asyncpg.connect(endpoint.url)
    try:
        assert await connection.execute(create("by_asyncpg")) == "CREATE MODEL"
        await connection.fetch(create("by_asyncpg"))
        value = await connection.fetchval(
            "SELECT PREDICT(by_asyncpg, a, b) FROM homes WHERE id = $1", 9
        )
        assert value == pytest.approx(home_price(9), rel=1e-9)
        statement = await connection.prepare("SELECT id, PREDICT(by_asyncpg, *) AS p FROM homes")
        assert [(a.name, a.type.name) for a in statement.get_attributes()] == [
            ("id", "int4"),
            ("p", "float8"),
        ]
        records = await statement.fetch()
        assert len(records) == 10_000
        assert all(abs(r["p"] - home_price(r["id"])) < 1e-9 for r in records)
        async with connection.transaction():
            cursor = connection.cursor(
                "SELECT id, PREDICT(by_asyncpg, a, b) AS p FROM homes ORDER BY id", prefetch=300
            )
            portions = [r["p"] async for r in cursor]
        assert portions == pytest.approx([home_price(i) for i in range(1, 10_001)], rel=1e-9)
    finally:
        await connection.close()


def test_sqlalchemy(endpoint: Endpoint, homes: None) -> None:
    """With SQLAlchemy, within its implicit transaction."""
    url = endpoint.url.replace("postgresql://", "postgresql+psycopg://")
    engine = sqlalchemy.create_engine(url)
    try:
        with engine.begin() as connection:
            connection.execute(sqlalchemy.text(create("by_sqlalchemy")))
            statement = "SELECT PREDICT(by_sqlalchemy, a, b) AS p FROM homes WHERE id = :id"
            row = connection.execute(sqlalchemy.text(statement), {"id": 3}).one()
            assert row.p == pytest.approx(home_price(3), rel=1e-9)
    finally:
        engine.dispose()


# --- what is known of a model ---------------------------------------------------------------------


def test_registry(client: psycopg.Connection, homes: None) -> None:
    """The registry's row says what was trained, on what, and how well, for held-out rows."""
    client.execute(create("known"))
    cursor = client.execute("SELECT * FROM ml_models WHERE model_name = 'known'")
    row = dict(
        zip([c.name for c in cursor.description or ()], cursor.fetchone() or (), strict=True)
    )
    assert str(row["version"]) == "1.0"
    assert row["algorithm"] == "linear_regression"
    assert row["training_rows"] == 500
    assert row["target"] == "target"
    assert row["r2"] == pytest.approx(1.0)
    assert row["accuracy"] is None
    assert row["owner"] == postgres.TRUST_USER
    assert row["is_default"] is True
    assert TRAINING in row["query"]
    assert len(row["artefact_sha256"]) == 64
    assert [feature["name"] for feature in row["features"]] == ["a", "b"]


def test_the_seed_s_listing(client: psycopg.Connection, homes: None) -> None:
    """The registry answers the query that the seed document shows, newest version first."""
    for _ in range(11):
        client.execute(create("listed"))
    rows = client.execute(
        "SELECT model_name, version, created_at, accuracy FROM ml_models"
        " WHERE model_name = 'listed' ORDER BY version DESC"
    ).fetchall()
    assert [str(row[1]) for row in rows] == [f"{i}.0" for i in range(11, 0, -1)]


def test_show_models(client: psycopg.Connection, homes: None) -> None:
    """SHOW MODELS has a row for each model, SHOW MODEL one for each version."""
    client.execute(create("shown"))
    client.execute(create("shown"))
    models = client.execute("SHOW MODELS").fetchall()
    assert len([row for row in models if "shown" in row]) == 1
    assert len(client.execute("SHOW MODEL shown").fetchall()) == 2
    with pytest.raises(psycopg.errors.UndefinedObject):
        client.execute("SHOW MODEL unheard_of")


def test_describe_model(client: psycopg.Connection, homes: None) -> None:
    """DESCRIBE MODEL tells the features and their coefficients."""
    client.execute(create("described"))
    rows = client.execute("DESCRIBE MODEL described").fetchall()
    coefficients = {row[1]: float(row[2]) for row in rows if row[0] == "coefficient"}
    wanted = {"intercept": 3.0, "a": 2.0, "b": -0.5}
    assert coefficients == {name: pytest.approx(value) for name, value in wanted.items()}
    assert [row[1] for row in rows if row[0] == "feature"] == ["a", "b"]
    client.execute("DESCRIBE MODEL described:1.0")
    with pytest.raises(psycopg.errors.UndefinedObject):
        client.execute("DESCRIBE MODEL described:2.0")


def test_describe_model_tells_what_matters(client: psycopg.Connection, homes: None) -> None:
    """The features are there, the most important first, as the registry has them."""
    client.execute(create("weighed", "SELECT a, b, id % 3 AS c, price AS target FROM homes"))
    rows = client.execute("DESCRIBE MODEL weighed").fetchall()
    importances = [row[1:] for row in rows if row[0] == "importance"]
    assert [name for name, _, _ in importances] == ["a", "b", "c"]
    values = [float(value) for _, value, _ in importances]
    assert values == sorted(values, reverse=True)
    assert values[0] > 0
    assert importances[0][2] == f"permutation {values[0]:.3f}"
    sql = "SELECT importances FROM ml_models WHERE model_name = 'weighed'"
    kept = client.execute(sql).fetchone()
    assert kept is not None
    assert {each["feature"]: each["permutation"] for each in kept[0]} == pytest.approx(
        {name: float(value) for name, value, _ in importances}
    )


def test_what_the_training_has_to_say(client: psycopg.Connection, homes: None) -> None:
    """What was done without harm is a NOTICE, what may be a mistake a WARNING."""
    told: list[tuple[str | None, str]] = []
    client.add_notice_handler(lambda d: told.append((d.severity, d.message_primary or "")))
    training = "SELECT a, 7 AS same, nullif(price, 3) AS target FROM homes WHERE id <= 500"
    client.execute(create("talkative", training))
    assert any(severity == "NOTICE" and '"same"' in text for severity, text in told)
    assert any(severity == "WARNING" and "no target" in text for severity, text in told)
    told.clear()
    client.execute("SET client_min_messages = warning")
    client.execute(create("talkative", training))
    assert {severity for severity, _ in told} == {"WARNING"}


def test_user_s_own_table_is_not_hidden(cluster: postgres.Cluster, endpoint: Endpoint) -> None:
    """A table of the user's own called ml_models stays visible under that name."""
    with postgres.temporary_database(cluster, "own_names"):
        dsn = endpoint.dsn.replace(endpoint.database, "own_names")
        with psycopg.connect(dsn, autocommit=True) as connection:
            connection.execute("CREATE TABLE ml_models (mine int)")
            connection.execute("INSERT INTO ml_models VALUES (42)")
            assert connection.execute("SELECT * FROM ml_models").fetchall() == [(42,)]


def test_proxies_share_models(
    client: psycopg.Connection, cluster: postgres.Cluster, endpoint: Endpoint, homes: None
) -> None:
    """What one proxy trains and drops, another knows at once: it keeps nothing of its own."""
    with running_proxy(cluster.dsn()) as second:
        other = Endpoint(second.address, endpoint.database)
        with psycopg.connect(other.dsn, autocommit=True) as elsewhere:
            client.execute(create("shared"))
            assert first_score(elsewhere, "shared") == pytest.approx(home_price(1))
            elsewhere.execute(create("shared", "SELECT a, b, 2 * price AS target FROM homes"))
            assert first_score(client, "shared") == pytest.approx(2 * home_price(1))
            client.execute("DROP MODEL shared")
            with pytest.raises(psycopg.errors.UndefinedObject):
                first_score(elsewhere, "shared")


# --- versions -------------------------------------------------------------------------------------


def test_versions(client: psycopg.Connection, homes: None) -> None:
    """The same name again makes the next version, which is the default from then on."""
    client.execute(create("twice"))
    client.execute(create("twice", "SELECT a, b, price + 100 AS target FROM homes"))
    assert versions(client, "twice") == ["1.0", "2.0"]
    assert first_score(client, "twice") == pytest.approx(home_price(1) + 100)
    assert first_score(client, "'twice:2.0'") == pytest.approx(home_price(1) + 100)
    assert first_score(client, "'twice:1.0'") == pytest.approx(home_price(1))
    with pytest.raises(psycopg.errors.UndefinedObject):
        first_score(client, "'twice:3.0'")


def test_drop_version(client: psycopg.Connection, homes: None) -> None:
    """Dropping the newest version makes the one before it the default again."""
    client.execute(create("shrinking"))
    client.execute(create("shrinking", "SELECT a, b, price + 100 AS target FROM homes"))
    assert client.execute("DROP MODEL shrinking:2.0").statusmessage == "DROP MODEL"
    assert versions(client, "shrinking") == ["1.0"]
    assert first_score(client, "shrinking") == pytest.approx(home_price(1))


def test_drop(client: psycopg.Connection, homes: None) -> None:
    """A dropped model is gone; one that never was is an error, or with IF EXISTS a notice."""
    client.execute(create("doomed"))
    client.execute("DROP MODEL doomed")
    assert versions(client, "doomed") == []
    with pytest.raises(psycopg.errors.UndefinedObject):
        first_score(client, "doomed")
    with pytest.raises(psycopg.errors.UndefinedObject):
        client.execute("DROP MODEL doomed")
    notices = heard(client)
    assert client.execute("DROP MODEL IF EXISTS doomed").statusmessage == "DROP MODEL"
    assert ["doomed" in notice for notice in notices] == [True]
    client.execute(create("doomed"))
    assert versions(client, "doomed") == ["1.0"]


def test_if_not_exists(client: psycopg.Connection, homes: None) -> None:
    """IF NOT EXISTS keeps the old model, with a notice, and does not even read the data."""
    client.execute(create("kept"))
    notices = heard(client)
    again = create("kept", "SELECT a, 1/0 AS target FROM homes", how="CREATE MODEL IF NOT EXISTS")
    assert client.execute(again).statusmessage == "CREATE MODEL"
    assert any("kept" in notice for notice in notices)
    assert versions(client, "kept") == ["1.0"]


def test_or_replace(client: psycopg.Connection, homes: None) -> None:
    """OR REPLACE leaves one version, the new one."""
    client.execute(create("replaced"))
    client.execute(create("replaced"))
    client.execute(
        create(
            "replaced", "SELECT a, b, -price AS target FROM homes", how="CREATE OR REPLACE MODEL"
        )
    )
    assert len(versions(client, "replaced")) == 1
    assert first_score(client, "replaced") == pytest.approx(-home_price(1))


# --- transactions ---------------------------------------------------------------------------------


def test_rollback(endpoint: Endpoint, homes: None) -> None:
    """A model lives in its transaction: seen within, unseen outside, gone after ROLLBACK."""
    with (
        psycopg.connect(endpoint.dsn) as inside,
        psycopg.connect(endpoint.dsn, autocommit=True) as outside,
    ):
        inside.execute(create("fleeting"))
        assert first_score(inside, "fleeting") == pytest.approx(home_price(1))
        with pytest.raises(psycopg.errors.UndefinedObject):
            first_score(outside, "fleeting")
        inside.rollback()
        with pytest.raises(psycopg.errors.UndefinedObject):
            first_score(inside, "fleeting")
        inside.rollback()
        assert versions(inside, "fleeting") == []


def test_commit(endpoint: Endpoint, homes: None) -> None:
    """After COMMIT every session sees it; a rolled back DROP leaves it there."""
    with (
        psycopg.connect(endpoint.dsn) as inside,
        psycopg.connect(endpoint.dsn, autocommit=True) as outside,
    ):
        inside.execute(create("lasting"))
        inside.commit()
        assert first_score(outside, "lasting") == pytest.approx(home_price(1))
        inside.execute("DROP MODEL lasting")
        with pytest.raises(psycopg.errors.UndefinedObject):
            first_score(inside, "lasting")
        inside.rollback()
        assert first_score(outside, "lasting") == pytest.approx(home_price(1))
        assert first_score(inside, "lasting") == pytest.approx(home_price(1))


def test_savepoint(client: psycopg.Connection, homes: None) -> None:
    """ROLLBACK TO takes back what came after the savepoint, and only that."""
    with client.transaction():
        client.execute(create("before"))
        client.execute("SAVEPOINT s")
        client.execute(create("before", "SELECT a, b, price + 1 AS target FROM homes"))
        client.execute(create("after"))
        client.execute("ROLLBACK TO s")
        assert first_score(client, "before") == pytest.approx(home_price(1))
    assert versions(client, "before") == ["1.0"]
    assert versions(client, "after") == []


def test_training_sees_the_transaction(client: psycopg.Connection) -> None:
    """Training reads what its own transaction has written, temporary tables too."""
    with client.transaction(force_rollback=True):
        client.execute(
            "CREATE TEMP TABLE own AS SELECT i AS x, 7 * i AS y FROM generate_series(1, 50) i"
        )
        client.execute("CREATE MODEL own USING linear_regression AS SELECT x, y AS target FROM own")
        row = client.execute("SELECT PREDICT(own, 1000)").fetchone()
        assert row == (pytest.approx(7000),)


def test_failed_transaction(endpoint: Endpoint, homes: None) -> None:
    """An error of ours fails the transaction as one of PostgreSQL's does."""
    with psycopg.connect(endpoint.dsn) as connection:
        connection.execute("CREATE TEMP TABLE t (a int)")
        with pytest.raises(psycopg.errors.UndefinedObject):
            first_score(connection, "unheard_of")
        with pytest.raises(psycopg.errors.InFailedSqlTransaction):
            connection.execute("SELECT 1")
        with pytest.raises(psycopg.errors.InFailedSqlTransaction):
            connection.execute(create("too_late"))
        with pytest.raises(psycopg.errors.InFailedSqlTransaction):
            connection.execute("SHOW MODELS")
        connection.rollback()
        assert connection.execute("SELECT to_regclass('t')").fetchone() == (None,)


# --- errors ---------------------------------------------------------------------------------------

GOOD = "AS SELECT a, price AS target FROM homes"
LINEAR = "CREATE MODEL m USING linear_regression"
mistakes = [
    (f"CREATE MODEL m USING linear_regresion {GOOD}", "42704", "linear_regresion"),
    (f"{LINEAR}(l2: -1) {GOOD}", "22023", None),
    (f"{LINEAR}(ll2: 1) {GOOD}", "22023", None),
    (f"{LINEAR}(l2: 'x') {GOOD}", "22023", None),
    (f"{LINEAR}(l2: 1 {GOOD}", "42601", None),
    (f"{LINEAR} AS SELECT a, nothing AS target FROM homes", "42703", "nothing"),
    (f"{LINEAR} AS SELECT a FROM nowhere", "42P01", "nowhere"),
    (f"{LINEAR} AS SELEC a", "42601", None),
    (f"{LINEAR} AS SELECT a, b FROM homes", None, None),
    (f"{LINEAR} AS SELECT price AS target FROM homes", None, None),
    (f"{LINEAR} AS SELECT a, label AS target FROM homes", None, None),
    (f"{LINEAR} {GOOD} WHERE false", "ML001", None),
    ("CREATE MODEL m USING logistic_regression AS SELECT a, 1 AS target FROM homes", "ML002", None),
    (f"{LINEAR} AS SELECT a, 1/0 AS target FROM homes", "22012", None),
    (LINEAR, "42601", None),
    ("CREATE MODEL USING linear_regression AS SELECT 1", "42601", None),
    ("DROP MODEL", "42601", None),
    ("DESCRIBE MODEL unheard_of", "42704", None),
]


@pytest.mark.parametrize(("statement", "sqlstate", "place"), mistakes)
def test_mistakes(
    client: psycopg.Connection,
    homes: None,
    statement: str,
    sqlstate: str | None,
    place: str | None,
) -> None:
    """A mistake is an error with its SQLSTATE and place; the session goes on, no model is made."""
    with pytest.raises(psycopg.Error) as caught:
        client.execute(statement)
    diag = caught.value.diag
    assert diag.sqlstate is not None
    assert diag.sqlstate[:2] not in {"XX", "08"}, diag.message_primary
    if sqlstate is not None:
        assert diag.sqlstate == sqlstate, diag.message_primary
    if place is not None:
        assert diag.statement_position == str(statement.index(place) + 1)
    assert client.execute("SELECT 1").fetchone() == (1,)
    assert versions(client, "m") == []


def test_mistake_names_the_nearest(client: psycopg.Connection, homes: None) -> None:
    """An unknown algorithm or key is answered with the nearest known one."""
    for statement, nearest in ((mistakes[0][0], "linear_regression"), (mistakes[2][0], "l2")):
        with pytest.raises(psycopg.Error) as caught:
            client.execute(statement)
        diag = caught.value.diag
        assert nearest in f"{diag.message_detail} {diag.message_hint}"


@pytest.mark.asyncio
async def test_parallel_training(endpoint: Endpoint, homes: None) -> None:
    """Sessions that train one name at a time each get a version of their own."""

    async def train() -> None:
        async with await psycopg.AsyncConnection.connect(endpoint.dsn, autocommit=True) as own:
            await own.execute(create("contended"))

    await asyncio.gather(*(train() for _ in range(6)))
    with psycopg.connect(endpoint.dsn, autocommit=True) as connection:
        assert versions(connection, "contended") == [f"{i}.0" for i in range(1, 7)]
