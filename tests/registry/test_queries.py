"""The texts that are run in a client's session."""

from __future__ import annotations

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from proxy.errors import InvalidParameterError, TooLargeError, UnknownModelError
from proxy.registry import queries
from proxy.registry.postgres_store import Registry
from tests.registry.conftest import Connect, record, store

text_of_postgres = st.text(
    st.characters(blacklist_categories=["Cs"], blacklist_characters="\0"), max_size=20
)


@pytest.mark.parametrize("conforming", ["on", "off"])
@pytest.mark.parametrize("encoding", ["UTF8", "LATIN1", "SJIS"])
@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(texts=st.lists(text_of_postgres, min_size=1, max_size=20))
def test_literal_is_the_text(
    connect: Connect, conforming: str, encoding: str, texts: list[str]
) -> None:
    """PostgreSQL reads a quoted literal as the text, whatever the session's settings are."""
    with connect() as connection:
        connection.execute(f"SET standard_conforming_strings = {conforming}")
        connection.execute(f"SET client_encoding = '{encoding}'")
        literals = ", ".join(
            f"encode(convert_to({queries.quote_literal(text)}, 'UTF8'), 'hex')" for text in texts
        )
        assert literals.isascii()
        row = connection.pgconn.exec_(f"SELECT {literals}".encode())
        values = [row.get_value(0, i) for i in range(len(texts))]
        read = [bytes.fromhex((value or b"").decode()) for value in values]
        assert [value.decode() for value in read] == texts


@pytest.mark.parametrize("text", ["a\0b", "\ud800"])
def test_text_that_no_server_can_hold_is_refused(text: str) -> None:
    """NUL and half a surrogate pair are an error and never a shorter text."""
    with pytest.raises(InvalidParameterError) as caught:
        queries.quote_literal(text)
    assert caught.value.sqlstate == "22021"


@pytest.mark.parametrize("version", ["1.0)--", "abc", "1e3", "-1", "1.25"])
def test_version_is_a_number_or_unknown(version: str) -> None:
    """Text that is no version never reaches the SQL."""
    with pytest.raises(UnknownModelError):
        queries.drop_model("churn", version)


def test_artefact_beyond_a_value_of_postgres_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A model too large to be stored is an error of ours, with both sizes in the DETAIL."""
    monkeypatch.setattr(queries, "LARGEST_ARTEFACT_BYTES", 3)
    with pytest.raises(TooLargeError) as caught:
        queries.StoreModel(record(artefact=b"four"), b"four").parameters()
    assert "4" in str(caught.value.detail)


@pytest.mark.asyncio
async def test_versions_are_ordered_as_numbers(registry: Registry, connect: Connect) -> None:
    """10.0 comes after 9.0; it is the default, and so the one that SHOW MODELS shows."""
    connection = connect()
    for _ in range(10):
        store(connection)
    versions = connection.execute(queries.show_model("churn")).fetchall()
    assert [str(row[1]) for row in versions] == [f"{n}.0" for n in range(1, 11)]
    assert [row[2] for row in versions] == [False] * 9 + [True]
    models = connection.execute(queries.show_models()).fetchall()
    assert [str(row[1]) for row in models] == ["10.0"]


@pytest.mark.asyncio
async def test_show_model_has_the_metrics_as_numbers(registry: Registry, connect: Connect) -> None:
    """Metrics come out as stored, and those that were not measured are NULL."""
    connection = connect()
    store(connection)
    cursor = connection.cursor(row_factory=psycopg.rows.dict_row)
    (shown,) = cursor.execute(queries.show_model("churn")).fetchall()
    (viewed,) = cursor.execute("SELECT * FROM ml.ml_models").fetchall()
    assert shown["accuracy"] == 0.875
    assert viewed["auc"] == 0.9375
    assert viewed["f1"] is None
    assert viewed["r2"] is None
    assert shown["query"] == "SELECT tenure, país, plan AS target FROM clientes"


@pytest.mark.asyncio
@pytest.mark.parametrize("ask", [queries.show_model, queries.describe_model])
async def test_unknown_model_is_42704(registry: Registry, connect: Connect, ask: object) -> None:
    """SHOW MODEL and DESCRIBE MODEL of an unknown name are PostgreSQL's own kind of error."""
    with pytest.raises(psycopg.errors.UndefinedObject, match='model "no \'such" does not exist'):
        connect().execute(ask("no 'such"))  # type: ignore[operator]


@pytest.mark.asyncio
async def test_describe_names_every_term(registry: Registry, connect: Connect) -> None:
    """DESCRIBE MODEL reads as a table of facts, features and coefficients."""
    connection = connect()
    number = {"feature": "tenure", "kind": "number", "imputed": 12.5, "class_label": "yes"}
    category = {"feature": "plan", "kind": "category", "imputed": None, "class_label": "yes"}
    terms = [
        {"feature": None, "term": "intercept", "coefficient": -0.5, "class_label": "yes"},
        number | {"term": "value", "coefficient": 1e-7},
        number | {"term": "missing", "coefficient": 2},
        category | {"term": "it's", "coefficient": 3},
        category | {"term": "infrequent", "coefficient": 4},
        {"feature": "pixels", "kind": "array", "term": "[2]", "coefficient": 5},
    ]
    store(connection)
    store(connection, terms=terms, parameters={"l2": 0.25})
    rows = connection.execute(queries.describe_model("churn", "2.0")).fetchall()
    assert ("model", "version", "2.0", "default") in rows
    assert ("model", "classes", "basic, größer ≥ 1", None) in rows
    assert ("parameter", "l2", "0.25", None) in rows
    assert ("held-out metric", "accuracy", "0.875", None) in rows
    assert ("feature", "país", "text", "category, 2 categories") in rows
    assert [row[1:] for row in rows if row[0] == "coefficient"] == [
        ("intercept", "-0.5", "class yes"),
        ("tenure", "0.0000001", "class yes, NULL is taken as 12.5"),
        ("tenure is missing", "2", "class yes"),
        ("plan = 'it''s'", "3", "class yes"),
        ("plan is infrequent", "4", "class yes"),
        ("pixels[2]", "5", None),
    ]


@pytest.mark.asyncio
async def test_describe_orders_features_by_importance(registry: Registry, connect: Connect) -> None:
    """The importance is the permutation's where it was measured; the detail names both."""
    connection = connect()
    importances = [
        {"feature": "small", "impurity": 0.9, "permutation": -0.0004},
        {"feature": "great", "impurity": 0.1, "permutation": 0.0456789},
        {"feature": "split", "impurity": 0.5, "permutation": None},
        {"feature": "shuffled", "impurity": None, "permutation": 0.01},
        {"feature": "unknown", "impurity": None, "permutation": None},
    ]
    store(connection, importances=importances)
    rows = connection.execute(queries.describe_model("churn")).fetchall()
    assert [row[1:] for row in rows if row[0] == "importance"] == [
        ("split", "0.5", "impurity 0.500"),
        ("great", "0.0456789", "impurity 0.100, permutation 0.046"),
        ("shuffled", "0.01", "permutation 0.010"),
        ("small", "-0.0004", "impurity 0.900, permutation 0.000"),
    ]
    kept = connection.execute("SELECT importances FROM ml.ml_models").fetchall()
    assert kept == [(importances,)]


@pytest.mark.asyncio
async def test_describe_writes_a_matrix_line_by_line(registry: Registry, connect: Connect) -> None:
    """A confusion matrix has a line for each true class; a list is one line; NULL is none."""
    connection = connect()
    metrics = {
        "auc": None,
        "accuracy": 0.5,
        "confusion_matrix": [[50, 3], [7, 40]],
        "per_class": [0.25, 0.75],
        "odd": {"a": 1},
        "empty": [],
        "oob_score": 0.75,
    }
    store(connection, metrics=metrics)
    rows = connection.execute(queries.describe_model("churn")).fetchall()
    assert ("out-of-bag metric", "oob_score", "0.75", None) in rows
    assert [row[1:] for row in rows if row[0] == "held-out metric"] == [
        ("accuracy", "0.5", None),
        ("confusion_matrix", "50, 3", "rows of class basic, by predicted class"),
        ("confusion_matrix", "7, 40", "rows of class größer ≥ 1"),
        ("empty", "", None),
        ("odd", '{"a": 1}', None),
        ("per_class", "0.25, 0.75", None),
    ]


@pytest.mark.asyncio
async def test_a_clustering_is_a_model_without_a_target(
    registry: Registry, connect: Connect
) -> None:
    """It has clusters and metrics of its own rows; PREDICT's type is int4."""
    connection = connect()
    store(
        connection,
        "segments",
        algorithm="kmeans",
        task="clustering",
        target=None,
        target_type_oid=23,
        classes=["0", "1", "2"],
        metrics={"inertia": 12.5, "silhouette": 0.75},
        holdout_rows=0,
    )
    rows = connection.execute(queries.describe_model("segments")).fetchall()
    assert ("model", "clusters", "0, 1, 2", None) in rows
    assert ("model", "held-out rows", "0", None) in rows
    assert [row[:3] for row in rows if "metric" in row[0]] == [
        ("metric", "inertia", "12.5"),
        ("metric", "silhouette", "0.75"),
    ]
    assert not any(row[1] == "target" for row in rows)
    columns = "SELECT target, inertia, silhouette, accuracy FROM ml.ml_models"
    assert connection.execute(columns).fetchall() == [(None, 12.5, 0.75, None)]
    assert len(connection.execute(queries.show_model("segments")).fetchall()) == 1
    assert len(connection.execute(queries.show_models()).fetchall()) == 1
    registry.mark_stale()
    signature = (await registry.models()).resolve("segments", None)
    assert signature.task == "clustering"
    assert signature.target_type_sql == "pg_catalog.int4"
    assert signature.classes == ("0", "1", "2")
