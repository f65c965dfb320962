"""Every algorithm by CREATE MODEL through the wire, and the same by the library on arrays."""

from __future__ import annotations

import hashlib

import numpy as np
import psycopg
import pytest

from proxy.engine.artifact import dump, load
from proxy.engine.columns import Column, Dataset, FeatureKind
from proxy.engine.training import train
from tests.conftest import Endpoint, is_direct
from tests.end_to_end.test_training_cancel import until_fitting
from tests.support.wire import Frontend, errors, query, send_cancel

pytestmark = pytest.mark.skipif(is_direct(), reason="PostgreSQL itself has no models")

CLUSTERS = {"kmeans": {"k": 4}, "dbscan": {"eps": 0.4}}
SUPERVISED = {
    "linear_regression": {"l1": 0.5},
    "polynomial_regression": {"degree": 2},
    "logistic_regression": {},
    "decision_tree": {"max_depth": 5},
    "random_forest": {"n_trees": 8, "max_depth": 6, "quantization": "int8"},
    "gradient_boosting": {"n_trees": 8},
    "neural_network": {"epochs": 3, "layers": [4, 6, 2]},
}
ALGORITHMS = CLUSTERS | SUPERVISED
N = 400


@pytest.fixture(scope="module")
def points(direct: Endpoint) -> dict[str, np.ndarray]:
    """The table `points`: three numbers, a word, and two targets; returns its columns."""
    rng = np.random.default_rng(0)
    words = np.array(["oak", "elm", "ash"])[rng.integers(0, 3, N)]
    columns = {name: rng.normal(size=N).round(6) for name in ("a", "b", "c")}
    signal = columns["a"] + (words == "elm") + rng.normal(size=N)
    columns |= {"word": words, "value": signal.round(6), "flag": (signal > 0).astype(int)}
    with psycopg.connect(direct.dsn, autocommit=True) as connection:
        connection.execute(
            "CREATE TABLE points (id int, a float8, b float8, c float8, word text, value float8,"
            " flag int)"
        )
        with connection.cursor() as cursor, cursor.copy("COPY points FROM STDIN") as copy:
            for row in zip(
                range(N), *(column.tolist() for column in columns.values()), strict=True
            ):
                copy.write_row(row)
    return columns


def spelled(parameters: dict[str, object]) -> str:
    """Return parameters as CREATE MODEL takes them."""
    parts = [
        f"{key}: '{value}'" if isinstance(value, str) else f"{key}: {value}"
        for key, value in parameters.items()
    ]
    return f"({', '.join(parts)})" if parts else ""


def target_of(algorithm: str) -> str | None:
    if algorithm in CLUSTERS:
        return None
    return "value" if algorithm.endswith("regression") and "logistic" not in algorithm else "flag"


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_the_table_gives_the_model_that_the_arrays_give(
    client: psycopg.Connection, points: dict[str, np.ndarray], algorithm: str
) -> None:
    """Byte for byte the same artefact; and PREDICT gives what it predicts."""
    target = target_of(algorithm)
    named = f", {target} AS target" if target else ""
    client.execute(
        f"CREATE OR REPLACE MODEL twin USING {algorithm}{spelled(ALGORITHMS[algorithm])} AS"
        f" SELECT a, b, c, word{named} FROM points ORDER BY id"
    )
    # The order in which words are first met is their order in the reader's dictionary.
    words = list(dict.fromkeys(points["word"].tolist()))
    codes = np.array([words.index(word) for word in points["word"]], np.int32)
    features = (
        *(Column(x, FeatureKind.NUMBER, "double precision", points[x]) for x in ("a", "b", "c")),
        Column("word", FeatureKind.CATEGORY, "text", codes, tuple(words)),
    )
    column = None
    if target:
        sql_type = "integer" if target == "flag" else "double precision"
        values = points[target].astype(np.float64)
        column = Column("target", FeatureKind.NUMBER, sql_type, values)
    parameters = ALGORITHMS[algorithm]
    result = train(algorithm, parameters, Dataset(features, column, N), lambda _: None)  # type: ignore[arg-type]
    row = client.execute(
        "SELECT artefact_sha256, artefact_size_bytes FROM ml_models WHERE model_name = 'twin'"
    ).fetchone()
    artefact = dump(result.model)
    assert row == (hashlib.sha256(artefact).hexdigest(), len(artefact))
    found = [row[0] for row in client.execute("SELECT PREDICT(twin, *) FROM points ORDER BY id")]
    known = result.model.features[3].categories
    raw = np.column_stack(
        [points["a"], points["b"], points["c"], [float(known.index(w)) for w in points["word"]]]
    )
    expected = load(artefact).predict(raw)
    if algorithm in CLUSTERS:
        assert found == [int(result.model.classes[int(place)]) for place in expected]
    else:
        np.testing.assert_array_equal(np.array(found), expected)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_the_result_is_the_same_in_binary_and_prepared(
    client: psycopg.Connection, points: dict[str, np.ndarray], algorithm: str
) -> None:
    """Text, binary and a prepared statement give the same values of the same type."""
    target = target_of(algorithm)
    named = f", {target} AS target" if target else ""
    client.execute(
        f"CREATE OR REPLACE MODEL forms USING {algorithm}{spelled(ALGORITHMS[algorithm])} AS"
        f" SELECT a, b, c, word{named} FROM points ORDER BY id"
    )
    sql = "SELECT PREDICT(forms, *) FROM points WHERE id < %s ORDER BY id"
    answers = [client.execute(sql, [50], binary=binary).fetchall() for binary in (False, True)]
    answers += [client.execute(sql, [50], prepare=True).fetchall() for _ in range(2)]
    assert all(answer == answers[0] for answer in answers)
    wanted = int if algorithm in CLUSTERS else float
    assert {type(row[0]) for row in answers[0]} == {wanted}


def test_a_model_learns_on_from_another(
    client: psycopg.Connection, points: dict[str, np.ndarray]
) -> None:
    """Two halves by `warm_start`, within one transaction, are the fit on the whole."""
    query = "SELECT a, b, c, value AS target FROM points WHERE id {} ORDER BY id"
    line = "USING linear_regression"
    client.execute(f"CREATE MODEL whole {line} AS {query.format('>= 0')}")
    with client.transaction():
        client.execute(f"CREATE MODEL part {line} AS {query.format('< 200')}")
        client.execute(
            f"CREATE MODEL part {line}(warm_start: 'part:1.0') AS {query.format('>= 200')}"
        )
    both = client.execute("SELECT PREDICT(part, *), PREDICT(whole, *) FROM points").fetchall()
    found, expected = np.array(both).T
    np.testing.assert_allclose(found, expected, rtol=1e-9)
    assert client.execute(
        "SELECT version, parameters ->> 'warm_start' FROM ml_models WHERE model_name = 'part'"
        " ORDER BY version"
    ).fetchall() == [(1, None), (2, "part:1.0")]


def test_parameters_are_stored_as_they_were_used(
    client: psycopg.Connection, points: dict[str, np.ndarray]
) -> None:
    """K-means that learns on does so by mini-batches, and DESCRIBE and ml_models say so."""
    client.execute("CREATE MODEL grown USING kmeans(k: 3) AS SELECT a, b FROM points")
    client.execute(
        "CREATE MODEL grown USING kmeans(k: 3, warm_start: 'grown') AS SELECT a, b FROM points"
    )
    stored = client.execute(
        "SELECT parameters -> 'mini_batch' FROM ml_models WHERE model_name = 'grown'"
        " ORDER BY version"
    ).fetchall()
    assert stored == [(False,), (True,)]


@pytest.mark.parametrize(
    ("algorithm", "named", "sqlstate", "words"),
    [
        ("linear_regression", "nobody", "42704", 'model "nobody" does not exist'),
        ("linear_regression", "line:7.0", "42704", "version 7.0"),
        ("linear_regression", "a b c", "22023", "cannot be 'a b c'"),
        ("logistic_regression", "line", "22023", "names a model of linear_regression"),
        ("random_forest", "line", "22023", 'no parameter "warm_start"'),
    ],
)
def test_a_model_to_learn_on_from_must_be_there(
    client: psycopg.Connection,
    points: dict[str, np.ndarray],
    algorithm: str,
    named: str,
    sqlstate: str,
    words: str,
) -> None:
    """The error is at the value, before a row is read."""
    client.execute(
        "CREATE OR REPLACE MODEL line USING linear_regression AS SELECT a, value AS target"
        " FROM points"
    )
    create = f"CREATE MODEL next USING {algorithm}(warm_start: '{named}') AS SELECT 1/0 AS target"
    with pytest.raises(psycopg.Error, match=words) as caught:
        client.execute(create)
    assert caught.value.sqlstate == sqlstate
    assert caught.value.diag.statement_position is not None


# Each of these takes minutes unless it is stopped.
ENDLESS = {
    "random_forest": "(n_trees: 10000, max_depth: 8)",
    "gradient_boosting": "(n_trees: 10000)",
    "neural_network": "(epochs: 100000, hidden_layers: [500, 500], n_iter_no_change: 100000)",
    "kmeans": "(k: 3000, n_init: 1000, max_iterations: 100000, tol: 0)",
    "logistic_regression": "(max_iterations: 100000, tol: 0)",
    "polynomial_regression": "(degree: 9)",
    "dbscan": "(eps: 0.9, min_samples: 100000)",
}


@pytest.mark.asyncio
@pytest.mark.parametrize("algorithm", ENDLESS)
async def test_any_algorithm_can_be_cancelled(
    endpoint: Endpoint, direct: Endpoint, algorithm: str
) -> None:
    """A CancelRequest while it fits ends it by 57014, and the session is usable."""
    target = "" if algorithm in CLUSTERS else ", (random() < 0.5)::int AS target"
    names = "abcd" if algorithm != "dbscan" else "abcdefghijkl"
    columns = ", ".join(f"random() AS {name}" for name in names)
    create = (
        f"CREATE MODEL endless USING {algorithm}{ENDLESS[algorithm]} AS"
        f" SELECT {columns}{target} FROM generate_series(1, 60000)"
    )
    async with (
        await Frontend.login(endpoint.address, **endpoint.login) as client,
        await Frontend.login(direct.address, **direct.login) as other,
    ):
        await client.send(query(create))
        await until_fitting(other, client.pid)
        await send_cancel(endpoint.address, client.pid, client.secret)
        reply = await client.until("Z")
        assert [error["C"] for error in errors(reply)] == ["57014"]
        assert await client.value("SELECT 1") == "1"
