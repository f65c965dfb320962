"""The query of EVALUATE MODEL: columns to features, by name, cast as PREDICT casts."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from proxy.engine.columns import FeatureKind
from proxy.errors import ProxyError
from proxy.protocol import oids
from proxy.rewrite.catalog import FeatureSignature, ModelSignature
from proxy.rewrite.edits import edited
from proxy.rewrite.training_reader import ColumnValues
from proxy.statements.evaluation_query import EvaluationQuery, evaluation_query
from proxy.statements.fetched_columns import fetched_column

FEATURES = (
    FeatureSignature("age", "number", "integer"),
    FeatureSignature("plan", "category", "text", 1, ("a", "b")),
    FeatureSignature("pixels", "array", "real[]", 3),
)


def evaluation_of(
    *columns: tuple[str, int],
    task: str = "binary",
    features: Sequence[FeatureSignature] = FEATURES,
) -> EvaluationQuery:
    model = ModelSignature(
        "churn", "1.0", tuple(features), "label", ("no", "yes"), "pg_catalog.text", task
    )
    made = [fetched_column(name, type_oid) for name, type_oid in columns]
    return evaluation_query(model, made, edited("SELECT 1", []), 20)


def test_only_what_the_model_knows_is_fetched() -> None:
    """Other columns stay where they are, and what is missing is named."""
    query = evaluation_of(("id", 23), ("plan", 25), ("target", 25), ("age", 23))
    assert query.missing == ("pixels",)
    assert [column.name for column in query.fetched.columns] == ["plan", "age", "target"]
    text = query.fetched.copy(text_as_utf8=False)
    assert "pgseer.c0" not in text
    assert text.index("pgseer.c1") < text.index("pgseer.c3") < text.index("pgseer.c2")
    assert text.endswith("AS pgseer (c0, c1, c2, c3)) TO STDOUT (FORMAT binary)")


def test_the_columns_are_the_model_s_kinds() -> None:
    """A column is read as the kind that its feature had in training, whatever its type is."""
    query = evaluation_of(("age", oids.TEXT), ("pixels", oids.INT4_ARRAY), ("target", oids.TEXT))
    age, pixels, target = query.fetched.columns
    assert (age.kind, age.sql_type) == (FeatureKind.NUMBER, "integer")
    assert "ml.vector(" in pixels.expression
    assert target == fetched_column("target", oids.TEXT)


def test_dataset_has_the_target_apart() -> None:
    """The engine gets the features by name, and the target."""
    query = evaluation_of(("target", oids.BOOL), ("age", 23))
    dataset = query.fetched.dataset(
        [ColumnValues(np.array([5.0])), ColumnValues(np.array([1.0]))], 1
    )
    assert [column.name for column in dataset.features] == ["age"]
    assert dataset.target is not None
    assert (dataset.target.name, dataset.target.values.tolist()) == ("target", [1.0])


def test_a_clustering_has_no_target() -> None:
    """A column called target is ignored there, as any that the model does not know."""
    query = evaluation_of(("age", 23), ("target", 25), task="clustering")
    assert query.fetched.target is None
    assert [column.name for column in query.fetched.columns] == ["age"]


@pytest.mark.parametrize(
    ("columns", "sqlstate", "words"),
    [
        ([("age", 23)], "42703", "no column named target"),
        ([("age", 23), ("target", 23), ("target", 23)], "42702", "more than one"),
        ([("id", 23), ("target", 23)], "42703", "age, plan, pixels"),
        ([("age", 23), ("age", 23), ("target", 23)], "42702", '"age"'),
        ([("age", 23), ("target", oids.DATE)], "42804", "date"),
    ],
)
def test_refused(columns: list[tuple[str, int]], sqlstate: str, words: str) -> None:
    """What cannot be evaluated is an error at the query's beginning."""
    with pytest.raises(ProxyError) as caught:
        evaluation_of(*columns)
    error = caught.value
    assert (error.sqlstate, error.position) == (sqlstate, 21)
    assert words in f"{error.message} {error.hint}"


def test_a_column_twice_that_the_model_does_not_know_is_no_harm() -> None:
    """Only the model's features must be unambiguous."""
    query = evaluation_of(("id", 23), ("id", 23), ("age", 23), ("target", 23))
    assert query.missing == ("plan", "pixels")
